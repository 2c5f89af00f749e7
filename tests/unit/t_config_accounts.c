/* t_config_accounts.c: tables of accounts: their rows, and what becomes of them. */
#include "../../src/config/own.h"

#include <popferry/buf.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define B(s) (s), sizeof(s) - 1

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/popferry-t-XXXXXX");
	setenv("HOME", "/nonexistent/home", 1);
	unsetenv("XDG_STATE_HOME");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = { "table.csv", "shared.conf" };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(names); i++) {
		char *path = xasprintf("%s/%s", dir, names[i]);

		unlink(path);
		free(path);
	}
	return rmdir(dir);
}

static char *put_file(const char *name, const char *text, size_t n)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fchmod(fileno(f), 0600), 0);
	fclose(f);
	return path;
}

/* ---- rows of a text ---- */

static const struct {
	const char *text;
	size_t n;
	const char *rows; /* "line:field|field", "line!fault"; '/' between rows */
} sheets[] = {
	{ B(""), "" },
	{ B("\n\r\n  \n"), "" },
	{ B("a,b\r\n1,2\r"), "1:a|b/2:1|2" },
	{ B("a\n\r"), "1:a" },
	{ B("a,b\n1,2\n"), "1:a|b/2:1|2" },
	{ B("a,b\r\n1,2"), "1:a|b/2:1|2" },
	{ B("\xef\xbb\xbf"
	    "a;b\n1;2,3\n"),
		"1:a|b/2:1|2,3" },
	{ B("a\tb\n1\t2 \n\t3\n"), "1:a|b/2:1|2/3:|3" },
	{ B("# one, two, three\n\n  \n a ; b \n# c\n1;2\n"), "4:a|b/6:1|2" },
	{ B("a,b\n\"x, y\",\"say \"\"no\"\"\"\n"), "1:a|b/2:x, y|say \"no\"" },
	{ B("a,b\n\"two\nlines\",2\n3,4\n"), "1:a|b/2:two\nlines|2/4:3|4" },
	{ B("a,b\n \"1\" ,2\n"), "1:a|b/2:1|2" },
	{ B("a,b\n\" 1 \",\n"), "1:a|b/2: 1 |" },
	{ B("a,b\n,,,\n;\n"), "1:a|b/3:;" },
	{ B(",,,\n,,,\n#,,\n , \n"), "" },
	{ B(";;;\n#,,,\n ; \na;b,c;d\n"), "4:a|b,c|d" },
	{ B("\"a,b\";\"c,d\"\n1;2\n"), "1:a,b|c,d/2:1|2" },
	{ B("a\n\"\"\n#\n\"#\"\n"), "1:a/4:#" },
	{ B("a,b\n1\n1,2,3\n"), "1:a|b/2:1/3:1|2|3" },
	{ B("a,b\n1,x\"y\n3,4\n"), "1:a|b/2!within a field/3:3|4" },
	{ B("a,b\n1,\"x\"y\n3,4\n"), "1:a|b/2!behind the closing/3:3|4" },
	{ B("a,b\n1,\"x\n3,4\n"), "1:a|b/2!never closed" },
	{ B("a,b\n1,\"x\"\"\n3,4\n"), "1:a|b/2!never closed" },
	{ B("a,b\n1,x\0y\n3,4\n"), "1:a|b/2!NUL/3:3|4" },
	{ B("a,b\n1,\xfc\n3,4\n"), "1:a|b/2!UTF-8/3:3|4" },
	{ B("a,b\n1,\xc3\xbc\n3,4\n"), "1:a|b/2:1|\xc3\xbc/3:3|4" },
	{ B("a,b\n1,x\ry\n3,4\n"), "1:a|b/2!carriage/3:3|4" },
	{ B("a,b\n1,\xed\xa0\x80\n"), "1:a|b/2!UTF-8" },
};

static void show(struct buf *b, const struct record *r)
{
	size_t i;

	buf_addf(b, "%s%u", b->n ? "/" : "", r->line);
	if (r->fault)
		buf_addf(b, "!%s", r->fault);
	for (i = 0; !r->fault && i < r->n_fields; i++)
		buf_addf(b, "%c%s", i ? '|' : ':', record_field(r, i));
}

