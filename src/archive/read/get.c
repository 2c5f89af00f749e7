/* get.c: one message out of an archive, or one after the other. */
#include "../form/hash.h"
#include "reader.h"
#include "../form/segment.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_MAX = 4 * 1024 * 1024 }; /* a larger message is read twice */

struct get {
	struct cursor *c;
	enum archive_codec codec;
	unsigned no;
	const char *segment;
	const struct idx_row *row;
	mail_take *take;
	void *ctx;
	bool begun; /* bytes have been given away */
};

/* ---- the member under the cursor ---- */

void cursor_close(struct cursor *c)
{
	entries_close(&c->s);
	unpacker_close(&c->u);
	if (c->owned)
		bytes_close(&c->b);
	c->owned = false;
	c->b = NULL;
}

static bool cursor_fits(const struct get *g)
{
	const struct cursor *c = g->c;

	if (!c->s || c->segment != g->no || c->off != g->row->off)
		return false;
	/* A zip is one list; in a member the next one must come at once. */
	return g->codec == ARCHIVE_ZIP ? g->row->seq > c->seq
				       : g->row->seq == c->seq + 1;
}

static enum status cursor_open(const struct get *g, struct err *err)
{
	const struct idx_row *row = g->row;
	uint64_t off = row->off == REST ? 0 : row->off, in = 0;
	struct cursor *c = g->c;
	enum status rc;

	c->segment = g->no;
	c->off = row->off;
	if (g->codec == ARCHIVE_NONE && row->in <= row->len)
		in = row->in; /* no way leads through what is before it */
	unpacker_open(&c->u, g->codec, c->b, off + in, row->len - in, false);
	if (g->codec == ARCHIVE_ZIP)
		return entries_open_zip(&c->s, c->b, err);
	rc = unpacker_skip(c->u, row->in - in, err);
	return rc == ST_OK ? entries_open(&c->s, c->u, err) : rc;
}

/* ---- one message ---- */

/* The entry is there and is the right one, or ST_DENIED. */
static enum status get_find(struct get *g, struct err *err)
{
	size_t n = strlen(g->segment);
	struct entry e;
	uint64_t seq;
	enum status rc;

	while ((rc = entries_next(g->c->s, &e, err)) == ST_OK) {
		bool right = strncmp(e.path, g->segment, n) == 0 && e.path[n] == '/' &&
			message_path_seq(e.path + n + 1, &seq) && seq == g->row->seq;

		if (right && e.size == g->row->size)
			return ST_OK;
		if (right || g->codec != ARCHIVE_ZIP)
			break;
	}
	if (rc < 0)
		return rc;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"message %" PRIu32 " is not where the index says", g->row->seq);
}

static enum status get_bytes(struct get *g, struct err *err)
{
	unsigned char sha[DIGEST];
	struct hash *h;
	const char *p;
	size_t n;
	enum status rc;

	hash_begin(&h);
	while ((rc = entries_data(g->c->s, &p, &n, err)) == ST_OK && n) {
		hash_put(h, p, n);
		g->begun = true;
		g->take(g->ctx, p, n);
	}
	hash_end(&h, sha);
	if (rc == ST_OK && memcmp(sha, g->row->sha, DIGEST) != 0)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"message %" PRIu32
			" was changed: its SHA-256 is not the recorded one",
			g->row->seq);
	return rc;
}

/* From where the cursor stands, or from anew: then g->c->b must be open. */
static enum status get_one(struct get *g, bool anew, struct err *err)
{
	enum status rc = anew ? cursor_open(g, err) : ST_OK;

	if (rc == ST_OK)
		rc = get_find(g, err);
	if (rc == ST_OK)
		rc = get_bytes(g, err);
	g->c->seq = g->row->seq;
	if (rc < 0)
		cursor_close(g->c);
	return rc;
}

static enum status get_again(struct get *g, struct archive_reader *r,
	const struct sealed *s, struct err *err)
{
	struct cursor *c = g->c;
	enum status rc;

	/* To decrypt it once more may mean all of it. */
	if (r->policy.crypt != CRYPT_NONE && c->owned && c->segment == s->no) {
		entries_close(&c->s);
		unpacker_close(&c->u);
		return get_one(g, true, err);
	}
	cursor_close(c);
	rc = reader_open_once(&c->b, r, s, err);
	if (rc < 0)
		return rc;
	c->owned = true;
	return get_one(g, true, err);
}

