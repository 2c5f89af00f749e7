/* keeping.c: may this message go? */
#include "keeping.h"
#include "../form/custody.h"
#include "../form/hash.h"
#include "../form/json.h"
#include "../read/reader.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEAL_MAX = 64 * 1024 };

/* ---- words ---- */

void rule_words(struct rule *r, const char *text)
{
	r->words = json_texts(text, "words", &r->words_n);
}

void words_json(struct buf *b, char *const *words, size_t n)
{
	size_t i;

	buf_addc(b, '[');
	for (i = 0; i < n; i++) {
		buf_adds(b, i ? "," : "");
		text_json(b, words[i], strlen(words[i]));
	}
	buf_addc(b, ']');
}

enum status words_check(
	const struct archive_words *w, char *const *words, size_t n, struct err *err)
{
	void *choice = NULL;
	enum status rc = ST_OK;

	if (n)
		rc = w->make(&choice, words, n, err);
	if (choice)
		w->free(choice);
	return rc;
}

/* ---- loading ---- */

static enum status load_kind(struct archive_keeping *k, int dir, const char *kind,
	enum status (*take)(struct archive_keeping *k, unsigned no, const char *text,
		struct err *err),
	struct err *err)
{
	unsigned n, no;
	enum status rc = record_count(&n, dir, kind, err);

	for (no = 1; rc == ST_OK && no <= n; no++) {
		char *text = NULL;
		size_t len;

		rc = record_load(&text, &len, dir, kind, no, err);
		if (rc == ST_OK)
			rc = take(k, no, text, err);
		free(text);
	}
	return rc;
}

enum status keeping_rules(
	struct archive_keeping *k, int dir, const struct vault *v, struct err *err)
{
	enum status rc;

	k->vault = v;
	rc = load_kind(k, dir, "hold", hold_take, err);
	if (rc == ST_OK && !vault_is_closed(v))
		rc = load_kind(k, dir, "retention", class_take, err);
	k->vault = NULL;
	return rc;
}

static enum status make_choice(
	const struct archive_words *w, struct rule *r, struct err *err)
{
	return r->words_n ? w->make(&r->choice, r->words, r->words_n, err) : ST_OK;
}

static int64_t time_of(const char *text, const char *path)
{
	char at[TOKEN_MAX];

	return json_get(at, text, path) ? date_parse(at, strlen(at)).utc : 0;
}

/* A message cannot have been retrieved before the segment before its own was sealed: so
 * a clock that was put back then does not make it older than it is. */
static void load_seals(struct archive_keeping *k, const struct archive_reader *r)
{
	unsigned last = r->sealed_n ? r->sealed[r->sealed_n - 1].no : 0, no;
	uint64_t events;

	k->sealed_by = xcalloc(last + 1u, sizeof(*k->sealed_by));
	k->sealed_n = last + 1u;
	for (no = 1; no <= last; no++) {
		char name[NAME_MAX_SEGMENT], file[FILE_NAME_MAX], path[FILE_NAME_MAX],
			*text = NULL;
		size_t n;

		k->sealed_by[no - 1] = k->newest;
		segment_name(name, &r->policy, no);
		file_name(file, name, ".seal.json");
		file_name(path, "seals/", file);
		if (fs_read(&text, &n, r->dir, path, SEAL_MAX, NULL) == ST_OK) {
			if (time_of(text, "sealed_at") > k->newest)
				k->newest = time_of(text, "sealed_at");
			if (json_number(&events, text, "custody.events") &&
				events > k->events)
				k->events = events;
		}
		free(text);
	}
	k->sealed_by[last] = k->newest;
}

/* The custody log, while it is read. */
struct history {
	struct archive_keeping *k;
	int dir;
	enum status rc;
	struct err *err;
};