/* As the tables have it: of a fault some words do. */
static bool same_rows(const char *got, const char *want)
{
	const char *fault = strchr(want, '!'), *end;
	char *words;
	bool same;

	if (!fault)
		return !strcmp(got, want);
	if (strncmp(got, want, (size_t)(fault + 1 - want)) != 0)
		return false;
	end = strchr(fault, '/');
	words = xmemdup0(
		fault + 1, end ? (size_t)(end - fault - 1) : strlen(fault + 1));
	same = strstr(got, words) &&
		(!end ||
			(strlen(got) > strlen(end) &&
				!strcmp(got + strlen(got) - strlen(end), end)));
	free(words);
	return same;
}

static void test_sheets(void **state)
{
	struct record r;
	size_t i;

	(void)state;
	record_init(&r);
	for (i = 0; i < N_ELEMENTS(sheets); i++) {
		struct buf b = BUF_INIT(4096);
		struct sheet s;

		sheet_begin(&s, sheets[i].text, sheets[i].n);
		while (sheet_next(&s, &r))
			show(&b, &r);
		assert_int_equal(s.off, s.n);
		if (!same_rows(buf_str(&b), sheets[i].rows))
			fail_msg("row %zu: %s, not %s", i, buf_str(&b), sheets[i].rows);
		buf_free(&b);
	}
	record_release(&r);
}

/* Cut anywhere: rows that were whole stay what they are, and it ends. */
static void cut(const char *text, size_t n, size_t at, struct record *r)
{
	struct buf whole = BUF_INIT(4096), part = BUF_INIT(4096);
	char *copy = xmemdup0(text, at);
	struct sheet s;

	sheet_begin(&s, text, n);
	while (sheet_next(&s, r) && (size_t)(r->p + r->n - text) <= at)
		show(&whole, r);
	sheet_begin(&s, copy, at);
	s.separator = ',';
	while (sheet_next(&s, r) && r->p + r->n < copy + at)
		show(&part, r);
	assert_true(s.off <= at);
	if (part.n > whole.n || strncmp(buf_str(&part), buf_str(&whole), part.n) != 0)
		fail_msg("cut at %zu: %s, not %s", at, buf_str(&part), buf_str(&whole));
	buf_free(&whole);
	buf_free(&part);
	free(copy);
}

static void test_cut(void **state)
{
	static const char text[] = "\xef\xbb\xbf# c\r\na,b\r\n\"x\"\"y\",2\n\r\n"
				   "\"two\r\nlines\",\"\"\n1,x\"y\n\xc3\xbc,z\n,\nend,";
	struct record r;
	size_t at;

	(void)state;
	record_init(&r);
	for (at = 0; at < sizeof(text); at++)
		cut(text, sizeof(text) - 1, at, &r);
	record_release(&r);
}

static void test_bounds(void **state)
{
	struct buf b = BUF_INIT(4 * SHEET_ROW_MAX);
	struct record r;
	struct sheet s;
	size_t i;

	(void)state;
	record_init(&r);
	for (i = 0; i < SHEET_FIELDS_MAX + 5; i++)
		buf_adds(&b, "x,");
	buf_adds(&b, "\n");
	for (i = 0; i < SHEET_FIELD_MAX; i++)
		buf_addc(&b, 'y');
	buf_adds(&b, "\nz");
	for (i = 0; i < SHEET_FIELD_MAX; i++)
		buf_addc(&b, 'y');
	buf_adds(&b, "\n\"");
	for (i = 0; i < SHEET_ROW_MAX; i++)
		buf_adds(&b, "z\n");
	buf_adds(&b, "\"\nlast\n");
	sheet_begin(&s, b.p, b.n);
	assert_true(sheet_next(&s, &r));
	assert_non_null(strstr(r.fault, "256 fields"));
	assert_true(sheet_next(&s, &r));
	assert_null(r.fault);
	assert_int_equal(strlen(record_field(&r, 0)), SHEET_FIELD_MAX);
	assert_true(sheet_next(&s, &r));
	assert_non_null(strstr(r.fault, "64 KiB"));
	assert_true(sheet_next(&s, &r));
	assert_non_null(strstr(r.fault, "1 MiB"));
	assert_true(sheet_next(&s, &r));
	assert_string_equal(record_field(&r, 0), "last");
	assert_int_equal(r.line, 4 + SHEET_ROW_MAX + 1);
	assert_false(sheet_next(&s, &r));
	buf_free(&b);
	record_release(&r);
}

/* ---- from a row to a job ---- */

#define OPTIONS 4

