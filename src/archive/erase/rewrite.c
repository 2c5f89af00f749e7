/* rewrite.c: a segment written anew, of what was in it and tombstones. See FORMAT. */
#include "rewrite.h"
#include "../form/hash.h"
#include "retable.h"
#include "../form/segment.h"
#include "../form/tar.h"
#include "../form/tomb.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPY = 1024 * 1024, HEADERS_MAX = 128 * 1024, PATH_MAX_BYTES = 512 };

/* What is written, and where. */
struct out {
	struct rewrite *w;
	struct idx *x;
	crypt_give *give;
	void *ctx;
	uint64_t at; /* bytes in the file */
	struct tarw *tar;
	struct packer *packer; /* NULL: bytes go out as they are */
	struct buf raw;        /* tar bytes of the member under way */
	uint64_t raw_n;        /* how many it has had until now */
	size_t cut;            /* not 0: a piece goes out at so many */
};

/* ---- members ---- */

static enum status piece(struct out *o, struct err *err)
{
	enum status rc = ST_OK;

	if (o->packer)
		rc = packer_run(o->packer, &o->raw, err);
	if (rc == ST_OK)
		rc = o->give(o->ctx, o->raw.p, o->raw.n, err);
	o->at += o->raw.n;
	buf_clear(&o->raw);
	return rc;
}

static enum status take(void *ctx, const void *d, size_t n, struct err *err)
{
	struct out *o = ctx;
	const char *p = d;
	enum status rc = ST_OK;

	o->raw_n += n;
	while (rc == ST_OK && n) {
		size_t k = n;

		if (o->cut && o->raw.n >= o->cut)
			rc = piece(o, err);
		if (o->cut && k > o->cut - o->raw.n)
			k = o->cut - o->raw.n;
		if (rc == ST_OK && !buf_add(&o->raw, p, k))
			rc = err_set(err, ST_FATAL, EX_SOFTWARE,
				"%s: an entry is larger than was planned",
				o->w->segment);
		p += k;
		n -= k;
	}
	return rc;
}

/* Of a zip, which has no members. */
static enum status put(void *ctx, const void *p, size_t n, struct err *err)
{
	struct out *o = ctx;

	return o->give(o->ctx, p, n, err);
}

static uint64_t member_most_of(const struct policy *p)
{
	return p->member_bytes + p->member_bytes / 2;
}

static void member_begin(struct out *o, uint64_t raw_len)
{
	const struct policy *p = o->w->policy;

	o->cut = raw_len > member_most_of(p) ? p->member_bytes : 0;
	o->raw_n = 0;
}

static enum status copy_member(
	struct out *o, uint64_t off, uint64_t len, struct err *err)
{
	char *block = xmalloc(COPY);
	enum status rc = ST_OK;

	while (rc == ST_OK && len) {
		size_t n = 0;

		rc = bytes_read(
			o->w->from, block, len < COPY ? len : COPY, off, &n, err);
		if (rc == ST_OK && n == 0)
			rc = err_set(err, ST_DENIED, EX_DATAERR,
				"segment %s ends too early", o->w->segment);
		if (rc == ST_OK)
			rc = o->give(o->ctx, block, n, err);
		o->at += n;
		off += n;
		len -= n;
	}
	free(block);
	return rc;
}

/* ---- entries ---- */

struct going *rewrite_going(const struct rewrite *w, uint64_t seq)
{
	size_t lo = 0, hi = w->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->going[mid].seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < w->n && w->going[lo].seq == seq ? &w->going[lo] : NULL;
}

static enum status copy_entry(
	struct out *o, struct entries *s, const struct entry *e, struct err *err)
{
	enum status rc = tarw_entry(o->tar, e->path, e->size, err);
	const char *p;
	size_t n;

	while (rc == ST_OK && (rc = entries_data(s, &p, &n, err)) == ST_OK && n)
		rc = tarw_data(o->tar, p, n, err);
	return rc == ST_OK ? tarw_entry_end(o->tar, err) : rc;
}

static enum status bury(struct out *o, const struct entry *e, struct going *g,
	struct idx_row *r, struct err *err)
{
	struct buf path = BUF_INIT(PATH_MAX_BYTES), text = BUF_INIT(TOMB_MAX);
	enum status rc;

