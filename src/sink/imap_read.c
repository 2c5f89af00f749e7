/* imap_read.c: reading back what an IMAP account holds. */
#include <popferry/mem.h>

#include "imap_sink.h"

#include <stdlib.h>

struct relay {
	const struct sink_reading *to;
	const size_t *which; /* of the caller's places each UID is */
};

static void relay_begin(void *ctx)
{
	const struct relay *r = ctx;

	r->to->begin(r->to->ctx);
}

static void relay_take(void *ctx, const char *p, size_t n)
{
	const struct relay *r = ctx;

	r->to->take(r->to->ctx, p, n);
}

static void relay_end(void *ctx, size_t k, enum imap_fetched what)
{
	static const enum sink_found found[] = {
		[IMAP_FETCHED] = FOUND_WHOLE,
		[IMAP_GONE] = FOUND_GONE,
		[IMAP_NEVER] = FOUND_NEVER,
		[IMAP_UNREAD] = FOUND_UNREAD,
	};
	const struct relay *r = ctx;

	r->to->end(r->to->ctx, r->which[k], found[what]);
}

static enum status look_at(struct imap *i, const char *folder,
	const struct imap_mailbox **mb, struct err *err)
{
	enum status rc = imap_folder(i, folder, mb, err);

	/* Anew: what other sessions took away must not be shown from memory. */
	return rc == ST_OK ? imap_reselect(i, *mb, err) : rc;
}

enum status imap_sink_read(struct sink *base, const char *folder, uint64_t generation,
	const uint64_t *places, size_t n, const struct sink_reading *to,
	struct err *err)
{
	struct imap *i = ((struct imap_sink *)(uintptr_t)base)->imap;
	uint32_t *uids = xcalloc(n + 1, sizeof(*uids));
	size_t *which = xcalloc(n + 1, sizeof(*which)), count = 0, k;
	struct relay relay = { to, which };
	const struct imap_reading reading = { relay_begin, relay_take, relay_end,
		&relay };
	const struct imap_mailbox *mb;
	enum status rc = look_at(i, folder, &mb, err);

	if (rc == ST_OK && mb->uidvalidity != generation)
		rc = err_set(err, ST_SKIP, EX_DATAERR,
			"mailbox \"%s\" is not the one it was (its UIDVALIDITY has changed)",
			mb->wire);
	for (k = 0; rc == ST_OK && k < n; k++) {
		if (places[k] == 0 || places[k] > UINT32_MAX) {
			to->end(to->ctx, k, FOUND_NEVER); /* no UID is such */
			continue;
		}
		uids[count] = (uint32_t)places[k];
		which[count++] = k;
	}
	if (rc == ST_OK && count)
		rc = imap_fetch_many(i, uids, count, &reading, err);
	free(which);
	free(uids);
	return rc;
}

struct surveying {
	void (*each)(void *ctx, const struct sink_seen *seen);
	void *ctx;
	uint64_t generation;
};

static void survey_one(void *ctx, const struct imap_seen *m)
{
	const struct surveying *s = ctx;
	struct facts_maker *fm;
	struct sink_seen seen = { s->generation, m->uid, NULL };
	struct facts facts;

	facts_begin(&fm);
	facts_put(fm, m->header, m->header_n);
	facts_end(&fm, &facts);
	seen.facts = &facts;
	s->each(s->ctx, &seen);
	facts_release(&facts);
}

enum status imap_sink_survey(struct sink *base, const char *folder,
	void (*each)(void *ctx, const struct sink_seen *seen), void *ctx,
	struct err *err)
{
	struct imap *i = ((struct imap_sink *)(uintptr_t)base)->imap;
	struct surveying s = { each, ctx, 0 };
	const struct imap_mailbox *mb;
	enum status rc = look_at(i, folder, &mb, err);

	s.generation = rc == ST_OK ? mb->uidvalidity : 0;
	return rc == ST_OK ? imap_scan(i, 1, survey_one, &s, err) : rc;
}
