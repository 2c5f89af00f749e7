/* idx.c: the offset table of a segment: written, loaded, made anew. */
#include "idx.h"
#include "csv.h"
#include "hash.h"
#include "layout.h"
#include "tar.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	UIDL_SHORT = 256,
	ID_DIGITS = 9,
	IDX_LINE_MAX = 256,
	IDX_MAX = IDX_LINE_MAX * (SEGMENT_MESSAGES_MAX + 2)
};
#define OFFSET_MAX (UINT64_C(1) << 60) /* no sum of two overflows */
static const char head[] =
	"seq\tid\tmember_off\tmember_len\toff_in_member\tsize\tstate\t"
	"occurrence\tsha256\tkey\n";

void idx_key(unsigned char out[KEY], const char *uidl, size_t n, uint32_t occurrence,
	const unsigned char sha[DIGEST])
{
	unsigned char all[5 + DIGEST + UIDL_SHORT], full[DIGEST];
	struct hash *h;
	size_t i;

	all[0] = uidl != NULL;
	for (i = 0; i < 4; i++)
		all[1 + i] = (unsigned char)(occurrence >> (24 - 8 * i));
	memcpy(all + 5, sha, DIGEST);
	n = uidl ? n : 0;
	if (n <= UIDL_SHORT) {
		if (n)
			memcpy(all + 5 + DIGEST, uidl, n);
		hash_of(all, 5 + DIGEST + n, full);
	} else {
		hash_begin(&h);
		hash_put(h, all, 5 + DIGEST);
		hash_put(h, uidl, n);
		hash_end(&h, full);
	}
	memcpy(out, full, KEY);
}

struct idx_row *idx_add(struct idx *x)
{
	struct idx_row *r;

	if (x->n % 1024 == 0)
		x->rows = xreallocarray(x->rows, x->n + 1024, sizeof(*x->rows));
	r = &x->rows[x->n++];
	memset(r, 0, sizeof(*r));
	return r;
}

void idx_free(struct idx *x)
{
	free(x->rows);
	memset(x, 0, sizeof(*x));
}

static void add_number(struct buf *b, uint64_t n, unsigned digits)
{
	buf_addu(b, n, digits);
	buf_addc(b, '\t');
}

static void add_row(struct buf *b, const struct idx_row *r)
{
	char hex[2 * DIGEST + 1];

	add_number(b, r->seq, 1);
	add_number(b, r->seq, ID_DIGITS);
	add_number(b, r->off, 1);
	add_number(b, r->len, 1);
	add_number(b, r->in, 1);
	add_number(b, r->size, 1);
	buf_adds(b, r->gone ? "T\t" : "L\t");
	add_number(b, r->occurrence, 1);
	buf_add(b, text_hex(hex, r->sha, DIGEST), 2 * DIGEST);
	buf_addc(b, '\t');
	buf_add(b, text_hex(hex, r->key, KEY), 2 * KEY);
	buf_addc(b, '\n');
}

enum status idx_write(const struct idx *x, const struct vault *v, int dir,
	const char *segment, struct err *err)
{
	char name[FILE_NAME_MAX];
	struct buf b = BUF_INIT(IDX_MAX);
	enum status rc;
	size_t i;

	buf_adds(&b, head);
	for (i = 0; i < x->n; i++)
		add_row(&b, &x->rows[i]);
	buf_addf(&b, "tags\t-\t%" PRIu64 "\t%" PRIu64 "\n", x->tags_off, x->tags_len);
	file_name(name, segment, idx_suffix(v->policy));
	rc = vault_replace(v, dir, name, b.p, b.n, err);
	buf_free(&b);
	return rc;
}

/* ---- loading ---- */

/* A decimal number and the tab or LF (already NUL) behind it. */
static bool number(const char **s, uint64_t *out)
{
	char *end;

	if (**s < '0' || **s > '9')
		return false;
	errno = 0;
	*out = strtoull(*s, &end, 10);
	if (errno || (*end != '\t' && *end != '\0'))
		return false;
	*s = end + (*end == '\t');
	return true;
}

