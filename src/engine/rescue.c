/*
 * rescue.c: what is done for messages that a server refuses (quirks Q79-Q84).
 *
 * The steps of --rescue, in their order: another form of the message is sent,
 * or the copy in the archive has to do. Which form went up need not be noted before
 * it is sent: a form depends on the message alone, and find() tries them all.
 */
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	unsigned step;
	enum rescue form;
	const char *name; /* of the step */
	const char *kind; /* of the notice */
	const char *told;
} steps[] = {
	{ JOB_REPAIR, RESCUE_REPAIR, "repair", "repaired",
		"stored with a repaired header" },
	{ JOB_WRAP, RESCUE_WRAP, "wrap", "wrapped",
		"stored as the attachment of a message made for it" },
};

/* ---- notices ---- */

static enum status tell(struct engine *e, const struct parcel *p, const char *kind,
	const char *text, const char *reply, struct err *err)
{
	const struct task *t = &e->tasks.v[p->task];
	char buf[ERR_TEXT];
	const char *whole = buf;
	enum status rc;

	if (reply && *reply)
		snprintf(buf, sizeof(buf), "%s; the server said: %s", text, reply);
	else
		snprintf(buf, sizeof(buf), "%s", text);
	log_warn(&e->log, "message-notice", LOG_U("number", t->number),
		LOG_S("kind", kind), LOG_S("text", whole));
	rc = journal_notice(e->journal, p->run->id, kind, whole, err);
	if (rc == ST_OK)
		rc = journal_notice_about(
			e->journal, p->run->id, t->number, &p->message->facts, err);
	return rc;
}

static enum status tell_stored(struct engine *e, const struct parcel *p,
	const struct delivery *d, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < N_ELEMENTS(steps); i++)
		if (d->form == steps[i].form)
			rc = tell(e, p, steps[i].kind, steps[i].told,
				d->err ? d->err->reply : "", err);
	if (rc == ST_OK && d->no_date)
		rc = tell(e, p, "date-dropped",
			"stored with the date of the upload, for the server did not take "
			"its own",
			NULL, err);
	if (rc == ST_OK && d->no_flags)
		rc = tell(e, p, "flags-dropped",
			"stored without its flags (such as read), for the server did not "
			"take them",
			NULL, err);
	if (rc == ST_OK && d->rewritten)
		rc = tell(e, p, "altered-by-server",
			"the copy at the server differs from what was sent in white space "
			"or 8-bit bytes",
			NULL, err);
	return rc;
}

/* ---- the forms ---- */

static enum status try_form(struct engine *e, size_t k, enum rescue how,
	struct parcel **v, size_t n, struct parcel *p, struct err *err)
{
	struct delivery *d = &p->run->delivery[k];
	struct message *made = NULL;
	enum status rc = rescue_make(&made, how, p->message, e->spool, err);

	if (rc != ST_OK)
		return rc == ST_END ? ST_OK : rc;
	d->message = made;
	d->form = how;
	memcpy(d->wire, made->facts.sha256, DIGEST);
	d->outcome = DELIVERY_PENDING;
	p->run->again[k] = p->run->sent[k] = false;
	/* With all others of the batch, so that none is taken for this one. */
	rc = deliver_put(e, k, v, n, err);
	rc = deliver_settle(e, k, rc, err);
	d->message = p->message;
	if (d->outcome != DELIVERY_STORED)
		d->form = RESCUE_NONE;
	message_free(&made);
	return rc;
}

static enum status rescue_one(struct engine *e, size_t k, struct parcel **v, size_t n,
	struct parcel *p, struct err *err)
{
	struct delivery *d = &p->run->delivery[k];
	const struct err first = *d->err;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < N_ELEMENTS(steps); i++)
		if ((e->job->rescue & steps[i].step) && d->outcome == DELIVERY_REFUSED)
			rc = try_form(e, k, steps[i].form, v, n, p, err);
	*d->err = first; /* what was said of the message itself */
	return rc;
}

enum status rescue_refused(
	struct engine *e, size_t k, struct parcel **v, size_t n, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	if (!(e->job->rescue & (JOB_REPAIR | JOB_WRAP)))
		return ST_OK;
	for (i = 0; rc == ST_OK && i < n; i++) {
		const struct errand *r = v[i]->run;

		if (r->need[k] && r->delivery[k].outcome == DELIVERY_REFUSED &&
			r->delivery[k].cause == REFUSED_CONTENT)
			rc = rescue_one(e, k, v, n, v[i], err);
	}
	return rc;
}

/* ---- the record ---- */

enum status rescue_stored(struct engine *e, struct parcel *p, size_t k, struct err *err)
{
	const struct delivery *d = &p->run->delivery[k];
	enum status rc = parcel_stored(e, p, k, err);

	return rc == ST_OK ? tell_stored(e, p, d, err) : rc;
}

enum status rescue_found(struct engine *e, struct parcel *p, size_t k, struct err *err)
{
	const struct delivery *d = &p->run->delivery[k];
	enum status rc = ST_OK;

	if (p->run->need[k] || d->outcome != DELIVERY_STORED)
		return ST_OK;
	if (d->form)
		rc = parcel_stored(e, p, k, err);
	return rc == ST_OK ? tell_stored(e, p, d, err) : rc;
}

/* An archive of this job; e->n_slots: it has none. */
static size_t archive_slot(const struct engine *e)
{
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		if (!e->slots[k].ops->secret)
			break;
	return k;
}

enum status rescue_archived(
	struct engine *e, struct parcel *p, size_t k, bool *yes, struct err *err)
{
	const struct errand *r = p->run;
	size_t a = archive_slot(e);

	*yes = (e->job->rescue & JOB_ARCHIVE) && a < e->n_slots && a != k &&
		(!r->need[a] || r->delivery[a].outcome == DELIVERY_STORED);
	if (!*yes)
		return ST_OK;
	return tell(e, p, "archive-only",
		"only the archive has it, for the other destination refuses it",
		r->delivery[k].err ? r->delivery[k].err->reply : "", err);
}

void rescue_advise(struct engine *e, struct parcel *p, size_t k, struct err *why)
{
	enum delivery_cause cause = p->run->delivery[k].cause;
	char list[64] = "", reply[ERR_REPLY], text[ERR_TEXT];
	unsigned left = ~e->job->rescue;
	const char *gap = "";
	struct buf head;
	size_t i, n = 0;

	for (i = 0; cause == REFUSED_CONTENT && i < N_ELEMENTS(steps); i++) {
		if (!(left & steps[i].step))
			continue;
		if (rescue_head(steps[i].form, p->message, &head, NULL) == ST_OK) {
			n += (size_t)snprintf(
				list + n, sizeof(list) - n, "%s%s", gap, steps[i].name);
			gap = " or ";
		}
		buf_free(&head);
	}
	if (archive_slot(e) < e->n_slots && (left & JOB_ARCHIVE))
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%sarchive", gap);
	if (!n)
		return;
	memcpy(text, why->text, sizeof(text));
	memcpy(reply, why->reply, sizeof(reply));
	err_set(why, why->status, why->exit, "%.400s; --rescue=%s may help", text,
		list);
	memcpy(why->reply, reply, sizeof(why->reply));
}
