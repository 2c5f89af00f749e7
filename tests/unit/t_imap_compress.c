/* t_imap_compress.c: a compressed session, against a server that can do it, or says
 * so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fakeimap.h"
#include <popferry/buf.h>
#include <popferry/text.h>
#include "t_imap.h"

enum { MESSAGES = 4 };

static void say(struct fakeimap *s, const char *verb, const char *a, const char *b)
{
	char *argv[] = { (char *)verb, (char *)a, (char *)b, NULL };
	char why[256];

	if (!fakeimap_say(s, b ? 3 : 2, argv, why, sizeof(why)))
		fail_msg("%s", why);
}

static bool was_said(struct fakeimap *s, const char *text)
{
	char *argv[] = { (char *)"said", (char *)text, NULL }, why[256];

	return fakeimap_expect(s, 2, argv, why, sizeof(why));
}

static void add(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

/* All that a session does; *back is what was fetched at last. */
static void use(struct imap *i, struct mails *ms, const char *large, struct buf *back)
{
	const struct imap_mailbox *mb;
	struct imap_append a[MESSAGES];
	struct err err = ERR_INIT;
	size_t k;

	if (imap_login(i, &err) != ST_OK || imap_folder(i, "Old", &mb, &err) != ST_OK)
		fail_msg("%s", err.text);
	for (k = 0; k < MESSAGES; k++) {
		a[k] = (struct imap_append){ .mailbox = mb };
		a[k].message = k == 2 ? mails_add(ms, large, strlen(large))
				      : mails_add(ms, "Subject: x\r\n\r\ny\r\n", 17);
		if (imap_append(i, &a[k], &err) != ST_OK)
			fail_msg("%s", err.text);
	}
	if (imap_finish(i, &err) != ST_OK)
		fail_msg("%s", err.text);
	for (k = 0; k < MESSAGES; k++)
		assert_int_equal(a[k].outcome, IMAP_STORED);
	if (imap_fetch(i, a[2].uid, add, back, &err) != ST_OK)
		fail_msg("%s", err.text);
}

static char *large_text(size_t n)
{
	char *p = xmalloc(n + 1);
	size_t k;

	for (k = 0; k < n; k++)
		p[k] = "line of text, and so on and on\r\n"[k % 32];
	memcpy(p, "Subject: large\r\n\r\n", 18);
	p[n] = '\0';
	return p;
}

static void sessions(void **state)
{
	static const struct {
		enum imap_compress mode;
		const char *capa;    /* besides what it can anyway; NULL: nothing */
		const char *refusal; /* of COMPRESS */
		bool asked, done;
	} rows[] = {
		{ IMAP_COMPRESS_YES, "+COMPRESS=DEFLATE", NULL, true, true },
		{ IMAP_COMPRESS_YES, "+COMPRESS=DEFLATE", "NO not now", true, false },
		{ IMAP_COMPRESS_YES, "+COMPRESS=DEFLATE", "BAD what?", true, false },
		{ IMAP_COMPRESS_YES, NULL, NULL, false, false },
		{ IMAP_COMPRESS_NO, "+COMPRESS=DEFLATE", NULL, false, false },
		/* Here the line is not slow. */
		{ IMAP_COMPRESS_AUTO, "+COMPRESS=DEFLATE", NULL, false, false },
	};
	char *large = large_text(256 * 1024);
	struct imap_config cfg = rig_config();
	struct conn_counts counts;
	struct fakeimap *s;
	struct mails ms;
	struct imap *i;
	size_t k;

	(void)state;
	cfg.net.host = "127.0.0.1";
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		struct buf back = BUF_INIT(SIZE_MAX / 2);
		struct err err = ERR_INIT;

		fakeimap_open(&s);
		mails_open(&ms);
		if (rows[k].capa)
			say(s, "capa", rows[k].capa, NULL);
		if (rows[k].refusal) {
			char *argv[] = { (char *)"on", (char *)"COMPRESS",
				(char *)"tagged", (char *)rows[k].refusal, NULL };
			char why[256];

			assert_true(fakeimap_say(s, 4, argv, why, sizeof(why)));
		}
		cfg.net.port = fakeimap_port(s);
		cfg.compress = rows[k].mode;
		if (imap_connect(&i, &cfg, &err) != ST_OK)
			fail_msg("%s", err.text);
		use(i, &ms, large, &back);
		assert_string_equal(buf_str(&back), large);
		counts = imap_counts(i);
		if (rows[k].done)
			assert_true(counts.wire_out < counts.out / 10 &&
				counts.wire_in < counts.in / 10);
		else
			assert_true(counts.wire_out == counts.out &&
				counts.wire_in == counts.in);
		imap_close(&i);
		assert_int_equal(was_said(s, "COMPRESS DEFLATE"), rows[k].asked);
		mails_close(&ms);
		fakeimap_close(&s);
		buf_free(&back);
	}
	free(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions),
	};

	log_setup(LOG_TEXT, LV_ERROR, 2);
	return cmocka_run_group_tests_name("imap_compress", tests, NULL, NULL);
}
