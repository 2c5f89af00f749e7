/* t_net_etpan.c: libetpan's view of a connection, and the guard before its literals. */
#include "net_kit.h"

#include <popferry/buf.h>

#include <libetpan/libetpan.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
