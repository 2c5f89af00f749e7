/* t_config_job.c: the table of settings, and whether a job fits together. */
#include "../../src/config/own.h"

#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PIN "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static const struct {
	const char *key, *value, *words; /* words NULL: it is taken */
} rows[] = {
	{ "source", "pop3s://me@h", NULL },
	{ "source", "pop3s://h", "--x: the URL names no user" },
	{ "dest", "imaps://me@h", NULL },
	{ "source", "nonsense", "--x: expected pop3s://user@host, pop3:" },
	{ "source", "pop4s://me@h", "tar:FILE" },
	{ "dest", "nonsense", "--x: expected imaps://user@host/Folder, imap:" },
	{ "dest", "htp:me@h", "or archive:DIR" },
	{ "source-password-file", "/etc/pw", NULL },
	{ "source-password-file", "", "expected a value" },
	{ "dest-password-command", "pass show x", NULL },
	{ "dest-password-env", "PW", NULL },
	{ "source-tls", "implicit", NULL },
	{ "source-tls", "starttls", NULL },
	{ "dest-tls", "none", NULL },
	{ "source-tls", "ssl", "one of implicit, starttls, none, not \"ssl\"" },
	{ "source-tls", "Implicit", "one of implicit" },
	{ "source-tls-min", "1.0", NULL },
	{ "dest-tls-min", "1.1", NULL },
	{ "dest-tls-min", "1.2", NULL },
	{ "source-tls-min", "1.3", "one of 1.0, 1.1, 1.2, not \"1.3\"" },
	{ "ca-file", "/etc/ca.pem", NULL },
	{ "ca-file", "a\tb", "control characters" },
	{ "source-pin", PIN, NULL },
	{ "dest-pin", PIN, NULL },
	{ "source-pin", PIN "=", "44 characters" },
	{ "source-pin", "sha256//abc=", "44 characters" },
	{ "source-pin",
		"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "expected sha256//" },
	{ "state", "/var/lib/x", NULL },
	{ "dedup", "message-id", NULL },
	{ "dedup", "message-id-only", NULL },
	{ "dedup", "all", "message-id, exact, message-id-only, none" },
	{ "folder", "Archive/%Y/%m-%d", NULL },
	{ "folder", "%l%s%a%%", NULL },
	{ "folder", "special:sent", NULL },
	{ "folder", "special:Nonsense", "All, Archive, Drafts" },
	{ "folder", "special:%Y", "All, Archive, Drafts" },
	{ "folder", "%y", "unknown \"%y\"" },
	{ "folder", "100%", "unknown \"%\"" },
	{ "folder", "a%%%", "unknown \"%\"" },
	{ "folder", "", "expected a value" },
	{ "seen", "status-header", NULL },
	{ "seen", "all", NULL },
	{ "seen", "none", NULL },
	{ "seen", "older-than:30d", NULL },
	{ "seen", "older-than:", "expected an age" },
	{ "seen", "older-than:AGE", "expected an age" },
	{ "seen", "older-than", "older-than:AGE" },
	{ "seen", "read", "status-header, all, none" },
	{ "rescue", "none", NULL },
	{ "rescue", "repair", NULL },
	{ "rescue", "archive, wrap ,repair", NULL },
	{ "rescue", "", "one of none" },
	{ "rescue", "repair,repair", "twice" },
	{ "rescue", "none,wrap", "stands alone" },
	{ "rescue", "pray", "one of none" },
	{ "scan", "clamdscan --no-summary -", NULL },
	{ "scan", "sh -c 'exit 0'", NULL },
	{ "scan", "", "expected a program" },
	{ "scan", "scan 'x", "every quote closed" },
	{ "scan-policy", "note", NULL },
	{ "scan-policy", "quarantine", NULL },
	{ "scan-policy", "refuse", NULL },
	{ "scan-policy", "delete", "note, quarantine, refuse" },
	{ "scan-timeout", "30", NULL },
	{ "scan-timeout", "0", "a number from 1" },
	{ "quarantine-folder", "Held/Back", NULL },
	{ "quarantine-folder", "special:junk", NULL },
	{ "quarantine-folder", "Held/%Y", "without \"%\"" },
	{ "quarantine-folder", "", "expected a value" },
	{ "date-source", "received,header", NULL },
	{ "date-source", "header, none", NULL },
	{ "date-source", " date ,received", NULL },
	{ "date-source", "none", NULL },
	{ "date-source", "", "one of received" },
	{ "date-source", "received,", "one of received" },
	{ "date-source", "received,received", "twice" },
	{ "date-source", "header,date", "twice" },
	{ "date-source", "none,header", "nothing can follow" },
	{ "since", "2024-03-01", NULL },
	{ "since", "30d", NULL },
	{ "since", "March", "expected a date like" },
	{ "before", "2024-02-30", "expected a date like" },
	{ "min-size", "1k", NULL },
	{ "max-size", "35M", NULL },
	{ "max-size", "0", "expected a size" },
	{ "max-size", "big", "expected a size from 1 B" },
	{ "limit", "100", NULL },
	{ "limit", "0", "a number from 1 to 1000000000" },
	{ "limit", "-1", "a number from 1" },
	{ "limit", "1000000001", "a number from 1" },
	{ "delete", "never", NULL },
	{ "delete", "verified", NULL },
	{ "delete", "verified:30d", NULL },
	{ "delete", "verified:x", "expected an age" },
	{ "delete", "yes", "never, verified, verified:AGE" },
	{ "max-delete", "50", NULL },
	{ "max-delete", "0", "a number from 1" },
	{ "check", NULL, NULL },
	{ "check", "maybe", "one of yes, no" },
	{ "dry-run", NULL, NULL },
	{ "dry-run", "no", NULL },
	{ "dry-run", "1", "one of yes, no" },
	{ "report", "r.json", NULL },
	{ "trace", "t.log", NULL },
	{ "codec", "zst", NULL },
	{ "codec", "xz", "gz, zst, zip, none" },
	{ "member-size", "64M", NULL },
	{ "member-size", "65M", "64" },
	{ "member-size", "1k", "64" },
	{ "encrypt-to", "age1whoever", NULL },
	{ "encrypt-to", "cert.pem", NULL },
	{ "encrypt-to", "", "" },
	{ "identity", "key.txt", NULL },
	{ "single-recipient", "yes", NULL },
	{ "sign-key", "k.pem", NULL },
	{ "sign-cert", "", "expected a value" },
	{ "sign-password-file", "pin", NULL },
	{ "tsa", "http://tsa.example.org/tsr", NULL },
	{ "tsa", "https://tsa.example.org", NULL },
	{ "tsa", "tsa.example.org", "the URL of a timestamp authority" },
	{ "tsa-ca", "roots.pem", NULL },
	{ "name", "alice@example.org", NULL },
	{ "name", "../x", "letters, digits" },
	{ "name", ".hidden", "not starting" },
	{ "name", "", "1 to 64" },
	{ "me", "A@x.org, b@y.org", NULL },
	{ "me", "a", "mail addresses" },
	{ "me", "a@x.org,", "mail addresses" },
	{ "me", "Me <a@x.org>", "mail addresses" },
	{ "me", "@x", "mail addresses" },
	{ "me", "x@", "mail addresses" },
	{ "extends", "gmail", "in a profile file only" },
	{ "source-profile", "../x/../nowhere.conf", "there is no profile" },
	{ "source-profile", "no such", "no name of a profile" },
	{ "source-profile", "", "no name of a profile" },
	{ "dest-profile", ".x", "no name of a profile" },
	{ "foldr", "x", "did you mean \"folder\"" },
	{ "Folder", "x", "did you mean \"folder\"" },
	{ "sorce", "x", "did you mean \"source\"" },
	{ "nothing-like-it", "x", "there is no such setting" },
	{ "", "x", "there is no such setting" },
};

static void test_rows(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct err err = ERR_INIT;
		struct job *j;
		enum status rc;

		job_new(&j);
		rc = job_set(j, rows[i].key, rows[i].value, "--x", &err);
		if (rc != (rows[i].words ? ST_DENIED : ST_OK))
			fail_msg("%s = %s: %d %s", rows[i].key, rows[i].value, rc,
				err.text);
		if (rows[i].words) {
			assert_int_equal(err.exit, EX_USAGE);
			assert_memory_equal(err.text, "--x: ", 5);
			if (!strstr(err.text, rows[i].words))
				fail_msg("%s = %s: \"%s\" does not say \"%s\"",
					rows[i].key, rows[i].value, err.text,
					rows[i].words);
		}
		job_free(&j);
		assert_null(j);
	}
}

