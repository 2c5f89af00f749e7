/* source_kit.h: all that a source of files gives, for its tests. */
#ifndef SOURCE_KIT_H
#define SOURCE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <popferry/buf.h>
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/source.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

static char root[64]; /* of a test */

static inline int remove_one(
	const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/popferry-source.XXXXXX");
	log_setup(LOG_TEXT, LV_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
	return mkdtemp(root) ? 0 : -1;
}

static inline int drop_root(void **state)
{
	(void)state;
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* In the root; the directories on its way are made. */
static inline char *at(const char *name)
{
	char *path = xasprintf("%s/%s", root, name), *slash;

	for (slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	return path;
}

static inline void put(const char *name, const void *p, size_t n)
{
	char *path = at(name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	free(path);
}

static inline void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

/* ---- what a source gives ---- */

struct got {
	char *uidl, *folder;
	uint32_t occurrence;
	uint64_t size;
	struct buf bytes;
	enum status rc;
	int exit;
	struct origin o; /* its texts are void */
};

struct taken {
	struct got *v;
	size_t n;
	struct listing listing;
	enum status rc; /* of whatever failed first, and of finish() */
	struct err err;
};

static inline void note_item(void *ctx, const struct item *it)
{
	struct taken *t = ctx;
	struct got *g;

	t->v = xreallocarray(t->v, t->n + 1, sizeof(*t->v));
	g = &t->v[t->n++];
	*g = (struct got){ .uidl = xmemdup0(it->uidl, it->uidl_n),
		.occurrence = it->occurrence,
		.size = it->size };
	buf_init(&g->bytes, 1 << 28);
	assert_int_equal(it->number, t->n);
}

static inline void note_bytes(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

/* The message of that number. */
static inline void get(struct source *s, struct taken *t, uint32_t number)
{
	struct got *g = &t->v[number - 1];
	const struct origin *o;
	struct err err = ERR_INIT;
	uint32_t which = 0;

	buf_clear(&g->bytes);
	free(g->folder);
	g->folder = NULL;
	s->ops->want(s, number, g->size);
	g->rc = s->ops->next(s, &which, note_bytes, &g->bytes, &err);
	g->exit = err.exit;
	assert_int_equal(which, number);
	if (g->rc != ST_OK)
		assert_true(err.text[0] != '\0');
	o = s->ops->origin(s);
	assert_int_equal(o != NULL, g->rc == ST_OK);
	if (!o)
		return;
	g->folder = xstrdup(o->folder);
	g->o = *o;
	assert_int_equal(o->uidl_n, strlen(g->uidl));
	assert_memory_equal(o->uidl, g->uidl, o->uidl_n);
	assert_int_equal(o->occurrence, g->occurrence);
	assert_int_equal(o->number, number);
}

static inline struct source *open_source(
	struct endpoint *end, struct taken *t, const char *kind, const char *name)
{
	struct source_setup setup = { .end = end };
	char *url = xasprintf("%s:%s/%s", kind, root, name);
	const struct source_ops *ops = source_kind(kind);
	struct source *s = NULL;

	memset(t, 0, sizeof(*t));
	t->err = (struct err)ERR_INIT;
	assert_non_null(ops);
	assert_false(ops->secret);
	if (!end->url)
		assert_int_equal(url_parse(end, url, &t->err), ST_OK);
	free(url);
	t->rc = ops->open(&s, &setup, &t->err);
	if (t->rc == ST_OK)
		t->rc = ops->list(s, note_item, t, &t->listing, &t->err);
	if (t->rc == ST_OK)
		assert_int_equal(t->listing.n, t->n);
	return s;
}

static inline void close_source(struct source *s, struct taken *t)
{
	uint32_t which;

	if (!s)
		return;
	assert_int_equal(s->ops->next(s, &which, note_bytes, NULL, &t->err), ST_END);
	if (t->rc == ST_OK)
		t->rc = s->ops->finish(s, &t->err);
	s->ops->close(&s);
}

/* Opens, lists, gets all, ends. */
static inline void take_all(struct taken *t, const char *kind, const char *name)
{
	struct endpoint end = { 0 };
	struct source *s = open_source(&end, t, kind, name);
	uint32_t i;

	for (i = 1; s && t->rc == ST_OK && i <= t->n; i++)
		get(s, t, i);
	close_source(s, t);
	endpoint_release(&end);
}

static inline void drop(struct taken *t)
{
	while (t->n) {
		struct got *g = &t->v[--t->n];

		free(g->uidl);
		free(g->folder);
		buf_free(&g->bytes);
	}
	free(t->v);
}

static inline const struct got *with_text(const struct taken *t, const char *text)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->v[i].rc == ST_OK && strcmp(buf_str(&t->v[i].bytes), text) == 0)
			return &t->v[i];
	fail_msg("no message \"%s\"", text);
	return NULL;
}

/* "SRFD", as far as they are set. */
static inline const char *flags_of(const struct got *g, char out[8])
{
	snprintf(out, 8, "%s%s%s%s", g->o.seen ? "S" : "", g->o.answered ? "R" : "",
		g->o.flagged ? "F" : "", g->o.draft ? "D" : "");
	return out;
}

#endif
