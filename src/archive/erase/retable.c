/* retable.c: tables line by line; those of messages that go are replaced. See
 * FORMAT. */
#include "retable.h"
#include "../form/csv.h"
#include "../form/hash.h"
#include "../form/mailbag.h"
#include "../form/tar.h"
#include "../form/tomb.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TAGMANIFEST_MAX = 64 * 1024 };

typedef enum status piece_take(void *ctx, const void *p, size_t n, struct err *err);

struct retable {
	const struct rewrite *w;
	const struct idx *x;
	struct tag_sums sums;
	uint64_t size[TAGS];
	struct buf tagmanifest;
};

/* ---- lines ---- */

/* A line of a table, which may have line ends in its fields. */
struct lines {
	enum tag tag;
	struct buf line;
	bool quoted, named; /* inside a field; behind the line of names */
	size_t row;
	enum status (*take)(void *ctx, size_t row, bool names, char *line, size_t n,
		struct err *err);
	void *ctx;
};

static bool has_names(enum tag tag)
{
	return tag == TAG_CSV || tag == TAG_MAILBAG || tag == TAG_TREE ||
		tag == TAG_LISTING;
}

static bool is_csv(enum tag tag)
{
	return tag == TAG_CSV || tag == TAG_MAILBAG;
}

static enum status one_line(struct lines *l, struct err *err)
{
	bool names = has_names(l->tag) && !l->named;
	enum status rc = l->take(
		l->ctx, names ? 0 : l->row, names, l->line.p, l->line.n, err);

	l->named = true;
	l->row += !names;
	buf_clear(&l->line);
	return rc;
}

static enum status feed(struct lines *l, const char *p, size_t n, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < n; i++) {
		if (!buf_addc(&l->line, p[i]))
			return err_set(err, ST_DENIED, EX_DATAERR,
				"%s has an endless line", tag_names[l->tag]);
		l->quoted ^= is_csv(l->tag) && p[i] == '"';
		if (p[i] == '\n' && !l->quoted)
			rc = one_line(l, err);
	}
	return rc;
}

static enum status by_line(const struct rewrite *w, struct lines *l, struct err *err)
{
	struct entries *s = NULL;
	struct unpacker *u = NULL;
	const char *p;
	size_t n;
	enum status rc;

	buf_init(&l->line, CSV_ROW_MAX);
	rc = segment_tag(&s, &u, w->from, w->policy->codec, w->segment, w->x,
		tag_names[l->tag], err);
	while (rc == ST_OK && (rc = entries_data(s, &p, &n, err)) == ST_OK && n)
		rc = feed(l, p, n, err);
	if (rc == ST_OK && l->line.n)
		rc = one_line(l, err);
	entries_close(&s);
	unpacker_close(&u);
	buf_free(&l->line);
	return rc;
}

struct plain {
	enum status (*take)(void *ctx, size_t row, char *line, size_t n);
	void *ctx;
};

static enum status plain_line(
	void *ctx, size_t row, bool names, char *line, size_t n, struct err *err)
{
	const struct plain *p = ctx;

	(void)err;
	return names ? ST_OK : p->take(p->ctx, row, line, n);
}

enum status retable_lines(const struct rewrite *w, enum tag tag,
	enum status (*take)(void *ctx, size_t row, char *line, size_t n), void *ctx,
	struct err *err)
{
	struct plain p = { take, ctx };
	struct lines l = { .tag = tag, .take = plain_line, .ctx = &p };

	return by_line(w, &l, err);
}

/* ---- what they become ---- */

struct making {
	const struct retable *t;
	enum tag tag;
	piece_take *take;
	void *ctx;
};

/* As the new line of messages.csv has it. */
static void replace_in_mailbag(struct buf *b, const struct retable *t,
	const struct idx_row *r, const struct going *g)
{
	struct buf row = BUF_INIT(CSV_ROW_MAX);

	tomb_csv_row(&row, r->seq, g->path, (size_t)r->size, r->sha, t->w->disposition);
	mailbag_line(b, row.p, row.n);
	buf_free(&row);
}

/* The line of the message of this row. */
static void replace(struct buf *b, const struct retable *t, enum tag tag,
	const struct idx_row *r, const struct going *g)
{
	char hex[2 * DIGEST + 1];

	if (tag == TAG_CSV)
		tomb_csv_row(
			b, r->seq, g->path, (size_t)r->size, r->sha, t->w->disposition);
	else if (tag == TAG_MAILBAG)
		replace_in_mailbag(b, t, r, g);
	else if (tag == TAG_TREE)
		tomb_leaf_line(b, r->seq, g->leaf);
	else
		buf_addf(b, "%s  %s\n", text_hex(hex, r->sha, DIGEST), g->path);
}

/* "number fate seq size uidl": of a message that goes only the first three stay. */
static bool blank_listing(struct buf *b, const struct rewrite *w, const char *line)
{
	const char *fate = strchr(line, '\t'),
		   *seq = fate ? strchr(fate + 1, '\t') : NULL,
		   *size = seq ? strchr(seq + 1, '\t') : NULL;

	if (!size || !rewrite_going(w, strtoull(seq + 1, NULL, 10)))
		return false;
	buf_add(b, line, (size_t)(size - line));
	buf_adds(b, "\t-\t\n");
	return true;
}

