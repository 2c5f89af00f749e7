/* t_archive.c: messages go into an archive and come out again. */
#include "archive_kit.h"

#include <time.h>

/* Puts n messages, commits after each `every` (0: never), seals if asked. */
static void fill(const char *path, enum archive_codec c, unsigned n, unsigned every,
	unsigned per_segment, bool seal)
{
	struct archive_writer *w = open_archive(path, c, per_segment);
	struct err err = ERR_INIT;
	unsigned i;

	for (i = 0; i < n; i++) {
		assert_int_equal(put_one(w, spool, i), i + 1);
		if (every && (i + 1) % every == 0)
			ok(archive_commit(w, 0, &err), &err);
	}
	ok(seal ? archive_seal(w, &err) : archive_commit(w, 0, &err), &err);
	archive_close(&w);
}

static void test_round_trip(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = scratch();

		make_archive(dir, codecs[k], MEMBER);
		fill(dir, codecs[k], 25, 4, 10, false);
		check_messages(dir, 25); /* 20 sealed, 5 open */
		check_good(dir, 2, 25);
		fill(dir, codecs[k], 0, 0, 10, false); /* nothing put: stays as it is */
		check_good(dir, 2, 25);
		{
			struct archive_writer *w = open_archive(dir, codecs[k], 10);
			struct err err = ERR_INIT;

			ok(archive_seal(w, &err), &err);
			archive_close(&w);
		}
		check_messages(dir, 25);
		check_good(dir, 3, 25);
		remove_all(dir);
		free(dir);
	}
}

static void test_defaults(void **state)
{
	struct archive_config cfg = { .codec = ARCHIVE_GZ };
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;
	char *dir = scratch(), *path = xasprintf("%s/a/My Mail..2", dir);
	size_t n;
	char *text;

	(void)state;
	cfg.path = path;
	ok(archive_open(&w, &cfg, &err), &err);
	text = id_of(path);
	assert_true(text_starts(text, "urn:uuid:"));
	assert_int_equal(strlen(text), 9 + 36);
	free(text);
	put_one(w, spool, 0);
	ok(archive_seal(w, &err), &err);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	assert_true(exists(path, "segments/my-mail-2-000001.tar.gz"));
	assert_true(exists(path, "README.txt"));
	{
		char *json = xasprintf("%s/archive.json", path);

		text = slurp(json, &n);
		assert_non_null(strstr(text, "\"segment_bytes\":268435456"));
		assert_non_null(strstr(text, "\"segment_messages\":50000"));
		free(text);
		free(json);
	}
	check_good(path, 1, 1);
	/* Another codec is refused, its own is not. */
	cfg.codec_given = true;
	ok(archive_open(&w, &cfg, &err), &err);
	archive_close(&w);
	cfg.codec = ARCHIVE_ZIP;
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);
	assert_null(w);
	remove_all(dir);
	free(path);
	free(dir);
}

/* Commits, other limits of segments apart, do not show in the bytes. */
static void test_same_bytes(void **state)
{
	static const unsigned every[] = { 0, 1, 3, 7 };
	static const char *const zones[] = { "UTC", "Pacific/Auckland", "America/Lima",
		"UTC" };
	size_t k, i;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char want[2][65] = { "", "" }, got[65];

		for (i = 0; i < N_ELEMENTS(every); i++) {
			char *dir = scratch();
			unsigned s;

			setenv("TZ", zones[i], 1);
			tzset();
			make_archive(dir, codecs[k], MEMBER);
			fill(dir, codecs[k], 23, every[i], 12, true);
			for (s = 0; s < 2; s++) {
				char name[64];

				snprintf(name, sizeof(name), "segments/acme-%06u.%s",
					s + 1, suffixes[k]);
				file_sha(dir, name, got);
				assert_int_equal(strlen(got), 64);
				if (i)
					assert_string_equal(got, want[s]);
				memcpy(want[s], got, 65);
			}
			remove_all(dir);
			free(dir);
		}
	}
	unsetenv("TZ");
}

