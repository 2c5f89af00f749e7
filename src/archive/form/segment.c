/* segment.c: every byte of a segment, compared with what is known of it. */
#include "check.h"
#include "hash.h"
#include "pool.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WHAT_MAX = 1024,
	ZIP_TRIES = 100, /* damaged messages after which the rest is given up */
	PADDING_MAX = 1024 * 1024, /* zeros behind the end of a tar */
	PARTS = 16,                /* of a segment, to be looked at by threads */
	FOUND_MAX = 16 * 1024 * 1024,
};

void tally_bad(struct tally *t, const char *fmt, ...)
{
	char raw[WHAT_MAX], what[WHAT_MAX];
	va_list ap;

	t->damaged++;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	if (t->bad)
		t->bad(t->ctx, text_clean(what, sizeof(what), raw, strlen(raw)));
}

static enum status check_message(
	struct check *ck, struct entries *s, const struct entry *e, const char *path)
{
	const struct idx_row *r = &ck->x->rows[ck->pos - 1];
	unsigned char sha[DIGEST];
	uint64_t seq;
	enum status rc;

	if (!entry_path_seq(path, r->gone, &seq) || seq != r->seq)
		return err_set(ck->err, ST_DENIED, EX_DATAERR,
			"%s stands where message %" PRIu32 " should", e->path, r->seq);
	if (e->size != r->size)
		return err_set(ck->err, ST_DENIED, EX_DATAERR,
			"message %" PRIu32 " says it has %" PRIu64
			" bytes, its row says %" PRIu64,
			r->seq, e->size, r->size);
	rc = check_read(ck, s, sha, NULL);
	if (rc < 0)
		return rc;
	ck->paths[ck->pos - 1] = segment_path(path);
	if (memcmp(sha, r->sha, DIGEST) != 0) {
		tally_bad(ck->t,
			"%s: message %" PRIu32 " (%s, in bytes %" PRIu64 " to %" PRIu64
			") was changed: its SHA-256 is not the recorded one",
			ck->file, r->seq, path, ck->from, ck->to);
	} else if (r->gone) {
		ck->t->gone++;
	} else {
		ck->t->messages++;
		ck->t->bytes += r->size;
	}
	return ST_OK;
}

/* ---- entries ---- */

static enum status check_bagit(struct check *ck, struct entries *s, const char *path)
{
	struct buf b = BUF_INIT(CHECK_TEXT_MAX);
	enum status rc = entries_text(s, &b, ck->err);

	if (rc == ST_OK &&
		(strcmp(path, "bagit.txt") != 0 ||
			strcmp(buf_str(&b), bagit_text) != 0))
		rc = check_wrong(ck, "it does not start with the bagit.txt it should");
	buf_free(&b);
	return rc;
}

static enum status check_entry(
	struct check *ck, struct entries *s, const struct entry *e)
{
	size_t n = strlen(ck->segment), pos = ck->pos;
	const char *path;
	enum status rc;

	if (strncmp(e->path, ck->segment, n) != 0 || e->path[n] != '/')
		return err_set(ck->err, ST_DENIED, EX_DATAERR,
			"%s does not belong here", e->path);
	path = e->path + n + 1;
	if (pos == 0)
		rc = check_bagit(ck, s, path);
	else if (pos <= ck->x->n)
		rc = check_message(ck, s, e, path);
	else
		rc = check_tag(ck, s, check_tag_at(ck, path), path);
	if (rc == ST_OK)
		ck->pos++;
	return rc;
}

/* What cannot be read or is not there, from the position up to end. */
static void lost(struct check *ck, size_t end, const char *why)
{
	size_t n = ck->x->n, first = ck->pos ? ck->pos : 1, last = end - 1;

	if (last > n)
		last = n;
	if (first <= last)
		tally_bad(ck->t,
			"%s, bytes %" PRIu64 " to %" PRIu64 ": messages %" PRIu32
			" to %" PRIu32 " cannot be read: %s",
			ck->file, ck->from, ck->to, ck->x->rows[first - 1].seq,
			ck->x->rows[last - 1].seq, why);
	else
		tally_bad(ck->t,
			"%s, bytes %" PRIu64 " to %" PRIu64 ": the tables cannot be "
			"read: %s",
			ck->file, ck->from, ck->to, why);
}

/* Behind the last entry only zeros may come, and the member must end well. */
static enum status drain(struct check *ck, struct unpacker *u)
{
	uint64_t all = 0;
	const char *p;
	size_t n, i;
	enum status rc;

	while ((rc = unpacker_next(u, &p, &n, ck->err)) == ST_OK && n) {
		for (i = 0; i < n; i++)
			if (p[i])
				return check_wrong(
					ck, "something follows the end of the tar");
		all += n;
		if (all > PADDING_MAX)
			return check_wrong(ck, "zeros without an end follow the tar");
	}
	return rc;
}

