/* manifest.c: manifest-sha256.txt, over all files that never change again. */
#include "hash.h"
#include "layout.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char manifest[] = "manifest-sha256.txt";
enum { MANIFEST_MAX = 512 * 1024 * 1024, LIST_MAX = 4 * (SEGMENT_NO_MAX + 1) };

struct line {
	char *name;
	unsigned char sha[DIGEST];
};

struct lines {
	struct line *p;
	size_t n, cap;
};

static void lines_add(
	struct lines *l, const char *name, const unsigned char sha[DIGEST])
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->p = xreallocarray(l->p, l->cap, sizeof(*l->p));
	}
	l->p[l->n].name = xstrdup(name);
	memcpy(l->p[l->n++].sha, sha, DIGEST);
}

static void lines_free(struct lines *l)
{
	while (l->n)
		free(l->p[--l->n].name);
	free(l->p);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->name, ((const struct line *)b)->name);
}

/* One "HEX  NAME"; the LF is a NUL already. */
static bool parse(char *s, unsigned char sha[DIGEST], const char **name)
{
	if (strspn(s, "0123456789abcdef") != 2 * DIGEST || s[2 * DIGEST] != ' ' ||
		s[2 * DIGEST + 1] != ' ' || s[2 * DIGEST + 2] == '\0')
		return false;
	s[2 * DIGEST] = '\0';
	*name = s + 2 * DIGEST + 2;
	return text_unhex(sha, DIGEST, s) && **name != '/' && !strstr(*name, "..");
}

enum status manifest_each(int dir,
	enum status (*each)(void *ctx, const char *name,
		const unsigned char sha[DIGEST], struct err *err),
	void *ctx, struct err *err)
{
	unsigned char sha[DIGEST];
	const char *name;
	char *text, *s, *end;
	size_t n;
	enum status rc = file_real(dir, manifest, err);

	if (rc == ST_OK)
		rc = fs_read(&text, &n, dir, manifest, MANIFEST_MAX, err);
	if (rc != ST_OK)
		return rc;
	for (s = text; rc == ST_OK && s < text + n; s = end + 1) {
		end = memchr(s, '\n', (size_t)(text + n - s));
		if (end)
			*end = '\0';
		if (!end || !parse(s, sha, &name)) {
			rc = err_set(err, ST_DENIED, EX_DATAERR,
				"%s is damaged at byte %zu: put it back from a copy of the "
				"archive",
				manifest, (size_t)(s - text));
			break;
		}
		rc = each(ctx, name, sha, err);
	}
	free(text);
	return rc;
}

static enum status keep(
	void *ctx, const char *name, const unsigned char sha[DIGEST], struct err *err)
{
	struct lines *l = ctx;

	if (l->n == LIST_MAX)
		return err_set(
			err, ST_DENIED, EX_DATAERR, "%s has too many lines", manifest);
	lines_add(l, name, sha);
	return ST_OK;
}

/* A line for the file unless it has one among the first `known`, sorted ones. */
static enum status cover(struct lines *l, size_t known, int dir, const char *name,
	const struct known_sum *sum, struct err *err)
{
	struct line key = { NULL, { 0 } };
	unsigned char sha[DIGEST];
	enum status rc;

	key.name = xstrdup(name);
	if (known && bsearch(&key, l->p, known, sizeof(*l->p), by_name)) {
		free(key.name);
		return ST_OK;
	}
	free(key.name);
	if (sum && strcmp(sum->name, name) == 0) {
		lines_add(l, name, sum->sha);
		return ST_OK;
	}
	rc = hash_file(dir, name, sha, NULL, err);
	if (rc == ST_OK)
		lines_add(l, name, sha);
	return rc;
}

/* The same if there is such a file. */
static enum status cover_some(struct lines *l, size_t known, int dir, const char *name,
	const struct known_sum *sum, struct err *err)
{
	enum status rc = file_there(dir, name, err);

	if (rc == ST_END)
		return ST_OK;
	return rc == ST_OK ? cover(l, known, dir, name, sum, err) : rc;
}

static enum status cover_segments(struct lines *l, size_t known, int dir, int segdir,
	const struct policy *p, const struct known_sum *sum, struct err *err)
{
	const struct {
		const char *folder, *suffix;
	} kinds[] = { { "segments/", segment_suffix(p) },
		{ "segments/", idx_suffix(p) }, { "seals/", ".seal.json" },
		{ "seals/", ".seal.p7s" }, { "seals/", ".seal.tsr" } };
	char stem[STEM_MAX], path[FILE_NAME_MAX], file[FILE_NAME_MAX];
	struct segment_no *list = NULL;
	size_t n, i, k;
	enum status rc = segments_list(&list, &n, segdir, p, err);

	for (i = 0; rc == ST_OK && i < n; i++)
		for (k = 0; rc == ST_OK && k < N_ELEMENTS(kinds); k++) {
			struct segment_no of = list[i];

			/* A seal is of the segment as it was sealed. */
			if (text_starts(kinds[k].folder, "seals"))
				of.revision = 0;
			segment_stem(stem, p, of);
			file_name(file, stem, kinds[k].suffix);
			file_name(path, kinds[k].folder, file);
			rc = cover_some(l, known, dir, path, sum, err);
		}
	free(list);
	return rc;
}

