/* hold.c: legal holds, placed and released by records that stay. */
#include "../form/custody.h"
#include "../form/json.h"
#include "../erase/disposition.h"
#include "keeping.h"
#include "../read/reader.h"
#include "../form/statement.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char kind[] = "hold", type[] = "mail-archive-hold/1";

/* ---- reading ---- */

static enum status damaged(unsigned no, struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"policy/hold-%06u.json is damaged: put it back from a copy of the archive",
		no);
}

static enum status take_release(struct archive_keeping *k, unsigned no,
	const char *text, const char *words, struct err *err)
{
	uint64_t of;
	size_t i;

	if (!json_number(&of, text, "hold"))
		return damaged(no, err);
	for (i = 0; i < k->holds_n && k->holds[i].no != of;)
		i++;
	if (i == k->holds_n || k->holds[i].released)
		return damaged(no, err);
	k->holds[i].released = no;
	k->holds[i].released_at = json_text(text, "at");
	k->holds[i].reason = words ? json_text(words, "reason") : NULL;
	return ST_OK;
}

/* words: the object that has them; NULL: nobody here can read them. */
static enum status take_hold(struct archive_keeping *k, unsigned no, const char *text,
	const char *words, struct err *err)
{
	char future[TOKEN_MAX];
	struct archive_hold *h;
	struct rule *r;

	k->holds = xreallocarray(k->holds, k->holds_n + 1, sizeof(*k->holds));
	k->hold_rules = xreallocarray(
		k->hold_rules, k->holds_n + 1, sizeof(*k->hold_rules));
	h = &k->holds[k->holds_n];
	r = &k->hold_rules[k->holds_n++];
	*h = (struct archive_hold){ .no = no,
		.matter = words ? json_text(words, "matter") : NULL,
		.placed_at = json_text(text, "at"),
		.seqs = json_text(text, "seqs"),
		.future = json_get(future, text, "future") &&
			strcmp(future, "true") == 0 };
	*r = (struct rule){ 0 };
	if (words)
		rule_words(r, words);
	h->words = r->words;
	h->words_n = r->words_n;
	if ((words && !h->matter) || !h->placed_at || !h->seqs ||
		!ranges_read(&r->seqs, h->seqs) || !json_number(&r->last, text, "last"))
		return damaged(no, err);
	return ST_OK;
}

enum status hold_take(
	struct archive_keeping *k, unsigned no, const char *text, struct err *err)
{
	char event[TOKEN_MAX], *words = NULL;
	bool release = json_get(event, text, "event") && strcmp(event, "release") == 0;
	enum status rc = secret_read(&words, text, k->vault, err);

	if (rc < 0)
		return err_note(err, "policy/hold-%06u.json", no);
	rc = (release ? take_release : take_hold)(k, no, text, words, err);
	free(words);
	return rc;
}

/* ---- writing ---- */

struct placing {
	const struct archive_words *w;
	void *choice;
	struct ranges seqs;
	uint64_t n, last;
};

static enum status place_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct placing *p = ctx;

	(void)err;
	p->last = row->seq;
	if (p->choice && !p->w->has(p->choice, row))
		return ST_OK;
	ranges_add(&p->seqs, row->seq);
	p->n++;
	return ST_OK;
}

/* Messages that are gone, by all records of disposals. */
struct gone {
	struct ranges *p;
	size_t n;
};

static void gone_add(struct gone *g, struct disposition *d)
{
	g->p = xreallocarray(g->p, g->n + 1, sizeof(*g->p));
	g->p[g->n++] = d->seqs;
}

static enum status gone_load(struct gone *g, int dir, struct err *err)
{
	struct disposition d;
	unsigned n = 0, no;
	enum status rc = record_count(&n, dir, "disposition", err);

	for (no = 1; rc == ST_OK && no <= n; no++) {
		rc = disposition_load(&d, dir, no, err);
		if (rc == ST_OK)
			gone_add(g, &d);
	}
	return rc;
}

static bool gone_has(const struct gone *g, uint64_t seq)
{
	size_t i;

	for (i = 0; i < g->n; i++)
		if (ranges_have(&g->p[i], seq))
			return true;
	return false;
}

static void gone_free(struct gone *g)
{
	while (g->n)
		ranges_free(&g->p[--g->n]);
	free(g->p);
}

static enum status place_sealed(struct placing *p, const struct archive_reader *r,
	unsigned no, const struct gone *g, struct err *err)
{
	struct archive_row row = { .segment = "" };
	struct statement s;
	enum status rc = statement_load(&s, r->dir, &r->policy, no, err);

	if (rc == ST_END)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"the seal of segment %u is missing: put seals/ back from a copy of "
			"the archive",
			no);
	for (row.seq = s.first; rc == ST_OK && row.seq <= s.last; row.seq++)
		if (!gone_has(g, row.seq))
			rc = place_row(p, &row, err);
	return rc;
}

/* Numbers can be chosen by who cannot read: the seals tell which there are. */
static enum status place_closed(
	struct placing *p, const struct archive_reader *r, struct err *err)
{
	struct gone g = { 0 };
	enum status rc = reader_whole(r, err);
	size_t i;

	if (rc == ST_OK)
		rc = gone_load(&g, r->dir, err);
	for (i = 0; rc == ST_OK && i < r->sealed_n; i++)
		rc = place_sealed(p, r, r->sealed[i].no, &g, err);
	gone_free(&g);
	return rc;
}

