/* open.c: an archive is made or opened, locked, recovered; and let go. */
#include "../erase/disposition.h"
#include "writer.h"

#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* *yes is false when the directory holds a name that ours() does not know. */
static enum status only_ours(bool *yes, int dir, const char *name,
	bool (*ours)(const char *name), struct err *err)
{
	struct names *l;
	const char *in;
	enum status rc = names_open(&l, dir, name, err);

	*yes = true;
	while (rc == ST_OK && *yes && (rc = names_next(l, &in, err)) == ST_OK)
		*yes = ours(in);
	names_close(&l);
	return rc < 0 ? rc : ST_OK;
}

static bool ours_top(const char *name)
{
	return strcmp(name, "open") == 0 || strcmp(name, "segments") == 0 ||
		strcmp(name, "seals") == 0 || strcmp(name, "log") == 0 ||
		strcmp(name, "README.txt") == 0 || text_starts(name, ".README.txt.") ||
		strcmp(name, "VERIFY.sh") == 0 || text_starts(name, ".VERIFY.sh.") ||
		text_starts(name, ".archive.json.") ||
		strcmp(name, "recipients.pem") == 0 ||
		text_starts(name, ".recipients.pem.");
}

static bool ours_open(const char *name)
{
	return strcmp(name, "lock") == 0;
}

/* Of segments/, seals/ and log/. */
static bool ours_none(const char *name)
{
	(void)name;
	return false;
}

/* A directory without archive.json may hold only what making one begins with. */
static enum status check_foreign(int dir, const char *path, struct err *err)
{
	bool top, open, segments, seals, log;

	if (only_ours(&top, dir, ".", ours_top, err) < 0 ||
		only_ours(&open, dir, "open", ours_open, err) < 0 ||
		only_ours(&segments, dir, "segments", ours_none, err) < 0 ||
		only_ours(&seals, dir, "seals", ours_none, err) < 0 ||
		only_ours(&log, dir, "log", ours_none, err) < 0)
		return err->status;
	if (!top)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"%s is no archive (it has no archive.json, but other files): name an "
			"empty or a new directory",
			path);
	if (!open || !segments || !seals || !log)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"archive.json is gone, but there are messages: put it back from a copy "
			"of the archive");
	return ST_OK;
}

static enum status open_sub(int *out, int dir, const char *name, struct err *err)
{
	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return err_sys(err, ST_FATAL, "make directory %s", name);
	*out = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *out < 0 ? err_sys(err, ST_FATAL, "open directory %s", name) : ST_OK;
}

static enum status load_or_make(
	struct archive_writer *w, const struct archive_config *cfg, struct err *err)
{
	enum status rc = policy_load(&w->policy, w->dir, err);

	if (rc == ST_OK && cfg->codec_given && cfg->codec != w->policy.codec)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the archive is of codec %s, not %s: leave --codec out, or begin a new "
			"archive",
			archive_codec_name(w->policy.codec),
			archive_codec_name(cfg->codec));
	if (rc == ST_OK && cfg->member_bytes &&
		cfg->member_bytes != w->policy.member_bytes)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the archive has members of %" PRIu64 " bytes, not %" PRIu64
			": leave --member-size out, or begin a new archive",
			w->policy.member_bytes, cfg->member_bytes);
	if (rc == ST_OK && cfg->recipients)
		rc = policy_same_recipients(&w->policy, cfg->recipients, err);
	if (rc != ST_END)
		return rc;
	rc = policy_make(&w->policy, w->dir, cfg, err);
	fault_step("archive-made");
	return rc;
}

/* Whom, and where the keys of what is open are. */
static enum status open_crypt(
	struct archive_writer *w, const struct archive_config *cfg, struct err *err)
{
	bool crypt = w->policy.crypt != CRYPT_NONE;
	enum status rc;

	if (!crypt && !cfg->state)
		return ST_OK;
	if (!cfg->state)
		return err_set(err, ST_DENIED, EX_USAGE,
			"it is encrypted: a state directory is needed for the keys of what is "
			"not sealed yet");
	rc = fs_open_dir(&w->statedir, cfg->state, err);
	if (rc == ST_OK && !crypt)
		return blind_never(w->statedir, &w->policy, err);
	if (rc == ST_OK)
		rc = blind_open(&w->blind, w->statedir, &w->policy, err);
	if (rc == ST_OK)
		rc = policy_recipients(&w->to, &w->policy, cfg->path, false, err);
	return rc;
}

/* A disposal that was interrupted is over before messages come. */
static enum status finish_records(struct archive_writer *w, struct err *err)
{
	struct keeper k = { .dir = w->dir,
		.opendir = w->opendir,
		.segdir = w->segdir,
		.lock = w->lock,
		.policy = w->policy };

	return keeper_finish(&k, err);
}