/* Entries of one member, or of a zip from position ck->pos on, up to end. */
static enum status run_group(struct check *ck, struct bytes *b, enum archive_codec c,
	uint64_t off, uint64_t len, size_t end)
{
	size_t skip = c == ARCHIVE_ZIP ? ck->pos : 0;
	struct entries *s = NULL;
	struct entry e;
	enum status rc;

	if (ck->codec != c)
		unpacker_close(&ck->u);
	ck->codec = c;
	if (ck->u)
		unpacker_again(ck->u, b, off, len);
	else
		unpacker_open(&ck->u, c, b, off, len, false);
	rc = c == ARCHIVE_ZIP ? entries_open_zip(&s, b, ck->err)
			      : entries_open(&s, ck->u, ck->err);
	while (rc == ST_OK && (rc = entries_next(s, &e, ck->err)) == ST_OK) {
		if (skip)
			skip--;
		else
			rc = ck->pos < end
				? check_entry(ck, s, &e)
				: check_wrong(ck, "it has more entries than it should");
	}
	if (rc == ST_END && ck->pos < end)
		rc = check_wrong(ck, "it ends too early");
	if (rc == ST_END)
		rc = c == ARCHIVE_ZIP ? ST_OK : drain(ck, ck->u);
	entries_close(&s);
	return rc;
}

/* The same, with damage told. A zip goes on behind a message that is bad. */
static enum status check_group(struct check *ck, struct bytes *b, enum archive_codec c,
	uint64_t off, uint64_t len, size_t end)
{
	struct err why = ERR_INIT, *told = ck->err;
	unsigned tries = c == ARCHIVE_ZIP ? ZIP_TRIES : 1;
	enum status rc;

	ck->err = &why;
	ck->from = off;
	ck->to = off + len - (len > 0);
	while ((rc = run_group(ck, b, c, off, len, end)) == ST_DENIED) {
		bool one = --tries && ck->pos >= 1 && ck->pos <= ck->x->n;
		size_t next = one ? ck->pos + 1 : end;

		lost(ck, next, why.text);
		ck->pos = next;
		if (!one)
			break;
	}
	ck->err = told;
	ck->pos = end;
	if (rc < 0 && rc != ST_DENIED)
		return err_set(told, rc, why.exit, "%s: %s", ck->file, why.text);
	return ST_OK;
}

/* Rows [i, *end) share a member. */
static size_t group_end(const struct idx *x, size_t i)
{
	size_t k = i + 1;

	while (k < x->n && x->rows[k].off == x->rows[i].off &&
		x->rows[k].len == x->rows[i].len)
		k++;
	return k;
}

static void check_gap(struct check *ck, uint64_t from, uint64_t to)
{
	if (from != to)
		tally_bad(ck->t,
			"%s: the index leaves out or repeats bytes %" PRIu64
			" to %" PRIu64,
			ck->file, from < to ? from : to, (from < to ? to : from) - 1);
}

static void check_begin(struct check *ck, const char *segment, const char *file,
	const struct idx *x, struct tally *t, struct err *err)
{
	memset(ck, 0, sizeof(*ck));
	ck->segment = segment;
	ck->file = file;
	ck->x = x;
	ck->t = t;
	ck->err = err;
	ck->paths = xcalloc(x->n, sizeof(*ck->paths));
	buf_init(&ck->line, CHECK_LINE_MAX);
}

static void check_end(struct check *ck)
{
	unpacker_close(&ck->u);
	free(ck->paths);
	buf_free(&ck->line);
}

void segment_seen_free(struct segment_seen *s)
{
	free(s->paths);
	*s = (struct segment_seen){ 0 };
}

bool segment_group(struct unpacker **u, struct bytes *b, enum archive_codec c,
	const char *segment, const struct idx *rows, bool first, uint64_t *paths,
	struct err *err)
{
	struct tally t = { 0 };
	struct check ck;
	enum status rc;

	check_begin(&ck, segment, segment, rows, &t, err);
	ck.u = *u;
	ck.codec = c;
	ck.pos = first ? 0 : 1;
	rc = check_group(&ck, b, c, rows->rows[0].off, rows->rows[0].len, rows->n + 1);
	memcpy(paths, ck.paths, rows->n * sizeof(*paths));
	*u = ck.u;
	ck.u = NULL;
	check_end(&ck);
	return rc == ST_OK && t.damaged == 0;
}

/* ---- the groups, several at a time ---- */

/* Rows [from, to): whole groups. */
struct part {
	struct check ck;
	struct tally t;
	struct bytes *b;
	struct buf found; /* what t found, each with a NUL behind it */
	struct err err;
	enum status rc;
	size_t from, to;
};

