/* hash.c: SHA-256 of memory and files. */
#include "hash.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNK = 128 * 1024 };

struct hash {
	struct sha sha;
};

void hash_begin(struct hash **out)
{
	struct hash *h = xmalloc(sizeof(*h));

	sha_init(&h->sha);
	*out = h;
}

void hash_put(struct hash *h, const void *p, size_t n)
{
	sha_add(&h->sha, p, n);
}

void hash_end(struct hash **hp, unsigned char out[DIGEST])
{
	struct hash *h = *hp;

	if (!h)
		return;
	if (out)
		sha_end(&h->sha, out);
	free(h);
	*hp = NULL;
}

enum status measure_piece(void *ctx, const void *p, size_t n, struct err *err)
{
	struct measure *m = ctx;

	(void)err;
	hash_put(m->hash, p, n);
	m->n += n;
	return ST_OK;
}

/* ---- many, two at a time ---- */

struct lane {
	struct sha *sha, own;
	struct hash_item *item; /* NULL: it goes on with what has no end */
	const char *p;
	size_t n;
};

/* The next one that is not empty; n is 0 when there is none. */
static void lane_next(struct lane *l, struct hash_item **v, size_t *count)
{
	while (l->n == 0) {
		if (l->item)
			sha_end(l->sha, l->item->sha);
		l->item = NULL;
		if (*count == 0)
			return;
		l->sha = &l->own;
		l->item = (*v)++;
		--*count;
		l->p = l->item->p;
		l->n = l->item->n;
	}
}

void hash_items(
	struct sha *h, const void *p, size_t n, struct hash_item *v, size_t count)
{
	struct lane a = { .sha = h, .p = p, .n = n }, b = { .sha = NULL };
	size_t k;

	sha_init(&a.own);
	sha_init(&b.own);
	for (;;) {
		lane_next(&a, &v, &count);
		lane_next(&b, &v, &count);
		if (a.n == 0 && b.n == 0)
			return;
		k = a.n < b.n ? a.n : b.n;
		if (k) {
			sha_add_two(a.sha, a.p, k, b.sha, b.p, k);
			a.p += k;
			a.n -= k;
			b.p += k;
			b.n -= k;
		} else if (a.n) {
			sha_add(a.sha, a.p, a.n);
			a.n = 0;
		} else {
			sha_add(b.sha, b.p, b.n);
			b.n = 0;
		}
	}
}

void hash_of(const void *p, size_t n, unsigned char out[DIGEST])
{
	digest_of(p, n, out);
}

enum status hash_fd(int fd, const char *name, unsigned char out[DIGEST], uint64_t *size,
	struct err *err)
{
	struct hash *h = NULL;
	char *p = xmalloc(CHUNK);
	enum status rc = ST_OK;
	uint64_t at = 0;
	ssize_t n;

	hash_begin(&h);
	while ((n = fs_pread(fd, p, CHUNK, at)) > 0) {
		hash_put(h, p, (size_t)n);
		at += (uint64_t)n;
	}
	if (n < 0)
		rc = err_sys(err, ST_FATAL, "read %s", name);
	hash_end(&h, out);
	if (size)
		*size = at;
	free(p);
	return rc;
}

enum status hash_range(
	struct sha *h, struct bytes *b, uint64_t from, uint64_t to, struct err *err)
{
	char *p = xmalloc(CHUNK);
	enum status rc = ST_OK;
	size_t n = 1;

	for (; rc == ST_OK && n && from < to; from += n) {
		rc = bytes_read(b, p, to - from < CHUNK ? (size_t)(to - from) : CHUNK,
			from, &n, err);
		if (rc == ST_OK)
			sha_add(h, p, n);
	}
	free(p);
	return rc;
}

enum status hash_bytes(struct bytes *b, unsigned char out[DIGEST], struct err *err)
{
	struct sha h;
	enum status rc;

	sha_init(&h);
	rc = hash_range(&h, b, 0, bytes_size(b), err);
	sha_end(&h, out);
	return rc;
}

enum status hash_file(int dirfd, const char *name, unsigned char out[DIGEST],
	uint64_t *size, struct err *err)
{
	/* O_NONBLOCK: a pipe of that name must not hold us up. */
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	enum status rc;

	if (fd < 0)
		return err_sys(err, ST_FATAL, "open %s", name);
	rc = hash_fd(fd, name, out, size, err);
	close(fd);
	return rc;
}
