/* table.c: the tables of a segment, compared with its entries and with each other. */
#include "check.h"
#include "csv.h"
#include "hash.h"
#include "mailbag.h"
#include "tomb.h"

#include <popferry/text.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LEAF_TAIL = 2 * SALT + 1 + 2 * DIGEST + 1 }; /* of a line: salt, leaf, LF */

const char *const tag_names[TAGS] = { "bag-info.txt", "metadata/messages.csv",
	"mailbag.csv", "metadata/merkle.tsv", "metadata/listing.tsv",
	"metadata/errors.csv", "metadata/server.json", "manifest-sha256.txt",
	"tagmanifest-sha256.txt" };
const char bagit_text[] = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

void tagmanifest_text(struct buf *b, const struct tag_sums *sums)
{
	unsigned char bagit[DIGEST];
	char hex[2 * DIGEST + 1];
	int i;

	hash_of(bagit_text, strlen(bagit_text), bagit);
	buf_addf(b, "%s  bagit.txt\n", text_hex(hex, bagit, DIGEST));
	for (i = 0; i < TAG_TAGMANIFEST; i++)
		if (!tag_may_lack((enum tag)i) || sums->has[i])
			buf_addf(b, "%s  %s\n", text_hex(hex, sums->of[i], DIGEST),
				tag_names[i]);
}

bool tag_may_lack(enum tag tag)
{
	return tag >= TAG_MAILBAG && tag < TAG_MANIFEST;
}

enum tag check_tag_at(struct check *ck, const char *path)
{
	enum tag tag = (enum tag)(ck->pos - 1 - ck->x->n);

	while (tag_may_lack(tag) && strcmp(path, tag_names[tag]) != 0) {
		ck->pos++;
		tag++;
	}
	return tag;
}

uint64_t segment_path(const char *path)
{
	unsigned char sha[DIGEST];
	uint64_t h;

	hash_of(path, strlen(path), sha);
	memcpy(&h, sha, sizeof(h));
	return h | 1;
}

enum status check_read(struct check *ck, struct entries *s, unsigned char out[DIGEST],
	enum status (*take)(struct check *ck, const char *p, size_t n))
{
	struct hash *h;
	const char *p;
	size_t n;
	enum status rc;

	hash_begin(&h);
	while ((rc = entries_data(s, &p, &n, ck->err)) == ST_OK && n) {
		hash_put(h, p, n);
		if (take && (rc = take(ck, p, n)) < 0)
			break;
	}
	hash_end(&h, out);
	return rc;
}

enum status check_wrong(struct check *ck, const char *what)
{
	return err_set(ck->err, ST_DENIED, EX_DATAERR, "%s", what);
}

static void check_row(struct check *ck, const char *table, const char *path,
	const char *sha_hex, const char *size)
{
	unsigned char sha[DIGEST];
	const struct idx_row *r;
	size_t i = ck->row++;

	if (i >= ck->x->n) {
		if (i == ck->x->n)
			tally_bad(ck->t,
				"%s: %s has more lines than there are messages",
				ck->file, table);
		return;
	}
	r = &ck->x->rows[i];
	if (!text_unhex(sha, DIGEST, sha_hex) || memcmp(sha, r->sha, DIGEST) != 0 ||
		(ck->paths[i] && ck->paths[i] != segment_path(path)) ||
		(size && strtoull(size, NULL, 10) != r->size))
		tally_bad(ck->t, "%s: %s does not describe message %" PRIu32, ck->file,
			table, r->seq);
}

static void rows_end(struct check *ck, const char *table)
{
	if (ck->row < ck->x->n)
		tally_bad(ck->t, "%s: %s lacks %zu of %zu message%s", ck->file, table,
			ck->x->n - ck->row, ck->x->n, text_s(ck->x->n));
}

static enum status take_csv_row(void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct check *ck = ctx;
	size_t i = ck->row;

	(void)err;
	if (i > ck->x->n)
		return check_wrong(ck, "metadata/messages.csv does not end");
	if (i < ck->x->n && strtoull(f[CSV_SEQ], NULL, 10) != ck->x->rows[i].seq)
		tally_bad(ck->t, "%s: row %zu of %s is of another message", ck->file,
			i + 1, tag_names[TAG_CSV]);
	check_row(ck, tag_names[TAG_CSV], f[CSV_PATH], f[CSV_SHA256], f[CSV_SIZE]);
	buf_clear(&ck->mailbag_line);
	mailbag_row(&ck->mailbag_line, f);
	hash_put(ck->mailbag, ck->mailbag_line.p, ck->mailbag_line.n);
	return ST_OK;
}

static enum status check_csv(
	struct check *ck, struct entries *s, unsigned char sha[DIGEST])
{
	struct hash *h;
	struct csv csv;
	const char *p;
	size_t n;
	enum status rc;

