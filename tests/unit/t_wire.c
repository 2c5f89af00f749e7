/* t_wire.c: the form that goes up by IMAP, against a slow reference. */
#include <popferry/buf.h>
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

static int dirfd_;

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	dirfd_ = open(tmp ? tmp : "/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return close(dirfd_);
}

static struct message *make(struct spool *sp, const char *p, size_t n)
{
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m = NULL;

	message_begin(&mk, sp);
	message_put(mk, p, n);
	assert_int_equal(message_end(&mk, &m, &err), ST_OK);
	return m;
}

static void wire_all(const struct message *m, size_t cap, struct buf *out)
{
	char *piece = xmalloc(cap);
	struct err err = ERR_INIT;
	struct wire w;
	const char *p;
	size_t n;

	wire_begin(&w, m);
	for (;;) {
		assert_int_equal(wire_next(&w, piece, cap, &p, &n, &err), ST_OK);
		if (n == 0)
			break;
		if (p == piece)
			assert_true(n <= cap);
		assert_true(buf_add(out, p, n));
	}
	/* The end is the end. */
	assert_int_equal(wire_next(&w, piece, cap, &p, &n, &err), ST_OK);
	assert_int_equal(n, 0);
	free(piece);
}

static void check_digest(const struct message *m, const char *p, size_t n)
{
	unsigned char want[DIGEST], got[DIGEST];
	struct err err = ERR_INIT;

	assert_int_equal(EVP_Digest(p, n, want, NULL, EVP_sha256(), NULL), 1);
	assert_int_equal(wire_digest(m, got, &err), ST_OK);
	assert_memory_equal(got, want, DIGEST);
}

static void reference(const char *p, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
			buf_addc(out, '\r');
		buf_addc(out, p[i] ? p[i] : '\x80');
	}
	if (out->n < 2 || memcmp(out->p + out->n - 2, "\r\n", 2) != 0)
		buf_adds(out, "\r\n");
}

static void test_rows(void **state)
{
	static const struct {
		const char *name, *in;
		size_t in_n;
		const char *out;
		size_t out_n;
	} rows[] = {
		{ "as it is", B("a: b\r\n\r\nc\r\n"), B("a: b\r\n\r\nc\r\n") },
		{ "empty", B(""), B("\r\n") },
		{ "no final end", B("a"), B("a\r\n") },
		{ "final CR", B("a\r"), B("a\r\r\n") },
		{ "final LF", B("a\n"), B("a\r\n") },
		{ "LF only", B("\na\n\nb\n"), B("\r\na\r\n\r\nb\r\n") },
		{ "CR stays", B("a\rb\r\n"), B("a\rb\r\n") },
		{ "CR CR LF stays", B("a\r\r\n"), B("a\r\r\n") },
		{ "NUL", B("a\0\r\n"), B("a\x80\r\n") },
		{ "NUL last", B("a\r\n\0"), B("a\r\n\x80\r\n") },
		{ "8-bit stays", B("\x80\xff\r\n"), B("\x80\xff\r\n") },
		{ "dots stay", B(".\r\n..\r\n"), B(".\r\n..\r\n") },
	};
	struct spool *sp;

	(void)state;
	spool_open(&sp, dirfd_, 1024 * 1024);
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		struct message *m = make(sp, rows[i].in, rows[i].in_n);
		struct buf out = BUF_INIT(1024);

		wire_all(m, 4096, &out);
		if (out.n != rows[i].out_n || memcmp(out.p, rows[i].out, out.n) ||
			m->facts.wire != out.n)
			fail_msg("%s: %zu bytes, facts say %zu", rows[i].name, out.n,
				(size_t)m->facts.wire);
		check_digest(m, out.p, out.n);
		buf_free(&out);
		message_free(&m);
	}
	spool_close(&sp);
}

/* Every buffer size, in memory and in a file. */
static void test_random(void **state)
{
	static const char alphabet[] = { 'a', '\r', '\n', '\0', '.' };
	char in[64];

	(void)state;
	srand(19);
	for (int round = 0; round < 4000; round++) {
		size_t n = (size_t)rand() % sizeof(in);
		struct buf want = BUF_INIT(1024);
		struct message *m;
		struct spool *sp;

		for (size_t i = 0; i < n; i++)
			in[i] = alphabet[(size_t)rand() % sizeof(alphabet)];
		reference(in, n, &want);
		spool_open(&sp, dirfd_, round % 8 ? 1024 * 1024 : 0);
		m = make(sp, in, n);
		assert_int_equal(m->facts.wire, want.n);
		assert_int_equal(m->facts.size, n);
		check_digest(m, want.p, want.n);
		for (size_t cap = 2; cap < 24; cap++) {
			struct buf got = BUF_INIT(1024);

			wire_all(m, cap, &got);
			assert_int_equal(got.n, want.n);
			assert_memory_equal(got.p, want.p, want.n);
			buf_free(&got);
		}
		message_free(&m);
		spool_close(&sp);
		buf_free(&want);
	}
}

/* Larger than memory allows, with an odd line now and then. */
static void test_large(void **state)
{
	enum { MAX = 8 * 1024 * 1024 };
	struct buf in = BUF_INIT(MAX), want = BUF_INIT(MAX), got = BUF_INIT(MAX);
	static const size_t caps[] = { 4096, 4097, 65536, 1000003 };
	struct message *m;
	struct spool *sp;

	(void)state;
	srand(23);
	while (in.n < 700000) {
		for (int k = rand() % 150; k > 0; k--)
			buf_addc(&in, (char)('a' + k % 26));
		if (rand() % 9)
			buf_add(&in, "\r\n", 2);
		else
			buf_add(&in, "\0\n\r", 3);
	}
	reference(in.p, in.n, &want);
	spool_open(&sp, dirfd_, MAX);
	m = make(sp, in.p, in.n);
	assert_int_equal(m->facts.wire, want.n);
	check_digest(m, want.p, want.n);
	for (size_t i = 0; i < N_ELEMENTS(caps); i++) {
		buf_clear(&got);
		wire_all(m, caps[i], &got);
		assert_int_equal(got.n, want.n);
		assert_memory_equal(got.p, want.p, want.n);
	}
	message_free(&m);
	spool_close(&sp);
	buf_free(&in);
	buf_free(&want);
	buf_free(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
