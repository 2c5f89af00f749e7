/* cmd_search.c: messages of an archive by their words. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/search.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	COLUMN = 256,
	ROW_MAX = 1024 * 1024,
	DRAW_MS = 200,
	DETAIL_MAX = 32 * 1024,
	NUMBER = 11, /* digits of a number, and a LF */
	DATE_ROOM = 80,
	TOGETHER = 64,            /* rows are read in one view of the index, */
	OUTPUT_ROOM = 256 * 1024, /* and fit here, nearly always */
};

const struct option search_options[] = {
	{ "format", "NAME", "table (default), jsonl, csv, or seq: numbers alone" },
	{ "sort", "ORDER", "date (default, the newest first), relevance or seq" },
	{ "limit", "N", "show no more than these" },
	{ "excel-safe", NULL, "in csv, a ' before what a spreadsheet would execute" },
	{ "index", NULL, "only bring the index up to date" },
	{ "rebuild", NULL, "make the index anew" },
	{ "plaintext-index", NULL, "of an encrypted archive: keep the index in clear" },
	{ NULL, NULL, NULL },
};

struct quest {
	const struct cli *c;
	const char *path;
	char *text; /* the query */
	const struct format *format;
	enum search_order order;
	uint64_t limit;
	bool excel_safe, terminal, drawn;
	int64_t next;
	struct search *s;
};

struct format {
	const char *name;
	bool bare; /* the number is all it has of a message */
	void (*head)(void);
	void (*row)(const struct quest *f, const struct search_found *m);
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	stopped = sig;
}

/* ---- while the index is made ---- */

static void clear_line(struct quest *f)
{
	if (f->drawn)
		fputs("\r\033[K", stderr);
	f->drawn = false;
}

static bool go_on(void *ctx, uint64_t done, uint64_t all)
{
	struct quest *f = ctx;

	if (stopped)
		return false;
	if (!f->terminal || all == 0 || clock_ms() < f->next)
		return true;
	f->next = clock_ms() + DRAW_MS;
	fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " message%s indexed\033[K", done,
		all, text_s(all));
	f->drawn = true;
	return true;
}

static void say(void *ctx, const char *what)
{
	struct quest *f = ctx;

	clear_line(f);
	if (f->c->format == LOG_JSON)
		log_warn(NULL, "index", LOG_S("what", what));
	else if (f->c->verbosity >= 0)
		fprintf(stderr, "popferry: %s\n", what);
}

/* ---- what was found ---- */

/* With the sender's zone. strftime() would look for the time zone of this machine each
 * time. */
static const char *date_text(char out[DATE_ROOM], const struct when *w)
{
	time_t local = (time_t)(w->utc + 60 * (int64_t)w->zone);
	unsigned zone = (unsigned)(w->zone < 0 ? -w->zone : w->zone) % 6000;
	struct tm tm;

	out[0] = '\0';
	if (gmtime_r(&local, &tm))
		snprintf(out, DATE_ROOM, "%04d-%02d-%02dT%02d:%02d:%02d%c%02u:%02u",
			tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
			tm.tm_min, tm.tm_sec, w->zone < 0 ? '-' : '+', zone / 60,
			zone % 60);
	return out;
}

static void print_column(const char *s, int columns)
{
	char clean[COLUMN];

	cli_column(text_clean(clean, sizeof(clean), s, strlen(s)), columns);
}

static void table_row(const struct quest *f, const struct search_found *m)
{
	char subject[COLUMN], date[DATE_ROOM];

	(void)f;
	date_text(date, &m->date);
	printf("%7" PRIu64 "%c %.10s %.5s %9" PRIu64 " ", m->seq,
		m->attachments ? '@' : ' ', date, date[0] ? date + 11 : "", m->size);
	print_column(m->folder, 16);
	print_column(m->from, 28);
	printf("%s\n",
		text_clean(subject, sizeof(subject), m->subject, strlen(m->subject)));
}

