/*
 * t_soak.c: random mailboxes, servers, options and accidents, compared with a model of
 * what must be there (soak_model.h).
 *
 * The environment: SEED=N, only that one; SEEDS=N, so many; SECONDS=N, for so long;
 * KIT_BATCH=N, so many messages in a batch; SOAK_LANES=1, several connections in every
 * seed, not in some; SOAK_LOG=1 tells what is done. What fails prints one line that
 * repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "soak_model.h"

#include <popferry/text.h>

#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

enum {
	SECONDS_USUAL = 8,
	SEED_USUAL = 1000000,
	MAIL_MAX = 30,
	LIMIT_SECONDS = 60, /* for one seed */
	SETTLE_MS = 60,     /* longer than LATE below by far */
	SETTLE_MANY =
		300, /* where what a connection sent may be read behind the next */
	DEADLINE_MS = 400,
	KILL_US = 30000,
	STEP_MAX = 60,
	WORDS = 12,
	LANES_ONE_IN = 7, /* seeds */
};

static struct zygote *zygote;
static unsigned long runs, seeds;

struct soak {
	struct rig *r;
	struct model m;
	uint64_t seed;
	int action;
	char options[160];
	bool imap, archive;
	bool lanes;  /* several connections take turns */
	bool good;   /* both servers, in this run */
	bool window; /* the source may show a part only */
	int batch;   /* messages in one; 0: as many as there are */
	char doing[600];
};

static void __attribute__((format(printf, 2, 3), noreturn))
bad(const struct soak *s, const char *fmt, ...)
{
	char what[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	print_error("SEED=%llu KIT_BATCH=%d build/tests/t_soak   # action %d, %s [%s]: "
		    "%s\n",
		(unsigned long long)s->seed, s->batch, s->action, s->doing, s->options,
		what);
	fail();
	abort();
}

static void __attribute__((format(printf, 2, 3)))
tell(struct soak *s, const char *fmt, ...)
{
	size_t n = strlen(s->doing);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->doing + n, sizeof(s->doing) - n, fmt, ap);
	va_end(ap);
}

/* ---- the servers ---- */

/*
 * '$' is the word of a family, '#' a small number; words end at '|'. Nothing here
 * breaks what the guarantees rest on: what is stored is stored whole, can be seen
 * within SETTLE_MS, and is not changed beyond recognition.
 */
static const char *const pop_words[] = {
	"after|#|RETR|drop",
	"after|#00|BYTES|drop",
	"on|RETR#2|drop|times=2",
	"on|RETR:#|reply|-ERR not now",
	"on|RETR:#|drop|times=#",
	"on|UIDL|drop|times=1",
	"on|LIST|reply|-ERR [SYS/TEMP] later|times=1",
	"on|PASS|reply|-ERR [IN-USE] busy|times=1",
	"on|GREETING|drop|times=1",
	"on|QUIT|drop",
	"pipelining|on",
	"pipelining|lies",
	"pipelining|ahead",
	"pipelining|swallow",
	"uidl|hidden",
	"rows|down",
	"order|shuffle",
	"order|reverse",
	"window|#",
	"slow|#",
	"lock|3",
	"capa|off",
	"list.1|x2",
	"list.2|x0.5",
};

static const char *const imap_words[] = {
	"append[#]|end=lost|commit=yes|times=1",
	"append[#]|end=lost|commit=no|times=1",
	"append[#]|end=lost|commit=late:3|times=1",
	"append[#0]|end=lost|commit=yes|times=1",
	"append[#0]|end=rst|commit=no|times=1",
	"append[#0]|end=drop@#0|times=1",
	"append|end=lost|commit=yes|skip=#|times=#",
	"append|end=lost|commit=no|skip=#|times=#",
	"append|end=rst|commit=yes|times=#",
	"append|end=bye|commit=no|skip=#|times=1",
	"append|end=drop@#00|times=1",
	"append|commit=early",
	"append~$|tagged|NO [TOOBIG] no",
	"append~$|tagged|NO [SERVERBUG] not now|times=1",
	"append~$|tagged|BAD what|times=1",
	"append~$|end=lost|commit=no",
	"append~$|tagged|NO [SERVERBUG] disk error|commit=yes|times=1",
	"uid|none",
	"uid|wrong",
	"uid|zero",
	"uid|same",
	"uid|validity",
	"bye|after|#",
	"quota|#",
	"slow|#",
	"reject|8bit-header",
	"reject|barelf",
	"reject|flags",
	"reject|date",
	"kill-on|8bit-header",
	"literal|refuse|untagged|BAD no",
	"maxmsg|4000",
	"on|FETCH|end=lost|times=1",
	"on|SELECT|end=lost|times=1",
	"on|SELECT|tagged|NO [INUSE] busy|times=1",
	"on|*|untagged|* OK still here",
	"login|reply|NO [UNAVAILABLE] later|times=1",
	"greeting|BYE busy|times=1",
	"uidvalidity|bump@reconnect",
	"uidvalidity|bump@append:#",
	"visible|reselect",
	"uidnext|missing",
	"search|lie",
};

