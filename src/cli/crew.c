/*
 * crew.c: many jobs in one process, some of them at a time.
 *
 * Each is carried out by a thread with an engine of its own; there are only as many
 * threads as may run at once. The jobs know nothing of each other: what one leaves
 * undone is its own. Profiles and passwords in the environment are read before
 * the first thread starts, for neither libinih nor environ can stand two at a time.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"
#include "notary.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	FILES_OWN = 64, /* standard ones, the resolver's, a password command's */
	/* Open at most in a job: two connections, journal, spool, trace; an archive. */
	FILES_JOB = 18,
	FILES_ARCHIVE = 10,
	FILES_CONNECTION =
		2, /* one more to the IMAP server: a socket, and what wakes it */
	EXITS = 128,
};

struct work {
	struct errand *errand;
	char *archive; /* it fills this one; NULL: none */
	bool begun;
};

struct crew {
	const struct cli *c;
	bool tells; /* on standard output */
	struct work *v;
	size_t n, first; /* those before are all begun */
	unsigned at_once, hired;
	int wake;
	int64_t began;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t freed; /* an archive that others wait for */
	struct {
		const struct work *work; /* NULL: idle */
		struct engine *engine;   /* NULL: not yet, or no more */
	} * busy;
	unsigned threads;
	bool stopping;
	size_t ended, good, left_out; /* jobs */
	size_t exits[EXITS];
	struct ledger sum;
	int exit;

	pthread_mutex_t out; /* of standard output and standard error */
};

/* ---- what is told ---- */

static void tell_begin(struct crew *m)
{
	pthread_mutex_lock(&m->out);
	if (m->c->format != LOG_JSON)
		progress_aside(true);
}

static void tell_end(struct crew *m)
{
	fflush(stdout);
	if (m->c->format != LOG_JSON)
		progress_aside(false);
	pthread_mutex_unlock(&m->out);
}

static void complain(const struct cli *c, const char *name, const struct err *err)
{
	struct err named = *err;

	if (c->format == LOG_JSON) {
		log_error(NULL, "error", LOG_S("job", name), LOG_S("text", err->text),
			LOG_S("reply", err->reply), LOG_U("exit", (uint64_t)err->exit));
		return;
	}
	err_note(&named, "%s", name);
	cli_complain(c, &named);
}

/* One line: NAME: exit N: why not 0: the ledger. */
static void tell_job(const struct job *job, const struct outcome *o)
{
	char text[LEDGER_TEXT], bytes[16];

	printf("%s: exit %d: ", job->name, o->exit);
	if (o->exit)
		printf("%s%s", o->err.text, o->ledger.listed ? ": " : "\n");
	if (job->dry_run && o->exit == 0)
		printf("%" PRIu64 " listed, %" PRIu64 " known, %" PRIu64
		       " filtered; %" PRIu64 " to copy (%s). Dry run.\n",
			o->ledger.listed, o->ledger.known, o->ledger.filtered,
			o->plan.todo, text_bytes(bytes, o->plan.todo_bytes));
	else if (o->exit == 0 || o->ledger.listed)
		printf("%s; %" PRIu64 " deleted; %s in %.1f s\n",
			ferry_ledger(text, sizeof(text), &o->ledger), o->ledger.deleted,
			text_bytes(bytes, o->ledger.bytes),
			(double)o->elapsed_ms / 1000);
}

static void tell_outcome(struct crew *m, const struct job *job, struct outcome *o)
{
	struct err err = ERR_INIT;
	bool shared = job->report && strcmp(job->report, "-") == 0;
	enum status rc;

	if (shared)
		tell_begin(m); /* one object after the other */
	rc = ferry_report(job, o, &err);
	if (!shared)
		tell_begin(m);
	if (rc != ST_OK)
		complain(m->c, job->name, &err);
	if (o->exit != 0 && o->err.text[0])
		complain(m->c, job->name, &o->err);
	if (rc != ST_OK && !o->err.text[0])
		o->err = err;
	if (m->tells)
		tell_job(job, o);
	tell_end(m);
	ferry_log(job, o);
}

/* A profile that is no good; before the first thread starts. */
static void tell_bad(const struct crew *m, const struct errand *e)
{
	if (m->c->format == LOG_JSON)
		complain(m->c, e->name, e->err);
	else
		cli_complain(m->c, e->err); /* which names the profile */
	if (m->tells)
		printf("%s: exit %d: %s\n", e->name, e->err->exit, e->err->text);
}

