/*
 * verify_server.c: what a POP3 server lists, compared with what an archive has of it.
 *
 * A message is the same when its UIDL is, and the size that the server listed then and
 * lists now. Nothing is fetched and nothing is deleted.
 */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/source.h>
#include <popferry/text.h>

#include "marks.h"
#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	JSON_MAX = 4 * 1024 * 1024,
	NUMBERS_TOLD = 20,    /* to people */
	NUMBERS_MAX = 100000, /* to programs */
};

struct mail {
	char *uidl; /* "": none */
	uint64_t size;
	uint64_t number; /* on the server; in the archive */
	bool met;
};

struct mails {
	struct mail *v;
	size_t n, cap;
};

struct comparison {
	struct cli *c;
	const char *path;
	char *account;
	struct mails server, archive;
	struct listing listing;
	uint64_t both, only_server, only_archive;
	uint64_t other_size; /* of only_server: their UIDL is known */
};

/* ---- both sides ---- */

/* What is no character of a UIDL (RFC 1939) is the same whatever it is: tables have
 * U+FFFD for some of it. */
static char *uidl_key(const char *s, size_t n)
{
	char *out = xmalloc(n + 1), *p = out;
	size_t i;

	for (i = 0; i < n; i++)
		if (s[i] > ' ' && s[i] < 0x7f)
			*p++ = s[i];
		else if (p == out || p[-1] != '\n')
			*p++ = '\n';
	*p = '\0';
	return out;
}

static void add(
	struct mails *m, const char *uidl, size_t n, uint64_t size, uint64_t number)
{
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 256;
		m->v = xreallocarray(m->v, m->cap, sizeof(*m->v));
	}
	m->v[m->n++] = (struct mail){ uidl_key(uidl, n), size, number, false };
}

static void take_item(void *ctx, const struct item *it)
{
	struct comparison *k = ctx;

	add(&k->server, it->uidl ? it->uidl : "", it->uidl ? it->uidl_n : 0, it->size,
		it->number);
}

static void take_known(void *ctx, const struct archive_known *m)
{
	struct comparison *k = ctx;

	add(&k->archive, m->uidl, strlen(m->uidl),
		m->listed == UINT64_MAX ? m->size : m->listed, m->seq);
}

static void mails_free(struct mails *m)
{
	while (m->n)
		free(m->v[--m->n].uidl);
	free(m->v);
}

/* ---- comparing ---- */