static void expand(struct soak *s, const char *words, char *out, size_t cap)
{
	size_t n = 0;

	for (; *words && n + 12 < cap; words++) {
		if (*words == '$')
			n += (size_t)snprintf(out + n, cap - n, "fam-%u.",
				s->m.n_letters
					? model_below(&s->m, (unsigned)s->m.n_letters)
					: 0);
		else if (*words == '#' && words[1] != '2')
			n += (size_t)snprintf(
				out + n, cap - n, "%u", 1 + model_below(&s->m, 6));
		else
			out[n++] = *words;
	}
	out[n] = '\0';
}

static void say(struct soak *s, bool imap, const char *words)
{
	char text[200], *rest = text, *argv[WORDS], why[200] = "";
	int n = 0;
	bool ok;

	expand(s, words, text, sizeof(text));
	s->window |= text_starts(text, "window");
	tell(s, "; %s %s", imap ? "imap" : "pop", text);
	while (n < WORDS && (argv[n] = strsep(&rest, "|")))
		n++;
	ok = imap ? fakeimap_say(s->r->imap, n, argv, why, sizeof(why))
		  : fakepop_say(s->r->pop, n, argv, why, sizeof(why));
	/* There may be no message of that number. */
	if (!ok && imap)
		bad(s, "%s: %s", words, why);
}

static void behave_well(struct soak *s)
{
	static const char *const well[] = { "well", "window|0", "rows|up",
		"uidl|normal" };
	const struct fakepop_ways pop = { .no_uidl = s->m.no_uidl };
	const struct fakeimap_ways imap = { .capabilities = NULL };
	size_t i;

	s->good = true;
	s->window = false;
	fakepop_behave(s->r->pop, &pop);
	fakeimap_behave(s->r->imap, &imap);
	for (i = 0; i < N_ELEMENTS(well); i++)
		say(s, false, well[i]);
	if (s->m.no_uidl)
		say(s, false, "uidl|off");
	say(s, true, "well");
	s->window = false;
	s->doing[0] = '\0';
}

static void behave_somehow(struct soak *s)
{
	static const char *const offers[] = { "UIDPLUS", "MULTIAPPEND", "LITERAL+",
		"LITERAL-" };
	char capa[100] = "capa|=";
	size_t i;

	behave_well(s);
	if (s->lanes)
		say(s, true, "connections|6");
	for (i = 0; i < N_ELEMENTS(offers); i++)
		if (model_chance(&s->m, !s->lanes ? 60 : i ? 10 : 90)) {
			strncat(capa, "|", sizeof(capa) - strlen(capa) - 1);
			strncat(capa, offers[i], sizeof(capa) - strlen(capa) - 1);
		}
	if (s->lanes || model_chance(&s->m, 60))
		say(s, true, capa);
	if (model_chance(&s->m, 40))
		return;
	s->good = false;
	while (model_chance(&s->m, 60)) {
		const char *words =
			imap_words[model_below(&s->m, N_ELEMENTS(imap_words))];

		/* A receipt that names a place where nothing is yet is believed, and
		 * the copy may later be found for an equal message: with --dedup=none,
		 * where one is lost by that, such a server is too much. */
		if (s->m.dedup != DEDUP_NONE || strcmp(words, "uid|wrong") != 0)
			say(s, true, words);
	}
	while (model_chance(&s->m, 50)) {
		const char *words =
			pop_words[model_below(&s->m, N_ELEMENTS(pop_words))];

		/* A server has UIDLs or it has not. */
		if (!(s->m.no_uidl && text_starts(words, "uidl")))
			say(s, false, words);
	}
}

