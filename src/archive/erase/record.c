/* record.c: records are written, then noted, then listed; whoever comes next finishes
 * it. */
#include "record.h"
#include "../form/custody.h"
#include "disposal.h"
#include "../form/hash.h"
#include "../form/json.h"
#include "../form/statement.h"

#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/fs.h>
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

void record_name(char out[FILE_NAME_MAX], const char *kind, unsigned no)
{
	snprintf(out, FILE_NAME_MAX, "policy/%s-%06u.json", kind,
		no % (RECORD_NO_MAX + 1));
}

enum status record_count(unsigned *n, int dir, const char *kind, struct err *err)
{
	unsigned there = 0, last = 0;
	size_t len = strlen(kind);
	struct names *l;
	const char *file;
	enum status rc = names_open(&l, dir, "policy", err);

	while (rc == ST_OK && (rc = names_next(l, &file, err)) == ST_OK) {
		char want[FILE_NAME_MAX];
		unsigned long no;

		if (strncmp(file, kind, len) != 0 || file[len] != '-')
			continue;
		no = strtoul(file + len + 1, NULL, 10);
		if (no == 0 || no > RECORD_NO_MAX)
			continue;
		record_name(want, kind, (unsigned)no);
		if (strcmp(want + strlen("policy/"), file) != 0)
			continue;
		there++;
		if (no > last)
			last = (unsigned)no;
	}
	names_close(&l);
	*n = last;
	if (rc < 0)
		return err_note(err, "policy");
	if (there != last)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"of the %s records in policy/ up to %u only %u are there: put the "
			"others back from a copy of the archive",
			kind, last, there);
	return ST_OK;
}

enum status record_load(
	char **text, size_t *n, int dir, const char *kind, unsigned no, struct err *err)
{
	char name[FILE_NAME_MAX], is[TOKEN_MAX], want[TOKEN_MAX];
	enum status rc;

	record_name(name, kind, no);
	rc = fs_read(text, n, dir, name, RECORD_MAX, err);
	if (rc < 0)
		return rc;
	snprintf(want, sizeof(want), "mail-archive-%s/1", kind);
	if (rc == ST_END ||
		(strlen(*text) == *n && json_get(is, *text, "type") &&
			strcmp(is, want) == 0))
		return rc;
	free(*text);
	*text = NULL;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"%s is damaged: put it back from a copy of the archive", name);
}

/* ---- writing ---- */

void record_begin(struct buf *b, const struct keeper *k, int64_t now)
{
	char at[24];

	buf_addf(b,
		"{\"agent\":{\"name\":\"popferry\",\"version\":\"" VERSION
		"\"},\"archive\":\"%s\",\"at\":\"%s\"",
		k->policy.id, clock_rfc3339(at, now));
}

enum status record_note(struct keeper *k, const char *kind, const char *event,
	unsigned no, struct err *err)
{
	char name[FILE_NAME_MAX], object[FILE_NAME_MAX], detail[2 * DIGEST + 32],
		hex[2 * DIGEST + 1];
	struct custody_event e = { .event = event,
		.object = object,
		.detail = detail,
		.now = clock_utc(),
		.once = true };
	unsigned char sha[DIGEST];
	enum status rc;

	record_name(name, kind, no);
	snprintf(object, sizeof(object), "%s-%06u", kind, no % (RECORD_NO_MAX + 1));
	rc = hash_file(k->dir, name, sha, NULL, err);
	snprintf(detail, sizeof(detail), "{\"sha256\":\"%s\"}",
		text_hex(hex, sha, DIGEST));
	if (rc == ST_OK)
		rc = custody_add(k->dir, &e, err);
	fault_step("archive-record-noted");
	if (rc == ST_OK)
		rc = manifest_update(k->dir, k->segdir, &k->policy, NULL, err);
	fault_step("archive-record-listed");
	return rc;
}

static enum status open_sub(int *out, int dir, const char *name, struct err *err)
{
	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return err_sys(err, ST_FATAL, "make directory %s", name);
	*out = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *out < 0 ? err_sys(err, ST_FATAL, "open directory %s", name) : ST_OK;
}

/* It counts from when it has its name: whoever is told that this failed must not write
 * another one. */
static enum status stands(
	const struct keeper *k, const char *name, enum status rc, struct err *err)
{
	if (rc < 0 && file_there(k->dir, name, NULL) == ST_OK)
		err_note(err,
			"%s stands and counts, do not make it again; that the log or "
			"manifest-sha256.txt lacks it is made up for by the next change of "
			"the archive",
			name);
	return rc;
}

enum status record_add(struct keeper *k, const char *kind, const char *event,
	const struct buf *text, unsigned *no, struct err *err)
{
	char name[FILE_NAME_MAX];
	int dir = -1;
	enum status rc = record_count(no, k->dir, kind, err);

	if (rc == ST_OK && *no == RECORD_NO_MAX)
		rc = err_set(err, ST_DENIED, EX_CANTCREAT,
			"the archive can have no more %s records", kind);
	if (rc == ST_OK)
		rc = open_sub(&dir, k->dir, "policy", err);
	if (rc == ST_OK) {
		record_name(name, kind, ++*no);
		rc = fs_replace(
			dir, name + strlen("policy/"), text->p, text->n, 0444, err);
	}
	if (dir >= 0)
		close(dir);
	fault_step("archive-record-written");
	if (rc == ST_OK)
		rc = record_note(k, kind, event, *no, err);
	return dir >= 0 ? stands(k, name, rc, err) : rc;
}

/* ---- who may ---- */

struct seen {
	const char *name;
	bool there;
};

