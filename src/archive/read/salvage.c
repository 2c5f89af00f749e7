/*
 * salvage.c: after damage. Nothing in segments/ is changed but an index that is not the
 * listed one: it is made again from the segment, and only takes the place of the old
 * one if it comes out as it was. What is encrypted comes out otherwise each time.
 */
#include "../form/hash.h"
#include "reader.h"
#include "../erase/record.h"
#include "../form/segment.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- an index ---- */

struct sum {
	const char *name;
	bool there;
	unsigned char sha[DIGEST];
};

static enum status see(
	void *ctx, const char *name, const unsigned char sha[DIGEST], struct err *err)
{
	struct sum *s = ctx;

	(void)err;
	if (strcmp(s->name, name) == 0) {
		s->there = true;
		memcpy(s->sha, sha, DIGEST);
	}
	return ST_OK;
}

/* Plain tar shows no members; they end where FORMAT says. */
static void regroup(struct idx *x, uint64_t member_bytes)
{
	uint64_t start = 0, end;
	size_t first = 0, i;

	for (i = 0; i < x->n; i++) {
		end = x->rows[i].off + x->rows[i].len;
		if (end - start < member_bytes && i + 1 < x->n)
			continue;
		for (; first <= i; first++) {
			struct idx_row *r = &x->rows[first];

			r->in += r->off - start;
			r->off = start;
			r->len = end - start;
		}
		start = end;
	}
}

/* Made from the segment, in open/ first; *good when it may go to segments/. */
static enum status make_idx(struct keeper *k, const struct archive_reader *r,
	const struct sealed *s, const struct sum *want, bool *good, struct err *err)
{
	unsigned char sha[DIGEST];
	char file[FILE_NAME_MAX];
	struct idx x = { 0 };
	struct bytes *b = NULL;
	enum status rc = reader_open_sealed(&b, r, s, err);

	*good = false;
	if (rc == ST_OK)
		rc = idx_rebuild(&x, b, r->policy.codec, s->stem, err);
	if (rc < 0)
		vault_note(err, s->file);
	if (rc == ST_OK && r->policy.codec == ARCHIVE_NONE)
		regroup(&x, r->policy.member_bytes);
	if (rc == ST_OK)
		rc = idx_write(&x, &k->vault, k->opendir, s->stem, err);
	file_name(file, s->stem, ".idx");
	if (rc == ST_OK)
		rc = hash_file(k->opendir, file, sha, NULL, err);
	if (rc == ST_OK)
		*good = !want->there || memcmp(sha, want->sha, DIGEST) == 0;
	if (rc == ST_OK && *good && renameat(k->opendir, file, k->segdir, file) < 0)
		rc = err_sys(err, ST_FATAL, "move %s to segments/", file);
	if (rc != ST_OK || !*good)
		unlinkat(k->opendir, file, 0);
	idx_free(&x);
	bytes_close(&b);
	return rc == ST_OK && *good ? fs_sync_dir(k->segdir, err) : rc;
}

/* One whose segment is damaged too stays as it is. */
static enum status mend_idx(struct keeper *k, const struct archive_reader *r,
	const struct sealed *s, struct archive_recovery *out, struct err *err)
{
	char path[FILE_NAME_MAX], name[FILE_NAME_MAX];
	struct sum want = { .name = name };
	unsigned char sha[DIGEST];
	struct err why = ERR_INIT;
	bool good;
	enum status rc;

	file_name(path, "segments/", s->stem);
	file_name(name, path, idx_suffix(&r->policy));
	rc = manifest_each(k->dir, see, &want, &why);
	if (rc == ST_FATAL)
		return err_set(err, rc, why.exit, "%s", why.text);
	if (hash_file(k->dir, name, sha, NULL, NULL) == ST_OK &&
		(!want.there || memcmp(sha, want.sha, DIGEST) == 0))
		return ST_OK;
	/* Encrypted anew it is another file. */
	if (r->policy.crypt != CRYPT_NONE) {
		out->unmade++;
		return ST_OK;
	}
	rc = make_idx(k, r, s, &want, &good, &why);
	if (rc == ST_FATAL)
		return err_set(err, rc, why.exit, "%s", why.text);
	out->indexes += rc == ST_OK && good;
	out->unmade += rc != ST_OK || !good;
	return ST_OK;
}

