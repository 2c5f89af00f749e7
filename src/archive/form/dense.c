/* dense.c: finds base64, and writes gzip members that have literals only (RFC 1951,
 * 3.2.7). */
#include "dense.h"

#include <endian.h>
#include <libdeflate.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	RUN_MIN = 16 * 1024,  /* shorter, what is around it loses more than is won */
	RUN_MAX = 256 * 1024, /* what follows may be of another kind */
	LINE_MIN = 40,
	LINE_MAX = 1000, /* with its line end */
	/* Bytes in one block: what is in an attachment changes, and its codes with
	 * it. */
	BLOCK = 64 * 1024,
	LITERALS = 256,
	END = LITERALS, /* the symbol that ends a block */
	SYMBOLS = END + 1,
	CODE_MAX = 12, /* bits; the format has 15, but so four fit into a word */
	LENGTHS = 19,  /* symbols of the code that the codes' lengths are written in */
	LENGTH_CODE_MAX = 7,
	DISTANCES = 2, /* there are none, but some readers want a whole code for them */
	HEAD = 10,
	TAIL = 8,
	SLACK = 16, /* bytes that may be written behind the last one */
};

/* ---- finding it ---- */

static bool is_base64(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* A line of so many bytes, all of them. */
static bool is_line(const char *p, size_t n)
{
	size_t i, text = n - 1 - (n > 1 && p[n - 2] == '\r');

	for (i = 0; i < text; i++)
		if (!is_base64(p[i]))
			return false;
	return true;
}

/* How many lines as the first one, of len bytes, there are; of the others a few are
 * looked at closely. */
static size_t lines_like(const char *p, size_t n, size_t len)
{
	size_t k = 1, at;

	if (!is_line(p, len))
		return 0;
	for (at = len; at + len <= n && at <= RUN_MAX; at += len, k++)
		if (p[at + len - 1] != '\n' || p[at + len - 2] != p[len - 2] ||
			!is_base64(p[at]) || !is_base64(p[at + len / 2]) ||
			(k % 16 == 0 && !is_line(p + at, len)))
			break;
	return k;
}

bool dense_next(const char *p, size_t n, size_t at, size_t *from, size_t *to)
{
	while (n - at > RUN_MIN) {
		const char *lf = memchr(p + at, '\n', n - at);
		size_t len = lf ? (size_t)(lf - (p + at)) + 1 : n - at, k = 0;

		if (lf && len >= LINE_MIN && len <= LINE_MAX && is_base64(p[at]))
			k = lines_like(p + at, n - at, len);
		/* Seen from afar the header of the next entry may be a line, too. */
		while (k > 1 && !is_line(p + at + (k - 1) * len, len))
			k--;
		if (k > 1 && (k - 1) * len >= RUN_MIN) {
			*from = at;
			*to = at + (k - 1) * len;
			return true;
		}
		at += k > 1 ? k * len : len;
	}
	return false;
}

/* ---- codes ---- */

struct leaf {
	uint32_t n; /* how often */
	uint16_t symbol;
};

static int by_count(const void *a, const void *b)
{
	const struct leaf *x = a, *y = b;

	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return (int)x->symbol - (int)y->symbol;
}

/* The depth of each leaf, from the rarest on, in the tree that Huffman's way gives. */
static void depths(const struct leaf *leaf, unsigned n, unsigned depth[])
{
	uint32_t weight[SYMBOLS];
	unsigned up[2 * SYMBOLS], l = 0, made = 0, next = 0, i;

	while (made + 1 < n) {
		weight[made] = 0;
		for (i = 0; i < 2; i++) {
			bool is_leaf = l < n &&
				(next == made || leaf[l].n <= weight[next]);

			weight[made] += is_leaf ? leaf[l].n : weight[next];
			up[is_leaf ? l++ : n + next++] = n + made;
		}
		made++;
	}
	/* From the root, which is the last one made, downwards. */
	depth[n + made - 1] = 0;
	for (i = n + made - 1; i-- > 0;)
		depth[i] = depth[up[i]] + 1;
}

/* The length of each symbol's code, none longer than most; 0: it has none. At least two
 * symbols occur. */
static void code_lengths(
	const uint32_t count[], unsigned symbols, unsigned most, unsigned char length[])
{
	struct leaf leaf[SYMBOLS];
	unsigned depth[2 * SYMBOLS], of[CODE_MAX + 1] = { 0 }, n = 0, i, k;
	uint32_t used = 0;

	for (i = 0; i < symbols; i++) {
		length[i] = 0;
		if (count[i])
			leaf[n++] = (struct leaf){ count[i], (uint16_t)i };
	}
	qsort(leaf, n, sizeof(*leaf), by_count);
	depths(leaf, n, depth);
	for (i = 0; i < n; i++)
		of[depth[i] < most ? depth[i] : most]++;
	/* What was cut off takes places elsewhere: one leaf goes down, to its side one
	 * of the longest. */
	for (i = 1; i <= most; i++)
		used += (uint32_t)of[i] << (most - i);
	for (; used > (uint32_t)1 << most; used--) {
		for (k = most - 1; of[k] == 0;)
			k--;
		of[k]--;
		of[k + 1] += 2;
		of[most]--;
	}
	for (i = 0, k = most; i < n; i++) {
		while (of[k] == 0)
			k--;
		of[k]--;
		length[leaf[i].symbol] = (unsigned char)k;
	}
}

/* The bits of each code, the first one lowest. */
static void code_bits(
	const unsigned char length[], unsigned symbols, unsigned most, uint16_t bits[])
{
	unsigned next[CODE_MAX + 2] = { 0 }, i, k, code = 0;

	for (i = 0; i < symbols; i++)
		next[length[i] + 1]++;
	for (k = 1, next[1] = 0; k <= most; k++) {
		code = (code + next[k]) << 1;
		next[k] = code;
	}
	for (i = 0; i < symbols; i++) {
		bits[i] = 0;
		code = length[i] ? next[length[i]]++ : 0;
		for (k = 0; k < length[i]; k++, code >>= 1)
			bits[i] = (uint16_t)(bits[i] << 1 | (code & 1));
	}
}

/* ---- bits going out ---- */

struct bits {
	uint64_t word;
	unsigned n; /* bits in it */
	unsigned char *at, *end;
};

static void store(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static void flush(struct bits *b)
{
	store(b->at, b->word);
	b->at += b->n / 8;
	b->word >>= b->n & ~7u;
	b->n %= 8;
}

static void put(struct bits *b, unsigned v, unsigned n)
{
	b->word |= (uint64_t)v << b->n;
	b->n += n;
	flush(b);
}

/* ---- a block ---- */

/* The lengths of the codes, in runs: a symbol, and the extra bits behind it. */
struct lengths {
	unsigned char symbol[SYMBOLS + DISTANCES], extra[SYMBOLS + DISTANCES];
	unsigned n;
};

static void run_lengths(struct lengths *out, const unsigned char *v, unsigned n)
{
	unsigned i = 0, k;

	out->n = 0;
	while (i < n) {
		for (k = 1; i + k < n && k < 138 && v[i + k] == v[i];)
			k++;
		if (v[i] || k < 3) {
			out->symbol[out->n] = v[i];
			out->extra[out->n++] = 0;
			i++;
			continue;
		}
		out->symbol[out->n] = k < 11 ? 17 : 18;
		out->extra[out->n++] = (unsigned char)(k < 11 ? k - 3 : k - 11);
		i += k;
	}
}

static void put_lengths(struct bits *b, const unsigned char length[SYMBOLS])
{
	static const unsigned char order[LENGTHS] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5,
		11, 4, 12, 3, 13, 2, 14, 1, 15 };
	unsigned char all[SYMBOLS + DISTANCES], of[LENGTHS];
	uint32_t count[LENGTHS] = { 0 };
	uint16_t code[LENGTHS];
	struct lengths runs;
	unsigned i, n = LENGTHS;

	memcpy(all, length, SYMBOLS);
	memset(all + SYMBOLS, 1, DISTANCES);
	run_lengths(&runs, all, SYMBOLS + DISTANCES);
	for (i = 0; i < runs.n; i++)
		count[runs.symbol[i]]++;
	code_lengths(count, LENGTHS, LENGTH_CODE_MAX, of);
	code_bits(of, LENGTHS, LENGTH_CODE_MAX, code);
	while (of[order[n - 1]] == 0)
		n--;
	put(b, SYMBOLS - 257, 5);
	put(b, DISTANCES - 1, 5);
	put(b, n - 4, 4);
	for (i = 0; i < n; i++)
		put(b, of[order[i]], 3);
	for (i = 0; i < runs.n; i++) {
		put(b, code[runs.symbol[i]], of[runs.symbol[i]]);
		if (runs.symbol[i] > 16)
			put(b, runs.extra[i], runs.symbol[i] == 17 ? 3 : 7);
	}
}

/* Several counters, since the same byte often comes twice in a row. */
static void count_bytes(const unsigned char *p, size_t n, uint32_t count[SYMBOLS])
{
	uint32_t four[4][LITERALS];
	size_t i;

	memset(four, 0, sizeof(four));
	for (i = 0; i + 4 <= n; i += 4) {
		four[0][p[i]]++;
		four[1][p[i + 1]]++;
		four[2][p[i + 2]]++;
		four[3][p[i + 3]]++;
	}
	for (; i < n; i++)
		four[0][p[i]]++;
	for (i = 0; i < LITERALS; i++)
		count[i] = four[0][i] + four[1][i] + four[2][i] + four[3][i];
	count[END] = 1;
}

static void put_literals(struct bits *b, const unsigned char *p, size_t n,
	const unsigned char length[], const uint16_t code[])
{
	uint32_t both[LITERALS];
	struct bits o = *b;
	size_t i;

	for (i = 0; i < LITERALS; i++)
		both[i] = (uint32_t)code[i] << 8 | length[i];
#define ONE(c) \
	do { \
		uint32_t s = both[c]; \
		o.word |= (uint64_t)(s >> 8) << o.n; \
		o.n += s & 0xff; \
	} while (0)
	for (i = 0; i + 4 <= n; i += 4) {
		ONE(p[i]);
		ONE(p[i + 1]);
		ONE(p[i + 2]);
		ONE(p[i + 3]);
		flush(&o);
	}
	for (; i < n; i++) {
		ONE(p[i]);
		flush(&o);
	}
#undef ONE
	*b = o;
}

static bool put_block(struct bits *b, const unsigned char *p, size_t n, bool last)
{
	unsigned char length[SYMBOLS];
	uint32_t count[SYMBOLS];
	uint16_t code[SYMBOLS];
	/* Its head: 17 and 57 bits, and 14 for each length. */
	uint64_t size = (17 + 57 + 14 * (SYMBOLS + DISTANCES)) / 8;
	unsigned i;

	count_bytes(p, n, count);
	code_lengths(count, SYMBOLS, CODE_MAX, length);
	code_bits(length, SYMBOLS, CODE_MAX, code);
	for (i = 0; i < SYMBOLS; i++)
		size += (uint64_t)count[i] * length[i] / 8 + 1;
	if (size + SLACK + TAIL > (uint64_t)(b->end - b->at))
		return false;
	put(b, (unsigned)last | 2 << 1, 3); /* with codes of its own */
	put_lengths(b, length);
	put_literals(b, p, n, length, code);
	put(b, code[END], length[END]);
	return true;
}

size_t dense_gzip(const char *p, size_t n, char *out, size_t room)
{
	static const unsigned char head[HEAD] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0,
		255 };
	unsigned char *start = (unsigned char *)out;
	struct bits b = { 0, 0, start + HEAD, start + room };
	size_t at = 0;

	if (n == 0 || room < HEAD + SLACK + TAIL)
		return 0;
	memcpy(start, head, HEAD);
	while (at < n) {
		size_t k = n - at < BLOCK ? n - at : BLOCK;

		if (!put_block(&b, (const unsigned char *)p + at, k, at + k == n))
			return 0;
		at += k;
	}
	put(&b, 0, 7); /* up to the next byte */
	store(b.at, (uint64_t)(uint32_t)n << 32 | libdeflate_crc32(0, p, n));
	return (size_t)(b.at - start) + TAIL;
}
