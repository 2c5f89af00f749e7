/*
 * date.c: the dates people's programs have written into mail.
 *
 * One token of look-ahead over (pointer, length); white space and comments
 * are skipped between tokens, without recursion. Three shapes are known:
 *
 *	[Fri,] 5 Jan 2024 10:00[:00[.5]] [zone]         RFC 5322 and kin
 *	[Fri] Jan 5 [2024] 10:00[:00] [zone] [2024] [zone]  asctime and kin
 *	2024-01-05[T]10:00[:00[.5]] [zone]              ISO 8601, RFC 3339
 */
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DIGITS = 9 };
enum token { T_END, T_WORD, T_NUMBER, T_SIGN /* any other byte */ };

struct lex {
	const char *p, *end; /* what follows the token */
	enum token token;
	const char *word; /* of a word or number */
	size_t n;
	int number; /* the value of its first DIGITS digits */
	char sign;
};

struct date {
	int year, month, day; /* month 1..12 */
	int hour, minute, second;
	int zone;
};

static const char *const months[] = { "January", "February", "March", "April", "May",
	"June", "July", "August", "September", "October", "November", "December" };

/* Minutes east of UTC. Single letters were used both ways round: UTC. */
static const struct {
	const char name[5];
	short minutes;
} zones[] = {
	{ "EST", -300 },
	{ "EDT", -240 },
	{ "CST", -360 },
	{ "CDT", -300 },
	{ "MST", -420 },
	{ "MDT", -360 },
	{ "PST", -480 },
	{ "PDT", -420 },
	{ "AKST", -540 },
	{ "AKDT", -480 },
	{ "HST", -600 },
	{ "AST", -240 },
	{ "ADT", -180 },
	{ "NST", -210 },
	{ "NDT", -150 },
	{ "BST", 60 },
	{ "WEST", 60 },
	{ "CET", 60 },
	{ "CEST", 120 },
	{ "MET", 60 },
	{ "MEST", 120 },
	{ "MEZ", 60 },
	{ "MESZ", 120 },
	{ "EET", 120 },
	{ "EEST", 180 },
	{ "MSK", 180 },
	{ "MSD", 240 },
	{ "HKT", 480 },
	{ "SGT", 480 },
	{ "AWST", 480 },
	{ "JST", 540 },
	{ "KST", 540 },
	{ "ACST", 570 },
	{ "ACDT", 630 },
	{ "AEST", 600 },
	{ "AEDT", 660 },
	{ "NZST", 720 },
	{ "NZDT", 780 },
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 8-bit bytes too: weekdays come in all languages. */
static bool is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(unsigned char)c >= 0x80;
}

/* Past a comment, whose '(' is at p; an unclosed one takes all the rest. */
static const char *skip_comment(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		char c = *p++;

		if (c == '\\' && p < end)
			p++;
		else if (c == '(')
			depth++;
		else if (c == ')' && --depth == 0)
			break;
	}
	return p;
}

static bool is_skipped(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '(';
}

static void next(struct lex *l)
{
	bool (*more)(char c);

	while (l->p < l->end && is_skipped(*l->p))
		l->p = *l->p == '(' ? skip_comment(l->p, l->end) : l->p + 1;
	l->word = l->p;
	l->n = 0;
	l->number = 0;
	l->sign = '\0';
	if (l->p == l->end) {
		l->token = T_END;
		return;
	}
	if (!is_digit(*l->p) && !is_letter(*l->p)) {
		l->token = T_SIGN;
		l->sign = *l->p++;
		return;
	}
	l->token = is_digit(*l->p) ? T_NUMBER : T_WORD;
	more = l->token == T_NUMBER ? is_digit : is_letter;
	for (; l->p < l->end && more(*l->p); l->p++, l->n++)
		if (l->token == T_NUMBER && l->n < DIGITS)
			l->number = l->number * 10 + (*l->p - '0');
}

static bool take_sign(struct lex *l, char sign)
{
	if (l->token != T_SIGN || l->sign != sign)
		return false;
	next(l);
	return true;
}

