/*
 * journal.h: what has been done, durably. Mechanism, no policy.
 *
 * One SQLite database a job, "journal.sqlite" in its state directory. Changes
 * belong to a transaction; journal_commit() returns when they are on disk
 * (WAL, synchronous=FULL: one sync). Outside of one each call is a transaction
 * by itself. Rows are never deleted; states only move forward, save that a
 * failed, filtered or duplicate message may be taken after all, and that what is
 * not found when it is verified is in doubt again. Look-ups are twice as fast in a
 * transaction, and places of messages in order are written together in one: that the
 * disk refuses them may show in a later call, at the latest in journal_commit().
 *
 * A message row is one message of the source: its UIDL and occurrence, bound
 * to the digests of its content. A place is where one sink has it, or is about
 * to: first STORING with the floor from which to look for it after a crash,
 * then STORED with the receipt, then VERIFIED when it was read back.
 *
 * Errors: ST_FATAL, EX_IOERR (EX_CONFIG: newer schema, another account's
 * journal; EX_DATAERR: damaged; EX_CANTCREAT: no right to it; EX_TEMPFAIL: held
 * by another program; EX_SOFTWARE: asked for what cannot be). After an error in
 * a transaction only journal_begin(), journal_run_end() and journal_close() make
 * sense; each undoes it. Threads: one at a time.
 */
#ifndef POPFERRY_JOURNAL_H
#define POPFERRY_JOURNAL_H

#include <popferry/err.h>
#include <popferry/mail.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

enum journal_state {
	J_TAKEN = 1,     /* content known; its places tell how far it is */
	J_DUPLICATE = 2, /* of another row */
	J_FILTERED = 3,  /* by a rule the user wrote */
	J_FAILED = 4,
};
enum place_state {
	PLACE_NONE = 0,
	PLACE_STORING = 1,
	PLACE_STORED = 2,
	PLACE_VERIFIED = 3
};

enum { JOURNAL_SINKS = 8 }; /* sinks a journal can know; ids are 0..7 */

struct journal_row {
	int64_t id;
	enum journal_state state;
	int64_t of;           /* J_DUPLICATE: the row it is a duplicate of; else 0 */
	uint64_t listed_size; /* UINT64_MAX: unknown */
	bool has_content;     /* the digests, size and date below are set */
	uint64_t size;
	int64_t date; /* UTC seconds by which it was judged; 0: none */
	unsigned char sha256[DIGEST], exact[DIGEST], body[DIGEST], ident[DIGEST],
		msgid[DIGEST];
	bool has_msgid;
	unsigned stored;   /* bit k: sink k has it (STORED or VERIFIED) */
	unsigned storing;  /* bit k: sink k is in doubt */
	unsigned verified; /* bit k: what sink k has was read back */
	unsigned tries;    /* times it failed */
	unsigned kept;     /* times the source kept it though it agreed to delete it */
	int64_t asked;     /* when, and what came of it is not known yet; 0: no */
	int64_t removed;   /* when a listing no longer showed it after that; 0: no */
};

/*
 * Opens or makes dirfd/journal.sqlite for this source account. An older
 * schema is brought up to date; a newer one is refused with what to do.
 * Once something was listed its account is told apart for ever: another one is refused
 * (EX_CONFIG). read_only: for `status` beside a running job; no journal is made or
 * changed (ST_END: none there), account may be NULL. The directory must be one that can
 * be written to even so.
 */
enum status journal_open(struct journal **out, int dirfd, const char *account,
	bool read_only, struct err *err);
/*
 * The same, but where *unchecked is true then, whether its pages are whole was left to
 * journal_check(), which may be asked in another thread meanwhile.
 */
enum status journal_open_soon(struct journal **out, int dirfd, const char *account,
	bool *unchecked, struct err *err);
enum status journal_check(int dirfd, struct err *err);
void journal_close(struct journal **j); /* an open transaction is undone */

const char *journal_account(const struct journal *j);

