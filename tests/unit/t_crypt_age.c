/* t_crypt_age.c: age files: the published vectors, the age program, damage. */
#include "crypt_kit.h"

#include <popferry/text.h>

#include <ctype.h>
#include <zlib.h>

enum { VECTORS = 93, VECTOR_MAX = 64 * 1024, INFLATED_MAX = 32 * 1024 * 1024 };

/* ---- test vectors ---- */

struct vector {
	const char *name;
	char *expect, *payload; /* hex; NULL: there is none */
	bool compressed;
	struct identities *ids;
	const char *file;
	size_t file_n;
};

static void take_field(struct vector *v, const char *key, const char *value)
{
	char *path = in_dir("identity");
	struct err err = ERR_INIT;

	if (strcmp(key, "expect") == 0) {
		v->expect = xstrdup(value);
	} else if (strcmp(key, "payload") == 0) {
		v->payload = xstrdup(value);
	} else if (strcmp(key, "compressed") == 0) {
		v->compressed = true;
	} else if (strcmp(key, "passphrase") == 0) {
		good(identities_add_passphrase(v->ids, value, &err), &err);
	} else if (strcmp(key, "identity") == 0 &&
		text_starts(value, "AGE-SECRET-KEY-1")) {
		put("identity", value, strlen(value));
		good(identities_add(v->ids, path, NULL, NULL, &err), &err);
	}
	free(path);
}

static void read_vector(struct vector *v, const char *name, char *p, size_t n)
{
	char *end = p + n, *lf, *colon;

	*v = (struct vector){ .name = name };
	identities_open(&v->ids);
	while ((lf = memchr(p, '\n', (size_t)(end - p))) && lf != p) {
		*lf = '\0';
		colon = strstr(p, ": ");
		assert_non_null(colon);
		*colon = '\0';
		take_field(v, p, colon + 2);
		p = lf + 1;
	}
	assert_non_null(lf);
	v->file = lf + 1;
	v->file_n = (size_t)(end - v->file);
}

static void put_vector(const struct vector *v)
{
	uLongf n = INFLATED_MAX;
	Bytef *p;

	if (!v->compressed) {
		put("vector", v->file, v->file_n);
		return;
	}
	p = xmalloc(n);
	assert_int_equal(uncompress(p, &n, (const Bytef *)v->file, v->file_n), Z_OK);
	put("vector", p, n);
	free(p);
}

static enum status to_sum(void *ctx, const void *p, size_t n, struct err *err)
{
	(void)err;
	return EVP_DigestUpdate(ctx, p, n) == 1 ? ST_OK : ST_FATAL;
}

static EVP_MD_CTX *new_sum(void)
{
	EVP_MD_CTX *sum = EVP_MD_CTX_new();

	assert_int_equal(EVP_DigestInit_ex(sum, EVP_sha256(), NULL), 1);
	return sum;
}

static void check_sum(const struct vector *v, EVP_MD_CTX *sum)
{
	unsigned char sha[DIGEST];
	char hex[2 * DIGEST + 1];

	EVP_DigestFinal_ex(sum, sha, NULL);
	text_hex(hex, sha, DIGEST);
	if (strcmp(hex, v->payload) != 0)
		fail_msg("%s: another payload came out", v->name);
}

static const struct outcome {
	const char *expect;
	enum status status;
	int exit;
	const char *text;
} outcomes[] = {
	{ "success", ST_OK, 0, "" },
	{ "no match", ST_DENIED, EX_NOPERM, "" },
	{ "HMAC failure", ST_DENIED, EX_DATAERR, "MAC is wrong" },
	{ "header failure", ST_DENIED, EX_DATAERR, "header" },
	{ "payload failure", ST_DENIED, EX_DATAERR, "damaged" },
};

static void check_outcome(
	const struct vector *v, enum status rc, const struct err *err, const char *how)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(outcomes); i++)
		if (strcmp(outcomes[i].expect, v->expect) == 0)
			break;
	assert_true(i < N_ELEMENTS(outcomes));
	if (rc != outcomes[i].status || err->exit != outcomes[i].exit ||
		!strstr(err->text, outcomes[i].text))
		fail_msg("%s, %s: expected %s, got %d %d: %s", v->name, how, v->expect,
			rc, err->exit, err->text);
}