/* A number of lo to hi digits. */
static bool take_number(struct lex *l, size_t lo, size_t hi, int *out)
{
	if (l->token != T_NUMBER || l->n < lo || l->n > hi)
		return false;
	*out = l->number;
	next(l);
	return true;
}

static bool word_is(const struct lex *l, const char *s)
{
	return l->token == T_WORD && l->n == strlen(s) && text_same_n(l->word, s, l->n);
}

/* 1..12; 0: not a month. "Jan", "Sept" and "January" are. */
static int month_of(const struct lex *l)
{
	size_t i;

	if (l->token != T_WORD || l->n < 3)
		return 0;
	for (i = 0; i < N_ELEMENTS(months); i++)
		if ((l->word[0] & 0x5f) == months[i][0] && /* soon seen not to be it */
			l->n <= strlen(months[i]) &&
			text_same_n(l->word, months[i], l->n))
			return (int)i + 1;
	return 0;
}

static bool take_month(struct lex *l, int *month)
{
	*month = month_of(l);
	if (!*month)
		return false;
	next(l);
	take_sign(l, '.');
	return true;
}

/* RFC 5322 section 4.3; and 104 or 0104 is what programs of 1999 made of 2004. */
static bool take_year(struct lex *l, int *year)
{
	size_t n = l->n;

	if (!take_number(l, 2, 4, year))
		return false;
	if (n == 2)
		*year += *year < 50 ? 2000 : 1900;
	else if (n == 3 || (*year >= 100 && *year < 200))
		*year += 1900;
	return *year >= 1000;
}

static bool take_time(struct lex *l, struct date *d)
{
	int fraction;

	if (!take_number(l, 1, 2, &d->hour) || !take_sign(l, ':') ||
		!take_number(l, 1, 2, &d->minute))
		return false;
	if (take_sign(l, ':')) {
		if (!take_number(l, 1, 2, &d->second))
			return false;
		if ((take_sign(l, '.') || take_sign(l, ',')) &&
			!take_number(l, 1, SIZE_MAX, &fraction))
			return false;
	}
	if (word_is(l, "AM") || word_is(l, "PM")) {
		if (d->hour < 1 || d->hour > 12)
			return false;
		d->hour = d->hour % 12 + (word_is(l, "PM") ? 12 : 0);
		next(l);
	}
	return true;
}

/* "0100", "01:00" or "1" behind its sign. Anything else is UTC. */
static void take_offset(struct lex *l, struct date *d, bool west)
{
	size_t n = l->n;
	int h = 0, m = 0;

	if (!take_number(l, 1, 4, &h))
		return;
	if (n > 2) {
		m = h % 100;
		h /= 100;
	} else if (take_sign(l, ':') && !take_number(l, 2, 2, &m)) {
		return;
	}
	if (h < 24 && m < 60)
		d->zone = west ? -(h * 60 + m) : h * 60 + m;
}

static void take_zone(struct lex *l, struct date *d)
{
	size_t i;

	take_sign(l, '"');
	if (l->token == T_WORD) {
		for (i = 0; i < N_ELEMENTS(zones); i++)
			if (word_is(l, zones[i].name))
				d->zone = zones[i].minutes;
		/* "GMT+0100" is one zone. */
		if (!word_is(l, "GMT") && !word_is(l, "UTC") && !word_is(l, "UT")) {
			next(l);
			return;
		}
		next(l);
	}
	if (take_sign(l, '+'))
		take_offset(l, d, false);
	else if (take_sign(l, '-'))
		take_offset(l, d, true);
}

static bool take_iso(struct lex *l, struct date *d)
{
	char between = l->token == T_SIGN ? l->sign : '\0';

	if ((between != '-' && between != '/') || !take_sign(l, between) ||
		!take_number(l, 1, 2, &d->month) || !take_sign(l, between) ||
		!take_number(l, 1, 2, &d->day))
		return false;
	if (l->token == T_WORD) /* "T", or a weekday */
		next(l);
	if (!take_time(l, d))
		return false;
	take_zone(l, d);
	return true;
}

