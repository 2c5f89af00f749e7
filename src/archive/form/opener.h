/*
 * opener.h: a member unpacked into memory that holds all of it.
 */
#ifndef ARCHIVE_OPENER_H
#define ARCHIVE_OPENER_H

#include <popferry/archive.h>

struct opener;

void opener_open(struct opener **out, enum archive_codec c);
/* How many bytes of the file should come at a time: of gzip all. */
size_t opener_piece(const struct opener *o, size_t len);
/* A member begins, of n bytes: they come to out. */
void opener_begin(struct opener *o, char *out, size_t n);
/* The next bytes of the file, and how much has come to out so far. False: they
 * cannot be unpacked, or give more than that. */
bool opener_feed(struct opener *o, const char *p, size_t n, size_t *made);
/* Can a member be had frame by frame? Then opener_begin() comes before each, with room
 * for one, and this instead of opener_feed(): it stops where the frame ends. */
bool opener_framed(const struct opener *o);
bool opener_frame(struct opener *o, const char *p, size_t n, size_t *used, size_t *made,
	bool *end);
/* That was all of it; false: it ends early. */
bool opener_end(const struct opener *o);
void opener_close(struct opener **o);

#endif
