/* seals.c: the seals of an archive: which are signed, which wait, and doing it. */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES_MAX = 4 * 1000 * 1000, SHORT = 16 };

/* ---- which there are ---- */

struct names {
	char **p;
	size_t n, cap;
};

static void names_add(struct names *v, const char *name)
{
	if (v->n == v->cap) {
		v->cap = v->cap ? 2 * v->cap : 64;
		v->p = xreallocarray(v->p, v->cap, sizeof(*v->p));
	}
	v->p[v->n++] = xstrdup(name);
}

static void names_free(struct names *v)
{
	while (v->n)
		free(v->p[--v->n]);
	free(v->p);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool ends(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(end);

	return n > k && strcmp(name + n - k, end) == 0;
}

/* All seals, and what looks like a signature or timestamp, sorted. */
static enum status list(struct names *out, int dirfd, struct err *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	enum status rc = ST_OK;
	struct dirent *e;

	if (!d) {
		rc = err_sys(err, ST_FATAL, "seals");
		if (fd >= 0)
			close(fd);
		return rc;
	}
	for (errno = 0; rc == ST_OK && (e = readdir(d)); errno = 0) {
		const char *s = e->d_name;

		if (*s == '.' ||
			(!ends(s, ".json") && !ends(s, ".p7s") && !ends(s, ".tsr")))
			continue;
		if (out->n == NAMES_MAX)
			rc = err_set(err, ST_DENIED, EX_DATAERR,
				"seals: there are too many files");
		else
			names_add(out, s);
	}
	if (rc == ST_OK && errno)
		rc = err_sys(err, ST_FATAL, "seals");
	closedir(d);
	if (out->n)
		qsort(out->p, out->n, sizeof(*out->p), by_name);
	return rc;
}

struct place {
	int archive, seals; /* seals is -1 when there are none yet */
};

static void leave(struct place *at)
{
	if (at->seals >= 0)
		close(at->seals);
	if (at->archive >= 0)
		close(at->archive);
}

static enum status enter(struct place *at, const char *path, struct err *err)
{
	at->seals = -1;
	at->archive = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at->archive < 0 || !mark_there(at->archive, "archive.json"))
		return err_set(
			err, ST_DENIED, EX_NOINPUT, "%s: there is no archive", path);
	at->seals = openat(
		at->archive, "seals", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (at->seals < 0 && errno != ENOENT)
		return err_sys(err, ST_FATAL, "%s/seals", path);
	return ST_OK;
}

/* ---- certificates needed later ---- */

struct keeper {
	int archive;
	const char *kind;
};

static enum status keep_chain(void *ctx, STACK_OF(X509) * chain, struct err *err)
{
	const struct keeper *k = ctx;
	BIO *bio = BIO_new(BIO_s_mem());
	enum status rc = ST_OK;
	char sha[65], *name, *p;
	int i, dirfd;
	long n;

	if (mkdirat(k->archive, "trust", 0777) < 0 && errno != EEXIST)
		rc = err_sys(err, ST_FATAL, "make directory trust");
	dirfd = openat(
		k->archive, "trust", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (rc == ST_OK && dirfd < 0)
		rc = err_sys(err, ST_FATAL, "trust");
	cert_sha256(sha, sk_X509_value(chain, 0));
	name = xasprintf("%s-%.*s.pem", k->kind, SHORT, sha);
	for (i = 0; i < sk_X509_num(chain); i++)
		if (!bio || PEM_write_bio_X509(bio, sk_X509_value(chain, i)) != 1)
			xmemory_gone();
	n = BIO_get_mem_data(bio, &p);
	if (rc == ST_OK && !mark_there(dirfd, name))
		rc = mark_put(dirfd, name, p, (size_t)n, err);
	free(name);
	BIO_free(bio);
	if (dirfd >= 0)
		close(dirfd);
	return rc;
}

static enum status keep_signer(int archive, const struct signer *s, struct err *err)
{
	struct keeper k = { archive, "signer" };
	STACK_OF(X509) *all = sk_X509_dup(s->chain);
	enum status rc;

	if (!all || !sk_X509_unshift(all, s->cert))
		xmemory_gone();
	rc = keep_chain(&k, all, err);
	sk_X509_free(all);
	return rc;
}

/* ---- doing it ---- */

struct work {
	struct place at;
	const struct signer *signer;
	const struct tsa_config *tsa;
	struct sign_done *done;
	struct err later; /* why timestamps wait */
	bool gave_up;
};

static bool has(const struct work *w, const char *name, const char *end)
{
	char *path = mark_name(name, end);
	bool there = mark_there(w->at.seals, path);

	free(path);
	return there;
}

static enum status sign_one(struct work *w, const char *name, struct err *err)
{
	enum status rc;

	if (!w->signer || has(w, name, ".p7s"))
		return ST_OK;
	/* The timestamp would not be one of the signature. */
	if (has(w, name, ".tsr")) {
		w->done->unsigned_before++;
		return ST_OK;
	}
	rc = w->done->signatures ? ST_OK : keep_signer(w->at.archive, w->signer, err);
	if (rc == ST_OK)
		rc = sign_file(w->signer, w->at.seals, name, err);
	if (rc == ST_OK)
		w->done->signatures++;
	return rc;
}

static enum status stamp_one(struct work *w, const char *name, struct err *err)
{
	struct keeper k = { w->at.archive, "tsa" };
	const struct stamp_keep keep = { keep_chain, &k };
	enum status rc = ST_RETRY;

	if (!w->tsa || has(w, name, ".tsr"))
		return ST_OK;
	if (!w->gave_up)
		rc = stamp_file_keep(w->tsa, w->at.seals, name, &keep, &w->later);
	if (rc == ST_OK)
		w->done->stamps++;
	if (rc == ST_RETRY ||
		rc == ST_DENIED) { /* a TSA is not asked in vain for each */
		w->gave_up = true;
		w->done->waiting++;
		return ST_OK;
	}
	if (rc < 0 && err)
		*err = w->later;
	return rc;
}

static enum status all_seals(struct work *w, const struct names *v, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < v->n; i++) {
		if (!ends(v->p[i], ".json"))
			continue;
		w->done->seals++;
		rc = sign_one(w, v->p[i], err);
		if (rc == ST_OK)
			rc = stamp_one(w, v->p[i], err);
	}
	if (rc == ST_OK && w->gave_up) {
		if (err)
			*err = w->later;
		rc = w->later.status;
		if (err && rc == ST_RETRY)
			err->exit = EX_TEMPFAIL;
	}
	return rc;
}

enum status sign_archive(const char *path, const struct signer *s,
	const struct tsa_config *tsa, struct sign_done *done, struct err *err)
{
	struct work w = { .signer = s, .tsa = tsa, .done = done, .later = ERR_INIT };
	struct names v = { NULL, 0, 0 };
	enum status rc = enter(&w.at, path, err);

	memset(done, 0, sizeof(*done));
	if (rc != ST_OK || w.at.seals < 0)
		goto out;
	if (flock(w.at.seals, LOCK_EX | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK
			? err_set(err, ST_DENIED, EX_TEMPFAIL,
				  "%s: another process is signing its seals; try again "
				  "when it has ended",
				  path)
			: err_sys(err, ST_FATAL, "%s/seals", path);
		goto out;
	}
	rc = list(&v, w.at.seals, err);
	if (rc == ST_OK)
		rc = all_seals(&w, &v, err);
out:
	names_free(&v);
	leave(&w.at);
	return rc;
}

/* ---- checking ---- */

static bool known(const struct names *v, char *name)
{
	return v->n && bsearch(&name, v->p, v->n, sizeof(*v->p), by_name);
}

/* A signature or timestamp of a seal that is gone. */
static bool orphan(const struct names *v, const char *name, struct sign_state *s)
{
	bool p7s = ends(name, ".p7s");
	struct sign_mark *m = p7s ? &s->signature : &s->stamp;
	char *seal = xasprintf("%.*s.json", (int)(strlen(name) - strlen(".p7s")), name);
	bool is = !known(v, seal);

	memset(s, 0, sizeof(*s));
	m->verdict = SIGN_BAD;
	snprintf(m->why, sizeof(m->why), "there is no %.200s: a seal is missing", seal);
	free(seal);
	return is;
}

static bool any_bad(const struct sign_state *s)
{
	return s->signature.verdict == SIGN_BAD || s->stamp.verdict == SIGN_BAD;
}

static enum status check_one(const struct names *v, size_t i, int dirfd,
	const struct sign_trust *t, struct sign_state *s, struct err *err)
{
	if (ends(v->p[i], ".json"))
		return sign_check(s, t, dirfd, v->p[i], err);
	return orphan(v, v->p[i], s) ? ST_OK : ST_END;
}

enum status sign_check_archive(const char *path, const struct sign_trust *t,
	void (*each)(void *ctx, const char *seal, const struct sign_state *s),
	void *ctx, struct err *err)
{
	struct names v = { NULL, 0, 0 };
	struct sign_state *s = xcalloc(1, sizeof(*s));
	uint64_t bad = 0;
	struct place at;
	enum status rc = enter(&at, path, err);
	size_t i;

	if (rc == ST_OK && at.seals >= 0)
		rc = list(&v, at.seals, err);
	for (i = 0; rc == ST_OK && i < v.n; i++) {
		rc = check_one(&v, i, at.seals, t, s, err);
		if (rc == ST_OK) {
			bad += any_bad(s);
			each(ctx, v.p[i], s);
		}
		rc = rc == ST_END ? ST_OK : rc;
	}
	if (rc == ST_OK && bad)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s: %llu seal%s not signed or timestamped as %s should be",
			path, (unsigned long long)bad, bad == 1 ? " is" : "s are",
			bad == 1 ? "it" : "they");
	names_free(&v);
	free(s);
	leave(&at);
	return rc;
}
