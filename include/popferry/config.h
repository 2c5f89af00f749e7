/*
 * config.h: options and profile files, once read, are typed values.
 *
 * A job is what one run of popferry moves: one source, one or two destinations
 * and how messages are judged and filed. Its settings stand in one table;
 * the command line and profile files set them by the same names: the profile
 * key `folder` is the option --folder. After reading, nobody sees a text that means
 * a number. Errors are ST_DENIED with EX_USAGE and name the place (file and
 * line, or option), the key, and what was expected; secrets that cannot be
 * had or are badly kept are EX_CONFIG.
 */
#ifndef POPFERRY_CONFIG_H
#define POPFERRY_CONFIG_H

#include <popferry/err.h>
#include <popferry/net.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- parts ---- */

/* Where a password comes from; at most one is set. */
struct secret {
	char *file;    /* first line of a file only its owner can read */
	char *command; /* split at blanks (quotes understood), run without a shell:
			  first line */
	char *env;     /* name of an environment variable */
	char *text;    /* the password, of a table of accounts alone; wiped */
};

/* What may be given more than once. */
struct texts {
	char **v;
	size_t n;
};

/* What opens encrypted archives, as in crypt.h. */
struct keys {
	struct texts files;
	struct secret secret; /* their passphrase */
};

/* What profiles know of servers. Zero means: the module's default. */
struct pop3_facts {
	char *host;
	unsigned port, tls; /* tls: enum tls_mode + 1; 0: by the URL */
	unsigned auth;      /* 0 auto, 1 user, 2 plain, 3 apop */
	bool no_pipelining;
	uint64_t window_bytes, message_max;
	unsigned window_count;
	unsigned session_messages; /* log in anew after so many */
	unsigned delete_batch;     /* messages deleted in one session */
	unsigned login_interval;   /* seconds between logins at least */
	bool window;               /* a session shows only a part of the maildrop */
	bool glued_dot;  /* a final dot may stand behind the last line's text */
	unsigned rset;   /* before QUIT: 0 auto, 1 yes, 2 no */
	char *user_form; /* "email" or "local": what the login name is */
	char *notes;     /* for people: shown by probe and with login refusals */
};
struct imap_facts {
	char *host;
	unsigned port, tls;
	unsigned auth; /* 0 auto, 1 login, 2 plain */
	bool literal_sync, no_multiappend;
	unsigned compress; /* 0 auto, 1 yes, 2 no */
	uint64_t append_max, window_bytes, batch_bytes;
	unsigned batch_count;
	unsigned settle;      /* seconds a server may take to show what it took */
	unsigned connections; /* at most, to store; 0: 1 */
	char *user_form;
	char *notes;
};

/* One end of the ferry. Which fields matter depends on the scheme. */
struct endpoint {
	char *url;    /* as written; never holds a password */
	char *scheme; /* "pop3s" "pop3" "imaps" "imap" "archive" "maildir" "mbox" ... */
	char *user;   /* decoded */
	char *host;
	unsigned port; /* 0: the scheme's own */
	char *folder;  /* of imap URLs, decoded, '/' between parts; NULL: none */
	char *path;    /* of archive: and of files */
	char **only;   /* of eml: these files in it and no others; NULL: all */
	size_t n_only;
	enum tls_mode tls; /* by scheme, option and profile */
	enum tls_min tls_min;
	char *ca_file, *pin;
	struct secret secret;
	const struct keys
		*identity; /* of archive: the job's; NULL before job_check() */
	struct pop3_facts pop3;
	struct imap_facts imap;
};

enum dedup { DEDUP_MESSAGE_ID, DEDUP_EXACT, DEDUP_MESSAGE_ID_ONLY, DEDUP_NONE };
const char *dedup_name(enum dedup d);

enum seen { SEEN_STATUS_HEADER, SEEN_ALL, SEEN_NONE, SEEN_OLDER_THAN };
enum date_from { DATE_NONE, DATE_RECEIVED, DATE_HEADER };
enum delete_policy { DELETE_NEVER, DELETE_VERIFIED };

/* What may be done, in this order, for a message that an IMAP server refuses. */
enum { JOB_REPAIR = 1, JOB_WRAP = 2, JOB_ARCHIVE = 4 };