static bool hex(const char **s, unsigned char *out, size_t n)
{
	char t[2 * DIGEST + 1];

	if (strnlen(*s, 2 * n) < 2 * n)
		return false;
	memcpy(t, *s, 2 * n);
	t[2 * n] = '\0';
	*s += 2 * n;
	*s += **s == '\t';
	return text_unhex(out, n, t);
}

static bool read_row(struct idx_row *r, const char *s)
{
	uint64_t seq, id, occurrence;
	char state;

	if (!number(&s, &seq) || !number(&s, &id) || id != seq || seq == 0 ||
		seq > SEQ_MAX || !number(&s, &r->off) || !number(&s, &r->len) ||
		!number(&s, &r->in) || !number(&s, &r->size) ||
		((state = *s++) != 'L' && state != 'T') || *s++ != '\t' ||
		!number(&s, &occurrence) || occurrence > UINT32_MAX ||
		!hex(&s, r->sha, DIGEST) || !hex(&s, r->key, KEY) || *s)
		return false;
	r->seq = (uint32_t)seq;
	r->occurrence = (uint32_t)occurrence;
	r->gone = state == 'T';
	return r->off <= OFFSET_MAX && r->len <= OFFSET_MAX && r->in <= OFFSET_MAX;
}

static bool parse_row(struct idx *x, const char *s)
{
	struct idx_row r;

	if (!read_row(&r, s) || x->n == SEGMENT_MESSAGES_MAX ||
		(x->n && x->rows[x->n - 1].seq + 1 != r.seq))
		return false;
	*idx_add(x) = r;
	return true;
}

static bool parse(struct idx *x, char *text, size_t n)
{
	char *s, *end;

	if (n < sizeof(head) - 1 || memcmp(text, head, sizeof(head) - 1) != 0 ||
		memchr(text, '\0', n))
		return false;
	for (s = text + sizeof(head) - 1; (end = strchr(s, '\n')); s = end + 1) {
		*end = '\0';
		if (text_starts(s, "tags\t-\t")) {
			const char *t = s + 7;

			return number(&t, &x->tags_off) && number(&t, &x->tags_len) &&
				*t == '\0' && end + 1 == text + n && x->n > 0 &&
				x->tags_off <= OFFSET_MAX && x->tags_len <= OFFSET_MAX;
		}
		if (!parse_row(x, s))
			return false;
	}
	return false;
}

enum status idx_load(
	struct idx *x, const struct vault *v, const char *segment, struct err *err)
{
	char name[FILE_NAME_MAX];
	enum status rc;
	char *text;
	size_t n;

	memset(x, 0, sizeof(*x));
	file_name(name, segment, idx_suffix(v->policy));
	rc = vault_read(&text, &n, v, name, IDX_MAX, err);
	if (rc != ST_OK)
		return rc;
	if (!parse(x, text, n)) {
		idx_free(x);
		rc = err_set(
			err, ST_DENIED, EX_DATAERR, "segments/%s is damaged", name);
	}
	free(text);
	return rc;
}

/* ---- one row of it ---- */

/* The first whole row that starts at or behind at; *next is where it ends. */
static bool row_at(struct bytes *b, uint64_t at, struct idx_row *r, uint64_t *start,
	uint64_t *next)
{
	char text[2 * IDX_LINE_MAX + 1], *s = text, *end;
	size_t n;

	if (bytes_read(b, text, sizeof(text) - 1, at, &n, NULL) != ST_OK || n == 0)
		return false;
	text[n] = '\0';
	if (at) { /* one byte earlier was asked for: up to its line's end is old */
		s = memchr(text, '\n', n);
		if (!s)
			return false;
		s++;
	}
	end = memchr(s, '\n', (size_t)(text + n - s));
	if (!end)
		return false;
	*end = '\0';
	*start = at + (uint64_t)(s - text);
	*next = at + (uint64_t)(end + 1 - text);
	return read_row(r, s);
}

