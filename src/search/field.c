/* field.c: what may stand before a colon in a query, and what its value must be. */
#include "own.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void bind_int(struct node *n, uint64_t i)
{
	n->bound[n->n_bound++] = (struct bound){ BOUND_INT,
		i > INT64_MAX ? INT64_MAX : (int64_t)i, NULL, 0 };
}

static void bind_text(struct node *n, char *text)
{
	n->bound[n->n_bound++] = (struct bound){ BOUND_TEXT, 0, text, strlen(text) };
}

/* Days since 1970 (proleptic Gregorian). */
static int64_t day_number(int64_t y, unsigned m, unsigned d)
{
	int64_t era, doe;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	doe = (y - era * 400) * 365 + (y - era * 400) / 4 - (y - era * 400) / 100 +
		(153 * (int64_t)(m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	return era * 146097 + doe - 719468;
}

/* 2024, 2024-01 or 2024-01-31: its first second, and the first after it. */
static bool read_span(int64_t span[2], const char *s)
{
	static const char shape[] = "9999-99-99";
	size_t n = strlen(s), i;
	unsigned y, m = 1, d = 1;
	struct when w;
	char *full;

	if (n == 4 || n == 7 || n == 10) {
		for (i = 0; i < n; i++)
			if (shape[i] == '9' ? !isdigit((unsigned char)s[i])
					    : s[i] != '-')
				return false;
		y = (unsigned)strtoul(s, NULL, 10);
		if (n >= 7)
			m = (unsigned)strtoul(s + 5, NULL, 10);
		if (n == 10)
			d = (unsigned)strtoul(s + 8, NULL, 10);
		full = xasprintf("%04u-%02u-%02uT00:00:00Z", y, m, d);
		w = date_parse(full, strlen(full));
		free(full);
		if (!w.known)
			return false;
		span[0] = day_number(y, m, d) * 86400;
		span[1] = n == 10 ? span[0] + 86400
			: n == 7
			? day_number(m == 12 ? y + 1 : y, m == 12 ? 1 : m + 1, 1) *
				86400
			: day_number((int64_t)y + 1, 1, 1) * 86400;
		return true;
	}
	w = date_parse(s, n);
	span[0] = w.utc;
	span[1] = w.utc + 1;
	return w.known && n > 10;
}

static bool read_from_date(struct node *n, const char *s)
{
	int64_t span[2];

	if (!read_span(span, s))
		return false;
	n->bound[n->n_bound++] = (struct bound){ BOUND_INT, span[0], NULL, 0 };
	return true;
}

static bool read_on_date(struct node *n, const char *s)
{
	int64_t span[2];

	if (!read_span(span, s))
		return false;
	n->bound[n->n_bound++] = (struct bound){ BOUND_INT, span[0], NULL, 0 };
	n->bound[n->n_bound++] = (struct bound){ BOUND_INT, span[1], NULL, 0 };
	return true;
}

static bool read_size(struct node *n, const char *s)
{
	static const char units[] = "kmg";
	const char *unit;
	uint64_t size;
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	size = strtoull(s, &end, 10);
	if (errno)
		return false;
	if (*end) {
		unit = strchr(units, tolower((unsigned char)*end));
		if (!unit || end[1] || size > UINT64_MAX >> 30)
			return false;
		size <<= 10 * (unit - units + 1);
	}
	bind_int(n, size);
	return true;
}

static bool read_seqs(struct node *n, const char *s)
{
	uint64_t from, to;
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	from = to = strtoull(s, &end, 10);
	if (*end == '-' && end[1] == '\0') {
		to = INT64_MAX;
		end++;
	} else if (*end == '-' && isdigit((unsigned char)end[1])) {
		to = strtoull(end + 1, &end, 10);
	}
	if (errno || *end || from == 0 || to < from)
		return false;
	bind_int(n, from);
	bind_int(n, to);
	return true;
}

static bool read_has(struct node *n, const char *s)
{
	(void)n;
	return text_same(s, "attachment") || text_same(s, "attachments");
}

static bool read_exact(struct node *n, const char *s)
{
	bind_text(n, xstrdup(s));
	return *s != '\0';
}

static bool read_id(struct node *n, const char *s)
{
	bind_text(n, *s == '<' ? xstrdup(s) : xasprintf("<%s>", s));
	return *s != '\0';
}

static bool read_folder(struct node *n, const char *s)
{
	/* The INBOX has no name inside. */
	const char *name = text_same(s, "INBOX") ? "" : s;

	bind_text(n, xstrdup(name));
	bind_text(n, xasprintf("%s/*", s));
	return *s != '\0';
}

static bool read_sha(struct node *n, const char *s)
{
	char low[2 * DIGEST + 1] = "", high[2 * DIGEST + 1] = "";
	size_t len = strlen(s), i;

	if (len < 8 || len > 2 * DIGEST || strspn(s, "0123456789abcdefABCDEF") != len)
		return false;
	memset(low, '0', 2 * DIGEST);
	memset(high, 'f', 2 * DIGEST);
	memcpy(low, s, len);
	memcpy(high, s, len);
	for (i = 0; i < 2; i++) {
		char *p = xmalloc(DIGEST);

		n->bound[n->n_bound++] = (struct bound){ BOUND_BLOB, 0, p, DIGEST };
		if (!text_unhex((unsigned char *)p, DIGEST, i ? high : low))
			return false;
	}
	return true;
}

#define DATE "a date as 2024-01-31, 2024-01 or 2024"
#define SIZE "a size as 1000, 10k or 5M"

static const struct field fields[] = {
	{ "from", "sender", NULL, NULL, NULL },
	{ "to", "rcpt", NULL, NULL, NULL },
	{ "cc", "cc", NULL, NULL, NULL },
	{ "bcc", "bcc", NULL, NULL, NULL },
	{ "subject", "subject", NULL, NULL, NULL },
	{ "body", "body", NULL, NULL, NULL },
	{ "after", NULL, "message m WHERE m.date >= ?", DATE, read_from_date },
	{ "since", NULL, "message m WHERE m.date >= ?", DATE, read_from_date },
	{ "before", NULL, "message m WHERE m.date < ?", DATE, read_from_date },
	{ "on", NULL, "message m WHERE m.date >= ? AND m.date < ?", DATE,
		read_on_date },
	{ "has", NULL, "message m WHERE m.files > 0", "has:attachment", read_has },
	{ "filename", NULL, "file m WHERE like_glob(?, m.name)",
		"a file name; * and ? stand for others", read_exact },
	{ "larger", NULL, "message m WHERE m.size > ?", SIZE, read_size },
	{ "smaller", NULL, "message m WHERE m.size < ?", SIZE, read_size },
	{ "uidl", NULL, "message m WHERE m.uidl = ?", "a UIDL", read_exact },
	{ "sha256", NULL, "message m WHERE m.sha256 BETWEEN ? AND ?",
		"8 to 64 hex digits", read_sha },
	{ "message-id", NULL, "message m WHERE m.msgid = ?", "a Message-ID", read_id },
	{ "id", NULL, "message m WHERE m.msgid = ?", "a Message-ID", read_id },
	{ "folder", NULL,
		"message m WHERE m.folder IN (SELECT id FROM folder"
		" WHERE like_glob(?, name) OR like_glob(?, name))",
		"a folder", read_folder },
	/* The + keeps it to an index, of which a page has more messages. */
	{ "seq", NULL, "message m WHERE +m.seq BETWEEN ? AND ?",
		"a number or range as 10-20", read_seqs },
};

const struct field *field_find(const char *name, size_t n)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(fields); i++)
		if (strlen(fields[i].name) == n && text_same_n(fields[i].name, name, n))
			return &fields[i];
	return NULL;
}
