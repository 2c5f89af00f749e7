/* engine_p.h: what the engine's files share. */
#ifndef ENGINE_P_H
#define ENGINE_P_H

#include <popferry/engine.h>
#include <popferry/journal.h>
#include <popferry/log.h>
#include <popferry/sink.h>
#include <popferry/source.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SINKS_MAX = 2,
	POISON_TRIES = 3,  /* sessions a message may end before it is left out */
	POISON_ROW = 3,    /* left out in a row: then it is the server */
	ATTEMPTS = 5,      /* in a row without progress, then exit 75 */
	BATCH_COUNT = 200, /* messages in one journal transaction */
	LINGER_MS = 200,   /* a batch waits so long for company */
	AHEAD = 4000,      /* messages announced to the source */
	/* Of struct pace. */
	BACKOFF_MS = 500,
	SETTLE_MS = 2000,
	GRACE_MS = 8000,
};
#define BATCH_BYTES (8ULL * 1024 * 1024)
#define QUEUE_BYTES (3ULL * 1024 * 1024)
#define SPOOL_BYTES (6UL * 1024 * 1024)

/* ---- tasks: the run's account of every listed message (tasks.c) ---- */

enum task_state {
	TASK_TODO,
	TASK_KNOWN,
	TASK_STORED,
	TASK_DUPLICATE,
	TASK_FILTERED,
	TASK_FAILED,
	TASK_VANISHED,
	TASK_STATES,
};

struct task {
	uint64_t size; /* listed; UINT64_MAX: unknown */
	size_t uidl;   /* offset in the table's text */
	uint32_t uidl_n;
	uint32_t occurrence;
	uint32_t number; /* in the current session; 0: not listed in it */
	uint32_t next;   /* index + 1 in the hash chain */
	uint8_t state;
	uint8_t tries;           /* sessions that ended on this message */
	bool has_uidl, doubtful; /* doubtful: a sink may have it from before a crash */
	bool failed;             /* in an earlier run */
	bool missing;            /* not in the latest listing */
};

struct tasks {
	struct task *v;
	size_t n, cap;
	char *text; /* all UIDLs */
	size_t text_n, text_cap;
	uint32_t *heads; /* index + 1 */
	size_t old;      /* tasks known before this listing */
	size_t mask;
	uint64_t seed;
	uint64_t count[TASK_STATES];
};

void tasks_init(struct tasks *t);
void tasks_release(struct tasks *t);
/* Takes over a session's listing, item by item: new messages are added as
 * TASK_TODO; at the end those still to do that it no longer shows become TASK_VANISHED.
 */
void tasks_merge_begin(struct tasks *t);
void tasks_merge(void *tasks, const struct item *it);
void tasks_merge_end(struct tasks *t);
void tasks_set(struct tasks *t, struct task *task, enum task_state state);
void tasks_key(const struct tasks *t, const struct task *task, struct journal_key *out);

/* How many messages without UIDL had this content in this run (a multiset). */
struct tally {
	uint64_t head;
	unsigned n;
};
unsigned nameless_seen(const struct engine *e, const unsigned char sha256[DIGEST]);
struct parcel;
/* One more, if the parcel's message has no UIDL. */
void nameless_count(struct engine *e, const struct parcel *p);

/* ---- parcels: fetched messages on their way (pump.c) ---- */

/* Small, because hundreds wait in the queue. */
struct parcel {
	struct parcel *next;
	size_t task;
	struct message *message; /* NULL: it could not be had, why says the reason */
	struct err *why;
	int64_t retrieved;
	struct errand *run; /* while it is judged and delivered */
};

/* A parcel in a batch. */
struct errand {
	struct judgement verdict;
	int64_t id; /* journal row */
	struct delivery delivery[SINKS_MAX];
	bool need[SINKS_MAX]; /* this sink still has to get it */
	bool look[SINKS_MAX]; /* it may be there already: find() first */
	bool sent[SINKS_MAX]; /* put in this session of the sink */
	struct sink_floor from[SINKS_MAX];
	int64_t patience[SINKS_MAX]; /* clock_ms() until which to look again */
	unsigned tries[SINKS_MAX];   /* sessions that ended with it alone under way */
};
void parcel_free(struct parcel *p);

struct pump;
/* Starts fetching every TASK_TODO in a thread of its own. */
void pump_start(struct pump **out, struct engine *e, struct source *src,
	const uint32_t *order, size_t n);
/*
 * The next parcel, waiting at most until clock_ms() reaches `until` (-1: for
 * ever). NULL: none by then, or *ended is set and pump_stop() has the reason.
 */
struct parcel *pump_next(struct pump *p, int64_t until, bool *ended);
/*
 * Ends the thread. ST_END: everything was delivered. *suspect is the message
 * that was under way when the source failed, or NULL.
 */
