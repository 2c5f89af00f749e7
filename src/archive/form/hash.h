/* hash.h: SHA-256 in pieces, of memory and of files. */
#ifndef ARCHIVE_HASH_H
#define ARCHIVE_HASH_H

#include <popferry/crypt.h>
#include <popferry/err.h>
#include <popferry/mail.h>

struct hash;

void hash_begin(struct hash **out);
void hash_put(struct hash *h, const void *p, size_t n);
/* Frees *h. out may be NULL: given up. */
void hash_end(struct hash **h, unsigned char out[DIGEST]);

/* Of what is written in pieces, and how much it is: measure_piece takes one as ctx. */
struct measure {
	struct hash *hash;
	uint64_t n;
};
enum status measure_piece(void *ctx, const void *p, size_t n, struct err *err);

/* Things of which each gets its own digest. */
struct hash_item {
	const char *p;
	size_t n;
	unsigned char sha[DIGEST];
};
/* Of all of them, and h goes on with p[0, n): two of these at a time, which takes
 * little more than half the time. */
void hash_items(
	struct sha *h, const void *p, size_t n, struct hash_item *v, size_t count);

void hash_of(const void *p, size_t n, unsigned char out[DIGEST]);
/* Of a whole file. name is for texts. */
enum status hash_fd(int fd, const char *name, unsigned char out[DIGEST], uint64_t *size,
	struct err *err);
/* Of what is in [from, to) of it. */
enum status hash_range(
	struct sha *h, struct bytes *b, uint64_t from, uint64_t to, struct err *err);
/* Of all that is in it. */
enum status hash_bytes(struct bytes *b, unsigned char out[DIGEST], struct err *err);
enum status hash_file(int dirfd, const char *name, unsigned char out[DIGEST],
	uint64_t *size, struct err *err);

#endif
