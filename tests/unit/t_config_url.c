/* t_config_url.c: URLs, and how an end is made ready. */
#include "../../src/config/own.h"

#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *url, *scheme, *user, *host;
	unsigned port;
	const char *folder, *path;
	enum tls_mode tls;
} good[] = {
	{ "pop3s://me@pop.example.org", "pop3s", "me", "pop.example.org", 0, NULL, NULL,
		TLS_IMPLICIT },
	{ "POP3S://me@pop.example.org/", "pop3s", "me", "pop.example.org", 0, NULL,
		NULL, TLS_IMPLICIT },
	{ "pop3://me@h:110", "pop3", "me", "h", 110, NULL, NULL, TLS_STARTTLS },
	{ "pop3://me@h:65535", "pop3", "me", "h", 65535, NULL, NULL, TLS_STARTTLS },
	{ "pop3s://me@example.org@pop.h", "pop3s", "me@example.org", "pop.h", 0, NULL,
		NULL, TLS_IMPLICIT },
	{ "pop3s://me%40example.org@pop.h", "pop3s", "me@example.org", "pop.h", 0, NULL,
		NULL, TLS_IMPLICIT },
	{ "pop3s://a%3Ab%2Fc%5Cd%25@h", "pop3s", "a:b/c\\d%", "h", 0, NULL, NULL,
		TLS_IMPLICIT },
	{ "pop3s://m%c3%bcller@h", "pop3s", "m\xc3\xbcller", "h", 0, NULL, NULL,
		TLS_IMPLICIT },
	{ "pop3s://me@[2001:db8::1]", "pop3s", "me", "2001:db8::1", 0, NULL, NULL,
		TLS_IMPLICIT },
	{ "pop3s://me@[::1]:1995", "pop3s", "me", "::1", 1995, NULL, NULL,
		TLS_IMPLICIT },
	{ "pop3s://me@192.0.2.1:995/", "pop3s", "me", "192.0.2.1", 995, NULL, NULL,
		TLS_IMPLICIT },
	{ "imaps://u@h", "imaps", "u", "h", 0, NULL, NULL, TLS_IMPLICIT },
	{ "imaps://u@h/", "imaps", "u", "h", 0, NULL, NULL, TLS_IMPLICIT },
	{ "imap://u@h/INBOX", "imap", "u", "h", 0, "INBOX", NULL, TLS_STARTTLS },
	{ "imaps://u@h:993/Old%20mail/2020/", "imaps", "u", "h", 993, "Old mail/2020",
		NULL, TLS_IMPLICIT },
	{ "imaps://u@h/a%3Bb@c:d", "imaps", "u", "h", 0, "a;b@c:d", NULL,
		TLS_IMPLICIT },
	{ "imaps://u@h/Gel\xc3\xb6scht", "imaps", "u", "h", 0, "Gel\xc3\xb6scht", NULL,
		TLS_IMPLICIT },
	{ "archive:DIR", "archive", NULL, NULL, 0, NULL, "DIR", TLS_NONE },
	{ "archive:../a b%20c", "archive", NULL, NULL, 0, NULL, "../a b%20c",
		TLS_NONE },
	{ "archive:/srv/mail", "archive", NULL, NULL, 0, NULL, "/srv/mail", TLS_NONE },
	{ "archive:///srv/mail", "archive", NULL, NULL, 0, NULL, "/srv/mail",
		TLS_NONE },
	{ "maildir:Mail dir/", "maildir", NULL, NULL, 0, NULL, "Mail dir/", TLS_NONE },
	{ "mbox:/var/mail/ann", "mbox", NULL, NULL, 0, NULL, "/var/mail/ann",
		TLS_NONE },
	{ "eml:a:b%20.eml", "eml", NULL, NULL, 0, NULL, "a:b%20.eml", TLS_NONE },
	{ "ZIP:///a.zip", "zip", NULL, NULL, 0, NULL, "/a.zip", TLS_NONE },
	{ "tar:a.tar.gz", "tar", NULL, NULL, 0, NULL, "a.tar.gz", TLS_NONE },
	{ "null:", "null", NULL, NULL, 0, NULL, NULL, TLS_NONE },
};

