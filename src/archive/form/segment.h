/*
 * segment.h: reading a segment and comparing all it says.
 */
#ifndef ARCHIVE_SEGMENT_H
#define ARCHIVE_SEGMENT_H

#include "commit.h"
#include "idx.h"
#include "listing.h"
#include "tar.h"
#include "tree.h"

/* The tag files, in their order. */
enum tag {
	TAG_INFO,
	TAG_CSV,
	TAG_MAILBAG,
	TAG_TREE,
	TAG_LISTING,
	TAG_ERRORS,
	TAG_SERVER,
	TAG_MANIFEST,
	TAG_TAGMANIFEST,
	TAGS
};
extern const char *const tag_names[TAGS];
extern const char bagit_text[];

/* From TAG_MAILBAG to TAG_SERVER a segment may lack some: those of 0.1.0 have none of
 * them. */
bool tag_may_lack(enum tag tag);
struct tag_sums {
	unsigned char of[TAGS][DIGEST];
	bool has[TAGS]; /* counts where it may be lacking */
};

/* What was compared while the segment grew: its first members. */
struct segment_seen {
	size_t n;        /* messages in them */
	uint64_t bytes;  /* of the file */
	uint64_t *paths; /* short hash of each path */
	struct sha sha;  /* of these bytes */
};
void segment_seen_free(struct segment_seen *s);
uint64_t segment_path(const char *path);

/* What was made of the rows when the tables were written. */
struct segment_made {
	struct tag_sums sums;
	uint64_t *paths; /* short hash of each path in messages.csv */
};

/* What a seal says of a segment. */
struct segment_facts {
	struct segment_seen *seen; /* need not be looked at again; NULL: nothing was */
	/* The tables are to be these, and the tree has their leaves already; NULL: what
	 * they say is looked at. */
	const struct segment_made *made;
	unsigned char *sha; /* gets the digest of b; NULL: it is not wanted */
	struct tree tree;   /* before it, and then with it */
	bool has_tree;      /* it was read, and is right */
	unsigned char tags_sha[DIGEST];
	bool has_tags;
	struct listing_sums listing; /* of TAG_LISTING, where it has one */
};

/* What tagmanifest-sha256.txt says; its own sum is not looked at. */
void tagmanifest_text(struct buf *b, const struct tag_sums *sums);

/* Findings and counts. */
struct tally {
	void (*bad)(void *ctx, const char *what);
	void *ctx;
	uint64_t messages, bytes, gone, damaged;
};
void tally_bad(struct tally *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Reads all of a sealed segment by its index and compares each entry with
 * the index and the tables. Damage goes to t; a failure is an unreadable
 * file. file is its name in texts. facts may be NULL.
 */
enum status segment_check(struct bytes *b, enum archive_codec c, const char *segment,
	const char *file, const struct idx *x, struct segment_facts *facts,
	struct tally *t, struct err *err);

/*
 * The same for one member, whose rows these are. *u is kept for the next one; paths
 * gets the hash of each path. False: there is something bad in it, or it cannot be
 * read.
 */
bool segment_group(struct unpacker **u, struct bytes *b, enum archive_codec c,
	const char *segment, const struct idx *rows, bool first, uint64_t *paths,
	struct err *err);

/* The same for the open segment; part or rest may be NULL. */
enum status open_check(struct bytes *part, struct bytes *rest, enum archive_codec c,
	const char *segment, const struct idx *x, struct tally *t, struct err *err);

/*
 * Finds an entry ("metadata/messages.csv") in the tag section, so that
 * *s gives its bytes. Close *s and *u also on failure.
 */
enum status segment_tag(struct entries **s, struct unpacker **u, struct bytes *b,
	enum archive_codec c, const char *segment, const struct idx *x, const char *tag,
	struct err *err);
/* The same; ST_END: there is none. */
enum status segment_find(struct entries **s, struct unpacker **u, struct bytes *b,
	enum archive_codec c, const char *segment, const struct idx *x, const char *tag,
	struct err *err);

#endif
