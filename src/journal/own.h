/* own.h: what the journal's files share. */
#ifndef JOURNAL_OWN_H
#define JOURNAL_OWN_H

#include <popferry/journal.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <sqlite3.h>

/* Every statement the journal makes; query.c has the texts. */
enum query {
	Q_BEGIN,
	Q_COMMIT,
	Q_VERSION,
	Q_ACCOUNT,
	Q_SINK_COUNT,
	Q_SINK_MAKE,
	Q_SINK_FIND,
	Q_SINKS,
	Q_SETTLED,
	Q_SETTLE,
	Q_NOTE,
	Q_NOTED,
	Q_NOTE_DROP,
	Q_HINTS,
	Q_FIND,
	Q_FIND_CONTENT,
	Q_GET,
	Q_COUNT,
	Q_UIDL,
	Q_WALK,
	Q_WALK_PLACES,
	Q_MAKE,
	Q_FILL,
	Q_RETAKE,
	Q_ASIDE,
	Q_DUPLICATE,
	Q_FILTERED,
	Q_RESIZE,
	Q_FAILED,
	Q_BY_MSGID,
	Q_BY_EXACT,
	Q_BY_EXACT_BARE,
	Q_RIVAL,
	Q_FOLDER,
	Q_FOLDER_FIND,
	Q_FOLDER_TOP,
	Q_STORING,
	Q_STORING_ALL,
	Q_DOUBT,
	Q_NOT_STORED,
	Q_STORED,
	Q_STORED_ALL,
	Q_HOLDER,
	Q_PLACE,
	Q_PLACES,
	Q_RUN_BEGIN,
	Q_RUN_END,
	Q_LAST_RUN,
	Q_TOTALS,
	Q_FAILURE,
	Q_UNFAIL,
	Q_FAILURES_NOW,
	Q_FAILURES_RUN,
	Q_NOTICE,
	Q_NOTICE_ABOUT,
	Q_NOTICES,
	Q_NOTICES_RUN,
	Q_NOTICE_KINDS,
	Q_VERIFIED,
	Q_DOUBTFUL,
	Q_NEXT_DOUBT,
	Q_PLACED,
	Q_PLACED_UNKNOWN,
	Q_STORED_AT,
	Q_NEWEST_PLACE,
	Q_REMOVE_ASKED,
	Q_REMOVE_KEPT,
	Q_REMOVE_SETTLED,
	Q_REMOVALS,
	Q_REMOVED_COUNT,
	Q_FAILED_IN,
	Q_ALIASES,
	Q_ALIASES_BARE,
	Q_NAMES,
	Q_ROOT,
	QUERIES
};

enum { NOTE_MAX = 256 }; /* bytes kept of a rule, a subject, a Message-ID */

/* Keys that some row has, or had: see hint.c. */
enum { HINT_LAYERS = 20 };
struct hints {
	uint64_t *layer[HINT_LAYERS];
	unsigned layers;
	size_t n;        /* keys in the last layer */
	uint64_t misses; /* look-ups in vain, before it was complete */
	bool complete;   /* all keys there are */
};

/* A folder whose row was seen. */
struct known_folder {
	char *name;
	int64_t id;
	unsigned sink;
	bool has_top; /* of this generation no place has a higher number: */
	int64_t generation, top;
};

/* Places announced lately, and in which folder. */
enum { RECENT = 2048 };
struct recent {
	int64_t message, folder;
	unsigned sink;
};

/* Changes kept back: see streak.c. */
struct streak {
	int64_t announced; /* the latest message of this transaction that was */
	enum query q;      /* Q_STORING or Q_STORED */
	int64_t first, n;  /* of the messages; n 0: none */
	int64_t folder, now;
	struct place at; /* of the first */
};

struct journal {
	sqlite3 *db;
	sqlite3_stmt *stmt[QUERIES]; /* prepared when first needed */
	char *path, *account;
	char *reason;    /* of journal_last_run() */
	char *unchanged; /* of journal_unchanged() */
	int64_t run;     /* begun here; 0: none */
	int64_t last;    /* the latest message, within a transaction; -1: not known */
	int64_t version; /* changes when another program has written */
	uint64_t asides; /* messages set aside here */
	struct hints hints;
	struct known_folder *folders;
	size_t n_folders, folder; /* folder: the one used last */
	struct recent recent[RECENT];
	int64_t before; /* the latest message before this transaction */
	struct streak streak[JOURNAL_SINKS];
	unsigned streaks; /* those that are not written */
	bool read_only;
	bool ready;  /* it has its tables */
	bool lazy;   /* a commit need not sync */
	bool owed;   /* one did not, and none since */
	bool open;   /* between journal_begin() and journal_commit() */
	bool broken; /* a change in it failed: it must not be committed */
};