/* The id (0..JOURNAL_SINKS-1) of the sink with this identity text, making it;
 * ST_END instead where the journal is only read. */
enum status journal_sink(
	struct journal *j, const char *identity, unsigned *sink, struct err *err);

/* Every sink it knows, by id. */
enum status journal_sinks(struct journal *j,
	void (*each)(void *ctx, unsigned sink, const char *identity), void *ctx,
	struct err *err);

enum status journal_begin(struct journal *j, struct err *err);
/*
 * As journal_begin(), but what is committed may be on disk only with the next commit of
 * one begun by that: for what a crash may undo, because the next run finds it out.
 */
enum status journal_begin_lazy(struct journal *j, struct err *err);
/* All that was committed is on disk. Cheap when it is; not in a transaction. */
enum status journal_sync(struct journal *j, struct err *err);
enum status journal_commit(struct journal *j, struct err *err);

/* ---- messages ---- */

/* The current row of (uidl, occurrence). ST_END when there is none. */
enum status journal_find(struct journal *j, const char *uidl, size_t n,
	uint32_t occurrence, struct journal_row *out, struct err *err);

/* The first row without a UIDL, behind that of id `after`, whose SHA-256 is this;
 * ST_END when none. */
enum status journal_find_content(struct journal *j, const unsigned char sha256[DIGEST],
	int64_t after, struct journal_row *out, struct err *err);

enum status journal_get(
	struct journal *j, int64_t id, struct journal_row *out, struct err *err);

/* Its UIDL, yours to free; NULL: it has none. ST_END: no such row. */
enum status journal_uidl(
	struct journal *j, int64_t id, char **uidl, size_t *n, struct err *err);

/*
 * Calls each() with the current row of every UIDL, oldest first, until it returns other
 * than ST_OK, which is returned. The digests are not read: this is for plans, and much
 * faster than to find each. It may read the journal, and change nothing.
 */
enum status journal_walk(struct journal *j,
	enum status (*each)(void *ctx, const char *uidl, size_t n, uint32_t occurrence,
		const struct journal_row *row, struct err *err),
	void *ctx, struct err *err);

/* How many messages it ever had. */
enum status journal_count(struct journal *j, uint64_t *n, struct err *err);

/* What identifies a message of the source. */
struct journal_key {
	const char *uidl; /* NULL: none */
	size_t uidl_n;
	uint32_t occurrence; /* of this UIDL in a listing; no matter without one */
	uint64_t listed_size;
	int64_t row; /* without a UIDL: what journal_find_content() or journal_take()
		      * said; 0: it has none yet */
};

/*
 * Notes the content of a message: makes the row, or fills the one of that key, and its
 * state is J_TAKEN. When the key's current row has other content (a re-used UIDL, quirk
 * Q12), that row is set aside and a new one made. The content is the same when sha256
 * or exact is; what a sink has, or may have, is not overwritten. Without a UIDL the row
 * is k->row, or a new one. date: as judged.
 */
enum status journal_take(struct journal *j, const struct journal_key *k,
	const struct facts *f, int64_t date, int64_t *id, struct err *err);

enum status journal_duplicate(
	struct journal *j, int64_t id, int64_t of, const char *rule, struct err *err);
enum status journal_filtered(
	struct journal *j, int64_t id, const char *rule, struct err *err);
/* The listed size is brought up to date (a server that changed its count). */
enum status journal_resize(
	struct journal *j, int64_t id, uint64_t listed_size, struct err *err);

/*
 * Marks a failure of the run begun here. f may be NULL when the content is unknown;
 * then the row is made from the key. stage: "retrieve", "store", ... The places stay. A
 * message without UIDL, row and content gets no row: it counts as failed until the next
 * run begins.
 */
enum status journal_failed(struct journal *j, const struct journal_key *k,
	uint32_t number, const struct facts *f, const char *stage,
	const struct err *why, struct err *err);

