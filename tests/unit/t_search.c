/* t_search.c: queries as they are read, and what of a message can be found. */
#include "t_archive.h"

#include <popferry/search.h>

/* ---- queries ---- */

static const struct {
	const char *text;
	const char *wrong; /* NULL: it is good */
} queries[] = {
	{ "word", NULL },
	{ "  two   words ", NULL },
	{ "\"a phrase\"", NULL },
	{ "\"a \\\"quoted\\\" phrase\"", NULL },
	{ "pref*", NULL },
	{ "\"some pref\"*", NULL },
	{ "-word", NULL },
	{ "NOT word", NULL },
	{ "a AND b OR c", NULL },
	{ "(a OR b) -(c d)", NULL },
	{ "from:ann@example.org To:bob CC:x bcc:y", NULL },
	{ "subject:\"year end\" body:x*", NULL },
	{ "after:2024-01-31 before:2024 on:2024-02", NULL },
	{ "after:2024-01-31T10:00:00+01:00", NULL },
	{ "since:2024-02-29", NULL },
	{ "has:attachment filename:*.pdf filename:\"a (1).pdf\"", NULL },
	{ "larger:10k smaller:5M larger:0", NULL },
	{ "seq:1 seq:1-2 seq:7-", NULL },
	{ "uidl:abc sha256:0123abcd message-id:<a@b> id:a@b", NULL },
	{ "folder:INBOX folder:Sent/*", NULL },
	{ "10:30", NULL },
	{ "\"http://example.org/\"", NULL },
	{ "\xe6\x9d\xb1\xe4\xba\xac", NULL },
	{ "ORdinary ANDy NOTe", NULL },
	{ "", "empty" },
	{ "   ", "empty" },
	{ "\"open", "character 1: this quote" },
	{ "caf\xc3\xa9 \"open", "character 6: this quote" },
	{ "(a", "character 1: this parenthesis is not closed" },
	{ "a)", "character 2: this parenthesis was not opened" },
	{ "()", "character 2: a word is needed" },
	{ "a OR", "character 5: a word is needed" },
	{ "OR a", "character 1: a word is needed" },
	{ "a AND", "character 6: a word is needed" },
	{ "-", "character 1: a word is needed behind" },
	{ "a - b", "character 3: a word is needed behind" },
	{ "--a", "character 1" },
	{ "NOT NOT a", "twice" },
	{ "from:", "character 6: from: needs a value" },
	{ "from: ann", "character 6: from: needs a value" },
	{ "nothing:x", "character 1: there is no field \"nothing:\"" },
	{ "a*b", "character 1: a *" },
	{ "***", "character 1: a *" },
	{ "*", "character 1: a word" },
	{ "\"!?\"", "character 1: a word" },
	{ "after:soon", "character 7: expected a date" },
	{ "after:2023-02-29", "character 7: expected a date" },
	{ "on:2024-13", "character 4: expected a date" },
	{ "larger:big", "character 8: expected a size" },
	{ "larger:10x", "expected a size" },
	{ "larger:-1", "expected a size" },
	{ "seq:0", "expected a number" },
	{ "seq:3-2", "expected a number" },
	{ "seq:99999999999999999999", "expected a number" },
	{ "sha256:0123", "expected 8 to 64" },
	{ "sha256:0123456g", "expected 8 to 64" },
	{ "has:legs", "expected has:attachment" },
	{ "((((((((((((((((((((a))))))))))))))))))))", "more than 16 parentheses" },
};

static void test_queries(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(queries); i++) {
		struct err err = ERR_INIT;
		struct query *q = NULL;
		enum status rc = query_parse(&q, queries[i].text, &err);

		if (!queries[i].wrong && rc != ST_OK)
			fail_msg("%s: %s", queries[i].text, err.text);
		if (queries[i].wrong) {
			if (rc != ST_DENIED || err.exit != EX_USAGE ||
				!strstr(err.text, queries[i].wrong))
				fail_msg("%s: %d %s", queries[i].text, rc, err.text);
			assert_null(q);
		}
		query_free(&q);
	}
}

