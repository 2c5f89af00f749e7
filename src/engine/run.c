/* run.c: a job from its first connection to its exit code. */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/hand.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "engine_p.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- life ---- */

void engine_new(struct engine **out, const struct job *job, const struct log *log)
{
	struct engine *e = xcalloc(1, sizeof(*e));

	e->job = job;
	e->fields[0] = LOG_S("job", job->name);
	e->log = (struct log){ log, e->fields, 1 };
	e->pace = (struct pace){ BACKOFF_MS, SETTLE_MS, GRACE_MS, 0, 0, 0 };
	e->dirfd = e->lockfd = -1;
	e->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&e->lock, NULL);
	tasks_init(&e->tasks);
	e->progress.phase = "starting";
	*out = e;
}

static void wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

void engine_free(struct engine **ep)
{
	struct engine *e = *ep;

	if (!e)
		return;
	tasks_release(&e->tasks);
	free(e->given);
	free(e->put_off);
	free(e->had.v);
	trails_free(e);
	free(e->account);
	free(e->heard.server);
	while (e->n_names)
		free(e->names[--e->n_names]);
	free(e->names);
	close(e->stop_fd);
	pthread_mutex_destroy(&e->lock);
	free(e);
	*ep = NULL;
}

void engine_pace(struct engine *e, const struct pace *pace)
{
	if (pace->backoff_ms)
		e->pace.backoff_ms = pace->backoff_ms;
	if (pace->settle_ms)
		e->pace.settle_ms = pace->settle_ms;
	if (pace->grace_ms)
		e->pace.grace_ms = pace->grace_ms;
	e->pace.deadline_ms = pace->deadline_ms;
	e->pace.batch_count = pace->batch_count;
	e->pace.look_ms = pace->look_ms;
}

bool engine_is_blind(const struct engine *e)
{
	bool yes = !e->job->scan;
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		yes &= e->slots[k].ops->blind;
	return yes;
}

size_t engine_batch_count(const struct engine *e)
{
	if (e->pace.batch_count)
		return (size_t)e->pace.batch_count;
	return e->job->scan ? BATCH_SCANNED : BATCH_COUNT;
}

int engine_deadline_ms(const struct engine *e)
{
	if (e->pace.deadline_ms)
		return e->pace.deadline_ms;
	return (int)(e->job->timeout * 1000);
}

void engine_progress(struct engine *e, struct progress *out)
{
	pthread_mutex_lock(&e->lock);
	*out = e->progress;
	pthread_mutex_unlock(&e->lock);
}

const char *engine_name(struct engine *e, const char *name)
{
	size_t i = e->n_names;

	while (i && strcmp(e->names[i - 1], name) != 0)
		i--;
	if (i)
		return e->names[i - 1];
	e->names = xreallocarray(e->names, e->n_names + 1, sizeof(char *));
	return e->names[e->n_names++] = xstrdup(name);
}

void engine_phase(struct engine *e, const char *phase)
{
	pthread_mutex_lock(&e->lock);
	e->progress.phase = phase;
	pthread_mutex_unlock(&e->lock);
}

/* ---- before ---- */

static enum status find_kinds(struct engine *e, struct err *err)
{
	const struct job *job = e->job;
	size_t i;

	e->source_ops = source_kind(job->source.scheme);
	if (!e->source_ops)
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s cannot be a source; pop3s://, pop3://, archive:, maildir:, "
			"eml:, mbox:, zip: and tar: can",
			job->source.url);
	e->account = e->source_ops->account(&job->source, err);
	if (!e->account)
		return err->status;
	for (i = 0; i < job->n_dest; i++) {
		struct slot *s = &e->slots[e->n_slots++];

		s->engine = e;
		s->end = &job->dest[i];
		s->ops = sink_kind(s->end->scheme);
		if (!s->ops)
			return err_set(err, ST_DENIED, EX_USAGE,
				"%s cannot be a destination", s->end->url);
	}
	e->batch_bytes = deliver_most(e);
	while (e->recorder < e->n_slots && !e->slots[e->recorder].ops->removed)
		e->recorder++;
	return ST_OK;
}

static enum status get_secrets(struct engine *e, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	if (e->source_ops->secret)
		rc = secret_get_or_stop(&e->job->source.secret, "source", e->stop_fd,
			&e->source_password, err);
	for (i = 0; rc == ST_OK && i < e->n_slots; i++)
		if (e->slots[i].ops->secret)
			rc = secret_get_or_stop(&e->slots[i].end->secret, "dest",
				e->stop_fd, &e->slots[i].password, err);
	return rc;
}

/* ---- is the journal whole? asked while the source is ---- */

