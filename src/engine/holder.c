/*
 * holder.c: one that an earlier run may have stored, and now a twin of it comes.
 * Whoever keeps the record can say what became of it without having its bytes again.
 */
#include "engine_p.h"

#include <stdlib.h>

static enum status ask_one(struct engine *e, int64_t id, const struct journal_row *row,
	struct slot *s, struct err *err)
{
	struct place at = { 0, 0 };
	char *folder = NULL;
	int64_t since;
	enum status rc = slot_open(e, s, err);

	if (rc == ST_OK)
		rc = journal_doubt(e->journal, id, s->id, &at, &folder, &since, err);
	if (rc == ST_OK)
		rc = slot_tell(e, s, folder, err);
	if (rc == ST_OK)
		rc = s->ops->recall(s->sink, row->sha256, &at.number, err);
	if (rc == ST_OK)
		rc = journal_stored(e->journal, id, s->id, &at, NULL, err);
	free(folder);
	return rc;
}

enum status holder_ask(struct engine *e, int64_t id, bool *stored, struct err *err)
{
	struct journal_row row;
	enum status rc = journal_get(e->journal, id, &row, err);
	size_t k;

	*stored = rc == ST_OK && (row.stored & e->mask);
	for (k = 0; rc == ST_OK && row.has_content && k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];

		if (!s->ops->recall || !(row.storing & (1u << s->id)))
			continue;
		rc = ask_one(e, id, &row, s, err);
		*stored |= rc == ST_OK;
		if (rc == ST_END)
			rc = ST_OK;
	}
	return rc;
}
