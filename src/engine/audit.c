/* audit.c: a job's destinations, read back and compared with its journal. */
#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static enum status find_sinks(struct engine *e, struct err *err)
{
	const struct job *job = e->job;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < job->n_dest; i++) {
		struct slot *s = &e->slots[e->n_slots++];

		s->end = &job->dest[i];
		s->ops = sink_kind(s->end->scheme);
		if (!s->ops)
			return err_set(err, ST_DENIED, EX_USAGE,
				"%s cannot be a destination", s->end->url);
		if (s->ops->secret)
			rc = secret_get(&s->end->secret, "dest", &s->password, err);
	}
	return rc;
}

/* What the journal says of the job's destinations: none is made known to it here. */
static enum status know_sinks(struct engine *e, struct err *err)
{
	struct journal *j = NULL;
	enum status rc = journal_open(&j, e->dirfd, NULL, true, err);
	size_t i;

	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"%s is no state directory of a job: it holds no journal",
			e->job->state);
	if (rc == ST_OK)
		e->account = xstrdup(journal_account(j));
	for (i = 0; rc == ST_OK && i < e->n_slots; i++) {
		struct slot *s = &e->slots[i];
		char *identity = s->ops->identity(s->end);

		rc = journal_sink(j, identity, &s->id, err);
		if (rc == ST_END)
			rc = err_set(err, ST_DENIED, EX_USAGE,
				"the journal in %s knows nothing of %s: this job has stored nothing there",
				e->job->state, identity);
		free(identity);
		e->mask |= 1u << s->id;
	}
	journal_close(&j);
	return rc;
}

static enum status open_state(struct engine *e, struct err *err)
{
	const char *path = e->job->state;
	enum status rc;

	e->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (e->dirfd < 0 && errno == ENOENT)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the job has not run yet: there is no state directory %s",
			path);
	if (e->dirfd < 0)
		return err_sys(err, ST_DENIED, "state directory %s", path);
	rc = know_sinks(e, err);
	if (rc != ST_OK)
		return rc;
	rc = fs_lock(&e->lockfd, e->dirfd, "lock", err);
	if (rc != ST_OK)
		return err_note(err, "%s", path);
	return journal_open(&e->journal, e->dirfd, e->account, false, err);
}

static void decide_exit(struct verification *out, enum status rc)
{
	uint64_t bad = 0;
	size_t i;

	/* Here it counts too what somebody took away after it was verified. */
	for (i = 0; i < out->n; i++)
		bad += out->dest[i].changed + out->dest[i].missing +
			out->dest[i].unknown;
	if (rc == ST_OK && bad)
		err_set(&out->err, ST_DENIED, EX_DATAERR,
			"%llu message%s not there as the ledger says",
			(unsigned long long)bad, bad == 1 ? " is" : "s are");
	else if (rc == ST_OK)
		return;
	/* An archive that is gone is one that does not verify. */
	if (out->err.exit == EX_NOINPUT)
		out->err.exit = EX_DATAERR;
	out->exit = out->err.exit ? out->err.exit : EX_SOFTWARE;
}

int engine_verify(struct engine *e, struct verification *out,
	void (*each)(void *ctx, const struct finding *f), void *ctx)
{
	enum status rc;
	size_t i;

	e->began_ms = clock_ms();
	e->finding = each;
	e->finding_ctx = ctx;
	*out = (struct verification){ .err = ERR_INIT };
	rc = watch_start(e, &out->err);
	if (rc == ST_OK)
		rc = find_sinks(e, &out->err);
	if (rc == ST_OK && e->job->trace)
		rc = trace_open(&e->trace, e->job->trace, &out->err);
	if (rc == ST_OK)
		rc = open_state(e, &out->err);
	out->account = e->account ? xstrdup(e->account) : NULL;
	for (i = 0; i < e->n_slots; i++)
		out->dest[i].url = e->slots[i].end->url;
	out->n = e->n_slots;
	if (rc == ST_OK)
		rc = verify_places(e, NULL, VERIFY_ALL, out->dest, &out->err);
	decide_exit(out, rc);
	watch_end(e);
	engine_close_state(e);
	return out->exit;
}
