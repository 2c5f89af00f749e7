/* from.c: what a line of an mbox file says. */
#include "split.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 12 }; /* of a From_ line */

static const char from[] = "From ";
enum { FROM_N = sizeof(from) - 1 };

size_t from_blank(const char *p, size_t n)
{
	if (n && p[0] == '\n')
		return 1;
	return n > 1 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
}

bool from_starts(const char *p, size_t n)
{
	return n >= FROM_N && memcmp(p, from, FROM_N) == 0;
}

bool from_quoted(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && i < SEEN - FROM_N && p[i] == '>')
		i++;
	return i && from_starts(p + i, n - i);
}

/* ---- From_ lines ---- */

struct word {
	const char *p;
	size_t n;
};

static unsigned words_of(struct word v[WORDS], const char *p, size_t n)
{
	unsigned k = 0;
	size_t i = 0;

	while (k < WORDS) {
		while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r'))
			i++;
		if (i == n)
			break;
		v[k].p = p + i;
		while (i < n && p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
			i++;
		v[k].n = (size_t)(p + i - v[k].p);
		k++;
	}
	return k;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "10:00", "9:59:59" */
static bool is_time(const struct word *w)
{
	size_t i = is_digit(w->p[0]) && w->n > 1 && is_digit(w->p[1]) ? 2 : 1;

	return w->n >= i + 3 && is_digit(w->p[0]) && w->p[i] == ':' &&
		is_digit(w->p[i + 1]) && is_digit(w->p[i + 2]);
}

static bool is_year(const struct word *w)
{
	return w->n == 4 &&
		(memcmp(w->p, "19", 2) == 0 || memcmp(w->p, "20", 2) == 0) &&
		is_digit(w->p[2]) && is_digit(w->p[3]);
}

static bool is_field(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] > ' ' && p[i] < 127 && p[i] != ':')
		i++;
	return i > 0 && i < n && p[i] == ':';
}

bool from_is(const char *p, size_t n)
{
	struct word v[WORDS];
	bool time = false, year = false;
	const char *end;
	unsigned k, i;
	size_t len;

	if (!from_starts(p, n))
		return false;
	end = memchr(p, '\n', n < SEEN ? n : SEEN);
	if (!end)
		return false;
	len = (size_t)(end - p);
	k = words_of(v, p + FROM_N, len - FROM_N);
	for (i = 1; i < k; i++) {
		time |= is_time(&v[i]);
		year |= is_year(&v[i]);
	}
	return (time && year) || (k == 1 && is_field(end + 1, n - len - 1));
}

struct when from_date(const char *p, size_t n)
{
	static const char days[] = "MonTueWedThuFriSatSun";
	struct word v[WORDS], year = { "", 0 }, zone = { "", 0 };
	unsigned k = words_of(v, p + FROM_N, n - FROM_N), i, d;
	char text[128];

	if (k && v[0].n == 1 && *v[0].p == '-')
		k = 0;
	for (i = 1; i + 4 < k; i++) {
		for (d = 0; days[d] && memcmp(v[i].p, days + d, 3) != 0; d += 3)
			;
		if (v[i].n == 3 && days[d] && is_time(&v[i + 3]))
			break;
	}
	if (i + 4 >= k)
		return (struct when){ 0 };
	for (d = i + 4; d < k; d++) {
		if (is_year(&v[d]) && !year.n)
			year = v[d];
		else if (!zone.n)
			zone = v[d];
	}
	snprintf(text, sizeof(text), "%.*s %.*s %.*s %.*s %.*s", (int)v[i + 2].n,
		v[i + 2].p, (int)v[i + 1].n, v[i + 1].p, (int)year.n, year.p,
		(int)v[i + 3].n, v[i + 3].p, (int)zone.n, zone.p);
	return date_parse(text, strlen(text));
}

/* ---- header fields ---- */

/* True when it is this field; *value starts behind its colon. */
static bool field_is(const char *p, size_t n, const char *name, const char **value)
{
	size_t k = strlen(name);

	if (n <= k || p[k] != ':' || !text_same_n(p, name, k))
		return false;
	*value = p + k + 1;
	return true;
}

static void read_status(struct split_mail *m, const char *p, const char *end)
{
	for (; p < end; p++)
		m->seen |= *p == 'R';
}

static void read_x_status(struct split_mail *m, const char *p, const char *end)
{
	for (; p < end; p++) {
		m->seen |= *p == 'R';
		m->answered |= *p == 'A';
		m->flagged |= *p == 'F';
		m->draft |= *p == 'T';
	}
}

/* Hexadecimal bits. One that is only marked as deleted is as good as any other. */
static void read_mozilla(struct split_mail *m, const char *p, const char *end)
{
	enum { READ = 1, REPLIED = 2, MARKED = 4 };
	char text[8] = "";
	unsigned long bits;

	while (p < end && *p == ' ')
		p++;
	memcpy(text, p, (size_t)(end - p) < 4 ? (size_t)(end - p) : 4);
	bits = strtoul(text, NULL, 16);
	m->seen |= (bits & READ) != 0;
	m->answered |= (bits & REPLIED) != 0;
	m->flagged |= (bits & MARKED) != 0;
}

/* Fields in which programs note what becomes of a message in their file. */
static const struct {
	const char *name;
	void (*read)(struct split_mail *m, const char *p, const char *end);
} notes[] = {
	{ "Status", read_status },
	{ "X-Status", read_x_status },
	{ "X-Mozilla-Status", read_mozilla },
	{ "X-Mozilla-Status2", NULL },
	{ "X-Mozilla-Keys", NULL },
	{ "X-Keywords", NULL },
	{ "X-UID", NULL },
	{ "X-IMAP", NULL },
	{ "X-IMAPbase", NULL },
	{ "Content-Length", NULL },
	{ "Lines", NULL },
};

static uint64_t number_of(const char *p, const char *end)
{
	uint64_t n = 0;
	unsigned digits = 0;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	for (; p < end && is_digit(*p) && digits < 18; p++, digits++)
		n = 10 * n + (uint64_t)(*p - '0');
	return digits && digits < 18 ? n : UINT64_MAX;
}

void from_field(
	struct split_mail *m, const char *p, size_t n, uint64_t *length, bool *note)
{
	const char *end = memchr(p, '\n', n), *value;
	size_t i;

	end = end ? end : p + n;
	n = (size_t)(end - p);
	if (n && (*p == ' ' || *p == '\t'))
		return; /* of the field before */
	*note = false;
	for (i = 0; i < N_ELEMENTS(notes); i++) {
		if (!field_is(p, n, notes[i].name, &value))
			continue;
		*note = true;
		if (notes[i].read)
			notes[i].read(m, value, end);
	}
	if (*length == UINT64_MAX && field_is(p, n, "Content-Length", &value))
		*length = number_of(value, end);
}
