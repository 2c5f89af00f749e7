/* cmd_stats.c: an archive in numbers. */
#include <popferry/buf.h>
#include <popferry/export.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOWN = 10, LABEL = 256, JSON_MAX = 16 * 1024 * 1024 };

struct sum {
	char *name;
	uint64_t messages, bytes;
};

/* Sums by name; a tree while they grow, a list when they are shown. */
struct sums {
	void *tree;
	struct sum **list;
	size_t n;
};

struct stats {
	struct choice *choice;
	uint64_t messages, bytes, unsealed, odd;
	uint64_t copies, copy_bytes; /* messages whose bytes are there already */
	uint64_t stored;             /* bytes of segments/ and open/ */
	struct sums folders, years, senders, digests, segments;
	char first[40], last[40];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sum *)a)->name, ((const struct sum *)b)->name);
}

static struct sum *sum_of(struct sums *s, const char *name)
{
	struct sum key = { .name = (char *)(uintptr_t)name }, **at, *new;

	at = tfind(&key, &s->tree, by_name);
	if (at)
		return *at;
	new = xcalloc(1, sizeof(*new));
	new->name = xstrdup(name);
	if (!tsearch(new, &s->tree, by_name))
		xmemory_gone();
	if (s->n % 1024 == 0)
		s->list = xreallocarray(s->list, s->n + 1024, sizeof(struct sum *));
	s->list[s->n++] = new;
	return new;
}

static struct sum *add(struct sums *s, const char *name, uint64_t bytes)
{
	struct sum *sum = sum_of(s, name);

	sum->messages++;
	sum->bytes += bytes;
	return sum;
}

static void nothing(void *p)
{
	(void)p;
}

static void sums_free(struct sums *s)
{
	tdestroy(s->tree, nothing);
	while (s->n--) {
		free(s->list[s->n]->name);
		free(s->list[s->n]);
	}
	free(s->list);
}

/* ---- collecting ---- */

/* The address in a From field, in lower case. */
static void address(char out[LABEL], const char *from)
{
	const char *open = strrchr(from, '<'), *s = open ? open + 1 : from;
	size_t n = open ? strcspn(s, ">") : strlen(s), i;

	text_clean(out, LABEL, s, n);
	for (i = 0; out[i]; i++)
		if (out[i] >= 'A' && out[i] <= 'Z')
			out[i] = (char)(out[i] - 'A' + 'a');
	if (out[0] == '\0')
		snprintf(out, LABEL, "(none)");
}

static enum status take_row(void *ctx, const struct archive_row *row, struct err *err)
{
	char sender[LABEL], year[8];
	struct stats *s = ctx;

	(void)err;
	if (!choice_has(s->choice, row))
		return ST_OK;
	s->messages++;
	s->bytes += row->size;
	s->unsealed += !row->sealed;
	s->odd += row->anomalies[0] != '\0';
	snprintf(year, sizeof(year), "%.4s", row->date[0] ? row->date : "none");
	address(sender, row->from);
	add(&s->folders, row->folder, row->size);
	add(&s->years, year, row->size);
	add(&s->senders, sender, row->size);
	add(&s->segments, row->segment, row->size);
	if (add(&s->digests, row->sha256, row->size)->messages > 1) {
		s->copies++;
		s->copy_bytes += row->size;
	}
	if (row->date_utc[0] && (!s->first[0] || strcmp(row->date_utc, s->first) < 0))
		snprintf(s->first, sizeof(s->first), "%.30s", row->date_utc);
	if (row->date_utc[0] && strcmp(row->date_utc, s->last) > 0)
		snprintf(s->last, sizeof(s->last), "%.30s", row->date_utc);
	return ST_OK;
}

static uint64_t files_in(const char *archive, const char *folder)
{
	char *path = xasprintf("%s/%s", archive, folder);
	DIR *d = opendir(path);
	uint64_t bytes = 0;
	struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d)))
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	if (d)
		closedir(d);
	free(path);
	return bytes;
}

/* ---- showing ---- */

static int larger_first(const void *a, const void *b)
{
	const struct sum *x = *(struct sum *const *)a, *y = *(struct sum *const *)b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return strcmp(x->name, y->name);
}

static int in_order(const void *a, const void *b)
{
	return by_name(*(struct sum *const *)a, *(struct sum *const *)b);
}

static void sort(struct sums *s, int (*how)(const void *, const void *))
{
	if (s->n)
		qsort(s->list, s->n, sizeof(*s->list), how);
}

static void print_sums(const char *title, const struct sums *s, size_t max)
{
	char name[LABEL], bytes[16];
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
		s->segments.n, s->segments.n == 1 ? "" : "s");
	if (s->first[0])
		printf("  dates       %s to %s\n",
			text_clean(from, sizeof(from), s->first, strlen(s->first)),
			text_clean(to, sizeof(to), s->last, strlen(s->last)));
	printf("  duplicates  %" PRIu64 " (%s): the same bytes are there once more\n",
		s->copies, text_bytes(copies, s->copy_bytes));
	printf("  anomalies   %" PRIu64 " messages have some\n", s->odd);
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
	s->stored = files_in(path, "segments") + files_in(path, "open");
	sort(&s->folders, in_order);
	sort(&s->years, in_order);
	sort(&s->senders, larger_first);
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
		rc = archive_read(&r, cli_archive_path(c->args[0]), err);
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
