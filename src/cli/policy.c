/* policy.c: what hold, retention and dispose share. */
#include <popferry/clock.h>
#include <popferry/export.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum status make(void **out, char *const *words, size_t n, struct err *err)
{
	struct choice *c = NULL;
	enum status rc = choice_make(&c, words, n, err);

	*out = c;
	return rc;
}

static bool has(const void *choice, const struct archive_row *row)
{
	return choice_has(choice, row);
}

static bool numbers(const void *choice)
{
	return choice_numbers(choice);
}

static void release(void *choice)
{
	struct choice *c = choice;

	choice_free(&c);
}

const struct archive_words policy_words = { make, has, numbers, release };

bool policy_number(const char *text, unsigned long most, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n == 0 || n > most)
		return false;
	*out = (unsigned)n;
	return true;
}

bool policy_date(const char *text, int64_t *out)
{
	char *full = strlen(text) == 10 ? xasprintf("%sT00:00:00Z", text)
					: xstrdup(text);
	struct when w = date_parse(full, strlen(full));

	free(full);
	*out = w.utc;
	return w.known;
}

static void warn_clock(const struct cli *c, const struct archive_keeping *k)
{
	struct err warn = ERR_INIT;
	char here[24], there[24];
	int64_t now = clock_utc(), newest = archive_newest(k);

	if (newest <= now + CLOCK_SLACK)
		return;
	err_set(&warn, ST_SKIP, EX_CONFIG,
		"the clock of this machine says %s, but the archive was last worked on at %s: "
		"one of the two clocks was wrong, so look before you dispose of anything",
		clock_rfc3339(here, now), clock_rfc3339(there, newest));
	cli_complain(c, &warn);
}

bool policy_due_by_clock(
	const struct cli *c, int64_t newest, const struct archive_verdict *v)
{
	struct err warn = ERR_INIT;
	char here[24], there[24], until[24];

	if (v->fate != ARCHIVE_DUE || v->until <= newest)
		return false;
	err_set(&warn, ST_SKIP, EX_CONFIG,
		"a message was kept until %s, and only the clock of this machine, which says "
		"%s, tells that this is over: the last that the archive knows of is %s, in "
		"its seals and log/custody.jsonl; look at the clock before you dispose of "
		"anything",
		clock_rfc3339(until, v->until), clock_rfc3339(here, clock_utc()),
		clock_rfc3339(there, newest));
	cli_complain(c, &warn);
	return true;
}

enum status policy_clock_of(
	const struct cli *c, const char *path, int64_t *newest, struct err *err)
{
	struct archive_keeping *k = NULL;
	struct archive_reader *r = NULL;
	enum status rc = cli_read(c, &r, path, err);

	if (rc == ST_OK)
		rc = archive_keeping_load(&k, r, &policy_words, err);
	if (rc == ST_OK) {
		warn_clock(c, k);
		*newest = archive_newest(k);
	}
	archive_keeping_free(&k);
	archive_done(&r);
	return rc;
}

void policy_verdict(char *out, size_t cap, const struct archive_verdict *v)
{
	static const char *const texts[] = {
		[ARCHIVE_OPEN] =
			"is not sealed yet: run `popferry copy` to its end first",
		[ARCHIVE_FIXED] =
			"is in a segment of popferry 0.1.0, which has no seal that "
			"could stay right without it",
	};
	char rule[128], until[24];

	text_clean(rule, sizeof(rule), v->rule ? v->rule : "",
		strlen(v->rule ? v->rule : ""));
	clock_rfc3339(until, v->until);
	switch (v->fate) {
	case ARCHIVE_FREE:
		snprintf(out, cap, "no rule keeps it");
		break;
	case ARCHIVE_DUE:
		snprintf(out, cap, "was kept until %.10s by class %s", until, rule);
		break;
	case ARCHIVE_KEPT:
		snprintf(out, cap, "must be kept until %.10s: class %s", until, rule);
		break;
	case ARCHIVE_HELD:
		snprintf(out, cap, "is held: hold %u, %s", v->hold, rule);
		break;
	default:
		snprintf(out, cap, "%s", texts[v->fate]);
	}
}

void policy_add_words(struct buf *b, char *const *words, size_t n)
{
	size_t i;

	if (n == 0)
		buf_adds(b, "everything");
	for (i = 0; i < n; i++) {
		buf_adds(b, i ? " " : "");
		text_clean_add(b, words[i], strlen(words[i]));
	}
}
