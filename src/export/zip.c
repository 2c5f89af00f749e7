/* zip.c: one zip file, with the sums of its messages inside. */
#include "own.h"

#include <popferry/mem.h>

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

enum { SUMS_MAX = 512 * 1024 * 1024 };

struct zip {
	struct archive *a;
	struct archive_entry *e;
	struct out *out;
	struct buf sums;
	bool failed;
	bool dropped; /* what libarchive writes on closing goes nowhere */
};

static la_ssize_t give(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct zip *z = ctx;

	(void)a;
	if (!z->dropped)
		out_put(z->out, p, n);
	return (la_ssize_t)n;
}

static enum status broken(struct zip *z, struct err *err)
{
	const char *why = archive_error_string(z->a);

	return err_set(err, ST_FATAL, EX_SOFTWARE, "libarchive: %s",
		why ? why : "the zip cannot be written");
}

static enum status zip_begin(struct export *x, struct err *err)
{
	struct zip *z = xcalloc(1, sizeof(*z));

	x->own = z;
	z->out = x->t.file;
	buf_init(&z->sums, SUMS_MAX);
	z->a = archive_write_new();
	z->e = archive_entry_new();
	if (!z->a || !z->e)
		xmemory_gone();
	archive_write_set_bytes_per_block(z->a, 0);
	archive_write_set_format_zip(z->a);
	if (archive_write_set_options(z->a, "zip:compression=deflate") != ARCHIVE_OK ||
		archive_write_open(z->a, z, NULL, give, NULL) != ARCHIVE_OK)
		return broken(z, err);
	return ST_OK;
}

static enum status entry(
	struct zip *z, const char *name, uint64_t size, int64_t time, struct err *err)
{
	archive_entry_clear(z->e);
	archive_entry_set_pathname(z->e, name);
	archive_entry_set_filetype(z->e, AE_IFREG);
	archive_entry_set_perm(z->e, 0644);
	archive_entry_set_mtime(z->e, time, 0);
	archive_entry_set_size(z->e, (la_int64_t)size);
	if (archive_write_header(z->a, z->e) != ARCHIVE_OK)
		return broken(z, err);
	return ST_OK;
}

static void bytes(void *ctx, const char *p, size_t n)
{
	struct zip *z = ctx;

	if (n && archive_write_data(z->a, p, n) != (la_ssize_t)n)
		z->failed = true;
}

static enum status zip_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	struct zip *z = x->own;
	char name[256];
	enum status rc;

	message_name(name, row);
	if (!buf_addf(&z->sums, "%s  %s\n", archive_mail_sha256(m), name))
		return err_set(err, ST_DENIED, EX_USAGE,
			"too many messages for one zip: choose fewer");
	rc = entry(z, name, archive_mail_size(m), message_time(row), err);
	if (rc == ST_OK)
		rc = archive_mail_give(m, bytes, z, err);
	if (rc == ST_OK &&
		(z->failed || archive_write_finish_entry(z->a) != ARCHIVE_OK))
		rc = broken(z, err);
	return rc;
}

static enum status zip_end(struct export *x, struct err *err)
{
	struct zip *z = x->own;
	enum status rc = entry(z, "manifest-sha256.txt", z->sums.n, 0, err);

	if (rc != ST_OK)
		return rc;
	bytes(z, buf_str(&z->sums), z->sums.n);
	if (z->failed || archive_write_close(z->a) != ARCHIVE_OK)
		return broken(z, err);
	return ST_OK;
}

static void zip_drop(struct export *x)
{
	struct zip *z = x->own;

	if (!z)
		return;
	z->dropped = true;
	archive_write_free(z->a);
	archive_entry_free(z->e);
	buf_free(&z->sums);
	free(z);
	x->own = NULL;
}

const struct format format_zip = { .name = "zip",
	.what = "one zip file with a file a message",
	.bytes = true,
	.begin = zip_begin,
	.put = zip_put,
	.end = zip_end,
	.drop = zip_drop };