/*
 * Calls each() with the rows in state J_TAKEN, or J_FAILED since then, that every sink
 * in `sinks` (bits) has STORED or STORING, with equal exact digest (msgid NULL: it has
 * none; both belong together) or, exact NULL, equal msgid; oldest first, until it
 * returns other than ST_OK (which is returned; ST_END is turned into ST_OK). Rows set
 * aside and the asking message's own row are among them.
 */
enum status journal_candidates(struct journal *j, unsigned sinks,
	const unsigned char *msgid, const unsigned char *exact,
	enum status (*each)(void *ctx, const struct journal_row *row, struct err *err),
	void *ctx, struct err *err);

/*
 * A sink shows `theirs`, which is nearly `ours`: may it be the copy of another message
 * than that? ST_OK: of one that has a place, and that is theirs by exact, or has our
 * msgid; or our ident, and its place is not known. ST_END: of none.
 */
enum status journal_rival(struct journal *j, const struct facts *ours,
	const struct facts *theirs, struct err *err);

/* ---- places ---- */

/* Where to look after a crash, and where something is. IMAP: UIDVALIDITY and
 * UIDNEXT or UID. Archive: 0 and the message's number. */
struct place {
	uint64_t generation;
	uint64_t number;
};

/* About to be put. Keeps the older floor of a place already STORING in that folder;
 * a place that is STORED is refused. */
enum status journal_storing(struct journal *j, int64_t id, unsigned sink,
	const char *folder, const struct place *floor, int64_t now, struct err *err);
/* The floor, folder (owned by the caller) and time of a STORING place. ST_END: it is
 * not STORING. */
enum status journal_doubt(struct journal *j, int64_t id, unsigned sink,
	struct place *floor, char **folder, int64_t *since, struct err *err);
/* The message after *id that is STORING at this sink, and its folder (owned by the
 * caller). ST_END: there is none. */
enum status journal_next_doubt(
	struct journal *j, unsigned sink, int64_t *id, char **folder, struct err *err);
/* Proof that it is not there (refused): the place goes. */
enum status journal_not_stored(
	struct journal *j, int64_t id, unsigned sink, struct err *err);
/* After journal_storing(). wire: digest of what was sent when it differs from the
 * record, else NULL. Number 0 is an unknown one; a known one that another message has
 * is an error (EX_SOFTWARE, "two messages claim ..."). */
enum status journal_stored(struct journal *j, int64_t id, unsigned sink,
	const struct place *at, const unsigned char *wire, struct err *err);
/* The message that has this place already, in the folder announced for id. ST_END:
 * none has. */
enum status journal_holder(struct journal *j, int64_t id, unsigned sink,
	const struct place *at, int64_t *holder, struct err *err);
/* Where a sink has it. ST_END: it has not. */
enum status journal_place(struct journal *j, int64_t id, unsigned sink,
	struct place *out, struct err *err);
/* Read back and equal. at: where it was found, if the place had no number. ST_END: the
 * place is not STORED, or what was found there is another message's. */
enum status journal_verified(struct journal *j, int64_t id, unsigned sink,
	const struct place *at, int64_t now, struct err *err);
/* Stored, never verified, and not there: back to STORING, with its place as the floor.
 * A place that is VERIFIED stays as it is. */
enum status journal_doubtful(
	struct journal *j, int64_t id, unsigned sink, int64_t now, struct err *err);

/* What a sink has, one after the other, a page at a time. */
struct journal_placed {
	int64_t id; /* of the message */
	struct place at;
	bool verified, has_wire;
	unsigned char wire[DIGEST];
};
enum { JOURNAL_PAGE = 256 };
struct journal_page {
	bool again;          /* set by the caller: those that are VERIFIED too */
	bool unknown;        /* set by the caller: those without a number */
	char *folder;        /* all of the page are in it; free it after the last */
	uint64_t generation; /* and of this generation */
	size_t n;
	struct journal_placed v[JOURNAL_PAGE]; /* ascending by number */
	int64_t folder_id, after[2];           /* where the next page begins */
};
/* The next page, from a struct journal_page that began as zeros. ST_END: no more. */
enum status journal_page(
	struct journal *j, unsigned sink, struct journal_page *p, struct err *err);