static void compose(void *ctx, char *out, size_t cap)
{
	struct crew *m = ctx;
	char bytes[16], bad[40] = "";
	uint64_t done, n_bytes;
	struct progress p;
	unsigned busy = 0, k;

	pthread_mutex_lock(&m->lock);
	done = m->sum.stored + m->sum.duplicate;
	n_bytes = m->sum.bytes;
	for (k = 0; k < m->at_once; k++) {
		busy += m->busy[k].work != NULL;
		if (!m->busy[k].engine)
			continue;
		engine_progress(m->busy[k].engine, &p);
		done += p.done > p.failed ? p.done - p.failed : 0;
		n_bytes += p.done_bytes;
	}
	if (m->ended > m->good)
		snprintf(bad, sizeof(bad), ", %zu not with 0", m->ended - m->good);
	snprintf(out, cap,
		"%zu of %zu job%s ended%s; %u at work; %" PRIu64 " message%s (%s) done",
		m->ended, m->n, text_s(m->n), bad, busy, done, text_s(done),
		text_bytes(bytes, n_bytes));
	pthread_mutex_unlock(&m->lock);
}

/* ---- counting ---- */

static void count(struct crew *m, int code, const struct ledger *l)
{
	m->ended++;
	m->good += code == 0;
	m->exits[code >= 0 && code < EXITS ? code : EX_SOFTWARE]++;
	m->exit = cli_worse(m->exit, code);
	if (!l)
		return;
	m->sum.listed += l->listed;
	m->sum.known += l->known;
	m->sum.stored += l->stored;
	m->sum.duplicate += l->duplicate;
	m->sum.filtered += l->filtered;
	m->sum.failed += l->failed;
	m->sum.vanished += l->vanished;
	m->sum.left += l->left;
	m->sum.bytes += l->bytes;
	m->sum.deleted += l->deleted;
}

static void tell_all(const struct crew *m)
{
	const struct ledger *l = &m->sum;
	char text[LEDGER_TEXT], bytes[16];
	int64_t ms = clock_ms() - m->began;
	size_t k;

	log_info(NULL, "all-finished", LOG_U("exit", (uint64_t)m->exit),
		LOG_U("jobs", m->n), LOG_U("good", m->good),
		LOG_U("not_begun", m->left_out), LOG_U("listed", l->listed),
		LOG_U("known", l->known), LOG_U("stored", l->stored),
		LOG_U("duplicate", l->duplicate), LOG_U("filtered", l->filtered),
		LOG_U("failed", l->failed), LOG_U("vanished", l->vanished),
		LOG_U("left", l->left), LOG_U("bytes", l->bytes),
		LOG_U("deleted", l->deleted), LOG_U("ms", (uint64_t)ms));
	if (!m->tells)
		return;
	printf("%zu job%s:", m->n, text_s(m->n));
	for (k = 0; k < EXITS; k++)
		if (m->exits[k])
			printf(" %zu with exit %zu,", m->exits[k], k);
	if (m->left_out)
		printf(" %zu not begun,", m->left_out);
	printf(" together exit %d: %s; %s in %.1f s\n", m->exit,
		ferry_ledger(text, sizeof(text), l), text_bytes(bytes, l->bytes),
		(double)ms / 1000);
	fflush(stdout);
}

/* ---- the threads ---- */

/* Two of them cannot write into one archive; the second waits its turn. */
static bool must_wait(const struct crew *m, const struct work *w)
{
	unsigned k;

	for (k = 0; w->archive && k < m->at_once; k++)
		if (m->busy[k].work && m->busy[k].work->archive &&
			strcmp(m->busy[k].work->archive, w->archive) == 0)
			return true;
	return false;
}

/* The next that can begin; NULL: none will, any more. */
static struct work *take(struct crew *m)
{
	bool waits;
	size_t i;

	for (;;) {
		waits = false;
		while (m->first < m->n && m->v[m->first].begun)
			m->first++;
		for (i = m->first; !m->stopping && i < m->n; i++) {
			if (m->v[i].begun)
				continue;
			if (!must_wait(m, &m->v[i]))
				return &m->v[i];
			waits = true;
		}
		if (!waits)
			return NULL;
		pthread_cond_wait(&m->freed, &m->lock);
	}
}

static void set_engine(struct crew *m, unsigned k, struct engine *e)
{
	pthread_mutex_lock(&m->lock);
	m->busy[k].engine = e;
	if (e && m->stopping)
		engine_stop(e);
	pthread_mutex_unlock(&m->lock);
}

static int carry_out(
	struct crew *m, unsigned k, const struct job *job, struct ledger *out)
{
	struct notary *notary = NULL;
	struct engine *e = NULL;
	struct err err = ERR_INIT;
	struct outcome o;
	int code;

