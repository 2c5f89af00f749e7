/* dense.c and what makes members with it: base64 in gzip members, found and read
 * back. */
#include "../../src/archive/form/dense.h"
#include "../../src/archive/form/member.h"

#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

enum {
	ROOM = 3 * 1024 * 1024,
	RUN = 16 * 1024,
	RUN_LONGEST = 256 * 1024,
	TAR_BLOCK = 512,
};

static uint32_t seed;

static unsigned draw(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* Lines of base64; of: how many of its letters occur. */
static void add_base64(struct buf *b, size_t lines, size_t width, unsigned of)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t i;

	for (; lines; lines--) {
		for (i = 0; i < width; i++)
			buf_addc(b, letters[draw(of)]);
		buf_adds(b, "\r\n");
	}
}

static void add_text(struct buf *b, size_t lines)
{
	for (; lines; lines--)
		buf_addf(b, "line %u of a message, and %u words more\r\n", draw(100),
			draw(7));
}

/* What zlib, which is not what wrote it, makes of all gzip members there are. *n: how
 * many. */
static void gunzip(struct buf *out, const void *p, size_t len, unsigned *n)
{
	char block[4096];
	z_stream z = { .next_in = (unsigned char *)(uintptr_t)p,
		.avail_in = (unsigned)len };
	int rc = Z_OK;

	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	for (*n = 0; rc != Z_STREAM_END || z.avail_in;) {
		if (rc == Z_STREAM_END)
			inflateReset(&z);
		z.next_out = (unsigned char *)block;
		z.avail_out = sizeof(block);
		rc = inflate(&z, Z_NO_FLUSH);
		assert_true(rc == Z_OK || rc == Z_STREAM_END);
		assert_true(buf_add(out, block, sizeof(block) - z.avail_out));
		*n += rc == Z_STREAM_END;
	}
	inflateEnd(&z);
}

/* ---- codes ---- */

static void check_coded(const char *p, size_t n, size_t most)
{
	char *out = xmalloc(ROOM), *again = xmalloc(ROOM);
	struct buf back = BUF_INIT(ROOM);
	size_t k = dense_gzip(p, n, out, ROOM);
	unsigned members;

	assert_true(k > 0 && k <= most);
	gunzip(&back, out, k, &members);
	assert_int_equal(members, 1);
	assert_int_equal(back.n, n);
	assert_memory_equal(back.p, p, n);
	assert_int_equal(dense_gzip(p, n, again, ROOM), k);
	assert_memory_equal(again, out, k);
	/* Where there is less room than it takes, nothing is written behind it. */
	memset(again, 0x5a, ROOM);
	assert_int_equal(dense_gzip(p, n, again, k - 1), 0);
	for (; k < ROOM; k++)
		assert_int_equal(again[k - 1], 0x5a);
	buf_free(&back);
	free(again);
	free(out);
}

static void codes_of_any_bytes(void **state)
{
	struct buf b = BUF_INIT(ROOM);
	size_t n;

	(void)state;
	add_base64(&b, 20000, 76, 64);
	check_coded(b.p, b.n, b.n * 77 / 100);
	for (n = 1; n < 300; n += n < 20 ? 1 : 7)
		check_coded(b.p, n, n + 200);
	for (n = 64 * 1024 - 2; n < 64 * 1024 + 3; n++)
		check_coded(b.p, n, n);
	buf_clear(&b);
	for (n = 0; n < 100000; n++)
		buf_addc(&b, 'A');
	check_coded(b.p, b.n, b.n / 6);
	buf_clear(&b);
	for (n = 0; n < 100000; n++)
		buf_addc(&b, (char)draw(256));
	check_coded(b.p, b.n, b.n + 400);
	buf_free(&b);
}

/* As often as Fibonacci's numbers: without a ceiling the codes would be as long as
 * there are letters. */
static void codes_have_a_ceiling(void **state)
{
	struct buf b = BUF_INIT(ROOM);
	unsigned was = 1, now = 1, n, i;

	(void)state;
	for (i = 0; i < 20; i++) {
		for (n = 0; n < now; n++)
			buf_addc(&b, (char)('a' + i));
		n = was + now;
		was = now;
		now = n;
	}
	assert_true(b.n < 64 * 1024);
	check_coded(b.p, b.n, b.n / 2);
	buf_free(&b);
}

/* ---- runs ---- */

