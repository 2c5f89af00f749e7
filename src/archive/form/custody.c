/* custody.c: events are appended, synced and chained; a torn last line never was
 * one. */
#include "anchor.h"
#include "hash.h"
#include "json.h"

#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	LINE_MAX_BYTES = 64 * 1024,
	THIS = 2 * DIGEST + 11, /* ,"this":".."} */
	TRIES = 100,
	PAUSE = 20,
	NAME_BYTES = 128,
};
static const char custody[] = CUSTODY_LOG;

/* ---- who ---- */

static void who(char user[NAME_BYTES], char host[NAME_BYTES])
{
	struct passwd pw, *found = NULL;
	char room[4096];

	memset(host, 0, NAME_BYTES);
	if (gethostname(host, NAME_BYTES - 1) < 0)
		host[0] = '\0';
	user[0] = '\0';
	if (getpwuid_r(geteuid(), &pw, room, sizeof(room), &found) == 0 && found)
		text_clean(user, NAME_BYTES, found->pw_name, strlen(found->pw_name));
}

void custody_operator(struct buf *b)
{
	char user[NAME_BYTES], host[NAME_BYTES];

	who(user, host);
	buf_adds(b, "{\"host\":");
	text_json(b, host, strlen(host));
	buf_adds(b, ",\"user\":");
	text_json(b, user, strlen(user));
	buf_addc(b, '}');
}

static void add_actor(struct buf *b)
{
	char user[NAME_BYTES], host[NAME_BYTES], *actor;

	who(user, host);
	actor = xasprintf("%lu/%s@%s", (unsigned long)geteuid(), user, host);
	text_json(b, actor, strlen(actor));
	free(actor);
}

/* ---- the last line ---- */

struct last {
	char *line; /* NULL: there is none */
	uint64_t end;
	struct custody_head head;
};

static enum status damaged(struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"%s is damaged at its end: put it back from a copy of the archive",
		custody);
}

static enum status read_last(struct last *l, int fd, struct err *err)
{
	size_t room = 2 * LINE_MAX_BYTES, from;
	uint64_t start;
	struct stat st;
	ssize_t got;

	memset(l, 0, sizeof(*l));
	if (fstat(fd, &st) < 0)
		return err_sys(err, ST_FATAL, "%s", custody);
	start = (uint64_t)st.st_size > room ? (uint64_t)st.st_size - room : 0;
	l->line = xmalloc(room + 1);
	got = fs_pread(fd, l->line, room, start);
	if (got < 0)
		return err_sys(err, ST_FATAL, "read %s", custody);
	while (got && l->line[got - 1] != '\n')
		got--;
	l->end = start + (uint64_t)got;
	if (got == 0)
		return start ? damaged(err) : ST_OK;
	l->line[--got] = '\0';
	for (from = (size_t)got; from && l->line[from - 1] != '\n';)
		from--;
	hash_of(l->line + from, (size_t)got - from, l->head.sha);
	memmove(l->line, l->line + from, (size_t)got - from + 1);
	return json_number(&l->head.events, l->line, "n") && l->head.events
		? ST_OK
		: damaged(err);
}

/* ---- appending ---- */

static bool is_last(const struct last *l, const struct custody_event *e)
{
	char event[TOKEN_MAX], object[TOKEN_MAX];

	return l->head.events && json_get(event, l->line, "event") &&
		json_get(object, l->line, "object") && strcmp(event, e->event) == 0 &&
		strcmp(object, e->object) == 0;
}