static void seq_row(const struct quest *f, const struct search_found *m)
{
	(void)f;
	printf("%" PRIu64 "\n", m->seq);
}

/* Texts of a message, in the order of the columns. */
static const struct {
	const char *name;
	size_t at;
} texts[] = {
	{ "folder", offsetof(struct search_found, folder) },
	{ "from", offsetof(struct search_found, from) },
	{ "to", offsetof(struct search_found, to) },
	{ "cc", offsetof(struct search_found, cc) },
	{ "subject", offsetof(struct search_found, subject) },
	{ "message_id", offsetof(struct search_found, message_id) },
	{ "uidl", offsetof(struct search_found, uidl) },
};

static const char *text_of(const struct search_found *m, size_t i)
{
	const char *s;

	memcpy(&s, (const char *)m + texts[i].at, sizeof(s));
	return s;
}

static void jsonl_row(const struct quest *f, const struct search_found *m)
{
	struct buf b = BUF_INIT(ROW_MAX), clean = BUF_INIT(ROW_MAX);
	char date[DATE_ROOM];
	size_t i;

	(void)f;
	buf_addf(&b,
		"{\"seq\":%" PRIu64 ",\"size\":%" PRIu64
		",\"date\":\"%s\",\"sha256\":\"%s\",\"attachments\":%u",
		m->seq, m->size, date_text(date, &m->date), m->sha256, m->attachments);
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		const char *s = text_of(m, i);

		buf_clear(&clean);
		text_clean_add(&clean, s, strlen(s));
		buf_addf(&b, ",\"%s\":", texts[i].name);
		text_json(&b, buf_str(&clean), clean.n);
	}
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
	buf_free(&clean);
}

static void csv_head(void)
{
	size_t i;

	printf("seq,date,size,sha256,attachments");
	for (i = 0; i < N_ELEMENTS(texts); i++)
		printf(",%s", texts[i].name);
	printf("\r\n");
}

static void csv_row(const struct quest *f, const struct search_found *m)
{
	struct buf clean = BUF_INIT(ROW_MAX);
	char date[DATE_ROOM];
	const char *p;
	size_t i;

	printf("%" PRIu64 ",%s,%" PRIu64 ",%s,%u", m->seq, date_text(date, &m->date),
		m->size, m->sha256, m->attachments);
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		const char *s = text_of(m, i);

		buf_clear(&clean);
		text_clean_add(&clean, s, strlen(s));
		p = buf_str(&clean);
		printf(",\"%s", f->excel_safe && *p && strchr("=+-@", *p) ? "'" : "");
		for (; *p; p++)
			printf(*p == '"' ? "\"\"" : "%c", *p);
		putchar('"');
	}
	printf("\r\n");
	buf_free(&clean);
}

static const struct format formats[] = { { "table", false, NULL, table_row },
	{ "jsonl", false, NULL, jsonl_row }, { "csv", false, csv_head, csv_row },
	{ "seq", true, NULL, seq_row } };

/* ---- its place in the archive's history ---- */

