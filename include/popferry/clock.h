/*
 * clock.h: time that cannot jump, and time for people.
 */
#ifndef POPFERRY_CLOCK_H
#define POPFERRY_CLOCK_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC: for deadlines and rates. */
int64_t clock_ms(void);

/* Seconds since 1970 UTC: for records only, never for deadlines. */
int64_t clock_utc(void);

/* RFC 3339 in UTC, "2026-11-22T04:31:17Z". Returns out. */
char *clock_rfc3339(char out[24], int64_t utc);

/* Sleeps; returns early when a signal arrives. */
void clock_sleep(int64_t ms);

#endif
