/* told.c: what a run tells at a sealing, made into text and files. See FORMAT. */
#include "told.h"
#include "../form/custody.h"
#include "../form/hash.h"
#include "writer.h"

#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TEXT_MAX = 4 * 1024,
	SERVER_MAX = 1024 * 1024,
	SHEET_BYTES = 64 * 1024, /* written in one go */
	SHEET_MAX = SHEET_BYTES + CSV_ROW_MAX,
};

static const char *const error_columns[] = { "number", "uidl", "list_size",
	"message_id", "subject", "stage", "reason", "reply", "tries", "at" };

/* ---- a file in open/ ---- */

struct sheet {
	struct archive_writer *w;
	struct told *t;
	enum tag tag;
	struct open_file f;
	struct buf b, line;
	struct hash *hash;
	struct hash *listing; /* of what goes into uidl_sha256 */
	uint64_t n;
	struct err why; /* why no more is written */
};

void told_name(char out[FILE_NAME_MAX], const char *segment, enum tag tag)
{
	const char *name = strrchr(tag_names[tag], '/');

	snprintf(out, FILE_NAME_MAX, "%s.%s", segment, name + 1);
}

static enum status sheet_open(struct sheet *s, struct archive_writer *w, struct told *t,
	enum tag tag, struct err *err)
{
	char name[FILE_NAME_MAX];

	*s = (struct sheet){ .w = w, .t = t, .tag = tag, .why = ERR_INIT };
	buf_init(&s->b, SHEET_MAX);
	buf_init(&s->line, CSV_ROW_MAX);
	hash_begin(&s->hash);
	told_name(name, w->seg->name, tag);
	return writer_open_file(w, &s->f, name, O_WRONLY | O_CREAT | O_TRUNC, err);
}

static void sheet_flush(struct sheet *s)
{
	if (s->why.status == ST_OK)
		open_file_add(&s->f, s->b.p, s->b.n, &s->why);
	hash_put(s->hash, buf_str(&s->b), s->b.n);
	s->n += s->b.n;
	buf_clear(&s->b);
}

static void sheet_put(struct sheet *s, const void *p, size_t n)
{
	buf_add(&s->b, p, n);
	if (s->b.n >= SHEET_BYTES)
		sheet_flush(s);
}

/* Synced, and with its line for Z. */
static enum status sheet_close(struct sheet *s, enum status rc, struct err *err)
{
	unsigned char sha[DIGEST];
	char hex[2 * DIGEST + 1];

	sheet_flush(s);
	hash_end(&s->hash, sha);
	if (rc == ST_OK && s->why.status != ST_OK) {
		*err = s->why;
		rc = err_note(err, "%s", tag_names[s->tag]);
	}
	if (rc == ST_OK)
		rc = writer_sync_file(&s->f, tag_names[s->tag], err);
	buf_addf(&s->t->files, "%s %" PRIu64 " %s\n", tag_names[s->tag], s->n,
		text_hex(hex, sha, DIGEST));
	open_file_close(&s->f);
	buf_free(&s->b);
	buf_free(&s->line);
	return rc;
}

/* ---- the listing ---- */

static enum status put_item(void *to, const struct story_item *it, struct err *err)
{
	struct sheet *s = to;

	(void)err;
	buf_clear(&s->line);
	listing_line(&s->line, it);
	sheet_put(s, s->line.p, s->line.n);
	buf_clear(&s->line);
	listing_digest_line(&s->line, it);
	hash_put(s->listing, s->line.p, s->line.n);
	return ST_OK;
}

static void keep_digest(
	struct archive_writer *w, const struct run_story *story, struct hash **h)
{
	hash_end(h, w->listing_sha);
	w->listing_of = story->listings;
}

static enum status write_listing(struct archive_writer *w, struct told *t,
	const struct run_story *story, struct err *err)
{
	struct sheet s;
	enum status rc = sheet_open(&s, w, t, TAG_LISTING, err);

	hash_begin(&s.listing);
	sheet_put(&s, listing_head, strlen(listing_head));
	if (rc == ST_OK)
		rc = story->items(story->ctx, put_item, &s, err);
	keep_digest(w, story, &s.listing);
	return sheet_close(&s, rc, err);
}

struct digesting {
	struct hash *hash;
	struct buf line;
};

static enum status digest_item(void *to, const struct story_item *it, struct err *err)
{
	struct digesting *d = to;

	(void)err;
	buf_clear(&d->line);
	listing_digest_line(&d->line, it);
	hash_put(d->hash, d->line.p, d->line.n);
	return ST_OK;
}

/* The same listing has the same digest: it can be long. */
static enum status digest_listing(
	struct archive_writer *w, const struct run_story *story, struct err *err)
{
	struct digesting d;
	enum status rc;

	if (w->listing_of == story->listings)
		return ST_OK;
	hash_begin(&d.hash);
	buf_init(&d.line, LISTING_LINE_MAX);
	rc = story->items(story->ctx, digest_item, &d, err);
	keep_digest(w, story, &d.hash);
	buf_free(&d.line);
	return rc;
}

/* ---- the errors ---- */

