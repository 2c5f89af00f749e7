/* commit.c: checksummed records; a torn end is seen and does not count. */
#include "commit.h"
#include "csv.h"
#include "mailbag.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <endian.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RECORD_MAX = CSV_ROW_MAX + 256,
	WINDOW = 512 * 1024,
	HEAD_MAX = 24,
	MEMBERS_MAX = SEGMENT_MESSAGES_MAX + 1, /* a message in each, and bagit.txt */
};

static uint32_t crc_of(char kind, const char *p, size_t n)
{
	return libdeflate_crc32(libdeflate_crc32(0, &kind, 1), p, n);
}

/* ---- writing ---- */

/* The payload is a and then b. */
static void add_record_of(struct buf *out, char kind, const char *a, size_t a_n,
	const char *b, size_t b_n)
{
	uint32_t crc = htobe32(libdeflate_crc32(crc_of(kind, a, a_n), b, b_n));
	char hex[2 * sizeof(crc) + 1];

	buf_addc(out, kind);
	buf_addc(out, ' ');
	buf_addu(out, a_n + b_n, 1);
	buf_addc(out, ' ');
	buf_adds(out, text_hex(hex, (const unsigned char *)&crc, sizeof(crc)));
	buf_addc(out, '\n');
	buf_add(out, a, a_n);
	buf_add(out, b, b_n);
	buf_addc(out, '\n');
}

static void add_record(struct buf *b, char kind, const char *p, size_t n)
{
	add_record_of(b, kind, p, n, "", 0);
}