static const struct {
	const char *text;    /* the last row counts */
	const char *job;     /* as told() tells it, or "!words of the error" */
	const char *profile; /* NULL: none */
	const char *options[OPTIONS][2];
} jobs[] = {
	/* Settings as columns. */
	{ "name,source,dest,folder\nann,pop3s://a@h,imaps://b@i/X,Old\n",
		"ann: pop3s://a@h -> imaps://b@i/X; folder Old", NULL, { { NULL } } },
	{ "Source;Dest;SOURCE_PASSWORD_FILE\npop3s://a@h;imaps://b@i/;f\n",
		"a@h: pop3s://a@h -> imaps://b@i/; from file f", NULL, { { NULL } } },
	{ "source,dest,dest\npop3s://a@h,imaps://b@i,archive:arc\n",
		"a@h: pop3s://a@h -> imaps://b@i archive:arc", NULL, { { NULL } } },
	{ "source,dest,dry-run\npop3s://a@h,imaps://b@i,yes\n",
		"a@h: pop3s://a@h -> imaps://b@i; dry", NULL, { { NULL } } },
	{ "source,dest,x-ticket,\npop3s://a@h,imaps://b@i,4711,\n",
		"a@h: pop3s://a@h -> imaps://b@i", NULL, { { NULL } } },
	/* What all rows share: rows win over the profile, options over rows. */
	{ "source,folder\npop3s://a@h,\n", "a@h: pop3s://a@h -> imaps://p@i; folder P",
		"dest = imaps://p@i\nfolder = P\n", { { NULL } } },
	{ "source,folder,dest\npop3s://a@h,R,archive:r\n",
		"a@h: pop3s://a@h -> archive:r; folder R",
		"dest = imaps://p@i\nfolder = P\n", { { NULL } } },
	{ "source,folder,dest\npop3s://a@h,R,archive:r\n",
		"a@h: pop3s://a@h -> archive:o; folder O", NULL,
		{ { "folder", "O" }, { "dest", "archive:o" } } },
	{ "source,dest,source-password-file\npop3s://a@h,imaps://b@i,f\n",
		"a@h: pop3s://a@h -> imaps://b@i; from env E", NULL,
		{ { "source-password-env", "E" } } },
	{ "source,dest,password\npop3s://a@h,imaps://b@i,p\n",
		"a@h: pop3s://a@h -> imaps://b@i; from file f", NULL,
		{ { "source-password-file", "f" } } },
	{ "source,dest,password\npop3s://a@h,imaps://b@i,p\n",
		"a@h: pop3s://a@h -> imaps://b@i; from text p",
		"source-password-file = f\n", { { NULL } } },
	/* Parts of URLs. */
	{ "source-user,source-host,source-port,dest-user,dest-host\n"
	  "a/b:c@d%,h,1995,\xc3\xbc,2001:db8::1\n",
		"a_b_c@d_@h: pop3s://a%2Fb%3Ac%40d%25@h:1995 -> "
		"imaps://%C3%BC@[2001:db8::1]",
		NULL, { { NULL } } },
	{ "source-user,source-host,source-tls,dest,dest-host,dest-user\n"
	  "a,h,starttls,archive:arc,i,b\n",
		"a@h: pop3s://a@h -> archive:arc imaps://b@i; port 110", NULL,
		{ { NULL } } },
	{ "source,source-user,source-host,dest\npop3s://a@h,x,y,archive:d\n",
		"a@h: pop3s://a@h -> archive:d", NULL, { { NULL } } },
	{ "source-user,source-host,dest\n,h,archive:d\n", "!source-host: needs a user",
		NULL, { { NULL } } },
	{ "source-user,source-host,dest\na,h/x,archive:d\n",
		"!source-host: expected a host name", NULL, { { NULL } } },
	{ "source-user,source-host,source-port,dest\na,h,995/x,archive:d\n",
		"!source-port: the port must be", NULL, { { NULL } } },
	/* "{column}". */
	{ "user,pw\nann,old\n",
		"ann@h: pop3s://ann@h -> imaps://ann@i/In; from file old/ann@h.pw",
		NULL,
		{ { "source", "pop3s://{user}@h" }, { "dest", "imaps://{User}@i/In" },
			{ "source-password-file", "{pw}/{name}.pw" } } },
	{ "user,host\na@b/c,h.example\n",
		"a@b_c@h.example: pop3s://a%40b%2Fc@h.example -> archive:x-a@b_c@h.example",
		"source = pop3s://{user}@{host}\ndest = archive:x-{name}\n",
		{ { NULL } } },
	{ "name,source\nann,pop3s://a@h\n", "ann: pop3s://a@h -> archive:d/ann", NULL,
		{ { "dest", "archive:d/{name}" } } },
	{ "source,dest,folder\npop3s://a@h,imaps://b@i,{dest} {x}\n",
		"a@h: pop3s://a@h -> imaps://b@i; folder {dest} {x}", NULL,
		{ { NULL } } },
	{ "user\n../../etc\n", "!table.csv:2: --dest: what {user} stands for", NULL,
		{ { "source", "pop3s://a@h" }, { "dest", "archive:d/{user}" } } },
	{ "user\na b\n", "!what {user} stands for", NULL,
		{ { "source-password-command", "pass {user}" } } },
	{ "user\n-a\n", "!what {user} stands for", NULL,
		{ { "source-password-command", "pass {user}" } } },
	{ "user,y\n,1\n", "!{user} is empty in this row", NULL,
		{ { "source", "pop3s://{user}@h" } } },
	{ "user\na\n", "!there is no column for {usr}", NULL,
		{ { "source", "pop3s://{usr}@h" } } },
	{ "user,password\na,b\n", "!{password} is a password", NULL,
		{ { "source", "pop3s://{password}@h" } } },
	{ "user,password\na,b\n", "!{source-password} is a password", NULL,
		{ { "source", "pop3s://{source-password}@h" } } },
	{ "user\na@evil.example\n",
		"a@evil.example@h: pop3s://a%40evil.example@h -> archive:d", NULL,
		{ { "source", "pop3s://{user}@h" }, { "dest", "archive:d" } } },
	{ "host\ni@h\n", "!the host of the URL", NULL,
		{ { "source", "pop3s://a@{host}" } } },
	/* Tables of others. */
	{ "EmailAddress,UserName,Password\nann@new.example,ann,pa ss\n",
		"ann@old.example: pop3s://ann@old.example -> imaps://ann%40new.example@i; "
		"from text pa ss",
		NULL,
		{ { "source", "pop3s://{UserName}@old.example" },
			{ "dest", "imaps://{dest-user}@i" } } },
	{ "Source Email,Source Login Name,Source Password,Destination Email,"
	  "Destination Login Name,Destination Password,Flags\n"
	  "ann@old.example,,p1,ann@new.example,adm,p2,1\n",
		"ann@old.example@h: pop3s://ann%40old.example@h -> imaps://adm@i; "
		"from text p1; to text p2",
		NULL,
		{ { "source", "pop3s://{source-user}@h" },
			{ "dest", "imaps://{destination-login-name}@i" } } },
	{ "h1.example;ann;p1;h2.example;bob;p2;\n",
		"ann@h1.example: pop3s://ann@h1.example -> imaps://bob@h2.example; "
		"from text p1; to text p2",
		NULL, { { NULL } } },
	{ "host1;user1;password1;host2;user2;password2\n10.0.0.1;ann;p1;::1;bob;p2\n",
		"ann@10.0.0.1: pop3s://ann@10.0.0.1 -> imaps://bob@[::1]; from text p1; "
		"to text p2",
		NULL, { { NULL } } },
	{ "h1.example;ann;p1;h2.example;bob;p2;--ssl1;\n",
		"!something stands in column 7", NULL, { { NULL } } },
	/* What is wrong with a row. */
	{ "source,dest\npop3s://a@h\n", "!table.csv:2: the row has 1 fields", NULL,
		{ { NULL } } },
	{ "source,dest\npop3s://a@h,archive:d,x\n", "!the row has 3 fields", NULL,
		{ { NULL } } },
	{ "source,dest,dedup\n\npop3s://a@h,archive:d,all\n",
		"!table.csv:3: dedup: expected one of message-id", NULL, { { NULL } } },
	{ "source,dest,dedup\npop3s://a@h,archive:d,\n",
		"a@h: pop3s://a@h -> archive:d", NULL, { { NULL } } },
	{ "dest\narchive:d\n", "!table.csv:2: there is no source", NULL, { { NULL } } },
	{ "source,dest\npop3s://a:hunter2@h,archive:d\n",
		"!source: the URL holds a password", NULL, { { NULL } } },
	{ "source,dest,source-password\npop3s://a@h,archive:d,\"x\ny\"\n",
		"!source-password: a password has no line ends", NULL, { { NULL } } },
	{ "source,source-password-file,source-password\npop3s://a@h,f,p\n",
		"!one place only", NULL, { { NULL } } },
	{ "source,dest,dedup,password\npop3s://a@h,archive:d,hunter2,\n",
		"!dedup: expected MODE: duplicates: message-id, exact", NULL,
		{ { NULL } } },
	{ "source,dest,folder\npop3s://a@h,imaps://b@i,\"a\"b\n",
		"!table.csv:2: the row has text behind", NULL, { { NULL } } },
	{ "source\npop3s://a@h\n", "!table.csv:2: ", "folder = %q\n", { { NULL } } },
};

