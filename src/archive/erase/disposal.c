/*
 * disposal.c: the segment is written anew in open/ and checked; then it takes the place
 * of the old one.
 *
 * open/dispose.json stands there from before the first change until after the last.
 * Until the new segment has been renamed into segments/ the disposal can be undone;
 * from then on only be ended.
 */
#include "disposal.h"
#include "../form/hash.h"
#include "rewrite.h"
#include "../form/segment.h"
#include "../form/statement.h"

#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char pending[] = "dispose.json";

/* ---- the change ---- */

static enum status drop(int dir, const char *name, struct err *err)
{
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT
		? err_sys(err, ST_FATAL, "remove %s", name)
		: ST_OK;
}

static void part_name(char out[FILE_NAME_MAX], const struct disposition *d)
{
	file_name(out, d->after.file, ".part");
}

/* A search index has what the messages said; it can be made again. */
static enum status drop_index(struct keeper *k, struct err *err)
{
	int dir = openat(
		k->dir, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct names *l = NULL;
	const char *name;
	enum status rc;

	if (dir < 0)
		return errno == ENOENT ? ST_OK : err_sys(err, ST_FATAL, "index");
	rc = names_open(&l, dir, ".", err);
	while (rc == ST_OK && (rc = names_next(l, &name, err)) == ST_OK)
		rc = drop(dir, name, err);
	names_close(&l);
	if (rc == ST_END)
		rc = fs_sync_dir(dir, err);
	close(dir);
	return rc;
}

static enum status keep_record(
	struct keeper *k, const struct disposition *d, struct err *err)
{
	char name[FILE_NAME_MAX], *text = NULL;
	size_t n = 0;
	int dir;
	enum status rc;

	record_name(name, "disposition", d->no);
	rc = file_there(k->dir, name, err);
	if (rc != ST_END)
		return rc;
	if (mkdirat(k->dir, "policy", 0700) < 0 && errno != EEXIST)
		return err_sys(err, ST_FATAL, "make directory policy");
	dir = openat(k->dir, "policy", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_sys(err, ST_FATAL, "open directory policy");
	rc = fs_read(&text, &n, k->opendir, pending, RECORD_MAX, err);
	if (rc == ST_OK)
		rc = fs_replace(dir, name + strlen("policy/"), text, n, 0444, err);
	close(dir);
	free(text);
	return rc;
}

/* The new segment is in its place. */
static enum status end(struct keeper *k, const struct disposition *d, struct err *err)
{
	char idx[FILE_NAME_MAX];
	enum status rc = keep_record(k, d, err);

	fault_step("archive-dispose-recorded");
	if (rc == ST_OK)
		rc = drop_index(k, err);
	if (rc == ST_OK)
		rc = record_note(k, "disposition", "dispose", d->no, err);
	state_idx(idx, &d->before);
	if (rc == ST_OK)
		rc = drop(k->segdir, d->before.file, err);
	fault_step("archive-dispose-removed");
	if (rc == ST_OK)
		rc = drop(k->segdir, idx, err);
	if (rc == ST_OK)
		rc = fs_sync_dir(k->segdir, err);
	fault_step("archive-dispose-gone");
	if (rc == ST_OK)
		rc = drop(k->opendir, pending, err);
	if (rc == ST_OK)
		rc = fs_sync_dir(k->opendir, err);
	fault_step("archive-dispose-done");
	return rc == ST_OK
		? rc
		: err_note(err,
			  "messages of %s are taken out, and the next change of the "
			  "archive ends that",
			  d->segment);
}

/* open/ has the new segment and its index, which are durable. */
static enum status change(
	struct keeper *k, const struct disposition *d, struct err *err)
{
	char part[FILE_NAME_MAX], idx[FILE_NAME_MAX];
	enum status rc = ST_OK;

