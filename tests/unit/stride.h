/* stride.h: how many of many points a test takes. */
#ifndef STRIDE_H
#define STRIDE_H

#include <stdlib.h>
#include <string.h>

/* Each; each n-th where a sanitizer makes that slow, unless FULL=1 is in the
 * environment. */
static inline int stride_of(int n)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	const char *full = getenv("FULL");

	return full && *full && strcmp(full, "0") != 0 ? 1 : n;
#else
	(void)n;
	return 1;
#endif
}

#endif
