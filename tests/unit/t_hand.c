/* t_hand.c: programs that do what they should, and all the others. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/hand.h>
#include <popferry/mem.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	LARGE = 1024 * 1024,
	AT_MOST_MS = 25000, /* what hangs, hangs for longer */
};

/* ---- words ---- */

static const struct {
	const char *command, *words; /* with | between; NULL: refused */
} lines[] = {
	{ "a", "a" },
	{ " a  b\tc ", "a|b|c" },
	{ "a 'b c' \"d e\"", "a|b c|d e" },
	{ "a 'it'\\''s'", "a|it's" },
	{ "a \"x\\\"y\\z\\\\\"", "a|x\"y\\z\\" },
	{ "a b\\ c", "a|b c" },
	{ "a ''", "a|" },
	{ "a $HOME `x` ; | > *", "a|$HOME|`x`|;|||>|*" },
	{ "", NULL },
	{ "  ", NULL },
	{ "a 'b", NULL },
	{ "a \"b", NULL },
	{ "a b\\", NULL },
	{ "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a "
	  "a a a a a a a a a a a a a a a a a a a a a a a a",
		NULL },
};

static void test_words(void **state)
{
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(lines); i++) {
		char words[256], *argv[HAND_WORDS_MAX + 1];
		struct buf b = BUF_INIT(1024);
		size_t n = hand_split(lines[i].command, words, argv);

		if (!lines[i].words)
			assert_int_equal(n, 0);
		for (k = 0; lines[i].words && k < n; k++)
			buf_addf(&b, "%s%s", k ? "|" : "", argv[k]);
		if (lines[i].words) {
			assert_string_equal(buf_str(&b), lines[i].words);
			assert_null(argv[n]);
		}
		buf_free(&b);
	}
}

/* ---- what cannot be run ---- */

static const struct {
	const char *command;
	int exit;
} unfit[] = {
	{ "", EX_USAGE },
	{ "''", EX_USAGE },
	{ "cat 'x", EX_USAGE },
	{ "no-such-program-anywhere", EX_CONFIG },
	{ "/no/such/program", EX_CONFIG },
	{ "/tmp", EX_CONFIG },
	{ "/etc/passwd", EX_CONFIG },
};

static void test_unfit(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(unfit); i++) {
		struct err err = ERR_INIT;
		struct hand *h;

		assert_int_equal(
			hand_open(&h, unfit[i].command, 0, "--scan", &err), ST_DENIED);
		assert_int_equal(err.exit, unfit[i].exit);
		assert_null(h);
		assert_int_equal(strncmp(err.text, "--scan: ", 8), 0);
	}
}

/* Executable, but neither a program nor a script: no shell guesses what it is. */
static void test_no_program(void **state)
{
	char path[] = "/tmp/hand.XXXXXX";
	struct hand_answer a;
	struct err err = ERR_INIT;
	struct hand *h;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "echo hello\n", 11), 11);
	fchmod(fd, 0700);
	close(fd);
	assert_int_equal(hand_open(&h, path, 0, "--exec", &err), ST_OK);
	assert_int_equal(hand_run(h, NULL, 0, NULL, NULL, 0, &a, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_CONFIG);
	hand_close(&h);
	unlink(path);
}

/* ---- runs ---- */

struct supply {
	size_t left;
	int fail; /* after the first piece */
	char piece[10000];
};

static enum status supply(void *ctx, const char **p, size_t *n, struct err *err)
{
	struct supply *s = ctx;

	if (s->fail && s->piece[0]++)
		return err_set(err, ST_FATAL, EX_IOERR, "the spool is broken");
	*p = s->piece + 1;
	*n = s->left < sizeof(s->piece) - 1 ? s->left : sizeof(s->piece) - 1;
	s->left -= *n;
	return ST_OK;
}

static enum status run(const char *command, unsigned seconds, size_t bytes,
	struct hand_answer *a, struct err *err)
{
	static const struct hand_value env[] = { { "POPFERRY_SEQ", "7", 1 },
		{ "POPFERRY_UIDL", "a\nb\033\0c", 6 }, { "POPFERRY_FOLDER", NULL, 0 } };
	struct supply s = { .left = bytes };
	struct hand *h;
	enum status rc = hand_open(&h, command, seconds, "--exec", err);

	if (rc != ST_OK)
		return rc;
	memset(s.piece, 'x', sizeof(s.piece));
	s.piece[0] = 0;
	rc = hand_run(h, env, N_ELEMENTS(env), supply, &s, 0, a, err);
	hand_close(&h);
	return rc;
}

