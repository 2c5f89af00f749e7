/* tomb.c: tombstones: fixed texts that tell of a message no more than that it was
 * here. */
#include "tomb.h"
#include "csv.h"

#include <popferry/text.h>

#include <inttypes.h>
#include <string.h>

void tomb_text(struct buf *b, uint64_t seq, const unsigned char leaf[DIGEST],
	unsigned disposition)
{
	char hex[2 * DIGEST + 1];

	buf_addf(b,
		"popferry-tombstone/1\nseq: %" PRIu64
		"\nleaf: %s\ndisposition: policy/disposition-%06u.json\n",
		seq, text_hex(hex, leaf, DIGEST), disposition);
}

void tomb_path(struct buf *b, const char *path)
{
	size_t n = strlen(path), k = strlen(".eml");

	buf_add(b, path, n > k ? n - k : 0);
	buf_adds(b, ".tombstone");
}

void tomb_leaf_line(struct buf *b, uint64_t seq, const unsigned char leaf[DIGEST])
{
	char hex[2 * DIGEST + 1];

	buf_addf(b, "%" PRIu64 "\t-\t-\t-\t%s\n", seq, text_hex(hex, leaf, DIGEST));
}

bool tomb_leaf_of(unsigned char leaf[DIGEST], const char *line, size_t n, uint64_t seq)
{
	struct buf want = BUF_INIT(TOMB_MAX);
	char hex[2 * DIGEST + 1];
	bool yes = false;

	if (n > 2 * DIGEST + 1 && line[n - 1] == '\n') {
		memcpy(hex, line + n - 2 * DIGEST - 1, 2 * DIGEST);
		hex[2 * DIGEST] = '\0';
		yes = text_unhex(leaf, DIGEST, hex);
	}
	if (yes)
		tomb_leaf_line(&want, seq, leaf);
	yes = yes && want.n == n && memcmp(want.p, line, n) == 0;
	buf_free(&want);
	return yes;
}

void tomb_csv_row(struct buf *b, uint64_t seq, const char *path, size_t size,
	const unsigned char sha[DIGEST], unsigned disposition)
{
	char hex[2 * DIGEST + 1];
	int i;

	buf_addf(b, "\"%" PRIu64 "\",\"%09" PRIu64 "\",\"%s\",\"%zu\",\"%s\"", seq, seq,
		path, size, text_hex(hex, sha, DIGEST));
	for (i = CSV_SHA256 + 1; i < CSV_COLUMNS - 1; i++)
		buf_adds(b, ",\"\"");
	buf_addf(b, ",\"disposed of: policy/disposition-%06u.json\"\r\n", disposition);
}
