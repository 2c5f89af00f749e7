/* disposition.c: policy/disposition-N.json, read and made. See FORMAT. */
#include "disposition.h"
#include "../form/custody.h"
#include "../form/hash.h"
#include "../form/json.h"
#include "rewrite.h"
#include "secret.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char type[] = "mail-archive-disposition/1";

/* ".age", ".p7m", or nothing. */
static const char *cipher_suffix(const struct state *s)
{
	static const enum crypt_kind all[] = { CRYPT_AGE, CRYPT_CMS };
	const char *last = strrchr(s->file, '.');
	size_t i;

	for (i = 0; last && i < N_ELEMENTS(all); i++)
		if (strcmp(last, crypt_suffix(all[i])) == 0)
			return last;
	return "";
}

bool state_encrypted(const struct state *s)
{
	return *cipher_suffix(s) != '\0';
}

static bool get_state(struct state *s, const char *text, const char *key)
{
	char path[64], name[TOKEN_MAX];
	static const char *const keys[] = { "sha256", "idx_sha256",
		"tagmanifest_sha256" };
	unsigned char *const to[] = { s->sha, s->idx_sha, s->tags_sha };
	size_t i;

	snprintf(path, sizeof(path), "%s.name", key);
	if (!json_get(name, text, path) || strlen(name) >= sizeof(s->file) ||
		strchr(name, '/'))
		return false;
	memcpy(s->file, name, strlen(name) + 1);
	for (i = 0; i < N_ELEMENTS(keys); i++) {
		snprintf(path, sizeof(path), "%s.%s", key, keys[i]);
		if (!json_hex(to[i], DIGEST, text, path))
			return false;
	}
	snprintf(path, sizeof(path), "%s.plain_sha256", key);
	return !state_encrypted(s) || json_hex(s->plain_sha, DIGEST, text, path);
}

static bool parse(struct disposition *d, const char *text)
{
	char is[TOKEN_MAX], segment[TOKEN_MAX], *seqs;
	uint64_t no;
	bool good;

	if (!json_get(is, text, "type") || strcmp(is, type) != 0 ||
		!json_number(&no, text, "number") || no == 0 || no > RECORD_NO_MAX ||
		!json_get(segment, text, "segment") ||
		strlen(segment) >= sizeof(d->segment))
		return false;
	d->no = (unsigned)no;
	memcpy(d->segment, segment, strlen(segment) + 1);
	seqs = json_text(text, "seqs");
	good = seqs && ranges_read(&d->seqs, seqs);
	free(seqs);
	return good && get_state(&d->before, text, "old") &&
		get_state(&d->after, text, "new");
}

static enum status load(
	struct disposition *d, int dir, const char *name, struct err *err)
{
	char *text = NULL;
	size_t n = 0;
	enum status rc = fs_read(&text, &n, dir, name, RECORD_MAX, err);

	memset(d, 0, sizeof(*d));
	if (rc != ST_OK)
		return rc;
	hash_of(text, n, d->self);
	if (strlen(text) != n || !parse(d, text)) {
		disposition_free(d);
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is damaged: put it back from a copy of the archive", name);
	}
	free(text);
	return rc;
}

enum status disposition_load(
	struct disposition *d, int dir, unsigned no, struct err *err)
{
	char name[FILE_NAME_MAX];
	enum status rc;

	record_name(name, "disposition", no);
	rc = load(d, dir, name, err);
	if (rc == ST_OK && d->no != no) {
		disposition_free(d);
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is another record than its name says", name);
	}
	return rc;
}

enum status disposition_pending(struct disposition *d, int dir, struct err *err)
{
	return load(d, dir, "open/dispose.json", err);
}

void disposition_free(struct disposition *d)
{
	ranges_free(&d->seqs);
}

void state_idx(char out[FILE_NAME_MAX], const struct state *s)
{
	const char *stem = strchr(s->file, '.');
	size_t n = stem ? (size_t)(stem - s->file) : strlen(s->file);

	if (stem && text_starts(stem, ".r"))
		n += 1 + strcspn(stem + 1, ".");
	snprintf(out, FILE_NAME_MAX, "%.*s.idx%s", (int)n, s->file, cipher_suffix(s));
}

static void add_state(struct buf *b, const char *key, const struct state *s)
{
	char sha[2 * DIGEST + 1], idx[2 * DIGEST + 1], tags[2 * DIGEST + 1];

	buf_addf(b, ",\"%s\":{\"idx_sha256\":\"%s\",\"name\":\"%s\"", key,
		text_hex(idx, s->idx_sha, DIGEST), s->file);
	if (state_encrypted(s))
		buf_addf(b, ",\"plain_sha256\":\"%s\"",
			text_hex(sha, s->plain_sha, DIGEST));
	buf_addf(b, ",\"sha256\":\"%s\",\"tagmanifest_sha256\":\"%s\"}",
		text_hex(sha, s->sha, DIGEST), text_hex(tags, s->tags_sha, DIGEST));
}

enum status disposition_make(struct buf *b, const struct keeper *k,
	const struct disposition *d, const struct rewrite *w, const char *authority,
	struct err *err)
{
	char hex[2 * DIGEST + 1];
	struct buf seqs = BUF_INIT(RECORD_MAX), words = BUF_INIT(SECRET_MAX);
	enum status rc;
	size_t i;

	buf_adds(&words, "\"authority\":");
	text_json(&words, authority, strlen(authority));
	record_begin(b, k, clock_utc());
	if (k->policy.crypt == CRYPT_NONE)
		buf_addf(b, ",%s", buf_str(&words));
	buf_adds(b, ",\"leaves\":[");
	for (i = 0; i < w->n; i++)
		buf_addf(b, "%s\"%s\"", i ? "," : "",
			text_hex(hex, w->going[i].leaf, DIGEST));
	buf_addc(b, ']');
	add_state(b, "new", &d->after);
	buf_addf(b, ",\"number\":%u", d->no);
	add_state(b, "old", &d->before);
	buf_adds(b, ",\"operator\":");
	custody_operator(b);
	rc = secret_add(b, &k->vault, &words, err);
	ranges_text(&seqs, &d->seqs);
	buf_addf(b, ",\"segment\":\"%s\",\"seqs\":\"%s\",\"type\":\"%s\"}\n",
		d->segment, buf_str(&seqs), type);
	buf_free(&seqs);
	buf_free(&words);
	return rc;
}
