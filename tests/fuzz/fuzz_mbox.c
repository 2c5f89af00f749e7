/*
 * fuzz_mbox.c: an mbox file as a source: any bytes, and messages quoted as mboxrd.
 *
 * The first byte says which: as it is; or messages with an INPUT_MARK between, which
 * must come back as they were.
 */
#include "fuzz.h"

#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/source.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

enum { MESSAGES_MAX = 64, BYTES_MAX = 1 << 20 };

static const char from[] = "From ann@example.org Tue Nov 22 10:00:00 2016\n";

struct sizes {
	uint64_t size[MESSAGES_MAX];
	size_t n;
	uint64_t sum;
};

static void see(void *ctx, const struct item *it)
{
	struct sizes *s = ctx;

	must(it->number && it->occurrence && it->uidl && it->uidl_n == 32);
	if (s->n < MESSAGES_MAX)
		s->size[s->n] = it->size;
	s->n++;
	s->sum += it->size;
}

static void keep(void *ctx, const char *p, size_t n)
{
	must(buf_add(ctx, p, n));
}

/* One after the other into got; its bytes, or fewer where a '>' went. */
static void give(struct source *s, const struct sizes *seen, struct buf *got)
{
	struct err err = ERR_INIT;
	uint32_t i, number;
	size_t n;

	for (i = 0; i < seen->n && i < MESSAGES_MAX; i++) {
		s->ops->want(s, i + 1, seen->size[i]);
		n = got[i].n;
		must(s->ops->next(s, &number, keep, &got[i], &err) == ST_OK);
		must(number == i + 1 && got[i].n - n <= seen->size[i]);
		must(s->ops->origin(s) != NULL);
	}
	must(s->ops->next(s, &number, keep, NULL, &err) == ST_END);
}

static size_t read_box(const struct buf *box, struct buf *got)
{
	struct endpoint end = { 0 };
	struct source_setup setup = { .end = &end };
	const struct source_ops *ops = source_kind("mbox");
	char *url = xasprintf("mbox:%s/box", scratch());
	struct sizes seen = { { 0 }, 0, 0 };
	struct err err = ERR_INIT;
	struct source *s = NULL;
	struct listing l;
	enum status rc;

	scratch_put("box", buf_str(box), box->n);
	must(url_parse(&end, url, &err) == ST_OK);
	must(ops->open(&s, &setup, &err) == ST_OK);
	rc = ops->list(s, see, &seen, &l, &err);
	must(rc == ST_OK || rc == ST_DENIED);
	if (rc == ST_OK) {
		must(l.n == seen.n && seen.sum <= box->n);
		give(s, &seen, got);
	} else {
		must_tell(rc, &err);
	}
	ops->close(&s);
	endpoint_release(&end);
	free(url);
	return seen.n;
}

static bool is_quoted(const char *p, size_t n)
{
	while (n && *p == '>') {
		p++;
		n--;
	}
	return n >= 5 && memcmp(p, "From ", 5) == 0;
}

/* The message with a line end, as mboxrd has it. */
static void add_quoted(struct buf *box, const struct buf *m)
{
	size_t i = 0;

	buf_adds(box, from);
	while (i < m->n) {
		const char *p = m->p + i, *lf = memchr(p, '\n', m->n - i);
		size_t n = lf ? (size_t)(lf - p) + 1 : m->n - i;

		if (is_quoted(p, n))
			buf_addc(box, '>');
		buf_add(box, p, n);
		i += n;
	}
	buf_addc(box, '\n');
}

static bool has_length(const struct input *in)
{
	static const char word[] = "content-length";
	size_t i;

	for (i = 0; i + sizeof(word) - 1 <= in->n; i++)
		if (text_same_n(in->p + i, word, sizeof(word) - 1))
			return true;
	return false;
}

static void fill(struct buf v[MESSAGES_MAX])
{
	size_t i;

	for (i = 0; i < MESSAGES_MAX; i++)
		buf_init(&v[i], BYTES_MAX);
}

static void drop(struct buf v[MESSAGES_MAX])
{
	size_t i;

	for (i = 0; i < MESSAGES_MAX; i++)
		buf_free(&v[i]);
}

static void there_and_back(struct input *in)
{
	struct buf want[MESSAGES_MAX], got[MESSAGES_MAX], box = BUF_INIT(BYTES_MAX);
	size_t n = 0, i;

	fill(want);
	fill(got);
	do {
		struct input part = input_part(in);

		buf_add(&want[n], part.p, part.n);
		if (!part.n || part.p[part.n - 1] != '\n')
			buf_addc(&want[n], '\n');
		add_quoted(&box, &want[n]);
		n++;
	} while (in->n && n < MESSAGES_MAX);
	must(read_box(&box, got) == n);
	for (i = 0; i < n; i++)
		must(got[i].n == want[i].n &&
			memcmp(got[i].p, want[i].p, want[i].n) == 0);
	buf_free(&box);
	drop(want);
	drop(got);
}

static void as_it_is(const struct input *in)
{
	struct buf got[MESSAGES_MAX], box = BUF_INIT(BYTES_MAX);

	fill(got);
	buf_add(&box, in->p, in->n);
	read_box(&box, got);
	buf_free(&box);
	drop(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };

	if (size > BYTES_MAX / 4)
		return 0;
	if (input_byte(&in) & 1 && !has_length(&in))
		there_and_back(&in);
	else
		as_it_is(&in);
	return 0;
}
