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
	POISON_TRIES = 3,   /* sessions a message may end at one place of it, */
	CUT_TRIES = 6,      /* at any (it may be the line), */
	SINK_TRIES = 5,     /* or at a destination, before it is left out */
	POISON_ROW = 3,     /* left out in a row: then it is the server */
	GLUED_TRIES = 2,    /* the same, when it is known why (quirk Q25) */
	REFUSED_TRIES = 2,  /* sessions in which a message is refused, then it failed */
	REFUSED_ROW = 20,   /* refused in a row behind good ones: the session is over */
	PUT_OFF_MAX = 1000, /* messages that wait for another session */
	ATTEMPTS = 5,       /* in a row without progress, then exit 75 */
	BARREN_MAX = 3, /* sessions in a row with nothing but copies under new UIDLs */
	WINDOW_WAIT_S = 300,    /* to see the next part of a maildrop: Gmail says 300 */
	LOGIN_WAIT_S = 60,      /* between runs, or to look for more */
	LOGIN_WAIT_MAX_S = 900, /* within a run, while there is something to fetch */
	EMPTY_RUNS = 3,         /* that found nothing where there was mail: believed */
	SETTLE_RUNS = 3, /* that saw all, until nothing older can be at a destination */
	RESET_KNOWN = 20,    /* so many known before, and hardly one of them is back */
	BATCH_COUNT = 1000,  /* messages in one journal transaction */
	BATCH_SCANNED = 32,  /* the same where each takes its time */
	BATCHES_MAX = 16,    /* under way at a time */
	LATER_MAX = 500,     /* that wait for a twin; then all is settled first */
	LINGER_MS = 200,     /* a batch waits so long for company */
	GLANCE_MS = 20,      /* the same while others are under way, and a round trip */
	AHEAD = 20000,       /* messages announced to the source */
	QUEUE_COUNT = 2000,  /* fetched, and in no batch yet */
	PARCEL_BYTES = 1024, /* of memory, that one takes besides its text */
	BATCH_SLOW_MS = 4000, /* a batch that took so long was too large */
	BATCH_FAST_MS = 1000,
	/* Of struct pace. */
	BACKOFF_MS = 500,
	SETTLE_MS = 5000,
	GRACE_MS = 8000,
};
#define BATCH_BYTES (2ULL * 1024 * 1024)
#define BATCH_LEAST (256ULL * 1024)
/* Under way: for a destination at hand, and more for one far away: what a line of a
 * gigabit holds, and what is stored before its answer comes. */
#define FLIGHT_NEAR (2ULL * 1024 * 1024)
/* The same of memory, where all text is swallowed; of text then FLIGHT_FAR. */
#define FLIGHT_SHED (1024ULL * 1024)
#define FLIGHT_FAR (16ULL * 1024 * 1024)
#define FLIGHT_MS (192ULL * 1024)
#define SPOOL_BYTES (20UL * 1024 * 1024)
/* A batch, the queue, and the spool where all text is swallowed at once: what waits to
 * be durable holds none, and larger ones would not mean fewer syncs. */
#define BATCH_SHED (1024ULL * 1024)
#define SPOOL_SHED (12UL * 1024 * 1024)

/* ---- tasks: the run's account of every listed message (tasks.c) ---- */

enum task_state {
	TASK_TODO,
	TASK_KNOWN,
	TASK_STORED,
	TASK_DUPLICATE,
	TASK_FILTERED,
	TASK_FAILED,
	TASK_VANISHED,
	TASK_RENAMED, /* another task's message under a new UIDL: counts no more */
	TASK_STATES,
};

/* Small, because there may be a million of them. */
struct task {
	uint64_t size; /* listed; UINT64_MAX: unknown */
	uint32_t uidl; /* offset in the table's text */
	uint32_t uidl_n;
	uint32_t occurrence;
	uint32_t number; /* in the current session; 0: not listed in it */
	uint32_t was;    /* in the one before */
	uint8_t state;
	uint8_t tries;   /* sessions that ended on this message */
	uint8_t put_off; /* sessions that left it for a later one */
	bool has_uidl : 1;
	bool doubtful : 1; /* a sink may have it from before a crash */
	bool failed : 1;   /* in an earlier run */
	bool left_out : 1; /* by a rule in an earlier run */
	bool missing : 1;  /* not in the latest listing */
	bool shared : 1;   /* others in the listing have its UIDL (quirk Q4) */
	bool parted : 1;   /* not the stored message that the journal says it is */
};

