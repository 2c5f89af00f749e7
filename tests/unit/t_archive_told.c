/*
 * t_archive_told.c: what a run tells of itself: in the segments, the seals and the
 * custody log, and what verify makes of it.
 */
#include "archive_kit.h"
#include "story_kit.h"

#include "../../src/archive/form/hash.h"
#include "../../src/archive/form/listing.h"

/* ---- archives ---- */

static struct archive_writer *open_told(
	const char *dir, enum archive_codec codec, struct teller *t)
{
	struct archive_config cfg = { .path = dir,
		.slug = "acme",
		.source = "pop3s://ann@pop.example.org",
		.codec = codec,
		.segment_messages = 5,
		.fixed = &fixed,
		.story = t ? teller_story : NULL,
		.story_ctx = t };
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;

	ok(archive_open(&w, &cfg, &err), &err);
	return w;
}

/* Messages from..to of a run that is at its end then. */
static void run(const char *dir, enum archive_codec codec, struct teller *t,
	unsigned from, unsigned to)
{
	struct archive_writer *w = open_told(dir, codec, t);
	struct err err = ERR_INIT;

	for (; from < to; from++)
		put_one(w, spool, from);
	ok(archive_commit(w, 0, &err), &err);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
}

static char *made(enum archive_codec codec)
{
	char *dir = scratch();

	make_archive(dir, codec, MEMBER);
	return dir;
}

static char *read_in(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name), *text;
	size_t n;

	text = slurp(path, &n);
	free(path);
	return text;
}

/* A file of a segment of plain tar, by stock tar; NULL: it is not there. */
static char *entry(const char *dir, unsigned no, const char *name)
{
	char *out = xasprintf("%s.out", dir), *text = NULL;
	char *tar = xasprintf("segments/acme-%06u.tar", no);
	char *full = xasprintf("acme-%06u/metadata/%s", no, name);
	const char *const argv[] = { "tar", "-xOf", tar, full, NULL };
	size_t n;

	if (tool(dir, out, argv) == 0)
		text = slurp(out, &n);
	unlink(out);
	free(full);
	free(tar);
	free(out);
	return text;
}

static unsigned verify(const char *dir, struct findings *f)
{
	struct archive_reader *r = NULL;
	struct archive_check c;
	struct err err = ERR_INIT;

	memset(f, 0, sizeof(*f));
	ok(archive_read(&r, dir, &err), &err);
	archive_verify(r, &c, note_finding, f, &err);
	archive_done(&r);
	return f->n;
}

/* ---- what is there ---- */

static const char listing[] = "number\tfate\tseq\tsize\tuidl\n"
			      "1\tstored\t1\t100\tu\"0\n"
			      "2\tstored\t2\t-\ta\\x09b\\x5c\\x00\\xff\\x20\\x0a-\n"
			      "3\tknown\t-\t300\tknown\n"
			      "4\tduplicate\t-\t400\t\n"
			      "5\tfiltered\t-\t500\t-\n"
			      "6\tfailed\t3\t600\tfailed,\"x\n"
			      "-\tvanished\t-\t700\tgone\n"
			      "8\tleft\t-\t0\tleft\n"
			      "-\trenamed\t-\t999\tother\n";
static const char digested[] = "1\t100\tu\"0\n"
			       "2\t-\ta\\x09b\\x5c\\x00\\xff\\x20\\x0a-\n"
			       "3\t300\tknown\n"
			       "4\t400\t\n"
			       "5\t500\t-\n"
			       "6\t600\tfailed,\"x\n"
			       "-\t700\tgone\n"
			       "8\t0\tleft\n"
			       "-\t999\tother\n";
static const char errors[] =
	"\"number\",\"uidl\",\"list_size\",\"message_id\",\"subject\",\"stage\","
	"\"reason\",\"reply\",\"tries\",\"at\"\r\n"
	"\"6\",\"failed,\"\"x\",\"600\",\"<a@b>\",\"=?utf-8?q?=41?=\",\"store\","
	"\"refused: \"\"no\"\",\r\nnot\",\"-ERR \xef\xbf\xbd\",\"3\","
	"\"2023-11-14T22:13:20Z\"\r\n"
	"\"\",\"gone\",\"\",\"\",\"\",\"retrieve\",\"gone\",\"\",\"0\","
	"\"2023-11-15T00:59:59Z\"\r\n";

