/* imap.c: an IMAP account as a sink. Looking for what is there is find.c's. */
#include <popferry/imap.h>
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "imap_sink.h"

#include <stdlib.h>
#include <string.h>

/* So often a folder is looked at in which something may still appear. */
enum { LOOK_MS = 500 };

static struct imap_sink *self(const struct sink *s)
{
	return (struct imap_sink *)(uintptr_t)s;
}

static char *imap_identity(const struct endpoint *end)
{
	return xasprintf("imap:%s@%s", end->user, end->host);
}

static bool fills_inbox(const struct endpoint *end)
{
	return !end->folder || !*end->folder || text_same(end->folder, "INBOX");
}

static void fill_config(struct imap_config *c, const struct sink_setup *setup)
{
	const struct endpoint *end = setup->end;

	*c = (struct imap_config){
		.net = { .host = end->host,
			.port = end->port,
			.tls = end->tls,
			.tls_min = end->tls_min,
			.ca_file = end->ca_file,
			.pin = end->pin,
			.name = "dest",
			.connect_ms = setup->deadline_ms,
			.trace = setup->trace,
			.stop_fd = setup->stop_fd,
			.log = setup->log },
		.user = end->user,
		.password = setup->password,
		.auth = (enum imap_auth)end->imap.auth,
		.literal = end->imap.literal_sync ? IMAP_LITERAL_SYNC
						  : IMAP_LITERAL_AUTO,
		.multiappend = !end->imap.no_multiappend,
		.cautious = setup->cautious,
		.batch_count = end->imap.batch_count,
		.batch_bytes = end->imap.batch_bytes,
		.window_bytes = end->imap.window_bytes,
		.append_max = end->imap.append_max,
		.compress = (enum imap_compress)end->imap.compress,
		.inbox = fills_inbox(end),
		.look_only = setup->reading,
		.greeting_ms = setup->deadline_ms,
		.reply_ms = setup->deadline_ms,
	};
}

static void free_job(struct upload *u)
{
	free(u->append.err);
	free(u);
}

static void imap_sink_close(struct sink **sp)
{
	struct imap_sink *s;
	size_t i;

	if (!*sp)
		return;
	s = self(*sp);
	for (i = 0; i < s->n; i++)
		free_job(s->jobs[i]);
	free(s->jobs);
	imap_tables_free(s);
	lanes_close(s);
	free(s);
	*sp = NULL;
}

/* Told once a session: when what is listed will not fit, a person can act now. */
static void warn_of_room(struct imap_sink *s, const struct imap_mailbox *mb)
{
	struct err why = ERR_INIT;
	uint64_t room, wanted = s->expected ? s->expected(s->ask_ctx) : 0;

	s->expected = NULL;
	if (wanted && imap_room(s->imap, mb, &room, &why) == ST_OK && room < wanted)
		log_warn(s->log, "quota-too-small", LOG_U("room", room),
			LOG_U("listed", wanted), LOG_S("mailbox", mb->wire));
}

/* Where INBOX is what is filled it is selected at once: others may be at work still. */
static enum status begin_inbox(
	struct imap_sink *s, const struct endpoint *end, struct err *err)
{
	const struct imap_mailbox *mb;
	struct err why = ERR_INIT;
	enum status rc;

	if (!fills_inbox(end))
		return ST_OK;
	rc = imap_folder(s->imap, "INBOX", &mb, &why);
	if (rc == ST_OK)
		rc = imap_select(s->imap, mb, &why);
	if (rc == ST_RETRY)
		*err = why;
	/* Whether another reason matters shows when it is needed. */
	return rc == ST_RETRY ? rc : ST_OK;
}

static enum status imap_sink_open(
	struct sink **out, const struct sink_setup *setup, struct err *err)
{
	struct imap_sink *s = xcalloc(1, sizeof(*s));
	struct sink *base = &s->base;
	enum status rc;

	s->base.ops = &imap_sink;
	s->log = setup->log;
	s->dedup = setup->job->dedup;
	s->expected = setup->expected;
	s->alone = setup->alone;
	s->copies = setup->copies;
	s->rival = setup->rival;
	s->ask_ctx = setup->ask_ctx;
	s->look_ms = setup->look_ms ? setup->look_ms : LOOK_MS;
	fill_config(&s->cfg, setup);
	lanes_init(s, setup);
	rc = imap_connect(&s->imap, &s->cfg, err);
	if (rc == ST_OK)
		rc = imap_login(s->imap, err);
	if (rc != ST_OK) {
		if (rc == ST_DENIED && err->exit == EX_NOPERM && setup->end->imap.notes)
			log_warn(s->log, "provider-notes",
				LOG_S("notes", setup->end->imap.notes));
		if (s->imap && setup->wait_ms)
			*setup->wait_ms = imap_wait_ms(s->imap);
		imap_sink_close(&base);
		return rc;
	}
	s->lane[0].imap = s->imap;
	s->n_lanes = 1;
	if (!setup->reading)
		rc = begin_inbox(s, setup->end, err);
	if (rc == ST_OK) /* from here on the watcher can cancel it */
		imap_ignore_stop(s->imap);
	else
		imap_sink_close(&base);
	*out = base;
	return rc;
}

