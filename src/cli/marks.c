/* marks.c: what a signature and a timestamp are worth, in words. */
#include "marks.h"

#include <popferry/clock.h>
#include <popferry/text.h>

#include <stdio.h>
#include <string.h>

enum { JSON_MAX = 64 * 1024 };

const char *marks_word(enum sign_verdict v)
{
	static const char *const words[] = { "none", "trusted", "unknown", "bad" };

	return words[v];
}

int marks_weigh(enum sign_verdict v, bool wanted)
{
	if (v == SIGN_BAD || (v == SIGN_UNKNOWN && wanted))
		return EX_DATAERR;
	return v == SIGN_NONE && wanted ? EX_PARTIAL : 0;
}

void marks_add(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, ",\"%s\":", name);
	text_json(b, text, strlen(text));
}

void marks_members(struct buf *b, const char *seal, const struct sign_state *s)
{
	char when[24] = "";

	if (s->time)
		clock_rfc3339(when, s->time);
	buf_adds(b, "\"seal\":");
	text_json(b, seal, strlen(seal));
	marks_add(b, "signature", marks_word(s->signature.verdict));
	marks_add(b, "signer", s->signature.by);
	marks_add(b, "signer_sha256", s->signature.sha256);
	marks_add(b, "signature_reason", s->signature.why);
	marks_add(b, "timestamp", marks_word(s->stamp.verdict));
	marks_add(b, "time", when);
	marks_add(b, "timestamp_over", s->over_file ? "seal" : "signature");
	marks_add(b, "tsa", s->stamp.by);
	marks_add(b, "tsa_sha256", s->stamp.sha256);
	marks_add(b, "timestamp_reason", s->stamp.why);
}

static void mark_text(const char *what, const char *none, const struct sign_mark *m)
{
	switch (m->verdict) {
	case SIGN_NONE:
		printf("  %s\n", none);
		break;
	case SIGN_TRUSTED:
		printf("  %s by %s\n", what, m->by);
		break;
	case SIGN_UNKNOWN:
		printf("  %s by %s, not known here: %s\n    fingerprint (SHA-256): %s\n",
			what, m->by, m->why, m->sha256);
		break;
	case SIGN_BAD:
		printf("  BAD, %s%s%s: %s\n", what, *m->by ? " by " : "", m->by,
			m->why);
		break;
	}
}

static void seal_text(const char *seal, const struct sign_state *s)
{
	char what[64] = "timestamped", when[24];

	if (s->time)
		snprintf(what, sizeof(what), "timestamped %s%s",
			clock_rfc3339(when, s->time),
			s->over_file && s->signature.verdict != SIGN_NONE
				? " (not the signature)"
				: "");
	printf("%s\n", seal);
	mark_text("signed", "not signed", &s->signature);
	mark_text(what, "not timestamped", &s->stamp);
}

void marks_tell(const struct cli *c, const char *seal, const struct sign_state *s)
{
	struct buf b = BUF_INIT(JSON_MAX);

	if (c->format == LOG_JSON) {
		marks_members(&b, seal, s);
		printf("{%s}\n", buf_str(&b));
	} else if (c->verbosity >= 0) {
		seal_text(seal, s);
	}
	buf_free(&b);
}
