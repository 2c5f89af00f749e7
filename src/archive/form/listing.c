/* listing.c: lines of listing.tsv, written, and read and counted again. */
#include "listing.h"
#include "hash.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const fate_names[FATES] = { "left", "known", "stored", "duplicate",
	"filtered", "failed", "vanished", "renamed" };
const char listing_head[] = "number\tfate\tseq\tsize\tuidl\n";

enum { COLUMNS = 5 };
enum { NUMBER, FATE, SEQ, SIZE, UIDL };

uint64_t listing_total(const uint64_t count[FATES])
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < FATES; i++)
		n += i == FATE_RENAMED ? 0 : count[i];
	return n;
}

bool listing_same(
	const struct listing_sums *is, const struct listing_sums *was, bool gone)
{
	return memcmp(is->count, was->count, sizeof(is->count)) == 0 &&
		(gone ||
			(is->octets == was->octets &&
				memcmp(is->sha, was->sha, DIGEST) == 0));
}

/* ---- writing ---- */

void listing_uidl(struct buf *b, const char *uidl, size_t n)
{
	size_t i = 0, from;

	while (i < n) {
		for (from = i;
			i < n && uidl[i] > 0x20 && uidl[i] < 0x7f && uidl[i] != '\\';)
			i++;
		buf_add(b, uidl + from, i - from);
		if (i < n)
			buf_addf(b, "\\x%02x", (unsigned char)uidl[i++]);
	}
}

/* With a tab behind it. There are millions: no printf. */
static void add_number(struct buf *b, uint64_t n, uint64_t none)
{
	if (n == none)
		buf_addc(b, '-');
	else
		buf_addu(b, n, 1);
	buf_addc(b, '\t');
}

void listing_line(struct buf *b, const struct story_item *it)
{
	add_number(b, it->number, 0);
	buf_adds(b, fate_names[it->fate]);
	buf_addc(b, '\t');
	add_number(b, it->place, 0);
	add_number(b, it->size, UINT64_MAX);
	listing_uidl(b, it->uidl, it->uidl_n);
	buf_addc(b, '\n');
}

void listing_digest_line(struct buf *b, const struct story_item *it)
{
	add_number(b, it->number, 0);
	add_number(b, it->size, UINT64_MAX);
	listing_uidl(b, it->uidl, it->uidl_n);
	buf_addc(b, '\n');
}

/* ---- reading ---- */

struct listing_reader {
	struct buf line;
	struct hash *hash;
	struct listing_sums sums;
	listing_take *take;
	void *ctx;
	bool begun;
	const char *wrong;
};

void listing_begin(struct listing_reader **out, listing_take *take, void *ctx)
{
	struct listing_reader *r = xcalloc(1, sizeof(*r));

	r->take = take;
	r->ctx = ctx;
	buf_init(&r->line, LISTING_LINE_MAX);
	hash_begin(&r->hash);
	*out = r;
}

static bool is_number(const char *s, uint64_t none, uint64_t max, uint64_t *out)
{
	char *end;

	*out = none;
	if (strcmp(s, "-") == 0)
		return true;
	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*out = strtoull(s, &end, 10);
	return *end == '\0' && errno == 0 && *out <= max;
}

/* In place: what listing_uidl() wrote. */
static bool is_uidl(char *s, size_t *n)
{
	char *out = s, *from = s;
	unsigned char c;

	for (; *s; s++) {
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
		if (*s != '\\') {
			*out++ = *s;
			continue;
		}
		if (s[1] != 'x' || !s[2] || !s[3] ||
			!text_unhex(&c, 1, (char[]){ s[2], s[3], '\0' }))
			return false;
		*out++ = (char)c;
		s += 3;
	}
	*n = (size_t)(out - from);
	return true;
}

static size_t fate_of(const char *name)
{
	size_t i = 0;

	while (i < FATES && strcmp(name, fate_names[i]) != 0)
		i++;
	return i;
}

/* The line is without its LF, and is cut into its fields. */
static bool take_line(struct listing_reader *r, char *line)
{
	struct story_item it;
	char *f[COLUMNS];
	uint64_t number;
	size_t i, fate;

	for (i = 0; i < COLUMNS; i++) {
		f[i] = line;
		line += strcspn(line, "\t");
		if ((*line == '\t') != (i + 1 < COLUMNS))
			return false;
		*line++ = '\0';
	}
	fate = fate_of(f[FATE]);
	if (fate == FATES || !is_number(f[NUMBER], 0, UINT32_MAX, &number) ||
		!is_number(f[SEQ], 0, UINT64_MAX, &it.place) ||
		!is_number(f[SIZE], UINT64_MAX, UINT64_MAX - 1, &it.size))
		return false;
	r->sums.count[fate]++;
	r->sums.octets += fate == FATE_RENAMED || it.size == UINT64_MAX ? 0 : it.size;
	hash_put(r->hash, f[NUMBER], strlen(f[NUMBER]));
	hash_put(r->hash, "\t", 1);
	hash_put(r->hash, f[SIZE], strlen(f[SIZE]));
	hash_put(r->hash, "\t", 1);
	hash_put(r->hash, f[UIDL], strlen(f[UIDL]));
	hash_put(r->hash, "\n", 1);
	it.fate = (enum fate)fate;
	it.number = (uint32_t)number;
	it.uidl = f[UIDL];
	if (!is_uidl(f[UIDL], &it.uidl_n))
		return false;
	if (r->take)
		r->take(r->ctx, &it);
	return true;
}

static bool line_done(struct listing_reader *r)
{
	bool good = !memchr(r->line.p, '\0', r->line.n);

	if (good && !r->begun) {
		good = r->line.n == strlen(listing_head) &&
			memcmp(r->line.p, listing_head, r->line.n) == 0;
		r->begun = true;
	} else if (good) {
		r->line.p[r->line.n - 1] = '\0';
		good = take_line(r, r->line.p);
	}
	buf_clear(&r->line);
	return good;
}

const char *listing_feed(struct listing_reader *r, const char *p, size_t n)
{
	while (!r->wrong && n) {
		const char *lf = memchr(p, '\n', n);
		size_t k = lf ? (size_t)(lf - p) + 1 : n;

		if (!buf_add(&r->line, p, k))
			r->wrong = "has an endless line";
		else if (lf && !line_done(r))
			r->wrong = "has a line that is none";
		p += k;
		n -= k;
	}
	return r->wrong;
}

const char *listing_end(struct listing_reader **rp, struct listing_sums *out)
{
	struct listing_reader *r = *rp;
	const char *wrong = r->wrong;

	if (!wrong && (!r->begun || r->line.n))
		wrong = "ends inside a line";
	hash_end(&r->hash, r->sums.sha);
	r->sums.known = !wrong;
	*out = r->sums;
	buf_free(&r->line);
	free(r);
	*rp = NULL;
	return wrong;
}
