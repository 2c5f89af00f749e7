/* t_sign_stamp.c: asking timestamp authorities, good and bad ones. */
#include "sign_kit.h"

static const char seal[] = "{\"seal\":1}\n";
static struct ident tsa_ca, stranger, tsa, old_tsa, strange_tsa;

static int make_world(void **state)
{
	const char *sign = "critical,digitalSignature", *time = "critical,timeStamping";

	(void)state;
	make_dir();
	make_ident(&tsa_ca, "Time CA", NULL, -100, 100, NULL, NULL);
	make_ident(&stranger, "Strange CA", NULL, -100, 100, NULL, NULL);
	make_ident(&tsa, "Clock", &tsa_ca, -20, 20, sign, time);
	make_ident(&old_tsa, "Old Clock", &tsa_ca, -20, -10, sign, time);
	make_ident(&strange_tsa, "Strange Clock", &stranger, -20, 20, sign, time);
	put_cert("tsa_ca.pem", &tsa_ca);
	return 0;
}

static int drop_world(void **state)
{
	struct ident *const all[] = { &tsa_ca, &stranger, &tsa, &old_tsa,
		&strange_tsa };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(all); i++)
		drop_ident(all[i]);
	drop_dir();
	return 0;
}

/* ---- a server ---- */

enum manner {
	LENGTH,  /* an answer with Content-Length */
	CHUNKED, /* in chunks of 100 */
	BARE,    /* without a length, and the connection stays open */
	CLOSED,  /* without a length, and closed */
	CONTINUES,
	MOVED,
	MISSING,
	BUSY,
	HTML,
	HUGE_LENGTH,
	ENDLESS_HEAD,
	NO_HTTP,
	HANGS_UP,
	SILENT,
	DRIPS, /* a byte now and then */
};

struct server {
	enum manner manner;
	struct authority a;
	unsigned asked;
};

enum { SMALL = 100, PATIENCE_MS = 400 };

static void say_chunks(int fd, const char *p, size_t n)
{
	char line[32];

	loop_say(fd,
		"HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\n"
		"Transfer-Encoding: chunked\r\n\r\n");
	while (n) {
		size_t k = n < SMALL ? n : SMALL;

		snprintf(line, sizeof(line), "%zx;x=y\r\n", k);
		loop_say(fd, line);
		loop_send(fd, p, k);
		loop_say(fd, "\r\n");
		p += k;
		n -= k;
	}
	loop_say(fd, "0\r\n\r\n");
}

static void say_answer(int fd, const struct server *s, const char *p, size_t n)
{
	char head[256];

	if (s->manner == CHUNKED) {
		say_chunks(fd, p, n);
		return;
	}
	if (s->manner == CONTINUES)
		loop_say(fd, "HTTP/1.1 100 Continue\r\n\r\n");
	snprintf(head, sizeof(head),
		"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply; a=b\r\n");
	loop_say(fd, head);
	if (s->manner == LENGTH || s->manner == CONTINUES) {
		snprintf(head, sizeof(head), "Content-Length: %zu\r\n", n);
		loop_say(fd, head);
	}
	loop_say(fd, "\r\n");
	loop_send(fd, p, n);
	if (s->manner == BARE)
		loop_hear(fd, head, sizeof(head));
}

static const char *const fixed[] = {
	[MOVED] = "HTTP/1.1 302 Found\r\nLocation: https://tsa.example/x\r\n\r\n",
	[MISSING] = "HTTP/1.1 404 Not \x1b[1mFound\r\nContent-Length: 0\r\n\r\n",
	[BUSY] = "HTTP/1.1 503 Come back later\r\nContent-Length: 0\r\n\r\n",
	[HTML] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
		 "Content-Length: 5\r\n\r\nhello",
	[HUGE_LENGTH] =
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
	[NO_HTTP] = "220 mail.example ESMTP\r\n",
	[HANGS_UP] = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n0",
	[DRIPS] = NULL,
};

static void misbehave(int fd, enum manner m)
{
	char line[256];
	unsigned i;

	if (m < N_ELEMENTS(fixed) && fixed[m])
		loop_say(fd, fixed[m]);
	for (i = 0; m == ENDLESS_HEAD && i < 4000; i++)
		if (!loop_say(fd, i ? "X-More: and more\r\n" : "HTTP/1.1 200 OK\r\n"))
			break;
	for (i = 0; m == DRIPS && i < 200 && loop_say(fd, "H"); i++)
		clock_sleep(PATIENCE_MS / 10);
	if (m == SILENT)
		loop_hear(fd, line, sizeof(line));
}

static bool hear_all(int fd, char *p, size_t n)
{
	size_t got = 0;
	ssize_t k;

	while (got < n) {
		k = read(fd, p + got, n - got);
		if (k <= 0)
			return false;
		got += (size_t)k;
	}
	return true;
}

