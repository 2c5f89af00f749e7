/*
 * t_archive_seal.c: seals, their tree and chain, the custody log; and VERIFY.sh, which
 * must come to the same result without popferry.
 */
#include "archive_kit.h"

#include "../../src/archive/form/hash.h"
#include "../../src/archive/form/segment.h"
#include "../../src/archive/form/tree.h"

#include <dirent.h>

enum { EACH = 50, SHELL_EACH = 2 };

/* ---- archives ---- */

static unsigned verify_as(const char *dir, const struct archive_how *how,
	struct findings *f, struct archive_check *c)
{
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;

	memset(f, 0, sizeof(*f));
	memset(c, 0, sizeof(*c));
	if (archive_read(&r, dir, &err) != ST_OK) {
		assert_int_equal(err.exit, EX_DATAERR);
		return 1;
	}
	archive_verify_as(r, how, c, note_finding, f, &err);
	if (err.exit && err.exit != EX_DATAERR)
		fail_msg("%s", err.text);
	assert_int_equal(c->damaged, f->n);
	archive_done(&r);
	return f->n;
}

static unsigned verify(const char *dir, struct findings *f)
{
	struct archive_check c;

	return verify_as(dir, NULL, f, &c);
}

static char *path_in(const char *dir, const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static char *read_in(const char *dir, const char *name, size_t *n)
{
	char *path = path_in(dir, name), *text = slurp(path, n);

	free(path);
	return text;
}

static void write_in(const char *dir, const char *name, const void *p, size_t n)
{
	char *path = path_in(dir, name);

	spit(path, p, n);
	free(path);
}

/* The file's line in manifest-sha256.txt becomes right again, or goes (text NULL). */
static void forge(const char *dir, const char *name, const char *text, size_t n)
{
	char sha[65], *manifest, *at, *line = xasprintf("  %s\n", name), *path;
	size_t all;

	path = path_in(dir, name);
	if (text)
		spit(path, text, n);
	else
		unlink(path);
	file_sha(dir, name, sha);
	manifest = read_in(dir, "manifest-sha256.txt", &all);
	at = strstr(manifest, line);
	assert_non_null(at);
	if (text) {
		memcpy(at - 64, sha, 64);
	} else {
		char *next = at + strlen(line);

		memmove(at - 64, next, (size_t)(manifest + all - next));
		all -= (size_t)(next - at) + 64;
	}
	write_in(dir, "manifest-sha256.txt", manifest, all);
	free(manifest);
	free(line);
	free(path);
}

/* ---- VERIFY.sh ---- */

/* A copy of what popferry writes, since that in the archive may be what is damaged. */
static int shell(const char *script, const char *dir, char *said, size_t cap)
{
	char *out = xasprintf("%s.out", dir), *text;
	const char *const argv[] = { "sh", script, dir, NULL };
	size_t n;
	int rc = tool("/", out, argv);

	text = slurp(out, &n);
	snprintf(said, cap, "%s", text);
	unlink(out);
	free(text);
	free(out);
	return rc;
}

/* ---- the tree ---- */

/* RFC 6962, 2.1, as it is written there. */
static void naive(
	const unsigned char (*leaf)[DIGEST], size_t n, unsigned char out[DIGEST])
{
	unsigned char both[1 + 2 * DIGEST] = { 1 };
	size_t k = 1;

	if (n == 1) {
		memcpy(out, leaf[0], DIGEST);
		return;
	}
	while (2 * k < n)
		k *= 2;
	naive(leaf, k, both + 1);
	naive(leaf + k, n - k, both + 1 + DIGEST);
	hash_of(both, sizeof(both), out);
}

static void test_tree(void **state)
{
	enum { MOST = 70 };
	unsigned char leaf[MOST][DIGEST], want[DIGEST], got[DIGEST];
	struct tree t = { 0 };
	unsigned i;

	(void)state;
	for (i = 0; i < MOST; i++) {
		hash_of(&i, sizeof(i), leaf[i]);
		tree_add(&t, leaf[i]);
		assert_int_equal(t.n, i + 1);
		assert_int_equal(t.edges, __builtin_popcount(i + 1));
		naive((const unsigned char(*)[DIGEST])leaf, i + 1, want);
		tree_root(&t, got);
		assert_memory_equal(want, got, DIGEST);
	}
}

/* By the text in FORMAT: the leaf of a message. */
static void test_leaf(void **state)
{
	static const char text[] =
		"\0v1 42 "
		"0101010101010101010101010101010101010101010101010101010101010101 "
		"1234 02020202020202020202020202020202";
	unsigned char salt[SALT], want[DIGEST], got[DIGEST];
	struct idx_row r = { .seq = 42, .size = 1234 };

	(void)state;
	memset(r.sha, 1, sizeof(r.sha));
	memset(salt, 2, sizeof(salt));
	hash_of(text, sizeof(text) - 1, want);
	tree_leaf(got, &r, salt);
	assert_memory_equal(want, got, DIGEST);
}

/* ---- good ones ---- */

static void test_good(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = sealed(codecs[k]), *script = path_in(dir, "VERIFY.sh");
		struct archive_how quick = { true, 0 }, some = { true, 5 };
		struct archive_check c;
		struct findings f;
		char said[4096];

		if (verify_as(dir, NULL, &f, &c))
			fail_msg("%s", f.all);
		assert_int_equal(c.segments, 3);
		assert_int_equal(c.seals, 3);
		assert_int_equal(c.messages, 14);
		assert_int_equal(c.unsealed, 0);
		assert_int_equal(c.events, 6); /* retrieved and sealed, each */
		assert_int_equal(verify_as(dir, &quick, &f, &c), 0);
		assert_int_equal(c.messages, 14);
		assert_int_equal(c.seals, 3);
		assert_int_equal(verify_as(dir, &some, &f, &c), 0);
		if (shell(script, dir, said, sizeof(said)) != 0)
			fail_msg("%s: %s", suffixes[k], said);
		assert_non_null(strstr(said, "good: 3 segments, 14 messages"));
		remove_all(dir);
		free(script);
		free(dir);
	}
}