/* Long and odd values into every setting: an error or not, but no more. */
static void test_hostile(void **state)
{
	static const char fill[] = "a0%,:/@ \xff\x01.";
	size_t n, i, k;
	const struct setting_help *help = job_settings(&n);

	(void)state;
	for (i = 0; i < n; i++)
		for (k = 0; k < sizeof(fill) - 1; k++) {
			static const size_t lengths[] = { 1, 63, 64, 65, 4095, 4096,
				4097, 100000 };
			size_t l;

			for (l = 0; l < N_ELEMENTS(lengths); l++) {
				struct err err = ERR_INIT;
				char *v = xmalloc(lengths[l] + 1);
				struct job *j;

				memset(v, fill[k], lengths[l]);
				v[lengths[l]] = '\0';
				job_new(&j);
				if (job_set(j, help[i].name, v, "f:1", &err) < 0)
					assert_int_equal(err.exit, EX_USAGE);
				else if (lengths[l] > 4096)
					fail_msg("%s took 4097 bytes", help[i].name);
				job_free(&j);
				free(v);
			}
		}
}

static void test_values(void **state)
{
	static const char *const pairs[][2] = {
		{ "dedup", "exact" },
		{ "folder", "special:sent" },
		{ "seen", "older-than:2w" },
		{ "date-source", "header" },
		{ "rescue", "archive,wrap" },
		{ "since", "2024-03-01" },
		{ "min-size", "1k" },
		{ "limit", "7" },
		{ "dry-run", NULL },
		{ "codec", "zip" },
		{ "me", "Me@X.org ,b@y" },
		{ "delete", "verified:1d" },
		{ "name", "first" },
		{ "name", "job" },
	};
	struct err err = ERR_INIT;
	struct job *j;
	size_t i;

	(void)state;
	job_new(&j);
	assert_int_equal(j->date_order[0], DATE_RECEIVED);
	assert_int_equal(j->date_order[1], DATE_HEADER);
	assert_int_equal(j->date_order[2], DATE_NONE);
	assert_int_equal(j->seen, SEEN_STATUS_HEADER);
	assert_int_equal(j->dedup, DEDUP_MESSAGE_ID);
	for (i = 0; i < N_ELEMENTS(pairs); i++)
		if (job_set(j, pairs[i][0], pairs[i][1], "f:1", &err) != ST_OK)
			fail_msg("%s", err.text);
	assert_string_equal(dedup_name(j->dedup), "exact");
	assert_string_equal(j->folder, "special:Sent");
	assert_int_equal(j->seen, SEEN_OLDER_THAN);
	assert_int_equal(j->seen_age, 14 * 86400);
	assert_int_equal(j->date_order[0], DATE_HEADER);
	assert_int_equal(j->date_order[1], DATE_NONE);
	assert_int_equal(j->rescue, JOB_WRAP | JOB_ARCHIVE);
	assert_int_equal(j->since, 1709251200);
	assert_int_equal(j->min_size, 1024);
	assert_int_equal(j->limit, 7);
	assert_true(j->dry_run);
	assert_int_equal(j->codec, 2);
	assert_true(j->codec_given);
	assert_int_equal(j->n_me, 2);
	assert_string_equal(j->me[0], "me@x.org");
	assert_string_equal(j->me[1], "b@y");
	assert_int_equal(j->delete, DELETE_VERIFIED);
	assert_int_equal(j->delete_age, 86400);
	assert_string_equal(j->name, "job");
	job_free(&j);
}

