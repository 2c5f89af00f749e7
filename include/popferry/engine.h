/*
 * engine.h: the only place where policy lives.
 *
 * engine_run() moves what is not there yet from the job's source to its
 * destinations and accounts for every listed message. It opens, retries with
 * back-off, resumes and reports; it writes nothing to a terminal.
 *
 * Threads: one run a thread; engine_stop() may be called from a signal handler.
 */
#ifndef POPFERRY_ENGINE_H
#define POPFERRY_ENGINE_H

#include <popferry/buf.h>
#include <popferry/config.h>
#include <popferry/err.h>
#include <popferry/journal.h>
#include <popferry/mail.h>
#include <popferry/sink.h>

#include <stdbool.h>
#include <stdint.h>

/* What goes on, for a progress line. Read by another thread at any time. */
struct progress {
	/* "starting", "connecting", "listing", "copying", "waiting", "deleting",
	 * "sealing"; "verifying" */
	const char *phase;
	uint64_t total, total_bytes;     /* to do in this run, by the listing's sizes */
	uint64_t fetched, fetched_bytes; /* first stage: received */
	uint64_t done, done_bytes;       /* second stage: in a terminal state */
	uint64_t failed;
};

/* What reading one destination back gave: messages. */
struct checked {
	const char *url;
	uint64_t verified; /* as the ledger says */
	uint64_t changed;  /* other bytes are there */
	uint64_t missing;
	uint64_t unknown;  /* its place there is not known, or it cannot be read */
	uint64_t disposed; /* of an archive, and its records tell of that */
};

/* How a run ended. */
struct outcome {
	struct ledger ledger;
	int64_t started, finished; /* UTC seconds */
	int64_t elapsed_ms;
	int exit;           /* the product's table */
	struct err err;     /* why, when exit is not 0 */
	int64_t run;        /* the journal's id of this run; 0: none */
	struct lost {       /* listed and gone before they were fetched */
		char *uidl; /* NULL: none */
		size_t uidl_n;
		uint64_t size; /* UINT64_MAX: unknown */
	} * vanished;
	size_t n_vanished;
	uint64_t id_collisions;    /* same Message-ID, different content: both kept */
	struct checked checked[2]; /* with --check: each destination */
	size_t n_checked;
	struct plan_summary { /* for --dry-run */
		uint64_t todo, todo_bytes;
		uint64_t deletable; /* at the source, at most: if all can be verified */
	} plan;
};

struct engine;

/* job must be checked and outlive the engine. */
void engine_new(struct engine **out, const struct job *job, const struct log *log);
void engine_free(struct engine **e);

/*
 * How patient it is, in milliseconds, and in what steps it goes; 0: as usual. For
 * tests, which have no time and little mail. Before engine_run() only.
 */
struct pace {
	int backoff_ms;  /* before the second try; then twice as long each time */
	int settle_ms;   /* what a server gets to show what it took (quirk Q111) */
	int grace_ms;    /* from a stop to cutting the destinations off */
	int deadline_ms; /* a silent server is given up; before the job's timeout */
	int batch_count; /* messages in a batch; as many batches as may be are under way */
	int look_ms;     /* from one look for what a server took to the next */
};
void engine_pace(struct engine *e, const struct pace *pace);

/* Runs the job to its end. The same as out->exit is returned. */
int engine_run(struct engine *e, struct outcome *out);

/* Frees what the outcome holds. */
void outcome_release(struct outcome *out);

/* Asks for a stop: what is in flight is settled, within 8 s; exit 75. */
void engine_stop(struct engine *e);

void engine_progress(struct engine *e, struct progress *out);

/*
 * The report (product.md): JSON, one object. Failures are read from the
 * journal in the state directory. Replaces path atomically; "-" is standard output.
 */
enum status report_write(const struct job *job, const struct outcome *o,
	const char *path, struct err *err);

/* A report of another kind: the same way to its place. */
enum status report_put(const char *path, const struct buf *b, struct err *err);

/* ---- reading destinations back ---- */

/* One that is not as the ledger says. */
struct finding {
	const char *dest, *folder; /* url and name */
	uint64_t place;            /* 0: unknown */
	const char *uidl;          /* NULL: none */
	size_t uidl_n;
	const char *kind, *text; /* as a notice's */
};

struct verification {
	struct checked dest[2];
	size_t n;
	char *account; /* of the source; free it */
	int exit;      /* 0: all is verified; EX_DATAERR: not */
	struct err err;
};

/*
 * Reads everything back that the journal in job->state says is stored at the job's
 * destinations. The job's source is not needed; job_check_ends() must have been called.
 * each() may be NULL.
 */
int engine_verify(struct engine *e, struct verification *out,
	void (*each)(void *ctx, const struct finding *f), void *ctx);

/* ---- judging, exposed for tests ---- */

/* Where a message goes and how it looks there. */
struct judgement {
	bool filtered;
	const char *rule;  /* its name or the option that filtered; NULL: none */
	char folder[1024]; /* UTF-8 */
	struct when date;
	const char *date_from; /* "received", "header", "source" or "none" */
	bool seen, answered, flagged, draft;
};
void judge(const struct job *job, const struct message *m, uint64_t listed_size,
	int64_t now, struct judgement *out);
/* The same for one that was filed before, as it was then; was may be NULL. */
struct origin;
void judge_again(const struct job *job, const struct message *m,
	const struct origin *was, uint64_t listed_size, int64_t now,
	struct judgement *out);

#endif
