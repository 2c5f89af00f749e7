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

#include <popferry/config.h>
#include <popferry/err.h>
#include <popferry/journal.h>
#include <popferry/mail.h>
#include <popferry/sink.h>

#include <stdbool.h>
#include <stdint.h>

/* What goes on, for a progress line. Read by another thread at any time. */
struct progress {
	const char
		*phase; /* "connecting", "listing", "copying", "waiting", "sealing" */
	uint64_t total, total_bytes;     /* to do in this run, by the listing's sizes */
	uint64_t fetched, fetched_bytes; /* first stage: received */
	uint64_t done, done_bytes;       /* second stage: in a terminal state */
	uint64_t failed;
};

/* How a run ended. */
struct outcome {
	struct ledger ledger;
	int64_t started, finished; /* UTC seconds */
	int64_t elapsed_ms;
	int exit;               /* the product's table */
	struct err err;         /* why, when exit is not 0 */
	int64_t run;            /* the journal's id of this run; 0: none */
	uint64_t id_collisions; /* same Message-ID, different content: both kept */
	struct plan_summary {   /* for --dry-run */
		uint64_t todo, todo_bytes;
	} plan;
};

struct engine;

/* job must be checked and outlive the engine. */
void engine_new(struct engine **out, const struct job *job, const struct log *log);
void engine_free(struct engine **e);

/*
 * How patient it is, in milliseconds; 0: as usual. For tests, which have no
 * time. Before engine_run() only.
 */
struct pace {
	int backoff_ms;  /* before the second try; then twice as long each time */
	int settle_ms;   /* what a server gets to show what it took (quirk Q111) */
	int grace_ms;    /* from a stop to cutting the destinations off */
	int deadline_ms; /* a silent server is given up; before the job's timeout */
};
void engine_pace(struct engine *e, const struct pace *pace);

/* Runs the job to its end. The same as out->exit is returned. */
int engine_run(struct engine *e, struct outcome *out);

/* Asks for a stop: what is in flight is settled, within 8 s; exit 75. */
void engine_stop(struct engine *e);

void engine_progress(struct engine *e, struct progress *out);

/*
 * The report (product.md): JSON, one object. Failures are read from the
 * journal in the state directory. Replaces path atomically; "-" is standard output.
 */
enum status report_write(const struct job *job, const struct outcome *o,
	const char *path, struct err *err);

/* ---- judging, exposed for tests ---- */

/* Where a message goes and how it looks there. */
struct judgement {
	bool filtered;
	const char *rule;  /* its name or the option that filtered; NULL: none */
	char folder[1024]; /* UTF-8 */
	struct when date;
	const char *date_from; /* "received", "header" or "none" */
	bool seen, answered, flagged, draft;
};
void judge(const struct job *job, const struct message *m, uint64_t listed_size,
	int64_t now, struct judgement *out);

#endif