/* One setting for many jobs. */
static void test_name_in_paths(void **state)
{
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	job_new(&j);
	assert_int_equal(job_set(j, "source", "pop3s://ann@pop", "x", &err), ST_OK);
	assert_int_equal(job_set(j, "dest", "imap://u@h/", "x", &err), ST_OK);
	assert_int_equal(job_set(j, "state", "/s/{name}", "x", &err), ST_OK);
	assert_int_equal(job_set(j, "report", "{name}/{name}.json", "x", &err), ST_OK);
	assert_int_equal(job_set(j, "trace", "{nam}{name", "x", &err), ST_OK);
	assert_int_equal(job_set(j, "dest", "archive:/a/{name}", "x", &err), ST_OK);
	assert_int_equal(
		job_set(j, "source-password-file", "{name}.pw", "x", &err), ST_OK);
	assert_int_equal(
		job_set(j, "dest-password-file", "new/{name}", "x", &err), ST_OK);
	assert_int_equal(job_check(j, &err), ST_OK);
	assert_string_equal(j->dest[1].path, "/a/ann@pop");
	assert_string_equal(j->dest[1].url, "archive:/a/ann@pop");
	assert_string_equal(j->source.secret.file, "ann@pop.pw");
	assert_string_equal(j->dest[0].secret.file, "new/ann@pop");
	assert_string_equal(j->state, "/s/ann@pop");
	assert_string_equal(j->report, "ann@pop/ann@pop.json");
	assert_string_equal(j->trace, "{nam}{name");
	job_free(&j);
}

