/* tags.c: the tag section, which makes a segment complete. See FORMAT. */
#include "../form/csv.h"
#include "../form/hash.h"
#include "../form/mailbag.h"
#include "../form/segment.h"
#include "told.h"
#include "writer.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	INFO_MAX = 128 * 1024,
	LINE_MAX_BYTES = 2 * DIGEST + 512,
	COPY_BYTES = 64 * 1024,
	/* A line of merkle.tsv without its numbers: three digests, tabs, LF. */
	TREE_LINE_REST = 2 * (DIGEST + SALT + DIGEST) + 5,
};

/* The rows are read from the log for each table that is made of them: they can be
 * large. */
struct tags {
	struct archive_writer *w;
	const struct open_state *o;
	struct buf line; /* of the manifest */
	struct buf head; /* of messages.csv */
	struct buf bag;  /* a line of mailbag.csv; first that of its names */
	struct buf info, tagmanifest;
	struct hash *hash; /* of the table under way */
	struct tree *tree;
	uint64_t told_n[TAGS]; /* of what the run told */
	struct segment_made *made;
};

/* ---- how long they will be ---- */

static uint64_t tree_bytes(const struct idx *x)
{
	uint64_t n = strlen(tree_head);
	char text[NUMBER_MAX];
	size_t i;

	for (i = 0; i < x->n; i++) {
		n += (uint64_t)(text_number(text, x->rows[i].seq) - text);
		n += (uint64_t)(text_number(text, x->rows[i].size) - text);
	}
	return n + x->n * TREE_LINE_REST;
}

static uint64_t manifest_bytes(const struct open_state *o)
{
	return o->rows.path_bytes + o->idx.n * (2 * DIGEST + strlen("  \n"));
}

static void make_info(struct tags *t)
{
	const struct open_segment *g = t->w->seg;
	const struct idx *x = &t->o->idx;
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < x->n; i++)
		bytes += x->rows[i].size;
	buf_addf(&t->info,
		"Bag-Type: Mailbag\n"
		"Mailbag-Source: eml\n"
		"Mailbag-Specification-Version: 1.0\n"
		"Original-Included: True\n"
		"Mailbag-Agent: popferry\n"
		"Mailbag-Agent-Version: " VERSION "\n"
		"Capture-Agent: popferry\n"
		"EML-Format-Details: RFC 5322, byte for byte as it was received\n"
		"Bag-Software-Agent: popferry (archive format %d)\n"
		"Bagging-Timestamp: %s\n"
		"Bagging-Date: %.10s\n"
		"Capture-Date: %s\n"
		"Bag-Group-Identifier: %s\n"
		"External-Identifier: %s#%s\n"
		"Payload-Oxum: %" PRIu64 ".%zu\n"
		"Segment-Number: %u\n"
		"First-Message: %" PRIu64 "\n"
		"Last-Message: %" PRIu64 "\n",
		ARCHIVE_FORMAT, t->o->rows.newest, t->o->rows.newest, t->o->rows.newest,
		t->w->policy.id, t->w->policy.id, g->name, bytes, x->n, g->no, g->first,
		g->next - 1);
	for (i = 0; i < t->o->sources_n; i++)
		buf_addf(&t->info, "Source-URL: %s\n", t->o->sources[i]);
	hash_of(t->info.p, t->info.n, t->made->sums.of[TAG_INFO]);
}

/* Measured before it was written down. */
static void measure_told(struct tags *t)
{
	struct tag_sums *sums = &t->made->sums;
	struct told_file f;
	int tag;

	for (tag = TAG_LISTING; tag <= TAG_SERVER; tag++) {
		sums->has[tag] = told_find(t->o->told, (enum tag)tag, &f);
		if (!sums->has[tag])
			continue;
		t->told_n[tag] = f.n;
		memcpy(sums->of[tag], f.sha, DIGEST);
	}
}

/* ---- writing them ---- */

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

static enum status put(struct tags *t, const char *p, size_t n, struct err *err)
{
	hash_put(t->hash, p, n);
	return tarw_data(t->w->seg->tar, p, n, err);
}

/* A table, whose digest is known with it. */
static enum status tag_table(struct tags *t, enum tag tag, uint64_t n,
	enum status (*rows)(struct tags *t, struct err *err), struct err *err)
{
	enum status rc = tag_begin(t, tag, n, err);

	hash_begin(&t->hash);
	if (rc == ST_OK)
		rc = rows(t, err);
	hash_end(&t->hash, t->made->sums.of[tag]);
	t->made->sums.has[tag] = true;
	return rc == ST_OK ? tarw_entry_end(t->w->seg->tar, err) : rc;
}

static enum status csv_one(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct csv_part f[CSV_PATH + 1];
	struct tags *t = ctx;

	csv_parts(f, CSV_PATH + 1, line, n);
	/* It needs no escape. */
	buf_clear(&t->line);
	buf_add(&t->line, f[CSV_PATH].p, f[CSV_PATH].n);
	t->made->paths[row] = segment_path(buf_str(&t->line));
	return put(t, line, n, err);
}

static enum status csv_rows(struct tags *t, struct err *err)
{
	enum status rc = put(t, t->head.p, t->head.n, err);

