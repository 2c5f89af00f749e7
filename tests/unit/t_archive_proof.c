/* t_archive_proof.c: audit paths; one message proved with nothing but a folder. */
#include "archive_kit.h"

#include "../../src/archive/form/hash.h"
#include "../../src/archive/form/tree.h"

#include <dirent.h>

enum { MESSAGES = 14, LEAVES = 70 };

/* ---- paths ---- */

/* RFC 6962, 2.1 and 2.1.1, word by word. */
static void slow_node(
	unsigned char out[DIGEST], const unsigned char *l, const unsigned char *r)
{
	unsigned char text[1 + 2 * DIGEST] = { 1 };

	memcpy(text + 1, l, DIGEST);
	memcpy(text + 1 + DIGEST, r, DIGEST);
	hash_of(text, sizeof(text), out);
}

static size_t slow_half(size_t n)
{
	size_t k = 1;

	while (2 * k < n)
		k *= 2;
	return k;
}

static void slow_root(unsigned char out[DIGEST], unsigned char (*v)[DIGEST], size_t n)
{
	unsigned char l[DIGEST], r[DIGEST];
	size_t k = slow_half(n);

	if (n == 1) {
		memcpy(out, v[0], DIGEST);
		return;
	}
	slow_root(l, v, k);
	slow_root(r, v + k, n - k);
	slow_node(out, l, r);
}

static size_t slow_path(
	unsigned char (*out)[DIGEST], unsigned char (*v)[DIGEST], size_t n, size_t m)
{
	size_t k = slow_half(n), len;

	if (n == 1)
		return 0;
	if (m < k) {
		len = slow_path(out, v, k, m);
		slow_root(out[len], v + k, n - k);
	} else {
		len = slow_path(out, v + k, n - k, m - k);
		slow_root(out[len], v, k);
	}
	return len + 1;
}

static void check_path(unsigned char (*v)[DIGEST], size_t n, size_t m, size_t split)
{
	unsigned char want[TREE_PATH][DIGEST], root[DIGEST], is[DIGEST];
	size_t len = slow_path(want, v, n, m), i;
	struct tree before = { 0 };
	struct tree_path p;

	for (i = 0; i < split; i++)
		tree_add(&before, v[i]);
	memset(&p, 0, sizeof(p));
	tree_path(&p, &before, v + split, n - split, m);
	assert_int_equal(p.n, len);
	assert_int_equal(p.index, m);
	assert_int_equal(p.size, n);
	assert_memory_equal(p.node, want, len * DIGEST);
	slow_root(root, v, n);
	assert_true(tree_path_root(&p, v[m], is));
	assert_memory_equal(is, root, DIGEST);
	/* Of another leaf, at another place, too long or too short: none. */
	for (i = 0; i < n; i++) {
		p.index = i;
		assert_true(i == m || !tree_path_root(&p, v[m], is) ||
			memcmp(is, root, DIGEST) != 0);
	}
	p.index = n;
	assert_false(tree_path_root(&p, v[m], is));
	p.index = m;
	p.n++;
	assert_false(tree_path_root(&p, v[m], is));
	p.n -= 2;
	assert_true(len == 0 || !tree_path_root(&p, v[m], is));
}

static void test_paths(void **state)
{
	static unsigned char v[LEAVES][DIGEST];
	size_t n, m, split;

	(void)state;
	for (n = 0; n < LEAVES; n++)
		hash_of(&n, sizeof(n), v[n]);
	for (n = 1; n <= LEAVES; n += n < 20 ? 1 : (unsigned)stride_of(5))
		for (m = 0; m < n; m++)
			for (split = 0; split <= m; split += 1 + (m > 20) * 6)
				check_path(v, n, m, split);
}

/* ---- proofs ---- */

static enum status prove(const char *dir, uint64_t seq, const char *out,
	struct archive_proof *p, struct err *err)
{
	struct archive_reader *r = NULL;
	enum status rc = archive_read(&r, dir, err);

	if (rc == ST_OK)
		rc = archive_prove(r, seq, out, p, err);
	archive_done(&r);
	return rc;
}

static enum status check(const char *out, struct archive_proof *p, struct err *err)
{
	int fd = open(out, O_RDONLY | O_DIRECTORY);
	enum status rc;

	assert_true(fd >= 0);
	rc = archive_proof_check(fd, p, err);
	close(fd);
	return rc;
}

static void test_each(void **state)
{
	char *dir = sealed(codecs[*(size_t *)*state]), *out = xasprintf("%s.out", dir);
	struct archive_proof p, q;
	struct err err = ERR_INIT;
	char sha[65];
	uint64_t seq;

	for (seq = 1; seq <= MESSAGES; seq++) {
		size_t n;
		char *want = bytes_of((unsigned)seq - 1, &n), *is, *eml;
		size_t is_n;

		ok(prove(dir, seq, out, &p, &err), &err);
		assert_int_equal(p.seq, seq);
		assert_int_equal(p.size, n);
		assert_int_equal(p.seal, (seq - 1) / 5 + 1);
		assert_int_equal(p.tree, p.seal == 3 ? MESSAGES : 5 * p.seal);
		eml = xasprintf("%s/message.eml", out);
		is = slurp(eml, &is_n);
		assert_int_equal(is_n, n);
		assert_memory_equal(is, want, n);
		ok(check(out, &q, &err), &err);
		assert_memory_equal(&p, &q, sizeof(p));
		file_sha(out, "message.eml", sha);
		assert_string_equal(sha, q.sha256);
		remove_all(out);
		free(eml);
		free(is);
		free(want);
	}
	assert_int_equal(prove(dir, MESSAGES + 1, out, &p, &err), ST_END);
	assert_int_equal(prove(dir, 0, out, &p, &err), ST_END);
	assert_false(exists(out, ""));
	remove_all(dir);
	free(dir);
	free(out);
}

