/* place.c: where the sinks have the messages, or may have them. */
#include <popferry/clock.h>

#include "own.h"

#include <string.h>

static enum status announce(struct journal *j, int64_t id, unsigned sink,
	int64_t folder, const struct place *floor, int64_t now, struct err *err)
{
	const struct streak next = { .folder = folder, .at = *floor, .now = now };
	enum status rc;
	int rows;

	if (streak_is_new(j, id, sink))
		return streak_add(j, Q_STORING, id, sink, &next, err);
	rc = query_change(j, Q_STORING,
		WITH(INT(id), INT(sink), INT(folder), INT(floor->generation),
			INT(floor->number), INT(now)),
		&rows, err);
	/* Beginning anew would forget the receipt, and store it twice. */
	if (rc == ST_OK && rows == 0)
		rc = journal_misuse(j, err,
			"message %lld is stored already in destination %u",
			(long long)id, sink);
	return rc;
}

enum status journal_storing(struct journal *j, int64_t id, unsigned sink,
	const char *folder, const struct place *floor, int64_t now, struct err *err)
{
	enum status rc;
	int64_t in = 0;
	bool mine;

	rc = group_begin(j, &mine, err);
	if (rc != ST_OK)
		return rc;
	rc = row_known(j, id, err);
	if (rc == ST_OK)
		rc = folder_id(j, sink, folder, &in, err);
	if (rc == ST_OK)
		rc = announce(j, id, sink, in, floor, now, err);
	if (rc == ST_OK)
		folder_announced(j, id, sink, in);
	return group_end(j, mine, rc, err);
}

enum status journal_doubt(struct journal *j, int64_t id, unsigned sink,
	struct place *floor, char **folder, int64_t *since, struct err *err)
{
	enum status rc = query_row(j, Q_DOUBT, WITH(INT(id), INT(sink)), err);

	if (rc != ST_OK)
		return rc;
	floor->generation = (uint64_t)col_int(j, Q_DOUBT, 0);
	floor->number = (uint64_t)col_int(j, Q_DOUBT, 1);
	*since = col_int(j, Q_DOUBT, 2);
	*folder = xstrdup(col_text(j, Q_DOUBT, 3));
	query_done(j, Q_DOUBT);
	return ST_OK;
}

enum status journal_not_stored(
	struct journal *j, int64_t id, unsigned sink, struct err *err)
{
	folder_left(j, id, sink);
	return query_change(j, Q_NOT_STORED, WITH(INT(id), INT(sink)), NULL, err);
}

enum status journal_holder(struct journal *j, int64_t id, unsigned sink,
	const struct place *at, int64_t *holder, struct err *err)
{
	bool none = false;
	enum status rc = folder_free(j, id, sink, at, &none, err);

	if (rc == ST_OK && none)
		return ST_END;
	if (rc == ST_OK)
		rc = query_row(j, Q_HOLDER,
			WITH(INT(id), INT(sink), INT(at->generation), INT(at->number)),
			err);
	if (rc != ST_OK)
		return rc;
	*holder = col_int(j, Q_HOLDER, 0);
	query_done(j, Q_HOLDER);
	return *holder && *holder != id ? ST_OK : ST_END;
}

enum status journal_place(struct journal *j, int64_t id, unsigned sink,
	struct place *out, struct err *err)
{
	enum status rc = query_row(j, Q_PLACE, WITH(INT(id), INT(sink)), err);

	if (rc != ST_OK)
		return rc;
	out->generation = (uint64_t)col_int(j, Q_PLACE, 0);
	out->number = (uint64_t)col_int(j, Q_PLACE, 1);
	query_done(j, Q_PLACE);
	return ST_OK;
}

/* Why a place could not become STORED. */
static enum status refused(struct journal *j, int64_t id, unsigned sink,
	const struct place *at, struct err *err)
{
	char folder[ERR_TEXT / 2];
	int64_t holder;
	enum status rc;

	rc = query_row(j, Q_HOLDER,
		WITH(INT(id), INT(sink), INT(at->generation), INT(at->number)), err);
	if (rc == ST_END)
		return journal_misuse(j, err,
			"message %lld was not announced to destination %u",
			(long long)id, sink);
	if (rc != ST_OK)
		return rc;
	holder = col_int(j, Q_HOLDER, 0);
	text_clean(folder, sizeof(folder), col_text(j, Q_HOLDER, 1),
		strlen(col_text(j, Q_HOLDER, 1)));
	query_done(j, Q_HOLDER);
	return journal_misuse(j, err,
		"two messages claim generation %llu, number %llu of %s in destination %u: %lld has it, %lld came for it",
		(unsigned long long)at->generation, (unsigned long long)at->number,
		folder, sink, (long long)holder, (long long)id);
}

enum status journal_stored(struct journal *j, int64_t id, unsigned sink,
	const struct place *at, const unsigned char *wire, struct err *err)
{
	struct streak next = { .at = *at, .now = clock_utc() };
	enum status rc;
	int rows = 1;

	if (!wire && folder_sure(j, id, sink, at, &next.folder))
		rc = streak_add(j, Q_STORED, id, sink, &next, err);
	else
		rc = query_change(j, Q_STORED,
			WITH(INT(id), INT(sink), INT(at->generation), INT(at->number),
				BLOB(wire, DIGEST), INT((uint64_t)next.now)),
			&rows, err);
	if (rc == ST_OK && rows == 0)
		return refused(j, id, sink, at, err);
	if (rc == ST_OK)
		folder_stored(j, id, sink, at);
	return rc;
}

enum status journal_places(struct journal *j, unsigned sink, const char *folder,
	void (*each)(
		void *ctx, const struct place *at, const unsigned char exact[DIGEST]),
	void *ctx, struct err *err)
{
	enum status rc = query_row(j, Q_PLACES, WITH(INT(sink), TEXT(folder)), err);
	unsigned char exact[DIGEST];
	const void *digest;
	struct place at;
	size_t n;

	while (rc == ST_OK) {
		at.generation = (uint64_t)col_int(j, Q_PLACES, 0);
		at.number = (uint64_t)col_int(j, Q_PLACES, 1);
		digest = col_blob(j, Q_PLACES, 2, &n);
		memset(exact, 0, sizeof(exact));
		if (n == DIGEST)
			memcpy(exact, digest, DIGEST);
		each(ctx, &at, exact);
		rc = query_next(j, Q_PLACES, err);
	}
	return rc == ST_END ? ST_OK : rc;
}
