/* open_file.c: a file in open/, as it is or of encrypted records. */
#include "open_file.h"

#include <popferry/fs.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum status open_file_of(struct open_file *f, int fd, const char *name,
	const unsigned char *key, struct err *err)
{
	enum status rc = ST_OK;

	*f = (struct open_file){ fd, NULL };
	if (key)
		rc = records_open(&f->r, fd, key, name, err);
	if (rc != ST_OK)
		open_file_close(f);
	return rc < 0 ? err_note(err, "open/%s", name) : rc;
}

enum status open_file(struct open_file *f, int dir, const char *name, int flags,
	const unsigned char *key, struct err *err)
{
	int fd;

	/* Records are read where others are added. */
	if (key && (flags & O_ACCMODE) == O_WRONLY)
		flags = (flags & ~O_ACCMODE) | O_RDWR;
	*f = OPEN_FILE_NONE;
	fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, ST_FATAL, "open %s", name);
	return open_file_of(f, fd, name, key, err);
}

void open_file_close(struct open_file *f)
{
	records_close(&f->r);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

enum status open_file_size(const struct open_file *f, uint64_t *size, struct err *err)
{
	struct stat st;

	if (f->r) {
		*size = records_size(f->r);
		return ST_OK;
	}
	if (fstat(f->fd, &st) < 0)
		return err_sys(err, ST_FATAL, "stat");
	*size = (uint64_t)st.st_size;
	return ST_OK;
}

enum status open_file_add(struct open_file *f, const void *p, size_t n, struct err *err)
{
	return f->r ? records_add(f->r, p, n, err) : fs_write(f->fd, p, n, err);
}

static enum status read_torn(struct records *r, char *p, size_t n, uint64_t off,
	size_t *got, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc = ST_OK;

	for (*got = 0; rc == ST_OK && n && off < records_size(r);) {
		uint64_t left = records_border(r, off) - off;
		size_t k = n < left ? n : (size_t)left, had = 0;

		rc = records_read(r, p, k, off, &had, &why);
		if (rc == ST_DENIED) {
			memset(p, 0, k);
			rc = ST_OK;
		}
		p += k;
		off += k;
		n -= k;
		*got += k;
	}
	return rc == ST_OK ? rc : err_set(err, rc, why.exit, "%s", why.text);
}

enum status open_file_read(const struct open_file *f, void *p, size_t n, uint64_t off,
	size_t *got, struct err *err)
{
	ssize_t had;

	if (f->r)
		return read_torn(f->r, p, n, off, got, err);
	had = fs_pread(f->fd, p, n, off);
	*got = had > 0 ? (size_t)had : 0;
	return had < 0 ? err_sys(err, ST_FATAL, "read") : ST_OK;
}

bool open_file_foreign(const struct open_file *f)
{
	uint64_t size = f->r ? records_size(f->r) : 0, off;
	struct err why = ERR_INIT;
	char one;
	size_t n;

	for (off = 0; off < size; off = records_border(f->r, off))
		if (records_read(f->r, &one, 1, off, &n, &why) != ST_DENIED)
			return false;
	return size > 0;
}

enum status open_file_cut(
	struct open_file *f, const char *name, uint64_t size, struct err *err)
{
	enum status rc = ST_OK;

	if (f->r)
		rc = records_cut(f->r, size, err);
	else if (ftruncate(f->fd, (off_t)size) < 0 ||
		lseek(f->fd, (off_t)size, SEEK_SET) < 0)
		return err_sys(err, ST_FATAL, "cut %s", name);
	return rc == ST_OK ? rc : err_note(err, "open/%s", name);
}

enum status open_file_bytes(
	struct bytes **out, const struct open_file *f, struct err *err)
{
	return f->r ? bytes_records(out, f->r, err)
		    : bytes_plain(out, f->fd, false, err);
}