/* Digits and LF, from the end of what is given. */
static char *number_before(char *end, uint32_t n)
{
	*--end = '\n';
	do {
		*--end = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	return end;
}

/* SHA-256 of the numbers, ascending, one a line: as of --sort seq --format seq. */
static void result_hash(char hex[2 * DIGEST + 1], const struct search_hits *hits)
{
	size_t room = hits->n * NUMBER, i;
	char *text = xmalloc(room + 1), *p = text + room;
	unsigned char sum[DIGEST];

	for (i = hits->n; i > 0; i--)
		p = number_before(p, hits->seqs[i - 1]);
	digest_of(p, (size_t)(text + room - p), sum);
	text_hex(hex, sum, DIGEST);
	free(text);
}

static void note_searched(const struct quest *f, const struct search_hits *hits)
{
	struct buf b = BUF_INIT(DETAIL_MAX);
	struct err err = ERR_INIT;
	char hex[2 * DIGEST + 1];

	result_hash(hex, hits);
	buf_addf(&b, "{\"count\":%zu,\"query\":", hits->n);
	text_json(&b, f->text, strlen(f->text));
	buf_addf(&b, ",\"sha256\":\"%s\"}", hex);
	if (archive_note(f->path, "search", "archive", buf_str(&b), &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(f->c, &err);
	}
	buf_free(&b);
}

/* ---- the command ---- */

static enum status show_one(struct quest *f, uint32_t seq, struct err *err)
{
	struct search_found m = { .seq = seq };
	enum status rc = f->format->bare ? ST_OK : search_get(f->s, seq, &m, err);

	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"message %" PRIu32
			" is not in the index any more: search again, or make it anew with --rebuild",
			seq);
	if (rc == ST_OK)
		f->format->row(f, &m);
	return rc;
}

/* Whoever reads what is printed may take long for it: the index is free meanwhile. */
static enum status show_some(
	struct quest *f, const struct search_hits *hits, size_t i, struct err *err)
{
	size_t end = hits->n_first - i < TOGETHER ? hits->n_first : i + TOGETHER;
	enum status rc = f->format->bare ? ST_OK : search_hold(f->s, err);

	for (; rc == ST_OK && i < end; i++)
		rc = show_one(f, hits->first[i], err);
	search_let_go(f->s);
	if (!f->format->bare)
		fflush(stdout);
	return rc;
}

static enum status show(
	struct quest *f, const struct search_hits *hits, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	if (f->format->head)
		f->format->head();
	for (i = 0; rc == ST_OK && i < hits->n_first; i += TOGETHER)
		rc = show_some(f, hits, i, err);
	if (rc == ST_OK && f->format->row == table_row && f->c->verbosity >= 0) {
		if (hits->n_first < hits->n)
			printf("%zu of %zu messages\n", hits->n_first, hits->n);
		else
			printf("%zu message%s\n", hits->n, text_s(hits->n));
	}
	return rc;
}

static enum status search(
	struct quest *f, const struct query *q, size_t *n, struct err *err)
{
	struct search_hits hits;
	enum status rc = search_find(f->s, q, f->order, f->limit, &hits, err);

	*n = hits.n;
	if (rc == ST_OK)
		rc = show(f, &hits, err);
	if (rc == ST_OK)
		note_searched(f, &hits);
	search_hits_free(&hits);
	return rc;
}

static void tell_index(const struct quest *f, uint64_t in)
{
	if (f->c->verbosity < 0)
		return;
	if (f->c->format == LOG_JSON)
		printf("{\"messages\":%" PRIu64 "}\n", in);
	else
		printf("%s: %" PRIu64 " message%s in the index\n", f->path, in,
			text_s(in));
}

static enum status find(struct quest *f, const struct query *q, struct err *err)
{
	const struct search_how how = { .rebuild = cli_option(f->c, "rebuild") != NULL,
		.plaintext = cli_option(f->c, "plaintext-index") != NULL,
		.identities = f->c->identities,
		.say = say,
		.go_on = go_on,
		.ctx = f };
	uint64_t in, damaged = 0;
	size_t n = 0;
	enum status rc = search_open(&f->s, f->path, &how, err);

	clear_line(f);
	if (rc == ST_OK)
		rc = q ? search(f, q, &n, err) : search_count(f->s, &in, &damaged, err);
	if (rc == ST_OK && !q)
		tell_index(f, in);
	if (rc == ST_OK && q)
		rc = search_count(f->s, NULL, &damaged, err);
	if (rc != ST_OK)
		return rc;
	if (damaged)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"%" PRIu64
			" message%s damaged or lost and could not be searched: `popferry verify` tells which",
			damaged, damaged == 1 ? " is" : "s are");
	rc = search_whole(f->s, err);
	if (rc != ST_OK)
		return rc;
	return q && n == 0 ? ST_END : ST_OK;
}

