/* notary.c: the seals that a run made are signed and timestamped at its end. */
#include "notary.h"

#include <popferry/archive.h>
#include <popferry/crypt.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct notary {
	struct signer *signer; /* NULL: only timestamps */
};

static enum status password(void *ctx, char **out, struct err *err)
{
	return secret_get(ctx, "sign", out, err);
}

enum status notary_open(struct notary **out, const struct job *job, struct err *err)
{
	const struct sealing *s = &job->sealing;
	struct signer_config cfg = { .key = s->key,
		.cert = s->cert,
		.password = password,
		.ctx = (void *)&s->secret };
	struct recipients *to = NULL;
	struct sign_trust *t = NULL;
	struct notary *n;
	enum status rc = job_recipients(job, &to, err);

	recipients_close(&to); /* only whether they are any good */
	*out = NULL;
	if (rc != ST_OK || (!s->key && !s->n_tsa))
		return rc;
	n = xcalloc(1, sizeof(*n));
	if (s->n_tsa) /* whether that file is any good */
		rc = sign_trust_open(&t, NULL, s->tsa_ca, err);
	sign_trust_close(&t);
	if (rc == ST_OK && s->key)
		rc = signer_open(&n->signer, &cfg, err);
	if (rc == ST_OK) {
		*out = n;
		n = NULL;
	}
	notary_close(&n);
	return rc;
}

void notary_close(struct notary **np)
{
	struct notary *n = *np;

	if (!n)
		return;
	signer_close(&n->signer);
	free(n);
	*np = NULL;
}

enum status notary_note(const char *path, const struct sign_done *d, struct err *err)
{
	char *detail;
	enum status rc;

	if (!d->signatures && !d->stamps)
		return ST_OK;
	detail = xasprintf("{\"signatures\":%" PRIu64 ",\"timestamps\":%" PRIu64 "}",
		d->signatures, d->stamps);
	rc = archive_note(path, "sign", "seals", detail, err);
	free(detail);
	return rc < 0 ? err_note(err, "this was not noted in the archive") : ST_OK;
}

enum status notary_list(const char *path, struct err *err)
{
	enum status rc = archive_list_marks(path, err);

	return rc < 0
		? err_note(err,
			  "the seals are signed, but manifest-sha256.txt does not "
			  "list all signatures and timestamps yet; the next "
			  "`popferry seal` or sealing does")
		: ST_OK;
}

static void tell(const struct job *job, const struct sign_done *d, bool tells)
{
	log_info(NULL, "signed", LOG_S("job", job->name), LOG_U("seals", d->seals),
		LOG_U("signed", d->signatures), LOG_U("timestamped", d->stamps),
		LOG_U("waiting", d->waiting));
	if (!tells || !(d->signatures || d->stamps || d->waiting))
		return;
	printf("%s: %" PRIu64 " seal%s signed, %" PRIu64 " timestamped", job->name,
		d->signatures, text_s(d->signatures), d->stamps);
	if (d->waiting)
		printf("; %" PRIu64 " waiting for a timestamp", d->waiting);
	printf("\n");
}

/* Whoever is at it now, or the next run, does it. */
static bool can_wait(const struct err *err)
{
	return err->status == ST_RETRY || err->exit == EX_TEMPFAIL;
}

/* A good run becomes a failed one. */
static bool fails(struct outcome *o, const struct err *err)
{
	if (o->exit || can_wait(err))
		return false;
	o->exit = err->exit;
	o->err = *err;
	return true;
}

static void sign(const struct notary *n, const struct job *job, const char *path,
	struct outcome *o, bool tells)
{
	const struct sealing *s = &job->sealing;
	struct tsa_config t = { .urls = (const char *const *)s->tsa,
		.n = s->n_tsa,
		.trust = s->tsa_ca,
		.ca_file = job->source.ca_file };
	/* Who wants to stop does not want to wait for a TSA. */
	bool stamps = s->n_tsa && !stop_asked();
	struct err err = ERR_INIT, more = ERR_INIT;
	struct sign_done d = { 0 };
	enum status rc = sign_archive(path, n->signer, stamps ? &t : NULL, &d, &err);

	if (notary_note(path, &d, &more) < 0)
		log_warn(NULL, "not-noted", LOG_S("job", job->name),
			LOG_S("reason", more.text));
	tell(job, &d, tells);
	if (rc != ST_OK && !fails(o, &err))
		log_warn(NULL, "seals-wait", LOG_S("job", job->name),
			LOG_U("waiting", d.waiting), LOG_S("reason", err.text),
			LOG_S("meaning",
				"the next run signs and timestamps what is missing"));
	if (d.seals && notary_list(path, &more) < 0 && !fails(o, &more))
		log_warn(NULL, "not-listed", LOG_S("job", job->name),
			LOG_S("reason", more.text));
}

void notary_sign(
	const struct notary *n, const struct job *job, struct outcome *o, bool tells)
{
	size_t i;

	for (i = 0; n && !job->dry_run && i < job->n_dest; i++) {
		const char *path = job->dest[i].path;
		char *json = path ? xasprintf("%s/archive.json", path) : NULL;

		/* There is none yet when the run did not get that far. */
		if (json && access(json, F_OK) == 0)
			sign(n, job, path, o, tells);
		free(json);
	}
}
