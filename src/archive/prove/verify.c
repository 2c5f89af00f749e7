/* verify.c: all of an archive, read and compared. */
#include "evidence.h"
#include "../form/hash.h"
#include "../read/reader.h"
#include "../form/segment.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct listed {
	char *name;
	bool good;
	unsigned char sha[DIGEST];
};

struct verify {
	struct archive_reader *r;
	struct tally t;
	struct listed *list; /* of manifest-sha256.txt */
	size_t n;
	uint64_t next; /* the seq that must come */
	struct archive_how how;
	struct evidence evidence;
};

static const struct listed *find(const struct verify *v, const char *name)
{
	size_t i;

	for (i = 0; i < v->n; i++)
		if (strcmp(v->list[i].name, name) == 0)
			return &v->list[i];
	return NULL;
}

static bool is_listed(const struct verify *v, const char *name, bool good)
{
	const struct listed *l = find(v, name);

	if (!l)
		return evidence_excuses(&v->evidence, name);
	return !good || l->good;
}

struct sought {
	const char *name;
	bool found;
};

static enum status seek(
	void *ctx, const char *name, const unsigned char sha[DIGEST], struct err *err)
{
	struct sought *s = ctx;

	(void)sha;
	(void)err;
	s->found = s->found || strcmp(name, s->name) == 0;
	return ST_OK;
}

/* Or it has got one since we looked. */
static bool has_line(void *ctx, const char *name)
{
	const struct verify *v = ctx;
	struct sought s = { name, find(v, name) != NULL };

	if (!s.found)
		manifest_each(v->r->dir, seek, &s, NULL);
	return s.found;
}

/* check_line() has told what is wrong with it. */
static bool is_told(void *ctx, const char *name)
{
	const struct listed *l = find(ctx, name);

	return l && !l->good;
}

static const unsigned char *sum_of(void *ctx, const char *name)
{
	const struct listed *l = find(ctx, name);

	return l && l->good ? l->sha : NULL;
}

/* ---- files ---- */

static enum status check_line(
	void *ctx, const char *name, const unsigned char want[DIGEST], struct err *err)
{
	unsigned char sha[DIGEST];
	struct verify *v = ctx;
	struct err why = ERR_INIT;
	bool good = false;

	(void)err;
	if (hash_file(v->r->dir, name, sha, NULL, &why) < 0)
		tally_bad(&v->t, "%s is missing or cannot be read: %s", name, why.text);
	else if (memcmp(sha, want, DIGEST) != 0)
		tally_bad(&v->t,
			"%s was changed: its SHA-256 is not that of manifest-sha256.txt",
			name);
	else
		good = true;
	v->list = xreallocarray(v->list, v->n + 1, sizeof(*v->list));
	v->list[v->n] = (struct listed){ .name = xstrdup(name), .good = good };
	memcpy(v->list[v->n++].sha, want, DIGEST);
	return ST_OK;
}

static void check_manifest(struct verify *v)
{
	static const char *const always[] = { "README.txt", "archive.json",
		"VERIFY.sh" };
	struct err why = ERR_INIT;
	enum status rc = manifest_each(v->r->dir, check_line, v, &why);
	size_t i;

	if (rc == ST_END)
		tally_bad(&v->t, "manifest-sha256.txt is missing");
	else if (rc < 0)
		tally_bad(&v->t, "%s", why.text);
	/* Of 0.1.0 there is no VERIFY.sh. */
	for (i = 0; rc == ST_OK && i < N_ELEMENTS(always) - !v->r->policy.tree; i++)
		if (!is_listed(v, always[i], false))
			tally_bad(&v->t, "manifest-sha256.txt has no line for %s",
				always[i]);
}

/* archive.json, which the seals vouch for, tells whom an archive is encrypted to; their
 * certificates stand beside it, and the next segment is encrypted to those. */
static void check_recipients(struct verify *v)
{
	struct err why = ERR_INIT;
	struct recipients *to = NULL;

	if (v->r->policy.crypt != CRYPT_CMS || !is_listed(v, "recipients.pem", true))
		return;
	if (policy_recipients(&to, &v->r->policy, v->r->path, true, &why) != ST_OK)
		tally_bad(&v->t, "%s", why.text);
	recipients_close(&to);
}

