/*
 * wrap.c: the finished tar is compared with what is known of it, and becomes what
 * segments/ gets: as it is, a zip, or encrypted.
 */
#include "wrap.h"
#include "../form/hash.h"

#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CIPHER_COPY = 256 * 1024 };

/* ---- the check ---- */

static void first_finding(void *ctx, const char *what)
{
	char *text = ctx;

	if (*text == '\0')
		snprintf(text, ERR_TEXT, "%s", what);
}

enum status wrap_check(struct archive_writer *w, const char *name, enum archive_codec c,
	const struct idx *x, struct segment_facts *facts, struct err *err)
{
	char finding[ERR_TEXT] = "";
	struct tally t = { .bad = first_finding, .ctx = finding };
	struct open_file f;
	struct bytes *b = NULL;
	enum status rc = writer_open_file(w, &f, name, O_RDONLY, err);

	if (rc == ST_OK)
		rc = open_file_bytes(&b, &f, err);
	if (rc == ST_OK)
		rc = segment_check(b, c, w->seg->name, name, x, facts, &t, err);
	if (rc == ST_OK && t.damaged)
		rc = err_set(err, ST_DENIED, EX_IOERR,
			"the finished segment does not read back as it was written, it stays in "
			"open/ (check disk and memory): %s",
			finding);
	bytes_close(&b);
	open_file_close(&f);
	return rc;
}

/* ---- zip ---- */

static enum status copy_entry(
	struct tarw *zip, struct entries *s, const struct entry *e, struct err *err)
{
	enum status rc = tarw_entry(zip, e->path, e->size, err);
	const char *p;
	size_t n;

	while (rc == ST_OK && (rc = entries_data(s, &p, &n, err)) == ST_OK && n)
		rc = tarw_data(zip, p, n, err);
	return rc == ST_OK ? tarw_entry_end(zip, err) : rc;
}

static enum status tar_to_zip(
	struct bytes *tar, tar_take *take, void *ctx, uint64_t len, struct err *err)
{
	struct unpacker *u = NULL;
	struct entries *s = NULL;
	struct tarw *zip = NULL;
	struct entry e;
	enum status rc;

	unpacker_open(&u, ARCHIVE_NONE, tar, 0, len, false);
	rc = entries_open(&s, u, err);
	if (rc == ST_OK)
		rc = tarw_open_zip(&zip, take, ctx, err);
	while (rc == ST_OK && (rc = entries_next(s, &e, err)) == ST_OK)
		rc = copy_entry(zip, s, &e, err);
	if (rc == ST_END)
		rc = tarw_end(zip, err);
	tarw_close(&zip);
	entries_close(&s);
	unpacker_close(&u);
	return rc;
}

static enum status zip_take(void *ctx, const void *p, size_t n, struct err *err)
{
	return open_file_add(ctx, p, n, err);
}

static void forget_offsets(struct idx *x)
{
	size_t i;

	for (i = 0; i < x->n; i++)
		x->rows[i].off = x->rows[i].len = x->rows[i].in = 0;
	x->tags_off = x->tags_len = 0;
}

enum status wrap_zip(struct archive_writer *w, const char *name, struct idx *x,
	struct segment_facts *facts, struct err *err)
{
	struct bytes *tar = NULL;
	struct open_file f;
	enum status rc = open_file(
		&f, w->opendir, name, O_RDWR | O_CREAT | O_TRUNC, NULL, err);