struct parts {
	struct part part[PARTS];
	size_t n;
	struct bytes *b;
	enum archive_codec codec;
	const char *file;
	unsigned char *sha; /* not NULL: the file's digest is wanted */
	struct segment_seen *seen;
	struct err err; /* of that */
	enum status rc;
};

static void keep_finding(void *ctx, const char *what)
{
	buf_add(ctx, what, strlen(what) + 1);
}

static void check_part(struct parts *ps, struct part *p)
{
	const struct idx *x = p->ck.x;
	size_t i, k;

	p->ck.pos = p->from ? p->from + 1 : 0;
	for (i = p->from; p->rc == ST_OK && i < p->to; i = k) {
		const struct idx_row *r = &x->rows[i];

		k = group_end(x, i);
		p->rc = check_group(&p->ck, p->b, ps->codec, r->off, r->len, k + 1);
	}
	unpacker_close(&p->ck.u);
}

static enum status hash_file_of(struct parts *ps)
{
	struct segment_seen *s = ps->seen;
	enum status rc;

	if (!s)
		return hash_bytes(ps->b, ps->sha, &ps->err);
	rc = hash_range(&s->sha, ps->b, s->bytes, bytes_size(ps->b), &ps->err);
	sha_end(&s->sha, ps->sha);
	return rc;
}

static void check_nth(void *ctx, size_t i)
{
	struct parts *ps = ctx;

	if (i > 0)
		check_part(ps, &ps->part[i - 1]);
	else if (ps->sha)
		ps->rc = hash_file_of(ps);
}

/* Ranges of about as many bytes each; all share the paths, each row its own. */
static void divide(struct parts *ps, const struct check *ck)
{
	const struct idx *x = ck->x;
	size_t i, k;

	for (i = ps->seen ? ps->seen->n : 0; i < x->n; i = k) {
		struct part *p = &ps->part[ps->n];
		uint64_t first = x->rows[i].off;

		p->ck = *ck;
		p->ck.err = &p->err;
		p->ck.t = &p->t;
		p->err = (struct err)ERR_INIT;
		p->t.bad = keep_finding;
		p->t.ctx = &p->found;
		buf_init(&p->found, FOUND_MAX);
		p->from = i;
		for (k = group_end(x, i); k < x->n &&
			(ps->n + 1 == PARTS ||
				x->rows[k].off - first < x->tags_off / PARTS);)
			k = group_end(x, k);
		p->to = k;
		ps->n++;
	}
}

/* What one part found is told as if it had been the only one. */
static enum status join(struct part *p, struct tally *t, struct err *err)
{
	const char *what = buf_str(&p->found);

	for (; what < buf_str(&p->found) + p->found.n; what += strlen(what) + 1)
		if (t->bad)
			t->bad(t->ctx, what);
	t->damaged += p->t.damaged;
	t->messages += p->t.messages;
	t->gone += p->t.gone;
	t->bytes += p->t.bytes;
	buf_free(&p->found);
	bytes_close(&p->b);
	return p->rc == ST_OK ? ST_OK
			      : err_set(err, p->rc, p->err.exit, "%s", p->err.text);
}

/* What is encrypted may be unreadable in places: then it has no digest. */
static enum status digest_had(struct tally *t, const char *file, unsigned char *sha,
	enum status rc, const struct err *why, struct err *err)
{
	if (rc == ST_OK)
		return rc;
	if (rc != ST_DENIED)
		return err_set(err, rc, why->exit, "%s", why->text);
	tally_bad(t, "%s: %s", file, why->text);
	memset(sha, 0, DIGEST);
	return ST_OK;
}

/* Is it of these rows? */
static struct segment_seen *seen_of(const struct check *ck, const struct idx *x)
{
	struct segment_seen *s = ck->facts ? ck->facts->seen : NULL;

	if (!s || s->n == 0 || s->n > x->n ||
		s->bytes != (s->n < x->n ? x->rows[s->n].off : x->tags_off))
		return NULL;
	memcpy(ck->paths, s->paths, s->n * sizeof(*s->paths));
	return s;
}

static void count_seen(
	const struct segment_seen *s, const struct idx *x, struct tally *t)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		t->bytes += x->rows[i].size;
	t->messages += s->n;
}

