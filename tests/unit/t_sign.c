/* t_sign.c: keys, signatures, and what they are worth after years. */
#include "sign_kit.h"

static const char seal[] = "{\"seal\":1}\n";
static struct ident ca, tsa_ca, stranger, signer, expired, soon, tsa, old_tsa, for_tls;

static int make_world(void **state)
{
	const char *sign = "critical,digitalSignature", *time = "critical,timeStamping";

	(void)state;
	make_dir();
	make_ident(&ca, "Test CA\x1b[1m", NULL, -100, 100, NULL, NULL);
	make_ident(&tsa_ca, "Time CA", NULL, -100, 100, NULL, NULL);
	make_ident(&stranger, "Strange CA", NULL, -100, 100, NULL, NULL);
	make_ident(&signer, "Ann Archivist", &ca, -20, 20, sign, "");
	make_ident(&expired, "Old Archivist", &ca, -20, -10, sign, "");
	make_ident(&soon, "New Archivist", &ca, 10, 20, sign, "");
	make_ident(&tsa, "Clock", &tsa_ca, -20, 20, sign, time);
	make_ident(&old_tsa, "Old Clock", &tsa_ca, -20, -10, sign, time);
	make_ident(&for_tls, "www", &ca, -20, 20, sign, "serverAuth");
	put_cert("ca.pem", &ca);
	put_cert("tsa_ca.pem", &tsa_ca);
	put_cert("stranger.pem", &stranger);
	return 0;
}

static int drop_world(void **state)
{
	struct ident *const all[] = { &ca, &tsa_ca, &stranger, &signer, &expired, &soon,
		&tsa, &old_tsa, &for_tls };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(all); i++)
		drop_ident(all[i]);
	drop_dir();
	return 0;
}

static void fresh(void)
{
	unlinkat(dirfd_, "s.p7s", 0);
	unlinkat(dirfd_, "s.tsr", 0);
	put("s.json", seal, sizeof(seal) - 1);
}

static void sign_by(const struct ident *id)
{
	struct signer s = { id->key, id->cert, sk_X509_new_null() };

	assert_int_equal(sign_file(&s, dirfd_, "s.json", NULL), ST_OK);
	assert_int_equal(sign_file(&s, dirfd_, "s.json", NULL), ST_END);
	sk_X509_free(s.chain);
}

static void check(struct sign_state *out, const char *signers, const char *tsas)
{
	char *a = signers ? in_dir(signers) : NULL, *b = in_dir(tsas);
	struct sign_trust *t = NULL;

	assert_int_equal(sign_trust_open(&t, a, b, NULL), ST_OK);
	assert_int_equal(sign_check(out, t, dirfd_, "s.json", NULL), ST_OK);
	sign_trust_close(&t);
	free(a);
	free(b);
}

/* ---- verdicts ---- */

static const struct verdict {
	const char *name;
	const struct ident *by;
	const char *trust;
	enum sign_verdict want;
	const char *why;
} verdicts[] = {
	{ "trusted", &signer, "ca.pem", SIGN_TRUSTED, "" },
	{ "nobody named", &signer, NULL, SIGN_UNKNOWN, "nobody was named" },
	{ "other CA", &signer, "stranger.pem", SIGN_UNKNOWN,
		"not among those trusted" },
	{ "expired", &expired, "ca.pem", SIGN_BAD, "expired at" },
	{ "not yet", &soon, "ca.pem", SIGN_BAD, "valid only from" },
	{ "for TLS", &for_tls, "ca.pem", SIGN_BAD, "is not for this" },
	{ "a CA's", &ca, "ca.pem", SIGN_TRUSTED, "" },
};

static void test_verdicts(void **state)
{
	struct sign_state s;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(verdicts); i++) {
		const struct verdict *v = &verdicts[i];

		fresh();
		sign_by(v->by);
		check(&s, v->trust, "tsa_ca.pem");
		assert_int_equal(s.signature.verdict, v->want);
		assert_int_equal(s.stamp.verdict, SIGN_NONE);
		has_text(s.signature.why, v->why);
		assert_null(strchr(s.signature.by, '\x1b'));
		assert_int_equal(strlen(s.signature.sha256), 64);
	}
}

/* A pinned certificate needs no CA. */
static void test_pinned(void **state)
{
	struct sign_state s;

	(void)state;
	fresh();
	sign_by(&signer);
	put_cert("pin.pem", &signer);
	check(&s, "pin.pem", "tsa_ca.pem");
	assert_int_equal(s.signature.verdict, SIGN_TRUSTED);
	has_text(s.signature.by, "Ann Archivist");
}

/* ---- after years ---- */

