/*
 * archive.c: an archive as a source: what was archived goes where it is wanted again.
 *
 * A message is known again by its number and digest, the archive by its id, so that the
 * directory may be moved. What is damaged or missing is listed and cannot be had.
 */
#include <popferry/archive.h>
#include <popferry/crypt.h>
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "queue.h"
#include "sources.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 8 }; /* of the digest, in a message's name */

struct archive_src {
	struct source base;
	struct archive_reader *reader;
	struct archive_stream *stream;
	struct identities *identities; /* NULL: none */
	const struct log *log;
	const char *path;
	uint64_t given; /* messages */
	uint32_t *seqs; /* in the archive, of message 1 and so on; 0: the untold */
	size_t n, cap;
	struct err untold; /* why there may be more that nobody knows of */
	struct queue wanted;
	struct origin origin;
	bool filed; /* origin is that of the last message */
	bool warned;
};

static struct archive_src *self(const struct source *s)
{
	return (struct archive_src *)(uintptr_t)s;
}

static char *archive_src_account(const struct endpoint *end, struct err *err)
{
	const struct archive_access a = { .closed = true };
	struct archive_reader *r = NULL;
	char *account = NULL;

	if (archive_read_as(&r, end->path, &a, err) == ST_OK)
		account = xasprintf("archive:%s", archive_read_id(r));
	archive_done(&r);
	return account;
}

/* What was taken out of the archive is part of its history. */
static void note_restored(const struct archive_src *s)
{
	struct err err = ERR_INIT;
	char detail[48];

	snprintf(detail, sizeof(detail), "{\"messages\":%" PRIu64 "}", s->given);
	if (archive_note(s->path, "restore", "archive", detail, &err) < 0)
		log_warn(s->log, "custody-not-noted", LOG_S("reason", err.text),
			LOG_S("meaning",
				"the messages were restored, but the archive's log does not say so"));
}

static void archive_src_close(struct source **sp)
{
	struct archive_src *s;

	if (!*sp)
		return;
	s = self(*sp);
	archive_stream_close(&s->stream);
	archive_done(&s->reader);
	identities_close(&s->identities);
	if (s->given)
		note_restored(s);
	free(s->seqs);
	queue_free(&s->wanted);
	free(s);
	*sp = NULL;
}

static enum status archive_src_open(
	struct source **out, const struct source_setup *setup, struct err *err)
{
	struct archive_src *s = xcalloc(1, sizeof(*s));
	struct source *base = &s->base;
	struct archive_access a = { 0 };
	enum status rc;

	s->base.ops = &archive_source;
	s->log = setup->log;
	s->path = setup->end->path;
	rc = keys_open(setup->end->identity, &s->identities, err);
	a.identities = s->identities;
	if (rc == ST_OK)
		rc = archive_read_as(&s->reader, setup->end->path, &a, err);
	if (rc == ST_OK)
		archive_stream_open(&s->stream, s->reader);
	else
		archive_src_close(&base);
	*out = base;
	return rc;
}

/* ---- listing ---- */

struct lister {
	struct archive_src *s;
	void (*each)(void *ctx, const struct item *it);
	void *ctx;
	size_t lost;
};

/* The next message, with that number in the archive. */
static void add(struct lister *l, uint64_t seq, uint64_t size, const char *name)
{
	struct archive_src *s = l->s;
	struct item it = { 0, 1, size, name, (uint32_t)strlen(name) };

	if (s->n == s->cap) {
		s->cap += s->cap / 2 + 1024;
		s->seqs = xreallocarray(s->seqs, s->cap, sizeof(*s->seqs));
	}
	s->seqs[s->n++] = (uint32_t)seq;
	it.number = (uint32_t)s->n;
	l->each(l->ctx, &it);
}

static void list_one(void *ctx, const struct archive_listed *m)
{
	char name[16 + 2 * NAME_BYTES], hex[2 * NAME_BYTES + 1] = "";
	struct lister *l = ctx;

	l->lost += !m->sha256;
	snprintf(name, sizeof(name), "%" PRIu64 "%s%s", m->seq, m->sha256 ? "." : "",
		m->sha256 ? text_hex(hex, m->sha256, NAME_BYTES) : "");
	add(l, m->seq, m->size, name);
}

