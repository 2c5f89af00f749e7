/*
 * evidence.h: seals and the custody log, compared with the archive.
 */
#ifndef ARCHIVE_EVIDENCE_H
#define ARCHIVE_EVIDENCE_H

#include "../erase/disposition.h"
#include "../read/reader.h"
#include "../form/segment.h"
#include "../form/statement.h"

struct evidence {
	const struct archive_reader *r;
	struct tally *t;
	/* The digest of a file that is as manifest-sha256.txt says; NULL: of no
	 * other. */
	const unsigned char *(*sum)(void *ctx, const char *name);
	void *ctx;
	struct statement *seals; /* those that are there, in their order */
	size_t n;
	bool told; /* the last one's place in the chain is unknown: that was told */
	uint64_t unsealed, events;
	bool unanchored;                 /* the log, whose end nobody knows so */
	uint64_t signatures, timestamps; /* made, as the custody log tells */

	struct disposition *disposed; /* all records of disposals, in their order */
	size_t disposed_n;
	bool pending; /* the last of them is under way */
};

/* ---- shape.c ---- */

/* Folders that are none: then nothing else can be looked at. */
bool evidence_folders(struct evidence *v);
/* Links, pipes and folders where files should be, but for those that were told. */
enum status evidence_files(
	struct evidence *v, bool (*told)(void *ctx, const char *name), struct err *err);

/* ---- disposed.c ---- */

/* Reads the records of disposals. Before all else. */
enum status evidence_begin(struct evidence *v, struct err *err);
void evidence_free(struct evidence *v);
/* A disposal is just making or removing this file, or was killed while it did. */
bool evidence_excuses(const struct evidence *v, const char *name);
/* What the files of this segment must be after its disposals; *s is what was sealed. */
void evidence_now(const struct evidence *v, const struct sealed *sealed,
	const char *seal, struct state *s);
/* Of how many of its messages the records tell that they are gone, for who cannot
 * look. */
uint64_t evidence_gone(const struct evidence *v, const struct sealed *sealed);
/* Tombstones, and what the records tell. */
void evidence_tombs(
	struct evidence *v, const struct sealed *sealed, const struct idx *x);
/* Records that nobody vouches for, or that are missing. listed: in
 * manifest-sha256.txt. */
enum status evidence_policy(struct evidence *v,
	bool (*listed)(void *ctx, const char *name), struct err *err);
/* An event that tells of a record. */
void evidence_event(
	struct evidence *v, const char *event, const char *object, const char *line);

/* ---- evidence.c ---- */

/*
 * The seal of this segment, compared with the files and with the one before. NULL: it
 * has none, or a damaged one. Good until the next call.
 */
const struct statement *evidence_seal(struct evidence *v, const struct sealed *s);

/* Where the tree of this segment starts; false: nobody knows. */
bool evidence_start(
	const struct evidence *v, const struct statement *seal, struct tree *out);

/* What was read of the segment; facts are NULL when only its index was. */
void evidence_segment(struct evidence *v, const struct statement *seal,
	const struct sealed *sealed, const struct idx *x,
	const struct segment_facts *facts, bool started);

/* The custody log, and seals of what is not there. After all segments. */
enum status evidence_end(struct evidence *v, struct err *err);

#endif
