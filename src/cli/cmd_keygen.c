/* cmd_keygen.c: a signing key for those who have no CA; a key of age to decrypt
 * with. */
#include <popferry/buf.h>
#include <popferry/crypt.h>
#include <popferry/mem.h>
#include <popferry/sign.h>
#include <popferry/text.h>

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DAYS = 3650, DAYS_MAX = 36500, NAME_MAX_CN = 64, JSON_MAX = 64 * 1024 };

const struct option keygen_options[] = {
	{ "age", NULL,
		"a key that opens archives which are encrypted to it (no CERT)" },
	{ "type", "ec|rsa", "the kind of key: P-256 (default) or RSA of 3072 bits" },
	{ "name", "TEXT", "whose it is, for the certificate (default: user@host)" },
	{ "days", "N", "how long the certificate is valid (default 3650)" },
	{ "key-password-file", "FILE", "encrypt the key: its first line" },
	{ "key-password-command", "CMD", "the same, from a command" },
	{ "key-password-env", "NAME", "the same, from the environment" },
	{ NULL, NULL, NULL },
};

enum status cli_key_secret(const struct cli *c, struct secret *out, struct err *err)
{
	out->file = (char *)cli_option(c, "key-password-file");
	out->command = (char *)cli_option(c, "key-password-command");
	out->env = (char *)cli_option(c, "key-password-env");
	if ((out->file != NULL) + (out->command != NULL) + (out->env != NULL) > 1)
		return err_set(err, ST_DENIED, EX_USAGE,
			"one of --key-password-file, --key-password-command and "
			"--key-password-env is enough");
	return ST_OK;
}

static enum status set_days(const char *text, unsigned *out, struct err *err)
{
	unsigned long v = 0;
	char *end = NULL;

	if (text && *text >= '0' && *text <= '9')
		v = strtoul(text, &end, 10);
	if (text && (!end || *end || v < 1 || v > DAYS_MAX))
		return err_set(err, ST_DENIED, EX_USAGE,
			"--days: expected a number from 1 to %d", DAYS_MAX);
	*out = text ? (unsigned)v : DAYS;
	return ST_OK;
}

static enum status set_kind(const char *text, enum sign_key *out, struct err *err)
{
	*out = text && strcmp(text, "rsa") == 0 ? SIGN_RSA : SIGN_EC;
	if (text && *out == SIGN_EC && strcmp(text, "ec") != 0)
		return err_set(err, ST_DENIED, EX_USAGE, "--type: expected ec or rsa");
	return ST_OK;
}

static enum status set_name(
	const struct cli *c, char out[NAME_MAX_CN + 1], struct err *err)
{
	const char *name = cli_option(c, "name"), *user = getenv("USER");
	char host[64] = "";

	if (name && (!*name || strlen(name) > NAME_MAX_CN))
		return err_set(err, ST_DENIED, EX_USAGE,
			"--name: expected 1 to %d bytes", NAME_MAX_CN);
	gethostname(host, sizeof(host) - 1);
	if (name)
		snprintf(out, NAME_MAX_CN + 1, "%s", name);
	else
		snprintf(out, NAME_MAX_CN + 1, "%.24s@%.32s",
			user && *user ? user : "popferry", *host ? host : "localhost");
	return ST_OK;
}

static void tell(const struct cli *c, const struct keygen *k, const char *sha256)
{
	struct buf b = BUF_INIT(JSON_MAX);

	if (c->format == LOG_JSON) {
		buf_adds(&b, "{\"key\":");
		text_json(&b, k->key, strlen(k->key));
		buf_adds(&b, ",\"certificate\":");
		text_json(&b, k->cert, strlen(k->cert));
		buf_adds(&b, ",\"name\":");
		text_json(&b, k->name, strlen(k->name));
		buf_addf(&b, ",\"sha256\":\"%s\"}", sha256);
		printf("%s\n", buf_str(&b));
	} else if (c->verbosity >= 0) {
		printf("%s: the key%s; whoever has it can sign\n"
		       "%s: its certificate, for everybody who is to check signatures\n"
		       "fingerprint (SHA-256): %s\n",
			k->key, k->password ? ", encrypted" : "", k->cert, sha256);
	}
	buf_free(&b);
}

static void tell_age(const struct cli *c, const char *path, const char *recipient)
{
	struct buf b = BUF_INIT(JSON_MAX);

	if (c->format == LOG_JSON) {
		buf_adds(&b, "{\"key\":");
		text_json(&b, path, strlen(path));
		buf_addf(&b, ",\"recipient\":\"%s\"}", recipient);
		printf("%s\n", buf_str(&b));
	} else if (c->verbosity >= 0) {
		printf("%s: the key; whoever has it can read what is encrypted to\n%s\n",
			path, recipient);
	}
	buf_free(&b);
}

static int keygen_age(struct cli *c, struct err *err)
{
	char recipient[CRYPT_RECIPIENT], *password = NULL;
	struct secret secret = { 0 };
	enum status rc;

	if (c->n_args != 1 || cli_option(c, "type") || cli_option(c, "name") ||
		cli_option(c, "days"))
		return cli_bad_usage(c, "keygen",
			"keygen --age needs a KEY, a file to be made, and nothing else",
			err);
	rc = cli_key_secret(c, &secret, err);
	if (rc == ST_OK && (secret.file || secret.command || secret.env))
		rc = secret_get(&secret, "key", &password, err);
	if (rc == ST_OK)
		rc = age_keygen(c->args[0], password, recipient, err);
	if (rc == ST_OK)
		tell_age(c, c->args[0], recipient);
	else
		cli_complain(c, err);
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
	return rc == ST_OK ? 0 : err->exit;
}

int cmd_keygen(struct cli *c, struct err *err)
{
	char name[NAME_MAX_CN + 1], sha256[65], *password = NULL;
	struct keygen k = { .name = name };
	struct secret secret = { 0 };
	enum status rc;

	if (cli_option(c, "age"))
		return keygen_age(c, err);
	if (c->n_args != 2)
		return cli_bad_usage(c, "keygen",
			"keygen needs a KEY and a CERT, files to be made", err);
	k.key = c->args[0];
	k.cert = c->args[1];
	rc = set_kind(cli_option(c, "type"), &k.kind, err);
	if (rc == ST_OK)
		rc = set_days(cli_option(c, "days"), &k.days, err);
	if (rc == ST_OK)
		rc = set_name(c, name, err);
	if (rc == ST_OK)
		rc = cli_key_secret(c, &secret, err);
	if (rc == ST_OK && (secret.file || secret.command || secret.env))
		rc = secret_get(&secret, "key", &password, err);
	k.password = password;
	if (rc == ST_OK)
		rc = sign_keygen(&k, sha256, err);
	if (rc == ST_OK)
		tell(c, &k, sha256);
	else
		cli_complain(c, err);
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
	return rc == ST_OK ? 0 : err->exit;
}