static char *reconciled(void)
{
	unsigned char sha[DIGEST];
	char hex[2 * DIGEST + 1];

	hash_of(digested, strlen(digested), sha);
	return xasprintf("\"reconcile\":{\"duplicate\":1,\"failed\":1,\"filtered\":1,"
			 "\"known\":1,\"left\":1,\"listed\":8,\"octets\":2600,"
			 "\"renamed\":1,\"stat_count\":9,\"stat_octets\":null,"
			 "\"stored\":2,\"uidl_sha256\":\"%s\",\"vanished\":1}",
		text_hex(hex, sha, DIGEST));
}

static void expect_in(const char *dir, const char *name, const char *what)
{
	char *text = read_in(dir, name);

	if (!strstr(text, what))
		fail_msg("%s: no %s in %s", name, what, text);
	free(text);
}

static void expect_entry(
	const char *dir, unsigned no, const char *name, const char *want)
{
	char *is = entry(dir, no, name);

	if ((is != NULL) != (want != NULL))
		fail_msg("segment %u: %s is %sthere", no, name, is ? "" : "not ");
	if (want)
		assert_string_equal(is, want);
	free(is);
}

static void expect_sound(const char *dir)
{
	char *script = xasprintf("%s/VERIFY.sh", dir);
	const char *const argv[] = { "sh", script, dir, NULL };
	char *out = xasprintf("%s.out", dir), *said;
	struct findings f;
	size_t n;
	int rc;

	if (verify(dir, &f))
		fail_msg("%s", f.all);
	rc = tool("/", out, argv);
	said = slurp(out, &n);
	if (rc != 0)
		fail_msg("VERIFY.sh: %s", said);
	unlink(out);
	free(said);
	free(out);
	free(script);
}

/* The first is closed because it is full, the second at the end. */
static void test_files(void **state)
{
	struct teller t = STORY_TELLER;
	char *dir = made(ARCHIVE_NONE), *want = reconciled(), *server;

	(void)state;
	run(dir, ARCHIVE_NONE, &t, 0, 7);
	server = xasprintf("{\"account\":\"pop3:ann@pop.example.org\",%s,"
			   "\"server\":" STORY_SERVER ",\"sessions\":1,"
			   "\"told_at\":\"2023-11-15T00:59:59Z\","
			   "\"type\":\"mail-archive-server/1\"}\n",
		want);
	expect_entry(dir, 1, "server.json", server);
	expect_entry(dir, 1, "errors.csv", NULL);
	expect_entry(dir, 1, "listing.tsv", NULL);
	expect_entry(dir, 2, "server.json", server);
	expect_entry(dir, 2, "errors.csv", errors);
	expect_entry(dir, 2, "listing.tsv", listing);
	expect_in(dir, "seals/acme-000001.seal.json", want);
	expect_in(dir, "seals/acme-000002.seal.json", want);
	expect_sound(dir);
	remove_all(dir);
	free(server);
	free(want);
	free(dir);
}

/* What stands in FORMAT for awk. */
static void test_digest(void **state)
{
	static const char *const awk =
		"awk -F '\\t' 'NR > 1 { print $1 \"\\t\" $4 \"\\t\" $5 }' | sha256sum";
	struct teller t = STORY_TELLER;
	char *dir = made(ARCHIVE_NONE), *out = xasprintf("%s.out", dir),
	     *command = xasprintf("tar -xOf segments/acme-000001.tar "
				  "acme-000001/metadata/listing.tsv | %s",
		     awk);
	const char *const argv[] = { "sh", "-c", command, NULL };
	char *said, *want = reconciled();
	size_t n;

	(void)state;
	run(dir, ARCHIVE_NONE, &t, 0, 3);
	assert_int_equal(tool(dir, out, argv), 0);
	said = slurp(out, &n);
	said[2 * DIGEST] = '\0';
	assert_non_null(strstr(want, said));
	unlink(out);
	remove_all(dir);
	free(said);
	free(want);
	free(command);
	free(out);
	free(dir);
}

