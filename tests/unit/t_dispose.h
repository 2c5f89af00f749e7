/*
 * t_dispose.h: what the tests of disposals and of what keeps messages share: an
 * archive, and words that choose from it.
 */
#ifndef T_DISPOSE_H
#define T_DISPOSE_H

#include "archive_kit.h"

#include <popferry/clock.h>
#include <popferry/export.h>

enum { ALL = 14, PER_SEGMENT = 5 };

/* ---- archives ---- */

UNUSED static enum status words_make(
	void **out, char *const *words, size_t n, struct err *err)
{
	struct choice *c = NULL;
	enum status rc = choice_make(&c, words, n, err);

	*out = c;
	return rc;
}

UNUSED static bool words_has(const void *choice, const struct archive_row *row)
{
	return choice_has(choice, row);
}

UNUSED static bool words_numbers(const void *choice)
{
	return choice_numbers(choice);
}

UNUSED static void words_free(void *choice)
{
	struct choice *c = choice;

	choice_free(&c);
}

/* Who reads an encrypted archive. */
static const struct identities *readers;

static const struct archive_words words = { words_make, words_has, words_numbers,
	words_free };

UNUSED static void drop_bytes(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

/* All messages but those of the list are there, byte for byte. */
UNUSED static void check_left(const char *dir, const unsigned *gone, size_t n)
{
	const struct archive_access access = { .identities = readers };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct same s = { 0 };
	size_t k;
	unsigned i;

	ok(archive_read_as(&r, dir, &access, &err), &err);
	for (i = 0; i < ALL; i++) {
		for (k = 0; k < n && gone[k] != i + 1;)
			k++;
		if (k < n) {
			err = (struct err)ERR_INIT;
			assert_int_equal(archive_get(r, i + 1, drop_bytes, NULL, &err),
				ST_DENIED);
			assert_int_equal(err.exit, EX_PARTIAL);
			continue;
		}
		s = (struct same){ .right = true };
		s.want = bytes_of(i, &s.n);
		ok(archive_get(r, i + 1, same_take, &s, &err), &err);
		assert_true(s.right && s.at == s.n);
		free((char *)(uintptr_t)s.want);
	}
	archive_done(&r);
}

struct picked {
	struct choice *choice;
	struct archive_verdict last;
	unsigned told;
};

UNUSED static bool pick(void *ctx, const struct archive_row *row)
{
	const struct picked *p = ctx;

	return choice_has(p->choice, row);
}

UNUSED static void told(
	void *ctx, const struct archive_row *row, const struct archive_verdict *v)
{
	struct picked *p = ctx;

	(void)row;
	p->last = *v;
	p->last.rule = NULL;
	p->told++;
}

/* Of what one word chooses, or two. */
UNUSED static enum status dispose(const char *dir, const char *word, bool act,
	struct archive_disposed *out, struct picked *p, struct err *err)
{
	char *copy = xstrdup(word), *blank = strchr(copy, ' ');
	char *list[] = { copy, blank ? blank + 1 : NULL };
	struct archive_disposal d = { .authority = "court order 7 \"x\"",
		.words = &words,
		.chosen = pick,
		.tell = told,
		.ctx = p,
		.identities = readers,
		.act = act };
	enum status rc;

	memset(p, 0, sizeof(*p));
	if (blank)
		*blank = '\0';
	rc = choice_make(&p->choice, list, blank ? 2 : 1, err);
	if (rc == ST_OK)
		rc = archive_dispose(dir, &d, out, err);
	choice_free(&p->choice);
	free(copy);
	return rc;
}

UNUSED static void must_dispose(const char *dir, const char *word, unsigned n)
{
	struct archive_disposed out;
	struct err err = ERR_INIT;
	struct picked p;

	ok(dispose(dir, word, true, &out, &p, &err), &err);
	assert_int_equal(out.gone, n);
}

UNUSED static void check_state(const char *dir, unsigned messages, unsigned gone)
{
	const struct archive_access access = { .identities = readers };
	struct archive_how quick = { .quick = true };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct archive_check c;

	ok(archive_read_as(&r, dir, &access, &err), &err);
	ok(archive_verify(r, &c, print_bad, NULL, &err), &err);
	assert_int_equal(c.messages, messages);
	assert_int_equal(c.gone, gone);
	ok(archive_verify_as(r, &quick, &c, print_bad, NULL, &err), &err);
	assert_int_equal(c.messages, messages);
	archive_done(&r);
}

/* VERIFY.sh comes to the same result: its exit code. */
UNUSED static int script(const char *dir)
{
	static const char *const argv[] = { "sh", "VERIFY.sh", NULL };
	char *out = xasprintf("%s.verify", dir);
	int code = tool(dir, out, argv);
	size_t n;

	if (code != 0 && code != 69) {
		char *text = slurp(out, &n);

		print_message("%s", text);
		free(text);
	}
	unlink(out);
	free(out);
	return code;
}

#endif
