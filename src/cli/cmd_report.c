/* cmd_report.c: a page about an archive, for people. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/sign.h>
#include <popferry/text.h>

#include "cli.h"
#include "page.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LISTED = 1000, SEAL_MAX = 1024 * 1024 };

const struct option report_options[] = {
	{ "html", "FILE", "where the page goes; - is standard output" },
	{ "limit", "N", "list no more messages than these; 1000" },
	{ "verify", NULL, "verify all of the archive first, and say so on the page" },
	{ NULL, NULL, NULL },
};

struct report {
	const struct cli *c;
	const char *path, *target;
	struct page page;
	struct sums digests;
	int dir; /* of the seals */
	struct err damage;
};

/* ---- counting ---- */

static void count_anomalies(struct page *p, const char *words, uint64_t size)
{
	char word[SUM_LABEL];

	for (;;) {
		size_t n;

		words += strspn(words, " ");
		n = strcspn(words, " ");
		if (n == 0)
			return;
		text_clean(word, sizeof(word), words, n);
		sums_add(&p->anomalies, word, size);
		words += n;
	}
}

static enum status count_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct report *r = ctx;
	struct page *p = &r->page;
	char sender[SUM_LABEL], month[8];

	(void)err;
	p->messages++;
	p->bytes += row->size;
	p->unsealed += !row->sealed;
	p->odd += row->anomalies[0] != '\0';
	snprintf(month, sizeof(month), "%.7s",
		strspn(row->date, "0123456789-") >= 7 ? row->date : "none");
	sums_address(sender, row->from);
	sums_add(&p->folders, row->folder, row->size);
	sums_add(&p->months, month, row->size);
	sums_add(&p->senders, sender, row->size);
	sums_add(&p->segments, row->segment, row->size);
	count_anomalies(p, row->anomalies, row->size);
	if (sums_add(&r->digests, row->sha256, row->size)->messages > 1) {
		p->copies++;
		p->copy_bytes += row->size;
	}
	if (row->date_utc[0] && (!p->first[0] || strcmp(row->date_utc, p->first) < 0))
		snprintf(p->first, sizeof(p->first), "%.30s", row->date_utc);
	if (row->date_utc[0] && strcmp(row->date_utc, p->last) > 0)
		snprintf(p->last, sizeof(p->last), "%.30s", row->date_utc);
	return ST_OK;
}

static enum status list_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct report *r = ctx;

	(void)err;
	page_message(&r->page, row);
	return r->page.listed < r->page.limit ? ST_OK : ST_END;
}

/* ---- seals ---- */

/* The value of a key, which is there once in a seal; the quotes go. "": none, or
 * null. */
static void seal_value(char *out, size_t cap, const char *json, const char *key)
{
	char *find = xasprintf("\"%s\":", key);
	const char *s = strstr(json, find);
	size_t n;

	out[0] = '\0';
	s = s ? s + strlen(find) : "";
	free(find);
	n = *s == '"' ? strcspn(s + 1, "\"") : strspn(s, "0123456789");
	text_clean(out, cap, *s == '"' ? s + 1 : s, n);
}

static void add_seal(void *ctx, const char *name, const struct sign_state *state)
{
	struct report *r = ctx;
	struct page *p = &r->page;
	struct page_seal *s;
	char *json = NULL;
	size_t n;

	if (p->n_seals % 64 == 0)
		p->seals = xreallocarray(p->seals, p->n_seals + 64, sizeof(*p->seals));
	s = &p->seals[p->n_seals++];
	memset(s, 0, sizeof(*s));
	s->state = *state;
	text_clean(s->name, sizeof(s->name), name, strlen(name));
	if (fs_read(&json, &n, r->dir, name, SEAL_MAX, NULL) != ST_OK)
		return;
	seal_value(s->sealed_at, sizeof(s->sealed_at), json, "sealed_at");
	seal_value(s->first, sizeof(s->first), json, "first");
	seal_value(s->last, sizeof(s->last), json, "last");
	seal_value(s->count, sizeof(s->count), json, "count");
	seal_value(s->root, sizeof(s->root), json, "root");
	seal_value(s->listed, sizeof(s->listed), json, "listed");
	seal_value(s->stored, sizeof(s->stored), json, "stored");
	seal_value(s->failed, sizeof(s->failed), json, "failed");
	snprintf(s->segment, sizeof(s->segment), "%.*s", (int)strcspn(s->name, "."),
		s->name);
	free(json);
}

static enum status look_at_seals(struct report *r, struct err *err)
{
	char *dir = xasprintf("%s/seals", r->path);
	struct sign_trust *trust = NULL;
	struct err why = ERR_INIT;
	enum status rc;

	r->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (r->dir < 0)
		return ST_OK; /* of version 0.1.0 */
	rc = sign_trust_open(&trust, NULL, NULL, &why);
	if (rc == ST_OK)
		rc = sign_check_archive(r->path, trust, add_seal, r, &why);
	sign_trust_close(&trust);
	close(r->dir);
	/* What is wrong stands in its row. */
	if (rc < 0 && why.exit != EX_DATAERR)
		return err_set(err, rc, why.exit, "%s", why.text);
	if (rc < 0 && r->damage.status == ST_OK)
		r->damage = why;
	return ST_OK;
}

/* ---- verifying ---- */

