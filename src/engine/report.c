/* report.c: the ledger of a run as one JSON object. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "engine_p.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A report of a run with a million failures is still only so long. */
#define REPORT_MAX (256UL * 1024 * 1024)

static void add_text(struct buf *b, const char *name, const char *value, size_t n)
{
	buf_addf(b, "\"%s\":", name);
	if (value)
		text_json(b, value, n == (size_t)-1 ? strlen(value) : n);
	else
		buf_adds(b, "null");
}

static void add_number(struct buf *b, const char *name, uint64_t v)
{
	buf_addf(b, "\"%s\":%" PRIu64 ",\n", name, v);
}

struct listing_lines {
	struct buf *b;
	size_t n;
};

/* As people read it: encoded words (RFC 2047) decoded. */
static void add_subject(struct buf *b, const char *raw)
{
	struct buf plain = BUF_INIT(2 * FACT_MAX);

	mime_decode(raw, strlen(raw), &plain);
	add_text(b, "subject", buf_str(&plain), plain.n);
	buf_free(&plain);
}

static void add_failure(void *ctx, const struct journal_failure *f)
{
	struct listing_lines *l = ctx;
	struct buf *b = l->b;

	buf_adds(b, l->n++ ? ",\n  {" : "\n  {");
	add_text(b, "uidl", f->uidl, f->uidl_n);
	buf_addf(b, ",\"number\":%" PRIu32 ",", f->number);
	if (f->size == UINT64_MAX)
		buf_adds(b, "\"size\":null,");
	else
		buf_addf(b, "\"size\":%" PRIu64 ",", f->size);
	add_text(b, "message_id", f->message_id, (size_t)-1);
	buf_addc(b, ',');
	add_subject(b, f->subject);
	buf_addc(b, ',');
	add_text(b, "stage", f->stage, (size_t)-1);
	buf_addc(b, ',');
	add_text(b, "reason", f->reason, (size_t)-1);
	buf_addc(b, ',');
	add_text(b, "reply", f->reply, (size_t)-1);
	buf_addf(b, ",\"tries\":%u}", f->tries);
}

static void add_notice(void *ctx, const struct journal_notice *f)
{
	struct listing_lines *l = ctx;
	struct buf *b = l->b;

	buf_adds(b, l->n++ ? ",\n  {" : "\n  {");
	add_text(b, "uidl", f->uidl, f->uidl_n);
	if (f->number)
		buf_addf(b, ",\"number\":%" PRIu32, f->number);
	else
		buf_adds(b, ",\"number\":null");
	if (f->size == UINT64_MAX)
		buf_adds(b, ",\"size\":null,");
	else
		buf_addf(b, ",\"size\":%" PRIu64 ",", f->size);
	add_text(b, "message_id", f->message_id, (size_t)-1);
	buf_addc(b, ',');
	add_subject(b, f->subject);
	buf_addc(b, ',');
	add_text(b, "kind", f->kind, (size_t)-1);
	buf_addc(b, ',');
	add_text(b, "text", f->text, (size_t)-1);
	buf_addc(b, '}');
}

static void add_vanished(struct listing_lines *l, const struct outcome *o)
{
	size_t i;

	for (i = 0; i < o->n_vanished; i++)
		add_notice(l,
			&(struct journal_notice){
				.uidl = o->vanished[i].uidl,
				.uidl_n = o->vanished[i].uidl_n,
				.size = o->vanished[i].size,
				.message_id = "",
				.subject = "",
				.kind = "vanished",
				.text = "listed, and gone from the server before it was fetched",
			});
}

/* What the journal has to say of this run. */
static enum status add_lines(
	struct buf *b, struct journal *j, const struct outcome *o, struct err *err)
{
	struct listing_lines failures = { b, 0 }, notices = { b, 0 };
	enum status rc = ST_OK;

	buf_adds(b, "\"failures\":[");
	if (j)
		rc = journal_failures(j, o->run, add_failure, &failures, err);
	buf_adds(b, failures.n ? "\n],\n" : "],\n");
	buf_adds(b, "\"notices\":[");
	if (rc == ST_OK && j)
		rc = journal_notices(j, o->run, add_notice, &notices, err);
	add_vanished(&notices, o);
	buf_adds(b, notices.n ? "\n]" : "]");
	return rc;
}

static enum status add_journal(
	struct buf *b, const struct job *job, const struct outcome *o, struct err *err)
{
	struct journal *j = NULL;
	enum status rc = ST_OK;
	int dirfd = -1;

	if (o->run) {
		dirfd = open(job->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dirfd < 0)
			return err_sys(err, ST_FATAL, "%s", job->state);
		rc = journal_open(&j, dirfd, NULL, true, err);
	}
	if (rc >= ST_OK)
		rc = add_lines(b, j, o, err);
	journal_close(&j);
	if (dirfd >= 0)
		close(dirfd);
	return rc < 0 ? rc : ST_OK;
}