static void new_oxum(struct buf *b, const struct idx *x)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < x->n; i++)
		bytes += x->rows[i].size;
	buf_addf(b, "Payload-Oxum: %" PRIu64 ".%zu\n", bytes, x->n);
}

static enum status make_line(
	void *ctx, size_t row, bool names, char *line, size_t n, struct err *err)
{
	const struct making *m = ctx;
	const struct retable *t = m->t;
	struct buf b = BUF_INIT(CSV_ROW_MAX);
	bool by_row = is_csv(m->tag) || m->tag == TAG_TREE || m->tag == TAG_MANIFEST;
	const struct idx_row *r = by_row && !names && row < t->x->n ? &t->x->rows[row]
								    : NULL;
	const struct going *g = r ? rewrite_going(t->w, r->seq) : NULL;
	enum status rc;

	if (g)
		replace(&b, t, m->tag, r, g);
	else if (m->tag == TAG_INFO && text_starts(line, "Payload-Oxum: "))
		new_oxum(&b, t->x);
	else if (m->tag != TAG_LISTING || names || !blank_listing(&b, t->w, line))
		buf_add(&b, line, n);
	rc = m->take(m->ctx, b.p, b.n, err);
	buf_free(&b);
	return rc;
}

/* What tells of no message that is here. */
static enum status copy_tag(const struct rewrite *w, enum tag tag, piece_take *take,
	void *ctx, struct err *err)
{
	struct entries *s = NULL;
	struct unpacker *u = NULL;
	const char *p;
	size_t n;
	enum status rc = segment_tag(&s, &u, w->from, w->policy->codec, w->segment,
		w->x, tag_names[tag], err);

	while (rc == ST_OK && (rc = entries_data(s, &p, &n, err)) == ST_OK && n)
		rc = take(ctx, p, n, err);
	entries_close(&s);
	unpacker_close(&u);
	return rc;
}

enum status retable_write(
	struct retable *t, enum tag tag, piece_take *take, void *ctx, struct err *err)
{
	struct making m = { t, tag, take, ctx };
	struct lines l = { .tag = tag, .take = make_line, .ctx = &m };

	if (tag == TAG_TAGMANIFEST)
		return take(ctx, t->tagmanifest.p, t->tagmanifest.n, err);
	if (tag == TAG_ERRORS || tag == TAG_SERVER)
		return copy_tag(t->w, tag, take, ctx, err);
	return by_line(t->w, &l, err);
}

/* ---- measuring ---- */

/* Which of them there are. */
static enum status look(struct retable *t, struct err *err)
{
	const struct rewrite *w = t->w;
	size_t n = strlen(w->segment), i;
	struct entries *s = NULL;
	struct unpacker *u = NULL;
	struct entry e;
	enum status rc;

	unpacker_open(
		&u, w->policy->codec, w->from, w->x->tags_off, w->x->tags_len, false);
	rc = w->policy->codec == ARCHIVE_ZIP ? entries_open_zip(&s, w->from, err)
					     : entries_open(&s, u, err);
	while (rc == ST_OK && (rc = entries_next(s, &e, err)) == ST_OK)
		for (i = 0; i < TAGS && strlen(e.path) > n; i++)
			if (strcmp(e.path + n + 1, tag_names[i]) == 0)
				t->sums.has[i] = true;
	entries_close(&s);
	unpacker_close(&u);
	return rc == ST_END ? ST_OK : rc;
}

static enum status measure(struct retable *t, struct err *err)
{
	enum status rc = look(t, err);
	int tag;

	for (tag = 0; rc == ST_OK && tag < TAG_TAGMANIFEST; tag++) {
		struct measure m = { NULL, 0 };

		if (!t->sums.has[tag])
			continue;
		hash_begin(&m.hash);
		rc = retable_write(t, (enum tag)tag, measure_piece, &m, err);
		hash_end(&m.hash, t->sums.of[tag]);
		t->size[tag] = m.n;
	}
	tagmanifest_text(&t->tagmanifest, &t->sums);
	t->size[TAG_TAGMANIFEST] = t->tagmanifest.n;
	return rc;
}

enum status retable_open(struct retable **out, const struct rewrite *w,
	const struct idx *x, struct err *err)
{
	struct retable *t = xcalloc(1, sizeof(*t));
	enum status rc;

	t->w = w;
	t->x = x;
	buf_init(&t->tagmanifest, TAGMANIFEST_MAX);
	rc = measure(t, err);
	if (rc < 0)
		retable_close(&t);
	*out = t;
	return rc;
}

void retable_close(struct retable **tp)
{
	struct retable *t = *tp;

	if (!t)
		return;
	buf_free(&t->tagmanifest);
	free(t);
	*tp = NULL;
}

bool retable_has(const struct retable *t, enum tag tag)
{
	return t->sums.has[tag];
}

uint64_t retable_size(const struct retable *t, enum tag tag)
{
	return t->size[tag];
}
