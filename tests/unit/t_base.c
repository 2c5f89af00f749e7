/* t_base.c: buffers, errors, files, the log and the clock. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/err.h>
#include <popferry/fs.h>
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

static char dir[256];
static int dirfd_;
static struct err err;

static const char *in_dir(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof(dir), "%s/t_base.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
	memset(&err, 0, sizeof(err));
	return dirfd_ < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(dirfd_);
	return rmdir(dir);
}

static void test_clock(void **state)
{
	static const struct {
		int64_t utc;
		const char *out;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ 1795321877, "2026-11-22T04:31:17Z" },
		{ 951782400, "2000-02-29T00:00:00Z" },
		{ -1, "1969-12-31T23:59:59Z" },
		{ 4294967296, "2106-02-07T06:28:16Z" },
		{ 253402300799, "9999-12-31T23:59:59Z" },
		{ INT64_MAX, "" },
	};
	int64_t t = clock_ms();
	char out[24];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		assert_string_equal(clock_rfc3339(out, rows[i].utc), rows[i].out);
	clock_sleep(0);
	clock_sleep(-5);
	clock_sleep(20);
	assert_true(clock_ms() - t >= 19);
	assert_true(clock_utc() > 1700000000);
}

/* ---- buffers ---- */

static void test_buf(void **state)
{
	struct buf b = BUF_INIT(10);
	char *p;

	(void)state;
	assert_string_equal(buf_str(&b), "");
	assert_true(buf_add(&b, NULL, 0));
	assert_true(buf_adds(&b, "12345"));
	assert_true(buf_addf(&b, "%d", 678));
	assert_false(buf_adds(&b, "9ab"));
	assert_false(buf_addf(&b, "%s", "9ab"));
	assert_false(buf_add(&b, "x", SIZE_MAX));
	assert_string_equal(buf_str(&b), "12345678");
	assert_true(buf_addc(&b, '9'));
	assert_true(buf_addc(&b, '\0'));
	assert_false(buf_addc(&b, 'b'));
	assert_int_equal(b.n, 10);
	assert_true(b.cap <= 11);
	assert_memory_equal(b.p, "123456789\0", 11);
	buf_drop(&b, 3);
	assert_memory_equal(b.p, "456789\0", 8);
	buf_drop(&b, 99);
	assert_string_equal(buf_str(&b), "");
	assert_true(buf_adds(&b, "again"));
	p = buf_take(&b);
	assert_string_equal(p, "again");
	free(p);
	assert_true(buf_adds(&b, "and again"));
	buf_clear(&b);
	assert_string_equal(buf_str(&b), "");
	buf_free(&b);
	buf_free(&b);
	buf_drop(&b, 1);
	p = buf_take(&b);
	assert_string_equal(p, "");
	free(p);
	buf_init(&b, 0);
	assert_true(buf_add(&b, "", 0));
	assert_false(buf_addc(&b, 'x'));
	buf_free(&b);
}

/* A ceiling of all there is must not wrap round. */
static void test_buf_grows(void **state)
{
	static const size_t ceilings[] = { 100000, SIZE_MAX, SIZE_MAX - 1 };
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(ceilings); i++) {
		struct buf b = BUF_INIT(ceilings[i]);

		for (k = 0; k < 100000; k++)
			assert_true(buf_addc(&b, (char)('a' + k % 26)));
		assert_int_equal(strlen(buf_str(&b)), 100000);
		assert_int_equal(b.p[99999], 'a' + 99999 % 26);
		assert_false(buf_add(&b, "x", SIZE_MAX));
		assert_false(buf_add(&b, "x", SIZE_MAX - 100000));
		buf_free(&b);
	}
}

/* ---- errors ---- */