static const struct {
	const char *name, *script;
	size_t bytes;
	unsigned seconds;
	enum hand_end end;
	int code;
	const char *line;
} rows[] = {
	{ "reads all", "wc -c", LARGE, 0, HAND_EXIT, 0, "1048576" },
	{ "nothing to read", "wc -c", 0, 0, HAND_EXIT, 0, "0" },
	{ "reads nothing", "exit 0", LARGE, 0, HAND_EXIT, 0, "" },
	{ "stays and reads nothing", "sleep 0.1; exit 4", LARGE, 0, HAND_EXIT, 4, "" },
	{ "closes early", "exec <&-; sleep 0.1; echo closed; exit 1", LARGE, 0,
		HAND_EXIT, 1, "closed" },
	{ "reads a little", "head -c 5; exit 3", LARGE, 0, HAND_EXIT, 3, "xxxxx" },
	{ "says no", "cat >/dev/null; echo 'Eicar FOUND'; exit 1", 5000, 0, HAND_EXIT,
		1, "Eicar FOUND" },
	{ "first line only", "printf '\\n\\n  one  \\r\\ntwo\\n'", 10, 0, HAND_EXIT, 0,
		"one" },
	{ "no line end", "printf one", 10, 0, HAND_EXIT, 0, "one" },
	{ "standard error when that is all", "echo oops >&2; exit 2", 10, 0, HAND_EXIT,
		2, "oops" },
	{ "standard output comes first", "echo oops >&2; echo fine", 10, 0, HAND_EXIT,
		0, "fine" },
	{ "controls", "printf 'a\\033[31mb\\377'", 10, 0, HAND_EXIT, 0,
		"a\\x1b[31mb\\xff" },
	{ "writes without end", "yes", 10, 1, HAND_LATE, 0, "y" },
	{ "writes much and ends", "head -c 3000000 /dev/zero | tr '\\0' y; exit 5",
		LARGE, 0, HAND_EXIT, 5, NULL },
	{ "echo", "cat", LARGE, 0, HAND_EXIT, 0, NULL },
	{ "hangs after a line", "echo thinking; sleep 30", 10, 1, HAND_LATE, 0,
		"thinking" },
	{ "does not listen", "trap '' TERM; sleep 30 & wait; wait; sleep 30", 10, 1,
		HAND_LATE, 0, "" },
	{ "ends when asked, too late", "trap 'exit 0' TERM; sleep 30 & wait", 10, 1,
		HAND_LATE, 0, "" },
	{ "dies", "kill -SEGV $$", LARGE, 0, HAND_SIGNAL, SIGSEGV, "" },
	{ "is killed", "echo so far; kill -KILL $$", 10, 0, HAND_SIGNAL, SIGKILL,
		"so far" },
	{ "leaves one behind with its output", "sleep 30 & echo gone", 10, 0, HAND_EXIT,
		0, "gone" },
	{ "closes its output and works on",
		"exec >&- 2>&-; cat >/dev/null; sleep 0.2; exit 6", LARGE, 0, HAND_EXIT,
		6, "" },
	{ "variables", "echo $POPFERRY_SEQ-$POPFERRY_UIDL-${POPFERRY_FOLDER-unset}", 10,
		0, HAND_EXIT, 0, "7-a\\x0ab\\x1b\\x00c-" },
	{ "no secrets", "echo ${HAND_SECRET-unset} ${PATH:+path}", 10, 0, HAND_EXIT, 0,
		"unset path" },
	{ "signals are as usual", "kill -PIPE $$; kill -HUP $$; echo deaf", 10, 0,
		HAND_SIGNAL, SIGPIPE, "" },
	{ "a session of its own",
		"test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo own", 10, 0,
		HAND_EXIT, 0, "own" },
	{ "three descriptors", "ls /proc/self/fd | wc -l", 10, 0, HAND_EXIT, 0, "4" },
};