/* What was archived was wanted, unless somebody says otherwise. */
static void test_archive_dedup(void **state)
{
	static const char *const said[] = { NULL, "none", "exact", "message-id" };
	static const enum dedup want[] = { DEDUP_NONE, DEDUP_NONE, DEDUP_EXACT,
		DEDUP_MESSAGE_ID };
	struct err err = ERR_INIT;
	struct job *j;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(said); i++) {
		job_new(&j);
		assert_int_equal(
			job_set(j, "source", "archive:/tmp/a", "x", &err), ST_OK);
		assert_int_equal(job_set(j, "dest", "imap://u@h/", "x", &err), ST_OK);
		if (said[i])
			assert_int_equal(
				job_set(j, "dedup", said[i], "x", &err), ST_OK);
		assert_int_equal(job_check(j, &err), ST_OK);
		assert_int_equal(j->dedup, want[i]);
		job_free(&j);
	}
}

/* The product's table: every long option is a setting of that name. */
static void test_options(void **state)
{
	static const char *const options[] = { "source", "dest", "source-password-file",
		"dest-password-file", "source-password-command",
		"dest-password-command", "source-password-env", "dest-password-env",
		"source-tls", "dest-tls", "source-tls-min", "dest-tls-min", "ca-file",
		"source-pin", "dest-pin", "state", "dedup", "folder", "seen",
		"date-source", "since", "before", "min-size", "max-size", "limit",
		"delete", "max-delete", "rescue", "scan", "scan-policy", "scan-timeout",
		"quarantine-folder", "timeout", "dry-run", "check", "report", "trace",
		"codec", "member-size", "source-profile", "dest-profile", "encrypt-to",
		"single-recipient", "identity", "identity-password-file",
		"identity-password-command", "identity-password-env", "sign-key",
		"sign-cert", "sign-password-file", "sign-password-command",
		"sign-password-env", "tsa", "tsa-ca", "name", "me" };
	static const char *const others[] = { "extends" };
	size_t n, i, k;
	const struct setting_help *h = job_settings(&n);

	(void)state;
	assert_int_equal(n, N_ELEMENTS(options) + N_ELEMENTS(others));
	for (i = 0; i < n; i++) {
		assert_non_null(h[i].help);
		for (k = 0; k < N_ELEMENTS(options); k++)
			if (!strcmp(h[i].name, options[k]))
				break;
		assert_int_equal(h[i].option, k < N_ELEMENTS(options));
		assert_int_equal(!h[i].argument,
			!strcmp(h[i].name, "dry-run") ||
				!strcmp(h[i].name, "single-recipient") ||
				!strcmp(h[i].name, "check"));
	}
	for (k = 0; k < N_ELEMENTS(options); k++)
		assert_non_null(setting_find(job_table, n_job_table, options[k]));
}