static const struct {
	const char *url, *words;
} bad[] = {
	{ "", "expected pop3s://" },
	{ "me@example.org", "expected pop3s://" },
	{ "pop3s", "expected pop3s://" },
	{ "http://me@h", "expected pop3s://" },
	{ "pop3ss://me@h", "imaps://user@host" },
	{ "://me@h", "archive:DIR" },
	{ "pop3s:me@h", "two slashes" },
	{ "pop3s:/me@h", "two slashes" },
	{ "pop3s://pop.example.org", "names no user" },
	{ "pop3s://", "names no user" },
	{ "pop3s:///me@h", "names no user" },
	{ "pop3s://@h", "user of the URL is empty" },
	{ "pop3s://me:hunter2@h", "--source-password-file" },
	{ "pop3s://me:hunter2@x@h", "--source-password-file" },
	{ "pop3s://me:@h", "holds a password" },
	{ "pop3s://:hunter2@h", "holds a password" },
	{ "pop3s://me:hunter2/x@h", "names no user" },
	{ "imaps://me:hunter2@h/INBOX", "--dest-password-file" },
	{ "pop3s://me;AUTH=*@h", "auth of a profile" },
	{ "pop3s://me;auth=APOP@h", "auth of a profile" },
	{ "pop3s://me%@h", "two hex digits" },
	{ "pop3s://me%4@h", "two hex digits" },
	{ "pop3s://me%4g@h", "two hex digits" },
	{ "imaps://u@h/a%", "two hex digits" },
	{ "imaps://u@h/a%2", "two hex digits" },
	{ "pop3s://me%00x@h", "control characters" },
	{ "pop3s://me%0d@h", "control characters" },
	{ "pop3s://me%0A@h", "control characters" },
	{ "imaps://u@h/a%0d%0aX", "control characters" },
	{ "imaps://u@h/a%7f", "control characters" },
	{ "imaps://u@h/a\nb", "control characters" },
	{ "archive:a\nb", "control characters" },
	{ "pop3s://me@", "host of the URL: it is empty" },
	{ "pop3s://me@/", "host of the URL: it is empty" },
	{ "pop3s://me@:995", "host of the URL: it is empty" },
	{ "pop3s://me@h h", "only letters" },
	{ "pop3s://me@h%2e", "only letters" },
	{ "pop3s://me@-h", "starts with" },
	{ "pop3s://me@a..b", "a part is empty" },
	{ "pop3s://me@.b", "a part is empty" },
	{ "pop3s://me@m\xc3\xbcller.de", "xn--" },
	{ "pop3s://me@h:", "1 to 65535" },
	{ "pop3s://me@h:0", "1 to 65535" },
	{ "pop3s://me@h:65536", "1 to 65535" },
	{ "pop3s://me@h:99999999999999", "1 to 65535" },
	{ "pop3s://me@h:-1", "1 to 65535" },
	{ "pop3s://me@h:995x", "1 to 65535" },
	{ "pop3s://me@2001:db8::1", "in brackets" },
	{ "pop3s://me@[2001:db8::1", "no \"]\"" },
	{ "pop3s://me@[]", "not an IPv6 address" },
	{ "pop3s://me@[pop.example.org]", "not an IPv6 address" },
	{ "pop3s://me@[::g]", "not an IPv6 address" },
	{ "pop3s://me@[::1]995", "only a port" },
	{ "pop3s://me@h/INBOX", "no folders" },
	{ "pop3s://me@h?x", "%3F" },
	{ "imaps://u@h/a?b", "%3F" },
	{ "imaps://u@h/a#b", "%23" },
	{ "imaps://u@h/INBOX;UIDVALIDITY=7", "UIDVALIDITY" },
	{ "imaps://u@h/INBOX/;UID=7", "UIDVALIDITY" },
	{ "archive:", "needs a directory" },
	{ "archive://", "no host" },
	{ "archive://host/dir", "no host" },
	{ "maildir:", "maildir: needs a directory, as in maildir:DIR" },
	{ "mbox://", "mbox: has no host" },
	{ "mbox:", "mbox: needs a file, as in mbox:FILE" },
	{ "zip://host/a.zip", "zip: has no host: write zip:FILE" },
	{ "tar:a\tb", "control characters" },
	{ "null:x", "nowhere" },
	{ "null://", "nowhere" },
	{ "null", "expected pop3s://" },
};

