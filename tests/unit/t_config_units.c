/* t_config_units.c: days, ages, sizes; secrets from files, commands, environment. */
#include "../../src/config/own.h"

#include <popferry/clock.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 1800000000, DAY = 86400 };

/* ---- units ---- */

static void test_age(void **state)
{
	static const struct {
		const char *text;
		bool good;
		int64_t value;
	} rows[] = {
		{ "30d", true, 30 * DAY },
		{ "12h", true, 12 * 3600 },
		{ "6w", true, 42 * DAY },
		{ "1y", true, 365 * DAY },
		{ "1Y", true, 365 * DAY },
		{ "0d", true, 0 },
		{ "", false, 0 },
		{ "30", false, 0 },
		{ "d", false, 0 },
		{ "30m", false, 0 },
		{ "30dd", false, 0 },
		{ " 30d", false, 0 },
		{ "-1d", false, 0 },
		{ "+1d", false, 0 },
		{ "1.5d", false, 0 },
		{ "999999999999999999y", false, 0 },
		{ "99999999999999999999999999d", false, 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		int64_t v = -7;

		if (parse_age(rows[i].text, &v) != rows[i].good)
			fail_msg("age \"%s\"", rows[i].text);
		assert_true(v == (rows[i].good ? rows[i].value : -7));
	}
}

static void test_size(void **state)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t value;
	} rows[] = {
		{ "0", true, 0 },
		{ "35651584", true, 35651584 },
		{ "35M", true, 36700160 },
		{ "35m", true, 36700160 },
		{ "512k", true, 524288 },
		{ "1g", true, 1073741824 },
		{ "2T", true, 2199023255552 },
		{ "", false, 0 },
		{ "k", false, 0 },
		{ "1kb", false, 0 },
		{ "1 k", false, 0 },
		{ "-1", false, 0 },
		{ "0x10", false, 0 },
		{ "9223372036854775807", false, 0 },
		{ "99999999999T", false, 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		uint64_t v = 7;

		if (parse_size(rows[i].text, &v) != rows[i].good)
			fail_msg("size \"%s\"", rows[i].text);
		assert_true(v == (rows[i].good ? rows[i].value : 7));
	}
}

static void test_day(void **state)
{
	static const struct {
		const char *text;
		int64_t value; /* 0: refused */
	} rows[] = {
		{ "2024-03-01", 1709251200 },
		{ "2024-02-29", 1709164800 },
		{ "2023-02-29", 0 },
		{ "2024-02-31", 0 },
		{ "2024-13-01", 0 },
		{ "2024-00-10", 0 },
		{ "2024-3-1", 0 },
		{ "2024-03-011", 0 },
		{ "2024-03-01T10:00:00Z", 1709287200 },
		{ "2024-03-01t10:00:00z", 1709287200 },
		{ "2024-03-01T10:00:00.25Z", 1709287200 },
		{ "2024-03-01T10:00:00+01:00", 1709283600 },
		{ "2024-03-01T10:00:00-05:30", 1709307000 },
		{ "2024-03-01T24:00:00Z", 0 },
		{ "2024-03-01T10:60:00Z", 0 },
		{ "2024-03-01T10:00Z", 0 },
		{ "2024-03-01T10:00:00", 0 },
		{ "2024-03-01T10:00:00.Z", 0 },
		{ "2024-03-01T10:00:00+0100", 0 },
		{ "2024-03-01T10:00:00Zx", 0 },
		{ "2024-03-01 10:00:00Z", 0 },
		{ "30d", NOW - 30 * DAY },
		{ "1y", NOW - 365 * DAY },
		{ "0d", NOW },
		{ "60y", 0 },
		{ "1970-01-01", 0 },
		{ "0000-01-01", 0 },
		{ "9999-12-31", 253402214400 },
		{ "yesterday", 0 },
		{ "", 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		int64_t v = 0;
		bool good = parse_day(rows[i].text, NOW, &v);

		if (good != (rows[i].value != 0) || v != rows[i].value)
			fail_msg("day \"%s\" gave %lld", rows[i].text, (long long)v);
	}
}

static void test_number(void **state)
{
	uint64_t v = 0;

	(void)state;
	assert_true(parse_number("65535", 1, 65535, &v));
	assert_int_equal(v, 65535);
	assert_false(parse_number("65536", 1, 65535, &v));
	assert_false(parse_number("0", 1, 65535, &v));
	assert_false(parse_number("", 0, 9, &v));
	assert_false(parse_number("1x", 0, 9, &v));
	assert_false(parse_number("18446744073709551617", 0, UINT64_MAX, &v));
}

static void test_paths(void **state)
{
	char dir[] = "/tmp/popferry-t-XXXXXX", *path, *link, *a, *b;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/none/../x/./y/", dir);
	link = xasprintf("%s/link", dir);
	assert_int_equal(symlink(dir, link), 0);
	a = path_canon(path);
	free(path);
	path = xasprintf("%s/x/y", link);
	b = path_canon(path);
	assert_string_equal(a, b);
	assert_true(path_inside(a, dir));
	assert_true(path_inside(dir, dir));
	assert_false(path_inside(dir, a));
	free(b);
	b = xasprintf("%sx", dir);
	assert_false(path_inside(b, dir));
	free(a);
	a = path_canon("/");
	assert_string_equal(a, "/");
	assert_true(path_inside(b, a));
	free(a);
	a = path_canon("/../..");
	assert_string_equal(a, "/");
	unlink(link);
	rmdir(dir);
	free(a);
	free(b);
	free(path);
	free(link);
}

/* ---- secrets ---- */

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/popferry-t-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = { "pw", "link", "fifo", "sub", "mark" };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(names); i++) {
		char *path = xasprintf("%s/%s", dir, names[i]);

		if (unlink(path) < 0)
			rmdir(path);
		free(path);
	}
	return rmdir(dir);
}