static enum status see(
	void *ctx, const char *name, const unsigned char sha[DIGEST], struct err *err)
{
	struct seen *s = ctx;

	(void)sha;
	(void)err;
	s->there = s->there || strcmp(s->name, name) == 0;
	return ST_OK;
}

/* The newest of a kind may have been written and not noted. */
static enum status finish_kind(struct keeper *k, const char *kind, struct err *err)
{
	char name[FILE_NAME_MAX], event[TOKEN_MAX];
	struct seen s = { name, false };
	char *text = NULL;
	unsigned n;
	size_t len;
	enum status rc = record_count(&n, k->dir, kind, err);

	if (rc != ST_OK || n == 0)
		return rc;
	record_name(name, kind, n);
	rc = manifest_each(k->dir, see, &s, err);
	if (rc < 0 || s.there)
		return rc;
	if (rc == ST_END) /* told to whoever writes more */
		return ST_OK;
	rc = record_load(&text, &len, k->dir, kind, n, err);
	if (rc == ST_OK) {
		if (!json_get(event, text, "event"))
			snprintf(event, sizeof(event), "%s", kind);
		rc = record_note(k, kind, event, n, err);
	}
	free(text);
	return rc;
}

enum status keeper_finish(struct keeper *k, struct err *err)
{
	enum status rc = disposal_finish(k, err);

	if (rc == ST_OK)
		rc = finish_kind(k, "hold", err);
	return rc == ST_OK ? finish_kind(k, "retention", err) : rc;
}

enum status keeper_open(struct keeper *k, const char *path,
	const struct identities *ids, struct err *err)
{
	enum status rc;

	*k = (struct keeper){ .dir = -1, .opendir = -1, .segdir = -1, .lock = -1 };
	k->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->dir < 0) {
		rc = err_set(err, ST_DENIED, EX_NOINPUT, "archive %s: %s", path,
			strerror(errno));
		goto out;
	}
	rc = policy_load(&k->policy, k->dir, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"it is no archive: it has no archive.json");
	if (rc == ST_OK)
		rc = open_sub(&k->opendir, k->dir, "open", err);
	if (rc == ST_OK)
		rc = fs_lock(&k->lock, k->opendir, "lock", err);
	if (rc == ST_OK)
		rc = open_sub(&k->segdir, k->dir, "segments", err);
	k->vault = (struct vault){ .segdir = k->segdir,
		.policy = &k->policy,
		.ids = ids && identities_count(ids) ? ids : NULL,
		.tmpdir = k->opendir };
	if (rc == ST_OK)
		rc = keeper_finish(k, err);
	if (rc < 0)
		err_note(err, "archive %s", path);
out:
	if (rc < 0)
		keeper_close(k);
	return rc;
}

enum status keeper_writes(struct keeper *k, const char *path, struct err *err)
{
	struct segment_no *list = NULL;
	struct custody_head head;
	size_t n = 0;
	enum status rc = segments_list(&list, &n, k->segdir, &k->policy, err);

	if (rc == ST_OK)
		rc = statement_vouches(k->dir, &k->policy, n ? list[n - 1].no : 1, err);
	free(list);
	if (rc == ST_OK)
		rc = manifest_there(k->dir, k->segdir, &k->policy, err);
	if (rc == ST_OK)
		rc = custody_last(k->dir, &head, err);
	if (rc == ST_OK && k->policy.crypt != CRYPT_NONE)
		rc = policy_recipients(&k->to, &k->policy, path, true, err);
	k->vault.to = k->to;
	return rc == ST_OK ? rc : err_note(err, "archive %s", path);
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void keeper_close(struct keeper *k)
{
	close_one(&k->segdir);
	close_one(&k->opendir);
	close_one(&k->dir);
	close_one(&k->lock);
	recipients_close(&k->to);
}

/* ---- ranges ---- */

void ranges_add(struct ranges *r, uint64_t seq)
{
	if (r->n && r->p[r->n - 1].last + 1 == seq) {
		r->p[r->n - 1].last = seq;
		return;
	}
	if ((r->n & (r->n - 1)) == 0)
		r->p = xreallocarray(r->p, r->n ? 2 * r->n : 1, sizeof(*r->p));
	r->p[r->n++] = (struct range){ seq, seq };
}

void ranges_text(struct buf *b, const struct ranges *r)
{
	size_t i;

	for (i = 0; i < r->n; i++) {
		buf_addf(b, "%s%" PRIu64, i ? "," : "", r->p[i].first);
		if (r->p[i].last > r->p[i].first)
			buf_addf(b, "-%" PRIu64, r->p[i].last);
	}
}

bool ranges_read(struct ranges *r, const char *s)
{
	*r = (struct ranges){ 0 };
	while (*s) {
		char *end;
		struct range one;

		one.first = one.last = strtoull(s, &end, 10);
		if (end == s)
			return false;
		s = end;
		if (*s == '-') {
			one.last = strtoull(s + 1, &end, 10);
			if (end == s + 1)
				return false;
			s = end;
		}
		if (one.last < one.first || (*s && *s != ',') ||
			(r->n && r->p[r->n - 1].last >= one.first))
			return false;
		s += *s == ',';
		if ((r->n & (r->n - 1)) == 0)
			r->p = xreallocarray(r->p, r->n ? 2 * r->n : 1, sizeof(*r->p));
		r->p[r->n++] = one;
	}
	return true;
}

bool ranges_have(const struct ranges *r, uint64_t seq)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->p[mid].last < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->n && r->p[lo].first <= seq;
}

void ranges_free(struct ranges *r)
{
	free(r->p);
	*r = (struct ranges){ 0 };
}
