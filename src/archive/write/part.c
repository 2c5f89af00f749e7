/* part.c: tar bytes become members, and these go to .part in their order. */
#include "../form/pool.h"
#include "writer.h"

#include <popferry/mem.h>

#include <fcntl.h>
#include <stdlib.h>

enum status write_log(struct open_segment *g, struct err *err)
{
	enum status rc = open_file_add(&g->log, g->log_new.p, g->log_new.n, err);

	buf_clear(&g->log_new);
	return rc;
}

uint64_t member_most(const struct policy *p)
{
	return p->member_bytes + p->member_bytes / 2;
}

/* ---- what comes to .part ---- */

/* The first one of them begins it. What another run has left there, and what only its
 * key can read, is read when the segment is sealed. */
static void read_back(struct archive_writer *w, struct whole *m)
{
	struct open_segment *g = w->seg;
	enum archive_codec c = w->policy.codec;
	char name[FILE_NAME_MAX];
	struct open_file f;

	if (g->members == 0 && !g->restored && w->policy.crypt == CRYPT_NONE) {
		file_name(name, g->name, codec_open_suffix(c));
		if (writer_open_file(w, &f, name, O_RDONLY, NULL) == ST_OK)
			g->back = readback_begin(&f, codec_packs(c) ? c : ARCHIVE_NONE,
				g->name, w->pool);
	}
	if (g->back)
		readback_give(g->back, &m->rows, g->part_len, g->piece_len, m->raw_len);
	idx_free(&m->rows);
}

static enum status member_written(struct archive_writer *w, struct err *err)
{
	struct open_segment *g = w->seg;
	struct whole *m = g->wholes;
	enum status rc = ST_OK;

	if (m) {
		if (g->log_new.n >= LOG_FLUSH)
			rc = write_log(g, err);
		buf_add(&g->log_new, m->log.p, m->log.n);
		commit_member(
			&g->log_new, g->part_len, g->piece_len, m->raw_at, m->raw_len);
		read_back(w, m);
		g->in_part = m->last;
		if (g->told < m->last)
			g->told = m->last;
		g->members++;
		g->wholes = m->next;
		if (!g->wholes)
			g->wholes_tail = &g->wholes;
		buf_free(&g->log_spare);
		g->log_spare = m->log;
		free(m);
	}
	g->part_len += g->piece_len;
	g->piece_len = 0;
	return rc;
}

static enum status append(
	struct archive_writer *w, const struct buf *b, bool last, struct err *err)
{
	struct open_segment *g = w->seg;
	enum status rc = open_file_add(&g->part, b->p, b->n, err);

	/* The disk may begin; the next commit has to wait for less. */
	sync_file_range(g->part.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	g->part_new = true;
	g->piece_len += b->n;
	return rc == ST_OK && last ? member_written(w, err) : rc;
}

/* One piece that is compressed; ST_END: there is none. */
static enum status collect(struct archive_writer *w, bool wait, struct err *err)
{
	const struct buf *b;
	bool last;
	enum status rc = pool_take(w->pool, wait, &b, &last, err);

	if (rc == ST_OK)
		rc = append(w, b, last, err);
	pool_done(w->pool);
	return rc;
}

enum status part_settle(struct archive_writer *w, uint64_t seq, struct err *err)
{
	struct open_segment *g = w->seg;
	enum status rc = ST_OK;

	while (rc == ST_OK)
		rc = collect(w, g->in_part < seq || g->piece_len, err);
	return rc == ST_END ? ST_OK : rc;
}

/* ---- what goes there ---- */

static enum status give_piece(struct archive_writer *w, bool last, struct err *err)
{
	struct open_segment *g = w->seg;
	enum status rc = ST_OK;

	if (!codec_packs(w->policy.codec)) {
		rc = append(w, &g->raw, last, err);
		buf_clear(&g->raw);
		return rc;
	}
	while (rc == ST_OK && pool_full(w->pool, g->raw.n))
		rc = collect(w, true, err);
	if (rc == ST_OK)
		pool_give(w->pool, &g->raw, last, g->tables);
	while (rc == ST_OK)
		rc = collect(w, false, err);
	return rc == ST_END ? ST_OK : rc;
}

enum status part_take(void *ctx, const void *d, size_t n, struct err *err)
{
	struct archive_writer *w = ctx;
	struct open_segment *g = w->seg;
	const char *p = d;
	enum status rc = ST_OK;

	while (rc == ST_OK && n) {
		size_t k = n;

		if (g->cut && g->raw.n >= g->cut)
			rc = give_piece(w, false, err);
		if (g->cut && k > g->cut - g->raw.n)
			k = g->cut - g->raw.n;
		pool_room(w->pool, &g->raw);
		if (rc == ST_OK && !buf_add(&g->raw, p, k))
			rc = err_set(err, ST_FATAL, EX_SOFTWARE,
				"%s: an entry is larger than was planned", g->name);
		p += k;
		n -= k;
	}
	return rc;
}

enum status part_begin(struct archive_writer *w, uint64_t raw_len, struct err *err)
{
	struct open_segment *g = w->seg;
	char name[FILE_NAME_MAX];
	enum status rc = ST_OK;

	if (g->part.fd < 0) {
		file_name(name, g->name, codec_open_suffix(w->policy.codec));
		rc = writer_open_file(
			w, &g->part, name, O_RDWR | O_CREAT | O_EXCL, err);
		g->names_new = true;
	}
	g->cut = raw_len > member_most(&w->policy) ? w->policy.member_bytes : 0;
	return rc;
}

enum status part_end(struct archive_writer *w, struct err *err)
{
	w->seg->cut = 0;
	return give_piece(w, true, err);
}

enum status part_member(
	struct archive_writer *w, uint64_t raw_len, uint64_t last, struct err *err)
{
	struct open_segment *g = w->seg;
	struct whole *m = xcalloc(1, sizeof(*m));

	m->last = last;
	m->raw_at = g->raw_at;
	m->raw_len = raw_len;
	m->log = g->log_now;
	m->rows = g->now;
	g->now = (struct idx){ 0 };
	g->log_now = g->log_spare;
	buf_clear(&g->log_now);
	g->log_now.max = m->log.max;
	buf_init(&g->log_spare, m->log.max);
	*g->wholes_tail = m;
	g->wholes_tail = &m->next;
	g->raw_at += raw_len;
	g->whole_last = last;
	g->rest_len = 0;
	open_file_close(&g->rest);
	return part_end(w, err);
}