static bool take_rfc(struct lex *l, struct date *d)
{
	take_sign(l, '.');
	take_sign(l, '-');
	if (!take_month(l, &d->month))
		return false;
	take_sign(l, '-');
	take_sign(l, ',');
	if (!take_year(l, &d->year))
		return false;
	take_sign(l, ',');
	if (!take_time(l, d))
		return false;
	take_zone(l, d);
	return true;
}

static bool take_asctime(struct lex *l, struct date *d)
{
	if (!take_month(l, &d->month) || !take_number(l, 1, 2, &d->day))
		return false;
	take_sign(l, ',');
	if (l->token == T_NUMBER && l->n == 4) {
		if (!take_year(l, &d->year))
			return false;
		take_sign(l, ',');
		if (!take_time(l, d))
			return false;
		take_zone(l, d);
		return true;
	}
	if (!take_time(l, d))
		return false;
	take_zone(l, d);
	if (l->token != T_NUMBER || l->n != 4 || !take_year(l, &d->year))
		return false;
	take_zone(l, d);
	return true;
}

static bool leap(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static bool exists(struct date *d)
{
	static const signed char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
		31 };

	if (d->second == 60)
		d->second = 59;
	if (d->month < 1 || d->month > 12 || d->day < 1)
		return false;
	if (d->day > days[d->month - 1] + (d->month == 2 && leap(d->year)))
		return false;
	return d->hour < 24 && d->minute < 60 && d->second < 60;
}

/* Days since 1970 in the Gregorian calendar; years count from 1 March. */
static int64_t day_number(const struct date *d)
{
	int64_t y = d->month > 2 ? d->year : d->year - 1;
	int64_t m = (d->month + 9) % 12;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + d->day -
		719469;
}

struct when date_parse(const char *p, size_t n)
{
	struct lex l = { .p = p, .end = n ? p + n : p };
	struct date d = { 0 };
	struct when w = { 0 };
	size_t digits;
	bool ok;

	if (n == 0)
		return w;
	next(&l);
	while (l.token == T_WORD && !month_of(&l)) { /* a weekday */
		next(&l);
		if (take_sign(&l, ',') || take_sign(&l, '.'))
			take_sign(&l, ',');
	}
	digits = l.n;
	if (month_of(&l))
		ok = take_asctime(&l, &d);
	else if (digits == 4)
		ok = take_year(&l, &d.year) && take_iso(&l, &d);
	else
		ok = take_number(&l, 1, 2, &d.day) && take_rfc(&l, &d);
	if (!ok || !exists(&d))
		return w;
	w.known = true;
	w.zone = d.zone;
	w.utc = day_number(&d) * 86400 + d.hour * 3600 + (d.minute - d.zone) * 60 +
		d.second;
	return w;
}

struct when date_received(const char *p, size_t n)
{
	const char *c = p, *end = n ? p + n : p, *last = NULL, *any;
	struct when w = { 0 };

	while (c < end) {
		if (*c == '(') {
			c = skip_comment(c, end);
			continue;
		}
		if (*c == ';')
			last = c;
		c++;
	}
	if (last)
		w = date_parse(last + 1, (size_t)(end - last - 1));
	/* Where a comment never closes, the semicolon was taken for part of it. */
	if (!w.known && n && (any = memrchr(p, ';', n)) && any != last)
		w = date_parse(any + 1, (size_t)(end - any - 1));
	return w;
}

bool date_sane(const struct when *w, int64_t now)
{
	return w->known && w->utc >= INT64_C(347155200) /* 1981-01-01 */ &&
		w->utc <= now + 2 * 86400;
}

char *date_imap(char out[32], const struct when *w)
{
	time_t t = (time_t)(w->utc + w->zone * 60);
	int zone = w->zone < 0 ? -w->zone : w->zone;
	struct tm tm;
	size_t n;

	gmtime_r(&t, &tm);
	n = strftime(out, 32, "%e-", &tm);
	/* Not %b: months are English here, whatever the locale. */
	memcpy(out + n, months[tm.tm_mon], 3);
	n += 3;
	n += strftime(out + n, 32 - n, "-%Y %H:%M:%S ", &tm);
	snprintf(out + n, 32 - n, "%c%02d%02d", w->zone < 0 ? '-' : '+', zone / 60,
		zone % 60);
	return out;
}
