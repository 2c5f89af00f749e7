/* t_sasl.c: PLAIN and APOP (quirks Q65, Q69: any bytes in name and password). */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/net.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void plain(void **state)
{
	static const struct {
		const char *user, *password, *want;
	} rows[] = {
		{ "tim", "tanstaaftanstaaf",
			"AHRpbQB0YW5zdGFhZnRhbnN0YWFm" }, /* RFC 2595 */
		{ "", "", "AAA=" },
		{ "a@b", "p\xc3\xa4ss w", "AGFAYgBww6RzcyB3" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct buf b = BUF_INIT(1024);

		assert_true(sasl_plain(rows[i].user, rows[i].password, &b));
		assert_string_equal(buf_str(&b), rows[i].want);
		buf_free(&b);
	}
}

static void plain_ceiling(void **state)
{
	struct buf b = BUF_INIT(8);

	(void)state;
	assert_false(sasl_plain("somebody", "something", &b));
	buf_free(&b);
}

static void apop(void **state)
{
	char out[33];

	(void)state;
	/* RFC 1939 section 7 */
	assert_true(apop_digest("<1896.697170952@dbc.mtview.ca.us>", "tanstaaf", out));
	assert_string_equal(out, "c4c9334bac560ecc979e58001b3e22fb");
}

static void apop_stamps(void **state)
{
	static const struct {
		const char *stamp;
		bool good;
	} rows[] = {
		{ "<a@b>", true },
		{ "<!.~@[::1]>", true },
		{ "", false },
		{ "<>", false },
		{ "<@>", false },
		{ "<@b>", false },
		{ "<a@>", false },
		{ "<ab>", false },
		{ "a@b", false },
		{ "<a@b", false },
		{ "<a@b> ", false },
		{ " <a@b>", false },
		{ "<a @b>", false },
		{ "<a@b\x01>", false },
		{ "<a@b\x7f>", false },
		{ "<a@b\x80>", false },
		{ "<a\xc3\xa4@b>", false },
		{ "<a@b\r\n>", false },
		{ "<a@b><c@d>", false },
		{ "<<a@b>>", false },
	};
	char out[33];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		if (apop_digest(rows[i].stamp, "x", out) != rows[i].good)
			fail_msg("stamp %s", rows[i].stamp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test(plain_ceiling),
		cmocka_unit_test(apop),
		cmocka_unit_test(apop_stamps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
