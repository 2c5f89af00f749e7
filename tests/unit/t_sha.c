/* t_sha.c: SHA-256, alone and two at once, against another way to get it. */
#include "../../src/mail/sha.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <popferry/mem.h>
#include <popferry/text.h>

enum { MOST = 4096 };

static const struct {
	const char *text, *hex;
} rows[] = {
	{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

static void check(const unsigned char *got, const unsigned char *p, size_t n)
{
	unsigned char want[DIGEST];

	EVP_Digest(p, n, want, NULL, EVP_sha256(), NULL);
	assert_memory_equal(got, want, DIGEST);
}

/* Ends begin anew, so each row is asked twice. */
static void test_rows(void **state)
{
	unsigned char got[DIGEST];
	char hex[2 * DIGEST + 1];
	struct sha s;

	(void)state;
	sha_init(&s);
	for (size_t i = 0; i < 2 * N_ELEMENTS(rows); i++) {
		sha_add(&s, rows[i / 2].text, strlen(rows[i / 2].text));
		sha_end(&s, got);
		assert_string_equal(text_hex(hex, got, DIGEST), rows[i / 2].hex);
	}
}

static void fill(unsigned char *p, size_t n)
{
	while (n)
		p[--n] = (unsigned char)rand();
}

/* Both in pieces that have nothing to do with each other, nor with blocks. */
static void test_two(void **state)
{
	unsigned char *a = xmalloc(MOST), *b = xmalloc(MOST), got[DIGEST];
	size_t an, bn, i, j;
	struct sha x, y;

	(void)state;
	srand(17);
	sha_init(&x);
	sha_init(&y);
	for (int round = 0; round < 4000; round++) {
		size_t most = round % 2 ? 200 : 1500;

		an = (size_t)rand() % MOST;
		bn = round % 5 ? (size_t)rand() % MOST : an;
		fill(a, an);
		fill(b, bn);
		for (i = j = 0; i < an || j < bn;) {
			size_t k = (size_t)rand() % most, l = (size_t)rand() % most;

			k = k < an - i ? k : an - i;
			l = l < bn - j ? l : bn - j;
			if (rand() % 4) {
				sha_add_two(&x, a + i, k, &y, b + j, l);
			} else {
				sha_add(&x, a + i, k);
				sha_add(&y, b + j, l);
			}
			i += k;
			j += l;
		}
		sha_end(&x, got);
		check(got, a, an);
		sha_end(&y, got);
		check(got, b, bn);
	}
	free(a);
	free(b);
}

/* The count of bits needs more than 32 of them. */
static void test_long(void **state)
{
	enum { PIECE = 1024 * 1024, PIECES = 520 };
	unsigned char *p = xcalloc(1, PIECE), got[2][DIGEST], want[DIGEST];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	struct sha x, y;

	(void)state;
	sha_init(&x);
	sha_init(&y);
	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	for (int i = 0; i < PIECES; i++) {
		p[i] = (unsigned char)i;
		sha_add_two(&x, p, PIECE, &y, p, PIECE);
		EVP_DigestUpdate(md, p, PIECE);
	}
	sha_end(&x, got[0]);
	sha_end(&y, got[1]);
	EVP_DigestFinal_ex(md, want, NULL);
	assert_memory_equal(got[0], want, DIGEST);
	assert_memory_equal(got[1], want, DIGEST);
	EVP_MD_CTX_free(md);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_two),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