static void test_err(void **state)
{
	char big[3000];
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	assert_int_equal(
		err_set(&e, ST_SKIP, EX_DATAERR, "a %d\n%s", 1, "\x1b[2J"), ST_SKIP);
	assert_int_equal(e.status, ST_SKIP);
	assert_int_equal(e.exit, EX_DATAERR);
	assert_string_equal(e.text, "a 1\\x0a\\x1b[2J");
	err_reply(&e, B("-ERR\r\n"));
	assert_string_equal(e.reply, "-ERR\\x0d\\x0a");
	assert_int_equal(err_note(&e, "line %d\t", 7), ST_SKIP);
	assert_string_equal(e.text, "line 7\\x09: a 1\\x0a\\x1b[2J");
	assert_string_equal(e.reply, "-ERR\\x0d\\x0a");
	assert_int_equal(err_set(&e, ST_FATAL, EX_USAGE, "x"), ST_FATAL);
	assert_string_equal(e.reply, "");
	assert_int_equal(err_set(NULL, ST_RETRY, 1, "x"), ST_RETRY);
	assert_int_equal(err_note(NULL, "x"), ST_FATAL);
	err_reply(NULL, B("x"));

	/* However long: one line, clipped between characters. */
	for (i = 0; i + 1 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xa4", 2);
	big[sizeof(big) - 2] = '\0';
	for (i = 0; i < 4; i++) {
		char clean[ERR_TEXT];

		err_set(&e, ST_FATAL, 1, "%.*s%s", (int)i, "abc", big);
		assert_true(strlen(e.text) > ERR_TEXT - 6);
		assert_string_equal(e.text + strlen(e.text) - 3, "...");
		err_note(&e, "%.*s", (int)i, "abc");
		assert_true(strlen(e.text) < ERR_TEXT);
		assert_string_equal(e.text + strlen(e.text) - 3, "...");
		text_clean(clean, sizeof(clean), e.text, strlen(e.text));
		assert_string_equal(clean, e.text);
	}
	err_set(&e, ST_FATAL, 1, "kept");
	err_note(&e, "%s", big);
	assert_true(strlen(e.text) < ERR_TEXT);
	err_reply(&e, big, sizeof(big));
	assert_true(strlen(e.reply) < ERR_REPLY);
}

static void test_err_sys(void **state)
{
	static const struct {
		int no, exit;
	} rows[] = {
		{ EACCES, EX_CANTCREAT },
		{ EPERM, EX_CANTCREAT },
		{ EROFS, EX_CANTCREAT },
		{ ENOENT, EX_CANTCREAT },
		{ ENOSPC, EX_IOERR },
		{ EIO, EX_IOERR },
		{ EDQUOT, EX_IOERR },
	};
	struct err e = ERR_INIT;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char want[200];

		errno = rows[i].no;
		assert_int_equal(err_sys(&e, ST_FATAL, "open %s", "x"), ST_FATAL);
		assert_int_equal(errno, rows[i].no);
		assert_int_equal(e.exit, rows[i].exit);
		snprintf(want, sizeof(want), "open x: %s", strerror(rows[i].no));
		assert_string_equal(e.text, want);
	}
}

/* ---- files ---- */