	tomb_path(&path, e->path);
	tomb_text(&text, g->seq, g->leaf, o->w->disposition);
	free(g->path);
	g->path = xstrdup(buf_str(&path) + strlen(o->w->segment) + 1);
	r->gone = true;
	r->size = text.n;
	r->occurrence = 1;
	hash_of(text.p, text.n, r->sha);
	memset(r->key, 0, KEY);
	rc = tarw_entry(o->tar, path.p, text.n, err);
	if (rc == ST_OK)
		rc = tarw_data(o->tar, text.p, text.n, err);
	buf_free(&path);
	buf_free(&text);
	return rc == ST_OK ? tarw_entry_end(o->tar, err) : rc;
}

/* The entry of this row, as it was or as its tombstone. */
static enum status one_entry(struct out *o, struct entries *s, const struct entry *e,
	size_t i, struct err *err)
{
	struct idx_row *r = &o->x->rows[i];
	struct going *g = rewrite_going(o->w, r->seq);
	size_t n = strlen(o->w->segment);
	uint64_t seq;

	if (strlen(e->path) <= n ||
		!entry_path_seq(e->path + n + 1, o->w->x->rows[i].gone, &seq) ||
		seq != r->seq)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"%s stands where message %" PRIu32 " should", e->path, r->seq);
	return g ? bury(o, e, g, r, err) : copy_entry(o, s, e, err);
}

/* Rows [i, k), and what stands before the first of them. */
static enum status write_entries(
	struct out *o, struct entries *s, size_t i, size_t k, struct err *err)
{
	struct entry e;
	enum status rc = ST_OK;

	if (i == 0) {
		rc = entries_next(s, &e, err);
		if (rc == ST_OK)
			rc = copy_entry(o, s, &e, err);
	}
	for (; rc == ST_OK && i < k; i++) {
		rc = entries_next(s, &e, err);
		if (rc == ST_END)
			rc = err_set(err, ST_DENIED, EX_DATAERR,
				"segment %s ends too early", o->w->segment);
		o->x->rows[i].in = o->raw_n;
		if (rc == ST_OK)
			rc = one_entry(o, s, &e, i, err);
	}
	return rc;
}

/* ---- messages ---- */

static size_t group_end(const struct idx *x, size_t i)
{
	size_t k = i + 1;

	while (k < x->n && x->rows[k].off == x->rows[i].off &&
		x->rows[k].len == x->rows[i].len)
		k++;
	return k;
}

static bool touched(const struct rewrite *w, size_t i, size_t k)
{
	for (; i < k; i++)
		if (rewrite_going(w, w->x->rows[i].seq))
			return true;
	return false;
}

static enum status write_group(struct out *o, size_t i, size_t k, struct err *err)
{
	const struct idx_row *old = &o->w->x->rows[i];
	uint64_t start = o->at, raw = tar_room(strlen(bagit_text));
	struct unpacker *u = NULL;
	struct entries *s = NULL;
	enum status rc = ST_OK;
	size_t j;

	if (!touched(o->w, i, k)) {
		rc = copy_member(o, old->off, old->len, err);
	} else {
		for (j = i; j < k; j++)
			raw += tar_room(rewrite_going(o->w, o->w->x->rows[j].seq)
					? TOMB_MAX
					: o->w->x->rows[j].size);
		member_begin(o, raw);
		unpacker_open(
			&u, o->w->policy->codec, o->w->from, old->off, old->len, false);
		rc = entries_open(&s, u, err);
		if (rc == ST_OK)
			rc = write_entries(o, s, i, k, err);
		if (rc == ST_OK)
			rc = piece(o, err);
		entries_close(&s);
		unpacker_close(&u);
	}
	for (j = i; j < k; j++) {
		o->x->rows[j].off = start;
		o->x->rows[j].len = o->at - start;
	}
	return rc;
}

static enum status write_zip(struct out *o, struct err *err)
{
	struct entries *s = NULL;
	enum status rc = entries_open_zip(&s, o->w->from, err);
	size_t i;

	if (rc == ST_OK)
		rc = write_entries(o, s, 0, o->x->n, err);
	for (i = 0; i < o->x->n; i++)
		o->x->rows[i].in = 0;
	entries_close(&s);
	return rc;
}

