/* cli.h: what the commands share. */
#ifndef CLI_H
#define CLI_H

#include <popferry/config.h>
#include <popferry/engine.h>
#include <popferry/err.h>
#include <popferry/log.h>

#include <stdbool.h>
#include <stddef.h>

enum progress_mode { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER };

/* The command line, taken apart. */
struct cli {
	struct job *job; /* options that are settings were set in it */
	char **args;     /* what is not an option */
	size_t n_args;
	enum log_format format;
	int verbosity; /* -q: -1; -v: 1; -v -v: 2 */
	enum progress_mode progress;
	char **settings; /* "name", "value" pairs as given, for further jobs */
	size_t n_settings;
	char **options; /* the command's own, in the same way */
	size_t n_options;
	struct identities
		*identities; /* of a command that reads archives; NULL: none */
};

/* An option of one command that is no setting. A list ends with a NULL name. */
struct option {
	const char *name, *argument, *help; /* argument NULL: takes none */
};

/* Which settings are options of a command. */
/* IDENTITY: what opens an encrypted archive. ROWS: all, with "{column}" in them. */
enum takes {
	TAKES_NOTHING,
	TAKES_IDENTITY,
	TAKES_SERVER,
	TAKES_ENDS,
	TAKES_JOB,
	TAKES_ALL,
	TAKES_ROWS
};

struct command {
	const char *name, *arguments, *summary;
	const char *text; /* for `popferry NAME --help` */
	int (*run)(struct cli *c, struct err *err);
	enum takes takes;
	const struct option *options; /* may be NULL */
};

int cmd_copy(struct cli *c, struct err *err);
int cmd_run(struct cli *c, struct err *err);
int cmd_batch(struct cli *c, struct err *err);
int cmd_probe(struct cli *c, struct err *err);
int cmd_status(struct cli *c, struct err *err);
int cmd_list(struct cli *c, struct err *err);
int cmd_show(struct cli *c, struct err *err);
int cmd_export(struct cli *c, struct err *err);
int cmd_import(struct cli *c, struct err *err);
int cmd_stats(struct cli *c, struct err *err);
int cmd_verify(struct cli *c, struct err *err);
int cmd_keygen(struct cli *c, struct err *err);
int cmd_seal(struct cli *c, struct err *err);
int cmd_hold(struct cli *c, struct err *err);
int cmd_retention(struct cli *c, struct err *err);
int cmd_dispose(struct cli *c, struct err *err);
int cmd_recover(struct cli *c, struct err *err);
int cmd_search(struct cli *c, struct err *err);
int cmd_report(struct cli *c, struct err *err);
int cmd_prove(struct cli *c, struct err *err);
extern const struct option run_options[], batch_options[];
extern const struct option show_options[], export_options[];
extern const struct option verify_options[];
extern const struct option search_options[], report_options[];
extern const struct option hold_options[], retention_options[], dispose_options[];
extern const struct option keygen_options[], seal_options[];
extern const struct option prove_options[];

/* What --log-format asks for, known before anything can be complained about. */
enum log_format cli_format(int argc, char **argv);
/* Takes all of argv apart; sets c->job. ST_DENIED, EX_USAGE: what is wrong first. */
enum status cli_parse(struct cli *c, const struct command *cmd, int argc, char **argv,
	struct err *err);
void cli_release(struct cli *c);
/* The setting that --name is for this command; NULL when it takes none such. */
const struct setting_help *cli_setting(const struct command *cmd, const char *name);
/* The value of an option of the command's own ("" when it takes none), NULL: not
 * given. */
const char *cli_option(const struct cli *c, const char *name);
/* Applies the settings given on the command line to another job. */
enum status cli_apply(const struct cli *c, struct job *job, struct err *err);
/* "popferry: text" on standard error, or an event when logging as JSON. */
void cli_complain(const struct cli *c, const struct err *err);
/* Which of two exit codes is to be returned for both. */
int cli_worse(int a, int b);
/* Says why on standard error. The exit code of an archive that is not there is that of
 * one that is not good. */
int cli_archive_failed(const struct cli *c, struct err *err);
/* Opens an archive with the identities of the command line. */
struct archive_reader;
enum status cli_read(const struct cli *c, struct archive_reader **out, const char *path,
	struct err *err);
/* "archive:DIR" and "DIR" mean the same. */
const char *cli_archive_path(const char *arg);
/* EX_USAGE with "; try `popferry COMMAND --help`" behind the text. */
int cli_bad_usage(
	const struct cli *c, const char *command, const char *text, struct err *err);
