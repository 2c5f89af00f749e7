/* reader.c: what is in an archive, without a lock. */
#include "reader.h"
#include "../form/csv.h"
#include "../erase/disposition.h"
#include "../form/hash.h"
#include "../form/segment.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A writer at work may seal between two looks; then a third one is needed. */
enum { LOOKS = 20, LOOK_PAUSE = 20, LISTED_MAX = 512 * 1024 * 1024 };

enum status reader_open_sealed(struct bytes **b, const struct archive_reader *r,
	const struct sealed *s, struct err *err)
{
	return vault_open(b, &r->vault, s->file, err);
}

enum status reader_open_once(struct bytes **b, struct archive_reader *r,
	const struct sealed *s, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;

	*b = NULL;
	if (r->lost == s)
		return err_set(err, ST_DENIED, r->why.exit, "%s", r->why.text);
	rc = reader_open_sealed(b, r, s, &why);
	if (rc == ST_DENIED) {
		r->lost = s;
		r->why = why;
	}
	return rc == ST_OK ? rc : err_set(err, rc, why.exit, "%s", why.text);
}

/* Is it in a record of a disposal, be it of one that is not ended? */
static bool is_disposed(const struct archive_reader *r, uint64_t seq)
{
	struct disposition d;
	unsigned no = 0;
	bool yes = false;

	if (disposition_pending(&d, r->dir, NULL) == ST_OK) {
		yes = ranges_have(&d.seqs, seq);
		disposition_free(&d);
	}
	record_count(&no, r->dir, "disposition", NULL);
	for (; !yes && no; no--)
		if (disposition_load(&d, r->dir, no, NULL) == ST_OK) {
			yes = ranges_have(&d.seqs, seq);
			disposition_free(&d);
		}
	return yes;
}

enum status reader_gone(const struct archive_reader *r, uint64_t seq, struct err *err)
{
	if (!is_disposed(r, seq))
		return err_set(err, ST_DENIED, EX_DATAERR,
			"message %" PRIu64
			" is gone, and no record in policy/ tells of that",
			seq);
	return err_set(err, ST_DENIED, EX_PARTIAL,
		"message %" PRIu64
		" was disposed of: the records in policy/ tell when and by whose authority",
		seq);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- a look at it ---- */

static enum status list_sealed(struct archive_reader *r, struct err *err)
{
	struct segment_no *list = NULL;
	size_t n, i;
	enum status rc = segments_list(&list, &n, r->segdir, &r->policy, err);

	free(r->sealed);
	r->sealed = xcalloc(n, sizeof(*r->sealed));
	r->sealed_n = r->idx_of = n;
	for (i = 0; i < n; i++) {
		struct sealed *s = &r->sealed[i];

		s->no = list[i].no;
		s->revision = list[i].revision;
		segment_name(s->name, &r->policy, s->no);
		segment_stem(s->stem, &r->policy, list[i]);
		file_name(s->file, s->stem, segment_suffix(&r->policy));
	}
	free(list);
	return rc;
}

static unsigned last_sealed(const struct archive_reader *r)
{
	return r->sealed_n ? r->sealed[r->sealed_n - 1].no : 0;
}

/* ST_RETRY: a file is gone or not there yet, since a writer is at work. */
static enum status open_data(struct open_file *f, int opendir, const char *name,
	const unsigned char *key, struct err *err)
{
	/* O_NONBLOCK: a pipe of that name must not hold us up. */
	enum status rc = open_file(f, opendir, name, O_RDONLY | O_NONBLOCK, key, err);

	/* Without a head it was just made. */
	if (rc == ST_END || (rc == ST_FATAL && f->fd < 0 && errno == ENOENT))
		return err_set(err, ST_RETRY, EX_OSFILE, "open/%s is not there", name);
	return rc;
}

/* The data that the log tells of. */
static enum status open_parts(struct archive_reader *r, int opendir,
	const unsigned char *key, struct err *err)
{
	char file[FILE_NAME_MAX];
	enum status rc = ST_OK;

	file_name(file, r->open_name, codec_open_suffix(r->policy.codec));
	if (r->open.members)
		rc = open_data(&r->part, opendir, file, key, err);
	if (rc == ST_OK && r->open.members)
		rc = open_file_bytes(&r->part_b, &r->part, err);
	rest_name(file, r->open_name, r->open.members + 1);
	if (rc == ST_OK && r->open.rest_len)
		rc = open_data(&r->rest, opendir, file, key, err);
	if (rc == ST_OK && r->open.rest_len)
		rc = open_file_bytes(&r->rest_b, &r->rest, err);
	return rc;
}

/* ST_END: it is not here. */
static enum status open_key(
	const struct archive_reader *r, unsigned char key[CRYPT_KEY], struct err *err)
{
	char name[FILE_NAME_MAX];

	if (r->statedir < 0)
		return ST_END;
	key_name(name, &r->policy, r->log_no);
	return crypt_key_read(key, r->statedir, name, err);
}

static enum status look_log(struct archive_reader *r, int opendir, struct err *err)
{
	unsigned last = last_sealed(r);
	bool crypt = r->policy.crypt != CRYPT_NONE;
	unsigned char key[CRYPT_KEY];
	char file[FILE_NAME_MAX];
	enum status rc = open_log_find(&r->log_no, opendir, &r->policy, err);

