/*
 * t_recover_crypt.c: damage in encrypted archives: of age a bad byte costs the messages
 * of its chunk, as it costs those of its member elsewhere; of CMS the whole segment;
 * and each message is good, or named as lost.
 */
#include "t_closed.h"

enum { LARGE = 60, LARGE_SIZE = 30000 };

/* ---- archives of several chunks ---- */

/* Of message i: too large, and too random, for two of them to be in one chunk of
 * age. */
static char *large(unsigned i, size_t *n)
{
	char *p = xmalloc(LARGE_SIZE);
	uint32_t x = 99 + i;
	size_t k;

	*n = LARGE_SIZE;
	k = (size_t)snprintf(p, 64, "Subject: large %u\r\n\r\n", i);
	for (; k < LARGE_SIZE; k++) {
		x = x * 1664525 + 1013904223;
		p[k] = (char)(x >> 24);
	}
	return p;
}

static void put_large(struct archive_writer *w, unsigned i)
{
	size_t n;
	char *p = large(i, &n);
	struct message *m = message_from(spool, p, n);
	struct err err = ERR_INIT;
	struct archive_entry e;
	char uidl[32];
	uint64_t seq;

	e = entry_of(i, uidl);
	ok(archive_put(w, m, &e, &seq, &err), &err);
	message_free(&m);
	free(p);
}

static void closed_large(struct closed *c, enum archive_codec codec, unsigned kind)
{
	struct recipients *to = to_both(kind);
	struct archive_config cfg = { .slug = "acme",
		.codec = codec,
		.member_bytes = 64 * 1024,
		.recipients = to };
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;
	unsigned i;

	*c = (struct closed){ .dir = scratch() };
	c->at = xasprintf("%s/a", c->dir);
	c->st = xasprintf("%s/s", c->dir);
	assert_int_equal(mkdir(c->at, 0700), 0);
	assert_int_equal(mkdir(c->st, 0700), 0);
	cfg.path = c->at;
	cfg.state = c->st;
	ok(archive_open(&w, &cfg, &err), &err);
	for (i = 0; i < LARGE; i++)
		put_large(w, i);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	recipients_close(&to);
	read_as(c, keys.key[kind][0]);
}

static char *segment_of(const struct closed *c, enum archive_codec codec, unsigned kind)
{
	return xasprintf("%s/segments/acme-000001.%s%s", c->at, suffixes[codec],
		kind ? ".p7m" : ".age");
}

/* ---- what is told, and what is there ---- */

struct losses {
	bool lost[LARGE + 1];
	char why[ERR_TEXT];
};

static void lose(void *ctx, uint64_t first, uint64_t last, const char *why)
{
	struct losses *l = ctx;

	for (; first <= last && first <= LARGE; first++)
		l->lost[first] = true;
	snprintf(l->why, sizeof(l->why), "%s", why);
}

/* By its number alone, as show has it. */
static bool is_there(struct archive_reader *r, unsigned i)
{
	struct same s = { .right = true };
	char *want = large(i, &s.n);
	struct err err = ERR_INIT;
	enum status rc;

	s.want = want;
	rc = archive_get(r, i + 1, same_take, &s, &err);
	free(want);
	if (rc != ST_OK)
		assert_int_equal(rc, ST_DENIED);
	else
		assert_true(s.right && s.at == s.n);
	return rc == ST_OK;
}

/* How many are lost; each that is told as good can be had. */
static unsigned recover(const struct closed *c, struct losses *l)
{
	const struct archive_access access = { .identities = c->ids };
	struct archive_reader *r = NULL;
	struct archive_recovery out;
	struct err err = ERR_INIT;
	unsigned i, n = 0;
	enum status rc;

	memset(l, 0, sizeof(*l));
	rc = archive_recover(c->at, c->ids, &out, lose, l, &err);
	assert_int_equal(out.good + out.lost, LARGE);
	assert_int_equal(rc, out.lost ? ST_DENIED : ST_OK);
	ok(archive_read_as(&r, c->at, &access, &err), &err);
	for (i = 0; i < LARGE; i++) {
		n += l->lost[i + 1];
		if (!l->lost[i + 1] && !is_there(r, i))
			fail_msg("message %u was told to be good", i + 1);
	}
	archive_done(&r);
	assert_int_equal(n, out.lost);
	return n;
}