/* Files that nobody vouches for, and numbers that are left out. */
static enum status check_extra(struct verify *v, struct err *err)
{
	char sealing[NAME_MAX_SEGMENT];
	struct names *l;
	const char *file;
	enum status rc = names_open(&l, v->r->segdir, ".", err);

	segment_name(sealing, &v->r->policy, v->r->log_no);
	while (rc == ST_OK && (rc = names_next(l, &file, err)) == ST_OK) {
		size_t n = strlen(sealing);
		char *name;

		/* Its sealing is under way, or the next run takes it up again. */
		if (file[0] == '.' ||
			(v->r->log_no && strncmp(file, sealing, n) == 0 &&
				file[n] == '.'))
			continue;
		name = xasprintf("segments/%s", file);
		if (!is_listed(v, name, false) && !reader_arrived(v->r, file))
			tally_bad(&v->t, "%s has no line in manifest-sha256.txt", name);
		free(name);
	}
	names_close(&l);
	return rc < 0 ? err_note(err, "segments") : ST_OK;
}

/* ---- segments ---- */

static void check_order(
	struct verify *v, const char *segment, uint64_t first, uint64_t n)
{
	if (first > v->next)
		tally_bad(&v->t,
			"messages %" PRIu64 " to %" PRIu64
			" are missing before segment %s",
			v->next, first - 1, segment);
	else if (first < v->next)
		tally_bad(&v->t,
			"segment %s begins with message %" PRIu64 ", but %" PRIu64
			" should come",
			segment, first, v->next);
	v->next = first + n;
}

/* The index, if it can be trusted; else what the segment itself shows. */
static enum status sealed_idx(struct verify *v, const struct sealed *s, struct bytes *b,
	struct idx *x, struct err *err)
{
	char path[FILE_NAME_MAX], name[FILE_NAME_MAX];
	struct err why = ERR_INIT;
	enum status rc;

	file_name(path, "segments/", s->stem);
	file_name(name, path, idx_suffix(&v->r->policy));
	if (is_listed(v, name, true) || s->no == v->r->log_no) {
		rc = idx_load(x, &v->r->vault, s->stem, &why);
		if (rc == ST_OK)
			return ST_OK;
	}
	if (!is_listed(v, name, false))
		tally_bad(&v->t, "%s is missing", name);
	rc = idx_rebuild(x, b, v->r->policy.codec, s->stem, err);
	return rc < 0 ? vault_note(err, s->file) : rc;
}

/* Messages of which only the file is looked at. */
static void count(struct verify *v, const struct idx *x, bool good)
{
	size_t i;

	for (i = 0; good && i < x->n; i++) {
		if (x->rows[i].gone) {
			v->t.gone++;
			continue;
		}
		v->t.messages++;
		v->t.bytes += x->rows[i].size;
	}
}

/* Nobody here can read it. */
static bool is_closed(const struct archive_reader *r)
{
	return r->policy.crypt != CRYPT_NONE && !r->vault.ids;
}

/* The digest of what is in an encrypted segment, after its disposals. */
static void plain_now(const struct verify *v, const struct sealed *s,
	const struct statement *seal, unsigned char out[DIGEST])
{
	struct state now = { 0 };

	memcpy(now.file, seal->file, sizeof(now.file));
	memcpy(now.plain_sha, seal->plain_sha, DIGEST);
	evidence_now(&v->evidence, s, NULL, &now);
	memcpy(out, now.plain_sha, DIGEST);
}

static void count_closed(struct verify *v, const struct sealed *s,
	const struct statement *seal, struct archive_check *out)
{
	uint64_t gone = evidence_gone(&v->evidence, s);

	if (gone > seal->count) {
		tally_bad(&v->t,
			"policy/ tells of more messages that are gone from segment %s than "
			"it had",
			s->name);
		return;
	}
	out->segments++;
	out->seals++;
	out->closed++;
	out->closed_messages += seal->count - gone;
	v->t.gone += gone;
}

