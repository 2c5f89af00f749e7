/* whole.c: members that are unpacked at once; and digests made two at a time. */
#include "../../src/archive/form/hash.h"
#include "../../src/archive/form/segment.h"
#include "../../src/archive/form/whole.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MESSAGES = 40, MOST = 5000, ROOM = 1024 * 1024, BEFORE = 100, ITEMS = 60 };

/* BEFORE bytes, and a member. */
struct made {
	struct open_file f;
	struct idx rows;
	struct buf tar;
	uint64_t len, raw;
	size_t room; /* for a piece */
};

static enum status to_buf(void *ctx, const void *p, size_t n, struct err *err)
{
	(void)err;
	assert_true(buf_add(ctx, p, n));
	return ST_OK;
}

static void entry(struct tarw *t, const char *path, const char *p, size_t n)
{
	struct err err = ERR_INIT;

	assert_int_equal(tarw_entry(t, path, n, &err), ST_OK);
	assert_int_equal(tarw_data(t, p, n, &err), ST_OK);
	assert_int_equal(tarw_entry_end(t, &err), ST_OK);
}

/* Sizes from none on; what is in them hardly gets smaller, so that there are several
 * pieces. */
static void messages(struct made *m, struct tarw *t, const char *folder)
{
	char path[200], text[MOST];
	unsigned i;
	size_t k;

	for (i = 0; i < MESSAGES; i++) {
		struct idx_row *r = idx_add(&m->rows);

		r->seq = i + 1;
		r->size = i * i * 3;
		for (k = 0; k < r->size; k++)
			text[k] = (char)rand();
		hash_of(text, r->size, r->sha);
		snprintf(path, sizeof(path), "a-000001/data/eml/%s/%09u.eml", folder,
			r->seq);
		entry(t, path, text, r->size);
	}
}

/* In frames, where there is no room for all of it. */
static void pack(const struct made *m, enum archive_codec c, struct buf *out)
{
	struct err err = ERR_INIT;
	struct packer *p = NULL;
	size_t at, n;

	if (codec_packs(c))
		packer_open(&p, c);
	for (at = 0; at < m->tar.n; at += n) {
		struct buf b = BUF_INIT(ROOM);

		n = m->tar.n - at < m->room ? m->tar.n - at : m->room;
		buf_add(&b, m->tar.p + at, n);
		if (p)
			assert_int_equal(packer_run(p, &b, &err), ST_OK);
		buf_add(out, b.p, b.n);
		buf_free(&b);
	}
	packer_close(&p);
}

static void file_of(struct made *m, enum archive_codec c)
{
	static const char before[BEFORE];
	char name[] = "/tmp/whole.XXXXXX";
	struct buf b = BUF_INIT(2 * ROOM);
	struct err err = ERR_INIT;

	pack(m, c, &b);
	m->f = (struct open_file){ mkstemp(name), NULL };
	assert_true(m->f.fd >= 0);
	unlink(name);
	assert_int_equal(fs_write(m->f.fd, before, BEFORE, &err), ST_OK);
	assert_int_equal(fs_write(m->f.fd, b.p, b.n, &err), ST_OK);
	m->len = b.n;
	m->raw = m->tar.n;
	buf_free(&b);
}

static void make(struct made *m, enum archive_codec c, size_t room, const char *folder)
{
	struct tarw *t;

	memset(m, 0, sizeof(*m));
	m->room = room;
	buf_init(&m->tar, ROOM);
	tarw_open(&t, to_buf, &m->tar);
	entry(t, "a-000001/bagit.txt", bagit_text, strlen(bagit_text));
	messages(m, t, folder);
	tarw_close(&t);
	file_of(m, c);
}

static void unmake(struct made *m)
{
	open_file_close(&m->f);
	idx_free(&m->rows);
	buf_free(&m->tar);
}

/* What there was of a digest stays as it is when the member is not good. */
static bool is_good(const struct made *m, enum archive_codec c)
{
	unsigned char is[DIGEST], want[DIGEST];
	char *p = xcalloc(1, BEFORE + m->len);
	uint64_t paths[MESSAGES];
	struct whole_reader *w;
	struct pool *pool;
	struct sha sha;
	bool good;
	size_t got;

	sha_init(&sha);
	sha_add(&sha, p, BEFORE);
	pool_open(&pool, c, 1, m->room);
	whole_open(&w, c, "a-000001", pool);
	good = whole_read(
		w, &m->f, BEFORE, m->len, m->raw, &m->rows, true, &sha, paths);
	whole_close(&w);
	pool_close(&pool);
	assert_int_equal(
		open_file_read(&m->f, p + BEFORE, m->len, BEFORE, &got, NULL), ST_OK);
	hash_of(p, good ? BEFORE + got : BEFORE, want);
	sha_end(&sha, is);
	assert_memory_equal(is, want, DIGEST);
	if (good) {
		assert_true(paths[0] == segment_path("data/eml/INBOX/000000001.eml"));
		assert_true(paths[1] == segment_path("data/eml/INBOX/000000002.eml"));
	}
	free(p);
	return good;
}

static const struct {
	enum archive_codec codec;
	size_t room;
} kinds[] = {
	{ ARCHIVE_NONE, ROOM },
	{ ARCHIVE_GZ, ROOM },
	{ ARCHIVE_ZST, ROOM },
	{ ARCHIVE_ZIP, ROOM },
	/* Frames that end within a header, within a message, and with each. */
	{ ARCHIVE_ZST, 4999 },
	{ ARCHIVE_ZST, 1536 },
	{ ARCHIVE_ZST, 512 },
	{ ARCHIVE_ZST, 211 },
};

