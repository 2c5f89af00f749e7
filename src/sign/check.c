/* check.c: what a file's signature and timestamp are worth together. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/fs.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct file {
	char *name, *p;
	size_t n;
};

/* ST_OK also when it is not there: p is NULL then. */
static enum status look(
	struct file *f, int dirfd, const char *name, const char *end, struct err *err)
{
	enum status rc;

	f->name = mark_name(name, end);
	rc = fs_read(&f->p, &f->n, dirfd, f->name, *end ? MARK_MAX : FILE_MAX, err);
	return rc == ST_END ? ST_OK : rc;
}

/* One that is no file, or too large for what it should be, is a bad one. */
static enum status look_mark(struct file *f, struct sign_mark *m, int dirfd,
	const char *name, const char *end, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc = look(f, dirfd, name, end, &why);

	if (rc >= 0)
		return rc;
	if (why.exit != EX_DATAERR)
		return err_set(err, rc, why.exit, "%s", why.text);
	m->verdict = SIGN_BAD;
	snprintf(m->why, sizeof(m->why), "%s", why.text);
	return ST_OK;
}

static void drop(struct file *f)
{
	free(f->name);
	free(f->p);
}

static void check_stamp(struct sign_state *out, const struct sign_trust *t,
	const struct file *file, const struct file *p7s, const struct file *tsr)
{
	struct stamp_wanted want = { p7s->name, p7s->p, p7s->n, NULL };

	out->over_file = !p7s->p ||
		(!stamp_is_over(tsr->p, tsr->n, p7s->p, p7s->n) &&
			stamp_is_over(tsr->p, tsr->n, file->p, file->n));
	if (out->over_file) {
		want.what = file->name;
		want.data = file->p;
		want.n = file->n;
	}
	stamp_check(&out->stamp, &out->time, tsr->p, tsr->n, &want, t->tsas, NULL);
}

static void check_signature(struct sign_state *out, const struct sign_trust *t,
	const struct file *file, const struct file *p7s)
{
	bool dated = out->time && !out->over_file;
	bool proved = dated && out->stamp.verdict == SIGN_TRUSTED;
	struct sign_mark then;

	cms_check(&out->signature, p7s->p, p7s->n, file->name, file->p, file->n, t,
		proved ? out->time : clock_utc());
	if (out->signature.verdict != SIGN_BAD || proved || !dated)
		return;
	/* Perhaps it only has expired, and who could tell when it was made is not
	 * known. */
	memset(&then, 0, sizeof(then));
	cms_check(&then, p7s->p, p7s->n, file->name, file->p, file->n, t, out->time);
	if (then.verdict == SIGN_BAD)
		return;
	out->signature = then;
	out->signature.verdict = SIGN_UNKNOWN;
	snprintf(out->signature.why, sizeof(out->signature.why),
		"the certificate is not valid today; that it was then, a timestamp says "
		"whose TSA is not trusted here");
}

enum status sign_check(struct sign_state *out, const struct sign_trust *t, int dirfd,
	const char *name, struct err *err)
{
	struct file file = { NULL, NULL, 0 }, p7s = file, tsr = file;
	enum status rc = look(&file, dirfd, name, "", err);

	memset(out, 0, sizeof(*out));
	if (rc == ST_OK)
		rc = look_mark(&p7s, &out->signature, dirfd, name, ".p7s", err);
	if (rc == ST_OK)
		rc = look_mark(&tsr, &out->stamp, dirfd, name, ".tsr", err);
	if (rc == ST_OK && !file.p)
		rc = err_set(
			err, ST_DENIED, EX_NOINPUT, "%s: there is no such file", name);
	if (rc == ST_OK && tsr.p)
		check_stamp(out, t, &file, &p7s, &tsr);
	if (rc == ST_OK && p7s.p)
		check_signature(out, t, &file, &p7s);
	drop(&file);
	drop(&p7s);
	drop(&tsr);
	return rc;
}
