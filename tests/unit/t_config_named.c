/* t_config_named.c: which state directory a job's name means. */
#include "source_kit.h"

#include <popferry/config.h>

static const char *const ran[] = { "one-0000000a", "twice-0000000a", "twice-0000000b",
	"plain", "plain-0000000a", "dash-0000000a-0000000b", "ann@h-0000000A",
	"bob@h-12345", "carl@h-123456789" };
/* A lock, at most: nothing has begun. */
static const char *const idle[] = { "twice-0000000c", "idle-0000000a" };

static void add(const char *entry, const char *file)
{
	char *name = xasprintf("popferry/%s/%s", entry, file);

	put_text(name, "");
	free(name);
}

static int begin(void **state)
{
	size_t i;

	if (make_root(state) < 0)
		return -1;
	for (i = 0; i < sizeof(ran) / sizeof(ran[0]); i++)
		add(ran[i], "journal.sqlite");
	for (i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
		add(idle[i], "lock");
	return setenv("XDG_STATE_HOME", root, 1);
}

static const struct {
	const char *name, *dirs; /* all of them */
} rows[] = {
	{ "one", "one-0000000a" },
	{ "one-0000000a", "one-0000000a" },
	{ "one-", "" },
	{ "on", "" },
	{ "one-0000000b", "" },
	{ "twice", "twice-0000000a twice-0000000b" },
	{ "twice-0000000b", "twice-0000000b" },
	{ "twice-0000000c", "" },
	{ "idle", "" },
	{ "plain", "plain" },
	{ "dash", "" },
	{ "dash-0000000a", "dash-0000000a-0000000b" },
	{ "ann@h", "" },
	{ "bob@h", "" },
	{ "carl@h", "" },
	{ "", "" },
	{ ".", "" },
	{ "..", "" },
	{ "./one", "" },
	{ "../popferry/one-0000000a", "" },
};

/* What there is of a name, in one text; NULL: it failed. */
static char *named(const char *name, struct err *err)
{
	struct buf b = BUF_INIT(4096);
	char **paths, *kept;
	size_t n, i;

	if (jobs_named(name, &paths, &n, err) == ST_OK) {
		for (i = 0; i < n; i++) {
			assert_memory_equal(paths[i], root, strlen(root));
			assert_memory_equal(paths[i] + strlen(root), "/popferry/", 10);
			buf_addf(
				&b, "%s%s", i ? " " : "", paths[i] + strlen(root) + 10);
		}
		jobs_free(paths, n);
		kept = xstrdup(buf_str(&b));
		buf_free(&b);
		return kept;
	}
	assert_int_equal(n, 0);
	jobs_free(paths, n);
	return NULL;
}

static void check(const char *name, const char *dirs)
{
	struct err err = ERR_INIT;
	char *got = named(name, &err);

	if (!got)
		fail_msg("%s: %s", name, err.text);
	assert_string_equal(got, dirs);
	free(got);
}

static void test_rows(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(rows[i].name, rows[i].dirs);
}

/* No such place, one that is a file, and none at all. */
static void test_nowhere(void **state)
{
	struct err err = ERR_INIT;
	char *kept = xstrdup(getenv("HOME") ? getenv("HOME") : "");
	char *empty = xasprintf("%s/popferry", root);
	char *file = xasprintf("%s/popferry/one-0000000a/journal.sqlite", root);

	(void)state;
	setenv("XDG_STATE_HOME", empty, 1);
	check("one", "");
	setenv("XDG_STATE_HOME", file, 1);
	assert_null(named("one", &err));
	assert_non_null(strstr(err.text, file));
	unsetenv("XDG_STATE_HOME");
	unsetenv("HOME");
	check("one", "");
	setenv("HOME", kept, 1);
	setenv("XDG_STATE_HOME", root, 1);
	free(file);
	free(empty);
	free(kept);
}

/* A job finds its own. */
static void test_default(void **state)
{
	struct err err = ERR_INIT;
	const char *entry;
	struct job *j;

	(void)state;
	job_new(&j);
	assert_int_equal(job_set(j, "source", "pop3s://dora@h", "", &err), ST_OK);
	assert_int_equal(job_set(j, "dest", "archive:/tmp/a", "", &err), ST_OK);
	assert_int_equal(job_check(j, &err), ST_OK);
	check("dora@h", "");
	entry = strrchr(j->state, '/') + 1;
	add(entry, "journal.sqlite");
	check("dora@h", entry);
	job_free(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_default),
	};

	return cmocka_run_group_tests(tests, begin, drop_root);
}
