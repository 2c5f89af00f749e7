/* cmd_archive.c: list and verify. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN = 256, TEXT_MAX = 4096, JSON_MAX = 256 * 1024 };

/* "archive:DIR" and "DIR" mean the same here. */
static const char *archive_arg(
	const struct cli *c, const char *command, struct err *err)
{
	const char *arg = c->n_args == 1 ? c->args[0] : NULL;

	if (!arg) {
		err_set(err, ST_DENIED, EX_USAGE,
			"%s needs one ARCHIVE; try `popferry %s --help`", command,
			command);
		return NULL;
	}
	return text_starts(arg, "archive:") ? arg + strlen("archive:") : arg;
}

static void add_text(struct buf *b, const char *name, const char *value)
{
	buf_addf(b, ",\"%s\":", name);
	text_json(b, value, strlen(value));
}

static void add_header(struct buf *b, const char *name, const char *value)
{
	char clean[TEXT_MAX];

	add_text(b, name, cli_show(clean, sizeof(clean), value));
}

static void row_json(const struct archive_row *r)
{
	struct buf b = BUF_INIT(JSON_MAX);

	buf_addf(&b, "{\"seq\":%" PRIu64 ",\"size\":%" PRIu64 ",\"sealed\":%s", r->seq,
		r->size, r->sealed ? "true" : "false");
	add_text(&b, "segment", r->segment);
	add_text(&b, "path", r->path);
	add_text(&b, "folder", r->folder);
	add_text(&b, "uidl", r->uidl);
	add_text(&b, "sha256", r->sha256);
	add_text(&b, "date", r->date);
	add_header(&b, "from", r->from);
	add_header(&b, "to", r->to);
	add_header(&b, "subject", r->subject);
	add_header(&b, "message_id", r->message_id);
	add_text(&b, "flags", r->flags);
	add_text(&b, "anomalies", r->anomalies);
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

/* The bytes of the next character; *columns is what a terminal needs for it, about. */
static size_t character(const char *s, int *columns)
{
	unsigned char c = (unsigned char)*s;
	size_t n = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	*columns = (c >= 0xe3 && c <= 0xed) || c >= 0xf0 ? 2 : 1;
	return n;
}

/* Exactly so many columns, whatever their bytes are, and a blank. */
static void print_column(const char *s, int columns)
{
	char clean[COLUMN];
	const char *p = cli_show(clean, sizeof(clean), s), *start = p;
	int need;

	while (*p) {
		size_t n = character(p, &need);

		if (need > columns)
			break;
		columns -= need;
		p += n;
	}
	printf("%.*s%*s ", (int)(p - start), start, columns, "");
}

/* Of 2019-03-05T09:30:00+01:00 what one looks for. */
static void print_date(const char *date)
{
	if (strlen(date) >= 16 && date[10] == 'T')
		printf("%.10s %.5s ", date, date + 11);
	else
		print_column(date, 16);
}

static enum status show_row(void *ctx, const struct archive_row *r, struct err *err)
{
	const struct cli *c = ctx;
	char subject[COLUMN];

	(void)err;
	if (c->format == LOG_JSON) {
		row_json(r);
		return ST_OK;
	}
	printf("%7" PRIu64 "%c ", r->seq, r->sealed ? ' ' : '*');
	print_date(r->date);
	printf("%9" PRIu64 " ", r->size);
	print_column(r->folder, 16);
	print_column(r->from, 28);
	printf("%s\n", cli_show(subject, sizeof(subject), r->subject));
	return ST_OK;
}

/* The exit code of an archive that is not there is that of one that is not good. */
static int fail(const struct cli *c, struct err *err)
{
	if (err->exit == EX_NOINPUT)
		err->exit = EX_DATAERR;
	cli_complain(c, err);
	return err->exit;
}

int cmd_list(struct cli *c, struct err *err)
{
	const char *path = archive_arg(c, "list", err);
	struct archive_reader *r = NULL;
	enum status rc = path ? archive_read(&r, path, err) : ST_DENIED;

	signal(SIGPIPE, SIG_DFL); /* for `| head` */
	if (rc == ST_OK)
		rc = archive_each(r, show_row, c, err);
	archive_done(&r);
	return rc < 0 ? fail(c, err) : 0;
}

static void show_bad(void *ctx, const char *what)
{
	const struct cli *c = ctx;

	if (c->format == LOG_JSON)
		log_error(NULL, "damaged", LOG_S("what", what));
	else
		fprintf(stderr, "popferry: damaged: %s\n", what);
}

static void tell_json(const char *path, const struct archive_check *k)
{
	struct buf b = BUF_INIT(JSON_MAX);

	buf_addf(&b,
		"{\"good\":%s,\"segments\":%" PRIu64 ",\"messages\":%" PRIu64
		",\"bytes\":%" PRIu64 ",\"damaged\":%" PRIu64,
		k->damaged ? "false" : "true", k->segments, k->messages, k->bytes,
		k->damaged);
	add_text(&b, "archive", path);
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

static void tell(const struct cli *c, const char *path, const struct archive_check *k)
{
	char bytes[16];

	if (c->verbosity < 0)
		return;
	if (c->format == LOG_JSON) {
		tell_json(path, k);
		return;
	}
	printf("%s: ", path);
	if (k->damaged)
		printf("DAMAGED in %" PRIu64 " place%s: ", k->damaged,
			k->damaged == 1 ? "" : "s");
	printf("%" PRIu64 " message%s (%s), %" PRIu64 " sealed segment%s%s\n",
		k->messages, k->messages == 1 ? "" : "s", text_bytes(bytes, k->bytes),
		k->segments, k->segments == 1 ? "" : "s",
		k->damaged ? " are good" : ": all good");
}

int cmd_verify(struct cli *c, struct err *err)
{
	const char *path = archive_arg(c, "verify", err);
	struct archive_check k = { 0 };
	struct archive_reader *r = NULL;
	enum status rc = path ? archive_read(&r, path, err) : ST_DENIED;

	if (rc == ST_OK)
		rc = archive_verify(r, &k, show_bad, c, err);
	archive_done(&r);
	if (path && (rc == ST_OK || k.damaged))
		tell(c, path, &k);
	return rc == ST_OK ? 0 : fail(c, err);
}