struct tasks {
	struct task *v;
	size_t n, cap;
	char *text; /* all UIDLs */
	size_t text_n, text_cap;
	uint32_t *heads, *next; /* of hash chains: index + 1; made when needed */
	uint32_t *places; /* at the recorder; of the first n_places, the others' is 0 */
	size_t n_places;
	size_t old;  /* tasks known before this listing */
	size_t left; /* of those, so far not in this listing */
	size_t mask;
	bool cut; /* the last session was lost, so nothing moved since (quirk Q10) */
	size_t guess; /* index of what tasks_find() will be asked for next, most likely */
	bool unhashed; /* the chains do not have all tasks */
	uint64_t seed;
	uint64_t count[TASK_STATES];
};

void tasks_init(struct tasks *t);
void tasks_release(struct tasks *t);
/* Takes over a session's listing, item by item: new messages are added as TASK_TODO; at
 * the end those still to do that it no longer shows become TASK_VANISHED. */
void tasks_merge_begin(struct tasks *t);
void tasks_merge(void *tasks, const struct item *it);
void tasks_merge_end(struct tasks *t);
/* The listing failed: it is as if none had been begun. */
void tasks_merge_undo(struct tasks *t);
void tasks_set(struct tasks *t, struct task *task, enum task_state state);
void tasks_key(const struct tasks *t, const struct task *task, struct journal_key *out);

/* Where this run put or found it at the recorder; 0: nowhere. */
void tasks_place(struct tasks *t, const struct task *task, uint64_t place);
uint32_t tasks_placed(const struct tasks *t, const struct task *task);

/* The message of this UIDL and occurrence, if it was listed in this run. */
struct task *tasks_find(
	struct tasks *t, const char *uidl, size_t n, uint32_t occurrence);

/*
 * Was this row given to a message whose UIDL does not tell it apart, in this run? Each
 * is given to one only.
 */
bool nameless_given(const struct engine *e, int64_t id);
struct parcel;
/* Gives the parcel's row to its message, if that is such a one. */
void nameless_give(struct engine *e, const struct parcel *p);

/* ---- parcels: fetched messages on their way (pump.c) ---- */

/* Small, because hundreds wait in the queue. */
struct parcel {
	struct parcel *next;
	size_t task;
	struct message *message; /* NULL: it could not be had, why says the reason */
	struct err *why;
	struct origin *origin; /* NULL: it comes from a mailbox */
	enum oddity oddity;
	int64_t retrieved;
	struct errand *run; /* while it is judged and delivered */
};

/* What was judged, in few bytes. */
struct filed {
	const char *folder; /* engine_name() */
	const char *rule;
	struct when date;
	bool filtered, seen, answered, flagged, draft;
};

/* A parcel in a batch. Small too. */
struct errand {
	struct filed verdict;
	int64_t id; /* journal row */
	bool settled; /* that row stays as it is: it is known under another UIDL, or more */
	bool renamed; /* and by that was counted in this run */
	struct delivery delivery[SINKS_MAX];
	bool need[SINKS_MAX]; /* this sink still has to get it */
	bool look[SINKS_MAX]; /* it may be there already: find() first */
	bool sent[SINKS_MAX]; /* put in this session of the sink */
	bool doubted;         /* an earlier run may have put it under another name */
	bool found;           /* the scanner says something of it */
	struct sink_floor from[SINKS_MAX];
	int64_t patience[SINKS_MAX]; /* clock_ms() until which to look again */
	unsigned tries[SINKS_MAX];   /* sessions that ended with it alone under way */
	bool again[SINKS_MAX];       /* put once more: not there in spite of an OK */
};
void parcel_free(struct parcel *p);

/* In one piece with its texts (origin.c). */
struct origin *origin_copy(const struct origin *o);

