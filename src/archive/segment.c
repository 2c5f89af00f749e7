/* segment.c: every byte of a segment, compared with what is known of it. */
#include "segment.h"
#include "csv.h"
#include "hash.h"
#include "pool.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	TEXT_MAX = 64 * 1024,
	MANIFEST_LINE_MAX = 512,
	WHAT_MAX = 1024,
	ZIP_TRIES = 100, /* damaged messages after which the rest is given up */
	PADDING_MAX = 1024 * 1024, /* zeros behind the end of a tar */
	PARTS = 16,                /* of a segment, to be looked at by threads */
	FOUND_MAX = 16 * 1024 * 1024,
	LEAF_TAIL = 2 * SALT + 1 + 2 * DIGEST + 1, /* of a line: salt, leaf, LF */
};

const char *const tag_names[TAGS] = { "bag-info.txt", "metadata/messages.csv",
	"metadata/merkle.tsv", "manifest-sha256.txt", "tagmanifest-sha256.txt" };
const char bagit_text[] = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

void tagmanifest_text(struct buf *b, const struct tag_sums *sums)
{
	unsigned char bagit[DIGEST];
	char hex[2 * DIGEST + 1];
	int i;

	hash_of(bagit_text, strlen(bagit_text), bagit);
	buf_addf(b, "%s  bagit.txt\n", text_hex(hex, bagit, DIGEST));
	for (i = 0; i < TAG_TAGMANIFEST; i++)
		if (i != TAG_TREE || sums->tree)
			buf_addf(b, "%s  %s\n", text_hex(hex, sums->of[i], DIGEST),
				tag_names[i]);
}

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

/*
 * Entries are expected in order: position 0 is bagit.txt, 1 to n are the
 * messages of the index, then come the tag files.
 */
struct check {
	const char *segment, *file;
	const struct idx *x;
	struct tally *t;
	struct segment_facts *facts;
	struct err *err;
	size_t pos;
	uint64_t from, to; /* bytes of the file that are looked at */
	uint64_t *paths;   /* short hash of each message's path; 0: not seen */
	struct tag_sums sums;
	size_t row; /* of the table that is compared */
	struct buf line;
	bool tree_begun, tree_bad;
};

static uint64_t path_hash(const char *path)
{
	unsigned char sha[DIGEST];
	uint64_t h;

	hash_of(path, strlen(path), sha);
	memcpy(&h, sha, sizeof(h));
	return h | 1;
}

/* Reads the entry through; out is its SHA-256. take may be NULL. */
static enum status read_entry(struct check *ck, struct entries *s,
	unsigned char out[DIGEST],
	enum status (*take)(struct check *ck, const char *p, size_t n))
{
	struct hash *h;
	const char *p;
	size_t n;
	enum status rc;

	hash_begin(&h);
	while ((rc = entries_data(s, &p, &n, ck->err)) == ST_OK && n) {
		hash_put(h, p, n);
		if (take && (rc = take(ck, p, n)) < 0)
			break;
	}
	hash_end(&h, out);
	return rc;
}

static enum status wrong(struct check *ck, const char *what)
{
	return err_set(ck->err, ST_DENIED, EX_DATAERR, "%s", what);
}

static enum status check_message(
	struct check *ck, struct entries *s, const struct entry *e, const char *path)
{
	const struct idx_row *r = &ck->x->rows[ck->pos - 1];
	unsigned char sha[DIGEST];
	uint64_t seq;
	enum status rc;