	return rc == ST_OK ? open_state_rows(t->o, &t->w->seg->log, csv_one, t, err)
			   : rc;
}

static enum status bag_one(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct tags *t = ctx;

	(void)row;
	buf_clear(&t->bag);
	mailbag_line(&t->bag, line, n);
	return put(t, t->bag.p, t->bag.n, err);
}

static enum status bag_rows(struct tags *t, struct err *err)
{
	enum status rc = put(t, t->bag.p, t->bag.n, err);

	return rc == ST_OK ? open_state_rows(t->o, &t->w->seg->log, bag_one, t, err)
			   : rc;
}

static enum status tree_rows(struct tags *t, struct err *err)
{
	const struct idx *x = &t->o->idx;
	unsigned char salt[SALT], leaf[DIGEST];
	enum status rc = put(t, tree_head, strlen(tree_head), err);
	size_t i;

	for (i = 0; rc == ST_OK && i < x->n; i++) {
		tree_salt(salt, t->w->seg->seed, &x->rows[i]);
		buf_clear(&t->line);
		tree_line(&t->line, &x->rows[i], salt, leaf);
		tree_add(t->tree, leaf);
		rc = put(t, t->line.p, t->line.n, err);
	}
	return rc;
}

static enum status manifest_one(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct csv_part f[CSV_SHA256 + 1];
	struct tags *t = ctx;

	(void)row;
	csv_parts(f, CSV_SHA256 + 1, line, n);
	buf_clear(&t->line);
	buf_add(&t->line, f[CSV_SHA256].p, f[CSV_SHA256].n);
	buf_adds(&t->line, "  ");
	buf_add(&t->line, f[CSV_PATH].p, f[CSV_PATH].n);
	buf_addc(&t->line, '\n');
	return put(t, t->line.p, t->line.n, err);
}

static enum status manifest_rows(struct tags *t, struct err *err)
{
	return open_state_rows(t->o, &t->w->seg->log, manifest_one, t, err);
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
	const struct open_state *o = t->o;
	struct open_segment *g = t->w->seg;
	uint64_t csv = t->head.n + o->rows.bytes, tree = tree_bytes(&o->idx),
		 bag = t->bag.n + o->rows.mailbag_bytes, manifest = manifest_bytes(o),
		 raw = tar_room(t->info.n) + tar_room(csv) + tar_room(bag) +
		tar_room(tree) + tar_room(manifest) + tar_room(t->tagmanifest.n) +
		TAR_END;
	enum status rc;
	int tag;

	for (tag = TAG_LISTING; tag <= TAG_SERVER; tag++)
		raw += t->made->sums.has[tag] ? tar_room(t->told_n[tag]) : 0;
	g->tables = true;
	rc = part_begin(t->w, raw, err);
	if (rc == ST_OK)
		rc = tag_text(t, TAG_INFO, &t->info, err);
	if (rc == ST_OK)
		rc = tag_table(t, TAG_CSV, csv, csv_rows, err);
	if (rc == ST_OK)
		rc = tag_table(t, TAG_MAILBAG, bag, bag_rows, err);
	if (rc == ST_OK)
		rc = tag_table(t, TAG_TREE, tree, tree_rows, err);
	for (tag = TAG_LISTING; rc == ST_OK && tag <= TAG_SERVER; tag++)
		if (t->made->sums.has[tag])
			rc = tag_told(t, (enum tag)tag, err);
	if (rc == ST_OK)
		rc = tag_table(t, TAG_MANIFEST, manifest, manifest_rows, err);
	buf_clear(&t->tagmanifest);
	tagmanifest_text(&t->tagmanifest, &t->made->sums);
	if (rc == ST_OK)
		rc = tag_text(t, TAG_TAGMANIFEST, &t->tagmanifest, err);
	if (rc == ST_OK)
		rc = tarw_end(g->tar, err);
	if (rc == ST_OK)
		rc = part_end(t->w, err);
	return rc == ST_OK ? part_settle(t->w, PART_ALL, err) : rc;
}

enum status tags_add(struct archive_writer *w, struct open_state *o,
	struct segment_made *made, struct tree *tree, struct err *err)
{
	struct tags t = { .w = w, .o = o, .made = made, .tree = tree };
	enum status rc;

	made->paths = xcalloc(o->idx.n, sizeof(*made->paths));
	buf_init(&t.line, LINE_MAX_BYTES);
	buf_init(&t.head, CSV_ROW_MAX);
	buf_init(&t.bag, CSV_ROW_MAX);
	buf_init(&t.info, INFO_MAX);
	buf_init(&t.tagmanifest, LINE_MAX_BYTES * TAGS);
	csv_header(&t.head);
	mailbag_header(&t.bag);
	measure_told(&t);
	make_info(&t);
	/* What it says comes later; as long as this it will be. */
	made->sums.has[TAG_TREE] = made->sums.has[TAG_MAILBAG] = true;
	tagmanifest_text(&t.tagmanifest, &made->sums);
	o->idx.tags_off = w->seg->part_len;
	rc = tags_write(&t, err);
	o->idx.tags_len = w->seg->part_len - o->idx.tags_off;
	buf_free(&t.line);
	buf_free(&t.head);
	buf_free(&t.bag);
	buf_free(&t.info);
	buf_free(&t.tagmanifest);
	return rc;
}
