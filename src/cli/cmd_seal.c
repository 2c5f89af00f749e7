/* cmd_seal.c: seals what is open; signatures and timestamps of an archive's seals. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/sign.h>
#include <popferry/text.h>

#include "cli.h"
#include "marks.h"
#include "notary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_MAX = 64 * 1024 };

const struct option seal_options[] = {
	{ "state", "DIR", "of the job, for what is open in an encrypted archive" },
	{ "key", "FILE", "sign with this key: PEM, or a pkcs11: URI" },
	{ "cert", "FILE", "and its certificate, and those up to its CA: PEM" },
	{ "key-password-file", "FILE", "the key's passphrase, or the token's PIN" },
	{ "key-password-command", "CMD", "the same, from a command" },
	{ "key-password-env", "NAME", "the same, from the environment" },
	{ "tsa", "URL", "timestamp there (RFC 3161); several are tried in order" },
	{ "tsa-ca", "FILE", "believe timestamps of these CAs (default: the system's)" },
	{ "tsa-policy", "OID", "ask for this policy" },
	{ "tsa-pin", "PIN", "the TSA's TLS key, for https: sha256//BASE64" },
	{ "ca-file", "FILE", "CAs for https (default: the system's)" },
	{ "check", NULL, "only look: who signed, when, and is it right" },
	{ "trust", "FILE", "with --check: all must be signed by these, or their CAs" },
	{ NULL, NULL, NULL },
};

/* ---- looking ---- */

struct looking {
	const struct cli *c;
	bool signers, tsas; /* somebody was named to be believed */
	uint64_t seals, bad, open;
};

static void weigh(struct looking *l, enum sign_verdict v, bool wanted)
{
	l->bad += marks_weigh(v, wanted) == EX_DATAERR;
	l->open += marks_weigh(v, wanted) == EX_PARTIAL;
}

static void look(void *ctx, const char *seal, const struct sign_state *s)
{
	struct looking *l = ctx;

	l->seals++;
	weigh(l, s->signature.verdict, l->signers);
	weigh(l, s->stamp.verdict, l->tsas);
	marks_tell(l->c, seal, s);
}

int cli_seals(const struct cli *c, const char *path, const char *signers,
	const char *tsas, struct err *err)
{
	struct looking l = { c, signers != NULL, tsas != NULL, 0, 0, 0 };
	struct sign_trust *t = NULL;
	enum status rc = sign_trust_open(&t, signers, tsas, err);

	if (rc == ST_OK)
		rc = sign_check_archive(path, t, look, &l, err);
	sign_trust_close(&t);
	if (rc == ST_OK && !l.seals && (l.signers || l.tsas))
		rc = err_set(
			err, ST_DENIED, EX_PARTIAL, "%s: there are no seals", path);
	else if (rc == ST_OK && l.bad)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s: %" PRIu64
			" signature%s or timestamp%s by somebody not trusted",
			path, l.bad, text_s(l.bad), l.bad == 1 ? " is" : "s are");
	else if (rc == ST_OK && l.open)
		rc = err_set(err, ST_DENIED, EX_PARTIAL,
			"%s: %" PRIu64 " signature%s or timestamp%s missing", path,
			l.open, text_s(l.open), l.open == 1 ? " is" : "s are");
	if (rc == ST_OK)
		return 0;
	fflush(stdout);
	return cli_archive_failed(c, err);
}

/* ---- doing it ---- */

static enum status password(void *ctx, char **out, struct err *err)
{
	return secret_get(ctx, "key", out, err);
}

/* All that were given with --tsa, in this order. */
static void tsa_urls(const struct cli *c, struct tsa_config *t, const char ***urls)
{
	size_t i;

	*urls = xcalloc(c->n_options + 1, sizeof(char *));
	for (i = 0; i < c->n_options; i += 2)
		if (strcmp(c->options[i], "tsa") == 0)
			(*urls)[t->n++] = c->options[i + 1];
	t->urls = *urls;
	t->trust = cli_option(c, "tsa-ca");
	t->policy = cli_option(c, "tsa-policy");
	t->pin = cli_option(c, "tsa-pin");
	t->ca_file = cli_option(c, "ca-file");
}