static void stream_vector(const struct vector *v)
{
	struct err err = ERR_INIT;
	int fd = open_it("vector");
	EVP_MD_CTX *sum = new_sum();

	check_outcome(v, age_stream(fd, v->ids, to_sum, sum, &err), &err, "in order");
	/* Also of what came before it broke off: nothing that was not good. */
	if (v->payload)
		check_sum(v, sum);
	EVP_MD_CTX_free(sum);
	close(fd);
}

static void seek_vector(const struct vector *v)
{
	unsigned char *p = xmalloc(3000);
	struct bytes *b = NULL;
	struct err err = ERR_INIT;
	int fd = open_it("vector");
	enum status rc = age_bytes(&b, fd, false, false, v->ids, &err);
	uint64_t at = 0;
	EVP_MD_CTX *sum = new_sum();
	size_t got = 1;

	for (; rc == ST_OK && got; at += got) {
		rc = bytes_read(b, p, 3000, at, &got, &err);
		if (rc == ST_OK)
			EVP_DigestUpdate(sum, p, got);
	}
	check_outcome(v, rc, &err, "at any place");
	if (rc == ST_OK)
		check_sum(v, sum);
	EVP_MD_CTX_free(sum);
	bytes_close(&b);
	close(fd);
	free(p);
}

static void test_vectors(void **state)
{
	int folder = open("tests/data/age", O_RDONLY | O_DIRECTORY);
	DIR *d = folder >= 0 ? fdopendir(folder) : NULL;
	struct dirent *e;
	unsigned seen = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d))) {
		struct vector v;
		char *p = NULL;
		size_t n = 0;

		if (*e->d_name == '.')
			continue;
		assert_int_equal(
			fs_read(&p, &n, folder, e->d_name, VECTOR_MAX, NULL), ST_OK);
		read_vector(&v, e->d_name, p, n);
		put_vector(&v);
		stream_vector(&v);
		seek_vector(&v);
		identities_close(&v.ids);
		free(v.expect);
		free(v.payload);
		free(p);
		seen++;
	}
	closedir(d);
	assert_int_equal(seen, VECTORS);
}

/* ---- headers ---- */

#define V1 "age-encryption.org/v1\n"
#define SALT "AAAAAAAAAAAAAAAAAAAAAA"
#define BODY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
#define END "--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"

static const struct {
	const char *name, *text, *why; /* NULL: it is right */
} heads[] = {
	{ "a passphrase", V1 "-> scrypt " SALT " 9\n" BODY END, NULL },
	{ "of an unknown kind", V1 "-> x y z\n\n" END, NULL },
	{ "more arguments than are kept", V1 "-> x 1 2 3 4 5 6 7\n\n" END, NULL },
	{ "work with a zero before", V1 "-> scrypt " SALT " 09\n" BODY END, "work" },
	{ "three digits of work", V1 "-> scrypt " SALT " 100\n" BODY END, "work" },
	{ "too much work", V1 "-> scrypt " SALT " 21\n" BODY END, "sane" },
	{ "for nobody", V1 END, "for nobody" },
	{ "another version", "age-encryption.org/v2\n" END, "version 1" },
	{ "two spaces", V1 "-> x  y\n\n" END, "what it is" },
	{ "no end",
		V1 "-> x\n\n"
		   "--- AAAA\n",
		"MAC" },
};

/* Cut at every byte it is not yet whole; what is wrong is never right. */
static void test_heads(void **state)
{
	size_t i, cut;

	(void)state;
	for (i = 0; i < N_ELEMENTS(heads); i++) {
		size_t n = strlen(heads[i].text);

		for (cut = 0; cut <= n; cut++) {
			char *p = xmalloc(cut + !cut); /* not one byte more */
			struct err err = ERR_INIT;
			struct age_head h;
			enum status rc;

			memcpy(p, heads[i].text, cut);
			rc = age_head_parse(&h, p, cut, &err);
			if (cut == n && !heads[i].why) {
				good(rc, &err);
				assert_int_equal(h.size, n);
				age_head_release(&h);
			} else if (cut == n) {
				assert_int_equal(rc, ST_DENIED);
				has_text(err.text, heads[i].why);
			} else if (rc != ST_END && !heads[i].why) {
				fail_msg("%s, %zu bytes: %d", heads[i].name, cut, rc);
			} else {
				assert_int_not_equal(rc, ST_OK);
			}
			free(p);
		}
	}
}