	if (!message_path_seq(path, &seq) || seq != r->seq)
		return err_set(ck->err, ST_DENIED, EX_DATAERR,
			"%s stands where message %" PRIu32 " should", e->path, r->seq);
	if (e->size != r->size)
		return err_set(ck->err, ST_DENIED, EX_DATAERR,
			"message %" PRIu32 " says it has %" PRIu64
			" bytes, its row says %" PRIu64,
			r->seq, e->size, r->size);
	rc = read_entry(ck, s, sha, NULL);
	if (rc < 0)
		return rc;
	ck->paths[ck->pos - 1] = path_hash(path);
	if (memcmp(sha, r->sha, DIGEST) != 0) {
		tally_bad(ck->t,
			"%s: message %" PRIu32 " (%s, in bytes %" PRIu64 " to %" PRIu64
			") was changed: its SHA-256 is not the recorded one",
			ck->file, r->seq, path, ck->from, ck->to);
	} else {
		ck->t->messages++;
		ck->t->bytes += r->size;
	}
	return ST_OK;
}

/* ---- the tables ---- */

static void check_row(struct check *ck, const char *table, const char *path,
	const char *sha_hex, const char *size)
{
	unsigned char sha[DIGEST];
	const struct idx_row *r;
	size_t i = ck->row++;

	if (i >= ck->x->n) {
		if (i == ck->x->n)
			tally_bad(ck->t,
				"%s: %s has more lines than there are messages",
				ck->file, table);
		return;
	}
	r = &ck->x->rows[i];
	if (!text_unhex(sha, DIGEST, sha_hex) || memcmp(sha, r->sha, DIGEST) != 0 ||
		(ck->paths[i] && ck->paths[i] != path_hash(path)) ||
		(size && strtoull(size, NULL, 10) != r->size))
		tally_bad(ck->t, "%s: %s does not describe message %" PRIu32, ck->file,
			table, r->seq);
}

static void rows_end(struct check *ck, const char *table)
{
	if (ck->row < ck->x->n)
		tally_bad(ck->t, "%s: %s lacks %zu of %zu messages", ck->file, table,
			ck->x->n - ck->row, ck->x->n);
}

static enum status take_csv_row(void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct check *ck = ctx;
	size_t i = ck->row;

	(void)err;
	if (i > ck->x->n)
		return wrong(ck, "metadata/messages.csv does not end");
	if (i < ck->x->n && strtoull(f[CSV_SEQ], NULL, 10) != ck->x->rows[i].seq)
		tally_bad(ck->t, "%s: row %zu of %s is of another message", ck->file,
			i + 1, tag_names[TAG_CSV]);
	check_row(ck, tag_names[TAG_CSV], f[CSV_PATH], f[CSV_SHA256], f[CSV_SIZE]);
	return ST_OK;
}

static enum status check_csv(
	struct check *ck, struct entries *s, unsigned char sha[DIGEST])
{
	struct hash *h;
	struct csv csv;
	const char *p;
	size_t n;
	enum status rc;

	csv_init(&csv);
	hash_begin(&h);
	while ((rc = entries_data(s, &p, &n, ck->err)) == ST_OK && n) {
		hash_put(h, p, n);
		rc = csv_feed(&csv, p, n, take_csv_row, ck, ck->err);
		if (rc < 0)
			break;
	}
	hash_end(&h, sha);
	if (rc == ST_OK)
		rc = csv_end(&csv, ck->err);
	if (rc == ST_OK)
		rows_end(ck, tag_names[TAG_CSV]);
	csv_release(&csv);
	return rc;
}

/* Each line goes to take(), with its LF. */
static enum status by_line(struct check *ck, const char *p, size_t n, const char *table,
	enum status (*take)(struct check *ck, char *line, size_t n))
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < n; i++) {
		if (!buf_addc(&ck->line, p[i]))
			return err_set(ck->err, ST_DENIED, EX_DATAERR,
				"%s has an endless line", table);
		if (p[i] != '\n')
			continue;
		if (ck->row > ck->x->n)
			return err_set(ck->err, ST_DENIED, EX_DATAERR,
				"%s does not end", table);
		rc = take(ck, ck->line.p, ck->line.n);
		buf_clear(&ck->line);
	}
	return rc;
}