static void *check_journal(void *arg)
{
	struct engine *e = arg;

	e->sound.rc = journal_check(e->dirfd, &e->sound.err);
	return NULL;
}

static void begin_check(struct engine *e)
{
	struct sound *s = &e->sound;

	*s = (struct sound){ .err = ERR_INIT };
	s->running = !pthread_create(&s->thread, NULL, check_journal, e);
	if (!s->running)
		check_journal(e);
}

enum status engine_sound(struct engine *e, struct err *err)
{
	struct sound *s = &e->sound;

	if (s->running)
		pthread_join(s->thread, NULL);
	s->running = false;
	if (s->rc != ST_OK)
		*err = s->err;
	return s->rc;
}

static enum status open_state(struct engine *e, struct err *err)
{
	enum status rc = fs_open_dir(&e->dirfd, e->job->state, err);
	bool unchecked = false;
	size_t i;

	if (rc != ST_OK)
		return err_note(err, "state");
	rc = fs_lock(&e->lockfd, e->dirfd, "lock", err);
	if (rc != ST_OK)
		return err_note(err, "%s", e->job->state);
	rc = journal_open_soon(&e->journal, e->dirfd, e->account, &unchecked, err);
	if (rc != ST_OK)
		return rc;
	if (unchecked)
		begin_check(e);
	spool_open(&e->spool, e->dirfd, deliver_sheds(e) ? SPOOL_SHED : SPOOL_BYTES);
	for (i = 0; i < e->n_slots; i++) {
		char *identity;
		struct slot *s = &e->slots[i];

		identity = s->ops->identity(s->end);
		rc = journal_sink(e->journal, identity, &s->id, err);
		free(identity);
		if (rc == ST_OK)
			rc = journal_settled(e->journal, s->id, &s->settled, err);
		if (rc != ST_OK)
			return rc;
		e->mask |= 1u << s->id;
	}
	return ST_OK;
}

static void free_begun(struct slot *s)
{
	size_t i;

	for (i = 0; i < s->n_begun; i++)
		free(s->begun[i]);
	free(s->begun);
	s->begun = NULL;
	s->n_begun = 0;
}

void engine_close_state(struct engine *e)
{
	struct err ignored;
	size_t i;

	for (i = 0; i < e->n_slots; i++) {
		slot_close(e, &e->slots[i]);
		free_begun(&e->slots[i]);
		wipe(&e->slots[i].password);
	}
	wipe(&e->source_password);
	hand_close(&e->scan);
	engine_sound(e, &ignored);
	spool_close(&e->spool);
	journal_close(&e->journal);
	trace_close(&e->trace);
	if (e->lockfd >= 0)
		close(e->lockfd);
	if (e->dirfd >= 0)
		close(e->dirfd);
	e->lockfd = e->dirfd = -1;
}

/* ---- after ---- */

static enum status finish_sinks(struct engine *e, struct err *err)
{
	enum status rc = ST_OK;
	size_t k;

	engine_phase(e, "sealing");
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];

		/* An archive may hold what an interrupted run left unsealed. */
		if (!s->sink && !s->ops->secret)
			rc = slot_open(e, s, err);
		if (rc == ST_OK && s->sink) {
			rc = s->ops->finish(s->sink, err);
			slot_close(e, s);
		}
		fault_step("finished");
	}
	return rc;
}

enum status engine_seal_early(struct engine *e, struct err *err)
{
	enum status rc = ST_OK;
	size_t k;

	if (e->tasks.count[TASK_TODO] || e->tasks.count[TASK_FAILED] ||
		atomic_load(&e->stop))
		return ST_OK;
	engine_phase(e, "sealing");
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];

		if (s->sink && !s->ops->secret)
			rc = s->ops->finish(s->sink, err);
	}
	return rc;
}

/* The run has failed, elsewhere: what an archive has got is sealed all the same. */
static void seal_archives(struct engine *e, const struct err *why)
{
	struct err err = ERR_INIT;
	size_t k;

	if (atomic_load(&e->stop) || why->exit == EX_IOERR || why->exit == EX_SOFTWARE)
		return;
	for (k = 0; k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];

		if (!s->sink || s->ops->secret)
			continue;
		if (s->ops->finish(s->sink, &err) != ST_OK)
			log_warn(&e->log, "not-sealed", LOG_S("reason", err.text));
		slot_close(e, s);
	}
}

