/* t_net.c: the connection: buffers, deadlines, trace, libetpan's view. */
#include "loop.h"
#include "script.h"

#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/net.h>
#include <popferry/text.h>

#include <libetpan/libetpan.h>

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static const char *line_of(struct conn *c, size_t max)
{
	struct err err = ERR_INIT;
	const char *p;
	size_t n;

	if (conn_line(c, max, &p, &n, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_int_equal(p[n], 0);
	return p;
}

static void done(const struct script *s)
{
	char why[SCRIPT_WHY];

	if (!script_done(s, why))
		fail_msg("%s", why);
}

static struct conn *on_script(struct script **s, const char *text, size_t step)
{
	struct transport t;
	struct conn *c;

	script_open(s, text, step);
	t = script_transport(*s);
	conn_over(&c, &t, "peer", NULL);
	return c;
}

static void finish(struct conn *c, struct script *s)
{
	done(s);
	conn_close(&c);
	script_close(&s);
}

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

/* ---- trace ---- */

static char dir[48], trace_path[64];

static char *trace_text(void)
{
	struct err err;
	size_t n;
	char *p;

	assert_int_equal(fs_read(&p, &n, AT_FDCWD, trace_path, MIB, &err), ST_OK);
	return p;
}

static struct conn *on_traced_script(
	struct script **s, struct trace **t, const char *text, size_t step)
{
	struct err err = ERR_INIT;
	struct transport tr;
	struct conn *c;

	unlink(trace_path);
	assert_int_equal(trace_open(t, trace_path, &err), ST_OK);
	script_open(s, text, step);
	tr = script_transport(*s);
	conn_over(&c, &tr, "dest", *t);
	return c;
}

/* The lines of the trace without their time, joined by '|'. */
static char *trace_lines(void)
{
	char *all = trace_text(), *out = all, *p = all, *lf;

	while ((lf = strchr(p, '\n'))) {
		assert_true(lf - p > 25 && p[23] == 'Z');
		p += 25;
		memmove(out, p, (size_t)(lf - p));
		out += lf - p;
		*out++ = '|';
		p = lf + 1;
	}
	*out = '\0';
	return all;
}

static void trace_shows(void **state)
{
	struct script *s;
	struct trace *t;
	struct conn *c = on_traced_script(&s, &t,
		"S: +OK hi \\x1b[2J\nC: USER a\nS: +OK\nC: PASS hunter2\nS: +OK in\n"
		"C: RETR 1\nS: +OK 12\nS: Secret mail\nS: .\nC: QUIT\nS: -ERR no\nEOF",
		1);
	char *all;
	int i;

	(void)state;
	line_of(c, 99);
	conn_sendf(c, NULL, "USER a\r\n");
	/* Gathered with what is around it, in the middle of a line. */
	conn_sendf(c, NULL, "PASS ");
	conn_secret(c, true);
	conn_sendf(c, NULL, "hun");
	conn_sendf(c, NULL, "ter2");
	conn_secret(c, false);
	conn_sendf(c, NULL, "\r\n");
	conn_sendf(c, NULL, "RETR 1\r\n");
	for (i = 0; i < 3; i++)
		line_of(c, 99);
	conn_quiet(c, true);
	line_of(c, 99);
	conn_fill(c, NULL);
	line_of(c, 99);
	conn_quiet(c, false);
	conn_sendf(c, NULL, "QUIT\r\n");
	line_of(c, 99);
	finish(c, s);
	trace_close(&t);
	all = trace_lines();
	assert_string_equal(all,
		"dest S: +OK hi \\x1b[2J|dest C: USER a|dest C: PASS <secret>|"
		"dest C: RETR 1|dest S: +OK|dest S: +OK in|dest S: +OK 12|"
		"dest S: <16 bytes of message text>|dest C: QUIT|dest S: -ERR no|");
	free(all);
}

static void trace_hides(void **state)
{
	struct script *s;
	struct trace *t;
	struct conn *c = on_traced_script(&s, &t,
		"C- A LOGIN {2}\\r\\nzz {7}\\r\\nhun\\nter2\\r\\nAHVzZXIA\\r\\n\n"
		"S: -ERR what is hunter2?\nS: + Y2hhbGxlbmdl\nS: hunter2\nEOF",
		0);
	char *all;

	(void)state;
	conn_sendf(c, NULL, "A LOGIN {2}\r\n");
	conn_secret(c, true);
	conn_sendf(c, NULL, "zz");
	conn_sendf(c, NULL, " {7}\r\nhun\nter2\r\n");
	conn_sendf(c, NULL, "AHVzZXIA\r\n");
	conn_quiet(c, true);
	line_of(c, 99);
	conn_quiet(c, false);
	line_of(c, 99);
	line_of(c, 99);
	conn_sendf(c, NULL, "%s", "");
	finish(c, s);
	trace_close(&t);
	all = trace_lines();
	assert_string_equal(all,
		"dest C: A LOGIN {2}|dest C: <secret>|dest C: <secret>|"
		"dest S: -ERR <secret>|dest S: + <secret>|dest S: <secret>|");
	free(all);
}

static void trace_is_bounded(void **state)
{
	struct script *s;
	struct trace *t;
	size_t n = 100 * KIB;
	char *text = xmalloc(n + 32), *all, *p, *lf;
	struct conn *c;

	(void)state;
	memcpy(text, "S: ", 3);
	memset(text + 3, '\x07', n);
	memcpy(text + 3 + n, "\nEOF", 5);
	c = on_traced_script(&s, &t, text, 0);
	line_of(c, n);
	finish(c, s);
	trace_close(&t);
	all = trace_text();
	for (p = all; (lf = strchr(p, '\n')); p = lf + 1)
		assert_true(lf - p < 600);
	assert_non_null(strstr(all, "...\n"));
	free(all);
	free(text);
}

static void trace_cannot_open(void **state)
{
	struct err err = ERR_INIT;
	struct trace *t = NULL;

	(void)state;
	assert_int_equal(trace_open(&t, "/nonexistent/trace", &err), ST_FATAL);
	assert_int_equal(err.exit, EX_CANTCREAT);
	assert_null(t);
	trace_close(&t);
}

/* ---- libetpan ---- */

static const char pop3_text[] =
	"S: +OK hello <1.2@x>\nC: CAPA\nS: +OK\nS: TOP\nS: UIDL\nS: .\n"
	"C: USER a\nS: +OK\nC: PASS hunter2\nS: +OK in\n"
	"C: STAT\nS: +OK 1 2\nC: RETR 1\nS: +OK\nS: body\nS: .\nEOF";

/* What we pipeline behind libetpan's command is ours to read, in any cutting. */
static void etpan_pop3(void **state)
{
	size_t step;

	(void)state;
	for (step = 1; step < 90; step++) {
		struct script *s;
		struct trace *t;
		struct conn *c = on_traced_script(&s, &t, pop3_text, step);
		mailpop3 *p = mailpop3_new(0, NULL);
		clist *capa = NULL;
		struct err err = ERR_INIT;
		char *all;
		size_t n;

		conn_guard(c, true);
		assert_int_equal(
			mailpop3_connect(p, conn_stream(c)), MAILPOP3_NO_ERROR);
		assert_ptr_equal(p->pop3_stream, conn_stream(c));
		assert_int_equal(mailpop3_capa(p, &capa), MAILPOP3_NO_ERROR);
		assert_int_equal(clist_count(capa), 2);
		mailpop3_capa_resp_free(capa);
		assert_int_equal(mailpop3_user(p, "a"), MAILPOP3_NO_ERROR);
		assert_int_equal(p->pop3_stream->read_buffer_len, 0);
		/* The server answers all three at once; libetpan takes the first. */
		conn_secret(c, true);
		conn_sendf(c, NULL, "PASS hunter2\r\n");
		conn_secret(c, false);
		conn_sendf(c, NULL, "STAT\r\nRETR 1\r\n");
		assert_int_equal(conn_flush(c, NULL), ST_OK);
		assert_non_null(
			mailstream_read_line(p->pop3_stream, p->pop3_stream_buffer));
		assert_string_equal(p->pop3_stream_buffer->str, "+OK in\r\n");
		assert_int_equal(p->pop3_stream->read_buffer_len, 0);
		assert_string_equal(line_of(c, 99), "+OK 1 2");
		assert_string_equal(line_of(c, 99), "+OK");
		assert_string_equal(line_of(c, 99), "body");
		assert_string_equal(line_of(c, 99), ".");
		conn_peek(c, &n);
		assert_int_equal(n, 0);
		assert_int_equal(conn_last(c, &err), ST_OK);
		/* QUIT is not sent: it would commit. */
		conn_kill(c);
		mailpop3_free(p);
		finish(c, s);
		trace_close(&t);
		all = trace_text();
		assert_null(strstr(all, "hunter2"));
		free(all);
	}
}

/* libetpan's own PASS is hidden even without conn_secret(). */
static void etpan_hides_pass(void **state)
{
	struct script *s;
	struct trace *t;
	struct conn *c = on_traced_script(&s, &t, pop3_text, 0);
	mailpop3 *p = mailpop3_new(0, NULL);
	clist *capa = NULL;
	char *all;

	(void)state;
	assert_int_equal(mailpop3_connect(p, conn_stream(c)), MAILPOP3_NO_ERROR);
	assert_int_equal(mailpop3_capa(p, &capa), MAILPOP3_NO_ERROR);
	mailpop3_capa_resp_free(capa);
	assert_int_equal(mailpop3_user(p, "a"), MAILPOP3_NO_ERROR);
	assert_int_equal(mailpop3_pass(p, "hunter2"), MAILPOP3_NO_ERROR);
	conn_kill(c);
	mailpop3_free(p);
	conn_close(&c);
	script_close(&s);
	trace_close(&t);
	all = trace_text();
	assert_non_null(strstr(all, "C: CAPA"));
	assert_non_null(strstr(all, "C: <secret>"));
	assert_null(strstr(all, "hunter2"));
	free(all);
}

/* A literal with and without line ends, read by libetpan, leaves nothing behind. */
static void etpan_imap_literal(void **state)
{
	static const char text[] =
		"S: * PREAUTH hi\nC~ 1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: 1 OK done\n"
		"C~ 2 LIST\nS: * LIST () \"/\" {5}\nS: ab cd\n"
		"S: * LIST () \"/\" {6}\nS: a\\r\\nb\\nc\nS: 2 OK done\nS: * 7 EXISTS\nEOF";
	size_t step;

	(void)state;
	for (step = 1; step < 160; step++) {
		struct script *s;
		struct conn *c = on_script(&s, text, step);
		mailimap *i = mailimap_new(0, NULL);
		struct mailimap_capability_data *caps;
		struct mailimap_mailbox_list *box;
		clist *list = NULL;

		conn_guard(c, true);
		assert_int_equal(mailimap_connect(i, conn_stream(c)),
			MAILIMAP_NO_ERROR_AUTHENTICATED);
		assert_int_equal(mailimap_capability(i, &caps), MAILIMAP_NO_ERROR);
		mailimap_capability_data_free(caps);
		assert_int_equal(mailimap_list(i, "", "*", &list), MAILIMAP_NO_ERROR);
		assert_int_equal(clist_count(list), 2);
		box = clist_content(clist_begin(list));
		assert_string_equal(box->mb_name, "ab cd");
		mailimap_list_result_free(list);
		assert_int_equal(i->imap_stream->read_buffer_len, 0);
		assert_string_equal(line_of(c, 99), "* 7 EXISTS");
		conn_kill(c);
		mailimap_free(i);
		finish(c, s);
	}
}

/* The server hangs up in a line: an error, not an endless loop. */
static void etpan_eof(void **state)
{
	struct script *s;
	struct conn *c = on_script(&s, "S: +OK\nC: CAPA\nS: +OK\nS- TO\nEOF", 0);
	mailpop3 *p = mailpop3_new(0, NULL);
	struct err err = ERR_INIT;
	clist *capa = NULL;

	(void)state;
	assert_int_equal(mailpop3_connect(p, conn_stream(c)), MAILPOP3_NO_ERROR);
	assert_int_not_equal(mailpop3_capa(p, &capa), MAILPOP3_NO_ERROR);
	assert_int_equal(conn_last(c, &err), ST_RETRY);
	assert_non_null(strstr(err.text, "closed the connection"));
	mailpop3_free(p);
	finish(c, s);
}

/* libetpan recurses for each parenthesis. */
static void etpan_guard(void **state)
{
	enum { DEEP = 300 };
	struct script *s;
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT(KIB);
	struct conn *c;
	int k;
	mailimap *i = mailimap_new(0, NULL);
	struct mailimap_capability_data *caps;

	(void)state;
	buf_adds(&text, "S: * OK\nC~ 1 CAPA\nS: * ");
	for (k = 0; k < DEEP; k++)
		buf_addc(&text, '(');
	c = on_script(&s, buf_str(&text), 3);
	buf_free(&text);
	conn_guard(c, true);
	mailimap_connect(i, conn_stream(c));
	assert_int_not_equal(mailimap_capability(i, &caps), MAILIMAP_NO_ERROR);
	assert_int_equal(conn_last(c, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_PROTOCOL);
	mailimap_free(i);
	finish(c, s);
}

/* libetpan takes memory for a literal before a byte of it has come. */
static void etpan_literal(void **state)
{
	static const struct {
		const char *name, *said;
		bool fits;
	} rows[] = {
		{ "small", "S: * LIST () NIL {3}\nS: abc\nS: 1 OK done", true },
		{ "all that may come", "S: * LIST () NIL {900}\nEOF", true },
		{ "too much", "S: * LIST () NIL {1100}\n", false },
		{ "4 GiB", "S: * LIST () NIL {4294967295}\n", false },
		{ "no number of ours", "S: * LIST () NIL {99999999999999999999}\n",
			false },
		{ "bare LF", "S- * LIST () NIL {4294967295}\\n\n", false },
		{ "no line end behind", "S: * LIST () NIL {4294967295}(\n", false },
		{ "in a text", "S: * OK {42} x\nS: 1 OK done", true },
	};
	size_t k, step;

	(void)state;
	for (k = 0; k < N_ELEMENTS(rows); k++)
		for (step = 0; step < 60; step++) {
			char *text = xasprintf(
				"S: * PREAUTH hello\nC~ 1 LIST\n%s", rows[k].said);
			struct script *s;
			struct conn *c = on_script(&s, text, step);
			mailimap *i = mailimap_new(0, NULL);
			struct err err = ERR_INIT;
			clist *list = NULL;
			bool told;

			mailimap_connect(i, conn_stream(c));
			conn_guard(c, true);
			conn_budget(c, KIB);
			if (mailimap_list(i, "", "*", &list) == MAILIMAP_NO_ERROR)
				mailimap_list_result_free(list);
			conn_last(c, &err);
			told = strstr(err.text, "announced") != NULL;
			if (told == rows[k].fits)
				fail_msg("%s, step %zu: %s", rows[k].name, step,
					err.text);
			conn_kill(c);
			mailimap_free(i);
			finish(c, s);
			free(text);
		}
}

static void guard_counts_per_line(void **state)
{
	char text[1200] = "", *p = text;
	struct script *s;
	struct conn *c;
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		memcpy(p, "S: ", 3);
		memset(p + 3, '(', 256);
		p[259] = '\n';
		p += 260;
	}
	c = on_script(&s, text, 0);
	conn_guard(c, true);
	for (i = 0; i < 3; i++)
		line_of(c, 300);
	finish(c, s);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	/* Never raised by us, so not ignored here. */
	signal(SIGPIPE, SIG_DFL);
	snprintf(dir, sizeof(dir), "%.30s/t_net.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(trace_path, sizeof(trace_path), "%s/trace", dir);
	return 0;
}

static int drop_dir(void **state)
{
	(void)state;
	unlink(trace_path);
	return rmdir(dir);
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
		cmocka_unit_test(trace_shows),
		cmocka_unit_test(trace_hides),
		cmocka_unit_test(trace_is_bounded),
		cmocka_unit_test(trace_cannot_open),
		cmocka_unit_test(etpan_pop3),
		cmocka_unit_test(etpan_hides_pass),
		cmocka_unit_test(etpan_imap_literal),
		cmocka_unit_test(etpan_eof),
		cmocka_unit_test(etpan_guard),
		cmocka_unit_test(etpan_literal),
		cmocka_unit_test(guard_counts_per_line),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
