/*
 * t_archive_damage.c: torn logs are cut, flipped bits are found, and what is
 * not touched stays readable.
 */
#include "archive_kit.h"

#include <dirent.h>

/* Adds messages [from, to) and commits; keeps the archive open. */
static void add(struct archive_writer *w, unsigned from, unsigned to)
{
	struct err err = ERR_INIT;

	put_some(w, from, to);
	ok(archive_commit(w, 0, &err), &err);
}

/* Copies the files of open/ over those of another archive's. */
static void copy_open(const char *from, const char *to)
{
	char *dir = xasprintf("%s/open", from);
	DIR *d = opendir(dir);
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d))) {
		char *a = xasprintf("%s/%s", dir, e->d_name),
		     *b = xasprintf("%s/open/%s", to, e->d_name), *p;
		size_t n;

		if (e->d_name[0] != '.') {
			p = slurp(a, &n);
			spit(b, p, n);
			free(p);
		}
		free(a);
		free(b);
	}
	closedir(d);
	free(dir);
}

static unsigned durable(const char *dir, enum archive_codec c, unsigned most)
{
	struct archive_writer *w = open_archive(dir, c, 0);
	unsigned n = 0;

	while (n < most && find_one(w, spool, n) == n + 1)
		n++;
	archive_close(&w);
	check_messages(dir, n);
	return n;
}

/*
 * A crash while the second commit's records are written: the log ends
 * anywhere in them, with or without rubbish behind.
 */
static void torn(enum archive_codec c, bool rubbish)
{
	static const char log[] = "open/acme-000001.log";
	char *a = scratch(), *before = scratch(), *dir, *path, *text, *old;
	struct archive_writer *w;
	size_t old_n, n, cut;

	make_archive(a, c, MEMBER);
	make_archive(before, c, MEMBER);
	w = open_archive(a, c, 0);
	add(w, 0, 4);
	copy_open(a, before);
	add(w, 4, 7);
	archive_close(&w);
	path = xasprintf("%s/%s", before, log);
	old = slurp(path, &old_n);
	free(path);
	path = xasprintf("%s/%s", a, log);
	text = slurp(path, &n);
	free(path);
	assert_true(n > old_n && memcmp(old, text, old_n) == 0);
	for (cut = old_n; cut <= n; cut += cut + 40 > n || cut < old_n + 40 ? 1 : 13) {
		char *end = xmalloc(cut + 600);

		dir = scratch();
		make_archive(dir, c, MEMBER);
		copy_open(before, dir);
		copy_open(a, dir);
		memcpy(end, text, cut);
		memset(end + cut, 'R', 600);
		path = xasprintf("%s/%s", dir, log);
		spit(path, end, cut + (rubbish ? 600 : 0));
		assert_int_equal(durable(dir, c, 7), cut == n ? 7 : 4);
		remove_all(dir);
		free(path);
		free(dir);
		free(end);
	}
	free(old);
	free(text);
	remove_all(a);
	remove_all(before);
	free(a);
	free(before);
}

static void test_torn(void **state)
{
	(void)state;
	torn(ARCHIVE_GZ, false);
	torn(ARCHIVE_NONE, true);
}

/* A first commit that is torn leaves nothing, and the archive goes on. */
static void test_torn_first(void **state)
{
	char *dir = scratch(), *path = xasprintf("%s/open/acme-000001.log", dir), *text;
	struct archive_writer *w;
	size_t n;

	(void)state;
	make_archive(dir, ARCHIVE_GZ, MEMBER);
	w = open_archive(dir, ARCHIVE_GZ, 0);
	add(w, 0, 3);
	archive_close(&w);
	text = slurp(path, &n);
	spit(path, text, n - 1);
	assert_int_equal(durable(dir, ARCHIVE_GZ, 3), 0);
	w = open_archive(dir, ARCHIVE_GZ, 0);
	add(w, 0, 3);
	archive_close(&w);
	assert_int_equal(durable(dir, ARCHIVE_GZ, 3), 3);
	remove_all(dir);
	free(text);
	free(path);
	free(dir);
}

/* Committed records, .part or .rest that are damaged are not passed over. */
static void test_lost_commit(void **state)
{
	static const char *const files[] = { "open/acme-000001.log",
		"open/acme-000001.tar.gz.part", "open/acme-000001.rest-000005.tar" };
	struct archive_config cfg = { .slug = "acme" };
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(files); k++) {
		char *dir = scratch(), *path = xasprintf("%s/%s", dir, files[k]), *text;
		struct archive_writer *w;
		struct err err = ERR_INIT;
		size_t n;

		make_archive(dir, ARCHIVE_GZ, MEMBER);
		w = open_archive(dir, ARCHIVE_GZ, 0);
		add(w, 0, 4);
		add(w, 4, 8);
		add(w, 8, 11);
		archive_close(&w);
		if (!exists(dir, files[k]))
			fail_msg("%s: the test expects other members", files[k]);
		text = slurp(path, &n);
		text[k == 0 ? 300 : n / 2] ^= 1;
		spit(path, text, k == 1 ? n - 1 : n); /* .part: shorter */
		cfg.path = dir;
		assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		remove_all(dir);
		free(text);
		free(path);
		free(dir);
	}
}