static void finds_what_is_long_enough(void **state)
{
	static const struct {
		size_t lines, width;
		bool found;
	} cases[] = {
		{ 1000, 76, true },
		{ 1000, 64, true },
		{ RUN / 78, 76, false },
		{ RUN / 78 + 2, 76, true },
		{ 3000, 20, false },
		{ 40, 998, true },
		{ 40, 1200, false },
		{ 10000, 76, true },
	};
	size_t i, from, to, before, n;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct buf b = BUF_INIT(ROOM);

		add_text(&b, 10);
		before = b.n;
		add_base64(&b, cases[i].lines, cases[i].width, 64);
		n = b.n;
		buf_adds(&b, "--=_boundary--\r\n");
		assert_int_equal(dense_next(b.p, b.n, 0, &from, &to), cases[i].found);
		if (cases[i].found) {
			assert_int_equal(from, before);
			assert_true(to < n && to - from >= RUN);
			assert_true(to - from <= RUN_LONGEST + cases[i].width + 2);
			assert_int_equal((n - to) % (cases[i].width + 2), 0);
			/* From the middle of a line on. */
			if (n - before > 2 * RUN) {
				assert_true(
					dense_next(b.p, b.n, before + 5, &from, &to));
				assert_int_equal(from, before + cases[i].width + 2);
			}
		}
		/* Also where the bytes end with the run, some of it is left. */
		if (dense_next(b.p, n, 0, &from, &to))
			assert_true(to + cases[i].width + 2 <= n);
		buf_free(&b);
	}
}

static void text_is_no_run(void **state)
{
	struct buf b = BUF_INIT(ROOM);
	size_t from, to, i;

	(void)state;
	add_text(&b, 5000);
	for (i = 0; i < 2000; i++)
		buf_adds(&b,
			"0123456789abcdef0123456789abcdef 0123456789abcdef0123456789\r\n");
	for (i = 0; i < 50000; i++)
		buf_addc(&b, '\0');
	assert_false(dense_next(b.p, b.n, 0, &from, &to));
	assert_false(dense_next(b.p, 0, 0, &from, &to));
	buf_free(&b);
}

/* Lines that are as long as the header of the next entry and its first line together,
 * which then look like one more: no member may begin where that entry does. */
static void a_header_is_no_line(void **state)
{
	static const char next[] = "a-000001/data/eml/INBOX/000000002.eml";
	struct buf b = BUF_INIT(ROOM);
	size_t width, from, to, at, i;

	(void)state;
	for (width = TAR_BLOCK + 1; width < TAR_BLOCK + 12; width++)
		for (at = 40; at < 40 + 2; at++) {
			char header[TAR_BLOCK] = { 0 };

			memcpy(header, next, sizeof(next));
			memcpy(header + 257, "ustar", 5);
			add_base64(&b, at, width, 64);
			buf_add(&b, header, sizeof(header));
			for (i = sizeof(header); i < width; i++)
				buf_addc(&b, 'A');
			buf_adds(&b, "\r\nThis is another message\r\n");
			assert_true(dense_next(b.p, b.n, 0, &from, &to));
			assert_true(to < at * (width + 2));
			buf_clear(&b);
		}
	buf_free(&b);
}

/* ---- members ---- */

static size_t check_packed(struct buf *b, unsigned *members)
{
	struct buf back = BUF_INIT(ROOM), was = BUF_INIT(ROOM);
	struct packer *p;
	struct err err = ERR_INIT;
	size_t n;

	buf_add(&was, b->p, b->n);
	packer_open(&p, ARCHIVE_GZ);
	assert_int_equal(packer_run(p, b, &err), ST_OK);
	packer_close(&p);
	gunzip(&back, b->p, b->n, members);
	assert_int_equal(back.n, was.n);
	assert_memory_equal(back.p, was.p, was.n);
	n = b->n;
	buf_free(&back);
	buf_free(&was);
	buf_clear(b);
	return n;
}

static void a_member_of_all_kinds(void **state)
{
	struct buf b = BUF_INIT(ROOM);
	unsigned members, i;
	size_t n;

	(void)state;
	add_text(&b, 100);
	check_packed(&b, &members);
	assert_int_equal(members, 1);
	for (i = 0; i < 5; i++) {
		add_text(&b, 100);
		add_base64(&b, 1000, 76, 64);
	}
	n = b.n;
	assert_true(check_packed(&b, &members) < n * 77 / 100);
	assert_int_equal(members, 11);
	/* It begins with base64, and has nothing else. */
	add_base64(&b, 10000, 76, 64);
	check_packed(&b, &members);
	assert_int_equal(members, 4);
	/* Base64 of what says the same again and again: for that there are better
	 * ways. */
	add_base64(&b, 1, 76, 64);
	while (b.n < 200000)
		buf_add(&b, b.p, 78);
	assert_true(check_packed(&b, &members) < 4000);
	assert_int_equal(members, 1);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_of_any_bytes),
		cmocka_unit_test(codes_have_a_ceiling),
		cmocka_unit_test(finds_what_is_long_enough),
		cmocka_unit_test(text_is_no_run),
		cmocka_unit_test(a_header_is_no_line),
		cmocka_unit_test(a_member_of_all_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
