/* t_dot.c: the dot reader, cut everywhere, and against a slow reference. */
#include <popferry/buf.h>
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

static const struct {
	const char *name, *wire;
	size_t wire_n;
	const char *body;
	size_t body_n;
	size_t rest; /* bytes behind the end; -1: no end */
} rows[] = {
	{ "empty message", B(".\r\n"), B(""), 0 },
	{ "blank line", B("\r\n.\r\n"), B("\r\n"), 0 },
	{ "ordinary", B("a: b\r\n\r\nc\r\n.\r\n"), B("a: b\r\n\r\nc\r\n"), 0 },
	{ "next reply behind", B("a\r\n.\r\n+OK\r\n"), B("a\r\n"), 5 },
	{ "next end behind", B("a\r\n.\r\n.\r\n"), B("a\r\n"), 3 },
	{ "stuffed dot", B("..x\r\n...\r\n.\r\n"), B(".x\r\n..\r\n"), 0 },
	{ "stuffed dot alone", B("..\r\n.\r\n"), B(".\r\n"), 0 },
	{ "stuffed dots in a row", B("..\r\n..\r\n.\r\n"), B(".\r\n.\r\n"), 0 },
	{ "twice stuffed", B("....\r\n.\r\n"), B("...\r\n"), 0 },
	{ "not stuffed", B(".x\r\n.\r\n"), B("x\r\n"), 0 },
	{ "NUL kept", B("a\0b\r\n.\r\n"), B("a\0b\r\n"), 0 },
	{ "NUL before the end", B("\0\r\n.\r\n"), B("\0\r\n"), 0 },
	{ "dot NUL is no end", B("a\r\n.\0\r\n.\r\n"), B("a\r\n\0\r\n"), 0 },
	{ "LF.LF no end", B("a\n.\nb\r\n.\r\n"), B("a\n.\nb\r\n"), 0 },
	{ "LF.CRLF no end", B("a\n.\r\nb\r\n.\r\n"), B("a\n.\r\nb\r\n"), 0 },
	{ "CRLF.LF no end", B("a\r\n.\nb\r\n.\r\n"), B("a\r\n\nb\r\n"), 0 },
	{ "CR.CRLF no end", B("a\r.\r\nb\r\n.\r\n"), B("a\r.\r\nb\r\n"), 0 },
	{ "dot CR other", B("a\r\n.\rx\r\n.\r\n"), B("a\r\n\rx\r\n"), 0 },
	{ "dot CR CR LF", B("a\r\n.\r\r\n.\r\n"), B("a\r\n\r\r\n"), 0 },
	{ "dot CR dot", B(".\r.\r\n.\r\n"), B("\r.\r\n"), 0 },
	{ "LF at once after a dot", B(".\n.\r\n\r\n.\r\n"), B("\n.\r\n\r\n"), 0 },
	{ "glued dot is no end", B("text.\r\n"), B("text.\r\n"), (size_t)-1 },
	{ "glued dot, then the end", B("text.\r\n.\r\n"), B("text.\r\n"), 0 },
	{ "CR CR LF dot", B("a\r\r\n.\r\n"), B("a\r\r\n"), 0 },
	{ "LF CR LF dot", B("a\n\r\n.\r\n"), B("a\n\r\n"), 0 },
	{ "no end: dot", B("a\r\n."), B("a\r\n"), (size_t)-1 },
	{ "no end: dot CR", B("a\r\n.\r"), B("a\r\n"), (size_t)-1 },
	{ "no end: CR", B("a\r"), B("a\r"), (size_t)-1 },
	{ "no end: nothing", B(""), B(""), (size_t)-1 },
	{ "many lines", B("1\r\n\r\n\r\n..2\r\n\n\n3\r\r4\r\n\r\n.\r\n"),
		B("1\r\n\r\n\r\n.2\r\n\n\n3\r\r4\r\n\r\n"), 0 },
};

static void keep(void *ctx, const char *p, size_t n)
{
	assert_true(n > 0);
	assert_true(buf_add(ctx, p, n));
}

/* Feeds [0,cut) whole and the rest in steps; what came after the end stays. */
static size_t feed(const char *wire, size_t n, size_t cut, size_t step, bool *done,
	struct buf *out)
{
	struct dot d = { 0 };
	size_t i = 0, k, used;

