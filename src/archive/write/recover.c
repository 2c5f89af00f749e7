/* recover.c: open/ is brought back to the last commit. See FORMAT. */
#include "../form/statement.h"
#include "told.h"
#include "writer.h"

#include <popferry/fault.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum status drop(int dir, const char *name, struct err *err)
{
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return err_sys(err, ST_FATAL, "remove %s", name);
	return ST_OK;
}

static bool listed(const char *const names[], const char *name)
{
	size_t i;

	for (i = 0; names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

enum status open_sweep(
	struct archive_writer *w, const char *const keep[], struct err *err)
{
	size_t n = strlen(w->policy.slug);
	struct names *l;
	const char *name;
	enum status rc = names_open(&l, w->opendir, ".", err);

	while (rc == ST_OK && (rc = names_next(l, &name, err)) == ST_OK)
		if (strncmp(name, w->policy.slug, n) == 0 && name[n] == '-' &&
			!listed(keep, name))
			rc = drop(w->opendir, name, err);
	names_close(&l);
	return rc < 0 ? rc : ST_OK;
}

/* What a replacement of a file that did not come to its rename left behind. */
static enum status sweep_new(int dir, struct err *err)
{
	struct names *l;
	const char *name;
	enum status rc = names_open(&l, dir, ".", err);

	while (rc == ST_OK && (rc = names_next(l, &name, err)) == ST_OK) {
		size_t n = strlen(name);

		if (name[0] == '.' && n > 5 && strcmp(name + n - 4, ".new") == 0)
			rc = drop(dir, name, err);
	}
	names_close(&l);
	return rc < 0 ? rc : ST_OK;
}

/* ---- the state of the last commit ---- */

static enum status short_file(const char *name, struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"open/%s has lost bytes that were committed: put open/ back from a copy of the "
		"archive, or move it away and run again to fetch what it held",
		name);
}

/* Opens a file and cuts it to what was committed. */
static enum status cut(struct archive_writer *w, struct open_file *f, const char *name,
	uint64_t len, struct err *err)
{
	uint64_t size;
	enum status rc = writer_open_file(w, f, name, O_RDWR, err);

	if (rc < 0)
		return f->fd < 0 && errno == ENOENT ? short_file(name, err) : rc;
	rc = open_file_size(f, &size, err);
	if (rc != ST_OK)
		return err_note(err, "open/%s", name);
	return size < len ? short_file(name, err) : open_file_cut(f, name, len, err);
}

static enum status load_rest(struct open_segment *g, const struct open_state *o,
	const char *name, struct err *err)
{
	char *p = xmalloc((size_t)o->rest_len + 1);
	size_t n;
	enum status rc = open_file_read(&g->rest, p, (size_t)o->rest_len, 0, &n, err);

	if (rc != ST_OK)
		err_note(err, "open/%s", name);
	else if (n != o->rest_len || libdeflate_crc32(0, p, n) != o->rest_crc ||
		!buf_add(&g->raw, p, n))
		rc = short_file(name, err);
	g->rest_len = g->raw.n;
	free(p);
	return rc;
}

/* The names of the files that Z tells of. */
static void keep_told(const struct open_segment *g, const struct open_state *o,
	char name[TAGS][FILE_NAME_MAX], const char **keep)
{
	struct told_file f;
	int tag;

	for (tag = 0; o->told && tag < TAGS; tag++)
		if (told_find(o->told, (enum tag)tag, &f)) {
			told_name(name[tag], g->name, (enum tag)tag);
			*keep++ = name[tag];
		}
}

static enum status restore(
	struct archive_writer *w, const struct open_state *o, struct err *err)
{
	char log[FILE_NAME_MAX], part[FILE_NAME_MAX] = "", rest[FILE_NAME_MAX] = "";
	char told[TAGS][FILE_NAME_MAX];
	const char *keep[4 + TAGS] = { log, part, rest };
	struct open_segment *g = w->seg;
	enum status rc;

	keep_told(g, o, told, keep + 3);

	g->next = o->next;
	g->durable = g->told = g->in_part = g->whole_last = o->next - 1;
	g->part_len = o->part_len;
	g->members = o->members;
	g->raw_at = o->rest_at;
	g->sealing = o->sealing;
	g->restored = true;
	file_name(log, g->name, ".log");
	rc = cut(w, &g->log, log, o->log_len, err);
	fault_step("archive-recover-log");
	if (rc == ST_OK && o->members) {
		file_name(part, g->name, codec_open_suffix(w->policy.codec));
		rc = cut(w, &g->part, part, o->part_len, err);
	}
	fault_step("archive-recover-part");
	if (rc == ST_OK && o->rest_len) {
		g->rest_no = o->members + 1;
		rest_name(rest, g->name, g->rest_no);
		rc = o->rest_len <= w->policy.member_bytes
			? cut(w, &g->rest, rest, o->rest_len, err)
			: short_file(rest, err);
		if (rc == ST_OK)
			rc = load_rest(g, o, rest, err);
	}
	return rc == ST_OK ? open_sweep(w, keep, err) : rc;
}

/* Of an encrypted one. */
static enum status key_load(struct archive_writer *w, unsigned no,
	unsigned char key[CRYPT_KEY], struct err *err)
{
	char name[FILE_NAME_MAX];
	enum status rc;

	memset(key, 0, CRYPT_KEY);
	if (w->policy.crypt == CRYPT_NONE)
		return ST_OK;
	key_name(name, &w->policy, no);
	rc = crypt_key_read(key, w->statedir, name, err);
	if (rc != ST_END)
		return rc;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"open/ has messages whose key, %s, is not in the state directory: if another "
		"job or machine wrote them, let it run again; if the key is lost, so is the "
		"open segment, but its messages are still at the source: move open/ and the "
		"journal away and run again to fetch them",
		name);
}

