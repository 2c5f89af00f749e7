/*
 * zygote.h: processes that may be killed, forked from memory.
 *
 * A program with threads must not fork and go on, and to start it anew for each death
 * takes longer than the death. So a copy of it is put aside before the first thread,
 * and forks for it.
 */
#ifndef PEER_ZYGOTE_H
#define PEER_ZYGOTE_H

#include <stddef.h>

struct zygote;

enum { ZYGOTE_ARGS = 1024 };

/* Before any thread is made. run() gets what zygote_run() was given. */
void zygote_open(struct zygote **out, int (*run)(char *args));
void zygote_close(struct zygote **z);

/* Forks, calls run() there and ends with what it returned. The status of waitpid(). */
int zygote_run(struct zygote *z, const char *args);

#endif
