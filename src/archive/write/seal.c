/* seal.c: the open segment becomes a finished one. See FORMAT. */
#include "../form/hash.h"
#include "../form/pool.h"
#include "../form/segment.h"
#include "../form/statement.h"
#include "told.h"
#include "wrap.h"
#include "writer.h"

#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOLD_MAX = 128 * 1024 };

/* ---- sealing ---- */

static uint64_t octets_of(const struct idx *x)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < x->n; i++)
		bytes += x->rows[i].size;
	return bytes;
}

/* Who brought what from where. */
static enum status note_retrieved(
	struct archive_writer *w, const struct open_state *o, struct err *err)
{
	const struct open_segment *g = w->seg;
	struct custody_event e = { .event = "retrieve",
		.object = g->name,
		.now = writer_now(w),
		.once = true };
	struct buf b = BUF_INIT(TOLD_MAX);
	enum status rc;
	size_t i;

	buf_addf(&b,
		"{\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"octets\":%" PRIu64
		",\"sources\":[",
		g->first, g->next - 1, octets_of(&o->idx));
	for (i = 0; i < o->sources_n; i++) {
		buf_adds(&b, i ? "," : "");
		text_json(&b, o->sources[i], strlen(o->sources[i]));
	}
	buf_adds(&b, "]}");
	e.detail = buf_str(&b);
	rc = custody_add(w->dir, &e, err);
	buf_free(&b);
	return rc;
}

/* A segment or the log has it. */
static void is_told(struct archive_writer *w, const struct told *t)
{
	free(w->told);
	w->told = t->account ? xstrdup(buf_str(&t->reconcile)) : NULL;
}

enum status seal_nothing(struct archive_writer *w, struct err *err)
{
	struct custody_event e = { .event = "retrieve", .now = writer_now(w) };
	struct told t;
	char *detail;
	enum status rc = told_make(&t, w, true, err);

	/* What was sealed before the run's end has told it, unless there is more. */
	if (rc == ST_OK && t.account &&
		!(w->told && strcmp(w->told, buf_str(&t.reconcile)) == 0)) {
		detail = xasprintf("{\"reconcile\":%s}", buf_str(&t.reconcile));
		e.object = t.account;
		e.detail = detail;
		rc = custody_add(w->dir, &e, err);
		free(detail);
	}
	if (rc == ST_OK)
		is_told(w, &t);
	told_free(&t);
	return rc;
}

/* What the seal and the segment will say that cannot be known later. */
static enum status tell(
	struct archive_writer *w, struct open_state *o, bool last, struct err *err)
{
	struct buf b = BUF_INIT(TOLD_MAX);
	struct custody_head head;
	struct told t;
	enum status rc;

	/* 0.1.0 told nothing. */
	if (w->seg->sealing && o->told && *o->told)
		return ST_OK;
	rc = told_make(&t, w, last, err);
	if (rc == ST_OK)
		rc = note_retrieved(w, o, err);
	if (rc == ST_OK)
		rc = custody_last(w->dir, &head, err);
	if (rc == ST_OK) {
		statement_told(&b, &head, buf_str(&t.reconcile), writer_now(w));
		buf_adds(&b, buf_str(&t.files));
	}
	if (rc == ST_OK && last)
		is_told(w, &t);
	told_free(&t);
	free(o->told);
	o->told = buf_take(&b);
	return rc;
}

static enum status note_sealing(
	struct archive_writer *w, const struct open_state *o, struct err *err)
{
	struct open_segment *g = w->seg;
	struct buf told = BUF_INIT(TOLD_MAX);
	enum status rc;

