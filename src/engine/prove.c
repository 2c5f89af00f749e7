/*
 * prove.c: two proofs before a deletion that cannot be undone.
 *
 * The source still gives the message that is stored: a UIDL may have been given to
 * another one of the same size (quirk Q12), or a server may have changed what is behind
 * it. And what goes there does not go at the destination, too, because both are one
 * mailbox.
 */
#include <popferry/fs.h>
#include <popferry/mem.h>

#include "remove.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOKED_AT = 64 }; /* messages of a folder, for one that has no equal */

/* ---- the source still gives it ---- */

struct fetching {
	struct facts_maker *fm;
	uint32_t n; /* bytes */
	int fd;     /* a probe's copy; -1: none is kept */
	enum status rc;
	struct err *err;
};

static void take(void *ctx, const char *p, size_t n)
{
	struct fetching *f = ctx;

	f->n += (uint32_t)n;
	facts_put(f->fm, p, n);
	if (f->fd >= 0 && f->rc == ST_OK)
		f->rc = fs_write(f->fd, p, n, f->err);
}

static void copy_name(char out[32], int64_t id)
{
	snprintf(out, 32, "kept-%" PRId64 ".eml", id);
}

static bool is_probe(const struct remover *r, int64_t id)
{
	size_t i;

	for (i = 0; i < r->probes.n; i++)
		if (r->probes.v[i].id == id)
			return true;
	return false;
}

/* Should the worst come true, not even this one is lost. */
static enum status begin_copy(struct remover *r, int64_t id, int *fd, struct err *err)
{
	char name[32];

	*fd = -1;
	if (!is_probe(r, id))
		return ST_OK;
	copy_name(name, id);
	*fd = openat(r->e->dirfd, name,
		O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	return *fd >= 0 ? ST_OK
			: err_sys(err, ST_FATAL, "%s/%s", r->e->job->state, name);
}

static enum status end_copy(struct remover *r, struct fetching *f, struct err *err)
{
	enum status rc = f->rc;

	if (f->fd < 0)
		return ST_OK;
	if (rc == ST_OK && fsync(f->fd) != 0)
		rc = err_sys(err, ST_FATAL, "%s", r->e->job->state);
	close(f->fd);
	f->fd = -1;
	return rc == ST_OK ? fs_sync_dir(r->e->dirfd, err) : rc;
}

static void drop_copy(const struct remover *r, int64_t id)
{
	char name[32];

	copy_name(name, id);
	unlinkat(r->e->dirfd, name, 0);
}

/* It has another content than the journal says. *other: it is another message. */
static enum status tell_other(struct remover *r, const struct doomed *d,
	const struct journal_row *row, const struct facts *f, bool *other,
	struct err *err)
{
	struct engine *e = r->e;
	struct journal_key key = { .occurrence = 1, .listed_size = d->size };
	struct err why = ERR_INIT;
	char *uidl = NULL;
	struct task *t;
	enum status rc;