/* A condition of a routing rule; all of a rule's must hold. */
enum test_kind {
	TEST_HEADER,  /* a field of that name matches the pattern (text_glob) */
	TEST_FROM_ME, /* From is one of the job's identities (value 0: is not) */
	TEST_TO_ME,   /* one of To and Cc is (value 0: none is) */
	TEST_SINCE,   /* the message's date, UTC seconds */
	TEST_BEFORE,
	TEST_MIN_SIZE, /* bytes */
	TEST_MAX_SIZE,
};
struct rule_test {
	enum test_kind kind;
	char *header, *pattern;
	int64_t value;
};
struct rule {
	char *name;
	struct rule_test *tests;
	size_t n_tests;
	char *folder; /* template, see popferry-profile(5); NULL with skip */
	bool skip;    /* such messages are filtered */
};

/* What is done with a message of which the scanner says something. */
enum scan_policy { SCAN_NOTE, SCAN_QUARANTINE, SCAN_REFUSE };

/* How the seals that a run makes are signed and timestamped. */
struct sealing {
	char *key, *cert; /* as in sign.h; NULL: not signed */
	struct secret secret;
	char **tsa; /* URLs, in their order */
	size_t n_tsa;
	char *tsa_ca; /* NULL: the CAs of this system */
};

struct job {
	char *name; /* for logs and the state directory */
	struct endpoint source, dest[2];
	size_t n_dest;
	char *state;  /* directory; NULL until job_check() */
	char *report; /* file; NULL: none */
	char *trace;
	enum dedup dedup;
	bool dedup_given;
	char *folder; /* template of the default folder; NULL: the URL's, or INBOX */
	enum seen seen;
	int64_t seen_age;             /* seconds, for SEEN_OLDER_THAN */
	enum date_from date_order[3]; /* ends with DATE_NONE */
	int64_t since, before;        /* UTC seconds; 0: none */
	uint64_t min_size, max_size;  /* bytes; 0: none */
	uint64_t limit;               /* messages; 0: none */
	unsigned rescue;              /* JOB_REPAIR and so on; 0: none */
	char *scan;                   /* a command; NULL: none */
	unsigned scan_policy;    /* enum scan_policy + 1; 0: not set, as SCAN_NOTE */
	unsigned scan_timeout;   /* seconds; 0: HAND_SECONDS */
	char *quarantine_folder; /* NULL: "Quarantine" */
	enum delete_policy delete;
	int64_t delete_age;  /* seconds */
	uint64_t max_delete; /* messages a run; 0: no limit */
	unsigned timeout; /* seconds without a byte until a server counts as lost; 0: as
			     each phase is used to */
	bool dry_run;
	bool check;     /* read back what was stored */
	unsigned codec; /* 0 gz, 1 zst, 2 zip, 3 none: as enum archive_codec */
	bool codec_given;
	uint64_t member_size; /* of a new archive; 0: that of the codec */
	struct sealing sealing;
	struct texts encrypt_to; /* as in crypt.h; a new archive's, or those it has */
	bool single_recipient;   /* nobody else has a key, and that is meant */
	struct keys identity;
	char **me; /* own addresses, lower case; the source user is added when it is one
		    */
	size_t n_me;
	struct rule *rules;
	size_t n_rules;
};

/* ---- reading ---- */

void job_new(struct job **out);
void job_free(struct job **j);

/*
 * Sets one setting by its long option name without the dashes ("folder",
 * "source", "dest", "since"). where is "file:line" or "--folder", for messages.
 * value is NULL for a switch. The last one counts, so options come after
 * job_load(); `dest` adds one, up to two, and drops those of a profile.
 */
enum status job_set(struct job *j, const char *key, const char *value,
	const char *where, struct err *err);

/*
 * Reads a profile: a path (with a '/' or ending in ".conf") or a name looked
 * up in $POPFERRY_PROFILES, ~/.config/popferry/profiles ($XDG_CONFIG_HOME) and the
 * installed profiles. `extends = NAME` is read first, at most 8 deep, no loops.
 */
enum status job_load(struct job *j, const char *profile, struct err *err);
/* Is there such a file? It may still be no good. */
bool job_has_profile(const char *profile);

/*
 * Asks that everything fits together, applies server facts and defaults,
 * and fills name and state; "{name}" in state, report and trace, in the files of
 * passwords and in the directory of an archive to be filled becomes the name. Call
 * it once, after all job_set() and job_load().
 */
enum status job_check(struct job *j, struct err *err);

/*
 * The state directories of all jobs of that name that have run without one of their own
 * choice ($XDG_STATE_HOME/popferry, ~/.local/state/popferry), by their names, of which
 * name may be one, too. None is no failure; ST_DENIED: that place cannot be read.
 */
enum status jobs_named(const char *name, char ***paths, size_t *n, struct err *err);
void jobs_free(char **paths, size_t n);

