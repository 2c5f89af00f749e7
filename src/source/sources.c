/* sources.c: the table of sources. A new kind is one line here. */
#include <popferry/mem.h>

#include "sources.h"

#include <string.h>

static const struct source_ops *const kinds[] = {
	&pop3_source,
	&archive_source,
	&tree_source,
	&mbox_source,
	&packed_source,
};

const struct source_ops *source_kind(const char *scheme)
{
	size_t i, k;

	for (i = 0; i < N_ELEMENTS(kinds); i++)
		for (k = 0; kinds[i]->schemes[k]; k++)
			if (strcmp(kinds[i]->schemes[k], scheme) == 0)
				return kinds[i];
	return NULL;
}
