/* anchor.c: log/custody.head, which keeps how far the log went. */
#include "anchor.h"
#include "hash.h"
#include "json.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANCHOR_MAX = 256 };
static const char custody[] = CUSTODY_LOG, anchor[] = "log/custody.head";

static void anchor_text(struct buf *b, const struct custody_head *h)
{
	char hex[2 * DIGEST + 1];

	buf_addf(b, "{\"events\":%" PRIu64 ",\"head\":\"%s\"}\n", h->events,
		text_hex(hex, h->sha, DIGEST));
}

enum status custody_anchor(int dir, struct custody_head *out, struct err *err)
{
	struct buf b = BUF_INIT(ANCHOR_MAX);
	char *text = NULL;
	size_t n = 0;
	enum status rc = file_real(dir, anchor, err);

	memset(out, 0, sizeof(*out));
	if (rc == ST_OK)
		rc = fs_read(&text, &n, dir, anchor, ANCHOR_MAX, err);
	if (rc != ST_OK)
		return rc;
	if (json_number(&out->events, text, "events") && out->events &&
		json_hex(out->sha, DIGEST, text, "head"))
		anchor_text(&b, out);
	if (b.n != n || memcmp(buf_str(&b), text, n) != 0)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is damaged: put log/ back from a copy of the archive",
			anchor);
	buf_free(&b);
	free(text);
	return rc;
}

char *anchor_astray(
	const struct custody_head *a, uint64_t events, const unsigned char sha[DIGEST])
{
	if (events < a->events)
		return xasprintf("%s has lost lines: %s tells of %" PRIu64
				 " event%s, it has %" PRIu64,
			custody, anchor, a->events, text_s(a->events), events);
	if (memcmp(sha, a->sha, DIGEST) == 0)
		return NULL;
	return xasprintf("%s: line %" PRIu64 " or one before it was changed: %s has "
			 "another SHA-256 of it",
		custody, a->events, anchor);
}

/* Of line n, if there is one. */
static enum status line_digest(
	unsigned char out[DIGEST], int dir, uint64_t n, struct err *err)
{
	char *text = NULL, *s, *end;
	size_t len = 0;
	enum status rc = fs_read(&text, &len, dir, custody, CUSTODY_MAX, err);

	for (s = text; rc == ST_OK && (end = memchr(s, '\n', (size_t)(text + len - s)));
		s = end + 1)
		if (--n == 0) {
			hash_of(s, (size_t)(end - s), out);
			break;
		}
	free(text);
	return rc < 0 ? rc : ST_OK;
}

/* Its line is made before the anchor of the line before that is left behind. So the
 * first event may have none. */
static enum status without_anchor(
	int dir, const struct custody_head *last, struct err *err)
{
	struct policy p;

	if (last->events <= 1 || policy_load(&p, dir, NULL) != ST_OK || !p.log_head)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"%s is missing: put log/ back from a copy of the archive", anchor);
}

enum status anchor_compare(int dir, const struct custody_head *a,
	const struct custody_head *last, struct err *err)
{
	unsigned char sha[DIGEST] = { 0 };
	enum status rc = ST_OK;
	char *what;

	if (!a)
		return without_anchor(dir, last, err);
	if (a->events == last->events)
		memcpy(sha, last->sha, DIGEST);
	else if (a->events < last->events)
		rc = line_digest(sha, dir, a->events, err);
	what = rc == ST_OK ? anchor_astray(a, last->events, sha) : NULL;
	if (what)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s: put log/ back from a copy of the archive", what);
	free(what);
	return rc;
}

static bool is_leftover(const char *name)
{
	size_t n = strlen(name);

	return text_starts(name, ".custody.head.") && n > 4 &&
		strcmp(name + n - 4, ".new") == 0;
}

/* Of those who died while they made one. Whoever makes one has the log's lock. */
static enum status sweep(int logdir, struct err *err)
{
	struct names *l;
	const char *name;
	enum status rc = names_open(&l, logdir, ".", err);

	while (rc == ST_OK && (rc = names_next(l, &name, err)) == ST_OK)
		if (is_leftover(name) && unlinkat(logdir, name, 0) < 0)
			rc = err_sys(err, ST_FATAL, "remove log/%s", name);
	names_close(&l);
	return rc < 0 ? rc : ST_OK;
}

enum status anchor_put(
	int dir, const struct custody_head *h, bool after_death, struct err *err)
{
	const char *name = anchor + strlen("log/");
	struct buf b = BUF_INIT(ANCHOR_MAX);
	int fd = openat(dir, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	enum status rc = ST_OK;

	if (fd < 0)
		return err_sys(err, ST_FATAL, "log");
	if (after_death)
		rc = sweep(fd, err);
	anchor_text(&b, h);
	if (rc == ST_OK)
		rc = fs_replace(fd, name, b.p, b.n, 0644, err);
	/* Whoever owns the log must read what another user, whose umask is strict, made
	 * anew. */
	if (rc == ST_OK && fchmodat(fd, name, 0644, 0) < 0)
		rc = err_sys(err, ST_FATAL, "%s", anchor);
	buf_free(&b);
	close(fd);
	return rc;
}
