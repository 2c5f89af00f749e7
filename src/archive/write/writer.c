/* writer.c: messages into the open segment, and commits. See FORMAT. */
#include "writer.h"
#include "../form/csv.h"
#include "../form/pool.h"
#include "../form/segment.h"
#include "parted.h"

#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* Tar headers past the end of a full member, and what a compressor adds. */
	HEADERS_MAX = 128 * 1024,
	SCRATCH = 128 * 1024,
	PATH_MAX_BYTES = 512,
};

enum status writer_open_file(const struct archive_writer *w, struct open_file *f,
	const char *name, int flags, struct err *err)
{
	bool crypt = w->policy.crypt != CRYPT_NONE;

	return open_file(f, w->opendir, name, flags, crypt ? w->seg->key : NULL, err);
}

void writer_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the open segment ---- */

void segment_new(struct archive_writer *w, unsigned no, uint64_t first)
{
	struct open_segment *g = xcalloc(1, sizeof(*g));

	g->no = no;
	segment_name(g->name, &w->policy, no);
	g->first = g->next = first;
	g->durable = g->told = g->in_part = g->whole_last = first - 1;
	g->wholes_tail = &g->wholes;
	g->log = g->part = g->rest = OPEN_FILE_NONE;
	buf_init(&g->raw, (size_t)member_most(&w->policy) + HEADERS_MAX);
	buf_init(&g->log_now, LOG_MAX);
	buf_init(&g->log_new, 2 * LOG_MAX);
	tarw_open(&g->tar, part_take, w);
	w->seg = g;
	w->source_told = false;
	pool_open(&w->pool, w->policy.codec, w->threads, g->raw.max);
}

void segment_free(struct archive_writer *w)
{
	struct open_segment *g = w->seg;
	struct segment_seen seen;

	if (!g)
		return;
	readback_end(&g->back, &seen);
	segment_seen_free(&seen);
	pool_close(&w->pool); /* nothing of it may come to another segment */
	tarw_close(&g->tar);
	while (g->wholes) {
		struct whole *m = g->wholes;

		g->wholes = m->next;
		buf_free(&m->log);
		idx_free(&m->rows);
		free(m);
	}
	open_file_close(&g->log);
	open_file_close(&g->part);
	open_file_close(&g->rest);
	buf_free(&g->raw);
	buf_free(&g->log_now);
	buf_free(&g->log_spare);
	idx_free(&g->now);
	buf_free(&g->log_new);
	explicit_bzero(g->key, sizeof(g->key));
	free(g);
	w->seg = NULL;
}

/* Before the first file that needs it. */
static enum status key_make(struct archive_writer *w, struct err *err)
{
	char name[FILE_NAME_MAX];
	enum status rc;

	if (w->policy.crypt == CRYPT_NONE)
		return ST_OK;
	key_name(name, &w->policy, w->seg->no);
	/* One that a crash left before it was used. */
	rc = crypt_key_destroy(w->statedir, name, err);
	if (rc >= 0)
		rc = crypt_key_make(w->seg->key, w->statedir, name, err);
	fault_step("archive-key");
	return rc;
}

static enum status segment_start(struct archive_writer *w, struct err *err)
{
	char name[FILE_NAME_MAX], path[FILE_NAME_MAX];
	size_t n = strlen(bagit_text);
	struct open_segment *g;
	enum status rc;

	if (w->last_no == SEGMENT_NO_MAX)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"the archive is full: it has %d segments; begin a new one",
			SEGMENT_NO_MAX);
	segment_new(w, w->last_no + 1, w->last_seq + 1);
	g = w->seg;
	if (w->fixed)
		memcpy(g->seed, w->fixed->seed, SEED);
	else if (getrandom(g->seed, SEED, 0) != SEED)
		return err_sys(err, ST_FATAL, "random bytes");
	rc = key_make(w, err);
	file_name(name, g->name, ".log");
	if (rc == ST_OK)
		rc = writer_open_file(w, &g->log, name, O_RDWR | O_CREAT | O_EXCL, err);
	g->names_new = true;
	commit_begin(&g->log_new, &w->policy, g->no, g->first, g->seed);
	file_name(path, g->name, "/bagit.txt");
	if (rc == ST_OK)
		rc = tarw_entry(g->tar, path, n, err);
	if (rc == ST_OK)
		rc = tarw_data(g->tar, bagit_text, n, err);
	if (rc == ST_OK)
		rc = tarw_entry_end(g->tar, err);
	return rc;
}

