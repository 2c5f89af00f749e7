/* recall.c: is this message in the archive already? */
#include "writer.h"

#include <stdlib.h>
#include <string.h>

void writer_remember(struct archive_writer *w, const struct idx_row *row)
{
	struct idx_row r = *row;

	if (w->blind)
		blind_row(w->blind, &r);
	find_add(w->find, &r);
}

static void take_known(void *ctx, const struct idx_row *row)
{
	const struct archive_writer *w = ctx;

	/* What is not sealed comes from its log. */
	if (row->seq <= w->last_seq)
		find_add(w->find, row);
}

static enum status load_sealed(struct archive_writer *w, struct err *err)
{
	struct idx x = { 0 };
	char stem[STEM_MAX];
	struct segment_no *list = NULL;
	size_t n, i, k;
	enum status rc;

	if (w->blind)
		return blind_each(w->blind, take_known, w, err);
	rc = segments_list(&list, &n, w->segdir, &w->policy, err);
	for (i = 0; rc == ST_OK && i < n; i++) {
		segment_stem(stem, &w->policy, list[i]);
		rc = idx_get(&x, &w->vault, stem, err);
		for (k = 0; rc == ST_OK && k < x.n; k++)
			find_add(w->find, &x.rows[k]);
		idx_free(&x);
	}
	free(list);
	return rc;
}

static enum status load_find(struct archive_writer *w, struct err *err)
{
	struct open_state o = { 0 };
	size_t k;
	enum status rc = load_sealed(w, err);

	if (rc == ST_OK && w->seg) {
		rc = open_state_read(&o, &w->seg->log, &w->policy, err);
		for (k = 0; rc == ST_OK && k < o.idx.n; k++)
			writer_remember(w, &o.idx.rows[k]);
		/* ST_END: nothing of it is committed yet. */
		rc = rc == ST_END ? ST_OK : rc;
		open_state_free(&o);
	}
	return rc;
}

static enum status find_ready(struct archive_writer *w, struct err *err)
{
	enum status rc;

	if (w->find_loaded)
		return ST_OK;
	rc = load_find(w, err);
	if (rc < 0) {
		w->broken = true; /* half a table must answer nothing */
		return rc;
	}
	w->find_loaded = true;
	return ST_OK;
}

enum status archive_find(struct archive_writer *w, const struct archive_entry *e,
	const struct message *m, uint64_t *seq, struct err *err)
{
	unsigned char key[KEY], sha[DIGEST];
	enum status rc = find_ready(w, err);

	if (rc != ST_OK)
		return rc;
	idx_key(key, e->uidl, e->uidl_n, e->occurrence, m->facts.sha256);
	memcpy(sha, m->facts.sha256, DIGEST);
	if (w->blind) {
		blind_sha(w->blind, sha, m->facts.sha256);
		blind_key(w->blind, key, key);
	}
	*seq = find_get(w->find, sha, e->uidl ? key : NULL);
	/* A server may have given all its messages new UIDLs meanwhile (quirk Q11). */
	return *seq ? ST_OK : archive_recall(w, m->facts.sha256, seq, err);
}

enum status archive_recall(struct archive_writer *w, const unsigned char sha256[DIGEST],
	uint64_t *seq, struct err *err)
{
	unsigned char sha[DIGEST];
	enum status rc = find_ready(w, err);

	if (rc != ST_OK)
		return rc;
	memcpy(sha, sha256, DIGEST);
	if (w->blind)
		blind_sha(w->blind, sha, sha256);
	*seq = find_get(w->find, sha, NULL);
	return *seq ? ST_OK : ST_END;
}

void archive_claim(struct archive_writer *w, uint64_t seq)
{
	find_claim(w->find, seq);
}
