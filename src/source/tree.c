/*
 * tree.c: a Maildir, or files of one message each, as a source.
 *
 * A message of a Maildir is known again by its folder and the part of its name that
 * stays when its flags change; another file by its path and time. Programs may deliver
 * and move mail meanwhile: what is not where it was is looked for in its folder, and is
 * gone when it is not there either.
 */
#include "sources.h"

#include "tree.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	COPIED_LEAST = 20,    /* messages, to say of their times that */
	COPIED_WITHIN = 3600, /* they were not kept, */
	COPIED_SPAN = 86400,  /* since the names tell of others */
};

static struct tree *self(const struct source *s)
{
	return (struct tree *)(uintptr_t)s;
}

static void tree_close(struct source **sp)
{
	struct tree *t;

	if (!*sp)
		return;
	t = self(*sp);
	if (t->root >= 0)
		close(t->root);
	while (t->n_dirs)
		free(t->dirs[--t->n_dirs].path);
	free(t->dirs);
	free(t->v);
	free(t->names.text);
	files_release(&t->f);
	free(t);
	*sp = NULL;
}

static enum status check_found(const struct tree *t, struct err *err)
{
	size_t i;

	for (i = 0; i < t->n_dirs; i++)
		if (t->dirs[i].maildir)
			return ST_OK;
	return !t->maildirs || t->n
		? ST_OK
		: err_set(err, ST_DENIED, EX_DATAERR,
			  "%s is no Maildir, and has none in it: there is no directory cur",
			  t->f.path);
}

/* ---- times ---- */

static int64_t told_time(const struct tree *t, const struct mail *m)
{
	const char *name = walk_name(t, m);

	return name_time(name, strlen(name));
}

/* "cp -r" gives all files its own time. That must not become the date of the mail. */
static void judge_times(struct tree *t)
{
	int64_t low = INT64_MAX, high = INT64_MIN, from = INT64_MAX, to = 0;
	size_t i, n = 0;

	for (i = 0; i < t->n; i++) {
		const struct mail *m = &t->v[i];
		int64_t told = told_time(t, m);

		if (m->place == HERE || m->place == UNREAD)
			continue;
		n++;
		low = m->time < low ? m->time : low;
		high = m->time > high ? m->time : high;
		from = told && told < from ? told : from;
		to = told > to ? told : to;
	}
	t->copied = n >= COPIED_LEAST && high - low < COPIED_WITHIN && to > from &&
		to - from > COPIED_SPAN;
	if (t->copied)
		log_warn(t->f.log, "times-not-kept", LOG_U("messages", n),
			LOG_S("meaning",
				"the files are all of one hour, as after a copy: the times in "
				"their names are taken for the dates"));
}

static struct when time_of(const struct tree *t, const struct mail *m)
{
	int64_t time = t->copied ? told_time(t, m) : m->time;

	return (struct when){ time > 0, time, 0 };
}

/* ---- the source ---- */

/* A file, and of its directory nothing else. */
static enum status open_file(struct tree *t, struct err *err)
{
	const char *path = t->f.path, *slash = strrchr(path, '/');
	char *dir = slash ? xmemdup0(path, (size_t)(slash - path) + 1) : xstrdup(".");
	const char *name = slash ? slash + 1 : path;
	struct stat st;

	t->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (t->root < 0 || fstatat(t->root, name, &st, 0) < 0)
		return files_unopened(path, err);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ST_DENIED, EX_DATAERR,
			"%s is neither a directory nor a file; name one", path);
	walk_add_dir(t, xstrdup(""));
	walk_add_mail(t, 0, HERE, name, &st);
	t->dirs[0].n = 1;
	t->named = true;
	return ST_OK;
}

static enum status tree_open(
	struct source **out, const struct source_setup *setup, struct err *err)
{
	struct tree *t = xcalloc(1, sizeof(*t));
	struct source *base = &t->f.base;
	enum status rc = ST_OK;

	files_open(&t->f, &tree_source, setup);
	t->end = setup->end;
	t->named = t->end->n_only > 0;
	t->maildirs = strcmp(setup->end->scheme, "maildir") == 0;
	t->root = open(t->f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->root >= 0)
		walk_add_dir(t, xstrdup(""));
	else if (errno == ENOTDIR && !t->maildirs)
		rc = open_file(t, err);
	else
		rc = files_unopened(t->f.path, err);
	if (rc != ST_OK)
		tree_close(&base);
	*out = base;
	return rc;
}

/* Under what name it is listed. NULL: what cannot be read has none, so that it counts
 * as failed in the run that met it and in no later one. */
static char *uidl_of(const struct tree *t, const struct mail *m)
{
	const char *name = walk_name(t, m), *dir = t->dirs[m->dir].path;

	if (m->place == UNREAD)
		return NULL;
	if (m->place == HERE)
		return xasprintf("%s%s;%" PRId64, dir, name, m->time);
	return xasprintf("%s%.*s", dir, (int)walk_lasting(name), name);
}

