/* archive.c: an archive directory as a sink. */
#include <popferry/archive.h>
#include <popferry/crypt.h>
#include <popferry/log.h>
#include <popferry/mem.h>

#include "sinks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RTT_TIMES = 8, RTT_MAX = 32 };

struct archive_sink {
	struct sink base;
	struct archive_writer *w; /* NULL: only for reading back */
	struct archive_reader *r; /* of what was durable when it was opened */
	const char *path;
	const struct job *job;
	struct identities *identities; /* of the reader; NULL */
	struct delivery **pending;     /* put and not durable, in their order */
	size_t n, cap;
};

static struct archive_sink *self(const struct sink *s)
{
	return (struct archive_sink *)(uintptr_t)s;
}

/* A full disk says nothing of where it is. */
static enum status name_it(
	const struct archive_sink *s, enum status rc, struct err *err)
{
	err_note(err, "archive %s", s->path);
	return rc;
}

/* Of a directory that is not there yet it is the one it will have. */
static char *real_path(const char *path)
{
	char *full = realpath(path, NULL), *copy, *slash, *name, *parent;

	if (full)
		return full;
	copy = xstrdup(path);
	while ((slash = strrchr(copy, '/')) && slash > copy && !slash[1])
		*slash = '\0';
	name = slash ? slash + 1 : copy;
	if (slash)
		*slash = '\0';
	parent = real_path(!slash ? "." : *copy ? copy : "/");
	if (strcmp(name, ".") == 0) {
		full = xstrdup(parent);
	} else if (strcmp(name, "..") == 0) {
		full = xstrdup(parent);
		slash = strrchr(full, '/');
		slash[slash == full] = '\0';
	} else {
		full = xasprintf("%s/%s", parent[1] ? parent : "", name);
	}
	free(parent);
	free(copy);
	return full;
}

static char *archive_identity(const struct endpoint *end)
{
	char *full = real_path(end->path), *out = xasprintf("archive:%s", full);

	free(full);
	return out;
}

static void archive_sink_close(struct sink **sp)
{
	struct archive_sink *s;

	if (!*sp)
		return;
	s = self(*sp);
	archive_close(&s->w);
	archive_done(&s->r);
	identities_close(&s->identities);
	free(s->pending);
	free(s);
	*sp = NULL;
}

static enum status open_reader(struct archive_sink *s, struct err *err)
{
	struct archive_access a = { .state = s->job->state };
	enum status rc = keys_open(&s->job->identity, &s->identities, err);

	a.identities = s->identities;
	return rc == ST_OK ? archive_read_as(&s->r, s->path, &a, err) : rc;
}

static enum status open_writer(struct archive_sink *s, struct archive_config *cfg,
	const struct job *j, struct err *err)
{
	struct recipients *to = NULL;
	enum status rc = job_recipients(j, &to, err);

	cfg->recipients = to;
	if (rc == ST_OK)
		rc = archive_open(&s->w, cfg, err);
	recipients_close(&to);
	return rc;
}

/* The newest message that the journal takes for stored there; 0: none. */
static uint64_t newest_told(const struct sink_setup *setup)
{
	return setup->newest ? setup->newest(setup->story_ctx) : 0;
}

/* A new one would stand in the way of the old one, or in the place of its disk. */
static enum status check_there(
	const struct archive_sink *s, const struct sink_setup *setup, struct err *err)
{
	uint64_t told = newest_told(setup);
	char *file = xasprintf("%s/archive.json", s->path);
	enum status rc = ST_OK;

	if (told && access(file, F_OK) < 0 && errno == ENOENT)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"archive %s is not there, and the journal tells of message "
			"%" PRIu64
			" in it: put it back, or mount its disk; when it is lost, name a "
			"new --state: then what the source still has is fetched again",
			s->path, told);
	free(file);
	return rc;
}

/* What was put back from an older copy lacks what the journal takes for stored. */
static enum status check_age(
	const struct archive_sink *s, const struct sink_setup *setup, struct err *err)
{
	uint64_t told = newest_told(setup), is = archive_durable(s->w);

	/* A tombstone tells of nothing by which the message could be known again. */
	if (told == 0 && archive_disposals(s->w) && setup->log)
		log_warn(setup->log, "archive-disposed", LOG_S("archive", s->path),
			LOG_S("meaning",
				"messages were disposed of there, and this state directory does "
				"not know them: those that the source still has are fetched "
				"again"));
	if (told <= is)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"archive %s ends with message %" PRIu64
		", and the journal tells of message %" PRIu64
		" there: it is an older copy, or another archive. Put the newer one back; "
		"when that is lost, name a new --state: then what the source still has is "
		"fetched again",
		s->path, is, told);
}

