/* t_decode.c: encoded words in headers. */
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *in, *out;
} rows[] = {
	{ "plain text", "plain text" },
	{ "", "" },
	{ "a = b", "a = b" },
	{ "=?utf-8?Q?HTML_=E2=9C=93?=", "HTML \xe2\x9c\x93" },
	{ "=?iso-8859-1?Q?caf=E9?= now", "caf\xc3\xa9 now" },
	{ "=?UTF-8?B?w6Q=?= =?UTF-8?B?w7Y=?=", "\xc3\xa4\xc3\xb6" },
	{ "=?no-such-charset?Q?x=E9?=", NULL },
	{ "=?utf-8?B?!!!", NULL },
	{ "=?utf-8?Q?a=0D=0Ab?=", NULL },
};

static void test_rows(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct buf b = BUF_INIT(4096);

		assert_true(mime_decode(rows[i].in, strlen(rows[i].in), &b));
		if (rows[i].out)
			assert_string_equal(buf_str(&b), rows[i].out);
		buf_free(&b);
	}
}

static void test_every_prefix(void **state)
{
	static const char text[] =
		"=?utf-8?Q?=E2=9C=93?= =?iso-2022-jp?B?GyRCJUYbKEI=?= =?gb2312?B?1tA=?=";
	size_t n;

	(void)state;
	for (n = 0; n < sizeof(text); n++) {
		char *exact = xmemdup0(text, n);
		struct buf b = BUF_INIT(4096);

		assert_true(mime_decode(exact, n, &b));
		buf_free(&b);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_every_prefix),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
