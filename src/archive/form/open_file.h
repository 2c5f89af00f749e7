/*
 * open_file.h: a file in open/, as it is or of encrypted records.
 */
#ifndef ARCHIVE_OPEN_FILE_H
#define ARCHIVE_OPEN_FILE_H

#include <popferry/crypt.h>

#include <stdbool.h>

struct open_file {
	int fd;            /* -1: none */
	struct records *r; /* NULL: it is as it is */
};
#define OPEN_FILE_NONE ((struct open_file){ -1, NULL })

/* As openat(), with O_CLOEXEC and O_NOFOLLOW. key NULL: it is not encrypted. err_sys()
 * leaves errno as it was. */
enum status open_file(struct open_file *f, int dir, const char *name, int flags,
	const unsigned char *key, struct err *err);
/* The same for a descriptor, which is closed when that fails. */
enum status open_file_of(struct open_file *f, int fd, const char *name,
	const unsigned char *key, struct err *err);
void open_file_close(struct open_file *f);

enum status open_file_size(const struct open_file *f, uint64_t *size, struct err *err);
/* At its end. */
enum status open_file_add(
	struct open_file *f, const void *p, size_t n, struct err *err);
/*
 * What a crash tore is there as zeros, as it may be in a file that is not encrypted:
 * whoever reads has sums of his own.
 */
enum status open_file_read(const struct open_file *f, void *p, size_t n, uint64_t off,
	size_t *got, struct err *err);
/*
 * It has records, and none of them can be read: it is under another key, or its head is
 * damaged. Zeros would tell of a log in which nothing was committed.
 */
bool open_file_foreign(const struct open_file *f);
/* To a size it has had. */
enum status open_file_cut(
	struct open_file *f, const char *name, uint64_t size, struct err *err);
/* What is in it now. */
enum status open_file_bytes(
	struct bytes **out, const struct open_file *f, struct err *err);

#endif
