/* choice.c: which messages are meant. */
#include <popferry/export.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MAX = 64 * 1024, SHA_MIN = 8 };

struct range {
	uint64_t from, to;
};

struct term;
typedef bool matches(const struct term *t, const struct archive_row *row);

struct term {
	matches *matches;
	char *text, *inside; /* inside: the pattern *text*, or what is in the folder */
	uint64_t size;
	int64_t utc;
};

struct choice {
	struct range *ranges;
	size_t n_ranges;
	struct term *terms;
	size_t n;
	uint32_t *among; /* NULL: all */
	size_t n_among;
};

/* ---- what a word may ask ---- */

static bool in_header(const struct term *t, const char *header)
{
	struct buf b = BUF_INIT(SHOWN_MAX);
	bool has;

	if (!mime_decode(header, strlen(header), &b))
		buf_clear(&b);
	has = text_glob(t->inside, buf_str(&b), b.n) ||
		text_glob(t->inside, header, strlen(header));
	buf_free(&b);
	return has;
}

static bool is_from(const struct term *t, const struct archive_row *row)
{
	return in_header(t, row->from);
}

static bool is_to(const struct term *t, const struct archive_row *row)
{
	return in_header(t, row->to);
}

static bool is_cc(const struct term *t, const struct archive_row *row)
{
	return in_header(t, row->cc);
}

static bool is_subject(const struct term *t, const struct archive_row *row)
{
	return in_header(t, row->subject);
}

static bool is_folder(const struct term *t, const struct archive_row *row)
{
	return text_glob(t->text, row->folder, strlen(row->folder)) ||
		text_glob(t->inside, row->folder, strlen(row->folder));
}

static bool is_uidl(const struct term *t, const struct archive_row *row)
{
	return strcmp(t->text, row->uidl) == 0;
}

/* With or without its brackets; the archive has it with them. */
static bool is_id(const struct term *t, const struct archive_row *row)
{
	return strcmp(t->text, row->message_id) == 0 ||
		strcmp(t->inside, row->message_id) == 0;
}

static bool is_sha(const struct term *t, const struct archive_row *row)
{
	size_t n = strlen(t->text);

	return strlen(row->sha256) >= n && text_same_n(t->text, row->sha256, n);
}

static bool since(const struct term *t, const struct archive_row *row)
{
	struct when w = date_parse(row->date, strlen(row->date));

	return w.known && w.utc >= t->utc;
}

static bool before(const struct term *t, const struct archive_row *row)
{
	struct when w = date_parse(row->date, strlen(row->date));

	return w.known && w.utc < t->utc;
}

static bool larger(const struct term *t, const struct archive_row *row)
{
	return row->size > t->size;
}

static bool smaller(const struct term *t, const struct archive_row *row)
{
	return row->size < t->size;
}

static bool has_word(const char *words, const char *word)
{
	size_t n = strlen(word);
	const char *s = words;

	for (;; s += strcspn(s, " ")) {
		s += strspn(s, " ");
		if (*s == '\0')
			return false;
		if (strcspn(s, " ") == n && text_same_n(s, word, n))
			return true;
	}
}

static bool has_flag(const struct term *t, const struct archive_row *row)
{
	return has_word(row->flags, t->text);
}

static bool has_anomaly(const struct term *t, const struct archive_row *row)
{
	return has_word(row->anomalies, t->text);
}

/* ---- reading the words ---- */

static bool read_text(struct term *t)
{
	t->inside = xasprintf("*%s*", t->text);
	return *t->text != '\0';
}

static bool read_folder(struct term *t)
{
	t->inside = xasprintf("%s/*", t->text);
	return *t->text != '\0';
}

static bool read_plain(struct term *t)
{
	return *t->text != '\0';
}

static bool read_id(struct term *t)
{
	t->inside = xasprintf("<%s>", t->text);
	return *t->text != '\0';
}

static bool read_sha(struct term *t)
{
	size_t n = strlen(t->text);

	return n >= SHA_MIN && n <= 2 * DIGEST &&
		strspn(t->text, "0123456789abcdefABCDEF") == n;
}

static bool read_date(struct term *t)
{
	char *day = xasprintf("%sT00:00:00Z", t->text);
	struct when w = date_parse(strlen(t->text) == 10 ? day : t->text,
		strlen(t->text) == 10 ? strlen(day) : strlen(t->text));

	free(day);
	t->utc = w.utc;
	return w.known && strlen(t->text) >= 10;
}

static bool read_size(struct term *t)
{
	static const char units[] = "kmg";
	const char *unit;
	char *end;

	errno = 0;
	t->size = strtoull(t->text, &end, 10);
	if (errno || end == t->text || !isdigit((unsigned char)t->text[0]))
		return false;
	if (*end == '\0')
		return true;
	unit = strchr(units, tolower((unsigned char)*end));
	if (!unit || end[1] != '\0' || t->size > UINT64_MAX >> 30)
		return false;
	t->size <<= 10 * (unit - units + 1);
	return true;
}