/* The --key-password options; none may be given. */
enum status cli_key_secret(const struct cli *c, struct secret *out, struct err *err);
/*
 * Tells of each seal of an archive who signed it and when, on standard output. signers:
 * all must be signed by one of this file; NULL: whoever signed is only told. tsas: the
 * same for timestamps; NULL: the CAs of this system are believed. The exit code: 65
 * when one is wrong, or by somebody else; 2 when one is missing; then the reason was
 * told.
 */
int cli_seals(const struct cli *c, const char *path, const char *signers,
	const char *tsas, struct err *err);
/* A header's text for people: decoded (RFC 2047), clean, clipped. Returns out. */
const char *cli_show(char *out, size_t cap, const char *header);
/* Exactly so many columns of a clean text, whatever its bytes are, and a blank. */
void cli_column(const char *clean, int columns);
/* What a JOB argument names that is neither a file here nor a profile: jobs_named(). */
enum status cli_jobs_named(const char *arg, char ***paths, size_t *n, struct err *err);
/* Opens the state directory of any other: it, or that of a profile. */
enum status cli_job_dir(const char *arg, int *dirfd, char **path, struct err *err);

/* A line on the terminal, or plain lines now and then. */
struct progress_line;
void progress_begin(struct progress_line **out, const struct cli *c, const char *job,
	struct engine *e);
/* The same with a text of one's own; compose() is called by another thread. */
void progress_begin_with(struct progress_line **out, const struct cli *c,
	void (*compose)(void *ctx, char *out, size_t cap), void *ctx);
void progress_end(struct progress_line **p);
/* Around what is written to the terminal meanwhile, by anything but the log. */
void progress_aside(bool before);

/* SIGINT, SIGTERM and SIGHUP end the process with 75: nothing is at work yet. */
void stop_at_once(void);
/* For what has no engine: the first of them goes to stop(), which ends it in good
 * order; a second one ends it at once. */
void stop_politely(void (*stop)(int sig));
/* They stop this engine; a second one ends the process. */
void stop_on_signals(struct engine *e);
void stop_wakes(int fd); /* or write to this eventfd, when there are many */
bool stop_asked(void);   /* has one come? */
void stop_no_more(void); /* before that engine is freed, or fd closed */

/* ---- a job from start to report (cmd_copy.c) ---- */

/* One alone, with a progress line; what came of it is told. The exit code. */
int ferry_one(const struct cli *c, const struct job *job);
/* What is better known before hours of work; warns of plain text. */
enum status ferry_ready(const struct job *job, struct err *err);
/* Writes the report, if one is wanted. Its failure becomes o->exit when that was 0. */
/* The outcome of a job that something was wrong with before it began. */
void ferry_not_begun(struct outcome *o, const struct err *err);
enum status ferry_report(const struct job *job, struct outcome *o, struct err *err);
/* A job that is not even begun has its report, too, when it is known where. */
void ferry_refused(const struct cli *c, const struct job *job, const struct err *why);
void ferry_log(const struct job *job, const struct outcome *o);
/* Is its result (NULL: anything) told on standard output, which no report wants? */
bool ferry_tells(const struct cli *c, const struct job *job);
enum { LEDGER_TEXT = 320 };
const char *ferry_ledger(char *out, size_t cap, const struct ledger *l);

/* ---- many jobs (crew.c) ---- */

struct errand {
	const char *name; /* the job's, or the profile's when that is no good */
	struct job *job;  /* NULL then */
	struct err *err;  /* and why */
	int exit;         /* after crew_run(); not begun: EX_TEMPFAIL */
};

/* Runs them, at_once at a time. Takes the jobs over. The exit code of all. */
int crew_run(const struct cli *c, struct errand *v, size_t n, unsigned at_once);

/* Writes where the i-th comes from: a file, and its line. */
typedef void errand_where(const void *ctx, size_t i, char *out, size_t cap);
/* ST_DENIED when two have the same state directory, name or report. */
enum status errands_unique(const struct errand *v, size_t n, errand_where *where,
	const void *ctx, struct err *err);
/* The N of --jobs, 1 without it. */
enum status errands_at_once(const struct cli *c, unsigned *out, struct err *err);
/* Keeps why it has no job. */
void errand_failed(struct errand *e, const struct err *why);
void errands_free(struct errand *v, size_t n);

#endif
