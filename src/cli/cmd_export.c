/* cmd_export.c: messages of an archive in other formats. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/export.h>
#include <popferry/mem.h>
#include <popferry/search.h>
#include <popferry/text.h>

#include "cli.h"
#include "handing.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { DRAW_MS = 200, PLAIN_MS = 10000, JSON_MAX = 64 * 1024 };

const struct option export_options[] = {
	{ "format", "NAME",
		"eml, zip, mboxrd, maildir, mailbag, csv, jsonl, dat, nara" },
	{ "excel-safe", NULL,
		"in tables, a ' before what a spreadsheet would execute" },
	{ "query", "QUERY", "only what `popferry search` finds with it" },
	{ "exec", "COMMAND", "no TARGET: run this for each message; no shell is used" },
	{ "exec-timeout", "SECONDS", "end it after so long; 60 without it" },
	{ "jobs", "N", "with --exec: so many at a time (as -j N); 1 without it" },
	{ "report", "FILE",
		"with --exec: write what each said as JSON; - is standard output" },
	{ NULL, NULL, NULL },
};

struct shown {
	const struct cli *c;
	struct handing *handing; /* NULL: to no program */
	bool terminal, silent;
	bool drawn;
	int64_t next;
	pthread_mutex_t lock; /* of what is drawn: programs end in other threads */
};

static volatile sig_atomic_t stopped;
static int stop_fd; /* an eventfd; 0: nobody waits for it */

static void stop(int sig)
{
	const uint64_t one = 1;
	int no = errno;

	stopped = sig;
	if (stop_fd && write(stop_fd, &one, sizeof(one)) < 0)
		errno = no;
	errno = no;
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
	pthread_mutex_lock(&s->lock);
	s->next = clock_ms() + (s->terminal ? DRAW_MS : PLAIN_MS);
	fprintf(stderr, "%s%" PRIu64 " of %" PRIu64 " message%s %s, %s of %s%s",
		s->terminal ? "\r" : "popferry: ", d->messages, d->all, text_s(d->all),
		s->handing ? "handed over" : "exported", text_bytes(bytes, d->bytes),
		text_bytes(all, d->all_bytes), s->terminal ? "\033[K" : "\n");
	s->drawn = s->terminal;
	pthread_mutex_unlock(&s->lock);
	return true;
}

static void ran(void *ctx, const struct archive_row *row, const struct hand_answer *a)
{
	struct shown *s = ctx;

	pthread_mutex_lock(&s->lock);
	clear_line(s);
	handing_answer(s->handing, row, a);
	pthread_mutex_unlock(&s->lock);
}

static void bad(void *ctx, const char *what)
{
	struct shown *s = ctx;

	pthread_mutex_lock(&s->lock);
	clear_line(s);
	if (s->c->format == LOG_JSON)
		log_error(NULL, "damaged", LOG_S("what", what));
	else
		fprintf(stderr, "popferry: damaged, left out: %s\n", what);
	pthread_mutex_unlock(&s->lock);
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
		text_s(d->messages), text_bytes(bytes, d->bytes), job->format, left);
}