struct pump;
/*
 * Starts fetching every TASK_TODO in a thread of its own. After a stop no more is asked
 * for: what is under way comes, and then the end. follow: the session after this one is
 * begun when it comes near. parting, if not NULL: this one is left as soon as all is
 * fetched, which shows there when pump_stop() returns; and the next one is entered.
 */
struct parting {
	bool done;
	enum status rc; /* of finish() */
	struct err err;
};
enum status pump_start(struct pump **out, struct engine *e, struct source *src,
	const uint32_t *order, size_t n, bool follow, struct parting *parting,
	struct err *err);
/*
 * Fills batch, of engine_batch_count() places: with a whole batch, or with what there
 * is when no more will come, or wait_ms after the first one came. Not patient: with a
 * whole batch, or within wait_ms with nothing. Returns how many; *ended: none ever
 * again, and pump_stop() has the reason.
 */
size_t pump_take(
	struct pump *p, struct parcel **batch, int wait_ms, bool patient, bool *ended);
/*
 * Ends the thread; failed: at once. ST_END: everything was delivered. suspect->task is
 * the message that was under way when the source failed, or NULL.
 */
struct suspect {
	struct task *task;
	uint32_t at; /* after so many bytes of it */
	enum oddity oddity;
};
/* All was fetched, and the session is being left: there is time for other things. */
bool pump_parts(struct pump *p);
enum status pump_stop(
	struct pump **p, bool failed, struct suspect *suspect, struct err *err);

/* ---- the engine ---- */

/* A message that was refused in this session. */
struct put_off {
	size_t task;
	struct err why;
};

/* The rows of messages that were had in this run, in pieces: most come in order. Those
 * of earlier sessions sorted. */
struct had_rows {
	int64_t first, last;
};
struct had {
	struct had_rows *v;
	size_t n, cap, before;
};

/* ---- cuts.c ---- */

/*
 * Sessions that were lost in the middle of a message. One that is at fault ends them at
 * the same byte each time; a line that is cut does not.
 */
struct cuts {
	uint64_t in;    /* the last one's message, as who counts knows it, */
	uint32_t at;    /* after so many bytes of it */
	unsigned alike; /* sessions in a row that were lost there */
};
void cuts_note(struct cuts *c, uint64_t in, uint32_t at);
/* So many sessions were lost in the last one's message: may it be tried once more? */
bool cuts_forgive(const struct cuts *c, unsigned tries);

/* The source and its sessions: what is remembered from one to the next. */
struct visits {
	unsigned listings; /* in this run */
	bool windowed;     /* it shows only a part at a time */
	bool steady;       /* and no part is added or goes */
	bool owed;         /* what was fetched was not taken leave of */
	bool paid;         /* that was made good in this run */
	uint32_t probe;    /* by this task, as an index + 1 */
	bool unsafe;       /* something fetched in this session could not be stored */
	bool any_size;     /* the sizes it lists are not those it sends */
	bool no_capa;      /* CAPA ends sessions */
	unsigned capa_deaths; /* sessions it ended */
	int64_t interval_ms;  /* wanted from login to login */
	int64_t login_ms;     /* clock_ms() of the last one, if logged_in */
	bool logged_in;
	uint64_t noted, noted_removed; /* the last listing, as the journal has it */
	uint64_t now, before; /* messages in this listing, and in the one before */
	unsigned empty_runs; /* before this one, with an empty maildrop, not believed */
	uint64_t back;       /* of those are in this one too */
	uint64_t unnamed;    /* messages without UIDL in it */
	uint64_t unknown;    /* of the others, those the journal had never seen */
	bool grown;          /* in a listing they were more than half of all it had */
	unsigned barren;     /* sessions in a row that stored nothing */
	uint64_t news;       /* messages the journal had never seen, in this session */
	bool reset_told;     /* in this session */
	uint64_t beyond;     /* messages in it that --limit leaves */
	struct cuts cuts;    /* of sessions, by tasks' indices */
};

/* What the source's latest session said. */
struct heard {
	unsigned listings;
	char *server; /* NULL: it is none */
	uint64_t stat_count, stat_octets;
};