/* ---- sealed ---- */

/* The number of findings; 1 too when it cannot even be opened. */
static unsigned verify(const char *dir, struct findings *f, uint64_t *good)
{
	struct archive_reader *r = NULL;
	struct archive_check c = { 0 };
	struct err err = ERR_INIT;
	enum status rc;

	memset(f, 0, sizeof(*f));
	rc = archive_read(&r, dir, &err);
	if (rc != ST_OK) {
		assert_int_equal(rc, ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		return 1;
	}
	rc = archive_verify(r, &c, note_finding, f, &err);
	assert_int_equal(c.damaged, f->n);
	assert_int_equal(rc, f->n ? ST_DENIED : ST_OK);
	if (f->n)
		assert_int_equal(err.exit, EX_DATAERR);
	if (good)
		*good = c.messages;
	archive_done(&r);
	return f->n;
}

static char *two_segments(enum archive_codec c)
{
	char *dir = scratch();

	make_archive(dir, c, MEMBER);
	fill_sealed(dir, c, 0, 12, 6);
	return dir;
}

static void flip_file(const char *dir, const char *name, size_t step)
{
	char *path = xasprintf("%s/%s", dir, name), *text, *copy;
	struct findings f;
	size_t n, at;

	text = slurp(path, &n);
	copy = xmalloc(n);
	for (at = 0; at < n; at += step) {
		memcpy(copy, text, n);
		copy[at] ^= (char)(1 << at % 8);
		spit(path, copy, n);
		if (verify(dir, &f, NULL) == 0)
			fail_msg(
				"%s: a flipped bit in byte %zu is not found", name, at);
	}
	for (at = 0; at < n; at += n / 5 + 1) {
		spit(path, text, at);
		if (verify(dir, &f, NULL) == 0)
			fail_msg("%s: cut to %zu bytes is not found", name, at);
	}
	unlink(path);
	assert_true(verify(dir, &f, NULL) > 0);
	spit(path, text, n);
	assert_int_equal(verify(dir, &f, NULL), 0);
	free(copy);
	free(text);
	free(path);
}

static void test_flips(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = two_segments(codecs[k]), name[64];
		struct findings f;

		assert_int_equal(verify(dir, &f, NULL), 0);
		snprintf(name, sizeof(name), "segments/acme-000001.%s", suffixes[k]);
		flip_file(dir, name, codecs[k] == ARCHIVE_NONE ? 331 : 97);
		flip_file(dir, "segments/acme-000002.idx", 61);
		flip_file(dir, "archive.json", 17);
		flip_file(dir, "README.txt", 301);
		flip_file(dir, "manifest-sha256.txt", 41);
		remove_all(dir);
		free(dir);
	}
}

/*
 * The digest of the file apart, the segment itself tells what is bad: which
 * messages, where; and the others are good.
 */
static void test_containment(void **state)
{
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(codecs); k++) {
		char *dir = two_segments(codecs[k]), *path, *text;
		struct archive_reader *r = NULL;
		struct err err = ERR_INIT;
		struct findings f;
		uint64_t good = 0;
		size_t n;
		unsigned i, bad = 0;

		path = xasprintf("%s/segments/acme-000002.%s", dir, suffixes[k]);
		text = slurp(path, &n);
		text[n / 3] ^= 4;
		spit(path, text, n);
		assert_true(verify(dir, &f, &good) >= 2);
		assert_non_null(strstr(f.first, "segments/acme-000002."));
		if (good < 8 || good >= 12)
			fail_msg("%s: %u good: %s", suffixes[k], (unsigned)good,
				f.first);
		ok(archive_read(&r, dir, &err), &err);
		for (i = 0; i < 12; i++) {
			struct same s = { .right = true };
			char *want = bytes_of(i, &s.n);
			enum status rc;

			s.want = want;
			rc = archive_get(r, i + 1, same_take, &s, &err);
			if (rc == ST_OK) {
				assert_true(s.right && s.at == s.n);
			} else {
				assert_int_equal(rc, ST_DENIED);
				assert_int_equal(err.exit, EX_DATAERR);
				bad++;
			}
			free(want);
		}
		archive_done(&r);
		assert_int_equal(bad, 12 - good);
		remove_all(dir);
		free(text);
		free(path);
		free(dir);
	}
}