bool idx_look(struct idx_row *r, const struct vault *v, const char *segment,
	uint64_t seq, uint64_t *first)
{
	uint64_t from = sizeof(head) - 1, to, start, next;
	char name[FILE_NAME_MAX];
	struct bytes *b = NULL;
	bool found = false;

	*first = 0;
	file_name(name, segment, idx_suffix(v->policy));
	if (vault_open(&b, v, name, NULL) != ST_OK)
		return false;
	to = bytes_size(b);
	*first = row_at(b, from - 1, r, &start, &next) ? r->seq : 0;
	found = *first == seq && seq;
	/* Lines from `from` on and before `to` are still in question. */
	while (!found && seq && *first && from < to) {
		uint64_t mid = from + (to - from) / 2;

		if (!row_at(b, mid - 1, r, &start, &next) || start >= to)
			to = mid; /* the last line, or the one of the tags */
		else if (r->seq == seq)
			found = true;
		else if (r->seq < seq)
			from = next;
		else
			to = mid;
	}
	bytes_close(&b);
	return found;
}

/* ---- making it anew ---- */

struct rebuild {
	struct idx *x;
	size_t row; /* of messages.csv */
};

/* The keys come from the table; the table's own truth is verify's affair. */
static enum status take_key(void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct rebuild *rb = ctx;
	struct idx_row *r;

	if (rb->row == rb->x->n)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"metadata/messages.csv has more rows than there are messages");
	r = &rb->x->rows[rb->row++];
	r->occurrence = 1;
	if (r->gone)
		return ST_OK;
	idx_key(r->key, *f[CSV_UIDL] ? f[CSV_UIDL] : NULL, strlen(f[CSV_UIDL]), 1,
		r->sha);
	return ST_OK;
}

static enum status take_message(struct rebuild *rb, struct entries *s,
	const struct entry *e, uint64_t seq, bool gone, struct err *err)
{
	struct idx *x = rb->x;
	struct idx_row *r;
	struct hash *h;
	const char *p;
	size_t n;
	enum status rc;

	if (x->n == SEGMENT_MESSAGES_MAX || seq == 0 ||
		(x->n && x->rows[x->n - 1].seq + 1 != seq))
		return err_set(err, ST_DENIED, EX_DATAERR,
			"message %" PRIu64 " stands where another should", seq);
	hash_begin(&h);
	r = idx_add(x);
	while ((rc = entries_data(s, &p, &n, err)) == ST_OK && n)
		hash_put(h, p, n);
	hash_end(&h, r->sha);
	r->seq = (uint32_t)seq;
	r->size = e->size;
	r->in = e->at; /* in the whole tar; made relative at the end */
	r->gone = gone;
	return rc;
}

static enum status take_csv(struct rebuild *rb, struct entries *s, struct err *err)
{
	struct csv c;
	const char *p;
	size_t n;
	enum status rc;

	csv_init(&c);
	while ((rc = entries_data(s, &p, &n, err)) == ST_OK && n)
		if ((rc = csv_feed(&c, p, n, take_key, rb, err)) != ST_OK)
			break;
	csv_release(&c);
	return rc;
}

static enum status scan(struct rebuild *rb, struct entries *s, const char *segment,
	uint64_t *tags_at, struct err *err)
{
	size_t skip = strcspn(segment, ".") + 1;
	struct entry e;
	uint64_t seq;
	enum status rc;

	while ((rc = entries_next(s, &e, err)) == ST_OK) {
		const char *path = strlen(e.path) > skip ? e.path + skip : "";

		if (message_path_seq(path, &seq)) {
			rc = take_message(rb, s, &e, seq, false, err);
		} else if (tombstone_path_seq(path, &seq)) {
			rc = take_message(rb, s, &e, seq, true, err);
		} else if (strcmp(path, "bag-info.txt") == 0) {
			*tags_at = e.at;
		} else if (strcmp(path, "metadata/messages.csv") == 0) {
			rc = take_csv(rb, s, err);
		}
		if (rc != ST_OK)
			break;
	}
	return rc == ST_END ? ST_OK : rc;
}

