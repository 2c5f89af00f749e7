/* own.h: what the files of this folder share. */
#ifndef EXPORT_OWN_H
#define EXPORT_OWN_H

#include <popferry/export.h>
#include <popferry/mail.h>

enum { HEX = 2 * DIGEST + 1, SHOWN_MAX = 64 * 1024 };

/* ---- a file that is written and hashed; the first failure is kept ---- */

struct out;
/* dirfd/name must not exist. */
enum status out_open(struct out **out, int dirfd, const char *name, struct err *err);
void out_put(void *out, const char *p, size_t n); /* a mail_take */
void out_puts(struct out *o, const char *s);
/* Its time, as far as the file system takes it. */
void out_time(struct out *o, int64_t utc);
/* Closes it, also on failure. sha: HEX bytes, or NULL when it is not wanted. */
enum status out_close(struct out **o, char *sha, struct err *err);
void out_drop(struct out **o);

/* ---- what comes to stand at the target's name, and its sums beside it ---- */

struct target {
	int parent;        /* the folder it stands in */
	char *name, *temp; /* in it */
	char *sums_name, *sums_temp;
	bool tree;
	int dir;          /* of a tree; -1: none */
	struct out *file; /* else */
	struct out *sums;
};

enum status target_open(struct target *t, const char *path, bool tree, struct err *err);
/* One that takes notes for nobody; the other functions may be called. */
void target_none(struct target *t);
/* Opens dir/path of the tree, and makes the folders it needs. */
enum status target_file(
	struct target *t, struct out **out, const char *path, struct err *err);
/* One folder of the tree; it may be there. */
enum status target_dir(struct target *t, const char *path, struct err *err);
/* A line for sha256sum; path is within the tree, or NULL for the target itself. */
void target_sum(struct target *t, const char *path, const char *sha);
/* A line that sha256sum passes over. */
void target_note(struct target *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Makes all durable, gives both their names. On failure drop it. */
enum status target_done(struct target *t, struct err *err);
/* Removes what is under way, if anything. */
void target_drop(struct target *t);

/* ---- formats ---- */

struct besides;

struct export
{
	struct archive_reader *r;
	const struct export_job *job;
	struct export_done *done;
	struct target t;
	void *own; /* the format's */
};

struct format {
	const char *name, *what;
	bool tree;    /* the target is a directory */
	bool bytes;   /* messages are needed, not only their rows */
	bool nowhere; /* there is no target */
	enum status (*begin)(struct export *x, struct err *err);
	/* m is NULL unless bytes is set. */
	enum status (*put)(struct export *x, const struct archive_row *row,
		const struct archive_mail *m, struct err *err);
	enum status (*end)(struct export *x, struct err *err);
	void (*drop)(struct export *x); /* frees own; after end(), or without */
};

extern const struct format format_eml, format_zip, format_mboxrd, format_maildir,
	format_csv, format_jsonl, format_dat, format_nara, format_mailbag,
	format_mailbag_tar, format_exec;

/* Is that target one file? */
bool mailbag_is_tar(const char *target);

/* "INBOX/000000042.eml": a name fit for any file system. */
void message_name(char out[256], const struct archive_row *row);
/* The message to a new file of the tree, with its sum and time. look: NULL, or
 * begun. */
enum status put_file(struct export *x, const char *path, const struct archive_row *row,
	const struct archive_mail *m, struct besides *look, struct err *err);
/* Its date, else when it was retrieved, UTC. */
int64_t message_time(const struct archive_row *row);

/* ---- what of a message is not in its row (besides.c) ---- */

struct besides {
	const char *native; /* where its file stands; of some tables only */
	struct buf date, bcc, content_type; /* header fields as they are */
	unsigned attachments;
	struct buf head; /* until the header is whole */
	bool in_body;
	struct mime *mime;
};
void besides_begin(struct besides *x);
void besides_put(void *besides, const char *p, size_t n); /* a mail_take */
void besides_end(struct besides *x);
void besides_release(struct besides *x);

/* ---- tables ---- */

enum { ROW_MAX = 1024 * 1024 };
enum dialect { TABLE_CSV, TABLE_DAT, TABLE_NARA, TABLE_MAILBAG };
/* Appends a line; row NULL: that of the column names. x: NULL for TABLE_CSV. */
void table_line(struct buf *b, enum dialect d, const struct archive_row *row,
	const struct besides *x, bool excel_safe);
void table_put(struct out *o, enum dialect d, const struct archive_row *row,
	const struct besides *x, bool excel_safe);

#endif
