/*
 * listing.h: metadata/listing.tsv, one line a message that the source listed. See
 * FORMAT.
 */
#ifndef ARCHIVE_LISTING_H
#define ARCHIVE_LISTING_H

#include <popferry/buf.h>
#include <popferry/mail.h>
#include <popferry/story.h>

/* As "reconcile" and the lines call them. */
extern const char *const fate_names[FATES];

/* What a listing comes to: the sums that the seal has too. */
struct listing_sums {
	bool known;
	uint64_t count[FATES];
	uint64_t octets;
	unsigned char sha[DIGEST]; /* uidl_sha256 */
};
/* gone: messages were disposed of, of which the listing that is has only the fate. */
bool listing_same(
	const struct listing_sums *is, const struct listing_sums *was, bool gone);
/* All but those renamed. */
uint64_t listing_total(const uint64_t count[FATES]);

/* The line of names, and the line of a message. */
extern const char listing_head[];
enum { LISTING_LINE_MAX = 8 * 1024 };
void listing_line(struct buf *b, const struct story_item *it);
/* What of it goes into uidl_sha256. */
void listing_digest_line(struct buf *b, const struct story_item *it);
/* A UIDL as it stands there. */
void listing_uidl(struct buf *b, const char *uidl, size_t n);

/* ---- reading ---- */

/* Any cutting. NULL, or what is wrong with it; then it is over. Each line goes to
 * take(), which may be NULL; its UIDL is as the source had it. */
struct listing_reader;
typedef void listing_take(void *ctx, const struct story_item *it);
void listing_begin(struct listing_reader **out, listing_take *take, void *ctx);
const char *listing_feed(struct listing_reader *r, const char *p, size_t n);
/* Frees *r. */
const char *listing_end(struct listing_reader **r, struct listing_sums *out);

#endif
