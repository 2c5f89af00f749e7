/* compare.c: what an archive has, and what its index has of it. */
#include "own.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- has anything changed? ---- */

static void fold(uint64_t *sum, const char *name, const struct stat *st)
{
	const uint64_t facts[] = { (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec };
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	size_t i;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	for (i = 0; i < sizeof(facts); i++)
		h = (h ^ ((const unsigned char *)facts)[i]) * UINT64_C(0x100000001b3);
	*sum += h ^ h >> 32;
}

void fingerprint(char out[64], const char *path)
{
	static const char *const folders[] = { "segments", "open" };
	uint64_t sum = 0, files = 0;
	struct dirent *e;
	struct stat st;
	size_t i;

	for (i = 0; i < N_ELEMENTS(folders); i++) {
		char *dir = xasprintf("%s/%s", path, folders[i]);
		DIR *d = opendir(dir);

		while (d && (e = readdir(d))) {
			if (e->d_name[0] == '.' || strcmp(e->d_name, "lock") == 0 ||
				fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) <
					0)
				continue;
			fold(&sum, e->d_name, &st);
			files++;
		}
		if (d)
			closedir(d);
		free(dir);
	}
	snprintf(out, 64, "%" PRIu64 " %016" PRIx64, files, sum);
}

/* ---- what is new, what has gone ---- */

static void next_have(struct compared *c)
{
	enum status rc = sql_step(c->s, c->have, c->err);

	c->more = rc == ST_OK;
	if (rc < 0)
		c->rc = rc;
}

static void forget(struct compared *c, int64_t seq)
{
	if (seq < 0 || seq / SHARD >= SHARDS) {
		c->s->bad = true;
		return;
	}
	c->gone[seq / SHARD] = c->any_gone = true;
}

/* The row is of this message, as it still is? */
static bool same(struct compared *c, const struct archive_listed *m)
{
	return m->sha256 && sqlite3_column_bytes(c->have, 1) == DIGEST &&
		memcmp(sqlite3_column_blob(c->have, 1), m->sha256, DIGEST) == 0;
}

static void want(struct compared *c, const struct archive_listed *m)
{
	struct wanted *w;

	if (!m->sha256) {
		if (c->n_lost % 1024 == 0)
			c->lost = xreallocarray(
				c->lost, c->n_lost + 1024, sizeof(*c->lost));
		c->lost[c->n_lost++] = (uint32_t)m->seq;
		return;
	}
	if (c->n == c->cap) {
		c->cap = c->cap + c->cap / 2 + 1024;
		c->todo = xreallocarray(c->todo, c->cap, sizeof(*c->todo));
	}
	w = &c->todo[c->n++];
	w->size = m->size;
	w->seq = (uint32_t)m->seq;
	memcpy(w->sha, m->sha256, DIGEST);
}

static void compare_one(void *ctx, const struct archive_listed *m)
{
	struct compared *c = ctx;
	bool had = false;

	while (c->more) {
		int64_t seq = sqlite3_column_int64(c->have, 0);

		if (seq > (int64_t)m->seq)
			break;
		had = seq == (int64_t)m->seq && same(c, m);
		if (!had)
			forget(c, seq);
		next_have(c);
	}
	if (!had)
		want(c, m);
}

void compared_clear(struct compared *c)
{
	if (c->have)
		sqlite3_reset(c->have);
	free(c->todo);
	free(c->lost);
	c->todo = NULL;
	c->lost = NULL;
	c->n = c->cap = c->n_lost = 0;
	c->any_gone = false;
	memset(c->gone, 0, sizeof(c->gone));
}

enum status compare(struct compared *c, struct archive_stream *a, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;

	compared_clear(c);
	c->err = err;
	c->rc = ST_OK;
	c->have = sql_get(c->s, SQL_HAVE, err);
	if (!c->have)
		return err->status;
	next_have(c);
	rc = archive_stream_list(a, compare_one, c, &why);
	/* What nobody can tell of is no reason not to find the rest. */
	if (rc < 0 && why.exit != EX_DATAERR)
		return err_set(err, rc, why.exit, "%s", why.text);
	snprintf(c->unlisted, sizeof(c->unlisted), "%s", rc < 0 ? why.text : "");
	while (c->more && c->rc == ST_OK) {
		forget(c, sqlite3_column_int64(c->have, 0));
		next_have(c);
	}
	sqlite3_reset(c->have);
	if (c->s->bad)
		return err_set(err, ST_DENIED, EX_DATAERR, "the index makes no sense");
	return c->rc;
}