/* One value for a statement's next parameter. */
struct value {
	enum { V_NULL, V_INT, V_TEXT, V_BLOB } type;
	int64_t i;
	const void *p;
	size_t n;
};
static inline struct value INT(uint64_t i) {
	return (struct value){ V_INT, (int64_t)i, NULL, 0 };
}
/* UINT64_MAX stands for unknown. */
static inline struct value
SIZE(uint64_t n) {
	return (struct value){ n == UINT64_MAX ? V_NULL : V_INT, (int64_t)n, NULL, 0 };
} static inline struct value TEXT(const char *s) {
	return (struct value){ s ? V_TEXT : V_NULL, 0, s, 0 };
} static inline struct value BLOB(const void *p, size_t n) {
	return (struct value){ p ? V_BLOB : V_NULL, 0, p, n };
}
#define WITH(...) \
	(struct value[]){ __VA_ARGS__ }, N_ELEMENTS(((struct value[]){ __VA_ARGS__ }))
#define NOTHING NULL, 0

/*
 * Runs a statement up to its first row. ST_OK: there is one, read it with col_*()
 * and then call query_done(); ST_END: none. The values must stay until then.
 */
enum status
query_row(struct journal *j, enum query q, const struct value *v, size_t n,
	struct err *err);
enum status query_next(struct journal *j, enum query q, struct err *err);
void query_done(struct journal *j, enum query q);

/*
 * Runs a change to its end. Refused in a transaction that is broken. *rows, which
 * may be NULL, is how many it changed.
 */
enum status query_change(struct journal *j, enum query q, const struct value *v,
	size_t n, int *rows, struct err *err);

int64_t col_int(struct journal *j, enum query q, int i);
int64_t col_int_or(struct journal *j, enum query q, int i, int64_t none);
/* Never NULL; until query_done(). */
const char *col_text(struct journal *j, enum query q, int i);
const void *col_blob(struct journal *j, enum query q, int i, size_t *n);

/* Sets err from what SQLite says; doing: what was tried. Breaks the transaction. */
enum status journal_sql_error(
	struct journal *j, int rc, const char *doing, struct err *err);
/* Something asked for that cannot be: a bug. Breaks the transaction. */
enum status journal_misuse(struct journal *j, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A row that no popferry wrote. */
enum status journal_damaged(struct journal *j, struct err *err, int64_t id);

/* Refuses (a bug) what no message has as its id: rows are never deleted. */
enum status row_known(struct journal *j, int64_t id, struct err *err);

/* ---- hint.c ---- */

enum hint_kind { HINT_SHA256 = 1, HINT_EXACT, HINT_MSGID };
uint64_t hint_uidl(const char *uidl, size_t n, uint32_t occurrence);
uint64_t hint_digest(enum hint_kind kind, const unsigned char digest[DIGEST]);

/* A transaction begins, and there are so many rows. */
void hint_begin(struct journal *j, int64_t rows);
void hint_forget(struct journal *j);
/* A row gets this key; or the digests of this content. */
void hint_add(struct journal *j, uint64_t key);
void hint_facts(struct journal *j, const struct facts *f);
/* True: no row has it. False says nothing. */
bool hint_absent(const struct journal *j, uint64_t key);
/* After a look-up that found nothing. */
enum status hint_missed(struct journal *j, struct err *err);

/* ---- folder.c ---- */

/* The row of a folder, making it; inside of a transaction. */
enum status folder_id(struct journal *j, unsigned sink, const char *name, int64_t *id,
	struct err *err);
/* What is known here of folders may be wrong from now on. */
void folder_forget(struct journal *j);
/* A place was announced in that folder; a message got a place with that number. */
void folder_announced(
	struct journal *j, int64_t message, unsigned sink, int64_t folder);
void folder_stored(
	struct journal *j, int64_t message, unsigned sink, const struct place *at);
/* Its place goes, if it was in one. */
void folder_left(struct journal *j, int64_t message, unsigned sink);
/* Is it announced, and can it surely get that place? False says nothing. */
bool folder_sure(struct journal *j, int64_t message, unsigned sink,
	const struct place *at, int64_t *folder);
/* *free: no message has that place in the folder announced. False says nothing. */
enum status folder_free(struct journal *j, int64_t message, unsigned sink,
	const struct place *at, bool *free, struct err *err);

/* ---- streak.c ---- */

/* A transaction begins, or is undone. */
void streak_begin(struct journal *j);
/* Was this message made in this transaction, and has it no place in that sink? */
bool streak_is_new(const struct journal *j, int64_t id, unsigned sink);
/*
 * The change q, which is Q_STORING of such a one or Q_STORED of what is folder_sure(),
 * counts as done. next: its folder, place and time. An error is one of those before.
 */
enum status streak_add(struct journal *j, enum query q, int64_t id, unsigned sink,
	const struct streak *next, struct err *err);
enum status streak_write(struct journal *j, struct err *err);

/* Undoes an open transaction. */
void journal_undo(struct journal *j);

/* Makes several changes one, in or outside of journal_begin(). */
enum status group_begin(struct journal *j, bool *mine, struct err *err);
enum status group_end(struct journal *j, bool mine, enum status rc, struct err *err);

/*
 * Looks at an opened file before anything is written to it, brings it to this
 * version, and makes sure of the account. ST_END: read_only, and nothing in it. Where
 * unchecked is not NULL and nothing is changed, its pages are not looked at.
 */
enum status schema_open(struct journal *j, const char *account, bool read_only,
	bool *unchecked, struct err *err);
/* Are its pages whole? */
enum status schema_check(struct journal *j, struct err *err);

#endif
