/* t_deflate.c: a compressed connection, with a peer that keeps its word, or does
 * not. */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/net.h>
#include <popferry/text.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * 1024, PEER_MAX = 64 * MIB, WINDOW = -15 };

/* Says what it is told to, compressed or not, and reads what comes. */
struct peer {
	struct buf wire; /* to the client, from wire_at on */
	size_t wire_at;
	struct buf heard; /* from the client, inflated */
	struct buf raw;   /* before the compression began */
	z_stream in, out;
	bool zipped;
	size_t step;   /* bytes a read or a write moves at most; 0: all */
	unsigned sulk; /* so many writes in a row are "not now" */
	unsigned sulked;
};

static long peer_read(void *ctx, char *p, size_t n)
{
	struct peer *e = ctx;
	size_t left = e->wire.n - e->wire_at;

	if (!left)
		return -1;
	n = n < left ? n : left;
	n = e->step && e->step < n ? e->step : n;
	memcpy(p, e->wire.p + e->wire_at, n);
	e->wire_at += n;
	return (long)n;
}

static void inflated(struct peer *e, const char *p, size_t n)
{
	char out[4096];

	e->in.next_in = (Bytef *)p;
	e->in.avail_in = (uInt)n;
	do {
		e->in.next_out = (Bytef *)out;
		e->in.avail_out = sizeof(out);
		assert_in_range(
			inflate(&e->in, Z_SYNC_FLUSH) + 10, Z_BUF_ERROR + 10, 10);
		buf_add(&e->heard, out, sizeof(out) - e->in.avail_out);
	} while (e->in.avail_out == 0);
}

static long peer_write(void *ctx, const char *p, size_t n)
{
	struct peer *e = ctx;

	if (e->sulked < e->sulk) {
		e->sulked++;
		return -1;
	}
	e->sulked = 0;
	n = e->step && e->step < n ? e->step : n;
	if (e->zipped)
		inflated(e, p, n);
	else
		buf_add(&e->raw, p, n);
	return (long)n;
}

/* It may be that something can be written soon; nothing comes by itself. */
static bool peer_wait(void *ctx, bool write, int ms)
{
	(void)ctx;
	(void)ms;
	return write;
}

static struct conn *peer_open(struct peer *e, size_t step)
{
	struct transport t = { e, peer_read, peer_write, peer_wait, NULL };
	struct conn *c;

	memset(e, 0, sizeof(*e));
	buf_init(&e->wire, PEER_MAX);
	buf_init(&e->heard, PEER_MAX);
	buf_init(&e->raw, PEER_MAX);
	assert_int_equal(inflateInit2(&e->in, WINDOW), Z_OK);
	assert_int_equal(
		deflateInit2(&e->out, 6, Z_DEFLATED, WINDOW, 8, Z_DEFAULT_STRATEGY),
		Z_OK);
	e->step = step;
	conn_over(&c, &t, "peer", NULL);
	return c;
}

static void peer_close(struct peer *e, struct conn *c)
{
	conn_close(&c);
	inflateEnd(&e->in);
	deflateEnd(&e->out);
	buf_free(&e->wire);
	buf_free(&e->heard);
	buf_free(&e->raw);
}

static void say(struct peer *e, const char *p, size_t n)
{
	char out[4096];

	e->out.next_in = (Bytef *)p;
	e->out.avail_in = (uInt)n;
	do {
		e->out.next_out = (Bytef *)out;
		e->out.avail_out = sizeof(out);
		deflate(&e->out, Z_SYNC_FLUSH);
		buf_add(&e->wire, out, sizeof(out) - e->out.avail_out);
	} while (e->out.avail_out == 0);
}

static void begin(struct peer *e, struct conn *c)
{
	e->zipped = true;
	assert_int_equal(conn_deflate(c, NULL), ST_OK);
}