/* It is just being installed: another time it can be run. */
static void test_busy(void **state)
{
	char path[] = "/tmp/popferry-hand.XXXXXX";
	struct hand_answer a;
	struct err err = ERR_INIT;
	int fd = mkstemp(path), from = open("/bin/true", O_RDONLY | O_CLOEXEC);
	struct hand *h;
	char piece[4096];
	ssize_t n;

	(void)state;
	assert_true(fd >= 0 && from >= 0);
	while ((n = read(from, piece, sizeof(piece))) > 0)
		assert_int_equal(write(fd, piece, (size_t)n), n);
	assert_int_equal(fchmod(fd, 0700), 0);
	assert_int_equal(hand_open(&h, path, 0, "--scan", &err), ST_OK);
	assert_int_equal(hand_run(h, NULL, 0, NULL, NULL, 0, &a, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	hand_close(&h);
	close(from);
	close(fd);
	unlink(path);
}

static void test_runs(void **state)
{
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
	size_t i;

	(void)state;
	setenv("HAND_SECRET", "s3cret", 1);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct buf b = BUF_INIT(4096);
		struct hand_answer a;
		struct err err = ERR_INIT;
		const char *s;

		buf_adds(&b, "sh -c \"");
		for (s = rows[i].script; *s; s++) {
			if (*s == '"' || *s == '\\')
				buf_addc(&b, '\\');
			buf_addc(&b, *s);
		}
		buf_addc(&b, '"');
		if (run(buf_str(&b), rows[i].seconds, rows[i].bytes, &a, &err) != ST_OK)
			fail_msg("%s: %s", rows[i].name, err.text);
		if (a.end != rows[i].end || a.code != rows[i].code ||
			(rows[i].line && strcmp(a.line, rows[i].line) != 0) ||
			a.ms > AT_MOST_MS)
			fail_msg("%s: end %d, code %d, %d ms, \"%s\"", rows[i].name,
				a.end, a.code, (int)a.ms, a.line);
		buf_free(&b);
	}
	unsetenv("HAND_SECRET");
	close(leak);
	/* Nobody is left to be reaped. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static size_t open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_leaks_nothing(void **state)
{
	struct hand_answer a;
	struct err err = ERR_INIT;
	size_t before, i;

	(void)state;
	assert_int_equal(run("true", 0, 10, &a, &err), ST_OK);
	before = open_files();
	for (i = 0; i < 20; i++) {
		run("true", 0, 10, &a, &err);
		run("false", 0, LARGE, &a, &err);
		run("/no/such/program", 0, 10, &a, &err);
	}
	assert_int_equal(open_files(), before);
}

/* What gives the bytes fails: the program must not think that was all. */
static void test_broken_supply(void **state)
{
	struct supply s = { .left = LARGE, .fail = 1 };
	struct hand_answer a;
	struct err err = ERR_INIT;
	struct hand *h;

	(void)state;
	assert_int_equal(hand_open(&h, "sleep 30", 0, "--exec", &err), ST_OK);
	assert_int_equal(hand_run(h, NULL, 0, supply, &s, 0, &a, &err), ST_FATAL);
	assert_string_equal(err.text, "the spool is broken");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	hand_close(&h);
}

static void *stop_soon(void *fd)
{
	const uint64_t one = 1;

	clock_sleep(200);
	assert_int_equal(write(*(int *)fd, &one, sizeof(one)), sizeof(one));
	return NULL;
}

static void test_stop(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct supply s = { .left = 10 };
	int64_t began = clock_ms();
	struct hand_answer a;
	struct err err = ERR_INIT;
	struct hand *h;
	pthread_t t;

	(void)state;
	assert_int_equal(
		hand_open(&h, "sh -c 'trap \"\" TERM; sleep 30'", 0, "--exec", &err),
		ST_OK);
	assert_int_equal(pthread_create(&t, NULL, stop_soon, &fd), 0);
	assert_int_equal(hand_run(h, NULL, 0, supply, &s, fd, &a, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_true(clock_ms() - began < 3000);
	pthread_join(t, NULL);
	hand_close(&h);
	close(fd);
}

struct many {
	const struct hand *h;
	int good;
};

static void *run_many(void *ctx)
{
	struct many *m = ctx;
	int i;

	for (i = 0; i < 10; i++) {
		struct supply s = { .left = 100000 };
		struct hand_answer a;
		struct err err = ERR_INIT;

		if (hand_run(m->h, NULL, 0, supply, &s, 0, &a, &err) == ST_OK &&
			strcmp(a.line, "100000") == 0)
			m->good++;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct many m[4];
	pthread_t t[4];
	struct err err = ERR_INIT;
	struct hand *h;
	size_t i;

	(void)state;
	assert_int_equal(hand_open(&h, "wc -c", 0, "--exec", &err), ST_OK);
	for (i = 0; i < 4; i++) {
		m[i] = (struct many){ h, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, run_many, &m[i]), 0);
	}
	for (i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(m[i].good, 10);
	}
	hand_close(&h);
}

static void test_told(void **state)
{
	char out[HAND_LINE + 40];

	(void)state;
	assert_string_equal(hand_told(out, sizeof(out),
				    &(struct hand_answer){ HAND_EXIT, 1, 0, "Eicar" }),
		"exit code 1: Eicar");
	assert_string_equal(hand_told(out, sizeof(out),
				    &(struct hand_answer){ HAND_SIGNAL, 11, 0, "" }),
		"ended by signal 11");
	assert_string_equal(hand_told(out, sizeof(out),
				    &(struct hand_answer){ HAND_LATE, 0, 0, "x" }),
		"not done in time: x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_unfit),
		cmocka_unit_test(test_no_program),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_leaks_nothing),
		cmocka_unit_test(test_broken_supply),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_told),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
