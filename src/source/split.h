/*
 * split.h: where the messages of an mbox file start and end, in constant memory.
 *
 * A message starts at a line "From SENDER DATE" that is the first, or stands behind an
 * empty line. Where Content-Length leads exactly to such a line, or to the end of the
 * file, it says where the message ends; otherwise it is not believed. The empty line
 * before the next "From " is no part of the message.
 */
#ifndef SOURCE_SPLIT_H
#define SOURCE_SPLIT_H

#include <popferry/err.h>
#include <popferry/mail.h>

#include <stdbool.h>
#include <stdint.h>

struct split;

struct split_mail {
	uint64_t at;    /* of its From_ line */
	uint64_t start; /* of its bytes */
	uint64_t body;  /* behind its first empty line */
	uint64_t end;
	uint64_t next;    /* of the next one's From_ line, or the file's size */
	bool measured;    /* Content-Length has led there */
	bool wild;        /* and From_ lines stand in it unmarked: nothing is quoted */
	struct when date; /* in its From_ line */
	bool seen, answered, flagged, draft; /* as Status and the like tell */
};

/* stop() is asked now and then, and ends what is under way. The file is the
 * caller's. */
void split_open(struct split **out, int fd, uint64_t size, const char *path,
	enum status (*stop)(void *ctx, struct err *err), void *ctx);
void split_close(struct split **s);
/* Where the first message starts. ST_END: the file is empty. ST_DENIED: it is no
 * mbox. */
enum status split_first(struct split *s, uint64_t *at, struct err *err);
/*
 * The message whose From_ line stands there. Its bytes go to digest(), without the
 * header fields in which programs note what becomes of it, so that it stays the same.
 */
enum status split_read(struct split *s, uint64_t at, struct split_mail *m,
	mail_take *digest, void *ctx, struct err *err);
/* The bytes from start to end; quoted: a line ">From ", ">>From " ... loses a '>'. */
enum status split_give(struct split *s, uint64_t start, uint64_t end, bool quoted,
	mail_take *take, void *ctx, struct err *err);

/* ---- what a line says (from.c) ---- */

enum { SEEN = 1100 }; /* bytes of a line that are looked at */

/* The length of an empty line, or 0. */
size_t from_blank(const char *p, size_t n);
/* Is "From " there? */
bool from_starts(const char *p, size_t n);
/* Or ">From ", ">>From " ...? */
bool from_quoted(const char *p, size_t n);
/*
 * Text has lines that start with "From " too: one that parts messages has a date, or is
 * just a sender with a header behind it.
 */
bool from_is(const char *p, size_t n);
/*
 * "Tue Nov 22 10:00:00 2026", with a zone before or behind the year, or without. That
 * of Mozilla, whose sender is "-", is when the file was written, and no date.
 */
struct when from_date(const char *p, size_t n);
/*
 * A line of the header. *note: it is of a field in which programs note what becomes of
 * a message; what that says goes to m. *length: Content-Length, when UINT64_MAX was
 * there.
 */
void from_field(
	struct split_mail *m, const char *p, size_t n, uint64_t *length, bool *note);

#endif