enum status pump_stop(struct pump **p, struct task **suspect, struct err *err);

/* ---- the engine ---- */

struct slot {
	const struct sink_ops *ops;
	const struct endpoint *end;
	struct sink *sink; /* NULL: not open */
	char *password;
	unsigned id; /* in the journal */
	bool settled, cautious, reached;
	unsigned attempts;
	unsigned losses; /* of sessions in this batch */
	size_t stored;   /* of this batch, when a session was last lost */
	char **claimed;  /* folders whose known places were told to this session */
	size_t n_claimed;
};

struct engine {
	const struct job *job;
	struct log log;
	struct log_field fields[1];
	struct trace *trace;
	struct journal *journal;
	struct spool *spool;
	int dirfd, lockfd;
	char *account;
	char *source_password;
	const struct source_ops *source_ops;
	struct slot slots[SINKS_MAX];
	size_t n_slots;
	unsigned mask; /* journal bits of all slots */
	struct tasks tasks;
	struct tally *tally;
	size_t n_tally, cap_tally;
	int64_t run;
	uint64_t stored_bytes, collisions;
	bool source_cautious; /* for good */
	bool reached;         /* the source answered in this run */
	bool careful;         /* for the next session of the source */
	unsigned poisoned;    /* left out in a row */
	bool limited;         /* --limit left messages out */
	struct pace pace;
	int64_t began_ms;

	atomic_bool stop;
	int stop_fd; /* an eventfd: engine_stop() writes to it */
	pthread_t watcher;
	bool watching;
	pthread_mutex_t lock; /* of what follows */
	struct source *cancel_source;
	struct sink *cancel_sink[SINKS_MAX];
	struct progress progress;
};

void engine_phase(struct engine *e, const char *phase);

/* When a silent server is given up; 0: as the protocol's module thinks best. */
int engine_deadline_ms(const struct engine *e);

/* ---- judging and delivering ---- */

/* Lists, marks what the journal knows, orders the rest. */
enum status plan_make(struct engine *e, struct source *src, struct listing *l,
	uint32_t **order, size_t *n, struct err *err);

/* Is it a duplicate of a stored message? (dedup.c) */
enum twin {
	TWIN_NONE,
	TWIN_STORED, /* of *of */
	TWIN_MOVING, /* of one that is being stored now: ask again after the commit */
	TWIN_COLLISION, /* same Message-ID, other content */
};
enum status dedup_ask(struct engine *e, const struct facts *f, enum twin *out,
	int64_t *of, const char **rule, struct err *err);

/* One batch through journal, sinks, journal. Takes over the parcels. */
enum status deliver_batch(
	struct engine *e, struct parcel **batch, size_t n, struct err *err);

/* Journals that a message could not be had, in a transaction of its own. */
enum status deliver_failed(
	struct engine *e, struct task *t, const struct err *why, struct err *err);

/* Opens the sink of a slot when it is not open. */
enum status slot_open(struct engine *e, struct slot *s, struct err *err);
void slot_close(struct engine *e, struct slot *s);

/*
 * After ST_RETRY: closes, waits and opens anew. ST_OK: go on. Otherwise the
 * reason why not, in err; never ST_RETRY, for to fetch the mail again is no cure.
 */
enum status slot_again(struct engine *e, struct slot *s, struct err *err);

/* Once a session and folder: what the journal knows must not be found again. */
enum status slot_tell(
	struct engine *e, struct slot *s, const char *folder, struct err *err);

/* How long this sink's server may still be busy with what was sent before. */
int64_t slot_settle_ms(const struct engine *e, const struct slot *s);

/* ---- one message (prepare.c) ---- */

/* All that is decided before anything is promised. *deferred: ask again later. */
enum status parcel_prepare(struct engine *e, struct parcel *p, bool final,
	bool *deferred, struct err *err);
/* Is it in slot k? ST_OK: found, ST_END: not there. */
enum status parcel_look(struct engine *e, struct parcel *p, size_t k, struct err *err);
/* Journals that slot k has it. */
enum status parcel_stored(
	struct engine *e, struct parcel *p, size_t k, struct err *err);
/* Journals and logs that it failed. */
enum status parcel_failed(struct engine *e, struct parcel *p, const char *stage,
	const struct err *why, struct err *err);

/* The thread that cuts waits off when a stop was asked for; end it before freeing. */
void watch_start(struct engine *e);
void watch_end(struct engine *e);

/* Sets err to what a stopped run says. */
enum status engine_stopped(struct err *err);

/* Sleeps that a stop ends. */
void engine_sleep(struct engine *e, int64_t ms);

/* Waits before try number n (from 1), or asked_ms when the peer said so. */
void engine_backoff(struct engine *e, unsigned n, int asked_ms, const struct err *why,
	const char *side);

#endif
