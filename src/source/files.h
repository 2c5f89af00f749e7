/*
 * files.h: what the sources that read files share.
 */
#ifndef SOURCE_FILES_H
#define SOURCE_FILES_H

#include "queue.h"

#include <popferry/buf.h>
#include <popferry/log.h>
#include <popferry/source.h>

#include <stdatomic.h>

enum {
	PATH_BYTES = 4096,  /* of a name within a tree or an archive */
	READ_PIECE = 65536, /* bytes read at a time */
	SKIPPED_LINES = 20, /* that tell of one file each; then they are counted */
	FILE_ID_BYTES = 16, /* of a digest, in a message's name */
};

/* ---- what a name says (name.c) ---- */

enum name_kind { NAME_OTHER, NAME_EML, NAME_MAILDIR };

struct name {
	enum name_kind kind;
	size_t dir_n;  /* the path's first bytes: its folder, without "cur" and "new" */
	size_t base;   /* where the file's own name starts */
	size_t base_n; /* of it: without the flags */
	bool seen, answered, flagged, draft;
};

/*
 * Of a path: "INBOX/7.eml" is a message, and so is all in directories "cur" and "new",
 * whose names end in flags.
 */
void name_read(const char *path, size_t n, struct name *out);
/*
 * Adds the folder that this directory is to out: parts with '/' between, and as
 * Maildir++ writes them when it is one (".Sent.2020", in modified UTF-7).
 */
void name_folder(const char *dir, size_t n, bool maildir, struct buf *out);
/* Seconds since 1970 that a Maildir's name starts with; 0: none. */
int64_t name_time(const char *base, size_t n);

/* ---- what they have in common (files.c) ---- */

/* Many names, one behind the other. */
struct names {
	char *text;
	size_t n, cap;
};

/* Where in the text it is now. */
size_t names_keep(struct names *names, const char *name);

/* The first member of each. */
struct files {
	struct source base;
	const struct log *log;
	const char *path; /* the endpoint's */
	int stop_fd;
	atomic_bool cancelled;
	struct queue wanted;
	struct origin origin; /* of the message given last, if filed */
	struct buf folder;
	char *uidl; /* of the same */
	bool filed;
	uint64_t skipped, passed; /* files; passed over: they are no messages */
};

struct files *files_of(const struct source *s);
void files_open(struct files *f, const struct source_ops *ops,
	const struct source_setup *setup);
void files_release(struct files *f);
/* Is this run to end? ST_RETRY then. */
enum status files_stopped(struct files *f, struct err *err);
/* It cannot be opened: why, by errno. */
enum status files_unopened(const char *path, struct err *err);
/* A line that says what is left out, and why. */
void files_skip(struct files *f, const char *name, const char *why);
/* The same for what is no message: told once, at the end of the listing. */
void files_pass(struct files *f, const char *name);
void files_tell_passed(struct files *f, size_t found);
/* Begins the origin of the message that is listed so; uidl is taken over. */
void files_filed(struct files *f, uint32_t number, uint64_t size, char *uidl);

char *files_account(const struct endpoint *end, struct err *err);
void files_want(struct source *base, uint32_t number, uint64_t size);
void files_wind_down(struct source *base);
enum oddity files_oddity(const struct source *base);
const struct origin *files_origin(const struct source *base);
enum status files_remove(struct source *base, uint32_t number, struct err *err);
enum status files_finish(struct source *base, struct err *err);
bool files_no(const struct source *base);
int files_wait(const struct source *base);
void files_cancel(struct source *base);

/* Their struct source_ops, but for schemes, open, list, next, finish and close. */
#define FILES_OPS \
	.account = files_account, .wind_down = files_wind_down, .want = files_want, \
	.oddity = files_oddity, .origin = files_origin, .remove = files_remove, \
	.overreached = files_no, .no_capa = files_no, .wait_ms = files_wait, \
	.cancel = files_cancel

#endif
