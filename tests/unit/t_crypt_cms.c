/* t_crypt_cms.c: CMS AuthEnvelopedData, beside the openssl program; damage. */
#include "crypt_kit.h"

#include <openssl/cms.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

enum { DAY = 24 * 3600 };

struct owner {
	const char *name;
	char *key, *cert; /* paths */
};
static struct owner rsa, ec, p521, stranger;

static void add_ext(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_true(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

static X509 *make_cert(EVP_PKEY *key, const char *cn, int from, int to, const char *use)
{
	static long serial;
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), (long)from * DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), (long)to * DAY);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	if (use)
		add_ext(x, NID_key_usage, use);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	return x;
}

static char *put_pem(const char *name, const char *end, EVP_PKEY *key, X509 *x)
{
	char *file = xasprintf("%s.%s", name, end), *path = in_dir(file), *p;
	BIO *bio = BIO_new(BIO_s_mem());
	long n;

	if (key)
		PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	if (x)
		PEM_write_bio_X509(bio, x);
	n = BIO_get_mem_data(bio, &p);
	put(file, p, (size_t)n);
	BIO_free(bio);
	free(file);
	return path;
}

static void make_owner(struct owner *o, const char *name, EVP_PKEY *key)
{
	X509 *x = make_cert(key, name, -1, 10, NULL);

	o->name = name;
	o->key = put_pem(name, "key", key, NULL);
	o->cert = put_pem(name, "pem", NULL, x);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void drop_owner(struct owner *o)
{
	free(o->key);
	free(o->cert);
}

static int make_world(void **state)
{
	if (make_dir(state) != 0)
		return -1;
	make_owner(&rsa, "rsa", EVP_RSA_gen(2048));
	make_owner(&ec, "ec", EVP_EC_gen("P-256"));
	make_owner(&p521, "p521", EVP_EC_gen("P-521"));
	make_owner(&stranger, "stranger", EVP_EC_gen("P-256"));
	return 0;
}

static int drop_world(void **state)
{
	drop_owner(&rsa);
	drop_owner(&ec);
	drop_owner(&p521);
	drop_owner(&stranger);
	return drop_dir(state);
}

static struct recipients *to_all(void)
{
	struct recipients *r = NULL;
	struct err err = ERR_INIT;

	recipients_open(&r);
	good(recipients_add(r, rsa.cert, &err), &err);
	good(recipients_add(r, ec.cert, &err), &err);
	good(recipients_add(r, p521.cert, &err), &err);
	good(recipients_add(r, ec.cert, &err), &err); /* once is enough */
	assert_int_equal(recipients_count(r), 3);
	return r;
}

static struct identities *ids_of(const struct owner *o)
{
	struct identities *ids = NULL;
	struct err err = ERR_INIT;

	identities_open(&ids);
	good(identities_add(ids, o->key, NULL, NULL, &err), &err);
	return ids;
}

static const struct {
	uint64_t n;
	size_t step;
} sizes[] = {
	{ 0, 1 },
	{ 1, 1 },
	{ 300, 7 },
	{ CHUNK, CHUNK },
	{ 3 * CHUNK + 9, 50000 },
};

static void test_sizes(void **state)
{
	const struct owner *const all[] = { &rsa, &ec, &p521 };
	struct recipients *r = to_all();
	size_t i, k;

	(void)state;
	assert_int_equal(recipients_kind(r), CRYPT_CMS);
	assert_string_equal(crypt_suffix(recipients_kind(r)), ".p7m");
	for (i = 0; i < N_ELEMENTS(sizes); i++) {
		struct identities *own;

		identities_open(&own);
		encrypt_file("f.p7m", r, sizes[i].n, sizes[i].step, own);
		for (k = 0; k <= N_ELEMENTS(all); k++) {
			struct identities *ids = k < N_ELEMENTS(all) ? ids_of(all[k])
								     : own;
			struct err err = ERR_INIT;
			struct bytes *b = NULL;

			good(bytes_decrypt(
				     &b, open_it("f.p7m"), true, ids, dirfd_, &err),
				&err);
			check_bytes(b, sizes[i].n, 1 + sizes[i].step / 3);
			bytes_close(&b);
			identities_close(&ids);
		}
	}
	recipients_close(&r);
}

/* ---- the openssl program ---- */

static void test_program(void **state)
{
	const struct owner *const all[] = { &rsa, &ec, &p521 };
	char *enc = in_dir("f.p7m"), *out = in_dir("out");
	struct recipients *r = to_all();
	size_t i, k, n;

	(void)state;
	for (i = 0; i < N_ELEMENTS(sizes); i++) {
		encrypt_file("f.p7m", r, sizes[i].n, sizes[i].step, NULL);
		for (k = 0; k < N_ELEMENTS(all); k++) {
			const char *const args[] = { "openssl", "cms", "-decrypt",
				"-inform", "DER", "-in", enc, "-recip", all[k]->cert,
				"-inkey", all[k]->key, "-out", out, NULL };
			unsigned char *p, *want = xmalloc((size_t)sizes[i].n + 1);

			assert_int_equal(run(args, NULL), 0);
			n = read_file(&p, "out");
			assert_int_equal(n, sizes[i].n);
			plain_text(want, 0, n);
			assert_memory_equal(p, want, n);
			free(p);
			free(want);
		}
	}
	recipients_close(&r);
	free(enc);
	free(out);
}

static const struct foreign {
	const char *name, *cipher, *option;
	const struct owner *to;
	const char *why; /* NULL: it is read */
} foreign[] = {
	{ "RSA, OAEP", "-aes-256-gcm", "rsa_padding_mode:oaep", &rsa, NULL },
	{ "EC", "-aes-256-gcm", "ecdh_kdf_md:sha256", &ec, NULL },
	{ "EC, older digest", "-aes-256-gcm", "ecdh_kdf_md:sha1", &ec, NULL },
	{ "older padding", "-aes-256-gcm", "rsa_padding_mode:pkcs1", &rsa,
		"none of the identities" },
	{ "not authenticated", "-aes-256-cbc", "ecdh_kdf_md:sha256", &ec,
		"nothing in it is authenticated" },
	{ "another cipher", "-aes-128-gcm", "ecdh_kdf_md:sha256", &ec, "AES-256-GCM" },
};

static void test_foreign(void **state)
{
	char *enc = in_dir("f.p7m"), *plain = in_dir("plain");
	unsigned char text[1000];
	size_t i, k;

	(void)state;
	plain_text(text, 0, sizeof(text));
	put("plain", text, sizeof(text));
	for (i = 0; i < 2 * N_ELEMENTS(foreign); i++) {
		const struct foreign *f = &foreign[i / 2];
		const char *const args[] = { "openssl", "cms", "-encrypt", "-binary",
			f->cipher, "-outform", "DER", "-in", plain, "-out", enc,
			"-recip", f->to->cert, "-keyopt", f->option,
			i % 2 ? "-stream" : NULL, NULL };
		struct identities *ids = ids_of(f->to);
		struct err err = ERR_INIT;
		struct bytes *b = NULL;
		enum status rc;

		k = (size_t)run(args, NULL);
		assert_int_equal(k, 0);
		rc = bytes_decrypt(&b, open_it("f.p7m"), true, ids, dirfd_, &err);
		if (!f->why) {
			good(rc, &err);
			check_bytes(b, sizeof(text), 300);
		} else {
			assert_int_equal(rc, ST_DENIED);
			has_text(err.text, f->why);
		}
		bytes_close(&b);
		identities_close(&ids);
	}
	free(enc);
	free(plain);
}

/* ---- damage ---- */

static enum status decrypt(const struct identities *ids, uint64_t n, struct err *err)
{
	struct bytes *b = NULL;
	enum status rc = bytes_decrypt(&b, open_it("f.p7m"), true, ids, dirfd_, err);

	if (rc == ST_OK)
		check_bytes(b, n, 100);
	bytes_close(&b);
	return rc;
}

/* Where the list of recipients is: what is wrong there for others is no harm. */
static void find_infos(const unsigned char *p, size_t n, size_t *from, size_t *to)
{
	size_t i, k;

	for (i = 0; i + 4 < n; i++)
		if (memcmp(p + i, "\x02\x01\x00\x31", 4) == 0)
			break;
	assert_true(i + 4 < n && p[i + 4] >= 0x81 && p[i + 4] <= 0x82);
	*from = i + 5;
	*to = 0;
	for (k = p[i + 4] & 0x7f; k--;)
		*to = *to << 8 | p[(*from)++];
	*to += *from;
}

static void test_each_byte(void **state)
{
	struct identities *ids = ids_of(&ec);
	struct recipients *r = NULL;
	unsigned char *p;
	size_t n, i, from, to, unnoticed = 0;

	(void)state;
	recipients_open(&r);
	good(recipients_add(r, ec.cert, NULL), &(struct err)ERR_INIT);
	encrypt_file("f.p7m", r, 50, 20, NULL);
	assert_int_equal(decrypt(ids, 50, NULL), ST_OK);
	n = read_file(&p, "f.p7m");
	find_infos(p, n, &from, &to);
	for (i = 0; i < n; i++) {
		p[i] ^= 0x10;
		put("f.p7m", p, n);
		/* A name in the list may be wrong, but never what comes out. */
		if (decrypt(ids, 50, NULL) == ST_OK) {
			if (i < from || i >= to)
				fail_msg("byte %zu was changed", i);
			unnoticed++;
		}
		p[i] ^= 0x10;
		put("f.p7m", p, i);
		if (decrypt(ids, 50, NULL) == ST_OK)
			fail_msg("cut off at %zu", i);
	}
	assert_true(unnoticed < to - from);
	p = xrealloc(p, n + 1);
	p[n] = 0;
	put("f.p7m", p, n + 1);
	assert_int_equal(decrypt(ids, 50, NULL), ST_DENIED);
	free(p);
	recipients_close(&r);
	identities_close(&ids);
}

static void test_short_tag(void **state)
{
	struct identities *ids = ids_of(&ec);
	struct recipients *r = to_all();
	struct err err = ERR_INIT;
	unsigned char *p;
	size_t n, i;

	(void)state;
	encrypt_file("f.p7m", r, 50, 50, NULL);
	n = read_file(&p, "f.p7m");
	for (i = 0; i + 3 < n && memcmp(p + i, "\x02\x01\x10\xa0", 4) != 0; i++)
		;
	assert_true(i + 3 < n);
	p[i + 2] = 12;
	put("f.p7m", p, n);
	assert_int_equal(decrypt(ids, 50, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	free(p);
	recipients_close(&r);
	identities_close(&ids);
}

static void test_others(void **state)
{
	struct identities *ids = ids_of(&stranger);
	struct recipients *r = to_all();
	struct err err = ERR_INIT;

	(void)state;
	encrypt_file("f.p7m", r, 50, 50, NULL);
	assert_int_equal(decrypt(ids, 50, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	has_text(err.text, "--identity");
	put("f.p7m", "hello", 5);
	assert_int_equal(decrypt(ids, 50, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	recipients_close(&r);
	identities_close(&ids);
}

/* ---- certificates nothing can be encrypted to ---- */

static const struct {
	const char *name, *curve; /* NULL: RSA */
	int bits, from, to;
	const char *use, *why;
} unfit[] = {
	{ "expired", "P-256", 0, -10, -5, NULL, "has expired" },
	{ "early", "P-256", 0, 5, 10, NULL, "not valid yet" },
	{ "short", NULL, 1024, -1, 5, NULL, "too short" },
	{ "signer", NULL, 2048, -1, 5, "digitalSignature", "keyEncipherment" },
	{ "ecsigner", "P-256", 0, -1, 5, "digitalSignature", "keyAgreement" },
	{ "good", "P-384", 0, -1, 5, "keyAgreement", NULL },
};

static void test_unfit(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(unfit); i++) {
		EVP_PKEY *key = unfit[i].curve ? EVP_EC_gen(unfit[i].curve)
					       : EVP_RSA_gen((unsigned)unfit[i].bits);
		X509 *x = make_cert(
			key, unfit[i].name, unfit[i].from, unfit[i].to, unfit[i].use);
		char *path = put_pem(unfit[i].name, "pem", NULL, x);
		struct recipients *r = NULL;
		struct err err = ERR_INIT;
		enum status rc;

		recipients_open(&r);
		rc = recipients_add(r, path, &err);
		if (unfit[i].why)
			has_text(err.text, unfit[i].why);
		else
			good(rc, &err);
		assert_int_equal(rc, unfit[i].why ? ST_DENIED : ST_OK);
		/* For what was encrypted to it before. */
		recipients_expired(r);
		rc = recipients_add(r, path, &err);
		assert_int_equal(rc, unfit[i].why && i > 0 ? ST_DENIED : ST_OK);
		recipients_close(&r);
		free(path);
		X509_free(x);
		EVP_PKEY_free(key);
	}
}

static void test_mixed(void **state)
{
	struct recipients *r = to_all();
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(recipients_add(r,
				 "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn"
				 "73equnujwj",
				 &err),
		ST_DENIED);
	has_text(err.text, "one kind only");
	assert_int_equal(err.exit, EX_USAGE);
	recipients_close(&r);
}

/* What waits for its tag is nowhere in clear. */
static void test_memory(void **state)
{
	enum { MIB = 1024 * 1024, SIZE = 24 };
	struct identities *ids = ids_of(&ec);
	struct recipients *r = to_all();
	struct err err = ERR_INIT;
	struct bytes *b = NULL;
	struct rusage before, after;

	(void)state;
	encrypt_file("f.p7m", r, (uint64_t)SIZE * MIB, 4096, NULL);
	getrusage(RUSAGE_SELF, &before);
	good(bytes_decrypt(&b, open_it("f.p7m"), true, ids, dirfd_, &err), &err);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 2048); /* KiB */
	assert_int_equal(bytes_size(b), (uint64_t)SIZE * MIB);
	bytes_close(&b);
	recipients_close(&r);
	identities_close(&ids);
}

static bool derived(unsigned char key[CRYPT_KEY], const char *a, const char *b,
	const char *salt, const char *info)
{
	struct identities *ids;
	enum status rc;

	identities_open(&ids);
	good(identities_add(ids, a, NULL, NULL, NULL), NULL);
	if (b)
		good(identities_add(ids, b, NULL, NULL, NULL), NULL);
	rc = identities_derive(key, ids, salt, info, NULL);
	identities_close(&ids);
	return rc == ST_OK;
}

/* Each key, salt and purpose gives another, and always the same. */
static void test_derive(void **state)
{
	const struct {
		const char *a, *b, *salt, *info;
	} ways[] = {
		{ rsa.key, NULL, "s", "i" },
		{ rsa.key, NULL, "t", "i" },
		{ rsa.key, NULL, "s", "j" },
		{ ec.key, NULL, "s", "i" },
		{ p521.key, NULL, "s", "i" },
		{ stranger.key, NULL, "s", "i" },
		{ rsa.key, ec.key, "s", "i" },
		{ ec.key, p521.key, "s", "i" },
	};
	unsigned char keys[N_ELEMENTS(ways)][CRYPT_KEY], again[CRYPT_KEY];
	struct identities *none;
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(ways); i++) {
		const char *a = ways[i].a, *b = ways[i].b;

		assert_true(derived(keys[i], a, b, ways[i].salt, ways[i].info));
		assert_true(derived(again, b ? b : a, a, ways[i].salt, ways[i].info));
		assert_memory_equal(keys[i], again, CRYPT_KEY);
		for (k = 0; k < i; k++)
			assert_memory_not_equal(keys[i], keys[k], CRYPT_KEY);
	}
	identities_open(&none);
	assert_int_equal(identities_derive(again, none, "s", "i", NULL), ST_END);
	identities_close(&none);
}

/* The public half has nothing to derive from, as a key that a token keeps. */
static void test_derive_token(void **state)
{
	struct identities *ids;
	unsigned char key[CRYPT_KEY];
	X509 *x = NULL;
	FILE *f = fopen(ec.cert, "r");

	(void)state;
	assert_true(f && PEM_read_X509(f, &x, NULL, NULL));
	fclose(f);
	identities_open(&ids);
	identities_new(ids, ID_PKEY)->pkey = X509_get_pubkey(x);
	assert_int_equal(identities_derive(key, ids, "s", "i", NULL), ST_END);
	identities_close(&ids);
	X509_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_each_byte),
		cmocka_unit_test(test_short_tag),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_unfit),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_derive),
		cmocka_unit_test(test_derive_token),
	};

	return cmocka_run_group_tests(tests, make_world, drop_world);
}