/* ---- there and back ---- */

struct pair {
	char *path;
	char to[CRYPT_RECIPIENT];
};

static void make_pair(struct pair *p, const char *name)
{
	struct err err = ERR_INIT;

	unlinkat(dirfd_, name, 0);
	p->path = in_dir(name);
	good(age_keygen(p->path, NULL, p->to, &err), &err);
}

static struct identities *ids_of(const struct pair *p)
{
	struct identities *ids = NULL;
	struct err err = ERR_INIT;

	identities_open(&ids);
	good(identities_add(ids, p->path, NULL, NULL, &err), &err);
	return ids;
}

static struct recipients *to_pairs(const struct pair *v, size_t n)
{
	struct recipients *r = NULL;
	struct err err = ERR_INIT;
	size_t i;

	recipients_open(&r);
	for (i = 0; i < n; i++)
		good(recipients_add(r, v[i].to, &err), &err);
	return r;
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t n;
		size_t step, read;
	} rows[] = {
		{ 0, 1, 1 },
		{ 1, 1, 1 },
		{ 1000, 1, 7 },
		{ CHUNK - 1, 4096, 5000 },
		{ CHUNK, CHUNK, CHUNK },
		{ CHUNK, 1000, 3 * CHUNK },
		{ CHUNK + 1, 3 * CHUNK, 100 },
		{ 2 * CHUNK, 2 * CHUNK, CHUNK - 1 },
		{ 5 * CHUNK + 77, 70001, 65537 },
	};
	struct pair two[2];
	struct recipients *r;
	size_t i, k;

	(void)state;
	make_pair(&two[0], "a.key");
	make_pair(&two[1], "b.key");
	r = to_pairs(two, 2);
	assert_int_equal(recipients_kind(r), CRYPT_AGE);
	assert_string_equal(crypt_suffix(recipients_kind(r)), ".age");
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct identities *by[3];

		identities_open(&by[0]);
		by[1] = ids_of(&two[0]);
		by[2] = ids_of(&two[1]);
		encrypt_file("f.age", r, rows[i].n, rows[i].step, by[0]);
		for (k = 0; k < 3; k++) {
			struct err err = ERR_INIT;
			struct bytes *b = NULL;

			good(bytes_decrypt(&b, open_it("f.age"), true, by[k], -1, &err),
				&err);
			check_bytes(b, rows[i].n, rows[i].read);
			bytes_close(&b);
			identities_close(&by[k]);
		}
	}
	recipients_close(&r);
	free(two[0].path);
	free(two[1].path);
}

static void expect_closed(const struct identities *ids, int exit)
{
	struct err err = ERR_INIT;
	struct bytes *b = NULL;

	assert_int_equal(
		bytes_decrypt(&b, open_it("f.age"), true, ids, -1, &err), ST_DENIED);
	assert_null(b);
	assert_int_equal(err.exit, exit);
}

static void test_others(void **state)
{
	struct pair who[2];
	struct recipients *r;
	struct identities *other, *none, *own;

	(void)state;
	make_pair(&who[0], "a.key");
	make_pair(&who[1], "b.key");
	r = to_pairs(who, 1);
	identities_open(&own);
	encrypt_file("g.age", r, 10, 10, own); /* the key of another file */
	encrypt_file("f.age", r, 10, 10, NULL);
	other = ids_of(&who[1]);
	identities_open(&none);
	expect_closed(other, EX_NOPERM);
	expect_closed(none, EX_NOPERM);
	expect_closed(own, EX_NOPERM);
	identities_close(&own);
	identities_close(&none);
	identities_close(&other);
	recipients_close(&r);
	free(who[0].path);
	free(who[1].path);
}

/* ---- damage ---- */

