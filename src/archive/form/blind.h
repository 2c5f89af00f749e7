/*
 * blind.h: which messages an encrypted archive has, for whoever cannot read it: codes
 * of their digests, under a key that is kept with the job's state and not with the
 * archive.
 */
#ifndef ARCHIVE_BLIND_H
#define ARCHIVE_BLIND_H

#include "idx.h"

struct blind;

/*
 * The one in dirfd, which stays the caller's; made if there is none. ST_DENIED:
 * damaged, or the archive was encrypted to others when it was made.
 */
enum status blind_open(
	struct blind **out, int dirfd, const struct policy *p, struct err *err);
void blind_close(struct blind **b);
/* Of an archive that is not encrypted. ST_DENIED: there is one, so it was. */
enum status blind_never(int dirfd, const struct policy *p, struct err *err);

void blind_sha(const struct blind *b, unsigned char out[DIGEST],
	const unsigned char sha[DIGEST]);
void blind_key(
	const struct blind *b, unsigned char out[KEY], const unsigned char key[KEY]);
/* Its sha and key. */
void blind_row(const struct blind *b, struct idx_row *row);

/* Rows, in ascending order, with only seq, sha and key; sha is cut: zeros follow. */
enum status blind_each(const struct blind *b,
	void (*each)(void *ctx, const struct idx_row *row), void *ctx, struct err *err);
/* These are known no more, as if they had never been; durable. */
enum status blind_forget(
	const struct blind *b, uint64_t first, uint64_t last, struct err *err);
/* Adds those of a segment, durable; they take the place of all from its first on. */
enum status blind_add(const struct blind *b, const struct idx *x, struct err *err);

#endif