static void fill_ledger(const struct engine *e, struct ledger *l)
{
	const uint64_t *c = e->tasks.count;
	uint64_t deleted = l->deleted, left = l->delete_left;

	*l = (struct ledger){
		.listed = e->tasks.n - c[TASK_RENAMED],
		.known = c[TASK_KNOWN],
		.stored = c[TASK_STORED],
		.duplicate = c[TASK_DUPLICATE],
		.filtered = c[TASK_FILTERED],
		.failed = c[TASK_FAILED],
		.vanished = c[TASK_VANISHED],
		.left = c[TASK_TODO],
		.bytes = e->stored_bytes,
		.deleted = deleted,
		.delete_left = left,
	};
}

/*
 * Every listed message is accounted for. Where there was something before, that may
 * have been a part of the maildrop only, and copies of the rest are still to be looked
 * for: it takes some runs until that is not believed any more.
 */
static enum status settle_one(struct engine *e, struct slot *s, struct err *err)
{
	unsigned long runs = 0;
	char *text = NULL, key[32], now[32];
	enum status rc;

	if (s->settled)
		return ST_OK;
	if (s->n_begun && !s->strange)
		return journal_settle(e->journal, s->id, err);
	snprintf(key, sizeof(key), "settling %u", s->id);
	rc = journal_noted(e->journal, key, &text, err);
	if (rc < 0)
		return rc;
	if (rc == ST_OK)
		runs = strtoul(text, NULL, 10);
	free(text);
	if (++runs >= SETTLE_RUNS)
		return journal_settle(e->journal, s->id, err);
	snprintf(now, sizeof(now), "%lu", runs);
	return journal_note(e->journal, key, now, err);
}

static enum status settle_all(struct engine *e, const struct ledger *l, struct err *err)
{
	enum status rc;
	size_t k;

	if (l->failed || l->left || l->vanished || !l->listed || e->limited ||
		e->visits.windowed)
		return ST_OK;
	rc = journal_begin(e->journal, err);
	for (k = 0; rc == ST_OK && k < e->n_slots; k++)
		rc = settle_one(e, &e->slots[k], err);
	return rc == ST_OK ? journal_commit(e->journal, err) : rc;
}

static void decide_exit(const struct engine *e, struct outcome *out, enum status rc)
{
	const struct ledger *l = &out->ledger;

	out->exit = rc == ST_OK ? 0 : out->err.exit;
	if (rc != ST_OK && !out->exit)
		out->exit = EX_SOFTWARE; /* whoever forgot the reason: not 0 */
	if (rc != ST_OK)
		return;
	if (!ledger_balances(l) || (l->left && !e->limited)) {
		out->exit = EX_SOFTWARE;
		err_set(&out->err, ST_FATAL, EX_SOFTWARE,
			"the ledger does not balance: this is a bug, please report it");
	} else if (l->failed) {
		out->exit = EX_PARTIAL;
		err_set(&out->err, ST_SKIP, EX_PARTIAL,
			"%llu message%s failed; the report and `popferry status` say why",
			(unsigned long long)l->failed, text_s(l->failed));
	} else if (e->unverified) {
		out->exit = EX_PARTIAL;
		err_set(&out->err, ST_SKIP, EX_PARTIAL,
			"%llu message%s not at the destination as stored; the source keeps "
			"what is missing, and the report says which",
			(unsigned long long)e->unverified,
			e->unverified == 1 ? " is" : "s are");
	} else if (e->limited) {
		out->exit = EX_PARTIAL;
		err_set(&out->err, ST_SKIP, EX_PARTIAL,
			"--limit left %llu message%s for another run",
			(unsigned long long)l->left, text_s(l->left));
	}
}

/* Before a deletion that is done in any case. */
static enum status check_stored(struct engine *e, struct err *err)
{
	enum status rc = verify_places(e, NULL, VERIFY_NEW, e->checked, err);

	if (rc < 0)
		err_note(err, "all is copied, but reading it back failed");
	return rc;
}

static void tell_checked(const struct engine *e, struct outcome *out)
{
	memcpy(out->checked, e->checked, sizeof(out->checked));
	out->n_checked = e->n_slots;
}

static enum status move_all(struct engine *e, struct outcome *out, struct err *err)
{
	enum status rc = open_state(e, err);

