/* t_spool.c: bodies in bounded memory and in files. */
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024 };

static char dir[256];
static int dirfd_;

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof(dir), "%s/t_spool.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(dirfd_);
	return rmdir(dir); /* fails when a file has been left */
}

/* The byte at offset i of every body here. */
static char byte_at(uint64_t i)
{
	return (char)(i * 7 + i / 251);
}

static void write_all(
	struct body *b, size_t n, size_t step, size_t bound, const struct spool *sp)
{
	char *piece = xmalloc(step);
	struct err err = ERR_INIT;
	size_t i = 0, k, j;

	while (i < n) {
		k = step < n - i ? step : n - i;
		for (j = 0; j < k; j++)
			piece[j] = byte_at(i + j);
		if (body_write(b, piece, k, &err) != ST_OK)
			fail_msg("%s", err.text);
		assert_true(spool_memory(sp) <= bound);
		i += k;
		assert_int_equal(body_size(b), i);
	}
	free(piece);
}

static void check_all(const struct body *b, size_t n, size_t cap)
{
	char *scratch = xmalloc(cap);
	struct err err = ERR_INIT;
	const char *p;
	size_t off = 0, k;

	for (;;) {
		assert_int_equal(body_read(b, off, scratch, cap, &p, &k, &err), ST_OK);
		if (k == 0)
			break;
		if (p == scratch)
			assert_true(k <= cap);
		for (size_t j = 0; j < k; j++)
			if (p[j] != byte_at(off + j))
				fail_msg("byte %zu is wrong", off + j);
		off += k;
	}
	assert_int_equal(off, n);
	assert_int_equal(body_read(b, n + 5, scratch, cap, &p, &k, &err), ST_OK);
	assert_int_equal(k, 0);
	free(scratch);
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, SPOOL_SMALL - 1,
		SPOOL_SMALL, SPOOL_SMALL + 1, 2 * SPOOL_SMALL, 3 * MIB + 17 };
	static const size_t steps[] = { 1, 1000, 4096, 65536, 65537, 300000, 4 * MIB };
	static const size_t bounds[] = { 0, 100, 5000, 70000, 300000, 8 * MIB };

	(void)state;
	for (size_t s = 0; s < N_ELEMENTS(sizes); s++) {
		for (size_t t = 0; t < N_ELEMENTS(steps); t++) {
			for (size_t m = 0; m < N_ELEMENTS(bounds); m++) {
				struct spool *sp;
				struct body *b;

				/* Byte by byte takes long; one size shows it. */
				if (steps[t] == 1 &&
					(sizes[s] > SPOOL_SMALL + 1 || bounds[m] < 100))
					continue;
				spool_open(&sp, dirfd_, bounds[m]);
				body_open(&b, sp);
				write_all(b, sizes[s], steps[t], bounds[m], sp);
				check_all(b, sizes[s], 4096);
				body_free(&b);
				assert_null(b);
				assert_int_equal(spool_memory(sp), 0);
				spool_close(&sp);
				assert_null(sp);
			}
		}
	}
}

/* Small ones stay in memory while there is some, large ones have a part of it. */
static void test_where(void **state)
{
	struct err err = ERR_INIT;
	struct body *small[8], *large;
	struct spool *sp;
	char scratch[16];
	const char *p;
	size_t n, in_memory = 0;

	(void)state;
	spool_open(&sp, dirfd_, 5 * 40000);
	for (size_t i = 0; i < N_ELEMENTS(small); i++) {
		body_open(&small[i], sp);
		write_all(small[i], 40000, 40000, 5 * 40000, sp);
		body_read(small[i], 0, scratch, sizeof(scratch), &p, &n, &err);
		in_memory += p != scratch;
	}
	assert_true(in_memory >= 3 && in_memory <= 5);
	for (size_t i = 0; i < N_ELEMENTS(small); i++)
		body_free(&small[i]);
	spool_close(&sp);

	spool_open(&sp, dirfd_, 4 * SPOOL_SMALL);
	body_open(&large, sp);
	write_all(large, SPOOL_SMALL + 1, 10000, SPOOL_SMALL, sp);
	body_read(large, 0, scratch, sizeof(scratch), &p, &n, &err);
	assert_ptr_equal(p, scratch);
	assert_true(spool_memory(sp) <= 64 * 1024);
	body_free(&large);
	spool_close(&sp);
}

/*
 * However they come and go, known before or not: those in memory, and what is kept of
 * it, are within the bound, all bytes are there, and a block is used again.
 */