/* What the IMAP server does at the end of a connection it has done before the greeting
 * of the next one. */
static void wait_for_server(struct soak *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char one;

	a.sin_port = htons((uint16_t)fakeimap_port(s->r->imap));
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		abort();
	if (recv(fd, &one, 1, 0) < 0)
		abort();
	close(fd);
	if (s->lanes && !fakeimap_idle(s->r->imap))
		bad(s, "connections that nobody ends");
}

/* ---- what is there ---- */

struct count {
	struct soak *s;
	unsigned n[LETTERS_MAX];
	unsigned strange;
	struct archive_reader *a;
	struct buf text;
};

static void count_text(struct count *c, const char *text, bool wire)
{
	const struct model *m = &c->s->m;
	size_t i;

	for (i = 0; i < m->n_letters; i++)
		if (strcmp(text, wire ? m->letters[i].wire : m->letters[i].text) == 0)
			break;
	if (i < m->n_letters)
		c->n[i]++;
	else
		c->strange++;
}

static void count_imap(void *ctx, const char *box, const char *text, size_t n)
{
	(void)box;
	(void)n;
	count_text(ctx, text, true);
}

static enum status count_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct count *c = ctx;

	buf_clear(&c->text);
	if (archive_get(c->a, row->seq, kit_take, &c->text, err) != ST_OK)
		bad(c->s, "the archive gives no message %llu: %s",
			(unsigned long long)row->seq, err->text);
	count_text(c, buf_str(&c->text), false);
	return ST_OK;
}

static void verify_bad(void *ctx, const char *what)
{
	const struct count *c = ctx;

	bad(c->s, "the archive is not sound: %s", what);
}

static void count_archive(struct soak *s, struct count *c)
{
	struct archive_check check;
	struct err err = ERR_INIT;

	c->text = (struct buf)BUF_INIT(4 * BIG);
	if (archive_read(&c->a, s->r->archive, &err) != ST_OK ||
		archive_verify(c->a, &check, verify_bad, c, &err) != ST_OK ||
		archive_each(c->a, count_row, c, &err) != ST_OK)
		bad(s, "archive: %s", err.text);
	archive_done(&c->a);
	buf_free(&c->text);
}

static void compare(struct soak *s, const struct count *c, bool archive, bool whole)
{
	const struct model *m = &s->m;
	unsigned class, k, n;
	struct bounds b;

	if (c->strange)
		bad(s, "%u messages in the %s that nobody wrote", c->strange,
			archive ? "archive" : "mailboxes");
	for (class = 0; class < m->n_letters; class ++) {
		b = model_bounds(m, class, archive);
		for (k = n = 0; k < m->n_letters; k++)
			if (model_class(m, &m->letters[k]) == class)
				n += c->n[k];
		if (n > b.most || (whole && n < b.least))
			bad(s, "%u copies of fam-%u (%u) in the %s, not %u to %u", n,
				m->letters[class].family, class,
				archive ? "archive" : "mailboxes", b.least, b.most);
	}
}

/* whole: a run has said 0, so that nothing may be missing. */
static void check(struct soak *s, bool whole)
{
	struct count c = { .s = s };

	if (s->imap) {
		fakeimap_each(s->r->imap, count_imap, &c);
		compare(s, &c, false, true);
	}
	if (s->archive && whole) {
		c = (struct count){ .s = s };
		count_archive(s, &c);
		compare(s, &c, true, true);
	}
	if (fakeimap_has(s->r->imap, "pwned"))
		bad(s, "mail was carried out as commands");
}

/* ---- runs ---- */

static const struct {
	int code;
	bool when_good;
} exits[] = {
	{ 0, true },
	{ EX_PARTIAL, false },
	{ EX_UNAVAILABLE, false },
	{ EX_CANTCREAT, false },
	{ EX_TEMPFAIL, false },
	{ EX_PROTOCOL, false },
	{ EX_NOPERM, false },
};

