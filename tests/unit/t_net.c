/* t_net.c: the connection: lines, deadlines, both ways at once. */
#include "net_kit.h"

#include "loop.h"

#include <popferry/buf.h>
#include <popferry/clock.h>

#include <pthread.h>
#include <sys/socket.h>

/* ---- lines ---- */

static void lines_at_every_cut(void **state)
{
	static const struct {
		const char *wire, *want; /* lines joined by '|' */
		size_t lines;
	} rows[] = {
		{ "S: +OK", "+OK", 1 },
		{ "S: one\nS: two\nS: three", "one|two|three", 3 },
		{ "S- bare\\nnext\\r\\n", "bare|next", 2 },
		{ "S- \\r\\n\\n\\r\\r\\n", "||\r", 3 },
		{ "S- a\\rb\\r\\n", "a\rb", 1 },
		{ "S: 0123456789abcdef", "0123456789abcdef", 1 },
	};
	struct script *s;
	struct conn *c;
	struct buf all = BUF_INIT(KIB);
	size_t i, step, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		for (step = 1; step <= 24; step++) {
			c = on_script(&s, rows[i].wire, step);
			buf_clear(&all);
			for (k = 0; k < rows[i].lines; k++) {
				buf_adds(&all, k ? "|" : "");
				buf_adds(&all, line_of(c, 16));
			}
			assert_string_equal(buf_str(&all), rows[i].want);
			finish(c, s);
		}
	buf_free(&all);
}

static void line_keeps_nul(void **state)
{
	struct script *s;
	struct conn *c = on_script(&s, "S: a\\x00b", 0);
	const char *p;
	size_t n;

	(void)state;
	assert_int_equal(conn_line(c, 100, &p, &n, NULL), ST_OK);
	assert_int_equal(n, 3);
	assert_memory_equal(p, "a\0b", 4);
	finish(c, s);
}

static void line_too_long(void **state)
{
	static const char *const wires[] = { "S: 12345\nS: ok", "S- 12345\\nok\\n",
		"S- 1234567890123456789012345678901234567890\\nok\\r\\n" };
	struct err err = ERR_INIT;
	const char *p;
	size_t i, n, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(wires); i++)
		for (step = 0; step < 12; step++) {
			struct script *s;
			struct conn *c = on_script(&s, wires[i], step);

			assert_int_equal(conn_line(c, 4, &p, &n, &err), ST_DENIED);
			assert_int_equal(err.exit, EX_PROTOCOL);
			assert_false(conn_dead(c));
			/* Nothing was taken; it can be had with a larger limit. */
			assert_memory_equal(line_of(c, 100), "12345", 5);
			assert_string_equal(line_of(c, 4), "ok");
			finish(c, s);
		}
}