	part_name(part, d);
	state_idx(idx, &d->after);
	if (renameat(k->opendir, idx, k->segdir, idx) < 0)
		rc = err_sys(err, ST_FATAL, "move %s to segments/", idx);
	fault_step("archive-dispose-idx");
	if (rc == ST_OK)
		rc = fs_sync_dir(k->segdir, err);
	if (rc == ST_OK &&
		(fchmodat(k->opendir, part, 0444, 0) < 0 ||
			renameat(k->opendir, part, k->segdir, d->after.file) < 0))
		rc = err_sys(err, ST_FATAL, "move %s to segments/", part);
	fault_step("archive-dispose-renamed");
	if (rc == ST_OK)
		rc = fs_sync_dir(k->segdir, err);
	if (rc == ST_OK)
		rc = fs_sync_dir(k->opendir, err);
	return rc == ST_OK ? end(k, d, err) : rc;
}

static enum status undo(struct keeper *k, const struct disposition *d, struct err *err)
{
	char part[FILE_NAME_MAX], idx[FILE_NAME_MAX];
	enum status rc;

	part_name(part, d);
	state_idx(idx, &d->after);
	rc = drop(k->segdir, idx, err);
	if (rc == ST_OK)
		rc = fs_sync_dir(k->segdir, err);
	if (rc == ST_OK)
		rc = drop(k->opendir, idx, err);
	if (rc == ST_OK)
		rc = drop(k->opendir, part, err);
	fault_step("archive-dispose-undone");
	if (rc == ST_OK)
		rc = drop(k->opendir, pending, err);
	return rc == ST_OK ? fs_sync_dir(k->opendir, err) : rc;
}

enum status disposal_finish(struct keeper *k, struct err *err)
{
	struct disposition d;
	enum status rc = disposition_pending(&d, k->dir, err);

	if (rc != ST_OK)
		return rc == ST_END ? ST_OK : rc;
	rc = file_there(k->segdir, d.after.file, err);
	if (rc == ST_OK)
		rc = end(k, &d, err);
	else if (rc == ST_END)
		rc = undo(k, &d, err);
	disposition_free(&d);
	return rc;
}

/* ---- the new segment ---- */

struct work {
	struct keeper *k;
	struct disposition d;
	struct rewrite w;
	struct statement seal;
	struct tree start; /* the tree before the segment */
	struct idx x, next;
	struct bytes *from;
};

static void first_finding(void *ctx, const char *what)
{
	char *text = ctx;

	if (*text == '\0')
		snprintf(text, ERR_TEXT, "%s", what);
}

/* All of it is good, and the tree is the one that was sealed. */
static enum status check(struct work *w, struct bytes *b, const char *file,
	const struct idx *x, struct state *out, struct err *err)
{
	char finding[ERR_TEXT] = "";
	struct tally t = { .bad = first_finding, .ctx = finding };
	struct segment_facts facts = { .tree = w->start };
	enum archive_codec c = w->k->policy.codec;
	enum status rc;

	/* That of the file is another. */
	facts.sha = state_encrypted(out) ? out->plain_sha : out->sha;
	rc = segment_check(b, c, w->d.segment, file, x, &facts, &t, err);
	if (rc < 0)
		return rc;
	if (!t.damaged && !tree_same(&facts.tree, &w->seal.tree))
		snprintf(finding, sizeof(finding),
			"its tree is not the one of its seal");
	if (finding[0] || !facts.has_tags)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"%s is damaged, so nothing is taken out of it: %s", file,
			finding);
	memcpy(out->tags_sha, facts.tags_sha, DIGEST);
	return ST_OK;
}

static enum status load_seal(struct work *w, unsigned no, struct err *err)
{
	struct statement before;
	enum status rc = statement_load(&w->seal, w->k->dir, &w->k->policy, no, err);

	if (rc == ST_END)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"segment %s has no seal: nothing can be taken out of it",
			w->d.segment);
	if (rc == ST_OK)
		rc = statement_vouches(w->k->dir, &w->k->policy, no, err);
	if (rc != ST_OK || w->seal.prev == 0)
		return rc;
	rc = statement_load(&before, w->k->dir, &w->k->policy, w->seal.prev, err);
	if (rc == ST_END)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"the seal before that of segment %s is missing: put it back from a "
			"copy of the archive",
			w->d.segment);
	w->start = before.tree;
	return rc;
}

