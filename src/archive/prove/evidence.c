/* evidence.c: does the archive hold what its seals say it held? */
#include "evidence.h"
#include "../form/json.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- a seal ---- */

static void check_file(struct evidence *v, const struct statement *s, const char *name,
	const unsigned char want[DIGEST])
{
	const unsigned char *is = v->sum(v->ctx, name);
	char seal[FILE_NAME_MAX];

	statement_name(seal, &v->r->policy, s->no);
	/* One that has another digest than the manifest says was told already. */
	if (is && memcmp(is, want, DIGEST) != 0)
		tally_bad(v->t,
			"%s is not the file that was sealed: %s has another SHA-256 of it",
			name, seal);
}

/* The tree of the seal before is the beginning of this one's. */
static bool chained(const struct statement *s, const struct statement *before)
{
	if (!before)
		return s->prev == 0 && s->tree.n == s->count;
	return s->prev == before->no &&
		memcmp(s->prev_sha, before->self, DIGEST) == 0 &&
		s->first == before->last + 1 && s->tree.n == before->tree.n + s->count;
}

static const struct statement *last_seal(const struct evidence *v)
{
	return v->n ? &v->seals[v->n - 1] : NULL;
}

static void check_seal(
	struct evidence *v, const struct sealed *sealed, const struct statement *s)
{
	char file[FILE_NAME_MAX], idx[FILE_NAME_MAX], name[FILE_NAME_MAX];
	struct state now = { 0 };

	memcpy(now.file, s->file, sizeof(now.file));
	memcpy(now.sha, s->sha, DIGEST);
	memcpy(now.idx_sha, s->idx_sha, DIGEST);
	memcpy(now.plain_sha, s->plain_sha, DIGEST);
	statement_name(name, &v->r->policy, s->no);
	evidence_now(v, sealed, name, &now);
	if (strcmp(s->archive, v->r->policy.id) != 0)
		tally_bad(v->t, "%s is of another archive", name);
	if (strcmp(now.file, sealed->file) != 0)
		tally_bad(v->t, "%s is of another segment", name);
	if (!v->told && !chained(s, last_seal(v)))
		tally_bad(v->t,
			"%s does not follow from the seal before it: one of them was "
			"exchanged, or seals are missing",
			name);
	check_file(v, s, "archive.json", s->json_sha);
	if (s->listing.known && listing_total(s->listing.count) != s->listed)
		tally_bad(v->t,
			"%s does not balance: %" PRIu64 " message%s listed, %" PRIu64
			" accounted for",
			name, s->listed, text_s(s->listed),
			listing_total(s->listing.count));
	file_name(file, "segments/", sealed->file);
	check_file(v, s, file, now.sha);
	file_name(file, "segments/", sealed->stem);
	file_name(idx, file, idx_suffix(&v->r->policy));
	check_file(v, s, idx, now.idx_sha);
}

const struct statement *evidence_seal(struct evidence *v, const struct sealed *sealed)
{
	struct err why = ERR_INIT;
	char name[FILE_NAME_MAX];
	struct statement s;
	enum status rc;

	rc = statement_load(&s, v->r->dir, &v->r->policy, sealed->no, &why);
	statement_name(name, &v->r->policy, sealed->no);
	if (rc == ST_END && !v->n && !v->r->policy.tree) {
		v->unsealed++; /* as 0.1.0 left it */
		return NULL;
	}
	if (rc != ST_OK) {
		if (rc == ST_END)
			tally_bad(v->t, "%s is missing", name);
		else
			tally_bad(v->t, "%s", why.text);
		v->told = true;
		return NULL;
	}
	check_seal(v, sealed, &s);
	v->seals = xreallocarray(v->seals, v->n + 1, sizeof(*v->seals));
	v->seals[v->n++] = s;
	v->told = false;
	return last_seal(v);
}

bool evidence_start(
	const struct evidence *v, const struct statement *seal, struct tree *out)
{
	const struct statement *before = v->n > 1 ? seal - 1 : NULL;

	memset(out, 0, sizeof(*out));
	if (seal->prev == 0)
		return true;
	if (!before || before->no != seal->prev)
		return false;
	*out = before->tree;
	return true;
}