/*
 * Only where an entry starts does a member: one that is a run of pieces is cut inside
 * its last entry. Keeps those marks; the rows still have their offsets in the tar.
 */
static size_t members_of(
	const struct idx *x, struct mark *m, size_t n, uint64_t tags_at)
{
	size_t i, row = 0, kept = 0;

	for (i = 0; i < n; i++) {
		while (row < x->n && x->rows[row].in < m[i].raw)
			row++;
		if (m[i].raw == 0 || m[i].raw == tags_at ||
			(row < x->n && x->rows[row].in == m[i].raw))
			m[kept++] = m[i];
	}
	return kept;
}

/* From offsets in the tar to offsets in members. */
static void place(
	struct idx *x, struct mark *m, size_t n, uint64_t tags_at, uint64_t size)
{
	size_t i, k = 0;

	n = members_of(x, m, n, tags_at);
	for (i = 0; i < x->n && n; i++) {
		struct idx_row *r = &x->rows[i];

		while (k + 1 < n && m[k + 1].raw <= r->in)
			k++;
		r->off = m[k].file;
		r->len = (k + 1 < n ? m[k + 1].file : size) - r->off;
		r->in -= m[k].raw;
	}
	while (k + 1 < n && m[k + 1].raw <= tags_at)
		k++;
	x->tags_off = n ? m[k].file : 0;
	x->tags_len = n ? size - x->tags_off : 0;
}

/* Plain tar shows no members; each entry can stand for one. */
static void place_plain(struct idx *x, uint64_t tags_at, uint64_t size)
{
	size_t i;

	for (i = 0; i < x->n; i++) {
		struct idx_row *r = &x->rows[i];

		r->off = i ? r->in : 0;
		r->len = (i + 1 < x->n ? x->rows[i + 1].in : tags_at) - r->off;
		r->in -= r->off;
	}
	x->tags_off = tags_at;
	x->tags_len = size - tags_at;
}

enum status idx_rebuild(struct idx *x, struct bytes *b, enum archive_codec c,
	const char *segment, struct err *err)
{
	struct rebuild rb = { x, 0 };
	struct unpacker *u = NULL;
	struct entries *s = NULL;
	uint64_t tags_at = 0, size = bytes_size(b);
	enum status rc;
	size_t n = 0;

	memset(x, 0, sizeof(*x));
	unpacker_open(&u, c, b, 0, size, true);
	rc = c == ARCHIVE_ZIP ? entries_open_zip(&s, b, err) : entries_open(&s, u, err);
	if (rc == ST_OK)
		rc = scan(&rb, s, segment, &tags_at, err);
	if (rc == ST_OK && (x->n == 0 || rb.row != x->n))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"the messages and metadata/messages.csv do not agree");
	if (rc == ST_OK && c == ARCHIVE_NONE)
		place_plain(x, tags_at, size);
	else if (rc == ST_OK && c != ARCHIVE_ZIP) {
		struct mark *m = unpacker_marks(u, &n);

		place(x, m, n, tags_at, size);
	}
	if (rc < 0)
		idx_free(x);
	entries_close(&s);
	unpacker_close(&u);
	return rc;
}

enum status idx_get(
	struct idx *x, const struct vault *v, const char *segment, struct err *err)
{
	struct err lost = ERR_INIT;
	enum status rc = idx_load(x, v, segment, &lost);
	char name[FILE_NAME_MAX];
	struct bytes *b = NULL;

	if (rc == ST_OK)
		return ST_OK;
	if (rc == ST_FATAL)
		return err_set(err, rc, lost.exit, "%s", lost.text);
	file_name(name, segment, segment_suffix(v->policy));
	rc = vault_open(&b, v, name, err);
	if (rc == ST_OK)
		rc = idx_rebuild(x, b, v->policy->codec, segment, err);
	if (rc < 0)
		vault_note(err, name);
	bytes_close(&b);
	return rc;
}