static void add_text(struct buf *b, char kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void add_text(struct buf *b, char kind, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add_record(b, kind, text, (size_t)n);
}

void commit_begin(struct buf *b, const struct policy *p, unsigned no, uint64_t first,
	const unsigned char seed[SEED])
{
	char hex[2 * SEED + 1];

	add_text(b, 'B', "%d %s %u %" PRIu64 " %s", ARCHIVE_FORMAT, p->id, no, first,
		text_hex(hex, seed, SEED));
}

void commit_source(struct buf *b, const char *source)
{
	add_record(b, 'S', source, strlen(source));
}

void commit_message(struct buf *b, uint64_t at, const unsigned char key[KEY],
	uint32_t occurrence, const struct buf *row)
{
	char place[2 * NUMBER_MAX + 2 * KEY + 4], *p = text_number(place, at);

	*p++ = ' ';
	text_hex(p, key, KEY);
	p += 2 * KEY;
	*p++ = ' ';
	p = text_number(p, occurrence);
	*p++ = '\n';
	add_record_of(b, 'R', place, (size_t)(p - place), row->p, row->n);
}

void commit_member(
	struct buf *b, uint64_t off, uint64_t len, uint64_t raw_at, uint64_t raw_len)
{
	add_text(b, 'M', "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, off, len,
		raw_at, raw_len);
}

void commit_done(struct buf *b, uint64_t part_len, unsigned members, uint64_t rest_len,
	uint32_t rest_crc, uint64_t next)
{
	add_text(b, 'C', "%" PRIu64 " %u %" PRIu64 " %08" PRIx32 " %" PRIu64, part_len,
		members, rest_len, rest_crc, next);
}

void commit_sealing(struct buf *b, const struct buf *told)
{
	add_record(b, 'Z', told->p, told->n);
}

/* ---- reading records ---- */

struct scan {
	const struct open_file *log;
	uint64_t at, end; /* next record; bytes to look at */
	char *win;        /* WINDOW bytes at most, from win_at */
	uint64_t win_at;
	size_t win_n;
	/* Of a read; what follows is not known to be missing. */
	struct err failed;
};

struct record {
	char kind;
	const char *p; /* a NUL stands behind it, while it is looked at */
	size_t n;
	uint64_t next;
};

static enum status scan_open(
	struct scan *s, const struct open_file *log, uint64_t end, struct err *err)
{
	uint64_t size = 0;
	enum status rc = open_file_size(log, &size, err);

	memset(s, 0, sizeof(*s));
	if (rc != ST_OK)
		return err_note(err, "commit log");
	s->log = log;
	s->end = end < size ? end : size;
	s->win = xmalloc(WINDOW + 1);
	return ST_OK;
}

/* Bytes at `at`: as many as there are, up to need. */
static size_t look(struct scan *s, uint64_t at, size_t need, char **p)
{
	uint64_t left = at < s->end ? s->end - at : 0;
	size_t n = 0;

	if (need > left)
		need = (size_t)left;
	if (at < s->win_at || at + need > s->win_at + s->win_n) {
		if (open_file_read(s->log, s->win,
			    left < WINDOW ? (size_t)left : WINDOW, at, &n,
			    &s->failed) != ST_OK)
			n = 0;
		s->win_at = at;
		s->win_n = n;
		if (need > s->win_n)
			need = s->win_n;
	}
	*p = s->win + (at - s->win_at);
	return need;
}

/* "R 613 0badf00d", LF; of how many bytes. 0: it is none. */
static size_t read_head(const char *p, size_t n, char *kind, size_t *len, uint32_t *crc)
{
	char hex[2 * sizeof(*crc) + 1];
	size_t i = 2;

	if (n < i || p[1] != ' ')
		return 0;
	*kind = p[0];
	for (*len = 0; i < n && p[i] >= '0' && p[i] <= '9' && *len <= RECORD_MAX; i++)
		*len = *len * 10 + (size_t)(p[i] - '0');
	if (*len > RECORD_MAX || i == 2 || n - i < sizeof(hex) + 1 || p[i] != ' ')
		return 0;
	memcpy(hex, p + i + 1, sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = '\0';
	i += sizeof(hex);
	if (p[i] != '\n' || !text_unhex((unsigned char *)crc, sizeof(*crc), hex))
		return 0;
	*crc = be32toh(*crc);
	return i + 1;
}

/* The record at s->at; false when there is no whole and right one. */
static bool next_record(struct scan *s, struct record *r)
{
	size_t n, head_n, len;
	uint32_t crc;
	char kind, *p;

	n = look(s, s->at, HEAD_MAX, &p);
	head_n = read_head(p, n, &kind, &len, &crc);
	if (head_n == 0)
		return false;
	if (look(s, s->at, head_n + len + 1, &p) != head_n + len + 1)
		return false;
	p += head_n;
	if (p[len] != '\n' || crc_of(kind, p, len) != crc)
		return false;
	p[len] = '\0';
	r->kind = kind;
	r->p = p;
	r->n = len;
	r->next = s->at + head_n + len + 1;
	return true;
}

/* The NUL was a LF, and the record may be looked at again. */
static void step(struct scan *s, const struct record *r)
{
	s->win[r->next - 1 - s->win_at] = '\n';
	s->at = r->next;
}

/*
 * How many whole commits follow the bad record at s->at. Two mean that it was
 * committed once, since a commit waits until the one before is durable.
 */
static unsigned commits_after(struct scan *s)
{
	unsigned found = 0;
	struct record r;
	uint64_t at = s->at;
	char *p, *lf;
	size_t n;

	while (found < 2 && (n = look(s, at, 4096, &p)) > 1) {
		lf = memchr(p, '\n', n - 1);
		if (!lf) {
			at += n - 1;
			continue;
		}
		at += (uint64_t)(lf - p) + 1;
		if (lf[1] != 'C')
			continue;
		s->at = at;
		if (next_record(s, &r)) {
			step(s, &r);
			found++;
		}
	}
	return found;
}

/* ---- reading the state ---- */

struct member {
	uint64_t off, len, raw, raw_len;
};

struct state_reader {
	struct open_state *o;
	const struct policy *p;
	struct member *members;
	size_t members_n;
	struct csv csv;
	struct buf mailbag; /* a line */
	struct row_sums rows;
	size_t rows_ok, sources_ok; /* covered by a commit */
	bool begun;
};

static enum status damaged(struct err *err, uint64_t at)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"the commit log of the open segment is damaged at byte %" PRIu64
		": put open/ back from a copy of the archive, or move it away and run again "
		"to fetch what it held",
		at);
}

static enum status foreign(struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"the commit log of the open segment cannot be read with its key in the state "
		"directory: if another job or machine wrote it, let it run again; else put "
		"open/ back from a copy of the archive, or move open/ and the journal away and "
		"run again to fetch what it held");
}