static void verify_names(const struct closed *c)
{
	const struct archive_access access = { .identities = c->ids };
	struct findings f = { 0 };
	struct archive_reader *r = NULL;
	struct archive_check check;
	struct err err = ERR_INIT;

	ok(archive_read_as(&r, c->at, &access, &err), &err);
	assert_int_equal(archive_verify(r, &check, note_finding, &f, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_non_null(strstr(f.all, "was changed"));
	if (check.messages && check.messages < LARGE)
		assert_non_null(strstr(f.all, "cannot be read"));
	archive_done(&r);
}

/* ---- a bad byte ---- */

static void one_bad(enum archive_codec codec, unsigned kind, unsigned most)
{
	struct losses l;
	struct closed c;
	size_t n, at;
	char *path, *text;

	closed_large(&c, codec, kind);
	assert_int_equal(recover(&c, &l), 0);
	path = segment_of(&c, codec, kind);
	text = slurp(path, &n);
	/* Behind the header; the last one is in the tables. */
	for (at = 2000; at < n; at += n / 9) {
		unsigned lost;

		text[at] ^= 1;
		spit(path, text, n);
		text[at] ^= 1;
		lost = recover(&c, &l);
		/* The way through a zip ends at a header that cannot be read. */
		if (codec == ARCHIVE_ZIP)
			most = (unsigned)(LARGE - LARGE * at / n + 4);
		if (lost > most)
			fail_msg("%s: a bad byte at %zu of %zu costs %u messages: %s",
				suffixes[codec], at, n, lost, l.why);
		verify_names(&c);
	}
	free(text);
	free(path);
	closed_drop(&c);
}

static void test_one_bad(void **state)
{
	enum archive_codec codec;

	(void)state;
	/* A chunk has parts of up to four messages; what is compressed stands in
	 * members of three, of which a chunk touches two. */
	for (codec = ARCHIVE_GZ; codec <= ARCHIVE_NONE; codec++)
		one_bad(codec, 0, codec == ARCHIVE_NONE ? 4 : 6);
}

/* It has one tag: all of it, or nothing. */
static void test_whole(void **state)
{
	struct losses l;

	(void)state;
	one_bad(ARCHIVE_GZ, 1, LARGE);
	{
		struct closed c;
		char *path, *text;
		size_t n;

		closed_large(&c, ARCHIVE_GZ, 1);
		path = segment_of(&c, ARCHIVE_GZ, 1);
		text = slurp(path, &n);
		text[n / 2] ^= 1;
		spit(path, text, n);
		assert_int_equal(recover(&c, &l), LARGE);
		assert_non_null(strstr(l.why, "its tag is wrong"));
		free(text);
		free(path);
		closed_drop(&c);
	}
}

/* ---- cut off ---- */

static void test_cut(void **state)
{
	static const enum archive_codec c[] = { ARCHIVE_GZ, ARCHIVE_ZST, ARCHIVE_NONE };
	size_t i, n, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(c); i++) {
		struct losses l;
		struct closed a;
		char *path, *text;

		closed_large(&a, c[i], 0);
		path = segment_of(&a, c[i], 0);
		text = slurp(path, &n);
		for (k = 1; k < 4; k++) {
			unsigned lost;

			spit(path, text, n * k / 4);
			lost = recover(&a, &l);
			/* Nearly all that stands before is there. */
			if (lost > LARGE * (4 - k) / 4 + 6)
				fail_msg("%s: %zu quarters have %u messages",
					suffixes[c[i]], k, LARGE - lost);
			verify_names(&a);
		}
		free(text);
		free(path);
		closed_drop(&a);
	}
}

/* ---- an index ---- */

/* It cannot be made as it was; what is in the segment can be had all the same. */
static void test_index(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct archive_recovery out;
		struct err err = ERR_INIT;
		struct losses l = { 0 };
		struct closed c;
		char *path;

		closed_open(&c, ARCHIVE_GZ, i % 2);
		path = xasprintf(
			"%s/segments/acme-000002.idx%s", c.at, i % 2 ? ".p7m" : ".age");
		unlink(path);
		if (i / 2)
			spit(path, "rubbish", 7);
		ok(archive_recover(c.at, c.ids, &out, lose, &l, &err), &err);
		assert_int_equal(out.good, ALL);
		assert_int_equal(out.indexes, 0);
		assert_int_equal(out.unmade, 1);
		free(path);
		closed_drop(&c);
	}
}

/* Nobody else, and nothing else. */
static void test_keys(void **state)
{
	struct archive_recovery out;
	struct err err = ERR_INIT;
	struct losses l;
	struct closed c;

	(void)state;
	closed_open(&c, ARCHIVE_GZ, 0);
	assert_int_equal(archive_recover(c.at, NULL, &out, lose, &l, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	read_as(&c, keys.other);
	err = (struct err)ERR_INIT;
	assert_int_equal(archive_recover(c.at, c.ids, &out, lose, &l, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	closed_drop(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_bad),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