static void bad(void *ctx, const char *what)
{
	struct report *r = ctx;

	if (r->damage.status == ST_OK)
		err_set(&r->damage, ST_DENIED, EX_DATAERR, "%s", what);
	if (r->c->format == LOG_JSON)
		log_error(NULL, "damaged", LOG_S("what", what));
	else
		fprintf(stderr, "popferry: damaged: %s\n", what);
}

static enum status verify(struct report *r, struct archive_reader *a, struct err *err)
{
	struct archive_check k = { 0 };
	struct err why = ERR_INIT;
	enum status rc = archive_verify(a, &k, bad, r, &why);
	char at[24];

	if (rc < 0 && why.exit != EX_DATAERR)
		return err_set(err, rc, why.exit, "%s", why.text);
	if (rc < 0 && r->damage.status == ST_OK)
		r->damage = why;
	snprintf(r->page.verified, sizeof(r->page.verified),
		"%s, at %s: %" PRIu64 " message%s and %" PRIu64 " seal%s good%s",
		r->path, clock_rfc3339(at, clock_utc()), k.messages, text_s(k.messages),
		k.seals, text_s(k.seals), k.damaged ? ", NOT ALL" : "");
	return ST_OK;
}

/* ---- the page ---- */

static enum status write_page(
	struct report *r, struct archive_reader *a, FILE *f, struct err *err)
{
	enum status rc;

	r->page.f = f;
	r->page.damage = r->damage.status == ST_OK ? NULL : r->damage.text;
	page_begin(&r->page);
	rc = r->page.limit ? archive_each(a, list_row, r, err) : ST_OK;
	page_end(&r->page);
	if (rc < 0 && err->exit != EX_DATAERR)
		return rc;
	if (fflush(f) != 0 || ferror(f))
		return err_sys(err, ST_FATAL, "write %s", r->target);
	return ST_OK;
}

/* Under another name until it is whole. */
static enum status write_file(
	struct report *r, struct archive_reader *a, struct err *err)
{
	char *temp = xasprintf("%s.part-%ld", r->target, (long)getpid());
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	enum status rc = f ? write_page(r, a, f, err)
			   : err_sys(err, ST_FATAL, "create %s", r->target);

	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync %s", temp);
	if (f)
		fclose(f);
	if (rc == ST_OK && rename(temp, r->target) < 0)
		rc = err_sys(err, ST_FATAL, "create %s", r->target);
	if (rc != ST_OK && f)
		unlink(temp);
	free(temp);
	return rc;
}

static void note_reported(const struct report *r)
{
	struct err err = ERR_INIT;
	char *detail = xasprintf("{\"listed\":%" PRIu64 ",\"messages\":%" PRIu64 "}",
		r->page.listed, r->page.messages);

	if (archive_note(r->path, "report", r->target, detail, &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(r->c, &err);
	}
	free(detail);
}

static enum status make(struct report *r, struct archive_reader *a, struct err *err)
{
	struct err why = ERR_INIT;
	bool out = strcmp(r->target, "-") == 0;
	enum status rc = ST_OK;

	r->page.path = r->path;
	r->page.id = archive_read_id(a);
	r->page.stored = sums_files(r->path, "segments") + sums_files(r->path, "open");
	if (cli_option(r->c, "verify"))
		rc = verify(r, a, err);
	if (rc == ST_OK) {
		rc = archive_each(a, count_row, r, &why);
		if (rc < 0 && why.exit != EX_DATAERR)
			return err_set(err, rc, why.exit, "%s", why.text);
		if (rc < 0 && r->damage.status == ST_OK)
			r->damage = why;
		rc = look_at_seals(r, err);
	}
	if (rc == ST_OK)
		rc = out ? write_page(r, a, stdout, err) : write_file(r, a, err);
	if (rc != ST_OK)
		return rc;
	note_reported(r);
	if (r->damage.status != ST_OK)
		return err_set(err, ST_DENIED, EX_DATAERR, "%s", r->damage.text);
	if (!out && r->c->verbosity >= 0 && r->c->format != LOG_JSON)
		printf("%s: %" PRIu64 " message%s, %" PRIu64 " of them listed\n",
			r->target, r->page.messages, text_s(r->page.messages),
			r->page.listed);
	return ST_OK;
}

int cmd_report(struct cli *c, struct err *err)
{
	struct report r = {
		.c = c, .target = cli_option(c, "html"), .damage = ERR_INIT
	};
	const char *limit = cli_option(c, "limit");
	struct archive_reader *a = NULL;
	char *end = NULL;
	enum status rc;

	if (c->n_args != 1 || !r.target || !*r.target)
		return cli_bad_usage(
			c, "report", "report needs an ARCHIVE and --html FILE", err);
	r.page.limit = limit ? strtoull(limit, &end, 10) : LISTED;
	if (limit && (*limit < '0' || *limit > '9' || *end))
		return cli_bad_usage(c, "report", "--limit: expected a number", err);
	r.path = cli_archive_path(c->args[0]);
	rc = cli_read(c, &a, r.path, err);
	if (rc == ST_OK)
		rc = make(&r, a, err);
	archive_done(&a);
	sums_free(&r.page.folders);
	sums_free(&r.page.months);
	sums_free(&r.page.senders);
	sums_free(&r.page.anomalies);
	sums_free(&r.page.segments);
	sums_free(&r.digests);
	free(r.page.seals);
	return rc < 0 ? cli_archive_failed(c, err) : 0;
}