static void judge_exit(struct soak *s, int code, bool limited, bool stopped)
{
	const struct ledger *l = &s->r->out.ledger;
	/* A maildrop that is suddenly empty is not believed at once. */
	bool odd = !s->good || limited || stopped || !model_here(&s->m);
	size_t i;

	for (i = 0; i < N_ELEMENTS(exits); i++)
		if (exits[i].code == code && (exits[i].when_good || odd))
			break;
	if (i == N_ELEMENTS(exits))
		bad(s, "exit %d (%s), %s", code, s->r->out.err.text, s->r->ledger);
	if (code == 0 && (l->failed || l->left))
		bad(s, "exit 0, and %s", s->r->ledger);
}

struct stopper {
	struct engine *e;
	unsigned after_us;
};

static void *stop_later(void *arg)
{
	const struct stopper *t = arg;

	usleep(t->after_us);
	engine_stop(t->e);
	return NULL;
}

static int run_here(struct soak *s, const struct sweep_run *run, unsigned stop_us)
{
	struct stopper t = { NULL, stop_us };
	struct pace pace = sweep_pace(run);
	struct job *j = sweep_job(s->r, run);
	pthread_t thread;
	int code;

	engine_new(&t.e, j, NULL);
	engine_pace(t.e, &pace);
	if (stop_us && pthread_create(&thread, NULL, stop_later, &t) != 0)
		abort();
	code = engine_run(t.e, &s->r->out);
	if (stop_us)
		pthread_join(thread, NULL);
	kit_ledger(&s->r->out.ledger, s->r->ledger, sizeof(s->r->ledger));
	if (!ledger_balances(&s->r->out.ledger))
		bad(s, "the ledger does not balance: %s", s->r->ledger);
	outcome_release(&s->r->out);
	engine_free(&t.e);
	job_free(&j);
	return code;
}

static int run(struct soak *s, unsigned limit, unsigned stop_us)
{
	char options[200];
	struct sweep_run run = { .settle_ms = s->lanes ? SETTLE_MANY : SETTLE_MS,
		.deadline_ms = DEADLINE_MS,
		.batch_count = s->batch,
		.options = options };
	bool done;
	int code;

	runs++;
	snprintf(options, sizeof(options), "%s", s->options);
	if (limit)
		snprintf(options, sizeof(options), "%s limit=%u", s->options, limit);
	model_listed(&s->m);
	code = run_here(s, &run, stop_us);
	tell(s, "; exit %d, %s", code, s->r->ledger);
	judge_exit(s, code, limit, stop_us);
	done = code == 0 && s->r->out.ledger.listed == model_here(&s->m);
	if (code == 0 && !done && !s->window)
		bad(s, "%zu messages, and %s", model_here(&s->m), s->r->ledger);
	if (done)
		model_safe(&s->m, !s->window);
	check(s, done);
	return code;
}

static void run_killed(struct soak *s)
{
	struct sweep_run run = { .settle_ms = s->lanes ? SETTLE_MANY : SETTLE_MS,
		.deadline_ms = DEADLINE_MS,
		.batch_count = s->batch,
		.options = s->options };
	int code;

	runs++;
	if (model_chance(&s->m, 50))
		run.crash_at = 1 + (int)model_below(&s->m, STEP_MAX);
	else
		run.crash_us = 1000 + (int)model_below(&s->m, KILL_US);
	model_listed(&s->m);
	code = sweep_apart(zygote, s->r, &run);
	tell(s, "; killed at step %d, %d us: %d", run.crash_at, run.crash_us, code);
	wait_for_server(s);
	if (code == 0 && !s->window)
		model_safe(&s->m, true);
	check(s, code == 0 && !s->window);
}

/* ---- actions ---- */

static void fill_source(struct soak *s)
{
	struct model *m = &s->m;
	size_t i;

	fakepop_empty(s->r->pop);
	for (i = 0; i < m->n_items; i++)
		if (m->items[i].here)
			fakepop_add(s->r->pop, m->items[i].uidl,
				m->letters[m->items[i].letter].text);
}

