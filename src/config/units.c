/* units.c: days, ages, sizes and numbers as people write them. */
#include "own.h"

#include <string.h>
#include <time.h>

enum { DAY = 86400, DIGITS_MAX = 18 };

struct unit {
	char letter;
	uint64_t factor;
};

/* Reads a run of at most max digits; the bytes it took, 0 for none or too many. */
static size_t digits(const char *s, size_t max, uint64_t *out)
{
	size_t n = 0;
	uint64_t v = 0;

	while (s[n] >= '0' && s[n] <= '9') {
		if (n == max)
			return 0;
		v = v * 10 + (uint64_t)(s[n++] - '0');
	}
	*out = v;
	return n;
}

static bool scaled(const char *s, const struct unit *units, size_t n, uint64_t *out)
{
	uint64_t v, factor = 0;
	size_t used = digits(s, DIGITS_MAX, &v), i;
	char letter;

	if (!used || strlen(s + used) > 1)
		return false;
	letter = (char)(s[used] >= 'A' && s[used] <= 'Z' ? s[used] + 32 : s[used]);
	for (i = 0; i < n; i++)
		if (units[i].letter == letter)
			factor = units[i].factor;
	if (!factor || v > INT64_MAX / factor)
		return false;
	*out = v * factor;
	return true;
}

bool parse_age(const char *s, int64_t *out)
{
	static const struct unit units[] = {
		{ 'h', 3600 },
		{ 'd', DAY },
		{ 'w', 7 * DAY },
		{ 'y', 365ULL * DAY },
	};
	uint64_t v;

	if (!scaled(s, units, sizeof(units) / sizeof(*units), &v))
		return false;
	*out = (int64_t)v;
	return true;
}

bool parse_size(const char *s, uint64_t *out)
{
	static const struct unit units[] = {
		{ '\0', 1 },
		{ 'k', 1ULL << 10 },
		{ 'm', 1ULL << 20 },
		{ 'g', 1ULL << 30 },
		{ 't', 1ULL << 40 },
	};
	return scaled(s, units, sizeof(units) / sizeof(*units), out);
}

bool parse_number(const char *s, uint64_t lo, uint64_t hi, uint64_t *out)
{
	uint64_t v;
	size_t n = digits(s, DIGITS_MAX, &v);

	if (!n || s[n] || v < lo || v > hi)
		return false;
	*out = v;
	return true;
}

/* Exactly n digits and then the byte after; moves *s behind them. */
static bool field(const char **s, size_t n, char after, int *out)
{
	uint64_t v;

	if (digits(*s, n, &v) != n || (after && (*s)[n] != after))
		return false;
	*s += n + (after ? 1 : 0);
	*out = (int)v;
	return true;
}

/* The time and zone of RFC 3339, after the 'T'. */
static bool time_of_day(const char *s, struct tm *tm, int *east)
{
	int h, m, sign;

	if (!field(&s, 2, ':', &tm->tm_hour) || !field(&s, 2, ':', &tm->tm_min) ||
		!field(&s, 2, '\0', &tm->tm_sec))
		return false;
	if (tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
		return false;
	if (*s == '.') {
		size_t n = strspn(s + 1, "0123456789");

		if (!n)
			return false;
		s += n + 1;
	}
	*east = 0;
	if ((*s == 'Z' || *s == 'z') && !s[1])
		return true;
	if (*s != '+' && *s != '-')
		return false;
	sign = *s++ == '-' ? -1 : 1;
	if (!field(&s, 2, ':', &h) || !field(&s, 2, '\0', &m) || *s || h > 23 || m > 59)
		return false;
	*east = sign * (h * 60 + m) * 60;
	return true;
}

static bool calendar(const char *s, int64_t *out)
{
	struct tm tm = { 0 }, back;
	int east = 0;
	time_t t;

	if (!field(&s, 4, '-', &tm.tm_year) || !field(&s, 2, '-', &tm.tm_mon) ||
		!field(&s, 2, '\0', &tm.tm_mday))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	back = tm;
	t = timegm(&back); /* puts 31 February right, which is how we know it */
	if (back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday)
		return false;
	if (*s) {
		if ((*s != 'T' && *s != 't') || !time_of_day(s + 1, &tm, &east))
			return false;
		t = timegm(&tm);
	}
	*out = (int64_t)t - east;
	return true;
}

bool parse_day(const char *s, int64_t now, int64_t *out)
{
	int64_t v;

	if (parse_age(s, &v))
		v = now - v;
	else if (!calendar(s, &v))
		return false;
	if (v <= 0) /* 0 stands for "none" */
		return false;
	*out = v;
	return true;
}

bool has_control(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return true;
	return false;
}