/*
 * Commits of some messages leave what was put after them for later, and none of it
 * shows in the bytes: not where segments end either. MEMBER is so small that a message
 * of some thousand bytes is a member of several pieces.
 */
static void fill_lagging(const char *path, enum archive_codec c, unsigned n,
	unsigned lag, unsigned crowd)
{
	struct archive_config cfg = { .path = path,
		.fixed = &fixed,
		.source = "pop3s://ann@pop.example.org",
		.codec = c,
		.segment_bytes = 60000,
		.threads = crowd };
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;
	unsigned i;

	ok(archive_open(&w, &cfg, &err), &err);
	for (i = 1; i <= n; i++) {
		assert_int_equal(put_one(w, spool, i - 1), i);
		if (i <= lag || i % 5)
			continue;
		ok(archive_commit(w, i - lag, &err), &err);
		assert_in_range(archive_durable(w), i - lag, i);
	}
	ok(archive_seal(w, &err), &err);
	assert_int_equal(archive_durable(w), n);
	archive_close(&w);
}

static void test_threads(void **state)
{
	static const struct {
		unsigned threads, lag;
	} rows[] = { { 1, 1000 }, { 1, 0 }, { 4, 0 }, { 4, 3 }, { 4, 17 }, { 2, 30 },
		{ 0, 1000 } };
	enum { MANY = 120 };
	size_t k, i;
	unsigned s;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char want[9][65] = { "" }, got[65], name[64];

		for (i = 0; i < N_ELEMENTS(rows); i++) {
			char *dir = scratch();

			make_archive(dir, codecs[k], MEMBER);
			fill_lagging(
				dir, codecs[k], MANY, rows[i].lag, rows[i].threads);
			for (s = 0; s < N_ELEMENTS(want); s++) {
				snprintf(name, sizeof(name), "segments/acme-%06u.%s",
					s + 1, suffixes[k]);
				file_sha(dir, name, got);
				if (i)
					assert_string_equal(got, want[s]);
				memcpy(want[s], got, sizeof(got));
			}
			assert_true(*want[1] && !*want[8]);
			check_messages(dir, MANY);
			remove_all(dir);
			free(dir);
		}
	}
}

/* What a commit of some leaves out is not there after a crash, and the rest is. */
static void test_commit_of_some(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		struct archive_writer *w;
		struct err err = ERR_INIT;
		char *dir = scratch();
		uint64_t durable;
		unsigned i;

		make_archive(dir, codecs[k], MEMBER);
		threads = 4;
		w = open_archive(dir, codecs[k], 0);
		assert_int_equal(archive_durable(w), 0);
		for (i = 0; i < 9; i++)
			put_one(w, spool, i);
		assert_int_equal(archive_durable(w), 0);
		/* 7 ends a member, and 8 and 9 are in the next one. */
		ok(archive_commit(w, 2, &err), &err);
		durable = archive_durable(w);
		assert_in_range(durable, 2, 8);
		assert_int_equal(find_one(w, spool, 8), 0);
		assert_int_equal(find_one(w, spool, 1), 2);
		ok(archive_commit(w, durable, &err), &err); /* nothing to do */
		assert_int_equal(archive_durable(w), durable);
		check_messages(dir, (unsigned)durable);
		archive_close(&w);
		w = open_archive(dir, codecs[k], 0);
		assert_int_equal(archive_durable(w), durable);
		for (i = (unsigned)durable; i < 9; i++)
			assert_int_equal(put_one(w, spool, i), i + 1);
		ok(archive_commit(w, 9, &err), &err); /* in a member under way */
		assert_int_equal(archive_durable(w), 9);
		check_messages(dir, 9);
		put_one(w, spool, 9);
		archive_close(&w);
		w = open_archive(dir, codecs[k], 0);
		assert_int_equal(archive_durable(w), 9);
		ok(archive_seal(w, &err), &err);
		assert_int_equal(archive_durable(w), 9);
		archive_close(&w);
		threads = 0;
		check_good(dir, 1, 9);
		remove_all(dir);
		free(dir);
	}
}