/* Its files as they are. */
static enum status hash_idx(struct work *w, const char *idx, struct err *err)
{
	enum status rc = file_there(w->k->segdir, idx, err);

	if (rc == ST_END)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"segments/%s is missing, so nothing is taken out of the segment: put "
			"it back from a copy of the archive",
			idx);
	return rc == ST_OK
		? hash_file(w->k->segdir, idx, w->d.before.idx_sha, NULL, err)
		: rc;
}

static enum status look(struct work *w, struct segment_no s, struct err *err)
{
	const struct policy *p = &w->k->policy;
	char stem[STEM_MAX], idx[FILE_NAME_MAX];
	enum status rc;

	segment_name(w->d.segment, p, s.no);
	segment_stem(stem, p, s);
	file_name(w->d.before.file, stem, segment_suffix(p));
	if (s.revision == REVISION_MAX)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"segment %s was changed too often", w->d.segment);
	s.revision++;
	rc = load_seal(w, s.no, err);
	if (rc != ST_OK)
		return rc;
	rc = vault_open(&w->from, &w->k->vault, w->d.before.file, err);
	if (rc == ST_OK)
		rc = idx_get(&w->x, &w->k->vault, stem, err);
	state_idx(idx, &w->d.before);
	if (rc == ST_OK)
		rc = hash_idx(w, idx, err);
	if (rc == ST_OK && state_encrypted(&w->d.before))
		rc = hash_file(
			w->k->segdir, w->d.before.file, w->d.before.sha, NULL, err);
	if (rc == ST_OK)
		rc = check(w, w->from, w->d.before.file, &w->x, &w->d.before, err);
	if (rc == ST_OK)
		rc = disposal_files(&w->d, w->k->dir, &w->seal, idx, err);
	segment_stem(stem, p, s);
	file_name(w->d.after.file, stem, segment_suffix(p));
	return rc;
}

static enum status to_file(void *ctx, const void *p, size_t n, struct err *err)
{
	enum status rc = fs_write(*(const int *)ctx, p, n, err);

	return rc == ST_OK ? rc : err_note(err, "the new segment, in open/");
}

static enum status to_encryptor(void *ctx, const void *p, size_t n, struct err *err)
{
	return encryptor_write(ctx, p, n, err);
}

/* own gets the key of this one file, so that it can be read back. */
static enum status write_encrypted(
	struct work *w, int fd, struct identities *own, struct err *err)
{
	struct encryptor *e = NULL;
	enum status rc = encryptor_open(&e, w->k->to, to_file, &fd, err);

	if (rc == ST_OK)
		rc = rewrite_run(&w->w, to_encryptor, e, &w->next, err);
	if (rc == ST_OK)
		rc = encryptor_end(e, err);
	if (rc == ST_OK)
		encryptor_key(e, own);
	encryptor_close(&e);
	return rc;
}

static enum status write_part(
	struct work *w, const char *part, struct identities *own, struct err *err)
{
	enum status rc;
	int fd = openat(w->k->opendir, part,
		O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_sys(err, ST_FATAL, "open open/%s", part);
	rc = state_encrypted(&w->d.after)
		? write_encrypted(w, fd, own, err)
		: rewrite_run(&w->w, to_file, &fd, &w->next, err);
	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync open/%s", part);
	close(fd);
	fault_step("archive-dispose-written");
	return rc;
}

/* Opened anew, so that what is compared is what the file gives to others. */
static enum status check_part(
	struct work *w, const char *part, const struct identities *own, struct err *err)
{
	struct state *s = &w->d.after;
	struct bytes *b = NULL;
	enum status rc;
	int fd = openat(w->k->opendir, part, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, ST_FATAL, "open open/%s", part);
	rc = state_encrypted(s) ? bytes_decrypt(&b, fd, true, own, w->k->opendir, err)
				: bytes_plain(&b, fd, true, err);
	if (rc != ST_OK)
		return err_note(err, "open/%s, read back", part);
	if (state_encrypted(s))
		rc = hash_file(w->k->opendir, part, s->sha, NULL, err);
	if (rc == ST_OK)
		rc = check(w, b, part, &w->next, s, err);
	bytes_close(&b);
	return rc;
}

static enum status write_new(struct work *w, struct segment_no s, struct err *err)
{
	char part[FILE_NAME_MAX], idx[FILE_NAME_MAX], stem[STEM_MAX];
	struct keeper *k = w->k;
	struct identities *own;
	enum status rc;