static void want_line(struct conn *c, const char *want)
{
	struct err err = ERR_INIT;
	const char *p;
	size_t n;

	if (conn_line(c, 1000, &p, &n, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_string_equal(p, want);
}

/* Clear first, then compressed, in steps of every size. */
static void dialogue(void **state)
{
	struct conn_counts k;
	struct peer e;
	struct conn *c;
	size_t step;

	(void)state;
	for (step = 0; step < 60; step++) {
		c = peer_open(&e, step);
		e.sulk = step % 3;
		conn_sendf(c, NULL, "1 COMPRESS DEFLATE\r\n");
		assert_int_equal(conn_flush(c, NULL), ST_OK);
		buf_adds(&e.wire, "1 OK from here on\r\n");
		/* Some speak at once, and what they say comes in the same read. */
		say(&e, "* 3 EXISTS\r\n", 12);
		want_line(c, "1 OK from here on");
		begin(&e, c);
		want_line(c, "* 3 EXISTS");
		conn_sendf(c, NULL, "2 NOOP\r\n");
		conn_sendf(c, NULL, "3 NOOP\r\n");
		assert_int_equal(conn_flush(c, NULL), ST_OK);
		assert_string_equal(buf_str(&e.heard), "2 NOOP\r\n3 NOOP\r\n");
		assert_int_equal(conn_unsent(c), 0);
		say(&e, "2 OK\r\n", 6);
		say(&e, "3 OK\r\n", 6);
		want_line(c, "2 OK");
		want_line(c, "3 OK");
		assert_string_equal(buf_str(&e.raw), "1 COMPRESS DEFLATE\r\n");
		k = conn_counts(c);
		assert_int_equal(k.in, 19 + 12 + 12);
		assert_int_equal(k.out, 20 + 16);
		assert_int_equal(k.wire_in, e.wire_at);
		peer_close(&e, c);
	}
}

/* What is waited for goes out first, though nobody asked for a flush. */
static void fill_sends(void **state)
{
	struct peer e;
	struct conn *c = peer_open(&e, 0);

	(void)state;
	begin(&e, c);
	conn_sendf(c, NULL, "1 NOOP\r\n");
	assert_int_equal(e.heard.n, 0);
	say(&e, "1 OK\r\n", 6);
	want_line(c, "1 OK");
	assert_string_equal(buf_str(&e.heard), "1 NOOP\r\n");
	peer_close(&e, c);
}

static void fill(char *p, size_t n, bool random)
{
	uint32_t x = 1;
	size_t i;

	for (i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = random ? (char)(x >> 24) : "abcdefg\n"[i % 8];
	}
}

/* Large and small pieces, that can be compressed and that cannot. */
static void much(void **state)
{
	static const size_t sizes[] = { 1, 100, 16 * KIB, 64 * KIB, MIB };
	static const size_t steps[] = { 0, 7, 4096 };
	char *text = xmalloc(MIB);
	size_t i, k, all;
	struct peer e;
	struct conn *c;
	unsigned r;

	(void)state;
	for (r = 0; r < 2; r++)
		for (k = 0; k < N_ELEMENTS(steps); k++) {
			fill(text, MIB, r);
			c = peer_open(&e, steps[k]);
			e.sulk = (unsigned)k;
			begin(&e, c);
			for (i = all = 0; i < N_ELEMENTS(sizes); i++) {
				assert_int_equal(
					conn_send(c, text, sizes[i], NULL), ST_OK);
				all += sizes[i];
			}
			assert_int_equal(conn_flush(c, NULL), ST_OK);
			assert_int_equal(e.heard.n, all);
			assert_memory_equal(e.heard.p + all - MIB, text, MIB);
			assert_int_equal(conn_counts(c).out, all);
			if (r)
				assert_true(conn_counts(c).wire_out > MIB);
			else
				assert_true(conn_counts(c).wire_out < all / 50);
			peer_close(&e, c);
		}
	free(text);
}

/* Received the same way, and what is not taken is not inflated either. */
static void bomb(void **state)
{
	enum { SIZE = 40 * MIB };
	char *zeros = xcalloc(1, SIZE);
	struct err err = ERR_INIT;
	size_t n, all = 0, most = 0;
	struct peer e;
	struct conn *c = peer_open(&e, 0);
	const char *p;

	(void)state;
	say(&e, zeros, SIZE);
	assert_true(e.wire.n < 64 * KIB);
	begin(&e, c);
	while (all < SIZE) {
		assert_int_equal(conn_fill(c, NULL), ST_OK);
		conn_peek(c, &n);
		most = n > most ? n : most;
		all += n;
		conn_take(c, n);
	}
	assert_int_equal(all, SIZE);
	assert_true(most <= MIB);
	/* As a line it is too long. */
	say(&e, zeros, SIZE);
	assert_int_equal(conn_line(c, 64 * KIB, &p, &n, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_PROTOCOL);
	peer_close(&e, c);

	/* As an answer it ends at the budget. */
	c = peer_open(&e, 0);
	say(&e, zeros, SIZE);
	begin(&e, c);
	conn_budget(c, MIB);
	while (conn_fill(c, &err) == ST_OK) {
		conn_peek(c, &n);
		conn_take(c, n);
	}
	assert_int_equal(err.exit, EX_PROTOCOL);
	assert_int_equal(conn_counts(c).in, MIB);
	peer_close(&e, c);
	free(zeros);
}

static void broken(void **state)
{
	static const struct {
		const char *name, *wire;
		size_t n;
	} rows[] = {
		{ "clear text", "2 OK done\r\n", 11 },
		{ "no block type", "\x07", 1 },
		{ "the end of the stream", "\x03\x00", 2 },
		{ "a distance too far", "\x02\x0c\x00", 3 },
	};
	struct err err;
	size_t i, n, step;
	struct peer e;
	struct conn *c;
	const char *p;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		for (step = 0; step < 4; step++) {
			c = peer_open(&e, step);
			begin(&e, c);
			buf_add(&e.wire, rows[i].wire, rows[i].n);
			err = (struct err)ERR_INIT;
			assert_int_equal(conn_line(c, 100, &p, &n, &err), ST_RETRY);
			if (!strstr(err.text, "compression") &&
				!strstr(err.text, "silent"))
				fail_msg("%s: %s", rows[i].name, err.text);
			if (i < 3)
				assert_int_equal(err.exit, EX_PROTOCOL);
			assert_true(conn_dead(c));
			peer_close(&e, c);
		}
}

static void once_only(void **state)
{
	struct err err = ERR_INIT;
	struct peer e;
	struct conn *c = peer_open(&e, 0);

	(void)state;
	begin(&e, c);
	assert_int_equal(conn_deflate(c, &err), ST_FATAL);
	conn_part(c, "9 LOGOUT\r\n");
	assert_string_equal(buf_str(&e.heard), "9 LOGOUT\r\n");
	assert_true(conn_dead(c));
	assert_int_equal(conn_deflate(c, &err), ST_RETRY);
	peer_close(&e, c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dialogue),
		cmocka_unit_test(fill_sends),
		cmocka_unit_test(much),
		cmocka_unit_test(bomb),
		cmocka_unit_test(broken),
		cmocka_unit_test(once_only),
	};

	return cmocka_run_group_tests_name("deflate", tests, NULL, NULL);
}