void evidence_segment(struct evidence *v, const struct statement *s,
	const struct sealed *sealed, const struct idx *x,
	const struct segment_facts *facts, bool started)
{
	uint64_t octets = 0;
	char name[FILE_NAME_MAX];
	struct state now = { 0 };
	bool gone = false;
	size_t i;

	statement_name(name, &v->r->policy, s->no);
	memcpy(now.file, s->file, sizeof(now.file));
	memcpy(now.tags_sha, s->tags_sha, DIGEST);
	evidence_now(v, sealed, NULL, &now);
	evidence_tombs(v, sealed, x);
	for (i = 0; i < x->n; i++) {
		gone = gone || x->rows[i].gone;
		octets += x->rows[i].gone ? 0 : x->rows[i].size;
	}
	if (x->n != s->count || x->rows[0].seq != s->first ||
		x->rows[x->n - 1].seq != s->last ||
		(gone ? octets > s->octets : octets != s->octets))
		tally_bad(v->t,
			"%s is of messages %" PRIu64 " to %" PRIu64 " (%" PRIu64
			" bytes), the segment has %" PRIu32 " to %" PRIu32 " (%" PRIu64
			")",
			name, s->first, s->last, s->octets, x->rows[0].seq,
			x->rows[x->n - 1].seq, octets);
	if (!facts)
		return;
	if (facts->has_tags && memcmp(facts->tags_sha, now.tags_sha, DIGEST) != 0)
		tally_bad(v->t, "%s: the tables of the segment are not those it sealed",
			name);
	if (facts->listing.known &&
		(!s->listing.known ||
			!listing_same(&facts->listing, &s->listing, gone)))
		tally_bad(v->t, "%s: its reconciliation is not that of %s", name,
			tag_names[TAG_LISTING]);
	if (facts->has_tags && !facts->has_tree)
		tally_bad(v->t, "%s: the segment has no %s that is right", name,
			tag_names[TAG_TREE]);
	else if (facts->has_tree && started && !tree_same(&facts->tree, &s->tree))
		tally_bad(v->t, "%s: its tree is not that of the messages", name);
}

/* ---- the custody log ---- */

struct custody_reader {
	struct evidence *v;
	size_t i; /* the seal whose head comes next */
	bool damaged;
};

static void bad_custody(void *ctx, const char *what)
{
	struct custody_reader *c = ctx;

	tally_bad(c->v->t, "%s", what);
	c->damaged = true;
}

static const struct statement *seal_of(const struct evidence *v, const char *segment)
{
	char name[NAME_MAX_SEGMENT];
	size_t i;

	for (i = v->n; i--;) {
		segment_name(name, &v->r->policy, v->seals[i].no);
		if (strcmp(name, segment) == 0)
			return &v->seals[i];
	}
	return NULL;
}

/* The event came when the segment had its name: so whoever has the log sees the end of
 * the archive cut off. */
static void check_there(struct evidence *v, const char *segment)
{
	size_t i;

	for (i = 0; i < v->r->sealed_n; i++)
		if (strcmp(v->r->sealed[i].name, segment) == 0)
			return;
	if (reader_arrived(v->r, segment))
		return;
	tally_bad(v->t,
		"segment %.100s is missing: log/custody.jsonl tells of its seal",
		segment);
}

/* How many were made, whatever became of them. */
static void count_marks(struct evidence *v, const char *line)
{
	uint64_t n;

	if (json_number(&n, line, "detail.signatures") && n <= SEGMENT_NO_MAX)
		v->signatures += n;
	if (json_number(&n, line, "detail.timestamps") && n <= SEGMENT_NO_MAX)
		v->timestamps += n;
}

