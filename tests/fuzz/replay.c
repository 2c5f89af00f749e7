/*
 * replay.c: a target without libFuzzer: reads seeds from the folder or files
 * named, or else from tests/fuzz/corpus/NAME, and prints TAP.
 */
#include "fuzz.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEED_MAX = 16 * 1024 * 1024 };

static unsigned count;

static void replay(const char *path)
{
	struct err err = ERR_INIT;
	uint8_t *exact;
	char *p;
	size_t n;

	/* Before, so that it is known whose crash it was. */
	printf("# %s\n", path);
	if (fs_read(&p, &n, AT_FDCWD, path, SEED_MAX, &err) != ST_OK) {
		printf("not ok %u - %s: %s\n", ++count, path, err.text);
		return;
	}
	/* Of its exact size, so that a byte read behind it is noticed. */
	exact = xmalloc(n ? n : 1);
	memcpy(exact, p, n);
	free(p);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	printf("ok %u - %s\n", ++count, path);
}

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void replay_all(const char *path)
{
	struct dirent **names;
	int i, n = scandir(path, &names, visible, alphasort);

	if (n < 0) {
		replay(path);
		return;
	}
	for (i = 0; i < n; i++) {
		char *seed = xasprintf("%s/%s", path, names[i]->d_name);

		replay(seed);
		free(seed);
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	char *own = xasprintf("tests/fuzz/corpus/%s", name ? name + 1 : argv[0]);
	int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2)
		replay_all(own);
	for (i = 1; i < argc; i++)
		replay_all(argv[i]);
	free(own);
	printf("1..%u\n", count);
	return count ? 0 : 1;
}