/* ---- damage ---- */

static const char *const files[] = { "archive.json", "README.txt", "VERIFY.sh",
	"manifest-sha256.txt", "log/custody.jsonl", "seals/acme-000001.seal.json",
	"seals/acme-000003.seal.json", "segments/acme-000002.idx", NULL };

/* Each place is found by popferry, some of them by VERIFY.sh too (script NULL:
 * none). */
static void flip(const char *dir, const char *script, const char *name)
{
	size_t n, i, at = 0;
	char *text = read_in(dir, name, &n), said[4096];
	struct findings f;

	for (i = 0; i < EACH / (size_t)stride_of(7); i++) {
		at = (at + 7919 * (i + 1)) % n;
		text[at] ^= (char)(1 << i % 8);
		write_in(dir, name, text, n);
		if (verify(dir, &f) == 0)
			fail_msg("%s: byte %zu of %zu is not found", name, at, n);
		if (script && i < SHELL_EACH / (size_t)stride_of(4) &&
			shell(script, dir, said, sizeof(said)) != 65)
			fail_msg("%s: VERIFY.sh does not find byte %zu: %s", name, at,
				said);
		text[at] ^= (char)(1 << i % 8);
	}
	write_in(dir, name, text, n);
	assert_int_equal(verify(dir, &f), 0);
	free(text);
}

static void test_flips(void **state)
{
	size_t k, i;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = sealed(codecs[k]), *script = xasprintf("%s.sh", dir),
		     *segment = xasprintf("segments/acme-000001.%s", suffixes[k]),
		     *text;
		size_t n;

		text = read_in(dir, "VERIFY.sh", &n);
		spit(script, text, n);
		flip(dir, script, segment);
		for (i = 0; k == 0 && files[i]; i++)
			flip(dir, i % (size_t)stride_of(2) ? NULL : script, files[i]);
		unlink(script);
		remove_all(dir);
		free(text);
		free(segment);
		free(script);
		free(dir);
	}
}

