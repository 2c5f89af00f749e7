/*
 * buf.h: a growing buffer with a ceiling.
 *
 * Every buffer a peer can fill has a named maximum; adding beyond it fails
 * and changes nothing. The bytes are always followed by a NUL that n does
 * not count. Not thread-safe.
 */
#ifndef POPFERRY_BUF_H
#define POPFERRY_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *p;    /* owned; NULL while empty and never grown */
	size_t n;   /* bytes in use */
	size_t cap; /* bytes allocated */
	size_t max; /* ceiling for n */
};

#define BUF_INIT(max) \
	{ \
		NULL, 0, 0, (max) \
	}

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);  /* releases the memory; the buffer is reusable */
void buf_clear(struct buf *b); /* n = 0, keeps the memory */

/* False, and nothing added, when the ceiling would be passed. */
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_adds(struct buf *b, const char *s);
bool buf_addc(struct buf *b, char c);
/* The number, in decimal; with zeros before it up to so many digits, 20 at most. */
bool buf_addu(struct buf *b, uint64_t n, unsigned digits);
bool buf_addf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Removes the first n bytes. */
void buf_drop(struct buf *b, size_t n);

/* The text, never NULL. Valid until the buffer changes. */
const char *buf_str(const struct buf *b);

/* Hands the memory over to the caller (free it); the buffer is empty after. */
char *buf_take(struct buf *b);

#endif
