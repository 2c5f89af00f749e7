/*
 * mailbag.c: a Mailbag (Mailbag Specification 1.0), which is a BagIt bag (RFC 8493).
 *
 * A directory, or one tar of it. The messages come first, for how many there are
 * and what the manifests say is known at the end only; until then the lines of the
 * manifest and of mailbag.csv wait in files without a name.
 */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* A table has at most so many messages (section 5.3.3). */
enum { TABLE_MOST = 100000, PIECE = 64 * 1024, INFO_MAX = 16 * 1024, UUID = 37 };

struct mailbag {
	FILE *sums, *rows; /* what is to become tag files */
	uint64_t *at;      /* where each table begins in rows */
	size_t n_tables;
	uint64_t messages, bytes;
	char captured[40]; /* the newest time of retrieval */
	struct buf tags;   /* of tagmanifest-sha256.txt */
	int64_t now;
	/* of a tar */
	struct archive *a;
	struct archive_entry *e;
	char *top; /* its one folder, with a slash */
	bool failed, dropped;
};

static bool is_tar(const struct mailbag *b)
{
	return b->a != NULL;
}

/* ---- the tar ---- */

static la_ssize_t give(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct export *x = ctx;
	struct mailbag *b = x->own;

	(void)a;
	if (!b->dropped)
		out_put(x->t.file, p, n);
	return (la_ssize_t)n;
}

static enum status broken(struct mailbag *b, struct err *err)
{
	const char *why = archive_error_string(b->a);

	return err_set(err, ST_FATAL, EX_SOFTWARE, "libarchive: %s",
		why ? why : "the tar cannot be written");
}

static enum status entry(struct mailbag *b, const char *name, uint64_t size,
	int64_t time, struct err *err)
{
	char *path = xasprintf("%s%s", b->top, name);

	archive_entry_clear(b->e);
	archive_entry_set_pathname(b->e, path);
	free(path);
	archive_entry_set_filetype(b->e, AE_IFREG);
	archive_entry_set_perm(b->e, 0644);
	archive_entry_set_mtime(b->e, time, 0);
	archive_entry_set_size(b->e, (la_int64_t)size);
	return archive_write_header(b->a, b->e) == ARCHIVE_OK ? ST_OK : broken(b, err);
}

static void bytes(void *ctx, const char *p, size_t n)
{
	struct mailbag *b = ctx;

	if (n && archive_write_data(b->a, p, n) != (la_ssize_t)n)
		b->failed = true;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && strcmp(s + n - k, end) == 0;
}

static bool is_gz(const char *target)
{
	return ends_with(target, ".gz") || ends_with(target, ".tgz");
}

/* The bytes of the suffix that makes it one; 0: it is a directory. */
static size_t tar_suffix(const char *target)
{
	static const char *const all[] = { ".tar", ".tar.gz", ".tgz" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(all); i++)
		if (ends_with(target, all[i]))
			return strlen(all[i]);
	return 0;
}

bool mailbag_is_tar(const char *target)
{
	return tar_suffix(target) > 0;
}

static enum status tar_begin(struct export *x, struct err *err)
{
	struct mailbag *b = x->own;

	b->a = archive_write_new();
	b->e = archive_entry_new();
	if (!b->a || !b->e)
		xmemory_gone();
	b->top = xasprintf(
		"%.*s/", (int)(strlen(x->t.name) - tar_suffix(x->t.name)), x->t.name);
	archive_write_set_bytes_per_block(b->a, 0);
	archive_write_set_format_pax_restricted(b->a);
	if (is_gz(x->job->target) &&
		(archive_write_add_filter_gzip(b->a) != ARCHIVE_OK ||
			archive_write_set_options(b->a, "gzip:!timestamp") !=
				ARCHIVE_OK))
		return broken(b, err);
	return archive_write_open(b->a, x, NULL, give, NULL) == ARCHIVE_OK
		? ST_OK
		: broken(b, err);
}

/* ---- messages ---- */

static FILE *nameless(struct export *x, struct err *err)
{
	int fd = -1;
	FILE *f;

	if (fs_tmpfile(&fd, x->t.parent, err) != ST_OK)
		return NULL;
	f = fdopen(fd, "w+");
	if (!f) {
		err_sys(err, ST_FATAL, "%s", x->t.name);
		close(fd);
	}
	return f;
}

static enum status begin(struct export *x, bool tar, struct err *err)
{
	struct mailbag *b = xcalloc(1, sizeof(*b));

	x->own = b;
	b->now = clock_utc();
	buf_init(&b->tags, INFO_MAX);
	b->sums = nameless(x, err);
	if (b->sums)
		b->rows = nameless(x, err);
	if (!b->sums || !b->rows)
		return ST_FATAL;
	return tar ? tar_begin(x, err) : ST_OK;
}

static enum status tree_begin(struct export *x, struct err *err)
{
	return begin(x, false, err);
}

static enum status pack_begin(struct export *x, struct err *err)
{
	return begin(x, true, err);
}