static void test_replace(void **state)
{
	struct stat st;
	char *p = NULL;
	size_t n;

	(void)state;
	assert_int_equal(fs_read(&p, &n, dirfd_, "f", 100, &err), ST_END);
	assert_int_equal(fs_replace(dirfd_, "f", "one", 3, 0600, &err), ST_OK);
	assert_int_equal(fs_replace(dirfd_, "f", B("t\0wo"), 0640, &err), ST_OK);
	assert_int_equal(fs_read(&p, &n, dirfd_, "f", 4, &err), ST_OK);
	assert_int_equal(n, 4);
	assert_memory_equal(p, "t\0wo", 5);
	free(p);
	assert_int_equal(fs_read(&p, &n, dirfd_, "f", 3, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(stat(in_dir("f"), &st), 0);
	assert_int_equal(st.st_mode & 0077, 0040);
	/* What a name pointed to is not written to: the name is replaced. */
	assert_int_equal(symlink("f", in_dir("link")), 0);
	assert_int_equal(fs_replace(dirfd_, "link", "new", 3, 0600, &err), ST_OK);
	assert_int_equal(lstat(in_dir("link"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(fs_read(&p, &n, dirfd_, "f", 100, &err), ST_OK);
	assert_memory_equal(p, "t\0wo", 4);
	free(p);
	/* A name that cannot be replaced leaves nothing for tear_down() to find. */
	unlink(in_dir("f"));
	assert_int_equal(mkdir(in_dir("f"), 0700), 0);
	assert_int_equal(fs_replace(dirfd_, "f", "x", 1, 0600, &err), ST_FATAL);
	assert_non_null(strstr(err.text, "f: "));
	rmdir(in_dir("f"));
	unlink(in_dir("link"));
	assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
	assert_int_equal(fs_read(&p, &n, dirfd_, "pipe", 100, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_DATAERR);
	unlink(in_dir("pipe"));
}

static enum status open_dir(const char *name)
{
	int fd = -1;
	enum status rc = fs_open_dir(&fd, in_dir(name), &err);

	assert_int_equal(rc == ST_OK, fd >= 0);
	if (fd >= 0) {
		assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		close(fd);
	}
	return rc;
}

static void test_open_dir(void **state)
{
	static const struct {
		const char *name, *path;
		mode_t mode; /* of "d" */
		int exit;    /* 0: it opens */
	} rows[] = {
		{ "ours", "d", 0700, 0 },
		{ "readable", "d", 0755, 0 },
		{ "slash", "d//", 0700, 0 },
		{ "new", "d/new", 0700, 0 },
		{ "deep", "d/new/a/b/", 0700, 0 },
		{ "group", "d", 0720, EX_CONFIG },
		{ "others", "d", 0702, EX_CONFIG },
		{ "sticky", "d", 01777, EX_CONFIG },
		{ "symlink", "link", 0700, EX_CONFIG },
		{ "symlink with slash", "link/", 0700, EX_CONFIG },
		{ "symlink with slashes", "link///", 0700, EX_CONFIG },
		{ "dangling", "nowhere", 0700, EX_CONFIG },
		{ "file", "file", 0700, EX_CONFIG },
		{ "in a file", "file/x", 0700, EX_CANTCREAT },
		{ "by a link", "link/new", 0700, 0 },
	};
	struct stat st;
	size_t i;
	int fd;

	(void)state;
	mkdir(in_dir("d"), 0700);
	close(open(in_dir("file"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(symlink("d", in_dir("link")), 0);
	assert_int_equal(symlink("none", in_dir("nowhere")), 0);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		enum status rc;

		chmod(in_dir("d"), rows[i].mode);
		memset(&err, 0, sizeof(err));
		rc = open_dir(rows[i].path);
		if (rc != (rows[i].exit ? ST_FATAL : ST_OK) || err.exit != rows[i].exit)
			fail_msg("%s: %d %d %s", rows[i].name, rc, err.exit, err.text);
	}
	assert_int_equal(stat(in_dir("d/new/a"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(fs_open_dir(&fd, "", &err), ST_FATAL);
	if (geteuid() == 0) {
		assert_int_equal(chown(in_dir("d/new"), 65534, (gid_t)-1), 0);
		assert_int_equal(open_dir("d/new"), ST_FATAL);
		assert_int_equal(err.exit, EX_CONFIG);
	}
	rmdir(in_dir("d/new/a/b"));
	rmdir(in_dir("d/new/a"));
	rmdir(in_dir("d/new"));
	rmdir(in_dir("d"));
	unlink(in_dir("link"));
	unlink(in_dir("nowhere"));
	unlink(in_dir("file"));
}

static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int second_holder(void)
{
	char who[32];
	int fd;

	snprintf(who, sizeof(who), "process %ld on ", (long)getppid());
	if (fs_lock(&fd, dirfd_, "lock", &err) != ST_DENIED)
		return 1;
	if (err.exit != EX_TEMPFAIL)
		return 2;
	return strstr(err.text, who) ? 0 : 3;
}

static int hold_and_die(void)
{
	int fd;

	return fs_lock(&fd, dirfd_, "lock", &err) == ST_OK ? 0 : 1;
}

static void test_lock(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(in_child(hold_and_die), 0);
	assert_int_equal(fs_lock(&fd, dirfd_, "lock", &err), ST_OK);
	assert_int_equal(in_child(second_holder), 0);
	assert_int_equal(in_child(second_holder), 0);
	close(fd);
	assert_int_equal(in_child(hold_and_die), 0);
	unlink(in_dir("lock"));
	/* What another lock file says is not printed raw, and no link is followed. */
	assert_int_equal(symlink("elsewhere", in_dir("lock")), 0);
	assert_int_equal(fs_lock(&fd, dirfd_, "lock", &err), ST_FATAL);
	assert_int_equal(access(in_dir("elsewhere"), F_OK), -1);
	unlink(in_dir("lock"));
}

static void test_tmpfile(void **state)
{
	struct stat st;
	char back[8] = "";
	int fd;

	(void)state;
	assert_int_equal(fs_tmpfile(&fd, dirfd_, &err), ST_OK);
	assert_int_equal(fs_write(fd, "abcdef", 6, &err), ST_OK);
	assert_int_equal(fs_pread(fd, back, 8, 2), 4);
	assert_memory_equal(back, "cdef", 4);
	assert_int_equal(fs_pread(fd, back, 8, 6), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	close(fd); /* tear_down() finds the directory empty */
	assert_int_equal(fs_pread(-1, back, 8, 0), -1);
	assert_int_equal(fs_write(-1, "x", 1, &err), ST_FATAL);
	assert_int_equal(fs_write(-1, "", 0, &err), ST_OK);
	assert_int_equal(fs_sync_dir(dirfd_, &err), ST_OK);
	assert_int_equal(fs_tmpfile(&fd, -1, &err), ST_FATAL);
}

/* ---- the log ---- */

static char *logged(int fd)
{
	static char text[64 * 1024];
	ssize_t n = fs_pread(fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(ftruncate(fd, 0), 0);
	lseek(fd, 0, SEEK_SET);
	return text;
}

static const struct log_field job_field[] = { { "job", "alice", (size_t)-1, 0 } };
static const struct log_field session_field[] = { { "session", NULL, 0, 2 } };
static const struct log job = { NULL, job_field, 1 };
static const struct log session = { &job, session_field, 1 };

static void test_log_text(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(fs_tmpfile(&fd, dirfd_, &err), ST_OK);
	log_setup(LOG_TEXT, LV_INFO, fd);
	log_info(&session, "message-stored", LOG_U("size", 4711),
		LOG_S("where", "INBOX;uid=42"), LOG_S("folder", "INBOX"));
	assert_string_equal(logged(fd),
		"info message-stored job=alice session=2 size=4711 "
		"where=\"INBOX;uid=42\" folder=INBOX\n");
	log_warn(NULL, "odd", LOG_B("a", "x\nerror fake", 12),
		LOG_S("b", "say \"a\\\""), LOG_S("c", NULL),
		LOG_B("d", "\xe2\x80\xae\xff", 4), LOG_B("e", "a\0b", 3),
		LOG_U("f", UINT64_MAX));
	assert_string_equal(logged(fd),
		"warn odd a=\"x\\x0aerror fake\" b=\"say \\\"a\\\\\\\"\" c=\"\" "
		"d=\"\\u{202e}\\xff\" e=\"a\\x00b\" f=18446744073709551615\n");
	log_debug(NULL, "hidden", LOG_U("a", 1));
	assert_string_equal(logged(fd), "");
	close(fd);
}

static void test_log_json(void **state)
{
	char *line;
	int fd;

	(void)state;
	assert_int_equal(fs_tmpfile(&fd, dirfd_, &err), ST_OK);
	log_setup(LOG_JSON, LV_ERROR, fd);
	log_info(&session, "hidden", LOG_U("size", 1));
	assert_string_equal(logged(fd), "");
	log_error(&session, "login-refused", LOG_U("n", 3),
		LOG_B("reply", "-ERR \"no\"\r\n\xff", 12));
	line = logged(fd);
	assert_memory_equal(line, "{\"time\":\"20", 11);
	assert_string_equal(strchr(line, ','),
		",\"level\":\"error\",\"event\":\"login-refused\",\"job\":\"alice\","
		"\"session\":2,\"n\":3,\"reply\":\"-ERR \\\"no\\\"\\u000d\\u000a\\ufffd\"}\n");
	close(fd);
}

/* Lines of every length about the ceiling: one line, ended, and JSON that closes. */
static void test_log_long(void **state)
{
	static char room[20000];
	char *big = room;
	size_t n;
	int fd, format;

	(void)state;
	assert_int_equal(fs_tmpfile(&fd, dirfd_, &err), ST_OK);
	for (format = LOG_TEXT; format <= LOG_JSON; format++) {
		log_setup((enum log_format)format, LV_INFO, fd);
		for (n = 16 * 1024 - 150; n < 16 * 1024 + 80; n++) {
			const char *line, *tail;
			size_t len;

			memset(big, 'x', n);
			memcpy(big + n - 2, "\xc3\xa4", 2);
			log_info(NULL, "long", LOG_B("a", big, n),
				LOG_U("number", 1234567), LOG_S("b", "\n"));
			line = logged(fd);
			len = strlen(line);
			tail = strchr(line, '\xc3');
			assert_true(!tail || tail[1] == '\xa4');
			assert_true(len > 60 && len <= 16 * 1024 + 2);
			assert_ptr_equal(strchr(line, '\n'), line + len - 1);
			if (format == LOG_JSON) {
				tail = strstr(line, "\"cut\":true}\n")
					? "\"cut\":true}\n"
					: "\"number\":1234567,\"b\":\"\\u000a\"}\n";
				assert_string_equal(line + len - strlen(tail), tail);
			} else if (strcmp(line + len - 4, "...\n") != 0) {
				tail = " number=1234567 b=\"\\x0a\"\n";
				assert_string_equal(line + len - strlen(tail), tail);
			}
		}
	}
	/* One value alone that is too long is cut, not left out. */
	log_setup(LOG_TEXT, LV_INFO, fd);
	memset(big, 'x', sizeof(room));
	log_info(NULL, "long", LOG_B("a", big, sizeof(room)));
	assert_true(strlen(logged(fd)) > 16000);
	close(fd);
}

static char drawn[16];

static void draw(bool before)
{
	strncat(drawn, before ? "(" : ")", sizeof(drawn) - strlen(drawn) - 1);
}

static void test_log_hook(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(fs_tmpfile(&fd, dirfd_, &err), ST_OK);
	log_setup(LOG_TEXT, LV_INFO, fd);
	log_hook(draw);
	log_info(NULL, "a", LOG_U("n", 1));
	log_debug(NULL, "b", LOG_U("n", 1));
	log_info(NULL, "c", LOG_U("n", 1));
	log_hook(NULL);
	log_info(NULL, "d", LOG_U("n", 1));
	assert_string_equal(drawn, "()()");
	close(fd);
	log_setup(LOG_TEXT, LV_INFO, -1);
	log_info(NULL, "lost", LOG_U("n", 1));
	log_setup(LOG_TEXT, LV_WARN, STDERR_FILENO);
}

/* ---- memory ---- */

static int overflow(void)
{
	static volatile size_t huge = SIZE_MAX / 2;

	close(STDERR_FILENO);
	free(xreallocarray(NULL, huge, 4));
	return 0;
}

static void test_mem(void **state)
{
	char *p = xmemdup0("a\0b", 3);

	(void)state;
	assert_memory_equal(p, "a\0b", 4);
	free(p);
	free(xmalloc(0));
	free(xcalloc(0, 0));
	p = xasprintf("%s-%d", "x", 7);
	assert_string_equal(p, "x-7");
	free(p);
	assert_int_not_equal(in_child(overflow), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_buf),
		cmocka_unit_test(test_buf_grows),
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_err_sys),
		TEST(test_replace),
		TEST(test_open_dir),
		TEST(test_lock),
		TEST(test_tmpfile),
		TEST(test_log_text),
		TEST(test_log_json),
		TEST(test_log_long),
		TEST(test_log_hook),
		cmocka_unit_test(test_mem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
