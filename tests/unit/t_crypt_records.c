/* t_crypt_records.c: the open segment's files, their key, and veils. */
#include "crypt_kit.h"

enum { HEAD = 32, MORE = 32 }; /* of a file; of a record */

static const unsigned char key[CRYPT_KEY] = { 1, 2, 3 };
static const unsigned char other_key[CRYPT_KEY] = { 3, 2, 1 };

static struct records *open_records(int fd)
{
	struct records *r = NULL;
	struct err err = ERR_INIT;

	good(records_open(&r, fd, key, "part", &err), &err);
	return r;
}

static void add(struct records *r, size_t n)
{
	unsigned char *p = xmalloc(n + 1);
	struct err err = ERR_INIT;

	plain_text(p, records_size(r), n);
	good(records_add(r, p, n, &err), &err);
	free(p);
}

static void check(struct records *r, uint64_t n, size_t step)
{
	struct bytes *b = NULL;

	assert_int_equal(records_size(r), n);
	good(bytes_records(&b, r, NULL), &(struct err)ERR_INIT);
	check_bytes(b, n, step);
	bytes_close(&b);
}

static size_t file_bytes(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (size_t)st.st_size;
}

static void test_append(void **state)
{
	static const size_t rows[] = { 1, 10, 0, CHUNK, CHUNK + 1, 3 * CHUNK, 5 };
	int fd = open_it("append");
	struct records *r = open_records(fd);
	uint64_t n = 0;
	size_t i;

	(void)state;
	check(r, 0, 1);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		add(r, rows[i]);
		n += rows[i];
		check(r, n, 5000);
		if (i % 2)
			continue;
		records_close(&r);
		assert_null(r);
		r = open_records(fd);
		check(r, n, 70000);
	}
	assert_int_equal(file_bytes(fd), HEAD + n + 9 * MORE);
	records_close(&r);
	close(fd);
}

/* Nothing of it stands in the file, nor twice the same. */
static void test_hidden(void **state)
{
	static const char secret[] = "a text that nobody is to find in it";
	int fd = open_it("hidden");
	struct records *r = open_records(fd);
	unsigned char *p;
	size_t n, i;

	(void)state;
	records_add(r, secret, sizeof(secret), NULL);
	records_add(r, secret, sizeof(secret), NULL);
	records_close(&r);
	n = read_file(&p, "hidden");
	for (i = 0; i + 8 <= n; i++)
		assert_memory_not_equal(p + i, secret, 8);
	assert_memory_not_equal(
		p + HEAD + 16, p + HEAD + sizeof(secret) + MORE + 16, 16);
	free(p);
	close(fd);
}

/* A crash at any byte: what was whole before is there, and it goes on. */
static void test_torn(void **state)
{
	static const size_t ends[] = { 0, 40, 41, 141 };
	int fd = open_it("torn");
	struct records *r = open_records(fd);
	unsigned char *p;
	size_t n, cut, whole, i;
	uint64_t sound;

	(void)state;
	add(r, 40);
	add(r, 1);
	add(r, 100);
	records_close(&r);
	n = read_file(&p, "torn");
	for (cut = 0; cut <= n; cut++) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, p, cut, 0), cut);
		for (whole = 0, i = 0; i < N_ELEMENTS(ends); i++)
			if (cut >= HEAD + i * MORE + ends[i])
				whole = ends[i];
		r = open_records(fd);
		check(r, whole, 30);
		assert_int_equal(records_sound(r, 0, &sound, NULL), ST_OK);
		assert_int_equal(sound, whole);
		add(r, 77);
		check(r, whole + 77, 30);
		records_close(&r);
		r = open_records(fd);
		check(r, whole + 77, 30);
		records_close(&r);
	}
	free(p);
	close(fd);
}