/* An index that leads astray can be done without. */
static enum status get_searched(struct get *g, struct archive_reader *r,
	const struct sealed *s, struct err *err)
{
	uint64_t seq = g->row->seq;
	struct bytes *b = NULL;
	enum status rc = reader_open_once(&b, r, s, err);

	if (rc < 0)
		return rc;
	idx_free(&r->idx);
	r->idx_of = r->sealed_n;
	rc = idx_rebuild(&r->idx, b, g->codec, s->stem, err);
	bytes_close(&b);
	if (rc < 0)
		return rc;
	if (seq < r->idx.rows[0].seq || seq - r->idx.rows[0].seq >= r->idx.n)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"message %" PRIu64 " is not there", seq);
	g->row = &r->idx.rows[seq - r->idx.rows[0].seq];
	if (g->row->gone)
		return reader_gone(r, seq, err);
	return get_again(g, r, s, err);
}

static enum status get_sealed(struct archive_reader *r, const struct sealed *s,
	struct get *g, uint64_t seq, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc = ST_DENIED;

	g->segment = s->name;
	g->no = s->no;
	g->codec = r->policy.codec;
	g->row = &r->idx.rows[seq - s->first];
	if (g->row->gone)
		return reader_gone(r, seq, err);
	if (cursor_fits(g))
		rc = get_one(g, false, &why);
	if (rc == ST_DENIED && !g->begun)
		rc = get_again(g, r, s, &why);
	if (rc == ST_DENIED && !g->begun)
		rc = get_searched(g, r, s, &why);
	if (rc < 0) {
		vault_note(&why, s->file);
		err_set(err, rc, why.exit, "%s", why.text);
	}
	return rc;
}

static enum status load_idx(struct archive_reader *r, size_t i, struct err *err)
{
	struct sealed *s = &r->sealed[i];
	enum status rc;

	if (r->idx_of == i)
		return ST_OK;
	idx_free(&r->idx);
	r->idx_of = r->sealed_n;
	rc = idx_get(&r->idx, &r->vault, s->stem, err);
	if (rc < 0)
		return rc;
	r->idx_of = i;
	s->first = r->idx.rows[0].seq;
	s->last = r->idx.rows[r->idx.n - 1].seq;
	return ST_OK;
}

static enum status get_open(
	struct archive_reader *r, struct get *g, uint64_t seq, struct err *err)
{
	enum archive_codec c = r->policy.codec;
	struct err why = ERR_INIT;
	enum status rc = ST_DENIED;

	g->row = &r->open.idx.rows[seq - r->open.first];
	g->segment = r->open_name;
	g->no = r->open.no;
	g->codec = g->row->off == REST || c == ARCHIVE_ZIP ? ARCHIVE_NONE : c;
	if (cursor_fits(g))
		rc = get_one(g, false, &why);
	if (rc == ST_DENIED && !g->begun) {
		cursor_close(g->c);
		g->c->b = g->row->off == REST ? r->rest_b : r->part_b;
		rc = get_one(g, true, &why);
	}
	if (rc < 0)
		err_set(err, rc, why.exit, "open/%s: %s", r->open_name, why.text);
	return rc;
}

/* ---- in which segment? ---- */

/* The first message of a segment comes without all of its index, those after it
 * with. */
static enum status get_looked(struct archive_reader *r, struct sealed *s, struct get *g,
	uint64_t seq, struct err *err)
{
	struct idx_row row;
	uint64_t first;
	enum status rc = ST_END;

	if (r->looked == s)
		return ST_END;
	r->looked = s;
	if (!idx_look(&row, &r->vault, s->stem, seq, &first))
		return ST_END;
	if (row.gone)
		return reader_gone(r, seq, err);
	g->segment = s->name;
	g->no = s->no;
	g->codec = r->policy.codec;
	g->row = &row;
	rc = get_again(g, r, s, err);
	g->row = NULL;
	return rc;
}

/* Where it should be, so that not each index must be loaded. */
static size_t likely(struct archive_reader *r, uint64_t seq)
{
	size_t i, best = r->sealed_n;
	struct idx_row row;

	for (i = 0; i < r->sealed_n; i++) {
		struct sealed *s = &r->sealed[i];

		if (!s->first)
			idx_look(&row, &r->vault, s->stem, 0, &s->first);
		if (s->first && s->first <= seq)
			best = i;
	}
	return best;
}

