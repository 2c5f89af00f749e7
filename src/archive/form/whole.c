/* whole.c: a member that is unpacked at once, and compared with what it should hold. */
#include "whole.h"
#include "hash.h"
#include "opener.h"
#include "segment.h"

#include <popferry/mem.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE_MAX = 4 * 1024 * 1024 }; /* bytes in the file that are had at once */

struct whole_reader {
	char segment[NAME_MAX_SEGMENT];
	struct opener *opener;
	struct pool *pool;
	/* Of WHOLE_MAX, of which only what is used takes memory: those that grow leave
	 * holes of their former sizes. */
	char *in;
	struct buf room; /* lent, */
	size_t room_n;   /* of at least so much */
	struct hash_item *items;
	size_t items_n;
	/* The member under way: */
	const struct idx *rows;
	uint64_t *paths;
	uint64_t raw; /* bytes it will have */
	size_t made;  /* those that are there */
	uint64_t at;  /* where its next entry begins */
	size_t found; /* messages */
	bool bagit;   /* it stands before them */
	/* The entry under way, where they come in pieces: */
	char head[TAR_BLOCK];
	size_t head_n;
	uint64_t given;         /* bytes, so far */
	uint64_t left, padding; /* of its bytes, and behind them */
	const char *text;       /* what they should be, or NULL: */
	struct sha sha;         /* of a message */
};

void whole_open(struct whole_reader **out, enum archive_codec c, const char *segment,
	struct pool *pool)
{
	struct whole_reader *w = xcalloc(1, sizeof(*w));

	snprintf(w->segment, sizeof(w->segment), "%s", segment);
	opener_open(&w->opener, c);
	w->pool = pool;
	w->room_n = pool_piece(pool);
	w->in = xmalloc(WHOLE_MAX);
	*out = w;
}

void whole_close(struct whole_reader **wp)
{
	struct whole_reader *w = *wp;

	if (!w)
		return;
	opener_close(&w->opener);
	free(w->in);
	free(w->items);
	free(w);
	*wp = NULL;
}

struct plain_entry {
	char path[TAR_PATH_MAX]; /* in the segment */
	const char *p;
	uint64_t size;
};

/* False: it is none of this segment, or not of a plain form. */
static bool read_entry(
	const struct whole_reader *w, const char *block, struct plain_entry *e)
{
	size_t len = strlen(w->segment);

	if (!tar_header(block, e->path, &e->size) ||
		strncmp(e->path, w->segment, len) != 0 || e->path[len] != '/')
		return false;
	memmove(e->path, e->path + len + 1, strlen(e->path + len));
	e->p = block + TAR_BLOCK;
	return e->size <= w->raw && tar_room(e->size) <= w->raw - w->at;
}

static bool is_bagit(const struct plain_entry *e)
{
	return strcmp(e->path, "bagit.txt") == 0 && e->size == strlen(bagit_text) &&
		memcmp(e->p, bagit_text, (size_t)e->size) == 0;
}

static bool take_message(struct whole_reader *w, const struct plain_entry *e)
{
	const struct idx_row *r = &w->rows->rows[w->found];
	struct hash_item *item = &w->items[w->found];
	uint64_t seq;

	if (w->found == w->rows->n || !entry_path_seq(e->path, r->gone, &seq) ||
		seq != r->seq || e->size != r->size)
		return false;
	w->paths[w->found++] = segment_path(e->path);
	item->p = e->p;
	item->n = (size_t)e->size;
	return true;
}

/* The entries that have come; false: others than there should be. */
static bool walk(struct whole_reader *w)
{
	struct plain_entry e;

	while (w->made - w->at >= TAR_BLOCK) {
		if (!read_entry(w, w->room.p + w->at, &e))
			return false;
		if (tar_room(e.size) > w->made - w->at)
			break;
		if (w->bagit ? !is_bagit(&e) : !take_message(w, &e))
			return false;
		w->bagit = false;
		w->at += (size_t)tar_room(e.size);
	}
	return true;
}

static bool all_same(const struct whole_reader *w)
{
	size_t i;

	for (i = 0; i < w->found; i++)
		if (memcmp(w->items[i].sha, w->rows->rows[i].sha, DIGEST) != 0)
			return false;
	return w->found == w->rows->n && w->at == w->raw;
}

/* Into memory that is lent, from its beginning on. */
static bool begin(struct whole_reader *w, size_t n)
{
	if (!pool_lend(w->pool, &w->room))
		return false;
	w->made = 0;
	opener_begin(w->opener, w->room.p, n);
	return true;
}