/*
 * A receipt is a hint (quirk Q114): it is believed when it is for this mailbox
 * and newer than all there was.
 */
static bool believable(const struct upload *u)
{
	const struct imap_append *a = &u->append;
	struct lane *lane = u->lane;
	uint32_t last = u->mailbox == lane->last_mailbox ? lane->last_uid : 0;

	if (!a->uid || a->uidvalidity != u->mailbox->uidvalidity ||
		a->uid < a->mailbox->uidnext || a->uid <= last)
		return false;
	lane->last_mailbox = u->mailbox;
	lane->last_uid = a->uid;
	return true;
}

bool imap_altered(const struct message *m)
{
	return m->facts.wire != m->facts.size || (m->facts.anomalies & AN_NUL);
}

static enum delivery_cause cause_of(const struct imap_append *a)
{
	static const enum delivery_cause causes[] = {
		[IMAP_FOR_CONTENT] = REFUSED_CONTENT,
		[IMAP_FOR_SIZE] = REFUSED_SIZE,
		[IMAP_FOR_POLICY] = REFUSED_OTHERWISE,
	};

	return causes[a->cause];
}

/*
 * An OK without a believable receipt from a server that gives them: it may have
 * stored nothing (quirks Q112, Q114). One that was often found to have stored
 * the message all the same just gives none.
 */
static bool is_suspicious(const struct imap_sink *s, const struct delivery *d)
{
	return !d->place && imap_server(s->imap)->uidplus && s->unsaid < UNSAID_MAX;
}

/*
 * What the session knows of each append becomes the delivery's outcome; those that are
 * not answered stay. all: they are not waited for any more.
 */
static void settle(struct imap_sink *s, bool all)
{
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct upload *u = s->jobs[i];
		struct imap_append *a = &u->append;
		struct delivery *d = u->delivery;

		if (!all && a->outcome == IMAP_PENDING)
			break;
		d->altered = imap_altered(a->message);
		d->no_date = a->no_date;
		d->no_flags = a->no_flags;
		d->absent = a->absent;
		if (a->outcome == IMAP_STORED) {
			d->outcome = DELIVERY_STORED;
			d->generation = u->mailbox->uidvalidity;
			d->place = believable(u) ? a->uid : 0;
			if (d->place)
				imap_table_claim(s, u->mailbox, d->generation, d->place,
					a->message->facts.exact);
			d->unsaid = is_suspicious(s, d);
		} else if (a->outcome == IMAP_REFUSED) {
			d->outcome = DELIVERY_REFUSED;
			d->cause = cause_of(a);
			free(d->err);
			d->err = a->err;
			a->err = NULL;
		}
		free_job(u);
	}
	if (!i)
		return;
	s->n -= i;
	memmove(s->jobs, s->jobs + i, s->n * sizeof(struct upload *));
}

/* After a call for what is under way, which ended so. */
static enum status settled(struct imap_sink *s, bool all, enum status rc)
{
	settle(s, all || rc != ST_OK);
	if (rc != ST_OK)
		lanes_drop(s);
	return rc;
}

static enum status imap_sink_commit(struct sink *base, struct err *err)
{
	struct imap_sink *s = self(base);
	enum status rc = s->n ? lanes_finish(s, err) : ST_OK;

	return settled(s, true, rc);
}

static struct upload *add_job(
	struct imap_sink *s, struct delivery *d, const struct imap_mailbox *mb)
{
	struct upload *u = xcalloc(1, sizeof(*u));

	u->mailbox = mb;
	u->delivery = d;
	u->append = (struct imap_append){
		.message = d->message,
		.mailbox = mb,
		.date = d->date,
		.seen = d->seen,
		.answered = d->answered,
		.flagged = d->flagged,
		.draft = d->draft,
	};
	u->lane = lanes_next(s, &u->append);
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->jobs = xreallocarray(s->jobs, s->cap, sizeof(struct upload *));
	}
	s->jobs[s->n++] = u;
	return u;
}