static void same(const char *url, const char *is, const char *want)
{
	if (!is != !want || (is && strcmp(is, want) != 0))
		fail_msg("%s: \"%s\", expected \"%s\"", url, is ? is : "NULL",
			want ? want : "NULL");
}

static void test_good(void **state)
{
	struct err err = ERR_INIT;
	struct endpoint e = { 0 };
	size_t i;

	(void)state;
	/* One endpoint for all: nothing of the row before may stay. */
	for (i = 0; i < N_ELEMENTS(good); i++) {
		if (url_parse(&e, good[i].url, &err) != ST_OK)
			fail_msg("%s: %s", good[i].url, err.text);
		same(good[i].url, e.url, good[i].url);
		same(good[i].url, e.scheme, good[i].scheme);
		same(good[i].url, e.user, good[i].user);
		same(good[i].url, e.host, good[i].host);
		same(good[i].url, e.folder, good[i].folder);
		same(good[i].url, e.path, good[i].path);
		assert_int_equal(e.port, good[i].port);
		assert_int_equal(e.tls, good[i].tls);
	}
	assert_string_equal(err.text, "");
	endpoint_release(&e);
}

static void test_bad(void **state)
{
	struct endpoint e = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		struct err err = ERR_INIT;

		if (url_parse(&e, bad[i].url, &err) != ST_DENIED)
			fail_msg("%s was taken", bad[i].url);
		assert_int_equal(err.exit, EX_USAGE);
		if (!strstr(err.text, bad[i].words))
			fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].url, err.text,
				bad[i].words);
		assert_null(strstr(err.text, "hunter2"));
		assert_null(e.url);
		assert_null(e.user);
	}
}

/* Every URL cut at every byte, and every byte of it replaced by every other. */
static void test_mangled(void **state)
{
	struct endpoint e = { 0 };
	size_t i, k;
	int c;

	(void)state;
	for (i = 0; i < N_ELEMENTS(good); i++) {
		size_t n = strlen(good[i].url);

		for (k = 0; k <= n; k++) {
			char *text = xmemdup0(good[i].url, k);

			url_parse(&e, text, NULL);
			free(text);
		}
		for (k = 0; k < n; k++)
			for (c = 1; c < 256; c++) {
				char *text = xstrdup(good[i].url);

				text[k] = (char)c;
				url_parse(&e, text, NULL);
				free(text);
			}
	}
	endpoint_release(&e);
}

static void test_long(void **state)
{
	static const char *const heads[] = { "pop3s://", "pop3s://me@",
		"pop3s://me@h:", "imaps://u@h/", "archive:", "pop3s://me@[", "" };
	static const char fill[] = "a:@/%.";
	struct endpoint e = { 0 };
	struct err err = ERR_INIT;
	char *text;
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(heads); i++)
		for (k = 0; k < sizeof(fill) - 1; k++) {
			size_t n = strlen(heads[i]);

			text = xmalloc(100001);
			memset(text, fill[k], 100000);
			memcpy(text, heads[i], n);
			text[100000] = '\0';
			assert_int_equal(url_parse(&e, text, &err), ST_DENIED);
			text[VALUE_MAX] = '\0'; /* just not too long */
			url_parse(&e, text, &err);
			free(text);
		}
	endpoint_release(&e);
}

/* ---- ends made ready ---- */

static struct job *job_of(const char *const pairs[], struct err *err)
{
	struct job *j;
	size_t i;