/* What left the archive, and in what form, is part of its history. */
static void note_exported(const struct cli *c, const struct export_job *job,
	const struct export_done *done)
{
	const char *object = job->hand ? hand_program(job->hand) : job->target;
	struct buf b = BUF_INIT(JSON_MAX);
	struct err err = ERR_INIT;

	buf_adds(&b, "{\"format\":");
	text_json(&b, job->format, strlen(job->format));
	buf_addf(&b, ",\"left_out\":%" PRIu64 ",\"messages\":%" PRIu64 "}", done->bad,
		done->messages);
	if (archive_note(cli_archive_path(c->args[0]), "export", object, buf_str(&b),
		    &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(c, &err);
	}
	buf_free(&b);
}

static bool is_part(enum status rc, const struct err *err)
{
	return rc == ST_DENIED && err->exit == EX_DATAERR;
}

/* It came to its end, in good order or with messages left out. */
static enum status ended(const struct cli *c, const struct export_job *job,
	const struct export_done *done, enum status rc, struct err *err)
{
	uint64_t not_good = done->messages - done->good;

	note_exported(c, job, done);
	if (!job->hand)
		tell(c, job, done);
	else if (rc == ST_OK && not_good)
		rc = err_set(err, ST_DENIED, EX_PARTIAL,
			"%.100s did not end with 0 for %" PRIu64 " of %" PRIu64
			" message%s",
			hand_program(job->hand), not_good, done->messages,
			text_s(done->messages));
	return rc;
}

/* What a target is by its ending, when nobody says. */
static const char *format_of(const char *target)
{
	static const struct {
		const char *ending, *format;
	} endings[] = {
		{ ".zip", "zip" },
		{ ".mbox", "mboxrd" },
		{ ".csv", "csv" },
		{ ".jsonl", "jsonl" },
		{ ".tar", "mailbag" },
		{ ".tar.gz", "mailbag" },
		{ ".tgz", "mailbag" },
	};
	size_t n = strlen(target), i;

	for (i = 0; i < N_ELEMENTS(endings); i++) {
		size_t k = strlen(endings[i].ending);

		if (n > k && strcasecmp(target + n - k, endings[i].ending) == 0)
			return endings[i].format;
	}
	return "eml";
}

static int run(struct cli *c, struct archive_reader *r, const struct choice *choice,
	struct handing *handing, struct err *err)
{
	const char *format = cli_option(c, "format");
	const char *term = getenv("TERM");
	struct shown s = { .c = c, .handing = handing };
	struct export_job job = {
		.format = handing ? "exec"
			: format  ? format
				  : format_of(c->args[1]),
		.target = handing ? NULL : c->args[1],
		.choice = choice,
		.excel_safe = cli_option(c, "excel-safe") != NULL,
		.agent = "popferry " VERSION,
		.go_on = go_on,
		.bad = bad,
		.ran = ran,
		.ctx = &s,
	};
	struct export_done done = { 0 };
	enum status rc;
	int code;

	s.silent = c->progress == PROGRESS_NEVER || c->verbosity < 0 ||
		c->format == LOG_JSON;
	s.terminal = c->progress == PROGRESS_ALWAYS ||
		(isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0);
	s.next = clock_ms() + (s.terminal ? DRAW_MS : PLAIN_MS);
	pthread_mutex_init(&s.lock, NULL);
	if (handing) {
		job.hand = handing_hand(handing, &job.at_once);
		job.stop_fd = stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	stop_politely(stop);
	rc = export_run(r, &job, &done, err);
	clear_line(&s);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_PARTIAL,
			"there is no such message: nothing was exported");
	else if (rc == ST_OK || is_part(rc, err))
		rc = ended(c, &job, &done, rc, err);
	code = rc == ST_OK ? 0 : err->exit;
	if (handing)
		code = handing_end(handing, &done, code, err);
	pthread_mutex_destroy(&s.lock);
	if (code == 0)
		return 0;
	fflush(stdout);
	cli_complain(c, err);
	return code;
}

/* ---- what is asked for ---- */

static void say(void *ctx, const char *what)
{
	const struct cli *c = ctx;

	if (c->verbosity >= 0 && c->format != LOG_JSON)
		fprintf(stderr, "popferry: %s\n", what);
}

static enum status found_by(
	struct cli *c, const char *query, struct choice *choice, struct err *err)
{
	const struct search_how how = {
		.identities = c->identities, .say = say, .ctx = c
	};
	struct search *s = NULL;
	struct query *q = NULL;
	struct search_hits hits = { 0 };
	enum status rc = query_parse(&q, query, err);

	if (rc == ST_OK)
		rc = search_open(&s, cli_archive_path(c->args[0]), &how, err);
	if (rc == ST_OK)
		rc = search_find(s, q, SEARCH_SEQ, 0, &hits, err);
	if (rc == ST_OK)
		choice_among(choice, hits.seqs, hits.n);
	search_hits_free(&hits);
	query_free(&q);
	search_close(&s);
	return rc;
}

/* "export ARCHIVE from:ann" would write all there is into a directory of that name. */
static bool is_word(const char *target)
{
	char *words[] = { (char *)(uintptr_t)target };
	struct choice *choice = NULL;
	bool is = strchr(target, ':') && !strchr(target, '/') &&
		choice_make(&choice, words, 1, NULL) == ST_OK;

	choice_free(&choice);
	return is;
}

static const char *misused(const struct cli *c)
{
	static const char *const alone[] = { "exec-timeout", "jobs", "report" };
	bool exec = cli_option(c, "exec") != NULL;
	size_t i;

	if (c->n_args < (exec ? 1 : 2))
		return exec ? "export --exec needs an ARCHIVE"
			    : "export needs an ARCHIVE and a TARGET";
	if (exec && (cli_option(c, "format") || cli_option(c, "excel-safe")))
		return "--exec gets messages as they are; it goes with neither --format "
		       "nor --excel-safe";
	for (i = 0; !exec && i < sizeof(alone) / sizeof(alone[0]); i++)
		if (cli_option(c, alone[i]))
			return "--exec-timeout, --jobs and --report are of no use without "
			       "--exec";
	if (!exec && is_word(c->args[1]))
		return "the TARGET comes first, and then words that choose messages; "
		       "write ./ before the name of a file that looks like one";
	return NULL;
}

int cmd_export(struct cli *c, struct err *err)
{
	const char *query = cli_option(c, "query"), *wrong = misused(c);
	size_t words = cli_option(c, "exec") ? 1 : 2;
	struct archive_reader *r = NULL;
	struct choice *choice = NULL;
	struct handing *handing = NULL;
	enum status rc;
	int code;

	if (wrong)
		return cli_bad_usage(c, "export", wrong, err);
	rc = choice_make(&choice, c->args + words, c->n_args - words, err);
	if (rc == ST_OK && words == 1)
		rc = handing_open(&handing, c, err);
	if (rc == ST_OK)
		rc = cli_read(c, &r, cli_archive_path(c->args[0]), err);
	if (rc == ST_OK && query)
		rc = found_by(c, query, choice, err);
	code = rc == ST_OK ? run(c, r, choice, handing, err)
			   : cli_archive_failed(c, err);
	handing_close(&handing);
	archive_done(&r);
	choice_free(&choice);
	return code;
}