/* The journal is checked in a thread of its own (run.c). */
struct sound {
	pthread_t thread;
	bool running;
	enum status rc;
	struct err err;
};

/* The session after this one (next.c). */
enum next_order { NEXT_WAIT, NEXT_ENTER, NEXT_LEAVE };
struct next {
	pthread_t thread;
	bool begun, running;
	pthread_cond_t told; /* with the engine's lock */
	enum next_order order;
	bool entered;       /* it is logged in, or that failed */
	int64_t ordered_ms; /* when it was told to */
	bool stale;         /* that was too long before all was fetched */
	struct source_setup setup;
	enum status rc;
	struct err err;
	struct source *src; /* under the engine's lock */
};

struct opener;
struct slot {
	struct engine *engine;
	const struct sink_ops *ops;
	const struct endpoint *end;
	struct sink *sink;     /* NULL: not open */
	struct opener *opener; /* it is being opened, in a thread of its own */
	char *password;
	unsigned id; /* in the journal */
	bool settled, cautious, reached;
	bool strange; /* a folder was not empty before this run put something there */
	char **begun; /* folders of this run, while it is not settled */
	size_t n_begun;
	bool reading; /* to be opened for reading back only */
	unsigned attempts;
	unsigned losses;   /* of sessions in this batch */
	unsigned crowded;  /* of struct sink_setup */
	unsigned poisoned; /* messages left out in a row, for they ended sessions */
	bool lost;       /* for good: what is not known by now is not learnt any more */
	enum status put; /* how the last put ended, and why */
	struct err why;
	bool shaken;    /* opened anew while others were under way: they are in doubt */
	size_t stored;  /* of this batch, when a session was last lost */
	int asked_ms;   /* to wait, by the server that let us not in */
	char **claimed; /* folders whose known places were told to this session */
	size_t n_claimed;
};

