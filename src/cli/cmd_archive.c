/* cmd_archive.c: what is in an archive. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/export.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN = 256, JSON_MAX = 1024 * 1024 };

const char *cli_archive_path(const char *arg)
{
	return text_starts(arg, "archive:") ? arg + strlen("archive:") : arg;
}

enum status cli_read(const struct cli *c, struct archive_reader **out, const char *path,
	struct err *err)
{
	const struct archive_access a = { .identities = c->identities };

	return archive_read_as(out, path, &a, err);
}

static void print_json(const struct archive_row *r)
{
	struct buf b = BUF_INIT(JSON_MAX);

	row_json(&b, r);
	printf("%s\n", buf_str(&b));
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

void cli_column(const char *clean, int columns)
{
	const char *p = clean, *start = p;
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

static void print_column(const char *s, int columns)
{
	char clean[COLUMN];

	cli_column(cli_show(clean, sizeof(clean), s), columns);
}

/* Of 2019-03-05T09:30:00+01:00 what one looks for. */
static void print_date(const char *date)
{
	if (strlen(date) >= 16 && date[10] == 'T')
		printf("%.10s %.5s ", date, date + 11);
	else
		print_column(date, 16);
}

struct listing {
	const struct cli *c;
	struct choice *choice;
};

static enum status show_row(void *ctx, const struct archive_row *r, struct err *err)
{
	const struct listing *l = ctx;
	char subject[COLUMN];

	(void)err;
	if (!choice_has(l->choice, r))
		return ST_OK;
	if (l->c->format == LOG_JSON) {
		print_json(r);
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
	struct listing l = { c, NULL };
	struct archive_reader *r = NULL;
	enum status rc;

	signal(SIGPIPE, SIG_DFL); /* for `| head` */
	if (c->n_args == 0)
		return cli_bad_usage(c, "list", "list needs an ARCHIVE", err);
	rc = choice_make(&l.choice, c->args + 1, c->n_args - 1, err);
	if (rc == ST_OK)
		rc = cli_read(c, &r, cli_archive_path(c->args[0]), err);
	if (rc == ST_OK)
		rc = archive_each(r, show_row, &l, err);
	archive_done(&r);
	choice_free(&l.choice);
	return rc < 0 ? cli_archive_failed(c, err) : 0;
}
