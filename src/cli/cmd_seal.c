/* cmd_seal.c: signatures and timestamps of an archive's seals. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/sign.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_MAX = 64 * 1024 };

const struct option seal_options[] = {
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

static const char *word(enum sign_verdict v)
{
	static const char *const words[] = { "none", "trusted", "unknown", "bad" };

	return words[v];
}

static void add(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, ",\"%s\":", name);
	text_json(b, text, strlen(text));
}

static void seal_json(const char *seal, const struct sign_state *s)
{
	struct buf b = BUF_INIT(JSON_MAX);
	char when[24] = "";

	if (s->time)
		clock_rfc3339(when, s->time);
	buf_adds(&b, "{\"seal\":");
	text_json(&b, seal, strlen(seal));
	add(&b, "signature", word(s->signature.verdict));
	add(&b, "signer", s->signature.by);
	add(&b, "signer_sha256", s->signature.sha256);
	add(&b, "signature_reason", s->signature.why);
	add(&b, "timestamp", word(s->stamp.verdict));
	add(&b, "time", when);
	add(&b, "timestamp_over", s->over_file ? "seal" : "signature");
	add(&b, "tsa", s->stamp.by);
	add(&b, "tsa_sha256", s->stamp.sha256);
	add(&b, "timestamp_reason", s->stamp.why);
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

static void mark_text(const char *what, const char *none, const struct sign_mark *m)
{
	switch (m->verdict) {
	case SIGN_NONE:
		printf("  %s\n", none);
		break;
	case SIGN_TRUSTED:
		printf("  %s by %s\n", what, m->by);
		break;
	case SIGN_UNKNOWN:
		printf("  %s by %s, not known here: %s\n    fingerprint (SHA-256): %s\n",
			what, m->by, m->why, m->sha256);
		break;
	case SIGN_BAD:
		printf("  BAD, %s%s%s: %s\n", what, *m->by ? " by " : "", m->by,
			m->why);
		break;
	}
}

static void seal_text(const char *seal, const struct sign_state *s)
{
	char what[64] = "timestamped", when[24];

	if (s->time)
		snprintf(what, sizeof(what), "timestamped %s%s",
			clock_rfc3339(when, s->time),
			s->over_file && s->signature.verdict != SIGN_NONE
				? " (not the signature)"
				: "");
	printf("%s\n", seal);
	mark_text("signed", "not signed", &s->signature);
	mark_text(what, "not timestamped", &s->stamp);
}

static void weigh(struct looking *l, enum sign_verdict v, bool wanted)
{
	l->bad += v == SIGN_BAD || (v == SIGN_UNKNOWN && wanted);
	l->open += v == SIGN_NONE && wanted;
}

static void look(void *ctx, const char *seal, const struct sign_state *s)
{
	struct looking *l = ctx;

	l->seals++;
	weigh(l, s->signature.verdict, l->signers);
	weigh(l, s->stamp.verdict, l->tsas);
	if (l->c->format == LOG_JSON)
		seal_json(seal, s);
	else if (l->c->verbosity >= 0)
		seal_text(seal, s);
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
			path, l.bad, l.bad == 1 ? "" : "s",
			l.bad == 1 ? " is" : "s are");
	else if (rc == ST_OK && l.open)
		rc = err_set(err, ST_DENIED, EX_PARTIAL,
			"%s: %" PRIu64 " signature%s or timestamp%s missing", path,
			l.open, l.open == 1 ? "" : "s", l.open == 1 ? " is" : "s are");
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

static void tell(const struct cli *c, const char *path, const struct sign_done *d)
{
	struct buf b = BUF_INIT(JSON_MAX);

	if (c->format == LOG_JSON) {
		buf_addf(&b,
			"{\"seals\":%" PRIu64 ",\"signed\":%" PRIu64
			",\"timestamped\":%" PRIu64 ",\"waiting\":%" PRIu64
			",\"left_unsigned\":%" PRIu64,
			d->seals, d->signatures, d->stamps, d->waiting,
			d->unsigned_before);
		add(&b, "archive", path);
		printf("%s}\n", buf_str(&b));
	} else if (c->verbosity >= 0) {
		printf("%s: %" PRIu64 " seal%s, %" PRIu64 " signed and %" PRIu64
		       " timestamped now",
			path, d->seals, d->seals == 1 ? "" : "s", d->signatures,
			d->stamps);
		if (d->waiting)
			printf(", %" PRIu64 " waiting for a timestamp", d->waiting);
		if (d->unsigned_before)
			printf(", %" PRIu64
			       " left unsigned (timestamped before there was a key)",
				d->unsigned_before);
		printf("\n");
	}
	buf_free(&b);
}

/* Who touched the evidence, and when, is part of its history. */
static void note(const struct cli *c, const char *path, const struct sign_done *d)
{
	struct buf b = BUF_INIT(JSON_MAX);
	struct err err = ERR_INIT;

	if (!d->signatures && !d->stamps)
		return;
	buf_addf(&b, "{\"signatures\":%" PRIu64 ",\"timestamps\":%" PRIu64 "}",
		d->signatures, d->stamps);
	if (archive_note(path, "sign", "seals", buf_str(&b), &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(c, &err);
	}
	buf_free(&b);
}

static const char *misuse(const struct cli *c, const struct tsa_config *t)
{
	bool key = cli_option(c, "key") != NULL;

	if (key != (cli_option(c, "cert") != NULL))
		return "--key and --cert go together";
	if (cli_option(c, "check") && (key || t->n))
		return "--check only looks: it goes without --key and --tsa";
	if (!cli_option(c, "check") && !key && !t->n)
		return "seal needs --key and --cert, or --tsa, or --check";
	if (!cli_option(c, "check") && cli_option(c, "trust"))
		return "--trust goes with --check";
	if (t->pin && t->n > 1)
		return "--tsa-pin is the key of one TSA, and goes with one --tsa";
	return NULL;
}

static int seal(struct cli *c, const struct tsa_config *t, struct err *err)
{
	struct secret secret = { 0 };
	struct signer_config cfg = { .key = cli_option(c, "key"),
		.cert = cli_option(c, "cert"),
		.password = password,
		.ctx = &secret };
	const char *path = cli_archive_path(c->args[0]);
	struct sign_done done = { 0 };
	struct signer *s = NULL;
	enum status rc = cli_key_secret(c, &secret, err);

	if (rc == ST_OK && cfg.key)
		rc = signer_open(&s, &cfg, err);
	if (rc == ST_OK) {
		rc = sign_archive(path, s, t->n ? t : NULL, &done, err);
		note(c, path, &done);
		if (rc == ST_OK || done.seals)
			tell(c, path, &done);
	}
	signer_close(&s);
	if (rc == ST_OK)
		return 0;
	fflush(stdout);
	return cli_archive_failed(c, err);
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