static enum status archive_sink_open(
	struct sink **out, const struct sink_setup *setup, struct err *err)
{
	struct archive_sink *s = xcalloc(1, sizeof(*s));
	struct sink *base = &s->base;
	struct archive_config cfg = {
		.path = setup->end->path,
		.source = setup->account,
		.story = setup->story,
		.story_ctx = setup->story_ctx,
		.codec = (enum archive_codec)setup->job->codec,
		.codec_given = setup->job->codec_given,
		.state = setup->job->state,
		.member_bytes = setup->job->member_size,
	};
	enum status rc;

	s->base.ops = &archive_sink;
	s->path = setup->end->path;
	s->job = setup->job;
	if (setup->reading)
		rc = open_reader(s, err);
	else
		rc = check_there(s, setup, err);
	if (rc == ST_OK && !setup->reading)
		rc = open_writer(s, &cfg, setup->job, err);
	if (rc == ST_OK && !setup->reading)
		rc = check_age(s, setup, err);
	if (rc == ST_OK && s->w)
		archive_before_commit(s->w, setup->before_commit, setup->story_ctx);
	if (rc != ST_OK)
		archive_sink_close(&base);
	*out = base;
	return rc;
}

/* An archive finds by content and UIDL over all it holds: no floor is needed. */
static enum status archive_sink_floor(
	struct sink *base, const char *folder, struct sink_floor *out, struct err *err)
{
	(void)base;
	(void)folder;
	(void)err;
	*out = (struct sink_floor){ 0, 1, false };
	return ST_OK;
}

static void archive_sink_claim(struct sink *base, const char *folder,
	uint64_t generation, uint64_t place, const unsigned char exact[DIGEST])
{
	(void)exact;
	(void)folder;
	(void)generation;
	archive_claim(self(base)->w, place);
}

static void fill_entry(struct archive_entry *e, const struct delivery *d)
{
	*e = (struct archive_entry){
		.folder = d->folder,
		.uidl = d->uidl,
		.uidl_n = d->uidl_n,
		.occurrence = d->occurrence,
		.number = d->number,
		.listed_size = d->listed_size,
		.retrieved = d->retrieved,
		.date = d->date,
		.seen = d->seen,
		.answered = d->answered,
		.flagged = d->flagged,
		.draft = d->draft,
	};
}

static enum status archive_sink_find(struct sink *base, struct delivery *d,
	const struct sink_floor *from, int64_t until_ms, struct err *err)
{
	struct archive_sink *s = self(base);
	struct archive_entry e;
	enum status rc;

	(void)from;
	(void)until_ms;
	fill_entry(&e, d);
	rc = archive_find(s->w, &e, d->message, &d->place, err);
	if (rc != ST_OK)
		return rc;
	archive_claim(s->w, d->place);
	d->outcome = DELIVERY_STORED;
	return ST_OK;
}

static enum status archive_sink_recall(struct sink *base,
	const unsigned char sha256[DIGEST], uint64_t *place, struct err *err)
{
	struct archive_sink *s = self(base);
	enum status rc = archive_recall(s->w, sha256, place, err);

	if (rc == ST_OK)
		archive_claim(s->w, *place);
	return rc;
}

static enum status archive_sink_put(
	struct sink *base, struct delivery *d, struct err *err)
{
	struct archive_sink *s = self(base);
	struct archive_entry e;
	enum status rc;

	fill_entry(&e, d);
	rc = archive_put(s->w, d->message, &e, &d->place, err);
	if (rc != ST_OK)
		return name_it(s, rc, err);
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->pending = xreallocarray(
			s->pending, s->cap, sizeof(struct delivery *));
	}
	s->pending[s->n++] = d;
	return ST_OK;
}

/* Those that are durable are stored; the others stay pending. */
static void settle(struct archive_sink *s)
{
	uint64_t durable = archive_durable(s->w);
	size_t n = 0;

	for (; n < s->n && s->pending[n]->place <= durable; n++) {
		archive_claim(s->w, s->pending[n]->place);
		s->pending[n]->outcome = DELIVERY_STORED;
	}
	s->n -= n;
	if (n && s->n)
		memmove(s->pending, s->pending + n, s->n * sizeof(struct delivery *));
}