static int by_uidl(const void *a, const void *b)
{
	const struct mail *x = a, *y = b;
	int d = strcmp(x->uidl, y->uidl);

	if (d || x->size != y->size)
		return d ? d : x->size < y->size ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

static int by_number(const void *a, const void *b)
{
	const struct mail *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static void sort(struct mails *m, int (*by)(const void *, const void *))
{
	if (m->n)
		qsort(m->v, m->n, sizeof(*m->v), by);
}

static size_t group_end(const struct mails *m, size_t i)
{
	size_t k = i;

	while (k < m->n && strcmp(m->v[k].uidl, m->v[i].uidl) == 0)
		k++;
	return k;
}

/* Those of one UIDL, by their sizes; one that is not known (they come last) fits
 * any. */
static void meet(struct comparison *k, size_t s, size_t s_end, size_t a, size_t a_end)
{
	size_t left = a_end - a, unmet = 0, i;

	for (i = s; i < s_end; i++) {
		struct mail *m = &k->server.v[i];
		bool any = m->size == UINT64_MAX;

		while (!any && a < a_end && k->archive.v[a].size < m->size)
			a++;
		m->met = any ? left > 0 : a < a_end && k->archive.v[a].size == m->size;
		if (!m->met) {
			unmet++;
			continue;
		}
		k->both++;
		left--;
		a += !any;
	}
	if (*k->server.v[s].uidl)
		k->other_size += unmet < left ? unmet : left;
}

/* A server without UIDLs leaves the sizes to be compared. */
static void forget_uidls(struct mails *m)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		*m->v[i].uidl = '\0';
}

static void compare(struct comparison *k)
{
	size_t s = 0, a = 0;

	if (k->listing.nameless)
		forget_uidls(&k->archive);
	sort(&k->server, by_uidl);
	sort(&k->archive, by_uidl);
	while (s < k->server.n) {
		size_t s_end = group_end(&k->server, s);

		while (a < k->archive.n &&
			strcmp(k->archive.v[a].uidl, k->server.v[s].uidl) < 0)
			a++;
		if (a < k->archive.n &&
			strcmp(k->archive.v[a].uidl, k->server.v[s].uidl) == 0) {
			size_t a_end = group_end(&k->archive, a);

			meet(k, s, s_end, a, a_end);
			a = a_end;
		}
		s = s_end;
	}
	k->only_server = k->server.n - k->both;
	k->only_archive = k->archive.n - k->both;
	sort(&k->server, by_number);
}

/* ---- the server ---- */

static enum status list(struct comparison *k, const struct source_ops *ops,
	const char *password, struct trace *trace, struct err *err)
{
	struct job *job = k->c->job;
	struct source_setup setup = { .end = &job->source,
		.password = password,
		.trace = trace,
		.deadline_ms = (int)job->timeout * 1000 };
	struct source *src = NULL;
	struct err after = ERR_INIT;
	enum status rc = ops->open(&src, &setup, err);

	if (rc == ST_OK)
		rc = ops->list(src, take_item, k, &k->listing, err);
	/* It has been asked all it was to be asked: how it says goodbye is its
	 * affair. */
	if (rc == ST_OK)
		ops->finish(src, &after);
	if (src)
		ops->close(&src);
	return rc;
}

static enum status ask_server(struct comparison *k, struct err *err)
{
	const struct endpoint *end = &k->c->job->source;
	const struct source_ops *ops;
	struct trace *trace = NULL;
	char *password = NULL;
	enum status rc = job_set(k->c->job, "source", k->c->args[1], "POP3-URL", err);

	if (rc == ST_OK)
		rc = job_check_ends(k->c->job, err);
	if (rc != ST_OK)
		return rc;
	ops = source_kind(end->scheme);
	if (!end->host || !ops)
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s: --server asks a server, as in pop3s://user@host",
			k->c->args[1]);
	k->account = ops->account(end, err);
	rc = k->account ? secret_get(&end->secret, "source", &password, err)
			: ST_DENIED;
	if (rc == ST_OK && k->c->job->trace)
		rc = trace_open(&trace, k->c->job->trace, err);
	if (rc == ST_OK)
		rc = list(k, ops, password, trace, err);
	trace_close(&trace);
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
	return rc;
}

static enum status read_archive(struct comparison *k, struct err *err)
{
	struct archive_reader *r = NULL;
	enum status rc = cli_read(k->c, &r, k->path, err);

	if (rc == ST_OK)
		rc = archive_each_known(r, take_known, k, err);
	archive_done(&r);
	return rc;
}

/* ---- telling ---- */

/* "3, 7-9, ...": those that are on the server only. */
static void add_numbers(struct buf *b, const struct comparison *k)
{
	size_t i, e, told = 0;

	for (i = 0; i < k->server.n; i = e) {
		const struct mail *v = k->server.v;

		for (e = i + 1; !v[i].met && e < k->server.n && !v[e].met &&
			v[e].number == v[e - 1].number + 1;)
			e++;
		if (v[i].met)
			continue;
		buf_addf(b, "%s", told ? ", " : "");
		if (told++ == NUMBERS_TOLD) {
			buf_adds(b, "...");
			return;
		}
		buf_addf(b, e - i > 1 ? "%" PRIu64 "-%" PRIu64 : "%" PRIu64,
			v[i].number, v[e - 1].number);
	}
}

static void tell_text(const struct comparison *k)
{
	printf("%s: %zu on the server (%s), %zu in the archive: %" PRIu64
	       " are in both, %" PRIu64 " only on the server, %" PRIu64
	       " only in the archive\n",
		k->path, k->server.n, k->account, k->archive.n, k->both, k->only_server,
		k->only_archive);
	if (k->listing.nameless)
		printf("%s: the server has no UIDLs: sizes alone were compared\n",
			k->path);
	if (k->listing.windowed)
		printf("%s: this server is known to list only a part of what it has\n",
			k->path);
}