struct engine {
	const struct job *job;
	struct log log;
	struct log_field fields[1];
	struct trace *trace;
	struct journal *journal;
	struct spool *spool;
	struct hand *scan; /* NULL: no --scan */
	int dirfd, lockfd;
	char *account;
	char *source_password;
	const struct source_ops *source_ops;
	struct slot slots[SINKS_MAX];
	size_t n_slots;
	size_t recorder; /* the first slot that keeps a record of the run */
	struct heard heard;
	unsigned mask; /* journal bits of all slots */
	struct tasks tasks;
	int64_t *given; /* rows: a hash table of cap_given */
	size_t n_given, cap_given;
	int64_t run;
	uint64_t stored_bytes, collisions;
	struct visits visits;
	struct next next;
	struct sound sound;
	char seen[2 * DIGEST + 1]; /* planned of; "": not all was known */
	struct had had;
	struct trails *trails;
	struct put_off *put_off;
	size_t n_put_off;
	bool source_cautious; /* for good */
	bool reached;         /* the source answered in this run */
	bool careful;         /* for the next session of the source */
	unsigned poisoned;    /* left out in a row */
	bool limited;         /* --limit left messages out */
	char **names;         /* of folders */
	size_t n_names;
	struct parcel **live; /* under way to the destinations, the oldest first */
	size_t n_live, cap_live;
	size_t batch[BATCHES_MAX]; /* how many of them came together */
	size_t n_batches;
	struct parcel **later; /* whose twins are among them: asked again after these */
	size_t n_later, cap_later;
	uint64_t batch_bytes; /* in a batch, at this destination's pace */
	int64_t landed_ms;    /* clock_ms() when the last one was settled */
	uint64_t unverified;  /* not there as they were stored */
	struct checked checked[SINKS_MAX]; /* what reading back gave in this run */
	void (*finding)(void *ctx, const struct finding *f); /* of engine_verify() */
	void *finding_ctx;
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
/* The same text, kept until the engine is freed. For a few: folders. */
const char *engine_name(struct engine *e, const char *name);

/* When a silent server is given up; 0: as the protocol's module thinks best. */
int engine_deadline_ms(const struct engine *e);

/* Bytes of a body that notice.c looks at. */
enum { NOTICE_FIRST = 512 };

/* Does nobody look at more of a message than that and its header? */
bool engine_is_blind(const struct engine *e);

/* Messages in a batch at most. */
size_t engine_batch_count(const struct engine *e);

/* ---- sessions of the source (sessions.c, visits.c) ---- */

/* What the journal knows about the source. Before the run begins. */
void sessions_prepare(struct engine *e);
/* Sessions until everything is fetched; each that makes progress earns more. */
enum status sessions_run(struct engine *e, struct err *err);

/* How sessions are opened now. */
void session_setup(const struct engine *e, struct source_setup *out);
/* May one be begun before it is needed? */
bool next_welcome(const struct engine *e);
/* Begins it, at most once; an error shows when it is needed. */
void next_meet(struct engine *e);
/* It shall log in, too. Does not wait. */
void next_enter(struct engine *e);
/* All is fetched: if it logged in long before, another one has to look. */
void next_due(struct engine *e);
/* From another thread: whatever it waits for fails. */
void next_cancel(struct engine *e);
/* As source_ops.open() ended, or ends now. False: none was begun. */
bool next_take(struct engine *e, struct source **src, enum status *rc, struct err *err);
void next_drop(struct engine *e);

/* One login, and its end. *src may be set after ST_RETRY too. */
enum status session_open(struct engine *e, struct source **src, struct err *err);
void session_close(struct engine *e, struct source **src);

/* Milliseconds until another login is welcome. */
int64_t visits_due(const struct engine *e);
/* Waits until then; not longer than max_s, or err says when to come back. */
enum status visits_wait(struct engine *e, unsigned max_s, struct err *err);
/* After a login, also one that was refused. */
void visits_login(struct engine *e, const struct source *src, bool accepted);
/* After a listing. ST_DENIED: it is empty, and that is not believed (quirk Q52). */
enum status visits_listed(struct engine *e, const struct listing *l, struct err *err);

/*
 * True: the message is left for another session; why may be NULL. The journal has
 * nothing of it then.
 */
bool visits_put_off(struct engine *e, struct task *t, const struct err *why);

/* ---- what the report should say besides (notice.c) ---- */

/* Rules of our own: is it none of the user's mail? NULL: it is. */
const char *notice_filter(const struct engine *e, const struct message *m);
/* The destinations (journal bits) that should have it. */
unsigned notice_mask(const struct engine *e, const struct message *m);
/* Journals what is odd about a message that has a row. */
enum status notice_message(struct engine *e, const struct parcel *p, struct err *err);
/* The same for one that could not be had because of it. */
enum status notice_failed(
	struct engine *e, const struct task *t, enum oddity oddity, struct err *err);
/* The source gives it otherwise than before; what is stored is as it was then. */
enum status notice_changed(
	struct engine *e, int64_t id, uint32_t number, struct err *err);
/* Those that were listed and never seen again. */
void notice_vanished(struct engine *e, struct outcome *out);

/* ---- what a destination that keeps a record is told (story.c) ---- */

/* After each listing. */
void story_heard(struct engine *e, struct source *src, const struct listing *l);
/* Of struct sink_setup. */
void story_tell(void *slot, struct run_story *out);
/* The message is, or is a duplicate of, the one of this row: so it is where that is. */
enum status story_place(struct engine *e, struct task *t, int64_t id, struct err *err);
/* These rows are deleted at the source. Before the journal knows. */
enum status story_removed(
	struct engine *e, const int64_t *ids, size_t n, struct err *err);

/* ---- judging and delivering ---- */

/* Lists, marks what the journal knows, orders the rest. */
enum status plan_make(struct engine *e, struct source *src, struct listing *l,
	uint32_t **order, size_t *n, struct err *err);

/* Is the listing, the first of this run, that of the last run, to which all was known?
 * Then all is known now. (unchanged.c) */
bool unchanged_since(struct engine *e);
/* All was known, and nothing was changed: the next run is told. Comes last. */
enum status unchanged_note(struct engine *e, struct err *err);

/* Is it a duplicate of a stored message? (dedup.c) */
enum twin {
	TWIN_NONE,
	TWIN_STORED,   /* of *of */
	TWIN_MOVING,   /* of one that is being stored now: ask again after the commit */
	TWIN_DOUBTFUL, /* of one that an earlier run may have stored */
	TWIN_PARTLY,   /* of *of, which some destinations have, and others refused */
	TWIN_COLLISION, /* same Message-ID, other content */
};
enum status dedup_ask(struct engine *e, const struct facts *f, enum twin *out,
	int64_t *of, const char **rule, struct err *err);

/* Where this row is in doubt, and the destination can tell by the digest that it has
 * it, it is stored now. *stored: some have it. */
enum status holder_ask(struct engine *e, int64_t id, bool *stored, struct err *err);

/*
 * The row of a message that the source lists under a new UIDL now (recall.c). ST_END:
 * it is none such. own: its own row, if it has one; else 0.
 */
enum status recall_find(struct engine *e, struct parcel *p, int64_t own,
	struct journal_row *row, struct err *err);
/* How far rows of a content were looked at: recall.c. */
enum trail_kind { TRAIL_TAKEN, TRAIL_FREE, TRAIL_CONTENT, TRAIL_KINDS };
int64_t *trail(struct engine *e, enum trail_kind kind,
	const unsigned char digest[DIGEST], const char *uidl, size_t n);
void trails_free(struct engine *e);

/* This row is accounted for in this run; and a new session begins. */
void recall_note(struct engine *e, int64_t id);
void recall_session(struct engine *e);
/* The first with this content among those of the message's own UIDL, or of none, that
 * no other message was given. */
enum status recall_free(struct engine *e, const struct parcel *p,
	struct journal_row *row, struct err *err);

/*
 * Batches through journal, sinks, journal; several are under way at a time. Begins
 * with one, taking its parcels over, and waits for the oldest where there are many.
 */
enum status deliver_batch(
	struct engine *e, struct parcel **batch, size_t n, struct err *err);
/* Is every destination one that takes all text at once? */
bool deliver_sheds(const struct engine *e);
/* The most a batch, and as much the queue before it, has of text. */
uint64_t deliver_most(const struct engine *e);
/* What an answer of the farthest open destination takes at least, in milliseconds. */
int deliver_rtt_ms(const struct engine *e);
/* Waits for the oldest of those under way, if any are, and for all. */
enum status deliver_oldest(struct engine *e, struct err *err);
enum status deliver_rest(struct engine *e, struct err *err);
/* After a failure: what is under way is given up. */
void deliver_drop(struct engine *e);
/* Slot k's session is lost while a batch is prepared: another one, as slot_again(). */
enum status deliver_resume(struct engine *e, size_t k, struct err *err);
/* Where equal messages are kept: what was put in slot k is known by its place, so that
 * a look does not take it for another one. */
enum status deliver_learn(struct engine *e, size_t k, struct err *err);

/* Journals that a message could not be had, in a transaction of its own. */
enum status deliver_failed(
	struct engine *e, struct task *t, const struct err *why, struct err *err);

/* Puts what slot k still needs of these; then until none under way is pending. */
enum status deliver_put(
	struct engine *e, size_t k, struct parcel **v, size_t n, struct err *err);
enum status deliver_settle(struct engine *e, size_t k, enum status rc, struct err *err);
/* All of a batch is there: what was held against the slot is over. */
void deliver_eased(struct engine *e, struct slot *s);

/* Begins to open servers, so that this costs no time of its own: all, or only those
 * that have not seen a complete run. An error shows when they are needed, if ever. */
void slots_open_early(struct engine *e, bool all);
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

/* ---- what a server refuses (rescue.c) ---- */

/* Tries the forms that --rescue allows for what slot k refused. */
enum status rescue_refused(
	struct engine *e, size_t k, struct parcel **v, size_t n, struct err *err);
/* Journals that slot k has it, in whatever form, and what a reader should know of
 * that. */
enum status rescue_stored(
	struct engine *e, struct parcel *p, size_t k, struct err *err);
/* The same for what find() came upon before anything was put. */
enum status rescue_found(struct engine *e, struct parcel *p, size_t k, struct err *err);
/* Slot k refused it, but --rescue=archive holds and an archive has it: journalled
 * so. */
enum status rescue_archived(
	struct engine *e, struct parcel *p, size_t k, bool *yes, struct err *err);
/* Adds to the reason which step of --rescue could help. */
void rescue_advise(struct engine *e, struct parcel *p, size_t k, struct err *why);

/* ---- --scan (scan.c) ---- */

/* Where there is one; what cannot be run is told before anything is done. */
enum status scan_open(struct engine *e, struct err *err);
/* Asks about a message that has a row, and journals what is said. *done: it failed. */
enum status scan_parcel(
	struct engine *e, struct parcel *p, bool *done, struct err *err);
/* Slot k must not get it. */
bool scan_refuses(const struct engine *e, const struct parcel *p, size_t k);
/* It belongs into another folder than where an earlier run was to put it: now it
 * does. */
bool scan_moves(struct engine *e, struct parcel *p);
/* After all slots were asked: where none has or gets it, it is filtered. */
enum status scan_settle(struct engine *e, struct parcel *p, struct err *err);

/* ---- one message (known.c, prepare.c) ---- */

/* The journal's row for this very content: p->run->id. ST_END: it has none. */
enum status known_find(
	struct engine *e, struct parcel *p, struct journal_row *row, struct err *err);
/* The message's own row, with what is known of it by now: p->run->id. */
enum status known_take(struct engine *e, struct parcel *p, struct err *err);
/* The same, but for what servers rewrite between sessions (quirk Q39)? */
bool known_bytes(const struct journal_row *row, const struct facts *f);

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

/* ---- reading back (verify.c) and deleting at the source (remove.c) ---- */

/* A message that may be deleted at the source, if it is verified. */
struct doomed {
	int64_t id;     /* its row */
	int64_t holder; /* the row whose places count: its own, or the original's */
	int64_t folder[SINKS_MAX]; /* where each slot was found to have it */
	uint64_t size;             /* as listed in the session */
	uint32_t number;           /* in it; 0: in none */
	unsigned good; /* journal bits of the sinks that were read back in this run */
	uint8_t tries; /* sessions that ended while it, first, was fetched again */
	bool gone;     /* confirmed */
};
struct doomed_set { /* ascending by holder and id */
	struct doomed *v;
	size_t n, cap;
};

/*
 * Reads back what is stored: what was never verified and what the set (may be NULL)
 * holds, or everything, or the set alone. What is good of the set is marked. Counts for
 * each slot; of everything, what is in doubt counts as unknown.
 */
enum verify { VERIFY_NEW, VERIFY_ALL, VERIFY_SET };
enum status verify_places(struct engine *e, struct doomed_set *set, enum verify what,
	struct checked out[SINKS_MAX], struct err *err);

/* Verifies, then deletes at the source what --delete asks for. */
enum status remove_verified(struct engine *e, struct ledger *l, struct err *err);
/* How many of the listed it would be at most, when the n tasks in order are copied. */
enum status remove_count(struct engine *e, const uint32_t *order, size_t n,
	uint64_t *out, struct err *err);

/* ---- run.c ---- */

void engine_close_state(struct engine *e);

/* Is the journal whole? Before it is believed. */
enum status engine_sound(struct engine *e, struct err *err);

/* While the source is asked for what came meanwhile: archives are sealed, for most
 * likely it is nothing. What comes all the same begins another segment. */
enum status engine_seal_early(struct engine *e, struct err *err);

/* The thread that cuts waits off when a stop was asked for; end it before freeing. */
/* ST_DENIED where the machine has nothing left; then watch_end() does nothing. */
enum status watch_start(struct engine *e, struct err *err);
void watch_end(struct engine *e);

/* What pthread_create() returned, told. */
enum status engine_no_thread(int no, struct err *err);

/* Sets err to what a stopped run says. */
enum status engine_stopped(struct err *err);

/* Sleeps that a stop ends. */
void engine_sleep(struct engine *e, int64_t ms);

/* Waits before try number n (from 1), or asked_ms when the peer said so. */
void engine_backoff(struct engine *e, unsigned n, int asked_ms, const struct err *why,
	const char *side);

#endif
