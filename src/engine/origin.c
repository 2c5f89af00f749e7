/* origin.c: how a message was filed before, kept beside it on its way. */
#include <popferry/mem.h>

#include "engine_p.h"

#include <string.h>

struct origin *origin_copy(const struct origin *o)
{
	size_t folder = strlen(o->folder) + 1;
	struct origin *copy = xmalloc(sizeof(*copy) + folder + o->uidl_n);
	char *text = (char *)(copy + 1);

	*copy = *o;
	memcpy(text, o->folder, folder);
	copy->folder = text;
	if (o->uidl) {
		memcpy(text + folder, o->uidl, o->uidl_n);
		copy->uidl = text + folder;
	}
	return copy;
}
