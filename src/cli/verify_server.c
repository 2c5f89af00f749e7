/*
 * verify_server.c: what a POP3 server lists, compared with what an archive has of it.
 * Nothing is fetched and nothing is deleted.
 */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/source.h>
#include <popferry/text.h>

#include "marks.h"
#include "meet.h"
#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	JSON_MAX = 4 * 1024 * 1024,
	NOTE_MAX = 4 * 1024,
	NUMBERS_TOLD = 20,    /* to people */
	NUMBERS_MAX = 100000, /* to programs */
};

/* ---- the server ---- */

static void take_item(void *ctx, const struct item *it)
{
	struct comparison *k = ctx;

	mails_add(&k->server, it->uidl ? it->uidl : "", it->uidl ? it->uidl_n : 0,
		it->size, it->number);
}

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

/* ---- telling ---- */

/* Not there, and nobody wanted that. */
static bool is_missing(const struct mail *m)
{
	return !m->met &&
		(m->told == FATE_FAILED || m->told == FATE_LEFT ||
			m->told == FATE_VANISHED || m->told == FATES);
}

static bool is_filtered(const struct mail *m)
{
	return !m->met && m->told == FATE_FILTERED;
}

/* "3, 7-9, ...": those that are missing. */
static void add_numbers(struct buf *b, const struct comparison *k)
{
	size_t i, e, told = 0;

	for (i = 0; i < k->server.n; i = e) {
		const struct mail *v = k->server.v;
		bool missing = is_missing(&v[i]);

		for (e = i + 1; missing && e < k->server.n && is_missing(&v[e]) &&
			v[e].number == v[e - 1].number + 1;)
			e++;
		if (!missing)
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
	       " %s in both, %" PRIu64 " only on the server, %" PRIu64
	       " only in the archive\n",
		k->path, k->server.n, k->account, k->archive.n, k->both,
		k->both == 1 ? "is" : "are", k->only_server, k->only_archive);
	if (k->duplicates || k->filtered || k->failed || k->left)
		printf("%s: of others its listings tell: %" PRIu64
		       " duplicate%s of what it has, %" PRIu64
		       " left out by a rule, %" PRIu64 " failed, %" PRIu64
		       " not taken\n",
			k->path, k->duplicates, text_s(k->duplicates), k->filtered,
			k->failed, k->left);
	if (k->listing.nameless)
		printf("%s: the server has no UIDLs: sizes alone were compared\n",
			k->path);
	if (k->listing.windowed)
		printf("%s: this server is known to list only a part of what it has\n",
			k->path);
}

static void add_list(struct buf *b, const char *name, const struct comparison *k,
	bool (*is)(const struct mail *m))
{
	size_t i, told = 0;

	buf_addf(b, ",\"%s\":[", name);
	for (i = 0; i < k->server.n && told < NUMBERS_MAX; i++)
		if (is(&k->server.v[i]))
			buf_addf(b, "%s%" PRIu64, told++ ? "," : "",
				k->server.v[i].number);
	buf_addc(b, ']');
}

/* Of the report, and of the custody log. */
static void add_counts(struct buf *b, const struct comparison *k)
{
	buf_addf(b,
		"\"on_server\":%zu,\"in_archive\":%zu,\"both\":%" PRIu64
		",\"only_on_server\":%" PRIu64 ",\"only_in_archive\":%" PRIu64
		",\"duplicates\":%" PRIu64 ",\"filtered\":%" PRIu64
		",\"failed\":%" PRIu64 ",\"left\":%" PRIu64 ",\"renamed\":%" PRIu64
		",\"unread_listings\":%" PRIu64,
		k->server.n, k->archive.n, k->both, k->only_server, k->only_archive,
		k->duplicates, k->filtered, k->failed, k->left, k->renamed, k->unread);
}

static void tell_json(
	struct buf *b, const struct comparison *k, int code, const char *reason)
{
	buf_addf(b, "{\"good\":%s,\"exit\":%d,", code ? "false" : "true", code);
	add_counts(b, k);
	buf_addf(b, ",\"other_size\":%" PRIu64 ",\"uidls\":%s", k->other_size,
		k->listing.nameless ? "false" : "true");
	add_list(b, "numbers", k, is_missing);
	add_list(b, "filtered_numbers", k, is_filtered);
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
	struct buf b = BUF_INIT(NOTE_MAX);
	struct err err = ERR_INIT;

	buf_addc(&b, '{');
	add_counts(&b, k);
	buf_addc(&b, '}');
	if (archive_note(k->path, "verify", k->account, buf_str(&b), &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(k->c, &err);
	}
	buf_free(&b);
}

static enum status verdict(const struct comparison *k, struct err *err)
{
	uint64_t missing = k->only_server + k->failed + k->left;
	struct buf b = BUF_INIT(ERR_TEXT);
	char known[96] = "";

	if (missing == 0)
		return ST_OK;
	add_numbers(&b, k);
	if (k->other_size)
		snprintf(known, sizeof(known),
			"; of %" PRIu64 " the archive has the UIDL with another size",
			k->other_size);
	err_set(err, ST_DENIED, EX_PARTIAL,
		"%s: %" PRIu64 " of the server's messages %s not there: number%s %s%s",
		k->path, missing, missing == 1 ? "is" : "are", text_s(missing),
		buf_str(&b), known);
	buf_free(&b);
	return ST_DENIED;
}

int verify_server(struct cli *c, struct err *err)
{
	struct comparison k = { .c = c };
	struct archive_reader *r = NULL;
	enum status rc;
	int code = 0;

	if (c->n_args != 2)
		return cli_bad_usage(c, "verify",
			"verify --server needs an ARCHIVE and a POP3-URL", err);
	k.path = cli_archive_path(c->args[0]);
	rc = cli_read(k.c, &r, k.path, err);
	if (rc == ST_OK)
		rc = meet_known(&k, r, err);
	if (rc == ST_OK)
		rc = ask_server(&k, err);
	if (rc == ST_OK)
		rc = meet_all(&k, r, err);
	archive_done(&r);
	if (rc == ST_OK) {
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
	meet_free(&k);
	return code;
}