/* Exactly full: it still waits for the end of the run, and gets the listing. */
static void test_full(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		struct teller t = STORY_TELLER;
		char *dir = made(codecs[k]);

		run(dir, codecs[k], &t, 0, 5);
		if (codecs[k] == ARCHIVE_NONE)
			expect_entry(dir, 1, "listing.tsv", listing);
		assert_false(exists(dir, "seals/acme-000002.seal.json"));
		expect_sound(dir);
		remove_all(dir);
		free(dir);
	}
}

/* What nobody told is null, and there are no files. */
static void test_untold(void **state)
{
	char *dir = made(ARCHIVE_NONE);

	(void)state;
	run(dir, ARCHIVE_NONE, NULL, 0, 2);
	expect_entry(dir, 1, "server.json", NULL);
	expect_entry(dir, 1, "errors.csv", NULL);
	expect_entry(dir, 1, "listing.tsv", NULL);
	expect_in(dir, "seals/acme-000001.seal.json",
		"\"reconcile\":{\"duplicate\":null,\"failed\":null,\"filtered\":null,"
		"\"known\":null,\"left\":null,\"listed\":null,\"octets\":null,"
		"\"renamed\":null,\"stat_count\":null,\"stat_octets\":null,"
		"\"stored\":null,\"uidl_sha256\":null,\"vanished\":null}");
	expect_in(dir, "seals/acme-000001.seal.json",
		"\"sealed_at\":\"2023-11-15T00:59:59Z\"");
	expect_sound(dir);
	remove_all(dir);
	free(dir);
}

/* ---- read again ---- */

struct heard {
	const struct teller *t;
	size_t n;
	unsigned lost;
	char why[ERR_TEXT];
};

static void hear(void *ctx, const struct story_item *it)
{
	struct heard *h = ctx;
	const struct story_item *want = &h->t->items[h->n++ % h->t->n];

	assert_int_equal(it->fate, want->fate);
	assert_int_equal(it->number, want->number);
	assert_int_equal(it->size, want->size);
	assert_int_equal(it->place, want->place);
	assert_int_equal(it->uidl_n, want->uidl_n);
	if (want->uidl_n)
		assert_memory_equal(it->uidl, want->uidl, want->uidl_n);
}

static void miss(void *ctx, const char *what)
{
	struct heard *h = ctx;

	h->lost++;
	snprintf(h->why, sizeof(h->why), "%s", what);
}

static void hear_all(struct heard *h, const char *dir, const char *account)
{
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;

	ok(archive_read(&r, dir, &err), &err);
	ok(archive_each_told(r, account, hear, miss, h, &err), &err);
	archive_done(&r);
}

/* Of each run of that account, from the segment that it ended with. */
static void test_heard(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		struct teller t = STORY_TELLER;
		struct heard h = { .t = &t };
		char *dir = made(codecs[k]);

		run(dir, codecs[k], &t, 0, 7);
		run(dir, codecs[k], &t, 7, 8);
		run(dir, codecs[k], NULL, 8, 9);
		hear_all(&h, dir, "pop3:bob@pop.example.org");
		hear_all(&h, dir, "pop3:ann@pop.example.or");
		assert_int_equal(h.n, 0);
		hear_all(&h, dir, "pop3:ann@pop.example.org");
		assert_int_equal(h.n, 2 * t.n);
		assert_int_equal(h.lost, 0);
		remove_all(dir);
		free(dir);
	}
}