/* Members of the real sizes, a message larger than one, bodies in files. */
static void test_large(void **state)
{
	static const size_t sizes[] = { 700 * 1024, 400 * 1024, 5 * 1024 * 1024, 100,
		900 * 1024 };
	size_t k, i, j;
	char *big = xmalloc(5 * 1024 * 1024);
	uint32_t x = 1;

	(void)state;
	for (i = 0; i < 5 * 1024 * 1024; i++) {
		x = x * 1664525 + 1013904223;
		big[i] = (char)('a' + (x >> 28));
	}
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = scratch(), uidl[32];
		struct archive_writer *w = open_archive(dir, codecs[k], 0);
		struct archive_reader *r = NULL;
		struct archive_entry e = entry_of(0, uidl);
		struct err err = ERR_INIT;
		uint64_t seq;

		for (i = 0; i < N_ELEMENTS(sizes); i++) {
			struct message *m = message_from(spool, big, sizes[i]);

			ok(archive_put(w, m, &e, &seq, &err), &err);
			if (i != 1)
				ok(archive_commit(w, 0, &err), &err);
			message_free(&m);
		}
		for (j = 0; j < 2; j++) { /* open, then sealed */
			ok(archive_read(&r, dir, &err), &err);
			for (i = 0; i < N_ELEMENTS(sizes); i++) {
				struct same s = { big, sizes[i], 0, true };

				ok(archive_get(r, i + 1, same_take, &s, &err), &err);
				assert_true(s.right && s.at == s.n);
			}
			archive_done(&r);
			ok(archive_seal(w, &err), &err);
		}
		archive_close(&w);
		check_good(dir, 1, N_ELEMENTS(sizes));
		remove_all(dir);
		free(dir);
	}
	free(big);
}

/* ---- rows ---- */

struct rows {
	unsigned n, sealed;
};

static enum status check_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct rows *rows = ctx;
	unsigned i = rows->n++;
	char uidl[32], from[64];
	size_t n;
	char *p = bytes_of(i, &n);

	(void)err;
	entry_of(i, uidl);
	assert_int_equal(row->seq, i + 1);
	assert_int_equal(row->size, n);
	assert_string_equal(row->uidl, uidl);
	assert_int_equal(row->occurrence, 1);
	assert_string_equal(row->segment, i < 10 ? "acme-000001" : "acme-000002");
	assert_string_equal(row->folder,
		i % 4 == 0           ? "INBOX"
			: i % 4 == 1 ? "Sent"
			: i % 4 == 2 ? "Lists/caf\xc3\xa9"
				     : "../x/.y");
	assert_string_equal(row->flags, i % 2 ? "seen" : "");
	if (i == 0)
		assert_string_equal(row->date, "2024-01-05T10:00:00+01:00");
	if (n > 200) {
		snprintf(from, sizeof(from), "\"A, \"\"B\" <a%u@example.org>", i);
		assert_string_equal(row->from, from);
		assert_non_null(strstr(row->subject, "caf\xc3\xa9 \xef\xbf\xbd, line"));
	} else {
		assert_string_equal(row->from, "");
	}
	/* Nothing of a folder's name can lead out of its place. */
	assert_true(text_starts(row->path, "data/eml/"));
	assert_null(strstr(row->path, "/."));
	assert_int_equal(strlen(row->sha256), 64);
	rows->sealed += row->sealed;
	free(p);
	return ST_OK;
}

static enum status stop_at_3(void *ctx, const struct archive_row *row, struct err *err)
{
	(void)err;
	*(uint64_t *)ctx = row->seq;
	return row->seq == 3 ? ST_SKIP : ST_OK;
}

static void test_rows(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		struct archive_reader *r = NULL;
		struct err err = ERR_INIT;
		struct rows rows = { 0, 0 };
		char *dir = scratch();
		uint64_t last = 0;

		make_archive(dir, codecs[k], MEMBER);
		fill(dir, codecs[k], 17, 5, 10, false);
		ok(archive_read(&r, dir, &err), &err);
		ok(archive_each(r, check_row, &rows, &err), &err);
		assert_int_equal(rows.n, 17);
		assert_int_equal(rows.sealed, 10);
		assert_int_equal(archive_each(r, stop_at_3, &last, &err), ST_SKIP);
		assert_int_equal(last, 3);
		archive_done(&r);
		remove_all(dir);
		free(dir);
	}
}

