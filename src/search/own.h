/* own.h: what the files of this folder share. */
#ifndef SEARCH_OWN_H
#define SEARCH_OWN_H

#include <popferry/archive.h>
#include <popferry/mem.h>
#include <popferry/search.h>
#include <popferry/text.h>

#include <sqlite3.h>

/* ---- queries as trees ---- */

enum node_kind { NODE_AND, NODE_OR, NODE_NOT, NODE_TEXT, NODE_FACT };

/* A value of a condition. */
struct bound {
	enum { BOUND_INT, BOUND_TEXT, BOUND_BLOB } type;
	int64_t i;
	char *p; /* owned */
	size_t n;
};

struct node {
	enum node_kind kind;
	struct node **of; /* AND, OR, NOT */
	size_t n;
	char *match;     /* TEXT: an expression of FTS5 */
	const char *sql; /* FACT: tables and condition; m has the numbers */
	struct bound bound[2];
	size_t n_bound;
};

struct query {
	struct node *root;
};

/* "from:", "after:" ... */
struct field {
	const char *name;
	const char *column; /* of text; NULL: a condition */
	const char *sql, *expected;
	/* Fills n->bound; false: not as expected. */
	bool (*read)(struct node *n, const char *value);
};
const struct field *field_find(const char *name, size_t n);

/* ---- text ---- */

/*
 * Copies text for the tokenizer: control characters become blanks, and characters of
 * scripts that put no blanks between words stand alone, so that a run of them is found
 * as a phrase.
 */
void words_add(struct buf *out, const char *s, size_t n);

/* ---- sets of numbers ---- */

/* Those that one works on are all made for the same highest number. */
struct set {
	uint32_t top;
	uint64_t *bits;
};
void set_init(struct set *t, uint32_t top); /* empty */
void set_release(struct set *t);
bool set_add(struct set *t, int64_t seq); /* false: over the highest */
bool set_has(const struct set *t, uint32_t seq);
void set_join(struct set *t, const struct set *other);
void set_keep(struct set *t, const struct set *other);
void set_drop(struct set *t, const struct set *other);
size_t set_count(const struct set *t);
/* Ascending; the caller's. */
uint32_t *set_list(const struct set *t, size_t *n);

/* ---- the database ---- */

#define CATALOG "catalog.sqlite"

/* Messages are kept by ranges of numbers: what is erased costs no more than its
 * range. */
enum { SHARD = 1 << 16, SHARDS = 15260 };

enum sql {
	SQL_META,
	SQL_META_SET,
	SQL_HAVE,
	SQL_COUNT,
	SQL_DAMAGED_COUNT,
	SQL_DAMAGED,
	SQL_MESSAGE,
	SQL_FILE,
	SQL_SHARDS,
	SQL_SHARD_MAKE,
	SQL_GET,
	SQL_FOLDER,
	SQL_TOP,
	SQL_DATE,
	SQL_BY_DATE,
	SQLS
};

struct search {
	char *path; /* of the archive */
	struct search_how how;
	struct archive_reader *r;
	char fingerprint[64]; /* of the files, before r looked at them */
	sqlite3 *db;
	sqlite3_stmt *stmt[SQLS];
	sqlite3_stmt *put; /* into the table of a shard: */
	unsigned put_shard;
	struct set *into; /* where the SQL function collect() puts numbers */
	int lock;         /* -1: none */
	bool temporary, read_only;
	bool changed; /* messages came or went since it was read or kept */
	/* Of an encrypted archive the file in index/, or "": it is in memory alone. */
	char kept[40];
	unsigned disposals; /* records of them, before r looked at the archive */
	bool bad;           /* the database makes no sense: it is to be made anew */
	bool remade;
};

/* What SQLite said; notes when the database is bad. */
enum status sql_failed(struct search *s, int rc, const char *doing, struct err *err);
enum status sql_run(struct search *s, const char *text, struct err *err);
/* A statement to be bound and stepped; reset it. NULL: err says why. */
sqlite3_stmt *sql_get(struct search *s, enum sql which, struct err *err);
/* One step. ST_OK: a row; ST_END: none, and it is reset. */
enum status sql_step(struct search *s, sqlite3_stmt *st, struct err *err);

/* Opens or makes it. s->temporary, s->read_only: as it can be. */
enum status index_open(struct search *s, struct err *err);
/* Throws it away, says so, and makes an empty one. */
enum status index_remake(struct search *s, const char *why, struct err *err);
void index_close(struct search *s);
/* A table for a range of numbers. */
enum status index_shard(struct search *s, unsigned shard, struct err *err);
/* Forgets a range. */
enum status index_drop(struct search *s, unsigned shard, struct err *err);
void search_say(struct search *s, const char *what);

/*
 * The index in a file that only this reader can read and make (kept.c): its name, or
 * none, when no key can be had.
 */
void kept_begin(struct search *s);
unsigned count_disposals(const char *archive); /* records of them */
/* Into the database, which is empty. ST_END: there is none. ST_DENIED: it is not
 * good, since ..., and the database neither. */
enum status kept_load(struct search *s, struct err *err);
/* If it has changed and can be kept. What fails is said, no more. */
void kept_save(struct search *s);

/* Which files there are, and of what size and age. */
void fingerprint(char out[64], const char *path);

/* Of the archive, beside what the index has. */
struct wanted {
	uint64_t size;
	uint32_t seq;
	unsigned char sha[DIGEST];
};
struct compared {
	struct search *s;
	struct err *err;
	enum status rc;
	sqlite3_stmt *have; /* its row is not behind the message looked at */
	bool more;
	struct wanted *todo; /* messages that are not in the index */
	size_t n, cap;
	uint32_t *lost; /* and that cannot be read */
	size_t n_lost;
	bool gone[SHARDS], any_gone; /* what is in the index and has changed or gone */
	char unlisted[ERR_TEXT];     /* why nobody can tell of some messages; or "" */
};
enum status compare(struct compared *c, struct archive_stream *a, struct err *err);
void compared_clear(struct compared *c);

/* ---- finding ---- */

/* The words that all must have, as an expression of FTS5; NULL: there are none. */
char *match_of(const struct node *n);
/* out: empty, for the highest number there is. */
enum status query_eval(struct search *s, const struct query *q, const unsigned *shards,
	size_t n_shards, struct set *out, struct err *err);
/* Fills hits->first; all else is there. */
enum status hits_order(struct search *s, const struct query *q, const unsigned *shards,
	size_t n_shards, const struct set *all, enum search_order order,
	struct search_hits *hits, struct err *err);

/* Until all that can be read of the archive is in the index. */
enum status update(struct search *s, struct err *err);

#endif