/* Whoever damages a file and makes its line in the manifest right is found as well. */
static void test_forged(void **state)
{
	static const struct {
		const char *name;
		const char *was, *is; /* NULL: the file goes */
		const char *finding;
	} rows[] = {
		{ "seals/acme-000001.seal.json", "\"stored\":null", "\"stored\":9999",
			"000001.seal.json is not the seal that was made" },
		{ "seals/acme-000001.seal.json", "\"stored\":null", "\"stored\":9999",
			"000002.seal.json does not follow" },
		{ "seals/acme-000003.seal.json", "\"stored\":null", "\"stored\":9999",
			"is not the seal that was made" },
		{ "seals/acme-000003.seal.json", "\"count\":4", "\"count\":5",
			"is of messages 11 to 14" },
		{ "seals/acme-000003.seal.json", "\"seal\":3", "\"seal\":4",
			"is damaged" },
		{ "seals/acme-000002.seal.json", NULL, NULL,
			"acme-000002.seal.json is missing" },
		{ "seals/acme-000003.seal.json", NULL, NULL,
			"acme-000003.seal.json is missing" },
		{ "segments/acme-000002.idx", "\t1\t", "\t2\t",
			"segments/acme-000002.idx is not the file that was sealed" },
		{ "archive.json", "\"a\":[1,", "\"a\":[2,",
			"archive.json is not the file that was sealed" },
	};
	char *dir = sealed(ARCHIVE_GZ), *script = path_in(dir, "VERIFY.sh");
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		size_t n, manifest_n;
		char *text = read_in(dir, rows[k].name, &n), *at, said[4096];
		char *manifest = read_in(dir, "manifest-sha256.txt", &manifest_n);
		char *other = xmemdup0(text, n);
		struct findings f;

		if (rows[k].is) {
			at = strstr(other, rows[k].was);
			assert_non_null(at);
			memcpy(at, rows[k].is, strlen(rows[k].is));
		}
		forge(dir, rows[k].name, rows[k].is ? other : NULL, n);
		assert_true(verify(dir, &f) > 0);
		if (!strstr(f.all, rows[k].finding))
			fail_msg("%s: not told: %s", rows[k].finding, f.all);
		if (!strstr(rows[k].name, ".idx") && k % (size_t)stride_of(3) == 0 &&
			shell(script, dir, said, sizeof(said)) != 65)
			fail_msg("%s: %s", rows[k].finding, said);
		write_in(dir, rows[k].name, text, n);
		write_in(dir, "manifest-sha256.txt", manifest, manifest_n);
		free(other);
		free(manifest);
		free(text);
	}
	remove_all(dir);
	free(script);
	free(dir);
}

/* ---- the custody log ---- */

static void drop_in(const char *dir, const char *name)
{
	char *path = path_in(dir, name);

	unlink(path);
	free(path);
}

/* The anchor tells of the first so many lines. */
static void anchor_of(const char *dir, unsigned events)
{
	unsigned char sha[DIGEST];
	char hex[2 * DIGEST + 1], *log, *s, *end, *text;
	unsigned i;
	size_t n;

	s = log = read_in(dir, "log/custody.jsonl", &n);
	for (i = 1; (end = strchr(s, '\n')) && i < events; i++)
		s = end + 1;
	assert_non_null(end);
	hash_of(s, (size_t)(end - s), sha);
	text = xasprintf("{\"events\":%u,\"head\":\"%s\"}\n", events,
		text_hex(hex, sha, DIGEST));
	drop_in(dir, "log/custody.head");
	write_in(dir, "log/custody.head", text, strlen(text));
	free(text);
	free(log);
}

/* Two events after the last seal, whose lines then are 7 and 8 of the log. */
static char *anchored(char **script)
{
	char *dir = sealed(ARCHIVE_GZ);

	*script = path_in(dir, "VERIFY.sh");
	ok(archive_note(dir, "export", "a", NULL, NULL), NULL);
	ok(archive_note(dir, "export", "b", NULL, NULL), NULL);
	return dir;
}