/* A file and line do not say which key it was; an option or argument does. */
static void test_where(void **state)
{
	static const struct {
		const char *where, *start;
	} places[] = {
		{ "a.csv:7", "a.csv:7: limit: expected a number" },
		{ "--limit", "--limit: expected a number" },
		{ "LIMIT", "LIMIT: expected a number" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(places); i++) {
		struct err err = ERR_INIT;
		struct job *j;

		job_new(&j);
		job_set(j, "limit", "x", places[i].where, &err);
		assert_memory_equal(err.text, places[i].start, strlen(places[i].start));
		assert_int_equal(job_set(j, "limit", "x", "--x", NULL), ST_DENIED);
		job_free(&j);
	}
}

static void test_one_secret(void **state)
{
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	job_new(&j);
	assert_int_equal(job_set(j, "source-password-env", "A", "--x", &err), ST_OK);
	assert_int_equal(job_set(j, "source-password-env", "B", "--x", &err), ST_OK);
	assert_int_equal(job_set(j, "dest-password-file", "f", "--x", &err), ST_OK);
	assert_int_equal(
		job_set(j, "source-password-file", "f", "--x", &err), ST_DENIED);
	assert_non_null(strstr(err.text, "one place only"));
	job_free(&j);
}

/* ---- the whole job ---- */

enum { PAIRS = 10 };

static enum status check(
	const char *const pairs[PAIRS][2], struct job **j, struct err *err)
{
	size_t i;

	job_new(j);
	for (i = 0; i < PAIRS && pairs[i][0]; i++)
		if (job_set(*j, pairs[i][0], pairs[i][1], "f:1", err) != ST_OK)
			fail_msg("%s", err->text);
	return job_check(*j, err);
}

#define SOURCE \
	{ \
		"source", "pop3s://me@x.org@h" \
	}
#define DEST \
	{ \
		"dest", "imaps://you@i/F" \
	}

static const struct {
	const char *words; /* NULL: fits */
	const char *pairs[PAIRS][2];
} jobs[] = {
	{ NULL, { SOURCE, DEST } },
	{ NULL, { SOURCE, DEST, { "dest", "archive:/tmp/nowhere/a" } } },
	{ NULL, { { "source", "archive:/tmp/nowhere/a" }, DEST } },
	{ NULL, { SOURCE, DEST, { "delete", "never" } } },
	{ NULL,
		{ SOURCE, DEST, { "since", "2020-01-01" },
			{ "before", "2021-01-01" } } },
	{ "there is no source", { DEST } },
	{ "there is no destination", { SOURCE } },
	{ "imaps: is a destination only", { { "source", "imaps://u@h" }, DEST } },
	{ "pop3s: is a source only", { SOURCE, { "dest", "pop3s://u@h" } } },
	{ "one IMAP account and one archive",
		{ SOURCE, DEST, { "dest", "imaps://other@h" } } },
	{ "one IMAP account and one archive",
		{ SOURCE, { "dest", "archive:a" }, { "dest", "archive:b" } } },
	{ "same archive",
		{ { "source", "archive:/tmp/a" },
			{ "dest", "archive:/tmp//x/../a/" } } },
	{ "same archive",
		{ { "source", "archive:/tmp/a" }, { "dest", "archive:/tmp/a/b" } } },
	{ NULL, { SOURCE, DEST, { "delete", "verified:30d" }, { "max-delete", "5" } } },
	{ NULL,
		{ SOURCE, { "dest", "archive:a" }, { "sign-key", "k" },
			{ "sign-cert", "c" } } },
	{ NULL,
		{ SOURCE, { "dest", "archive:a" }, { "tsa", "http://h/" },
			{ "tsa", "http://i/" } } },
	{ NULL,
		{ SOURCE, { "dest", "archive:a" }, { "encrypt-to", "age1a" },
			{ "encrypt-to", "age1b" } } },
	{ NULL,
		{ SOURCE, { "dest", "archive:a" }, { "encrypt-to", "age1a" },
			{ "delete", "verified" }, { "identity", "k" } } },
	{ "encrypt-to: is for an archive",
		{ SOURCE, DEST, { "encrypt-to", "age1a" } } },
	{ "single-recipient: is of no use",
		{ SOURCE, { "dest", "archive:a" }, { "single-recipient", "yes" } } },
	{ "identity: is for an encrypted archive",
		{ SOURCE, DEST, { "identity", "k" } } },
	{ "check: what is encrypted",
		{ SOURCE, { "dest", "archive:a" }, { "encrypt-to", "age1a" },
			{ "check", "yes" } } },
	{ "delete: nothing is deleted",
		{ SOURCE, { "dest", "archive:a" }, { "encrypt-to", "age1a" },
			{ "delete", "verified" } } },
	{ "sign-key and sign-cert: one needs the other",
		{ SOURCE, { "dest", "archive:a" }, { "sign-key", "k" } } },
	{ "sign-password: is of no use",
		{ SOURCE, { "dest", "archive:a" }, { "sign-password-env", "K" } } },
	{ "tsa-ca: is of no use",
		{ SOURCE, { "dest", "archive:a" }, { "tsa-ca", "c" } } },
	{ "there is none among the destinations",
		{ SOURCE, DEST, { "tsa", "http://h/" } } },
	{ "max-delete: is of no use", { SOURCE, DEST, { "max-delete", "5" } } },
	{ NULL, { SOURCE, DEST, { "scan", "x" }, { "scan-policy", "refuse" } } },
	{ "scan-policy, scan-timeout and quarantine-folder: are of no use",
		{ SOURCE, DEST, { "scan-policy", "refuse" } } },
	{ "scan-policy, scan-timeout and quarantine-folder: are of no use",
		{ SOURCE, DEST, { "scan-timeout", "5" } } },
	{ "quarantine-folder: is of no use",
		{ SOURCE, DEST, { "scan", "x" }, { "quarantine-folder", "Held" } } },
	{ "delete: nothing is ever deleted from files that are read",
		{ { "source", "mbox:/tmp/a" }, DEST, { "delete", "verified" } } },
	{ "maildir: is a source only", { SOURCE, { "dest", "maildir:/tmp/a" } } },
	{ "inside the maildir",
		{ { "source", "maildir:/tmp/a" }, DEST, { "state", "/tmp/a/s" } } },
	{ "same archive or directory",
		{ { "source", "eml:/tmp/a" }, { "dest", "archive:/tmp/a/b" } } },
	{ "delete: nothing is ever deleted from an archive",
		{ { "source", "archive:/tmp/a" }, DEST, { "delete", "verified" } } },
	{ "since: is not earlier",
		{ SOURCE, DEST, { "since", "2021-01-01" },
			{ "before", "2020-01-01" } } },
	{ "since: is not earlier",
		{ SOURCE, DEST, { "since", "2021-01-01" },
			{ "before", "2021-01-01" } } },
	{ "min-size: is larger",
		{ SOURCE, DEST, { "min-size", "2k" }, { "max-size", "1k" } } },
	{ "inside the archive",
		{ SOURCE, { "dest", "archive:/tmp/a" }, { "state", "/tmp/a/state" } } },
	{ "inside the archive",
		{ SOURCE, { "dest", "archive:/tmp/a" }, { "state", "/tmp/b/../a" } } },
	{ "inside the archive",
		{ SOURCE, { "dest", "archive:/tmp/me@x.org@h" },
			{ "state", "/tmp/{name}/state" } } },
	{ NULL, { SOURCE, { "dest", "archive:/tmp/a" }, { "state", "/tmp/ab" } } },
	{ NULL, { SOURCE, { "dest", "null:" } } },
	{ "null: is a destination only", { { "source", "null:" }, DEST } },
	{ "one IMAP account and one archive",
		{ SOURCE, { "dest", "null:" }, { "dest", "archive:/tmp/a" } } },
	{ "one IMAP account and one archive", { SOURCE, DEST, { "dest", "null:" } } },
	{ "null: keeps nothing",
		{ SOURCE, { "dest", "null:" }, { "delete", "verified:30d" } } },
};

static void test_check(void **state)
{
	size_t i;

	(void)state;
	setenv("HOME", "/nonexistent/home", 1);
	unsetenv("XDG_STATE_HOME");
	for (i = 0; i < N_ELEMENTS(jobs); i++) {
		struct err err = ERR_INIT;
		struct job *j;
		enum status rc = check(jobs[i].pairs, &j, &err);

		if (rc != (jobs[i].words ? ST_DENIED : ST_OK))
			fail_msg("row %zu: %s", i, err.text);
		if (jobs[i].words) {
			assert_int_equal(err.exit, EX_USAGE);
			if (!strstr(err.text, jobs[i].words))
				fail_msg("row %zu: \"%s\"", i, err.text);
		} else {
			assert_non_null(j->name);
			assert_non_null(j->state);
		}
		job_free(&j);
	}
}

static char *state_of(const char *source, const char *dest, const char *dest2)
{
	const char *const pairs[PAIRS][2] = { { "source", source }, { "dest", dest },
		{ dest2 ? "dest" : NULL, dest2 } };
	struct err err = ERR_INIT;
	struct job *j;
	char *s;

	if (check(pairs, &j, &err) != ST_OK)
		fail_msg("%s", err.text);
	s = xstrdup(j->state);
	job_free(&j);
	return s;
}

static void test_state(void **state)
{
	static const struct {
		const char *source, *dest, *dest2;
		bool same; /* as the first row */
	} ends[] = {
		{ "pop3s://me@h", "imaps://you@i/F", NULL, true },
		{ "pop3://me@H", "imap://you@I/F", NULL, true },
		{ "pop3s://me@h:995", "imaps://you@i:993/F", NULL, true },
		{ "pop3://me@h:110", "imaps://you@i/F", NULL, true },
		{ "pop3s://me@h:996", "imaps://you@i/F", NULL, false },
		{ "pop3s://Me@h", "imaps://you@i/F", NULL, false },
		{ "pop3s://me@g", "imaps://you@i/F", NULL, false },
		{ "pop3s://me@h", "imaps://you@i/G", NULL, false },
		{ "pop3s://me@h", "imaps://you@i", NULL, false },
		{ "pop3s://me@h", "imaps://yo@i/F", NULL, false },
		{ "pop3s://me@h", "archive:/tmp/a", NULL, false },
		{ "pop3s://me@h", "imaps://you@i/F", "archive:/tmp/a", false },
	};
	char *first, *other, *a, *b;
	size_t i;

	(void)state;
	setenv("HOME", "/nonexistent/home", 1);
	unsetenv("XDG_STATE_HOME");
	first = state_of(ends[0].source, ends[0].dest, NULL);
	assert_memory_equal(first, "/nonexistent/home/.local/state/popferry/me@h-",
		strlen("/nonexistent/home/.local/state/popferry/me@h-"));
	assert_int_equal(strlen(strrchr(first, '-') + 1), 8);
	for (i = 0; i < N_ELEMENTS(ends); i++) {
		other = state_of(ends[i].source, ends[i].dest, ends[i].dest2);
		a = strrchr(first, '-');
		b = strrchr(other, '-');
		if (!strcmp(a, b) != ends[i].same)
			fail_msg("row %zu: %s", i, other);
		free(other);
	}
	a = state_of("archive:/tmp/a", "imaps://you@i/F", NULL);
	b = state_of("archive:/tmp/a//", "imaps://you@i/F", NULL);
	assert_string_equal(a, b);
	assert_non_null(strstr(a, "/archive-a-"));
	free(a);
	free(b);
	a = state_of("pop3s://me@h", "imaps://you@i/F", "archive:/tmp/a");
	b = state_of("pop3s://me@h", "archive:/tmp/x/../a", "imaps://you@i/F");
	assert_string_equal(a, b);
	free(a);
	free(b);
	free(first);
	setenv("XDG_STATE_HOME", "/nonexistent/xdg", 1);
	first = state_of("pop3s://-a%2F..%2Fb@h", "archive:/tmp/a", NULL);
	assert_memory_equal(first, "/nonexistent/xdg/popferry/_a_.._b@h-",
		strlen("/nonexistent/xdg/popferry/_a_.._b@h-"));
	free(first);
	unsetenv("XDG_STATE_HOME");
}

static void test_no_home(void **state)
{
	static const char *const pairs[PAIRS][2] = { SOURCE, DEST };
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	unsetenv("HOME");
	setenv("XDG_STATE_HOME", "relative", 1);
	assert_int_equal(check(pairs, &j, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_CONFIG);
	assert_non_null(strstr(err.text, "--state"));
	job_free(&j);
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/nonexistent/home", 1);
}

/* What belongs to an end gets there, whatever the order. */
static void test_ends(void **state)
{
	static const char *const pairs[PAIRS][2] = { { "dest-password-env", "D" },
		{ "source-pin", PIN }, { "dest-tls", "none" }, { "ca-file", "/ca" },
		{ "source-tls-min", "1.0" }, { "source-password-file", "S" },
		{ "dest", "archive:/tmp/a" }, SOURCE, DEST, { "me", "me@x.org,z@z" } };
	struct err err = ERR_INIT;
	struct job *j;

	(void)state;
	if (check(pairs, &j, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_string_equal(j->source.secret.file, "S");
	assert_null(j->source.secret.env);
	assert_string_equal(j->source.pin, PIN);
	assert_string_equal(j->source.ca_file, "/ca");
	assert_int_equal(j->source.tls_min, TLS_MIN_1_0);
	assert_int_equal(j->dest[1].tls_min, TLS_MIN_1_2);
	assert_int_equal(j->source.port, 995);
	assert_int_equal(j->n_dest, 2);
	assert_null(j->dest[0].secret.env);
	assert_string_equal(j->dest[1].secret.env, "D");
	assert_string_equal(j->dest[1].ca_file, "/ca");
	assert_null(j->dest[1].pin);
	assert_int_equal(j->dest[1].tls, TLS_NONE);
	assert_int_equal(j->dest[1].port, 143);
	assert_int_equal(j->n_me, 2); /* the source's user was there already */
	job_free(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_name_in_paths),
		cmocka_unit_test(test_archive_dedup),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_where),
		cmocka_unit_test(test_one_secret),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_no_home),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