static void tell_json(
	const char *path, const struct archive_finished *f, const struct sign_done *d)
{
	struct buf b = BUF_INIT(JSON_MAX);

	buf_addf(&b, "{\"sealed\":%" PRIu64 ",\"messages\":%" PRIu64, f->sealed,
		f->messages);
	if (d)
		buf_addf(&b,
			",\"seals\":%" PRIu64 ",\"signed\":%" PRIu64
			",\"timestamped\":%" PRIu64 ",\"waiting\":%" PRIu64
			",\"left_unsigned\":%" PRIu64,
			d->seals, d->signatures, d->stamps, d->waiting,
			d->unsigned_before);
	else
		buf_addf(&b, ",\"segments\":%" PRIu64, f->segments);
	marks_add(&b, "archive", path);
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

static void tell_finished(const char *path, const struct archive_finished *f)
{
	if (f->sealed)
		printf("%s: sealed: 1 segment, %" PRIu64 " message%s\n", path,
			f->messages, text_s(f->messages));
	else
		printf("%s: nothing is open: %" PRIu64 " segment%s sealed\n", path,
			f->segments, f->segments == 1 ? " is" : "s are");
}

/* d: NULL when nothing was to be signed. */
static void tell(const struct cli *c, const char *path,
	const struct archive_finished *f, const struct sign_done *d)
{
	if (c->format == LOG_JSON) {
		tell_json(path, f, d);
		return;
	}
	if (c->verbosity < 0)
		return;
	if (f->sealed || !d)
		tell_finished(path, f);
	if (d && !d->seals) {
		printf("%s: there are no seals, and nothing to sign\n", path);
	} else if (d) {
		printf("%s: %" PRIu64 " seal%s, %" PRIu64 " signed and %" PRIu64
		       " timestamped now",
			path, d->seals, text_s(d->seals), d->signatures, d->stamps);
		if (d->waiting)
			printf(", %" PRIu64 " waiting for a timestamp", d->waiting);
		if (d->unsigned_before)
			printf(", %" PRIu64
			       " left unsigned (timestamped before there was a key)",
				d->unsigned_before);
		printf("\n");
	}
}

static const char *misuse(const struct cli *c, const struct tsa_config *t)
{
	bool key = cli_option(c, "key") != NULL;

	if (key != (cli_option(c, "cert") != NULL))
		return "--key and --cert go together";
	if (cli_option(c, "check") && (key || t->n))
		return "--check only looks: it goes without --key and --tsa";
	if (cli_option(c, "check") && cli_option(c, "state"))
		return "--check only looks: it goes without --state";
	if (!cli_option(c, "check") && cli_option(c, "trust"))
		return "--trust goes with --check";
	if (t->pin && t->n > 1)
		return "--tsa-pin is the key of one TSA, and goes with one --tsa";
	return NULL;
}

/* Whoever is at work there keeps nobody from signing. */
static enum status list(
	const struct cli *c, const char *path, enum status rc, struct err *err)
{
	struct err why = ERR_INIT;
	enum status listed = notary_list(path, &why);

	if (listed == ST_OK)
		return rc;
	if (rc == ST_OK && why.exit != EX_TEMPFAIL)
		return err_set(err, listed, why.exit, "%s", why.text);
	cli_complain(c, &why);
	return rc;
}

/* What cannot be sealed now keeps nobody from signing what is. */
static int finish(
	const struct cli *c, const char *path, bool marks, struct archive_finished *f)
{
	struct err err = ERR_INIT;

	if (archive_finish(f, path, cli_option(c, "state"), &err) == ST_OK)
		return 0;
	if (!marks)
		return cli_archive_failed(c, &err);
	if (!f->open) /* who signs finds that, too */
		return 0;
	cli_complain(c, &err);
	return err.exit == EX_TEMPFAIL || err.exit == EX_NOPERM ? 0 : err.exit;
}

static enum status sign(const struct cli *c, const char *path, struct signer *s,
	const struct tsa_config *t, const struct archive_finished *f, struct err *err)
{
	struct sign_done done = { 0 };
	struct err more = ERR_INIT;
	enum status rc = sign_archive(path, s, t->n ? t : NULL, &done, err);

	if (notary_note(path, &done, &more) < 0)
		cli_complain(c, &more);
	if (rc == ST_OK || done.seals || f->sealed)
		tell(c, path, f, &done);
	return done.seals ? list(c, path, rc, err) : rc;
}

static int seal(struct cli *c, const struct tsa_config *t, struct err *err)
{
	struct secret secret = { 0 };
	struct signer_config cfg = { .key = cli_option(c, "key"),
		.cert = cli_option(c, "cert"),
		.password = password,
		.ctx = &secret };
	const char *path = cli_archive_path(c->args[0]);
	bool marks = cfg.key || t->n;
	struct archive_finished f = { 0 };
	struct signer *s = NULL;
	enum status rc = cli_key_secret(c, &secret, err);
	int code = 0;

	if (rc == ST_OK && cfg.key)
		rc = signer_open(&s, &cfg, err);
	if (rc == ST_OK)
		code = finish(c, path, marks, &f);
	if (rc == ST_OK && marks)
		rc = sign(c, path, s, t, &f, err);
	else if (rc == ST_OK && code == 0)
		tell(c, path, &f, NULL);
	signer_close(&s);
	if (rc == ST_OK)
		return code;
	fflush(stdout);
	return cli_worse(code, cli_archive_failed(c, err));
}

int cmd_seal(struct cli *c, struct err *err)
{
	struct tsa_config t = { 0 };
	const char **urls = NULL, *fault;
	int code;

	tsa_urls(c, &t, &urls);
	fault = c->n_args != 1 ? "seal needs an ARCHIVE" : misuse(c, &t);
	if (fault)
		code = cli_bad_usage(c, "seal", fault, err);
	else if (cli_option(c, "check"))
		code = cli_seals(c, cli_archive_path(c->args[0]),
			cli_option(c, "trust"), t.trust, err);
	else
		code = seal(c, &t, err);
	free(urls);
	return code;
}
