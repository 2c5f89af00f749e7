/* extract.c: what of a message can be found: header, text of all parts, file names. */
#include "own.h"

#include <popferry/mime.h>

#include <stdlib.h>
#include <string.h>

enum { HEAD_MAX = 256 * 1024 };

struct level {
	struct extract *x;
	struct mime *mime;
	struct buf head; /* of this message */
	bool head_done;
	struct charset *charset; /* of the part under way */
	struct html *html;
	enum { NO_TEXT, TEXT, MESSAGE } kind;
};

struct extract {
	struct search_text *to;
	struct level level[SEARCH_INNER];
	unsigned depth; /* levels in use */
};

void search_text_init(struct search_text *t)
{
	memset(t, 0, sizeof(*t));
	buf_init(&t->from, SEARCH_FIELD_MAX);
	buf_init(&t->to, SEARCH_FIELD_MAX);
	buf_init(&t->cc, SEARCH_FIELD_MAX);
	buf_init(&t->bcc, SEARCH_FIELD_MAX);
	buf_init(&t->subject, SEARCH_FIELD_MAX);
	buf_init(&t->message_id, SEARCH_FIELD_MAX);
	buf_init(&t->body, SEARCH_BODY_MAX);
	buf_init(&t->files, SEARCH_FILES_MAX);
}

void search_text_release(struct search_text *t)
{
	buf_free(&t->from);
	buf_free(&t->to);
	buf_free(&t->cc);
	buf_free(&t->bcc);
	buf_free(&t->subject);
	buf_free(&t->message_id);
	buf_free(&t->body);
	buf_free(&t->files);
}

/* As much of it as fits. */
static void add(struct buf *b, const char *p, size_t n)
{
	if (n > b->max - b->n)
		n = b->max - b->n;
	buf_add(b, p, n);
}

/* ---- header ---- */

static struct buf *field_of(struct search_text *t, const char *name, size_t n)
{
	const struct {
		const char *name;
		struct buf *b;
	} wanted[] = { { "From", &t->from }, { "To", &t->to }, { "Cc", &t->cc },
		{ "Bcc", &t->bcc }, { "Subject", &t->subject },
		{ "Message-ID", &t->message_id } };
	size_t i;

	for (i = 0; i < N_ELEMENTS(wanted); i++)
		if (n == strlen(wanted[i].name) && text_same_n(name, wanted[i].name, n))
			return wanted[i].b;
	return NULL;
}

/* Fields that come twice are both looked at. */
static void take_field(
	void *ctx, const char *name, size_t name_n, const char *value, size_t n)
{
	struct level *l = ctx;
	struct search_text *t = l->x->to;
	struct buf *b = field_of(t, name, name_n), shown = BUF_INIT(SEARCH_FIELD_MAX);

	/* A line that is no field is text that stands in the wrong place. */
	if (name_n == 0)
		b = &t->body;
	if (!b || n == 0)
		return;
	if (n > SEARCH_FIELD_MAX / 4)
		n = SEARCH_FIELD_MAX / 4;
	if (!mime_decode(value, n, &shown)) {
		buf_clear(&shown);
		add(&shown, value, n);
	}
	/* Of a message in a message all is text. */
	if (l != l->x->level)
		b = &t->body;
	if (b->n)
		add(b, b == &t->body ? "\n" : ", ", b == &t->body ? 1 : 2);
	add(b, buf_str(&shown), shown.n);
	buf_free(&shown);
}

static void end_head(struct level *l)
{
	if (!l->head_done)
		mime_fields(buf_str(&l->head), l->head.n, take_field, l);
	l->head_done = true;
	buf_free(&l->head);
}

/* Up to the first blank line behind a field. */
static void take_head(struct level *l, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && !l->head_done; i++) {
		const char *h;
		size_t k;

		if (p[i] == '\r' && l->head.n == 0)
			continue;
		if (p[i] == '\n' && l->head.n == 0)
			continue;
		if (!buf_addc(&l->head, p[i])) {
			end_head(l);
			return;
		}
		h = l->head.p;
		k = l->head.n;
		if (p[i] == '\n' && k >= 2 &&
			(h[k - 2] == '\n' ||
				(k >= 3 && h[k - 2] == '\r' && h[k - 3] == '\n')))
			end_head(l);
	}
}

/* ---- parts ---- */

static void take_text(void *ctx, const char *p, size_t n)
{
	add(&((struct level *)ctx)->x->to->body, p, n);
}

static void take_marked(void *ctx, const char *p, size_t n)
{
	html_put(((struct level *)ctx)->html, p, n);
}

static void push(struct extract *x);
static void pop(struct level *l);

static void end_part(struct level *l)
{
	if (l->kind == MESSAGE)
		pop(l + 1);
	charset_end(&l->charset);
	html_end(&l->html);
	l->kind = NO_TEXT;
}

static void note_file(struct search_text *t, const struct mime_part *p)
{
	size_t n = strlen(p->name), i;

	t->attachments++;
	if (n == 0 || n + 1 > t->files.max - t->files.n)
		return;
	for (i = 0; i < n; i++)
		buf_addc(&t->files, p->name[i] == '\n' ? ' ' : p->name[i]);
	buf_addc(&t->files, '\n');
}

static void begin_part(void *ctx, const struct mime_part *p)
{
	struct level *l = ctx;
	struct extract *x = l->x;
	bool message = strcmp(p->type, "message/rfc822") == 0;
	bool html = strcmp(p->type, "text/html") == 0;

	end_part(l);
	if (p->multipart)
		return;
	if (p->attachment || p->name[0] || message)
		note_file(x->to, p);
	if (message && x->depth < SEARCH_INNER) {
		push(x);
		l->kind = MESSAGE;
	} else if (text_starts(p->type, "text/") || message) {
		add(&x->to->body, "\n", x->to->body.n ? 1 : 0);
		if (html)
			html_begin(&l->html, take_text, l);
		charset_begin(
			&l->charset, p->charset, html ? take_marked : take_text, l);
		l->kind = TEXT;
	}
}

static void level_put(struct level *l, const char *p, size_t n)
{
	take_head(l, p, n);
	mime_put(l->mime, p, n);
}

static void take_data(void *ctx, const struct mime_part *p, const char *d, size_t n)
{
	struct level *l = ctx;
	struct buf *body = &l->x->to->body;

	(void)p;
	if (l->kind == MESSAGE)
		level_put(l + 1, d, n);
	else if (l->kind == TEXT && body->n < body->max)
		charset_put(l->charset, d, n);
}

static void push(struct extract *x)
{
	static const struct mime_to to = { begin_part, take_data };
	struct level *l = &x->level[x->depth++];

	memset(l, 0, sizeof(*l));
	l->x = x;
	buf_init(&l->head, HEAD_MAX);
	mime_begin(&l->mime, &to, l);
}

/* First what it still holds goes to those inside of it. */
static void pop(struct level *l)
{
	mime_end(&l->mime);
	end_part(l);
	end_head(l);
	l->x->depth--;
}

void extract_begin(struct extract **out, struct search_text *to)
{
	struct extract *x = xcalloc(1, sizeof(*x));

	x->to = to;
	push(x);
	*out = x;
}

void extract_put(void *ctx, const char *p, size_t n)
{
	struct extract *x = ctx;

	level_put(&x->level[0], p, n);
}

void extract_end(struct extract **xp)
{
	if (!*xp)
		return;
	pop(&(*xp)->level[0]);
	free(*xp);
	*xp = NULL;
}
