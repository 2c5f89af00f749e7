/* t_export.c: choosing messages of an archive, and exporting them. */
#include "archive_kit.h"

#include <popferry/export.h>

#include <dirent.h>
#include <signal.h>
#include <sys/eventfd.h>

enum { MESSAGES = 25 };

/* An archive in dir/a of two segments. */
static char *make(const char *dir, enum archive_codec c, unsigned n)
{
	char *path = xasprintf("%s/a", dir);

	make_archive(path, c, MEMBER);
	fill_sealed(path, c, 0, n, 15);
	return path;
}

/* ---- which ---- */

static const struct {
	const char *words[4], *want; /* NULL: refused */
} choices[] = {
	{ { NULL }, "1 2 3 4 5 6 7 8 9" },
	{ { "3" }, "3" },
	{ { "2-4", "9" }, "2 3 4 9" },
	{ { "8-" }, "8 9" },
	{ { "0" }, NULL },
	{ { "4-2" }, NULL },
	{ { "nothing:x" }, NULL },
	{ { "from:" }, NULL },
	{ { "larger:-1" }, NULL },
	{ { "larger:1x" }, NULL },
	{ { "sha256:12" }, NULL },
	{ { "since:soon" }, NULL },
	{ { "since:2024-13-01" }, NULL },
	{ { "folder:Sent" }, "2 6" },
	{ { "folder:lists" }, "3 7" },
	{ { "folder:INBOX", "2-7" }, "5" },
	{ { "from:A7@EXAMPLE" }, "8" },
	{ { "subject:line ?" }, "1 4 5 6 7 8 9" },
	{ { "subject:caf\xc3\xa9" }, "1 4 5 6 7 8 9" },
	{ { "uidl:u\"4" }, "5" },
	{ { "id:7@example.org" }, "8" },
	{ { "<7@example.org>" }, "8" },
	{ { "larger:4k" }, "7 8" },
	{ { "smaller:2" }, "2 3" },
	{ { "since:2024-01-05T09:00:06Z" }, "7 8 9" },
	{ { "after:2024-01-05T09:00:06Z" }, "7 8 9" },
	{ { "since:2024-01-05" }, "1 2 3 4 5 6 7 8 9" },
	{ { "before:2024-01-05" }, "" },
	{ { "flag:seen", "1-4" }, "2 4" },
	{ { "anomaly:no-msgid", "1-3" }, "2 3" },
};

struct chosen {
	struct choice *c;
	struct buf b;
};

static enum status note(void *ctx, const struct archive_row *row, struct err *err)
{
	struct chosen *k = ctx;

	(void)err;
	if (choice_has(k->c, row))
		buf_addf(&k->b, "%s%" PRIu64, k->b.n ? " " : "", row->seq);
	return ST_OK;
}

static void test_choices(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ, 9);
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	size_t i, n;

	(void)state;
	ok(archive_read(&r, path, &err), &err);
	for (i = 0; i < N_ELEMENTS(choices); i++) {
		struct chosen k = { NULL, BUF_INIT(1024) };
		char *words[4];

		for (n = 0; choices[i].words[n]; n++)
			words[n] = xstrdup(choices[i].words[n]);
		if (!choices[i].want) {
			assert_int_equal(choice_make(&k.c, words, n, &err), ST_DENIED);
			assert_int_equal(err.exit, EX_USAGE);
			assert_null(k.c);
		} else {
			ok(choice_make(&k.c, words, n, &err), &err);
			ok(archive_each(r, note, &k, &err), &err);
			if (strcmp(buf_str(&k.b), choices[i].want) != 0)
				fail_msg("%s: %s", words[0], buf_str(&k.b));
		}
		while (n)
			free(words[--n]);
		choice_free(&k.c);
		buf_free(&k.b);
	}
	archive_done(&r);
	remove_all(dir);
	free(path);
	free(dir);
}

/* ---- out ---- */

