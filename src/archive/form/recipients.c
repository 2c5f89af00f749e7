/* recipients.c: whom an archive is encrypted to, as archive.json tells it. */
#include "json.h"
#include "layout.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_MAX = 1024 * 1024 };
static const char pem[] = "recipients.pem";
static const char *const kinds[] = { [CRYPT_AGE] = "age", [CRYPT_CMS] = "cms" };

static bool has(const struct policy *p, const char *name)
{
	unsigned i;

	for (i = 0; i < p->to_n; i++)
		if (strcmp(p->to[i], name) == 0)
			return true;
	return false;
}

enum status policy_same_recipients(
	const struct policy *p, const struct recipients *r, struct err *err)
{
	size_t n = recipients_count(r), i;

	if (p->crypt == CRYPT_NONE)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the archive is not encrypted: leave --encrypt-to out, or begin a new "
			"archive; if it was, somebody has changed archive.json");
	for (i = 0; i < n && has(p, recipients_name(r, i));)
		i++;
	if (p->crypt == recipients_kind(r) && i == n && n == p->to_n)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_USAGE,
		"the archive is encrypted to others than --encrypt-to names: name those, or "
		"begin a new archive; if it was made for these, somebody has changed "
		"archive.json");
}

enum status policy_set_recipients(
	struct policy *p, int dir, const struct recipients *r, struct err *err)
{
	struct buf b = BUF_INIT(PEM_MAX);
	size_t n = recipients_count(r), i;
	enum status rc = ST_OK;

	if (n == 0 || n > RECIPIENTS_MAX)
		return err_set(err, ST_DENIED, EX_USAGE,
			"an archive can be encrypted to 1 to %d recipients, not %zu",
			RECIPIENTS_MAX, n);
	p->crypt = recipients_kind(r);
	for (i = 0; i < n; i++) {
		const char *name = recipients_name(r, i);

		if (strlen(name) >= RECIPIENT_MAX || strcmp(name, "passphrase") == 0)
			return err_set(err, ST_DENIED, EX_USAGE,
				"an archive is encrypted to keys, not to %.40s", name);
		snprintf(p->to[i], RECIPIENT_MAX, "%s", name);
	}
	p->to_n = (unsigned)n;
	recipients_pem(r, &b);
	if (p->crypt == CRYPT_CMS)
		rc = fs_replace(dir, pem, b.p, b.n, 0444, err);
	buf_free(&b);
	return rc;
}

enum status policy_recipients(struct recipients **out, const struct policy *p,
	const char *path, bool expired, struct err *err)
{
	char *file = xasprintf("%s/%s", path, pem);
	enum status rc = ST_OK;
	unsigned i;

	recipients_open(out);
	if (expired)
		recipients_expired(*out);
	if (p->crypt == CRYPT_CMS)
		rc = recipients_add(*out, file, err);
	for (i = 0; rc == ST_OK && p->crypt == CRYPT_AGE && i < p->to_n; i++)
		rc = recipients_add(*out, p->to[i], err);
	free(file);
	if (rc == ST_OK && policy_same_recipients(p, *out, err) != ST_OK)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is not what archive.json tells of: put it back from a copy of "
			"the archive",
			pem);
	if (rc != ST_OK)
		recipients_close(out);
	return rc;
}

void policy_encrypt_text(struct buf *b, const struct policy *p)
{
	unsigned i;

	if (p->crypt == CRYPT_NONE)
		return;
	buf_addf(b, ",\"encrypt\":{\"kind\":\"%s\",\"to\":[", kinds[p->crypt]);
	for (i = 0; i < p->to_n; i++) {
		buf_adds(b, i ? "," : "");
		text_json(b, p->to[i], strlen(p->to[i]));
	}
	buf_adds(b, "]}");
}

bool policy_encrypt_read(struct policy *p, const char *json)
{
	char kind[TOKEN_MAX], **to;
	const char *end;
	size_t n, i;
	bool good;

	if (!json_at(json, "encrypt", &end))
		return true;
	if (!json_get(kind, json, "encrypt.kind"))
		return false;
	p->crypt = strcmp(kind, kinds[CRYPT_AGE]) == 0 ? CRYPT_AGE
		: strcmp(kind, kinds[CRYPT_CMS]) == 0  ? CRYPT_CMS
						       : CRYPT_NONE;
	to = json_texts(json, "encrypt.to", &n);
	good = p->crypt != CRYPT_NONE && n > 0 && n <= RECIPIENTS_MAX;
	for (i = 0; good && i < n; i++) {
		good = strlen(to[i]) < RECIPIENT_MAX;
		if (good)
			snprintf(p->to[i], RECIPIENT_MAX, "%s", to[i]);
	}
	p->to_n = good ? (unsigned)n : 0;
	json_texts_free(&to, n);
	return good;
}