static void serve(int fd, void *arg)
{
	char line[512], query[4096], *der;
	struct server *s = arg;
	size_t want = 0, n;

	s->asked++;
	while (loop_hear(fd, line, sizeof(line)) && line[0] != '\r')
		if (strncmp(line, "Content-Length: ", 16) == 0)
			want = strtoul(line + 16, NULL, 10);
	if (want > sizeof(query) || !hear_all(fd, query, want))
		return;
	if (s->manner >= MOVED) {
		misbehave(fd, s->manner);
		return;
	}
	der = stamp_bytes(&s->a, query, want, &n);
	say_answer(fd, s, der, n);
	free(der);
}

/* ---- one question ---- */

static void fresh(void)
{
	unlinkat(dirfd_, "s.tsr", 0);
	put("s.json", seal, sizeof(seal) - 1);
}

static enum status ask_urls(
	const char *const *urls, size_t n, const char *oid, struct err *err)
{
	char *trust = in_dir("tsa_ca.pem");
	struct tsa_config cfg = { .urls = urls,
		.n = n,
		.trust = trust,
		.policy = oid,
		.deadline_ms = PATIENCE_MS };
	enum status rc = stamp_file(&cfg, dirfd_, "s.json", err);

	free(trust);
	return rc;
}

static enum status ask(struct server *s, const char *oid, struct err *err)
{
	struct loop *l = NULL;
	const char *urls[1];
	enum status rc;
	char url[64];

	loop_open(&l, serve, s);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/tsa?x", loop_port(l));
	urls[0] = url;
	rc = ask_urls(urls, 1, oid, err);
	loop_close(&l);
	return rc;
}

static const struct row {
	const char *name;
	enum answer answer;
	const struct ident *id;
	int days;         /* the authority's clock against ours */
	const char *want; /* NULL: taken */
	int exit;
} rows[] = {
	{ "good", GOOD, &tsa, 0, NULL, 0 },
	{ "other nonce", OTHER_NONCE, &tsa, 0, "has not the nonce", EX_PROTOCOL },
	{ "no nonce", NO_NONCE, &tsa, 0, "has not the nonce", EX_PROTOCOL },
	{ "other imprint", OTHER_IMPRINT, &tsa, 0, "something else than s.json",
		EX_PROTOCOL },
	{ "other policy", OTHER_POLICY, &tsa, 0, "under another policy", EX_PROTOCOL },
	{ "refuses", REFUSES, &tsa, 0, "refuses to give a timestamp (status 2",
		EX_PROTOCOL },
	{ "certificate for other things", NOT_FOR_STAMPS, &tsa, 0,
		"not meant for timestamps", EX_PROTOCOL },
	{ "changed", FLIPPED, &tsa, 0, "it was changed", EX_PROTOCOL },
	{ "without certificates", NO_CERTS, &tsa, 0, "lacks the certificate",
		EX_PROTOCOL },
	{ "cut", CUT, &tsa, 0, "it is no timestamp", EX_PROTOCOL },
	{ "rubbish", RUBBISH, &tsa, 0, "it is no timestamp", EX_PROTOCOL },
	{ "other CA", GOOD, &strange_tsa, 0, "name its CA with --tsa-ca", EX_NOPERM },
	{ "expired", GOOD, &old_tsa, 0, "expired at", EX_PROTOCOL },
	{ "old", GOOD, &tsa, -1, "which clock is wrong", EX_PROTOCOL },
	{ "from the future", GOOD, &tsa, 1, "which clock is wrong", EX_PROTOCOL },
	{ "a byte more", TRAILING, &tsa, 0, "it is no timestamp", EX_PROTOCOL },
	{ "empty", EMPTY, &tsa, 0, "it is no timestamp", EX_PROTOCOL },
};

static void test_answers(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		const struct row *r = &rows[i];
		struct server s = { LENGTH,
			{ r->id, &tsa_ca, r->answer,
				r->days ? clock_utc() + r->days * DAY : 0 },
			0 };
		struct err err = ERR_INIT;
		enum status rc;

		fresh();
		rc = ask(&s, policy, &err);
		if (!r->want) {
			if (rc != ST_OK)
				fail_msg("%s: %s", r->name, err.text);
			assert_int_equal(ask(&s, policy, &err), ST_END);
			assert_int_equal(s.asked, 1);
			continue;
		}
		if (rc != ST_DENIED || err.exit != r->exit ||
			!strstr(err.text, r->want))
			fail_msg("%s: %d, %d, %s", r->name, rc, err.exit, err.text);
		assert_int_not_equal(faccessat(dirfd_, "s.tsr", F_OK, 0), 0);
	}
}

/* ---- HTTP ---- */