/* What both say; and that no event makes it be forgotten. */
static void goes_astray(const char *dir, const char *script, const char *finding)
{
	struct err err = ERR_INIT;
	struct findings f;
	char said[4096];
	unsigned i;

	for (i = 0; i < 2; i++) {
		if (verify(dir, &f) != 1 || !strstr(f.all, finding))
			fail_msg("%s: not told: %s", finding, f.all);
		if (shell(script, dir, said, sizeof(said)) != 65 ||
			!strstr(said, "log/custody."))
			fail_msg("%s: %s", finding, said);
		assert_int_equal(
			archive_note(dir, "export", "c", NULL, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
	}
}

static void is_good(const char *dir, const char *script)
{
	struct findings f;
	char said[4096];

	if (verify(dir, &f))
		fail_msg("%s", f.all);
	if (shell(script, dir, said, sizeof(said)) != 0)
		fail_msg("%s", said);
}

/* Lines that no seal has seen yet. */
static void test_anchor(void **state)
{
	static const char head[] = "log/custody.head", lines[] = "log/custody.jsonl";
	char *script, *dir = anchored(&script), *log, *was, *at;
	size_t n, head_n, less;
	struct archive_check c;
	struct err err = ERR_INIT;
	struct findings f;

	(void)state;
	is_good(dir, script);
	log = read_in(dir, lines, &n);
	was = read_in(dir, head, &head_n);
	assert_non_null(strstr(was, "{\"events\":8,"));
	at = memrchr(log, '\n', n - 1);
	less = (size_t)(at - log) + 1;
	write_in(dir, lines, log, less);
	goes_astray(dir, script,
		"has lost lines: log/custody.head tells of 8 events, it has 7");
	/* A run does not go on with it. */
	assert_int_equal(archive_hold_release(dir, 1, "x", NULL, &err), ST_DENIED);
	assert_non_null(strstr(err.text, "has lost lines"));
	/* Another line 8. */
	anchor_of(dir, 7);
	ok(archive_note(dir, "export", "z", NULL, NULL), NULL);
	is_good(dir, script);
	write_in(dir, head, was, head_n);
	goes_astray(dir, script, "line 8 or one before it was changed");
	/* A death between the two, and what that left. */
	write_in(dir, lines, log, n);
	anchor_of(dir, 7);
	write_in(dir, "log/.custody.head.1.new", "x", 1);
	is_good(dir, script);
	ok(archive_note(dir, "export", "c", NULL, NULL), NULL);
	is_good(dir, script);
	at = path_in(dir, "log/.custody.head.1.new");
	assert_int_equal(access(at, F_OK), -1);
	free(at);
	free(was);
	was = read_in(dir, head, &head_n);
	assert_non_null(strstr(was, "{\"events\":9,"));
	/* None, in an archive that had one, and in one that never had. */
	drop_in(dir, head);
	goes_astray(dir, script, "log/custody.head is missing");
	write_in(dir, head, was, head_n);
	is_good(dir, script);
	assert_int_equal(verify_as(dir, NULL, &f, &c), 0);
	assert_false(c.unanchored);
	remove_all(dir);
	free(log);
	free(was);
	free(script);
	free(dir);
}

static void test_anchor_flips(void **state)
{
	char *script, *dir = anchored(&script);

	(void)state;
	flip(dir, script, "log/custody.head");
	remove_all(dir);
	free(script);
	free(dir);
}

/* Of a version whose archive.json had not this key. free() the name. */
static char *made_without(const char *key, const char *other)
{
	char *dir = scratch(), *json, *at;
	size_t n;

	make_archive(dir, ARCHIVE_GZ, MEMBER);
	json = read_in(dir, "archive.json", &n);
	at = strstr(json, key);
	assert_non_null(at);
	assert_int_equal(strlen(key), strlen(other));
	memcpy(at, other, strlen(other));
	write_in(dir, "archive.json", json, n);
	free(json);
	fill_sealed(dir, ARCHIVE_GZ, 0, 8, 5);
	return dir;
}

/* An archive of a version that made none is good; the next event makes it. */
static void test_anchor_none(void **state)
{
	char *dir = made_without("\"log_head\"", "\"log_more\""),
	     *script = path_in(dir, "VERIFY.sh"), said[4096];
	struct archive_check c;
	struct findings f;

	(void)state;
	drop_in(dir, "log/custody.head");
	assert_int_equal(verify_as(dir, NULL, &f, &c), 0);
	assert_true(c.unanchored);
	assert_int_equal(shell(script, dir, said, sizeof(said)), 0);
	assert_non_null(strstr(said, "log/custody.head is missing: what was dropped"));
	ok(archive_note(dir, "export", "a", NULL, NULL), NULL);
	assert_int_equal(verify_as(dir, NULL, &f, &c), 0);
	assert_false(c.unanchored);
	remove_all(dir);
	free(script);
	free(dir);
}

static void test_custody(void **state)
{
	static const struct {
		const char *was, *is;
		const char *finding;
	} rows[] = {
		{ "\"event\":\"seal\"", "\"event\":\"deal\"",
			"line 2: it was changed" },
		{ "\"n\":6", "\"n\":7", "line 6: it was changed" },
	};
	char *dir = sealed(ARCHIVE_GZ), *script = path_in(dir, "VERIFY.sh"), *log, *at,
	     said[4096];
	struct findings f;
	size_t n, k;

	(void)state;
	log = read_in(dir, "log/custody.jsonl", &n);
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		char *other = xmemdup0(log, n);

		at = strstr(other, rows[k].was);
		assert_non_null(at);
		memcpy(at, rows[k].is, strlen(rows[k].is));
		write_in(dir, "log/custody.jsonl", other, n);
		assert_int_equal(verify(dir, &f), 1);
		if (!strstr(f.all, rows[k].finding))
			fail_msg("%s: not told: %s", rows[k].finding, f.all);
		assert_int_equal(shell(script, dir, said, sizeof(said)), 65);
		free(other);
	}
	at = strchr(log, '\n') + 1; /* without the first */
	write_in(dir, "log/custody.jsonl", at, n - (size_t)(at - log));
	assert_int_equal(verify(dir, &f), 1);
	assert_non_null(strstr(f.all, "line 1: lines before it are missing"));
	assert_int_equal(shell(script, dir, said, sizeof(said)), 65);
	/* What a power cut left of an event that never was one. */
	at = xasprintf("%s{\"actor\":", log);
	write_in(dir, "log/custody.jsonl", at, strlen(at));
	free(at);
	assert_int_equal(verify(dir, &f), 1);
	assert_non_null(strstr(f.all, "its last line is cut"));
	assert_int_equal(shell(script, dir, said, sizeof(said)), 65);
	ok(archive_note(dir, "export", "out.zip", "{\"messages\":3}", NULL), NULL);
	assert_int_equal(verify(dir, &f), 0);
	assert_int_equal(shell(script, dir, said, sizeof(said)), 0);
	/* Not even those that who took them makes the anchor forget. */
	write_in(dir, "log/custody.jsonl", log, (size_t)(strchr(log, '\n') - log) + 1);
	anchor_of(dir, 1);
	assert_int_equal(verify(dir, &f), 1);
	assert_non_null(strstr(f.all, "has lost lines: seal 2"));
	assert_int_equal(shell(script, dir, said, sizeof(said)), 65);
	write_in(dir, "log/custody.jsonl", "x\n", 2);
	assert_true(verify(dir, &f) > 0);
	assert_int_equal(archive_note(dir, "export", "out", NULL, NULL), ST_DENIED);
	at = path_in(dir, "log/custody.jsonl");
	unlink(at);
	free(at);
	assert_int_equal(verify(dir, &f), 1);
	assert_non_null(strstr(
		f.all, "has lost lines: log/custody.head tells of 1 event, it has 0"));
	drop_in(dir, "log/custody.head");
	assert_int_equal(verify(dir, &f), 1);
	assert_non_null(strstr(f.all, "is missing: seal 1"));
	assert_int_equal(shell(script, dir, said, sizeof(said)), 65);
	assert_int_equal(archive_note(dir, "export", "out", NULL, NULL), ST_END);
	remove_all(dir);
	free(log);
	free(script);
	free(dir);
}

/* ---- what is no file ---- */

static void no_file(const char *path, const char *away, unsigned kind)
{
	assert_int_equal(kind == 0  ? symlink(away, path)
			: kind == 1 ? mkfifo(path, 0600)
				    : mkdir(path, 0700),
		0);
}

/* Both name it, and nobody waits for a pipe. */
static void finds(const char *dir, const char *script, const char *name)
{
	struct archive_how quick = { true, 0 };
	struct archive_check c;
	struct findings f;
	char said[4096];

	assert_true(verify_as(dir, &quick, &f, &c) > 0);
	if (c.damaged && !strstr(f.all, name))
		fail_msg("%s: not told: %s", name, f.all);
	if (shell(script, dir, said, sizeof(said)) != 65 || !strstr(said, name))
		fail_msg("%s: VERIFY.sh: %s", name, said);
}

/* Links (to the very same bytes), pipes and folders in place of files, also of those
 * that are not listed yet; and links in place of folders. */
static void test_no_files(void **state)
{
	static const char *const names[] = { "manifest-sha256.txt", "archive.json",
		"README.txt", "log/custody.jsonl", "log/custody.head",
		"seals/acme-000001.seal.json", "seals/acme-000001.seal.p7s",
		"seals/acme-000003.seal.tsr", "segments/acme-000002.idx",
		"trust/signer-0123.pem", "policy/hold-000001.json", "seals/other",
		"more" };
	static const char *const folders[] = { "log", "policy", "seals", "segments",
		"trust" };
	char *dir = sealed(ARCHIVE_GZ), *away = xasprintf("%s.away", dir),
	     *script = xasprintf("%s.sh", dir), *text;
	struct findings f;
	unsigned i, k;
	size_t n;

	(void)state;
	text = read_in(dir, "VERIFY.sh", &n);
	spit(script, text, n);
	free(text);
	for (i = 0; i < N_ELEMENTS(folders); i++) {
		char *path = path_in(dir, folders[i]);

		mkdir(path, 0700);
		free(path);
	}
	for (i = 0; i < N_ELEMENTS(names); i++) {
		char *path = path_in(dir, names[i]);
		bool there = rename(path, away) == 0;

		/* A link to nothing is one, too; but there may be more folders. */
		for (k = 0; k < 2 + (i + 1 < N_ELEMENTS(names)); k++) {
			no_file(path, away, k);
			finds(dir, script, names[i]);
			assert_int_equal(remove(path), 0);
		}
		if (there)
			rename(away, path);
		free(path);
	}
	for (i = 0; i < N_ELEMENTS(folders); i++) {
		char *path = path_in(dir, folders[i]);

		assert_int_equal(rename(path, away), 0);
		no_file(path, away, 0);
		finds(dir, script, folders[i]);
		unlink(path);
		spit(path, "x", 1);
		finds(dir, script, folders[i]);
		unlink(path);
		rename(away, path);
		free(path);
	}
	assert_int_equal(verify(dir, &f), 0);
	remove_all(dir);
	unlink(script);
	free(script);
	free(away);
	free(dir);
}

/* ---- archives of 0.1.0 ---- */

static void forget(const char *dir, const char *name)
{
	char *path = path_in(dir, name);

	if (strstr(name, "seals/"))
		forge(dir, name, NULL, 0);
	remove_all(path);
	free(path);
}

/* No seals: told, and good; the next segment begins their chain. */
static void test_old(void **state)
{
	char *dir = made_without("\"tree\"", "\"more\""),
	     *script = path_in(dir, "VERIFY.sh"), said[4096];
	struct archive_check c;
	struct findings f;

	(void)state;
	forget(dir, "seals/acme-000001.seal.json");
	forget(dir, "seals/acme-000002.seal.json");
	forget(dir, "log");
	forget(dir, "seals");
	assert_int_equal(verify_as(dir, NULL, &f, &c), 0);
	assert_int_equal(c.unsealed, 2);
	assert_int_equal(c.seals, 0);
	assert_int_equal(c.segments, 2);
	assert_int_equal(shell(script, dir, said, sizeof(said)), 0);
	assert_non_null(
		strstr(said, "2 segments without a seal, made by popferry 0.1.0"));
	fill_sealed(dir, ARCHIVE_GZ, 8, 14, 4);
	if (verify_as(dir, NULL, &f, &c))
		fail_msg("%s", f.all);
	assert_int_equal(c.unsealed, 2);
	assert_int_equal(c.seals, 2);
	if (shell(script, dir, said, sizeof(said)) != 0)
		fail_msg("%s", said);
	/* From then on each must have one. */
	forget(dir, "seals/acme-000004.seal.json");
	assert_true(verify(dir, &f) > 0);
	assert_non_null(strstr(f.all, "acme-000004.seal.json is missing"));
	remove_all(dir);
	free(script);
	free(dir);
}

/* ---- less than all of it ---- */

/* A forged segment is only found by who unpacks; another file is found by all. */
static void test_quick(void **state)
{
	struct archive_how quick = { true, 0 }, all = { true, 14 };
	char *dir = sealed(ARCHIVE_NONE), *text, *at;
	struct archive_check c;
	struct findings f;
	size_t n;

	(void)state;
	text = read_in(dir, "segments/acme-000002.tar", &n);
	at = memmem(text, n, "\r\n\r\n", 4);
	assert_non_null(at);
	at[9] ^= 1;
	write_in(dir, "segments/acme-000002.tar", text, n);
	assert_int_equal(verify_as(dir, &quick, &f, &c), 1);
	assert_int_equal(c.messages, 9); /* of the others */
	assert_int_equal(verify_as(dir, &all, &f, &c), 2);
	assert_non_null(strstr(f.all, "message "));
	remove_all(dir);
	free(text);
	free(dir);
}

/* ---- what a segment is compared with before it is sealed ---- */

enum { MADE_MOST = 32 };

/* From the tar itself: the tables' digests, and the hashes of the paths. */
static void make(struct segment_made *m, const char *tar, size_t n)
{
	size_t at = 0, found = 0, skip = strlen("acme-000001/");
	char path[TAR_PATH_MAX];
	uint64_t size, seq;
	int tag;

	memset(m, 0, sizeof(*m));
	m->paths = xcalloc(MADE_MOST, sizeof(*m->paths));
	for (; at < n && tar_header(tar + at, path, &size); at += tar_room(size)) {
		if (entry_path_seq(path + skip, false, &seq)) {
			assert_true(found < MADE_MOST);
			m->paths[found++] = segment_path(path + skip);
		}
		for (tag = 0; tag < TAGS; tag++)
			if (strcmp(path + skip, tag_names[tag]) == 0) {
				m->sums.has[tag] = true;
				hash_of(tar + at + TAR_BLOCK, size, m->sums.of[tag]);
			}
	}
}

static uint64_t findings_of(
	struct bytes *b, const struct idx *x, const struct segment_made *m, bool tree)
{
	struct segment_facts facts = { .made = m };
	struct err err = ERR_INIT;
	struct tally t = { 0 };

	assert_int_equal(segment_check(b, ARCHIVE_NONE, "acme-000001", "it", x, &facts,
				 &t, &err),
		ST_OK);
	assert_int_equal(facts.has_tree, tree);
	return t.damaged;
}

/* The tables as they were made, and no other. */
static void test_made(void **state)
{
	static const enum tag tables[] = { TAG_CSV, TAG_TREE, TAG_MANIFEST };
	char *dir = sealed(ARCHIVE_NONE), *path, *tar;
	struct segment_made m;
	struct err err = ERR_INIT;
	struct bytes *b;
	struct idx x = { 0 };
	size_t n, i;

	(void)state;
	path = path_in(dir, "segments/acme-000001.tar");
	tar = read_in(dir, "segments/acme-000001.tar", &n);
	make(&m, tar, n);
	assert_int_equal(
		bytes_plain(&b, open(path, O_RDONLY | O_CLOEXEC), true, &err), ST_OK);
	assert_int_equal(idx_rebuild(&x, b, ARCHIVE_NONE, "acme-000001", &err), ST_OK);
	assert_int_equal(findings_of(b, &x, &m, true), 0);
	for (i = 0; i < N_ELEMENTS(tables); i++) {
		m.sums.of[tables[i]][3] ^= 1;
		assert_int_equal(findings_of(b, &x, &m, tables[i] != TAG_TREE), 1);
		m.sums.of[tables[i]][3] ^= 1;
	}
	m.paths[x.n - 1] ^= 2;
	assert_int_equal(findings_of(b, &x, &m, true), 1);
	bytes_close(&b);
	idx_free(&x);
	remove_all(dir);
	free(m.paths);
	free(tar);
	free(path);
	free(dir);
}

/* ---- beside a run ---- */

struct beside {
	const char *dir;
	unsigned n;
};

/* The first finding comes when manifest-sha256.txt was read. */
static void note_and_run(void *ctx, const char *what)
{
	struct beside *b = ctx;

	if (b->n++ > 0)
		fail_msg("%s", what);
	fill_sealed(b->dir, ARCHIVE_GZ, 16, 18, 5);
}

/* What runs at work have sealed since it was opened is no damage. */
static void test_beside_a_run(void **state)
{
	char *dir = sealed(ARCHIVE_GZ);
	struct beside b = { dir, 0 };
	struct archive_reader *r = NULL;
	struct archive_check c;
	struct err err = ERR_INIT;
	struct findings f = { 0 };

	(void)state;
	ok(archive_read(&r, dir, &err), &err);
	fill_sealed(dir, ARCHIVE_GZ, 14, 16, 5);
	archive_verify(r, &c, note_finding, &f, &err);
	if (f.n)
		fail_msg("%s", f.all);
	assert_int_equal(c.messages, 14);
	archive_done(&r);
	write_in(dir, "README.txt", "x", 1);
	ok(archive_read(&r, dir, &err), &err);
	assert_int_equal(archive_verify(r, &c, note_and_run, &b, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(b.n, 1);
	assert_int_equal(c.messages, 16);
	archive_done(&r);
	remove_all(dir);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_leaf),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_flips),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_custody),
		cmocka_unit_test(test_anchor),
		cmocka_unit_test(test_anchor_flips),
		cmocka_unit_test(test_anchor_none),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_old),
		cmocka_unit_test(test_quick),
		cmocka_unit_test(test_made),
		cmocka_unit_test(test_beside_a_run),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