/* A message that was disposed of is not known again, not even to who has the key for
 * that. */
static enum status forget_disposed(struct archive_writer *w, struct err *err)
{
	struct disposition d;
	unsigned n = 0, no;
	size_t i;
	enum status rc = record_count(&n, w->dir, "disposition", err);

	for (no = 1; rc == ST_OK && no <= n; no++) {
		rc = disposition_load(&d, w->dir, no, err);
		for (i = 0; rc == ST_OK && i < d.seqs.n; i++)
			rc = blind_forget(
				w->blind, d.seqs.p[i].first, d.seqs.p[i].last, err);
		disposition_free(&d);
	}
	return rc;
}

static enum status open_all(
	struct archive_writer *w, const struct archive_config *cfg, struct err *err)
{
	enum status rc = fs_open_dir(&w->dir, cfg->path, err);

	if (rc == ST_OK)
		rc = file_there(w->dir, "archive.json", err);
	if (rc == ST_END)
		rc = check_foreign(w->dir, cfg->path, err);
	if (rc == ST_OK)
		rc = open_sub(&w->opendir, w->dir, "open", err);
	if (rc == ST_OK)
		rc = open_sub(&w->segdir, w->dir, "segments", err);
	if (rc == ST_OK)
		rc = open_sub(&w->sealdir, w->dir, "seals", err);
	if (rc == ST_OK)
		rc = open_sub(&w->logdir, w->dir, "log", err);
	if (rc == ST_OK)
		rc = fs_lock(&w->lock, w->opendir, "lock", err);
	if (rc == ST_OK)
		rc = load_or_make(w, cfg, err);
	if (rc == ST_OK)
		rc = finish_records(w, err);
	if (rc == ST_OK)
		rc = open_crypt(w, cfg, err);
	if (rc < 0)
		return rc;
	w->segment_bytes = cfg->segment_bytes ? cfg->segment_bytes
					      : w->policy.segment_bytes;
	w->segment_messages = cfg->segment_messages ? cfg->segment_messages
						    : w->policy.segment_messages;
	if (w->segment_messages > SEGMENT_MESSAGES_MAX)
		w->segment_messages = SEGMENT_MESSAGES_MAX;
	w->vault = (struct vault){ .segdir = w->segdir,
		.policy = &w->policy,
		.tmpdir = w->opendir,
		.to = w->to };
	rc = writer_recover(w, err);
	if (rc == ST_OK && w->blind)
		rc = forget_disposed(w, err);
	if (rc == ST_OK)
		rc = file_there(w->dir, "VERIFY.sh", err);
	if (rc == ST_END) /* of 0.1.0; one that is listed and gone is refused above */
		rc = script_write(w->dir, err);
	if (rc == ST_OK)
		rc = file_there(w->dir, "manifest-sha256.txt", err);
	if (rc == ST_END)
		rc = manifest_update(w->dir, w->segdir, &w->policy, NULL, err);
	return rc;
}

enum status archive_open(
	struct archive_writer **out, const struct archive_config *cfg, struct err *err)
{
	struct archive_writer *w = xcalloc(1, sizeof(*w));
	struct buf source = BUF_INIT(SOURCE_MAX);
	enum status rc;

	w->dir = w->opendir = w->segdir = w->sealdir = w->logdir = w->lock = -1;
	w->statedir = -1;
	w->threads = cfg->threads;
	w->fixed = cfg->fixed;
	w->story = cfg->story;
	w->story_ctx = cfg->story_ctx;
	buf_init(&w->row, CSV_ROW_MAX);
	find_new(&w->find);
	if (cfg->source) {
		text_clean_add(&source, cfg->source, strlen(cfg->source));
		w->source = buf_take(&source);
	}
	rc = open_all(w, cfg, err);
	if (rc < 0) {
		err_note(err, "archive %s", cfg->path);
		archive_close(&w);
	}
	*out = w;
	return rc;
}

unsigned archive_disposals(const struct archive_writer *w)
{
	unsigned n = 0;

	record_count(&n, w->dir, "disposition", NULL);
	return n;
}

void archive_close(struct archive_writer **wp)
{
	struct archive_writer *w = *wp;

	if (!w)
		return;
	segment_free(w);
	find_free(&w->find);
	blind_close(&w->blind);
	recipients_close(&w->to);
	writer_close_fd(&w->statedir);
	idx_free(&w->fresh);
	buf_free(&w->row);
	free(w->scratch);
	free(w->source);
	free(w->told);
	writer_close_fd(&w->logdir);
	writer_close_fd(&w->sealdir);
	writer_close_fd(&w->segdir);
	writer_close_fd(&w->opendir);
	writer_close_fd(&w->dir);
	writer_close_fd(&w->lock);
	free(w);
	*wp = NULL;
}