static const struct {
	const char *name, *expected;
	matches *matches;
	bool (*read)(struct term *t);
} kinds[] = {
	{ "folder:", "a folder", is_folder, read_folder },
	{ "from:", "some text", is_from, read_text },
	{ "to:", "some text", is_to, read_text },
	{ "cc:", "some text", is_cc, read_text },
	{ "subject:", "some text", is_subject, read_text },
	{ "uidl:", "a UIDL", is_uidl, read_plain },
	{ "id:", "a Message-ID", is_id, read_id },
	{ "sha256:", "8 to 64 hex digits", is_sha, read_sha },
	{ "since:", "a date as 2024-01-31", since, read_date },
	{ "after:", "a date as 2024-01-31", since, read_date }, /* as search says */
	{ "before:", "a date as 2024-01-31", before, read_date },
	{ "larger:", "a size as 1000, 10k or 5M", larger, read_size },
	{ "smaller:", "a size as 1000, 10k or 5M", smaller, read_size },
	{ "flag:", "seen, answered, flagged or draft", has_flag, read_plain },
	{ "anomaly:", "a word as in the column anomalies", has_anomaly, read_plain },
};

static bool read_range(struct choice *c, const char *word)
{
	struct range r;
	char *end;

	if (!isdigit((unsigned char)*word))
		return false;
	errno = 0;
	r.from = r.to = strtoull(word, &end, 10);
	if (*end == '-' && end[1] == '\0')
		r.to = UINT64_MAX, end++;
	else if (*end == '-' && isdigit((unsigned char)end[1]))
		r.to = strtoull(end + 1, &end, 10);
	if (errno || *end || r.from == 0 || r.to < r.from)
		return false;
	c->ranges = xreallocarray(c->ranges, c->n_ranges + 1, sizeof(*c->ranges));
	c->ranges[c->n_ranges++] = r;
	return true;
}

static enum status read_word(struct choice *c, const char *word, struct err *err)
{
	struct term *t;
	size_t i;

	if (read_range(c, word))
		return ST_OK;
	c->terms = xreallocarray(c->terms, c->n + 1, sizeof(*c->terms));
	t = &c->terms[c->n++];
	memset(t, 0, sizeof(*t));
	if (*word == '<') {
		t->text = xstrdup(word);
		t->matches = is_id;
		read_id(t);
		return ST_OK;
	}
	for (i = 0; i < N_ELEMENTS(kinds); i++) {
		if (!text_starts(word, kinds[i].name))
			continue;
		t->text = xstrdup(word + strlen(kinds[i].name));
		t->matches = kinds[i].matches;
		if (kinds[i].read(t))
			return ST_OK;
		return err_set(err, ST_DENIED, EX_USAGE, "%.100s: expected %s", word,
			kinds[i].expected);
	}
	return err_set(err, ST_DENIED, EX_USAGE,
		"%.100s chooses no messages: expected numbers (7, 10-20) or a word like "
		"folder:NAME, from:TEXT, subject:TEXT, since:2024-01-31, id:MESSAGE-ID",
		word);
}

enum status choice_make(
	struct choice **out, char *const *words, size_t n, struct err *err)
{
	struct choice *c = xcalloc(1, sizeof(*c));
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < n; i++)
		rc = read_word(c, words[i], err);
	if (rc != ST_OK)
		choice_free(&c);
	*out = c;
	return rc;
}

void choice_free(struct choice **cp)
{
	struct choice *c = *cp;

	if (!c)
		return;
	while (c->n--) {
		free(c->terms[c->n].text);
		free(c->terms[c->n].inside);
	}
	free(c->terms);
	free(c->ranges);
	free(c->among);
	free(c);
	*cp = NULL;
}

static bool in_ranges(const struct choice *c, uint64_t seq)
{
	size_t i;

	for (i = 0; i < c->n_ranges; i++)
		if (seq >= c->ranges[i].from && seq <= c->ranges[i].to)
			return true;
	return c->n_ranges == 0;
}

void choice_among(struct choice *c, const uint32_t *seqs, size_t n)
{
	free(c->among);
	c->among = xcalloc(n + 1, sizeof(*seqs));
	if (n)
		memcpy(c->among, seqs, n * sizeof(*seqs));
	c->n_among = n;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool is_among(const struct choice *c, uint64_t seq)
{
	uint32_t number = (uint32_t)seq;

	return !c->among ||
		(number == seq &&
			bsearch(&number, c->among, c->n_among, sizeof(number),
				by_number));
}

bool choice_has(const struct choice *c, const struct archive_row *row)
{
	size_t i;

	if (!in_ranges(c, row->seq) || !is_among(c, row->seq))
		return false;
	for (i = 0; i < c->n; i++)
		if (!c->terms[i].matches(&c->terms[i], row))
			return false;
	return true;
}

bool choice_numbers(const struct choice *c)
{
	return c->n == 0;
}

uint64_t choice_only(const struct choice *c)
{
	bool one = c->n == 0 && !c->among && c->n_ranges == 1 &&
		c->ranges[0].from == c->ranges[0].to;

	return one ? c->ranges[0].from : 0;
}