/* ---- put ---- */

static enum status copy_body(struct archive_writer *w, const struct message *m,
	struct parted *parted, struct err *err)
{
	struct tarw *tar = w->seg->tar;
	uint64_t off = 0;
	const char *p;
	size_t n;
	enum status rc;

	if (!w->scratch)
		w->scratch = xmalloc(SCRATCH);
	while ((rc = body_read(m->body, off, w->scratch, SCRATCH, &p, &n, err)) ==
			ST_OK &&
		n) {
		rc = tarw_data(tar, p, n, err);
		if (rc < 0)
			break;
		parted_put(parted, p, n);
		off += n;
	}
	if (rc == ST_OK && off != m->facts.size)
		rc = err_set(err, ST_FATAL, EX_SOFTWARE,
			"a message of %" PRIu64 " bytes gave %" PRIu64, m->facts.size,
			off);
	return rc;
}

/* The entry. *whole: the bytes of the member that is full with it, or 0. */
static enum status put_entry(struct archive_writer *w, const struct message *m,
	const char *path, struct parted *parted, uint64_t *whole, struct err *err)
{
	struct open_segment *g = w->seg;
	char *full = xasprintf("%s/%s", g->name, path);
	enum status rc = tarw_entry(g->tar, full, m->facts.size, err);
	uint64_t raw_len = g->raw.n + tar_padded(m->facts.size);
	bool last = raw_len >= w->policy.member_bytes;

	if (rc == ST_OK && last)
		rc = part_begin(w, raw_len, err);
	if (rc == ST_OK)
		rc = copy_body(w, m, parted, err);
	if (rc == ST_OK)
		rc = tarw_entry_end(g->tar, err);
	free(full);
	*whole = last ? raw_len : 0;
	return rc;
}

/* The records of the member under way go to the log: the next commit takes all that is
 * in it. */
static enum status tell(struct archive_writer *w, struct err *err)
{
	struct open_segment *g = w->seg;
	enum status rc = part_settle(w, PART_ALL, err);

	if (rc == ST_OK && g->log_new.n >= LOG_FLUSH)
		rc = write_log(g, err);
	buf_add(&g->log_new, g->log_now.p, g->log_now.n);
	buf_clear(&g->log_now);
	g->told = g->next - 1;
	return rc;
}

static void put_row(struct archive_writer *w, const struct message *m,
	const struct archive_entry *e, const char *path, const struct parted *parted,
	uint64_t at)
{
	struct open_segment *g = w->seg;
	struct idx_row *r = idx_add(&w->fresh), *now = idx_add(&g->now);

	r->seq = now->seq = (uint32_t)g->next;
	now->size = m->facts.size;
	memcpy(r->sha, m->facts.sha256, DIGEST);
	memcpy(now->sha, m->facts.sha256, DIGEST);
	idx_key(r->key, e->uidl, e->uidl_n, e->occurrence, r->sha);
	buf_clear(&w->row);
	csv_row(&w->row, g->next, path, m, e, &parted->found);
	if (!w->source_told && w->source)
		commit_source(&g->log_now, w->source);
	w->source_told = true;
	commit_message(&g->log_now, at, r->key, e->occurrence, &w->row);
}

static bool segment_full(const struct archive_writer *w)
{
	const struct open_segment *g = w->seg;

	return g &&
		(g->part_len >= w->segment_bytes ||
			g->next - g->first >= w->segment_messages);
}

/*
 * Where a segment ends must not depend on how far the compressor is: when what it has
 * in hand could fill the segment, it is waited for.
 */