	csv_init(&csv);
	hash_begin(&h);
	hash_begin(&ck->mailbag);
	buf_init(&ck->mailbag_line, CSV_ROW_MAX);
	mailbag_header(&ck->mailbag_line);
	hash_put(ck->mailbag, ck->mailbag_line.p, ck->mailbag_line.n);
	while ((rc = entries_data(s, &p, &n, ck->err)) == ST_OK && n) {
		hash_put(h, p, n);
		rc = csv_feed(&csv, p, n, take_csv_row, ck, ck->err);
		if (rc < 0)
			break;
	}
	hash_end(&h, sha);
	hash_end(&ck->mailbag, ck->mailbag_sha);
	buf_free(&ck->mailbag_line);
	if (rc == ST_OK)
		rc = csv_end(&csv, ck->err);
	if (rc == ST_OK)
		rows_end(ck, tag_names[TAG_CSV]);
	csv_release(&csv);
	return rc;
}

/* Each line goes to take(), with its LF. */
static enum status by_line(struct check *ck, const char *p, size_t n, const char *table,
	enum status (*take)(struct check *ck, char *line, size_t n))
{
	enum status rc = ST_OK;
	size_t i, k;

	for (i = 0; rc == ST_OK && i < n; i += k) {
		const char *lf = memchr(p + i, '\n', n - i);

		k = lf ? (size_t)(lf - (p + i)) + 1 : n - i;
		if (!buf_add(&ck->line, p + i, k))
			return err_set(ck->err, ST_DENIED, EX_DATAERR,
				"%s has an endless line", table);
		if (!lf)
			break;
		if (ck->row > ck->x->n)
			return err_set(ck->err, ST_DENIED, EX_DATAERR,
				"%s does not end", table);
		rc = take(ck, ck->line.p, ck->line.n);
		buf_clear(&ck->line);
	}
	return rc;
}

static enum status manifest_line(struct check *ck, char *s, size_t n)
{
	if (n < 2 * DIGEST + 4 || memcmp(s + 2 * DIGEST, "  ", 2) != 0)
		return check_wrong(ck, "manifest-sha256.txt has a line that is none");
	s[2 * DIGEST] = s[n - 1] = '\0';
	check_row(ck, tag_names[TAG_MANIFEST], s + 2 * DIGEST + 2, s, NULL);
	return ST_OK;
}

static enum status take_manifest(struct check *ck, const char *p, size_t n)
{
	return by_line(ck, p, n, tag_names[TAG_MANIFEST], manifest_line);
}

/* The salt is what only this table knows; all else follows from the index. */
static bool leaf_of(
	unsigned char leaf[DIGEST], const struct idx_row *r, char *s, size_t n)
{
	struct buf want = BUF_INIT(TREE_LINE_MAX);
	unsigned char salt[SALT];
	char *tail = n > LEAF_TAIL ? s + n - LEAF_TAIL : s;
	bool right;

	if (n > LEAF_TAIL && tail[2 * SALT] == '\t')
		tail[2 * SALT] = '\0';
	if (text_unhex(salt, SALT, tail)) {
		tail[2 * SALT] = '\t';
		tree_line(&want, r, salt, leaf);
	}
	right = want.n == n && memcmp(want.p, s, n) == 0;
	buf_free(&want);
	return right;
}

static enum status leaf_line(struct check *ck, char *s, size_t n)
{
	unsigned char leaf[DIGEST];
	const struct idx_row *r;

	if (!ck->tree_begun) {
		ck->tree_begun = true;
		return strcmp(s, tree_head) == 0
			? ST_OK
			: check_wrong(ck,
				  "metadata/merkle.tsv has not the columns it should");
	}
	if (ck->row++ >= ck->x->n)
		return check_wrong(ck, "metadata/merkle.tsv has too many lines");
	r = &ck->x->rows[ck->row - 1];
	if (r->gone ? !tomb_leaf_of(leaf, s, n, r->seq) : !leaf_of(leaf, r, s, n)) {
		tally_bad(ck->t, "%s: %s does not describe message %" PRIu32, ck->file,
			tag_names[TAG_TREE], r->seq);
		ck->tree_bad = true;
	} else if (ck->facts) {
		tree_add(&ck->facts->tree, leaf);
	}
	return ST_OK;
}

static enum status take_tree(struct check *ck, const char *p, size_t n)
{
	return by_line(ck, p, n, tag_names[TAG_TREE], leaf_line);
}

static enum status check_tree(struct check *ck, struct entries *s)
{
	enum status rc = check_read(ck, s, ck->sums.of[TAG_TREE], take_tree);

