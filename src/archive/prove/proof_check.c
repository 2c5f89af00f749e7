/* proof_check.c: a proof, checked by itself. */
#include "../form/hash.h"
#include "../form/json.h"
#include "proof.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

void proof_tell(struct archive_proof *out, const struct proof *p)
{
	memset(out, 0, sizeof(*out));
	out->seq = p->row.seq;
	out->size = p->row.size;
	out->tree = p->path.size;
	out->seal = p->seal;
	out->path = (unsigned)p->path.n;
	memcpy(out->archive, p->archive, sizeof(out->archive));
	text_hex(out->sha256, p->row.sha, DIGEST);
}

static enum status wrong(struct err *err, const char *what)
{
	return err_set(err, ST_DENIED, EX_DATAERR, "%s", what);
}

static enum status read_text(
	char **out, size_t *n, int dir, const char *name, struct err *err)
{
	enum status rc = fs_read(out, n, dir, name, PROOF_MAX, err);

	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR, "%s is missing", name);
	return rc;
}

/* ---- proof.json ---- */

static bool get_path(struct tree_path *t, const char *text)
{
	const char *end, *s = json_at(text, "path", &end);
	char hex[2 * DIGEST + 1];

	if (!s || *s++ != '[')
		return false;
	while (*s == '"' && t->n < TREE_PATH) {
		if (end - s < 2 * DIGEST + 2)
			return false;
		memcpy(hex, s + 1, 2 * DIGEST);
		hex[2 * DIGEST] = '\0';
		if (!text_unhex(t->node[t->n++], DIGEST, hex))
			return false;
		s += 2 * DIGEST + 2;
		s += *s == ',';
	}
	return *s == ']';
}

static bool parse(struct proof *p, const char *text)
{
	char id[TOKEN_MAX];
	uint64_t seq, seal;

	if (!json_get(id, text, "archive") || strlen(id) >= sizeof(p->archive) ||
		!json_number(&seq, text, "seq") || seq == 0 || seq > SEQ_MAX ||
		!json_number(&seal, text, "seal.seal") || seal > SEGMENT_NO_MAX)
		return false;
	memcpy(p->archive, id, strlen(id) + 1);
	p->row.seq = (uint32_t)seq;
	p->seal = (unsigned)seal;
	return json_hex(p->seal_sha, DIGEST, text, "seal.sha256") &&
		json_hex(p->row.sha, DIGEST, text, "sha256") &&
		json_number(&p->row.size, text, "size") &&
		json_hex(p->salt, SALT, text, "salt") &&
		json_hex(p->leaf, DIGEST, text, "leaf") &&
		json_hex(p->root, DIGEST, text, "root") &&
		json_number(&p->path.index, text, "index") &&
		json_number(&p->path.size, text, "tree_size") && p->path.size &&
		get_path(&p->path, text);
}

/* Written anew it must be the same bytes: nothing may hide between what is checked. */
static enum status read_proof(struct proof *p, int dir, struct err *err)
{
	struct buf again = BUF_INIT(PROOF_MAX);
	char *text = NULL;
	size_t n;
	enum status rc = read_text(&text, &n, dir, "proof.json", err);

	if (rc != ST_OK)
		return rc;
	if (strlen(text) == n && parse(p, text))
		proof_text(&again, p);
	if (n == 0 || again.n != n || memcmp(buf_str(&again), text, n) != 0)
		rc = wrong(err,
			"proof.json is damaged, or of a newer version of popferry");
	buf_free(&again);
	free(text);
	return rc;
}

/* ---- the seal ---- */

static bool of_this_seal(const struct proof *p, const char *text)
{
	char type[TOKEN_MAX], alg[TOKEN_MAX], id[TOKEN_MAX];
	unsigned char root[DIGEST];
	uint64_t no, first, last, size;

	return json_get(type, text, "type") &&
		strcmp(type, "mail-archive-seal/1") == 0 &&
		json_get(alg, text, "tree.alg") && strcmp(alg, "rfc6962-sha256") == 0 &&
		json_get(id, text, "archive") && strcmp(id, p->archive) == 0 &&
		json_number(&no, text, "seal") && no == p->seal &&
		json_number(&first, text, "range.first") && first <= p->row.seq &&
		json_number(&last, text, "range.last") && last >= p->row.seq &&
		json_number(&size, text, "tree.size") && size == p->path.size &&
		last - p->row.seq < size &&
		p->path.index == size - 1 - (last - p->row.seq) &&
		json_hex(root, DIGEST, text, "tree.root") &&
		memcmp(root, p->root, DIGEST) == 0;
}

static enum status check_seal(const struct proof *p, int dir, struct err *err)
{
	unsigned char sha[DIGEST];
	char *text = NULL;
	size_t n;
	enum status rc = read_text(&text, &n, dir, "seal.json", err);

	if (rc != ST_OK)
		return rc;
	hash_of(text, n, sha);
	if (memcmp(sha, p->seal_sha, DIGEST) != 0)
		rc = wrong(err, "seal.json is not the seal that proof.json tells of");
	else if (strlen(text) != n || !of_this_seal(p, text))
		rc = wrong(err, "proof.json does not lead to the tree of seal.json");
	free(text);
	return rc;
}

static enum status check_leaf(const struct proof *p, struct err *err)
{
	unsigned char leaf[DIGEST], root[DIGEST];

	tree_leaf(leaf, &p->row, p->salt);
	if (memcmp(leaf, p->leaf, DIGEST) != 0)
		return wrong(err, "the leaf in proof.json is not that of the message");
	if (!tree_path_root(&p->path, leaf, root) || memcmp(root, p->root, DIGEST) != 0)
		return wrong(err, "the path in proof.json does not lead to the root");
	return ST_OK;
}

static enum status check_message(const struct proof *p, int dir, struct err *err)
{
	unsigned char sha[DIGEST];
	uint64_t size;
	enum status rc = file_there(dir, "message.eml", err);

	if (rc == ST_END)
		return wrong(err, "message.eml is missing");
	if (rc == ST_OK)
		rc = hash_file(dir, "message.eml", sha, &size, err);
	if (rc != ST_OK)
		return rc;
	if (size != p->row.size || memcmp(sha, p->row.sha, DIGEST) != 0)
		return wrong(err,
			"message.eml is not the message that was sealed: it was changed");
	return ST_OK;
}

/* What lies elsewhere is no part of the proof. */
static enum status check_files(int dir, struct err *err)
{
	static const char *const files[] = { "message.eml", "proof.json", "seal.json",
		"seal.p7s", "seal.tsr" };
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc >= 0 && i < N_ELEMENTS(files); i++)
		rc = file_real(dir, files[i], err);
	return rc < 0 ? rc : ST_OK;
}

enum status archive_proof_check(int dirfd, struct archive_proof *told, struct err *err)
{
	struct proof *p = xcalloc(1, sizeof(*p));
	enum status rc = check_files(dirfd, err);

	if (rc == ST_OK)
		rc = read_proof(p, dirfd, err);
	if (rc == ST_OK)
		rc = check_message(p, dirfd, err);
	if (rc == ST_OK)
		rc = check_leaf(p, err);
	if (rc == ST_OK)
		rc = check_seal(p, dirfd, err);
	if (rc == ST_OK)
		proof_tell(told, p);
	free(p);
	return rc;
}
