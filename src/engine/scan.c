/*
 * scan.c: --scan: what a program says of a message before any destination gets it.
 *
 * It is asked about what is new or in doubt, once more in each run: signatures learn.
 * Where an earlier run may have put a message it is looked for first, so it comes to
 * stand in one folder only, whatever the program says this time. An archive takes what
 * a mailbox is spared, for a gap in a record is worse than anything that is in it.
 */
#include <popferry/hand.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "engine_p.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLEAN = 0, FOUND = 1, PIECE = 64 * 1024 };

static const char *quarantine(const struct engine *e)
{
	const char *folder = e->job->quarantine_folder;

	return folder ? folder : "Quarantine";
}

static bool is_policy(const struct engine *e, enum scan_policy policy)
{
	return e->job->scan_policy == policy + 1;
}

enum status scan_open(struct engine *e, struct err *err)
{
	if (!e->job->scan)
		return ST_OK;
	return hand_open(&e->scan, e->job->scan, e->job->scan_timeout, "--scan", err);
}

/* ---- asking ---- */

struct reading {
	const struct body *body;
	uint64_t off;
	char scratch[PIECE];
};

static enum status give(void *ctx, const char **p, size_t *n, struct err *err)
{
	struct reading *r = ctx;
	enum status rc = body_read(r->body, r->off, r->scratch, PIECE, p, n, err);

	r->off += *n;
	return rc;
}

static enum status ask(struct engine *e, const struct parcel *p,
	struct hand_answer *out, struct err *err)
{
	const struct task *t = &e->tasks.v[p->task];
	const struct facts *f = &p->message->facts;
	const char *folder = p->run->verdict.folder, *id = f->message_id;
	char sha[2 * DIGEST + 1], size[24], number[16];
	struct journal_key key;
	struct reading *r = xcalloc(1, sizeof(*r));
	enum status rc;

	tasks_key(&e->tasks, t, &key);
	snprintf(size, sizeof(size), "%" PRIu64, f->size);
	snprintf(number, sizeof(number), "%" PRIu32, t->number);
	text_hex(sha, f->sha256, DIGEST);
	r->body = p->message->body;
	rc = hand_run(e->scan,
		(const struct hand_value[]){
			{ "POPFERRY_SEQ", number, strlen(number) },
			{ "POPFERRY_SHA256", sha, strlen(sha) },
			{ "POPFERRY_SIZE", size, strlen(size) },
			{ "POPFERRY_FOLDER", folder, strlen(folder) },
			{ "POPFERRY_UIDL", key.uidl, key.uidl_n },
			{ "POPFERRY_MESSAGE_ID", id, id ? strlen(id) : 0 },
		},
		6, give, r, e->stop_fd, out, err);
	free(r);
	return rc == ST_RETRY ? engine_stopped(err) : rc;
}

/* ---- what comes of it ---- */

static enum status tell(struct engine *e, const struct parcel *p, const char *kind,
	const char *text, struct err *err)
{
	const struct task *t = &e->tasks.v[p->task];
	enum status rc;

	log_warn(&e->log, "message-notice", LOG_U("number", t->number),
		LOG_S("kind", kind), LOG_S("text", text));
	rc = journal_notice(e->journal, p->run->id, kind, text, err);
	if (rc == ST_OK)
		rc = journal_notice_about(
			e->journal, p->run->id, t->number, &p->message->facts, err);
	return rc;
}

/* Where a person opens mail. An archive is none. */
static bool is_mailbox(const struct slot *s)
{
	return s->ops->secret;
}

static bool has_archive(const struct engine *e)
{
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		if (!is_mailbox(&e->slots[k]))
			return true;
	return false;
}

static enum status found(struct engine *e, struct parcel *p,
	const struct hand_answer *a, struct err *err)
{
	char text[ERR_TEXT];
	const char *line = *a->line ? a->line : "exit code 1";

	p->run->found = true;
	p->message->facts.anomalies |= AN_SCAN;
	if (is_policy(e, SCAN_REFUSE)) {
		snprintf(text, sizeof(text), "refused by scan: %s%s", line,
			has_archive(e) ? "; only the archive has it" : "");
		p->why = p->why ? p->why : xcalloc(1, sizeof(*p->why));
		err_set(p->why, ST_SKIP, 0, "%s", text);
		return tell(e, p, "scan-refused", text, err);
	}
	if (is_policy(e, SCAN_QUARANTINE)) {
		p->run->verdict.folder = engine_name(e, quarantine(e));
		snprintf(text, sizeof(text), "the scan says: %s; filed in %.200s", line,
			quarantine(e));
		return tell(e, p, "scan-quarantined", text, err);
	}
	snprintf(text, sizeof(text), "the scan says: %s", line);
	return tell(e, p, "scan-noted", text, err);
}

/* Nobody knows what it is, so nobody gets it: the next run asks again. */
static enum status failed(struct engine *e, struct parcel *p,
	const struct hand_answer *a, bool *done, struct err *err)
{
	char text[HAND_LINE + 64];
	struct err why = ERR_INIT;

	*done = true;
	err_set(&why, ST_SKIP, EX_TEMPFAIL,
		"the scan failed (%s); not delivered, and tried again in the next run",
		hand_told(text, sizeof(text), a));
	return parcel_failed(e, p, "scan", &why, err);
}

enum status scan_parcel(struct engine *e, struct parcel *p, bool *done, struct err *err)
{
	struct hand_answer a;
	enum status rc = ask(e, p, &a, err);

	if (rc != ST_OK)
		return rc;
	if (a.end == HAND_EXIT && a.code == CLEAN)
		return ST_OK;
	if (a.end == HAND_EXIT && a.code == FOUND)
		return found(e, p, &a, err);
	return failed(e, p, &a, done, err);
}

bool scan_refuses(const struct engine *e, const struct parcel *p, size_t k)
{
	return p->run->found && is_policy(e, SCAN_REFUSE) && is_mailbox(&e->slots[k]);
}

bool scan_moves(struct engine *e, struct parcel *p)
{
	const char *folder;

	if (!p->run->found || !is_policy(e, SCAN_QUARANTINE))
		return false;
	folder = engine_name(e, quarantine(e));
	if (p->run->verdict.folder == folder)
		return false;
	p->run->verdict.folder = folder;
	return true;
}

enum status scan_settle(struct engine *e, struct parcel *p, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	bool news = false;
	size_t k;

	if (!is_policy(e, SCAN_REFUSE))
		return ST_OK;
	for (k = 0; k < e->n_slots; k++)
		news |= p->run->need[k] ||
			p->run->delivery[k].outcome == DELIVERY_STORED;
	if (news)
		return ST_OK;
	if (has_archive(e)) { /* since an earlier run */
		tasks_set(&e->tasks, t, TASK_KNOWN);
		return ST_OK;
	}
	tasks_set(&e->tasks, t, TASK_FILTERED);
	return journal_filtered(e->journal, p->run->id, p->why->text, err);
}
