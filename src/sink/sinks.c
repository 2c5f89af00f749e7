/* sinks.c: the table of sinks. A new kind is one line here. */
#include <popferry/mem.h>

#include "sinks.h"

#include <string.h>

static const struct sink_ops *const kinds[] = {
	&imap_sink,
	&archive_sink,
	&null_sink,
};

const struct sink_ops *sink_kind(const char *scheme)
{
	size_t i, k;

	for (i = 0; i < N_ELEMENTS(kinds); i++)
		for (k = 0; kinds[i]->schemes[k]; k++)
			if (strcmp(kinds[i]->schemes[k], scheme) == 0)
				return kinds[i];
	return NULL;
}
