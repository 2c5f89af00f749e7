/*
 * notice.c: what a reader of the report should know of messages that were not lost.
 *
 * Some may not be what the user thinks they are: put in the place of another
 * by the server, cut, empty, or not mail at all. They are stored, told, and
 * never deleted at the source.
 */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "engine_p.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLACK = 4096, /* bytes by which any size may be wrong */
};

/*
 * What servers give out in the place of a message that they cannot read (quirk Q38).
 * NULL: anything.
 */
static const struct {
	const char *from, *subject, *line;
} substitutes[] = {
	{ NULL, "Retrieval using the * protocol failed for the following message*",
		NULL },
	{ NULL, NULL, "The server couldn't retrieve the following message*" },
	{ NULL, "The message could not be retrieved*", NULL },
	{ NULL, "Message could not be retrieved*", NULL },
	{ "*Microsoft Exchange*", NULL,
		"The following message could not be retrieved*" },
	{ NULL, NULL, "The message could not be retrieved using the * protocol*" },
};

static bool fits(const char *pattern, const char *s)
{
	return !pattern || (s && text_glob(pattern, s, strlen(s)));
}

/* NUL is an end, too. */
static inline bool is_end(char c)
{
	return c == '\r' || c == '\n' || c == '\0';
}

/* The body's first line that is not blank, and *n, 0 when it cannot be had. */
static const char *first_line(
	const struct message *m, char scratch[NOTICE_FIRST], size_t *n)
{
	struct err err = ERR_INIT;
	const char *p;
	size_t got = 0, k = 0;

	*n = 0;
	if (body_read(m->body, m->facts.header_size, scratch, NOTICE_FIRST, &p, &got,
		    &err) != ST_OK)
		return scratch;
	if (got > NOTICE_FIRST)
		got = NOTICE_FIRST;
	for (; got && (is_end(*p) || *p == ' ' || *p == '\t'); got--)
		p++;
	while (k < got && !is_end(p[k]))
		k++;
	*n = k;
	return p;
}

static bool is_substitute(const struct message *m)
{
	char scratch[NOTICE_FIRST];
	size_t i, n;
	const char *line = first_line(m, scratch, &n);

	/* What must stand at a beginning is soon seen not to be there. */
	for (i = 0; i < N_ELEMENTS(substitutes); i++)
		if ((!substitutes[i].line || text_glob(substitutes[i].line, line, n)) &&
			fits(substitutes[i].subject, m->facts.subject) &&
			fits(substitutes[i].from, m->facts.from))
			return true;
	return false;
}

/* What UW-IMAP and its kin keep for themselves at the head of a mailbox (quirk Q37). */
static bool is_internal(const struct message *m)
{
	struct buf field = BUF_INIT(FACT_MAX + 1);
	bool yes;

	if (!fits("DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA*",
		    m->facts.subject ? m->facts.subject : ""))
		return false;
	yes = fits("*Mail System Internal Data*", m->facts.from ? m->facts.from : "") ||
		message_field(m, "X-IMAP", 0, &field) ||
		message_field(m, "X-IMAPbase", 0, &field);
	buf_free(&field);
	return yes;
}

/* Far from what LIST said; 0 says nothing. */
static bool is_off(uint64_t listed, uint64_t size)
{
	if (listed == UINT64_MAX || listed == 0)
		return false;
	return size < listed / 2 || size / 2 > listed + SLACK / 2;
}

const char *notice_filter(const struct engine *e, const struct message *m)
{
	size_t k;

	if (!is_internal(m))
		return NULL;
	/* An archive takes what there is; a mailbox would only be soiled. */
	for (k = 0; k < e->n_slots; k++)
		if (!e->slots[k].ops->secret)
			return NULL;
	return "internal-data";
}

unsigned notice_mask(const struct engine *e, const struct message *m)
{
	unsigned mask = e->mask;
	size_t k;

	if (is_internal(m))
		for (k = 0; k < e->n_slots; k++)
			if (e->slots[k].ops->secret)
				mask &= ~(1u << e->slots[k].id);
	return mask;
}

static enum status tell(struct engine *e, int64_t id, const struct task *t,
	const char *kind, const char *text, struct err *err)
{
	struct journal_key key;

	tasks_key(&e->tasks, t, &key);
	log_warn(&e->log, "message-notice", LOG_U("number", t->number),
		LOG_B("uidl", key.uidl, key.uidl_n), LOG_S("kind", kind),
		LOG_S("text", text));
	return journal_notice(e->journal, id, kind, text, err);
}

static const char *const odd_kinds[] = {
	[ODD_GLUED] = "glued-dot",
	[ODD_UNSTUFFED] = "unstuffed",
	[ODD_UNFILED] = "unfiled",
};