static void test_flips(void **state)
{
	static const char *const files[] = { "proof.json", "message.eml", "seal.json" };
	char *dir = sealed(ARCHIVE_GZ), *out = xasprintf("%s.out", dir);
	struct archive_proof p;
	struct err err = ERR_INIT;
	size_t i, k, n;

	(void)state;
	ok(prove(dir, 8, out, &p, &err), &err);
	for (i = 0; i < N_ELEMENTS(files); i++) {
		char *path = xasprintf("%s/%s", out, files[i]),
		     *bytes = slurp(path, &n);

		for (k = 0; k < n; k += (size_t)stride_of(7)) {
			bytes[k] ^= (char)(1 << k % 8);
			spit(path, bytes, n);
			if (check(out, &p, &err) != ST_DENIED || err.exit != EX_DATAERR)
				fail_msg("%s, byte %zu", files[i], k);
			bytes[k] ^= (char)(1 << k % 8);
		}
		for (k = 0; k < n; k += 1 + n / 50) {
			spit(path, bytes, k);
			assert_int_equal(check(out, &p, &err), ST_DENIED);
		}
		unlink(path);
		assert_int_equal(check(out, &p, &err), ST_DENIED);
		spit(path, bytes, n);
		ok(check(out, &p, &err), &err);
		free(bytes);
		free(path);
	}
	remove_all(out);
	remove_all(dir);
	free(dir);
	free(out);
}

/* A link to the very same bytes, a pipe, a folder: none of them is in the proof. */
static void test_no_files(void **state)
{
	static const char *const files[] = { "proof.json", "message.eml", "seal.json",
		"seal.p7s" };
	char *dir = sealed(ARCHIVE_GZ), *out = xasprintf("%s.out", dir),
	     *away = xasprintf("%s.away", dir);
	struct archive_proof p;
	struct err err = ERR_INIT;
	size_t i, k;

	(void)state;
	ok(prove(dir, 8, out, &p, &err), &err);
	for (i = 0; i < N_ELEMENTS(files); i++) {
		char *path = xasprintf("%s/%s", out, files[i]);
		bool there = rename(path, away) == 0;

		for (k = 0; k < 3; k++) {
			assert_int_equal(k == 0  ? symlink(away, path)
					: k == 1 ? mkfifo(path, 0600)
						 : mkdir(path, 0700),
				0);
			assert_int_equal(check(out, &p, &err), ST_DENIED);
			assert_int_equal(err.exit, EX_DATAERR);
			assert_non_null(strstr(err.text, files[i]));
			remove(path);
		}
		if (there)
			rename(away, path);
		ok(check(out, &p, &err), &err);
		free(path);
	}
	remove_all(out);
	remove_all(dir);
	free(away);
	free(dir);
	free(out);
}

/* What cannot be proved is said, and nothing is left. */
static void test_refused(void **state)
{
	char *dir = sealed(ARCHIVE_GZ), *out = xasprintf("%s.out", dir), *path;
	struct archive_writer *w;
	struct archive_proof p;
	struct err err = ERR_INIT;

	(void)state;
	w = open_archive(dir, ARCHIVE_GZ, 5);
	put_one(w, spool, MESSAGES);
	ok(archive_commit(w, 0, &err), &err);
	assert_int_equal(prove(dir, MESSAGES + 1, out, &p, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	archive_close(&w);
	assert_int_equal(mkdir(out, 0700), 0);
	assert_int_equal(prove(dir, 1, out, &p, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_CANTCREAT);
	assert_int_equal(rmdir(out), 0);
	/* The second segment's path needs the first seal. */
	path = xasprintf("%s/seals/acme-000001.seal.json", dir);
	unlink(path);
	assert_int_equal(prove(dir, 1, out, &p, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(prove(dir, 7, out, &p, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	ok(prove(dir, 12, out, &p, &err), &err);
	assert_false(exists(out, "trust"));
	remove_all(out);
	assert_false(exists(out, ""));
	free(path);
	remove_all(dir);
	free(dir);
	free(out);
}

int main(void)
{
	static size_t of[N_ELEMENTS(codecs)];
	struct CMUnitTest tests[4 + N_ELEMENTS(codecs)] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_flips),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_refused),
	};
	size_t i;

	for (i = 0; i < N_ELEMENTS(codecs); i++) {
		of[i] = i;
		tests[4 + i] = (struct CMUnitTest){ archive_codec_name(codecs[i]),
			test_each, NULL, NULL, &of[i] };
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