/* Of a listing that is not as it was sealed nothing is heard; of others all. */
static void test_misheard(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} rows[] = {
		{ "\tfailed\t3\t", "\tstored\t3\t", "is not what its seal tells" },
		{ "\tknown\n", "\tKnown\n", "is not what its seal tells" },
		{ "\tfailed\t", "\tdamned\t", "has a line that is none" },
		{ "\\x09b", "\\xg9b", "has a line that is none" },
		{ "\\x09b", "\\y09b", "has a line that is none" },
		{ "\\x09b", "\x7fx09", "has a line that is none" },
		{ "\tknown\n", "\tknow\\\n", "has a line that is none" },
		{ "ed\t-\t700\t", "ed\t-\t7x0\t", "has a line that is none" },
		{ "number\tfate", "number\tfade", "has a line that is none" },
		{ "{\"account\"", "{\"akkount\"", "names no account" },
		{ "{\"account\"", "\0\"account\"", "names no account" },
	};
	size_t i, n;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct teller t = STORY_TELLER;
		struct heard h = { .t = &t };
		char *dir = made(ARCHIVE_NONE), *path, *text, *at;
		size_t of = strlen(rows[i].from);

		run(dir, ARCHIVE_NONE, &t, 0, 2);
		run(dir, ARCHIVE_NONE, &t, 2, 3);
		path = xasprintf("%s/segments/acme-000001.tar", dir);
		text = slurp(path, &n);
		at = memmem(text, n, rows[i].from, of);
		assert_non_null(at);
		memcpy(at, rows[i].to, of);
		chmod(path, 0600);
		unlink(path);
		spit(path, text, n);
		hear_all(&h, dir, "pop3:ann@pop.example.org");
		if (h.lost != 1 || h.n != t.n || !strstr(h.why, rows[i].says) ||
			!strstr(h.why, "segments/acme-000001.tar"))
			fail_msg("row %zu: %u lost, %zu heard: %s", i, h.lost, h.n,
				h.why);
		remove_all(dir);
		free(text);
		free(path);
		free(dir);
	}
}

/* ---- the custody log ---- */

static unsigned events(const char *dir)
{
	char *text = read_in(dir, "log/custody.jsonl"), *s = text;
	unsigned n = 0;

	for (; (s = strchr(s, '\n')); s++)
		n++;
	free(text);
	return n;
}

/*
 * What a run has got may be sealed while the source is asked what came meanwhile. Its
 * end is another event only when there is more to tell.
 */
static void test_sealed_early(void **state)
{
	struct teller t = STORY_TELLER;
	char *dir = made(ARCHIVE_NONE);
	struct archive_writer *w = open_told(dir, ARCHIVE_NONE, &t);
	struct err err = ERR_INIT;

	(void)state;
	put_one(w, spool, 0);
	ok(archive_seal(w, &err), &err);
	assert_int_equal(events(dir), 2);
	ok(archive_seal(w, &err), &err);
	assert_int_equal(events(dir), 2);
	t.lie = 1;
	ok(archive_seal(w, &err), &err);
	ok(archive_seal(w, &err), &err);
	assert_int_equal(events(dir), 3);
	t.lie = 0;
	put_one(w, spool, 1);
	ok(archive_seal(w, &err), &err);
	assert_int_equal(events(dir), 5);
	archive_close(&w);
	run(dir, ARCHIVE_NONE, &t, 0, 0);
	assert_int_equal(events(dir), 6);
	expect_sound(dir);
	remove_all(dir);
	free(dir);
}

/* A run that finds nothing new makes no segment, and is told of all the same. */
static void test_nothing_new(void **state)
{
	struct teller t = STORY_TELLER;
	char *dir = made(ARCHIVE_NONE), *want = reconciled();
	char *event = xasprintf("\"detail\":{%s},\"event\":\"retrieve\",\"n\":3,"
				"\"object\":\"pop3:ann@pop.example.org\"",
		want);

	(void)state;
	run(dir, ARCHIVE_NONE, &t, 0, 2);
	assert_int_equal(events(dir), 2);
	run(dir, ARCHIVE_NONE, NULL, 0, 0);
	assert_int_equal(events(dir), 2);
	run(dir, ARCHIVE_NONE, &t, 0, 0);
	assert_int_equal(events(dir), 3);
	expect_in(dir, "log/custody.jsonl", event);
	run(dir, ARCHIVE_NONE, &t, 0, 0);
	assert_int_equal(events(dir), 4);
	assert_false(exists(dir, "seals/acme-000002.seal.json"));
	expect_sound(dir);
	remove_all(dir);
	free(event);
	free(want);
	free(dir);
}

