/* finish.c: what a run left open is sealed, by somebody who has nothing to put. */
#include "../form/statement.h"
#include "writer.h"

#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The writer makes its index for a job where there is none: not in a directory that has
 * not the key. */
static enum status key_there(
	const struct policy *p, unsigned no, const char *state, struct err *err)
{
	char name[FILE_NAME_MAX];
	char *path;
	bool there;

	if (p->crypt == CRYPT_NONE)
		return ST_OK;
	if (!state)
		return err_set(err, ST_DENIED, EX_NOPERM,
			"what is open is encrypted, with a key in the state directory of the job "
			"that wrote it: name that with --state, or run its `popferry copy` again");
	key_name(name, p, no);
	path = xasprintf("%s/%s", state, name);
	there = access(path, F_OK) == 0;
	free(path);
	return there
		? ST_OK
		: err_set(err, ST_DENIED, EX_NOPERM,
			  "what is open is encrypted, and its key, %s, is not in %s: "
			  "name the state directory of the job that wrote it",
			  name, state);
}

static enum status open_sub(int *out, int dir, const char *name, struct err *err)
{
	*out = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *out < 0 && errno != ENOENT
		? err_sys(err, ST_FATAL, "open directory %s", name)
		: ST_OK;
}

static enum status count_segments(
	struct archive_finished *out, int dir, const struct policy *p, struct err *err)
{
	struct segment_no *list = NULL;
	size_t n = 0;
	int segdir = -1;
	enum status rc = open_sub(&segdir, dir, "segments", err);

	if (rc == ST_OK && segdir >= 0)
		rc = segments_list(&list, &n, segdir, p, err);
	out->segments = n;
	free(list);
	writer_close_fd(&segdir);
	return rc;
}

/* Segment no is open, or was when its writer was killed. */
static enum status finish(struct archive_finished *out, unsigned no,
	const struct archive_config *cfg, struct err *err)
{
	struct archive_writer *w = NULL;
	struct statement s;
	enum status rc = archive_open(&w, cfg, err);

	if (rc == ST_OK && w->seg) {
		rc = archive_seal(w, err);
		if (rc < 0)
			err_note(err, "archive %s", cfg->path);
	}
	if (rc == ST_OK && w->last_no >= no) {
		rc = statement_load(&s, w->dir, &w->policy, no, err);
		if (rc == ST_OK) { /* 0.1.0 made none */
			out->sealed = 1;
			out->messages = s.count;
		}
	}
	archive_close(&w);
	return rc < 0 ? rc : ST_OK;
}

enum status archive_finish(struct archive_finished *out, const char *path,
	const char *state, struct err *err)
{
	struct archive_config cfg = { .path = path, .state = state };
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), opendir = -1;
	struct policy policy;
	unsigned no = 0;
	enum status rc;

	memset(out, 0, sizeof(*out));
	if (dir < 0)
		return err_set(err, ST_DENIED, EX_NOINPUT, "archive %s: %s", path,
			strerror(errno));
	rc = policy_load(&policy, dir, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"it is no archive: it has no archive.json");
	if (rc == ST_OK)
		rc = open_sub(&opendir, dir, "open", err);
	if (rc == ST_OK && opendir >= 0)
		rc = open_log_find(&no, opendir, &policy, err);
	out->open = no != 0;
	if (rc == ST_OK && no)
		rc = key_there(&policy, no, state, err);
	if (rc < 0)
		err_note(err, "archive %s", path);
	if (rc == ST_OK && no)
		rc = finish(out, no, &cfg, err);
	if (rc == ST_OK)
		rc = count_segments(out, dir, &policy, err);
	writer_close_fd(&opendir);
	writer_close_fd(&dir);
	return rc;
}
