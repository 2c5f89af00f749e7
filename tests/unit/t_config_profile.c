/* t_config_profile.c: profile files: what they say, what is refused and where. */
#include "../../src/config/own.h"

#include <popferry/mem.h>

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/popferry-t-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	setenv("POPFERRY_PROFILES", dir, 1);
	setenv("HOME", dir, 1);
	unsetenv("XDG_CONFIG_HOME");
	return 0;
}

static int remove_dir(void **state)
{
	struct dirent *d;
	DIR *open = opendir(dir);

	(void)state;
	while (open && (d = readdir(open))) {
		char *path = xasprintf("%s/%s", dir, d->d_name);

		if (*d->d_name != '.')
			unlink(path);
		free(path);
	}
	closedir(open);
	return rmdir(dir);
}

static char *put(const char *name, const char *text, size_t n)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	fclose(f);
	return path;
}

static void puts_file(const char *name, const char *text)
{
	free(put(name, text, strlen(text)));
}

/* ---- what is refused ---- */

static const struct {
	const char *text;
	unsigned line;
	const char *words;
} bad[] = {
	{ "folder\n", 1, "expected KEY = VALUE" },
	{ "# x\n\n= x\n", 3, "expected KEY = VALUE" },
	{ "folder = a\nfolder = b\n", 2,
		"folder: is given twice; it stands on line 1" },
	{ "source = pop3s://a@h\nsource = pop3s://b@h\n", 2, "source: is given twice" },
	{ "dest = archive:a\ndest = imaps://u@h\ndest = archive:b\n", 3,
		"at most two destinations" },
	{ "foldr = a\n", 1,
		"foldr: there is no such key here; did you mean \"folder\"" },
	{ "nothing-like-this = a\n", 1, "popferry-profile(5)" },
	{ "source-password = hunter2\n", 1, "source-password-file" },
	{ "source = pop3s://me:hunter2@h\n", 1, "source: the URL holds a password" },
	{ "dedup = x\n", 1, "dedup: expected one of message-id, exact" },
	{ "dry-run =\n", 1, "dry-run: expected one of yes, no" },
	{ "folder = %q\n", 1, "unknown \"%q\"" },
	{ "folder = a\x1b[31m\n", 1, "control characters" },
	{ "folder = a ; no comment\n[pop3]\nport = x ; y\n", 3,
		"number from 1 to 65535" },
	{ "folder = a\n  b\n", 2, "expected KEY = VALUE" },
	{ "source-password-env = A\nsource-password-file = b\n", 2, "one place only" },
	{ "[pop3\n", 1, "has no \"]\"" },
	{ "[pop3] x\n", 1, "nothing can follow" },
	{ "[pop]\n", 1, "did you mean [pop3]?" },
	{ "[smtp]\n", 1, "expected [pop3], [imap] or [rule NAME]" },
	{ "[]\n", 1, "there is no section []" },
	{ "[rules x]\n", 1, "there is no section" },
	{ "[rule]\n", 1, "expected a name" },
	{ "[rule ]\n", 1, "expected a name" },
	{ "[pop3]\n[imap]\n[pop3]\n", 3, "stands on line 1 already" },
	{ "[pop3]\nport = 0\n", 2, "port: expected a number from 1 to 65535" },
	{ "[pop3]\nport = 1\nport = 2\n", 3, "port: is given twice" },
	{ "[pop3]\ntls = none\n", 2, "source-tls" },
	{ "[imap]\ntls = none\n", 2, "dest-tls" },
	{ "[pop3]\ntls = ssl\n", 2, "one of implicit, starttls, not" },
	{ "[pop3]\nauth = login\n", 2, "one of auto, user, plain, apop" },
	{ "[imap]\nauth = apop\n", 2, "one of auto, login, plain" },
	{ "[pop3]\nuser = asis\n", 2, "one of email, local" },
	{ "[pop3]\nhost = a b\n", 2, "expected a host name" },
	{ "[pop3]\nwindow-bytes = 1k\n", 2, "expected a size from 4.0 KiB" },
	{ "source pop3s://me@h\n", 1, "source pop3s: expected KEY = VALUE" },
	{ "[pop3]\nliteral = sync\n", 2, "there is no such key here" },
	{ "[pop3]\npipelinin = no\n", 2, "did you mean \"pipelining\"" },
	{ "[pop3]\nfolder = x\n", 2, "before the first section" },
	{ "[imap]\nsettle = 0\n", 2, "a number from 1 to 3600" },
	{ "[imap]\nnotes =\n", 2, "expected a value" },
	{ "[rule a]\nfrom = *\n", 1, "the rule \"a\" does not say what to do" },
	{ "[rule a]\nfolder = x\n", 1, "the rule \"a\" has no test" },
	{ "[rule a]\naction = skip\n[imap]\n", 1, "the rule \"a\" has no test" },
	{ "[rule a]\n[rule b]\n", 1, "does not say what to do" },
	{ "[rule a]\nfrom=*\naction=skip\n[rule a]\n", 4, "stands above already" },
	{ "[rule a]\nfrom = *\nfolder = x\naction = skip\n", 4, "already says" },
	{ "[rule a]\nfrom = *\nfolder = x\nfolder = y\n", 4, "already says" },
	{ "[rule a]\naction = delete\n", 2, "one of skip" },
	{ "[rule a]\nfolder = special:Foo\n", 2, "All, Archive" },
	{ "[rule a]\nfrom =\n", 2, "expected a value" },
	{ "[rule a]\nheader. = x\n", 2, "name of a header field" },
	{ "[rule a]\nheader.A B = x\n", 2, "name of a header field" },
	{ "[rule a]\nfrom-me = maybe\n", 2, "one of yes, no" },
	{ "[rule a]\nfrom-me = yes\nfrom-me = no\n", 3, "twice in this rule" },
	{ "[rule a]\nsince = x\n", 2, "expected a date" },
	{ "[rule a]\nmin-size = x\n", 2, "expected a size" },
	{ "[rule a]\nfrm = x\n", 2, "did you mean \"from\"" },
	{ "[rule a]\nsomething-else = x\n", 2, "expected header.NAME, from, to" },
	{ "folder = a\nextends = base\n", 2, "before all other settings" },
	{ "extends = no-such-profile\n", 1, "there is no profile \"no-such-profile\"" },
	{ "source-profile = base\n", 1, "has no section [pop3]" },
	{ "extends = wrong\n", 1, "wrong.conf:2: port: expected a number" },
	{ "extends = self\n", 1, "names itself" },
	{ "dest-profile = loop\n", 1, "names itself" },
};

