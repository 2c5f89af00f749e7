/* path.c: paths made comparable, also of files that are not there yet. */
#include "own.h"

#include <popferry/buf.h>
#include <popferry/mem.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_CEILING = 64 * 1024 };

/* Adds the parts of tail to the absolute path in b; ".." takes one away. */
static void append(struct buf *b, const char *tail)
{
	while (*tail) {
		size_t n = strcspn(tail, "/");

		if (n == 2 && !memcmp(tail, "..", 2)) {
			while (b->n && b->p[--b->n] != '/')
				;
			if (b->p)
				b->p[b->n] = '\0';
		} else if (n && !(n == 1 && *tail == '.')) {
			buf_addc(b, '/');
			buf_add(b, tail, n);
		}
		tail += n;
		tail += *tail == '/';
	}
}

char *path_canon(const char *path)
{
	struct buf b = BUF_INIT(PATH_CEILING);
	char *head, *real = NULL, *cwd = NULL;
	struct stat st;
	size_t n;

	if (*path == '/') {
		head = xstrdup(path);
	} else {
		cwd = getcwd(NULL, 0);
		head = xasprintf("%s/%s", cwd ? cwd : "", path);
		free(cwd);
	}
	/* The longest part that exists, by the system; the rest by its text. */
	for (n = strlen(head); n > 0; n--) {
		char kept = head[n];

		if (kept != '/' && kept)
			continue;
		head[n] = '\0';
		/* One call, where realpath() makes one for each part. */
		real = stat(head, &st) == 0 ? realpath(head, NULL) : NULL;
		head[n] = kept;
		if (real)
			break;
	}
	if (real && strcmp(real, "/") != 0)
		buf_adds(&b, real);
	append(&b, head + n);
	if (!b.n)
		buf_addc(&b, '/');
	free(real);
	free(head);
	return buf_take(&b);
}

bool path_inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (!strcmp(dir, "/"))
		return true;
	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}
