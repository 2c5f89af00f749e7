/* tags.c: the tag section, which makes a segment complete. See FORMAT. */
#include "../form/csv.h"
#include "../form/hash.h"
#include "../form/segment.h"
#include "told.h"
#include "writer.h"

#include <popferry/mem.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	INFO_MAX = 128 * 1024,
	LINE_MAX_BYTES = 2 * DIGEST + 512,
	COPY_BYTES = 64 * 1024,
};

/*
 * The rows are read from the log once to measure and digest what is made of
 * them, and again for each table that is written: they can be large.
 */
struct tags {
	struct archive_writer *w;
	const struct open_state *o;
	struct buf line; /* of the manifest */
	struct buf head; /* of messages.csv */
	struct buf info, tagmanifest;
	struct hash *csv_hash, *manifest_hash; /* while measuring */
	uint64_t csv_n, tree_n, manifest_n, bytes;
	uint64_t told_n[TAGS]; /* of what the run told */
	char newest[24];
	struct tag_sums sums;
};

/* metadata/merkle.tsv, in pieces. */
static enum status tree_text(const struct tags *t,
	enum status (*take)(void *ctx, const void *p, size_t n, struct err *err),
	void *ctx, struct err *err)
{
	const struct idx *x = &t->o->idx;
	struct buf b = BUF_INIT(TREE_LINE_MAX);
	unsigned char salt[SALT];
	enum status rc = take(ctx, tree_head, strlen(tree_head), err);
	size_t i;

	for (i = 0; rc == ST_OK && i < x->n; i++) {
		tree_salt(salt, t->w->seg->seed, &x->rows[i]);
		buf_clear(&b);
		tree_line(&b, &x->rows[i], salt);
		rc = take(ctx, b.p, b.n, err);
	}
	buf_free(&b);
	return rc;
}

static enum status write_piece(void *ctx, const void *p, size_t n, struct err *err)
{
	return tarw_data(ctx, p, n, err);
}

/* None of these fields needs an escape. */
static void manifest_line(struct buf *b, const struct csv_part *f)
{
	buf_clear(b);
	buf_add(b, f[CSV_SHA256].p, f[CSV_SHA256].n);
	buf_adds(b, "  ");
	buf_add(b, f[CSV_PATH].p, f[CSV_PATH].n);
	buf_addc(b, '\n');
}

static enum status measure_row(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct csv_part f[CSV_RETRIEVED + 1], *when = &f[CSV_RETRIEVED];
	struct tags *t = ctx;

	(void)err;
	hash_put(t->csv_hash, line, n);
	t->csv_n += n;
	csv_parts(f, CSV_RETRIEVED + 1, line, n);
	manifest_line(&t->line, f);
	hash_put(t->manifest_hash, t->line.p, t->line.n);
	t->manifest_n += t->line.n;
	t->bytes += t->o->idx.rows[row].size;
	/* RFC 3339 in UTC sorts as text. */
	if (when->n < sizeof(t->newest) && strncmp(when->p, t->newest, when->n) > 0)
		snprintf(t->newest, sizeof(t->newest), "%.*s", (int)when->n, when->p);
	return ST_OK;
}

static enum status write_manifest_row(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct csv_part f[CSV_SHA256 + 1];
	struct tags *t = ctx;

	(void)row;
	csv_parts(f, CSV_SHA256 + 1, line, n);
	manifest_line(&t->line, f);
	return tarw_data(t->w->seg->tar, t->line.p, t->line.n, err);
}

static enum status write_csv_row(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct tags *t = ctx;

	(void)row;
	return tarw_data(t->w->seg->tar, line, n, err);
}

static void make_info(struct tags *t)
{
	const struct open_segment *g = t->w->seg;
	size_t i;

	buf_addf(&t->info,
		"Bag-Software-Agent: popferry (archive format %d)\n"
		"Bagging-Date: %.10s\n"
		"Bag-Group-Identifier: %s\n"
		"External-Identifier: %s#%s\n"
		"Payload-Oxum: %" PRIu64 ".%zu\n"
		"Segment-Number: %u\n"
		"First-Message: %" PRIu64 "\n"
		"Last-Message: %" PRIu64 "\n",
		ARCHIVE_FORMAT, t->newest, t->w->policy.id, t->w->policy.id, g->name,
		t->bytes, t->o->idx.n, g->no, g->first, g->next - 1);
	for (i = 0; i < t->o->sources_n; i++)
		buf_addf(&t->info, "Source-URL: %s\n", t->o->sources[i]);
}

/* Measured before it was written down. */
static void measure_told(struct tags *t)
{
	struct told_file f;
	int tag;

	for (tag = TAG_LISTING; tag <= TAG_SERVER; tag++) {
		t->sums.has[tag] = told_find(t->o->told, (enum tag)tag, &f);
		if (!t->sums.has[tag])
			continue;
		t->told_n[tag] = f.n;
		memcpy(t->sums.of[tag], f.sha, DIGEST);
	}
}

static enum status measure(struct tags *t, struct err *err)
{
	struct measure tree = { NULL, 0 };
	enum status rc;

	measure_told(t);

	hash_begin(&tree.hash);
	tree_text(t, measure_piece, &tree, err);
	hash_end(&tree.hash, t->sums.of[TAG_TREE]);
	t->tree_n = tree.n;
	t->sums.has[TAG_TREE] = true;
	hash_begin(&t->csv_hash);
	hash_begin(&t->manifest_hash);
	hash_put(t->csv_hash, t->head.p, t->head.n);
	t->csv_n = t->head.n;
	rc = open_state_rows(t->o, &t->w->seg->log, measure_row, t, err);
	hash_end(&t->csv_hash, t->sums.of[TAG_CSV]);
	hash_end(&t->manifest_hash, t->sums.of[TAG_MANIFEST]);
	make_info(t);
	hash_of(t->info.p, t->info.n, t->sums.of[TAG_INFO]);
	tagmanifest_text(&t->tagmanifest, &t->sums);
	return rc;
}

