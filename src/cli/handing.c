/* handing.c: the table and the report of what a program said of each message. */
#include "handing.h"

#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROW_JSON = 256 * 1024, JOBS_MOST = 256, SECONDS_MOST = 86400 };

struct handing {
	const struct cli *c;
	struct hand *hand;
	unsigned at_once;
	const char *path; /* of the report; NULL: none is wanted */
	char *temp;       /* its name until it is whole; NULL: it has its own */
	FILE *report;
	uint64_t rows;
	int64_t began, began_ms;
};

static const char *const ends[] = {
	[HAND_EXIT] = "exit",
	[HAND_SIGNAL] = "signal",
	[HAND_LATE] = "timeout",
};

/* ---- options ---- */

static enum status number(const struct cli *c, const char *name, unsigned most,
	unsigned *out, struct err *err)
{
	const char *s = cli_option(c, name);
	unsigned long n;
	char *end;

	if (!s)
		return ST_OK;
	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || *end || end == s || *s < '0' || *s > '9' || !n || n > most)
		return err_set(err, ST_DENIED, EX_USAGE,
			"--%s: expected a number from 1 to %u", name, most);
	*out = (unsigned)n;
	return ST_OK;
}

/* A pipe or device is written to as it is; a file gets its name when it is whole. */
static enum status open_report(struct handing *h, struct err *err)
{
	struct stat st;
	int fd;

	if (strcmp(h->path, "-") == 0) {
		h->report = stdout;
		return ST_OK;
	}
	if (lstat(h->path, &st) == 0 && !S_ISREG(st.st_mode)) {
		fd = open(h->path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0)
			fcntl(fd, F_SETFL, O_WRONLY);
	} else {
		h->temp = xasprintf("%s.XXXXXX", h->path);
		fd = mkostemp(h->temp, O_CLOEXEC);
		if (fd >= 0)
			fchmod(fd, 0644);
	}
	h->report = fd < 0 ? NULL : fdopen(fd, "w");
	return h->report ? ST_OK : err_sys(err, ST_DENIED, "report %s", h->path);
}

static void begin_report(struct handing *h)
{
	struct buf b = BUF_INIT(ROW_JSON);
	const char *program = hand_program(h->hand);
	char when[24];

	buf_adds(&b, "{\n\"version\":\"" VERSION "\",\n\"archive\":");
	text_json(&b, h->c->args[0], strlen(h->c->args[0]));
	buf_adds(&b, ",\n\"program\":");
	text_json(&b, program, strlen(program));
	buf_addf(&b, ",\n\"started\":\"%s\",\n\"results\":[",
		clock_rfc3339(when, h->began));
	fputs(buf_str(&b), h->report);
	buf_free(&b);
}

enum status handing_open(struct handing **out, const struct cli *c, struct err *err)
{
	struct handing *h = xcalloc(1, sizeof(*h));
	unsigned seconds = 0;
	enum status rc;

	h->c = c;
	h->at_once = 1;
	h->path = cli_option(c, "report");
	h->began = clock_utc();
	h->began_ms = clock_ms();
	rc = number(c, "jobs", JOBS_MOST, &h->at_once, err);
	if (rc == ST_OK)
		rc = number(c, "exec-timeout", SECONDS_MOST, &seconds, err);
	if (rc == ST_OK)
		rc = hand_open(&h->hand, cli_option(c, "exec"), seconds, "--exec", err);
	if (rc == ST_OK && h->path)
		rc = open_report(h, err);
	if (rc == ST_OK && h->path)
		begin_report(h);
	if (rc != ST_OK)
		handing_close(&h);
	*out = h;
	return rc;
}

void handing_close(struct handing **hp)
{
	struct handing *h = *hp;

	if (!h)
		return;
	if (h->report && h->report != stdout)
		fclose(h->report);
	if (h->temp)
		unlink(h->temp);
	free(h->temp);
	hand_close(&h->hand);
	free(h);
	*hp = NULL;
}

