/* hash.c: SHA-256 by EVP. */
#include "hash.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNK = 128 * 1024 };

struct hash {
	EVP_MD_CTX *md;
};

/* SHA-256 is always there: only memory can be missing. */
static void must(int ok)
{
	if (!ok)
		xmemory_gone();
}

void hash_begin(struct hash **out)
{
	struct hash *h = xmalloc(sizeof(*h));

	h->md = EVP_MD_CTX_new();
	must(h->md && EVP_DigestInit_ex(h->md, EVP_sha256(), NULL));
	*out = h;
}

void hash_put(struct hash *h, const void *p, size_t n)
{
	must(EVP_DigestUpdate(h->md, p, n));
}

void hash_end(struct hash **hp, unsigned char out[DIGEST])
{
	struct hash *h = *hp;

	if (!h)
		return;
	if (out)
		must(EVP_DigestFinal_ex(h->md, out, NULL));
	EVP_MD_CTX_free(h->md);
	free(h);
	*hp = NULL;
}

void hash_of(const void *p, size_t n, unsigned char out[DIGEST])
{
	must(EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL));
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

enum status hash_bytes(struct bytes *b, unsigned char out[DIGEST], struct err *err)
{
	struct hash *h = NULL;
	char *p = xmalloc(CHUNK);
	enum status rc;
	uint64_t at = 0;
	size_t n;

	hash_begin(&h);
	while ((rc = bytes_read(b, p, CHUNK, at, &n, err)) == ST_OK && n) {
		hash_put(h, p, n);
		at += n;
	}
	hash_end(&h, out);
	free(p);
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
