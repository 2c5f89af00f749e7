/* sums.c: messages and bytes by name. */
#include <popferry/mem.h>
#include <popferry/text.h>

#include "sums.h"

#include <dirent.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sum *)a)->name, ((const struct sum *)b)->name);
}

static struct sum *sum_of(struct sums *s, const char *name)
{
	struct sum key = { .name = (char *)(uintptr_t)name }, **at, *new;

	at = tfind(&key, &s->tree, by_name);
	if (at)
		return *at;
	new = xcalloc(1, sizeof(*new));
	new->name = xstrdup(name);
	if (!tsearch(new, &s->tree, by_name))
		xmemory_gone();
	if (s->n % 1024 == 0)
		s->list = xreallocarray(s->list, s->n + 1024, sizeof(struct sum *));
	s->list[s->n++] = new;
	return new;
}

struct sum *sums_add(struct sums *s, const char *name, uint64_t bytes)
{
	struct sum *sum = sum_of(s, name);

	sum->messages++;
	sum->bytes += bytes;
	return sum;
}

static void nothing(void *p)
{
	(void)p;
}

void sums_free(struct sums *s)
{
	tdestroy(s->tree, nothing);
	while (s->n--) {
		free(s->list[s->n]->name);
		free(s->list[s->n]);
	}
	free(s->list);
}

static int larger_first(const void *a, const void *b)
{
	const struct sum *x = *(struct sum *const *)a, *y = *(struct sum *const *)b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return strcmp(x->name, y->name);
}

static int in_order(const void *a, const void *b)
{
	return by_name(*(struct sum *const *)a, *(struct sum *const *)b);
}

void sums_sort(struct sums *s, bool by_size)
{
	if (s->n)
		qsort(s->list, s->n, sizeof(*s->list),
			by_size ? larger_first : in_order);
}

void sums_address(char out[SUM_LABEL], const char *from)
{
	const char *open = strrchr(from, '<'), *s = open ? open + 1 : from;
	size_t n = open ? strcspn(s, ">") : strlen(s), i;

	text_clean(out, SUM_LABEL, s, n);
	for (i = 0; out[i]; i++)
		if (out[i] >= 'A' && out[i] <= 'Z')
			out[i] = (char)(out[i] - 'A' + 'a');
	if (out[0] == '\0')
		snprintf(out, SUM_LABEL, "(none)");
}

uint64_t sums_files(const char *archive, const char *folder)
{
	char *path = xasprintf("%s/%s", archive, folder);
	DIR *d = opendir(path);
	uint64_t bytes = 0;
	struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d)))
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	if (d)
		closedir(d);
	free(path);
	return bytes;
}