static char *told(const struct job *j)
{
	struct buf b = BUF_INIT(4096);
	const struct secret *s = &j->source.secret, *d = &j->dest[0].secret;
	size_t i;

	buf_addf(&b, "%s: %s ->", j->name, j->source.url);
	for (i = 0; i < j->n_dest; i++)
		buf_addf(&b, " %s", j->dest[i].url);
	if (j->folder)
		buf_addf(&b, "; folder %s", j->folder);
	if (j->source.port == 110)
		buf_adds(&b, "; port 110");
	if (j->dry_run)
		buf_adds(&b, "; dry");
	if (s->file)
		buf_addf(&b, "; from file %s", s->file);
	if (s->env)
		buf_addf(&b, "; from env %s", s->env);
	if (s->text)
		buf_addf(&b, "; from text %s", s->text);
	if (d->text)
		buf_addf(&b, "; to text %s", d->text);
	return buf_take(&b);
}

static enum status make(struct accounts *a, size_t row, const char *profile,
	const char *const options[OPTIONS][2], struct job **out, struct err *err)
{
	char where[ACCOUNTS_WHERE], option[64];
	enum status rc = accounts_job(a, row, profile, out, err);
	size_t i;

	if (rc < 0)
		return rc;
	for (i = 0; rc >= 0 && i < OPTIONS && options[i][0]; i++) {
		snprintf(option, sizeof(option), "--%s", options[i][0]);
		rc = job_set(*out, options[i][0], options[i][1], option, err);
	}
	if (rc >= 0)
		rc = job_check(*out, err);
	if (rc < 0) {
		accounts_where(a, row, where);
		err_note(err, "%s", strrchr(where, '/') + 1);
	}
	return rc;
}

