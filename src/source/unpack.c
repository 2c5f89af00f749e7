/* unpack.c: one entry of a zip or tar file after the other, in bounds. */
#include "packed.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum {
	STOP_EVERY = 16, /* pieces: then it is asked whether to stop */
	TRAILER = 512,   /* bytes at the end of a tar, all zero */
};
/* More than any mail and any compression of it: then it is a bomb. */
#define RATIO_MAX UINT64_C(1100)
#define RATIO_FREE (UINT64_C(64) << 20)

void pack_rewind(struct packed *p)
{
	if (p->a)
		archive_read_free(p->a);
	if (p->gz)
		gzclose_r(p->gz);
	p->a = NULL;
	p->gz = NULL;
	p->entry = p->out = 0;
}

enum status pack_damaged(struct packed *p, struct err *err)
{
	const char *why = p->a ? archive_error_string(p->a) : NULL;
	enum status rc = files_stopped(&p->f, err);

	if (rc != ST_OK) /* that is why it ends */
		return rc;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"%s is damaged or cut off after %" PRIu64
		" entr%s; what stands before that was read (%s)",
		p->f.path, p->entry, p->entry == 1 ? "y" : "ies",
		why ? why : "it ends too soon");
}

/*
 * What is passed over is read too, and may be long: whoever wants to stop does not wait
 * for its end.
 */
static bool is_stopped(struct archive *a, struct packed *p)
{
	if (files_stopped(&p->f, NULL) == ST_OK)
		return false;
	archive_set_error(a, ECANCELED, "stopped");
	return true;
}

static la_ssize_t read_plain(struct archive *a, void *ctx, const void **piece)
{
	struct packed *p = ctx;
	ssize_t n = is_stopped(a, p) ? ARCHIVE_FATAL
				     : read(p->fd, p->piece, READ_PIECE);

	*piece = p->piece;
	if (n == -1)
		archive_set_error(a, errno, "%s", strerror(errno));
	return n;
}

static la_int64_t skip_plain(struct archive *a, void *ctx, la_int64_t n)
{
	const struct packed *p = ctx;
	off_t at = lseek(p->fd, 0, SEEK_CUR);
	la_int64_t left = (la_int64_t)p->file_size - at;

	(void)a;
	if (at < 0 || left <= 0)
		return 0;
	n = n < left ? n : left;
	return lseek(p->fd, n, SEEK_CUR) < 0 ? 0 : n;
}

/* libarchive does not compare the digest at the end of a gzip file; zlib does. */
static la_ssize_t read_gz(struct archive *a, void *ctx, const void **piece)
{
	struct packed *p = ctx;
	int n, no = Z_OK;
	const char *why;

	if (is_stopped(a, p))
		return ARCHIVE_FATAL;
	n = gzread(p->gz, p->piece, READ_PIECE);
	why = gzerror(p->gz, &no);
	*piece = p->piece;
	if (n >= 0 && (no == Z_OK || no == Z_STREAM_END))
		return n;
	/* Of a file that is cut off, what is left of it comes first. */
	if (n > 0 && no == Z_BUF_ERROR)
		return n;
	archive_set_error(
		a, EIO, "gzip: %s", no == Z_BUF_ERROR ? "the file ends too soon" : why);
	return ARCHIVE_FATAL;
}

/* Is all of it as it was written? Behind what the tar says is its end, too. */
static bool drained(struct packed *p)
{
	int n = 1, no = Z_OK;

	while (p->gz && n > 0) {
		if (is_stopped(p->a, p))
			return false;
		n = gzread(p->gz, p->piece, READ_PIECE);
	}
	if (p->gz)
		gzerror(p->gz, &no);
	return n >= 0 && (no == Z_OK || no == Z_STREAM_END);
}

/* As it is, or unpacked on the way. */
static int open_file(struct packed *p)
{
	unsigned char magic[2];
	int fd;

	if (p->zip)
		return archive_read_open_fd(p->a, p->fd, READ_PIECE);
	if (!p->piece)
		p->piece = xmalloc(READ_PIECE);
	if (fs_pread(p->fd, magic, 2, 0) != 2 || magic[0] != 0x1f || magic[1] != 0x8b)
		return archive_read_open2(p->a, p, NULL, read_plain, skip_plain, NULL);
	fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
	p->gz = fd < 0 ? NULL : gzdopen(fd, "rb");
	if (!p->gz) {
		archive_set_error(p->a, errno, "gzip: %s", strerror(errno));
		return ARCHIVE_FATAL;
	}
	gzbuffer(p->gz, READ_PIECE);
	return archive_read_open(p->a, p, NULL, read_gz, NULL);
}