/* A file system may have made it longer, and not written all of it. */
static void test_not_written(void **state)
{
	int fd = open_it("zeros");
	struct records *r = open_records(fd);
	unsigned char zeros[60] = { 0 };
	struct err err = ERR_INIT;
	uint64_t sound;
	size_t n;

	(void)state;
	add(r, 40);
	add(r, 50);
	n = file_bytes(fd);
	records_close(&r);
	/* The last record has its length, but not its end; then zeros. */
	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), (off_t)n - 30), 60);
	r = open_records(fd);
	assert_int_equal(records_size(r), 90);
	good(records_sound(r, 0, &sound, &err), &err);
	assert_int_equal(sound, 40);
	good(records_sound(r, 40, &sound, &err), &err);
	assert_int_equal(sound, 40);
	good(records_cut(r, sound, &err), &err);
	add(r, 9);
	check(r, 49, 10);
	records_close(&r);
	close(fd);
}

static void test_cut(void **state)
{
	int fd = open_it("cut");
	struct records *r = open_records(fd);
	struct err err = ERR_INIT;

	(void)state;
	add(r, 10);
	add(r, 2 * CHUNK);
	add(r, 5);
	assert_int_equal(records_cut(r, 11, &err), ST_DENIED);
	assert_int_equal(records_cut(r, 3 * CHUNK, &err), ST_DENIED);
	has_text(err.text, "missing or damaged");
	check(r, 2 * CHUNK + 15, 100);
	good(records_cut(r, 2 * CHUNK + 15, &err), &err);
	good(records_cut(r, 10, &err), &err);
	check(r, 10, 4);
	add(r, 6);
	check(r, 16, 4);
	good(records_cut(r, 0, &err), &err);
	assert_int_equal(file_bytes(fd), HEAD);
	add(r, 6);
	check(r, 6, 4);
	records_close(&r);
	close(fd);
}

static bool all_there(int fd, const unsigned char k[CRYPT_KEY], const char *label)
{
	struct records *r = NULL;
	unsigned char p[64];
	uint64_t sound = 0;
	size_t got, i;
	bool ok = records_open(&r, fd, k, label, NULL) == ST_OK &&
		records_sound(r, 0, &sound, NULL) == ST_OK && sound == 60 &&
		records_read(r, p, sizeof(p), 0, &got, NULL) == ST_OK && got == 60;

	for (i = 0; ok && i < got; i++)
		assert_int_equal(p[i], byte_at(i));
	records_close(&r);
	return ok;
}

static void test_each_byte(void **state)
{
	int fd = open_it("bytes");
	struct records *r = open_records(fd);
	unsigned char *p, *q;
	size_t n, i;

	(void)state;
	for (i = 0; i < 3; i++)
		add(r, 20);
	records_close(&r);
	assert_true(all_there(fd, key, "part"));
	assert_false(all_there(fd, other_key, "part"));
	assert_false(all_there(fd, key, "log"));
	n = read_file(&p, "bytes");
	for (i = 0; i < n; i++) {
		p[i] ^= 1;
		put("bytes", p, n);
		if (all_there(fd, key, "part"))
			fail_msg("byte %zu was changed", i);
		p[i] ^= 1;
	}
	/* Two records exchanged; one left out. */
	q = xmalloc(n);
	memcpy(q, p, n);
	memcpy(q + HEAD, p + HEAD + 52, 52);
	memcpy(q + HEAD + 52, p + HEAD, 52);
	put("bytes", q, n);
	assert_false(all_there(fd, key, "part"));
	memcpy(q + HEAD, p + HEAD + 52, n - HEAD - 52);
	put("bytes", q, n - 52);
	assert_false(all_there(fd, key, "part"));
	put("bytes", p, n);
	assert_true(all_there(fd, key, "part"));
	free(q);
	free(p);
	close(fd);
}