static enum status recover_open(struct archive_writer *w, unsigned no, struct err *err)
{
	static const char *const nothing[] = { NULL };
	char name[NAME_MAX_SEGMENT], file[FILE_NAME_MAX];
	unsigned char key[CRYPT_KEY];
	struct open_file log;
	struct open_state o = { 0 };
	enum status rc;

	segment_name(name, &w->policy, no);
	file_name(file, name, ".log");
	rc = key_load(w, no, key, err);
	if (rc != ST_OK)
		return rc;
	rc = open_file(&log, w->opendir, file, O_RDONLY,
		w->policy.crypt == CRYPT_NONE ? NULL : key, err);
	if (rc == ST_OK)
		rc = open_state_read(&o, &log, &w->policy, err);
	open_file_close(&log);
	if (rc == ST_END) { /* and its key is replaced by the next one */
		rc = open_sweep(w, nothing, err);
	} else if (rc == ST_OK &&
		(o.no != no || no != w->last_no + 1 || o.first != w->last_seq + 1)) {
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"open/%s does not follow the last segment: put segments/ and open/ "
			"back from one copy of the archive",
			file);
	} else if (rc == ST_OK) {
		segment_new(w, no, o.first);
		memcpy(w->seg->seed, o.seed, SEED);
		memcpy(w->seg->key, key, CRYPT_KEY);
		rc = restore(w, &o, err);
		if (rc == ST_OK && o.sealing)
			rc = seal_segment(w, false, err);
	}
	explicit_bzero(key, sizeof(key));
	open_state_free(&o);
	return rc;
}

/* ---- all of it ---- */

static enum status must_be_there(
	void *ctx, const char *name, const unsigned char sha[DIGEST], struct err *err)
{
	struct archive_writer *w = ctx;
	enum status rc = file_there(w->dir, name, err);

	(void)sha;
	if (rc != ST_END)
		return rc;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"%s is missing: put it back from a copy of the archive", name);
}

/* Of an encrypted archive, whose indexes are for others to read. */
static enum status sealed_last(struct archive_writer *w, struct err *err)
{
	struct statement s;
	enum status rc = statement_load(&s, w->dir, &w->policy, w->last_no, err);

	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"the seal of segment %u is missing: put seals/ back from a copy of "
			"the archive",
			w->last_no);
	w->last_seq = s.last;
	return rc;
}

static enum status sealed_end(struct archive_writer *w, struct err *err)
{
	struct segment_no *list = NULL;
	char stem[STEM_MAX];
	struct idx x = { 0 };
	size_t n;
	enum status rc = segments_list(&list, &n, w->segdir, &w->policy, err);

	if (rc == ST_OK && n) {
		w->last_no = list[n - 1].no;
		segment_stem(stem, &w->policy, list[n - 1]);
		rc = w->policy.crypt == CRYPT_NONE ? idx_get(&x, &w->vault, stem, err)
						   : sealed_last(w, err);
		if (rc == ST_OK && x.n)
			w->last_seq = x.rows[x.n - 1].seq;
		idx_free(&x);
	}
	free(list);
	return rc;
}

/* What a seal will be chained to must be in order before messages are taken. */
static enum status check_chain(struct archive_writer *w, struct err *err)
{
	struct custody_head head;
	struct statement last;
	enum status rc = custody_last(w->dir, &head, err);

	if (rc == ST_OK && w->last_no)
		rc = statement_load(&last, w->dir, &w->policy, w->last_no, err);
	if (rc == ST_END)
		rc = w->policy.tree
			? err_set(err, ST_DENIED, EX_DATAERR,
				  "the seal of segment %u is missing: put seals/ back from a copy of "
				  "the archive",
				  w->last_no)
			: ST_OK;
	/* (One that is to be the first may stand there before its segment.) */
	return rc == ST_OK ? statement_vouches(w->dir, &w->policy,
				     w->last_no ? w->last_no : 1, err)
			   : rc;
}

enum status writer_recover(struct archive_writer *w, struct err *err)
{
	static const char *const nothing[] = { NULL };
	char name[NAME_MAX_SEGMENT];
	unsigned no;
	enum status rc = manifest_there(w->dir, w->segdir, &w->policy, err);

	if (rc == ST_OK)
		rc = manifest_each(w->dir, must_be_there, w, err);
	if (rc >= 0)
		rc = sealed_end(w, err);
	if (rc == ST_OK)
		rc = check_chain(w, err);
	if (rc == ST_OK)
		rc = sweep_new(w->dir, err);
	if (rc == ST_OK)
		rc = sweep_new(w->segdir, err);
	if (rc == ST_OK)
		rc = sweep_new(w->sealdir, err);
	if (rc == ST_OK)
		rc = open_log_find(&no, w->opendir, &w->policy, err);
	if (rc < 0)
		return rc;
	if (no == 0)
		return open_sweep(w, nothing, err);
	if (no > w->last_no)
		return recover_open(w, no, err);
	segment_name(name, &w->policy, no);
	return seal_finish(w, name, NULL, err);
}
