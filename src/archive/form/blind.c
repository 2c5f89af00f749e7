/*
 * blind.c: the file STATE/archive-UUID.known: 16 bytes "popferry-known/1", a random key
 * of 32, the SHA-256 of what archive.json says of the encryption ("encrypt":{...}),
 * then 28 bytes a message: its number (big endian), 8 bytes of HMAC-SHA-256 of its key
 * as in the index, and 16 bytes of that of its SHA-256; of one that was disposed of
 * zeros.
 */
#include "blind.h"
#include "hash.h"

#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAGIC = 16,
	SECRET = 32,
	POLICY_TEXT_MAX = 16 * 1024,
	HEAD = MAGIC + SECRET + DIGEST,
	SHA_KEPT = 16, /* as many as find.c keeps */
	ROW = 4 + KEY + SHA_KEPT,
	ROWS_AT_ONCE = 4096,
};
static const char magic[MAGIC + 1] = "popferry-known/1";
static const unsigned char forgotten[ROW - 4]; /* the codes of a row */

struct blind {
	int fd;
	unsigned char secret[SECRET];
};

static void file_of(char name[FILE_NAME_MAX], const struct policy *p)
{
	snprintf(name, FILE_NAME_MAX, "archive-%s.known", p->id + strlen("urn:uuid:"));
}

/* For whom it is. */
static void digest_policy(unsigned char out[DIGEST], const struct policy *p)
{
	struct buf b = BUF_INIT(POLICY_TEXT_MAX);

	policy_encrypt_text(&b, p);
	hash_of(buf_str(&b) + 1, b.n - 1, out); /* without its comma */
	buf_free(&b);
}

static enum status make(
	int dirfd, const char *name, const struct policy *p, struct err *err)
{
	unsigned char head[HEAD];
	enum status rc = ST_OK;

	memcpy(head, magic, MAGIC);
	digest_policy(head + MAGIC + SECRET, p);
	if (getrandom(head + MAGIC, SECRET, 0) != SECRET)
		rc = err_sys(err, ST_FATAL, "random bytes");
	if (rc == ST_OK)
		rc = fs_replace(dirfd, name, head, HEAD, 0600, err);
	explicit_bzero(head, sizeof(head));
	return rc;
}

static enum status changed(struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"archive.json is not the one that this job has written with, and it says to "
		"whom messages are encrypted: somebody has changed it; put it back from a "
		"copy of the archive");
}

enum status blind_never(int dirfd, const struct policy *p, struct err *err)
{
	char name[FILE_NAME_MAX];
	enum status rc;

	file_of(name, p);
	rc = file_there(dirfd, name, err);
	if (rc == ST_OK)
		return changed(err);
	return rc == ST_END ? ST_OK : rc;
}

enum status blind_open(
	struct blind **out, int dirfd, const struct policy *p, struct err *err)
{
	struct blind *b = xcalloc(1, sizeof(*b));
	unsigned char head[HEAD], sha[DIGEST];
	char name[FILE_NAME_MAX];
	enum status rc;

	file_of(name, p);
	digest_policy(sha, p);
	rc = file_there(dirfd, name, err);
	if (rc == ST_END)
		rc = make(dirfd, name, p, err);
	b->fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (rc == ST_OK && b->fd < 0)
		rc = err_sys(err, ST_FATAL, "open %s", name);
	if (rc == ST_OK &&
		(fs_pread(b->fd, head, HEAD, 0) != HEAD ||
			memcmp(head, magic, MAGIC) != 0))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s in the state directory is damaged: remove it, and messages that "
			"the journal does not know are taken for new ones",
			name);
	if (rc == ST_OK && memcmp(head + MAGIC + SECRET, sha, DIGEST) != 0)
		rc = changed(err);
	if (rc == ST_OK)
		memcpy(b->secret, head + MAGIC, SECRET);
	explicit_bzero(head, sizeof(head));
	if (rc != ST_OK)
		blind_close(&b);
	*out = b;
	return rc;
}

void blind_close(struct blind **b)
{
	if (!*b)
		return;
	if ((*b)->fd >= 0)
		close((*b)->fd);
	explicit_bzero(*b, sizeof(**b));
	free(*b);
	*b = NULL;
}

/* what keeps the two kinds of texts apart. */
static void code(const struct blind *b, char what, const unsigned char *p, size_t n,
	unsigned char out[DIGEST])
{
	unsigned char text[1 + DIGEST];

	text[0] = (unsigned char)what;
	memcpy(text + 1, p, n);
	if (!HMAC(EVP_sha256(), b->secret, SECRET, text, 1 + n, out, NULL))
		xmemory_gone();
}

void blind_sha(const struct blind *b, unsigned char out[DIGEST],
	const unsigned char sha[DIGEST])
{
	code(b, 's', sha, DIGEST, out);
}