static void add_ledger(struct buf *b, const struct ledger *l)
{
	add_number(b, "listed", l->listed);
	add_number(b, "known", l->known);
	add_number(b, "stored", l->stored);
	add_number(b, "duplicate", l->duplicate);
	add_number(b, "filtered", l->filtered);
	add_number(b, "failed", l->failed);
	add_number(b, "vanished", l->vanished);
	add_number(b, "left", l->left);
	add_number(b, "bytes", l->bytes);
	add_number(b, "deleted", l->deleted);
	add_number(b, "delete_left", l->delete_left);
}

static void add_ends(struct buf *b, const struct job *job)
{
	size_t i;

	add_text(b, "source", job->source.url, (size_t)-1);
	buf_adds(b, ",\n\"destinations\":[");
	for (i = 0; i < job->n_dest; i++) {
		if (i)
			buf_addc(b, ',');
		text_json(b, job->dest[i].url, strlen(job->dest[i].url));
	}
	buf_adds(b, "],\n");
}

/* With --check: what reading back gave. */
static void add_checked(struct buf *b, const struct outcome *o)
{
	size_t i;

	buf_adds(b, "\"checked\":[");
	for (i = 0; i < o->n_checked; i++) {
		const struct checked *k = &o->checked[i];

		buf_adds(b, i ? ",\n  {" : "\n  {");
		add_text(b, "url", k->url, (size_t)-1);
		buf_addf(b,
			",\"verified\":%" PRIu64 ",\"changed\":%" PRIu64
			",\"missing\":%" PRIu64 ",\"unknown\":%" PRIu64
			",\"disposed\":%" PRIu64 "}",
			k->verified, k->changed, k->missing, k->unknown, k->disposed);
	}
	buf_adds(b, i ? "\n],\n" : "],\n");
}

/* A device, a pipe or a link is written to, for it would not outlive a rename. */
static enum status write_through(const char *path, const struct buf *b, struct err *err)
{
	/* Non-blocking, because a pipe that nobody reads is an error, not a wait. */
	int fd = open(path, O_WRONLY | O_TRUNC | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	enum status rc;

	if (fd < 0)
		return err_sys(err, ST_FATAL, "%s", path);
	fcntl(fd, F_SETFL, O_WRONLY);
	rc = fs_write(fd, b->p, b->n, err);
	if (rc != ST_OK)
		err_note(err, "%s", path);
	close(fd);
	return rc;
}

static enum status put_file(const char *path, const struct buf *b, struct err *err)
{
	const char *slash = strrchr(path, '/');
	struct stat st;
	enum status rc;
	char *dir;
	int dirfd;

	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return write_through(path, b, err);
	/* The slash stays, so that "/report.json" is in "/". */
	dir = slash ? xmemdup0(path, (size_t)(slash - path) + 1) : xstrdup(".");
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		rc = err_sys(err, ST_FATAL, "directory %s", dir);
	} else {
		rc = fs_replace(dirfd, slash ? slash + 1 : path, b->p, b->n, 0644, err);
		close(dirfd);
	}
	free(dir);
	return rc;
}

enum status report_put(const char *path, const struct buf *b, struct err *err)
{
	if (strcmp(path, "-") == 0)
		return fs_write(STDOUT_FILENO, b->p, b->n, err);
	return put_file(path, b, err);
}

enum status report_write(const struct job *job, const struct outcome *o,
	const char *path, struct err *err)
{
	struct buf b = BUF_INIT(REPORT_MAX);
	char when[24];
	double seconds = (double)o->elapsed_ms / 1000;
	uint64_t done = o->ledger.stored + o->ledger.duplicate;
	enum status rc;

	buf_adds(&b, "{\n");
	add_text(&b, "version", VERSION, (size_t)-1);
	buf_adds(&b, ",\n");
	add_text(&b, "job", job->name, (size_t)-1);
	buf_adds(&b, ",\n");
	add_ends(&b, job);
	add_text(&b, "started", clock_rfc3339(when, o->started), (size_t)-1);
	buf_adds(&b, ",\n");
	add_text(&b, "finished", clock_rfc3339(when, o->finished), (size_t)-1);
	buf_addf(&b, ",\n\"seconds\":%.3f,\n\"exit\":%d,\n", seconds, o->exit);
	add_text(&b, "reason", o->exit ? o->err.text : "", (size_t)-1);
	buf_adds(&b, ",\n");
	add_text(&b, "reply", o->exit ? o->err.reply : "", (size_t)-1);
	buf_addf(&b, ",\n\"dry_run\":%s,\n", job->dry_run ? "true" : "false");
	add_ledger(&b, &o->ledger);
	add_number(&b, "id_collisions", o->id_collisions);
	if (job->dry_run) {
		add_number(&b, "todo", o->plan.todo);
		add_number(&b, "todo_bytes", o->plan.todo_bytes);
		add_number(&b, "deletable", o->plan.deletable);
	}
	buf_addf(&b, "\"messages_per_second\":%.1f,\n",
		seconds > 0 ? (double)done / seconds : 0);
	add_checked(&b, o);
	rc = add_journal(&b, job, o, err);
	buf_adds(&b, "\n}\n");
	if (rc != ST_OK)
		goto out;
	rc = report_put(path, &b, err);
out:
	buf_free(&b);
	return rc;
}