static void test_bad(void **state)
{
	size_t i;

	(void)state;
	puts_file("base.conf", "folder = base\n");
	puts_file("wrong.conf", "[imap]\nport = x\n");
	puts_file("self.conf", "extends = self\n");
	puts_file("loop.conf", "dest-profile = loop2\n[imap]\nport = 1\n");
	puts_file("loop2.conf", "extends = ./loop.conf\n");
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		char *path = put("x.conf", bad[i].text, strlen(bad[i].text)), *where;
		struct err err = ERR_INIT;
		struct job *j;

		where = xasprintf("%s:%u: ", path, bad[i].line);
		job_new(&j);
		if (job_load(j, path, &err) != ST_DENIED)
			fail_msg("row %zu was taken: %s", i, bad[i].text);
		assert_int_equal(err.exit, EX_USAGE);
		if (strncmp(err.text, where, strlen(where)) != 0 ||
			!strstr(err.text, bad[i].words))
			fail_msg("row %zu: \"%s\" is not at line %u, or does not say "
				 "\"%s\"",
				i, err.text, bad[i].line, bad[i].words);
		assert_null(strstr(err.text, "hunter2"));
		job_free(&j);
		free(where);
		free(path);
	}
}

static void loads(const char *text, size_t n, enum status want, const char *words)
{
	char *path = put("x.conf", text, n);
	struct err err = ERR_INIT;
	struct job *j;

	job_new(&j);
	if (job_load(j, path, &err) != want || !strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
	job_free(&j);
	free(path);
}

/* Nothing is cut: what is too long is refused. */
static void test_long(void **state)
{
	size_t n = PROFILE_LINE_MAX, big = PROFILE_MAX + 1;
	char *text = xmalloc(big + 1);
	struct err err = ERR_INIT;
	struct job *j;
	char *path;

	(void)state;
	memset(text, 'x', big);
	memcpy(text, "[imap]\nnotes = ", 15);
	text[7 + n] = '\n';
	path = put("x.conf", text, 8 + n);
	job_new(&j);
	if (job_load(j, path, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_int_equal(strlen(((struct plan *)j)->imap.notes), n - 8);
	job_free(&j);
	free(path);
	loads(text, 7 + n, ST_OK, ""); /* the same without a line end */
	text[7 + n] = 'x';
	loads(text, 8 + n, ST_DENIED, "x.conf:2: the line is longer than 4096 bytes");
	loads(text, big - 1, ST_DENIED, "longer than 4096");
	loads(text, big, ST_DENIED, "at most 524288 bytes");
	memset(text, '#', big);
	loads(text, n, ST_OK, "");
	loads(text, n + 1, ST_DENIED, "x.conf:1: the line is longer");
	memset(text, '[', big);
	loads(text, n, ST_DENIED, "no \"]\"");
	memcpy(text, "[rule ", 6);
	memset(text + 6, 'r', 200);
	text[206] = ']';
	loads(text, 207, ST_DENIED, "1 to 64 bytes");
	/* libinih would cut the name of this section to a known one. */
	memset(text, ' ', 60);
	memcpy(text, "[imap", 5);
	memcpy(text + 55, "x]\n", 3);
	loads(text, 58, ST_DENIED, "there is no section");
	free(text);
}

static void test_odd_bytes(void **state)
{
#define L(s, want, words) loads(s, sizeof(s) - 1, want, words)
	(void)state;
	L("", ST_OK, "");
	L("\n\r\n  \n# c\n; c\n", ST_OK, "");
	L("\xef\xbb\xbf"
	  "folder = a\r\n",
		ST_OK, "");
	L("\xef\xbb\xbf[pop3]\r\nport = 1\r\n", ST_OK, "");
	L("\xef\xbb\xbf[pop4]\n", ST_DENIED, "x.conf:1: there is no section [pop4]");
	L("  folder = a\n\t[ imap ] \n port = 7", ST_OK, "");
	L("folder: a\n", ST_OK, "");
	L("folder = a\0b\n", ST_DENIED, "x.conf:1: the line holds a NUL");
	L("#\n\0\n", ST_DENIED, "x.conf:2: the line holds a NUL");
	L("\xff\xfe = x\n", ST_DENIED, "there is no such key");
#undef L
}

/* Any bytes: an error or a job, but nothing else. */
static void test_mangled(void **state)
{
	static const char text[] = "source = pop3s://a@h\ndest = archive:x\n"
				   "[pop3]\nport = 1\n[rule a]\nfrom = *x*\n"
				   "folder = %Y\n";
	static const char bytes[] = "\n[]=:;# %\x00\xff";
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(text) - 1; i++)
		for (k = 0; k < sizeof(bytes) - 1; k++) {
			char copy[sizeof(text)], *path;
			struct err err = ERR_INIT;
			struct job *j;

			memcpy(copy, text, sizeof(text));
			copy[i] = bytes[k];
			path = put("x.conf", copy, k ? sizeof(text) - 1 : i);
			job_new(&j);
			if (job_load(j, path, &err) != ST_OK)
				assert_int_equal(err.exit, EX_USAGE);
			job_free(&j);
			free(path);
		}
}

/* ---- what is said ---- */

static struct job *load(const char *spec)
{
	struct err err = ERR_INIT;
	struct job *j;

	job_new(&j);
	if (job_load(j, spec, &err) != ST_OK)
		fail_msg("%s", err.text);
	return j;
}

static void test_facts(void **state)
{
	struct plan *p;
	struct job *j;
	struct err err = ERR_INIT;

	(void)state;
	puts_file("x.conf",
		"source = pop3://a@x@h\ndest = imaps://b@h\n[pop3]\nhost = p.x\n"
		"port = 2\ntls = starttls\nauth = apop\npipelining = no\n"
		"window-bytes = 8k\nwindow-count = 9\nmessage-max = 1G\n"
		"session-messages = 10\ndelete-batch = 9\nlogin-interval = 60\nuser = local\nnotes = n ; # n\n"
		"window = yes\nglued-dot = yes\nrset = no\n"
		"[imap]\nhost = ::1\nport = 3\ntls = implicit\nauth = plain\n"
		"literal = sync\nmultiappend = no\ncompress = no\nappend-max = 1M\n"
		"window-bytes = 16k\nbatch-bytes = 4k\nbatch-count = 5\nsettle = 6\n"
		"connections = 7\nnotes = m\n");
	j = load("x");
	p = (struct plan *)j;
	assert_true(p->has_pop3 && p->has_imap);
	assert_int_equal(job_check(j, &err), ST_OK);
	assert_string_equal(j->source.pop3.host, "p.x");
	assert_int_equal(j->source.port, 2);
	assert_int_equal(j->source.tls, TLS_STARTTLS);
	assert_int_equal(j->source.pop3.auth, 3);
	assert_true(j->source.pop3.no_pipelining);
	assert_int_equal(j->source.pop3.window_bytes, 8192);
	assert_int_equal(j->source.pop3.window_count, 9);
	assert_int_equal(j->source.pop3.message_max, 1 << 30);
	assert_int_equal(j->source.pop3.session_messages, 10);
	assert_int_equal(j->source.pop3.delete_batch, 9);
	assert_int_equal(j->source.pop3.login_interval, 60);
	assert_true(j->source.pop3.window && j->source.pop3.glued_dot);
	assert_int_equal(j->source.pop3.rset, 2);
	assert_string_equal(j->source.user, "a");
	assert_string_equal(j->source.pop3.notes, "n ; # n");
	assert_string_equal(j->dest[0].imap.host, "::1");
	assert_int_equal(j->dest[0].port, 3);
	assert_int_equal(j->dest[0].imap.auth, 2);
	assert_true(j->dest[0].imap.literal_sync && j->dest[0].imap.no_multiappend);
	assert_int_equal(j->dest[0].imap.compress, 2);
	assert_int_equal(j->dest[0].imap.append_max, 1 << 20);
	assert_int_equal(j->dest[0].imap.window_bytes, 16384);
	assert_int_equal(j->dest[0].imap.batch_bytes, 4096);
	assert_int_equal(j->dest[0].imap.batch_count, 5);
	assert_int_equal(j->dest[0].imap.settle, 6);
	assert_int_equal(j->dest[0].imap.connections, 7);
	assert_string_equal(j->dest[0].imap.notes, "m");
	job_free(&j);
}

static void test_rules(void **state)
{
	const struct rule *r;
	struct job *j;

	(void)state;
	puts_file("base.conf",
		"[rule lists]\nheader.List-Id = *\nfolder = Old\n"
		"[rule last]\nto-me = no\naction = skip\n");
	puts_file("x.conf",
		"extends = base\n[rule big]\nmin-size = 1M\nmax-size = 2M\n"
		"since = 2024-03-01\nbefore = 2024-03-02\nfrom = *@x\n"
		"header.X-A = 1\nheader.X-A = 2\nfrom-me = yes\n"
		"folder = Big/%Y\n[rule lists]\nsubject = [x]*\nto = a\n"
		"folder = special:archive\n");
	j = load("x");
	assert_int_equal(j->n_rules, 3);
	r = &j->rules[0];
	assert_string_equal(r->name, "big");
	assert_string_equal(r->folder, "Big/%Y");
	assert_false(r->skip);
	assert_int_equal(r->n_tests, 8);
	assert_int_equal(r->tests[0].kind, TEST_MIN_SIZE);
	assert_int_equal(r->tests[0].value, 1 << 20);
	assert_int_equal(r->tests[1].kind, TEST_MAX_SIZE);
	assert_int_equal(r->tests[2].kind, TEST_SINCE);
	assert_int_equal(r->tests[2].value, 1709251200);
	assert_int_equal(r->tests[3].kind, TEST_BEFORE);
	assert_int_equal(r->tests[4].kind, TEST_HEADER);
	assert_string_equal(r->tests[4].header, "From");
	assert_string_equal(r->tests[4].pattern, "*@x");
	assert_string_equal(r->tests[5].header, "X-A");
	assert_string_equal(r->tests[6].pattern, "2");
	assert_int_equal(r->tests[7].kind, TEST_FROM_ME);
	assert_int_equal(r->tests[7].value, 1);
	r = &j->rules[1];
	assert_string_equal(r->name, "lists"); /* the own one, not the inherited */
	assert_string_equal(r->folder, "special:Archive");
	assert_string_equal(r->tests[0].pattern, "[x]*");
	r = &j->rules[2];
	assert_string_equal(r->name, "last");
	assert_true(r->skip);
	assert_null(r->folder);
	assert_int_equal(r->tests[0].kind, TEST_TO_ME);
	assert_int_equal(r->tests[0].value, 0);
	job_free(&j);
}

static void test_many_rules(void **state)
{
	char *text = NULL, *path;
	size_t n, i;
	FILE *f;

	(void)state;
	f = open_memstream(&text, &n);
	for (i = 0; i <= RULES_MAX; i++)
		fprintf(f, "[rule %zu]\nfrom=*\naction=skip\n", i);
	fclose(f);
	loads(text, n, ST_DENIED, "at most 500 rules");
	free(text);
	f = open_memstream(&text, &n);
	fprintf(f, "[rule a]\naction = skip\n");
	for (i = 0; i <= RULE_TESTS_MAX; i++)
		fprintf(f, "from=*\n");
	fclose(f);
	path = put("x.conf", text, n);
	loads(text, n, ST_DENIED, "at most 50 tests");
	free(text);
	free(path);
}

/* The extending profile and the command line win. */
static void test_layers(void **state)
{
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	puts_file("base.conf",
		"source = pop3s://a@h\ndest = archive:/tmp/a\ndest = imaps://b@h\n"
		"folder = base\nseen = all\nsource-password-env = A\n"
		"[pop3]\nport = 7\nlogin-interval = 8\n[imap]\nport = 9\n");
	puts_file("x.conf",
		"extends = base\ndest = imaps://c@h\nfolder = own\n"
		"source-password-file = f\n[pop3]\nport = 70\n");
	j = load("x");
	assert_int_equal(j->n_dest, 1);
	assert_string_equal(j->dest[0].user, "c");
	assert_string_equal(j->folder, "own");
	assert_int_equal(j->seen, SEEN_ALL);
	assert_string_equal(((struct plan *)j)->source.secret.file, "f");
	assert_null(((struct plan *)j)->source.secret.env);
	assert_int_equal(job_set(j, "dest", "archive:/tmp/b", "--dest", &err), ST_OK);
	assert_int_equal(job_set(j, "dest", "imaps://d@h", "--dest", &err), ST_OK);
	assert_int_equal(job_set(j, "folder", "cli", "--folder", &err), ST_OK);
	assert_int_equal(
		job_set(j, "source-password-command", "c", "--x", &err), ST_OK);
	assert_int_equal(job_check(j, &err), ST_OK);
	assert_int_equal(j->n_dest, 2);
	assert_string_equal(j->dest[1].user, "d");
	assert_string_equal(j->folder, "cli");
	assert_null(j->source.secret.file);
	assert_string_equal(j->source.secret.command, "c");
	assert_int_equal(j->source.port, 70);
	assert_int_equal(j->source.pop3.login_interval, 8);
	assert_int_equal(j->dest[1].port, 9);
	job_free(&j);
}

static void test_sections_of_others(void **state)
{
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	puts_file("a.conf",
		"folder = a\n[pop3]\nport = 1\nlogin-interval = 5\n"
		"[imap]\nport = 2\n");
	puts_file("b.conf", "[pop3]\nport = 3\n[imap]\nport = 4\nsettle = 9\n");
	puts_file("x.conf",
		"source = pop3s://a@h\ndest = imaps://b@h\n"
		"source-profile = a\ndest-profile = b\n[imap]\nport = 5\n");
	j = load("x");
	assert_null(j->folder);
	assert_int_equal(job_check(j, &err), ST_OK);
	assert_int_equal(j->source.port, 1);
	assert_int_equal(j->dest[0].port, 5);
	assert_int_equal(j->dest[0].imap.settle, 9);
	job_free(&j);
	j = load("x");
	assert_int_equal(
		job_set(j, "source-profile", "b", "--source-profile", &err), ST_OK);
	assert_int_equal(job_check(j, &err), ST_OK);
	assert_int_equal(j->source.port, 3);
	assert_int_equal(j->source.pop3.login_interval, 0);
	job_free(&j);
}

static void test_deep(void **state)
{
	struct err err = ERR_INIT;
	struct job *j;
	int i;

	(void)state;
	puts_file("p0.conf", "folder = deep\n");
	for (i = 1; i <= PROFILE_DEPTH + 1; i++) {
		char *name = xasprintf("p%d.conf", i);
		char *text = xasprintf("extends = p%d.conf\n", i - 1);

		puts_file(name, text);
		free(name);
		free(text);
	}
	j = load("p8");
	assert_string_equal(j->folder, "deep");
	job_free(&j);
	job_new(&j);
	assert_int_equal(job_load(j, "p9", &err), ST_DENIED);
	assert_non_null(strstr(err.text, "more than 8 deep"));
	job_free(&j);
}

static void test_lookup(void **state)
{
	char *list = xasprintf("/nonexistent:%s:", dir);
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	puts_file("found.conf", "folder = here\n");
	setenv("POPFERRY_PROFILES", list, 1);
	j = load("found");
	assert_string_equal(j->folder, "here");
	job_free(&j);
	setenv("POPFERRY_PROFILES", "/nonexistent", 1);
	job_new(&j);
	assert_int_equal(job_load(j, "found", &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);
	assert_int_equal(job_load(j, "found.conf", &err), ST_DENIED); /* a path */
	assert_int_equal(job_load(j, dir, &err), ST_DENIED);
	assert_int_equal(job_load(j, "", &err), ST_DENIED);
	job_free(&j);
	setenv("POPFERRY_PROFILES", dir, 1);
	free(list);
}

/* ---- the profiles that are installed ---- */

static void test_installed(void **state)
{
	static const char *const must[] = { "generic", "dovecot", "cyrus", "courier",
		"exchange", "gmail", "outlook", "yahoo", "gmx" };
	size_t i, files = 0;
	struct dirent *d;
	DIR *open = opendir("profiles");

	(void)state;
	assert_non_null(open); /* tests run at the top of the tree */
	setenv("POPFERRY_PROFILES", "profiles", 1);
	for (i = 0; i < N_ELEMENTS(must); i++) {
		struct job *j = load(must[i]);

		job_free(&j);
	}
	while ((d = readdir(open))) {
		char *path, *text = NULL;
		struct plan *p;
		struct job *j;
		size_t cap = 0;
		bool dated = false;
		FILE *f;

		if (*d->d_name == '.')
			continue;
		files++;
		path = xasprintf("profiles/%s", d->d_name);
		j = load(path);
		p = (struct plan *)j;
		if (!p->has_pop3 || !p->has_imap || !p->pop3.notes || !p->imap.notes)
			fail_msg("%s lacks a section or its notes", path);
		if (!p->pop3.host != !p->imap.host)
			fail_msg("%s knows one host only", path);
		assert_null(j->source.url); /* facts only */
		assert_int_equal(j->n_dest + j->n_rules, 0);
		f = fopen(path, "r");
		while (getline(&text, &cap, f) > 0)
			dated = dated || (*text == '#' && strstr(text, " 2026-"));
		fclose(f);
		if (!dated && strcmp(d->d_name, "generic.conf") != 0)
			fail_msg("%s does not say when its facts were read", path);
		free(text);
		free(path);
		job_free(&j);
	}
	closedir(open);
	assert_int_equal(files, N_ELEMENTS(must));
}

/* What the manual shows is possible: each example loads and fits together. */
static void test_manual(void **state)
{
	FILE *man = fopen("src/cli/popferry-profile.5", "r"), *f = NULL;
	char *line = NULL, *path = xasprintf("%s/example.conf", dir);
	char *both = xasprintf("%s:profiles", dir);
	size_t cap = 0, n = 0;

	(void)state;
	assert_non_null(man);
	setenv("POPFERRY_PROFILES", both, 1);
	puts_file("company.conf", "folder = Mail\n");
	while (getline(&line, &cap, man) > 0) {
		struct err err = ERR_INIT;
		struct job *j;

		if (!strncmp(line, ".Bd -literal", 12)) {
			f = fopen(path, "w");
		} else if (f && !strncmp(line, ".Ed", 3)) {
			fclose(f);
			f = NULL;
			j = load(path);
			if (job_check(j, &err) != ST_OK)
				fail_msg("example %zu: %s", n, err.text);
			job_free(&j);
			n++;
		} else if (f) {
			fputs(line, f);
		}
	}
	assert_int_equal(n, 3);
	fclose(man);
	free(line);
	free(path);
	free(both);
}

static void test_gmail(void **state)
{
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	setenv("POPFERRY_PROFILES", "profiles", 1);
	job_new(&j);
	assert_int_equal(
		job_set(j, "source", "pop3s://me@pop.gmail.com", "--x", &err), ST_OK);
	assert_int_equal(job_set(j, "source-profile", "gmail", "--x", &err), ST_OK);
	assert_int_equal(job_set(j, "dest", "archive:/tmp/x", "--x", &err), ST_OK);
	assert_int_equal(job_check(j, &err), ST_DENIED);
	assert_non_null(strstr(err.text, "whole mail address"));
	job_free(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_odd_bytes),
		cmocka_unit_test(test_mangled),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_many_rules),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_sections_of_others),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_installed),
		cmocka_unit_test(test_manual),
		cmocka_unit_test(test_gmail),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
