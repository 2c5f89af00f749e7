/*
 * mbox.c: an mbox file as a source.
 *
 * A listing reads the whole file and knows each message by a digest of its bytes
 * without what mail programs note in it, so that a file may grow, or be put in order,
 * between two runs. What was changed since the listing is read again before it is
 * believed.
 */
#include "sources.h"

#include "files.h"
#include "split.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct mbox_mail {
	uint64_t at, size;
	struct when date;
	uint32_t line, occurrence; /* line: bytes of its From_ line */
	unsigned char id[FILE_ID_BYTES];
	bool measured, seen, answered, flagged, draft;
};

struct mbox {
	struct files f;
	int fd;
	struct stat was; /* at the listing */
	struct split *split;
	EVP_MD_CTX *sha;
	struct mbox_mail *v;
	size_t n, cap;
	bool listed;
	bool wild; /* nothing is quoted where Content-Length holds */
};

static struct mbox *self(const struct source *s)
{
	return (struct mbox *)(uintptr_t)s;
}

static void mbox_close(struct source **sp)
{
	struct mbox *b;

	if (!*sp)
		return;
	b = self(*sp);
	split_close(&b->split);
	if (b->fd >= 0)
		close(b->fd);
	EVP_MD_CTX_free(b->sha);
	free(b->v);
	files_release(&b->f);
	free(b);
	*sp = NULL;
}

static enum status stop(void *ctx, struct err *err)
{
	return files_stopped(ctx, err);
}

static enum status mbox_open(
	struct source **out, const struct source_setup *setup, struct err *err)
{
	struct mbox *b = xcalloc(1, sizeof(*b));
	struct source *base = &b->f.base;
	enum status rc = ST_OK;

	files_open(&b->f, &mbox_source, setup);
	b->sha = EVP_MD_CTX_new();
	if (!b->sha)
		xmemory_gone();
	b->fd = open(b->f.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (b->fd < 0 || fstat(b->fd, &b->was) < 0)
		rc = files_unopened(b->f.path, err);
	else if (!S_ISREG(b->was.st_mode))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is no file; name an mbox file, and of directories use "
			"maildir: or eml:",
			b->f.path);
	else
		split_open(&b->split, b->fd, (uint64_t)b->was.st_size, b->f.path, stop,
			&b->f);
	if (rc != ST_OK)
		mbox_close(&base);
	*out = base;
	return rc;
}

/* ---- listing ---- */

static void digest(void *ctx, const char *p, size_t n)
{
	EVP_DigestUpdate(ctx, p, n);
}

static enum status read_one(struct mbox *b, uint64_t at, struct split_mail *m,
	unsigned char id[FILE_ID_BYTES], struct err *err)
{
	unsigned char whole[DIGEST];
	enum status rc;

	EVP_DigestInit_ex(b->sha, EVP_sha256(), NULL);
	rc = split_read(b->split, at, m, digest, b->sha, err);
	EVP_DigestFinal_ex(b->sha, whole, NULL);
	memcpy(id, whole, FILE_ID_BYTES);
	return rc;
}

static void add(struct mbox *b, const struct split_mail *m,
	const unsigned char id[FILE_ID_BYTES])
{
	struct mbox_mail *k;

	if (b->n == b->cap) {
		b->cap += b->cap / 2 + 256;
		b->v = xreallocarray(b->v, b->cap, sizeof(*b->v));
	}
	k = &b->v[b->n++];
	*k = (struct mbox_mail){
		.at = m->at,
		.size = m->end - m->start,
		.date = m->date,
		.line = (uint32_t)(m->start - m->at),
		.occurrence = 1,
		.measured = m->measured,
		.seen = m->seen,
		.answered = m->answered,
		.flagged = m->flagged,
		.draft = m->draft,
	};
	memcpy(k->id, id, FILE_ID_BYTES);
	b->wild |= m->wild;
}

static enum status read_all(struct mbox *b, struct err *err)
{
	unsigned char id[FILE_ID_BYTES];
	struct split_mail m;
	uint64_t at = 0;
	enum status rc = split_first(b->split, &at, err);

	b->n = 0;
	for (; rc == ST_OK && at < (uint64_t)b->was.st_size; at = m.next) {
		rc = read_one(b, at, &m, id, err);
		if (rc == ST_OK)
			add(b, &m, id);
	}
	return rc == ST_END ? ST_OK : rc;
}

static int by_id(const void *ap, const void *bp, void *mbox)
{
	const struct mbox *b = mbox;
	const uint32_t x = *(const uint32_t *)ap, y = *(const uint32_t *)bp;
	int d = memcmp(b->v[x].id, b->v[y].id, FILE_ID_BYTES);

	return d ? d : (x > y) - (x < y);
}