static void try_job(size_t i)
{
	char *path = put_file("table.csv", jobs[i].text, strlen(jobs[i].text)), *got;
	char *profile = jobs[i].profile
		? put_file("shared.conf", jobs[i].profile, strlen(jobs[i].profile))
		: NULL;
	struct accounts *a = NULL;
	struct err err = ERR_INIT;
	struct job *j = NULL;
	const char *words = jobs[i].job + 1;
	enum status rc;

	rc = accounts_open(&a, path, true, &err);
	if (rc >= 0) {
		assert_true(accounts_count(a) > 0);
		rc = make(a, accounts_count(a) - 1, profile, jobs[i].options, &j, &err);
	}
	if (*jobs[i].job == '!') {
		assert_int_equal(rc, ST_DENIED);
		assert_int_equal(err.exit, EX_USAGE);
		if (!strstr(err.text, words))
			fail_msg("row %zu: %s", i, err.text);
		assert_null(strstr(err.text, "hunter2"));
	} else if (rc < 0) {
		fail_msg("row %zu: %s", i, err.text);
	} else {
		got = told(j);
		if (strcmp(got, jobs[i].job) != 0)
			fail_msg("row %zu: %s", i, got);
		free(got);
		assert_int_equal(accounts_used(a, &err), ST_OK);
	}
	job_free(&j);
	accounts_close(&a);
	free(path);
	free(profile);
}

static void test_jobs(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(jobs); i++)
		try_job(i);
}

/* ---- the table itself ---- */

static const struct {
	const char *text;
	size_t n;
	bool passwords; /* allowed */
	mode_t mode;
	const char *words; /* NULL: it is taken */
} tables[] = {
	{ B("source,dest\n"), false, 0644, NULL },
	{ B(""), false, 0644, "is empty" },
	{ B("# nothing\n"), false, 0644, "is empty" },
	{ B("\xff\xfes\0o\0"), false, 0644, "UTF-16" },
	{ B("sour\0ce\nx\n"), false, 0644, "table.csv:1: the row holds a NUL" },
	{ B("source,\"dest\nx,y\n"), false, 0644, "never closed" },
	{ B("source,dest,Source\n"), false, 0644, "the columns 1 and 3" },
	{ B("hunter2,x,hunter2\n"), false, 0644, "the columns 1 and 3" },
	{ B("source,dest,source-password\n"), false, 0600, "--allow-inline-secrets" },
	{ B("source,dest,source-password\n"), true, 0640, "chmod 600" },
	{ B("source,dest,source-password\n"), true, 0600, NULL },
	{ B("h.example;a;hunter2;i.example;b;hunter2\n"), false, 0600,
		"--allow-inline-secrets" },
};