/* Of a segment that is closed to us the files and the seal. */
static enum status check_closed(struct verify *v, const struct sealed *s,
	const struct statement *seal, uint64_t before, struct archive_check *out)
{
	char path[FILE_NAME_MAX], name[FILE_NAME_MAX];

	file_name(path, "segments/", s->stem);
	file_name(name, path, idx_suffix(&v->r->policy));
	if (!is_listed(v, name, false) && s->no != v->r->log_no)
		tally_bad(&v->t, "%s is missing", name);
	if (!seal)
		return ST_OK;
	check_order(v, s->name, seal->first, seal->count);
	file_name(name, "segments/", s->file);
	if (v->t.damaged == before &&
		(is_listed(v, name, true) || s->no == v->r->log_no))
		count_closed(v, s, seal, out);
	return ST_OK;
}

static enum status check_sealed(struct verify *v, const struct sealed *s,
	struct archive_check *out, struct err *err)
{
	const struct statement *seal = evidence_seal(&v->evidence, s);
	uint64_t before = v->t.damaged;
	unsigned char plain[DIGEST], sealed_plain[DIGEST];
	struct segment_facts facts = { 0 };
	bool started = seal && evidence_start(&v->evidence, seal, &facts.tree);
	struct err why = ERR_INIT;
	char file[FILE_NAME_MAX];
	struct idx x = { 0 };
	struct bytes *b = NULL;
	bool unread = false;
	enum status rc;

	if (is_closed(v->r))
		return check_closed(v, s, seal, before, out);
	rc = reader_open_sealed(&b, v->r, s, &why);
	if (rc == ST_DENIED) {
		tally_bad(&v->t, "%s", why.text);
		return ST_OK;
	}
	if (rc < 0)
		return err_set(err, rc, why.exit, "%s", why.text);
	facts.sha = seal && seal->crypt != CRYPT_NONE ? plain : NULL;
	if (facts.sha)
		plain_now(v, s, seal, sealed_plain);
	file_name(file, "segments/", s->file);
	rc = sealed_idx(v, s, b, &x, &why);
	if (rc == ST_DENIED) {
		tally_bad(&v->t, "%s", why.text);
		rc = ST_OK;
	} else if (rc == ST_OK) {
		check_order(v, s->name, x.rows[0].seq, x.n);
		if (v->how.quick)
			count(v, &x, is_listed(v, file, true));
		else
			rc = segment_check(b, v->r->policy.codec, s->name, file, &x,
				&facts, &v->t, &why);
		/* What cannot be decrypted says nothing of the segments behind it. */
		unread = rc == ST_DENIED;
		if (unread && v->t.damaged == before)
			tally_bad(&v->t, "%s: %s", file, why.text);
		if (unread)
			rc = ST_OK;
		if (rc == ST_OK && !unread && !v->how.quick && facts.sha &&
			memcmp(plain, sealed_plain, DIGEST) != 0)
			tally_bad(&v->t,
				"%s: what is in it is not what was sealed: its seal has "
				"another SHA-256 of it",
				file);
		if (rc == ST_OK && !unread && seal)
			evidence_segment(&v->evidence, seal, s, &x,
				v->how.quick ? NULL : &facts, started);
	}
	if (rc < 0)
		err_set(err, rc, why.exit, "%s", why.text);
	if (rc == ST_OK && v->t.damaged == before &&
		(is_listed(v, file, true) || s->no == v->r->log_no)) {
		out->segments++;
		out->seals += seal != NULL;
	}
	idx_free(&x);
	bytes_close(&b);
	return rc;
}

static enum status check_segments(
	struct verify *v, struct archive_check *out, struct err *err)
{
	struct archive_reader *r = v->r;
	enum status rc = ST_OK;
	unsigned no = 0;
	size_t i;