static enum status read_options(struct quest *f, struct err *err)
{
	static const char *const orders[] = { [SEARCH_SEQ] = "seq",
		[SEARCH_DATE] = "date",
		[SEARCH_RELEVANCE] = "relevance" };
	const char *format = cli_option(f->c, "format"),
		   *sort = cli_option(f->c, "sort"), *limit = cli_option(f->c, "limit");
	char *end;
	size_t i;

	if (!format)
		format = f->c->format == LOG_JSON ? "jsonl" : "table";
	for (i = 0; i < N_ELEMENTS(formats); i++)
		if (strcmp(formats[i].name, format) == 0)
			f->format = &formats[i];
	if (!f->format)
		return err_set(err, ST_DENIED, EX_USAGE,
			"--format: expected table, jsonl, csv or seq");
	f->order = SEARCH_DATE;
	for (i = 0; sort && i < N_ELEMENTS(orders); i++)
		if (strcmp(orders[i], sort) == 0)
			break;
	if (sort && i == N_ELEMENTS(orders))
		return err_set(err, ST_DENIED, EX_USAGE,
			"--sort: expected date, relevance or seq");
	if (sort)
		f->order = (enum search_order)i;
	f->limit = UINT64_MAX;
	if (limit) {
		f->limit = strtoull(limit, &end, 10);
		if (*limit < '0' || *limit > '9' || *end)
			return err_set(
				err, ST_DENIED, EX_USAGE, "--limit: expected a number");
	}
	f->excel_safe = cli_option(f->c, "excel-safe") != NULL;
	return ST_OK;
}

/* All arguments behind the archive, as one text. */
static char *query_text(const struct cli *c)
{
	struct buf b = BUF_INIT(2 * QUERY_MAX);
	bool fits = true;
	char *text;
	size_t i;

	for (i = 1; i < c->n_args; i++)
		fits = fits && (i == 1 || buf_addc(&b, ' ')) &&
			buf_adds(&b, c->args[i]);
	text = fits ? xstrdup(buf_str(&b)) : NULL;
	buf_free(&b);
	return text;
}

int cmd_search(struct cli *c, struct err *err)
{
	/* Without one of ours the C library makes its own, of another size. */
	static char output[OUTPUT_ROOM];
	struct quest f = { .c = c };
	const char *term = getenv("TERM");
	struct query *q = NULL;
	bool index_only = cli_option(c, "index") ||
		(cli_option(c, "rebuild") && c->n_args == 1);
	enum status rc;

	if (c->n_args == 0 || (index_only ? c->n_args > 1 : c->n_args < 2))
		return cli_bad_usage(c, "search",
			index_only
				? "with --index, search needs an ARCHIVE and no QUERY"
				: "search needs an ARCHIVE and a QUERY",
			err);
	stop_politely(stop);
	signal(SIGPIPE, SIG_DFL);
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	f.path = cli_archive_path(c->args[0]);
	f.terminal = c->verbosity >= 0 && c->format == LOG_TEXT &&
		(c->progress == PROGRESS_ALWAYS ||
			(c->progress == PROGRESS_AUTO && isatty(STDERR_FILENO) &&
				term && strcmp(term, "dumb") != 0));
	rc = read_options(&f, err);
	if (rc == ST_OK && !index_only) {
		f.text = query_text(c);
		rc = f.text ? query_parse(&q, f.text, err)
			    : err_set(err, ST_DENIED, EX_USAGE,
				      "the query is longer than %d bytes", QUERY_MAX);
	}
	if (rc == ST_OK)
		rc = find(&f, q, err);
	search_close(&f.s);
	query_free(&q);
	free(f.text);
	fflush(stdout);
	if (rc == ST_END)
		return EX_PARTIAL;
	return rc < 0 ? cli_archive_failed(c, err) : 0;
}
