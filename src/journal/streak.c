/*
 * streak.c: places of neighbours, written by one statement.
 *
 * New messages get ids one after the other, are announced in one folder with one floor,
 * and most stores give them numbers one after the other. A statement for all of them
 * takes a third of the time of one for each. So within a transaction such a change is
 * kept back until one comes that is no neighbour, or a statement that looks at places.
 *
 * Only what cannot fail is kept back: who asks for what cannot be is told so at once.
 */
#include "own.h"

#include <string.h>

void streak_begin(struct journal *j)
{
	memset(j->streak, 0, sizeof(j->streak));
	j->streaks = 0;
}

bool streak_is_new(const struct journal *j, int64_t id, unsigned sink)
{
	return j->open && !j->broken && sink < JOURNAL_SINKS && id > j->before &&
		id > j->streak[sink].announced && id <= j->last;
}

static bool is_neighbour(
	const struct streak *s, enum query q, int64_t id, const struct streak *next)
{
	/* Floors are all the same; so are numbers that nobody knows. */
	bool counts = q == Q_STORED && s->at.number;

	return s->q == q && id == s->first + s->n && s->folder == next->folder &&
		s->at.generation == next->at.generation && s->now == next->now &&
		next->at.number == s->at.number + (counts ? (uint64_t)s->n : 0);
}

static enum status write_one(
	struct journal *j, unsigned sink, const struct streak *s, struct err *err)
{
	bool counts = s->q == Q_STORED && s->at.number;
	enum status rc;
	int rows;

	if (s->q == Q_STORING)
		rc = query_change(j, Q_STORING_ALL,
			WITH(INT((uint64_t)s->first),
				INT((uint64_t)(s->first + s->n - 1)), INT(sink),
				INT((uint64_t)s->folder), INT(s->at.generation),
				INT(s->at.number), INT((uint64_t)s->now)),
			&rows, err);
	else
		rc = query_change(j, Q_STORED_ALL,
			WITH(INT((uint64_t)s->first),
				INT((uint64_t)(s->first + s->n - 1)), INT(sink),
				INT(s->at.generation), INT(s->at.number), INT(counts),
				INT((uint64_t)s->now)),
			&rows, err);
	if (rc == ST_OK && rows != s->n)
		rc = journal_misuse(j, err,
			"only %d of %lld messages from %lld on got a place in destination %u",
			rows, (long long)s->n, (long long)s->first, sink);
	return rc;
}

static enum status write_out(struct journal *j, unsigned sink, struct err *err)
{
	struct streak s = j->streak[sink];

	if (!s.n)
		return ST_OK;
	j->streak[sink].n = 0;
	j->streaks--;
	return write_one(j, sink, &s, err);
}

enum status streak_write(struct journal *j, struct err *err)
{
	enum status rc = ST_OK;
	unsigned k;

	for (k = 0; rc == ST_OK && j->streaks && k < JOURNAL_SINKS; k++)
		rc = write_out(j, k, err);
	return rc;
}

enum status streak_add(struct journal *j, enum query q, int64_t id, unsigned sink,
	const struct streak *next, struct err *err)
{
	struct streak *s = &j->streak[sink];
	enum status rc = ST_OK;

	if (q == Q_STORING)
		s->announced = id;
	if (s->n && is_neighbour(s, q, id, next)) {
		s->n++;
		return ST_OK;
	}
	rc = write_out(j, sink, err);
	*s = (struct streak){
		.announced = s->announced,
		.q = q,
		.first = id,
		.n = 1,
		.folder = next->folder,
		.at = next->at,
		.now = next->now,
	};
	j->streaks++;
	return rc;
}