/* ---- messages ---- */

struct reading {
	struct archive_stream *stream;
	struct archive_recovery *out;
	void (*lost)(void *ctx, uint64_t first, uint64_t last, const char *why);
	void *ctx;
	uint64_t first, last; /* lost ones that were not told yet */
	char *why;
	uint64_t *seqs;
	size_t n, cap;
};

static void list_one(void *ctx, const struct archive_listed *m)
{
	struct reading *g = ctx;

	if (g->n == g->cap) {
		g->cap = g->cap ? 2 * g->cap : 1024;
		g->seqs = xreallocarray(g->seqs, g->cap, sizeof(*g->seqs));
	}
	g->seqs[g->n++] = m->seq;
}

static void pass_over(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

static void tell(struct reading *g)
{
	if (g->why)
		g->lost(g->ctx, g->first, g->last, g->why);
	free(g->why);
	g->why = NULL;
}

static void lose(struct reading *g, uint64_t seq, const char *why)
{
	g->out->lost++;
	if (!g->why || g->last + 1 != seq || strcmp(g->why, why) != 0) {
		tell(g);
		g->why = xstrdup(why);
		g->first = seq;
	}
	g->last = seq;
}

static enum status read_all(struct reading *g, struct err *err)
{
	struct archive_filed filed;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < g->n; i++) {
		struct err why = ERR_INIT;

		rc = archive_stream_get(
			g->stream, g->seqs[i], pass_over, NULL, &filed, &why);
		if (rc == ST_OK) {
			g->out->good++;
		} else if (rc == ST_DENIED || rc == ST_END) {
			lose(g, g->seqs[i], why.text);
			rc = ST_OK;
		} else {
			err_set(err, rc, why.exit, "%s", why.text);
		}
	}
	tell(g);
	return rc;
}

static enum status look(struct archive_reader *r, struct reading *g, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc, listed;

	archive_stream_open(&g->stream, r);
	listed = archive_stream_list(g->stream, list_one, g, &why);
	rc = listed == ST_OK || listed == ST_DENIED ? read_all(g, err) : listed;
	if (rc == ST_OK && listed == ST_DENIED)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s; how many messages it had is not known", why.text);
	else if (rc == ST_OK && g->out->lost)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"messages are lost: put back from a copy what `popferry verify` names; "
			"`popferry export` gives all others");
	else if (rc != ST_OK && rc == listed)
		err_set(err, rc, why.exit, "%s", why.text);
	archive_stream_close(&g->stream);
	free(g->seqs);
	return rc;
}

enum status archive_recover(const char *path, const struct identities *ids,
	struct archive_recovery *out,
	void (*lost)(void *ctx, uint64_t first, uint64_t last, const char *why),
	void *ctx, struct err *err)
{
	struct reading g = { .out = out, .lost = lost, .ctx = ctx };
	struct archive_reader *r = NULL;
	struct keeper k;
	const struct archive_access access = { .identities = ids };
	enum status rc = keeper_open(&k, path, ids, err);
	size_t i;

	memset(out, 0, sizeof(*out));
	if (rc < 0)
		return rc;
	rc = archive_read_as(&r, path, &access, err);
	for (i = 0; rc == ST_OK && i < r->sealed_n; i++) {
		out->segments++;
		rc = mend_idx(&k, r, &r->sealed[i], out, err);
	}
	if (rc == ST_OK)
		rc = look(r, &g, err);
	archive_done(&r);
	keeper_close(&k);
	return rc;
}