static enum status tag_begin(struct tags *t, enum tag tag, uint64_t n, struct err *err)
{
	char path[FILE_NAME_MAX];

	snprintf(path, sizeof(path), "%s/%s", t->w->seg->name, tag_names[tag]);
	return tarw_entry(t->w->seg->tar, path, n, err);
}

static enum status tag_text(
	struct tags *t, enum tag tag, const struct buf *b, struct err *err)
{
	struct tarw *tar = t->w->seg->tar;
	enum status rc = tag_begin(t, tag, b->n, err);

	if (rc == ST_OK)
		rc = tarw_data(tar, b->p, b->n, err);
	return rc == ST_OK ? tarw_entry_end(tar, err) : rc;
}

static enum status tag_csv(struct tags *t, struct err *err)
{
	struct tarw *tar = t->w->seg->tar;
	enum status rc = tag_begin(t, TAG_CSV, t->csv_n, err);

	if (rc == ST_OK)
		rc = tarw_data(tar, t->head.p, t->head.n, err);
	if (rc == ST_OK)
		rc = open_state_rows(t->o, &t->w->seg->log, write_csv_row, t, err);
	return rc == ST_OK ? tarw_entry_end(tar, err) : rc;
}

static enum status tag_tree(struct tags *t, struct err *err)
{
	struct tarw *tar = t->w->seg->tar;
	enum status rc = tag_begin(t, TAG_TREE, t->tree_n, err);

	if (rc == ST_OK)
		rc = tree_text(t, write_piece, tar, err);
	return rc == ST_OK ? tarw_entry_end(tar, err) : rc;
}

static enum status tag_manifest(struct tags *t, struct err *err)
{
	struct tarw *tar = t->w->seg->tar;
	enum status rc = tag_begin(t, TAG_MANIFEST, t->manifest_n, err);

	if (rc == ST_OK)
		rc = open_state_rows(t->o, &t->w->seg->log, write_manifest_row, t, err);
	return rc == ST_OK ? tarw_entry_end(tar, err) : rc;
}

/* From its file in open/. */
static enum status tag_told(struct tags *t, enum tag tag, struct err *err)
{
	struct tarw *tar = t->w->seg->tar;
	char name[FILE_NAME_MAX], *p;
	struct open_file f;
	uint64_t at = 0;
	size_t n = 1;
	enum status rc;

	told_name(name, t->w->seg->name, tag);
	rc = writer_open_file(t->w, &f, name, O_RDONLY, err);
	if (rc != ST_OK)
		return rc;
	p = xmalloc(COPY_BYTES);
	rc = tag_begin(t, tag, t->told_n[tag], err);
	while (rc == ST_OK && at < t->told_n[tag] && n > 0) {
		uint64_t left = t->told_n[tag] - at;

		rc = open_file_read(&f, p,
			left < COPY_BYTES ? (size_t)left : COPY_BYTES, at, &n, err);
		if (rc == ST_OK)
			rc = tarw_data(tar, p, n, err);
		at += n;
	}
	if (rc == ST_OK && n == 0)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"open/%s has lost bytes: put open/ back from a copy of the archive",
			name);
	free(p);
	open_file_close(&f);
	return rc == ST_OK ? tarw_entry_end(tar, err) : rc;
}

static enum status tags_write(struct tags *t, struct err *err)
{
	struct open_segment *g = t->w->seg;
	uint64_t raw = tar_room(t->info.n) + tar_room(t->csv_n) + tar_room(t->tree_n) +
		tar_room(t->manifest_n) + tar_room(t->tagmanifest.n) + TAR_END;
	enum status rc;
	int tag;

	for (tag = TAG_LISTING; tag <= TAG_SERVER; tag++)
		raw += t->sums.has[tag] ? tar_room(t->told_n[tag]) : 0;
	rc = part_begin(t->w, raw, err);

	if (rc == ST_OK)
		rc = tag_text(t, TAG_INFO, &t->info, err);
	if (rc == ST_OK)
		rc = tag_csv(t, err);
	if (rc == ST_OK)
		rc = tag_tree(t, err);
	for (tag = TAG_LISTING; rc == ST_OK && tag <= TAG_SERVER; tag++)
		if (t->sums.has[tag])
			rc = tag_told(t, (enum tag)tag, err);
	if (rc == ST_OK)
		rc = tag_manifest(t, err);
	if (rc == ST_OK)
		rc = tag_text(t, TAG_TAGMANIFEST, &t->tagmanifest, err);
	if (rc == ST_OK)
		rc = tarw_end(g->tar, err);
	if (rc == ST_OK)
		rc = part_end(t->w, err);
	return rc == ST_OK ? part_settle(t->w, PART_ALL, err) : rc;
}

enum status tags_add(struct archive_writer *w, struct open_state *o, struct err *err)
{
	struct tags t = { .w = w, .o = o };
	enum status rc;

	buf_init(&t.line, LINE_MAX_BYTES);
	buf_init(&t.head, CSV_ROW_MAX);
	buf_init(&t.info, INFO_MAX);
	buf_init(&t.tagmanifest, LINE_MAX_BYTES * TAGS);
	csv_header(&t.head);
	rc = measure(&t, err);
	o->idx.tags_off = w->seg->part_len;
	if (rc == ST_OK)
		rc = tags_write(&t, err);
	o->idx.tags_len = w->seg->part_len - o->idx.tags_off;
	buf_free(&t.line);
	buf_free(&t.head);
	buf_free(&t.info);
	buf_free(&t.tagmanifest);
	return rc;
}