static void test_removed(void **state)
{
	static const struct story_item items[] = {
		{ FATE_STORED, 0, 0, 9, "z", 1 },
		{ FATE_STORED, 0, 0, 2, "b b", 3 },
		{ FATE_STORED, 0, 0, 1, "a", 1 },
		{ FATE_STORED, 0, 0, 0, "", 0 },
		{ FATE_STORED, 0, 0, 3, "c", 1 },
		{ FATE_STORED, 0, 0, 3, "d", 1 },
	};
	static const char sorted[] = "\na\nb\\x20b\nc\nd\nz\n";
	struct teller t = STORY_TELLER;
	char *dir = made(ARCHIVE_NONE), hex[2 * DIGEST + 1], *event;
	unsigned char sha[DIGEST];
	struct err err = ERR_INIT;

	(void)state;
	run(dir, ARCHIVE_NONE, &t, 0, 2);
	ok(archive_note_removed(dir, "pop3:a\"b@c", items, N_ELEMENTS(items), &err),
		&err);
	hash_of(sorted, strlen(sorted), sha);
	event = xasprintf("\"detail\":{\"count\":6,\"seqs\":\"1-3,9\","
			  "\"uidl_sha256\":\"%s\"},\"event\":\"delete.server\",\"n\":3,"
			  "\"object\":\"pop3:a\\\"b@c\"",
		text_hex(hex, sha, DIGEST));
	expect_in(dir, "log/custody.jsonl", event);
	expect_sound(dir);
	remove_all(dir);
	free(event);
	free(dir);
}

/* Too many ranges for a line: it ends, and says so. */
static void test_removed_many(void **state)
{
	enum { MANY = 20000 };
	struct story_item *items = xcalloc(MANY, sizeof(*items));
	struct teller t = STORY_TELLER;
	char *dir = made(ARCHIVE_NONE);
	struct err err = ERR_INIT;
	unsigned i;

	(void)state;
	for (i = 0; i < MANY; i++)
		items[i] = (struct story_item){
			.place = 100000 + 2 * i, .uidl = "x", .uidl_n = 1
		};
	run(dir, ARCHIVE_NONE, &t, 0, 2);
	ok(archive_note_removed(dir, "pop3:a@b", items, MANY, &err), &err);
	expect_in(dir, "log/custody.jsonl", "\"count\":20000,");
	expect_in(dir, "log/custody.jsonl", ",...\",\"uidl_sha256\":");
	expect_sound(dir);
	remove_all(dir);
	free(items);
	free(dir);
}

/* ---- what does not agree ---- */

/* The seal's numbers and the listing are told apart: verify sees when they differ. */
static void test_lies(void **state)
{
	struct teller t = STORY_TELLER;
	char *dir = made(ARCHIVE_NONE);
	struct findings f;

	(void)state;
	t.lie = 1;
	run(dir, ARCHIVE_NONE, &t, 0, 2);
	assert_int_equal(verify(dir, &f), 1);
	assert_non_null(strstr(f.all,
		"seals/acme-000001.seal.json: its reconciliation is not that of "
		"metadata/listing.tsv"));
	remove_all(dir);
	free(dir);
}