static enum status imap_sink_put(struct sink *base, struct delivery *d, struct err *err)
{
	struct imap_sink *s = self(base);
	const struct imap_mailbox *mb;
	enum status rc = imap_folder(s->imap, d->folder, &mb, err);

	/* Receipts are judged by what the mailbox was when it was selected. */
	if (rc == ST_OK && s->n && s->jobs[s->n - 1]->mailbox != mb)
		rc = imap_sink_commit(base, err);
	if (rc == ST_RETRY)
		return settled(s, true, rc);
	if (rc != ST_OK) {
		settle(s, false); /* it may have waited for what went before */
		return rc;
	}
	rc = lanes_put(s, add_job(s, d, mb), err);
	return rc == ST_OK ? rc : settled(s, true, rc);
}

static enum status imap_sink_flush(struct sink *base, struct err *err)
{
	struct imap_sink *s = self(base);
	enum status rc = s->n ? imap_flush(s->imap, err) : ST_OK;

	return rc == ST_OK ? rc : settled(s, true, rc);
}

static enum status imap_sink_await(
	struct sink *base, const struct delivery *d, struct err *err)
{
	struct imap_sink *s = self(base);
	enum status rc = lanes_send(s, err);
	size_t last = 0, i;

	while (last < s->n && s->jobs[last]->delivery != d)
		last++;
	/* Those before it may have gone by other sessions. */
	for (i = 0; rc == ST_OK && last < s->n && i <= last; i++)
		rc = lanes_await(s, s->jobs[i], err);
	return settled(s, false, rc);
}

static enum status imap_sink_floor(
	struct sink *base, const char *folder, struct sink_floor *out, struct err *err)
{
	struct imap_sink *s = self(base);
	const struct imap_mailbox *mb;
	enum status rc = imap_folder(s->imap, folder, &mb, err);

	/* Once a session: what came since is ours, or may be found as well. */
	if (rc == ST_OK && !mb->selected)
		rc = imap_sink_commit(base, err);
	if (rc == ST_OK && !mb->selected)
		rc = imap_select(s->imap, mb, err);
	if (rc == ST_OK)
		*out = (struct sink_floor){ mb->uidvalidity, mb->uidnext,
			mb->exists == 0 };
	if (rc == ST_OK)
		warn_of_room(s, mb);
	return rc;
}

static void imap_sink_claim(struct sink *base, const char *folder, uint64_t generation,
	uint64_t place, const unsigned char exact[DIGEST])
{
	struct imap_sink *s = self(base);
	const struct imap_mailbox *mb;
	struct err ignored;

	/* A folder that cannot be had has nothing to find in it either. */
	if (imap_folder(s->imap, folder, &mb, &ignored) == ST_OK)
		imap_table_claim(s, mb, generation, place, exact);
}

static enum status imap_sink_find(struct sink *base, struct delivery *d,
	const struct sink_floor *from, int64_t until_ms, struct err *err)
{
	/* Receipts are judged by what the mailbox was before a fresh look. */
	enum status rc = imap_sink_commit(base, err);

	return rc == ST_OK ? imap_table_find(self(base), d, from, until_ms, err) : rc;
}

/* LOGOUT is said by close(), when nobody can cancel() any more. */
static enum status imap_sink_finish(struct sink *base, struct err *err)
{
	(void)base;
	(void)err;
	return ST_OK;
}

static bool imap_sink_overreached(const struct sink *base)
{
	return self(base)->refused || imap_refused(self(base)->imap);
}

static int imap_sink_wait(const struct sink *base)
{
	return lanes_wait_ms(self(base));
}

static int imap_sink_rtt(const struct sink *base)
{
	return imap_rtt_ms(self(base)->imap);
}

static void imap_sink_cancel(struct sink *base)
{
	lanes_cancel(self(base));
}

static const char *const schemes[] = { "imaps", "imap", NULL };

const struct sink_ops imap_sink = {
	.schemes = schemes,
	.secret = true,
	.by_folder = true,
	.identity = imap_identity,
	.open = imap_sink_open,
	.floor = imap_sink_floor,
	.claim = imap_sink_claim,
	.find = imap_sink_find,
	.put = imap_sink_put,
	.flush = imap_sink_flush,
	.await = imap_sink_await,
	.commit = imap_sink_commit,
	.read = imap_sink_read,
	.survey = imap_sink_survey,
	.finish = imap_sink_finish,
	.overreached = imap_sink_overreached,
	.wait_ms = imap_sink_wait,
	.rtt_ms = imap_sink_rtt,
	.cancel = imap_sink_cancel,
	.close = imap_sink_close,
};