void blind_key(
	const struct blind *b, unsigned char out[KEY], const unsigned char key[KEY])
{
	unsigned char full[DIGEST];

	code(b, 'k', key, KEY, full);
	memcpy(out, full, KEY);
}

void blind_row(const struct blind *b, struct idx_row *row)
{
	unsigned char sha[DIGEST], key[KEY];

	blind_sha(b, sha, row->sha);
	blind_key(b, key, row->key);
	memcpy(row->sha, sha, DIGEST);
	memcpy(row->key, key, KEY);
}

/* ---- the file ---- */

static uint32_t seq_of(const unsigned char row[ROW])
{
	return (uint32_t)row[0] << 24 | (uint32_t)row[1] << 16 | (uint32_t)row[2] << 8 |
		row[3];
}

/* At *at are no rows any more from this number on. */
static enum status find_end(
	const struct blind *b, uint64_t *at, uint64_t first, struct err *err)
{
	unsigned char row[ROW];
	uint64_t lo = 0, hi;
	struct stat st;

	if (fstat(b->fd, &st) < 0)
		return err_sys(err, ST_FATAL, "stat");
	hi = ((uint64_t)st.st_size - HEAD) / ROW;
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (fs_pread(b->fd, row, ROW, HEAD + mid * ROW) != ROW)
			return err_sys(err, ST_FATAL, "read");
		if (seq_of(row) < first)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = HEAD + lo * ROW;
	return ST_OK;
}

enum status blind_each(const struct blind *b,
	void (*each)(void *ctx, const struct idx_row *row), void *ctx, struct err *err)
{
	unsigned char *p = xmalloc((size_t)ROWS_AT_ONCE * ROW);
	uint64_t at = HEAD;
	uint32_t last = 0;
	ssize_t n, i;

	while ((n = fs_pread(b->fd, p, (size_t)ROWS_AT_ONCE * ROW, at)) >= ROW) {
		for (i = 0; i + ROW <= n; i += ROW) {
			struct idx_row row = { .seq = seq_of(p + i) };

			memcpy(row.key, p + i + 4, KEY);
			memcpy(row.sha, p + i + 4 + KEY, SHA_KEPT);
			if (row.seq > last && row.seq <= SEQ_MAX &&
				memcmp(p + i + 4, forgotten, ROW - 4) != 0)
				each(ctx, &row);
			last = row.seq > last ? row.seq : last;
		}
		at += (uint64_t)i;
	}
	free(p);
	return n < 0 ? err_sys(err, ST_FATAL, "read what is known") : ST_OK;
}

static void put_row(struct buf *out, const struct blind *b, const struct idx_row *row)
{
	struct idx_row r = *row;
	unsigned char p[ROW] = { (unsigned char)(r.seq >> 24),
		(unsigned char)(r.seq >> 16), (unsigned char)(r.seq >> 8),
		(unsigned char)r.seq };

	blind_row(b, &r);
	memcpy(p + 4, r.key, KEY);
	memcpy(p + 4 + KEY, r.sha, SHA_KEPT);
	buf_add(out, p, ROW);
}

enum status blind_add(const struct blind *b, const struct idx *x, struct err *err)
{
	struct buf rows = BUF_INIT((size_t)SEGMENT_MESSAGES_MAX * ROW);
	uint64_t at = 0;
	enum status rc = find_end(b, &at, x->n ? x->rows[0].seq : SEQ_MAX + 1, err);
	size_t i;

	for (i = 0; i < x->n; i++)
		put_row(&rows, b, &x->rows[i]);
	if (rc == ST_OK &&
		(ftruncate(b->fd, (off_t)at) < 0 ||
			lseek(b->fd, (off_t)at, SEEK_SET) < 0))
		rc = err_sys(err, ST_FATAL, "cut");
	if (rc == ST_OK)
		rc = fs_write(b->fd, rows.p, rows.n, err);
	if (rc == ST_OK && fdatasync(b->fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync");
	buf_free(&rows);
	fault_step("archive-known");
	return rc == ST_OK ? rc : err_note(err, "what the state directory knows");
}

enum status blind_forget(
	const struct blind *b, uint64_t first, uint64_t last, struct err *err)
{
	unsigned char row[ROW];
	bool changed = false;
	uint64_t at;
	enum status rc = find_end(b, &at, first, err);

	for (; rc == ST_OK && fs_pread(b->fd, row, ROW, at) == ROW &&
		seq_of(row) <= last;
		at += ROW) {
		if (memcmp(row + 4, forgotten, ROW - 4) == 0)
			continue;
		changed = true;
		if (pwrite(b->fd, forgotten, ROW - 4, (off_t)at + 4) != ROW - 4)
			rc = err_sys(err, ST_FATAL, "write");
	}
	if (rc == ST_OK && changed && fdatasync(b->fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync");
	return rc == ST_OK ? rc : err_note(err, "what the state directory knows");
}
