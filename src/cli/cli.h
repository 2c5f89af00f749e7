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
	bool set_any;    /* a setting was given */
	char **settings; /* "name", "value" pairs as given, for further jobs */
	size_t n_settings;
};

struct command {
	const char *name, *arguments, *summary;
	const char *text; /* for `popferry help NAME` */
	int (*run)(struct cli *c, struct err *err);
	bool settings; /* takes the options that are settings */
};

int cmd_copy(struct cli *c, struct err *err);
int cmd_run(struct cli *c, struct err *err);
int cmd_probe(struct cli *c, struct err *err);
int cmd_status(struct cli *c, struct err *err);
int cmd_list(struct cli *c, struct err *err);
int cmd_verify(struct cli *c, struct err *err);

/* Takes argv apart; sets c->job. ST_DENIED with EX_USAGE. */
enum status cli_parse(struct cli *c, const struct command *cmd, int argc, char **argv,
	struct err *err);
void cli_release(struct cli *c);
/* Applies the settings given on the command line to another job. */
enum status cli_apply(const struct cli *c, struct job *job, struct err *err);
/* "popferry: text" on standard error, or an event when logging as JSON. */
void cli_complain(const struct cli *c, const struct err *err);
/* Opens the state directory of a JOB argument: a directory or a profile. */
enum status cli_job_dir(const char *arg, int *dirfd, char **path, struct err *err);

/* A line on the terminal, or plain lines now and then. */
struct progress_line;
void progress_begin(struct progress_line **out, const struct cli *c, struct engine *e);
void progress_end(struct progress_line **p);

/* SIGINT, SIGTERM and SIGHUP stop this engine; a second one ends the process. */
void stop_on_signals(struct engine *e);

#endif