/* The highest number of a message that is stored there, for a sink that counts through
 * all its folders. 0: none is. */
enum status journal_newest_place(
	struct journal *j, unsigned sink, uint64_t *number, struct err *err);
/* When the last of these sinks (bits) got it; the latest they can be is `unknown`.
 * ST_END: not all of them have it. */
enum status journal_stored_at(struct journal *j, int64_t id, unsigned sinks,
	int64_t unknown, int64_t *at, struct err *err);
/* Each place of this sink and folder (NULL: all of them) that is STORED with a known
 * number, and the exact digest of its message. */
enum status journal_places(struct journal *j, unsigned sink, const char *folder,
	void (*each)(
		void *ctx, const struct place *at, const unsigned char exact[DIGEST]),
	void *ctx, struct err *err);

/* A sink is settled when nothing of an earlier migration can be waiting there unseen
 * any more: the engine decides. */
enum status journal_settled(
	struct journal *j, unsigned sink, bool *out, struct err *err);
enum status journal_settle(struct journal *j, unsigned sink, struct err *err);

/* ---- notes ---- */

/* Small facts that outlive a run ("pipelining" = "no"). get: ST_END when absent. */
enum status journal_note(
	struct journal *j, const char *key, const char *value, struct err *err);
enum status journal_noted(
	struct journal *j, const char *key, char **value, struct err *err);

/*
 * What a run leaves that changed nothing: what it saw. It is there for the next one
 * only if nobody has changed anything since, for whoever opens the journal to write
 * takes it away, for good. NULL: there is none. It lives as long as the journal is
 * open.
 */
const char *journal_unchanged(const struct journal *j);
/* Within a transaction, as the last but the end of the run. */
enum status journal_set_unchanged(struct journal *j, const char *seen, struct err *err);

/* ---- deletion at the source ---- */

/* About to be asked for. */
enum status journal_remove_asked(
	struct journal *j, int64_t id, int64_t now, struct err *err);
/* What came of it: gone at that time, or 0: still there, for the source did not
 * agree. */
enum status journal_remove_settled(
	struct journal *j, int64_t id, int64_t gone, struct err *err);
/* Still there, or there again, although the source agreed. */
enum status journal_remove_kept(struct journal *j, int64_t id, struct err *err);
/* Calls each() with those that were asked for and not settled yet, until it returns
 * other than ST_OK, which is returned. It may settle them. */
enum status journal_removals(struct journal *j,
	enum status (*each)(void *ctx, int64_t id, struct err *err), void *ctx,
	struct err *err);
/* How often the source was asked to delete a message; never less than before. */
enum status journal_removed_count(struct journal *j, uint64_t *n, struct err *err);
/* Did this message fail in that run? ST_END: no. */
enum status journal_failed_in(
	struct journal *j, int64_t id, int64_t run, struct err *err);

/* ---- UIDLs that changed (quirk Q11) ---- */

/*
 * A name under which the source listed a message that is taken: its row's own, or that
 * of a row noted by journal_reissued(). uidl NULL: it had none. current: a listing
 * that has this UIDL and occurrence may mean this message; a name that was set
 * aside means another one by now.
 */
struct journal_alias {
	int64_t row;  /* the row with the name */
	int64_t root; /* the taken message */
	const char *uidl;
	size_t uidl_n;
	uint32_t occurrence;
	bool current;
};
typedef enum status journal_each_alias(
	void *ctx, const struct journal_alias *a, struct err *err);
/*
 * Every name of every message that is exactly this one, by rows, the oldest first, from
 * behind the row `after`, until each() returns other than ST_OK (which is returned;
 * ST_END is turned into ST_OK). It may read the journal.
 */
enum status journal_aliases(struct journal *j, const struct facts *f, int64_t after,
	journal_each_alias *each, void *ctx, struct err *err);
