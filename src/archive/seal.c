/* seal.c: the open segment becomes a finished one. See FORMAT. */
#include "csv.h"
#include "hash.h"
#include "pool.h"
#include "segment.h"
#include "writer.h"

#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INFO_MAX = 128 * 1024, LINE_MAX_BYTES = 2 * DIGEST + 512 };

/* ---- the tag section ---- */

/*
 * The rows are read from the log once to measure and digest what is made of
 * them, and again for each table that is written: they can be large.
 */
struct tags {
	struct archive_writer *w;
	const struct open_state *o;
	struct csv csv;
	struct buf line; /* of the manifest */
	struct buf head; /* of messages.csv */
	struct buf info, tagmanifest;
	struct hash *csv_hash, *manifest_hash; /* while measuring */
	uint64_t csv_n, manifest_n, bytes;
	char newest[24];
	struct tag_sums sums;
};

static void manifest_line(struct buf *b, char *const f[CSV_COLUMNS])
{
	buf_clear(b);
	buf_addf(b, "%s  %s\n", f[CSV_SHA256], f[CSV_PATH]);
}

static enum status measure_fields(
	void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct tags *t = ctx;

	(void)err;
	manifest_line(&t->line, f);
	hash_put(t->manifest_hash, t->line.p, t->line.n);
	t->manifest_n += t->line.n;
	t->bytes += strtoull(f[CSV_SIZE], NULL, 10);
	/* RFC 3339 in UTC sorts as text. */
	if (strlen(f[CSV_RETRIEVED]) < sizeof(t->newest) &&
		strcmp(f[CSV_RETRIEVED], t->newest) > 0)
		snprintf(t->newest, sizeof(t->newest), "%s", f[CSV_RETRIEVED]);
	return ST_OK;
}

static enum status measure_row(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct tags *t = ctx;

	(void)row;
	hash_put(t->csv_hash, line, n);
	t->csv_n += n;
	return csv_feed(&t->csv, line, n, measure_fields, t, err);
}

static enum status write_manifest_line(
	void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct tags *t = ctx;

	manifest_line(&t->line, f);
	return tarw_data(t->w->seg->tar, t->line.p, t->line.n, err);
}