static enum status tree_list(struct source *base,
	void (*each)(void *ctx, const struct item *it), void *ctx, struct listing *out,
	struct err *err)
{
	struct tree *t = self(base);
	enum status rc = t->n ? ST_OK : walk_all(t, err);
	size_t i;

	*out = (struct listing){ .n = t->n, .steady = true };
	if (rc == ST_OK)
		rc = check_found(t, err);
	if (rc != ST_OK)
		return rc;
	for (i = 0; i < t->n; i++) {
		const struct mail *m = &t->v[i];
		char *uidl = uidl_of(t, m);
		struct item it = { (uint32_t)i + 1, m->occurrence, m->size, uidl,
			uidl ? (uint32_t)strlen(uidl) : 0 };

		out->unreadable += m->place == UNREAD;
		each(ctx, &it);
		free(uidl);
	}
	judge_times(t);
	files_tell_passed(&t->f, t->n);
	return ST_OK;
}

/* ---- messages ---- */

static int open_mail(struct tree *t, const struct mail *m)
{
	char *path = walk_path(t, m);
	int fd = openat(t->root, path,
		O_RDONLY | O_NONBLOCK | O_CLOEXEC | (t->named ? 0 : O_NOFOLLOW));
	int no = errno;

	free(path);
	errno = no;
	return fd;
}

static enum status vanished(struct err *err, const char *name)
{
	return err_set(err, ST_SKIP, EX_TEMPFAIL, "%s is not there any more", name);
}

/* The file of a message, wherever it is now. */
static enum status find_file(struct tree *t, struct mail *m, int *fd, struct err *err)
{
	struct dir *d = &t->dirs[m->dir];

	*fd = m->gone ? -1 : open_mail(t, m);
	if (*fd < 0 && !m->gone && errno == ENOENT && d->maildir && m->place != HERE) {
		walk_look_again(t, d);
		*fd = m->gone ? -1 : open_mail(t, m);
	}
	if (*fd >= 0)
		return ST_OK;
	if (m->gone || errno == ENOENT)
		return vanished(err, walk_name(t, m));
	return err_sys(err, ST_SKIP, "%s%s%s cannot be read", d->path,
		walk_places[m->place], walk_name(t, m));
}

static enum status give(struct tree *t, int fd, const struct mail *m, mail_take *take,
	void *ctx, struct err *err)
{
	char piece[READ_PIECE];
	struct stat st;
	enum status rc = ST_OK;
	uint64_t at = 0;
	ssize_t n = 1;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, ST_SKIP, EX_DATAERR, "%s is no file any more",
			walk_name(t, m));
	while (rc == ST_OK && n > 0) {
		n = fs_pread(fd, piece, sizeof(piece), at);
		if (n < 0)
			return err_sys(err, ST_SKIP, "%s%s%s cannot be read",
				t->dirs[m->dir].path, walk_places[m->place],
				walk_name(t, m));
		take(ctx, piece, (size_t)n);
		at += (uint64_t)n;
		if (atomic_load(&t->f.cancelled))
			rc = files_stopped(&t->f, err);
	}
	return rc;
}

static void note_origin(struct tree *t, uint32_t number, const struct mail *m)
{
	struct buf *folder = &t->f.folder;
	char *path = walk_path(t, m);
	const char *dir = t->dirs[m->dir].path;
	struct name name;

	name_read(path, strlen(path), &name);
	files_filed(&t->f, number, m->size, uidl_of(t, m));
	name_folder(dir, strlen(dir), m->place != HERE, folder);
	t->f.origin.folder = buf_str(folder);
	t->f.origin.occurrence = m->occurrence;
	t->f.origin.bare = m->place == HERE;
	t->f.origin.date = time_of(t, m);
	t->f.origin.seen = name.seen;
	t->f.origin.answered = name.answered;
	t->f.origin.flagged = name.flagged;
	t->f.origin.draft = name.draft;
	free(path);
}

static enum status tree_next(struct source *base, uint32_t *number, mail_take *take,
	void *ctx, struct err *err)
{
	struct tree *t = self(base);
	enum status rc;
	struct mail *m;
	int fd = -1;

	t->f.filed = false;
	if (!queue_take(&t->f.wanted, number))
		return ST_END;
	m = &t->v[*number - 1];
	if (m->place == UNREAD)
		return err_set(err, ST_SKIP, EX_IOERR,
			"%s%s cannot be read, so nobody knows what mail is there",
			t->dirs[m->dir].path, walk_name(t, m));
	rc = find_file(t, m, &fd, err);
	if (rc == ST_OK)
		rc = give(t, fd, m, take, ctx, err);
	if (fd >= 0)
		close(fd);
	if (rc == ST_OK)
		note_origin(t, *number, m);
	return rc;
}

static const char *const schemes[] = { "maildir", "eml", NULL };

const struct source_ops tree_source = {
	.schemes = schemes,
	FILES_OPS,
	.open = tree_open,
	.list = tree_list,
	.next = tree_next,
	.finish = files_finish,
	.close = tree_close,
};