static const struct years {
	const char *name;
	const struct ident *by, *clock;
	int day; /* of the timestamp */
	const char *tsa_trust;
	enum sign_verdict signature, stamp;
	const char *why;
} years[] = {
	{ "both good", &signer, &tsa, 0, "tsa_ca.pem", SIGN_TRUSTED, SIGN_TRUSTED, "" },
	{ "both expired since", &expired, &old_tsa, -15, "tsa_ca.pem", SIGN_TRUSTED,
		SIGN_TRUSTED, "" },
	{ "signer expired before", &expired, &tsa, -5, "tsa_ca.pem", SIGN_BAD,
		SIGN_TRUSTED, "expired at" },
	{ "TSA expired before", &signer, &old_tsa, -5, "tsa_ca.pem", SIGN_TRUSTED,
		SIGN_BAD, "" },
	{ "signed before it was valid", &signer, &tsa, -30, "tsa_ca.pem", SIGN_TRUSTED,
		SIGN_BAD, "" },
	{ "unknown TSA, signer good today", &signer, &tsa, 0, "stranger.pem",
		SIGN_TRUSTED, SIGN_UNKNOWN, "" },
	{ "unknown TSA, signer expired", &expired, &tsa, -15, "stranger.pem",
		SIGN_UNKNOWN, SIGN_UNKNOWN, "is not valid today" },
	{ "unknown TSA, signer expired before", &expired, &tsa, -5, "stranger.pem",
		SIGN_BAD, SIGN_UNKNOWN, "expired at" },
};

static void test_years(void **state)
{
	struct sign_state s;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(years); i++) {
		const struct years *y = &years[i];
		struct authority a = { y->clock, &tsa_ca, GOOD,
			clock_utc() + (int64_t)y->day * DAY };

		fresh();
		sign_by(y->by);
		stamp_by(&a, "s.p7s", "s.tsr");
		check(&s, "ca.pem", y->tsa_trust);
		assert_int_equal(s.signature.verdict, y->signature);
		assert_int_equal(s.stamp.verdict, y->stamp);
		has_text(s.signature.why, y->why);
		assert_false(s.over_file);
		assert_int_equal(s.time, y->stamp == SIGN_BAD ? 0 : a.time);
	}
}

/* A timestamp of the file proves nothing of its signature. */
static void test_over_file(void **state)
{
	struct authority a = { &tsa, &tsa_ca, GOOD, clock_utc() - 15 * DAY };
	struct sign_state s;

	(void)state;
	fresh();
	stamp_by(&a, "s.json", "s.tsr");
	check(&s, "ca.pem", "tsa_ca.pem");
	assert_int_equal(s.stamp.verdict, SIGN_TRUSTED);
	assert_int_equal(s.signature.verdict, SIGN_NONE);
	assert_true(s.over_file);
	sign_by(&expired);
	check(&s, "ca.pem", "tsa_ca.pem");
	assert_int_equal(s.stamp.verdict, SIGN_TRUSTED);
	assert_int_equal(s.signature.verdict, SIGN_BAD);
	/* One of another file is none of either. */
	put("other", "other", 5);
	stamp_by(&a, "other", "s.tsr");
	check(&s, "ca.pem", "tsa_ca.pem");
	assert_int_equal(s.stamp.verdict, SIGN_BAD);
	has_text(s.stamp.why, "over something else than s.p7s");
}

/* ---- damage ---- */

static void test_changed_file(void **state)
{
	struct authority a = { &tsa, &tsa_ca, GOOD, 0 };
	struct sign_state s;

	(void)state;
	fresh();
	sign_by(&signer);
	stamp_by(&a, "s.p7s", "s.tsr");
	put("s.json", "{\"seal\":2}\n", sizeof(seal) - 1);
	check(&s, "ca.pem", "tsa_ca.pem");
	assert_int_equal(s.signature.verdict, SIGN_BAD);
	has_text(s.signature.why, "s.json is not what was signed");
	has_text(s.signature.by, "Ann Archivist");
	assert_int_equal(s.stamp.verdict, SIGN_TRUSTED);
}

