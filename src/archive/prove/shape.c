/* shape.c: is what an archive consists of files and folders of its own? */
#include "evidence.h"

#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const folders[] = { "log", "policy", "seals", "segments", "trust" };

/* 0: it is not there, or has just got another name. */
static mode_t mode_of(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mode : 0;
}

bool evidence_folders(struct evidence *v)
{
	bool good = true;
	size_t i;

	for (i = 0; i < N_ELEMENTS(folders); i++) {
		mode_t mode = mode_of(v->r->dir, folders[i]);

		if (mode == 0 || S_ISDIR(mode))
			continue;
		tally_bad(v->t, "%s is a link or something else that is no folder",
			folders[i]);
		good = false;
	}
	return good;
}

/* Whoever reads these tells it, and does not follow them. */
static bool told_elsewhere(const char *name)
{
	return strcmp(name, "manifest-sha256.txt") == 0 ||
		strcmp(name, "log/custody.jsonl") == 0 ||
		strcmp(name, "log/custody.head") == 0;
}

static enum status check_folder(struct evidence *v, const char *folder,
	bool (*told)(void *ctx, const char *name), struct err *err)
{
	bool top = strcmp(folder, ".") == 0;
	struct names *l;
	const char *file;
	enum status rc = names_open(&l, v->r->dir, folder, err);

	while (rc == ST_OK && (rc = names_next(l, &file, err)) == ST_OK) {
		char *name = top ? xstrdup(file) : xasprintf("%s/%s", folder, file);
		mode_t mode = file[0] == '.' ? 0 : mode_of(v->r->dir, name);

		if (mode && !S_ISREG(mode) && !(top && S_ISDIR(mode)) &&
			!told_elsewhere(name) && !told(v->ctx, name))
			tally_bad(v->t,
				"%s is a link or something else that is no file", name);
		free(name);
	}
	names_close(&l);
	return rc < 0 ? rc : ST_OK;
}

enum status evidence_files(
	struct evidence *v, bool (*told)(void *ctx, const char *name), struct err *err)
{
	enum status rc = check_folder(v, ".", told, err);
	size_t i;

	for (i = 0; rc == ST_OK && i < N_ELEMENTS(folders); i++)
		rc = check_folder(v, folders[i], told, err);
	return rc;
}
