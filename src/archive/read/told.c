/* told.c: what runs told of the messages that their source listed. See FORMAT. */
#include "../form/json.h"
#include "../form/segment.h"
#include "../form/statement.h"
#include "reader.h"

#include <popferry/text.h>

#include <string.h>

enum { SERVER_MAX = 2 * 1024 * 1024 };

struct telling {
	struct archive_reader *r;
	struct buf account; /* as it stands in server.json */
	listing_take *each;
	void *ctx;
};

/* A sealed segment that is looked at. */
struct looking {
	const struct telling *t;
	const struct sealed *s;
	struct idx x;
	struct bytes *b;
};

static enum status wrong(struct err *err, enum tag tag, const char *why)
{
	return err_set(err, ST_DENIED, EX_DATAERR, "%s %s", tag_names[tag], why);
}

/* ST_END: it was told by a run from elsewhere, or by none. */
static enum status ours(struct looking *k, struct err *err)
{
	struct buf text = BUF_INIT(SERVER_MAX);
	struct entries *entries = NULL;
	struct unpacker *u = NULL;
	const char *at = NULL, *end;
	enum status rc = segment_find(&entries, &u, k->b, k->t->r->policy.codec,
		k->s->name, &k->x, tag_names[TAG_SERVER], err);

	if (rc == ST_OK)
		rc = entries_text(entries, &text, err);
	if (rc == ST_OK && strlen(buf_str(&text)) == text.n)
		at = json_at(buf_str(&text), "account", &end);
	if (rc == ST_OK && !at)
		rc = wrong(err, TAG_SERVER, "names no account");
	if (rc == ST_OK &&
		((size_t)(end - at) != k->t->account.n ||
			memcmp(at, k->t->account.p, k->t->account.n) != 0))
		rc = ST_END;
	entries_close(&entries);
	unpacker_close(&u);
	buf_free(&text);
	return rc;
}

/* ST_END: there is no listing. take may be NULL. */
static enum status read_lines(struct looking *k, listing_take *take, void *ctx,
	struct listing_sums *sums, struct err *err)
{
	struct listing_reader *lines;
	struct entries *entries = NULL;
	struct unpacker *u = NULL;
	const char *p, *why;
	size_t n;
	enum status rc = segment_find(&entries, &u, k->b, k->t->r->policy.codec,
		k->s->name, &k->x, tag_names[TAG_LISTING], err);

	listing_begin(&lines, take, ctx);
	while (rc == ST_OK && (rc = entries_data(entries, &p, &n, err)) == ST_OK && n)
		if (listing_feed(lines, p, n))
			break;
	why = listing_end(&lines, sums);
	if (rc == ST_OK && why)
		rc = wrong(err, TAG_LISTING, why);
	entries_close(&entries);
	unpacker_close(&u);
	return rc;
}

static enum status as_sealed(
	const struct looking *k, const struct listing_sums *is, struct err *err)
{
	const struct archive_reader *r = k->t->r;
	struct statement was;
	bool gone = false;
	size_t i;
	enum status rc = statement_load(&was, r->dir, &r->policy, k->s->no, err);

	if (rc == ST_END)
		return wrong(err, TAG_LISTING, "has no seal");
	if (rc != ST_OK)
		return rc;
	for (i = 0; i < k->x.n; i++)
		gone = gone || k->x.rows[i].gone;
	if (!was.listing.known || !listing_same(is, &was.listing, gone))
		return wrong(err, TAG_LISTING, "is not what its seal tells");
	return ST_OK;
}

static enum status look(
	const struct telling *t, const struct sealed *s, struct err *err)
{
	struct looking k = { .t = t, .s = s };
	struct listing_sums sums;
	enum status rc = reader_open_sealed(&k.b, t->r, s, err);

	if (rc == ST_OK)
		rc = idx_get(&k.x, &t->r->vault, s->stem, err);
	if (rc == ST_OK)
		rc = ours(&k, err);
	if (rc == ST_OK)
		rc = read_lines(&k, NULL, NULL, &sums, err);
	if (rc == ST_OK)
		rc = as_sealed(&k, &sums, err);
	/* All of it is right: now it is given. */
	if (rc == ST_OK)
		rc = read_lines(&k, t->each, t->ctx, &sums, err);
	if (rc < ST_OK)
		vault_note(err, s->file);
	idx_free(&k.x);
	bytes_close(&k.b);
	return rc;
}

enum status archive_each_told(struct archive_reader *r, const char *account,
	void (*each)(void *ctx, const struct story_item *it),
	void (*lost)(void *ctx, const char *what), void *ctx, struct err *err)
{
	struct telling t = { r, BUF_INIT(SERVER_MAX), each, ctx };
	enum status rc = ST_OK;
	size_t i;

	text_json(&t.account, account, strlen(account));
	for (i = 0; rc >= ST_OK && i < r->sealed_n; i++) {
		struct err why = ERR_INIT;

		rc = look(&t, &r->sealed[i], &why);
		if (rc == ST_DENIED && why.exit == EX_DATAERR) {
			lost(ctx, why.text);
			rc = ST_OK;
		} else if (rc < ST_OK) {
			*err = why;
		}
	}
	buf_free(&t.account);
	return rc < ST_OK ? rc : ST_OK;
}