/* A log that cannot be read is not one that ends there. */
static enum status was_read(const struct scan *s, struct err *err)
{
	if (s->failed.status == ST_OK)
		return ST_OK;
	return err_set(err, s->failed.status, s->failed.exit, "the commit log: %s",
		s->failed.text);
}

static bool take_begin(struct state_reader *sr, const struct record *r)
{
	char id[64], seed[2 * SEED + 1];
	int format, n;

	n = sscanf(r->p, "%d %63s %u %" SCNu64 " %64s", &format, id, &sr->o->no,
		&sr->o->first, seed);
	if (sr->begun || n < 4 || (n == 5 && !text_unhex(sr->o->seed, SEED, seed)))
		return false;
	sr->begun = true;
	return format == ARCHIVE_FORMAT && strcmp(id, sr->p->id) == 0 &&
		sr->o->no > 0 && sr->o->no <= SEGMENT_NO_MAX && sr->o->first > 0 &&
		sr->o->first <= SEQ_MAX;
}

static bool take_source(struct open_state *o, const struct record *r)
{
	size_t i;

	for (i = 0; i < o->sources_n; i++)
		if (strcmp(o->sources[i], r->p) == 0)
			return true;
	if (o->sources_n < SOURCES_MAX)
		o->sources[o->sources_n++] = xmemdup0(r->p, r->n);
	return true;
}

static enum status fill_row(void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct state_reader *sr = ctx;
	struct idx_row *row = &sr->o->idx.rows[sr->o->idx.n - 1];

	(void)err;
	sr->rows.path_bytes += strlen(f[CSV_PATH]);
	buf_clear(&sr->mailbag);
	mailbag_row(&sr->mailbag, f);
	sr->rows.mailbag_bytes += sr->mailbag.n;
	/* RFC 3339 in UTC sorts as text. */
	if (strcmp(f[CSV_RETRIEVED], sr->rows.newest) > 0)
		snprintf(sr->rows.newest, sizeof(sr->rows.newest), "%s",
			f[CSV_RETRIEVED]);
	row->seq = (uint32_t)strtoull(f[CSV_SEQ], NULL, 10);
	row->size = strtoull(f[CSV_SIZE], NULL, 10);
	return text_unhex(row->sha, DIGEST, f[CSV_SHA256]) ? ST_OK : ST_DENIED;
}