/* ---- tables ---- */

static enum status tar_piece(void *ctx, const void *p, size_t n, struct err *err)
{
	return tarw_data(ctx, p, n, err);
}

static enum status write_tag(
	struct out *o, struct retable *t, enum tag tag, struct err *err)
{
	char path[FILE_NAME_MAX];
	enum status rc;

	snprintf(path, sizeof(path), "%s/%s", o->w->segment, tag_names[tag]);
	rc = tarw_entry(o->tar, path, retable_size(t, tag), err);
	if (rc == ST_OK)
		rc = retable_write(t, tag, tar_piece, o->tar, err);
	return rc == ST_OK ? tarw_entry_end(o->tar, err) : rc;
}

static enum status write_tags(struct out *o, struct err *err)
{
	struct retable *t = NULL;
	uint64_t raw = TAR_END;
	enum status rc = retable_open(&t, o->w, o->x, err);
	int tag;

	for (tag = 0; rc == ST_OK && tag < TAGS; tag++)
		if (retable_has(t, (enum tag)tag))
			raw += tar_room(retable_size(t, (enum tag)tag));
	member_begin(o, raw);
	o->x->tags_off = o->at;
	for (tag = 0; rc == ST_OK && tag < TAGS; tag++)
		if (retable_has(t, (enum tag)tag))
			rc = write_tag(o, t, (enum tag)tag, err);
	if (rc == ST_OK)
		rc = tarw_end(o->tar, err);
	if (rc == ST_OK && o->w->policy->codec != ARCHIVE_ZIP)
		rc = piece(o, err);
	o->x->tags_len = o->at - o->x->tags_off;
	retable_close(&t);
	return rc;
}

/* ---- all of it ---- */

struct leaves {
	struct rewrite *w;
	size_t found;
};

static enum status take_leaf(void *ctx, size_t row, char *line, size_t n)
{
	struct leaves *l = ctx;
	struct going *g = row < l->w->x->n ? rewrite_going(l->w, l->w->x->rows[row].seq)
					   : NULL;

	if (!g || n <= 2 * DIGEST + 1)
		return ST_OK;
	line[n - 1] = '\0';
	l->found += text_unhex(g->leaf, DIGEST, line + n - 1 - 2 * DIGEST);
	return ST_OK;
}

enum status rewrite_leaves(struct rewrite *w, struct err *err)
{
	struct leaves l = { w, 0 };
	enum status rc = retable_lines(w, TAG_TREE, take_leaf, &l, err);

	if (rc == ST_OK && l.found != w->n)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"segment %s has no leaves of these messages", w->segment);
	return rc;
}

enum status rewrite_run(
	struct rewrite *w, crypt_give *give, void *ctx, struct idx *x, struct err *err)
{
	struct out o = { .w = w, .x = x, .give = give, .ctx = ctx };
	enum archive_codec c = w->policy->codec;
	enum status rc = ST_OK;
	size_t i, k;

	memset(x, 0, sizeof(*x));
	for (i = 0; i < w->x->n; i++)
		*idx_add(x) = w->x->rows[i];
	buf_init(&o.raw, (size_t)member_most_of(w->policy) + HEADERS_MAX);
	if (codec_packs(c))
		packer_open(&o.packer, c);
	if (c == ARCHIVE_ZIP)
		rc = tarw_open_zip(&o.tar, put, &o, err);
	else
		tarw_open(&o.tar, take, &o);
	if (rc == ST_OK && c == ARCHIVE_ZIP)
		rc = write_zip(&o, err);
	for (i = 0; rc == ST_OK && c != ARCHIVE_ZIP && i < w->x->n; i = k) {
		k = group_end(w->x, i);
		rc = write_group(&o, i, k, err);
	}
	if (rc == ST_OK)
		rc = write_tags(&o, err);
	tarw_close(&o.tar);
	if (o.packer)
		packer_close(&o.packer);
	buf_free(&o.raw);
	return rc;
}

void rewrite_release(struct rewrite *w)
{
	while (w->n)
		free(w->going[--w->n].path);
	free(w->going);
	w->going = NULL;
}