static void test_query_bounds(void **state)
{
	char *many = xmalloc(2 * QUERY_MAX + 2);
	struct err err = ERR_INIT;
	struct query *q = NULL;
	unsigned i;

	(void)state;
	for (i = 0; i < QUERY_MAX + 1; i++)
		many[i] = 'a';
	many[i] = '\0';
	assert_int_equal(query_parse(&q, many, &err), ST_DENIED);
	many[QUERY_MAX] = '\0';
	assert_int_equal(query_parse(&q, many, &err), ST_OK);
	query_free(&q);
	for (i = 0; i < QUERY_TERMS; i++)
		memcpy(many + 2 * i, "a ", 3);
	assert_int_equal(query_parse(&q, many, &err), ST_OK);
	query_free(&q);
	memcpy(many + 2 * i, "a", 2);
	assert_int_equal(query_parse(&q, many, &err), ST_DENIED);
	assert_non_null(strstr(err.text, "more than 64"));
	free(many);
}

/* ---- text ---- */

#define PLAIN "Subject: s\r\n\r\n"
#define HTML "Content-Type: text/html; charset=utf-8\r\n\r\n"
#define MIXED "Content-Type: multipart/mixed; boundary=B\r\n\r\n"

static const struct {
	const char *name, *mail;
	const char *subject, *from, *body, *files;
	unsigned attachments;
} rows[] = {
	{ "nothing", "", "", "", "", "", 0 },
	{ "plain", "Subject: a\r\nFrom: b <c@d>\r\n\r\ntext\r\n", "a", "b <c@d>",
		"text\r\n", "", 0 },
	{ "folded and twice", "Subject: a\r\n b\r\nSubject: c\r\n\r\nx", "a b, c", "",
		"x", "", 0 },
	{ "encoded words", "Subject: =?utf-8?q?caf=C3=A9?=\r\n\r\n", "caf\xc3\xa9", "",
		"", "", 0 },
	{ "Latin 1", "Content-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9", "",
		"", "caf\xc3\xa9", "", 0 },
	{ "quoted-printable",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc", "",
		"", "a=bc", "", 0 },
	{ "base64", "Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n", "", "",
		"hello", "", 0 },
	{ "tags", HTML "<p>one</p><p>two</p>", "", "", "one\ntwo", "", 0 },
	{ "tags within words", HTML "<b>w</b>ord <i>A</i>", "", "", "word A", "", 0 },
	{ "entities", HTML "a&amp;b&nbsp;&uuml;&#65;&#x42;&nope; &", "", "",
		"a&b \xc3\xbc"
		"AB&nope; &",
		"", 0 },
	{ "entities cut", HTML "a &lt b &lt;c", "", "", "a < b <c", "", 0 },
	{ "comments", HTML "a<!-- <p>x</p> -- > y -->b<!doctype z>c<?php x>d", "", "",
		"abcd", "", 0 },
	{ "short comments", HTML "a<!-->b<!--->c", "", "", "abc", "", 0 },
	{ "scripts",
		HTML "a<script>if (1 < 2) '</p>'</script>b<STYLE x=1>p{}</style >c", "",
		"", "a\nb\nc", "", 0 },
	{ "quotes in tags", HTML "<a title='x>y' href=\"<b>\">z</a>", "", "", "z", "",
		0 },
	{ "no tag", HTML "1 < 2 > 1 <3", "", "", "1 < 2 > 1 <3", "", 0 },
	{ "open at the end", HTML "a<b", "", "", "a", "", 0 },
	{ "soft hyphen", HTML "Donau&shy;dampf", "", "", "Donaudampf", "", 0 },
	{ "parts",
		MIXED "--B\r\n\r\none\r\n--B\r\n" HTML "<b>two</b>\r\n--B\r\n"
		      "Content-Type: application/pdf; name=\"x y.pdf\"\r\n\r\n%PDF\r\n"
		      "--B--\r\n",
		"", "", "one\ntwo", "x y.pdf\n", 1 },
	{ "attachments without a name",
		MIXED "--B\r\nContent-Disposition: attachment\r\n\r\nx\r\n--B--\r\n",
		"", "", "x", "", 1 },
	{ "a message in it",
		MIXED
		"--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n"
		"From: z@y\r\nContent-Type: text/html\r\n\r\n<p>deep\r\n--B\r\n\r\n"
		"after\r\n--B--\r\n",
		/* Its header is seen when it ends, or its body begins. */
		"", "", "inner\nz@y\ndeep\nafter", "", 1 },
};

