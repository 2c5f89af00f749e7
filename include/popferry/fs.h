/*
 * fs.h: files that are whole or not there.
 *
 * All functions retry EINTR. Descriptors are close-on-exec. New files are
 * 0600, new directories 0700, unless a mode is given.
 */
#ifndef POPFERRY_FS_H
#define POPFERRY_FS_H

#include <popferry/err.h>

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes all n bytes at the file's position. ST_FATAL with the reason. */
enum status fs_write(int fd, const void *p, size_t n, struct err *err);

/* Reads up to n bytes at off; short only at the end of the file. */
ssize_t fs_pread(int fd, void *p, size_t n, uint64_t off);

/* fsync of a directory, so that names in it are durable. */
enum status fs_sync_dir(int dirfd, struct err *err);

/*
 * Replaces dirfd/name by these bytes: a temporary file, fsync, rename, fsync
 * of the directory. Readers see the old file or the new one.
 */
enum status fs_replace(int dirfd, const char *name, const void *p, size_t n,
	mode_t mode, struct err *err);

/*
 * Opens the directory path, making it and its parents when missing. The last
 * component must be a real directory (no symbolic link) that belongs to us
 * and that nobody else can write to; otherwise ST_FATAL, EX_CONFIG.
 * *out is a descriptor the caller closes.
 */
enum status fs_open_dir(int *out, const char *path, struct err *err);

/*
 * Takes an exclusive flock(2) on dirfd/name and writes "pid host since" into
 * it. ST_DENIED and EX_TEMPFAIL when another process has it; the text says
 * who. The lock goes with the descriptor *out (and so with the process).
 */
enum status fs_lock(int *out, int dirfd, const char *name, struct err *err);

/* A file without a name in the directory: it cannot outlive the process. */
enum status fs_tmpfile(int *out, int dirfd, struct err *err);

/*
 * Reads dirfd/name whole (at most max bytes) into *out, NUL added, owned by
 * the caller. ST_END when there is no such file; ST_FATAL, EX_DATAERR: it is larger, or
 * no regular file.
 */
enum status fs_read(char **out, size_t *n, int dirfd, const char *name, size_t max,
	struct err *err);

#endif