	if (ferry_ready(job, &err) == ST_OK &&
		notary_open(&notary, job, &err) != ST_OK) {
		ferry_not_begun(&o, &err);
		tell_outcome(m, job, &o);
		return o.exit;
	}
	if (err.status != ST_OK) {
		ferry_not_begun(&o, &err);
		tell_begin(m);
		complain(m->c, job->name, &err);
		if (m->tells)
			tell_job(job, &o);
		tell_end(m);
		return err.exit;
	}
	engine_new(&e, job, NULL);
	set_engine(m, k, e);
	engine_run(e, &o);
	set_engine(m, k, NULL);
	notary_sign(notary, job, &o, false);
	notary_close(&notary);
	tell_outcome(m, job, &o);
	*out = o.ledger;
	code = o.exit;
	outcome_release(&o);
	engine_free(&e);
	return code;
}

struct hand {
	struct crew *m;
	unsigned k;
	pthread_t thread;
};

static void *work(void *arg)
{
	const uint64_t one = 1;
	struct hand *h = arg;
	struct crew *m = h->m;
	struct work *w;

	pthread_mutex_lock(&m->lock);
	while ((w = take(m))) {
		struct ledger l = { 0 };
		int code;

		w->begun = true;
		m->busy[h->k].work = w;
		pthread_mutex_unlock(&m->lock);
		code = carry_out(m, h->k, w->errand->job, &l);
		job_free(&w->errand->job);
		w->errand->exit = code;
		pthread_mutex_lock(&m->lock);
		m->busy[h->k].work = NULL;
		count(m, code, &l);
		pthread_cond_broadcast(&m->freed);
	}
	m->threads--;
	pthread_mutex_unlock(&m->lock);
	/* Full means that it is awake already. */
	if (write(m->wake, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

static void stop_all(struct crew *m)
{
	unsigned k;

	m->stopping = true;
	for (k = 0; k < m->at_once; k++)
		if (m->busy[k].engine)
			engine_stop(m->busy[k].engine);
	pthread_cond_broadcast(&m->freed);
}

/* Until the last thread is done; a signal wakes this one, and it stops the others. */
static void oversee(struct crew *m)
{
	struct pollfd p = { m->wake, POLLIN, 0 };
	bool over = false;
	uint64_t n;

	while (!over) {
		if (poll(&p, 1, -1) > 0 && read(m->wake, &n, sizeof(n)) < 0)
			n = 0;
		pthread_mutex_lock(&m->lock);
		if (stop_asked() && !m->stopping)
			stop_all(m);
		over = m->threads == 0;
		pthread_mutex_unlock(&m->lock);
	}
}

/* ---- before ---- */

static rlim_t files_of_one(const struct job *job)
{
	rlim_t files = FILES_JOB;
	size_t k;

	for (k = 0; k < job->n_dest; k++) {
		const struct endpoint *end = &job->dest[k];

		if (end->path)
			files += FILES_ARCHIVE;
		else if (end->imap.connections > 1)
			files += (end->imap.connections - 1) * FILES_CONNECTION;
	}
	return files;
}

/* What one of them has open at most. */
static rlim_t files_of(const struct errand *v, size_t n)
{
	rlim_t most = FILES_JOB;
	size_t i;

	for (i = 0; i < n; i++)
		if (v[i].job && files_of_one(v[i].job) > most)
			most = files_of_one(v[i].job);
	return most;
}

/* Jobs must not fail, one here and one there, for want of descriptors. */
static enum status make_room(
	unsigned at_once, const struct errand *v, size_t n, struct err *err)
{
	rlim_t each = files_of(v, n), need = FILES_OWN + at_once * each;
	struct rlimit r;

	if (at_once <= 1 || getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= need)
		return ST_OK;
	if (r.rlim_max < need)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"--jobs %u needs %llu open files and this process may have %llu: "
			"use --jobs %llu at most, or raise the limit (ulimit -Hn, or "
			"LimitNOFILE= of systemd)",
			at_once, (unsigned long long)need,
			(unsigned long long)r.rlim_max,
			r.rlim_max >= FILES_OWN + each
				? (unsigned long long)((r.rlim_max - FILES_OWN) / each)
				: 1);
	r.rlim_cur = need;
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		return err_sys(err, ST_DENIED, "--jobs: %llu open files",
			(unsigned long long)need);
	return ST_OK;
}

/* Taken out of the environment here, no other job's command inherits them. */
static void take_secret(const struct secret *s)
{
	char *password = NULL;

	if (!s->env || secret_get(s, "job", &password, NULL) != ST_OK)
		return; /* the job itself will say so */
	explicit_bzero(password, strlen(password));
	free(password);
}

static void prepare(struct crew *m, struct errand *v, size_t n)
{
	size_t i, k;

	m->v = xcalloc(n, sizeof(*m->v));
	m->n = n;
	m->tells = ferry_tells(m->c, NULL);
	for (i = 0; i < n; i++)
		m->tells &= !v[i].job || ferry_tells(m->c, v[i].job);
	for (i = 0; i < n; i++) {
		const struct job *job = v[i].job;
		struct work *w = &m->v[i];

		w->errand = &v[i];
		v[i].exit = EX_TEMPFAIL;
		if (!job) {
			tell_bad(m, &v[i]);
			v[i].exit = v[i].err->exit;
			count(m, v[i].exit, NULL);
			w->begun = true;
			continue;
		}
		take_secret(&job->source.secret);
		take_secret(&job->sealing.secret);
		for (k = 0; k < job->n_dest; k++) {
			take_secret(&job->dest[k].secret);
			if (job->dest[k].path)
				w->archive = path_canon(job->dest[k].path);
		}
	}
}

static enum status start(struct crew *m, struct hand *hands, struct err *err)
{
	unsigned k, n = 0;
	int no = 0;

	pthread_mutex_lock(&m->lock);
	for (k = 0; !no && k < m->at_once; k++) {
		hands[k] = (struct hand){ .m = m, .k = k };
		no = pthread_create(&hands[k].thread, NULL, work, &hands[k]);
		n += !no;
	}
	m->threads = m->hired = n;
	pthread_mutex_unlock(&m->lock);
	if (n == 0)
		return err_set(err, ST_DENIED, EX_TEMPFAIL,
			"cannot start a thread: %s; try again when there is more room",
			strerror(no));
	if (no)
		log_warn(NULL, "fewer-at-once", LOG_U("jobs", n),
			LOG_S("reason", strerror(no)));
	return ST_OK;
}

static enum status run(struct crew *m, struct err *err)
{
	struct hand *hands = xcalloc(m->at_once, sizeof(*hands));
	struct progress_line *line = NULL;
	enum status rc;
	unsigned k;

	m->busy = xcalloc(m->at_once, sizeof(*m->busy));
	stop_wakes(m->wake);
	progress_begin_with(&line, m->c, compose, m);
	rc = start(m, hands, err);
	if (rc == ST_OK)
		oversee(m);
	for (k = 0; k < m->hired; k++)
		pthread_join(hands[k].thread, NULL);
	progress_end(&line);
	stop_no_more();
	free(hands);
	return rc;
}

int crew_run(const struct cli *c, struct errand *v, size_t n, unsigned at_once)
{
	struct crew m = { .c = c, .wake = -1, .began = clock_ms() };
	struct err err = ERR_INIT;
	enum status rc;
	size_t i;

	m.at_once = at_once < n ? at_once : (unsigned)n;
	/* Without it the journal finds its path by way of the working directory. */
	if (m.at_once > 1 && access("/proc/self/fd", X_OK) < 0) {
		log_warn(NULL, "one-at-a-time", LOG_S("reason", "there is no /proc"));
		m.at_once = 1;
	}
	pthread_mutex_init(&m.lock, NULL);
	pthread_mutex_init(&m.out, NULL);
	pthread_cond_init(&m.freed, NULL);
	rc = make_room(m.at_once, v, n, &err);
	if (rc == ST_OK)
		prepare(&m, v, n);
	if (rc == ST_OK && (m.wake = eventfd(0, EFD_CLOEXEC)) < 0)
		rc = err_sys(&err, ST_DENIED, "eventfd");
	if (rc == ST_OK && n)
		rc = run(&m, &err);
	if (rc != ST_OK) {
		cli_complain(c, &err);
		m.exit = cli_worse(m.exit, err.exit);
	}
	for (i = 0; i < m.n; i++) {
		m.left_out += !m.v[i].begun;
		free(m.v[i].archive);
	}
	if (m.left_out || stop_asked())
		m.exit = cli_worse(m.exit, EX_TEMPFAIL);
	if (m.n || !n)
		tell_all(&m);
	if (m.wake >= 0)
		close(m.wake);
	pthread_cond_destroy(&m.freed);
	pthread_mutex_destroy(&m.out);
	pthread_mutex_destroy(&m.lock);
	free(m.busy);
	free(m.v);
	return m.exit;
}