static void test_large(void **state)
{
	enum { BODIES = 7, ROUNDS = 100, PART = 2 * MIB };
	struct err err = ERR_INIT;
	struct body *b[BODIES] = { NULL };
	size_t sizes[BODIES] = { 0 };
	struct spool *sp;
	unsigned seed = 7;
	char scratch[16];
	size_t n, in_files = 0, in_memory = 0;

	(void)state;
	spool_open(&sp, dirfd_, 6 * PART);
	for (size_t i = 0; i < ROUNDS; i++) {
		size_t k = (size_t)rand_r(&seed) % BODIES, large = 0;
		const char *p;

		if (b[k])
			check_all(b[k], sizes[k], 65536);
		body_free(&b[k]);
		sizes[k] = (size_t)rand_r(&seed) % (3 * PART / 2);
		body_open(&b[k], sp);
		if (rand_r(&seed) % 4)
			body_expect(
				b[k], sizes[k] + (size_t)(rand_r(&seed) % 3) * 50000);
		write_all(b[k], sizes[k], 1 + (size_t)rand_r(&seed) % 90000, 6 * PART,
			sp);
		for (size_t j = 0; j < BODIES; j++) {
			if (!b[j] || sizes[j] <= SPOOL_SMALL)
				continue;
			body_read(b[j], 0, scratch, sizeof(scratch), &p, &n, &err);
			large += p != scratch ? sizes[j] : 0;
			in_memory += p != scratch;
			in_files += p == scratch;
		}
		assert_true(large <= PART);
	}
	assert_true(in_memory > ROUNDS / 4 && in_files > ROUNDS / 4);
	for (size_t k = 0; k < BODIES; k++)
		body_free(&b[k]);
	assert_int_equal(spool_memory(sp), 0);
	spool_close(&sp);
}

/* What is kept, and is of no use to a body, is not there besides it. */
static void test_kept(void **state)
{
	enum { PART = 2 * MIB, LARGE = 19 * (PART / 20), NEXT = PART / 5 };
	struct body *b[4] = { NULL };
	struct spool *sp;
	size_t before, k;

	(void)state;
	/* So that the system is asked for each block. Sanitizers count none. */
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	before = mallinfo2().hblkhd;
	spool_open(&sp, dirfd_, 6 * PART);
	body_open(&b[0], sp);
	body_expect(b[0], LARGE);
	write_all(b[0], LARGE, 65536, 6 * PART, sp);
	body_free(&b[0]);
	for (k = 0; k < 4; k++) {
		body_open(&b[k], sp);
		body_expect(b[k], NEXT);
		write_all(b[k], NEXT, 65536, 6 * PART, sp);
		assert_true(mallinfo2().hblkhd <= before + PART);
	}
	for (k = 0; k < 4; k++)
		body_free(&b[k]);
	assert_true(mallinfo2().hblkhd <= before + PART);
	spool_close(&sp);
}

/* Who lies about a size gets no more for it, and loses nothing. */
static void test_expected(void **state)
{
	static const uint64_t said[] = { 0, 1, 5000, SPOOL_SMALL + 1, 2 * MIB,
		2 * MIB + 1, UINT64_MAX - 1, UINT64_MAX };
	struct spool *sp;
	struct body *b;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(said); i++) {
		for (size_t n = 0; n < 700000; n += 69999) {
			spool_open(&sp, dirfd_, 8 * MIB);
			body_open(&b, sp);
			body_expect(b, said[i]);
			write_all(b, n, 30000, 8 * MIB, sp);
			check_all(b, n, 4096);
			body_free(&b);
			assert_int_equal(spool_memory(sp), 0);
			spool_close(&sp);
		}
	}
}

/* A finished large message holds no memory. */
static void test_message_sealed(void **state)
{
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m = NULL;
	struct spool *sp;
	char line[100];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line + 98, "\r\n", 2);
	spool_open(&sp, dirfd_, 4 * SPOOL_SMALL);
	message_begin(&mk, sp);
	for (int i = 0; i < 3000; i++)
		message_put(mk, line, sizeof(line));
	assert_int_equal(message_end(&mk, &m, &err), ST_OK);
	assert_null(mk);
	assert_int_equal(body_size(m->body), 300000);
	assert_int_equal(spool_memory(sp), 0);
	message_free(&m);
	assert_null(m);
	spool_close(&sp);
}

static void *one_thread(void *arg)
{
	struct spool *sp = arg;

	for (size_t i = 0; i < 150; i++) {
		struct body *b;

		body_open(&b, sp);
		write_all(b, i * 97, 500, 4 * MIB, sp);
		check_all(b, i * 97, 4096);
		body_free(&b);
		body_open(&b, sp);
		write_all(b, i * 4001, 30000, 4 * MIB, sp);
		check_all(b, i * 4001, 4096);
		body_free(&b);
	}
	return NULL;
}