/* Cut anywhere it is bad; with any byte changed no file can be taken for another. */
static void spoil(const char *name, bool stamp)
{
	struct sign_state s;
	size_t n, i, trusted = 0;
	char *p;

	assert_int_equal(fs_read(&p, &n, dirfd_, name, FILE_MAX, NULL), ST_OK);
	for (i = 0; i < n; i += 13) {
		put(name, p, i);
		check(&s, "ca.pem", "tsa_ca.pem");
		assert_int_equal(
			stamp ? s.stamp.verdict : s.signature.verdict, SIGN_BAD);
	}
	for (i = 0; i < n; i += 5) {
		p[i] ^= 0x20;
		put(name, p, n);
		check(&s, "ca.pem", "tsa_ca.pem");
		trusted += (stamp ? s.stamp.verdict : s.signature.verdict) ==
			SIGN_TRUSTED;
		p[i] ^= 0x20;
	}
	/* A few bytes, such as version numbers, mean nothing. */
	assert_true(trusted < n / 50);
	p[n - 1] ^= 1;
	put(name, p, n);
	check(&s, "ca.pem", "tsa_ca.pem");
	assert_int_equal(stamp ? s.stamp.verdict : s.signature.verdict, SIGN_BAD);
	has_text(stamp ? s.stamp.why : s.signature.why, "was changed");
	free(p);
}

static void test_damage(void **state)
{
	struct authority a = { &tsa, &tsa_ca, GOOD, 0 };

	(void)state;
	fresh();
	sign_by(&signer);
	spoil("s.p7s", false);
	fresh();
	sign_by(&signer);
	stamp_by(&a, "s.p7s", "s.tsr");
	spoil("s.tsr", true);
}

/* The signature of another file, and one that brings its own content. */
static void test_other_signature(void **state)
{
	struct sign_state s;

	(void)state;
	fresh();
	put("s.json", "other\n", 6);
	sign_by(&signer);
	put("s.json", seal, sizeof(seal) - 1);
	check(&s, "ca.pem", "tsa_ca.pem");
	has_text(s.signature.why, "is not what was signed");
}

/* ---- keys ---- */

static enum status never(void *ctx, char **out, struct err *err)
{
	(void)ctx;
	(void)out;
	return err_set(err, ST_DENIED, EX_CONFIG, "no passphrase was given");
}

static enum status give(void *ctx, char **out, struct err *err)
{
	(void)err;
	*out = xstrdup(ctx);
	return ST_OK;
}

static void open_says(
	const char *key, const char *cert, const char *password, const char *want)
{
	char *k = in_dir(key), *c = in_dir(cert);
	struct signer_config cfg = { k, c, password ? give : never, (void *)password };
	struct err err = ERR_INIT;
	struct signer *s = NULL;
	enum status rc = signer_open(&s, &cfg, &err);

	if (want) {
		assert_int_equal(rc, ST_DENIED);
		assert_int_equal(err.exit, EX_CONFIG);
		has_text(err.text, want);
		assert_null(s);
	} else {
		if (rc != ST_OK)
			fail_msg("%s", err.text);
		signer_close(&s);
	}
	free(k);
	free(c);
}

static void put_key(const char *name, const struct ident *id)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p;
	long n;

	must(PEM_write_bio_PrivateKey(b, id->key, NULL, NULL, 0, NULL, NULL) == 1);
	n = BIO_get_mem_data(b, &p);
	put(name, p, (size_t)n);
	BIO_free(b);
}

