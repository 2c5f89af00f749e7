/* disposed.c: are the segments those that their seals and the records of disposals tell
 * of? */
#include "evidence.h"
#include "../form/json.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = { "disposition", "hold", "retention" };

/* ---- reading ---- */

static void add(struct evidence *v, const struct disposition *d)
{
	v->disposed = xreallocarray(
		v->disposed, v->disposed_n + 1, sizeof(*v->disposed));
	v->disposed[v->disposed_n++] = *d;
}

enum status evidence_begin(struct evidence *v, struct err *err)
{
	struct err why = ERR_INIT;
	struct disposition d;
	unsigned n = 0, no;
	enum status rc = record_count(&n, v->r->dir, "disposition", &why);

	for (no = 1; (rc == ST_OK || rc == ST_DENIED) && no <= n; no++) {
		rc = disposition_load(&d, v->r->dir, no, &why);
		if (rc == ST_OK)
			add(v, &d);
		else if (rc == ST_DENIED)
			tally_bad(v->t, "%s", why.text);
		/* One that is missing is told below. */
		rc = rc == ST_END ? ST_OK : rc;
	}
	if (rc == ST_OK || rc == ST_DENIED)
		rc = disposition_pending(&d, v->r->dir, &why);
	v->pending = rc == ST_OK;
	if (rc == ST_OK && d.no > n)
		add(v, &d);
	else if (rc == ST_OK)
		disposition_free(&d);
	if (rc == ST_DENIED) {
		tally_bad(v->t, "%s", why.text);
		rc = ST_OK;
	}
	if (rc < 0)
		return err_set(err, rc, why.exit, "%s", why.text);
	return ST_OK;
}

void evidence_free(struct evidence *v)
{
	while (v->disposed_n)
		disposition_free(&v->disposed[--v->disposed_n]);
	free(v->disposed);
	free(v->seals);
}

static bool is_file(const struct state *s, const char *file)
{
	char idx[FILE_NAME_MAX];

	state_idx(idx, s);
	return strcmp(s->file, file) == 0 || strcmp(idx, file) == 0;
}

bool evidence_excuses(const struct evidence *v, const char *name)
{
	const struct disposition *d = v->pending && v->disposed_n
		? &v->disposed[v->disposed_n - 1]
		: NULL;

	if (!d || !text_starts(name, "segments/"))
		return false;
	name += strlen("segments/");
	return is_file(&d->before, name) || is_file(&d->after, name);
}

/* ---- segments ---- */

static bool same_state(const struct state *a, const struct state *b)
{
	return strcmp(a->file, b->file) == 0 && memcmp(a->sha, b->sha, DIGEST) == 0 &&
		memcmp(a->idx_sha, b->idx_sha, DIGEST) == 0 &&
		memcmp(a->plain_sha, b->plain_sha, DIGEST) == 0;
}

void evidence_now(const struct evidence *v, const struct sealed *sealed,
	const char *seal, struct state *s)
{
	size_t i;

	for (i = 0; i < v->disposed_n; i++) {
		const struct disposition *d = &v->disposed[i];

		if (strcmp(d->segment, sealed->name) != 0 ||
			strcmp(s->file, sealed->file) == 0)
			continue;
		if (seal && !same_state(s, &d->before))
			tally_bad(v->t,
				"policy/disposition-%06u.json does not follow from %s or "
				"the record before it",
				d->no, seal);
		*s = d->after;
	}
}

uint64_t evidence_gone(const struct evidence *v, const struct sealed *sealed)
{
	uint64_t n = 0;
	size_t i, k;

	for (i = 0; i < v->disposed_n; i++) {
		const struct disposition *d = &v->disposed[i];

		for (k = 0; strcmp(d->segment, sealed->name) == 0 && k < d->seqs.n; k++)
			n += d->seqs.p[k].last - d->seqs.p[k].first + 1;
	}
	return n;
}

static bool told(const struct evidence *v, const struct sealed *sealed, uint64_t seq)
{
	size_t i;

	for (i = 0; i < v->disposed_n; i++)
		if (strcmp(v->disposed[i].segment, sealed->name) == 0 &&
			ranges_have(&v->disposed[i].seqs, seq))
			return true;
	return false;
}

void evidence_tombs(
	struct evidence *v, const struct sealed *sealed, const struct idx *x)
{
	size_t i;

	for (i = 0; i < x->n; i++) {
		if (!x->rows[i].gone)
			continue;
		if (!told(v, sealed, x->rows[i].seq))
			tally_bad(v->t,
				"message %" PRIu32
				" is gone from segments/%s, and no record in policy/ tells "
				"of that",
				x->rows[i].seq, sealed->file);
	}
}

/* ---- records ---- */

static enum status check_kind(struct evidence *v, const char *kind,
	bool (*listed)(void *ctx, const char *name), struct err *err)
{
	struct err why = ERR_INIT;
	unsigned n = 0, no;
	enum status rc = record_count(&n, v->r->dir, kind, &why);

	if (rc == ST_DENIED)
		tally_bad(v->t, "%s", why.text);
	else if (rc < 0)
		return err_set(err, rc, why.exit, "%s", why.text);
	for (no = 1; no <= n; no++) {
		char name[FILE_NAME_MAX];

		record_name(name, kind, no);
		/* The newest may not have been noted yet: the next call does. */
		if (no < n && !listed(v->ctx, name))
			tally_bad(v->t, "%s has no line in manifest-sha256.txt", name);
	}
	return ST_OK;
}

enum status evidence_policy(struct evidence *v,
	bool (*listed)(void *ctx, const char *name), struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < N_ELEMENTS(kinds); i++)
		rc = check_kind(v, kinds[i], listed, err);
	return rc;
}

/* A segment may have such a name too. */
static bool of_record(const char *event)
{
	static const char *const events[] = { "hold", "release", "retention",
		"dispose" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(events); i++)
		if (strcmp(event, events[i]) == 0)
			return true;
	return false;
}

void evidence_event(
	struct evidence *v, const char *event, const char *object, const char *line)
{
	unsigned char sha[DIGEST];
	const unsigned char *is;
	char name[FILE_NAME_MAX];
	size_t i, n;

	for (i = 0; of_record(event) && i < N_ELEMENTS(kinds); i++) {
		n = strlen(kinds[i]);
		if (strncmp(object, kinds[i], n) != 0 || object[n] != '-' ||
			!json_hex(sha, DIGEST, line, "detail.sha256"))
			continue;
		record_name(
			name, kinds[i], (unsigned)strtoul(object + n + 1, NULL, 10));
		is = v->sum(v->ctx, name);
		if (file_there(v->r->dir, name, NULL) == ST_END)
			tally_bad(v->t, "%s is missing: log/custody.jsonl tells of it",
				name);
		else if (is && memcmp(is, sha, DIGEST) != 0)
			tally_bad(v->t,
				"%s is not the record that was made: log/custody.jsonl has "
				"another SHA-256 of it",
				name);
	}
}
