/* readback.c: members that are compared while the segment grows. */
#include "../../src/archive/form/hash.h"
#include "../../src/archive/write/readback.h"

#include <popferry/mem.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { GROUPS = 6, EACH = 5, ROOM = 256 * 1024 };

/* A file of members, and what they hold. */
struct made {
	char path[64];
	int fd;
	struct idx rows[GROUPS];
	uint64_t off[GROUPS], len[GROUPS], raw[GROUPS], end;
};

static enum status to_buf(void *ctx, const void *p, size_t n, struct err *err)
{
	(void)err;
	assert_true(buf_add(ctx, p, n));
	return ST_OK;
}

static void entry(struct tarw *t, const char *path, const char *text)
{
	struct err err = ERR_INIT;

	assert_int_equal(tarw_entry(t, path, strlen(text), &err), ST_OK);
	assert_int_equal(tarw_data(t, text, strlen(text), &err), ST_OK);
	assert_int_equal(tarw_entry_end(t, &err), ST_OK);
}

static void member(struct made *m, enum archive_codec c, unsigned g)
{
	struct buf b = BUF_INIT(ROOM);
	struct err err = ERR_INIT;
	struct packer *p = NULL;
	struct tarw *t;
	char path[64], text[64];
	unsigned i;

	tarw_open(&t, to_buf, &b);
	if (g == 0)
		entry(t, "a-000001/bagit.txt", bagit_text);
	for (i = 0; i < EACH; i++) {
		struct idx_row *r = idx_add(&m->rows[g]);

		r->seq = g * EACH + i + 1;
		snprintf(
			path, sizeof(path), "a-000001/data/eml/INBOX/%09u.eml", r->seq);
		snprintf(text, sizeof(text), "Subject: %u\r\n\r\n%u\r\n", r->seq, i);
		r->size = strlen(text);
		hash_of(text, strlen(text), r->sha);
		entry(t, path, text);
	}
	tarw_close(&t);
	m->raw[g] = b.n;
	if (c != ARCHIVE_NONE) {
		packer_open(&p, c);
		assert_int_equal(packer_run(p, &b, &err), ST_OK);
		packer_close(&p);
	}
	m->off[g] = m->end;
	m->len[g] = b.n;
	assert_int_equal(write(m->fd, b.p, b.n), b.n);
	m->end += b.n;
	buf_free(&b);
}

static void make(struct made *m, enum archive_codec c)
{
	unsigned g;

	memset(m, 0, sizeof(*m));
	snprintf(m->path, sizeof(m->path), "/tmp/readback.XXXXXX");
	m->fd = mkstemp(m->path);
	assert_true(m->fd >= 0);
	for (g = 0; g < GROUPS; g++)
		member(m, c, g);
}

static void unmake(struct made *m)
{
	unsigned g;

	for (g = 0; g < GROUPS; g++)
		idx_free(&m->rows[g]);
	close(m->fd);
	unlink(m->path);
}

/* Gives them all, slowly, and asks what was seen: a beginning in any case. */
static size_t follow(struct made *m, enum archive_codec c, struct segment_seen *seen)
{
	const struct timespec ms = { 0, 20 * 1000000 };
	struct err err = ERR_INIT;
	struct open_file f;
	struct readback *r;
	struct pool *pool;
	unsigned g;

	pool_open(&pool, c, 1, ROOM);
	assert_int_equal(open_file(&f, AT_FDCWD, m->path, O_RDONLY, NULL, &err), ST_OK);
	r = readback_begin(&f, c, "a-000001", pool);
	assert_non_null(r);
	for (g = 0; g < GROUPS; g++) {
		readback_give(r, &m->rows[g], m->off[g], m->len[g], m->raw[g]);
		nanosleep(&ms, NULL);
	}
	readback_end(&r, seen);
	assert_null(r);
	pool_close(&pool);
	return seen->n;
}

static void what_is_good_is_seen(void **state)
{
	static const enum archive_codec codecs[] = { ARCHIVE_NONE, ARCHIVE_GZ,
		ARCHIVE_ZST };
	unsigned char sha[DIGEST], want[DIGEST];
	struct segment_seen seen;
	struct made m;
	size_t i, tries;
	char *p;

	(void)state;
	for (i = 0; i < 3; i++) {
		make(&m, codecs[i]);
		/* On a machine that is busy it may not come that far. */
		for (tries = 0; follow(&m, codecs[i], &seen) < 2 * EACH && tries < 50;
			tries++)
			segment_seen_free(&seen);
		assert_true(seen.n >= 2 * EACH && seen.n % EACH == 0);
		assert_int_equal(seen.bytes,
			seen.n == GROUPS * EACH ? m.end : m.off[seen.n / EACH]);
		p = xmalloc(seen.bytes);
		assert_int_equal(pread(m.fd, p, seen.bytes, 0), seen.bytes);
		hash_of(p, seen.bytes, want);
		sha_end(&seen.sha, sha);
		assert_memory_equal(sha, want, DIGEST);
		assert_true(seen.paths[0] && seen.paths[seen.n - 1]);
		assert_true(seen.paths[0] != seen.paths[1]);
		free(p);
		segment_seen_free(&seen);
		unmake(&m);
	}
}

/* Each byte of one member; and one that is there, but not what was put. */
static void what_is_bad_is_not(void **state)
{
	const unsigned bad = 1;
	struct segment_seen seen;
	struct made m;
	uint64_t at;
	char c;

	(void)state;
	make(&m, ARCHIVE_GZ);
	/* Not the head of a gzip member, in which much may be otherwise. */
	for (at = m.off[bad] + 10; at < m.off[bad] + m.len[bad]; at += 37) {
		assert_int_equal(pread(m.fd, &c, 1, (off_t)at), 1);
		c ^= 1;
		assert_int_equal(pwrite(m.fd, &c, 1, (off_t)at), 1);
		assert_true(follow(&m, ARCHIVE_GZ, &seen) <= bad * EACH);
		segment_seen_free(&seen);
		c ^= 1;
		assert_int_equal(pwrite(m.fd, &c, 1, (off_t)at), 1);
	}
	m.rows[bad].rows[3].sha[5] ^= 1;
	assert_true(follow(&m, ARCHIVE_GZ, &seen) <= bad * EACH);
	segment_seen_free(&seen);
	m.rows[bad].rows[3].sha[5] ^= 1;
	m.rows[bad].rows[3].size++;
	assert_true(follow(&m, ARCHIVE_GZ, &seen) <= bad * EACH);
	segment_seen_free(&seen);
	m.rows[bad].rows[3].size--;
	m.off[bad]++; /* a gap */
	assert_true(follow(&m, ARCHIVE_GZ, &seen) <= bad * EACH);
	segment_seen_free(&seen);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_good_is_seen),
		cmocka_unit_test(what_is_bad_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