/* The log ends with it then. */
static enum status append(
	int fd, struct last *l, const struct custody_event *e, struct err *err)
{
	struct buf b = BUF_INIT(LINE_MAX_BYTES);
	char hex[2 * DIGEST + 1], at[24];
	unsigned char sum[DIGEST];
	enum status rc = ST_OK;
	bool fits;

	buf_adds(&b, "{\"actor\":");
	add_actor(&b);
	buf_addf(&b, ",\"detail\":%s,\"event\":", e->detail);
	text_json(&b, e->event, strlen(e->event));
	buf_addf(&b, ",\"n\":%" PRIu64 ",\"object\":", l->head.events + 1);
	text_json(&b, e->object, strlen(e->object));
	buf_addf(&b, ",\"prev\":\"%s\",\"t\":\"%s\"",
		text_hex(hex, l->head.sha, DIGEST), clock_rfc3339(at, e->now));
	hash_of(b.p, b.n, sum);
	fits = buf_addf(&b, ",\"this\":\"%s\"}\n", text_hex(hex, sum, DIGEST));
	if (!fits)
		rc = err_set(err, ST_FATAL, EX_SOFTWARE, "%s: an event is too long",
			custody);
	else if (ftruncate(fd, (off_t)l->end) < 0 ||
		lseek(fd, (off_t)l->end, SEEK_SET) < 0)
		rc = err_sys(err, ST_FATAL, "%s", custody);
	if (rc == ST_OK && fs_write(fd, b.p, b.n, err) < 0)
		rc = err_note(err, "%s", custody);
	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync %s", custody);
	if (rc == ST_OK) {
		l->head.events++;
		hash_of(b.p, b.n - 1, l->head.sha);
	} else if (ftruncate(fd, (off_t)l->end) < 0) {
		errno = 0; /* half a line, as after a power cut */
	}
	buf_free(&b);
	return rc;
}

static enum status sync_folder(int dir, struct err *err)
{
	int fd = openat(dir, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum status rc;

	if (fd < 0)
		return err_sys(err, ST_FATAL, "log");
	rc = fs_sync_dir(fd, err);
	close(fd);
	return rc;
}

/* An event takes no time: who has the lock for long is stuck. */
static enum status lock(int fd, struct err *err)
{
	int i;

	for (i = 0; i < TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return ST_OK;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(err, ST_FATAL, "lock %s", custody);
		clock_sleep(PAUSE);
	}
	return err_set(err, ST_DENIED, EX_TEMPFAIL,
		"%s is locked by another process: try again when it has ended",
		custody);
}

/* What a death left behind is made up for, then it is one event more. */
static enum status add(
	int dir, int fd, struct last *l, const struct custody_event *e, struct err *err)
{
	struct custody_head a;
	enum status rc = custody_anchor(dir, &a, err);
	bool first, has = rc == ST_OK;

	if (rc >= 0)
		rc = read_last(l, fd, err);
	if (rc == ST_OK)
		rc = anchor_compare(dir, has ? &a : NULL, &l->head, err);
	first = l->head.events == 0;
	if (rc == ST_OK && a.events < l->head.events)
		rc = anchor_put(dir, &l->head, true, err);
	if (rc != ST_OK || (e->once && is_last(l, e)))
		return rc;
	rc = append(fd, l, e, err);
	if (rc == ST_OK && first)
		rc = sync_folder(dir, err);
	fault_step("archive-custody-added");
	return rc == ST_OK ? anchor_put(dir, &l->head, false, err) : rc;
}

enum status custody_add(int dir, const struct custody_event *e, struct err *err)
{
	int fd = openat(dir, custody,
		O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct last l = { 0 };
	enum status rc;

	if (fd < 0)
		return err_sys(err, ST_FATAL, "open %s", custody);
	rc = lock(fd, err);
	if (rc == ST_OK)
		rc = add(dir, fd, &l, e, err);
	close(fd);
	free(l.line);
	fault_step("archive-custody");
	return rc;
}

enum status custody_last(int dir, struct custody_head *out, struct err *err)
{
	struct custody_head a;
	struct last l = { 0 };
	/* Before the log: that may grow meanwhile. */
	enum status rc = custody_anchor(dir, &a, err);
	bool has = rc == ST_OK;
	int fd = -1;

