/*
 * t_power.c: the power fails at any step, and what no sync has told of is lost: of all
 * files, or only those of the one or the other place, since disks write as they like.
 * With FULL=1 in the environment each step is tried.
 *
 * This program has fsync() and fdatasync() of its own: they keep a copy of what was
 * synced. Names are taken to be there at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep_kit.h"

#include <sys/syscall.h>

enum {
#ifdef __SANITIZE_ADDRESS__
	STRIDE = 61,
#else
	STRIDE = 11,
#endif
	STEPS_MAX = 400,
	LIMIT_SECONDS = 120,
	COPY = 64 * 1024,
	OFTEN = 4, /* runs */
};

static struct zygote *zygote;
static unsigned points;

/* ---- what is on the disk ---- */

/* PATH is .../sweep.XXXXXX/...: beside it lies a copy of each file that was synced. */
static bool copy_name(char *out, size_t size, const char *path, const struct stat *st)
{
	const char *rig = strstr(path, "/sweep."),
		   *end = rig ? strchr(rig + 1, '/') : NULL;

	if (!end)
		return false;
	snprintf(out, size, "%.*s/synced.%lu", (int)(end - path), path,
		(unsigned long)st->st_ino);
	return true;
}

static void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *block = xmalloc(COPY);
	ssize_t n;

	if (in < 0 || out < 0)
		abort();
	while ((n = read(in, block, COPY)) > 0)
		if (write(out, block, (size_t)n) != n)
			abort();
	free(block);
	close(in);
	close(out);
}

static void remember(int fd)
{
	char link[40], path[4096], name[4096];
	struct stat st;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !st.st_nlink)
		return;
	path[n] = '\0';
	if (copy_name(name, sizeof(name), path, &st))
		copy_file(link, name);
}

int fsync(int fd)
{
	long rc = syscall(SYS_fsync, fd);

	if (rc == 0)
		remember(fd);
	return (int)rc;
}

int fdatasync(int fd)
{
	long rc = syscall(SYS_fdatasync, fd);

	if (rc == 0)
		remember(fd);
	return (int)rc;
}

/* What SQLite shares with other processes is made anew. */
static int go_back(const char *path, const struct stat *st, int what, struct FTW *at)
{
	char name[4096];
	size_t n = strlen(path);

	(void)at;
	if (what != FTW_F)
		return 0;
	if (n > 4 && strcmp(path + n - 4, "-shm") == 0)
		return unlink(path);
	assert_true(copy_name(name, sizeof(name), path, st));
	if (access(name, F_OK) == 0)
		copy_file(name, path);
	else
		assert_int_equal(truncate(path, 0), 0);
	return 0;
}

enum outage { LOST_ALL, LOST_STATE, LOST_ARCHIVE, LOST_KINDS };

static void power_off(const struct rig *r, enum outage what)
{
	if (what != LOST_ARCHIVE)
		nftw(r->state, go_back, 16, FTW_PHYS);
	if (what != LOST_STATE)
		nftw(r->archive, go_back, 16, FTW_PHYS);
}

/* ---- the runs ---- */

struct sweep {
	const char *name;
	/* So often collected that no destination is looked at for what is new; and more
	 * of them than of those. */
	const char *before;
	const char *mail, *options;
	const char *ends; /* at both, if there are two */
};

static const struct sweep sweeps[] = {
	{ "power: an archive", "", "abcaA0", "only-archive", "abcA0" },
	{ "power: an archive, later", "defghijklmnop", "abcaA0", "only-archive",
		"defghijklmnopabcA0" },
	{ "power: an archive, copies kept", "defghijklmnopa", "aabcc",
		"only-archive dedup=none", "defghijklmnopaaabcc" },
	{ "power: IMAP", "", "abcaA0", "dedup=message-id", "abcA0" },
	{ "power: IMAP, copies kept", "adefghijk", "aab", "dedup=none",
		"adefghijkaab" },
	{ "power: both", "", "abcaA0", "archive", "abcA0" },
	{ "power: both, copies kept", "adefghijk", "aab", "archive dedup=none",
		"adefghijkaab" },
};

static void check_after(struct rig *r, const struct sweep *s,
	const struct sweep_run *run, const char *name)
{
	int i, code;

	for (i = 0; i < 2; i++) {
		code = sweep_here(r, run);
		if (code != 0 || (i && r->out.ledger.stored))
			fail_msg("%s, run %d: exit %d (%s), %s", name, i + 1, code,
				r->out.err.text, r->ledger);
		if (!strstr(s->options, "only-archive"))
			kit_expect(r, name, s->ends);
		if (strstr(s->options, "archive"))
			kit_expect_archive(r, name, s->ends);
	}
}

/* True when the power failed at step n; false when the run got through before. */
static bool fails_at(const struct sweep *s, int batch, enum outage what, int n)
{
	struct sweep_run run = {
		.settle_ms = 1, .batch_count = batch, .options = s->options
	};
	const char *more;
	char name[160];
	struct rig *r;
	int code, i;

	snprintf(name, sizeof(name), "%s, batches of %d, lost %d, step %d", s->name,
		batch, (int)what, n);
	sweep_open(&r);
	kit_mail(r, s->before);
	for (i = 0; *s->before && i < OFTEN; i++)
		assert_int_equal(sweep_here(r, &run), 0);
	for (more = s->mail; *more; more++)
		fakepop_add(r->pop, NULL, kit_text(r, *more));
	run.crash_at = n;
	code = sweep_apart(zygote, r, &run);
	if (code > 0)
		fail_msg("%s: exit %d", name, code);
	power_off(r, what);
	run.crash_at = 0;
	check_after(r, s, &run, name);
	sweep_close(&r);
	points += code < 0;
	return code < 0;
}

static void test_power(void **state)
{
	static const int batches[] = { 0, 1, 2 };
	const struct sweep *s = *state;
	int stride = sweep_full() ? 1 : STRIDE, first = 1, n;
	size_t i;
	int what;

	for (i = 0; i < N_ELEMENTS(batches); i++)
		for (what = 0; what < LOST_KINDS; what++) {
			alarm(LIMIT_SECONDS);
			for (n = first; fails_at(s, batches[i], (enum outage)what, n);
				n += stride)
				assert_true(n < STEPS_MAX);
			/* In short runs they take turns. */
			first = sweep_full() ? 1 : first % STRIDE + 1;
		}
	alarm(0);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[N_ELEMENTS(sweeps)];
	size_t i;
	int rc;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	sweep_dir();
	sweep_quiet();
	zygote_open(&zygote, sweep_child);
	for (i = 0; i < N_ELEMENTS(sweeps); i++)
		tests[i] = (struct CMUnitTest){ sweeps[i].name, test_power, NULL, NULL,
			(void *)(uintptr_t)&sweeps[i] };
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	zygote_close(&zygote);
	printf("# the power failed at %u steps\n", points);
	return rc;
}