	/* A log whose segment is sealed says nothing new. */
	if (rc < 0 || r->log_no <= last)
		return rc;
	if (r->log_no > last + 1)
		return err_set(err, ST_RETRY, EX_DATAERR,
			"the segment before open/%s-%06u is missing: put it back from a copy of "
			"the archive",
			r->policy.slug, r->log_no);
	segment_name(r->open_name, &r->policy, r->log_no);
	rc = crypt ? open_key(r, key, err) : ST_OK;
	if (rc != ST_OK) {
		r->closed = rc == ST_END;
		return rc == ST_END ? ST_OK : rc;
	}
	file_name(file, r->open_name, ".log");
	rc = open_data(&r->log, opendir, file, crypt ? key : NULL, err);
	if (rc == ST_OK) {
		rc = open_state_read(&r->open, &r->log, &r->policy, err);
		r->has_open = rc == ST_OK;
		rc = rc == ST_END ? ST_OK : rc;
	}
	if (rc == ST_OK && r->has_open)
		rc = open_parts(r, opendir, crypt ? key : NULL, err);
	explicit_bzero(key, sizeof(key));
	return rc;
}

static void forget_open(struct archive_reader *r)
{
	bytes_close(&r->part_b);
	bytes_close(&r->rest_b);
	open_file_close(&r->log);
	open_file_close(&r->part);
	open_file_close(&r->rest);
	open_state_free(&r->open);
	r->has_open = r->closed = false;
}

static enum status look(struct archive_reader *r, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;
	int opendir, i;

	for (i = 0; i < LOOKS; i++) {
		rc = list_sealed(r, err);
		opendir = openat(r->dir, "open", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* A copy of the archive may be without it. */
		if (rc < 0 || opendir < 0)
			return rc;
		rc = look_log(r, opendir, &why);
		close(opendir);
		if (rc != ST_RETRY)
			break;
		forget_open(r);
		clock_sleep(LOOK_PAUSE);
	}
	if (rc == ST_RETRY)
		return err_set(err, ST_DENIED, EX_DATAERR, "%s", why.text);
	if (rc < 0)
		return err_set(err, rc, why.exit, "%s", why.text);
	return ST_OK;
}

/* ---- what came since ---- */

static bool is_of(const struct archive_reader *r, unsigned no, const char *file)
{
	char name[NAME_MAX_SEGMENT];
	size_t n;

	segment_name(name, &r->policy, no);
	n = strlen(name);
	return strncmp(file, name, n) == 0 && (file[n] == '.' || file[n] == '\0');
}

static unsigned log_now(const struct archive_reader *r)
{
	int opendir = openat(r->dir, "open", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned no = 0;

	if (opendir < 0 || open_log_find(&no, opendir, &r->policy, NULL) < 0)
		no = 0;
	close_fd(&opendir);
	return no;
}

bool reader_arrived(const struct archive_reader *r, const char *file)
{
	unsigned last = last_sealed(r), log = log_now(r);
	struct segment_no *list = NULL;
	bool yes = log > last && log != r->log_no && is_of(r, log, file);
	size_t n = 0, i;

	if (segments_list(&list, &n, r->segdir, &r->policy, NULL) == ST_OK)
		for (i = n; !yes && i-- && list[i].no > last;)
			yes = is_of(r, list[i].no, file);
	free(list);
	return yes;
}

bool reader_replaced(const struct archive_reader *r)
{
	struct segment_no *list = NULL;
	bool yes = false;
	size_t n = 0, i, k;

	if (segments_list(&list, &n, r->segdir, &r->policy, NULL) == ST_OK)
		for (i = k = 0; !yes && i < r->sealed_n; i++) {
			while (k < n && list[k].no < r->sealed[i].no)
				k++;
			yes = k < n && list[k].no == r->sealed[i].no &&
				list[k].revision != r->sealed[i].revision;
		}
	free(list);
	return yes;
}

/* ---- opening ---- */

static enum status try_file(
	const struct archive_reader *r, const char *file, struct err *err)
{
	struct bytes *b = NULL;
	enum status rc = vault_open(&b, &r->vault, file, err);

	bytes_close(&b);
	return rc;
}

/* Whether one of the identities opens what is there: any file, for the last one may be
 * damaged just where it says whom it is for. What is damaged otherwise is told where it
 * is looked at. */
static enum status try_identities(const struct archive_reader *r, struct err *err)
{
	struct err denied = ERR_INIT;
	size_t i;

	for (i = r->sealed_n; i--;) {
		const struct sealed *s = &r->sealed[i];
		char idx[FILE_NAME_MAX];
		const char *const files[] = { idx, s->file };
		size_t k;

		file_name(idx, s->stem, idx_suffix(&r->policy));
		for (k = 0; k < N_ELEMENTS(files); k++) {
			struct err why = ERR_INIT;

			if (try_file(r, files[k], &why) == ST_OK)
				return ST_OK;
			if (why.exit == EX_NOPERM && denied.status == ST_OK)
				denied = why;
		}
	}
	if (denied.status == ST_OK)
		return ST_OK;
	return err_set(err, denied.status, denied.exit, "%s", denied.text);
}

static enum status open_vault(
	struct archive_reader *r, const struct archive_access *a, struct err *err)
{
	const char *tmp = getenv("TMPDIR");

	if (!r->vault.ids)
		return a->closed ? ST_OK : vault_closed(&r->policy, err);
	r->tmpdir = open(
		tmp && *tmp ? tmp : "/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->tmpdir < 0)
		return err_sys(err, ST_FATAL, "%s", tmp && *tmp ? tmp : "/tmp");
	r->vault.tmpdir = r->tmpdir;
	return try_identities(r, err);
}

enum crypt_kind archive_crypt(const struct archive_reader *r)
{
	return r->policy.crypt;
}

enum status archive_read(struct archive_reader **out, const char *path, struct err *err)
{
	const struct archive_access none = { NULL, NULL, false };

	return archive_read_as(out, path, &none, err);
}

enum status archive_read_as(struct archive_reader **out, const char *path,
	const struct archive_access *a, struct err *err)
{
	struct archive_reader *r = xcalloc(1, sizeof(*r));
	enum status rc;

	r->path = xstrdup(path);
	r->segdir = r->statedir = r->tmpdir = -1;
	r->log = r->part = r->rest = OPEN_FILE_NONE;
	r->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir < 0) {
		rc = err_set(err, ST_DENIED, EX_NOINPUT, "archive %s: %s", path,
			strerror(errno));
		goto out;
	}
	rc = policy_load(&r->policy, r->dir, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"it is no archive: it has no archive.json");
	if (rc < 0)
		goto note;
	r->segdir = openat(r->dir, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r->vault = (struct vault){ .segdir = r->segdir,
		.policy = &r->policy,
		.ids = a->identities && identities_count(a->identities) ? a->identities
									: NULL,
		.tmpdir = -1 };
	/* Where there is none, there is no key. */
	if (a->state)
		r->statedir = open(a->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->segdir >= 0)
		rc = look(r, err);
	else if (errno == ENOTDIR)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"segments is no folder: put it back from a copy of the archive");
	else
		rc = err_sys(err, ST_FATAL, "segments");
	if (rc == ST_OK && r->policy.crypt != CRYPT_NONE)
		rc = open_vault(r, a, err);
note:
	if (rc < 0)
		err_note(err, "archive %s", path);
out:
	if (rc < 0)
		archive_done(&r);
	*out = r;
	return rc;
}

void archive_done(struct archive_reader **rp)
{
	struct archive_reader *r = *rp;

	if (!r)
		return;
	cursor_close(&r->cursor);
	forget_open(r);
	close_fd(&r->tmpdir);
	close_fd(&r->statedir);
	close_fd(&r->segdir);
	close_fd(&r->dir);
	idx_free(&r->idx);
	free(r->sealed);
	free(r->path);
	free(r);
	*rp = NULL;
}

/* ---- each ---- */

struct each {
	enum status (*take)(void *ctx, const struct archive_row *row, struct err *err);
	void *ctx;
	const char *segment;
	const struct idx *x;
	size_t row;
	bool sealed;
	bool stopped; /* by the receiver, not by damage */
	bool damaged;
	struct csv csv;
};

static enum status give(struct each *e, const struct archive_row *row, struct err *err)
{
	enum status rc = e->take(e->ctx, row, err);

	e->stopped = rc != ST_OK;
	return rc;
}

static enum status each_row(void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct each *e = ctx;
	struct archive_row row = {
		.seq = strtoull(f[CSV_SEQ], NULL, 10),
		.size = strtoull(f[CSV_SIZE], NULL, 10),
		.segment = e->segment,
		.path = f[CSV_PATH],
		.folder = f[CSV_FOLDER],
		.uidl = f[CSV_UIDL],
		.sha256 = f[CSV_SHA256],
		.date = f[CSV_INTERNAL_DATE],
		.from = f[CSV_FROM],
		.to = f[CSV_TO],
		.cc = f[CSV_CC],
		.date_utc = f[CSV_DATE_UTC],
		.retrieved = f[CSV_RETRIEVED],
		.subject = f[CSV_SUBJECT],
		.message_id = f[CSV_MESSAGE_ID],
		.flags = f[CSV_FLAGS],
		.anomalies = f[CSV_ANOMALIES],
		.sealed = e->sealed,
	};
	size_t i = e->row++;

	if (i == SEGMENT_MESSAGES_MAX)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"segment %s: its table has more rows than a segment can have",
			e->segment);
	if (i < e->x->n && e->x->rows[i].gone)
		return ST_OK;
	row.occurrence = i < e->x->n ? e->x->rows[i].occurrence : 1;
	return give(e, &row, err);
}

static enum status each_line(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct each *e = ctx;

	(void)row;
	return csv_feed(&e->csv, line, n, each_row, e, err);
}

/* Of messages whose table cannot be read, what the index says. */
static enum status each_bare(struct each *e, struct err *err)
{
	char sha[2 * DIGEST + 1];
	enum status rc = ST_OK;

	for (; rc == ST_OK && e->row < e->x->n; e->row++) {
		const struct idx_row *x = &e->x->rows[e->row];
		struct archive_row row = {
			.seq = x->seq,
			.size = x->size,
			.occurrence = x->occurrence,
			.segment = e->segment,
			.sha256 = text_hex(sha, x->sha, DIGEST),
			.sealed = e->sealed,
		};
		const char **const texts[] = { &row.path, &row.folder, &row.uidl,
			&row.date, &row.from, &row.to, &row.cc, &row.date_utc,
			&row.retrieved, &row.subject, &row.message_id, &row.flags,
			&row.anomalies };
		size_t i;

		for (i = 0; i < N_ELEMENTS(texts); i++)
			*texts[i] = "";
		if (!x->gone)
			rc = give(e, &row, err);
	}
	return rc;
}

static enum status each_table(struct archive_reader *r, const struct sealed *s,
	struct each *e, struct err *err)
{
	struct entries *entries = NULL;
	struct unpacker *u = NULL;
	const char *p;
	size_t n;
	struct bytes *b = NULL;
	enum status rc = reader_open_sealed(&b, r, s, err);

	if (rc == ST_OK)
		rc = segment_tag(&entries, &u, b, r->policy.codec, s->name, e->x,
			tag_names[TAG_CSV], err);
	while (rc == ST_OK && (rc = entries_data(entries, &p, &n, err)) == ST_OK && n)
		rc = csv_feed(&e->csv, p, n, each_row, e, err);
	if (rc == ST_OK)
		rc = csv_end(&e->csv, err);
	entries_close(&entries);
	unpacker_close(&u);
	bytes_close(&b);
	return rc;
}

static enum status each_sealed(struct archive_reader *r, const struct sealed *s,
	struct each *e, struct err *err)
{
	struct err more = ERR_INIT;
	struct idx x = { 0 };
	enum status rc = idx_get(&x, &r->vault, s->stem, err);

	if (rc < 0)
		return rc;
	e->segment = s->name;
	e->x = &x;
	e->row = 0;
	e->sealed = true;
	csv_release(&e->csv);
	csv_init(&e->csv);
	rc = each_table(r, s, e, err);
	if (rc == ST_DENIED && !e->stopped && each_bare(e, &more) != ST_OK)
		rc = err_set(err, more.status, more.exit, "%s", more.text);
	idx_free(&x);
	return rc;
}

/* The last segment that the manifest lists: one that is gone leaves no gap. */
static unsigned listed_last(const struct archive_reader *r)
{
	char *start = xasprintf("  segments/%s-", r->policy.slug), *text = NULL;
	const char *p;
	unsigned last = 0;
	size_t n;

	if (fs_read(&text, &n, r->dir, "manifest-sha256.txt", LISTED_MAX, NULL) ==
		ST_OK)
		for (p = text; (p = strstr(p, start)); p += strlen(start)) {
			unsigned long no = strtoul(p + strlen(start), NULL, 10);

			if (no > last && no <= SEGMENT_NO_MAX)
				last = (unsigned)no;
		}
	free(text);
	free(start);
	return last;
}

static enum status each_open(struct archive_reader *r, struct each *e, struct err *err)
{
	e->segment = r->open_name;
	e->x = &r->open.idx;
	e->row = 0;
	e->sealed = false;
	e->csv.body = true; /* the log has no header line */
	return open_state_rows(&r->open, &r->log, each_line, e, err);
}

/* One segment's damage keeps nobody from the others; the first is told. */
static enum status told(struct each *e, const struct err *why, struct err *err)
{
	if (!e->damaged)
		err_set(err, ST_DENIED, EX_DATAERR, "%s", why->text);
	e->damaged = true;
	return ST_OK;
}

enum status reader_whole(const struct archive_reader *r, struct err *err)
{
	unsigned no = 0;
	size_t i;

	for (i = 0; i < r->sealed_n && r->sealed[i].no == no + 1; i++)
		no++;
	if (i == r->sealed_n && listed_last(r) <= no)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"segment %s-%06u is missing: `popferry verify` tells what else",
		r->policy.slug, no + 1);
}

enum status archive_each(struct archive_reader *r,
	enum status (*take)(void *ctx, const struct archive_row *row, struct err *err),
	void *ctx, struct err *err)
{
	struct each e = { .take = take, .ctx = ctx };
	struct err why = ERR_INIT;
	enum status rc = ST_OK;
	size_t i;

	csv_init(&e.csv);
	for (i = 0; rc == ST_OK && i < r->sealed_n; i++) {
		rc = each_sealed(r, &r->sealed[i], &e, &why);
		if (rc == ST_DENIED && !e.stopped)
			rc = told(&e, &why, err);
	}
	if (rc == ST_OK && r->has_open)
		rc = each_open(r, &e, &why);
	csv_release(&e.csv);
	if (rc != ST_OK)
		return rc < 0 ? err_set(err, rc, why.exit, "%s", why.text) : rc;
	rc = reader_whole(r, err);
	return rc == ST_OK && e.damaged ? ST_DENIED : rc;
}