	*other = !row->has_msgid || !f->has_msgid ||
		memcmp(row->msgid, f->msgid, DIGEST) != 0 ||
		memcmp(row->ident, f->ident, DIGEST) != 0;
	if (!*other)
		return notice_changed(e, d->id, d->number, err);
	err_set(&why, ST_SKIP, EX_PARTIAL,
		"the source gives another message under this UIDL now: it is not deleted, "
		"and the next run fetches it");
	rc = journal_uidl(e->journal, d->id, &uidl, &key.uidl_n, err);
	key.uidl = uidl;
	if (rc == ST_OK && uidl) {
		log_warn(&e->log, "message-failed", LOG_U("number", d->number),
			LOG_B("uidl", uidl, key.uidl_n), LOG_S("stage", "delete"),
			LOG_S("reason", why.text));
		rc = journal_failed(
			e->journal, &key, d->number, f, "delete", &why, err);
		t = tasks_find(&e->tasks, uidl, key.uidl_n, 1);
		if (t)
			tasks_set(&e->tasks, t, TASK_FAILED);
	}
	free(uidl);
	return rc < 0 ? rc : ST_OK;
}

static void withdraw(struct remover *r, const struct doomed *d)
{
	struct doomed *known = doomed_find(&r->set, d);

	known->good = 0;
	r->withdrawn++;
}

/* It cannot be had, so nobody knows what it is. */
static void unproven(struct remover *r, const struct doomed *d, const struct err *why)
{
	log_warn(&r->e->log, "delete-unproven", LOG_U("number", d->number),
		LOG_S("reason", why->text));
	withdraw(r, d);
}

/* A session ended in the middle of it. */
static void lost_in_one(
	struct remover *r, const struct doomed *d, uint32_t at, const struct err *why)
{
	cuts_note(&r->cuts, (uint64_t)d->id, at);
	if (!cuts_forgive(&r->cuts, ++doomed_find(&r->set, d)->tries))
		unproven(r, d, why);
}

/* Is what came what is stored? */
static enum status weigh(struct remover *r, const struct doomed *d,
	const struct facts *f, bool *same, bool *abandon, struct err *err)
{
	struct journal_row row;
	bool other = false;
	enum status rc = journal_get(r->e->journal, d->id, &row, err);

	*same = rc == ST_OK &&
		(memcmp(row.sha256, f->sha256, DIGEST) == 0 ||
			memcmp(row.exact, f->exact, DIGEST) == 0);
	if (rc != ST_OK || *same)
		return rc < 0 ? rc : ST_OK;
	withdraw(r, d);
	rc = tell_other(r, d, &row, f, &other, err);
	*abandon |= other;
	return rc;
}

/* The next of those that were wanted. ST_END: no more come in this session. */
static enum status one(struct remover *r, struct source *src, const struct doomed *d,
	bool *same, bool *abandon, struct err *err)
{
	struct fetching f = { .rc = ST_OK, .err = err };
	struct facts facts;
	uint32_t number = 0;
	enum status rc = begin_copy(r, d->id, &f.fd, err), kept;

	*same = false;
	if (rc != ST_OK)
		return rc;
	facts_begin(&f.fm);
	rc = src->ops->next(src, &number, take, &f, err);
	kept = end_copy(r, &f, err);
	if (rc == ST_OK)
		rc = kept;
	facts_end(&f.fm, &facts);
	/* Only of the first it is known that it is to blame. */
	if (rc == ST_RETRY && d == r->now.v)
		lost_in_one(r, d, f.n, err);
	if (rc == ST_SKIP) {
		unproven(r, d, err);
		rc = ST_OK;
	} else if (rc == ST_OK && number != d->number) {
		rc = err_set(err, ST_FATAL, EX_SOFTWARE,
			"message %u came that was not asked for", number);
	} else if (rc == ST_OK) {
		rc = weigh(r, d, &facts, same, abandon, err);
	}
	if (rc != ST_OK || !*same)
		if (is_probe(r, d->id))
			drop_copy(r, d->id);
	facts_release(&facts);
	return rc;
}

enum status prove_same(
	struct remover *r, struct source *src, bool *abandon, struct err *err)
{
	enum status rc = ST_OK;
	size_t i, n = 0;

