/*
 * stream.c: messages in order, out of as few unpackings as possible.
 *
 * One head stands between two entries of one segment. What comes next is read where it
 * stands; for anything else it is set down anew, at the start of a member. What cannot
 * be unpacked costs the messages of its member from there on, and is tried once.
 */
#include "../form/hash.h"
#include "label.h"
#include "../form/segment.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOST_MAX = 1000000, /* that are listed one by one */
	BAD_MAX = 1000,     /* entries of a member, then it is left alone */
	LABEL_MAX = 256,
};

/* Numbers that belong together: those of a segment, or of one that is lost. */
struct span {
	uint64_t first, last;
	size_t sealed; /* its place in the reader's list; sealed_n: the open one */
	char *lost;    /* why; NULL: it is there */
};

struct archive_stream {
	struct archive_reader *r;
	struct span *spans;
	size_t n, cap;
	struct idx first; /* of the sealed one listed first, until it is entered */
	size_t first_of;  /* SIZE_MAX: there is none */

	/* The segment that was entered: */
	const struct span *in; /* NULL: none */
	const struct idx *x;
	const char *name;
	struct idx own; /* of a sealed one */
	struct labels labels;
	struct err unlabelled; /* ST_OK: the table is good */
	bool remade;           /* its index was made anew */
	struct bytes *b;       /* of a sealed one; NULL */

	/* The head: */
	struct unpacker *u;
	struct entries *entries; /* NULL: it is lifted */
	bool rest;               /* it reads the .rest of the open segment */
	bool narrow;             /* and nothing beyond the member */
	size_t next;             /* the row whose entry comes next */
	char label[LABEL_MAX];   /* of the folder, in the path of the last entry */

	/* A member that is bad from this row on, and entries of it that were: */
	uint64_t bad_off;
	size_t bad_row; /* SIZE_MAX: none */
	unsigned bad;
	struct err bad_why;
};

const char *archive_read_id(const struct archive_reader *r)
{
	return r->policy.id;
}

void archive_stream_open(struct archive_stream **out, struct archive_reader *r)
{
	struct archive_stream *s = xcalloc(1, sizeof(*s));

	s->r = r;
	s->first_of = SIZE_MAX;
	*out = s;
}

/* ---- the list ---- */

struct listing {
	struct archive_stream *s;
	void (*each)(void *ctx, const struct archive_listed *m);
	void *ctx;
	uint64_t next; /* the number that must come */
	char *lost;    /* why numbers before the next segment are missing */
};

static void add_span(struct archive_stream *s, struct span span)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 16;
		s->spans = xreallocarray(s->spans, s->cap, sizeof(*s->spans));
	}
	s->spans[s->n++] = span;
}

static void lose(struct listing *l, char *why)
{
	if (l->lost)
		free(why);
	else
		l->lost = why;
}

/* The numbers up to the segment that begins with `first`. */
static void list_lost(struct listing *l, uint64_t first)
{
	struct archive_listed m = { l->next, UINT64_MAX, NULL };

	if (first - l->next > LOST_MAX || first == l->next)
		return;
	lose(l, xstrdup("messages are missing between two segments"));
	add_span(l->s, (struct span){ l->next, first - 1, SIZE_MAX, l->lost });
	l->lost = NULL;
	for (; m.seq < first; m.seq++)
		l->each(l->ctx, &m);
}

static void list_idx(
	struct listing *l, size_t sealed, const char *name, const struct idx *x)
{
	size_t i;

	if (x->rows[0].seq < l->next) {
		lose(l,
			xasprintf("segment %s begins with message %" PRIu32
				  ", which another one has",
				name, x->rows[0].seq));
		return;
	}
	if (x->rows[0].seq - l->next > LOST_MAX)
		lose(l,
			xasprintf("before segment %s too many messages are missing",
				name));
	list_lost(l, x->rows[0].seq);
	add_span(l->s,
		(struct span){ x->rows[0].seq, x->rows[x->n - 1].seq, sealed, NULL });
	for (i = 0; i < x->n; i++) {
		const struct archive_listed m = { x->rows[i].seq, x->rows[i].size,
			x->rows[i].sha };

		if (!x->rows[i].gone)
			l->each(l->ctx, &m);
	}
	l->next = (uint64_t)x->rows[x->n - 1].seq + 1;
}

static void lose_segment(struct listing *l, unsigned no)
{
	lose(l,
		xasprintf("segment %s-%06u is missing: put it back from a copy of the "
			  "archive",
			l->s->r->policy.slug, no));
}

static enum status list_sealed(struct listing *l, size_t i, struct err *err)
{
	struct archive_stream *s = l->s;
	struct archive_reader *r = s->r;
	unsigned before = i ? r->sealed[i - 1].no : 0;
	struct err why = ERR_INIT;
	struct idx x = { 0 };
	enum status rc;

