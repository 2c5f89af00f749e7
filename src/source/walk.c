/*
 * walk.c: what mail there is in a directory. Links are not followed; what cannot be
 * read is kept in mind.
 */
#include "tree.h"

#include <popferry/mem.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH_MAX = 64 };

const char *const walk_places[] = { "", "new/", "cur/", "" };

/* ---- names ---- */

const char *walk_name(const struct tree *t, const struct mail *m)
{
	return t->names.text + m->name;
}

char *walk_path(const struct tree *t, const struct mail *m)
{
	return xasprintf(
		"%s%s%s", t->dirs[m->dir].path, walk_places[m->place], walk_name(t, m));
}

/* Bytes of the name that stay. */
size_t walk_lasting(const char *name)
{
	const char *flags = strstr(name, ":2,");

	return flags ? (size_t)(flags - name) : strlen(name);
}

static int by_name(const void *ap, const void *bp, void *tree)
{
	const struct tree *t = tree;
	const struct mail *a = ap, *b = bp;
	const char *x = walk_name(t, a), *y = walk_name(t, b);
	size_t n = walk_lasting(x), k = walk_lasting(y);
	int d = memcmp(x, y, n < k ? n : k);

	if (d || n != k)
		return d ? d : (n > k) - (n < k);
	return a->place != b->place ? (a->place < b->place) - (a->place > b->place)
				    : strcmp(x, y);
}

/* Is the one that comes next the same message under the same name? */
static bool same_name(const struct tree *t, const struct mail *a, const struct mail *b)
{
	const char *x = walk_name(t, a), *y = walk_name(t, b);
	size_t n = walk_lasting(x);

	return t->dirs[a->dir].maildir && n == walk_lasting(y) && memcmp(x, y, n) == 0;
}

/* ---- looking around ---- */

void walk_add_dir(struct tree *t, char *path)
{
	t->dirs = xreallocarray(t->dirs, t->n_dirs + 1, sizeof(*t->dirs));
	t->dirs[t->n_dirs++] = (struct dir){ .path = path };
}

struct mail *walk_add_mail(struct tree *t, size_t dir, enum place place,
	const char *name, const struct stat *st)
{
	struct mail *m;

	if (t->n == t->cap) {
		t->cap += t->cap / 2 + 1024;
		t->v = xreallocarray(t->v, t->cap, sizeof(*t->v));
	}
	m = &t->v[t->n++];
	*m = (struct mail){ .dir = (uint32_t)dir, .occurrence = 1 };
	m->place = (uint8_t)place;
	m->size = st ? (uint64_t)st->st_size : UINT64_MAX;
	m->time = st ? st->st_mtime : 0;
	m->name = names_keep(&t->names, name);
	return m;
}

static DIR *open_at(const struct tree *t, const char *path)
{
	int fd = openat(t->root, *path ? path : ".",
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !d)
		close(fd);
	return d;
}

/* What is in there is not known: so that it is told, it counts as a message. */
static void add_unread(struct tree *t, size_t dir, const char *name)
{
	log_warn(t->f.log, "directory-unreadable",
		LOG_S("directory", t->dirs[dir].path), LOG_S("name", name),
		LOG_S("reason", strerror(errno)));
	walk_add_mail(t, dir, UNREAD, name, NULL);
}

/* Neither file nor directory, and why it is not followed. */
static void skip_odd(struct tree *t, const char *path, mode_t mode)
{
	files_skip(&t->f, path,
		S_ISLNK(mode)            ? "it is a symbolic link"
			: S_ISFIFO(mode) ? "it is a pipe"
			: S_ISSOCK(mode) ? "it is a socket"
					 : "it is a device");
}

static bool is_message(const struct tree *t, const char *path, enum place place)
{
	struct name name;

	name_read(path, strlen(path), &name);
	if (place != HERE)
		return name.kind != NAME_OTHER;
	return t->named || name.kind == NAME_EML;
}

/* One name in directory `dir`, or in new or cur of it. */
static void look_at(struct tree *t, size_t dir, enum place place, const char *name)
{
	char *path = xasprintf("%s%s%s", t->dirs[dir].path, walk_places[place], name);
	struct stat st;

	if (fstatat(t->root, path, &st, t->named ? 0 : AT_SYMLINK_NOFOLLOW) < 0) {
		/* What went meanwhile was moved, or is not there any more. */
		if (errno != ENOENT)
			add_unread(t, dir, name);
	} else if (S_ISDIR(st.st_mode)) {
		if (place == HERE)
			walk_add_dir(t, xasprintf("%s/", path));
	} else if (!S_ISREG(st.st_mode)) {
		skip_odd(t, path, st.st_mode);
	} else if (is_message(t, path, place) && (place != HERE || !t->maildirs)) {
		walk_add_mail(t, dir, place, name, &st);
	} else if (!t->dirs[dir].maildir) {
		files_pass(&t->f, path);
	}
	free(path);
}

static bool is_own(const char *name)
{
	return strcmp(name, "cur") == 0 || strcmp(name, "new") == 0 ||
		strcmp(name, "tmp") == 0;
}

static enum status read_place(
	struct tree *t, size_t dir, enum place place, struct err *err)
{
	char *path = xasprintf("%s%s", t->dirs[dir].path, walk_places[place]);
	DIR *d = open_at(t, path);
	enum status rc = ST_OK;
	struct dirent *e;