/* Numbers of a seal that was written anew, with its line in the manifest. */
static void test_balance(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} rows[] = {
		{ "\"known\":1", "\"known\":2", "does not balance: 8 messages listed" },
		{ "\"listed\":8", "\"listed\":9",
			"does not balance: 9 messages listed" },
		{ "\"octets\":2600", "\"octets\":2601", "its reconciliation is not" },
		{ "\"renamed\":1", "\"renamed\":3", "its reconciliation is not" },
		{ "\"listed\":8", "\"listed\":\"\"", "is damaged" },
		{ "\"vanished\":1", "\"vanished\":null", "is damaged" },
	};
	static const char name[] = "seals/acme-000001.seal.json";
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct teller t = STORY_TELLER;
		char *dir = made(ARCHIVE_NONE), *path, *text, *at, *other;
		struct findings f;

		run(dir, ARCHIVE_NONE, &t, 0, 2);
		path = xasprintf("%s/%s", dir, name);
		text = read_in(dir, name);
		at = strstr(text, rows[i].from);
		assert_non_null(at);
		other = xasprintf("%.*s%s%s", (int)(at - text), text, rows[i].to,
			at + strlen(rows[i].from));
		unlink(path);
		spit(path, other, strlen(other));
		verify(dir, &f);
		if (!strstr(f.all, rows[i].says))
			fail_msg("%s: %s", rows[i].to, f.all);
		remove_all(dir);
		free(other);
		free(text);
		free(path);
		free(dir);
	}
}

#define HEAD "number\tfate\tseq\tsize\tuidl\n"
static const struct {
	const char *text;
	size_t n;
	bool good;
	uint64_t listed, octets;
} lines[] = {
	{ HEAD, sizeof(HEAD) - 1, true, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta\n-\trenamed\t-\t7\t\n", 0, true, 1, 5 },
	{ "", 0, false, 0, 0 },
	{ "number\tfate\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta\tb\n", 0, false, 0, 0 },
	{ HEAD "1\tlost\t-\t5\ta\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t-5\ta\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t99999999999999999999\ta\n", 0, false, 0, 0 },
	{ HEAD "x\tleft\t-\t5\ta\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t\t5\ta\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta\0b\n", sizeof(HEAD) + 15, false, 0, 0 },
	{ HEAD "4294967296\tleft\t-\t5\ta\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t18446744073709551615\ta\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta b\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta\\\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta\\x0\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta\\x0g\n", 0, false, 0, 0 },
	{ HEAD "1\tleft\t-\t5\ta\\x00\n", 0, true, 1, 5 },
	{ HEAD "\n", 0, false, 0, 0 },
};

/* In pieces of each length. */
static void test_lines(void **state)
{
	size_t i, step, at;

	(void)state;
	for (i = 0; i < N_ELEMENTS(lines); i++) {
		size_t n = lines[i].n ? lines[i].n : strlen(lines[i].text);

		for (step = 1; step <= n + 1; step++) {
			struct listing_reader *r;
			struct listing_sums sums;
			const char *why;

			listing_begin(&r, NULL, NULL);
			for (at = 0; at < n; at += step)
				listing_feed(r, lines[i].text + at,
					n - at < step ? n - at : step);
			why = listing_end(&r, &sums);
			if ((why == NULL) != lines[i].good)
				fail_msg("row %zu, step %zu: %s", i, step,
					why ? why : "good");
			assert_int_equal(sums.known, lines[i].good);
			if (lines[i].good) {
				assert_int_equal(
					listing_total(sums.count), lines[i].listed);
				assert_int_equal(sums.octets, lines[i].octets);
			}
		}
	}
}

static void test_endless(void **state)
{
	char *many = xcalloc(1, 2 * LISTING_LINE_MAX);
	struct listing_reader *r;
	struct listing_sums sums;

	(void)state;
	memset(many, 'x', 2 * LISTING_LINE_MAX);
	listing_begin(&r, NULL, NULL);
	assert_string_equal(
		listing_feed(r, many, 2 * LISTING_LINE_MAX), "has an endless line");
	assert_string_equal(listing_end(&r, &sums), "has an endless line");
	free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_untold),
		cmocka_unit_test(test_heard),
		cmocka_unit_test(test_misheard),
		cmocka_unit_test(test_sealed_early),
		cmocka_unit_test(test_nothing_new),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_removed_many),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_endless),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
