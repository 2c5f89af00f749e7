/*
 * rawconn.h: a connection that is as fast as it gets and promises nothing else.
 *
 * Whatever goes wrong ends the program with a sentence: these clients measure a server
 * that is known to work.
 */
#ifndef RAWCONN_H
#define RAWCONN_H

#include <stdbool.h>
#include <stddef.h>

struct raw;

/* Takes what came; returns how much it used up, and sets *done when all has come. */
typedef size_t raw_take(void *ctx, const char *p, size_t n, bool *done);

void raw_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* 127.0.0.1; with TLS when there is a CA file to check "localhost" against. */
struct raw *raw_open(unsigned port, const char *ca);
void raw_close(struct raw *r);

/* Sends all of it, and meanwhile takes whatever comes, until take is done. */
void raw_run(struct raw *r, const char *out, size_t n, raw_take *take, void *ctx);

/* The same, and what comes is one line: without its end, to the next call. */
const char *raw_ask(struct raw *r, const char *out, size_t n);

double raw_now(void);

#endif