	job_new(&j);
	for (i = 0; pairs[i]; i += 2)
		if (job_set(j, pairs[i], pairs[i + 1], "--test", err) < 0) {
			job_free(&j);
			return NULL;
		}
	return j;
}

static void test_tls(void **state)
{
	static const struct {
		const char *url, *option;
		unsigned facts_tls, facts_port;
		enum tls_mode tls;
		unsigned port;
	} rows[] = {
		{ "pop3s://me@h", NULL, 0, 0, TLS_IMPLICIT, 995 },
		{ "pop3://me@h", NULL, 0, 0, TLS_STARTTLS, 110 },
		{ "pop3s://me@h:1995", NULL, 0, 0, TLS_IMPLICIT, 1995 },
		{ "pop3s://me@h", "starttls", 0, 0, TLS_STARTTLS, 110 },
		{ "pop3://me@h", "implicit", 0, 0, TLS_IMPLICIT, 995 },
		{ "pop3://me@h", "none", 0, 0, TLS_NONE, 110 },
		/* Facts: a port for their own mode only, and never a mode. */
		{ "pop3s://me@h", NULL, 0, 2995, TLS_IMPLICIT, 2995 },
		{ "pop3s://me@h", NULL, TLS_IMPLICIT + 1, 2995, TLS_IMPLICIT, 2995 },
		{ "pop3s://me@h", NULL, TLS_STARTTLS + 1, 2110, TLS_IMPLICIT, 995 },
		{ "pop3://me@h", NULL, TLS_IMPLICIT + 1, 2995, TLS_STARTTLS, 110 },
		{ "pop3s://me@h:7", NULL, TLS_IMPLICIT + 1, 2995, TLS_IMPLICIT, 7 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		const char *pairs[] = { "source", rows[i].url, "dest", "archive:/a",
			rows[i].option ? "source-tls" : NULL, rows[i].option, NULL };
		struct err err = ERR_INIT;
		struct job *j = job_of(pairs, &err);

		assert_non_null(j);
		((struct plan *)j)->pop3.tls = rows[i].facts_tls;
		((struct plan *)j)->pop3.port = rows[i].facts_port;
		if (job_check_ends(j, &err) != ST_OK)
			fail_msg("%s", err.text);
		assert_int_equal(j->source.tls, rows[i].tls);
		assert_int_equal(j->source.port, rows[i].port);
		assert_int_equal(job_check_ends(j, &err), ST_OK); /* twice is fine */
		assert_int_equal(j->source.port, rows[i].port);
		job_free(&j);
	}
}

/* Quirk Q70. */
static void test_user_form(void **state)
{
	static const struct {
		const char *url, *form, *user;
	} rows[] = {
		{ "pop3s://me@h", NULL, "me" },
		{ "pop3s://me@x.org@h", NULL, "me@x.org" },
		{ "pop3s://me@x.org@h", "email", "me@x.org" },
		{ "pop3s://me@x.org@h", "local", "me" },
		{ "pop3s://me@h", "local", "me" },
		{ "pop3s://me@h", "email", NULL },
		{ "pop3s://%40x.org@h", "local", NULL },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		const char *pairs[] = { "source", rows[i].url, NULL };
		struct err err = ERR_INIT;
		struct job *j = job_of(pairs, &err);
		enum status rc;

		assert_non_null(j);
		if (rows[i].form)
			((struct plan *)j)->pop3.user_form = xstrdup(rows[i].form);
		rc = job_check_ends(j, &err);
		assert_int_equal(rc, rows[i].user ? ST_OK : ST_DENIED);
		if (rows[i].user)
			assert_string_equal(j->source.user, rows[i].user);
		else
			assert_non_null(strstr(err.text, "login name"));
		if (rows[i].user && rows[i].form &&
			strchr(rows[i].url, '@') !=
				strrchr(rows[i].url,
					'@')) { /* the whole address is "me" */
			assert_int_equal(j->n_me, 1);
			assert_string_equal(j->me[0], "me@x.org");
		}
		job_free(&j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_mangled),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_user_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