struct told {
	unsigned bad, calls, stop_at;
};

static void count_bad(void *ctx, const char *what)
{
	struct told *t = ctx;

	assert_non_null(what);
	t->bad++;
}

static bool count_calls(void *ctx, const struct export_done *d)
{
	struct told *t = ctx;

	assert_true(d->messages <= d->all);
	return ++t->calls != t->stop_at;
}

static enum status export(const char *archive, const char *target, const char *format,
	struct told *t, struct export_done *done, struct err *err) {
	struct export_job job = { .format = format,
		.target = target,
		.agent = "test",
		.go_on = count_calls,
		.bad = count_bad,
		.ctx = t };
	struct archive_reader *r = NULL;
	struct choice * c;
	enum status rc;

	ok(archive_read(&r, archive, err), err);
	ok(choice_make(&c, NULL, 0, err), err);
	job.choice = c;
	rc = export_run(r, &job, done, err);
	choice_free(&c);
	archive_done(&r);
	return rc;
}

/* Only what has these names is in the folder. */
static unsigned entries(const char *dir)
{
	unsigned n = 0;
	DIR *d = opendir(dir);
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void check_sums(const char *dir, const char *target)
{
	char *sums = xasprintf("%s.sha256", target), *out = xasprintf("%s/out", dir);
	const char *argv[] = { "sha256sum", "-c", "--strict", "--quiet", sums, NULL };
	size_t n;

	if (tool(dir, out, argv) != 0)
		fail_msg("sha256sum: %s", slurp(out, &n));
	unlink(out);
	free(sums);
	free(out);
}

static void check_eml(const char *dir)
{
	static const char *const folders[] = { "INBOX", "Sent", "", "" };
	unsigned i;

	for (i = 0; i < MESSAGES; i++) {
		char *path, *got, *want;
		size_t n, want_n;

		if (!folders[i % 4][0])
			continue; /* names that changed are FORMAT's affair */
		path = xasprintf("%s/eml/%s/%09u.eml", dir, folders[i % 4], i + 1);
		got = slurp(path, &n);
		want = bytes_of(i, &want_n);
		assert_int_equal(n, want_n);
		assert_memory_equal(got, want, n);
		free(path);
		free(got);
		free(want);
	}
}

/* Undoes mboxrd, and compares with LF line ends. */
static void check_mbox(const char *dir)
{
	char *path = xasprintf("%s/mboxrd", dir), *text, *s;
	size_t n, i = 0;

	text = slurp(path, &n);
	for (s = text; s < text + n; i++) {
		struct buf got = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
		size_t k, j;
		char *bytes = bytes_of((unsigned)i, &k);

		assert_true(strncmp(s, "From ", 5) == 0);
		s = (char *)memchr(s, '\n', (size_t)(text + n - s)) + 1;
		while (s < text + n && strncmp(s, "From ", 5) != 0) {
			char *end = (char *)memchr(s, '\n', (size_t)(text + n - s)) + 1;
			size_t q = strspn(s, ">");

			s += q && strncmp(s + q, "From ", 5) == 0;
			buf_add(&got, s, (size_t)(end - s));
			s = end;
		}
		for (j = 0; j < k; j++)
			if (bytes[j] != '\r' || j + 1 == k || bytes[j + 1] != '\n')
				buf_addc(&want, bytes[j]);
		if (want.n && want.p[want.n - 1] != '\n')
			buf_addc(&want, '\n');
		buf_addc(&want, '\n');
		assert_int_equal(got.n, want.n);
		assert_memory_equal(got.p, want.p, want.n);
		buf_free(&got);
		buf_free(&want);
		free(bytes);
	}
	assert_int_equal(i, MESSAGES);
	free(text);
	free(path);
}

static void test_formats(void **state)
{
	const struct export_format *f;
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = scratch(), *path = make(dir, codecs[k], MESSAGES);
		unsigned n = 1;

		for (f = export_formats(); f->name; f++) {
			char *target = xasprintf("%s/%s", dir, f->name);
			struct export_done done;
			struct err err = ERR_INIT;
			struct told t = { 0 };

			ok(export(path, target, f->name, &t, &done, &err), &err);
			assert_int_equal(done.messages, MESSAGES);
			assert_int_equal(done.all, MESSAGES);
			assert_int_equal(done.bytes, done.all_bytes);
			assert_int_equal(done.bad, 0);
			n += 2;
			assert_int_equal(entries(dir), n);
			check_sums(dir, f->name);
			/* There already. */
			assert_int_equal(export(path, target, f->name, &t, &done, &err),
				ST_DENIED);
			assert_int_equal(err.exit, EX_CANTCREAT);
			assert_int_equal(entries(dir), n);
			free(target);
		}
		check_eml(dir);
		check_mbox(dir);
		remove_all(dir);
		free(path);
		free(dir);
	}
}

