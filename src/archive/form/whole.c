/* whole.c: a member that is unpacked at once, and compared with what it should hold. */
#include "whole.h"
#include "hash.h"
#include "opener.h"
#include "segment.h"

#include <popferry/mem.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE_MAX = 4 * 1024 * 1024 }; /* bytes in the file, and unpacked */

struct whole_reader {
	char segment[NAME_MAX_SEGMENT];
	struct opener *opener;
	/* Of WHOLE_MAX, of which only what is used takes memory: those that grow leave
	 * holes of their former sizes. */
	char *in, *out;
	struct hash_item *items;
	size_t items_n;
	/* The member under way: */
	const struct idx *rows;
	uint64_t *paths;
	size_t raw, made; /* bytes it will have, and those that are there */
	size_t at;        /* where its next entry begins */
	size_t found;     /* messages */
	bool bagit;       /* it stands before them */
};

void whole_open(struct whole_reader **out, enum archive_codec c, const char *segment)
{
	struct whole_reader *w = xcalloc(1, sizeof(*w));

	snprintf(w->segment, sizeof(w->segment), "%s", segment);
	opener_open(&w->opener, c);
	w->in = xmalloc(WHOLE_MAX);
	w->out = xmalloc(WHOLE_MAX);
	*out = w;
}

void whole_close(struct whole_reader **wp)
{
	struct whole_reader *w = *wp;

	if (!w)
		return;
	opener_close(&w->opener);
	free(w->in);
	free(w->out);
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
		if (!read_entry(w, w->out + w->at, &e))
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

bool whole_read(struct whole_reader *w, const struct open_file *f, uint64_t off,
	uint64_t len, uint64_t raw, const struct idx *rows, bool first,
	struct sha *file, uint64_t *paths)
{
	struct sha so_far = *file;
	size_t n, got;
	uint64_t end = off + len;

	if (len > WHOLE_MAX || raw > WHOLE_MAX)
		return false;
	if (rows->n > w->items_n) {
		free(w->items);
		w->items_n = rows->n;
		w->items = xcalloc(w->items_n, sizeof(*w->items));
	}
	w->rows = rows;
	w->paths = paths;
	w->raw = (size_t)raw;
	w->made = w->at = w->found = 0;
	w->bagit = first;
	opener_begin(w->opener, w->out, w->raw);
	for (; off < end; off += n) {
		size_t had = w->found;

		n = opener_piece(w->opener, (size_t)(end - off));
		if (open_file_read(f, w->in, n, off, &got, NULL) != ST_OK || got != n ||
			!opener_feed(w->opener, w->in, n, &w->made) || !walk(w))
			return false;
		hash_items(&so_far, w->in, n, w->items + had, w->found - had);
	}
	if (!opener_end(w->opener) || !all_same(w))
		return false;
	*file = so_far;
	return true;
}