static bool take_row(struct state_reader *sr, const struct record *r)
{
	struct open_state *o = sr->o;
	struct idx_row *row;
	char hex[2 * KEY + 1], *p;
	size_t n;

	if (o->idx.n == SEGMENT_MESSAGES_MAX)
		return false;
	row = idx_add(&o->idx);
	row->in = strtoull(r->p, &p, 10);
	if (*p != ' ' || strnlen(p, sizeof(hex)) < sizeof(hex))
		return false;
	memcpy(hex, p + 1, sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = '\0';
	row->occurrence = (uint32_t)strtoul(p + sizeof(hex), &p, 10);
	if (*p++ != '\n' || !text_unhex(row->key, KEY, hex))
		return false;
	n = r->n - (size_t)(p - r->p);
	sr->rows.bytes += n;
	return csv_feed(&sr->csv, p, n, fill_row, sr, NULL) == ST_OK &&
		csv_end(&sr->csv, NULL) == ST_OK && row->seq == o->first + o->idx.n - 1;
}

static bool take_member(struct state_reader *sr, const struct record *r)
{
	struct member *m;

	if (sr->members_n == MEMBERS_MAX)
		return false;
	if (sr->members_n % 256 == 0)
		sr->members = xreallocarray(
			sr->members, sr->members_n + 256, sizeof(*sr->members));
	m = &sr->members[sr->members_n++];
	return sscanf(r->p, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &m->off,
		       &m->len, &m->raw, &m->raw_len) == 4;
}

static bool take_commit(struct state_reader *sr, const struct record *r)
{
	struct open_state *o = sr->o;
	const struct member *m;

	if (sscanf(r->p, "%" SCNu64 " %u %" SCNu64 " %" SCNx32 " %" SCNu64,
		    &o->part_len, &o->members, &o->rest_len, &o->rest_crc,
		    &o->next) != 5 ||
		o->members != sr->members_n || o->next != o->first + o->idx.n)
		return false;
	m = o->members ? &sr->members[o->members - 1] : NULL;
	o->rest_at = m ? m->raw + m->raw_len : 0;
	sr->rows_ok = o->idx.n;
	o->rows = sr->rows;
	sr->sources_ok = o->sources_n;
	o->log_len = r->next;
	return o->part_len == (m ? m->off + m->len : 0);
}

static bool take_seal(struct open_state *o, const struct record *r)
{
	if (o->log_len == 0)
		return false;
	o->sealing = true;
	o->told = xmemdup0(r->p, r->n);
	o->log_len = r->next;
	return true;
}

static bool take(struct state_reader *sr, const struct record *r)
{
	if (!sr->begun || sr->o->sealing)
		return r->kind == 'B' && !sr->begun && take_begin(sr, r);
	switch (r->kind) {
	case 'S':
		return take_source(sr->o, r);
	case 'R':
		return take_row(sr, r);
	case 'M':
		return take_member(sr, r);
	case 'C':
		return take_commit(sr, r);
	case 'Z':
		return take_seal(sr->o, r);
	default:
		return false;
	}
}

/* Forgets what no commit covers; tar offsets become places in members or the rest. */
static void place(struct state_reader *sr)
{
	struct open_state *o = sr->o;
	size_t i, k = 0;

	o->idx.n = sr->rows_ok;
	while (o->sources_n > sr->sources_ok)
		free(o->sources[--o->sources_n]);
	for (i = 0; i < o->idx.n; i++) {
		struct idx_row *r = &o->idx.rows[i];

		while (k < o->members &&
			sr->members[k].raw + sr->members[k].raw_len <= r->in)
			k++;
		if (k == o->members) {
			r->off = REST;
			r->len = o->rest_len;
			r->in -= o->rest_at;
		} else {
			r->off = sr->members[k].off;
			r->len = sr->members[k].len;
			r->in -= sr->members[k].raw;
		}
	}
}

enum status open_state_read(struct open_state *o, const struct open_file *log,
	const struct policy *p, struct err *err)
{
	struct state_reader sr = { .o = o, .p = p };
	struct scan s = { 0 };
	struct record r;
	enum status rc;

	memset(o, 0, sizeof(*o));
	csv_init(&sr.csv);
	buf_init(&sr.mailbag, CSV_ROW_MAX);
	sr.csv.body = true; /* the log has no header line */
	rc = scan_open(&s, log, UINT64_MAX, err);
	while (rc == ST_OK && next_record(&s, &r)) {
		/* A record that is whole but wrong was written wrong. */
		if (!take(&sr, &r)) {
			rc = damaged(err, s.at);
			break;
		}
		step(&s, &r);
	}
	if (rc == ST_OK && s.at < s.end && commits_after(&s) == 2)
		rc = damaged(err, o->log_len);
	if (s.failed.status != ST_OK)
		rc = was_read(&s, err);
	if (rc == ST_OK)
		place(&sr);
	if (rc == ST_OK && o->idx.n == 0)
		rc = open_file_foreign(log) ? foreign(err) : ST_END;
	if (rc != ST_OK)
		open_state_free(o);
	csv_release(&sr.csv);
	buf_free(&sr.mailbag);
	free(sr.members);
	free(s.win);
	return rc;
}

void open_state_free(struct open_state *o)
{
	while (o->sources_n)
		free(o->sources[--o->sources_n]);
	idx_free(&o->idx);
	free(o->told);
	memset(o, 0, sizeof(*o));
}

enum status open_state_rows(const struct open_state *o, const struct open_file *log,
	enum status (*each)(
		void *ctx, size_t row, const char *line, size_t n, struct err *err),
	void *ctx, struct err *err)
{
	struct scan s;
	struct record r;
	size_t row = 0;
	enum status rc = scan_open(&s, log, o->log_len, err);

	while (rc == ST_OK && row < o->idx.n) {
		const char *line;

		if (!next_record(&s, &r)) {
			rc = s.failed.status != ST_OK ? was_read(&s, err)
						      : damaged(err, s.at);
			break;
		}
		line = strchr(r.p, '\n');
		if (r.kind == 'R' && line) {
			line++;
			rc = each(ctx, row++, line, r.n - (size_t)(line - r.p), err);
		}
		step(&s, &r);
	}
	free(s.win);
	return rc;
}