static void test_stop(void **state)
{
	const struct export_format *f;
	char *dir = scratch(), *path = make(dir, ARCHIVE_ZST, MESSAGES);

	(void)state;
	for (f = export_formats(); f->name; f++) {
		char *target = xasprintf("%s/%s", dir, f->name);
		struct told t = { .stop_at = 9 };
		struct export_done done;
		struct err err = ERR_INIT;

		assert_int_equal(
			export(path, target, f->name, &t, &done, &err), ST_RETRY);
		assert_int_equal(err.exit, EX_TEMPFAIL);
		assert_int_equal(entries(dir), 1); /* the archive */
		free(target);
	}
	remove_all(dir);
	free(path);
	free(dir);
}

static void test_nothing_chosen(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ, 3),
	     *target = xasprintf("%s/t", dir), *word = xstrdup("99");
	struct export_job job = { .format = "eml", .target = target, .agent = "test" };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct export_done done;
	struct choice *c;

	(void)state;
	ok(archive_read(&r, path, &err), &err);
	ok(choice_make(&c, &word, 1, &err), &err);
	assert_int_equal(choice_only(c), 99);
	job.choice = c;
	assert_int_equal(export_run(r, &job, &done, &err), ST_END);
	job.format = "Maildir"; /* known, written as people write it */
	assert_int_equal(export_run(r, &job, &done, &err), ST_END);
	job.format = "pst";
	assert_int_equal(export_run(r, &job, &done, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);
	assert_int_equal(entries(dir), 1);
	choice_free(&c);
	archive_done(&r);
	remove_all(dir);
	free(word);
	free(target);
	free(path);
	free(dir);
}