static enum status commit_to(struct archive_sink *s, uint64_t place, struct err *err)
{
	enum status rc;

	if (s->n == 0)
		return ST_OK;
	rc = archive_commit(s->w, place, err);
	if (rc != ST_OK)
		return name_it(s, rc, err);
	settle(s);
	return ST_OK;
}

static enum status archive_sink_commit(struct sink *base, struct err *err)
{
	return commit_to(self(base), 0, err);
}

static enum status archive_sink_await(
	struct sink *base, const struct delivery *d, struct err *err)
{
	return d->outcome == DELIVERY_PENDING ? commit_to(self(base), d->place, err)
					      : ST_OK;
}

/* All that was put is on its way. */
static enum status archive_sink_flush(struct sink *base, struct err *err)
{
	(void)base;
	(void)err;
	return ST_OK;
}

/* An archive gives numbers once, and what it takes away it has a record of. */
static enum status archive_sink_read(struct sink *base, const char *folder,
	uint64_t generation, const uint64_t *places, size_t n,
	const struct sink_reading *to, struct err *err)
{
	struct archive_sink *s = self(base);
	enum status rc = s->r ? ST_OK : open_reader(s, err);
	size_t k;

	(void)folder;
	(void)generation;
	for (k = 0; rc == ST_OK && k < n; k++) {
		struct err why = ERR_INIT;

		to->begin(to->ctx);
		rc = archive_get(s->r, places[k], to->take, to->ctx, &why);
		to->end(to->ctx, k,
			rc == ST_OK                      ? FOUND_WHOLE
				: rc == ST_END           ? FOUND_NEVER
				: why.exit == EX_PARTIAL ? FOUND_DISPOSED
							 : FOUND_UNREAD);
		/* One that is damaged says nothing of the others. */
		if (rc == ST_END || rc == ST_DENIED)
			rc = ST_OK;
		if (rc != ST_OK)
			err_set(err, rc, why.exit, "%s", why.text);
	}
	return rc == ST_OK ? rc : name_it(s, rc, err);
}

static enum status archive_sink_finish(struct sink *base, struct err *err)
{
	struct archive_sink *s = self(base);
	enum status rc = archive_seal(s->w, err);

	return rc == ST_OK ? rc : name_it(s, rc, err);
}

static bool archive_sink_overreached(const struct sink *base)
{
	(void)base;
	return false;
}

static int archive_sink_wait(const struct sink *base)
{
	(void)base;
	return 0;
}

/*
 * On a disk, as if an answer took longer than it does: with more under way a commit
 * mostly finds members whole, and takes several batches. Else it has to write, and to
 * sync, what is no member yet. In memory that costs nothing, and what is under way
 * takes memory.
 */
static int archive_sink_rtt(const struct sink *base)
{
	int ms = archive_commit_ms(self(base)->w);

	return ms < RTT_MAX / RTT_TIMES ? ms * RTT_TIMES : RTT_MAX;
}

/* An archive without a log, of 0.1.0, gets it with its next segment. */
static enum status archive_sink_removed(const struct endpoint *end, const char *account,
	const struct story_item *v, size_t n, struct err *err)
{
	enum status rc = archive_note_removed(end->path, account, v, n, err);

	return rc == ST_END ? ST_OK : rc;
}

/* Nothing here waits for a peer. */
static void archive_sink_cancel(struct sink *base)
{
	(void)base;
}

static const char *const schemes[] = { "archive", NULL };

const struct sink_ops archive_sink = {
	.schemes = schemes,
	.record = true,
	.swallows = true,
	.identity = archive_identity,
	.open = archive_sink_open,
	.floor = archive_sink_floor,
	.claim = archive_sink_claim,
	.find = archive_sink_find,
	.recall = archive_sink_recall,
	.put = archive_sink_put,
	.flush = archive_sink_flush,
	.await = archive_sink_await,
	.commit = archive_sink_commit,
	.read = archive_sink_read,
	.finish = archive_sink_finish,
	.removed = archive_sink_removed,
	.overreached = archive_sink_overreached,
	.wait_ms = archive_sink_wait,
	.rtt_ms = archive_sink_rtt,
	.cancel = archive_sink_cancel,
	.close = archive_sink_close,
};