static void add_row(
	struct export *x, const struct archive_row *row, const struct besides *look)
{
	struct mailbag *b = x->own;
	struct buf line = BUF_INIT(ROW_MAX);

	if (b->messages++ % TABLE_MOST == 0) {
		b->at = xreallocarray(b->at, b->n_tables + 1, sizeof(*b->at));
		b->at[b->n_tables++] = (uint64_t)ftello(b->rows);
	}
	/* Only the first has names. */
	if (b->messages == 1)
		table_line(&line, TABLE_MAILBAG, NULL, NULL, false);
	table_line(&line, TABLE_MAILBAG, row, look, x->job->excel_safe);
	fwrite(buf_str(&line), 1, line.n, b->rows);
	buf_free(&line);
}

struct both {
	struct mailbag *bag;
	struct besides *look;
};

static void pack_bytes(void *ctx, const char *p, size_t n)
{
	struct both *to = ctx;

	bytes(to->bag, p, n);
	besides_put(to->look, p, n);
}

static enum status pack_message(struct export *x, const char *path,
	const struct archive_row *row, const struct archive_mail *m,
	struct besides *look, struct err *err)
{
	struct mailbag *b = x->own;
	enum status rc = entry(b, path, archive_mail_size(m), message_time(row), err);

	if (rc == ST_OK)
		rc = archive_mail_give(m, pack_bytes, &(struct both){ b, look }, err);
	if (rc == ST_OK &&
		(b->failed || archive_write_finish_entry(b->a) != ARCHIVE_OK))
		rc = broken(b, err);
	return rc;
}

static enum status put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	struct mailbag *b = x->own;
	char name[256], path[300];
	struct besides look;
	enum status rc;

	message_name(name, row);
	snprintf(path, sizeof(path), "data/eml/%s", name);
	besides_begin(&look);
	rc = is_tar(b) ? pack_message(x, path, row, m, &look, err)
		       : put_file(x, path, row, m, &look, err);
	besides_end(&look);
	if (rc == ST_OK) {
		add_row(x, row, &look);
		fprintf(b->sums, "%s  %s\n", archive_mail_sha256(m), path);
		b->bytes += archive_mail_size(m);
		if (strcmp(row->retrieved, b->captured) > 0)
			snprintf(
				b->captured, sizeof(b->captured), "%s", row->retrieved);
	}
	besides_release(&look);
	return rc;
}

/* ---- tag files ---- */

/* A piece of a file, or a text. */
struct piece {
	FILE *f; /* NULL: text */
	uint64_t from, size;
	const char *text;
};

static enum status pour(
	const struct piece *p, mail_take *take, void *ctx, struct err *err)
{
	char *some;
	uint64_t left = p->size;

	if (!p->f) {
		take(ctx, p->text, p->size);
		return ST_OK;
	}
	if (fseeko(p->f, (off_t)p->from, SEEK_SET) < 0)
		return err_sys(err, ST_FATAL, "a temporary file");
	some = xmalloc(PIECE);
	while (left) {
		size_t n = fread(some, 1, left < PIECE ? (size_t)left : PIECE, p->f);

		if (!n)
			break;
		take(ctx, some, n);
		left -= n;
	}
	free(some);
	return left ? err_sys(err, ST_FATAL, "a temporary file") : ST_OK;
}

static void digest(void *md, const char *p, size_t n)
{
	EVP_DigestUpdate(md, p, n);
}

static enum status sum_of(const struct piece *p, char sha[HEX], struct err *err)
{
	unsigned char raw[DIGEST];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	enum status rc;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		xmemory_gone();
	rc = pour(p, digest, md, err);
	EVP_DigestFinal_ex(md, raw, NULL);
	EVP_MD_CTX_free(md);
	text_hex(sha, raw, DIGEST);
	return rc;
}

static enum status tag_to_tree(
	struct export *x, const char *name, const struct piece *p, struct err *err)
{
	struct out *o = NULL;
	char sha[HEX];
	enum status rc = target_file(&x->t, &o, name, err);

	if (rc != ST_OK)
		return rc;
	rc = pour(p, out_put, o, err);
	if (rc != ST_OK) {
		out_drop(&o);
		return rc;
	}
	rc = out_close(&o, sha, err);
	if (rc == ST_OK)
		target_sum(&x->t, name, sha);
	return rc;
}

static enum status tag(
	struct export *x, const char *name, const struct piece *p, struct err *err)
{
	struct mailbag *b = x->own;
	char sha[HEX];
	enum status rc = sum_of(p, sha, err);

	buf_addf(&b->tags, "%s  %s\n", sha, name);
	if (rc == ST_OK && !is_tar(b))
		return tag_to_tree(x, name, p, err);
	if (rc == ST_OK)
		rc = entry(b, name, p->size, b->now, err);
	if (rc == ST_OK)
		rc = pour(p, bytes, b, err);
	if (rc == ST_OK &&
		(b->failed || archive_write_finish_entry(b->a) != ARCHIVE_OK))
		rc = broken(b, err);
	return rc;
}

static enum status tag_text(
	struct export *x, const char *name, const char *text, struct err *err)
{
	return tag(x, name, &(struct piece){ NULL, 0, strlen(text), text }, err);
}