	*done = false;
	while (i < n && !*done) {
		k = i < cut ? cut - i : step;
		if (k > n - i)
			k = n - i;
		/* An own copy, so that a sanitizer sees a read beyond it. */
		char *piece = xmemdup0(wire + i, k);
		piece = xrealloc(piece, k);
		used = dot_feed(&d, piece, k, done, keep, out);
		free(piece);
		assert_true(*done ? used <= k : used == k);
		i += used;
	}
	assert_true(!*done || d.state == 0);
	return i;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t r = 0; r < N_ELEMENTS(rows); r++) {
		for (size_t cut = 0; cut <= rows[r].wire_n; cut++) {
			for (size_t step = 1; step <= rows[r].wire_n; step++) {
				struct buf out = BUF_INIT(1024);
				bool done, ends = rows[r].rest != (size_t)-1;
				size_t used = feed(rows[r].wire, rows[r].wire_n, cut,
					step, &done, &out);

				if (done != ends ||
					used + (ends ? rows[r].rest : 0) !=
						rows[r].wire_n ||
					out.n != rows[r].body_n ||
					memcmp(buf_str(&out), rows[r].body, out.n))
					fail_msg("%s, cut at %zu, step %zu",
						rows[r].name, cut, step);
				buf_free(&out);
			}
		}
	}
}

/* The straightforward way: look for the end, then line by line. */
static bool reference(const char *p, size_t n, struct buf *out, size_t *used)
{
	size_t i = 0, end;
	bool found = n >= 3 && memcmp(p, ".\r\n", 3) == 0;

	for (end = 0; !found && end + 5 <= n; end++)
		found = memcmp(p + end, "\r\n.\r\n", 5) == 0;
	if (!found)
		return false;
	end = n >= 3 && memcmp(p, ".\r\n", 3) == 0 ? 0 : end + 1;
	*used = end + 3;
	while (i < end) {
		if (p[i] == '.' && (i == 0 || (i > 1 && !memcmp(p + i - 2, "\r\n", 2))))
			i++;
		else
			buf_addc(out, p[i++]);
	}
	return true;
}

static void test_random(void **state)
{
	static const char alphabet[] = { 'a', '\r', '\n', '\0', '.' };
	char wire[48];

	(void)state;
	srand(7);
	for (int round = 0; round < 60000; round++) {
		struct buf want = BUF_INIT(1024), got = BUF_INIT(1024);
		size_t n = (size_t)rand() % (sizeof(wire) - 5), want_used = 0, used;
		bool done;

		for (size_t i = 0; i < n; i++)
			wire[i] = alphabet[(size_t)rand() % sizeof(alphabet)];
		memcpy(wire + n, "\r\n.\r\n", 5);
		n += 5;
		assert_true(reference(wire, n, &want, &want_used));
		used = feed(wire, n, (size_t)rand() % n, (size_t)rand() % n + 1, &done,
			&got);
		assert_true(done);
		assert_int_equal(used, want_used);
		assert_int_equal(got.n, want.n);
		assert_memory_equal(buf_str(&got), buf_str(&want), got.n);
		buf_free(&want);
		buf_free(&got);
	}
}

/* The same with more text between, as blocks of any length have to find it. */
static void test_random_long(void **state)
{
	static const struct {
		const char *p;
		size_t n;
	} bits[] = { { B("\r\n.") }, { B("\n.") }, { B("\r\n") }, { B("\r") },
		{ B(".") }, { B("\r\n..") }, { B(".\n") }, { B("\0") } };
	char wire[1200];

	(void)state;
	srand(11);
	for (int round = 0; round < 20000; round++) {
		struct buf want = BUF_INIT(2048), got = BUF_INIT(2048);
		size_t n = 0, want_used = 0, used;
		bool done;

		for (int k = rand() % 6; k >= 0; k--) {
			size_t b = (size_t)rand() % N_ELEMENTS(bits),
			       plain = (size_t)rand() % 150;

			memset(wire + n, 'a', plain);
			n += plain;
			memcpy(wire + n, bits[b].p, bits[b].n);
			n += bits[b].n;
		}
		memcpy(wire + n, "\r\n.\r\n", 5);
		n += 5;
		assert_true(reference(wire, n, &want, &want_used));
		used = feed(wire, n, (size_t)rand() % n, (size_t)rand() % n + 1, &done,
			&got);
		assert_true(done);
		assert_int_equal(used, want_used);
		assert_int_equal(got.n, want.n);
		assert_memory_equal(buf_str(&got), buf_str(&want), got.n);
		buf_free(&want);
		buf_free(&got);
	}
}

/* A window of replies in one buffer: the reader is ready for the next one. */
static void test_window(void **state)
{
	static const char wire[] = "a\r\n.\r\n..b\r\n.\r\n.\r\nc\r\n.\r\n";
	static const char *const bodies[] = { "a\r\n", ".b\r\n", "", "c\r\n" };
	struct dot d = { 0 };
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(bodies); i++) {
		struct buf out = BUF_INIT(64);
		bool done;

		at += dot_feed(&d, wire + at, sizeof(wire) - 1 - at, &done, keep, &out);
		assert_true(done);
		assert_string_equal(buf_str(&out), bodies[i]);
		buf_free(&out);
	}
	assert_int_equal(at, sizeof(wire) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_long),
		cmocka_unit_test(test_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