static const struct {
	enum manner manner;
	enum status status;
	int exit;
	const char *want;
} ways[] = {
	{ LENGTH, ST_OK, 0, "" },
	{ CHUNKED, ST_OK, 0, "" },
	{ BARE, ST_OK, 0, "" },
	{ CLOSED, ST_OK, 0, "" },
	{ CONTINUES, ST_OK, 0, "" },
	{ MOVED, ST_DENIED, EX_PROTOCOL, "has moved to https://tsa.example/x" },
	{ MISSING, ST_DENIED, EX_PROTOCOL, "answers \"404 Not " },
	{ BUSY, ST_RETRY, EX_TEMPFAIL, "is not ready" },
	{ HTML, ST_DENIED, EX_PROTOCOL, "answers with text/html" },
	{ HUGE_LENGTH, ST_DENIED, EX_PROTOCOL, "a length or encoding" },
	{ ENDLESS_HEAD, ST_DENIED, EX_PROTOCOL, "begins with too much" },
	{ NO_HTTP, ST_DENIED, EX_PROTOCOL, "does not speak HTTP" },
	{ HANGS_UP, ST_RETRY, EX_TEMPFAIL, "" },
	{ SILENT, ST_RETRY, EX_TEMPFAIL, "" },
	{ DRIPS, ST_RETRY, EX_TEMPFAIL, "takes too long" },
};

static void test_http(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(ways); i++) {
		struct server s = { ways[i].manner, { &tsa, &tsa_ca, GOOD, 0 }, 0 };
		struct err err = ERR_INIT;
		int64_t began = clock_ms();
		enum status rc;

		fresh();
		rc = ask(&s, NULL, &err);
		if (rc != ways[i].status || (rc != ST_OK && err.exit != ways[i].exit) ||
			!strstr(err.text, ways[i].want))
			fail_msg("%d: %d, %d, %s", (int)ways[i].manner, rc, err.exit,
				err.text);
		assert_null(strchr(err.text, '\x1b'));
		assert_true(clock_ms() - began < 20 * PATIENCE_MS);
	}
}

