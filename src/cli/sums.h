/* sums.h: what messages add up to, by name. */
#ifndef CLI_SUMS_H
#define CLI_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SUM_LABEL = 256 };

struct sum {
	char *name;
	uint64_t messages, bytes;
};

/* A tree while they grow, a list when they are shown. */
struct sums {
	void *tree;
	struct sum **list;
	size_t n;
};

/* One more message of that name. */
struct sum *sums_add(struct sums *s, const char *name, uint64_t bytes);
/* The largest first, or by name. */
void sums_sort(struct sums *s, bool by_size);
void sums_free(struct sums *s);

/* The address in a From field, clean and in lower case; "(none)". */
void sums_address(char out[SUM_LABEL], const char *from);
/* Bytes of the files in a folder of the archive. */
uint64_t sums_files(const char *archive, const char *folder);

#endif