	identities_open(&own);
	part_name(part, &w->d);
	rc = write_part(w, part, own, err);
	if (rc == ST_OK)
		rc = check_part(w, part, own, err);
	identities_close(&own);
	s.revision++;
	segment_stem(stem, &k->policy, s);
	state_idx(idx, &w->d.after);
	if (rc == ST_OK)
		rc = idx_write(&w->next, &k->vault, k->opendir, stem, err);
	if (rc == ST_OK)
		rc = hash_file(k->opendir, idx, w->d.after.idx_sha, NULL, err);
	fault_step("archive-dispose-checked");
	return rc;
}

static enum status tell(struct work *w, const char *authority, struct err *err)
{
	struct buf b = BUF_INIT(RECORD_MAX);
	enum status rc = disposition_make(&b, w->k, &w->d, &w->w, authority, err);

	if (rc == ST_OK)
		rc = fs_replace(w->k->opendir, pending, b.p, b.n, 0600, err);
	buf_free(&b);
	fault_step("archive-dispose-begun");
	return rc;
}

/* What will not take the place of anything leaves its room: the disk may be full. */
static void drop_new(const struct work *w)
{
	char part[FILE_NAME_MAX], idx[FILE_NAME_MAX];

	part_name(part, &w->d);
	state_idx(idx, &w->d.after);
	drop(w->k->opendir, part, NULL);
	drop(w->k->opendir, idx, NULL);
}

static enum status find_segment(
	struct keeper *k, unsigned no, struct segment_no *out, struct err *err)
{
	struct segment_no *list = NULL;
	size_t n, i;
	enum status rc = segments_list(&list, &n, k->segdir, &k->policy, err);

	for (i = 0; rc == ST_OK && i < n && list[i].no != no;)
		i++;
	if (rc == ST_OK && i == n)
		rc = err_set(err, ST_DENIED, EX_DATAERR, "segment %u is missing", no);
	else if (rc == ST_OK)
		*out = list[i];
	free(list);
	return rc;
}

enum status disposal_run(struct keeper *k, unsigned segment, const uint64_t *seqs,
	size_t n, const char *authority, struct err *err)
{
	struct work w = { .k = k };
	struct segment_no no = { 0 };
	size_t i;
	enum status rc = find_segment(k, segment, &no, err);

	if (rc == ST_OK)
		rc = record_count(&w.d.no, k->dir, "disposition", err);
	w.d.no++;
	if (rc == ST_OK)
		rc = look(&w, no, err);
	w.w = (struct rewrite){ .policy = &k->policy,
		.segment = w.d.segment,
		.from = w.from,
		.x = &w.x,
		.going = xcalloc(n, sizeof(*w.w.going)),
		.n = n,
		.disposition = w.d.no };
	for (i = 0; i < n; i++) {
		w.w.going[i].seq = (uint32_t)seqs[i];
		ranges_add(&w.d.seqs, seqs[i]);
	}
	if (rc == ST_OK)
		rc = rewrite_leaves(&w.w, err);
	if (rc == ST_OK) {
		rc = write_new(&w, no, err);
		if (rc == ST_OK)
			rc = tell(&w, authority, err);
		if (rc != ST_OK)
			drop_new(&w);
	}
	if (rc == ST_OK)
		rc = change(k, &w.d, err);
	rewrite_release(&w.w);
	disposition_free(&w.d);
	idx_free(&w.x);
	idx_free(&w.next);
	bytes_close(&w.from);
	return rc;
}