/* The first that can be had and gives a good answer counts. */
static void test_order(void **state)
{
	struct server bad = { LENGTH, { &tsa, &tsa_ca, OTHER_NONCE, 0 }, 0 },
		      good = { LENGTH, { &tsa, &tsa_ca, GOOD, 0 }, 0 };
	struct loop *a = NULL, *b = NULL;
	struct err err = ERR_INIT;
	const char *urls[3];
	char url[3][64];

	(void)state;
	loop_open(&a, serve, &bad);
	loop_open(&b, serve, &good);
	snprintf(url[0], 64, "http://127.0.0.1:%u", loop_closed_port());
	snprintf(url[1], 64, "http://127.0.0.1:%u/", loop_port(a));
	snprintf(url[2], 64, "http://127.0.0.1:%u/", loop_port(b));
	urls[0] = url[0];
	urls[1] = url[1];
	urls[2] = url[2];
	fresh();
	assert_int_equal(ask_urls(urls, 3, NULL, &err), ST_OK);
	assert_int_equal(bad.asked, 1);
	assert_int_equal(good.asked, 1);
	/* One that may answer later is worth waiting for. */
	fresh();
	assert_int_equal(ask_urls(urls, 2, NULL, &err), ST_RETRY);
	has_text(err.text, "connection refused");
	assert_int_equal(ask_urls(urls + 1, 1, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_PROTOCOL);
	assert_int_equal(ask_urls(urls + 1, 1, "not an oid", &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);
	loop_close(&a);
	loop_close(&b);
}

/* When none can be had, seals wait, and none is asked for each of them. */
static void test_waiting(void **state)
{
	struct server bad = { BUSY, { &tsa, &tsa_ca, GOOD, 0 }, 0 };
	char *arc = in_dir("arc"), *trust = in_dir("tsa_ca.pem"), url[64];
	struct tsa_config cfg = { .n = 1, .trust = trust, .deadline_ms = PATIENCE_MS };
	struct err err = ERR_INIT;
	struct sign_done done;
	struct loop *l = NULL;
	const char *urls[1];

	(void)state;
	mkdirat(dirfd_, "arc", 0700);
	mkdirat(dirfd_, "arc/seals", 0700);
	put("arc/archive.json", "{}", 2);
	put("arc/seals/x-1.seal.json", "1", 1);
	put("arc/seals/x-2.seal.json", "2", 1);
	loop_open(&l, serve, &bad);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", loop_port(l));
	urls[0] = url;
	cfg.urls = urls;
	assert_int_equal(sign_archive(arc, NULL, &cfg, &done, &err), ST_RETRY);
	assert_int_equal(done.waiting, 2);
	assert_int_equal(bad.asked, 1);
	bad.manner = LENGTH;
	assert_int_equal(sign_archive(arc, NULL, &cfg, &done, &err), ST_OK);
	assert_int_equal(done.waiting, 0);
	assert_int_equal(done.stamps, 2);
	assert_int_equal(sign_archive(arc, NULL, &cfg, &done, &err), ST_OK);
	assert_int_equal(done.stamps, 0);
	assert_int_equal(bad.asked, 3);
	loop_close(&l);
	free(arc);
	free(trust);
}

/* ---- the parser ---- */

static const struct {
	const char *name, *text;
	enum http_step step;
	unsigned status;
	const char *body;
} replies[] = {
	{ "length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", HTTP_WHOLE, 200,
		"abc" },
	{ "LF only", "HTTP/1.0 200 OK\nContent-Length:3 \n\nabc", HTTP_WHOLE, 200,
		"abc" },
	{ "no reason", "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", HTTP_WHOLE, 200,
		"" },
	{ "same length twice",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
		HTTP_WHOLE, 200, "a" },
	{ "chunks",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		"2\r\nab\r\n1;x\r\nc\r\n0\r\n",
		HTTP_WHOLE, 200, "abc" },
	{ "DER", "HTTP/1.1 200 OK\r\n\r\n0\003abc", HTTP_WHOLE, 200, "0\003abc" },
	{ "continue", "HTTP/1.1 100 X\r\nA: b\r\n\r\nHTTP/1.1 404 No\r\n\r\n",
		HTTP_WHOLE, 404, "" },
	{ "two lengths",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		HTTP_BAD, 200, NULL },
	{ "negative", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", HTTP_BAD, 200,
		NULL },
	{ "empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", HTTP_BAD, 200,
		NULL },
	{ "gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", HTTP_BAD, 200,
		NULL },
	{ "bad chunk",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
		HTTP_BAD, 200, NULL },
	{ "huge chunk",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		HTTP_BAD, 200, NULL },
	{ "status", "HTTP/1.1 2x0 OK\r\n\r\n", HTTP_BAD, 0, NULL },
	{ "HTTP/2", "HTTP/2 200\r\n\r\n", HTTP_BAD, 0, NULL },
};

/* Not whole until the last byte, whatever the pieces. */
static void test_parser(void **state)
{
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(replies); i++) {
		size_t n = strlen(replies[i].text);
		struct http_reply r = { .body = BUF_INIT(ANSWER_MAX) };

		for (k = 0; k <= n; k++) {
			char *copy = xmalloc(k + 1); /* so that reading on is noticed */
			enum http_step step;

			memcpy(copy, replies[i].text, k);
			step = http_parse(&r, copy, k, false);
			if (k == n && step != replies[i].step)
				fail_msg("%s: %d", replies[i].name, step);
			if (k < n && step == HTTP_WHOLE)
				fail_msg("%s: whole at %zu", replies[i].name, k);
			free(copy);
		}
		if (replies[i].body) {
			assert_int_equal(r.status, replies[i].status);
			assert_string_equal(buf_str(&r.body), replies[i].body);
		}
		buf_free(&r.body);
	}
}

static const struct {
	const char *url, *host, *path;
	unsigned port;
	bool tls;
} urls[] = {
	{ "http://tsa.example", "tsa.example", "/", 80, false },
	{ "https://tsa.example:8443/a/b?c", "tsa.example", "/a/b?c", 8443, true },
	{ "HTTP://[::1]:81?x", "::1", "/?x", 81, false },
	{ "ftp://x", NULL, NULL, 0, false },
	{ "http://", NULL, NULL, 0, false },
	{ "http://x:0/", NULL, NULL, 0, false },
	{ "http://x:+1/", NULL, NULL, 0, false },
	{ "http://x:99999/", NULL, NULL, 0, false },
	{ "http://user:pw@x/", NULL, NULL, 0, false },
	{ "http://x/\r\nHost: y", NULL, NULL, 0, false },
	{ "http://x/#a", NULL, NULL, 0, false },
	{ "http://[::1/", NULL, NULL, 0, false },
};

static void test_urls(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(urls); i++) {
		struct http_url u;
		enum status rc = http_url(&u, urls[i].url, NULL);

		if ((rc == ST_OK) != (urls[i].host != NULL))
			fail_msg("%s", urls[i].url);
		if (rc == ST_OK) {
			assert_string_equal(u.host, urls[i].host);
			assert_string_equal(u.path, urls[i].path);
			assert_int_equal(u.port, urls[i].port);
			assert_int_equal(u.tls, urls[i].tls);
		}
		http_url_release(&u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_http),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_parser),
		cmocka_unit_test(test_urls),
	};

	return cmocka_run_group_tests(tests, make_world, drop_world);
}