/* Is all of it there and right? No byte that is not may come. */
static bool whole(const struct identities *ids, uint64_t n)
{
	struct bytes *b = NULL;
	unsigned char p[64];
	uint64_t at;
	size_t got;
	bool ok = bytes_decrypt(&b, open_it("f.age"), true, ids, -1, NULL) == ST_OK &&
		bytes_size(b) == n;

	for (at = 0; ok && at < n; at += got) {
		ok = bytes_read(b, p, sizeof(p), at, &got, NULL) == ST_OK;
		for (size_t i = 0; ok && i < got; i++)
			assert_int_equal(p[i], byte_at(at + i));
	}
	bytes_close(&b);
	return ok;
}

static void test_each_byte(void **state)
{
	struct pair who;
	struct identities *ids;
	struct recipients *r;
	unsigned char *p;
	size_t n, i;
	int bit;

	(void)state;
	make_pair(&who, "a.key");
	ids = ids_of(&who);
	r = to_pairs(&who, 1);
	encrypt_file("f.age", r, 50, 50, NULL);
	assert_true(whole(ids, 50));
	n = read_file(&p, "f.age");
	for (i = 0; i < n; i++) {
		for (bit = 0; bit < 8; bit++) {
			p[i] ^= (unsigned char)(1 << bit);
			put("f.age", p, n);
			if (whole(ids, 50))
				fail_msg("byte %zu was changed", i);
			p[i] ^= (unsigned char)(1 << bit);
		}
		put("f.age", p, i);
		if (whole(ids, 50))
			fail_msg("cut off at %zu", i);
	}
	put("f.age", p, n);
	assert_true(whole(ids, 50));
	free(p);
	recipients_close(&r);
	identities_close(&ids);
	free(who.path);
}

/* Chunks dropped, exchanged, doubled; cut off where one ends. */
static void test_chunks(void **state)
{
	const size_t sealed = SEALED_CHUNK;
	struct pair who;
	struct identities *ids;
	struct recipients *r;
	unsigned char *p, *q;
	size_t n, head, k;

	(void)state;
	make_pair(&who, "a.key");
	ids = ids_of(&who);
	r = to_pairs(&who, 1);
	encrypt_file("f.age", r, 3 * CHUNK, CHUNK, NULL);
	n = read_file(&p, "f.age");
	head = n - 3 * sealed;
	q = xmalloc(n + sealed);
	for (k = 1; k < 3; k++) {
		put("f.age", p, head + k * sealed);
		assert_false(whole(ids, k * CHUNK));
	}
	memcpy(q, p, n);
	memcpy(q + head, p + head + sealed, sealed);
	memcpy(q + head + sealed, p + head, sealed);
	put("f.age", q, n);
	assert_false(whole(ids, 3 * CHUNK));
	memcpy(q, p, n);
	memcpy(q + n, p + n - sealed, sealed);
	put("f.age", q, n + sealed);
	assert_false(whole(ids, 4 * CHUNK));
	put("f.age", p, n);
	assert_true(whole(ids, 3 * CHUNK));
	free(q);
	free(p);
	recipients_close(&r);
	identities_close(&ids);
	free(who.path);
}

/* One bad chunk costs itself alone, and is named. */
static void test_one_bad(void **state)
{
	struct pair who;
	struct identities *ids;
	struct recipients *r;
	struct bytes *b = NULL;
	struct err err = ERR_INIT;
	unsigned char *p, one[16];
	size_t n, got;

	(void)state;
	make_pair(&who, "a.key");
	ids = ids_of(&who);
	r = to_pairs(&who, 1);
	encrypt_file("f.age", r, 3 * CHUNK, CHUNK, NULL);
	n = read_file(&p, "f.age");
	p[n - 2 * SEALED_CHUNK + 5] ^= 1;
	put("f.age", p, n);
	good(bytes_decrypt(&b, open_it("f.age"), true, ids, -1, &err), &err);
	good(bytes_read(b, one, 16, 100, &got, &err), &err);
	assert_int_equal(bytes_read(b, one, 16, CHUNK - 8, &got, &err), ST_DENIED);
	has_text(err.text, "are damaged");
	good(bytes_read(b, one, 16, 2 * CHUNK, &got, &err), &err);
	assert_int_equal(one[3], byte_at(2 * CHUNK + 3));
	bytes_close(&b);
	free(p);
	recipients_close(&r);
	identities_close(&ids);
	free(who.path);
}

