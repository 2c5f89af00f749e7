/* tally.h: counts the oddities of a message that comes piece by piece. */
#ifndef MAIL_TALLY_H
#define MAIL_TALLY_H

#include <popferry/mail.h>

struct tally { /* all zero at the start */
	uint64_t size, bare_lf;
	uint64_t line; /* bytes in the line under way */
	unsigned bits; /* enum anomaly */
	char last;     /* byte seen */
	bool ended;    /* in CRLF */
};

void tally_put(struct tally *t, const char *p, size_t n); /* n > 0 */
/* No lone CR and no NUL so far; a CR at the very end is still in doubt. */
static inline bool tally_plain(const struct tally *t)
{
	return !(t->bits & (AN_NUL | AN_BARE_CR));
}
/* Fills in size and wire, and adds to anomalies. */
void tally_end(struct tally *t, struct facts *f);

#endif
