/* statement.c: seals written, and read again. */
#include "statement.h"
#include "hash.h"
#include "json.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATEMENT_MAX = 64 * 1024, TOLD = 5 };
static const char type[] = "mail-archive-seal/1", alg[] = "rfc6962-sha256";

void statement_name(char out[FILE_NAME_MAX], const struct policy *p, unsigned no)
{
	char name[NAME_MAX_SEGMENT];

	segment_name(name, p, no);
	snprintf(out, FILE_NAME_MAX, "seals/%s.seal.json", name);
}

/* ---- writing ---- */

static void add_hex(struct buf *b, const char *key, const unsigned char sha[DIGEST])
{
	char hex[2 * DIGEST + 1];

	buf_addf(b, "\"%s\":\"%s\"", key, text_hex(hex, sha, DIGEST));
}

void statement_told(struct buf *b, const struct custody_head *custody,
	const char *reconcile, int64_t now)
{
	char at[24];

	buf_adds(b, "{\"name\":\"popferry\",\"version\":\"" VERSION "\"}\n");
	buf_addf(b, "{\"events\":%" PRIu64 ",", custody->events);
	add_hex(b, "head", custody->sha);
	buf_adds(b, "}\n");
	custody_operator(b);
	buf_addf(b, "\n%s\n\"%s\"\n", reconcile, clock_rfc3339(at, now));
}

static void add_prev(struct buf *b, const struct statement *s)
{
	if (s->prev == 0) {
		buf_adds(b, ",\"prev\":null");
		return;
	}
	buf_addf(b, ",\"prev\":{\"seal\":%u,", s->prev);
	add_hex(b, "sha256", s->prev_sha);
	buf_addc(b, '}');
}

static void add_tree(struct buf *b, const struct tree *t)
{
	unsigned char root[DIGEST];
	char hex[2 * DIGEST + 1];
	size_t i;

	buf_addf(b, ",\"tree\":{\"alg\":\"%s\",\"edge\":[", alg);
	for (i = 0; i < t->edges; i++)
		buf_addf(
			b, "%s\"%s\"", i ? "," : "", text_hex(hex, t->edge[i], DIGEST));
	tree_root(t, root);
	buf_addf(b, "],\"root\":\"%s\",\"size\":%" PRIu64 "}",
		text_hex(hex, root, DIGEST), t->n);
}

static void add_cipher(struct buf *b, const struct statement *s)
{
	if (s->crypt == CRYPT_NONE)
		return;
	buf_addf(b, "\"cipher\":{\"kind\":\"%s\",\"plain_bytes\":%" PRIu64 ",",
		s->crypt == CRYPT_AGE ? "age" : "cms", s->plain_bytes);
	add_hex(b, "plain_sha256", s->plain_sha);
	buf_adds(b, "},");
}

void statement_text(struct buf *b, const struct statement *s, const char *told)
{
	const char *line[TOLD];
	int n[TOLD], i;

	for (i = 0; i < TOLD; i++) {
		line[i] = told;
		n[i] = (int)strcspn(told, "\n");
		told += n[i] + (told[n[i]] == '\n');
	}
	buf_addf(b, "{\"agent\":%.*s,\"archive\":\"%s\",", n[0], line[0], s->archive);
	add_hex(b, "archive_json_sha256", s->json_sha);
	buf_addf(
		b, ",\"custody\":%.*s,\"operator\":%.*s", n[1], line[1], n[2], line[2]);
	add_prev(b, s);
	buf_addf(b,
		",\"range\":{\"count\":%" PRIu64 ",\"first\":%" PRIu64
		",\"last\":%" PRIu64 ",\"octets\":%" PRIu64 "}",
		s->count, s->first, s->last, s->octets);
	buf_addf(b, ",\"reconcile\":%.*s,\"seal\":%u,\"sealed_at\":%.*s", n[3], line[3],
		s->no, n[4], line[4]);
	buf_addf(b, ",\"segment\":{\"bytes\":%" PRIu64 ",", s->bytes);
	add_cipher(b, s);
	add_hex(b, "idx_sha256", s->idx_sha);
	buf_addf(b, ",\"name\":\"%s\",", s->file);
	add_hex(b, "sha256", s->sha);
	buf_addc(b, ',');
	add_hex(b, "tagmanifest_sha256", s->tags_sha);
	buf_addc(b, '}');
	add_tree(b, &s->tree);
	buf_addf(b, ",\"type\":\"%s\"}\n", type);
}

/* ---- reading ---- */

static bool get_tree(struct statement *s, const char *text)
{
	unsigned char root[DIGEST];
	char hex[2 * DIGEST + 1], is[TOKEN_MAX];
	const char *end, *p = json_at(text, "tree.edge", &end);

	if (!p || *p++ != '[' || !json_get(is, text, "tree.alg") ||
		strcmp(is, alg) != 0 || !json_number(&s->tree.n, text, "tree.size") ||
		!json_hex(s->root, DIGEST, text, "tree.root") || s->tree.n > SEQ_MAX)
		return false;
	while (*p == '"' && s->tree.edges < TREE_EDGE) {
		if (end - p < 2 * DIGEST + 2 || p[1 + 2 * DIGEST] != '"')
			return false;
		memcpy(hex, p + 1, 2 * DIGEST);
		hex[2 * DIGEST] = '\0';
		if (!text_unhex(s->tree.edge[s->tree.edges++], DIGEST, hex))
			return false;
		p += 2 * DIGEST + 2;
		p += *p == ',';
	}
	if (*p != ']' || s->tree.edges != (size_t)__builtin_popcountll(s->tree.n))
		return false;
	tree_root(&s->tree, root);
	return memcmp(root, s->root, DIGEST) == 0;
}