/* ---- after damage ---- */

enum { TAIL = 1000, ENCLOSED = 4 }; /* three whole chunks and one of TAIL bytes */

/* Chunk k gives what was put there, or nothing. */
static bool has_chunk(struct bytes *b, size_t k)
{
	unsigned char p[64], want[64];
	struct err err = ERR_INIT;
	size_t got;
	enum status rc = bytes_read(b, p, sizeof(p), k * CHUNK, &got, &err);

	if (rc != ST_OK)
		assert_int_equal(rc, ST_DENIED);
	if (rc != ST_OK || got < sizeof(p))
		return false;
	plain_text(want, k * CHUNK, sizeof(want));
	assert_memory_equal(p, want, sizeof(p));
	return true;
}

static const struct {
	const char *name;
	int drop, flip; /* bytes at its end; the chunk with a wrong byte, -1: none */
	bool has[ENCLOSED];
} salvages[] = {
	{ "nothing", 0, -1, { true, true, true, true } },
	{ "the first chunk", 0, 0, { false, true, true, true } },
	{ "one in the middle", 0, 2, { true, true, false, true } },
	{ "the last chunk", 0, 3, { true, true, true, false } },
	{ "a byte less", 1, -1, { true, true, true, false } },
	{ "a tag left of the last", TAIL, -1, { true, true, true, false } },
	{ "a byte left of the last", TAIL + TAG - 1, -1, { true, true, true, false } },
	{ "no last one", TAIL + TAG, -1, { true, true, true, false } },
	{ "not all of the third", TAIL + TAG + 9, -1, { true, true, false, false } },
	{ "one and nothing", TAIL + TAG + 2 * SEALED_CHUNK, -1,
		{ true, false, false, false } },
	{ "something more", -50, -1, { true, true, true, false } },
};

static void test_salvage(void **state)
{
	struct pair who;
	struct identities *ids;
	struct recipients *r;
	size_t n, head, i, k;
	unsigned char *p;

	(void)state;
	make_pair(&who, "a.key");
	ids = ids_of(&who);
	r = to_pairs(&who, 1);
	encrypt_file("f.age", r, 3 * CHUNK + TAIL, TAIL, NULL);
	n = read_file(&p, "f.age");
	p = xrealloc(p, n + 50);
	memset(p + n, 7, 50);
	head = n - 3 * SEALED_CHUNK - TAIL - TAG;
	for (i = 0; i < N_ELEMENTS(salvages); i++) {
		int flip = salvages[i].flip;
		unsigned char *at = p + head +
			(size_t)(flip > 0 ? flip : 0) * SEALED_CHUNK;
		struct bytes *b = NULL;
		struct err err = ERR_INIT;

		*at ^= flip >= 0;
		put("f.age", p, n - (size_t)salvages[i].drop);
		*at ^= flip >= 0;
		good(bytes_salvage(&b, open_it("f.age"), true, ids, -1, &err), &err);
		for (k = 0; k < ENCLOSED; k++)
			if (has_chunk(b, k) != salvages[i].has[k])
				fail_msg("%s: chunk %zu", salvages[i].name, k);
		bytes_close(&b);
		/* Who asks for all of it is told. */
		if (i > 0)
			assert_false(whole(ids, 3 * CHUNK + TAIL));
	}
	put("f.age", p, head + TAG - 1);
	assert_false(whole(ids, 0));
	free(p);
	recipients_close(&r);
	identities_close(&ids);
	free(who.path);
}

/* ---- keys and who may not be named ---- */

static enum status ask_word(void *ctx, char **out, struct err *err)
{
	(void)err;
	*out = xstrdup(ctx);
	return ST_OK;
}