struct paths {
	unsigned n;
	char p[16][400];
};

static enum status take_path(void *ctx, const struct archive_row *row, struct err *err)
{
	struct paths *ps = ctx;

	(void)err;
	snprintf(ps->p[ps->n++], 400, "%s", row->path);
	return ST_OK;
}

static void test_folders(void **state)
{
	static const struct {
		const char *folder, *label; /* label: what it begins with */
		bool changed;
	} rows[] = {
		{ "", "INBOX/", false },
		{ "INBOX", "INBOX/", false },
		{ "A/B-c_d.e", "A/B-c_d.e/", false },
		{ "//A//B/", "A/B/", false },
		{ "..", "__~", true },
		{ "-rf", "_rf~", true },
		{ ".hid", "_hid~", true },
		{ "con", "_on~", true },
		{ "COM1.x", "_OM1.x~", true },
		{ "end.", "end_~", true },
		{ "a b\\c:d", "a_b_c_d~", true },
		{ "\xff\x01", "__~", true },
		{ "1234567890123456789012345678901234567890123456789012345678901234567890"
		  "12345678901",
			"12345678901234567890123456789012345678901234567890123456789012345678"
			"901~",
			true },
		{ "a/b/c/d/e/f/g/h/i/j", "a/b/c/d/e/f/g/h/i~", true },
	};
	struct archive_reader *r = NULL;
	struct paths ps = { .n = 0 };
	struct err err = ERR_INIT;
	char *dir = scratch(), uidl[32];
	struct archive_writer *w = open_archive(dir, ARCHIVE_NONE, 0);
	struct message *m = message_of(spool, 0);
	uint64_t seq;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct archive_entry e = entry_of(0, uidl);

		e.folder = rows[i].folder;
		ok(archive_put(w, m, &e, &seq, &err), &err);
	}
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	message_free(&m);
	ok(archive_read(&r, dir, &err), &err);
	ok(archive_each(r, take_path, &ps, &err), &err);
	archive_done(&r);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		const char *label = ps.p[i] + strlen("data/eml/");

		if (!text_starts(label, rows[i].label))
			fail_msg("%s: %s", rows[i].folder, label);
		assert_int_equal(strchr(label, '~') != NULL, rows[i].changed);
	}
	check_good(dir, 1, N_ELEMENTS(rows));
	remove_all(dir);
	free(dir);
}

/* ---- find ---- */

static uint64_t look(struct archive_writer *w, const struct message *m,
	const char *uidl, size_t n, uint32_t occurrence)
{
	struct archive_entry e = {
		.uidl = uidl, .uidl_n = n, .occurrence = occurrence
	};
	struct err err = ERR_INIT;
	uint64_t seq = 0;
	enum status rc = archive_find(w, &e, m, &seq, &err);

	assert_true(rc == ST_OK || rc == ST_END);
	return rc == ST_OK ? seq : 0;
}

static void put_as(struct archive_writer *w, const struct message *m, const char *uidl,
	size_t n, uint32_t occurrence)
{
	struct archive_entry e = {
		.folder = "", .uidl = uidl, .uidl_n = n, .occurrence = occurrence
	};
	struct err err = ERR_INIT;
	uint64_t seq;

	ok(archive_put(w, m, &e, &seq, &err), &err);
}

static void check_finds(
	struct archive_writer *w, const struct message *m, const struct message *other)
{
	assert_int_equal(look(w, m, "a", 1, 1), 1);
	assert_int_equal(look(w, m, "a", 1, 2), 2);
	assert_int_equal(look(w, m, "a", 1, 3), 1); /* under another name */
	assert_int_equal(look(w, other, "a", 1, 1), 0);
	assert_int_equal(look(w, m, "a\0b", 3, 1), 3);
	assert_int_equal(look(w, m, "\xff\xfe", 2, 1), 4);
	assert_int_equal(look(w, m, NULL, 0, 1), 1);
	assert_int_equal(look(w, other, NULL, 0, 1), 0);
}

