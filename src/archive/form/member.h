/*
 * member.h: members, the pieces of a segment that can be unpacked alone.
 *
 * For zip these functions do what they do for plain tar: a zip's open segment
 * is one.
 */
#ifndef ARCHIVE_MEMBER_H
#define ARCHIVE_MEMBER_H

#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/crypt.h>

/* Tar bytes at which a member is whole, for new archives. */
uint64_t member_bytes(enum archive_codec c);

/* ---- going out: gzip members and zstd frames ---- */

struct packer;

void packer_open(struct packer **out, enum archive_codec c);
/* What comes is tables, of which half are digests: zstd's lowest level makes them
 * smaller than a higher one does, in half the time. */
void packer_light(struct packer *p, bool light);
/* What is in b becomes one member or frame; the same bytes always give the same. */
enum status packer_run(struct packer *p, struct buf *b, struct err *err);
void packer_close(struct packer **p);

/* ---- members coming in ---- */

struct unpacker;

/* Where a member starts: in the file, and in the bytes it gives. */
struct mark {
	uint64_t file, raw;
};

/*
 * Unpacks the members in [off, off + len) of b one after the other. It must
 * end where a member ends. With marks their starts are noted.
 */
void unpacker_open(struct unpacker **out, enum archive_codec c, struct bytes *b,
	uint64_t off, uint64_t len, bool marks);
/* The same anew for other members, with the memory it has. */
void unpacker_again(struct unpacker *u, struct bytes *b, uint64_t off, uint64_t len);
/* What is read is compared with digests: no need to compute a frame's checksum. */
void unpacker_vouched(struct unpacker *u);
/* *n is 0 at the end. ST_DENIED, EX_DATAERR when it cannot be unpacked. */
enum status unpacker_next(
	struct unpacker *u, const char **p, size_t *n, struct err *err);
enum status unpacker_skip(struct unpacker *u, uint64_t n, struct err *err);
struct mark *unpacker_marks(const struct unpacker *u, size_t *n);
void unpacker_close(struct unpacker **u);

#endif
