/*
 * writer.h: the writer's inside, shared by writer.c, recover.c and seal.c.
 */
#ifndef ARCHIVE_WRITER_H
#define ARCHIVE_WRITER_H

#include "../form/blind.h"
#include "../form/commit.h"
#include "../form/csv.h"
#include "find.h"
#include "readback.h"
#include "../form/tar.h"

enum {
	LOG_FLUSH = 1024 * 1024, /* records kept in memory, of each kind */
	LOG_MAX = LOG_FLUSH + 2 * CSV_ROW_MAX,
};

/* A member that is whole, on its way to .part. */
struct whole {
	struct whole *next;
	struct buf log;  /* the records of its messages */
	struct idx rows; /* and for reading it back */
	uint64_t last;   /* seq of its last message */
	uint64_t raw_at, raw_len;
};

/* The segment that grows. */
struct open_segment {
	unsigned no;
	char name[NAME_MAX_SEGMENT];
	uint64_t first, next; /* seq of its first message, and of the next one */
	/* Up to which message: is durable; has its record in log or log_new; has its
	 * member in .part; is in a member that is whole. */
	uint64_t durable, told, in_part, whole_last;
	struct open_file log, part, rest;
	unsigned char key[CRYPT_KEY]; /* of these, when the archive is encrypted */
	struct tarw *tar;
	/* in .part */
	uint64_t part_len;  /* of members */
	uint64_t piece_len; /* behind them, of one that has not all come yet */
	unsigned members;
	/* on the way there, in order */
	struct whole *wholes, **wholes_tail;
	/* the member under way */
	uint64_t raw_at;          /* tar bytes before it */
	struct buf raw;           /* its tar bytes */
	size_t cut;               /* not 0: a piece goes to .part at so many */
	size_t rest_len;          /* how much of raw is in .rest */
	unsigned rest_no;         /* the member .rest is of */
	struct buf log_now;       /* the records of its messages */
	struct buf log_spare;     /* memory of one that is written */
	struct idx now;           /* and for reading it back */
	struct buf log_new;       /* records that go with the next write */
	bool part_new, names_new; /* something to sync */
	bool sealing;             /* the log says so */
	bool tables;              /* what comes now is no message */
	bool restored;            /* it has messages of an earlier run */
	struct readback *back;    /* NULL: nothing is read back before it is sealed */
	unsigned char seed[SEED]; /* of its salts */
};

struct archive_writer {
	int dir, opendir, segdir, sealdir, logdir, lock;
	int statedir; /* for keys, of an encrypted one; -1 */
	struct policy policy;
	struct vault vault;
	struct recipients *to; /* NULL: it is not encrypted */
	const struct archive_fixed *fixed;
	void (*story)(void *ctx, struct run_story *out); /* may be NULL */
	void *story_ctx;
	enum status (*before)(void *ctx, struct err *err); /* a commit; may be NULL */
	void *before_ctx;
	unsigned char listing_sha[DIGEST]; /* of the run's so manieth listing */
	unsigned listing_of;
	char *told; /* the newest reconcile that this run has told; NULL: none yet */
	uint64_t segment_bytes, segment_messages;
	char *source;
	bool source_told; /* stands in this segment's log */
	bool broken;      /* what is on disk is unknown until recovery */
	unsigned last_no; /* sealed */
	uint64_t last_seq;
	struct open_segment *seg; /* NULL: none is open */
	struct find *find;
	struct blind *blind; /* what finds them in an encrypted one; NULL */
	bool find_loaded;
	struct pool *pool;
	unsigned threads;
	struct buf row;   /* for one line of messages.csv */
	char *scratch;    /* for a body that is in a file */
	struct idx fresh; /* put and not durable; for find */
	int64_t sync_ms; /* that the syncs of commits have taken, and how many there were */
	int64_t syncs;
};

/* writer.c */
void segment_new(struct archive_writer *w, unsigned no, uint64_t first);
void segment_free(struct archive_writer *w);
/* Makes all messages up to seq durable, and perhaps more; 0: all that were put. */
enum status segment_commit(struct archive_writer *w, uint64_t seq, struct err *err);
void writer_close_fd(int *fd);
enum status writer_sync_file(
	const struct open_file *f, const char *what, struct err *err);
/* A file of the open segment, in open/. */
enum status writer_open_file(const struct archive_writer *w, struct open_file *f,
	const char *name, int flags, struct err *err);

/* recall.c: a durable message can be found from now on. */
void writer_remember(struct archive_writer *w, const struct idx_row *row);

/* ---- part.c ---- */

/* Most tar bytes of a member that is compressed in one piece. */
uint64_t member_most(const struct policy *p);
/* Where tar bytes go: to raw and, of a member too large for it, on to .part. */
enum status part_take(void *ctx, const void *p, size_t n, struct err *err);
/* What is in raw and what comes, raw_len bytes in all, goes to .part. */
enum status part_begin(struct archive_writer *w, uint64_t raw_len, struct err *err);
/* That was all of it. */
enum status part_end(struct archive_writer *w, struct err *err);
/* The same, for a member of messages up to this one. */
enum status part_member(
	struct archive_writer *w, uint64_t raw_len, uint64_t last, struct err *err);
/* Waits until the member of message seq is in .part, and no member in part. */
enum status part_settle(struct archive_writer *w, uint64_t seq, struct err *err);
enum status write_log(struct open_segment *g, struct err *err);
#define PART_ALL UINT64_MAX

/* recover.c: brings open/ to the state of the last commit. */
enum status writer_recover(struct archive_writer *w, struct err *err);

struct segment_made;
/* tags.c: of the open segment whose members are all whole; tells o where it is, made
 * what it is (free its paths), and the tree its leaves. */
enum status tags_add(struct archive_writer *w, struct open_state *o,
	struct segment_made *made, struct tree *tree, struct err *err);

/* seal.c: of a committed segment; afterwards none is open. last: it ends the run. */
enum status seal_segment(struct archive_writer *w, bool last, struct err *err);
/* A run that has nothing to seal is at its end. */
enum status seal_nothing(struct archive_writer *w, struct err *err);
/* What is left when the segment stands in segments/ already. sum: its digest, or NULL
 * when it is not known. */
enum status seal_finish(struct archive_writer *w, const char *segment,
	const struct known_sum *sum, struct err *err);

int64_t writer_now(const struct archive_writer *w);

/* recover.c: removes what is ours in open/, save the names of keep (NULL ends). */
enum status open_sweep(
	struct archive_writer *w, const char *const keep[], struct err *err);

#endif
