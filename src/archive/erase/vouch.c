/* vouch.c: whether a segment's files are, byte for byte, those that seal and records
 * tell of. */
#include "disposal.h"
#include "../form/statement.h"

#include <string.h>

/* By its seal, or by the last record that changed them. */
static enum status vouched(struct state *out, const struct disposition *next, int dir,
	const struct statement *seal, struct err *err)
{
	enum status rc = ST_OK;
	unsigned no;

	memcpy(out->file, seal->file, sizeof(out->file));
	memcpy(out->sha, seal->sha, DIGEST);
	memcpy(out->idx_sha, seal->idx_sha, DIGEST);
	for (no = 1; rc == ST_OK && no < next->no; no++) {
		struct disposition d;

		rc = disposition_load(&d, dir, no, err);
		if (rc == ST_OK && strcmp(d.segment, next->segment) == 0)
			*out = d.after;
		disposition_free(&d);
	}
	return rc;
}

enum status disposal_files(const struct disposition *next, int dir,
	const struct statement *seal, const char *idx, struct err *err)
{
	const struct state *is = &next->before;
	struct state was = { 0 };
	bool same;
	enum status rc = vouched(&was, next, dir, seal, err);

	if (rc != ST_OK)
		return rc;
	same = strcmp(is->file, was.file) == 0 && memcmp(is->sha, was.sha, DIGEST) == 0;
	if (same && memcmp(is->idx_sha, was.idx_sha, DIGEST) == 0)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"segments/%s is not the file that was sealed, so nothing is taken out of the "
		"segment: put it back from a copy of the archive",
		same ? idx : is->file);
}