static enum status manifest_line(struct check *ck, char *s, size_t n)
{
	if (n < 2 * DIGEST + 4 || memcmp(s + 2 * DIGEST, "  ", 2) != 0)
		return wrong(ck, "manifest-sha256.txt has a line that is none");
	s[2 * DIGEST] = s[n - 1] = '\0';
	check_row(ck, tag_names[TAG_MANIFEST], s + 2 * DIGEST + 2, s, NULL);
	return ST_OK;
}

static enum status take_manifest(struct check *ck, const char *p, size_t n)
{
	return by_line(ck, p, n, tag_names[TAG_MANIFEST], manifest_line);
}

/* The salt is what only this table knows; all else follows from the index. */
static enum status leaf_line(struct check *ck, char *s, size_t n)
{
	struct buf want = BUF_INIT(TREE_LINE_MAX);
	unsigned char salt[SALT], leaf[DIGEST] = { 0 };
	const struct idx_row *r;
	char *tail;

	if (!ck->tree_begun) {
		ck->tree_begun = true;
		return strcmp(s, tree_head) == 0
			? ST_OK
			: wrong(ck,
				  "metadata/merkle.tsv has not the columns it should");
	}
	if (ck->row++ >= ck->x->n)
		return wrong(ck, "metadata/merkle.tsv has too many lines");
	r = &ck->x->rows[ck->row - 1];
	tail = n > LEAF_TAIL ? s + n - LEAF_TAIL : s;
	if (n > LEAF_TAIL && tail[2 * SALT] == '\t')
		tail[2 * SALT] = '\0';
	if (text_unhex(salt, SALT, tail)) {
		tail[2 * SALT] = '\t';
		tree_line(&want, r, salt);
		tree_leaf(leaf, r, salt);
	}
	if (want.n != n || memcmp(want.p, s, n) != 0) {
		tally_bad(ck->t, "%s: %s does not describe message %" PRIu32, ck->file,
			tag_names[TAG_TREE], r->seq);
		ck->tree_bad = true;
	} else if (ck->facts) {
		tree_add(&ck->facts->tree, leaf);
	}
	buf_free(&want);
	return ST_OK;
}

static enum status take_tree(struct check *ck, const char *p, size_t n)
{
	return by_line(ck, p, n, tag_names[TAG_TREE], leaf_line);
}

static enum status check_tree(struct check *ck, struct entries *s)
{
	enum status rc = read_entry(ck, s, ck->sums.of[TAG_TREE], take_tree);

	if (rc != ST_OK)
		return rc;
	if (ck->line.n)
		return wrong(ck, "metadata/merkle.tsv ends inside a line");
	rows_end(ck, tag_names[TAG_TREE]);
	ck->sums.tree = true;
	if (ck->facts)
		ck->facts->has_tree = !ck->tree_bad && ck->row == ck->x->n;
	return ST_OK;
}

static enum status check_text(struct check *ck, struct entries *s, enum tag tag)
{
	struct buf got = BUF_INIT(TEXT_MAX), want = BUF_INIT(TEXT_MAX);
	enum status rc = entries_text(s, &got, ck->err);
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < ck->x->n; i++)
		bytes += ck->x->rows[i].size;
	hash_of(buf_str(&got), got.n, ck->sums.of[tag]);
	if (rc == ST_OK && tag == TAG_TAGMANIFEST && ck->facts) {
		memcpy(ck->facts->tags_sha, ck->sums.of[tag], DIGEST);
		ck->facts->has_tags = true;
	}
	if (tag == TAG_INFO)
		buf_addf(&want, "\nPayload-Oxum: %" PRIu64 ".%zu\n", bytes, ck->x->n);
	else
		tagmanifest_text(&want, &ck->sums);
	if (rc == ST_OK &&
		(tag == TAG_INFO ? !strstr(buf_str(&got), buf_str(&want))
				 : strcmp(buf_str(&got), buf_str(&want)) != 0))
		tally_bad(ck->t, "%s: %s does not agree with the rest of the segment",
			ck->file, tag_names[tag]);
	buf_free(&got);
	buf_free(&want);
	return rc;
}

static enum status check_tag(
	struct check *ck, struct entries *s, enum tag tag, const char *path)
{
	enum status rc;

