/* parted.c: the attachments of a message, counted and named. */
#include "parted.h"

#include <popferry/text.h>

#include <string.h>

static void part(void *ctx, const struct mime_part *p)
{
	struct csv_parted *found = ctx;

	if (p->multipart ||
		!(p->attachment || p->name[0] || text_same(p->type, "message/rfc822")))
		return;
	found->attachments++;
	if (!p->name[0])
		return;
	buf_adds(&found->names, found->names.n ? "; " : "");
	buf_adds(&found->names, p->name);
}

/* Whatever the case. */
static bool begins(const char *s, const char *with)
{
	return strlen(s) >= strlen(with) && text_same_n(s, with, strlen(with));
}

void parted_begin(struct parted *d, const struct facts *f)
{
	static const struct mime_to to = { .part = part };
	static const char multipart[] = "multipart/";
	const char *type = f->content_type ? f->content_type : "text/plain";

	d->found.attachments = 0;
	buf_init(&d->found.names, CSV_FIELD_MAX);
	d->mime = NULL;
	/* Most are plain text, which has none. Others that are one part say all of it
	 * in their header. */
	d->left = begins(type, multipart) ? f->size
		: !f->disposition && begins(type, "text/") && !strcasestr(type, "name")
		? 0
		: f->header_size;
	if (d->left)
		mime_begin(&d->mime, &to, &d->found);
}

void parted_put(struct parted *d, const char *p, size_t n)
{
	if (n > d->left)
		n = (size_t)d->left;
	d->left -= n;
	if (n)
		mime_put(d->mime, p, n);
}

void parted_end(struct parted *d)
{
	mime_end(&d->mime);
}

void parted_release(struct parted *d)
{
	buf_free(&d->found.names);
}