static enum status know_length(struct archive_writer *w, struct err *err)
{
	const struct open_segment *g = w->seg;
	uint64_t most = 2 * pool_bytes(w->pool);

	if (g->raw.n || most == 0 ||
		g->part_len + g->piece_len + most < w->segment_bytes)
		return ST_OK;
	return part_settle(w, PART_ALL, err);
}

static enum status broken(struct err *err)
{
	return err_set(err, ST_FATAL, EX_IOERR,
		"the archive could not be written before: run again, and it goes on from its "
		"last commit");
}

static enum status put(struct archive_writer *w, const struct message *m,
	const struct archive_entry *e, uint64_t *seq, struct err *err)
{
	struct buf path = BUF_INIT(PATH_MAX_BYTES);
	struct open_segment *g;
	struct parted parted;
	enum status rc = ST_OK;
	uint64_t at, whole;

	if (!w->seg)
		rc = segment_start(w, err);
	if (rc < 0)
		return rc;
	g = w->seg;
	at = g->raw_at + g->raw.n;
	message_path(&path, e->folder, g->next);
	parted_begin(&parted, &m->facts);
	rc = put_entry(w, m, path.p, &parted, &whole, err);
	parted_end(&parted);
	if (rc == ST_OK) {
		put_row(w, m, e, path.p, &parted, at);
		*seq = g->next++;
		if (whole)
			rc = part_member(w, whole, *seq, err);
		else if (g->log_now.n >= LOG_FLUSH)
			rc = tell(w, err);
	}
	parted_release(&parted);
	buf_free(&path);
	return rc;
}

static enum status close_segment(struct archive_writer *w, bool last, struct err *err)
{
	enum status rc = segment_commit(w, 0, err);

	/* A segment in which nothing was put by a run that failed is none. */
	return rc == ST_OK && w->seg ? seal_segment(w, last, err) : rc;
}

enum status archive_put(struct archive_writer *w, const struct message *m,
	const struct archive_entry *e, uint64_t *seq, struct err *err)
{
	enum status rc = ST_OK;

	if (w->broken)
		return broken(err);
	if (w->seg ? w->seg->next > SEQ_MAX : w->last_seq >= SEQ_MAX)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"the archive is full: it has %" PRIu64
			" messages; begin a new one",
			SEQ_MAX);
	/* What is packed meanwhile can be read back while this one is put. */
	if (w->seg)
		rc = part_settle(w, 0, err);
	/* Borders must not depend on when somebody commits. */
	if (rc == ST_OK && w->seg)
		rc = know_length(w, err);
	if (rc == ST_OK && segment_full(w))
		rc = close_segment(w, false, err);
	if (rc == ST_OK)
		rc = put(w, m, e, seq, err);
	w->broken = w->broken || rc < 0;
	return rc;
}

/* ---- commit ---- */

enum status writer_sync_file(
	const struct open_file *f, const char *what, struct err *err)
{
	return fdatasync(f->fd) < 0 ? err_sys(err, ST_FATAL, "sync %s", what) : ST_OK;
}

/* What of the member under way is not in .rest yet. */
static enum status write_rest(struct archive_writer *w, struct err *err)
{
	struct open_segment *g = w->seg;
	char name[FILE_NAME_MAX];
	enum status rc = ST_OK;

	if (g->raw.n == g->rest_len)
		return ST_OK;
	if (g->rest.fd < 0) {
		rest_name(name, g->name, g->members + 1);
		rc = writer_open_file(
			w, &g->rest, name, O_RDWR | O_CREAT | O_EXCL, err);
		g->names_new = true;
	}
	if (rc == ST_OK)
		rc = open_file_add(
			&g->rest, g->raw.p + g->rest_len, g->raw.n - g->rest_len, err);
	if (rc == ST_OK)
		rc = writer_sync_file(&g->rest, ".rest", err);
	g->rest_len = g->raw.n;
	return rc;
}