/* A damaged message is named and left out; all others are there. */
static void test_damage(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = scratch(), *path = make(dir, codecs[k], MESSAGES),
		     *seg = xasprintf("%s/segments/acme-000001.%s", path, suffixes[k]),
		     *target = xasprintf("%s/eml", dir), *text;
		struct export_done done;
		struct err err = ERR_INIT;
		struct told t = { 0 };
		size_t n;

		text = slurp(seg, &n);
		text[n / 3] ^= 4;
		spit(seg, text, n);
		assert_int_equal(
			export(path, target, "eml", &t, &done, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		assert_true(done.bad > 0 && done.bad == t.bad);
		assert_int_equal(done.messages + done.bad, MESSAGES);
		assert_true(done.messages >= 15);
		check_sums(dir, "eml");
		free(text);
		free(target);
		free(seg);
		remove_all(dir);
		free(path);
		free(dir);
	}
}

/* ---- to a program ---- */

struct answers {
	unsigned n, with[256]; /* of each exit code */
	uint64_t seqs;         /* added up */
	char line[HAND_LINE];  /* of the last one */
	unsigned ends[3];
};

static void note_answer(
	void *ctx, const struct archive_row *row, const struct hand_answer *a)
{
	struct answers *t = ctx;

	t->n++;
	t->with[a->code & 0xff]++;
	t->ends[a->end]++;
	t->seqs += row->seq;
	memcpy(t->line, a->line, sizeof(t->line));
}

static enum status hand_all(const char *archive, const char *command, unsigned at_once,
	int stop_fd, struct answers *t, struct export_done *done, struct err *err)
{
	struct export_job job = { .format = "exec",
		.agent = "test",
		.at_once = at_once,
		.stop_fd = stop_fd,
		.ran = note_answer,
		.ctx = t };
	struct archive_reader *r = NULL;
	struct hand *h = NULL;
	struct choice *c;
	enum status rc;

	memset(t, 0, sizeof(*t));
	ok(archive_read(&r, archive, err), err);
	ok(choice_make(&c, NULL, 0, err), err);
	ok(hand_open(&h, command, 20, "--exec", err), err);
	job.choice = c;
	job.hand = h;
	rc = export_run(r, &job, done, err);
	hand_close(&h);
	choice_free(&c);
	archive_done(&r);
	return rc;
}

/* Each gets its own bytes, however many run at once; one in five says no. */
static const char faithful[] =
	"sh -c 'case $(sha256sum) in $POPFERRY_SHA256*) ;; *) exit 9 ;; esac; "
	"test $((POPFERRY_SEQ % 5)) -ne 0'";

static void test_among(void **state)
{
	static const uint32_t some[] = { 2, 5, 8 };
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ, 9), *word = xstrdup("3-8");
	struct chosen k = { NULL, BUF_INIT(1024) };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;

	(void)state;
	ok(archive_read(&r, path, &err), &err);
	ok(choice_make(&k.c, &word, 1, &err), &err);
	choice_among(k.c, some, N_ELEMENTS(some));
	ok(archive_each(r, note, &k, &err), &err);
	assert_string_equal(buf_str(&k.b), "5 8");
	buf_clear(&k.b);
	choice_among(k.c, NULL, 0);
	ok(archive_each(r, note, &k, &err), &err);
	assert_int_equal(k.b.n, 0);
	buf_free(&k.b);
	choice_free(&k.c);
	archive_done(&r);
	remove_all(dir);
	free(word);
	free(path);
	free(dir);
}

static void test_exec(void **state)
{
	static const unsigned at_once[] = { 1, 3, 40 };
	char *dir = scratch(), *path = make(dir, ARCHIVE_ZST, MESSAGES);
	struct export_done done;
	struct answers t;
	struct err err = ERR_INIT;
	size_t i;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < N_ELEMENTS(at_once); i++) {
		ok(hand_all(path, faithful, at_once[i], 0, &t, &done, &err), &err);
		assert_int_equal(t.n, MESSAGES);
		assert_int_equal(t.seqs, MESSAGES * (MESSAGES + 1) / 2);
		assert_int_equal(t.with[0], MESSAGES - 5);
		assert_int_equal(t.with[1], 5);
		assert_int_equal(done.messages, MESSAGES);
		assert_int_equal(done.good, MESSAGES - 5);
	}
	/* Those that do not read hold nobody up. */
	ok(hand_all(path, "true", 3, 0, &t, &done, &err), &err);
	assert_int_equal(done.good, MESSAGES);
	ok(hand_all(path, "sh -c 'kill -9 $$'", 3, 0, &t, &done, &err), &err);
	assert_int_equal(t.ends[HAND_SIGNAL], MESSAGES);
	assert_int_equal(done.good, 0);
	/* Nothing was made beside the archive. */
	assert_int_equal(entries(dir), 1);
	remove_all(dir);
	free(path);
	free(dir);
}