static void feed(struct search_text *t, const char *mail, size_t step)
{
	size_t n = strlen(mail), i;
	struct extract *x;

	extract_begin(&x, t);
	for (i = 0; i < n; i += step)
		extract_put(x, mail + i, n - i < step ? n - i : step);
	extract_end(&x);
}

static void same_text(
	const char *name, const char *what, const struct buf *b, const char *want)
{
	if (strcmp(buf_str(b), want) != 0)
		fail_msg("%s: %s is \"%s\", not \"%s\"", name, what, buf_str(b), want);
}

static void test_text(void **state)
{
	size_t i, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		for (step = 1; step <= strlen(rows[i].mail) + 1; step++) {
			struct search_text t;

			search_text_init(&t);
			feed(&t, rows[i].mail, step);
			same_text(rows[i].name, "subject", &t.subject, rows[i].subject);
			same_text(rows[i].name, "from", &t.from, rows[i].from);
			same_text(rows[i].name, "body", &t.body, rows[i].body);
			same_text(rows[i].name, "files", &t.files, rows[i].files);
			assert_int_equal(t.attachments, rows[i].attachments);
			search_text_release(&t);
		}
}

/* However long anything in it is, no more than so much is kept. */
static void test_text_bounds(void **state)
{
	static const char *const heads[] = { "Subject: ", PLAIN, HTML,
		"From: a@b\r\nSubject: =?utf-8?q?", HTML "<", HTML "&", HTML "<!--",
		"Content-Type: text/plain; name=\"" };
	size_t n = 3 * SEARCH_BODY_MAX, i;
	char *big = xmalloc(n);

	(void)state;
	memset(big, 'x', n);
	for (i = 0; i < N_ELEMENTS(heads); i++) {
		struct search_text t;
		struct extract *x;

		search_text_init(&t);
		extract_begin(&x, &t);
		extract_put(x, heads[i], strlen(heads[i]));
		extract_put(x, big, n);
		extract_end(&x);
		assert_true(t.body.n <= SEARCH_BODY_MAX);
		assert_true(t.subject.n <= SEARCH_FIELD_MAX);
		assert_true(t.files.n <= SEARCH_FILES_MAX);
		search_text_release(&t);
	}
	free(big);
}

/* Messages in messages, more of them than are looked into. */
static void test_text_deep(void **state)
{
	struct buf b = BUF_INIT(64 * 1024);
	struct search_text t;
	unsigned i;

	(void)state;
	for (i = 0; i < 3 * SEARCH_INNER; i++)
		buf_addf(&b,
			"Subject: level%u\r\nContent-Type: multipart/mixed; boundary=b%u"
			"\r\n\r\n--b%u\r\nContent-Type: message/rfc822\r\n\r\n",
			i, i, i);
	buf_adds(&b, "\r\ninmost");
	search_text_init(&t);
	feed(&t, buf_str(&b), 7);
	assert_string_equal(buf_str(&t.subject), "level0");
	assert_non_null(strstr(buf_str(&t.body), "level3"));
	assert_non_null(strstr(buf_str(&t.body), "inmost"));
	search_text_release(&t);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queries),
		cmocka_unit_test(test_query_bounds),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_bounds),
		cmocka_unit_test(test_text_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