static const char *const odd_texts[] = {
	[ODD_GLUED] =
		"the server ended it with a dot behind the text of its last line, which was "
		"taken off; whether it was one of the message's own nobody can tell",
	[ODD_UNSTUFFED] =
		"more came behind its end than was asked for: the server does not stuff "
		"dots, and may have cut it at a line with a single dot",
	[ODD_UNFILED] =
		"the archive has it whole, but the table that says how it was filed is "
		"damaged: folder as in its path, date and flags judged anew",
};

enum status notice_message(struct engine *e, const struct parcel *p, struct err *err)
{
	const struct task *t = &e->tasks.v[p->task];
	const struct message *m = p->message;
	int64_t id = p->run->id;
	bool internal, substitute, off, odd = p->oddity != ODD_NONE, empty;
	char text[160];
	enum status rc = ST_OK;

	if (t->state == TASK_KNOWN)
		return ST_OK;
	empty = m->facts.size == 0;
	internal = is_internal(m);
	substitute = is_substitute(m);
	off = is_off(t->size, m->facts.size);
	if (!(empty || internal || substitute || off || odd))
		return ST_OK;
	if (empty)
		rc = tell(e, id, t, "empty", "the server gave nothing for it, twice",
			err);
	if (rc == ST_OK && internal)
		rc = tell(e, id, t, "internal-data",
			"a mail program's own data, not mail: kept in an archive, and not put "
			"into a mailbox alone",
			err);
	if (rc == ST_OK && substitute)
		rc = tell(e, id, t, "substitute",
			"the server gave a note in its place: the message itself could not be "
			"read there",
			err);
	snprintf(text, sizeof(text),
		"the server announced %" PRIu64 " bytes and gave %" PRIu64, t->size,
		m->facts.size);
	if (rc == ST_OK && off)
		rc = tell(e, id, t, "size-mismatch", text, err);
	if (rc == ST_OK && odd)
		rc = tell(e, id, t, odd_kinds[p->oddity], odd_texts[p->oddity], err);
	if (rc == ST_OK)
		rc = journal_notice_about(e->journal, id, t->number, &m->facts, err);
	return rc;
}

enum status notice_failed(
	struct engine *e, const struct task *t, enum oddity oddity, struct err *err)
{
	struct journal_row row;
	struct journal_key key;
	enum status rc;

	tasks_key(&e->tasks, t, &key);
	if (oddity == ODD_NONE || !key.uidl)
		return ST_OK;
	rc = journal_find(e->journal, key.uidl, key.uidl_n, key.occurrence, &row, err);
	if (rc == ST_OK)
		rc = tell(e, row.id, t, odd_kinds[oddity],
			oddity == ODD_GLUED
				? "it could not be had: the server never ends it, save by a dot "
				  "behind the text of its last line"
				: odd_texts[oddity],
			err);
	if (rc == ST_OK)
		rc = journal_notice_about(
			e->journal, row.id, t->number, &(struct facts){ 0 }, err);
	return rc < 0 ? rc : ST_OK;
}

enum status notice_changed(
	struct engine *e, int64_t id, uint32_t number, struct err *err)
{
	const char *text =
		"the source gives other bytes for it than before; what is stored is what it "
		"gave first";

	log_warn(&e->log, "message-notice", LOG_U("number", number),
		LOG_S("kind", "changed-at-source"), LOG_S("text", text));
	return journal_notice(e->journal, id, "changed-at-source", text, err);
}

void notice_vanished(struct engine *e, struct outcome *out)
{
	const struct tasks *t = &e->tasks;
	size_t i, n = 0;

	if (!t->count[TASK_VANISHED])
		return;
	out->vanished = xcalloc(t->count[TASK_VANISHED], sizeof(*out->vanished));
	for (i = 0; i < t->n; i++) {
		struct journal_key key;

		if (t->v[i].state != TASK_VANISHED)
			continue;
		tasks_key(t, &t->v[i], &key);
		out->vanished[n++] = (struct lost){
			key.uidl ? xmemdup0(key.uidl, key.uidl_n) : NULL, key.uidl_n,
			key.listed_size
		};
		log_warn(&e->log, "message-vanished",
			LOG_B("uidl", key.uidl, key.uidl_n),
			LOG_U("size", key.listed_size),
			LOG_S("meaning", "listed, and gone before it was fetched"));
	}
	out->n_vanished = n;
}

void outcome_release(struct outcome *out)
{
	size_t i;

	for (i = 0; i < out->n_vanished; i++)
		free(out->vanished[i].uidl);
	free(out->vanished);
	out->vanished = NULL;
	out->n_vanished = 0;
}