static void tell_json(
	struct buf *b, const struct comparison *k, int code, const char *reason)
{
	size_t i, told = 0;

	buf_addf(b,
		"{\"good\":%s,\"exit\":%d,\"on_server\":%zu,\"in_archive\":%zu"
		",\"both\":%" PRIu64 ",\"only_on_server\":%" PRIu64
		",\"only_in_archive\":%" PRIu64 ",\"other_size\":%" PRIu64
		",\"uidls\":%s,\"numbers\":[",
		code ? "false" : "true", code, k->server.n, k->archive.n, k->both,
		k->only_server, k->only_archive, k->other_size,
		k->listing.nameless ? "false" : "true");
	for (i = 0; i < k->server.n && told < NUMBERS_MAX; i++)
		if (!k->server.v[i].met)
			buf_addf(b, "%s%" PRIu64, told++ ? "," : "",
				k->server.v[i].number);
	buf_addc(b, ']');
	marks_add(b, "reason", reason);
	marks_add(b, "version", VERSION);
	marks_add(b, "server", k->account ? k->account : "");
	marks_add(b, "archive", k->path);
	buf_adds(b, "}\n");
}

static enum status tell(const struct comparison *k, int code, struct err *err)
{
	const char *report = k->c->job->report;
	struct buf b = BUF_INIT(JSON_MAX);
	enum status rc = ST_OK;

	tell_json(&b, k, code, code ? err->text : "");
	if (report)
		rc = report_put(report, &b, err);
	if (k->c->verbosity >= 0 && (code == 0 || code == EX_PARTIAL) &&
		!(report && strcmp(report, "-") == 0)) {
		if (k->c->format == LOG_JSON)
			fwrite(buf_str(&b), 1, b.n, stdout);
		else
			tell_text(k);
		fflush(stdout);
	}
	buf_free(&b);
	return rc;
}

static void note(const struct comparison *k)
{
	struct err err = ERR_INIT;
	char *detail = xasprintf("{\"on_server\":%zu,\"only_in_archive\":%" PRIu64
				 ",\"only_on_server\":%" PRIu64 "}",
		k->server.n, k->only_archive, k->only_server);

	if (archive_note(k->path, "verify", k->account, detail, &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(k->c, &err);
	}
	free(detail);
}

static enum status verdict(const struct comparison *k, struct err *err)
{
	struct buf b = BUF_INIT(ERR_TEXT);
	char known[96] = "";

	if (k->only_server == 0)
		return ST_OK;
	add_numbers(&b, k);
	if (k->other_size)
		snprintf(known, sizeof(known),
			"; of %" PRIu64 " the archive has the UIDL with another size",
			k->other_size);
	err_set(err, ST_DENIED, EX_PARTIAL,
		"%s: %" PRIu64 " of the server's messages %s not there: number%s %s%s",
		k->path, k->only_server, k->only_server == 1 ? "is" : "are",
		k->only_server == 1 ? "" : "s", buf_str(&b), known);
	buf_free(&b);
	return ST_DENIED;
}

int verify_server(struct cli *c, struct err *err)
{
	struct comparison k = { .c = c };
	enum status rc;
	int code = 0;

	if (c->n_args != 2)
		return cli_bad_usage(c, "verify",
			"verify --server needs an ARCHIVE and a POP3-URL", err);
	k.path = cli_archive_path(c->args[0]);
	rc = read_archive(&k, err);
	if (rc == ST_OK)
		rc = ask_server(&k, err);
	if (rc == ST_OK) {
		compare(&k);
		note(&k);
		rc = verdict(&k, err);
	}
	if (rc != ST_OK)
		code = err->exit == EX_NOINPUT ? EX_DATAERR : err->exit;
	if (tell(&k, code, err) != ST_OK) {
		err_note(err, "the report could not be written");
		code = code ? code : err->exit;
		rc = ST_DENIED;
	}
	if (rc != ST_OK)
		cli_complain(c, err);
	mails_free(&k.server);
	mails_free(&k.archive);
	free(k.account);
	return code;
}