static void what_was_written_is_good(void **state)
{
	struct made m;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(kinds); i++) {
		make(&m, kinds[i].codec, kinds[i].room, "INBOX");
		assert_true(is_good(&m, kinds[i].codec));
		/* As one more run would look at it. */
		assert_true(is_good(&m, kinds[i].codec));
		unmake(&m);
	}
}

/* Each of these is undone again. */
static void all_else_is_not(void **state)
{
	struct made m;
	uint64_t at;
	size_t i;
	char c;

	(void)state;
	for (i = 0; i < N_ELEMENTS(kinds); i++) {
		make(&m, kinds[i].codec, kinds[i].room, "INBOX");
		for (at = 12; at < m.len;
			at += kinds[i].codec == ARCHIVE_NONE ? 512 : 499) {
			assert_int_equal(pread(m.f.fd, &c, 1, (off_t)(BEFORE + at)), 1);
			c ^= 1;
			assert_int_equal(
				pwrite(m.f.fd, &c, 1, (off_t)(BEFORE + at)), 1);
			if (is_good(&m, kinds[i].codec))
				/* Only behind a message, which holds nothing. */
				assert_true(!codec_packs(kinds[i].codec) && c == 1);
			c ^= 1;
			assert_int_equal(
				pwrite(m.f.fd, &c, 1, (off_t)(BEFORE + at)), 1);
		}
		m.rows.rows[MESSAGES - 1].sha[5] ^= 1;
		assert_false(is_good(&m, kinds[i].codec));
		m.rows.rows[MESSAGES - 1].sha[5] ^= 1;
		m.rows.rows[3].size++;
		assert_false(is_good(&m, kinds[i].codec));
		m.rows.rows[3].size--;
		m.rows.rows[3].seq++;
		assert_false(is_good(&m, kinds[i].codec));
		m.rows.rows[3].seq--;
		m.rows.n--;
		assert_false(is_good(&m, kinds[i].codec));
		m.rows.n++;
		m.raw -= 512;
		assert_false(is_good(&m, kinds[i].codec));
		m.raw += 1024;
		assert_false(is_good(&m, kinds[i].codec));
		m.raw -= 512;
		m.len--;
		assert_false(is_good(&m, kinds[i].codec));
		m.len++;
		assert_true(is_good(&m, kinds[i].codec));
		unmake(&m);
	}
}

/* A name that needs a header of its own is for who reads more slowly. */
static void other_headers_are_not_for_it(void **state)
{
	char folder[151];
	struct made m;

	(void)state;
	memset(folder, 'x', sizeof(folder) - 1);
	folder[sizeof(folder) - 1] = '\0';
	make(&m, ARCHIVE_GZ, ROOM, folder);
	assert_false(is_good(&m, ARCHIVE_GZ));
	unmake(&m);
}

/* Without frames it takes room for all. */
static void no_room(void **state)
{
	struct made m;

	(void)state;
	make(&m, ARCHIVE_GZ, 4999, "INBOX");
	assert_false(is_good(&m, ARCHIVE_GZ));
	unmake(&m);
}

static void headers(void **state)
{
	char again[TAR_PATH_MAX], path[TAR_PATH_MAX];
	struct buf b = BUF_INIT(ROOM);
	struct tarw *t;
	uint64_t size;
	size_t n, i;

	(void)state;
	tarw_open(&t, to_buf, &b);
	for (n = 1; n < 200; n++) {
		for (i = 0; i < n; i++)
			path[i] = i == n / 2 && i ? '/' : 'a';
		path[n] = '\0';
		buf_clear(&b);
		entry(t, path, path, n);
		assert_true(tar_header(b.p, again, &size));
		assert_string_equal(again, path);
		assert_int_equal(size, n);
		for (i = 0; i < TAR_BLOCK; i += 3) {
			b.p[i] ^= 1;
			assert_false(tar_header(b.p, again, &size));
			b.p[i] ^= 1;
		}
	}
	tarw_close(&t);
	buf_free(&b);
}

static void digests(void **state)
{
	struct hash_item v[ITEMS];
	unsigned char is[DIGEST], want[DIGEST];
	char *p = xmalloc(MOST);
	struct sha sha;
	size_t round, i, n, count;

	(void)state;
	for (i = 0; i < MOST; i++)
		p[i] = (char)rand();
	for (round = 0; round < 300; round++) {
		count = (size_t)rand() % ITEMS;
		n = (size_t)rand() % (round % 3 ? MOST : 3);
		for (i = 0; i < count; i++) {
			v[i].n = (size_t)rand() % (round % 2 ? MOST : 70);
			v[i].p = p + (size_t)rand() % (MOST - v[i].n);
		}
		sha_init(&sha);
		sha_add(&sha, p, round);
		hash_items(&sha, p + round, n < MOST - round ? n : 0, v, count);
		sha_end(&sha, is);
		hash_of(p, round + (n < MOST - round ? n : 0), want);
		assert_memory_equal(is, want, DIGEST);
		for (i = 0; i < count; i++) {
			hash_of(v[i].p, v[i].n, want);
			assert_memory_equal(v[i].sha, want, DIGEST);
		}
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_good),
		cmocka_unit_test(all_else_is_not),
		cmocka_unit_test(other_headers_are_not_for_it),
		cmocka_unit_test(no_room),
		cmocka_unit_test(headers),
		cmocka_unit_test(digests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
