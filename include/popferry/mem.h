/*
 * mem.h: memory that is there or ends the process.
 *
 * Running out of memory is handled as a crash, and a crash is a case the
 * journal and the tests are made for; so no caller checks for NULL.
 */
#ifndef POPFERRY_MEM_H
#define POPFERRY_MEM_H

#include <stdarg.h>
#include <stddef.h>

#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
/* Room for n elements of size bytes; ends the process if n * size overflows. */
void *xreallocarray(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
/* Copies n bytes and adds a NUL. */
char *xmemdup0(const void *p, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), malloc, returns_nonnull));

/* The same end, for when a library got no memory: says so, exit code EX_TEMPFAIL. */
void xmemory_gone(void) __attribute__((noreturn));

#endif
