/* cmd_archive.c: what is in an archive. */
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

const char *cli_archive_path(const char *arg)
{
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

int cli_archive_failed(const struct cli *c, struct err *err)
{
	if (err->exit == EX_NOINPUT)
		err->exit = EX_DATAERR;
	cli_complain(c, err);
	return err->exit;
}

int cmd_list(struct cli *c, struct err *err)
{
	struct archive_reader *r = NULL;
	enum status rc;

	signal(SIGPIPE, SIG_DFL); /* for `| head` */
	if (c->n_args == 1)
		rc = archive_read(&r, cli_archive_path(c->args[0]), err);
	else
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"list needs one ARCHIVE; try `popferry list --help`");
	if (rc == ST_OK)
		rc = archive_each(r, show_row, c, err);
	archive_done(&r);
	return rc < 0 ? cli_archive_failed(c, err) : 0;
}