	if (rc == ST_OK)
		rc = open_file_bytes(&tar, &w->seg->part, err);
	if (rc == ST_OK)
		rc = tar_to_zip(tar, zip_take, &f, w->seg->part_len, err);
	if (rc == ST_OK && fsync(f.fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync zip");
	bytes_close(&tar);
	open_file_close(&f);
	fault_step("archive-zip");
	forget_offsets(x);
	return rc == ST_OK ? wrap_check(w, name, ARCHIVE_ZIP, x, facts, err) : rc;
}

/* ---- encrypted ---- */

/* Gives the segment's bytes to take(). */
typedef enum status fill(void *ctx, tar_take *take, void *to, struct err *err);

static enum status to_file(void *ctx, const void *p, size_t n, struct err *err)
{
	return fs_write(*(int *)ctx, p, n, err);
}

static enum status to_encryptor(void *ctx, const void *p, size_t n, struct err *err)
{
	return encryptor_write(ctx, p, n, err);
}

static enum status write_all(struct archive_writer *w, int fd, fill *give, void *ctx,
	struct identities *own, struct err *err)
{
	struct encryptor *e = NULL;
	enum status rc = encryptor_open(&e, w->to, to_file, &fd, err);

	if (rc == ST_OK)
		rc = give(ctx, to_encryptor, e, err);
	if (rc == ST_OK)
		rc = encryptor_end(e, err);
	if (rc == ST_OK)
		encryptor_key(e, own);
	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync");
	encryptor_close(&e);
	return rc;
}

/* Writes open/NAME, durable, and opens what reads back of it; the key of that is
 * nowhere else. */
static enum status encipher(struct archive_writer *w, const char *name, fill *give,
	void *ctx, struct bytes **back, struct err *err)
{
	struct identities *own;
	struct open_file f;
	enum status rc = open_file(
		&f, w->opendir, name, O_RDWR | O_CREAT | O_TRUNC, NULL, err);

	*back = NULL;
	identities_open(&own);
	if (rc == ST_OK)
		rc = write_all(w, f.fd, give, ctx, own, err);
	open_file_close(&f);
	fault_step("archive-enciphered");
	/* Opened anew, so that what is compared is what the file gives to others. */
	if (rc == ST_OK)
		rc = open_file(&f, w->opendir, name, O_RDONLY, NULL, err);
	if (rc == ST_OK)
		rc = bytes_decrypt(back, f.fd, true, own, w->opendir, err);
	identities_close(&own);
	return rc == ST_OK ? rc : err_note(err, "open/%s", name);
}

static enum status fill_zip(void *ctx, tar_take *take, void *to, struct err *err)
{
	const struct open_segment *g = ctx;
	struct bytes *tar = NULL;
	enum status rc = open_file_bytes(&tar, &g->part, err);

	if (rc == ST_OK)
		rc = tar_to_zip(tar, take, to, g->part_len, err);
	bytes_close(&tar);
	return rc;
}

static enum status fill_tar(void *ctx, tar_take *take, void *to, struct err *err)
{
	const struct open_segment *g = ctx;
	char *p = xmalloc(CIPHER_COPY);
	struct bytes *b = NULL;
	uint64_t at = 0;
	size_t n = 1;
	enum status rc = open_file_bytes(&b, &g->part, err);

	while (rc == ST_OK && n) {
		rc = bytes_read(b, p, CIPHER_COPY, at, &n, err);
		if (rc == ST_OK && n)
			rc = take(to, p, n, err);
		at += n;
	}
	bytes_close(&b);
	free(p);
	return rc;
}

/* The zip must have what the tar had; what has come out of the file must be what went
 * in. */
static enum status check_back(struct archive_writer *w, struct bytes *back,
	const char *name, const struct idx *x, struct segment_facts *facts,
	struct err *err)
{
	char finding[ERR_TEXT] = "";
	struct tally t = { .bad = first_finding, .ctx = finding };
	unsigned char sha[DIGEST];
	enum status rc;

	if (w->policy.codec == ARCHIVE_ZIP) {
		rc = segment_check(
			back, ARCHIVE_ZIP, w->seg->name, name, x, facts, &t, err);
	} else {
		rc = hash_bytes(back, sha, err);
		if (rc == ST_OK && memcmp(sha, facts->sha, DIGEST) != 0)
			tally_bad(&t, "its SHA-256 is another when it is decrypted");
	}
	if (rc == ST_OK && t.damaged)
		rc = err_set(err, ST_DENIED, EX_IOERR,
			"the encrypted segment does not read back as it was written, it stays "
			"in open/ (check disk and memory): %s",
			finding);
	return rc;
}

enum status wrap_cipher(struct archive_writer *w, const char *name, struct idx *x,
	struct segment_facts *facts, struct statement *s, unsigned char sum[DIGEST],
	struct err *err)
{
	bool is_zip = w->policy.codec == ARCHIVE_ZIP;
	struct bytes *back = NULL;
	enum status rc = encipher(
		w, name, is_zip ? fill_zip : fill_tar, w->seg, &back, err);

	if (is_zip)
		forget_offsets(x);
	if (rc == ST_OK)
		rc = check_back(w, back, name, x, facts, err);
	if (rc == ST_OK) {
		s->crypt = w->policy.crypt;
		s->plain_bytes = bytes_size(back);
		memcpy(s->plain_sha, facts->sha, DIGEST);
		rc = hash_file(w->opendir, name, sum, NULL, err);
	}
	bytes_close(&back);
	fault_step("archive-ciphered");
	return rc;
}