static enum status choose(
	struct placing *p, struct archive_reader *r, const char *path, struct err *err)
{
	if (!vault_is_closed(&r->vault))
		return archive_each(r, place_row, p, err);
	if (p->choice && !p->w->numbers(p->choice)) {
		vault_closed(&r->policy, err);
		return err_note(err, "archive %s", path);
	}
	return place_closed(p, r, err);
}

static enum status place(struct keeper *k, const struct archive_holding *h,
	const struct placing *p, unsigned *no, struct err *err)
{
	struct buf b = BUF_INIT(RECORD_MAX), text = BUF_INIT(SECRET_MAX);
	bool clear = k->policy.crypt == CRYPT_NONE;
	enum status rc;

	buf_adds(&text, "\"matter\":");
	text_json(&text, h->matter, strlen(h->matter));
	record_begin(&b, k, clock_utc());
	buf_addf(&b, ",\"event\":\"hold\",\"future\":%s,\"last\":%" PRIu64,
		h->future ? "true" : "false", p->last);
	if (clear)
		buf_addf(&b, ",%s", buf_str(&text));
	buf_adds(&text, ",\"words\":");
	words_json(&text, h->words, h->words_n);
	buf_adds(&b, ",\"operator\":");
	custody_operator(&b);
	rc = secret_add(&b, &k->vault, &text, err);
	buf_adds(&b, ",\"seqs\":\"");
	ranges_text(&b, &p->seqs);
	buf_addf(&b, "\",\"type\":\"%s\"", type);
	if (clear) {
		buf_adds(&b, ",\"words\":");
		words_json(&b, h->words, h->words_n);
	}
	buf_adds(&b, "}\n");
	if (rc == ST_OK)
		rc = record_add(k, kind, "hold", &b, no, err);
	buf_free(&b);
	buf_free(&text);
	return rc;
}

enum status archive_hold_place(const char *path, const struct archive_holding *h,
	struct archive_held *out, struct err *err)
{
	const struct archive_access access = { .identities = h->identities,
		.closed = true };
	struct placing p = { .w = h->w };
	struct archive_reader *r = NULL;
	struct keeper k;
	enum status rc = keeper_open(&k, path, h->identities, err);

	*out = (struct archive_held){ 0 };
	if (rc < 0)
		return rc;
	rc = keeper_writes(&k, path, err);
	if (rc == ST_OK && h->words_n)
		rc = h->w->make(&p.choice, h->words, h->words_n, err);
	if (rc == ST_OK)
		rc = archive_read_as(&r, path, &access, err);
	if (rc == ST_OK)
		rc = choose(&p, r, path, err);
	if (rc == ST_OK && p.n == 0 && !h->future)
		rc = err_set(err, ST_DENIED, EX_PARTIAL,
			"there is no such message: the hold was not placed (--future holds "
			"what comes)");
	if (rc == ST_OK)
		rc = place(&k, h, &p, &out->no, err);
	out->n = p.n;
	out->open_unknown = rc == ST_OK && r->closed;
	if (p.choice)
		h->w->free(p.choice);
	ranges_free(&p.seqs);
	archive_done(&r);
	keeper_close(&k);
	return rc;
}

static enum status release(
	struct keeper *k, unsigned hold, const char *reason, struct err *err)
{
	struct buf b = BUF_INIT(RECORD_MAX), text = BUF_INIT(SECRET_MAX);
	unsigned no;
	enum status rc;

	buf_adds(&text, "\"reason\":");
	text_json(&text, reason, strlen(reason));
	record_begin(&b, k, clock_utc());
	buf_addf(&b, ",\"event\":\"release\",\"hold\":%u,\"operator\":", hold);
	custody_operator(&b);
	rc = secret_add(&b, &k->vault, &text, err);
	if (k->policy.crypt == CRYPT_NONE)
		buf_addf(&b, ",%s", buf_str(&text));
	buf_addf(&b, ",\"type\":\"%s\"}\n", type);
	if (rc == ST_OK)
		rc = record_add(k, kind, "release", &b, &no, err);
	buf_free(&b);
	buf_free(&text);
	return rc;
}

enum status archive_hold_release(const char *path, unsigned hold, const char *reason,
	const struct identities *ids, struct err *err)
{
	struct archive_keeping rules = { 0 };
	struct keeper k;
	size_t i;
	enum status rc = keeper_open(&k, path, ids, err);

	if (rc < 0)
		return rc;
	rc = keeper_writes(&k, path, err);
	if (rc == ST_OK)
		rc = keeping_rules(&rules, k.dir, &k.vault, err);
	for (i = 0; rc == ST_OK && i < rules.holds_n && rules.holds[i].no != hold;)
		i++;
	if (rc == ST_OK && i == rules.holds_n)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"there is no hold %u: `popferry hold list` tells those that there are",
			hold);
	else if (rc == ST_OK && rules.holds[i].released)
		rc = err_set(err, ST_DENIED, EX_USAGE, "hold %u was released at %s",
			hold, rules.holds[i].released_at);
	if (rc == ST_OK)
		rc = release(&k, hold, reason, err);
	keeping_clear(&rules);
	keeper_close(&k);
	return rc;
}
