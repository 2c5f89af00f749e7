/*
 * text.h: making bytes fit to print, and small encodings.
 *
 * All text that came from a server or a message passes text_clean() before a
 * terminal, a log or a report sees it.
 */
#ifndef POPFERRY_TEXT_H
#define POPFERRY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/*
 * Writes n bytes of s to out (cap bytes, always NUL-terminated) with control
 * characters (C0, C1, DEL), bidirectional controls and invalid UTF-8 written
 * as \xNN or \u{NNNN}; clipped with "..." when too long. Returns out.
 */
char *text_clean(char *out, size_t cap, const char *s, size_t n);

/* The same for a whole string into a growing buffer, never clipped. */
void text_clean_add(struct buf *b, const char *s, size_t n);

/* Valid UTF-8 (RFC 3629), NUL bytes included? */
bool text_is_utf8(const char *s, size_t n);

/* The number in decimal, without a NUL: at most so many bytes. Returns its end. */
enum { NUMBER_MAX = 20 };
char *text_number(char *out, uint64_t n);

/* Lower-case hex of n bytes into out (2n + 1 bytes). Returns out. */
char *text_hex(char *out, const unsigned char *p, size_t n);
/* The reverse; false unless s is exactly 2n hex digits. */
bool text_unhex(unsigned char *out, size_t n, const char *s);

/* RFC 4648 base64 with padding, one line. Appends to b; false at its ceiling. */
bool text_base64(struct buf *b, const void *p, size_t n);
/* What a letter of base64 stands for; -1: it is none. */
int text_sextet(char c);

/*
 * Appends a JSON string (RFC 8259) with its quotes. Invalid UTF-8 becomes
 * U+FFFD, so the output is always valid JSON.
 */
void text_json(struct buf *b, const char *s, size_t n);

/* ASCII case-insensitive compare of n bytes; the locale plays no part. */
bool text_same_n(const char *a, const char *b, size_t n);
bool text_same(const char *a, const char *b);
bool text_starts(const char *s, const char *prefix);

/* "1.2 MiB" style, for people. Returns out (at least 16 bytes). */
char *text_bytes(char out[16], uint64_t n);

/* Behind a noun that n counts: "" of one, "s" of none or many. */
const char *text_s(uint64_t n);

/*
 * Shell-like pattern (only * and ?) against n bytes, ASCII case-insensitive.
 * Linear in practice, no recursion: safe on hostile input.
 */
bool text_glob(const char *pattern, const char *s, size_t n);

/*
 * The known word that somebody may have meant: start with NEAREST(word) and offer all
 * there are. best is then the first that is nearest, ASCII case not counted, or NULL
 * when each differs in more than two letters. It lives as long as what was offered.
 */
struct nearest {
	const char *word, *best;
	size_t distance;
};
enum { NEAREST_MAX = 2, NEAREST_WORD = 40 }; /* bytes; a longer word is near to none */
#define NEAREST(word) \
	{ \
		(word), NULL, NEAREST_MAX + 1 \
	}
void nearest_offer(struct nearest *n, const char *known);

#endif