/* A record that was taken away or changed must not set free what it kept. */
static void check_record(struct history *h, const char *line)
{
	static const char *const kinds[] = { "hold-", "retention-" };
	char object[TOKEN_MAX], file[FILE_NAME_MAX];
	unsigned char is[DIGEST], was[DIGEST];
	size_t i;

	if (!json_get(object, line, "object") ||
		!json_hex(was, DIGEST, line, "detail.sha256"))
		return;
	for (i = 0; i < N_ELEMENTS(kinds); i++)
		if (text_starts(object, kinds[i]))
			break;
	if (i == N_ELEMENTS(kinds) || strchr(object, '/') ||
		strlen(object) > FILE_NAME_MAX / 2)
		return;
	snprintf(file, sizeof(file), "policy/%.200s.json", object);
	if (hash_file(h->dir, file, is, NULL, NULL) != ST_OK ||
		memcmp(is, was, DIGEST) != 0)
		h->rc = err_set(h->err, ST_DENIED, EX_DATAERR,
			"%s is missing or was changed: log/custody.jsonl tells of another "
			"one; put it back from a copy of the archive",
			file);
}

static void take_event(void *ctx, const struct custody_head *at, const char *line)
{
	struct history *h = ctx;
	int64_t t = time_of(line, "t");
	char event[TOKEN_MAX];

	(void)at;
	if (t > h->k->newest)
		h->k->newest = t;
	if (h->rc == ST_OK && json_get(event, line, "event") &&
		(strcmp(event, "hold") == 0 || strcmp(event, "release") == 0 ||
			strcmp(event, "retention") == 0))
		check_record(h, line);
}

/* What is wrong with it is for verify to tell. */
static void pass_over(void *ctx, const char *what)
{
	(void)ctx;
	(void)what;
}

static enum status load_times(
	struct archive_keeping *k, const struct archive_reader *r, struct err *err)
{
	struct history h = { k, r->dir, ST_OK, err };
	struct custody_head head, last;
	enum status rc;

	load_seals(k, r);
	rc = custody_check(r->dir, &head, take_event, pass_over, &h, err);
	if (rc >= 0)
		rc = h.rc;
	if (rc == ST_OK)
		rc = custody_last(r->dir, &last, err);
	if (rc == ST_OK &&
		(head.events != last.events ||
			memcmp(head.sha, last.sha, DIGEST) != 0 ||
			head.events < k->events))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"log/custody.jsonl is missing or damaged, so nobody can tell what "
			"holds and classes there were: put it back from a copy of the archive");
	return rc;
}

enum status archive_keeping_load(struct archive_keeping **out, struct archive_reader *r,
	const struct archive_words *w, struct err *err)
{
	struct archive_keeping *k = xcalloc(1, sizeof(*k));
	enum status rc;
	size_t i;

	k->w = w;
	rc = keeping_rules(k, r->dir, &r->vault, err);
	for (i = 0; rc == ST_OK && i < k->holds_n; i++)
		rc = make_choice(w, &k->hold_rules[i], err);
	for (i = 0; rc == ST_OK && i < k->classes_n; i++)
		rc = make_choice(w, &k->class_rules[i], err);
	if (rc == ST_OK)
		rc = load_times(k, r, err);
	if (rc < 0)
		archive_keeping_free(&k);
	*out = k;
	return rc;
}

static void text_free(const char *s)
{
	free((char *)(uintptr_t)s);
}

static void rule_clear(const struct archive_keeping *k, struct rule *r)
{
	ranges_free(&r->seqs);
	json_texts_free(&r->words, r->words_n);
	if (r->choice)
		k->w->free(r->choice);
}

void keeping_clear(struct archive_keeping *k)
{
	size_t i;

	for (i = 0; i < k->holds_n; i++) {
		text_free(k->holds[i].matter);
		text_free(k->holds[i].placed_at);
		text_free(k->holds[i].seqs);
		text_free(k->holds[i].released_at);
		text_free(k->holds[i].reason);
		rule_clear(k, &k->hold_rules[i]);
	}
	for (i = 0; i < k->classes_n; i++) {
		text_free(k->classes[i].name);
		text_free(k->classes[i].authority);
		rule_clear(k, &k->class_rules[i]);
	}
	free(k->holds);
	free(k->hold_rules);
	free(k->classes);
	free(k->class_rules);
	free(k->sealed_by);
}