static char *write_file(const char *name, const char *bytes, size_t n, mode_t mode)
{
	char *path = xasprintf("%s/%s", dir, name);
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static void refused(struct secret *s, int exit, const char *words)
{
	struct err err = ERR_INIT;
	char *out = NULL;

	assert_int_equal(secret_get(s, "source", &out, &err), ST_DENIED);
	assert_null(out);
	assert_int_equal(err.exit, exit);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void given(struct secret *s, const char *password)
{
	struct err err = ERR_INIT;
	char *out = NULL;

	if (secret_get(s, "source", &out, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_string_equal(out, password);
	free(out);
}

static void test_file_content(void **state)
{
	static char longest[SECRET_MAX + 3], over[3 * SECRET_MAX];
	static const struct {
		const char *bytes, *password, *words;
		size_t n;
	} rows[] = {
#define B(s) (s), .n = sizeof(s) - 1
		{ .bytes = B("secret"), .password = "secret" },
		{ .bytes = B("secret\n"), .password = "secret" },
		{ .bytes = B("secret\r\nmore\n"), .password = "secret" },
		{ .bytes = B(" p\xc3\xa4 ss\"\\ \n"),
			.password = " p\xc3\xa4 ss\"\\ " },
		{ .bytes = B("a\nb\0c"), .password = "a" },
		{ .bytes = B(""), .words = "empty" },
		{ .bytes = B("\nsecret\n"), .words = "empty" },
		{ .bytes = B("\r\n"), .words = "empty" },
		{ .bytes = B("a\0b\n"), .words = "NUL" },
		{ .bytes = B("a\rb\n"), .words = "carriage return" },
#undef B
	};
	struct secret s = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		s.file = write_file("pw", rows[i].bytes, rows[i].n, 0600);
		if (rows[i].password)
			given(&s, rows[i].password);
		else
			refused(&s, EX_CONFIG, rows[i].words);
		free(s.file);
	}
	memset(longest, 'x', SECRET_MAX);
	memcpy(longest + SECRET_MAX, "\r\n", 3);
	s.file = write_file("pw", longest, SECRET_MAX + 2, 0400);
	longest[SECRET_MAX] = '\0';
	given(&s, longest);
	free(s.file);
	memset(over, 'x', sizeof(over));
	s.file = write_file("pw", over, sizeof(over), 0600);
	refused(&s, EX_CONFIG, "longer than");
	over[SECRET_MAX + 1] = '\n';
	free(s.file);
	s.file = write_file("pw", over, sizeof(over), 0600);
	refused(&s, EX_CONFIG, "longer than");
	free(s.file);
}

static void test_file_kept_badly(void **state)
{
	static const mode_t open_modes[] = { 0640, 0604, 0620, 0601, 0666, 0610 };
	struct secret s = { 0 };
	char *path;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(open_modes); i++) {
		s.file = write_file("pw", "x\n", 2, open_modes[i]);
		refused(&s, EX_CONFIG, "chmod 600");
		free(s.file);
	}
	path = write_file("pw", "x\n", 2, 0600);
	s.file = xasprintf("%s/link", dir);
	assert_int_equal(symlink(path, s.file), 0);
	refused(&s, EX_CONFIG, "symbolic link");
	free(s.file);
	s.file = xasprintf("%s/fifo", dir); /* must not wait for a writer */
	assert_int_equal(mkfifo(s.file, 0600), 0);
	refused(&s, EX_CONFIG, "regular");
	free(s.file);
	s.file = xasprintf("%s/sub", dir);
	assert_int_equal(mkdir(s.file, 0700), 0);
	refused(&s, EX_CONFIG, "regular");
	free(s.file);
	s.file = xasprintf("%s/missing", dir);
	refused(&s, EX_CONFIG, "No such file");
	free(s.file);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 0), 0);
		s.file = path;
		refused(&s, EX_CONFIG, "another user");
	}
	free(path);
}

