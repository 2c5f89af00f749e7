/* besides.c: what tables say of a message and its row in the archive does not. */
#include "own.h"

#include <popferry/mime.h>
#include <popferry/text.h>

#include <string.h>

enum { HEAD_MAX = 256 * 1024 };

static void part(void *ctx, const struct mime_part *p)
{
	struct besides *x = ctx;

	x->attachments += !p->multipart &&
		(p->attachment || p->name[0] || text_same(p->type, "message/rfc822"));
}

void besides_begin(struct besides *x)
{
	static const struct mime_to to = { .part = part };

	memset(x, 0, sizeof(*x));
	buf_init(&x->date, FACT_MAX);
	buf_init(&x->bcc, SHOWN_MAX);
	buf_init(&x->content_type, FACT_MAX);
	buf_init(&x->head, HEAD_MAX);
	mime_begin(&x->mime, &to, x);
}

/* The first of its name counts. What is too long is left out, as if it were not
 * there. */
static void field(
	void *ctx, const char *name, size_t name_n, const char *value, size_t n)
{
	struct besides *x = ctx;
	const struct {
		const char *name;
		struct buf *to;
	} all[] = { { "date", &x->date }, { "bcc", &x->bcc },
		{ "content-type", &x->content_type } };
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strlen(all[i].name) == name_n &&
			text_same_n(name, all[i].name, name_n) && !all[i].to->n)
			buf_add(all[i].to, value, n);
}

/* The header ends with the first blank line behind a field; line ends may be odd. */
static bool has_end(struct buf *head, size_t from)
{
	const char *p = buf_str(head);
	size_t start = 0, i;

	while (start < head->n && strchr("\r\n", p[start]))
		start++;
	for (i = from > start ? from : start + 1; i < head->n; i++) {
		bool blank = p[i] == '\n' &&
			(p[i - 1] == '\n' ||
				(p[i - 1] == '\r' && i > 1 && p[i - 2] == '\n'));

		if (!blank)
			continue;
		head->n = i + 1;
		return true;
	}
	return false;
}

static void take_head(struct besides *x)
{
	x->in_body = true;
	mime_fields(buf_str(&x->head), x->head.n, field, x);
	buf_free(&x->head);
}

void besides_put(void *besides, const char *p, size_t n)
{
	struct besides *x = besides;
	size_t before = x->head.n, room = HEAD_MAX - before;

	mime_put(x->mime, p, n);
	if (x->in_body)
		return;
	buf_add(&x->head, p, n < room ? n : room);
	if (has_end(&x->head, before) || x->head.n == HEAD_MAX)
		take_head(x);
}

void besides_end(struct besides *x)
{
	if (!x->in_body)
		take_head(x);
	mime_end(&x->mime);
}

void besides_release(struct besides *x)
{
	buf_free(&x->date);
	buf_free(&x->bcc);
	buf_free(&x->content_type);
	buf_free(&x->head);
}