static void keygen(const char *name, enum sign_key kind, const char *password)
{
	char key[160], cert[160], sha[65];
	struct keygen k = { key, cert, kind, "M\xc3\xbcller", 30, password };
	struct err err = ERR_INIT;
	struct stat st;

	snprintf(key, sizeof(key), "%s/%s.key", dir, name);
	snprintf(cert, sizeof(cert), "%s/%s.pem", dir, name);
	assert_int_equal(sign_keygen(&k, sha, &err), ST_OK);
	assert_int_equal(strlen(sha), 64);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(cert, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	/* Neither is ever replaced. */
	assert_int_equal(sign_keygen(&k, sha, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_CANTCREAT);
	assert_int_equal(unlink(cert), 0);
	assert_int_equal(sign_keygen(&k, sha, &err), ST_DENIED);
	has_text(err.text, ".key: is there already");
	assert_int_not_equal(stat(cert, &st), 0);
	assert_int_equal(unlink(key), 0);
	assert_int_equal(sign_keygen(&k, sha, &err), ST_OK);
}

static void test_keygen(void **state)
{
	(void)state;
	keygen("ec", SIGN_EC, NULL);
	keygen("rsa", SIGN_RSA, NULL);
	keygen("locked", SIGN_EC, "open sesame");
	open_says("ec.key", "ec.pem", NULL, NULL);
	open_says("rsa.key", "rsa.pem", NULL, NULL);
	open_says("locked.key", "locked.pem", "open sesame", NULL);
	open_says("locked.key", "locked.pem", "wrong", "the passphrase is wrong");
	open_says("locked.key", "locked.pem", "", "the passphrase is wrong");
	open_says("locked.key", "locked.pem", NULL, "no passphrase was given");
	open_says("ec.key", "rsa.pem", NULL, "is not that of the key");
}

static void test_keys(void **state)
{
	struct ident const *both[] = { &signer, &ca };
	char *path = in_dir("open.key"), *link = in_dir("link.key");

	(void)state;
	put_key("a.key", &signer);
	put_certs("a.pem", both, 2);
	open_says("a.key", "a.pem", NULL, NULL);
	open_says("none.key", "a.pem", NULL, "No such file");
	open_says("a.key", "none.pem", NULL, "no such file");
	open_says("a.pem", "a.pem", NULL, "holds no private key");
	open_says("a.key", "a.key", NULL, "holds no certificate");
	open_says(".", "a.pem", NULL, "not a regular file");
	put_key("open.key", &signer);
	assert_int_equal(chmod(path, 0640), 0);
	open_says("open.key", "a.pem", NULL, "others can read");
	assert_int_equal(symlink("a.key", link), 0);
	open_says("link.key", "a.pem", NULL, "symbolic link");
	put_cert("b.pem", &expired);
	put_key("b.key", &expired);
	open_says("b.key", "b.pem", NULL, "expired at");
	put_cert("b.pem", &soon);
	open_says("b.key", "b.pem", NULL, "is not valid before");
	put_cert("b.pem", &for_tls);
	open_says("b.key", "b.pem", NULL, "cannot sign");
	free(path);
	free(link);
}

/* ---- the seals of an archive ---- */

struct seen {
	unsigned n, bad;
	char last[64];
};

static void see(void *ctx, const char *name, const struct sign_state *s)
{
	struct seen *seen = ctx;

	seen->n++;
	if (s->signature.verdict == SIGN_BAD || s->stamp.verdict == SIGN_BAD) {
		seen->bad++;
		snprintf(seen->last, sizeof(seen->last), "%s", name);
	}
}

static void check_archive(struct seen *seen, enum status want)
{
	char *a = in_dir("ca.pem"), *b = in_dir("tsa_ca.pem"), *arc = in_dir("arc");
	struct sign_trust *t = NULL;

	memset(seen, 0, sizeof(*seen));
	assert_int_equal(sign_trust_open(&t, a, b, NULL), ST_OK);
	assert_int_equal(sign_check_archive(arc, t, see, seen, NULL), want);
	sign_trust_close(&t);
	free(a);
	free(b);
	free(arc);
}

static void test_archive(void **state)
{
	struct signer s = { signer.key, signer.cert, sk_X509_new_null() };
	struct sign_done done;
	struct err err = ERR_INIT;
	char *arc = in_dir("arc");
	struct seen seen;

	(void)state;
	assert_int_equal(sign_archive(arc, &s, NULL, &done, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOINPUT);
	mkdirat(dirfd_, "arc", 0700);
	put("arc/archive.json", "{}", 2);
	assert_int_equal(sign_archive(arc, &s, NULL, &done, &err), ST_OK);
	assert_int_equal(done.seals, 0);
	check_archive(&seen, ST_OK);
	mkdirat(dirfd_, "arc/seals", 0700);
	put("arc/seals/x-1.seal.json", "1", 1);
	put("arc/seals/x-2.seal.json", "2", 1);
	put("arc/seals/x-2.report.txt", "2", 1);
	assert_int_equal(sign_archive(arc, &s, NULL, &done, &err), ST_OK);
	assert_int_equal(done.seals, 2);
	assert_int_equal(done.signatures, 2);
	put("arc/seals/x-3.seal.json", "3", 1);
	assert_int_equal(sign_archive(arc, &s, NULL, &done, &err), ST_OK);
	assert_int_equal(done.signatures, 1);
	check_archive(&seen, ST_OK);
	assert_int_equal(seen.n, 3);
	/* The signatures of two are exchanged; a seal goes. */
	renameat(dirfd_, "arc/seals/x-1.seal.p7s", dirfd_, "arc/x");
	renameat(dirfd_, "arc/seals/x-2.seal.p7s", dirfd_, "arc/seals/x-1.seal.p7s");
	renameat(dirfd_, "arc/x", dirfd_, "arc/seals/x-2.seal.p7s");
	check_archive(&seen, ST_DENIED);
	assert_int_equal(seen.bad, 2);
	unlinkat(dirfd_, "arc/seals/x-3.seal.json", 0);
	check_archive(&seen, ST_DENIED);
	assert_int_equal(seen.bad, 3);
	assert_string_equal(seen.last, "x-3.seal.p7s");
	sk_X509_free(s.chain);
	free(arc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_years),
		cmocka_unit_test(test_over_file),
		cmocka_unit_test(test_changed_file),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_other_signature),
		cmocka_unit_test(test_keygen),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_archive),
	};

	return cmocka_run_group_tests(tests, make_world, drop_world);
}