/* The .rest of a member that is whole now is of no use to anybody. */
static void drop_rest(struct archive_writer *w)
{
	struct open_segment *g = w->seg;
	unsigned now = g->rest.fd >= 0 ? g->members + 1 : 0;
	char name[FILE_NAME_MAX];

	if (g->rest_no && g->rest_no != now) {
		rest_name(name, g->name, g->rest_no);
		/* If it stays, recovery removes it. */
		unlinkat(w->opendir, name, 0);
	}
	g->rest_no = now;
}

/*
 * What the next commit takes: all up to the last border behind this message, where its
 * member is whole; else all that was put, with .rest. *rest is the length of that.
 */
static enum status gather(
	struct archive_writer *w, uint64_t seq, size_t *rest, struct err *err)
{
	struct open_segment *g = w->seg;
	enum status rc;

	*rest = 0;
	if (seq && seq < g->told)
		seq = g->told;
	if (seq && seq <= g->whole_last)
		return part_settle(w, seq, err);
	rc = tell(w, err);
	*rest = g->raw.n;
	return rc;
}

/* Those that are durable now can be found. */
static void found_from_now(struct archive_writer *w)
{
	struct idx *x = &w->fresh;
	size_t n = 0;

	for (; n < x->n && x->rows[n].seq <= w->seg->durable; n++)
		if (w->find_loaded)
			writer_remember(w, &x->rows[n]);
	x->n -= n;
	if (n && x->n)
		memmove(x->rows, x->rows + n, x->n * sizeof(*x->rows));
}

enum status segment_commit(struct archive_writer *w, uint64_t seq, struct err *err)
{
	struct open_segment *g = w->seg;
	int64_t began;
	uint32_t crc;
	uint64_t last;
	enum status rc;
	size_t rest;

	if (!g || (seq ? seq : g->next - 1) <= g->durable)
		return ST_OK;
	rc = gather(w, seq, &rest, err);
	if (rc == ST_OK && w->before)
		rc = w->before(w->before_ctx, err);
	began = clock_ms();
	if (rc == ST_OK && g->part_new)
		rc = writer_sync_file(&g->part, ".part", err);
	fault_step("archive-members");
	if (rc == ST_OK && rest)
		rc = write_rest(w, err);
	if (rc == ST_OK && g->names_new)
		rc = fs_sync_dir(w->opendir, err);
	fault_step("archive-rest");
	if (rc < 0)
		return rc;
	last = rest ? g->next - 1 : g->in_part;
	crc = libdeflate_crc32(0, buf_str(&g->raw), rest);
	commit_done(&g->log_new, g->part_len, g->members, rest, crc, last + 1);
	rc = write_log(g, err);
	fault_step("archive-log");
	if (rc == ST_OK)
		rc = writer_sync_file(&g->log, "commit log", err);
	if (rc < 0)
		return rc;
	fault_step("archive-commit");
	w->sync_ms += clock_ms() - began;
	w->syncs++;
	g->part_new = g->names_new = false;
	g->durable = last;
	drop_rest(w);
	found_from_now(w);
	return ST_OK;
}

void archive_before_commit(struct archive_writer *w,
	enum status (*before)(void *ctx, struct err *err), void *ctx)
{
	w->before = before;
	w->before_ctx = ctx;
}

enum status archive_commit(struct archive_writer *w, uint64_t seq, struct err *err)
{
	enum status rc;

	if (w->broken)
		return broken(err);
	rc = segment_commit(w, seq, err);
	w->broken = rc < 0;
	return rc;
}

int archive_commit_ms(const struct archive_writer *w)
{
	return w->syncs ? (int)(w->sync_ms / w->syncs) : 0;
}

uint64_t archive_durable(const struct archive_writer *w)
{
	return w->seg ? w->seg->durable : w->last_seq;
}

int64_t writer_now(const struct archive_writer *w)
{
	return w->fixed ? w->fixed->now : clock_utc();
}

enum status archive_seal(struct archive_writer *w, struct err *err)
{
	enum status rc;

	if (w->broken)
		return broken(err);
	rc = w->seg ? close_segment(w, true, err) : seal_nothing(w, err);
	w->broken = rc < 0;
	return rc;
}
