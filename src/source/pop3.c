/* pop3.c: a POP3 maildrop as a source. */
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/pop3.h>
#include <popferry/text.h>

#include "sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pop3_src {
	struct source base;
	struct pop3 *pop3;
	const struct log *log;
	unsigned session_limit; /* messages; 0: none */
	unsigned asked;
	const struct endpoint *end;
	bool windowed;
	int interval_ms; /* between logins */
};

static struct pop3_src *self(const struct source *s)
{
	return (struct pop3_src *)(uintptr_t)s;
}

static char *pop3_account(const struct endpoint *end, struct err *err)
{
	(void)err;
	return xasprintf("pop3:%s@%s", end->user, end->host);
}

static void fill_config(struct pop3_config *c, const struct source_setup *setup)
{
	const struct endpoint *end = setup->end;

	*c = (struct pop3_config){
		.net = { .host = end->host,
			.port = end->port,
			.tls = end->tls,
			.tls_min = end->tls_min,
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
		/* It would take back what makes a server show the next messages. */
		.rset = end->pop3.window && !end->pop3.rset
			? POP3_RSET_NO
			: (enum pop3_rset)end->pop3.rset,
		.glued_dot = end->pop3.glued_dot,
		.any_size = setup->any_size,
		.no_capa = setup->no_capa,
		.lists = true,
		.stat = setup->record,
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

static enum status pop3_src_meet(
	struct source **out, const struct source_setup *setup, struct err *err)
{
	struct pop3_src *s = xcalloc(1, sizeof(*s));
	struct pop3_config cfg;

	s->base.ops = &pop3_source;
	s->log = setup->log;
	s->end = setup->end;
	s->session_limit = setup->end->pop3.session_messages;
	s->windowed = setup->end->pop3.window;
	s->interval_ms = (int)setup->end->pop3.login_interval * 1000;
	fill_config(&cfg, setup);
	*out = &s->base;
	return pop3_connect(&s->pop3, &cfg, err);
}

static enum status pop3_src_open(
	struct source **out, const struct source_setup *setup, struct err *err)
{
	enum status rc = *out ? ST_OK : pop3_src_meet(out, setup, err);
	struct source *base = *out;
	struct pop3_src *s = self(base);

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

/*
 * The UIDLs of some servers are just the numbers, and mean another message
 * once one was deleted (quirk Q10). A server that counts its messages
 * from 1 looks the same as long as nothing was deleted; then it costs time only.
 */
static bool only_numbers(const struct pop3_listing *l)
{
	char number[16];
	size_t i, n;

	for (i = 0; i < l->n; i++) {
		const struct pop3_item *p = &l->items[i];

		n = (size_t)snprintf(number, sizeof(number), "%u", p->number);
		if (p->uidl_n != n || memcmp(pop3_uidl(l, p), number, n) != 0)
			return false;
	}
	return l->n > 0;
}

static enum status pop3_src_list(struct source *base,
	void (*each)(void *ctx, const struct item *it), void *ctx, struct listing *out,
	struct err *err)
{
	struct pop3_src *s = self(base);
	struct pop3_listing l;
	enum status rc = pop3_list(s->pop3, &l, err);
	const char *expire;
	bool numbered;
	size_t i;

	if (rc != ST_OK)
		return rc;
	if (l.uidl_temporary)
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"the server offers UIDL but refused it now; trying again, because "
			"without UIDLs every message would be fetched once more");
	numbered = only_numbers(&l);
	for (i = 0; i < l.n; i++) {
		const struct pop3_item *p = &l.items[i];
		struct item it = { p->number, p->occurrence, p->size, pop3_uidl(&l, p),
			p->uidl_n };

		if (numbered) {
			it.uidl = NULL;
			it.uidl_n = 0;
		}
		each(ctx, &it);
	}
	pop3_forget(s->pop3); /* the caller has what it wants of it */
	expire = pop3_server(s->pop3)->expire;
	*out = (struct listing){
		.n = l.n,
		.repeated = l.repeated,
		.unreadable = l.unreadable,
		.nameless = !l.uidl,
		.numbered = numbered,
		.consumed = expire && strcmp(expire, "0") == 0,
		.windowed = s->windowed,
		.stat = l.stat_count != UINT64_MAX,
		.stat_count = l.stat_count,
		.stat_octets = l.stat_octets,
		/* Unless it says otherwise: what is fetched is marked there, at
		 * most. */
		.lasting = pop3_server(s->pop3)->keeps && !expire && !s->windowed,
	};
	return ST_OK;
}

/* ---- what the server said ---- */

enum { SAID_TEXT = 1024, SAID_LINE = 256 };

static void add_said(struct buf *b, const char *key, const char *text, size_t most)
{
	size_t n = text ? strnlen(text, most) : 0;

	buf_addf(b, "%s:", key);
	if (text)
		text_json(b, text, n);
	else
		buf_adds(b, "null");
}

static void add_tls(struct buf *b, const struct tls_info *t)
{
	if (!t || !*t->version) {
		buf_adds(b, ",\"tls\":null");
		return;
	}
	add_said(b, ",\"tls\":{\"cipher\"", t->cipher, SAID_TEXT);
	add_said(b, ",\"issuer\"", t->issuer, SAID_TEXT);
	add_said(b, ",\"not_after\"", t->not_after, SAID_TEXT);
	add_said(b, ",\"sha256\"", t->sha256, SAID_TEXT);
	add_said(b, ",\"subject\"", t->subject, SAID_TEXT);
	add_said(b, ",\"version\"", t->version, SAID_TEXT);
	buf_addc(b, '}');
}

static void pop3_src_said(const struct source *base, struct buf *b)
{
	const struct pop3_src *s = self(base);
	const struct pop3_server *v = pop3_server(s->pop3);
	size_t i;

	buf_adds(b, "{\"capa\":");
	buf_adds(b, v->has_capa ? "[" : "null");
	for (i = 0; v->has_capa && i < v->n_capa; i++) {
		buf_adds(b, i ? "," : "");
		text_json(b, v->capa[i], strnlen(v->capa[i], SAID_LINE));
	}
	buf_adds(b, v->has_capa ? "]" : "");
	add_said(b, ",\"greeting\"", v->greeting, SAID_TEXT);
	add_said(b, ",\"host\"", s->end->host, SAID_TEXT);
	add_said(b, ",\"peer\"", v->peer, SAID_TEXT);
	buf_addf(b, ",\"port\":%u", (unsigned)s->end->port);
	add_said(b, ",\"stat\"", v->stat, SAID_TEXT);
	add_tls(b, v->tls);
	add_said(b, ",\"user\"", s->end->user, SAID_TEXT);
	buf_addc(b, '}');
}

static void pop3_src_want(struct source *base, uint32_t number, uint64_t size)
{
	struct pop3_src *s = self(base);

	/* So that a full session ends in good order, with nothing under way. The rest
	 * is for the next one. */
	if (s->session_limit && s->asked == s->session_limit)
		return;
	s->asked++;
	pop3_want(s->pop3, number, size);
}

static enum status pop3_src_next(struct source *base, uint32_t *number, mail_take *take,
	void *ctx, struct err *err)
{
	return pop3_next(self(base)->pop3, number, take, ctx, err);
}

static void pop3_src_wind_down(struct source *base)
{
	pop3_wind_down(self(base)->pop3);
}

static enum oddity pop3_src_oddity(const struct source *base)
{
	static const enum oddity same[] = {
		[POP3_ODD_NONE] = ODD_NONE,
		[POP3_ODD_GLUED] = ODD_GLUED,
		[POP3_ODD_UNSTUFFED] = ODD_UNSTUFFED,
	};

	return same[pop3_oddity(self(base)->pop3)];
}

static enum status pop3_src_remove(
	struct source *base, uint32_t number, struct err *err)
{
	return pop3_dele(self(base)->pop3, number, err);
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

static bool pop3_src_no_capa(const struct source *base)
{
	const struct pop3_src *s = self(base);

	return s->pop3 && pop3_capa_failed(s->pop3);
}

static int pop3_src_wait(const struct source *base)
{
	const struct pop3_src *s = self(base);
	uint64_t said = s->pop3 ? 1000ULL * pop3_server(s->pop3)->login_delay : 0;

	if (said > INT32_MAX)
		said = INT32_MAX;
	return (int)said > s->interval_ms ? (int)said : s->interval_ms;
}

static void pop3_src_cancel(struct source *base)
{
	if (self(base)->pop3)
		pop3_cancel(self(base)->pop3);
}

static const char *const schemes[] = { "pop3s", "pop3", NULL };

const struct source_ops pop3_source = {
	.schemes = schemes,
	.secret = true,
	.account = pop3_account,
	.meet = pop3_src_meet,
	.open = pop3_src_open,
	.list = pop3_src_list,
	.said = pop3_src_said,
	.wind_down = pop3_src_wind_down,
	.want = pop3_src_want,
	.next = pop3_src_next,
	.oddity = pop3_src_oddity,
	.remove = pop3_src_remove,
	.finish = pop3_src_finish,
	.overreached = pop3_src_overreached,
	.no_capa = pop3_src_no_capa,
	.wait_ms = pop3_src_wait,
	.cancel = pop3_src_cancel,
	.close = pop3_src_close,
};
