/*
 * t_cases.c: the runner of the case files in tests/cases; scene.h is the manual of
 * their language. A file is a test, named as the file is.
 *
 *	t_cases              all files of tests/cases, or of the directory $CASES
 *	t_cases FILE...      only these
 *	KIT_LOG=1            shows the log of each run
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "case_expect.h"

#include <dirent.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { WORKERS = 8, CASE_SECONDS = 20, WHY = 600, CASES_MAX = 1000 };

/* ---- the language ---- */

static bool say_pop(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	return fakepop_say(s->r->pop, argc, argv, why, cap);
}

static bool say_imap(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	return fakeimap_say(s->r->imap, argc, argv, why, cap);
}

static bool say_lose(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	(void)argc;
	if (strcmp(argv[0], "state") == 0)
		kit_remove(s->r->state);
	else if (strcmp(argv[0], "archive") == 0)
		kit_remove(s->r->archive);
	else
		return scene_bad(why, cap, "%s cannot be lost", argv[0]);
	return true;
}

static bool say_nothing(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)ctx, (void)argc, (void)argv, (void)why, (void)cap;
	return true;
}

static const struct scene_verb language[] = {
	{ "title", 1, -1, say_nothing },
	{ "quirk", 1, -1, say_nothing },
	{ "pop", 1, -1, say_pop },
	{ "imap", 1, -1, say_imap },
	{ "run", 0, -1, say_run },
	{ "lose", 1, 1, say_lose },
	{ "expect", 1, -1, say_expect },
};

static void play(void **state)
{
	struct stage s = { .lock = PTHREAD_MUTEX_INITIALIZER };
	char why[WHY] = "", bad[WHY + sizeof(here) + 4];
	struct scene *scene;
	bool ok = true;
	size_t i;

	if (!scene_read(&scene, *state, why, sizeof(why)))
		fail_msg("%s", why);
	signal(SIGALRM, hung);
	alarm(CASE_SECONDS);
	s.scene = scene;
	kit_open(&s.r);
	fakepop_on_event(s.r->pop, on_event, &s);
	for (i = 0; ok && i < scene->n; i++) {
		const struct scene_line *l = &scene->lines[i];

		snprintf(here, sizeof(here), "%.250s:%u", scene->path, l->number);
		ok = scene_say(language, N_ELEMENTS(language), &s, l->argc, l->argv,
			why, sizeof(why));
	}
	snprintf(bad, sizeof(bad), "%s: %s", here, why);
	if (ok && (!s.ran || !i || strcmp(scene->lines[0].argv[0], "title") != 0))
		ok = scene_bad(bad, sizeof(bad),
			"%s: needs a title in the first line, and a run", scene->path);
	alarm(0);
	forget_run(&s);
	kit_close(&s.r);
	scene_free(&scene);
	if (!ok)
		fail_msg("%s", bad);
}

/* ---- all of them ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t find_cases(char **paths)
{
	const char *dir = getenv("CASES") ? getenv("CASES") : "tests/cases";
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;

	while (d && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');

		if (dot && strcmp(dot, ".case") == 0 && n < CASES_MAX)
			paths[n++] = xasprintf("%s/%s", dir, e->d_name);
	}
	if (d)
		closedir(d);
	qsort(paths, n, sizeof(*paths), by_name);
	return n;
}

static int play_one(char *path)
{
	const char *slash = strrchr(path, '/');
	const struct CMUnitTest test = { .name = slash ? slash + 1 : path,
		.test_func = play,
		.initial_state = path };

	return _cmocka_run_group_tests("case", &test, 1, NULL, NULL);
}

/* Takes the next case until there is none. */
static pid_t start_worker(char **paths, size_t n, atomic_uint *next, int out)
{
	pid_t pid = fork();
	unsigned i;
	int bad = 0;

	if (pid != 0)
		return pid;
	dup2(out, 1);
	dup2(out, 2);
	while ((i = atomic_fetch_add(next, 1)) < n)
		bad |= play_one(paths[i]) != 0;
	exit(bad);
}

/*
 * Cases mostly wait, for the disk and for each other's threads: some go at once. A
 * worker that dies, by a case that hangs or crashes, is replaced.
 */
static int play_all(char **paths, size_t n)
{
	atomic_uint *next = mmap(NULL, sizeof(*next), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int out[WORKERS], st, bad = 0;
	pid_t pid[WORKERS], ended;
	char piece[4096];
	ssize_t got;
	size_t k, running = 0;

	for (k = 0; k < WORKERS; k++, running++) {
		out[k] = memfd_create("cases", 0);
		pid[k] = start_worker(paths, n, next, out[k]);
	}
	while (running && (ended = wait(&st)) > 0) {
		bad |= st != 0;
		for (k = 0; k < WORKERS && pid[k] != ended; k++)
			;
		if (k < WORKERS && atomic_load(next) < n)
			pid[k] = start_worker(paths, n, next, out[k]);
		else
			running--;
	}
	for (k = 0; k < WORKERS; k++) {
		lseek(out[k], 0, SEEK_SET);
		while ((got = read(out[k], piece, sizeof(piece))) > 0)
			fwrite(piece, 1, (size_t)got, stdout);
		close(out[k]);
	}
	munmap(next, sizeof(*next));
	return bad;
}

int main(int argc, char **argv)
{
	static char *paths[CASES_MAX];
	size_t n = 0, i;
	int bad;

	if (argc == 8 && strcmp(argv[1], "--run") == 0)
		return run_child(argv);
	for (i = 1; i < (size_t)argc && n < CASES_MAX; i++)
		paths[n++] = xstrdup(argv[i]);
	if (argc == 1)
		n = find_cases(paths);
	if (!n) {
		fprintf(stderr, "t_cases: there are no cases\n");
		return 1;
	}
	bad = n == 1 ? play_one(paths[0]) : play_all(paths, n);
	for (i = 0; i < n; i++)
		free(paths[i]);
	return bad != 0;
}