static void test_find(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		struct message *m = message_of(spool, 6), *other = message_of(spool, 7);
		char *dir = scratch();
		struct archive_writer *w = open_archive(dir, codecs[k], 0);
		struct err err = ERR_INIT;

		assert_int_equal(look(w, m, NULL, 0, 1), 0);
		archive_claim(w, 77); /* of a number that never comes */
		put_as(w, m, "a", 1, 1);
		put_as(w, m, "a", 1, 2);
		assert_int_equal(look(w, m, "a", 1, 1), 0); /* not durable yet */
		put_as(w, m, "a\0b", 3, 1);
		ok(archive_commit(w, 0, &err), &err);
		put_as(w, m, "\xff\xfe", 2, 1);
		put_as(w, m, NULL, 0, 1);
		ok(archive_commit(w, 0, &err), &err);
		check_finds(w, m, other);
		archive_close(&w);
		w = open_archive(dir, codecs[k], 0); /* from the log */
		check_finds(w, m, other);
		ok(archive_seal(w, &err), &err);
		check_finds(w, m, other);
		archive_close(&w);
		w = open_archive(dir, codecs[k], 0); /* from the index */
		archive_claim(w, 2);
		check_good(dir, 1, 5);
		assert_int_equal(look(w, m, "a", 1, 2), 1); /* any, its own is gone */
		archive_claim(w, 1);
		assert_int_equal(look(w, m, "a", 1, 1), 3);
		assert_int_equal(look(w, m, NULL, 0, 1), 3);
		archive_claim(w, 3);
		archive_claim(w, 4);
		assert_int_equal(look(w, m, NULL, 0, 1), 5);
		archive_claim(w, 6); /* before it is put */
		put_as(w, other, "o", 1, 1);
		ok(archive_commit(w, 0, &err), &err);
		assert_int_equal(look(w, other, "o", 1, 1), 0);
		archive_close(&w);
		message_free(&m);
		message_free(&other);
		remove_all(dir);
		free(dir);
	}
}

static void put_many(struct archive_writer *w, const struct message *m, unsigned n)
{
	struct err err = ERR_INIT;
	unsigned i;

	for (i = 0; i < n; i++)
		put_as(w, m, "a", 1, i + 1);
	ok(archive_commit(w, 0, &err), &err);
}

/* What is claimed leaves the table, in whatever order it was; the rest is found. */
static void test_many_claims(void **state)
{
	enum { MANY = 4000, MORE = 2000 };
	struct message *m = message_of(spool, 6);
	char *dir = scratch();
	struct archive_writer *w = open_archive(dir, ARCHIVE_NONE, 0);
	unsigned i;

	(void)state;
	put_many(w, m, MANY);
	assert_int_equal(look(w, m, "a", 1, MANY), MANY);
	for (i = MANY; i > 0; i -= 2)
		archive_claim(w, i);
	for (i = 8; i < MANY; i += 8)
		archive_claim(w, i + 3);
	for (i = 1; i <= MANY; i++)
		assert_int_equal(look(w, m, "a", 1, i),
			i % 2 == 0 || (i > 8 && i % 8 == 3) ? 1 : i);
	/* Of numbers to come, not in their order. */
	for (i = MANY + MORE; i > MANY + MORE / 2; i--)
		archive_claim(w, i);
	put_many(w, m, MORE);
	for (i = 1; i < MANY; i += 2)
		archive_claim(w, i);
	for (i = 1; i <= MORE; i++)
		assert_int_equal(
			look(w, m, "a", 1, i), i <= MORE / 2 ? MANY + i : MANY + 1);
	for (i = 1; i <= MORE / 2; i++)
		archive_claim(w, MANY + i);
	assert_int_equal(look(w, m, "a", 1, 7), 0);
	archive_close(&w);
	w = open_archive(dir, ARCHIVE_NONE, 0);
	for (i = 1; i <= MANY + MORE - 1; i++)
		archive_claim(w, i);
	assert_int_equal(look(w, m, "a", 1, 7), MANY + MORE);
	archive_close(&w);
	message_free(&m);
	remove_all(dir);
	free(dir);
}

