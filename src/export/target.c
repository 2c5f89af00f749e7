/* target.c: files and folders that are whole or not there. */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUT_BUFFER = 64 * 1024, NOTE_MAX = 2048 };

/* ---- files ---- */

struct out {
	int fd;
	EVP_MD_CTX *md;
	enum status rc;
	struct err err;
	size_t n;
	char p[OUT_BUFFER];
};

enum status out_open(struct out **out, int dirfd, const char *name, struct err *err)
{
	int fd = openat(dirfd, name,
		O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
	struct out *o;

	*out = NULL;
	if (fd < 0)
		return err_sys(err, ST_FATAL, "create %s", name);
	o = xcalloc(1, sizeof(*o));
	o->fd = fd;
	o->md = EVP_MD_CTX_new();
	if (!o->md || EVP_DigestInit_ex(o->md, EVP_sha256(), NULL) != 1)
		xmemory_gone();
	*out = o;
	return ST_OK;
}

static void out_flush(struct out *o)
{
	if (o->rc == ST_OK && o->n)
		o->rc = fs_write(o->fd, o->p, o->n, &o->err);
	o->n = 0;
}

void out_put(void *out, const char *p, size_t n)
{
	struct out *o = out;

	EVP_DigestUpdate(o->md, p, n);
	while (n) {
		size_t k = OUT_BUFFER - o->n;

		if (k > n)
			k = n;
		memcpy(o->p + o->n, p, k);
		o->n += k;
		p += k;
		n -= k;
		if (o->n == OUT_BUFFER)
			out_flush(o);
	}
}

void out_puts(struct out *o, const char *s)
{
	out_put(o, s, strlen(s));
}

/* Bytes written later would change it. */
void out_time(struct out *o, int64_t utc)
{
	const struct timespec t[2] = { { utc, 0 }, { utc, 0 } };

	out_flush(o);
	futimens(o->fd, t);
}

void out_drop(struct out **op)
{
	struct out *o = *op;

	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	EVP_MD_CTX_free(o->md);
	free(o);
	*op = NULL;
}

enum status out_close(struct out **op, char *sha, struct err *err)
{
	unsigned char raw[DIGEST];
	struct out *o = *op;
	enum status rc;

	out_flush(o);
	rc = o->rc;
	if (rc != ST_OK)
		err_set(err, rc, o->err.exit, "%s", o->err.text);
	EVP_DigestFinal_ex(o->md, raw, NULL);
	if (sha)
		text_hex(sha, raw, DIGEST);
	if (close(o->fd) < 0 && rc == ST_OK)
		rc = err_sys(err, ST_FATAL, "close");
	o->fd = -1;
	out_drop(op);
	return rc;
}

/* ---- the target ---- */

static enum status refuse(struct target *t, const char *name, struct err *err)
{
	struct stat st;

	if (fstatat(t->parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"%s is there already: name another target, or remove it", name);
	return errno == ENOENT ? ST_OK : err_sys(err, ST_FATAL, "%s", name);
}

/* "DIR/NAME/" to a descriptor of DIR and "NAME". */
static enum status find_parent(struct target *t, const char *path, struct err *err)
{
	char *dir = xstrdup(path), *slash;
	size_t n = strlen(dir);
	enum status rc = ST_OK;

	while (n > 1 && dir[n - 1] == '/')
		dir[--n] = '\0';
	slash = strrchr(dir, '/');
	t->name = xstrdup(slash ? slash + 1 : dir);
	if (slash)
		slash[slash == dir] = '\0';
	if (t->name[0] == '\0' || strcmp(t->name, ".") == 0 ||
		strcmp(t->name, "..") == 0)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"%s cannot be a target: name a file or directory that is not there yet",
			path);
	if (rc == ST_OK) {
		t->parent = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (t->parent < 0)
			rc = err_sys(err, ST_DENIED, "the folder of %s", path);
	}
	free(dir);
	return rc;
}

/* A name of our own beside it, also where one that was killed left another. */
static char *temporary(const struct target *t, const char *suffix)
{
	unsigned char raw[4] = { 0 };
	char hex[2 * sizeof(raw) + 1];

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		memset(raw, (int)getpid(), sizeof(raw));
	return xasprintf(
		".%.80s.%s%s", t->name, text_hex(hex, raw, sizeof(raw)), suffix);
}

void target_none(struct target *t)
{
	memset(t, 0, sizeof(*t));
	t->parent = t->dir = -1;
}

enum status target_open(struct target *t, const char *path, bool tree, struct err *err)
{
	enum status rc;