	(void)err;
	if (r->sealed[i].no > before + 1)
		lose_segment(l, before + 1);
	rc = idx_get(&x, &r->vault, r->sealed[i].stem, &why);
	if (rc == ST_OK)
		list_idx(l, i, r->sealed[i].name, &x);
	else
		lose(l, xstrdup(why.text));
	/* Most likely it is asked for next: large ones take their time to read. */
	if (rc == ST_OK && s->first_of == SIZE_MAX) {
		s->first = x;
		s->first_of = i;
	} else {
		idx_free(&x);
	}
	return ST_OK;
}

struct newest {
	const struct policy *policy;
	unsigned no;
};

static enum status see_line(
	void *ctx, const char *name, const unsigned char sha[DIGEST], struct err *err)
{
	struct newest *k = ctx;
	size_t n = strlen("segments/"), slug = strlen(k->policy->slug);
	unsigned long no;

	(void)sha;
	(void)err;
	if (!text_starts(name, "segments/") ||
		strncmp(name + n, k->policy->slug, slug) != 0 || name[n + slug] != '-')
		return ST_OK;
	no = strtoul(name + n + slug + 1, NULL, 10);
	if (no > k->no && no <= SEGMENT_NO_MAX)
		k->no = (unsigned)no;
	return ST_OK;
}

enum status archive_stream_list(struct archive_stream *s,
	void (*each)(void *ctx, const struct archive_listed *m), void *ctx,
	struct err *err)
{
	struct listing l = { s, each, ctx, 1, NULL };
	struct archive_reader *r = s->r;
	struct newest newest = { &r->policy, 0 };
	unsigned last = r->sealed_n ? r->sealed[r->sealed_n - 1].no : 0;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; i < r->sealed_n; i++)
		list_sealed(&l, i, err);
	if (r->has_open)
		list_idx(&l, r->sealed_n, r->open_name, &r->open.idx);
	/* A last one that is gone leaves no gap, but its line. */
	manifest_each(r->dir, see_line, &newest, NULL);
	if (newest.no > last)
		lose_segment(&l, last + 1);
	if (l.lost)
		rc = err_set(err, ST_DENIED, EX_DATAERR, "%s", l.lost);
	free(l.lost);
	return rc;
}

/* ---- the head ---- */

static void lift(struct archive_stream *s)
{
	entries_close(&s->entries);
	unpacker_close(&s->u);
}

static void leave(struct archive_stream *s)
{
	lift(s);
	idx_free(&s->own);
	labels_free(&s->labels);
	bytes_close(&s->b);
	s->in = NULL;
}

static enum status get_idx(
	struct archive_stream *s, const struct span *span, struct err *err)
{
	struct archive_reader *r = s->r;

	if (s->first_of != span->sealed)
		return idx_get(&s->own, &r->vault, r->sealed[span->sealed].stem, err);
	s->own = s->first;
	s->first = (struct idx){ 0 };
	s->first_of = SIZE_MAX;
	return ST_OK;
}

static enum status enter(
	struct archive_stream *s, const struct span *span, struct err *err)
{
	struct archive_reader *r = s->r;
	const struct sealed *sealed = &r->sealed[span->sealed];
	bool open = span->sealed == r->sealed_n;
	enum status rc = ST_OK;

	leave(s);
	s->unlabelled = (struct err)ERR_INIT;
	s->bad_row = SIZE_MAX;
	s->bad = 0;
	s->remade = false;
	s->name = open ? r->open_name : sealed->name;
	s->x = open ? &r->open.idx : &s->own;
	if (!open)
		rc = reader_open_once(&s->b, r, sealed, err);
	if (rc == ST_OK && !open)
		rc = get_idx(s, span, err);
	/* Another one than was listed? */
	if (rc == ST_OK &&
		(s->x->rows[0].seq != span->first ||
			s->x->n != span->last - span->first + 1))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"segment %s was changed while it was read", s->name);
	if (rc < 0)
		return rc;
	if (open)
		labels_open(&s->labels, r, &s->unlabelled);
	else
		labels_sealed(&s->labels, r, sealed, s->b, s->x, &s->unlabelled);
	s->in = span;
	return ST_OK;
}

/* Of the file that holds this row: how it is packed, and where its members end. */
static enum archive_codec codec_of(const struct archive_stream *s, bool rest)
{
	enum archive_codec c = s->r->policy.codec;

	if (s->b)
		return c;
	return rest || c == ARCHIVE_ZIP ? ARCHIVE_NONE : c;
}

