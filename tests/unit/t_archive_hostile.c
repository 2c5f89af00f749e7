/*
 * t_archive_hostile.c: archives that somebody made to do harm, checksums and all.
 */
#include "t_archive.h"

#include "../../src/archive/form/csv.h"
#include "../../src/archive/form/mailbag.h"
#include "../../src/archive/form/segment.h"

#include <zlib.h>

static const struct policy policy = { .id = "urn:uuid:0", .slug = "acme" };

/* ---- commit logs with right checksums ---- */

static void add_record(struct buf *b, const char *record)
{
	size_t n = strlen(record + 1);
	uLong crc = crc32(0, (const unsigned char *)record, (uInt)n + 1);

	buf_addf(b, "%c %zu %08lx\n%s\n", *record, n, crc, record + 1);
}

/* A message's record: its tar offset, key, occurrence and line of messages.csv. */
static char *row(uint64_t at, unsigned seq)
{
	struct buf b = BUF_INIT(4096);
	unsigned i;

	buf_addf(&b, "R%" PRIu64 " 0011223344556677 1\n\"%u\"", at, seq);
	for (i = 1; i < 35; i++)
		buf_addf(&b, i == 3 ? ",\"10\"" : i == 4 ? ",\"%064d\"" : ",\"\"", 0);
	buf_adds(&b, "\r\n");
	return buf_take(&b);
}

#define BEGIN "B1 urn:uuid:0 1 1"
#define ROW NULL /* of the next message */

static const struct {
	const char *name;
	const char *records[8];
	size_t n;
	enum status want;
} logs[] = {
	{ "sound", { BEGIN, ROW, "C0 0 1024 00000000 2" }, 3, ST_OK },
	{ "more members than there are",
		{ BEGIN, ROW, "C0 0 1024 00000000 2", "C0 4000000 1024 00000000 2" }, 4,
		ST_DENIED },
	{ "members that are not committed",
		{ BEGIN, ROW, "C0 0 1024 00000000 2", "M0 100 0 1024" }, 4, ST_OK },
	{ "fewer members than there are",
		{ BEGIN, ROW, "M0 100 0 1024", "C0 0 1024 00000000 2" }, 4, ST_DENIED },
};

static void test_logs(void **state)
{
	char *dir = scratch(), *path = xasprintf("%s/log", dir);
	size_t k, i;

	(void)state;
	for (k = 0; k < N_ELEMENTS(logs); k++) {
		struct buf b = BUF_INIT(64 * 1024);
		struct err err = ERR_INIT;
		struct open_state o;
		unsigned seq = 0;
		enum status rc;
		int fd;

		for (i = 0; i < logs[k].n; i++) {
			char *made = logs[k].records[i] ? NULL : row(512, ++seq);

			add_record(&b, made ? made : logs[k].records[i]);
			free(made);
		}
		spit(path, b.p, b.n);
		fd = open(path, O_RDONLY);
		rc = open_state_read(
			&o, &(struct open_file){ fd, NULL }, &policy, &err);
		if (rc != logs[k].want)
			fail_msg("%s: %d (%s)", logs[k].name, rc, err.text);
		if (rc == ST_OK)
			open_state_free(&o);
		close(fd);
		buf_free(&b);
	}
	remove_all(dir);
	free(path);
	free(dir);
}

