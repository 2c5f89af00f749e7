/* facts_kit.h: the facts of a message that comes in pieces. */
#ifndef FACTS_KIT_H
#define FACTS_KIT_H

#include <popferry/mail.h>
#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

/* The facts of p, given in pieces of at most step bytes, the first of cut. */
static inline struct facts facts_cut(const char *p, size_t n, size_t cut, size_t step)
{
	struct facts_maker *fm;
	struct facts f;
	size_t i = 0, k;

	facts_begin(&fm);
	while (i < n) {
		char *piece;

		k = i < cut ? cut - i : step;
		if (k > n - i)
			k = n - i;
		/* Exactly so large, for the sanitizer. */
		piece = xmalloc(k);
		memcpy(piece, p + i, k);
		facts_put(fm, piece, k);
		free(piece);
		i += k;
	}
	facts_end(&fm, &f);
	assert_null(fm);
	return f;
}

static inline struct facts facts_of(const char *p, size_t n)
{
	return facts_cut(p, n, n, 1);
}

static inline bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static inline bool same_facts(const struct facts *a, const struct facts *b)
{
	return a->size == b->size && a->wire == b->wire &&
		!memcmp(a->sha256, b->sha256, DIGEST) &&
		!memcmp(a->exact, b->exact, DIGEST) &&
		!memcmp(a->body, b->body, DIGEST) &&
		!memcmp(a->loose, b->loose, DIGEST) &&
		!memcmp(a->ident, b->ident, DIGEST) &&
		!memcmp(a->msgid, b->msgid, DIGEST) && a->has_msgid == b->has_msgid &&
		a->anomalies == b->anomalies && a->header_size == b->header_size &&
		same_text(a->message_id, b->message_id) &&
		same_text(a->date, b->date) && same_text(a->received, b->received) &&
		same_text(a->from, b->from) && same_text(a->to, b->to) &&
		same_text(a->cc, b->cc) && same_text(a->subject, b->subject) &&
		same_text(a->list_id, b->list_id) && same_text(a->status, b->status) &&
		same_text(a->x_status, b->x_status) &&
		a->date_when.known == b->date_when.known &&
		a->date_when.utc == b->date_when.utc &&
		a->received_when.known == b->received_when.known &&
		a->received_when.utc == b->received_when.utc;
}

#endif