	memset(t, 0, sizeof(*t));
	t->parent = t->dir = -1;
	t->tree = tree;
	rc = find_parent(t, path, err);
	if (rc != ST_OK)
		return rc;
	t->sums_name = xasprintf("%s.sha256", t->name);
	rc = refuse(t, t->name, err);
	if (rc == ST_OK)
		rc = refuse(t, t->sums_name, err);
	if (rc != ST_OK)
		return rc;
	t->sums_temp = temporary(t, ".sums");
	rc = out_open(&t->sums, t->parent, t->sums_temp, err);
	if (rc != ST_OK)
		return rc;
	t->temp = temporary(t, ".part");
	if (!tree)
		return out_open(&t->file, t->parent, t->temp, err);
	if (mkdirat(t->parent, t->temp, 0777) < 0)
		return err_sys(err, ST_FATAL, "create %s", t->temp);
	t->dir = openat(
		t->parent, t->temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return t->dir < 0 ? err_sys(err, ST_FATAL, "open %s", t->temp) : ST_OK;
}

enum status target_dir(struct target *t, const char *path, struct err *err)
{
	if (mkdirat(t->dir, path, 0777) == 0 || errno == EEXIST)
		return ST_OK;
	return err_sys(err, ST_FATAL, "create %s", path);
}

enum status target_file(
	struct target *t, struct out **out, const char *path, struct err *err)
{
	const char *slash;

	*out = NULL;
	for (slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		char *dir = xmemdup0(path, (size_t)(slash - path));
		enum status rc = target_dir(t, dir, err);

		free(dir);
		if (rc != ST_OK)
			return rc;
	}
	return out_open(out, t->dir, path, err);
}

/* ---- its sums ---- */

/* As sha256sum writes names that would end or change its line. */
static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++)
		if (*s == '\n')
			buf_adds(b, "\\n");
		else if (*s == '\r')
			buf_adds(b, "\\r");
		else if (*s == '\\')
			buf_adds(b, "\\\\");
		else
			buf_addc(b, *s);
}

void target_sum(struct target *t, const char *path, const char *sha)
{
	struct buf b = BUF_INIT(64 * 1024);

	if (strpbrk(t->name, "\\\n\r"))
		buf_addc(&b, '\\');
	buf_addf(&b, "%s  ", sha);
	add_escaped(&b, t->name);
	if (path)
		buf_addf(&b, "/%s", path);
	buf_addc(&b, '\n');
	out_put(t->sums, buf_str(&b), b.n);
	buf_free(&b);
}

void target_note(struct target *t, const char *fmt, ...)
{
	char raw[NOTE_MAX], text[NOTE_MAX];
	va_list ap;

	if (!t->sums)
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(text, sizeof(text), raw, strlen(raw));
	out_puts(t->sums, "# ");
	out_puts(t->sums, text);
	out_puts(t->sums, "\n");
}

/* ---- the end ---- */

/* Never over something that came to stand there meanwhile. */
static enum status name_it(
	struct target *t, const char *temp, const char *name, struct err *err)
{
	if (renameat2(t->parent, temp, t->parent, name, RENAME_NOREPLACE) == 0)
		return ST_OK;
	if (errno == EINVAL || errno == ENOSYS) { /* a file system without it */
		enum status rc = refuse(t, name, err);

		if (rc != ST_OK)
			return rc;
		if (renameat(t->parent, temp, t->parent, name) == 0)
			return ST_OK;
	}
	if (errno == EEXIST)
		return refuse(t, name, err);
	return err_sys(err, ST_FATAL, "rename %s to %s", temp, name);
}

enum status target_done(struct target *t, struct err *err)
{
	char sha[HEX];
	enum status rc = ST_OK;

	if (!t->sums)
		return ST_OK;
	if (t->file) {
		rc = out_close(&t->file, sha, err);
		if (rc == ST_OK)
			target_sum(t, NULL, sha);
	}
	if (rc == ST_OK)
		rc = out_close(&t->sums, NULL, err);
	if (rc == ST_OK && syncfs(t->parent) < 0)
		rc = err_sys(err, ST_FATAL, "sync %s", t->name);
	if (rc == ST_OK)
		rc = name_it(t, t->sums_temp, t->sums_name, err);
	if (rc != ST_OK)
		return rc;
	free(t->sums_temp);
	t->sums_temp = NULL;
	rc = name_it(t, t->temp, t->name, err);
	if (rc != ST_OK) {
		unlinkat(t->parent, t->sums_name, 0);
		return rc;
	}
	free(t->temp);
	t->temp = NULL;
	return fs_sync_dir(t->parent, err);
}

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(p);
}

static void remove_tree(const struct target *t)
{
	char *path = xasprintf("/proc/self/fd/%d/%s", t->parent, t->temp);

	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(path);
}

void target_drop(struct target *t)
{
	out_drop(&t->file);
	out_drop(&t->sums);
	if (t->dir >= 0)
		close(t->dir);
	if (t->temp && t->tree)
		remove_tree(t);
	else if (t->temp)
		unlinkat(t->parent, t->temp, 0);
	if (t->sums_temp)
		unlinkat(t->parent, t->sums_temp, 0);
	if (t->parent >= 0)
		close(t->parent);
	free(t->name);
	free(t->temp);
	free(t->sums_name);
	free(t->sums_temp);
	memset(t, 0, sizeof(*t));
	t->parent = t->dir = -1;
}