static enum status archive_src_list(struct source *base,
	void (*each)(void *ctx, const struct item *it), void *ctx, struct listing *out,
	struct err *err)
{
	struct archive_src *s = self(base);
	struct lister l = { s, each, ctx, 0 };
	enum status rc = archive_stream_list(s->stream, list_one, &l, &s->untold);

	if (rc == ST_DENIED) {
		/* It stands for all of them, so that the ledger tells. */
		l.lost++;
		add(&l, 0, UINT64_MAX, "untold");
	} else if (rc != ST_OK) {
		*err = s->untold;
		return rc;
	}
	*out = (struct listing){ .n = s->n, .unreadable = l.lost, .steady = true };
	return ST_OK;
}

/* ---- messages ---- */

static void archive_src_want(struct source *base, uint32_t number, uint64_t size)
{
	(void)size;
	queue_add(&self(base)->wanted, number);
}

static void archive_src_wind_down(struct source *base)
{
	queue_clear(&self(base)->wanted);
}

static void note_origin(struct archive_src *s, const struct archive_filed *f)
{
	const struct archive_entry *e = &f->entry;

	s->filed = true;
	s->origin = (struct origin){
		.folder = e->folder,
		.bare = f->unknown != NULL,
		.uidl = e->uidl,
		.uidl_n = e->uidl_n,
		.occurrence = e->occurrence,
		.number = e->number,
		.listed_size = e->listed_size,
		.retrieved = e->retrieved,
		.date = e->date,
		.seen = e->seen,
		.answered = e->answered,
		.flagged = e->flagged,
		.draft = e->draft,
	};
	if (!f->unknown || s->warned)
		return;
	s->warned = true;
	log_warn(s->log, "archive-table-damaged", LOG_S("reason", f->unknown),
		LOG_S("meaning",
			"how messages of this segment were filed is lost: folders are as in "
			"their paths, dates and flags are judged anew"));
}

static enum status archive_src_next(struct source *base, uint32_t *number,
	mail_take *take, void *ctx, struct err *err)
{
	struct archive_src *s = self(base);
	struct archive_filed filed;
	enum status rc;
	uint32_t seq;

	s->filed = false;
	if (!queue_take(&s->wanted, number))
		return ST_END;
	seq = s->seqs[*number - 1];
	if (!seq)
		return err_set(err, ST_SKIP, EX_DATAERR,
			"%s; how many messages it had is not known", s->untold.text);
	rc = archive_stream_get(s->stream, seq, take, ctx, &filed, err);
	s->given += rc == ST_OK;
	if (rc == ST_OK)
		note_origin(s, &filed);
	else if (rc == ST_END)
		err_set(err, ST_SKIP, EX_DATAERR,
			"the archive does not have message %" PRIu32, seq);
	else
		err->status = ST_SKIP;
	return rc == ST_OK ? rc : ST_SKIP;
}

static enum oddity archive_src_oddity(const struct source *base)
{
	const struct archive_src *s = self(base);

	return s->filed && s->origin.bare ? ODD_UNFILED : ODD_NONE;
}

static const struct origin *archive_src_origin(const struct source *base)
{
	const struct archive_src *s = self(base);

	return s->filed ? &s->origin : NULL;
}

/* ---- what an archive has no need of ---- */

static enum status archive_src_remove(
	struct source *base, uint32_t number, struct err *err)
{
	(void)base;
	(void)number;
	return err_set(
		err, ST_SKIP, EX_USAGE, "nothing is ever deleted from an archive");
}

static enum status archive_src_finish(struct source *base, struct err *err)
{
	(void)base;
	(void)err;
	return ST_OK;
}

static bool archive_src_no(const struct source *base)
{
	(void)base;
	return false;
}

static int archive_src_wait(const struct source *base)
{
	(void)base;
	return 0;
}

static void archive_src_cancel(struct source *base)
{
	(void)base;
}

static const char *const schemes[] = { "archive", NULL };

const struct source_ops archive_source = {
	.schemes = schemes,
	.account = archive_src_account,
	.open = archive_src_open,
	.list = archive_src_list,
	.wind_down = archive_src_wind_down,
	.want = archive_src_want,
	.next = archive_src_next,
	.oddity = archive_src_oddity,
	.origin = archive_src_origin,
	.remove = archive_src_remove,
	.finish = archive_src_finish,
	.overreached = archive_src_no,
	.no_capa = archive_src_no,
	.wait_ms = archive_src_wait,
	.cancel = archive_src_cancel,
	.close = archive_src_close,
};
