/* known.c: what the source said of each message, out of the tables alone. */
#include "label.h"

struct giving {
	void (*each)(void *ctx, const struct archive_known *m);
	void *ctx;
};

static void give(const struct giving *g, const struct labels *l, const struct idx *x)
{
	size_t i;

	for (i = 0; i < x->n; i++) {
		const struct label *k = &l->v[i];
		const struct archive_known m = { x->rows[i].seq, x->rows[i].size,
			k->known ? k->listed_size : UINT64_MAX,
			k->known ? l->text + k->uidl : "" };

		if (!x->rows[i].gone)
			g->each(g->ctx, &m);
	}
}

static enum status give_sealed(const struct giving *g, const struct archive_reader *r,
	const struct sealed *s, struct err *err)
{
	struct labels l = { 0 };
	struct idx x = { 0 };
	struct bytes *b = NULL;
	enum status rc = reader_open_sealed(&b, r, s, err);

	if (rc == ST_OK)
		rc = idx_get(&x, &r->vault, s->stem, err);
	if (rc == ST_OK)
		rc = labels_sealed(&l, r, s, b, &x, err);
	if (rc == ST_OK)
		give(g, &l, &x);
	else
		vault_note(err, s->file);
	labels_free(&l);
	idx_free(&x);
	bytes_close(&b);
	return rc;
}

enum status archive_each_known(struct archive_reader *r,
	void (*each)(void *ctx, const struct archive_known *m), void *ctx,
	struct err *err)
{
	const struct giving g = { each, ctx };
	struct labels l = { 0 };
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < r->sealed_n; i++)
		rc = give_sealed(&g, r, &r->sealed[i], err);
	if (rc == ST_OK && r->has_open) {
		rc = labels_open(&l, r, err);
		if (rc == ST_OK)
			give(&g, &l, &r->open.idx);
		labels_free(&l);
	}
	return rc;
}