/* An event "seal" has the digest of the seal. */
static void check_event(struct evidence *v, const char *line)
{
	char event[TOKEN_MAX], object[TOKEN_MAX];
	const struct statement *s;
	unsigned char sha[DIGEST];

	if (!json_get(event, line, "event") || !json_get(object, line, "object"))
		return;
	evidence_event(v, event, object, line);
	if (strcmp(event, "sign") == 0)
		count_marks(v, line);
	if (strcmp(event, "seal") != 0)
		return;
	check_there(v, object);
	s = seal_of(v, object);
	if (s &&
		(!json_hex(sha, DIGEST, line, "detail.sha256") ||
			memcmp(sha, s->self, DIGEST) != 0))
		tally_bad(v->t,
			"seals/%s.seal.json is not the seal that was made: "
			"log/custody.jsonl has another SHA-256 of it",
			object);
}

static void take_event(void *ctx, const struct custody_head *at, const char *line)
{
	struct custody_reader *c = ctx;
	struct evidence *v = c->v;

	for (; c->i < v->n && v->seals[c->i].custody.events <= at->events; c->i++) {
		const struct statement *s = &v->seals[c->i];

		if (s->custody.events == at->events &&
			memcmp(s->custody.sha, at->sha, DIGEST) != 0)
			tally_bad(v->t,
				"log/custody.jsonl: line %" PRIu64
				" or one before it was changed: seal %u has another "
				"SHA-256 of it",
				at->events, s->no);
	}
	check_event(v, line);
}

/* After the log: the anchor comes when it has one event, and never goes. */
static void check_anchored(struct evidence *v, const struct custody_head *head)
{
	struct custody_head a;
	struct err why = ERR_INIT;

	v->unanchored = head->events && custody_anchor(v->r->dir, &a, &why) == ST_END;
	if (v->unanchored && head->events > 1 && v->r->policy.log_head)
		tally_bad(v->t, "log/custody.head is missing");
}

static enum status check_custody(struct evidence *v, struct err *err)
{
	struct custody_reader c = { .v = v };
	struct custody_head head;
	enum status rc;

	rc = custody_check(v->r->dir, &head, take_event, bad_custody, &c, err);
	if (rc < 0)
		return rc;
	v->events = head.events;
	check_anchored(v, &head);
	if (c.i < v->n && !c.damaged)
		tally_bad(v->t,
			"log/custody.jsonl %s: seal %u was made after %" PRIu64
			" event%s, it has %" PRIu64,
			rc == ST_END ? "is missing" : "has lost lines",
			v->seals[c.i].no, v->seals[c.i].custody.events,
			text_s(v->seals[c.i].custody.events), head.events);
	return ST_OK;
}

/* ---- seals of nothing ---- */

static bool is_sealed(const struct archive_reader *r, const char *file)
{
	char name[FILE_NAME_MAX], log[NAME_MAX_SEGMENT];
	size_t i;

	for (i = 0; i < r->sealed_n; i++) {
		file_name(name, r->sealed[i].name, ".seal.json");
		if (strcmp(name, file) == 0)
			return true;
	}
	/* It is being made of what open/ has. */
	segment_name(log, &r->policy, r->log_no);
	file_name(name, log, ".seal.json");
	return r->has_open && strcmp(name, file) == 0;
}

static enum status check_strays(struct evidence *v, struct err *err)
{
	static const char suffix[] = ".seal.json";
	struct names *l;
	const char *file;
	enum status rc = names_open(&l, v->r->dir, "seals", err);

	while (rc == ST_OK && (rc = names_next(l, &file, err)) == ST_OK) {
		size_t n = strlen(file), k = sizeof(suffix) - 1;

		if (file[0] != '.' && n > k && strcmp(file + n - k, suffix) == 0 &&
			!is_sealed(v->r, file) && !reader_arrived(v->r, file))
			tally_bad(v->t, "seals/%s is of a segment that is not there",
				file);
	}
	names_close(&l);
	return rc < 0 ? rc : ST_OK;
}

enum status evidence_end(struct evidence *v, struct err *err)
{
	enum status rc = check_custody(v, err);

	if (rc == ST_OK)
		rc = check_strays(v, err);
	return rc;
}
