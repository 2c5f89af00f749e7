/*
 * commit.h: the commit log of the open segment.
 */
#ifndef ARCHIVE_COMMIT_H
#define ARCHIVE_COMMIT_H

#include "idx.h"
#include "open_file.h"
#include "layout.h"
#include "tree.h"

#include <popferry/buf.h>

enum { SOURCES_MAX = 64, SOURCE_MAX = 512 };

/* Of the rows of messages.csv. */
struct row_sums {
	uint64_t bytes, path_bytes; /* of the lines; of the paths in them */
	uint64_t mailbag_bytes; /* of the lines of mailbag.csv that follow from them */
	char newest[24];        /* when the last one was retrieved */
};

/* What has been committed, as the log tells it. */
struct open_state {
	unsigned no;          /* of the segment */
	uint64_t first, next; /* seq of its first message, and after its last */
	uint64_t part_len;
	unsigned members; /* whole ones in .part */
	uint64_t rest_at; /* where .rest starts in the tar */
	uint64_t rest_len;
	uint32_t rest_crc;
	uint64_t log_len; /* bytes of the log that count */
	bool sealing;
	char *told; /* what Z says, for the seal */
	unsigned char seed[SEED];
	struct idx idx; /* rows of .rest have off REST and in within .rest */
	struct row_sums rows;
	char *sources[SOURCES_MAX];
	size_t sources_n;
};
#define REST UINT64_MAX

/*
 * Reads the log. ST_END when it commits nothing (torn, empty, or no B);
 * ST_DENIED, EX_DATAERR when committed things are damaged, or of another
 * archive.
 */
enum status open_state_read(struct open_state *o, const struct open_file *log,
	const struct policy *p, struct err *err);
void open_state_free(struct open_state *o);

/* Each committed message's line of messages.csv, with its CRLF. */
enum status open_state_rows(const struct open_state *o, const struct open_file *log,
	enum status (*each)(
		void *ctx, size_t row, const char *line, size_t n, struct err *err),
	void *ctx, struct err *err);

/* ---- records going out, to be written and synced by the caller ---- */

void commit_begin(struct buf *b, const struct policy *p, unsigned no, uint64_t first,
	const unsigned char seed[SEED]);
void commit_source(struct buf *b, const char *source);
void commit_message(struct buf *b, uint64_t at, const unsigned char key[KEY],
	uint32_t occurrence, const struct buf *row);
void commit_member(
	struct buf *b, uint64_t off, uint64_t len, uint64_t raw_at, uint64_t raw_len);
void commit_done(struct buf *b, uint64_t part_len, unsigned members, uint64_t rest_len,
	uint32_t rest_crc, uint64_t next);
/* told: statement_told() */
void commit_sealing(struct buf *b, const struct buf *told);

#endif
