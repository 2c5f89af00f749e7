/* trust.c: where passwords come from, and timestamps. */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

enum status set_secret(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	struct end *e = text_starts(s->key, "source-") ? &p->source : &p->dest;
	bool sign = text_starts(s->key, "sign-"),
	     identity = text_starts(s->key, "identity-");
	struct secret *secret = sign ? &p->job.sealing.secret
		: identity           ? &p->job.identity.secret
				     : &e->secret;
	unsigned *layer = sign ? &p->sign_layer
		: identity     ? &p->identity_secret_layer
			       : &e->secret_layer;
	char **field = (char **)((char *)p + s->at);
	bool other = (secret->file && &secret->file != field) ||
		(secret->command && &secret->command != field) ||
		(secret->env && &secret->env != field) || secret->text;

	if (other && *layer == p->layer)
		return spot_bad(at, err,
			"the password can come from one place only: a file, a command "
			"or an environment variable");
	if (other)
		secret_release(secret);
	*layer = p->layer;
	return text_put(field, value, at, err);
}

enum status password_put(struct plan *p, bool source, const char *text,
	const struct spot *at, struct err *err)
{
	struct end *e = source ? &p->source : &p->dest;

	if (strpbrk(text, "\r\n"))
		return spot_bad(at, err, "a password has no line ends");
	if (strlen(text) > SECRET_MAX)
		return spot_bad(at, err, "a password has at most %d bytes", SECRET_MAX);
	if (e->secret_layer == p->layer &&
		(e->secret.file || e->secret.command || e->secret.env))
		return spot_bad(at, err,
			"the password can come from one place only: this column, a file, a "
			"command or an environment variable");
	secret_release(&e->secret);
	e->secret.text = xstrdup(text);
	e->secret_layer = p->layer;
	return ST_OK;
}

void tsa_release(struct sealing *s)
{
	while (s->n_tsa)
		free(s->tsa[--s->n_tsa]);
	free(s->tsa);
	s->tsa = NULL;
}

enum status set_tsa(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	struct sealing *to = &p->job.sealing;
	char *url = NULL;

	(void)s;
	if (!text_starts(value, "http://") && !text_starts(value, "https://"))
		return spot_bad(at, err,
			"expected the URL of a timestamp authority, as in "
			"http://tsa.example.org/tsr, not \"%.60s\"",
			value);
	if (p->tsa_layer != p->layer)
		tsa_release(to);
	p->tsa_layer = p->layer;
	if (to->n_tsa == TSA_MAX)
		return spot_bad(at, err, "%d are enough", TSA_MAX);
	if (text_put(&url, value, at, err) < 0)
		return ST_DENIED;
	to->tsa = xreallocarray(to->tsa, to->n_tsa + 1, sizeof(*to->tsa));
	to->tsa[to->n_tsa++] = url;
	return ST_OK;
}