static enum status write_manifest_row(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct tags *t = ctx;

	(void)row;
	return csv_feed(&t->csv, line, n, write_manifest_line, t, err);
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

static enum status measure(struct tags *t, struct err *err)
{
	enum status rc;

	hash_begin(&t->csv_hash);
	hash_begin(&t->manifest_hash);
	hash_put(t->csv_hash, t->head.p, t->head.n);
	t->csv_n = t->head.n;
	rc = open_state_rows(t->o, t->w->seg->log, measure_row, t, err);
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
		rc = open_state_rows(t->o, t->w->seg->log, write_csv_row, t, err);
	return rc == ST_OK ? tarw_entry_end(tar, err) : rc;
}

static enum status tag_manifest(struct tags *t, struct err *err)
{
	struct tarw *tar = t->w->seg->tar;
	enum status rc = tag_begin(t, TAG_MANIFEST, t->manifest_n, err);

	if (rc == ST_OK)
		rc = open_state_rows(t->o, t->w->seg->log, write_manifest_row, t, err);
	return rc == ST_OK ? tarw_entry_end(tar, err) : rc;
}

static enum status tags_write(struct tags *t, struct err *err)
{
	struct open_segment *g = t->w->seg;
	uint64_t raw = tar_room(t->info.n) + tar_room(t->csv_n) +
		tar_room(t->manifest_n) + tar_room(t->tagmanifest.n) + TAR_END;
	enum status rc = part_begin(t->w, raw, err);

	if (rc == ST_OK)
		rc = tag_text(t, TAG_INFO, &t->info, err);
	if (rc == ST_OK)
		rc = tag_csv(t, err);
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

static enum status write_tags(
	struct archive_writer *w, struct open_state *o, struct err *err)
{
	struct tags t = { .w = w, .o = o };
	enum status rc;

	csv_init(&t.csv);
	t.csv.body = true; /* the log has no header line */
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
	csv_release(&t.csv);
	buf_free(&t.line);
	buf_free(&t.head);
	buf_free(&t.info);
	buf_free(&t.tagmanifest);
	return rc;
}

/* ---- the check ---- */

static void first_finding(void *ctx, const char *what)
{
	char *text = ctx;

	if (*text == '\0')
		snprintf(text, ERR_TEXT, "%s", what);
}

/* Opened anew, so that what is compared is what the file gives to others. */
static enum status check_file(struct archive_writer *w, const char *name,
	enum archive_codec c, const struct idx *x, unsigned char *sha, struct err *err)
{
	char finding[ERR_TEXT] = "";
	struct tally t = { .bad = first_finding, .ctx = finding };
	enum status rc;
	int fd;

	rc = writer_open_file(&fd, w->opendir, name, O_RDONLY, err);
	if (rc < 0)
		return rc;
	rc = segment_check(fd, c, w->seg->name, name, x, sha, &t, err);
	if (rc == ST_OK && t.damaged)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"the finished segment does not read back as it was written, it stays in "
			"open/ (check disk and memory): %s",
			finding);
	close(fd);
	return rc;
}

/* ---- zip ---- */

static enum status copy_entry(
	struct tarw *zip, struct entries *s, const struct entry *e, struct err *err)
{
	enum status rc = tarw_entry(zip, e->path, e->size, err);
	const char *p;
	size_t n;

	while (rc == ST_OK && (rc = entries_data(s, &p, &n, err)) == ST_OK && n)
		rc = tarw_data(zip, p, n, err);
	return rc == ST_OK ? tarw_entry_end(zip, err) : rc;
}

static enum status tar_to_zip(int tar, int fd, uint64_t len, struct err *err)
{
	struct unpacker *u = NULL;
	struct entries *s = NULL;
	struct tarw *zip = NULL;
	struct entry e;
	enum status rc;

	unpacker_open(&u, ARCHIVE_NONE, tar, 0, len, false);
	rc = entries_open(&s, u, err);
	if (rc == ST_OK)
		rc = tarw_open_zip(&zip, fd, err);
	while (rc == ST_OK && (rc = entries_next(s, &e, err)) == ST_OK)
		rc = copy_entry(zip, s, &e, err);
	if (rc == ST_END)
		rc = tarw_end(zip, err);
	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync zip");
	tarw_close(&zip);
	entries_close(&s);
	unpacker_close(&u);
	return rc;
}

/* Writes and checks the zip; its index has no offsets. */
static enum status make_zip(struct archive_writer *w, const char *name, struct idx *x,
	unsigned char *sha, struct err *err)
{
	size_t i;
	int fd;
	enum status rc = writer_open_file(
		&fd, w->opendir, name, O_RDWR | O_CREAT | O_TRUNC, err);

	if (rc < 0)
		return rc;
	rc = tar_to_zip(w->seg->part, fd, w->seg->part_len, err);
	close(fd);
	fault_step("archive-zip");
	for (i = 0; i < x->n; i++)
		x->rows[i].off = x->rows[i].len = x->rows[i].in = 0;
	x->tags_off = x->tags_len = 0;
	return rc == ST_OK ? check_file(w, name, ARCHIVE_ZIP, x, sha, err) : rc;
}

/* ---- sealing ---- */

static enum status note_sealing(struct archive_writer *w, struct err *err)
{
	struct open_segment *g = w->seg;
	enum status rc;

	if (g->sealing)
		return ST_OK;
	buf_clear(&g->log_new);
	commit_sealing(&g->log_new);
	rc = fs_write(g->log, g->log_new.p, g->log_new.n, err);
	buf_clear(&g->log_new);
	if (rc == ST_OK)
		rc = writer_sync_file(g->log, "commit log", err);
	g->sealing = true;
	return rc;
}

/* The rest becomes the last member of messages, its rows move there. */
static enum status last_member(
	struct archive_writer *w, struct open_state *o, struct err *err)
{
	struct open_segment *g = w->seg;
	uint64_t at = g->part_len;
	enum status rc = ST_OK;
	size_t i;

	if (g->raw.n) {
		rc = part_begin(w, g->raw.n, err);
		if (rc == ST_OK)
			rc = part_member(w, g->raw.n, g->next - 1, err);
		if (rc == ST_OK)
			rc = part_settle(w, PART_ALL, err);
	}
	for (i = 0; i < o->idx.n; i++)
		if (o->idx.rows[i].off == REST) {
			o->idx.rows[i].off = at;
			o->idx.rows[i].len = g->part_len - at;
		}
	return rc;
}

static enum status complete(struct archive_writer *w, struct open_state *o,
	const char *part, unsigned char *sha, struct err *err)
{
	enum archive_codec c = w->policy.codec;
	enum status rc = last_member(w, o, err);

	if (rc == ST_OK)
		rc = write_tags(w, o, err);
	if (rc == ST_OK && fsync(w->seg->part) < 0)
		rc = err_sys(err, ST_FATAL, "sync %s", part);
	fault_step("archive-seal-written");
	pool_close(&w->pool); /* its memory is for the check */
	if (rc == ST_OK)
		rc = check_file(w, part, c == ARCHIVE_ZIP ? ARCHIVE_NONE : c, &o->idx,
			sha, err);
	return rc;
}

/* open/FROM becomes segments/SEGMENT.EXT. */
static enum status publish(struct archive_writer *w, const char *from, struct err *err)
{
	char to[FILE_NAME_MAX];
	enum status rc;

	file_name(to, w->seg->name, codec_suffix(w->policy.codec));
	if (fchmodat(w->opendir, from, 0444, 0) < 0 ||
		renameat(w->opendir, from, w->segdir, to) < 0)
		return err_sys(err, ST_FATAL, "move %s to segments/%s", from, to);
	fault_step("archive-seal-renamed");
	rc = fs_sync_dir(w->segdir, err);
	return rc == ST_OK ? fs_sync_dir(w->opendir, err) : rc;
}

enum status seal_finish(struct archive_writer *w, const char *segment,
	const struct known_sum *sum, struct err *err)
{
	char log[FILE_NAME_MAX];
	const char *const keep[] = { log, NULL };
	enum status rc = manifest_update(w->dir, w->segdir, &w->policy, sum, err);

	fault_step("archive-seal-manifest");
	file_name(log, segment, ".log");
	if (rc == ST_OK)
		rc = open_sweep(w, keep, err);
	fault_step("archive-seal-swept");
	if (rc == ST_OK && unlinkat(w->opendir, log, 0) < 0)
		rc = err_sys(err, ST_FATAL, "remove open/%s", log);
	if (rc == ST_OK)
		rc = fs_sync_dir(w->opendir, err);
	fault_step("archive-sealed");
	return rc;
}

enum status seal_segment(struct archive_writer *w, struct err *err)
{
	struct open_segment *g = w->seg;
	char part[FILE_NAME_MAX], zip[FILE_NAME_MAX];
	bool is_zip = w->policy.codec == ARCHIVE_ZIP;
	struct open_state o = { 0 };
	struct known_sum sum;
	enum status rc = note_sealing(w, err);

	fault_step("archive-seal-begun");
	file_name(part, g->name, codec_open_suffix(w->policy.codec));
	file_name(zip, g->name, ".zip.part");
	snprintf(sum.name, sizeof(sum.name), "segments/%s%s", g->name,
		codec_suffix(w->policy.codec));
	if (rc == ST_OK)
		rc = open_state_read(&o, g->log, &w->policy, err);
	if (rc == ST_OK)
		rc = complete(w, &o, part, is_zip ? NULL : sum.sha, err);
	if (rc == ST_OK && is_zip)
		rc = make_zip(w, zip, &o.idx, sum.sha, err);
	fault_step("archive-seal-checked");
	if (rc == ST_OK)
		rc = idx_write(&o.idx, w->segdir, g->name, err);
	fault_step("archive-seal-idx");
	if (rc == ST_OK)
		rc = publish(w, is_zip ? zip : part, err);
	if (rc == ST_OK)
		rc = seal_finish(w, g->name, &sum, err);
	if (rc == ST_OK) {
		w->last_no = g->no;
		w->last_seq = g->next - 1;
		segment_free(w);
	}
	open_state_free(&o);
	return rc;
}