static void test_passphrase(void **state)
{
	char *path = in_dir("locked.key"), to[CRYPT_RECIPIENT];
	struct identities *ids = NULL;
	struct recipients *r = NULL;
	struct err err = ERR_INIT;

	(void)state;
	good(age_keygen(path, "correct horse", to, &err), &err);
	identities_open(&ids);
	assert_int_equal(identities_add(ids, path, NULL, NULL, &err), ST_DENIED);
	has_text(err.text, "passphrase was not given");
	assert_int_equal(
		identities_add(ids, path, ask_word, (void *)(uintptr_t) "wrong", &err),
		ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	good(identities_add(
		     ids, path, ask_word, (void *)(uintptr_t) "correct horse", &err),
		&err);
	assert_int_equal(identities_count(ids), 1);
	recipients_open(&r);
	good(recipients_add(r, to, &err), &err);
	assert_string_equal(recipients_name(r, 0), to);
	encrypt_file("f.age", r, 10, 10, NULL);
	assert_true(whole(ids, 10));
	recipients_close(&r);
	identities_close(&ids);
	/* What is there stays. */
	assert_int_equal(age_keygen(path, NULL, to, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_CANTCREAT);
	free(path);
}

#define KEY "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0"
#define TO "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"

static const struct {
	const char *name, *text;
	bool ok;
	const char *why;
} identity_rows[] = {
	{ "one", KEY, true, "" },
	{ "comments, CRLF, blank lines", "# a\r\n\r\n" KEY "\r\n#b\n  \n", true, "" },
	{ "lower case",
		"age-secret-key-1egtzvffv20835nwyv6270lxyvk2vknx2mmdkwyk"
		"lmgr48uawx40q2p2lm0",
		true, "" },
	{ "empty", "", false, "no identity" },
	{ "comments only", "# x\n", false, "no identity" },
	{ "mixed case",
		"AGE-SECRET-KEY-1eGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMG"
		"R48UAWX40Q2P2LM0",
		false, "line 1: is no identity" },
	{ "one letter wrong",
		"#\nAGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMD"
		"KWYKLMGR48UAWX40Q2P2LM3\n",
		false, "line 2: is no identity" },
	{ "too short", "AGE-SECRET-KEY-1EGTZ", false, "line 1: is no identity" },
	{ "a recipient", TO, false, "is a recipient" },
	{ "armored", "-----BEGIN AGE ENCRYPTED FILE-----\n", false, "armor" },
	{ "bad PEM", "-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n",
		false, "no private key" },
};

static void test_identity_files(void **state)
{
	char *path = in_dir("rows");
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(identity_rows); i++) {
		struct identities *ids = NULL;
		struct err err = ERR_INIT;
		enum status rc;

		put("rows", identity_rows[i].text, strlen(identity_rows[i].text));
		identities_open(&ids);
		rc = identities_add(ids, path, NULL, NULL, &err);
		if (identity_rows[i].ok)
			good(rc, &err);
		else
			assert_int_equal(rc, ST_DENIED);
		has_text(err.text, identity_rows[i].why);
		/* No text tells of a key. */
		assert_null(strstr(err.text, "GTZVFFV"));
		assert_int_equal(identities_count(ids), identity_rows[i].ok);
		identities_close(&ids);
	}
	free(path);
}

static void test_identity_mode(void **state)
{
	char *path = in_dir("a.key"), *missing = in_dir("none");
	struct identities *ids = NULL;
	struct err err = ERR_INIT;

	(void)state;
	put("a.key", KEY, strlen(KEY));
	assert_int_equal(chmod(path, 0640), 0);
	identities_open(&ids);
	assert_int_equal(identities_add(ids, path, NULL, NULL, &err), ST_DENIED);
	has_text(err.text, "chmod 600");
	assert_int_equal(identities_add(ids, missing, NULL, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOINPUT);
	identities_close(&ids);
	unlink(path);
	free(missing);
	free(path);
}

static const struct {
	const char *name, *text, *why;
} recipient_rows[] = {
	{ "one letter wrong",
		"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwk",
		"is no recipient" },
	{ "cut off", "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s8", "is no recipient" },
	{ "a secret", KEY, "secret key" },
	{ "no file", "/nonexistent/x.pem", "No such file" },
};

static void test_recipients(void **state)
{
	struct recipients *r = NULL;
	struct err err = ERR_INIT;
	char *path = in_dir("list"), upper[] = TO;
	size_t i;

	(void)state;
	recipients_open(&r);
	for (i = 0; i < N_ELEMENTS(recipient_rows); i++) {
		assert_int_equal(
			recipients_add(r, recipient_rows[i].text, &err), ST_DENIED);
		has_text(err.text, recipient_rows[i].why);
		assert_null(strstr(err.text, "GTZVFFV"));
	}
	put("list", "# team\n" TO "\n", strlen("# team\n" TO "\n"));
	good(recipients_add(r, path, &err), &err);
	good(recipients_add(r, TO, &err), &err); /* once is enough */
	for (i = 0; upper[i]; i++)
		upper[i] = (char)toupper((unsigned char)upper[i]);
	good(recipients_add(r, upper, &err), &err); /* also when it is shouted */
	assert_int_equal(recipients_count(r), 1);
	assert_int_equal(recipients_add_passphrase(r, "x", &err), ST_DENIED);
	recipients_close(&r);
	recipients_open(&r);
	good(recipients_add_passphrase(r, "x", &err), &err);
	assert_int_equal(recipients_add(r, TO, &err), ST_DENIED);
	recipients_close(&r);
	free(path);
}

/* ---- the age program ---- */

static void test_program(void **state)
{
	static const char *const version[] = { "age", "--version", NULL };
	static const uint64_t sizes[] = { 0, 1, CHUNK, 3 * CHUNK + 5 };
	char *enc = in_dir("f.age"), *out = in_dir("out");
	struct pair two[2];
	struct recipients *r;
	struct identities *ids;
	size_t i, n;

	(void)state;
	if (run(version, NULL) != 0)
		skip();
	make_pair(&two[0], "a.key");
	make_pair(&two[1], "b.key");
	r = to_pairs(two, 2);
	ids = ids_of(&two[1]);
	for (i = 0; i < N_ELEMENTS(sizes); i++) {
		const char *const open_args[] = { "age", "-d", "-i", two[1].path, enc,
			NULL };
		const char *const seal_args[] = { "age", "-r", two[0].to, "-r",
			two[1].to, "-o", enc, out, NULL };
		unsigned char *p, *want = xmalloc((size_t)sizes[i] + 1);

		encrypt_file("f.age", r, sizes[i], 10000, NULL);
		assert_int_equal(run(open_args, out), 0);
		n = read_file(&p, "out");
		assert_int_equal(n, sizes[i]);
		plain_text(want, 0, n);
		assert_memory_equal(p, want, n);
		unlink(enc);
		assert_int_equal(run(seal_args, NULL), 0);
		assert_true(whole(ids, sizes[i]));
		free(want);
		free(p);
	}
	recipients_close(&r);
	identities_close(&ids);
	free(two[0].path);
	free(two[1].path);
	free(enc);
	free(out);
}

/* ---- memory ---- */

static enum status to_nothing(void *ctx, const void *p, size_t n, struct err *err)
{
	(void)p;
	(void)err;
	*(uint64_t *)ctx += n;
	return ST_OK;
}

static long resident(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static void test_memory(void **state)
{
	enum { MIB = 1024 * 1024, SIZE = 64 };
	static unsigned char piece[MIB];
	struct encryptor *e = NULL;
	struct err err = ERR_INIT;
	struct pair who;
	struct recipients *r;
	uint64_t n = 0;
	long before;
	int i;

	(void)state;
	make_pair(&who, "a.key");
	r = to_pairs(&who, 1);
	good(encryptor_open(&e, r, to_nothing, &n, &err), &err);
	good(encryptor_write(e, piece, sizeof(piece), &err), &err);
	before = resident();
	for (i = 1; i < SIZE; i++)
		good(encryptor_write(e, piece, sizeof(piece), &err), &err);
	good(encryptor_end(e, &err), &err);
	encryptor_close(&e);
	assert_true(n > (uint64_t)SIZE * MIB);
	assert_true(resident() - before < 2048); /* KiB */
	recipients_close(&r);
	free(who.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_each_byte),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_one_bad),
		cmocka_unit_test(test_salvage),
		cmocka_unit_test(test_passphrase),
		cmocka_unit_test(test_identity_files),
		cmocka_unit_test(test_identity_mode),
		cmocka_unit_test(test_recipients),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