	ck->row = 0;
	if (strcmp(path, tag_names[tag]) != 0)
		return err_set(ck->err, ST_DENIED, EX_DATAERR,
			"%s stands where %s should", path, tag_names[tag]);
	switch (tag) {
	case TAG_CSV:
		return check_csv(ck, s, ck->sums.of[tag]);
	case TAG_TREE:
		return check_tree(ck, s);
	case TAG_MANIFEST:
		rc = read_entry(ck, s, ck->sums.of[tag], take_manifest);
		if (rc == ST_OK)
			rows_end(ck, tag_names[tag]);
		return rc;
	default:
		return check_text(ck, s, tag);
	}
}

/* ---- entries ---- */

static enum status check_bagit(struct check *ck, struct entries *s, const char *path)
{
	struct buf b = BUF_INIT(TEXT_MAX);
	enum status rc = entries_text(s, &b, ck->err);

	if (rc == ST_OK &&
		(strcmp(path, "bagit.txt") != 0 ||
			strcmp(buf_str(&b), bagit_text) != 0))
		rc = wrong(ck, "it does not start with the bagit.txt it should");
	buf_free(&b);
	return rc;
}

/* Which one should come now. */
static enum tag tag_at(struct check *ck, const char *path)
{
	enum tag tag = (enum tag)(ck->pos - 1 - ck->x->n);

	if (tag == TAG_TREE && strcmp(path, tag_names[TAG_MANIFEST]) == 0) {
		ck->pos++;
		tag = TAG_MANIFEST;
	}
	return tag;
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
		rc = check_tag(ck, s, tag_at(ck, path), path);
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
				return wrong(
					ck, "something follows the end of the tar");
		all += n;
		if (all > PADDING_MAX)
			return wrong(ck, "zeros without an end follow the tar");
	}
	return rc;
}

/* Entries of one member, or of a zip from position ck->pos on, up to end. */
static enum status run_group(struct check *ck, int fd, enum archive_codec c,
	uint64_t off, uint64_t len, size_t end)
{
	size_t skip = c == ARCHIVE_ZIP ? ck->pos : 0;
	struct unpacker *u = NULL;
	struct entries *s = NULL;
	struct entry e;
	enum status rc;

	unpacker_open(&u, c, fd, off, len, false);
	rc = c == ARCHIVE_ZIP ? entries_open_zip(&s, fd, ck->err)
			      : entries_open(&s, u, ck->err);
	while (rc == ST_OK && (rc = entries_next(s, &e, ck->err)) == ST_OK) {
		if (skip)
			skip--;
		else
			rc = ck->pos < end
				? check_entry(ck, s, &e)
				: wrong(ck, "it has more entries than it should");
	}
	if (rc == ST_END && ck->pos < end)
		rc = wrong(ck, "it ends too early");
	if (rc == ST_END)
		rc = c == ARCHIVE_ZIP ? ST_OK : drain(ck, u);
	entries_close(&s);
	unpacker_close(&u);
	return rc;
}

/* The same, with damage told. A zip goes on behind a message that is bad. */
static enum status check_group(struct check *ck, int fd, enum archive_codec c,
	uint64_t off, uint64_t len, size_t end)
{
	struct err why = ERR_INIT, *told = ck->err;
	unsigned tries = c == ARCHIVE_ZIP ? ZIP_TRIES : 1;
	enum status rc;

	ck->err = &why;
	ck->from = off;
	ck->to = off + len - (len > 0);
	while ((rc = run_group(ck, fd, c, off, len, end)) == ST_DENIED) {
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
	buf_init(&ck->line, MANIFEST_LINE_MAX);
}

static void check_end(struct check *ck)
{
	free(ck->paths);
	buf_free(&ck->line);
}

/* ---- the groups, several at a time ---- */

/* Rows [from, to): whole groups. */
struct part {
	struct check ck;
	struct tally t;
	struct buf found; /* what t found, each with a NUL behind it */
	struct err err;
	enum status rc;
	size_t from, to;
};

struct parts {
	struct part part[PARTS];
	size_t n;
	int fd;
	enum archive_codec codec;
	const char *file;
	unsigned char *sha; /* not NULL: the file's digest is wanted */
	struct err err;     /* of that */
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
		p->rc = check_group(&p->ck, ps->fd, ps->codec, r->off, r->len, k + 1);
	}
}