static bool has(const struct archive_reader *r, size_t i, uint64_t seq)
{
	const struct sealed *s = &r->sealed[i];

	return r->idx_of == i && seq >= s->first && seq <= s->last;
}

/* Behind the end of the last segment, whose index was read whole. */
static bool is_beyond(const struct archive_reader *r, uint64_t seq)
{
	return r->sealed_n && r->idx_of == r->sealed_n - 1 &&
		seq > r->sealed[r->idx_of].last;
}

enum status archive_get(struct archive_reader *r, uint64_t seq, mail_take *take,
	void *ctx, struct err *err)
{
	struct get g = { .c = &r->cursor, .take = take, .ctx = ctx };
	struct err why = ERR_INIT;
	size_t i = r->idx_of;
	enum status rc;

	if (r->has_open && seq >= r->open.first && seq < r->open.next)
		return get_open(r, &g, seq, err);
	if (i == r->sealed_n || !has(r, i, seq))
		i = likely(r, seq);
	if (i < r->sealed_n && r->idx_of != i) {
		rc = get_looked(r, &r->sealed[i], &g, seq, &why);
		if (rc == ST_OK)
			return rc;
		if (rc == ST_DENIED && why.exit == EX_PARTIAL)
			return err_set(err, rc, why.exit, "%s", why.text);
		if (g.begun || rc == ST_FATAL) {
			vault_note(&why, r->sealed[i].file);
			return err_set(err, rc, why.exit, "%s", why.text);
		}
	}
	if (i < r->sealed_n && load_idx(r, i, &why) == ST_OK && has(r, i, seq))
		return get_sealed(r, &r->sealed[i], &g, seq, err);
	if (seq == 0 || is_beyond(r, seq))
		return ST_END;
	/* Not there: look through all, unless they agree that there is no such. */
	for (i = 0; i < r->sealed_n; i++) {
		struct sealed *s = &r->sealed[i];

		if (s->last && (seq < s->first || seq > s->last))
			continue;
		rc = load_idx(r, i, err);
		if (rc < 0)
			return rc;
		if (has(r, i, seq))
			return get_sealed(r, s, &g, seq, err);
	}
	return ST_END;
}

/* ---- checked before it is given ---- */

struct archive_mail {
	struct archive_reader *r;
	uint64_t seq, size;
	char sha[2 * DIGEST + 1];
	struct hash *h; /* while it is read */
	bool kept;
	struct buf bytes;
};

static void keep(void *ctx, const char *p, size_t n)
{
	struct archive_mail *m = ctx;

	m->size += n;
	hash_put(m->h, p, n);
	if (m->kept && !buf_add(&m->bytes, p, n)) {
		m->kept = false;
		buf_free(&m->bytes);
	}
}

enum status archive_fetch(struct archive_mail **out, struct archive_reader *r,
	uint64_t seq, struct err *err)
{
	struct archive_mail *m = xcalloc(1, sizeof(*m));
	unsigned char sha[DIGEST];
	enum status rc;

	m->r = r;
	m->seq = seq;
	m->kept = true;
	buf_init(&m->bytes, KEPT_MAX);
	hash_begin(&m->h);
	rc = archive_get(r, seq, keep, m, err);
	hash_end(&m->h, sha);
	text_hex(m->sha, sha, DIGEST);
	if (rc != ST_OK)
		archive_mail_free(&m);
	*out = m;
	return rc;
}

uint64_t archive_mail_size(const struct archive_mail *m)
{
	return m->size;
}

const char *archive_mail_sha256(const struct archive_mail *m)
{
	return m->sha;
}

enum status archive_mail_give(
	const struct archive_mail *m, mail_take *take, void *ctx, struct err *err)
{
	if (!m->kept)
		return archive_get(m->r, m->seq, take, ctx, err);
	if (m->bytes.n)
		take(ctx, m->bytes.p, m->bytes.n);
	return ST_OK;
}

void archive_mail_free(struct archive_mail **mp)
{
	struct archive_mail *m = *mp;

	if (!m)
		return;
	buf_free(&m->bytes);
	free(m);
	*mp = NULL;
}