/* Without its text a message is still known. */
static void test_message_shed(void **state)
{
	static const char text[] = "Subject: kept\r\n\r\ngone\r\n";
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m = NULL;
	struct spool *sp;

	(void)state;
	spool_open(&sp, dirfd_, 4 * MIB);
	message_begin(&mk, sp);
	message_put(mk, text, sizeof(text) - 1);
	assert_int_equal(message_end(&mk, &m, &err), ST_OK);
	assert_true(spool_memory(sp) >= sizeof(text) - 1);
	message_shed(m);
	assert_int_equal(spool_memory(sp), 0);
	assert_int_equal(m->facts.size, sizeof(text) - 1);
	message_shed(m);
	message_free(&m);
	spool_close(&sp);
}

static void test_threads(void **state)
{
	pthread_t t[4];
	struct spool *sp;

	(void)state;
	spool_open(&sp, dirfd_, 4 * MIB);
	for (size_t i = 0; i < N_ELEMENTS(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, one_thread, sp), 0);
	for (size_t i = 0; i < N_ELEMENTS(t); i++)
		pthread_join(t[i], NULL);
	assert_int_equal(spool_memory(sp), 0);
	spool_close(&sp);
}

/* A full disk: told once, at the end, and nothing is left behind. */
static void test_full_disk(void **state)
{
	struct rlimit old, small = { 100000, 100000 };
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m = NULL;
	struct spool *sp;
	char *piece = xcalloc(1, 50000);
	enum status rc;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	spool_open(&sp, dirfd_, 0);
	message_begin(&mk, sp);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 4; i++)
		message_put(mk, piece, 50000);
	rc = message_end(&mk, &m, &err);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(rc, ST_FATAL);
	assert_int_equal(err.exit, EX_IOERR);
	assert_non_null(strstr(err.text, "spool"));
	assert_null(mk);
	assert_null(m);
	spool_close(&sp);
	free(piece);
}

/* No directory to write in: an error, not a crash; small mail needs none. */
static void test_no_directory(void **state)
{
	struct err err = ERR_INIT;
	struct spool *sp;
	struct body *b;
	char *piece = xcalloc(1, SPOOL_SMALL);

	(void)state;
	spool_open(&sp, -1, 4 * SPOOL_SMALL);
	body_open(&b, sp);
	assert_int_equal(body_write(b, piece, SPOOL_SMALL, &err), ST_OK);
	assert_int_equal(body_write(b, piece, 1, &err), ST_FATAL);
	assert_true(err.text[0] != '\0');
	body_free(&b);
	body_free(&b);
	spool_close(&sp);
	spool_close(&sp);
	free(piece);
}

/* The file behind a body is cut by someone: that is no end of the message. */
static void test_file_cut(void **state)
{
	struct err err = ERR_INIT;
	struct spool *sp;
	struct body *b;
	char scratch[4096];
	const char *p;
	size_t n;
	int fd;

	(void)state;
	spool_open(&sp, dirfd_, 0);
	/* The next descriptor is the file's. */
	fd = dup(0);
	assert_true(fd >= 0);
	close(fd);
	body_open(&b, sp);
	write_all(b, 10000, 10000, 0, sp);
	assert_int_equal(ftruncate(fd, 5000), 0);
	assert_int_equal(
		body_read(b, 4096, scratch, sizeof(scratch), &p, &n, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_IOERR);
	assert_int_equal(n, 0);
	body_free(&b);
	spool_close(&sp);
}

/* Who gets at the file's blocks finds nothing of the message, nor twice the same. */
static void test_not_in_clear(void **state)
{
	enum { SIZE = 3 * SPOOL_SMALL, ROW = 16 };
	char *zeros = xcalloc(1, SIZE), *p = xmalloc(SIZE);
	struct err err = ERR_INIT;
	struct spool *sp;
	struct body *b;
	int fd;

	(void)state;
	spool_open(&sp, dirfd_, 4 * SPOOL_SMALL);
	/* The next descriptor is the file's. */
	fd = dup(0);
	assert_true(fd >= 0);
	close(fd);
	body_open(&b, sp);
	assert_int_equal(body_write(b, zeros, SIZE, &err), ST_OK);
	assert_int_equal(pread(fd, p, SIZE, 0), SIZE);
	for (size_t i = 0; i < SIZE; i += ROW)
		assert_memory_not_equal(p + i, i ? p : zeros, ROW);
	body_free(&b);
	spool_close(&sp);
	free(zeros);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept), /* while the heap is empty */
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_where),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_expected),
		cmocka_unit_test(test_message_sealed),
		cmocka_unit_test(test_message_shed),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_no_directory),
		cmocka_unit_test(test_file_cut),
		cmocka_unit_test(test_not_in_clear),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
