/* export.c: the chosen messages, one after the other, to a format. */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WHAT_MAX = 1024 };

static const struct format *const formats[] = { &format_eml, &format_zip,
	&format_mboxrd, &format_maildir, &format_csv, &format_jsonl, &format_dat,
	&format_nara, &format_mailbag };

const struct export_format *export_formats(void)
{
	static struct export_format all[N_ELEMENTS(formats) + 1];
	size_t i;

	for (i = 0; i < N_ELEMENTS(formats); i++)
		all[i] = (struct export_format){ formats[i]->name, formats[i]->what };
	return all;
}

static const struct format *find(const struct export_job *job, struct err *err)
{
	struct buf names = BUF_INIT(256);
	const char *name = job->format; /* in any case: Maildir, DAT */
	size_t i;

	if (job->hand)
		return &format_exec;
	if (text_same(name, format_mailbag_tar.name) && mailbag_is_tar(job->target))
		return &format_mailbag_tar;
	for (i = 0; i < N_ELEMENTS(formats); i++)
		if (text_same(formats[i]->name, name))
			return formats[i];
	for (i = 0; i < N_ELEMENTS(formats); i++)
		buf_addf(&names, "%s%s", i ? ", " : "", formats[i]->name);
	err_set(err, ST_DENIED, EX_USAGE, "format %.40s: expected one of %s", name,
		buf_str(&names));
	buf_free(&names);
	return NULL;
}

/* ---- one pass to count ---- */

static enum status count(void *ctx, const struct archive_row *row, struct err *err)
{
	struct export *x = ctx;

	(void)err;
	if (choice_has(x->job->choice, row)) {
		x->done->all++;
		x->done->all_bytes += row->size;
	}
	return ST_OK;
}

/* ---- and one to write ---- */

struct writing {
	struct export x;
	const struct format *f;
};

static void leave_out(struct export *x, const struct err *why)
{
	x->done->bad++;
	target_note(&x->t, "left out: %s", why->text);
	if (x->job->bad)
		x->job->bad(x->job->ctx, why->text);
}

static enum status put(struct writing *w, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	struct export *x = &w->x;
	enum status rc = w->f->put(x, row, m, err);

	if (rc != ST_OK)
		return rc;
	x->done->messages++;
	x->done->bytes += row->size;
	if (!w->f->tree)
		target_note(&x->t, "message %09" PRIu64 " %s %" PRIu64, row->seq,
			row->sha256, row->size);
	return ST_OK;
}

/* What ends an export must not pass for damage of one message. */
static enum status fatal(enum status rc, struct err *err)
{
	return rc == ST_DENIED ? err_set(err, ST_FATAL, err->exit, "%s", err->text)
			       : rc;
}

static enum status write_one(void *ctx, const struct archive_row *row, struct err *err)
{
	struct writing *w = ctx;
	struct export *x = &w->x;
	struct archive_mail *m = NULL;
	struct err why = ERR_INIT;
	enum status rc;

	if (!choice_has(x->job->choice, row))
		return ST_OK;
	if (x->job->go_on && !x->job->go_on(x->job->ctx, x->done))
		return err_set(
			err, ST_RETRY, EX_TEMPFAIL, "stopped; nothing was left behind");
	if (!w->f->bytes)
		return put(w, row, NULL, err);
	rc = archive_fetch(&m, x->r, row->seq, &why);
	if (rc == ST_END)
		err_set(&why, ST_DENIED, EX_DATAERR,
			"segments/%s: message %" PRIu64 " is missing", row->segment,
			row->seq);
	else if (rc == ST_OK && strcmp(archive_mail_sha256(m), row->sha256) != 0)
		rc = err_set(&why, ST_DENIED, EX_DATAERR,
			"segments/%s: message %" PRIu64
			": index and table do not agree on its SHA-256",
			row->segment, row->seq);
	if (rc == ST_END || rc == ST_DENIED) {
		leave_out(x, &why);
		rc = ST_OK;
	} else if (rc == ST_OK) {
		rc = fatal(put(w, row, m, err), err);
	} else {
		err_set(err, rc, why.exit, "%s", why.text);
	}
	archive_mail_free(&m);
	return rc;
}

/* Tables that are damaged: what they had is left out, and what is good goes on. */
static enum status write_all(struct writing *w, struct err *err)
{
	struct export *x = &w->x;
	enum status rc;

	target_note(&x->t, "%s: messages exported as %s", x->job->agent, w->f->name);
	rc = w->f->begin ? w->f->begin(x, err) : ST_OK;
	if (rc != ST_OK)
		return fatal(rc, err);
	return archive_each(x->r, write_one, w, err);
}

enum status export_run(struct archive_reader *r, const struct export_job *job,
	struct export_done *done, struct err *err)
{
	struct writing w = { .x = { .r = r, .job = job, .done = done } };
	struct err damage = ERR_INIT;
	enum status rc, told;

	memset(done, 0, sizeof(*done));
	w.f = find(job, err);
	if (!w.f)
		return ST_DENIED;
	target_none(&w.x.t);
	rc = w.f->nowhere ? ST_OK : target_open(&w.x.t, job->target, w.f->tree, err);
	if (rc != ST_OK)
		goto out;
	told = archive_each(r, count, &w.x, &damage);
	if (told != ST_OK && told != ST_DENIED) {
		rc = err_set(err, told, damage.exit, "%s", damage.text);
		goto out;
	}
	if (done->all == 0) {
		rc = told == ST_OK
			? ST_END
			: err_set(err, ST_DENIED, damage.exit, "%s", damage.text);
		goto out;
	}
	rc = write_all(&w, err);
	if (rc == ST_DENIED) { /* damage, which the first pass has told already */
		target_note(&w.x.t, "not all tables could be read: %s", damage.text);
		rc = ST_OK;
	}
	if (rc == ST_OK && w.f->end)
		rc = fatal(w.f->end(&w.x, err), err);
	if (rc == ST_OK)
		rc = target_done(&w.x.t, err);
	if (rc == ST_OK && told != ST_OK)
		rc = err_set(err, ST_DENIED, EX_DATAERR, "%s", damage.text);
	else if (rc == ST_OK && done->bad)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%" PRIu64 " message%s left out as damaged", done->bad,
			done->bad == 1 ? " was" : "s were");
out:
	if (w.f->drop)
		w.f->drop(&w.x);
	target_drop(&w.x.t);
	return rc;
}