	for (i = 0; rc == ST_OK && i < r->sealed_n; i++) {
		for (no++; no < r->sealed[i].no; no++)
			tally_bad(&v->t, "segment %s-%06u is missing", r->policy.slug,
				no);
		rc = check_sealed(v, &r->sealed[i], out, err);
	}
	if (rc == ST_OK && r->has_open) {
		check_order(v, r->open_name, r->open.first, r->open.idx.n);
		if (v->how.quick)
			count(v, &r->open.idx, true);
		else
			rc = open_check(r->part_b, r->rest_b, r->policy.codec,
				r->open_name, &r->open.idx, &v->t, err);
	}
	return rc;
}

/* ---- a sample ---- */

static void pass_over(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

/* From each of so many equal parts of the archive one message, at random. */
static enum status check_sample(struct verify *v, struct err *err)
{
	uint64_t all = v->next - 1, n = v->how.sample < all ? v->how.sample : all, i;
	enum status rc = ST_OK;

	for (i = 0; rc == ST_OK && i < n; i++) {
		uint64_t from = all * i / n, room = all * (i + 1) / n - from, random;
		struct err why = ERR_INIT;

		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return err_sys(err, ST_FATAL, "random bytes");
		rc = archive_get(v->r, from + random % room + 1, pass_over, NULL, &why);
		if (rc == ST_DENIED && why.exit != EX_PARTIAL) /* not disposed of */
			tally_bad(&v->t, "%s", why.text);
		else if (rc < 0 && rc != ST_DENIED)
			return err_set(err, rc, why.exit, "%s", why.text);
		/* One that is not there was told with the others around it. */
		rc = ST_OK;
	}
	return rc;
}

enum status archive_verify(struct archive_reader *r, struct archive_check *out,
	void (*bad)(void *ctx, const char *what), void *ctx, struct err *err)
{
	return archive_verify_as(r, NULL, out, bad, ctx, err);
}

enum status archive_verify_as(struct archive_reader *r, const struct archive_how *how,
	struct archive_check *out, void (*bad)(void *ctx, const char *what), void *ctx,
	struct err *err)
{
	struct verify v = { .r = r, .t = { .bad = bad, .ctx = ctx }, .next = 1 };
	enum status rc;

	if (how)
		v.how = *how;
	v.evidence = (struct evidence){ .r = r, .t = &v.t, .sum = sum_of, .ctx = &v };
	memset(out, 0, sizeof(*out));
	rc = evidence_folders(&v.evidence) ? evidence_begin(&v.evidence, err) : ST_END;
	if (rc == ST_OK)
		check_manifest(&v);
	if (rc == ST_OK)
		rc = evidence_files(&v.evidence, is_told, err);
	if (rc == ST_OK)
		check_recipients(&v);
	if (rc == ST_OK)
		rc = check_extra(&v, err);
	if (rc == ST_OK)
		rc = evidence_policy(&v.evidence, has_line, err);
	if (rc == ST_OK)
		rc = check_segments(&v, out, err);
	if (rc == ST_OK)
		rc = evidence_end(&v.evidence, err);
	if (rc == ST_OK && v.how.quick && !is_closed(r))
		rc = check_sample(&v, err);
	out->closed_open = r->closed;
	out->gone = v.t.gone;
	out->unfinished = v.evidence.pending;
	evidence_free(&v.evidence);
	out->unsealed = v.evidence.unsealed;
	out->events = v.evidence.events;
	out->unanchored = v.evidence.unanchored;
	out->signatures = v.evidence.signatures;
	out->timestamps = v.evidence.timestamps;
	out->messages = v.t.messages;
	out->bytes = v.t.bytes;
	out->damaged = v.t.damaged;
	while (v.n)
		free(v.list[--v.n].name);
	free(v.list);
	rc = rc == ST_END ? ST_OK : rc;
	if (rc == ST_OK && out->damaged && reader_replaced(r))
		rc = err_set(err, ST_DENIED, EX_TEMPFAIL,
			"messages were disposed of while the archive was read, and what was "
			"found may be of that: verify it again");
	else if (rc == ST_OK && out->damaged)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"the archive is damaged in %" PRIu64
			" place%s: put the files that are named back from a copy",
			out->damaged, text_s(out->damaged));
	return rc;
}
