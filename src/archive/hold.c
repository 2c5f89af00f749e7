/* hold.c: legal holds, placed and released by records that stay. */
#include "custody.h"
#include "json.h"
#include "keeping.h"

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

static enum status take_release(
	struct archive_keeping *k, unsigned no, const char *text, struct err *err)
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
	k->holds[i].released_at = record_text(text, "at");
	k->holds[i].reason = record_text(text, "reason");
	return ST_OK;
}

enum status hold_take(
	struct archive_keeping *k, unsigned no, const char *text, struct err *err)
{
	char event[TOKEN_MAX], future[TOKEN_MAX];
	struct archive_hold *h;
	struct rule *r;

	if (json_get(event, text, "event") && strcmp(event, "release") == 0)
		return take_release(k, no, text, err);
	k->holds = xreallocarray(k->holds, k->holds_n + 1, sizeof(*k->holds));
	k->hold_rules = xreallocarray(
		k->hold_rules, k->holds_n + 1, sizeof(*k->hold_rules));
	h = &k->holds[k->holds_n];
	r = &k->hold_rules[k->holds_n++];
	*h = (struct archive_hold){ .no = no,
		.matter = record_text(text, "matter"),
		.placed_at = record_text(text, "at"),
		.seqs = record_text(text, "seqs"),
		.future = json_get(future, text, "future") &&
			strcmp(future, "true") == 0 };
	*r = (struct rule){ 0 };
	rule_words(r, text);
	h->words = r->words;
	h->words_n = r->words_n;
	if (!h->matter || !h->placed_at || !h->seqs ||
		!ranges_read(&r->seqs, h->seqs) || !json_number(&r->last, text, "last"))
		return damaged(no, err);
	return ST_OK;
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

static enum status place(struct keeper *k, const char *matter, char *const *words,
	size_t words_n, bool future, const struct placing *p, unsigned *no,
	struct err *err)
{
	struct buf b = BUF_INIT(RECORD_MAX);
	enum status rc;

	record_begin(&b, k, clock_utc());
	buf_addf(&b,
		",\"event\":\"hold\",\"future\":%s,\"last\":%" PRIu64 ",\"matter\":",
		future ? "true" : "false", p->last);
	text_json(&b, matter, strlen(matter));
	buf_adds(&b, ",\"operator\":");
	custody_operator(&b);
	buf_adds(&b, ",\"seqs\":\"");
	ranges_text(&b, &p->seqs);
	buf_addf(&b, "\",\"type\":\"%s\",\"words\":", type);
	words_json(&b, words, words_n);
	buf_adds(&b, "}\n");
	rc = record_add(k, kind, "hold", &b, no, err);
	buf_free(&b);
	return rc;
}

enum status archive_hold_place(const char *path, const char *matter, char *const *words,
	size_t words_n, bool future, const struct archive_words *w, unsigned *no,
	uint64_t *n, struct err *err)
{
	struct placing p = { .w = w };
	struct archive_reader *r = NULL;
	struct keeper k;
	enum status rc = keeper_open(&k, path, err);

	if (rc < 0)
		return rc;
	if (words_n)
		rc = w->make(&p.choice, words, words_n, err);
	if (rc == ST_OK)
		rc = archive_read(&r, path, err);
	if (rc == ST_OK)
		rc = archive_each(r, place_row, &p, err);
	if (rc == ST_OK && p.n == 0 && !future)
		rc = err_set(err, ST_DENIED, EX_PARTIAL,
			"there is no such message: the hold was not placed (--future holds "
			"what comes)");
	if (rc == ST_OK)
		rc = place(&k, matter, words, words_n, future, &p, no, err);
	*n = p.n;
	if (p.choice)
		w->free(p.choice);
	ranges_free(&p.seqs);
	archive_done(&r);
	keeper_close(&k);
	return rc;
}

enum status archive_hold_release(
	const char *path, unsigned hold, const char *reason, struct err *err)
{
	struct buf b = BUF_INIT(RECORD_MAX);
	struct archive_keeping rules = { 0 };
	struct keeper k;
	unsigned no;
	size_t i;
	enum status rc = keeper_open(&k, path, err);

	if (rc < 0)
		return rc;
	rc = keeping_rules(&rules, k.dir, err);
	for (i = 0; rc == ST_OK && i < rules.holds_n && rules.holds[i].no != hold;)
		i++;
	if (rc == ST_OK && i == rules.holds_n)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"there is no hold %u: `popferry hold list` tells those that there are",
			hold);
	else if (rc == ST_OK && rules.holds[i].released)
		rc = err_set(err, ST_DENIED, EX_USAGE, "hold %u was released at %s",
			hold, rules.holds[i].released_at);
	if (rc == ST_OK) {
		record_begin(&b, &k, clock_utc());
		buf_addf(&b, ",\"event\":\"release\",\"hold\":%u,\"operator\":", hold);
		custody_operator(&b);
		buf_adds(&b, ",\"reason\":");
		text_json(&b, reason, strlen(reason));
		buf_addf(&b, ",\"type\":\"%s\"}\n", type);
		rc = record_add(&k, kind, "release", &b, &no, err);
	}
	buf_free(&b);
	keeping_clear(&rules);
	keeper_close(&k);
	return rc;
}