/* A changed segment whose digest in the manifest was changed with it. */
static void test_forged(void **state)
{
	char *dir = two_segments(ARCHIVE_NONE),
	     *path = xasprintf("%s/segments/acme-000001.tar", dir),
	     *manifest = xasprintf("%s/manifest-sha256.txt", dir), *text, *sums, *at;
	char was[65], is[65];
	struct findings f;
	size_t n, sums_n;

	(void)state;
	text = slurp(path, &n);
	at = memmem(text, n, "\r\n\r\n", 4); /* in the first message */
	assert_non_null(at);
	at[10] ^= 1;
	file_sha(dir, "segments/acme-000001.tar", was);
	spit(path, text, n);
	file_sha(dir, "segments/acme-000001.tar", is);
	sums = slurp(manifest, &sums_n);
	at = strstr(sums, was);
	assert_non_null(at);
	memcpy(at, is, 64);
	spit(manifest, sums, sums_n);
	assert_int_equal(verify(dir, &f, NULL), 2);
	assert_non_null(
		strstr(f.first, "acme-000001.tar is not the file that was sealed"));
	assert_non_null(strstr(f.last, "message 1 "));
	assert_non_null(strstr(f.last, "segments/acme-000001.tar"));
	remove_all(dir);
	free(sums);
	free(text);
	free(manifest);
	free(path);
	free(dir);
}

static enum status pass_over(void *ctx, const struct archive_row *row, struct err *err)
{
	(void)ctx;
	(void)row;
	(void)err;
	return ST_OK;
}

static void pass_bytes(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

static void test_missing_and_extra(void **state)
{
	char *dir = two_segments(ARCHIVE_GZ),
	     *seg = xasprintf("%s/segments/acme-000001.tar.gz", dir),
	     *extra = xasprintf("%s/segments/stray", dir);
	struct archive_config cfg = { .path = dir };
	struct archive_writer *w = NULL;
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct findings f;

	(void)state;
	spit(extra, "x", 1);
	assert_int_equal(verify(dir, &f, NULL), 1);
	assert_non_null(strstr(f.first, "stray"));
	unlink(extra);
	unlink(seg);
	assert_true(verify(dir, &f, NULL) >= 2); /* the file, and its messages */
	assert_int_equal(archive_read(&r, dir, &err), ST_OK);
	assert_int_equal(archive_each(r, pass_over, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_non_null(strstr(err.text, "acme-000001 is missing"));
	archive_done(&r);
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	remove_all(dir);
	free(extra);
	free(seg);
	free(dir);
}

/* What is no file costs the messages of that segment, and no others. */
static void test_no_files(void **state)
{
	char *dir = two_segments(ARCHIVE_GZ),
	     *seg = xasprintf("%s/segments/acme-000001.tar.gz", dir),
	     *away = xasprintf("%s/away", dir);
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct findings f;

	(void)state;
	assert_int_equal(rename(seg, away), 0);
	assert_int_equal(symlink("../away", seg), 0);
	assert_true(verify(dir, &f, NULL) >= 2);
	assert_non_null(strstr(f.all, "acme-000001.tar.gz: it is no regular file"));
	ok(archive_read(&r, dir, &err), &err);
	assert_int_equal(archive_each(r, pass_over, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(archive_get(r, 1, pass_bytes, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	ok(archive_get(r, 12, pass_bytes, NULL, &err), &err);
	archive_done(&r);
	remove_all(dir);
	free(away);
	free(seg);
	free(dir);
}

/* Damage in the open segment is found as well. */
static void test_open_flips(void **state)
{
	static const char *const files[] = { "open/acme-000001.tar.gz.part",
		"open/acme-000001.rest-000004.tar" };
	char *dir = scratch();
	struct archive_writer *w;
	size_t k;

	(void)state;
	make_archive(dir, ARCHIVE_GZ, MEMBER);
	w = open_archive(dir, ARCHIVE_GZ, 0);
	add(w, 0, 9);
	archive_close(&w);
	check_good(dir, 0, 9);
	for (k = 0; k < N_ELEMENTS(files); k++) {
		char *path = xasprintf("%s/%s", dir, files[k]), *text, *copy;
		struct findings f;
		size_t n, at;

		text = slurp(path, &n);
		copy = xmemdup0(text, n);
		/* Bytes of messages: a header of gzip or tar has some to spare. */
		for (at = 600; at < n && at < 1200; at += 50) {
			copy[at] ^= 1;
			spit(path, copy, n);
			copy[at] ^= 1;
			assert_true(verify(dir, &f, NULL) > 0);
		}
		spit(path, text, n);
		free(copy);
		free(text);
		free(path);
	}
	check_good(dir, 0, 9);
	remove_all(dir);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_torn_first),
		cmocka_unit_test(test_lost_commit),
		cmocka_unit_test(test_flips),
		cmocka_unit_test(test_containment),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_missing_and_extra),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_open_flips),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