/* Sets it down before the entry of this row (in a zip: before all of them). */
static enum status set_down(struct archive_stream *s, size_t i, bool narrow,
	bool *unpacked, struct err *err)
{
	const struct idx_row *row = &s->x->rows[i];
	bool rest = row->off == REST;
	enum archive_codec c = codec_of(s, rest);
	struct bytes *b = s->b ? s->b : rest ? s->r->rest_b : s->r->part_b;
	uint64_t end = s->b ? s->x->tags_off
		: rest      ? s->r->open.rest_len
			    : s->r->open.part_len,
		 at = rest ? 0 : row->off, skip = row->in;
	enum status rc;

	lift(s);
	s->rest = rest;
	s->narrow = narrow;
	if (narrow && !rest)
		end = at + row->len;
	s->next = c == ARCHIVE_ZIP ? 0 : i;
	*unpacked = true;
	if (c == ARCHIVE_ZIP)
		return entries_open_zip(&s->entries, b, err);
	if (c == ARCHIVE_NONE) {
		at += skip;
		skip = 0;
	}
	if (at > end)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"message %" PRIu32 " is not where the index says", row->seq);
	unpacker_open(&s->u, c, b, at, end - at, false);
	unpacker_vouched(s->u);
	rc = unpacker_skip(s->u, skip, err);
	*unpacked = rc == ST_OK;
	return rc == ST_OK ? entries_open(&s->entries, s->u, err) : rc;
}

/* Does reading on come to this row? Not by way of other members. */
static bool in_reach(const struct archive_stream *s, size_t i)
{
	const struct idx_row *rows = s->x->rows;

	if (!s->entries || i < s->next || (rows[i].off == REST) != s->rest)
		return false;
	if (s->narrow)
		return s->next && rows[i].off == rows[s->next - 1].off;
	return i == s->next || rows[i].off == rows[s->next].off;
}

/* Of "SEGMENT/data/eml/LABEL/000000001.eml". */
static void note_label(struct archive_stream *s, const char *path)
{
	const char *from = path + strlen(s->name) + strlen("/data/eml/"),
		   *to = strrchr(path, '/');

	snprintf(s->label, sizeof(s->label), "%.*s", to > from ? (int)(to - from) : 0,
		from);
}

/* The entry of this row is the next one that tells of it. */
static enum status find_entry(struct archive_stream *s, size_t i, struct err *err)
{
	const struct idx_row *row = &s->x->rows[i];
	size_t n = strlen(s->name);
	struct entry e;
	uint64_t seq;
	enum status rc;

	while ((rc = entries_next(s->entries, &e, err)) == ST_OK) {
		bool message = strncmp(e.path, s->name, n) == 0 && e.path[n] == '/' &&
			(message_path_seq(e.path + n + 1, &seq) ||
				tombstone_path_seq(e.path + n + 1, &seq));

		if (!message && codec_of(s, s->rest) == ARCHIVE_ZIP)
			continue;
		if (message && seq < row->seq)
			continue;
		if (!message || seq != row->seq || e.size != row->size)
			break;
		note_label(s, e.path);
		return ST_OK;
	}
	if (rc < 0)
		return rc;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"message %" PRIu32 " is not where the index says", row->seq);
}

/* An index that leads astray can be done without, if all of the segment is good. */
static bool remake(struct archive_stream *s)
{
	struct idx x = { 0 };
	size_t i;

	if (s->remade || !s->b)
		return false;
	s->remade = true;
	if (idx_rebuild(&x, s->b, s->r->policy.codec, s->r->sealed[s->in->sealed].stem,
		    NULL) != ST_OK)
		return false;
	if (x.n != s->own.n || x.rows[0].seq != s->own.rows[0].seq) {
		idx_free(&x);
		return false;
	}
	for (i = 0; i < x.n; i++)
		x.rows[i].occurrence = s->own.rows[i].occurrence;
	idx_free(&s->own);
	s->own = x;
	return true;
}

static bool is_bad(const struct archive_stream *s, size_t i)
{
	return i >= s->bad_row && s->x->rows[i].off == s->bad_off;
}

/* The head could not get to this row, or (unpacked) not through it. */
static void note_bad(
	struct archive_stream *s, size_t i, bool unpacked, const struct err *why)
{
	uint64_t off = s->x->rows[i].off;

	/* There the way to others does not lead through it. */
	if (codec_of(s, off == REST) == ARCHIVE_NONE)
		return;
	if (off != s->bad_off) {
		s->bad_off = off;
		s->bad_row = SIZE_MAX;
		s->bad = 0;
	}
	if (unpacked && ++s->bad < BAD_MAX)
		return;
	s->bad_row = i;
	s->bad_why = *why;
}

/* Puts the head into the entry of this row. */
static enum status reach(struct archive_stream *s, size_t i, struct err *err)
{
	struct err why = ERR_INIT;
	bool on = in_reach(s, i), narrow = false;
	enum status rc;