	if (!d && (errno != ENOENT || place == HERE))
		add_unread(t, dir, place == HERE ? "." : walk_places[place]);
	errno = 0;
	while (d && rc == ST_OK && (e = readdir(d))) {
		const char *name = e->d_name;

		rc = files_stopped(&t->f, err);
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (place == HERE && t->dirs[dir].maildir && is_own(name))
			continue;
		look_at(t, dir, place, name);
		errno = 0;
	}
	if (d && errno && rc == ST_OK)
		add_unread(t, dir, path);
	if (d)
		closedir(d);
	free(path);
	return rc;
}

static bool has_dir(const struct tree *t, const char *path, const char *name)
{
	char *dir = xasprintf("%s%s", path, name);
	struct stat st;
	bool has = fstatat(t->root, dir, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISDIR(st.st_mode);

	free(dir);
	return has;
}

static bool is_maildir(const struct tree *t, const char *path)
{
	return has_dir(t, path, "cur") ||
		(has_dir(t, path, "new") && has_dir(t, path, "tmp"));
}

static bool too_deep(const char *path)
{
	unsigned n = 0;

	for (; *path; path++)
		n += *path == '/';
	return n > DEPTH_MAX;
}

/* In the order of their names, which is that of delivery. */
static void sort_dir(struct tree *t, const struct dir *d)
{
	if (t->n - d->first > 1)
		qsort_r(t->v + d->first, t->n - d->first, sizeof(*t->v), by_name, t);
}

/* Seen in new and, moved meanwhile, again in cur: only where it still is. */
static void drop_moved(struct tree *t, const struct dir *d)
{
	size_t i, n = d->first;
	struct stat st;

	for (i = d->first; i < t->n; i++) {
		bool twin = (n > d->first && same_name(t, &t->v[n - 1], &t->v[i])) ||
			(i + 1 < t->n && same_name(t, &t->v[i], &t->v[i + 1]));
		char *path = twin ? walk_path(t, &t->v[i]) : NULL;

		if (!twin || fstatat(t->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			t->v[n++] = t->v[i];
		free(path);
	}
	t->n = n;
}

static void end_dir(struct tree *t, struct dir *d)
{
	size_t i;

	sort_dir(t, d);
	drop_moved(t, d);
	d->n = t->n - d->first;
	for (i = d->first + 1; i < t->n; i++)
		if (same_name(t, &t->v[i - 1], &t->v[i]))
			t->v[i].occurrence = t->v[i - 1].occurrence + 1;
}

static enum status read_dir(struct tree *t, size_t dir, struct err *err)
{
	enum status rc = ST_OK;

	t->dirs[dir].maildir = is_maildir(t, t->dirs[dir].path);
	/* First new: what is moved meanwhile is found in cur. */
	if (t->dirs[dir].maildir) {
		rc = read_place(t, dir, IN_NEW, err);
		if (rc == ST_OK)
			rc = read_place(t, dir, IN_CUR, err);
	}
	return rc == ST_OK ? read_place(t, dir, HERE, err) : rc;
}

enum status walk_all(struct tree *t, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < t->n_dirs; i++) {
		t->dirs[i].first = t->n;
		if (t->named) {
			size_t k;

			for (k = 0; k < t->end->n_only; k++)
				look_at(t, i, HERE, t->end->only[k]);
		} else if (too_deep(t->dirs[i].path)) {
			errno = ELOOP;
			add_unread(t, i, ".");
		} else {
			rc = read_dir(t, i, err);
		}
		end_dir(t, &t->dirs[i]);
	}
	return rc;
}

/* ---- what was moved ---- */

static int find_name(const void *key, const void *element, void *tree)
{
	const struct mail *m = element;
	const char *name = walk_name(tree, m), *want = key;
	size_t n = walk_lasting(name), k = walk_lasting(want);
	int d = memcmp(want, name, n < k ? n : k);

	return d ? d : (k > n) - (k < n);
}

/*
 * Messages are sorted by what stays of their names. Of several with the same name it is
 * rather one that is not found yet, and of these one that was in that place before.
 */
static struct mail *find_mail(
	struct tree *t, const struct dir *d, const char *name, enum place place)
{
	struct mail *best = NULL;
	size_t low = d->first, high = d->first + d->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = find_name(name, &t->v[mid], t);

		if (c <= 0)
			high = mid;
		else
			low = mid + 1;
	}
	for (; low < d->first + d->n && find_name(name, &t->v[low], t) == 0; low++) {
		struct mail *m = &t->v[low];

		if (!best ||
			(m->gone &&
				(!best->gone ||
					(best->place != place && m->place == place))))
			best = m;
	}
	return best;
}

static void look_again_in(struct tree *t, const struct dir *d, enum place place)
{
	char *path = xasprintf("%s%s", d->path, walk_places[place]);
	DIR *at = open_at(t, path);
	struct dirent *e;

	while (at && (e = readdir(at))) {
		struct mail *m = find_mail(t, d, e->d_name, place);

		if (!m)
			continue;
		m->gone = false;
		m->place = (uint8_t)place;
		if (strcmp(walk_name(t, m), e->d_name) != 0)
			m->name = names_keep(&t->names, e->d_name);
	}
	if (at)
		closedir(at);
	free(path);
}

/* Where all messages of this folder are now: once for all that were moved. */
void walk_look_again(struct tree *t, const struct dir *d)
{
	size_t i;

	for (i = d->first; i < d->first + d->n; i++)
		t->v[i].gone = t->v[i].place == IN_NEW || t->v[i].place == IN_CUR;
	look_again_in(t, d, IN_NEW);
	look_again_in(t, d, IN_CUR);
}