/* More members than messages, each of them 32 bytes of memory. */
static void test_many_members(void **state)
{
	char *dir = scratch(), *path = xasprintf("%s/log", dir), *made = row(512, 1);
	struct buf b = BUF_INIT(16 << 20);
	struct err err = ERR_INIT;
	struct open_state o;
	unsigned i;
	int fd;

	(void)state;
	add_record(&b, BEGIN);
	add_record(&b, made);
	for (i = 0; i < SEGMENT_MESSAGES_MAX + 2; i++)
		add_record(&b, "M0 100 0 1536");
	spit(path, b.p, b.n);
	fd = open(path, O_RDONLY);
	assert_int_equal(
		open_state_read(&o, &(struct open_file){ fd, NULL }, &policy, &err),
		ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	close(fd);
	buf_free(&b);
	remove_all(dir);
	free(made);
	free(path);
	free(dir);
}

/* A .rest of a terabyte, nearly all of it a hole: no memory is taken for it. */
static void test_huge_rest(void **state)
{
	char *dir = scratch(), *log = xasprintf("%s/open/acme-000001.log", dir);
	char *rest = xasprintf("%s/open/acme-000001.rest-000001.tar", dir), *text;
	struct archive_config cfg = { .path = dir };
	struct buf b = BUF_INIT(1 << 20);
	struct archive_writer *w;
	struct err err = ERR_INIT;
	struct spool *sp;
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY);
	size_t n;

	(void)state;
	spool_open(&sp, tmp, 1 << 20);
	make_archive(dir, ARCHIVE_NONE, 4096);
	w = open_archive(dir, ARCHIVE_NONE, 0);
	put_one(w, sp, 0);
	ok(archive_commit(w, 0, &err), &err);
	archive_close(&w);
	text = slurp(log, &n);
	buf_add(&b, text, n);
	add_record(&b, "C0 0 1099511627776 00000000 2");
	spit(log, b.p, b.n);
	if (truncate(rest, (off_t)1 << 40) < 0)
		skip();
	assert_int_equal(archive_open(&w, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	spool_close(&sp);
	close(tmp);
	buf_free(&b);
	remove_all(dir);
	free(text);
	free(rest);
	free(log);
	free(dir);
}

/* ---- pipes in the place of files ---- */

static void finding(void *ctx, const char *what)
{
	unsigned *n = ctx;

	(void)what;
	++*n;
}

static enum status no_row(void *ctx, const struct archive_row *row, struct err *err)
{
	(void)ctx;
	(void)row;
	(void)err;
	return ST_OK;
}

static void no_bytes(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

/* Whoever opens a pipe to read waits for somebody who writes: for ever. */
static void test_pipes(void **state)
{
	/* A log that is empty has promised nothing. */
	static const struct {
		const char *name;
		bool good;
	} files[] = { { "README.txt", false }, { "archive.json", false },
		{ "manifest-sha256.txt", false }, { "segments/acme-000001.tar", false },
		{ "segments/acme-000001.idx", false }, { "open/acme-000002.log", true },
		{ "open/acme-000002.rest-000001.tar", false } };
	struct spool *sp;
	size_t k;
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY);

	(void)state;
	spool_open(&sp, tmp, 1 << 20);
	for (k = 0; k < N_ELEMENTS(files); k++) {
		char *dir = scratch(), *path = xasprintf("%s/%s", dir, files[k].name);
		struct archive_reader *r = NULL;
		struct archive_check check;
		struct archive_writer *w;
		struct err err = ERR_INIT;
		unsigned findings = 0;
		enum status rc;

		make_archive(dir, ARCHIVE_NONE, 4096);
		w = open_archive(dir, ARCHIVE_NONE, 0);
		put_one(w, sp, 0);
		ok(archive_seal(w, &err), &err);
		put_one(w, sp, 1);
		ok(archive_commit(w, 0, &err), &err);
		archive_close(&w);
		if (unlink(path) < 0 || mkfifo(path, 0600) < 0)
			fail_msg("%s: %s", files[k].name, strerror(errno));
		alarm(30);
		if (archive_read(&r, dir, &err) == ST_OK) {
			archive_each(r, no_row, NULL, &err);
			archive_get(r, 1, no_bytes, NULL, &err);
			archive_get(r, 2, no_bytes, NULL, &err);
			rc = archive_verify(r, &check, finding, &findings, &err);
			if ((rc == ST_OK) != files[k].good)
				fail_msg("%s: %d", files[k].name, rc);
		}
		alarm(0);
		archive_done(&r);
		remove_all(dir);
		free(path);
		free(dir);
	}
	spool_close(&sp);
	close(tmp);
}

/* ---- tables without an end ---- */

static enum status to_buf(void *ctx, const void *p, size_t n, struct err *err)
{
	(void)err;
	assert_true(buf_add(ctx, p, n));
	return ST_OK;
}

static void add_entry(struct tarw *t, const char *name, const char *p, size_t n)
{
	char *path = xasprintf("acme-000001/%s", name);
	struct err err = ERR_INIT;

	ok(tarw_entry(t, path, n, &err), &err);
	ok(tarw_data(t, p, n, &err), &err);
	ok(tarw_entry_end(t, &err), &err);
	free(path);
}

enum bag { NO_BAG, BAG, OTHER_BAG };

static void add_bag(struct tarw *t, const char *csv, size_t n, enum bag bag)
{
	struct buf b = BUF_INIT(CSV_ROW_MAX);

	mailbag_header(&b);
	mailbag_line(&b, csv, n);
	if (bag == OTHER_BAG)
		b.p[b.n - 5] ^= 1; /* in the last field's quotes */
	if (bag != NO_BAG)
		add_entry(t, tag_names[TAG_MAILBAG], b.p, b.n);
	buf_free(&b);
}

/* A segment of one message, its tables of so many rows, and zeros behind. */
static void hostile_segment(struct buf *out, struct idx *x, const char *sha,
	unsigned csv_rows, unsigned manifest_rows, enum bag bag, size_t zeros)
{
	struct buf csv = BUF_INIT(1 << 20), sums = BUF_INIT(1 << 20);
	static const char text[] = "hello\r\n", path[] = "data/eml/INBOX/000000001.eml";
	static const char info[] = "x\nPayload-Oxum: 7.1\n";
	char *pad = xcalloc(1, zeros + 1);
	struct err err = ERR_INIT;
	struct idx_row *r;
	struct tarw *t;
	unsigned i, k;
	size_t head;

	csv_header(&csv);
	head = csv.n;
	for (i = 0; i < csv_rows; i++)
		for (k = 0; k < CSV_COLUMNS; k++)
			buf_addf(&csv, "\"%s\"%s",
				k == CSV_SEQ              ? "1"
					: k == CSV_PATH   ? path
					: k == CSV_SIZE   ? "7"
					: k == CSV_SHA256 ? sha
							  : "",
				k + 1 < CSV_COLUMNS ? "," : "\r\n");
	for (i = 0; i < manifest_rows; i++)
		buf_addf(&sums, "%s  %s\n", sha, path);
	tarw_open(&t, to_buf, out);
	add_entry(t, "bagit.txt", bagit_text, strlen(bagit_text));
	add_entry(t, path, text, strlen(text));
	r = idx_add(x);
	r->seq = 1;
	r->size = strlen(text);
	r->len = x->tags_off = out->n;
	assert_true(text_unhex(r->sha, DIGEST, sha));
	add_entry(t, tag_names[TAG_INFO], info, strlen(info));
	add_entry(t, tag_names[TAG_CSV], csv.p, csv.n);
	add_bag(t, csv.p + head, csv.n - head, bag);
	add_entry(t, tag_names[TAG_MANIFEST], sums.p, sums.n);
	add_entry(t, tag_names[TAG_TAGMANIFEST], "x", 1);
	ok(tarw_end(t, &err), &err);
	tarw_close(&t);
	assert_true(buf_add(out, pad, zeros));
	x->tags_len = out->n - x->tags_off;
	buf_free(&csv);
	buf_free(&sums);
	free(pad);
}

struct heard {
	const char *word;
	bool yes;
};

static void listen_for(void *ctx, const char *what)
{
	struct heard *h = ctx;

	h->yes |= h->word && strstr(what, h->word);
}

static void test_endless(void **state)
{
	static const struct {
		const char *name;
		unsigned csv, manifest;
		enum bag bag;
		size_t zeros;
		const char *word;
	} rows[] = {
		{ "one row", 1, 1, NO_BAG, 0, NULL },
		{ "padding", 1, 1, NO_BAG, 10240, NULL },
		{ "a row too many", 2, 1, NO_BAG, 0, "more lines than" },
		{ "rows and rows", 1000, 1, NO_BAG, 0, "messages.csv does not end" },
		{ "lines and lines", 1, 1000, NO_BAG, 0,
			"manifest-sha256.txt does not end" },
		{ "zeros and zeros", 1, 1, NO_BAG, 2 << 20, "zeros without an end" },
		{ "a mailbag", 1, 1, BAG, 0, NULL },
		{ "another mailbag", 1, 1, OTHER_BAG, 0,
			"mailbag.csv does not agree with metadata/messages.csv" },
	};
	char *dir = scratch(), *path = xasprintf("%s/tar", dir), sha[2 * DIGEST + 1];
	unsigned char digest[DIGEST];
	size_t k;

	(void)state;
	EVP_Digest("hello\r\n", 7, digest, NULL, EVP_sha256(), NULL);
	text_hex(sha, digest, DIGEST);
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		struct heard h = { rows[k].word, false };
		struct tally t = { .bad = listen_for, .ctx = &h };
		struct buf b = BUF_INIT(4 << 20);
		struct err err = ERR_INIT;
		struct idx x = { 0 };
		struct bytes *bytes = NULL;

		hostile_segment(&b, &x, sha, rows[k].csv, rows[k].manifest, rows[k].bag,
			rows[k].zeros);
		spit(path, b.p, b.n);
		ok(bytes_plain(&bytes, open(path, O_RDONLY), true, &err), &err);
		ok(segment_check(
			   bytes, ARCHIVE_NONE, "acme-000001", "x", &x, NULL, &t, &err),
			&err);
		/* Its tagmanifest is a finding in any case. */
		assert_int_equal(t.messages, 1);
		if (h.yes != (rows[k].word != NULL))
			fail_msg("%s: not as it should be", rows[k].name);
		bytes_close(&bytes);
		idx_free(&x);
		buf_free(&b);
	}
	remove_all(dir);
	free(path);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_many_members),
		cmocka_unit_test(test_huge_rest),
		cmocka_unit_test(test_pipes),
		cmocka_unit_test(test_endless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