/* A disk that is full: nothing of the call is there, what was before is. */
static void test_full(void **state)
{
	struct rlimit old, small = { 0 };
	int fd = open_it("full");
	struct records *r = open_records(fd);
	struct err err = ERR_INIT;
	unsigned char *p = xcalloc(3, CHUNK);

	(void)state;
	add(r, 100);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_cur = 2 * CHUNK;
	small.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	assert_int_equal(records_add(r, p, 3 * CHUNK, &err), ST_FATAL);
	setrlimit(RLIMIT_FSIZE, &old);
	check(r, 100, 100);
	assert_int_equal(file_bytes(fd), HEAD + MORE + 100);
	add(r, 3 * CHUNK);
	check(r, 100 + 3 * CHUNK, 9999);
	records_close(&r);
	free(p);
	close(fd);
}

/* Another process looks at it while it grows. */
static void test_read_only(void **state)
{
	int fd = open_it("shared"), look;
	struct records *r = NULL, *w;
	struct err err = ERR_INIT;
	char *path = in_dir("shared");

	(void)state;
	look = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(records_open(&r, look, key, "part", &err), ST_END);
	assert_null(r);
	assert_int_equal(file_bytes(fd), 0);
	w = open_records(fd);
	add(w, 30);
	r = open_records(look);
	add(w, 30);
	check(r, 30, 7);
	records_close(&r);
	r = open_records(look);
	check(r, 60, 7);
	records_close(&r);
	records_close(&w);
	free(path);
	close(look);
	close(fd);
}

/* ---- the key's file ---- */

static void test_key_file(void **state)
{
	unsigned char a[CRYPT_KEY], b[CRYPT_KEY];
	struct err err = ERR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(crypt_key_read(b, dirfd_, "k", &err), ST_END);
	assert_int_equal(crypt_key_destroy(dirfd_, "k", &err), ST_END);
	good(crypt_key_make(a, dirfd_, "k", &err), &err);
	assert_int_equal(fstatat(dirfd_, "k", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	good(crypt_key_read(b, dirfd_, "k", &err), &err);
	assert_memory_equal(a, b, CRYPT_KEY);
	/* Never over one that is there. */
	assert_int_equal(crypt_key_make(b, dirfd_, "k", &err), ST_DENIED);
	good(crypt_key_read(b, dirfd_, "k", &err), &err);
	assert_memory_equal(a, b, CRYPT_KEY);
	good(crypt_key_destroy(dirfd_, "k", &err), &err);
	assert_int_equal(crypt_key_read(b, dirfd_, "k", &err), ST_END);
	put("k", "short", 5);
	assert_int_equal(crypt_key_read(b, dirfd_, "k", &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
}

/* ---- veils ---- */

/* However it is cut, at whatever place. */
static void test_veil(void **state)
{
	enum { SIZE = 200 };
	unsigned char plain[SIZE], all[SIZE], piece[SIZE], back[SIZE];
	struct veil *v = NULL, *w = NULL;
	struct err err = ERR_INIT;
	size_t from, n;

	(void)state;
	good(veil_open(&v, &err), &err);
	good(veil_open(&w, &err), &err);
	plain_text(plain, 0, SIZE);
	veil_apply(v, 0, plain, all, SIZE);
	assert_memory_not_equal(plain, all, SIZE);
	for (from = 0; from < SIZE; from += 3) {
		for (n = 1; from + n <= SIZE; n += 7) {
			veil_apply(v, from, plain + from, piece, n);
			assert_memory_equal(piece, all + from, n);
			veil_apply(v, from, piece, piece, n);
			assert_memory_equal(piece, plain + from, n);
		}
	}
	/* Each has a key of its own; far away are other bytes than at the begin. */
	veil_apply(w, 0, plain, back, SIZE);
	assert_memory_not_equal(back, all, SIZE);
	veil_apply(v, UINT64_C(1) << 40, plain, back, SIZE);
	assert_memory_not_equal(back, all, SIZE);
	veil_apply(v, UINT64_C(1) << 40, back, back, SIZE);
	assert_memory_equal(back, plain, SIZE);
	veil_close(&v);
	veil_close(&w);
	assert_null(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_not_written),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_each_byte),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_key_file),
		cmocka_unit_test(test_veil),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