static void do_run(struct soak *s)
{
	behave_somehow(s);
	run(s, model_chance(&s->m, 15) ? 1 + model_below(&s->m, 8) : 0, 0);
}

static void do_killed(struct soak *s)
{
	behave_somehow(s);
	run_killed(s);
}

static void do_stopped(struct soak *s)
{
	behave_somehow(s);
	run(s, 0, 1 + model_below(&s->m, KILL_US));
}

static void do_add(struct soak *s)
{
	unsigned n = 1 + model_below(&s->m, 5);

	while (n--)
		model_add(&s->m);
}

static void do_remove(struct soak *s)
{
	unsigned n = 1 + model_below(&s->m, 4);

	while (s->m.n_items && n--)
		model_remove(&s->m.items[model_below(&s->m, (unsigned)s->m.n_items)]);
}

static void do_rename(struct soak *s)
{
	model_rename(&s->m);
}

/* A new message gets the UIDL of one that is gone (quirk Q12). */
static void do_reuse(struct soak *s)
{
	struct model *m = &s->m;
	struct item *gone, *new;
	size_t i;

	if (!m->n_items || m->n_items == ITEMS_MAX)
		return;
	gone = &m->items[model_below(m, (unsigned)m->n_items)];
	model_remove(gone);
	model_add(m);
	new = &m->items[m->n_items - 1];
	/*
	 * An equal one under the same UIDL would be the same message; so would one with
	 * the same Message-ID and main fields, which a server has made anew (quirk
	 * Q39).
	 */
	for (i = 0; i + 1 < m->n_items; i++)
		if (strcmp(m->items[i].uidl, gone->uidl) == 0 &&
			(m->letters[m->items[i].letter].exact ==
					m->letters[new->letter].exact ||
				m->letters[m->items[i].letter].family ==
					m->letters[new->letter].family))
			return;
	memcpy(new->uidl, gone->uidl, sizeof(new->uidl));
}

static void do_renumber(struct soak *s)
{
	fakeimap_renumber(s->r->imap);
}

/* Somebody else's message, or an equal one. */
static void do_foreign(struct soak *s)
{
	struct model *m = &s->m;
	unsigned k = m->n_letters && model_chance(m, 50)
		? model_below(m, (unsigned)m->n_letters)
		: model_letter(m);

	m->letters[k].foreign++;
	tell(s, "; foreign (%u)", k);
	fakeimap_put(s->r->imap, "INBOX", m->letters[k].wire);
}

static void do_lose(struct soak *s)
{
	wait_for_server(s);
	usleep(4000); /* what comes late nobody would know of (research: 4.7 c) */
	sweep_remove(s->r->state);
	s->m.losses++;
}

static const struct {
	const char *name;
	unsigned weight;
	void (*run)(struct soak *s);
} actions[] = {
	{ "run", 20, do_run },
	{ "killed", 30, do_killed },
	{ "stopped", 10, do_stopped },
	{ "mail added", 10, do_add },
	{ "mail removed", 6, do_remove },
	{ "UIDLs renamed", 5, do_rename },
	{ "UIDL used again", 4, do_reuse },
	{ "UIDVALIDITY renumbered", 6, do_renumber },
	{ "somebody else's mail", 5, do_foreign },
	{ "journal lost", 4, do_lose },
};

static void act(struct soak *s)
{
	unsigned at = model_below(&s->m, 100), k = 0;

	while (at >= actions[k].weight)
		at -= actions[k++].weight;
	s->action++;
	s->doing[0] = '\0';
	fill_source(s);
	actions[k].run(s);
	if (getenv("SOAK_LOG"))
		print_message("# %d %s%s\n", s->action, actions[k].name, s->doing);
}

/* ---- seeds ---- */

