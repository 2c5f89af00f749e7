/* crypt.c: whom an archive is encrypted to, and who reads one. */
#include "own.h"

#include <popferry/crypt.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

enum { TEXTS_MAX = 32 };

void texts_release(struct texts *t)
{
	while (t->n)
		free(t->v[--t->n]);
	free(t->v);
	t->v = NULL;
}

enum status set_crypt(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	bool to = strcmp(s->key, "encrypt-to") == 0;
	struct texts *t = to ? &p->job.encrypt_to : &p->job.identity.files;
	unsigned *layer = to ? &p->encrypt_layer : &p->identity_layer;
	char *text = NULL;

	if (*layer != p->layer)
		texts_release(t);
	*layer = p->layer;
	if (t->n == TEXTS_MAX)
		return spot_bad(at, err, "%d are enough", TEXTS_MAX);
	if (text_put(&text, value, at, err) < 0)
		return ST_DENIED;
	t->v = xreallocarray(t->v, t->n + 1, sizeof(*t->v));
	t->v[t->n++] = text;
	return ST_OK;
}

static enum status ask(void *ctx, char **out, struct err *err)
{
	return secret_get(ctx, "identity", out, err);
}

enum status keys_open(const struct keys *k, struct identities **out, struct err *err)
{
	bool has = k && (k->secret.file || k->secret.command || k->secret.env);
	enum status rc = ST_OK;
	size_t i;

	*out = NULL;
	if (!k || !k->files.n)
		return ST_OK;
	identities_open(out);
	for (i = 0; rc == ST_OK && i < k->files.n; i++)
		rc = identities_add(*out, k->files.v[i], has ? ask : NULL,
			(void *)(uintptr_t)&k->secret, err);
	if (rc != ST_OK)
		identities_close(out);
	return rc;
}

/* A key that is lost must not be the only one. */
static enum status not_alone(
	const struct job *j, const struct recipients *r, struct err *err)
{
	if (recipients_count(r) > 1 || j->single_recipient)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_USAGE,
		"encrypt-to: with one recipient nobody can read the archive when that key is "
		"lost: name a second one, whose key is kept elsewhere, or say "
		"--single-recipient");
}

enum status job_recipients(
	const struct job *j, struct recipients **out, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	*out = NULL;
	if (!j->encrypt_to.n)
		return ST_OK;
	recipients_open(out);
	for (i = 0; rc == ST_OK && i < j->encrypt_to.n; i++) {
		rc = recipients_add(*out, j->encrypt_to.v[i], err);
		if (rc != ST_OK)
			err_note(err, "encrypt-to");
	}
	if (rc == ST_OK)
		rc = not_alone(j, *out, err);
	if (rc != ST_OK)
		recipients_close(out);
	return rc;
}

static bool is_archive(const struct endpoint *e)
{
	return e->scheme && strcmp(e->scheme, "archive") == 0;
}

enum status check_crypt(const struct job *j, struct err *err)
{
	bool dest = false, any = is_archive(&j->source);
	const char *what = NULL;
	size_t i;

	for (i = 0; i < j->n_dest; i++)
		dest |= is_archive(&j->dest[i]);
	any |= dest;
	if (j->encrypt_to.n && !dest)
		what = "encrypt-to: is for an archive; there is none among the destinations";
	else if (j->single_recipient && !j->encrypt_to.n)
		what = "single-recipient: is of no use without encrypt-to";
	else if (j->identity.files.n && !any)
		what = "identity: is for an encrypted archive; there is none in this job";
	else if (j->encrypt_to.n && !j->identity.files.n && j->check)
		what = "check: what is encrypted can be read back with an identity only; name "
		       "one, or leave check out";
	else if (j->encrypt_to.n && !j->identity.files.n && j->delete != DELETE_NEVER)
		what = "delete: nothing is deleted at the source that was not read back, and "
		       "what is encrypted can be read with an identity only; name one, or "
		       "leave delete out";
	return what ? err_set(err, ST_DENIED, EX_USAGE, "%s", what) : ST_OK;
}
