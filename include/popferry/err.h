/*
 * err.h: what to do next, and what happened.
 *
 * The status a function returns is an instruction to its caller. The struct
 * err beside it is the story for people; it is set once, where the cause is
 * known, and left untouched on success. Nobody decides by its text.
 *
 * Threads: a struct err belongs to one thread at a time.
 */
#ifndef POPFERRY_ERR_H
#define POPFERRY_ERR_H

#include <stdarg.h>
#include <sysexits.h>

enum status {
	ST_OK = 0,
	ST_END = 1,     /* nothing more to give; not an error */
	ST_SKIP = -1,   /* this message is marked, the run goes on */
	ST_RETRY = -2,  /* close, back off, reopen, continue from the journal */
	ST_DENIED = -3, /* this side stops; a person must change something */
	ST_FATAL = -4,  /* the run stops */
};

/* The run finished, but some messages failed or are left (product table). */
#define EX_PARTIAL 2

enum { ERR_TEXT = 512, ERR_REPLY = 256 };

struct err {
	enum status status;
	int exit;              /* sysexits(3) code a run ended by this reports */
	char text[ERR_TEXT];   /* one printable line: what, where, what to do */
	char reply[ERR_REPLY]; /* the server's own words, printable; or "" */
};

#define ERR_INIT \
	{ \
		ST_OK, 0, "", "" \
	}

/*
 * Sets *e and returns st, so that `return err_set(...)` is one line. ex is a
 * sysexits(3) code. Control bytes and broken UTF-8 in the result are escaped,
 * so server text may be passed as an argument. e may be NULL.
 */
enum status err_set(struct err *e, enum status st, int ex, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * The same with ": " and strerror(errno) added; the exit code is EX_IOERR,
 * or EX_CANTCREAT for EACCES, EPERM, EROFS, ENOENT and ENOTDIR. errno is kept.
 */
enum status err_sys(struct err *e, enum status st, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text already there. Returns e->status. */
enum status err_note(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Records the server's words (n bytes, escaped and clipped). */
void err_reply(struct err *e, const char *words, unsigned long n);

#endif
