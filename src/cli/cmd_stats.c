/* cmd_stats.c: an archive in numbers. */
#include <popferry/buf.h>
#include <popferry/export.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"
#include "sums.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 10, JSON_MAX = 16 * 1024 * 1024 };

struct stats {
	struct choice *choice;
	uint64_t messages, bytes, unsealed, odd;
	uint64_t copies, copy_bytes; /* messages whose bytes are there already */
	uint64_t stored;             /* bytes of segments/ and open/ */
	struct sums folders, years, senders, digests, segments;
	char first[40], last[40];
};

/* ---- collecting ---- */

static enum status take_row(void *ctx, const struct archive_row *row, struct err *err)
{
	char sender[SUM_LABEL], year[8];
	struct stats *s = ctx;

	(void)err;
	if (!choice_has(s->choice, row))
		return ST_OK;
	s->messages++;
	s->bytes += row->size;
	s->unsealed += !row->sealed;
	s->odd += row->anomalies[0] != '\0';
	snprintf(year, sizeof(year), "%.4s", row->date[0] ? row->date : "none");
	sums_address(sender, row->from);
	sums_add(&s->folders, row->folder, row->size);
	sums_add(&s->years, year, row->size);
	sums_add(&s->senders, sender, row->size);
	sums_add(&s->segments, row->segment, row->size);
	if (sums_add(&s->digests, row->sha256, row->size)->messages > 1) {
		s->copies++;
		s->copy_bytes += row->size;
	}
	if (row->date_utc[0] && (!s->first[0] || strcmp(row->date_utc, s->first) < 0))
		snprintf(s->first, sizeof(s->first), "%.30s", row->date_utc);
	if (row->date_utc[0] && strcmp(row->date_utc, s->last) > 0)
		snprintf(s->last, sizeof(s->last), "%.30s", row->date_utc);
	return ST_OK;
}

/* ---- showing ---- */

static void print_sums(const char *title, const struct sums *s, size_t max)
{
	char name[SUM_LABEL], bytes[16];
	size_t i;

	printf("\n%s\n", title);
	for (i = 0; i < s->n && i < max; i++)
		printf("  %10" PRIu64 "  %10s  %s\n", s->list[i]->messages,
			text_bytes(bytes, s->list[i]->bytes),
			text_clean(name, sizeof(name), s->list[i]->name,
				strlen(s->list[i]->name)));
	if (s->n > max)
		printf("  and %zu more\n", s->n - max);
}

static void show_text(const struct stats *s, const char *path)
{
	char bytes[16], stored[16], copies[16], from[64], to[64];

	printf("%s\n", path);
	printf("  messages    %" PRIu64 " (%s), %" PRIu64 " not sealed yet\n",
		s->messages, text_bytes(bytes, s->bytes), s->unsealed);
	printf("  on disk     %s in %zu segment%s\n", text_bytes(stored, s->stored),
		s->segments.n, text_s(s->segments.n));
	if (s->first[0])
		printf("  dates       %s to %s\n",
			text_clean(from, sizeof(from), s->first, strlen(s->first)),
			text_clean(to, sizeof(to), s->last, strlen(s->last)));
	printf("  duplicates  %" PRIu64 " (%s): the same bytes are there once more\n",
		s->copies, text_bytes(copies, s->copy_bytes));
	printf("  anomalies   %" PRIu64 " message%s some\n", s->odd,
		s->odd == 1 ? " has" : "s have");
	print_sums("By folder", &s->folders, SIZE_MAX);
	print_sums("By year", &s->years, SIZE_MAX);
	print_sums("Largest senders", &s->senders, SHOWN);
}

static void add_sums(struct buf *b, const char *name, const struct sums *s, size_t max)
{
	size_t i;

	buf_addf(b, ",\"%s\":[", name);
	for (i = 0; i < s->n && i < max; i++) {
		buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
		text_json(b, s->list[i]->name, strlen(s->list[i]->name));
		buf_addf(b, ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
			s->list[i]->messages, s->list[i]->bytes);
	}
	buf_addc(b, ']');
}

static void show_json(const struct stats *s, const char *path)
{
	struct buf b = BUF_INIT(JSON_MAX);

	buf_adds(&b, "{\"archive\":");
	text_json(&b, path, strlen(path));
	buf_addf(&b,
		",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"unsealed\":%" PRIu64
		",\"stored_bytes\":%" PRIu64 ",\"segments\":%zu,\"duplicates\":%" PRIu64
		",\"duplicate_bytes\":%" PRIu64 ",\"with_anomalies\":%" PRIu64
		",\"first\":",
		s->messages, s->bytes, s->unsealed, s->stored, s->segments.n, s->copies,
		s->copy_bytes, s->odd);
	text_json(&b, s->first, strlen(s->first));
	buf_adds(&b, ",\"last\":");
	text_json(&b, s->last, strlen(s->last));
	add_sums(&b, "folders", &s->folders, SIZE_MAX);
	add_sums(&b, "years", &s->years, SIZE_MAX);
	add_sums(&b, "senders", &s->senders, SHOWN);
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

static void show(struct cli *c, struct stats *s, const char *path)
{
	s->stored = sums_files(path, "segments") + sums_files(path, "open");
	sums_sort(&s->folders, false);
	sums_sort(&s->years, false);
	sums_sort(&s->senders, true);
	(c->format == LOG_JSON ? show_json : show_text)(s, path);
}

int cmd_stats(struct cli *c, struct err *err)
{
	struct archive_reader *r = NULL;
	struct stats s = { 0 };
	enum status rc;

	if (c->n_args == 0)
		return cli_bad_usage(c, "stats", "stats needs an ARCHIVE", err);
	rc = choice_make(&s.choice, c->args + 1, c->n_args - 1, err);
	if (rc == ST_OK)
		rc = cli_read(c, &r, cli_archive_path(c->args[0]), err);
	if (rc == ST_OK) {
		rc = archive_each(r, take_row, &s, err);
		/* Of a damaged archive what there is. */
		if (rc == ST_OK || rc == ST_DENIED)
			show(c, &s, cli_archive_path(c->args[0]));
		fflush(stdout);
	}
	archive_done(&r);
	choice_free(&s.choice);
	sums_free(&s.folders);
	sums_free(&s.years);
	sums_free(&s.senders);
	sums_free(&s.segments);
	sums_free(&s.digests);
	return rc < 0 ? cli_archive_failed(c, err) : 0;
}