static void put_failure(void *to, const struct story_failure *f)
{
	char number[24] = "", size[24] = "", tries[24], at[24];
	struct sheet *s = to;
	const char *const v[] = { number, f->uidl ? f->uidl : "", size, f->message_id,
		f->subject, f->stage, f->reason, f->reply, tries, at };
	const size_t n[N_ELEMENTS(v)] = { [1] = f->uidl_n };

	if (f->number)
		snprintf(number, sizeof(number), "%" PRIu32, f->number);
	if (f->size != UINT64_MAX)
		snprintf(size, sizeof(size), "%" PRIu64, f->size);
	snprintf(tries, sizeof(tries), "%u", f->tries);
	clock_rfc3339(at, f->at ? f->at : writer_now(s->w));
	buf_clear(&s->line);
	csv_line(&s->line, v, n, N_ELEMENTS(v));
	sheet_put(s, s->line.p, s->line.n);
}

static enum status write_errors(struct archive_writer *w, struct told *t,
	const struct run_story *story, struct err *err)
{
	struct sheet s;
	enum status rc = sheet_open(&s, w, t, TAG_ERRORS, err);

	csv_line(&s.line, error_columns, NULL, N_ELEMENTS(error_columns));
	sheet_put(&s, s.line.p, s.line.n);
	if (rc == ST_OK)
		rc = story->failures(story->ctx, put_failure, &s, err);
	return sheet_close(&s, rc, err);
}

/* ---- the numbers, and what the server said ---- */

static void add_number(struct buf *b, const char *name, uint64_t n)
{
	if (n == UINT64_MAX)
		buf_addf(b, "\"%s\":null,", name);
	else
		buf_addf(b, "\"%s\":%" PRIu64 ",", name, n);
}

static void add_reconcile(
	struct buf *b, const struct archive_writer *w, const struct run_story *story)
{
	bool told = story->listings > 0;
	char hex[2 * DIGEST + 1];
	const struct {
		const char *name;
		uint64_t n;
	} rows[] = {
		{ "duplicate", story->count[FATE_DUPLICATE] },
		{ "failed", story->count[FATE_FAILED] },
		{ "filtered", story->count[FATE_FILTERED] },
		{ "known", story->count[FATE_KNOWN] },
		{ "left", story->count[FATE_LEFT] },
		{ "listed", listing_total(story->count) },
		{ "octets", story->octets },
		{ "renamed", story->count[FATE_RENAMED] },
		{ "stat_count", story->stat_count },
		{ "stat_octets", story->stat_octets },
		{ "stored", story->count[FATE_STORED] },
	};
	size_t i;

	buf_addc(b, '{');
	for (i = 0; i < N_ELEMENTS(rows); i++)
		add_number(b, rows[i].name, told ? rows[i].n : UINT64_MAX);
	if (told)
		buf_addf(b, "\"uidl_sha256\":\"%s\",",
			text_hex(hex, w->listing_sha, DIGEST));
	else
		buf_adds(b, "\"uidl_sha256\":null,");
	add_number(b, "vanished", told ? story->count[FATE_VANISHED] : UINT64_MAX);
	b->p[b->n - 1] = '}';
}

static enum status write_server(struct archive_writer *w, struct told *t,
	const struct run_story *story, struct err *err)
{
	struct buf b = BUF_INIT(SERVER_MAX);
	char at[24];
	struct sheet s;
	enum status rc = sheet_open(&s, w, t, TAG_SERVER, err);

	buf_adds(&b, "{\"account\":");
	text_json(&b, story->account, strlen(story->account));
	buf_addf(&b, ",\"reconcile\":%s,\"server\":%s,\"sessions\":%u",
		buf_str(&t->reconcile), story->server ? story->server : "null",
		story->listings);
	buf_addf(&b, ",\"told_at\":\"%s\",\"type\":\"mail-archive-server/1\"}\n",
		clock_rfc3339(at, writer_now(w)));
	sheet_put(&s, buf_str(&b), b.n);
	buf_free(&b);
	return sheet_close(&s, rc, err);
}

/* ---- all of it ---- */

enum status told_make(
	struct told *t, struct archive_writer *w, bool last, struct err *err)
{
	struct run_story story = { 0 };
	bool files = w->seg != NULL;
	enum status rc = ST_OK;

	buf_init(&t->reconcile, TEXT_MAX);
	buf_init(&t->files, TEXT_MAX);
	t->account = NULL;
	if (w->story)
		w->story(w->story_ctx, &story);
	if (story.listings)
		t->account = xstrdup(story.account);
	if (t->account && files && last)
		rc = write_listing(w, t, &story, err);
	else if (t->account)
		rc = digest_listing(w, &story, err);
	add_reconcile(&t->reconcile, w, &story);
	if (!t->account || !files)
		return rc;
	if (rc == ST_OK && last)
		rc = write_errors(w, t, &story, err);
	if (rc == ST_OK)
		rc = write_server(w, t, &story, err);
	if (rc == ST_OK)
		rc = fs_sync_dir(w->opendir, err);
	fault_step("archive-told");
	return rc;
}

void told_free(struct told *t)
{
	buf_free(&t->reconcile);
	buf_free(&t->files);
	free(t->account);
}

bool told_find(const char *z, enum tag tag, struct told_file *out)
{
	size_t n = strlen(tag_names[tag]);
	char hex[2 * DIGEST + 1];
	const char *line = z;

	for (; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, tag_names[tag], n) == 0 &&
			sscanf(line + n, " %" SCNu64 " %64[0-9a-f]", &out->n, hex) == 2)
			return text_unhex(out->sha, DIGEST, hex);
	}
	return false;
}
