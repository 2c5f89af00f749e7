/* cmd_archive.c: list and verify. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN = 256, NARROW = 33, JSON_MAX = 256 * 1024 };

/* "archive:DIR" and "DIR" mean the same here. */
static const char *archive_arg(
	const struct cli *c, const char *command, struct err *err)
{
	const char *arg = c->n_args == 1 ? c->args[0] : NULL;

	if (!arg) {
		err_set(err, ST_DENIED, EX_USAGE, "%s needs one ARCHIVE", command);
		return NULL;
	}
	return text_starts(arg, "archive:") ? arg + strlen("archive:") : arg;
}

static const char *clean(char *out, size_t cap, const char *s)
{
	return text_clean(out, cap, s ? s : "", s ? strlen(s) : 0);
}

static void row_json(const struct archive_row *r)
{
	const struct {
		const char *name, *value;
	} texts[] = {
		{ "segment", r->segment },
		{ "path", r->path },
		{ "folder", r->folder },
		{ "uidl", r->uidl },
		{ "sha256", r->sha256 },
		{ "date", r->date },
		{ "from", r->from },
		{ "to", r->to },
		{ "subject", r->subject },
		{ "message_id", r->message_id },
		{ "flags", r->flags },
		{ "anomalies", r->anomalies },
	};
	struct buf b = BUF_INIT(JSON_MAX);
	size_t i;

	buf_addf(&b, "{\"seq\":%" PRIu64 ",\"size\":%" PRIu64 ",\"sealed\":%s", r->seq,
		r->size, r->sealed ? "true" : "false");
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		const char *v = texts[i].value ? texts[i].value : "";

		buf_addf(&b, ",\"%s\":", texts[i].name);
		text_json(&b, v, strlen(v));
	}
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

static enum status show_row(void *ctx, const struct archive_row *r, struct err *err)
{
	const struct cli *c = ctx;
	char date[COLUMN], folder[COLUMN], from[NARROW], subject[COLUMN];

	(void)err;
	if (c->format == LOG_JSON) {
		row_json(r);
		return ST_OK;
	}
	printf("%9" PRIu64 " %-25s %9" PRIu64 " %-16s %-32s %s%s\n", r->seq,
		clean(date, COLUMN, r->date), r->size, clean(folder, COLUMN, r->folder),
		clean(from, NARROW, r->from), clean(subject, COLUMN, r->subject),
		r->sealed ? "" : " (not sealed)");
	return ST_OK;
}

int cmd_list(struct cli *c, struct err *err)
{
	const char *path = archive_arg(c, "list", err);
	struct archive_reader *r = NULL;
	enum status rc = path ? archive_read(&r, path, err) : ST_DENIED;

	if (rc == ST_OK)
		rc = archive_each(r, show_row, c, err);
	archive_done(&r);
	if (rc < 0) {
		cli_complain(c, err);
		return err->exit;
	}
	return 0;
}

static void show_bad(void *ctx, const char *what)
{
	const struct cli *c = ctx;

	if (c->format == LOG_JSON)
		log_error(NULL, "damaged", LOG_S("what", what));
	else
		fprintf(stderr, "popferry: damaged: %s\n", what);
}

int cmd_verify(struct cli *c, struct err *err)
{
	const char *path = archive_arg(c, "verify", err);
	struct archive_check k = { 0 };
	struct archive_reader *r = NULL;
	enum status rc = path ? archive_read(&r, path, err) : ST_DENIED;
	char bytes[16];

	if (rc == ST_OK)
		rc = archive_verify(r, &k, show_bad, c, err);
	archive_done(&r);
	if (c->verbosity >= 0 && path && (rc == ST_OK || k.damaged))
		printf("%s: %" PRIu64 " messages (%s) in %" PRIu64
		       " segments are good; %" PRIu64 " damaged\n",
			path, k.messages, text_bytes(bytes, k.bytes), k.segments,
			k.damaged);
	if (rc != ST_OK) {
		cli_complain(c, err);
		return err->exit;
	}
	return 0;
}
