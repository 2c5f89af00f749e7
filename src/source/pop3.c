/* pop3.c: a POP3 maildrop as a source. */
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/pop3.h>

#include "sources.h"

#include <stdlib.h>

struct pop3_src {
	struct source base;
	struct pop3 *pop3;
	const struct log *log;
	unsigned session_limit; /* messages; 0: none */
	unsigned served;
	int interval_ms; /* between logins */
};

static struct pop3_src *self(const struct source *s)
{
	return (struct pop3_src *)(uintptr_t)s;
}

static char *pop3_account(const struct endpoint *end)
{
	return xasprintf("pop3:%s@%s", end->user, end->host);
}

static void fill_config(struct pop3_config *c, const struct source_setup *setup)
{
	const struct endpoint *end = setup->end;

	*c = (struct pop3_config){
		.net = { .host = end->host,
			.port = end->port,
			.tls = end->tls,
			.ca_file = end->ca_file,
			.pin = end->pin,
			.name = "source",
			.connect_ms = setup->deadline_ms,
			.trace = setup->trace,
			.stop_fd = setup->stop_fd,
			.log = setup->log },
		.user = end->user,
		.password = setup->password,
		.auth = (enum pop3_auth)end->pop3.auth,
		.pipelining = end->pop3.no_pipelining || setup->cautious
			? POP3_PIPELINE_NO
			: POP3_PIPELINE_AUTO,
		.window_bytes = end->pop3.window_bytes,
		.window_count = end->pop3.window_count,
		.message_max = end->pop3.message_max,
		.greeting_ms = setup->deadline_ms,
		.reply_ms = setup->deadline_ms,
		.idle_ms = setup->deadline_ms,
	};
}

static void pop3_src_close(struct source **sp)
{
	struct pop3_src *s;

	if (!*sp)
		return;
	s = self(*sp);
	pop3_close(&s->pop3);
	free(s);
	*sp = NULL;
}

static enum status pop3_src_open(
	struct source **out, const struct source_setup *setup, struct err *err)
{
	struct pop3_src *s = xcalloc(1, sizeof(*s));
	struct source *base = &s->base;
	struct pop3_config cfg;
	enum status rc;

	s->base.ops = &pop3_source;
	s->log = setup->log;
	s->session_limit = setup->end->pop3.session_messages;
	s->interval_ms = (int)setup->end->pop3.login_interval * 1000;
	fill_config(&cfg, setup);
	rc = pop3_connect(&s->pop3, &cfg, err);
	if (rc == ST_OK)
		rc = pop3_login(s->pop3, err);
	if (rc != ST_OK) {
		/* What a profile knows of a provider helps with a refused login. */
		if (rc == ST_DENIED && err->exit == EX_NOPERM && setup->end->pop3.notes)
			log_warn(s->log, "provider-notes",
				LOG_S("notes", setup->end->pop3.notes));
		/* It may be the canary that died (quirk Q60). */
		if (rc != ST_RETRY)
			pop3_src_close(&base);
	}
	*out = base;
	return rc;
}

static enum status pop3_src_list(struct source *base,
	void (*each)(void *ctx, const struct item *it), void *ctx, struct listing *out,
	struct err *err)
{
	struct pop3_src *s = self(base);
	struct pop3_listing l;
	enum status rc = pop3_list(s->pop3, &l, err);
	size_t i;

	if (rc != ST_OK)
		return rc;
	if (l.uidl_temporary)
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"the server offers UIDL but refused it now; trying again, because "
			"without UIDLs every message would be fetched once more");
	for (i = 0; i < l.n; i++) {
		const struct pop3_item *p = &l.items[i];
		const struct item it = { p->number, p->occurrence, p->size, p->uidl,
			p->uidl_n };

		each(ctx, &it);
	}
	pop3_forget(s->pop3); /* the caller has what it wants of it */
	*out = (struct listing){ l.n, l.repeated, l.unreadable, !l.uidl };
	return ST_OK;
}

static void pop3_src_want(struct source *base, uint32_t number, uint64_t size)
{
	pop3_want(self(base)->pop3, number, size);
}

static enum status pop3_src_next(struct source *base, uint32_t *number, mail_take *take,
	void *ctx, struct err *err)
{
	struct pop3_src *s = self(base);
	enum status rc;

	if (s->session_limit && s->served >= s->session_limit)
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"%u messages in one session, as the profile says: logging in anew",
			s->served);
	rc = pop3_next(s->pop3, number, take, ctx, err);
	s->served += rc == ST_OK || rc == ST_SKIP;
	return rc;
}

static enum status pop3_src_finish(struct source *base, struct err *err)
{
	return pop3_quit(self(base)->pop3, err);
}

static bool pop3_src_overreached(const struct source *base)
{
	const struct pop3_src *s = self(base);

	return s->pop3 && pop3_pipelining_failed(s->pop3);
}

static int pop3_src_wait(const struct source *base)
{
	return self(base)->interval_ms;
}

static void pop3_src_cancel(struct source *base)
{
	pop3_cancel(self(base)->pop3);
}

static const char *const schemes[] = { "pop3s", "pop3", NULL };

const struct source_ops pop3_source = {
	.schemes = schemes,
	.secret = true,
	.account = pop3_account,
	.open = pop3_src_open,
	.list = pop3_src_list,
	.want = pop3_src_want,
	.next = pop3_src_next,
	.finish = pop3_src_finish,
	.overreached = pop3_src_overreached,
	.wait_ms = pop3_src_wait,
	.cancel = pop3_src_cancel,
	.close = pop3_src_close,
};
