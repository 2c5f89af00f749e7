/* tree.c: a file a message in folders, alone or with a table beside them. */
#include "own.h"

#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the archive says is not taken on trust: a name leads nowhere else. */
static bool fit(const char *path, uint64_t seq)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789._~-/";
	char end[32];
	size_t n = strlen(path), k;
	const char *s;

	snprintf(end, sizeof(end), "/%09" PRIu64 ".eml", seq);
	k = strlen(end);
	if (n <= k || n > 240 || strspn(path, allowed) != n ||
		strcmp(path + n - k, end) != 0)
		return false;
	for (s = path; s; s = strchr(s, '/')) {
		s += *s == '/';
		if (*s == '/' || *s == '.' || *s == '-')
			return false;
	}
	return true;
}

void message_name(char out[256], const struct archive_row *row)
{
	static const char start[] = "data/eml/";
	const char *path = row->path;

	if (text_starts(path, start) && fit(path + strlen(start), row->seq))
		snprintf(out, 256, "%s", path + strlen(start));
	else
		snprintf(out, 256, "unknown/%09" PRIu64 ".eml", row->seq);
}

int64_t message_time(const struct archive_row *row)
{
	struct when w = date_parse(row->date, strlen(row->date));

	if (!w.known)
		w = date_parse(row->retrieved, strlen(row->retrieved));
	return w.known && w.utc > 0 ? w.utc : 0;
}

struct both {
	struct out *o;
	struct besides *look;
};

static void put_both(void *ctx, const char *p, size_t n)
{
	struct both *b = ctx;

	out_put(b->o, p, n);
	besides_put(b->look, p, n);
}

enum status put_file(struct export *x, const char *path, const struct archive_row *row,
	const struct archive_mail *m, struct besides *look, struct err *err)
{
	struct out *o = NULL;
	char sha[HEX];
	enum status rc = target_file(&x->t, &o, path, err);

	if (rc != ST_OK)
		return rc;
	rc = look ? archive_mail_give(m, put_both, &(struct both){ o, look }, err)
		  : archive_mail_give(m, out_put, o, err);
	if (rc != ST_OK) {
		out_drop(&o);
		return rc;
	}
	out_time(o, message_time(row));
	rc = out_close(&o, sha, err);
	if (rc == ST_OK)
		target_sum(&x->t, path, sha);
	return rc;
}

static enum status eml_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	char name[256];

	message_name(name, row);
	return put_file(x, name, row, m, NULL, err);
}

/* ---- with a table ---- */

static const struct {
	const char *file, *folder;
} kinds[] = {
	[TABLE_DAT] = { "loadfile.dat", "NATIVES" },
	[TABLE_NARA] = { "metadata.csv", "records" },
};

static enum status with_begin(struct export *x, enum dialect d, struct err *err)
{
	struct out *o = NULL;
	enum status rc = target_file(&x->t, &o, kinds[d].file, err);

	x->own = o;
	if (rc == ST_OK)
		table_put(o, d, NULL, NULL, false);
	return rc;
}

static enum status with_put(struct export *x, enum dialect d,
	const struct archive_row *row, const struct archive_mail *m, struct err *err)
{
	char name[256], path[300];
	struct besides look;
	enum status rc;

	message_name(name, row);
	snprintf(path, sizeof(path), "%s/%s", kinds[d].folder, name);
	besides_begin(&look);
	look.native = path;
	rc = put_file(x, path, row, m, &look, err);
	besides_end(&look);
	if (rc == ST_OK)
		table_put(x->own, d, row, &look, x->job->excel_safe);
	besides_release(&look);
	return rc;
}

static enum status with_end(struct export *x, enum dialect d, struct err *err)
{
	struct out *o = x->own;
	char sha[HEX];
	enum status rc;

	x->own = NULL;
	rc = out_close(&o, sha, err);
	if (rc == ST_OK)
		target_sum(&x->t, kinds[d].file, sha);
	return rc;
}

static void with_drop(struct export *x)
{
	struct out *o = x->own;

	out_drop(&o);
	x->own = NULL;
}

static enum status dat_begin(struct export *x, struct err *err)
{
	return with_begin(x, TABLE_DAT, err);
}

static enum status dat_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	return with_put(x, TABLE_DAT, row, m, err);
}

static enum status dat_end(struct export *x, struct err *err)
{
	return with_end(x, TABLE_DAT, err);
}

static enum status nara_begin(struct export *x, struct err *err)
{
	return with_begin(x, TABLE_NARA, err);
}

static enum status nara_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	return with_put(x, TABLE_NARA, row, m, err);
}

static enum status nara_end(struct export *x, struct err *err)
{
	return with_end(x, TABLE_NARA, err);
}

const struct format format_eml = { .name = "eml",
	.what = "a directory with a file a message",
	.tree = true,
	.bytes = true,
	.put = eml_put };
const struct format format_dat = { .name = "dat",
	.what = "a directory with a Concordance load file and natives",
	.tree = true,
	.bytes = true,
	.begin = dat_begin,
	.put = dat_put,
	.end = dat_end,
	.drop = with_drop };
const struct format format_nara = { .name = "nara",
	.what = "a directory with records and NARA's metadata.csv",
	.tree = true,
	.bytes = true,
	.begin = nara_begin,
	.put = nara_put,
	.end = nara_end,
	.drop = with_drop };
