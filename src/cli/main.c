/* main.c: the commands, help and version. */
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct command commands[] = {
	{ "copy", "SOURCE DEST [DEST]",
		"copy what is not there yet; the first run and every later one",
		"SOURCE  pop3s://user@host[:port]    TLS from the first byte\n"
		"        pop3://user@host[:port]     STLS, required\n"
		"DEST    imaps://user@host[:port]/Folder\n"
		"        imap://user@host[:port]/Folder   STARTTLS, required\n"
		"        archive:DIR\n"
		"Two DESTs, one IMAP and one archive, are fed in one pass. Nothing is\n"
		"deleted at the source. Stop it at any time and run it again.\n",
		cmd_copy, true },
	{ "run", "PROFILE...", "the same, described by profile files",
		"A PROFILE is a file (see popferry-profile(5)). Options given here win.\n"
		"Several profiles are run one after the other; the exit code is the worst.\n",
		cmd_run, true },
	{ "probe", "URL",
		"what the server offers; what is wrong with host, port, TLS or login",
		"Connects, shows TLS, capabilities and, when a password is configured,\n"
		"logs in and counts. Changes nothing on the server.\n",
		cmd_probe, true },
	{ "status", "JOB...", "where a job stands: ledger, failures and their reasons",
		"A JOB is its state directory or its profile. Works beside a running job.\n",
		cmd_status, false },
	{ "verify", "ARCHIVE", "read an archive back and compare it with its ledger",
		"Reads every byte. Exit 0: all good; 65: damaged, and each finding is named.\n",
		cmd_verify, false },
	{ "list", "ARCHIVE", "the messages in an archive",
		"One line a message: number, date, size, folder, sender, subject.\n"
		"With --log-format json one JSON object a line.\n",
		cmd_list, false },
};

static const char general_options[] =
	"  --log-format text|json      how events are written to standard error\n"
	"  --progress auto|always|never  the progress line\n"
	"  -q, -v                      fewer, more events (-v -v: all)\n"
	"  -h, --help                  this text\n"
	"  --version                   the version\n";

static void print_settings(void)
{
	size_t n, i;
	const struct setting_help *s = job_settings(&n);

	printf("\nOptions (each is also a key in a profile):\n");
	for (i = 0; i < n; i++) {
		char left[64];

		if (!s[i].option)
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", s[i].name,
			s[i].argument ? " " : "", s[i].argument ? s[i].argument : "");
		printf("  %-27s %s\n", left, s[i].help);
	}
}

static void help(const struct command *cmd)
{
	size_t i;

	if (cmd) {
		printf("popferry %s %s\n%s.\n\n%s", cmd->name, cmd->arguments,
			cmd->summary, cmd->text);
		if (cmd->settings)
			print_settings();
		printf("\nGeneral options:\n%s", general_options);
		return;
	}
	printf("popferry moves all mail out of a POP3 mailbox: to IMAP folders, to a\n"
	       "compressed archive, or both. Nothing lost, nothing twice.\n\n");
	for (i = 0; i < N_ELEMENTS(commands); i++)
		printf("  popferry %-6s %-20s %s\n", commands[i].name,
			commands[i].arguments, commands[i].summary);
	printf("\nGeneral options:\n%s\n"
	       "popferry COMMAND --help tells more; so do popferry(1) and popferry-profile(5).\n",
		general_options);
}

static const struct command *find(const char *name)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int usage(const char *what, const char *word)
{
	char clean[128];

	fprintf(stderr, "popferry: %s%s%s; try `popferry --help`\n", what,
		word ? " " : "",
		word ? text_clean(clean, sizeof(clean), word, strlen(word)) : "");
	return EX_USAGE;
}

static bool asks_help(const char *arg)
{
	return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

static int flush(int code)
{
	/* A full disk behind a pipe or file must not pass as success. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "popferry: standard output cannot be written\n");
		return code ? code : EX_IOERR;
	}
	return code;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct cli c;
	int code;

	if (cli_parse(&c, cmd, argc, argv, &err) != ST_OK) {
		cli_complain(&c, &err);
		code = err.exit;
	} else {
		log_setup(c.format,
			c.verbosity > 1                                   ? LV_DEBUG
				: c.verbosity > 0 || c.format == LOG_JSON ? LV_INFO
				: c.verbosity < 0                         ? LV_ERROR
									  : LV_WARN,
			STDERR_FILENO);
		code = cmd->run(&c, &err);
	}
	cli_release(&c);
	return code;
}

int main(int argc, char **argv)
{
	const struct rlimit none = { 0, 0 };
	const struct command *cmd;
	int i;

	/* A core file would hold passwords and mail. */
	setrlimit(RLIMIT_CORE, &none);
	signal(SIGPIPE, SIG_IGN);
	/* Freed buffers go back to the system: memory shall not grow with a mailbox. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	umask(077);
	if (argc < 2)
		return usage("which command?", NULL);
	if (asks_help(argv[1]) || strcmp(argv[1], "help") == 0) {
		cmd = argc > 2 ? find(argv[2]) : NULL;
		if (argc > 2 && !cmd)
			return usage("no such command:", argv[2]);
		help(cmd);
		return flush(0);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("popferry " VERSION "\n");
		return flush(0);
	}
	cmd = find(argv[1]);
	if (!cmd)
		return usage("no such command:", argv[1]);
	for (i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (asks_help(argv[i])) {
			help(cmd);
			return flush(0);
		}
	return flush(run(cmd, argc - 2, argv + 2));
}