/* Equal ones are told apart by their order. */
static void count_twins(struct mbox *b)
{
	uint32_t *order = xcalloc(b->n + 1, sizeof(*order));
	size_t i;

	for (i = 0; i < b->n; i++)
		order[i] = (uint32_t)i;
	if (b->n > 1)
		qsort_r(order, b->n, sizeof(*order), by_id, b);
	for (i = 1; i < b->n; i++) {
		const struct mbox_mail *x = &b->v[order[i - 1]];
		struct mbox_mail *y = &b->v[order[i]];

		if (memcmp(x->id, y->id, FILE_ID_BYTES) == 0)
			y->occurrence = x->occurrence + 1;
	}
	free(order);
}

static enum status mbox_list(struct source *base,
	void (*each)(void *ctx, const struct item *it), void *ctx, struct listing *out,
	struct err *err)
{
	struct mbox *b = self(base);
	enum status rc = b->listed ? ST_OK : read_all(b, err);
	char hex[2 * FILE_ID_BYTES + 1];
	size_t i;

	if (rc != ST_OK)
		return rc;
	if (!b->listed)
		count_twins(b);
	b->listed = true;
	*out = (struct listing){ .n = b->n, .steady = true };
	for (i = 0; i < b->n; i++) {
		const struct mbox_mail *m = &b->v[i];
		struct item it = { (uint32_t)i + 1, m->occurrence, m->size,
			text_hex(hex, m->id, FILE_ID_BYTES), 2 * FILE_ID_BYTES };

		each(ctx, &it);
	}
	return ST_OK;
}

/* ---- messages ---- */

/* "Sent.mbox" is Sent; what is called just mbox or Inbox is that. */
static void add_folder(const char *path, struct buf *out)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	size_t n = strlen(base);

	if (n > 5 && text_same(base + n - 5, ".mbox"))
		n -= 5;
	if (n == strlen("inbox") && text_same_n(base, "inbox", n))
		return;
	if (n == strlen("mbox") && text_same_n(base, "mbox", n))
		return;
	name_folder(base, n, false, out);
}

static void note_origin(struct mbox *b, uint32_t number)
{
	const struct mbox_mail *m = &b->v[number - 1];
	struct origin *o = &b->f.origin;
	char hex[2 * FILE_ID_BYTES + 1];

	files_filed(
		&b->f, number, m->size, xstrdup(text_hex(hex, m->id, FILE_ID_BYTES)));
	add_folder(b->f.path, &b->f.folder);
	o->folder = buf_str(&b->f.folder);
	o->occurrence = m->occurrence;
	o->date = m->date;
	o->seen = m->seen;
	o->answered = m->answered;
	o->flagged = m->flagged;
	o->draft = m->draft;
}

/* Somebody has written to the file: is this message still where it was? */
static enum status check_still(
	struct mbox *b, const struct mbox_mail *m, struct err *err)
{
	unsigned char id[FILE_ID_BYTES];
	struct split_mail now;
	struct stat st;
	enum status rc;

	if (fstat(b->fd, &st) < 0)
		return err_sys(err, ST_DENIED, "%s", b->f.path);
	if (st.st_size == b->was.st_size &&
		st.st_mtim.tv_sec == b->was.st_mtim.tv_sec &&
		st.st_mtim.tv_nsec == b->was.st_mtim.tv_nsec)
		return ST_OK;
	split_close(&b->split);
	split_open(&b->split, b->fd, (uint64_t)st.st_size, b->f.path, stop, &b->f);
	rc = m->at < (uint64_t)st.st_size
		? read_one(b, m->at, &now, id, err)
		: err_set(err, ST_RETRY, EX_TEMPFAIL,
			  "%s became shorter while it was read", b->f.path);
	if (rc == ST_OK &&
		(memcmp(id, m->id, FILE_ID_BYTES) != 0 ||
			now.end - now.start != m->size))
		rc = err_set(err, ST_RETRY, EX_TEMPFAIL,
			"%s was changed while it was read", b->f.path);
	return rc;
}

static enum status mbox_next(struct source *base, uint32_t *number, mail_take *take,
	void *ctx, struct err *err)
{
	struct mbox *b = self(base);
	const struct mbox_mail *m;
	enum status rc;

	b->f.filed = false;
	if (!queue_take(&b->f.wanted, number))
		return ST_END;
	m = &b->v[*number - 1];
	rc = check_still(b, m, err);
	if (rc == ST_OK)
		rc = split_give(b->split, m->at + m->line, m->at + m->line + m->size,
			!(m->measured && b->wild), take, ctx, err);
	if (rc == ST_OK)
		note_origin(b, *number);
	return rc;
}

static const char *const schemes[] = { "mbox", NULL };

const struct source_ops mbox_source = {
	.schemes = schemes,
	FILES_OPS,
	.open = mbox_open,
	.list = mbox_list,
	.next = mbox_next,
	.finish = files_finish,
	.close = mbox_close,
};