static bool get_prev(struct statement *s, const char *text)
{
	char none[TOKEN_MAX];
	uint64_t n;

	if (json_get(none, text, "prev") && strcmp(none, "null") == 0)
		return true;
	if (!json_number(&n, text, "prev.seal") || n == 0 || n >= s->no ||
		!json_hex(s->prev_sha, DIGEST, text, "prev.sha256"))
		return false;
	s->prev = (unsigned)n;
	return true;
}

/* All of it, or nothing. */
static bool get_reconcile(struct statement *s, const char *text)
{
	struct listing_sums *l = &s->listing;
	char key[TOKEN_MAX];
	size_t i;

	if (json_get(key, text, "reconcile.listed") && strcmp(key, "null") == 0)
		return true;
	l->known = true;
	for (i = 0; i < FATES; i++) {
		snprintf(key, sizeof(key), "reconcile.%s", fate_names[i]);
		if (!json_number(&l->count[i], text, key))
			return false;
	}
	return json_number(&s->listed, text, "reconcile.listed") &&
		json_number(&l->octets, text, "reconcile.octets") &&
		json_hex(l->sha, DIGEST, text, "reconcile.uidl_sha256");
}

static bool get_cipher(struct statement *s, const char *text)
{
	char kind[TOKEN_MAX];

	if (!json_get(kind, text, "segment.cipher.kind"))
		return true;
	s->crypt = strcmp(kind, "age") == 0 ? CRYPT_AGE : CRYPT_CMS;
	return json_number(&s->plain_bytes, text, "segment.cipher.plain_bytes") &&
		json_hex(s->plain_sha, DIGEST, text, "segment.cipher.plain_sha256");
}

static bool get_segment(struct statement *s, const char *text)
{
	char name[TOKEN_MAX];

	if (!json_get(name, text, "segment.name") || strlen(name) >= sizeof(s->file))
		return false;
	memcpy(s->file, name, strlen(name) + 1);
	return json_number(&s->bytes, text, "segment.bytes") &&
		json_hex(s->sha, DIGEST, text, "segment.sha256") &&
		json_hex(s->idx_sha, DIGEST, text, "segment.idx_sha256") &&
		json_hex(s->tags_sha, DIGEST, text, "segment.tagmanifest_sha256");
}

static bool parse(struct statement *s, const char *text)
{
	char is[TOKEN_MAX], id[TOKEN_MAX];
	uint64_t no;

	if (!json_get(is, text, "type") || strcmp(is, type) != 0 ||
		!json_number(&no, text, "seal") || no == 0 || no > SEGMENT_NO_MAX ||
		!json_get(id, text, "archive") || strlen(id) >= sizeof(s->archive))
		return false;
	s->no = (unsigned)no;
	memcpy(s->archive, id, strlen(id) + 1);
	return json_hex(s->json_sha, DIGEST, text, "archive_json_sha256") &&
		json_number(&s->custody.events, text, "custody.events") &&
		json_hex(s->custody.sha, DIGEST, text, "custody.head") &&
		json_number(&s->first, text, "range.first") &&
		json_number(&s->last, text, "range.last") &&
		json_number(&s->count, text, "range.count") &&
		json_number(&s->octets, text, "range.octets") && get_prev(s, text) &&
		get_segment(s, text) && get_cipher(s, text) && get_reconcile(s, text) &&
		get_tree(s, text);
}

enum status statement_load(struct statement *s, int dir, const struct policy *p,
	unsigned no, struct err *err)
{
	char name[FILE_NAME_MAX], *text = NULL;
	size_t n = 0;
	enum status rc;

	memset(s, 0, sizeof(*s));
	statement_name(name, p, no);
	rc = fs_read(&text, &n, dir, name, STATEMENT_MAX, err);
	if (rc != ST_OK)
		return rc;
	hash_of(text, n, s->self);
	if (strlen(text) != n || n == 0 || text[n - 1] != '\n' || !parse(s, text) ||
		s->no != no)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is damaged: put it back from a copy of the archive", name);
	free(text);
	return rc;
}

enum status statement_vouches(
	int dir, const struct policy *p, unsigned no, struct err *err)
{
	unsigned char sha[DIGEST];
	struct statement s;
	enum status rc = statement_load(&s, dir, p, no, err);

	/* A damaged one is for verify to tell, where nothing is secret. */
	if (rc == ST_END || (rc == ST_DENIED && p->crypt == CRYPT_NONE))
		return ST_OK;
	if (rc != ST_OK || (p->crypt == CRYPT_NONE && s.crypt == CRYPT_NONE))
		return rc;
	rc = hash_file(dir, "archive.json", sha, NULL, err);
	if (rc == ST_OK && memcmp(sha, s.json_sha, DIGEST) != 0)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"archive.json is not the one that the seals tell of, and it says to "
			"whom messages are encrypted: put it back from a copy of the archive");
	return rc;
}