static bool read_at_once(struct whole_reader *w, const struct open_file *f,
	uint64_t off, uint64_t end, struct sha *file)
{
	size_t n, got;

	if (!begin(w, (size_t)w->raw))
		return false;
	for (; off < end; off += n) {
		size_t had = w->found;

		n = opener_piece(w->opener, (size_t)(end - off));
		if (open_file_read(f, w->in, n, off, &got, NULL) != ST_OK || got != n ||
			!opener_feed(w->opener, w->in, n, &w->made) || !walk(w))
			return false;
		hash_items(file, w->in, n, w->items + had, w->found - had);
	}
	return opener_end(w->opener);
}

/* ---- one that is larger, frame by frame ---- */

static void end_entry(struct whole_reader *w)
{
	if (!w->left && !w->text)
		sha_end(&w->sha, w->items[w->found - 1].sha);
}

static bool begin_entry(struct whole_reader *w)
{
	struct plain_entry e;

	w->head_n = 0;
	if (!read_entry(w, w->head, &e))
		return false;
	w->text = NULL;
	if (w->bagit) {
		w->text = bagit_text;
		if (strcmp(e.path, "bagit.txt") != 0 || e.size != strlen(bagit_text))
			return false;
	} else if (!take_message(w, &e)) {
		return false;
	}
	w->bagit = false;
	w->at += tar_room(e.size);
	w->left = e.size;
	w->padding = tar_room(e.size) - TAR_BLOCK - e.size;
	sha_init(&w->sha);
	end_entry(w);
	return true;
}

static size_t least(size_t n, uint64_t most)
{
	return n < most ? n : (size_t)most;
}

/* In takes as long as the two together: the file's bytes, and what they gave. */
static void hash_both(struct sha *a, const char **p, size_t *n, struct sha *b,
	const char *q, size_t k)
{
	size_t both = least(k, *n);

	if (both)
		sha_add_two(a, *p, both, b, q, both);
	*p += both;
	*n -= both;
	if (k > both)
		sha_add(b, q + both, k - both);
}

/* p[0, n) came of in[0, used) of the file. */
static bool walk_on(struct whole_reader *w, const char *p, size_t n, const char *in,
	size_t used, struct sha *file)
{
	size_t k;

	for (; n; p += k, n -= k) {
		if (w->left) {
			k = least(n, w->left);
			if (!w->text)
				hash_both(file, &in, &used, &w->sha, p, k);
			else if (memcmp(p, w->text, k) == 0)
				w->text += k;
			else
				return false;
			w->left -= k;
			end_entry(w);
		} else if (w->padding) {
			k = least(n, w->padding);
			w->padding -= k;
		} else {
			k = least(n, TAR_BLOCK - w->head_n);
			memcpy(w->head + w->head_n, p, k);
			w->head_n += k;
			if (w->head_n == TAR_BLOCK && !begin_entry(w))
				return false;
		}
	}
	sha_add(file, in, used);
	return true;
}

/* All frames that end in these bytes of the file, and what there is of the next. */
static bool take_frames(struct whole_reader *w, size_t n, bool *ended, struct sha *file)
{
	const char *in = w->in;
	size_t used, made;

	for (; n; in += used, n -= used) {
		if (*ended && !begin(w, w->room_n))
			return false;
		if (!opener_frame(w->opener, in, n, &used, &made, ended) ||
			!walk_on(
				w, w->room.p + w->made, made - w->made, in, used, file))
			return false;
		w->given += made - w->made;
		w->made = made;
		/* Others may need it now. */
		if (*ended)
			pool_lent(w->pool, &w->room);
	}
	return true;
}

static bool read_frames(struct whole_reader *w, const struct open_file *f, uint64_t off,
	uint64_t end, struct sha *file)
{
	bool ended = true;
	size_t n, got;

	w->given = w->left = w->padding = w->head_n = 0;
	for (; off < end; off += n) {
		n = opener_piece(w->opener, (size_t)(end - off));
		if (open_file_read(f, w->in, n, off, &got, NULL) != ST_OK || got != n ||
			!take_frames(w, n, &ended, file))
			return false;
	}
	return ended && w->given == w->raw && !w->left && !w->padding && !w->head_n;
}

bool whole_read(struct whole_reader *w, const struct open_file *f, uint64_t off,
	uint64_t len, uint64_t raw, const struct idx *rows, bool first,
	struct sha *file, uint64_t *paths)
{
	struct sha so_far = *file;
	bool large = len > WHOLE_MAX || raw > w->room_n, good;

	if (large && !opener_framed(w->opener))
		return false;
	if (rows->n > w->items_n) {
		free(w->items);
		w->items_n = rows->n;
		w->items = xcalloc(w->items_n, sizeof(*w->items));
	}
	w->rows = rows;
	w->paths = paths;
	w->raw = raw;
	w->at = w->found = 0;
	w->bagit = first;
	good = (large ? read_frames : read_at_once)(w, f, off, off + len, &so_far) &&
		all_same(w);
	pool_lent(w->pool, &w->room);
	if (good)
		*file = so_far;
	return good;
}