const struct hand *handing_hand(const struct handing *h, unsigned *at_once)
{
	*at_once = h->at_once;
	return h->hand;
}

/* ---- answers ---- */

static void add_text(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, ",\"%s\":", name);
	text_json(b, text, strlen(text));
}

static void add_answer(
	struct buf *b, const struct archive_row *row, const struct hand_answer *a)
{
	buf_addf(b, "{\"seq\":%" PRIu64, row->seq);
	add_text(b, "sha256", row->sha256);
	add_text(b, "folder", row->folder);
	add_text(b, "uidl", row->uidl);
	add_text(b, "message_id", row->message_id);
	buf_addf(b, ",\"end\":\"%s\",\"code\":", ends[a->end]);
	if (a->end == HAND_LATE)
		buf_adds(b, "null");
	else
		buf_addf(b, "%d", a->code);
	buf_addf(b, ",\"seconds\":%.3f", (double)a->ms / 1000);
	add_text(b, "line", a->line);
	buf_addc(b, '}');
}

static void show(const struct archive_row *row, const struct hand_answer *a)
{
	char end[24];

	if (a->end == HAND_LATE)
		snprintf(end, sizeof(end), "timeout");
	else
		snprintf(end, sizeof(end), "%s %d", ends[a->end], a->code);
	printf("%7" PRIu64 "  %-10s%s%s\n", row->seq, end, *a->line ? " " : "",
		a->line);
}

void handing_answer(
	struct handing *h, const struct archive_row *row, const struct hand_answer *a)
{
	struct buf b = BUF_INIT(ROW_JSON);

	add_answer(&b, row, a);
	if (h->report)
		fprintf(h->report, "%s\n  %s", h->rows++ ? "," : "", buf_str(&b));
	if (h->report != stdout && h->c->verbosity >= 0) {
		if (h->c->format == LOG_JSON)
			printf("%s\n", buf_str(&b));
		else
			show(row, a);
	}
	buf_free(&b);
}

/* ---- the end ---- */

static enum status end_report(struct handing *h, const struct export_done *done,
	int code, const char *reason, struct err *err)
{
	struct buf b = BUF_INIT(ROW_JSON);
	bool bad;
	char when[24];

	buf_addf(&b,
		"%s],\n\"finished\":\"%s\",\n\"seconds\":%.3f,\n\"messages\":%" PRIu64
		",\n\"bytes\":%" PRIu64 ",\n\"good\":%" PRIu64
		",\n\"left_out\":%" PRIu64 ",\n\"exit\":%d,\n\"reason\":",
		h->rows ? "\n" : "", clock_rfc3339(when, clock_utc()),
		(double)(clock_ms() - h->began_ms) / 1000, done->messages, done->bytes,
		done->good, done->bad, code);
	text_json(&b, reason, strlen(reason));
	buf_adds(&b, "\n}\n");
	fputs(buf_str(&b), h->report);
	buf_free(&b);
	bad = fflush(h->report) != 0 || ferror(h->report);
	if (!bad && h->temp)
		bad = fsync(fileno(h->report)) < 0 || rename(h->temp, h->path) < 0;
	if (bad)
		return err_sys(err, ST_FATAL, "report %s", h->path);
	free(h->temp);
	h->temp = NULL;
	return ST_OK;
}

int handing_end(
	struct handing *h, const struct export_done *done, int code, struct err *err)
{
	struct err why = ERR_INIT;

	if (h->c->verbosity >= 0 && h->c->format != LOG_JSON && h->report != stdout &&
		(code == 0 || code == EX_PARTIAL || code == EX_DATAERR))
		printf("%s: %" PRIu64 " message%s, %" PRIu64 " with exit code 0\n",
			hand_program(h->hand), done->messages, text_s(done->messages),
			done->good);
	if (!h->report ||
		end_report(h, done, code, code ? err->text : "", &why) == ST_OK)
		return code;
	if (code == 0)
		*err = why;
	else
		cli_complain(h->c, &why);
	return cli_worse(code, why.exit);
}
