/* maildir.c: Maildir++: folders are ".Name.Sub", flags stand in file names. */
#include "own.h"

#include <popferry/mem.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FOLDER_NAME_MAX = 200, PART_MAX = 1024 };

struct maildir {
	char folder[FOLDER_NAME_MAX + 8]; /* the one written to last; "" is INBOX */
};

/* Dots part the levels, so none may stand in a part. */
static bool encode(const char *folder, struct buf *out)
{
	struct buf clean = BUF_INIT(PART_MAX), part = BUF_INIT(PART_MAX);
	const char *s = folder, *slash;
	bool fits = true;

	while (fits) {
		slash = strchrnul(s, '/');
		buf_clear(&part);
		if (slash > s) {
			name_part(s, (size_t)(slash - s), '.', &part);
			fits = buf_addc(&clean, '.') &&
				buf_add(&clean, buf_str(&part), part.n);
		}
		if (*slash == '\0')
			break;
		s = slash + 1;
	}
	fits = fits && clean.n > 1 && utf7_encode(buf_str(&clean), out) &&
		out->n <= FOLDER_NAME_MAX;
	buf_free(&clean);
	buf_free(&part);
	return fits;
}

/* ".Name.Sub" of the folder, and of one that is too long or deep one flat name. */
static void folder_name(char out[FOLDER_NAME_MAX + 8], const char *folder)
{
	struct buf name = BUF_INIT(PART_MAX), flat = BUF_INIT(PART_MAX);

	out[0] = '\0';
	if (strcmp(folder, "INBOX") == 0)
		goto out;
	if (!encode(folder, &name)) {
		buf_clear(&name);
		buf_addc(&flat, '.');
		name_part(folder, strlen(folder), '.', &flat);
		if (!utf7_encode(buf_str(&flat), &name))
			buf_adds(&name, ".unknown");
	}
	snprintf(out, FOLDER_NAME_MAX + 8, "%.*s", FOLDER_NAME_MAX, buf_str(&name));
out:
	buf_free(&name);
	buf_free(&flat);
}

static enum status make_folder(struct export *x, const char *name, struct err *err)
{
	static const char *const dirs[] = { "cur", "new", "tmp" };
	size_t i;

	if (*name && target_dir(&x->t, name, err) != ST_OK)
		return ST_FATAL;
	for (i = 0; i < N_ELEMENTS(dirs); i++) {
		char *dir = xasprintf("%s%s%s", name, *name ? "/" : "", dirs[i]);
		enum status rc = target_dir(&x->t, dir, err);

		free(dir);
		if (rc != ST_OK)
			return rc;
	}
	return ST_OK;
}

static enum status maildir_begin(struct export *x, struct err *err)
{
	x->own = xcalloc(1, sizeof(struct maildir));
	return make_folder(x, "", err);
}

static void flags(char out[8], const char *words)
{
	static const struct {
		const char *word, *letter;
	} all[] = { { "draft", "D" }, { "flagged", "F" }, { "answered", "R" },
		{ "seen", "S" } };
	size_t i, n = 0;

	for (i = 0; i < N_ELEMENTS(all); i++)
		if (strstr(words, all[i].word))
			out[n++] = *all[i].letter;
	out[n] = '\0';
}

static enum status maildir_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	struct maildir *d = x->own;
	char name[FOLDER_NAME_MAX + 8], letters[8], *path;
	enum status rc = ST_OK;

	folder_name(name, row->folder[0] ? row->folder : "unknown");
	if (strcmp(name, d->folder) != 0) {
		rc = make_folder(x, name, err);
		memcpy(d->folder, name, sizeof(name));
	}
	if (rc != ST_OK)
		return rc;
	flags(letters, row->flags);
	path = xasprintf("%s%scur/%" PRIi64 ".%" PRIu64 ".popferry,S=%" PRIu64 ":2,%s",
		name, *name ? "/" : "", message_time(row), row->seq,
		archive_mail_size(m), letters);
	rc = put_file(x, path, row, m, NULL, err);
	free(path);
	return rc;
}

static void maildir_drop(struct export *x)
{
	free(x->own);
	x->own = NULL;
}

const struct format format_maildir = { .name = "maildir",
	.what = "a Maildir with its folders and flags",
	.tree = true,
	.bytes = true,
	.begin = maildir_begin,
	.put = maildir_put,
	.drop = maildir_drop };
