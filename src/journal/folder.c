/*
 * folder.c: what is remembered of folders while messages stream into them.
 *
 * Their rows, so that they need not be looked for each time; in which one the latest
 * places were announced; and the highest number of each, for what is above it no
 * message has.
 */
#include "own.h"

#include <stdlib.h>
#include <string.h>

static bool is_folder(const struct known_folder *f, unsigned sink, const char *name)
{
	return f->sink == sink && strcmp(f->name, name) == 0;
}

static struct known_folder *remembered(
	struct journal *j, unsigned sink, const char *name)
{
	size_t i;

	if (j->n_folders && is_folder(&j->folders[j->folder], sink, name))
		return &j->folders[j->folder];
	for (i = 0; i < j->n_folders; i++)
		if (is_folder(&j->folders[i], sink, name)) {
			j->folder = i;
			return &j->folders[i];
		}
	return NULL;
}

static void remember(struct journal *j, unsigned sink, const char *name, int64_t id)
{
	j->folders = xreallocarray(j->folders, j->n_folders + 1, sizeof(*j->folders));
	j->folder = j->n_folders++;
	j->folders[j->folder] = (struct known_folder){
		.name = xstrdup(name), .id = id, .sink = sink
	};
}

static enum status find_or_make(struct journal *j, unsigned sink, const char *name,
	int64_t *id, struct err *err)
{
	enum status rc = query_row(j, Q_FOLDER_FIND, WITH(INT(sink), TEXT(name)), err);
	int rows;

	if (rc == ST_OK) {
		*id = col_int(j, Q_FOLDER_FIND, 0);
		query_done(j, Q_FOLDER_FIND);
	}
	if (rc != ST_END)
		return rc;
	rc = query_change(j, Q_FOLDER, WITH(INT(sink), TEXT(name)), &rows, err);
	if (rc == ST_OK && rows == 0)
		rc = journal_misuse(j, err, "it knows no destination %u", sink);
	if (rc == ST_OK)
		*id = sqlite3_last_insert_rowid(j->db);
	return rc;
}

enum status folder_id(struct journal *j, unsigned sink, const char *name, int64_t *id,
	struct err *err)
{
	const struct known_folder *f = remembered(j, sink, name);
	enum status rc;

	if (f) {
		*id = f->id;
		return ST_OK;
	}
	rc = find_or_make(j, sink, name, id, err);
	if (rc == ST_OK)
		remember(j, sink, name, *id);
	return rc;
}

void folder_forget(struct journal *j)
{
	size_t i;

	for (i = 0; i < j->n_folders; i++)
		free(j->folders[i].name);
	free(j->folders);
	j->folders = NULL;
	j->n_folders = j->folder = 0;
	memset(j->recent, 0, sizeof(j->recent));
}

/* ---- places ---- */

static struct recent *recent_of(struct journal *j, int64_t message, unsigned sink)
{
	/* A run has two destinations at most: they do not push each other out. */
	return &j->recent[((uint64_t)message * 2 + sink) % RECENT];
}

/* The folder that was announced for it, if that is remembered. */
static struct known_folder *announced(struct journal *j, int64_t message, unsigned sink)
{
	const struct recent *r = recent_of(j, message, sink);
	size_t i;

	if (r->message != message || r->sink != sink)
		return NULL;
	if (j->n_folders && j->folders[j->folder].id == r->folder)
		return &j->folders[j->folder];
	for (i = 0; i < j->n_folders; i++)
		if (j->folders[i].id == r->folder)
			return &j->folders[i];
	return NULL;
}

void folder_announced(struct journal *j, int64_t message, unsigned sink, int64_t folder)
{
	*recent_of(j, message, sink) = (struct recent){ message, folder, sink };
}

void folder_left(struct journal *j, int64_t message, unsigned sink)
{
	struct recent *r = recent_of(j, message, sink);

	if (r->message == message && r->sink == sink)
		*r = (struct recent){ 0 };
}

void folder_stored(
	struct journal *j, int64_t message, unsigned sink, const struct place *at)
{
	struct known_folder *f = announced(j, message, sink);
	size_t i;

	if (!f)
		for (i = 0; i < j->n_folders; i++)
			j->folders[i].has_top = false;
	else if (f->generation == (int64_t)at->generation &&
		(int64_t)at->number > f->top)
		f->top = (int64_t)at->number;
	else if (f->generation != (int64_t)at->generation)
		f->has_top = false;
}

bool folder_sure(struct journal *j, int64_t message, unsigned sink,
	const struct place *at, int64_t *folder)
{
	const struct known_folder *f = j->open && !j->broken && sink < JOURNAL_SINKS
		? announced(j, message, sink)
		: NULL;

	if (!f)
		return false;
	*folder = f->id;
	return !at->number ||
		(f->has_top && f->generation == (int64_t)at->generation &&
			(int64_t)at->number > f->top);
}

enum status folder_free(struct journal *j, int64_t message, unsigned sink,
	const struct place *at, bool *free, struct err *err)
{
	struct known_folder *f = j->open ? announced(j, message, sink) : NULL;
	enum status rc;

	*free = false;
	if (!f)
		return ST_OK;
	if (!f->has_top || f->generation != (int64_t)at->generation) {
		rc = query_row(
			j, Q_FOLDER_TOP, WITH(INT(f->id), INT(at->generation)), err);
		if (rc != ST_OK) /* an aggregate has a row */
			return rc;
		f->generation = (int64_t)at->generation;
		f->top = col_int_or(j, Q_FOLDER_TOP, 0, INT64_MIN);
		f->has_top = true;
		query_done(j, Q_FOLDER_TOP);
	}
	*free = (int64_t)at->number > f->top;
	return ST_OK;
}