static void test_credentials(void **state)
{
	struct secret s = { .file = (char *)"pw" };
	char *path = write_file("pw", "cred\n", 5, 0440); /* as an ACL shows */

	(void)state;
	unsetenv("CREDENTIALS_DIRECTORY");
	refused(&s, EX_CONFIG, "No such file");
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	given(&s, "cred");
	assert_int_equal(chmod(path, 0444), 0);
	refused(&s, EX_CONFIG, "chmod 600");
	assert_int_equal(chmod(path, 0440), 0);
	s.file = path; /* with a slash it is a file as any other */
	refused(&s, EX_CONFIG, "chmod 600");
	unsetenv("CREDENTIALS_DIRECTORY");
	free(path);
}

static void test_command(void **state)
{
	static const struct {
		const char *command, *password, *words;
		int exit;
	} rows[] = {
		{ "echo secret", "secret", NULL, 0 },
		{ "  printf 'two words\\nmore'  ", "two words", NULL, 0 },
		{ "printf \"%s\" \"a \\\"b\\\" \\\\\\$HOME\"", "a \"b\" \\\\$HOME",
			NULL, 0 },
		{ "printf %s a\\ b\"c\"'d'", "a bcd", NULL, 0 },
		{ "echo '$HOME;id'", "$HOME;id", NULL, 0 },
		{ "sh -c 'echo \"in: $(cat)\"'", "in: ", NULL, 0 },
		/* A grandchild that keeps the output open is not waited for. */
		{ "sh -c 'sleep 12 2>&- & echo quick'", "quick", NULL, 0 },
		{ "sh -c 'echo first; head -c 300000 /dev/zero | tr \\\\0 x'", "first",
			NULL, 0 },
		{ "false", NULL, "exit code 1", EX_CONFIG },
		{ "sh -c 'echo x; exit 7'", NULL, "exit code 7", EX_CONFIG },
		{ "sh -c 'kill -9 $$'", NULL, "signal 9", EX_CONFIG },
		{ "true", NULL, "empty", EX_CONFIG },
		{ "printf 'a\\0b'", NULL, "NUL", EX_CONFIG },
		{ "/no/such/program x", NULL, "cannot run /no/such/program",
			EX_CONFIG },
		{ "echo 'open", NULL, "quote", EX_USAGE },
		{ "echo \"open", NULL, "quote", EX_USAGE },
		{ "echo open\\", NULL, "quote", EX_USAGE },
		{ "   ", NULL, "expected a program", EX_USAGE },
		{ "e e e e e e e e e e e e e e e e e e e e e e e e e e e e e e e e e "
		  "e e e e e e e e e e e e e e e e e e e e e e e e e e e e e e e e",
			NULL, "at most", EX_USAGE },
	};
	struct secret s = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		int64_t before = clock_ms();

		s.command = xstrdup(rows[i].command);
		if (rows[i].password)
			given(&s, rows[i].password);
		else
			refused(&s, rows[i].exit, rows[i].words);
		free(s.command);
		assert_true(clock_ms() - before < 10000);
	}
}

static void test_command_out_of_time(void **state)
{
	char *command = xasprintf("sh -c 'echo $$ >%s/mark; exec sleep 30'", dir);
	struct err err = ERR_INIT;
	char *out = NULL, *path;
	int64_t before = clock_ms();
	FILE *f;
	int pid = 0;

	(void)state;
	assert_int_equal(command_line(command, 400, 0, "dest", &out, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_CONFIG);
	assert_non_null(strstr(err.text, "no answer"));
	assert_null(out);
	assert_true(clock_ms() - before < 10000);
	path = xasprintf("%s/mark", dir);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	assert_int_equal(kill(pid, 0), -1); /* it is gone, and waited for */
	free(path);
	free(command);
}

static void test_env(void **state)
{
	struct secret s = { .env = (char *)"POPFERRY_TEST_PW" };

	(void)state;
	unsetenv(s.env);
	refused(&s, EX_CONFIG, "is not set");
	setenv(s.env, "from env", 1);
	given(&s, "from env");
	assert_null(getenv(s.env));
	given(&s, "from env"); /* the other end, or the next session */
	setenv(s.env, "newer", 1);
	given(&s, "newer");
	assert_null(getenv(s.env));
	setenv(s.env, "", 1);
	refused(&s, EX_CONFIG, "empty");
}

static void test_no_secret(void **state)
{
	struct secret s = { 0 };

	(void)state;
	refused(&s, EX_USAGE, "--source-password-file");
	refused(&s, EX_USAGE, "--source-password-command");
	refused(&s, EX_USAGE, "--source-password-env");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_day),
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_paths),
		cmocka_unit_test_setup_teardown(
			test_file_content, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			test_file_kept_badly, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_credentials, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_command, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			test_command_out_of_time, make_dir, remove_dir),
		cmocka_unit_test(test_env),
		cmocka_unit_test(test_no_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