	*abandon = false;
	for (i = 0; i < r->now.n; i++)
		src->ops->want(src, r->now.v[i].number, r->now.v[i].size);
	for (i = 0; rc == ST_OK && i < r->now.n; i++) {
		bool same;

		if (atomic_load(&r->e->stop))
			return engine_stopped(err);
		rc = one(r, src, &r->now.v[i], &same, abandon, err);
		if (rc == ST_OK && same)
			r->now.v[n++] = r->now.v[i];
	}
	/* A session may have an end; the rest is for the next. */
	if (rc == ST_END || rc == ST_OK) {
		r->now.n = n;
		return ST_OK;
	}
	return rc;
}

/* ---- it outlives ---- */

struct in_folder {
	int64_t folder;
	size_t at;
};

static int by_folder(const void *a, const void *b)
{
	const struct in_folder *x = a, *y = b;

	if (x->folder != y->folder)
		return x->folder < y->folder ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static char *note_of(int64_t folder)
{
	return xasprintf("outlives %" PRId64, folder);
}

/* Was something of this folder deleted before, and outlived it? */
static enum status is_proven(
	struct remover *r, int64_t folder, bool *yes, struct err *err)
{
	char *key = note_of(folder), *value = NULL;
	enum status rc = ST_OK;

	*yes = ids_has(&r->proven, folder);
	if (!*yes) {
		rc = journal_noted(r->e->journal, key, &value, err);
		*yes = rc == ST_OK;
	}
	if (rc == ST_OK && value) {
		ids_add(&r->proven, folder);
		ids_sort(&r->proven);
	}
	free(value);
	free(key);
	return rc < 0 ? rc : ST_OK;
}

/* Only a server can be the source; a directory cannot. */
static size_t all_folders(const struct remover *r, struct in_folder *out)
{
	const struct engine *e = r->e;
	size_t i, k, n = 0;

	for (i = 0; i < r->now.n; i++)
		for (k = 0; k < e->n_slots; k++)
			if (e->slots[k].ops->secret)
				out[n++] = (struct in_folder){ r->now.v[i].folder[k],
					i };
	if (n)
		qsort(out, n, sizeof(*out), by_folder);
	return n;
}

static enum status count_row(void *ctx, const struct journal_row *row, struct err *err)
{
	size_t *n = ctx;

	(void)row;
	(void)err;
	++*n;
	return ST_OK;
}

/* Of equal messages another one may be left, and that would prove nothing. */
static enum status is_single(
	struct remover *r, const struct doomed *d, bool *yes, struct err *err)
{
	const struct doomed *known = doomed_find(&r->set, d);
	size_t at = (size_t)(known - r->set.v), n = 0;
	struct journal_row row;
	enum status rc;

	*yes = d->id == d->holder && (at == 0 || known[-1].holder != d->holder) &&
		(at + 1 == r->set.n || known[1].holder != d->holder);
	if (!*yes)
		return ST_OK;
	rc = journal_get(r->e->journal, d->id, &row, err);
	if (rc == ST_OK)
		rc = journal_candidates(r->e->journal, r->e->mask,
			row.has_msgid ? row.msgid : NULL, row.exact, count_row, &n,
			err);
	*yes = n == 1;
	return rc < 0 ? rc : ST_OK;
}

/* One of these, which are of one folder. */
static enum status choose_one(
	struct remover *r, const struct in_folder *v, size_t n, struct err *err)
{
	const struct doomed *d = &r->now.v[v->at];
	enum status rc = ST_OK;
	bool single = false;
	size_t i;

	for (i = 0; rc == ST_OK && i < n && i < LOOKED_AT; i++) {
		rc = is_single(r, &r->now.v[v[i].at], &single, err);
		if (!single)
			continue;
		d = &r->now.v[v[i].at];
		break;
	}
	if (rc == ST_OK && !is_probe(r, d->id))
		doomed_add(&r->probes, d);
	return rc;
}

/* Of each folder that is not proven yet one is a probe. */
static enum status choose(struct remover *r, struct err *err)
{
	size_t room = r->now.n * r->e->n_slots, n, i, k;
	struct in_folder *all = xcalloc(room + 1, sizeof(*all));
	enum status rc = ST_OK;
	bool proven;

	n = all_folders(r, all);
	for (i = 0; rc == ST_OK && i < n; i = k) {
		for (k = i + 1; k < n && all[k].folder == all[i].folder; k++)
			;
		rc = is_proven(r, all[i].folder, &proven, err);
		if (rc == ST_OK && !proven)
			rc = choose_one(r, all + i, k - i, err);
	}
	free(all);
	return rc;
}

static int by_number(const void *a, const void *b)
{
	const struct doomed *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* How often, in a row, what was deleted was gone at a destination, too. */
static const char lost_key[] = "probes-lost";
enum { LOST_MAX = 2 };

static enum status lost_runs(const struct remover *r, unsigned long *n, struct err *err)
{
	char *text = NULL;
	enum status rc = journal_noted(r->e->journal, lost_key, &text, err);

	*n = rc == ST_OK && text ? strtoul(text, NULL, 10) : 0;
	free(text);
	return rc < 0 ? rc : ST_OK;
}

static enum status note_lost(const struct remover *r, unsigned long n, struct err *err)
{
	char text[24] = "";

	if (n)
		snprintf(text, sizeof(text), "%lu", n);
	return journal_note(r->e->journal, lost_key, text, err);
}

/* Runs of a timer would empty the mailbox all the same, one message each. */
static enum status may_probe(const struct remover *r, struct err *err)
{
	unsigned long n = 0;
	enum status rc = lost_runs(r, &n, err);

	if (rc != ST_OK || n < LOST_MAX)
		return rc;
	return err_set(err, ST_DENIED, EX_PARTIAL,
		"in %lu runs what was deleted at the source was gone at a destination, too, "
		"so nothing is deleted any more: if both are not one mailbox, begin anew "
		"with another --state",
		n);
}

enum status prove_begin(struct remover *r, size_t most, struct err *err)
{
	enum status rc;
	size_t i;

	r->probes.n = 0;
	rc = choose(r, err);
	if (rc == ST_OK && r->probes.n)
		rc = may_probe(r, err);
	if (rc != ST_OK)
		return rc;
	if (r->probes.n) {
		qsort(r->probes.v, r->probes.n, sizeof(*r->probes.v), by_number);
		if (r->probes.n > most)
			r->probes.n = most;
		r->now.n = 0;
		for (i = 0; i < r->probes.n; i++)
			doomed_add(&r->now, &r->probes.v[i]);
		return ST_OK;
	}
	r->trusted = true;
	if (r->now.n > most)
		r->now.n = most;
	return ST_OK;
}

static enum status trust(struct remover *r, const struct doomed *d, struct err *err)
{
	const struct engine *e = r->e;
	bool single = false;
	enum status rc = is_single(r, d, &single, err);
	size_t k;

	for (k = 0; rc == ST_OK && single && k < e->n_slots; k++) {
		char *key = note_of(d->folder[k]);

		if (e->slots[k].ops->secret)
			rc = journal_note(e->journal, key, "yes", err);
		free(key);
	}
	return rc;
}

static enum status refuse(
	const struct remover *r, const struct doomed *d, size_t left, struct err *err)
{
	char name[32] = "kept-*.eml";

	if (left == 1)
		copy_name(name, d->id);
	return err_set(err, ST_DENIED, EX_PARTIAL,
		"what was deleted at the source is gone at a destination, too: are both one "
		"mailbox, or has somebody moved it just now? Nothing more is deleted; "
		"%zu message%s in %s, as %s",
		left, left == 1 ? " is kept" : "s are kept", r->e->job->state, name);
}

/* Those that are not gone at the source prove nothing. */
static void only_gone(struct remover *r)
{
	size_t i, n = 0;

	for (i = 0; i < r->probes.n; i++) {
		struct doomed *d = &r->probes.v[i];

		d->good = 0;
		if (doomed_find(&r->set, d)->gone)
			r->probes.v[n++] = *d;
		else
			drop_copy(r, d->id);
	}
	r->probes.n = n;
}

enum status prove_end(struct remover *r, struct err *err)
{
	struct engine *e = r->e;
	struct checked checked[SINKS_MAX];
	const struct doomed *bad = NULL;
	unsigned long lost = 0;
	enum status rc;
	size_t i, n_bad = 0;

	only_gone(r);
	if (r->probes.n == 0)
		return ST_OK;
	qsort(r->probes.v, r->probes.n, sizeof(*r->probes.v), doomed_order);
	rc = verify_places(e, &r->probes, VERIFY_SET, checked, err);
	engine_phase(e, "deleting");
	for (i = 0; rc == ST_OK && i < r->probes.n; i++) {
		const struct doomed *d = &r->probes.v[i];

		if ((d->good & e->mask) != e->mask) {
			n_bad++;
			bad = d;
			continue;
		}
		rc = trust(r, d, err);
		if (rc == ST_OK)
			drop_copy(r, d->id);
	}
	r->probes.n = 0;
	if (rc == ST_OK)
		rc = lost_runs(r, &lost, err);
	if (rc == ST_OK && (bad || lost))
		rc = note_lost(r, bad ? lost + 1 : 0, err);
	return rc == ST_OK && bad ? refuse(r, bad, n_bad, err) : rc;
}