static void choose(struct soak *s)
{
	static const char *const modes[] = { "message-id", "exact", "message-id-only",
		"none" };
	static const enum dedup dedup[] = { DEDUP_MESSAGE_ID, DEDUP_EXACT,
		DEDUP_MESSAGE_ID_ONLY, DEDUP_NONE };
	static const char *const dests[] = { "", " archive", " only-archive" };
	struct model *m = &s->m;
	unsigned mode, dest, n;

	m->random = s->seed;
	mode = model_below(m, 4);
	dest = model_below(m, 3);
	m->dedup = dedup[mode];
	m->no_uidl = model_chance(m, 10);
	s->imap = dest != 2;
	s->archive = dest != 0;
	s->lanes = s->seed % LANES_ONE_IN == 0 || getenv("SOAK_LANES");
	snprintf(s->options, sizeof(s->options), "dedup=%s%s%s%s", modes[mode],
		dests[dest], model_chance(m, 20) ? " folder=Old/\303\244" : "",
		s->lanes ? " connections=4" : "");
	n = model_below(m, s->lanes ? 3 * MAIL_MAX : MAIL_MAX);
	while (n--)
		model_add(m);
}

/* The servers are good now: one run brings all, and the next has nothing to do. */
static void finish(struct soak *s)
{
	int i, code;

	for (i = 0; i < 2; i++) {
		s->action++;
		behave_well(s);
		fill_source(s);
		code = run(s, 0, 0);
		if (code != 0 && model_here(&s->m))
			bad(s, "exit %d (%s), %s", code, s->r->out.err.text,
				s->r->ledger);
		if (i && s->r->out.ledger.stored)
			bad(s, "a second run has something to store: %s", s->r->ledger);
	}
}

static void one_seed(uint64_t seed, int batch)
{
	struct soak *s = xcalloc(1, sizeof(*s));
	unsigned n;

	alarm(LIMIT_SECONDS);
	s->seed = seed;
	s->batch = batch;
	sweep_open(&s->r);
	choose(s);
	for (n = 2 + model_below(&s->m, 5); n; n--)
		act(s);
	finish(s);
	sweep_close(&s->r);
	model_free(&s->m);
	free(s);
	seeds++;
	alarm(0);
}

static unsigned long number(const char *name, unsigned long usual)
{
	const char *text = getenv(name);

	return text && *text ? strtoul(text, NULL, 10) : usual;
}

/* One in four with all its mail in one batch, the others with many under way. */
static int batch_of(uint64_t seed)
{
	return getenv("KIT_BATCH") ? kit_batch() : (int)(seed % 4);
}

/* Seeds that found something once. */
static void test_known(void **state)
{
	static const unsigned known[] = { 1649, 2636, 2737, 10034, 10099, 11744, 20229,
		50110, 60895, 90182, 90203, 90278 };
	static const struct {
		uint64_t seed;
		int batch;
	} others[] = { { 1795348776606, 1 }, { 1795348778021, 3 }, { 1795349795780, 0 },
		{ 1795350349584, 3 }, { 1795352975210, 2 } };
	size_t i;

	(void)state;
	if (getenv("SEED"))
		return;
	for (i = 0; i < N_ELEMENTS(known); i++)
		one_seed(known[i], 0);
	for (i = 0; i < N_ELEMENTS(known); i++)
		one_seed(known[i], 1);
	for (i = 0; i < N_ELEMENTS(others); i++)
		one_seed(others[i].seed, others[i].batch);
}

static void test_soak(void **state)
{
	uint64_t seed = strtoull(getenv("SEED") ? getenv("SEED") : "0", NULL, 10);
	unsigned long n = number("SEEDS", ULONG_MAX);
	int64_t until;

	(void)state;
	if (seed) {
		one_seed(seed, batch_of(seed));
		return;
	}
	until = clock_ms() +
		(int64_t)number("SECONDS", n == ULONG_MAX ? SECONDS_USUAL : 1000000) *
			1000;
	/* The same in each `make check`, so that what fails there is of this change;
	 * others with SECONDS or SEEDS. */
	seed = getenv("SECONDS") || getenv("SEEDS") ? (uint64_t)clock_utc() * 1000
						    : SEED_USUAL;
	for (; n && clock_ms() < until; n--, seed++)
		one_seed(seed, batch_of(seed));
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_known),
		cmocka_unit_test(test_soak) };
	int rc;

	sweep_dir();
	sweep_quiet();
	zygote_open(&zygote, sweep_child);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	zygote_close(&zygote);
	printf("# %lu seeds, %lu runs\n", seeds, runs);
	return rc;
}