/* mailbag.csv, or mailbag-1.csv and so on, with as many digits as the last one has. */
static enum status tag_tables(struct export *x, struct err *err)
{
	struct mailbag *b = x->own;
	uint64_t end = (uint64_t)ftello(b->rows);
	enum status rc = ST_OK;
	char name[64];
	size_t i;

	for (i = 0; rc == ST_OK && i < b->n_tables; i++) {
		struct piece p = { b->rows, b->at[i],
			(i + 1 < b->n_tables ? b->at[i + 1] : end) - b->at[i], NULL };

		if (b->n_tables == 1)
			snprintf(name, sizeof(name), "mailbag.csv");
		else
			snprintf(name, sizeof(name), "mailbag-%0*zu.csv",
				snprintf(NULL, 0, "%zu", b->n_tables), i + 1);
		rc = tag(x, name, &p, err);
	}
	return rc;
}

/* A random one (RFC 9562, version 4). */
static void make_uuid(char out[UUID])
{
	unsigned char r[16] = { 0 };
	char h[33];

	if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
		memcpy(r, &(int64_t){ clock_utc() }, sizeof(int64_t));
	r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
	r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
	text_hex(h, r, sizeof(r));
	snprintf(out, UUID, "%.8s-%.4s-%.4s-%.4s-%.12s", h, h + 8, h + 12, h + 16,
		h + 20);
}

static enum status tag_info(struct export *x, struct err *err)
{
	struct mailbag *b = x->own;
	struct buf info = BUF_INIT(INFO_MAX);
	char now[24], uuid[UUID];
	const char *agent = x->job->agent, *blank = strchrnul(agent, ' ');
	enum status rc;

	clock_rfc3339(now, b->now);
	make_uuid(uuid);
	buf_addf(&info,
		"Bag-Type: Mailbag\n"
		"Mailbag-Source: eml\n"
		"Mailbag-Specification-Version: 1.0\n"
		"Original-Included: True\n"
		"Bagging-Timestamp: %s\n"
		"Bagging-Date: %.10s\n"
		"External-Identifier: urn:uuid:%s\n"
		"Mailbag-Agent: %.*s\n"
		"Mailbag-Agent-Version: %s\n"
		"Payload-Oxum: %" PRIu64 ".%" PRIu64 "\n",
		now, now, uuid, (int)(blank - agent), agent, *blank ? blank + 1 : "",
		b->bytes, b->messages);
	if (*b->captured)
		buf_addf(&info, "Capture-Date: %s\n", b->captured);
	buf_addf(&info,
		"Capture-Agent: popferry\n"
		"EML-Format-Details: RFC 5322, byte for byte as it was received\n"
		"Bag-Group-Identifier: %s\n",
		archive_read_id(x->r));
	if (x->done->bad)
		buf_addf(&info, "Damaged-Left-Out: %" PRIu64 "\n", x->done->bad);
	rc = tag_text(x, "bag-info.txt", buf_str(&info), err);
	buf_free(&info);
	return rc;
}

static enum status end(struct export *x, struct err *err)
{
	struct mailbag *b = x->own;
	char *manifest = NULL;
	enum status rc = ST_OK;

	if (fflush(b->sums) != 0 || fflush(b->rows) != 0 || ferror(b->sums) ||
		ferror(b->rows))
		return err_sys(err, ST_FATAL, "a temporary file");
	rc = tag_text(x, "bagit.txt",
		"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n", err);
	if (rc == ST_OK)
		rc = tag_info(x, err);
	if (rc == ST_OK)
		rc = tag_tables(x, err);
	if (rc == ST_OK)
		rc = tag(x, "manifest-sha256.txt",
			&(struct piece){ b->sums, 0, (uint64_t)ftello(b->sums), NULL },
			err);
	if (rc == ST_OK) {
		manifest = buf_take(&b->tags);
		rc = tag_text(x, "tagmanifest-sha256.txt", manifest, err);
		free(manifest);
	}
	if (rc == ST_OK && is_tar(b) && archive_write_close(b->a) != ARCHIVE_OK)
		rc = broken(b, err);
	return rc;
}

static void drop(struct export *x)
{
	struct mailbag *b = x->own;

	if (!b)
		return;
	b->dropped = true;
	if (b->sums)
		fclose(b->sums);
	if (b->rows)
		fclose(b->rows);
	archive_write_free(b->a);
	archive_entry_free(b->e);
	buf_free(&b->tags);
	free(b->top);
	free(b->at);
	free(b);
	x->own = NULL;
}

const struct format format_mailbag = { .name = "mailbag",
	.what = "a Mailbag 1.0 (BagIt) directory; .tar, .tar.gz: one file",
	.tree = true,
	.bytes = true,
	.begin = tree_begin,
	.put = put,
	.end = end,
	.drop = drop };
const struct format format_mailbag_tar = { .name = "mailbag",
	.bytes = true,
	.begin = pack_begin,
	.put = put,
	.end = end,
	.drop = drop };