/* The records of holds, retention and disposals; certificates. */
static enum status cover_folder(
	struct lines *l, size_t known, int dir, const char *folder, struct err *err)
{
	char path[FILE_NAME_MAX], in[FILE_NAME_MAX];
	struct names *names;
	const char *file;
	enum status rc = names_open(&names, dir, folder, err);

	file_name(in, folder, "/");
	while (rc == ST_OK && (rc = names_next(names, &file, err)) == ST_OK)
		if (file[0] != '.' && strlen(in) + strlen(file) < sizeof(path)) {
			file_name(path, in, file);
			rc = cover(l, known, dir, path, NULL, err);
		}
	names_close(&names);
	return rc < 0 ? rc : ST_OK;
}

/* A segment that messages were disposed of takes the place of its older revision. */
static enum status drop_replaced(
	struct lines *l, int segdir, const struct policy *p, struct err *err)
{
	const char *suffixes[] = { segment_suffix(p), idx_suffix(p) };
	char stem[STEM_MAX], path[FILE_NAME_MAX], file[FILE_NAME_MAX];
	struct segment_no *list = NULL;
	size_t n, i, k, m;
	enum status rc = segments_list(&list, &n, segdir, p, err);

	for (i = 0; rc == ST_OK && i < n; i++)
		while (list[i].revision) {
			list[i].revision--;
			segment_stem(stem, p, list[i]);
			for (k = 0; k < N_ELEMENTS(suffixes); k++) {
				file_name(file, stem, suffixes[k]);
				file_name(path, "segments/", file);
				for (m = 0; m < l->n; m++)
					if (strcmp(l->p[m].name, path) == 0) {
						free(l->p[m].name);
						l->p[m--] = l->p[--l->n];
					}
			}
		}
	free(list);
	return rc;
}

enum status manifest_there(int dir, int segdir, const struct policy *p, struct err *err)
{
	struct segment_no *list = NULL;
	size_t n = 0;
	enum status rc = file_there(dir, manifest, err);

	if (rc != ST_END)
		return rc;
	rc = segments_list(&list, &n, segdir, p, err);
	free(list);
	if (rc == ST_OK && n)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is missing: put it back from a copy of the archive",
			manifest);
	return rc;
}

/* What it should have; *news: that is not what it has. */
static enum status gather(struct lines *l, bool *news, int dir, int segdir,
	const struct policy *p, const struct known_sum *sum, struct err *err)
{
	size_t had, known;
	enum status rc = manifest_there(dir, segdir, p, err);

	if (rc == ST_OK)
		rc = manifest_each(dir, keep, l, err);
	had = l->n;
	if (rc >= 0)
		rc = drop_replaced(l, segdir, p, err);
	if (rc < 0)
		return rc;
	if (l->n)
		qsort(l->p, l->n, sizeof(*l->p), by_name);
	known = l->n;
	rc = cover(l, known, dir, "README.txt", NULL, err);
	if (rc == ST_OK)
		rc = cover(l, known, dir, "archive.json", NULL, err);
	if (rc == ST_OK)
		rc = cover_some(l, known, dir, "VERIFY.sh", NULL, err);
	if (rc == ST_OK && p->crypt == CRYPT_CMS)
		rc = cover_some(l, known, dir, "recipients.pem", NULL, err);
	if (rc == ST_OK)
		rc = cover_segments(l, known, dir, segdir, p, sum, err);
	if (rc == ST_OK)
		rc = cover_folder(l, known, dir, "policy", err);
	if (rc == ST_OK)
		rc = cover_folder(l, known, dir, "trust", err);
	*news = had != known || known != l->n;
	return rc;
}

static enum status rewrite(int dir, struct lines *l, struct err *err)
{
	struct buf b = BUF_INIT(MANIFEST_MAX);
	char hex[2 * DIGEST + 1];
	enum status rc;
	size_t i;

	qsort(l->p, l->n, sizeof(*l->p), by_name);
	for (i = 0; i < l->n; i++)
		buf_addf(&b, "%s  %s\n", text_hex(hex, l->p[i].sha, DIGEST),
			l->p[i].name);
	rc = fs_replace(dir, manifest, b.p, b.n, 0644, err);
	buf_free(&b);
	return rc;
}

enum status manifest_update(int dir, int segdir, const struct policy *p,
	const struct known_sum *sum, struct err *err)
{
	struct lines l = { NULL, 0, 0 };
	bool news;
	enum status rc = gather(&l, &news, dir, segdir, p, sum, err);

	if (rc == ST_OK)
		rc = rewrite(dir, &l, err);
	lines_free(&l);
	return rc;
}

enum status manifest_fill(int dir, int segdir, const struct policy *p, struct err *err)
{
	struct lines l = { NULL, 0, 0 };
	bool news = false;
	enum status rc = gather(&l, &news, dir, segdir, p, NULL, err);

	if (rc == ST_OK && news)
		rc = rewrite(dir, &l, err);
	lines_free(&l);
	return rc;
}