	if (is_bad(s, i))
		return err_set(
			err, s->bad_why.status, s->bad_why.exit, "%s", s->bad_why.text);
	for (;;) {
		bool unpacked = true;

		rc = on ? ST_OK : set_down(s, i, narrow, &unpacked, &why);
		if (rc == ST_OK)
			rc = find_entry(s, i, &why);
		if (rc == ST_OK)
			return ST_OK;
		lift(s);
		/* Damage may be in what the head passed by, or ahead of it. */
		if (on) {
			on = false;
		} else if (!narrow) {
			narrow = true;
		} else if (rc != ST_DENIED || !remake(s)) {
			note_bad(s, i, unpacked, &why);
			return err_set(err, rc, why.exit, "%s", why.text);
		}
	}
}

/* ---- one message ---- */

static enum status give(
	struct archive_stream *s, size_t i, mail_take *take, void *ctx, struct err *err)
{
	const struct label *label = &s->labels.v[i];
	const unsigned char *want = label->known ? label->sha : s->x->rows[i].sha;
	bool digested = take == message_put, known = true;
	unsigned char sha[DIGEST];
	struct hash *h = NULL;
	const char *p;
	size_t n;
	enum status rc;

	/* Who takes it may have the same digest in hand: of this message alone. */
	if (!digested)
		hash_begin(&h);
	while ((rc = entries_data(s->entries, &p, &n, err)) == ST_OK && n) {
		if (h)
			hash_put(h, p, n);
		take(ctx, p, n);
	}
	if (digested)
		known = message_sha256(ctx, sha);
	else
		hash_end(&h, sha);
	s->next = i + 1;
	if (rc < 0) {
		lift(s);
		note_bad(s, i, true, err);
		return rc;
	}
	/* Where it is not known the message is lost to its taker, who says why. */
	if (known && memcmp(sha, want, DIGEST) != 0)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"message %" PRIu32
			" was changed: its SHA-256 is not the recorded one",
			s->x->rows[i].seq);
	return ST_OK;
}

static void fill_filed(
	const struct archive_stream *s, size_t i, struct archive_filed *out)
{
	const struct label *k = &s->labels.v[i];
	const char *text = s->labels.text;

	*out = (struct archive_filed){
		.entry = { .folder = strcmp(s->label, "INBOX") == 0 ? "" : s->label,
			.occurrence = s->x->rows[i].occurrence,
			.listed_size = UINT64_MAX },
		.unknown = s->unlabelled.status == ST_OK
			? "metadata/messages.csv does not have it"
			: s->unlabelled.text,
	};
	if (!k->known)
		return;
	out->unknown = NULL;
	out->entry.folder = strcmp(text + k->folder, "INBOX") == 0 ? ""
								   : text + k->folder;
	out->entry.uidl_n = strlen(text + k->uidl);
	out->entry.uidl = out->entry.uidl_n ? text + k->uidl : NULL;
	out->entry.number = k->number;
	out->entry.listed_size = k->listed_size;
	out->entry.retrieved = k->retrieved;
	out->entry.date = k->date;
	out->entry.seen = k->seen;
	out->entry.answered = k->answered;
	out->entry.flagged = k->flagged;
	out->entry.draft = k->draft;
}

static const struct span *find_span(const struct archive_stream *s, uint64_t seq)
{
	size_t lo = 0, hi = s->n;

	if (s->in && seq >= s->in->first && seq <= s->in->last)
		return s->in;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->spans[mid].last < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->n && s->spans[lo].first <= seq ? &s->spans[lo] : NULL;
}

enum status archive_stream_get(struct archive_stream *s, uint64_t seq, mail_take *take,
	void *ctx, struct archive_filed *out, struct err *err)
{
	const struct span *span = find_span(s, seq);
	enum status rc = ST_OK;

	if (!span)
		return ST_END;
	if (span->lost)
		return err_set(err, ST_DENIED, EX_DATAERR, "%s", span->lost);
	if (s->in != span)
		rc = enter(s, span, err);
	if (rc != ST_OK)
		return rc;
	if (s->x->rows[seq - span->first].gone)
		return reader_gone(s->r, seq, err);
	rc = reach(s, seq - span->first, err);
	if (rc == ST_OK)
		rc = give(s, seq - span->first, take, ctx, err);
	if (rc != ST_OK)
		return err_note(err, "%s/%s", s->b ? "segments" : "open", s->name);
	fill_filed(s, seq - span->first, out);
	return ST_OK;
}

void archive_stream_close(struct archive_stream **sp)
{
	struct archive_stream *s = *sp;

	if (!s)
		return;
	leave(s);
	idx_free(&s->first);
	while (s->n)
		free(s->spans[--s->n].lost);
	free(s->spans);
	free(s);
	*sp = NULL;
}