/* Without the index all still works, if slower. */
/* Takes the line of the index out. */
static void unlist_index(const char *manifest)
{
	size_t n;
	char *text = slurp(manifest, &n),
	     *at = strstr(text, "  segments/acme-000001.idx"), *next;

	assert_non_null(at);
	next = strchr(at, '\n') + 1;
	memmove(at - 64, next, strlen(next) + 1);
	spit(manifest, text, strlen(text));
	free(text);
}

static void test_no_index(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		struct archive_writer *w;
		char *dir = scratch(),
		     *idx = xasprintf("%s/segments/acme-000001.idx", dir),
		     *manifest = xasprintf("%s/manifest-sha256.txt", dir);
		struct rows rows = { 0, 0 };
		struct archive_reader *r = NULL;
		struct err err = ERR_INIT;

		make_archive(dir, codecs[k], MEMBER);
		fill(dir, codecs[k], 17, 5, 10, true);
		unlink(idx);
		check_messages(dir, 17);
		ok(archive_read(&r, dir, &err), &err);
		ok(archive_each(r, check_row, &rows, &err), &err);
		archive_done(&r);
		spit(idx, "rubbish", 7);
		check_messages(dir, 17);
		unlink(idx);
		unlist_index(manifest);
		w = open_archive(dir, codecs[k], 0);
		assert_int_equal(find_one(w, spool, 3), 4);
		assert_int_equal(put_one(w, spool, 17), 18);
		archive_close(&w);
		remove_all(dir);
		free(manifest);
		free(idx);
		free(dir);
	}
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
	struct archive_writer *w = NULL, *w2 = NULL;
	struct archive_reader *r = NULL;
	char *dir = scratch(), *a = xasprintf("%s/a", dir),
	     *f = xasprintf("%s/mail", dir),
	     *json = xasprintf("%s/a/archive.json", dir), *text, *at;
	struct archive_config cfg = { .path = dir };
	struct err err = ERR_INIT;
	size_t n;

	(void)state;
	/* A directory with other things in it. */
	spit(f, "x", 1);
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_false(exists(dir, "open"));
	assert_int_equal(archive_read(&r, dir, &err), ST_DENIED);
	/* Two writers. */
	cfg.path = a;
	ok(archive_open(&w, &cfg, &err), &err);
	assert_int_equal(archive_open(&w2, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	put_one(w, spool, 0);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	/* Another name than the segments have: nothing is begun anew beside them. */
	text = slurp(json, &n);
	at = strstr(text, "\"slug\":\"a\"");
	assert_non_null(at);
	at[strlen("\"slug\":\"")] = 'c';
	spit(json, text, n);
	free(text);
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_non_null(strstr(err.text, "archive.json names"));
	assert_int_equal(archive_read(&r, a, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	/* A newer format, rubbish, and none although there are segments. */
	spit(json, "{\"format\":2}", 12);
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_non_null(strstr(err.text, "newer"));
	spit(json, "{\"format\":1,[", 13);
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(archive_read(&r, a, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	unlink(json);
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	/* A bad name. */
	cfg.path = f;
	unlink(f);
	cfg.slug = "A b";
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	remove_all(dir);
	free(json);
	free(f);
	free(a);
	free(dir);
}

/* ---- stock tools ---- */

static unsigned lines_in(const char *path, const char *what)
{
	size_t n;
	char *p = slurp(path, &n), *s = p;
	unsigned k = 0;

	while ((s = strstr(s, what))) {
		s++;
		k++;
	}
	free(p);
	return k;
}

static void test_stock_tools(void **state)
{
	static const struct {
		enum archive_codec codec;
		const char *file;
		const char *list[4], *extract[4];
	} rows[] = {
		{ ARCHIVE_GZ, "segments/acme-000001.tar.gz", { "tar", "-tzf" },
			{ "tar", "-xzf" } },
		{ ARCHIVE_GZ, "segments/acme-000001.tar.gz", { "bsdtar", "-tf" },
			{ "bsdtar", "-xf" } },
		{ ARCHIVE_ZST, "segments/acme-000001.tar.zst",
			{ "tar", "--zstd", "-tf" }, { "tar", "--zstd", "-xf" } },
		{ ARCHIVE_ZST, "segments/acme-000001.tar.zst", { "bsdtar", "-tf" },
			{ "bsdtar", "-xf" } },
		{ ARCHIVE_NONE, "segments/acme-000001.tar", { "tar", "-tf" },
			{ "tar", "-xf" } },
		{ ARCHIVE_ZIP, "segments/acme-000001.zip", { "unzip", "-l" },
			{ "unzip", "-q" } },
	};
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		char *dir = scratch(), *out = xasprintf("%s/out", dir),
		     *bag = xasprintf("%s/acme-000001", dir);
		const char *argv[6] = { NULL };
		const char *const sums[] = { "sha256sum", "--strict", "-c",
			"manifest-sha256.txt", NULL };
		const char *const tagsums[] = { "sha256sum", "--strict", "-c",
			"tagmanifest-sha256.txt", NULL };
		size_t n = 0;
		int rc;

		make_archive(dir, rows[k].codec, MEMBER);
		fill(dir, rows[k].codec, 12, 5, 0, true);
		for (; rows[k].list[n]; n++)
			argv[n] = rows[k].list[n];
		argv[n] = rows[k].file;
		rc = tool(dir, out, argv);
		if (rc >= 0) {
			assert_int_equal(rc, 0);
			assert_int_equal(lines_in(out, ".eml"), 12);
			for (n = 0; rows[k].extract[n]; n++)
				argv[n] = rows[k].extract[n];
			argv[n] = rows[k].file;
			assert_int_equal(tool(dir, out, argv), 0);
			assert_int_equal(tool(bag, out, sums), 0);
			assert_int_equal(lines_in(out, ": OK"), 12);
			assert_int_equal(tool(bag, out, tagsums), 0);
			assert_int_equal(lines_in(out, ": OK"), 6);
		}
		assert_int_equal(tool(dir, out, sums), 0);
		assert_int_equal(lines_in(out, ": OK"), 6);
		remove_all(dir);
		free(bag);
		free(out);
		free(dir);
	}
}

/* What is committed can be listed by tar while the segment is open. */
static void test_open_is_a_tar(void **state)
{
	static const char *const parts[] = { "acme-000001.tar.gz.part",
		"acme-000001.tar.zst.part", "acme-000001.tar.part",
		"acme-000001.tar.part" };
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = scratch(), *out = xasprintf("%s/out", dir),
		     *opendir = xasprintf("%s/open", dir);
		struct archive_writer *w;
		struct err err = ERR_INIT;
		unsigned i, m;

		make_archive(dir, codecs[k], MEMBER);
		w = open_archive(dir, codecs[k], 0);
		for (i = 0; i < 16; i++) {
			unsigned seen = 0;

			put_one(w, spool, i);
			ok(archive_commit(w, 0, &err), &err);
			if (exists(opendir, parts[k])) {
				const char *const argv[] = { "bsdtar", "-tf", parts[k],
					NULL };

				if (tool(opendir, out, argv) < 0)
					break;
				assert_int_equal(tool(opendir, out, argv), 0);
				seen += lines_in(out, ".eml");
			}
			for (m = 1; m < 16; m++) {
				char rest[64];
				const char *const argv[] = { "tar", "-tf", rest, NULL };

				snprintf(rest, sizeof(rest),
					"acme-000001.rest-%06u.tar", m);
				if (!exists(opendir, rest))
					continue;
				assert_int_equal(tool(opendir, out, argv), 0);
				seen += lines_in(out, ".eml");
			}
			assert_int_equal(seen, i + 1);
		}
		archive_close(&w);
		remove_all(dir);
		free(opendir);
		free(out);
		free(dir);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_same_bytes),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_commit_of_some),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_folders),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_many_claims),
		cmocka_unit_test(test_no_index),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_stock_tools),
		cmocka_unit_test(test_open_is_a_tar),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