/* The same of one message: all names of this root. */
enum status journal_names(struct journal *j, int64_t root, const struct facts *f,
	journal_each_alias *each, void *ctx, struct err *err);
/* Grows when a message is set aside: then names mean others than before. */
uint64_t journal_asides(const struct journal *j);
/* The row id is the message root under another name. */
enum status journal_reissued(
	struct journal *j, int64_t id, int64_t root, struct err *err);
/* The root of such a row. ST_END: it is none. */
enum status journal_root(struct journal *j, int64_t id, int64_t *root, struct err *err);

/* ---- notices: what a reader of the report should know ---- */

/*
 * One line about a message in the run begun here; a second one of this kind replaces
 * it. id 0: about the whole run. kind: a short word, for programs; text: a sentence,
 * cleaned here.
 */
enum status journal_notice(struct journal *j, int64_t id, const char *kind,
	const char *text, struct err *err);
/* Adds to this run's notices of the message what the journal keeps nowhere else. */
enum status journal_notice_about(struct journal *j, int64_t id, uint32_t number,
	const struct facts *f, struct err *err);

struct journal_notice {
	const char *uidl; /* NULL: none */
	size_t uidl_n;
	uint32_t number;                                /* 0: unknown */
	uint64_t size;                                  /* UINT64_MAX: unknown */
	const char *message_id, *subject, *kind, *text; /* clean; may be "" */
};
/* Of this run, or of all (0), oldest first. */
enum status journal_notices(struct journal *j, int64_t run,
	void (*each)(void *ctx, const struct journal_notice *n), void *ctx,
	struct err *err);
/* The kinds a message ever got. */
enum status journal_notice_kinds(struct journal *j, int64_t id,
	void (*each)(void *ctx, const char *kind), void *ctx, struct err *err);

/* ---- runs, for the report and `status` ---- */

struct ledger {
	uint64_t listed, known, stored, duplicate, filtered, failed, vanished;
	uint64_t left;  /* listed, and not looked at: interrupted, or --limit */
	uint64_t bytes; /* of the messages stored in this run */
	/* No part of the balance: */
	uint64_t deleted;     /* at the source, confirmed in this run */
	uint64_t delete_left; /* asked for by --delete, and still there */
};
bool ledger_balances(const struct ledger *l); /* left counts as accounted */

enum status journal_run_begin(
	struct journal *j, int64_t now, int64_t *run, struct err *err);
/* Undoes an open transaction first: nothing of it was promised. */
enum status journal_run_end(struct journal *j, int64_t run, int64_t now,
	const struct ledger *l, int exit, const char *reason, struct err *err);

struct journal_run {
	int64_t id, started, finished; /* finished 0: it did not end by itself */
	struct ledger ledger;
	int exit;
	const char *reason;
};
/* The latest run. ST_END: none. Texts live until the next call. */
enum status journal_last_run(
	struct journal *j, struct journal_run *out, struct err *err);

/*
 * Totals over all runs, by state. stored: taken, some sink has it, none is in doubt;
 * storing: taken, and in doubt; bytes: of the stored. Failed rows set aside count no
 * more. verified: of the stored, at all sinks that have it; removed: at the source.
 */
struct journal_totals {
	uint64_t messages, stored, storing, duplicate, filtered, failed, bytes,
		verified, removed;
};
enum status journal_totals(
	struct journal *j, struct journal_totals *out, struct err *err);

struct journal_failure {
	const char *uidl;
	size_t uidl_n;
	uint32_t number;
	uint64_t size; /* UINT64_MAX: unknown */
	const char *message_id, *subject, *stage, *reason,
		*reply; /* clean; may be "" */
	unsigned tries;
	int64_t at; /* UTC seconds; 0: an older popferry did not note it */
};
/* Messages that are J_FAILED now (run 0), or failed in this run. */
enum status journal_failures(struct journal *j, int64_t run,
	void (*each)(void *ctx, const struct journal_failure *f), void *ctx,
	struct err *err);

#endif