static void check_nth(void *ctx, size_t i)
{
	struct parts *ps = ctx;

	if (i > 0)
		check_part(ps, &ps->part[i - 1]);
	else if (ps->sha)
		ps->rc = hash_fd(ps->fd, ps->file, ps->sha, NULL, &ps->err);
}

/* Ranges of about as many bytes each; all share the paths, each row its own. */
static void divide(struct parts *ps, const struct check *ck)
{
	const struct idx *x = ck->x;
	size_t i, k;

	for (i = 0; i < x->n; i = k) {
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
	t->bytes += p->t.bytes;
	buf_free(&p->found);
	return p->rc == ST_OK ? ST_OK
			      : err_set(err, p->rc, p->err.exit, "%s", p->err.text);
}

static enum status check_groups(struct check *ck, int fd, enum archive_codec c,
	unsigned char *sha, struct err *err)
{
	struct parts *ps = xcalloc(1, sizeof(*ps));
	enum status rc = ST_OK;
	size_t i;

	ps->fd = fd;
	ps->codec = c;
	ps->file = ck->file;
	ps->sha = sha;
	divide(ps, ck);
	pool_each(0, ps->n + 1, check_nth, ps);
	for (i = 0; i < ps->n; i++) {
		enum status one = join(&ps->part[i], ck->t, err);

		rc = rc == ST_OK ? one : rc;
	}
	if (rc == ST_OK && ps->rc != ST_OK)
		rc = err_set(err, ps->rc, ps->err.exit, "%s", ps->err.text);
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

enum status segment_check(int fd, enum archive_codec c, const char *segment,
	const char *file, const struct idx *x, struct segment_facts *facts,
	struct tally *t, struct err *err)
{
	unsigned char *sha = facts ? facts->sha : NULL;
	enum status rc;
	struct check ck;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, ST_FATAL, "%s", file);
	check_begin(&ck, segment, file, x, t, err);
	ck.facts = facts;
	if (c == ARCHIVE_ZIP) {
		rc = check_group(&ck, fd, c, 0, (uint64_t)st.st_size, x->n + 1 + TAGS);
		if (rc == ST_OK && sha)
			rc = hash_fd(fd, file, sha, NULL, err);
	} else {
		rc = check_groups(&ck, fd, c, sha, err);
		check_gaps(&ck, (uint64_t)st.st_size);
		ck.pos = x->n + 1;
		if (rc == ST_OK)
			rc = check_group(
				&ck, fd, c, x->tags_off, x->tags_len, x->n + 1 + TAGS);
	}
	check_end(&ck);
	return rc;
}

enum status open_check(int part, int rest, enum archive_codec c, const char *segment,
	const struct idx *x, struct tally *t, struct err *err)
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

enum status segment_tag(struct entries **s, struct unpacker **u, int fd,
	enum archive_codec c, const char *segment, const struct idx *x, const char *tag,
	struct err *err)
{
	size_t n = strlen(segment);
	struct entry e;
	enum status rc;

	unpacker_open(u, c, fd, x->tags_off, x->tags_len, false);
	rc = c == ARCHIVE_ZIP ? entries_open_zip(s, fd, err) : entries_open(s, *u, err);
	while (rc == ST_OK && (rc = entries_next(*s, &e, err)) == ST_OK)
		if (strncmp(e.path, segment, n) == 0 && e.path[n] == '/' &&
			strcmp(e.path + n + 1, tag) == 0)
			return ST_OK;
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR, "segments/%s%s has no %s",
			segment, codec_suffix(c), tag);
	return rc;
}
