/* clock.c: monotonic and wall time. */
#include <popferry/clock.h>

#include <string.h>
#include <time.h>

int64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_utc(void)
{
	return (int64_t)time(NULL);
}

static void put_two(char *p, int n)
{
	p[0] = (char)('0' + n / 10);
	p[1] = (char)('0' + n % 10);
}

/* strftime() looks at the locale, and is slow at it. */
char *clock_rfc3339(char out[24], int64_t utc)
{
	time_t t = (time_t)utc;
	struct tm tm;
	int year;

	out[0] = '\0';
	if (!gmtime_r(&t, &tm))
		return out;
	year = tm.tm_year + 1900;
	if (year < 1000 || year > 9999) {
		if (!strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm))
			out[0] = '\0';
		return out;
	}
	memcpy(out, "yyyy-mm-ddThh:mm:ssZ", 21);
	put_two(out, year / 100);
	put_two(out + 2, year % 100);
	put_two(out + 5, tm.tm_mon + 1);
	put_two(out + 8, tm.tm_mday);
	put_two(out + 11, tm.tm_hour);
	put_two(out + 14, tm.tm_min);
	put_two(out + 17, tm.tm_sec);
	return out;
}

void clock_sleep(int64_t ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	if (ms > 0)
		nanosleep(&t, NULL);
}
