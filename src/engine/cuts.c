/* cuts.c: is it the message that ends sessions, or the line? */
#include "engine_p.h"

void cuts_note(struct cuts *c, uint64_t in, uint32_t at)
{
	bool alike = c->in == in && c->at == at;

	*c = (struct cuts){ in, at, alike ? c->alike + 1 : 1 };
}

bool cuts_forgive(const struct cuts *c, unsigned tries)
{
	return c->alike < POISON_TRIES && tries < CUT_TRIES;
}