enum status pack_begin(struct packed *p, struct err *err)
{
	int rc;

	pack_rewind(p);
	p->a = archive_read_new();
	if (!p->a)
		xmemory_gone();
	if (p->zip) {
		archive_read_support_format_zip(p->a);
	} else {
		archive_read_support_filter_bzip2(p->a);
		archive_read_support_filter_zstd(p->a);
		archive_read_support_format_tar(p->a);
	}
	if (lseek(p->fd, 0, SEEK_SET) < 0)
		return err_sys(err, ST_FATAL, "%s", p->f.path);
	rc = open_file(p);
	if (rc == ARCHIVE_OK)
		return ST_OK;
	if (files_stopped(&p->f, err) != ST_OK)
		return ST_RETRY;
	return err_set(err, ST_DENIED, EX_DATAERR, "%s is no %s file: %s", p->f.path,
		p->zip ? "zip" : "tar (.gz, .zst, .bz2)", archive_error_string(p->a));
}

enum status pack_next(struct packed *p, struct archive_entry **e, struct err *err)
{
	/* In the C locale a name in UTF-8 that a zip has would be none. */
	locale_t was = p->utf8 ? uselocale(p->utf8) : (locale_t)0;
	int rc;

	do
		rc = archive_read_next_header(p->a, e);
	while (rc == ARCHIVE_RETRY);
	if (was)
		uselocale(was);
	if (rc == ARCHIVE_EOF)
		return ST_END;
	if (rc < ARCHIVE_WARN && p->entry == 0 && files_stopped(&p->f, err) == ST_OK)
		return err_set(err, ST_DENIED, EX_DATAERR, "%s is no %s file: %s",
			p->f.path, p->zip ? "zip" : "tar (.gz, .zst, .bz2)",
			archive_error_string(p->a));
	if (rc < ARCHIVE_WARN)
		return pack_damaged(p, err);
	p->entry++;
	return ST_OK;
}

enum status pack_read(struct packed *p, mail_take *take, void *ctx, uint64_t *size,
	unsigned char id[FILE_ID_BYTES], struct err *err)
{
	unsigned char digest[DIGEST];
	char piece[READ_PIECE];
	enum status rc = ST_OK;
	unsigned pieces = 0;
	la_ssize_t n = 1;

	EVP_DigestInit_ex(p->sha, EVP_sha256(), NULL);
	for (*size = 0; rc == ST_OK && n > 0; *size += (uint64_t)n) {
		n = archive_read_data(p->a, piece, sizeof(piece));
		if (n == ARCHIVE_FATAL)
			return pack_damaged(p, err);
		if (n < 0)
			return err_set(err, ST_SKIP, EX_DATAERR,
				"%s: entry %" PRIu64 " cannot be read: %s", p->f.path,
				p->entry, archive_error_string(p->a));
		p->out += (uint64_t)n;
		if (p->out > RATIO_FREE && p->out / RATIO_MAX > p->file_size)
			return err_set(err, ST_DENIED, EX_DATAERR,
				"%s unpacks to more than %" PRIu64
				" times its size: it is no collection of mail, and was "
				"left at entry %" PRIu64,
				p->f.path, RATIO_MAX, p->entry);
		EVP_DigestUpdate(p->sha, piece, (size_t)n);
		if (take)
			take(ctx, piece, (size_t)n);
		if (++pieces % STOP_EVERY == 0)
			rc = files_stopped(&p->f, err);
	}
	EVP_DigestFinal_ex(p->sha, digest, NULL);
	memcpy(id, digest, FILE_ID_BYTES);
	return rc;
}

/* A plain tar has no digest of its own, but it ends in zeros. */
static bool ends_well(const struct packed *p)
{
	char last[TRAILER];
	size_t i;

	if (p->zip || p->gz || archive_filter_code(p->a, 0) != ARCHIVE_FILTER_NONE)
		return true;
	if (p->file_size < TRAILER ||
		fs_pread(p->fd, last, TRAILER, p->file_size - TRAILER) != TRAILER)
		return false;
	for (i = 0; i < TRAILER && !last[i]; i++)
		;
	return i == TRAILER;
}

bool pack_ended_well(struct packed *p)
{
	return drained(p) && ends_well(p);
}
