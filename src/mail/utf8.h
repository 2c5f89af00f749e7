/* utf8.h: one character of UTF-8 (RFC 3629), for folder names. */
#ifndef MAIL_UTF8_H
#define MAIL_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the character at p, 0 when there is none; *cp is its number. */
size_t utf8_get(const char *p, size_t n, uint32_t *cp);
/* Writes the character and returns its length. */
size_t utf8_put(char out[4], uint32_t cp);

#endif