	if (g->sealing)
		return ST_OK;
	buf_adds(&told, o->told);
	buf_clear(&g->log_new);
	commit_sealing(&g->log_new, &told);
	buf_free(&told);
	rc = open_file_add(&g->log, g->log_new.p, g->log_new.n, err);
	buf_clear(&g->log_new);
	if (rc == ST_OK)
		rc = writer_sync_file(&g->log, "commit log", err);
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
	const char *part, struct segment_facts *facts, struct err *err)
{
	enum archive_codec c = w->policy.codec;
	struct segment_made made = { 0 };
	struct segment_seen seen;
	enum status rc = last_member(w, o, err);

	if (rc == ST_OK)
		rc = tags_add(w, o, &made, &facts->tree, err);
	if (rc == ST_OK && fsync(w->seg->part.fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync %s", part);
	fault_step("archive-seal-written");
	readback_end(&w->seg->back, &seen);
	pool_close(&w->pool); /* its memory is for the check */
	facts->seen = &seen;
	facts->made = &made;
	if (rc == ST_OK)
		rc = wrap_check(w, part, c == ARCHIVE_ZIP ? ARCHIVE_NONE : c, &o->idx,
			facts, err);
	facts->seen = NULL;
	facts->made = NULL;
	segment_seen_free(&seen);
	free(made.paths);
	return rc;
}

/* ---- the seal ---- */

/* What the one before says; prev is 0 when there is none. */
static enum status follow(
	struct statement *s, const struct archive_writer *w, struct err *err)
{
	struct statement before;
	enum status rc;

	if (w->last_no == 0)
		return ST_OK;
	rc = statement_load(&before, w->dir, &w->policy, w->last_no, err);
	if (rc == ST_END)
		return ST_OK; /* of 0.1.0: recovery has looked */
	if (rc != ST_OK)
		return rc;
	s->prev = before.no;
	memcpy(s->prev_sha, before.self, DIGEST);
	s->tree = before.tree;
	return ST_OK;
}

static enum status seal_write(struct archive_writer *w, const struct open_state *o,
	const char *file, struct statement *s, struct err *err)
{
	const struct open_segment *g = w->seg;
	char idx[FILE_NAME_MAX], name[FILE_NAME_MAX];
	struct buf b = BUF_INIT(TOLD_MAX);
	struct stat st;
	enum status rc;

	s->no = g->no;
	s->first = g->first;
	s->last = g->next - 1;
	s->count = o->idx.n;
	s->octets = octets_of(&o->idx);
	memcpy(s->archive, w->policy.id, sizeof(s->archive));
	file_name(s->file, g->name, segment_suffix(&w->policy));
	if (fstatat(w->opendir, file, &st, 0) < 0)
		return err_sys(err, ST_FATAL, "open/%s", file);
	s->bytes = (uint64_t)st.st_size;
	file_name(idx, g->name, idx_suffix(&w->policy));
	rc = hash_file(w->segdir, idx, s->idx_sha, NULL, err);
	if (rc == ST_OK)
		rc = hash_file(w->dir, "archive.json", s->json_sha, NULL, err);
	if (rc == ST_OK) {
		statement_text(&b, s, o->told);
		file_name(name, g->name, ".seal.json");
		rc = fs_replace(w->sealdir, name, b.p, b.n, 0444, err);
	}
	buf_free(&b);
	return rc;
}

/* open/FROM becomes segments/SEGMENT.EXT. */
static enum status publish(struct archive_writer *w, const char *from, struct err *err)
{
	char to[FILE_NAME_MAX];
	enum status rc;

	file_name(to, w->seg->name, segment_suffix(&w->policy));
	if (fchmodat(w->opendir, from, 0444, 0) < 0 ||
		renameat(w->opendir, from, w->segdir, to) < 0)
		return err_sys(err, ST_FATAL, "move %s to segments/%s", from, to);
	fault_step("archive-seal-renamed");
	rc = fs_sync_dir(w->segdir, err);
	return rc == ST_OK ? fs_sync_dir(w->opendir, err) : rc;
}

static enum status note_sealed(
	struct archive_writer *w, const char *segment, struct err *err)
{
	char name[FILE_NAME_MAX], detail[2 * DIGEST + 32], hex[2 * DIGEST + 1];
	struct custody_event e = { .event = "seal",
		.object = segment,
		.detail = detail,
		.now = writer_now(w),
		.once = true };
	unsigned char sha[DIGEST];
	enum status rc;

	file_name(name, segment, ".seal.json");
	rc = file_there(w->sealdir, name, err);
	if (rc != ST_OK) /* of 0.1.0, which was killed at this point: it has none */
		return rc == ST_END ? ST_OK : rc;
	rc = hash_file(w->sealdir, name, sha, NULL, err);
	snprintf(detail, sizeof(detail), "{\"sha256\":\"%s\"}",
		text_hex(hex, sha, DIGEST));
	return rc == ST_OK ? custody_add(w->dir, &e, err) : rc;
}

/* What it opened is gone. */
static enum status drop_key(
	struct archive_writer *w, const char *segment, struct err *err)
{
	char name[FILE_NAME_MAX];
	enum status rc;

	if (w->policy.crypt == CRYPT_NONE)
		return ST_OK;
	key_name(name, &w->policy,
		(unsigned)strtoul(strrchr(segment, '-') + 1, NULL, 10));
	rc = crypt_key_destroy(w->statedir, name, err);
	fault_step("archive-seal-key");
	return rc == ST_END ? ST_OK : rc;
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
		rc = note_sealed(w, segment, err);
	if (rc == ST_OK)
		rc = open_sweep(w, keep, err);
	fault_step("archive-seal-swept");
	if (rc == ST_OK)
		rc = drop_key(w, segment, err);
	if (rc == ST_OK && unlinkat(w->opendir, log, 0) < 0)
		rc = err_sys(err, ST_FATAL, "remove open/%s", log);
	if (rc == ST_OK)
		rc = fs_sync_dir(w->opendir, err);
	fault_step("archive-sealed");
	return rc;
}

enum status seal_segment(struct archive_writer *w, bool last, struct err *err)
{
	struct open_segment *g = w->seg;
	char part[FILE_NAME_MAX], zip[FILE_NAME_MAX], cipher[FILE_NAME_MAX + 8];
	const char *made = part;
	bool is_zip = w->policy.codec == ARCHIVE_ZIP,
	     crypt = w->policy.crypt != CRYPT_NONE;
	unsigned char plain[DIGEST];
	struct open_state o = { 0 };
	struct statement s = { 0 };
	struct segment_facts facts = { 0 };
	struct known_sum sum;
	enum status rc;

	/* Of what was under way much is left over, between what is still needed. */
	malloc_trim(0);
	rc = open_state_read(&o, &g->log, &w->policy, err);

	if (rc == ST_OK)
		rc = tell(w, &o, last, err);
	if (rc == ST_OK)
		rc = note_sealing(w, &o, err);
	fault_step("archive-seal-begun");
	file_name(part, g->name, codec_open_suffix(w->policy.codec));
	file_name(zip, g->name, ".zip.part");
	snprintf(cipher, sizeof(cipher), "%s%s.part", g->name,
		segment_suffix(&w->policy));
	snprintf(sum.name, sizeof(sum.name), "segments/%s%s", g->name,
		segment_suffix(&w->policy));
	if (rc == ST_OK)
		rc = follow(&s, w, err);
	facts.sha = is_zip ? NULL : crypt ? plain : sum.sha;
	facts.tree = s.tree;
	if (rc == ST_OK)
		rc = complete(w, &o, part, &facts, err);
	if (rc == ST_OK && is_zip)
		facts = (struct segment_facts){ .sha = crypt ? plain : sum.sha,
			.tree = s.tree };
	if (rc == ST_OK && crypt)
		rc = wrap_cipher(w, made = cipher, &o.idx, &facts, &s, sum.sha, err);
	else if (rc == ST_OK && is_zip)
		rc = wrap_zip(w, made = zip, &o.idx, &facts, err);
	fault_step("archive-seal-checked");
	if (rc == ST_OK)
		rc = idx_write(&o.idx, &w->vault, w->segdir, g->name, err);
	if (rc == ST_OK && w->blind)
		rc = blind_add(w->blind, &o.idx, err);
	fault_step("archive-seal-idx");
	if (rc == ST_OK) {
		s.tree = facts.tree;
		memcpy(s.sha, sum.sha, DIGEST);
		memcpy(s.tags_sha, facts.tags_sha, DIGEST);
		rc = seal_write(w, &o, made, &s, err);
	}
	fault_step("archive-seal-stated");
	if (rc == ST_OK)
		rc = publish(w, made, err);
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