static void test_tables(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(tables); i++) {
		char *path = put_file("table.csv", tables[i].text, tables[i].n);
		struct accounts *a = NULL;
		struct err err = ERR_INIT;
		enum status rc;

		assert_int_equal(chmod(path, tables[i].mode), 0);
		rc = accounts_open(&a, path, tables[i].passwords, &err);
		if (!tables[i].words) {
			assert_int_equal(rc, ST_OK);
		} else {
			assert_int_equal(rc, ST_DENIED);
			assert_int_equal(err.exit, EX_USAGE);
			assert_null(a);
			if (!strstr(err.text, tables[i].words))
				fail_msg("row %zu: %s", i, err.text);
			assert_null(strstr(err.text, "hunter2"));
		}
		accounts_close(&a);
		free(path);
	}
}

/* A column that nothing takes is told by its number, and a name like its own. */
static void test_unused(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{ "source,dest,foldr\npop3s://a@h,archive:d,x\n",
			"table.csv:1: column 3 is no setting" },
		{ "source,dest,foldr\npop3s://a@h,archive:d,x\n",
			"did you mean \"folder\"" },
		{ "source,dest,source-hots\npop3s://a@h,archive:d,x\n",
			"did you mean \"source-host\"" },
		{ "source,dest,hunter2\npop3s://a@h,archive:d,x\n", "column 3" },
		{ "source,dest,extends\npop3s://a@h,archive:d,x\n", "column 3" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		static const char *const none[OPTIONS][2] = { { NULL } };
		char *path = put_file("table.csv", rows[i].text, strlen(rows[i].text));
		struct accounts *a = NULL;
		struct err err = ERR_INIT;
		struct job *j = NULL;

		assert_int_equal(accounts_open(&a, path, false, &err), ST_OK);
		assert_int_equal(make(a, 0, NULL, none, &j, &err), ST_OK);
		assert_int_equal(accounts_used(a, &err), ST_DENIED);
		if (!strstr(err.text, rows[i].words) || strstr(err.text, "hunter2"))
			fail_msg("row %zu: %s", i, err.text);
		job_free(&j);
		accounts_close(&a);
		free(path);
	}
}

/* Chosen rows come out as they went in. */
static void test_text(void **state)
{
	static const char text[] = "\xef\xbb\xbf# c\r\nname;source\r\n\r\na;1\r\n# no\n"
				   "\"b\";\"2\n3\"\n;;\nc;4";
	static const struct {
		bool wanted[3];
		const char *text;
	} rows[] = {
		{ { false, false, false }, "name;source\r\n" },
		{ { true, false, false }, "name;source\r\na;1\r\n" },
		{ { false, true, true }, "name;source\r\n\"b\";\"2\n3\"\nc;4\n" },
	};
	char *path = put_file("table.csv", text, sizeof(text) - 1), *got;
	struct accounts *a = NULL;
	struct err err = ERR_INIT;
	size_t i, n;

	(void)state;
	assert_int_equal(accounts_open(&a, path, false, &err), ST_OK);
	assert_int_equal(accounts_count(a), 3);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		got = accounts_text(a, rows[i].wanted, &n);
		assert_int_equal(n, strlen(rows[i].text));
		assert_memory_equal(got, rows[i].text, n);
		free(got);
	}
	accounts_close(&a);
	free(path);
}

/* Of a pipe, in pieces; what is in it has no other readers. */
static void test_pipe(void **state)
{
	static const char text[] =
		"source;dest;source-password\npop3s://a@h;archive:d;p\n";
	struct accounts *a = NULL;
	struct err err = ERR_INIT;
	int fd[2], was = dup(STDIN_FILENO);

	(void)state;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd[1]);
	assert_true(dup2(fd[0], STDIN_FILENO) >= 0);
	assert_int_equal(accounts_open(&a, "-", true, &err), ST_OK);
	assert_int_equal(accounts_count(a), 1);
	dup2(was, STDIN_FILENO);
	close(was);
	close(fd[0]);
	accounts_close(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sheets),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_jobs),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_unused),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_pipe),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