void archive_keeping_free(struct archive_keeping **k)
{
	if (!*k)
		return;
	keeping_clear(*k);
	free(*k);
	*k = NULL;
}

const struct archive_hold *archive_holds(const struct archive_keeping *k, size_t *n)
{
	*n = k->holds_n;
	return k->holds;
}

const struct archive_class *archive_classes(const struct archive_keeping *k, size_t *n)
{
	*n = k->classes_n;
	return k->classes;
}

int64_t archive_newest(const struct archive_keeping *k)
{
	return k->newest;
}

/* ---- judging ---- */

static bool chosen(const struct archive_keeping *k, const struct rule *r,
	const struct archive_row *row)
{
	return !r->choice || k->w->has(r->choice, row);
}

static bool holds(
	const struct archive_keeping *k, size_t i, const struct archive_row *row)
{
	const struct rule *r = &k->hold_rules[i];

	if (k->holds[i].released)
		return false;
	return ranges_have(&r->seqs, row->seq) ||
		(k->holds[i].future && row->seq > r->last && chosen(k, r, row));
}

/* When it came, by a clock that nobody can have put back further than this. */
static int64_t retrieved(const struct archive_keeping *k, const struct archive_row *row)
{
	int64_t at = date_parse(row->retrieved, strlen(row->retrieved)).utc;
	const char *dash = strrchr(row->segment, '-');
	unsigned long no = dash ? strtoul(dash + 1, NULL, 10) : 0;
	int64_t least = no && no <= k->sealed_n ? k->sealed_by[no - 1] : k->newest;

	return at < least ? least : at;
}

static int64_t years_on(int64_t t, unsigned years)
{
	time_t at = (time_t)t;
	struct tm tm;

	if (!gmtime_r(&at, &tm))
		return INT64_MAX;
	tm.tm_year += (int)years; /* 29 February: the day after the 28th */
	return (int64_t)timegm(&tm);
}

static int64_t ends(const struct archive_keeping *k, const struct archive_class *c,
	const struct archive_row *row)
{
	struct when date = date_parse(row->date, strlen(row->date));
	int64_t from = c->from_date && date.known ? date.utc : retrieved(k, row);

	if (c->until)
		return c->until;
	return c->days ? from + (int64_t)c->days * 86400 : years_on(from, c->years);
}

/* Of the classes that choose it, or else of the fallbacks, what keeps it longest. */
static void judge_classes(const struct archive_keeping *k,
	const struct archive_row *row, bool fallback, struct archive_verdict *v)
{
	size_t i;

	for (i = 0; i < k->classes_n; i++) {
		const struct archive_class *c = &k->classes[i];
		int64_t until;

		if (c->fallback != fallback || !chosen(k, &k->class_rules[i], row))
			continue;
		until = ends(k, c, row);
		if (v->rule && until <= v->until)
			continue;
		v->rule = c->name;
		v->until = until;
	}
}

void archive_judge(const struct archive_keeping *k, const struct archive_row *row,
	int64_t now, struct archive_verdict *v)
{
	size_t i;

	*v = (struct archive_verdict){ ARCHIVE_FREE, 0, NULL, 0 };
	judge_classes(k, row, false, v);
	if (!v->rule)
		judge_classes(k, row, true, v);
	if (v->rule)
		v->fate = v->until > now ? ARCHIVE_KEPT : ARCHIVE_DUE;
	if (!row->sealed)
		v->fate = ARCHIVE_OPEN;
	for (i = 0; i < k->holds_n; i++)
		if (holds(k, i, row)) {
			v->fate = ARCHIVE_HELD;
			v->hold = k->holds[i].no;
			v->rule = k->holds[i].matter;
			break;
		}
}