static void end_of_stream(void **state)
{
	struct err err = ERR_INIT;
	struct script *s;
	struct conn *c = on_script(&s, "S: +OK\nS- half\nEOF", 3);
	const char *p;
	size_t n;

	(void)state;
	line_of(c, 10);
	assert_int_equal(conn_line(c, 10, &p, &n, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_non_null(strstr(err.text, "closed the connection"));
	assert_true(conn_dead(c));
	assert_memory_equal(conn_peek(c, &n), "half", 4);
	memset(&err, 0, sizeof(err));
	assert_int_equal(conn_send(c, "x", 1, &err), ST_RETRY);
	assert_non_null(strstr(err.text, "closed the connection"));
	finish(c, s);
}

static void silence(void **state)
{
	struct err err = ERR_INIT;
	struct script *s;
	struct conn *c = on_script(&s, "S: +OK", 0);
	const char *p;
	size_t n;

	(void)state;
	conn_patience(c, 50);
	line_of(c, 10);
	assert_int_equal(conn_line(c, 10, &p, &n, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_string_equal(err.text,
		"peer was silent for 0.05 s (--timeout sets how long is waited)");
	finish(c, s);
}

static void peek_and_take(void **state)
{
	struct script *s;
	struct conn *c = on_script(&s, "S- abcdef\nC: go\nS- ghi", 4);
	size_t n;

	(void)state;
	conn_peek(c, &n);
	assert_int_equal(n, 0);
	assert_int_equal(conn_fill(c, NULL), ST_OK);
	assert_memory_equal(conn_peek(c, &n), "abcd", 4);
	assert_int_equal(n, 4);
	assert_int_equal(conn_fill(c, NULL), ST_OK);
	conn_take(c, 1);
	assert_memory_equal(conn_peek(c, &n), "bcdef", 5);
	assert_int_equal(n, 5);
	assert_int_equal(conn_poll(c, NULL), ST_OK);
	conn_peek(c, &n);
	assert_int_equal(n, 5);
	assert_int_equal(conn_sendf(c, NULL, "%s\r\n", "go"), ST_OK);
	assert_int_equal(conn_unsent(c), 4);
	assert_int_equal(conn_poll(c, NULL), ST_OK);
	assert_int_equal(conn_unsent(c), 0);
	assert_memory_equal(conn_peek(c, &n), "bcdefghi", 8);
	conn_take(c, 100);
	conn_peek(c, &n);
	assert_int_equal(n, 0);
	assert_int_equal(conn_counts(c).in, 9);
	assert_int_equal(conn_counts(c).out, 4);
	finish(c, s);
}

/* conn_fill() sends what was gathered before it waits for the answer. */
static void fill_sends_first(void **state)
{
	size_t step;

	(void)state;
	for (step = 1; step < 30; step++) {
		struct script *s;
		struct conn *c = on_script(&s,
			"S: +OK hello\nSYNC\nC: CAPA\nC~ STAT\nS: +OK\nS: .\nS: +OK 0 0\nSYNC\n"
			"C: QUIT\nS: +OK\nEOF",
			step);

		assert_string_equal(line_of(c, 99), "+OK hello");
		assert_int_equal(conn_sendf(c, NULL, "CAPA\r\n"), ST_OK);
		assert_int_equal(conn_sendf(c, NULL, "STAT\r\n"), ST_OK);
		assert_string_equal(line_of(c, 99), "+OK");
		assert_string_equal(line_of(c, 99), ".");
		assert_string_equal(line_of(c, 99), "+OK 0 0");
		assert_int_equal(conn_sendf(c, NULL, "QUIT\r\n"), ST_OK);
		assert_string_equal(line_of(c, 99), "+OK");
		finish(c, s);
	}
}

static void budget(void **state)
{
	struct err err = ERR_INIT;
	struct script *s;
	struct conn *c = on_script(&s, "S- 0123456789", 0);
	size_t n;

	(void)state;
	conn_patience(c, 100);
	conn_budget(c, 6);
	assert_int_equal(conn_fill(c, &err), ST_OK);
	assert_memory_equal(conn_peek(c, &n), "012345", 6);
	assert_int_equal(n, 6);
	assert_int_equal(conn_poll(c, &err), ST_OK);
	conn_budget(c, 1);
	assert_int_equal(conn_fill(c, &err), ST_OK);
	assert_int_equal(conn_fill(c, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_PROTOCOL);
	finish(c, s);
}

/* ---- sockets ---- */

static struct net_config plain_config(unsigned port)
{
	return (struct net_config){ .host = "127.0.0.1",
		.port = port,
		.tls = TLS_NONE,
		.name = "source",
		.connect_ms = 5000 };
}

static struct conn *dial(struct loop *l)
{
	struct net_config cfg = plain_config(loop_port(l));
	struct err err = ERR_INIT;
	struct conn *c;

	if (conn_dial(&c, &cfg, &err) != ST_OK)
		fail_msg("%s", err.text);
	conn_patience(c, 5000);
	return c;
}

static void dial_fails(
	const char *host, unsigned port, enum status st, int ex, const char *words)
{
	struct net_config cfg = plain_config(port);
	struct err err = ERR_INIT;
	struct conn *c = NULL;

	cfg.host = host;
	assert_int_equal(conn_dial(&c, &cfg, &err), st);
	assert_null(c);
	assert_int_equal(err.exit, ex);
	if (!strstr(err.text, words))
		fail_msg("no \"%s\" in: %s", words, err.text);
}

static void dial_errors(void **state)
{
	char want[128];
	unsigned port = loop_closed_port();

	(void)state;
	snprintf(want, sizeof(want), "nothing listens on 127.0.0.1:%u", port);
	dial_fails("127.0.0.1", port, ST_RETRY, EX_UNAVAILABLE, want);
	/* Here ::1 or 127.0.0.1 may be first, or missing. */
	dial_fails("localhost", port, ST_RETRY, EX_UNAVAILABLE, "connection refused");
	dial_fails("no-such-host.invalid", port, ST_DENIED, EX_NOHOST,
		"unknown host no-such-host.invalid");
	dial_fails("", port, ST_DENIED, EX_NOHOST, "unknown host");
	dial_fails("bad\nhost.test", port, ST_DENIED, EX_NOHOST, "bad\\x0ahost.test");
}

static void serve_hello(int fd, void *ctx)
{
	char line[128];

	(void)ctx;
	loop_say(fd, "+OK hello\r\n");
	while (loop_hear(fd, line, sizeof(line)))
		loop_say(fd, line);
}

static void socket_dialogue(void **state)
{
	struct loop *l;
	struct conn *c;
	char want[64];

	(void)state;
	loop_open(&l, serve_hello, NULL);
	c = dial(l);
	snprintf(want, sizeof(want), "127.0.0.1:%u (127.0.0.1)", loop_port(l));
	assert_string_equal(conn_peer(c), want);
	assert_null(conn_tls(c));
	assert_string_equal(line_of(c, 99), "+OK hello");
	assert_int_equal(conn_sendf(c, NULL, "a\r\nb\r\n"), ST_OK);
	assert_string_equal(line_of(c, 99), "a");
	assert_string_equal(line_of(c, 99), "b");
	assert_int_equal(conn_counts(c).writes, 1);
	conn_close(&c);
	assert_null(c);
	conn_close(&c);
	loop_close(&l);
}

static void serve_bytes(int fd, void *ctx)
{
	char line[8];

	loop_say(fd, ctx);
	loop_hear(fd, line, sizeof(line));
}

static void tls_port_in_plain(void **state)
{
	static const char *const records[] = { "\x15\x03\x01\x02\x02\x28",
		"\x16\x03\x03\x02\x02" };
	struct err err;
	const char *p;
	size_t i, n;

	(void)state;
	for (i = 0; i < N_ELEMENTS(records); i++) {
		struct loop *l;
		struct conn *c;

		loop_open(&l, serve_bytes, (void *)records[i]);
		c = dial(l);
		assert_int_equal(conn_line(c, 99, &p, &n, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_UNAVAILABLE);
		assert_non_null(strstr(err.text, "speaks TLS from the first byte"));
		conn_close(&c);
		loop_close(&l);
	}
}

static void silent_server(void **state)
{
	struct err err;
	struct loop *l;
	struct conn *c;
	const char *p;
	size_t n;

	(void)state;
	loop_open(&l, serve_bytes, (void *)"");
	c = dial(l);
	conn_patience(c, 30);
	assert_int_equal(conn_line(c, 99, &p, &n, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_UNAVAILABLE);
	assert_non_null(strstr(err.text, "said nothing for 0.03 s"));
	assert_non_null(strstr(err.text, "implicit TLS"));
	conn_close(&c);
	loop_close(&l);
}

static void *cancel_soon(void *arg)
{
	clock_sleep(30);
	conn_cancel(arg);
	return NULL;
}

static void cancel_wakes(void **state)
{
	struct err err;
	struct loop *l;
	struct conn *c;
	const char *p;
	int64_t since;
	pthread_t t;
	size_t n;

	(void)state;
	loop_open(&l, serve_bytes, (void *)"");
	c = dial(l);
	since = clock_ms();
	assert_int_equal(pthread_create(&t, NULL, cancel_soon, c), 0);
	assert_int_equal(conn_line(c, 99, &p, &n, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_true(clock_ms() - since < 3000);
	pthread_join(t, NULL);
	conn_close(&c);
	loop_close(&l);
}

static void kill_is_silent(void **state)
{
	struct script *s;
	struct conn *c = on_script(&s, "S: +OK", 0);

	(void)state;
	line_of(c, 9);
	assert_int_equal(conn_sendf(c, NULL, "DELE 1\r\n"), ST_OK);
	conn_kill(c);
	assert_true(conn_dead(c));
	assert_int_equal(conn_sendf(c, NULL, "QUIT\r\n"), ST_RETRY);
	assert_int_equal(conn_flush(c, NULL), ST_RETRY);
	assert_int_equal(conn_fill(c, NULL), ST_RETRY);
	assert_int_equal(conn_poll(c, NULL), ST_RETRY);
	finish(c, s);
}

/* ---- both ways at once ---- */

struct flood {
	size_t send_first; /* before it reads anything */
	size_t expect;     /* then reads so many bytes */
	size_t read;
	bool never_reads;
	unsigned sum;
};

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

static void serve_flood(int fd, void *ctx)
{
	struct flood *f = ctx;
	unsigned char *p = xmalloc(64 * KIB);
	int small = 16 * KIB;
	size_t i, n;
	ssize_t k;

	/* The kernel must not swallow what we are slow to read. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (i = 0; i < f->send_first; i += n) {
		for (n = 0; n < 64 * KIB && i + n < f->send_first; n++)
			p[n] = byte_at(i + n);
		if (!loop_send(fd, p, n))
			break;
	}
	while (!f->never_reads && f->read < f->expect &&
		(k = recv(fd, p, 64 * KIB, 0)) > 0)
		for (i = 0; i < (size_t)k; i++)
			f->sum += p[i] != byte_at(f->read++);
	loop_say(fd, "end\r\n");
	if (f->never_reads)
		clock_sleep(300);
	free(p);
}

/* The peer says 700 KiB before it reads a byte of our 6 MiB. */
static void full_duplex(void **state)
{
	struct flood f = { .send_first = 700 * KIB, .expect = 6 * MIB };
	char *out = xmalloc(f.expect);
	struct err err = ERR_INIT;
	struct loop *l;
	struct conn *c;
	size_t i, n, k, got = 0;
	const char *p;

	(void)state;
	for (i = 0; i < f.expect; i++)
		out[i] = (char)byte_at(i);
	loop_open(&l, serve_flood, &f);
	c = dial(l);
	for (i = 0, k = 1; i < f.expect; i += n, k = k * 3 % 500009) {
		n = k < f.expect - i ? k : f.expect - i;
		if (conn_send(c, out + i, n, &err) != ST_OK)
			fail_msg("%s", err.text);
	}
	assert_int_equal(conn_flush(c, &err), ST_OK);
	while (got < f.send_first) {
		p = conn_peek(c, &n);
		if (!n)
			assert_int_equal(conn_fill(c, &err), ST_OK);
		n = n < f.send_first - got ? n : f.send_first - got;
		for (i = 0; i < n; i++)
			assert_int_equal((unsigned char)p[i], byte_at(got + i));
		conn_take(c, n);
		got += n;
	}
	assert_string_equal(line_of(c, 9), "end");
	assert_int_equal(conn_counts(c).out, f.expect);
	conn_close(&c);
	loop_close(&l);
	assert_int_equal(f.read, f.expect);
	assert_int_equal(f.sum, 0);
	free(out);
}

/* A peer that floods and never reads costs 1 MiB and our patience. */
static void flood_is_bounded(void **state)
{
	struct flood f = { .send_first = 64 * MIB, .never_reads = true };
	char *out = xcalloc(1, 16 * MIB);
	struct err err = ERR_INIT;
	struct loop *l;
	struct conn *c;
	size_t n;

	(void)state;
	loop_open(&l, serve_flood, &f);
	c = dial(l);
	conn_patience(c, 200);
	assert_int_equal(conn_send(c, out, 16 * MIB, &err), ST_RETRY);
	assert_non_null(strstr(err.text, "silent"));
	conn_peek(c, &n);
	assert_int_equal(n, MIB);
	conn_close(&c);
	loop_close(&l);
	free(out);
}

/* Protocol text and a literal leave together, uncopied; small ones are gathered. */
static void few_writes(void **state)
{
	struct flood f = { .expect = 1000 + 40 * KIB };
	char *out = xcalloc(1, 40 * KIB);
	struct loop *l;
	struct conn *c;
	size_t i;

	(void)state;
	loop_open(&l, serve_flood, &f);
	c = dial(l);
	for (i = 0; i < 100; i++)
		assert_int_equal(conn_sendf(c, NULL, "RETR %zu\r\n", i + 100), ST_OK);
	assert_int_equal(conn_counts(c).writes, 0);
	assert_int_equal(conn_unsent(c), 1000);
	assert_int_equal(conn_send(c, out, 40 * KIB, NULL), ST_OK);
	assert_int_equal(conn_flush(c, NULL), ST_OK);
	assert_int_equal(conn_counts(c).writes, 1);
	assert_string_equal(line_of(c, 9), "end");
	conn_close(&c);
	loop_close(&l);
	free(out);
}

/* A server that says why before it hangs up is quoted. */
static void serve_bye(int fd, void *ctx)
{
	(void)ctx;
	loop_say(fd, "* BYE too many \x1b[1mconnections\r\n");
}

static void last_words(void **state)
{
	struct err err = ERR_INIT;
	struct loop *l;
	struct conn *c;
	int i;

	(void)state;
	loop_open(&l, serve_bye, NULL);
	c = dial(l);
	for (i = 0; i < 200 && conn_fill(c, &err) == ST_OK; i++)
		;
	assert_int_equal(err.status, ST_RETRY);
	assert_string_equal(err.reply, "* BYE too many \\x1b[1mconnections");
	conn_close(&c);
	loop_close(&l);
}

/* Sending to a peer that is gone is an error, not a SIGPIPE. */
static void no_sigpipe(void **state)
{
	struct err err = ERR_INIT;
	char *big = xcalloc(1, 256 * KIB);
	struct loop *l;
	struct conn *c;
	int i;

	(void)state;
	loop_open(&l, serve_bye, NULL);
	c = dial(l);
	clock_sleep(50);
	for (i = 0; i < 100 && conn_send(c, big, 256 * KIB, &err) == ST_OK; i++)
		clock_sleep(1);
	assert_int_equal(err.status, ST_RETRY);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	conn_close(&c);
	loop_close(&l);
	free(big);
}

/* A transport that now and then has nothing and takes little. */
struct moody {
	struct script *s;
	struct transport t;
	unsigned reads, writes;
};

static long moody_read(void *ctx, char *p, size_t n)
{
	struct moody *m = ctx;

	return m->reads++ % 3 ? -1 : m->t.read(m->t.ctx, p, n);
}

static long moody_write(void *ctx, const char *p, size_t n)
{
	struct moody *m = ctx;

	return m->writes++ % 2 ? -1 : m->t.write(m->t.ctx, p, n > 7 ? 7 : n);
}

static bool moody_wait(void *ctx, bool write, int ms)
{
	(void)ctx;
	(void)write;
	return ms > 0;
}

static void moody_transport(void **state)
{
	struct moody m = { 0 };
	struct transport t = { &m, moody_read, moody_write, moody_wait, NULL };
	size_t n = 20 * KIB;
	char *text = xmalloc(n + 64), *out = xmalloc(n);
	struct conn *c;
	int at;

	(void)state;
	memset(out, 'x', n);
	at = snprintf(text, 64, "S: +OK\nC- abc");
	memcpy(text + at, out, n);
	snprintf(text + (size_t)at + n, 32, "\nS: done\nEOF");
	script_open(&m.s, text, 0);
	m.t = script_transport(m.s);
	conn_over(&c, &t, "peer", NULL);
	assert_string_equal(line_of(c, 9), "+OK");
	assert_int_equal(conn_send(c, "abc", 3, NULL), ST_OK);
	assert_int_equal(conn_send(c, out, n, NULL), ST_OK);
	assert_string_equal(line_of(c, 9), "done");
	finish(c, m.s);
	free(text);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_at_every_cut),
		cmocka_unit_test(line_keeps_nul),
		cmocka_unit_test(line_too_long),
		cmocka_unit_test(end_of_stream),
		cmocka_unit_test(silence),
		cmocka_unit_test(peek_and_take),
		cmocka_unit_test(fill_sends_first),
		cmocka_unit_test(budget),
		cmocka_unit_test(dial_errors),
		cmocka_unit_test(socket_dialogue),
		cmocka_unit_test(tls_port_in_plain),
		cmocka_unit_test(silent_server),
		cmocka_unit_test(cancel_wakes),
		cmocka_unit_test(kill_is_silent),
		cmocka_unit_test(full_duplex),
		cmocka_unit_test(flood_is_bounded),
		cmocka_unit_test(few_writes),
		cmocka_unit_test(last_words),
		cmocka_unit_test(no_sigpipe),
		cmocka_unit_test(moody_transport),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
