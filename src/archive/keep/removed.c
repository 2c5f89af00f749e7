/* removed.c: in the custody log: what is at the source no more, since it is here. */
#include "../form/custody.h"
#include "../form/hash.h"
#include "../form/listing.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A line of the log has an end; who wants to know each has the digest. */
enum { SEQS_MAX = 32 * 1024, DETAIL_MAX = SEQS_MAX + 512, UIDL_MAX = 8 * 1024 };

static int by_place(const void *a, const void *b)
{
	const struct story_item *x = a, *y = b;

	return x->place < y->place ? -1 : x->place > y->place;
}

static int by_text(const void *a, const void *b)
{
	char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

/* "1-5,9", ending in "..." where that is too long. */
static void add_seqs(struct buf *b, const struct story_item *v, size_t n)
{
	size_t i, k, start = b->n;

	for (i = 0; i < n && v[i].place == 0; i++)
		; /* nobody knows where it is */
	for (; i < n; i = k) {
		uint64_t first = v[i].place;

		k = i + 1;
		while (k < n && v[k].place - v[k - 1].place <= 1)
			k++;
		if (b->n - start > SEQS_MAX - 64) {
			buf_adds(b, ",...");
			return;
		}
		buf_addf(b, "%s%" PRIu64, b->n > start ? "," : "", first);
		if (v[k - 1].place > first)
			buf_addf(b, "-%" PRIu64, v[k - 1].place);
	}
}

static void digest_uidls(
	const struct story_item *v, size_t n, unsigned char out[DIGEST])
{
	char **text = xcalloc(n + 1, sizeof(*text));
	struct hash *h;
	size_t i;

	for (i = 0; i < n; i++) {
		struct buf b = BUF_INIT(UIDL_MAX);

		listing_uidl(&b, v[i].uidl, v[i].uidl_n);
		buf_addc(&b, '\n');
		buf_add(&b, "", 1);
		text[i] = buf_take(&b);
	}
	qsort(text, n, sizeof(*text), by_text);
	hash_begin(&h);
	for (i = 0; i < n; i++) {
		hash_put(h, text[i], strlen(text[i]));
		free(text[i]);
	}
	hash_end(&h, out);
	free(text);
}

enum status archive_note_removed(const char *path, const char *account,
	const struct story_item *items, size_t n, struct err *err)
{
	struct story_item *v = xcalloc(n + 1, sizeof(*v));
	struct buf b = BUF_INIT(DETAIL_MAX);
	unsigned char sha[DIGEST];
	char hex[2 * DIGEST + 1];
	enum status rc;

	if (n)
		memcpy(v, items, n * sizeof(*v));
	qsort(v, n, sizeof(*v), by_place);
	digest_uidls(v, n, sha);
	buf_addf(&b, "{\"count\":%zu,\"seqs\":\"", n);
	add_seqs(&b, v, n);
	buf_addf(&b, "\",\"uidl_sha256\":\"%s\"}", text_hex(hex, sha, DIGEST));
	rc = archive_note(path, "delete.server", account, buf_str(&b), err);
	buf_free(&b);
	free(v);
	return rc;
}