/*
 * The part of it that makes the ends ready (server facts, TLS, port, login name,
 * secret): of those that are given. For commands that need one end only, such as probe.
 */
enum status job_check_ends(struct job *j, struct err *err);

/* ---- many jobs from a table ---- */

enum {
	ACCOUNTS_MAX = 256 * 1024 * 1024, /* bytes of a table */
	ACCOUNTS_ROWS_MAX = 1000000,
	ACCOUNTS_WHERE = 256, /* "accounts.csv:7" */
};

/*
 * A table in text (CSV, see popferry(1)): its first line names columns, each other row
 * is a job. Columns are settings, or parts of the two URLs; any other is there for
 * "{column}" in the settings that all rows share. One thread at a time.
 */
struct accounts;

/*
 * Reads the file, or standard input for "-", and its columns; rows are judged one by
 * one by accounts_job(). A table with passwords is refused unless that is allowed, and
 * only its owner can read it. No error ever tells what stands in a row, but values of
 * settings that do not fit, and none of these when the table has passwords.
 */
enum status accounts_open(
	struct accounts **out, const char *path, bool passwords, struct err *err);
void accounts_close(struct accounts **a);
size_t accounts_count(const struct accounts *a);

/*
 * A new job with what the profile (NULL: none) says, and then the row. What job_set()
 * sets after it wins; in that and in the profile "{column}" is the row's field. The
 * table is needed until job_check(). On failure *out is NULL.
 */
enum status accounts_job(struct accounts *a, size_t row, const char *profile,
	struct job **out, struct err *err);
/* Where the row stands: file and line. */
void accounts_where(const struct accounts *a, size_t row, char out[ACCOUNTS_WHERE]);
/* What is set in this job serves only to know each "{column}" in it. */
void accounts_bind(struct accounts *a, struct job *j);
/* ST_DENIED: a column is no setting, and no "{column}" had it in any job so far. */
enum status accounts_used(const struct accounts *a, struct err *err);
/* The header and the wanted rows (a flag each), as they were: wipe and free it. */
char *accounts_text(struct accounts *a, const bool *wanted, size_t *n);

/* ---- for help ---- */

/* One row of the table of settings: for --help, completions and tests. */
struct setting_help {
	const char *name;     /* "dedup" */
	const char *argument; /* "MODE"; NULL for a switch */
	const char *help;     /* one line */
	bool option;          /* also a command line option */
};
const struct setting_help *job_settings(size_t *n);

/*
 * "pop3s://user@host:port", "imaps://user@host/Folder", "archive:DIR", "maildir:DIR"
 * and so on, as in RFC 2384 and RFC 5092 with percent-encoding. A password in it is
 * refused.
 */
enum status url_parse(struct endpoint *e, const char *text, struct err *err);
void endpoint_release(struct endpoint *e);

/*
 * The password, into *out (wipe and free it). what names it in errors: "source", "key".
 * A file must be regular, ours or root's, and closed to group and others; a command has
 * 60 seconds. ST_DENIED with EX_CONFIG, or EX_USAGE when none is configured.
 */
enum status secret_get(
	const struct secret *s, const char *what, char **out, struct err *err);
/* The same; ST_DENIED with EX_TEMPFAIL: stop_fd (0: none) became readable. */
enum status secret_get_or_stop(const struct secret *s, const char *what, int stop_fd,
	char **out, struct err *err);

/* *out is NULL when no file is named, or k is NULL; close it. */
struct identities;
enum status keys_open(const struct keys *k, struct identities **out, struct err *err);

/*
 * Whom a new archive is encrypted to, read from where encrypt-to says; NULL when it
 * says nothing; close it. ST_DENIED: one of them is no good (EX_CONFIG), its file
 * cannot be read (EX_NOINPUT), or there is but one, and single-recipient does not say
 * so (EX_USAGE).
 */
struct recipients;
enum status job_recipients(
	const struct job *j, struct recipients **out, struct err *err);

/* Absolute and without links, also of what is not there yet: to compare. Free it. */
char *path_canon(const char *path);

/* "2024-03-01", RFC 3339, or an age like "30d" "6w" "1y" before now: UTC seconds. */
bool parse_day(const char *s, int64_t now, int64_t *out);
/* "30d" "12h" "6w" "1y": seconds. */
bool parse_age(const char *s, int64_t *out);
/* "35M" "512k" "1g" (powers of 1024): bytes. */
bool parse_size(const char *s, uint64_t *out);

#endif
