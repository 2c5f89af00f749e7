/* cmd_export.c: messages of an archive in other formats. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/export.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRAW_MS = 200, PLAIN_MS = 10000, JSON_MAX = 64 * 1024 };

const struct option export_options[] = {
	{ "format", "NAME",
		"eml (default), zip, mboxrd, maildir, csv, jsonl, dat, nara" },
	{ "excel-safe", NULL,
		"in tables, a ' before what a spreadsheet would execute" },
	{ NULL, NULL, NULL },
};

struct shown {
	const struct cli *c;
	bool terminal, silent;
	bool drawn;
	int64_t next;
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	stopped = sig;
}

/* The first one ends it in good order, a second one at once. */
static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa;
	size_t i;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = stop;
	sa.sa_flags = (int)SA_RESETHAND;
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}

static void clear_line(struct shown *s)
{
	if (s->drawn)
		fputs("\r\033[K", stderr);
	s->drawn = false;
}

static bool go_on(void *ctx, const struct export_done *d)
{
	struct shown *s = ctx;
	char bytes[16], all[16];

	if (stopped)
		return false;
	if (s->silent || clock_ms() < s->next)
		return true;
	s->next = clock_ms() + (s->terminal ? DRAW_MS : PLAIN_MS);
	fprintf(stderr, "%s%" PRIu64 " of %" PRIu64 " messages exported, %s of %s%s",
		s->terminal ? "\r" : "popferry: ", d->messages, d->all,
		text_bytes(bytes, d->bytes), text_bytes(all, d->all_bytes),
		s->terminal ? "\033[K" : "\n");
	s->drawn = s->terminal;
	return true;
}

static void bad(void *ctx, const char *what)
{
	struct shown *s = ctx;

	clear_line(s);
	if (s->c->format == LOG_JSON)
		log_error(NULL, "damaged", LOG_S("what", what));
	else
		fprintf(stderr, "popferry: damaged, left out: %s\n", what);
}

static void tell(
	const struct cli *c, const struct export_job *job, const struct export_done *d)
{
	struct buf b = BUF_INIT(JSON_MAX);
	char bytes[16], left[48] = "";

	if (c->verbosity < 0)
		return;
	if (c->format == LOG_JSON) {
		buf_addf(&b,
			"{\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64
			",\"left_out\":%" PRIu64 ",\"format\":",
			d->messages, d->bytes, d->bad);
		text_json(&b, job->format, strlen(job->format));
		buf_adds(&b, ",\"target\":");
		text_json(&b, job->target, strlen(job->target));
		printf("%s}\n", buf_str(&b));
		buf_free(&b);
		return;
	}
	if (d->bad)
		snprintf(left, sizeof(left), ", %" PRIu64 " left out", d->bad);
	printf("%s: %" PRIu64 " message%s (%s) as %s%s\n", job->target, d->messages,
		d->messages == 1 ? "" : "s", text_bytes(bytes, d->bytes), job->format,
		left);
}

/* What left the archive, and in what form, is part of its history. */
static void note_exported(const struct cli *c, const struct export_job *job,
	const struct export_done *done)
{
	struct buf b = BUF_INIT(JSON_MAX);
	struct err err = ERR_INIT;

	buf_adds(&b, "{\"format\":");
	text_json(&b, job->format, strlen(job->format));
	buf_addf(&b, ",\"left_out\":%" PRIu64 ",\"messages\":%" PRIu64 "}", done->bad,
		done->messages);
	if (archive_note(cli_archive_path(c->args[0]), "export", job->target,
		    buf_str(&b), &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(c, &err);
	}
	buf_free(&b);
}

static int run(struct cli *c, struct archive_reader *r, const struct choice *choice,
	struct err *err)
{
	const char *format = cli_option(c, "format");
	const char *term = getenv("TERM");
	struct shown s = { .c = c };
	struct export_job job = {
		.format = format ? format : "eml",
		.target = c->args[1],
		.choice = choice,
		.excel_safe = cli_option(c, "excel-safe") != NULL,
		.agent = "popferry " VERSION,
		.go_on = go_on,
		.bad = bad,
		.ctx = &s,
	};
	struct export_done done = { 0 };
	enum status rc;

	s.silent = c->progress == PROGRESS_NEVER || c->verbosity < 0 ||
		c->format == LOG_JSON;
	s.terminal = c->progress == PROGRESS_ALWAYS ||
		(isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0);
	s.next = clock_ms() + (s.terminal ? DRAW_MS : PLAIN_MS);
	catch_signals();
	rc = export_run(r, &job, &done, err);
	clear_line(&s);
	if (rc == ST_END)
		err_set(err, ST_DENIED, EX_PARTIAL,
			"there is no such message: nothing was exported");
	else if (rc == ST_OK || (rc == ST_DENIED && err->exit == EX_DATAERR)) {
		note_exported(c, &job, &done);
		tell(c, &job, &done);
	}
	if (rc == ST_OK)
		return 0;
	fflush(stdout);
	cli_complain(c, err);
	return err->exit;
}

int cmd_export(struct cli *c, struct err *err)
{
	struct archive_reader *r = NULL;
	struct choice *choice = NULL;
	enum status rc;
	int code;

	if (c->n_args < 2)
		return cli_bad_usage(
			c, "export", "export needs an ARCHIVE and a TARGET", err);
	rc = choice_make(&choice, c->args + 2, c->n_args - 2, err);
	if (rc == ST_OK)
		rc = archive_read(&r, cli_archive_path(c->args[0]), err);
	code = rc == ST_OK ? run(c, r, choice, err) : cli_archive_failed(c, err);
	archive_done(&r);
	choice_free(&choice);
	return code;
}