/* What is damaged reaches no program. */
static void test_exec_damage(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_NONE, MESSAGES),
	     *seg = xasprintf("%s/segments/acme-000001.tar", path), *text;
	struct export_done done;
	struct answers t;
	struct err err = ERR_INIT;
	size_t n;

	(void)state;
	text = slurp(seg, &n);
	text[n / 3] ^= 4;
	spit(seg, text, n);
	assert_int_equal(hand_all(path, faithful, 2, 0, &t, &done, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_true(done.bad > 0);
	assert_int_equal(t.n, MESSAGES - done.bad);
	assert_int_equal(t.with[9], 0);
	free(text);
	free(seg);
	remove_all(dir);
	free(path);
	free(dir);
}

static void test_exec_stop(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ, MESSAGES);
	int fd = eventfd(1, EFD_CLOEXEC);
	struct export_done done;
	struct answers t;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(hand_all(path, "sleep 60", 3, fd, &t, &done, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_int_equal(t.n, 0);
	close(fd);
	remove_all(dir);
	free(path);
	free(dir);
}

static enum status count_rows(void *ctx, const struct archive_row *row, struct err *err)
{
	unsigned *n = ctx;

	(void)err;
	assert_true(row->path && row->folder && row->cc && row->date_utc && row->date);
	assert_int_equal(row->seq, *n + 1);
	++*n;
	return ST_OK;
}

/* A segment whose table is gone still has its messages, and so have the others. */
static void test_no_table(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ, MESSAGES),
	     *seg = xasprintf("%s/segments/acme-000001.tar.gz", path),
	     *idx = xasprintf("%s/segments/acme-000001.idx", path),
	     *target = xasprintf("%s/eml", dir), *text, *lines, *tags;
	struct archive_reader *r = NULL;
	struct export_done done;
	struct err err = ERR_INIT;
	struct told t = { 0 };
	unsigned rows = 0;
	size_t n;

	(void)state;
	lines = slurp(idx, &n);
	tags = strstr(lines, "tags\t-\t");
	assert_non_null(tags);
	text = slurp(seg, &n);
	text[strtoul(tags + 7, NULL, 10) + 100] ^= 1;
	spit(seg, text, n);
	ok(archive_read(&r, path, &err), &err);
	assert_int_equal(archive_each(r, count_rows, &rows, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(rows, MESSAGES);
	archive_done(&r);
	assert_int_equal(export(path, target, "eml", &t, &done, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(done.messages, MESSAGES);
	assert_int_equal(t.bad, 0);
	assert_true(exists(dir, "eml/unknown/000000001.eml"));
	assert_true(exists(dir, "eml/INBOX/000000017.eml"));
	check_sums(dir, "eml");
	remove_all(dir);
	free(text);
	free(lines);
	free(target);
	free(idx);
	free(seg);
	free(path);
	free(dir);
}

/* Numbers in any order, with the index looked into, loaded and followed. */
static void test_any_order(void **state)
{
	static const unsigned step[] = { 1, 2, 7, 13, MESSAGES - 1 };
	size_t k, s;
	unsigned i;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = scratch(), *path = make(dir, codecs[k], MESSAGES);

		for (s = 0; s < N_ELEMENTS(step); s++) {
			struct archive_reader *r = NULL;
			struct err err = ERR_INIT;

			ok(archive_read(&r, path, &err), &err);
			for (i = 0; i < 2 * MESSAGES; i++) {
				unsigned no = i * step[s] % MESSAGES;
				struct same same = { .right = true };
				char *want = bytes_of(no, &same.n);

				same.want = want;
				ok(archive_get(r, no + 1, same_take, &same, &err),
					&err);
				assert_true(same.right && same.at == same.n);
				free(want);
			}
			assert_int_equal(archive_get(r, MESSAGES + 1, same_take,
						 &(struct same){ 0 }, &err),
				ST_END);
			archive_done(&r);
		}
		remove_all(dir);
		free(path);
		free(dir);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_nothing_chosen),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_among),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_exec_damage),
		cmocka_unit_test(test_exec_stop),
		cmocka_unit_test(test_no_table),
		cmocka_unit_test(test_any_order),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
