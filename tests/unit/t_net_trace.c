/* t_net_trace.c: what a trace shows of a connection, and what it hides. */
#include "net_kit.h"

#include <popferry/buf.h>

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
		"dest#1 S: +OK hi \\x1b[2J|dest#1 C: USER a|dest#1 C: PASS <secret>|"
		"dest#1 C: RETR 1|dest#1 S: +OK|dest#1 S: +OK in|dest#1 S: +OK 12|"
		"dest#1 S: <16 bytes of message text>|dest#1 C: QUIT|dest#1 S: -ERR no|");
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
		"dest#1 C: A LOGIN {2}|dest#1 C: <secret>|dest#1 C: <secret>|"
		"dest#1 S: -ERR <secret>|dest#1 S: + <secret>|dest#1 S: <secret>|");
	free(all);
}

/* In the order in which they have something to say. */
static void trace_counts(void **state)
{
	static const char *const text = "S: +OK\nS: +OK\nEOF";
	struct conn *c[3];
	struct script *s[3];
	struct transport tr;
	struct trace *t;
	char *all;
	size_t i;

	(void)state;
	c[0] = on_traced_script(&s[0], &t, text, 1);
	for (i = 1; i < N_ELEMENTS(c); i++) {
		script_open(&s[i], text, 1);
		tr = script_transport(s[i]);
		conn_over(&c[i], &tr, i == 1 ? "dest" : "source", t);
	}
	line_of(c[2], 99);
	line_of(c[0], 99);
	line_of(c[2], 99);
	line_of(c[1], 99);
	line_of(c[0], 99);
	line_of(c[1], 99);
	for (i = 0; i < N_ELEMENTS(c); i++)
		finish(c[i], s[i]);
	trace_close(&t);
	all = trace_lines();
	assert_string_equal(all,
		"source#1 S: +OK|dest#2 S: +OK|source#1 S: +OK|dest#3 S: +OK|"
		"dest#2 S: +OK|dest#3 S: +OK|");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trace_shows),
		cmocka_unit_test(trace_hides),
		cmocka_unit_test(trace_counts),
		cmocka_unit_test(trace_is_bounded),
		cmocka_unit_test(trace_cannot_open),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
