/* decoder.c: quoted-printable and base64, forgiving. */
#include "own.h"

#include <popferry/text.h>

#include <string.h>

enum { OUT = 1024 };

struct out {
	mail_take *take;
	void *ctx;
	size_t n;
	char p[OUT];
};

static void out_flush(struct out *o)
{
	if (o->n)
		o->take(o->ctx, o->p, o->n);
	o->n = 0;
}

static void out_byte(struct out *o, char c)
{
	if (o->n == OUT)
		out_flush(o);
	o->p[o->n++] = c;
}

void decoder_init(struct decoder *d, enum encoding e)
{
	memset(d, 0, sizeof(*d));
	d->encoding = e;
}

/* Padding ends a group; several texts may stand one behind the other. */
static void put_64(struct decoder *d, char c, struct out *o)
{
	int v = text_sextet(c);

	if (c == '=')
		d->bits = d->n = 0;
	if (v < 0)
		return;
	d->bits = (d->bits << 6 | (unsigned)v) & 0xffff;
	d->n += 6;
	if (d->n < 8)
		return;
	d->n -= 8;
	out_byte(o, (char)(d->bits >> d->n));
}

static int value16(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void give_held(struct decoder *d, struct out *o)
{
	size_t i;

	for (i = 0; i < d->held_n; i++)
		out_byte(o, d->held[i]);
	d->held_n = 0;
}

/* "=" and a line end is nothing; "=41" is a byte; all else stands for itself. */
static void put_qp(struct decoder *d, char c, struct out *o)
{
	if (d->held_n == 0 && c != '=') {
		out_byte(o, c);
		return;
	}
	if (d->held_n && c == '=') {
		give_held(d, o);
	} else if (d->held_n && c == '\n') {
		if (d->held_n == 2 && d->held[1] != '\r')
			give_held(d, o), out_byte(o, c);
		d->held_n = 0;
		return;
	}
	d->held[d->held_n++] = c;
	if (d->held_n == 3) {
		int high = value16(d->held[1]), low = value16(d->held[2]);

		if (high < 0 || low < 0) {
			give_held(d, o);
			return;
		}
		d->held_n = 0;
		out_byte(o, (char)(high << 4 | low));
	}
}

void decoder_put(struct decoder *d, const char *p, size_t n, mail_take *take, void *ctx)
{
	struct out o = { .take = take, .ctx = ctx };
	size_t i;

	if (d->encoding == ENC_NONE) {
		if (n)
			take(ctx, p, n);
		return;
	}
	for (i = 0; i < n; i++)
		(d->encoding == ENC_QP ? put_qp : put_64)(d, p[i], &o);
	out_flush(&o);
}

void decoder_end(struct decoder *d, mail_take *take, void *ctx)
{
	struct out o = { .take = take, .ctx = ctx };

	if (d->encoding == ENC_QP)
		give_held(d, &o);
	out_flush(&o);
}