static enum status check_groups(struct check *ck, struct bytes *b, enum archive_codec c,
	unsigned char *sha, struct err *err)
{
	struct parts *ps = xcalloc(1, sizeof(*ps));
	enum status rc = ST_OK;
	size_t i;

	ps->b = b;
	ps->codec = c;
	ps->file = ck->file;
	ps->sha = sha;
	ps->seen = seen_of(ck, ck->x);
	if (ps->seen)
		count_seen(ps->seen, ck->x, ck->t);
	divide(ps, ck);
	for (i = 0; rc == ST_OK && i < ps->n; i++)
		rc = bytes_twin(&ps->part[i].b, b, err);
	if (rc == ST_OK)
		pool_each(0, ps->n + 1, check_nth, ps);
	for (i = 0; i < ps->n; i++) {
		enum status one = join(&ps->part[i], ck->t, err);

		rc = rc == ST_OK ? one : rc;
	}
	if (rc == ST_OK)
		rc = digest_had(ck->t, ck->file, sha, ps->rc, &ps->err, err);
	free(ps);
	return rc;
}

static void check_gaps(struct check *ck, uint64_t size)
{
	const struct idx *x = ck->x;
	uint64_t at = 0;
	size_t i;

	for (i = 0; i < x->n; i = group_end(x, i)) {
		check_gap(ck, at, x->rows[i].off);
		at = x->rows[i].off + x->rows[i].len;
	}
	check_gap(ck, at, x->tags_off);
	check_gap(ck, x->tags_off + x->tags_len, size);
}

/* The tables tell of the entries that are there. */
static void check_paths(struct check *ck, const struct segment_made *made)
{
	size_t i;

	for (i = 0; i < ck->x->n; i++)
		if (ck->paths[i] && ck->paths[i] != made->paths[i])
			tally_bad(ck->t, "%s: %s does not describe message %" PRIu32,
				ck->file, tag_names[TAG_CSV], ck->x->rows[i].seq);
}

enum status segment_check(struct bytes *b, enum archive_codec c, const char *segment,
	const char *file, const struct idx *x, struct segment_facts *facts,
	struct tally *t, struct err *err)
{
	unsigned char *sha = facts ? facts->sha : NULL;
	struct err why = ERR_INIT;
	enum status rc;
	struct check ck;

	check_begin(&ck, segment, file, x, t, err);
	ck.facts = facts;
	if (c == ARCHIVE_ZIP) {
		rc = check_group(&ck, b, c, 0, bytes_size(b), x->n + 1 + TAGS);
		if (rc == ST_OK && sha)
			rc = digest_had(
				t, file, sha, hash_bytes(b, sha, &why), &why, err);
	} else {
		rc = check_groups(&ck, b, c, sha, err);
		check_gaps(&ck, bytes_size(b));
		ck.pos = x->n + 1;
		if (rc == ST_OK)
			rc = check_group(
				&ck, b, c, x->tags_off, x->tags_len, x->n + 1 + TAGS);
	}
	if (rc == ST_OK && facts && facts->made)
		check_paths(&ck, facts->made);
	check_end(&ck);
	return rc;
}

enum status open_check(struct bytes *part, struct bytes *rest, enum archive_codec c,
	const char *segment, const struct idx *x, struct tally *t, struct err *err)
{
	char file[FILE_NAME_MAX];
	enum status rc = ST_OK;
	struct check ck;
	size_t i, k;

	snprintf(file, sizeof(file), "open/%s", segment);
	check_begin(&ck, segment, file, x, t, err);
	for (i = 0; rc == ST_OK && i < x->n; i = k) {
		const struct idx_row *r = &x->rows[i];

		k = group_end(x, i);
		if (r->off == REST)
			rc = check_group(&ck, rest, ARCHIVE_NONE, 0, r->len, k + 1);
		else
			rc = check_group(&ck, part, c == ARCHIVE_ZIP ? ARCHIVE_NONE : c,
				r->off, r->len, k + 1);
	}
	check_end(&ck);
	return rc;
}

enum status segment_find(struct entries **s, struct unpacker **u, struct bytes *b,
	enum archive_codec c, const char *segment, const struct idx *x, const char *tag,
	struct err *err)
{
	size_t n = strlen(segment);
	struct entry e;
	enum status rc;

	unpacker_open(u, c, b, x->tags_off, x->tags_len, false);
	rc = c == ARCHIVE_ZIP ? entries_open_zip(s, b, err) : entries_open(s, *u, err);
	while (rc == ST_OK && (rc = entries_next(*s, &e, err)) == ST_OK)
		if (strncmp(e.path, segment, n) == 0 && e.path[n] == '/' &&
			strcmp(e.path + n + 1, tag) == 0)
			return ST_OK;
	return rc;
}

enum status segment_tag(struct entries **s, struct unpacker **u, struct bytes *b,
	enum archive_codec c, const char *segment, const struct idx *x, const char *tag,
	struct err *err)
{
	enum status rc = segment_find(s, u, b, c, segment, x, tag, err);

	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR, "segments/%s%s has no %s",
			segment, codec_suffix(c), tag);
	return rc;
}