	if (rc != ST_OK)
		return rc;
	sessions_prepare(e);
	rc = journal_run_begin(e->journal, out->started, &e->run, err);
	if (rc != ST_OK)
		return rc;
	out->run = e->run;
	slots_open_early(e, false);
	rc = sessions_run(e, err);
	/* Stopped between two sessions, with messages left for the second. */
	if (rc == ST_OK && e->tasks.count[TASK_TODO] && !e->limited &&
		atomic_load(&e->stop))
		rc = engine_stopped(err);
	if (rc == ST_OK)
		rc = finish_sinks(e, err);
	else
		seal_archives(e, err);
	fill_ledger(e, &out->ledger);
	notice_vanished(e, out);
	if (rc == ST_OK)
		rc = settle_all(e, &out->ledger, err);
	if (rc == ST_OK && e->job->delete != DELETE_NEVER)
		rc = remove_verified(e, &out->ledger, err);
	else if (rc == ST_OK && e->job->check)
		rc = check_stored(e, err);
	if (rc == ST_OK && e->job->check)
		tell_checked(e, out);
	/* It may have found out that one is not what it was thought to be. */
	fill_ledger(e, &out->ledger);
	return rc == ST_OK ? unchanged_note(e, err) : rc;
}

static int open_existing(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static enum status plan_only(struct engine *e, struct outcome *out, struct err *err)
{
	struct source *src = NULL;
	struct listing l;
	uint32_t *order = NULL;
	size_t n = 0, k;
	enum status rc;

	/* No state is made: a journal is read when an earlier run left one. */
	e->dirfd = open_existing(e->job->state);
	if (e->dirfd >= 0) {
		rc = journal_open(&e->journal, e->dirfd, e->account, true, err);
		if (rc < 0)
			return rc;
	}
	rc = ST_OK;
	for (k = 0; e->journal && rc == ST_OK && k < e->n_slots; k++) {
		char *identity = e->slots[k].ops->identity(e->slots[k].end);

		rc = journal_sink(e->journal, identity, &e->slots[k].id, err);
		free(identity);
		if (rc == ST_END) { /* not known to it: nothing is there yet */
			e->slots[k].id = JOURNAL_SINKS + (unsigned)k;
			rc = ST_OK;
		}
		e->mask |= 1u << e->slots[k].id;
	}
	if (rc == ST_OK)
		rc = session_open(e, &src, err);
	if (rc == ST_OK)
		rc = plan_make(e, src, &l, &order, &n, err);
	if (rc == ST_OK) {
		out->plan.todo = n;
		out->plan.todo_bytes = e->progress.total_bytes;
		src->ops->finish(src, NULL);
	}
	if (rc == ST_OK && e->job->delete != DELETE_NEVER)
		rc = remove_count(e, order, n, &out->plan.deletable, err);
	/* A destination that cannot be reached spoils the plan: say it now. */
	for (k = 0; rc == ST_OK && k < e->n_slots; k++)
		if (e->slots[k].ops->secret)
			rc = slot_open(e, &e->slots[k], err);
	session_close(e, &src);
	free(order);
	fill_ledger(e, &out->ledger);
	return rc;
}

/* All may be safe and the disk be bad all the same: that must not end with 0. */
static void record_end(struct engine *e, struct outcome *out)
{
	struct err why = ERR_INIT;

	if (!out->run ||
		journal_run_end(e->journal, e->run, out->finished, &out->ledger,
			out->exit, out->err.text, &why) == ST_OK)
		return;
	log_warn(&e->log, "run-not-recorded", LOG_S("state", e->job->state));
	if (out->exit == 0 || out->exit == EX_PARTIAL) {
		out->exit = why.exit;
		out->err = why;
	}
}

/* Damage to the journal says more than what it led to. */
static enum status real_reason(struct engine *e, enum status rc, struct err *err)
{
	struct err why = ERR_INIT;

	if (rc == ST_OK || engine_sound(e, &why) == ST_OK)
		return rc;
	*err = why;
	return why.status;
}

int engine_run(struct engine *e, struct outcome *out)
{
	enum status rc;

	e->began_ms = clock_ms();
	*out = (struct outcome){ .started = clock_utc(), .err = ERR_INIT };
	rc = watch_start(e, &out->err);
	if (rc == ST_OK)
		rc = find_kinds(e, &out->err);
	if (rc == ST_OK)
		rc = get_secrets(e, &out->err);
	if (rc == ST_OK)
		rc = scan_open(e, &out->err);
	if (rc == ST_OK && e->job->trace)
		rc = trace_open(&e->trace, e->job->trace, &out->err);
	if (rc == ST_OK)
		rc = e->job->dry_run ? plan_only(e, out, &out->err)
				     : move_all(e, out, &out->err);
	rc = real_reason(e, rc, &out->err);
	out->finished = clock_utc();
	out->elapsed_ms = clock_ms() - e->began_ms;
	out->id_collisions = e->collisions;
	if (e->job->dry_run && rc == ST_OK)
		out->exit = 0;
	else
		decide_exit(e, out, rc);
	record_end(e, out);
	watch_end(e);
	engine_close_state(e);
	return out->exit;
}
