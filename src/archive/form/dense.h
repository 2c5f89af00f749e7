/*
 * dense.h: attachments in base64, which get smaller by short codes for their letters
 * alone. What looks for repetitions in them, byte by byte, takes nine tenths of the
 * time of compressing mail, and finds none.
 */
#ifndef ARCHIVE_DENSE_H
#define ARCHIVE_DENSE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The first run of base64 lines of one length in p[at, n) that is worth a gzip member
 * of its own. It begins with a line, and ends before its last line: so behind it more
 * of the same tar entry follows, and no entry begins at its end. False: there is none.
 */
bool dense_next(const char *p, size_t n, size_t at, size_t *from, size_t *to);

/* The bytes as a gzip member, the same for the same bytes. 0: there is no room. */
size_t dense_gzip(const char *p, size_t n, char *out, size_t room);

#endif