	memset(out, 0, sizeof(*out));
	if (rc < 0)
		return rc;
	rc = ST_OK;
	fd = openat(dir, custody, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno != ENOENT)
		return err_sys(err, ST_FATAL, "open %s", custody);
	if (fd >= 0)
		rc = read_last(&l, fd, err);
	if (rc == ST_OK)
		rc = anchor_compare(dir, has ? &a : NULL, &l.head, err);
	if (rc == ST_OK)
		*out = l.head;
	if (fd >= 0)
		close(fd);
	free(l.line);
	return rc;
}

/* What was looked for, the digest of a message: a digest of these could be guessed. */
static bool tells_of_mail(const char *event)
{
	return strcmp(event, "search") == 0 || strcmp(event, "prove") == 0;
}

static bool is_encrypted(int dir)
{
	struct policy p;

	return policy_load(&p, dir, NULL) != ST_OK || p.crypt != CRYPT_NONE;
}

enum status archive_note(const char *path, const char *event, const char *object,
	const char *detail, struct err *err)
{
	struct custody_event e = { .event = event,
		.object = object,
		.detail = detail ? detail : "{}",
		.now = clock_utc() };
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum status rc = ST_END;

	if (dir >= 0 && tells_of_mail(event) && is_encrypted(dir))
		e.detail = "{}";
	if (dir >= 0 && faccessat(dir, custody, W_OK, AT_EACCESS) == 0 &&
		faccessat(dir, "log", W_OK, AT_EACCESS) == 0)
		rc = custody_add(dir, &e, err);
	if (dir >= 0)
		close(dir);
	return rc;
}

/* ---- reading it through ---- */

/* What is wrong with the line, or NULL. */
static const char *line_wrong(
	const char *line, size_t len, const struct custody_head *before)
{
	unsigned char prev[DIGEST], this[DIGEST], is[DIGEST];
	uint64_t n;

	if (len <= THIS || strlen(line) != len || !json_number(&n, line, "n") ||
		!json_hex(prev, DIGEST, line, "prev") ||
		!json_hex(this, DIGEST, line, "this"))
		return "it is no event";
	hash_of(line, len - THIS, is);
	if (memcmp(is, this, DIGEST) != 0)
		return "it was changed: its own SHA-256 is another";
	if (n != before->events + 1)
		return "lines before it are missing, or it stands here twice";
	if (memcmp(prev, before->sha, DIGEST) != 0)
		return "it does not follow from the line before: that one was changed, or "
		       "this one";
	return NULL;
}

struct walk {
	struct custody_head anchor;
	bool anchored;
	unsigned char there[DIGEST]; /* of the line that the anchor tells of */
	bool broken;
	void (*each)(void *ctx, const struct custody_head *at, const char *line);
	void (*bad)(void *ctx, const char *what);
	void *ctx;
};

static void walk_bad(struct walk *w, char *what)
{
	w->bad(w->ctx, what);
	w->broken = true;
	free(what);
}

static void walk(struct walk *w, struct custody_head *out, char *text, size_t n)
{
	char *s, *end;
	const char *why;

	for (s = text; (end = memchr(s, '\n', (size_t)(text + n - s))); s = end + 1) {
		*end = '\0';
		why = line_wrong(s, (size_t)(end - s), out);
		if (why) {
			walk_bad(w,
				xasprintf("%s, line %" PRIu64 ": %s", custody,
					out->events + 1, why));
			return;
		}
		out->events++;
		hash_of(s, (size_t)(end - s), out->sha);
		if (out->events == w->anchor.events)
			memcpy(w->there, out->sha, DIGEST);
		w->each(w->ctx, out, s);
	}
	if (s < text + n || n == 0) {
		walk_bad(w, xasprintf("%s: its last line is cut", custody));
		w->broken = false; /* those before it count */
	}
}

/* What is no file, or no anchor, is a finding; what keeps us from looking is not. */
static enum status found(struct walk *w, enum status rc, struct err *err)
{
	if (rc >= 0 || err->exit != EX_DATAERR)
		return rc;
	walk_bad(w, xstrdup(err->text));
	*err = (struct err)ERR_INIT;
	return ST_OK;
}

enum status custody_check(int dir, struct custody_head *out,
	void (*each)(void *ctx, const struct custody_head *at, const char *line),
	void (*bad)(void *ctx, const char *what), void *ctx, struct err *err)
{
	struct walk w = { .each = each, .bad = bad, .ctx = ctx };
	struct err why = ERR_INIT;
	char *text = NULL, *what;
	size_t n = 0;
	/* Before the log: that may grow meanwhile. */
	enum status rc = custody_anchor(dir, &w.anchor, &why);

	memset(out, 0, sizeof(*out));
	w.anchored = rc == ST_OK;
	rc = found(&w, rc, &why);
	if (rc >= 0)
		rc = file_real(dir, custody, &why);
	if (rc == ST_OK)
		rc = fs_read(&text, &n, dir, custody, CUSTODY_MAX, &why);
	rc = found(&w, rc, &why);
	if (rc < 0)
		return err_set(err, rc, why.exit, "%s", why.text);
	if (text)
		walk(&w, out, text, n);
	if (w.anchored && !w.broken &&
		(what = anchor_astray(&w.anchor, out->events, w.there)))
		walk_bad(&w, what);
	free(text);
	return rc;
}