	if (rc != ST_OK)
		return rc;
	if (ck->line.n)
		return check_wrong(ck, "metadata/merkle.tsv ends inside a line");
	rows_end(ck, tag_names[TAG_TREE]);
	if (ck->facts)
		ck->facts->has_tree = !ck->tree_bad && ck->row == ck->x->n;
	return ST_OK;
}

static enum status check_text(struct check *ck, struct entries *s, enum tag tag)
{
	struct buf got = BUF_INIT(CHECK_TEXT_MAX), want = BUF_INIT(CHECK_TEXT_MAX);
	enum status rc = entries_text(s, &got, ck->err);
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < ck->x->n; i++)
		bytes += ck->x->rows[i].size;
	hash_of(buf_str(&got), got.n, ck->sums.of[tag]);
	if (rc == ST_OK && tag == TAG_TAGMANIFEST && ck->facts) {
		memcpy(ck->facts->tags_sha, ck->sums.of[tag], DIGEST);
		ck->facts->has_tags = true;
	}
	if (tag == TAG_INFO)
		buf_addf(&want, "\nPayload-Oxum: %" PRIu64 ".%zu\n", bytes, ck->x->n);
	else
		tagmanifest_text(&want, &ck->sums);
	if (rc == ST_OK &&
		(tag == TAG_INFO ? !strstr(buf_str(&got), buf_str(&want))
				 : strcmp(buf_str(&got), buf_str(&want)) != 0))
		tally_bad(ck->t, "%s: %s does not agree with the rest of the segment",
			ck->file, tag_names[tag]);
	buf_free(&got);
	buf_free(&want);
	return rc;
}

/* It has to follow from the rows of messages.csv. */
static enum status check_mailbag(struct check *ck, struct entries *s)
{
	unsigned char *sha = ck->sums.of[TAG_MAILBAG];
	enum status rc = check_read(ck, s, sha, NULL);

	if (rc == ST_OK && memcmp(sha, ck->mailbag_sha, DIGEST) != 0)
		tally_bad(ck->t, "%s: %s does not agree with %s", ck->file,
			tag_names[TAG_MAILBAG], tag_names[TAG_CSV]);
	return rc;
}

static enum status take_listing(struct check *ck, const char *p, size_t n)
{
	listing_feed(ck->listing, p, n);
	return ST_OK;
}

static enum status check_listing(struct check *ck, struct entries *s)
{
	struct listing_sums sums;
	const char *why;
	enum status rc;

	listing_begin(&ck->listing, NULL, NULL);
	rc = check_read(ck, s, ck->sums.of[TAG_LISTING], take_listing);
	why = listing_end(&ck->listing, &sums);
	if (rc == ST_OK && why)
		tally_bad(ck->t, "%s: %s %s", ck->file, tag_names[TAG_LISTING], why);
	else if (ck->facts)
		ck->facts->listing = sums;
	return rc;
}

/* They were made of the rows when they were written: it is enough that they are as they
 * were then. */
static enum status check_made(struct check *ck, struct entries *s, enum tag tag)
{
	const struct segment_made *made = ck->facts->made;
	enum status rc = check_read(ck, s, ck->sums.of[tag], NULL);
	bool same = made->sums.has[tag] &&
		memcmp(ck->sums.of[tag], made->sums.of[tag], DIGEST) == 0;

	if (rc == ST_OK && !same)
		tally_bad(ck->t, "%s: %s is not what was written", ck->file,
			tag_names[tag]);
	if (tag == TAG_TREE)
		ck->facts->has_tree = rc == ST_OK && same;
	return rc;
}

enum status check_tag(
	struct check *ck, struct entries *s, enum tag tag, const char *path)
{
	enum status rc;

	ck->row = 0;
	ck->sums.has[tag] = true;
	if (strcmp(path, tag_names[tag]) != 0)
		return err_set(ck->err, ST_DENIED, EX_DATAERR,
			"%s stands where %s should", path, tag_names[tag]);
	if (ck->facts && ck->facts->made && tag > TAG_INFO && tag < TAG_TAGMANIFEST)
		return check_made(ck, s, tag);
	switch (tag) {
	case TAG_CSV:
		return check_csv(ck, s, ck->sums.of[tag]);
	case TAG_MAILBAG:
		return check_mailbag(ck, s);
	case TAG_TREE:
		return check_tree(ck, s);
	case TAG_MANIFEST:
		rc = check_read(ck, s, ck->sums.of[tag], take_manifest);
		if (rc == ST_OK)
			rows_end(ck, tag_names[tag]);
		return rc;
	case TAG_LISTING:
		return check_listing(ck, s);
	case TAG_ERRORS:
	case TAG_SERVER:
		return check_read(ck, s, ck->sums.of[tag], NULL);
	default:
		return check_text(ck, s, tag);
	}
}
