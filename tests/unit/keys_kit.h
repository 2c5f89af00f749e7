/*
 * keys_kit.h: keys, archives that are encrypted to these, and what is in clear in a
 * folder. Whoever includes it says before how many messages a segment has
 * (PER_SEGMENT), and how large members are (MEMBER).
 */
#ifndef KEYS_KIT_H
#define KEYS_KIT_H

#include "t_archive.h"

#include <popferry/crypt.h>

/* Two of each kind, and one that is of no archive. */
static struct {
	char *dir, *to[2][2], *key[2][2], *other, other_to[CRYPT_RECIPIENT];
} keys;

static const enum crypt_kind kinds[] = { CRYPT_AGE, CRYPT_CMS };

UNUSED static void make_age(unsigned i)
{
	char recipient[CRYPT_RECIPIENT];
	struct err err = ERR_INIT;

	keys.key[0][i] = xasprintf("%s/age%u", keys.dir, i);
	ok(age_keygen(keys.key[0][i], NULL, recipient, &err), &err);
	keys.to[0][i] = xstrdup(recipient);
}

UNUSED static void make_cert(unsigned i)
{
	const char *const args[] = { "openssl", "req", "-x509", "-newkey", "ec",
		"-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
		"/CN=reader", "-keyout", keys.key[1][i], "-out", keys.to[1][i], NULL };

	assert_int_equal(tool(keys.dir, "/dev/null", args), 0);
	assert_int_equal(chmod(keys.key[1][i], 0600), 0);
}

UNUSED static int make_keys(void **state)
{
	struct err err = ERR_INIT;
	unsigned i;

	(void)state;
	keys.dir = scratch();
	for (i = 0; i < 2; i++) {
		make_age(i);
		keys.key[1][i] = xasprintf("%s/key%u.pem", keys.dir, i);
		keys.to[1][i] = xasprintf("%s/cert%u.pem", keys.dir, i);
		make_cert(i);
	}
	keys.other = xasprintf("%s/other", keys.dir);
	ok(age_keygen(keys.other, NULL, keys.other_to, &err), &err);
	return 0;
}

UNUSED static int drop_keys(void **state)
{
	unsigned k, i;

	(void)state;
	remove_all(keys.dir);
	for (k = 0; k < 2; k++)
		for (i = 0; i < 2; i++) {
			free(keys.key[k][i]);
			free(keys.to[k][i]);
		}
	free(keys.other);
	free(keys.dir);
	return 0;
}

UNUSED static struct recipients *to_both(unsigned kind)
{
	struct recipients *r;
	struct err err = ERR_INIT;
	unsigned i;

	recipients_open(&r);
	for (i = 0; i < 2; i++)
		ok(recipients_add(r, keys.to[kind][i], &err), &err);
	return r;
}

UNUSED static enum status try_open(struct archive_writer **w, const char *dir,
	const char *state, enum archive_codec codec, const struct recipients *to,
	struct err *err)
{
	const struct archive_config cfg = { .path = dir,
		.slug = "acme",
		.source = "pop3s://ann@pop.example.org",
		.codec = codec,
		.segment_messages = PER_SEGMENT,
		.recipients = to,
		.state = state,
		.fixed = &fixed };

	return archive_open(w, &cfg, err);
}

UNUSED static struct archive_writer *open_crypt(const char *dir, const char *state,
	enum archive_codec codec, const struct recipients *to)
{
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;

	ok(try_open(&w, dir, state, codec, to, &err), &err);
	return w;
}

/* ---- what is in clear ---- */

static const char *sought;
static size_t sought_n;
static char *seen_in;

UNUSED static int seek_in(
	const char *path, const struct stat *st, int type, struct FTW *f)
{
	char *text;
	size_t n;

	(void)st;
	(void)f;
	if (type != FTW_F)
		return 0;
	text = slurp(path, &n);
	if (n >= sought_n && memmem(text, n, sought, sought_n) && !seen_in)
		seen_in = xstrdup(path);
	free(text);
	return 0;
}

UNUSED static void not_in(const char *dir, const char *what, size_t n)
{
	sought = what;
	sought_n = n;
	nftw(dir, seek_in, 16, FTW_PHYS);
	if (seen_in)
		fail_msg("%.40s stands in clear in %s", what, seen_in);
}

/* ---- reading ---- */

UNUSED static enum status read_with(struct archive_reader **r, struct identities **ids,
	const char *dir, const char *key, const char *state, struct err *err)
{
	struct archive_access a = { .state = state, .closed = !key };
	enum status rc = ST_OK;

	*ids = NULL;
	if (key) {
		identities_open(ids);
		rc = identities_add(*ids, key, NULL, NULL, err);
	}
	a.identities = *ids;
	return rc == ST_OK ? archive_read_as(r, dir, &a, err) : rc;
}

/* An archive of a fixed id, in dir/a; its state is dir/s. */
UNUSED static void make_fixed(const char *dir, enum archive_codec codec, unsigned kind)
{
	char *at = xasprintf("%s/a", dir), *st = xasprintf("%s/s", dir),
	     *json = xasprintf("%s/archive.json", at),
	     *manifest = xasprintf("%s/manifest-sha256.txt", at), *text;
	struct recipients *to = to_both(kind);
	struct archive_writer *w;

	assert_int_equal(mkdir(at, 0700), 0);
	assert_int_equal(mkdir(st, 0700), 0);
	w = open_crypt(at, st, codec, to);
	archive_close(&w);
	text = xasprintf(
		"{\"format\":1,\"id\":\"urn:uuid:0\",\"slug\":\"acme\","
		"\"tree\":\"rfc6962-sha256\",\"codec\":\"%s\",\"member_bytes\":%d,"
		"\"segment_bytes\":1000000000,\"segment_messages\":60000,"
		"\"encrypt\":{\"kind\":\"%s\",\"to\":[\"%s\",\"%s\"]}}\n",
		archive_codec_name(codec), MEMBER, kind ? "cms" : "age",
		recipients_name(to, 0), recipients_name(to, 1));
	spit(json, text, strlen(text));
	unlink(manifest);
	recipients_close(&to);
	free(text);
	free(manifest);
	free(json);
	free(st);
	free(at);
}

#endif
