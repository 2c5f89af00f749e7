/* main.c: the commands, help and version. */
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_COLUMN = 24 };

struct option_help {
	const char *option, *text;
};

#define WORDS \
	"\n" \
	"WORDs choose messages; all must hold:\n" \
	"  7 10-20 90-          numbers\n" \
	"  folder:NAME          the folder and those in it\n" \
	"  from:TEXT to: cc: subject:   the decoded field has it; * and ? stand for others\n" \
	"  since:2024-01-31 before:     INTERNALDATE\n" \
	"  larger:10k smaller:5M        bytes\n" \
	"  id:MESSAGE-ID uidl:TEXT sha256:HEX flag:seen anomaly:no-date\n"

static const struct command commands[] = {
	{ "copy", "SOURCE DEST [DEST]",
		"Copy what is not there yet; run again at any time",
		"SOURCE  pop3s://user@host[:port]           TLS from the first byte\n"
		"        pop3://user@host[:port]            STLS, required\n"
		"        archive:DIR                        what was archived comes back\n"
		"        maildir:DIR mbox:FILE eml:FILE zip:FILE tar:FILE   mail in files\n"
		"DEST    imaps://user@host[:port]/Folder    TLS from the first byte\n"
		"        imap://user@host[:port]/Folder     STARTTLS, required\n"
		"        archive:DIR                        a compressed archive\n"
		"\n"
		"Two DESTs, one IMAP account and one archive, are filled in one pass.\n"
		"Everything stays where it was. Stop it whenever you like: the same\n"
		"command again goes on, and later copies what has come since.\n",
		cmd_copy, TAKES_JOB, NULL },
	{ "run", "PROFILE|DIR/...", "The same, described by profile files",
		"A PROFILE is a file (see popferry-profile(5)); options given here win over it.\n"
		"Of a directory, named with a slash, every *.conf is taken. Several are run one\n"
		"after the other, or -j N at a time; each ends in a line of its own, and the\n"
		"worst exit code is returned. {name} in --report, --state, --trace, in files of\n"
		"passwords and in archive:DIR stands for the job's name.\n",
		cmd_run, TAKES_ALL, run_options },
	{ "batch", "ACCOUNTS.csv", "The same, a job a row of a table",
		"The first line of the table (CSV; - is standard input) names columns: settings, as\n"
		"in name,source,dest,source-password-file,dest-password-file, or source-user,\n"
		"source-host, source-port, and the same with dest-. Other columns are there for\n"
		"{COLUMN} in options and in the profile. Tables of Microsoft 365, MigrationWiz and\n"
		"imapsync are known. All rows are checked before the first job begins; options win\n"
		"over rows, and these over the profile.\n",
		cmd_batch, TAKES_ROWS, batch_options },
	{ "probe", "URL", "What a server offers, or what is wrong with it",
		"Connects, shows TLS and what the server offers and, when it is given a\n"
		"password, logs in and counts. The URL is one of copy's and may lack the user.\n"
		"Nothing is changed on the server.\n",
		cmd_probe, TAKES_SERVER, NULL },
	{ "status", "JOB...", "Where a job stands, and why messages failed",
		"A JOB is a state directory, a profile, or the name of a job that has run without\n"
		"--state, as of a row of a table. Works beside a running job.\n",
		cmd_status, TAKES_NOTHING, NULL },
	{ "verify", "ARCHIVE|JOB [DEST]", "Read a destination back and check it",
		"An ARCHIVE is read whole and every byte is checked, with its seals, their signatures\n"
		"and timestamps, and the log of what was done with it. Of a JOB, which is what status\n"
		"takes, all that its journal says is stored is read back from the destinations and\n"
		"compared. A state directory does not tell how an IMAP account is reached: name it as\n"
		"for copy.\n"
		"Exit code 0: all is good; 65: something is not, and each finding is named.\n"
		"--server ARCHIVE POP3-URL compares an archive with what a server lists now, and\n"
		"fetches nothing; 2: something is only on the server, and was left out by no rule.\n",
		cmd_verify, TAKES_ENDS, verify_options },
	{ "list", "ARCHIVE [WORD...]", "The messages in an archive",
		"One line a message: number, date, size, folder, sender, subject; a \"*\" after\n"
		"the number says that it is not sealed yet. With --log-format json: one JSON\n"
		"object a line.\n" WORDS,
		cmd_list, TAKES_IDENTITY, NULL },
	{ "show", "ARCHIVE WORD...", "A message of an archive, to be read",
		"The header fields that matter and the text, decoded; nothing in it can reach\n"
		"the terminal's controls. Its SHA-256 is compared before anything is shown.\n"
		"--raw into a file or pipe gives it byte for byte.\n" WORDS,
		cmd_show, TAKES_IDENTITY, show_options },
	{ "export", "ARCHIVE TARGET [WORD...]",
		"Messages of an archive in other formats, or to a program",
		"TARGET must not be there yet; it gets its name when all in it is durable.\n"
		"Beside it stands TARGET.sha256, for sha256sum -c. A damaged message is named\n"
		"and left out (65). A mailbag whose TARGET ends in .tar or .tar.gz is one file.\n"
		"With --exec there is no TARGET: each message is the standard input of a program,\n"
		"POPFERRY_SEQ, _SHA256, _FOLDER, _UIDL and others tell it which; what it says is\n"
		"shown, and the exit code is 2 when one did not end with 0.\n" WORDS,
		cmd_export, TAKES_IDENTITY, export_options },
	{ "import", "ARCHIVE FILE...", "Mail in files into an archive",
		"A FILE is a Maildir, an mbox, a zip or tar file (also .gz, .zst, .bz2) with .eml\n"
		"files or Maildirs in it, a directory with such in it, a single message, or another\n"
		"archive: what it is, is seen by its content. Folders, dates and flags come along\n"
		"where it has them. Each FILE is a job of its own, as `popferry copy KIND:FILE\n"
		"archive:ARCHIVE` makes it: run again, it adds what is new. The exit code is the\n"
		"worst of all.\n",
		cmd_import, TAKES_JOB, NULL },
	{ "stats", "ARCHIVE [WORD...]", "An archive in numbers",
		"Messages and bytes, by folder and year, duplicates, the largest senders. With\n"
		"--log-format json: one JSON object.\n" WORDS,
		cmd_stats, TAKES_IDENTITY, NULL },
	{ "search", "ARCHIVE QUERY...", "Messages of an archive by their words",
		"QUERY (quote it for the shell; several arguments are one query):\n"
		"  word \"two words\" pref*      all of them, anywhere: header, text, file names\n"
		"  from:ann to: cc: bcc: subject: body:   in that field\n"
		"  a OR b, -a, (a b)           OR binds less than what stands side by side\n"
		"  after:2024-01-31 before:2024 on:2024-01   INTERNALDATE, in UTC\n"
		"  has:attachment filename:*.pdf larger:10k smaller:5M folder:NAME\n"
		"  seq:10-20 uidl:TEXT sha256:HEX message-id:ID\n"
		"The first search makes an index in the archive, later ones bring it up to date.\n"
		"Exit code 0: something was found; 2: nothing; 65: some messages are damaged,\n"
		"and not among what was found.\n",
		cmd_search, TAKES_IDENTITY, search_options },
	{ "report", "ARCHIVE --html FILE", "A page about an archive, for people",
		"One HTML file that needs nothing else: counts, a chart by month, the largest\n"
		"senders, anomalies, the seals with what the source said, their signatures and\n"
		"timestamps, and the first messages. The same archive gives the same page.\n",
		cmd_report, TAKES_IDENTITY, report_options },
	{ "keygen", "KEY [CERT]", "A key to sign with, and its certificate",
		"Makes two files: a private key that only its owner can read, and a certificate\n"
		"signed by itself, for those who check. What is there already is never replaced.\n"
		"Not needed where a CA gives certificates. With --age: a KEY to decrypt with, as\n"
		"age-keygen makes it; it prints the recipient that --encrypt-to takes.\n",
		cmd_keygen, TAKES_NOTHING, keygen_options },
	{ "seal", "ARCHIVE", "Seal what is open in an archive; sign and timestamp",
		"What an interrupted run has committed is sealed. Without --key and --tsa that is\n"
		"all; 75 while somebody is at work there, and 77 when it is encrypted and --state\n"
		"does not have the key.\n"
		"Each seal that has no signature gets one, with --key and --cert, and each that\n"
		"has no timestamp gets one, with --tsa. When no TSA can be had, what is missing\n"
		"waits for the next call (75). What is there already stays as it is.\n"
		"--check tells who signed each seal and when, and whether that is right: 0; 65\n"
		"when it is not; 2 when something is missing.\n",
		cmd_seal, TAKES_NOTHING, seal_options },
	{ "hold", "VERB ARCHIVE [HOLD|WORD...]", "What must not leave an archive",
		"VERB is place, release or list.\n"
		"place holds the messages that the WORDs choose (none: all there are), and with\n"
		"--future what comes later and is chosen. A hold has a number and stays until it\n"
		"is released; the records of both stay in policy/.\n" WORDS,
		cmd_hold, TAKES_IDENTITY, hold_options },
	{ "retention", "VERB ARCHIVE [WORD...]",
		"How long messages of an archive must stay",
		"VERB is set, show or due.\n"
		"A class keeps what its WORDs choose (none: everything), now and later. Of several\n"
		"the one that keeps a message longest counts. due tells what may go: what classes\n"
		"kept until now, and no hold keeps.\n" WORDS,
		cmd_retention, TAKES_IDENTITY, retention_options },
	{ "dispose", "ARCHIVE [WORD...]", "Take messages out of an archive, for good",
		"Tells what would go and what has to stay; --yes does it. What is held, or kept by\n"
		"a retention class, stays (2). Of a message that goes its number and its leaf in\n"
		"the tree are left, so the seals stay right for all others. Delete it at the\n"
		"server first, and in copies of the archive. An interrupted one is ended by the\n"
		"next.\n" WORDS,
		cmd_dispose, TAKES_IDENTITY, dispose_options },
	{ "recover", "ARCHIVE", "After damage: what is good, what is lost",
		"Reads every message and names those that are lost. An index that is lost is made\n"
		"again. What is good comes out with export, or with copy into a new archive.\n",
		cmd_recover, TAKES_IDENTITY, NULL },
	{ "prove", "ARCHIVE MESSAGE DIR",
		"One message, provable to anybody without the archive",
		"MESSAGE is its number, sha256:HEX, or its Message-ID. The new directory DIR gets it\n"
		"byte for byte, its place in the tree of a seal, that seal with signature and\n"
		"timestamp, certificates, and HOWTO.txt and CHECK.sh, which need no popferry.\n"
		"Nothing is told of other messages.\n"
		"75: it is not sealed yet; 69: version 0.1.0 made no seals; 2: there is none such.\n"
		"--check DIR does what CHECK.sh does: 0; 65 when it is not right; 2 when it is not\n"
		"signed or timestamped although --trust or --tsa-ca ask for that.\n",
		cmd_prove, TAKES_IDENTITY, prove_options },
};

static const struct option_help general_options[] = {
	{ "--log-format text|json", "how events are written to standard error" },
	{ "--progress auto|always|never", "the progress line" },
	{ "-q, -v", "fewer or more events; -v -v for all" },
	{ "-h, --help", "this text" },
	{ "--version", "the version" },
};

static const char example[] =
	"A first run:\n\n"
	"  popferry probe pop3s://ann@pop.example.org --source-password-file old.pw\n"
	"  popferry copy pop3s://ann@pop.example.org imaps://ann@imap.example.net/ \\\n"
	"      --source-password-file old.pw --dest-password-file new.pw\n\n"
	"popferry COMMAND --help shows its options, popferry(1) explains them, and\n"
	"popferry-profile(5) tells of profiles and rules.\n";

static void print_option(const char *left, const char *text)
{
	if (strlen(left) > OPTION_COLUMN)
		printf("  %s\n  %-*s %s\n", left, OPTION_COLUMN, "", text);
	else
		printf("  %-*s %s\n", OPTION_COLUMN, left, text);
}

/* --dest-X after --source-X would say the same again: both in one. */
static const char *twin(const struct command *cmd, const char *name)
{
	const struct setting_help *s;
	char dest[64];

	if (!text_starts(name, "source-"))
		return NULL;
	snprintf(dest, sizeof(dest), "dest-%s", name + strlen("source-"));
	s = cli_setting(cmd, dest);
	return s ? s->name : NULL;
}

static void print_settings(const struct command *cmd)
{
	size_t n, i;
	const struct setting_help *s = job_settings(&n);

	printf("\nOptions (each is also a key of a profile):\n");
	for (i = 0; i < n; i++) {
		const char *other = twin(cmd, s[i].name);
		char left[128];

		if (!cli_setting(cmd, s[i].name))
			continue;
		if (text_starts(s[i].name, "dest-"))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s%s%s", s[i].name,
			other ? ", --" : "", other ? other : "",
			s[i].argument ? " " : "", s[i].argument ? s[i].argument : "");
		print_option(left, s[i].help);
	}
}

static void print_own(const struct command *cmd)
{
	const struct option *o;

	if (cmd->options)
		printf("\nOptions:\n");
	for (o = cmd->options; o && o->name; o++) {
		char left[128];

		snprintf(left, sizeof(left), "--%s%s%s", o->name,
			o->argument ? " " : "", o->argument ? o->argument : "");
		print_option(left, o->help);
	}
}

static void help(const struct command *cmd)
{
	size_t i;

	if (cmd) {
		printf("Usage: popferry %s %s%s\n%s.\n\n%s", cmd->name,
			cmd->takes == TAKES_NOTHING && !cmd->options ? ""
								     : "[OPTION...] ",
			cmd->arguments, cmd->summary, cmd->text);
		print_own(cmd);
		if (cmd->takes != TAKES_NOTHING)
			print_settings(cmd);
	} else {
		printf("popferry moves all mail out of a POP3 mailbox: to IMAP folders, to a\n"
		       "compressed archive, or both. Nothing lost, nothing twice.\n\n"
		       "Usage: popferry COMMAND [OPTION...] ARGUMENT...\n\n");
		for (i = 0; i < N_ELEMENTS(commands); i++)
			printf("  %-6s %-24s %s\n", commands[i].name,
				commands[i].arguments, commands[i].summary);
	}
	printf("\nGeneral options:\n");
	for (i = 0; i < N_ELEMENTS(general_options); i++)
		print_option(general_options[i].option, general_options[i].text);
	if (!cmd)
		printf("\n%s", example);
}

static const struct command *find(const char *name)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int usage(const struct cli *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int usage(const struct cli *c, const char *fmt, ...)
{
	struct err err = ERR_INIT;
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(&err, ST_DENIED, EX_USAGE, "%s; try `popferry --help`", text);
	cli_complain(c, &err);
	return err.exit;
}

static int no_command(const struct cli *c, const char *name)
{
	struct nearest near = NEAREST(name);
	size_t i;

	for (i = 0; i < N_ELEMENTS(commands); i++)
		nearest_offer(&near, commands[i].name);
	return near.best ? usage(c, "there is no command %.100s (did you mean %s?)",
				   name, near.best)
			 : usage(c, "there is no command %.100s", name);
}

static int tell_version(void)
{
	printf("popferry " VERSION "\n");
	return 0;
}

static bool asks_help(const char *arg)
{
	return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

/* A full disk behind a pipe or file must not pass as success. */
static int flush(const struct cli *c, int code)
{
	struct err err = ERR_INIT;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	err_sys(&err, ST_FATAL, "standard output cannot be written");
	cli_complain(c, &err);
	return code ? code : EX_IOERR;
}

static void set_up_log(const struct cli *c)
{
	log_setup(c->format,
		c->verbosity < 0                                    ? LV_ERROR
			: c->verbosity > 1                          ? LV_DEBUG
			: c->verbosity > 0 || c->format == LOG_JSON ? LV_INFO
								    : LV_WARN,
		STDERR_FILENO);
}

static int run(struct cli *c, const struct command *cmd, int argc, char **argv)
{
	struct err err = ERR_INIT;
	enum status rc;
	int code;

	if (cmd->takes >= TAKES_JOB)
		stop_at_once();
	rc = cli_parse(c, cmd, argc, argv, &err);
	set_up_log(c);
	if (rc == ST_OK && (cmd->takes == TAKES_IDENTITY || cmd->takes == TAKES_ENDS))
		rc = keys_open(&c->job->identity, &c->identities, &err);
	if (rc == ST_OK) {
		code = cmd->run(c, &err);
	} else {
		cli_complain(c, &err);
		if (cmd->run == cmd_copy || cmd->run == cmd_run)
			ferry_refused(c, c->job, &err);
		code = err.exit;
	}
	cli_release(c);
	return code;
}

/* A file opened as descriptor 1 or 2 would get what is meant for people. */
static void fill_descriptors(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		/* On a closed standard output to write is to fail, as before. */
		if (fcntl(fd, F_GETFD) < 0 &&
			open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) !=
				fd)
			_exit(EX_CONFIG);
}

static int command_line(struct cli *c, int argc, char **argv)
{
	const struct command *cmd;
	int i;

	if (argc < 2)
		return usage(c, "a command is needed");
	if (asks_help(argv[1]) || strcmp(argv[1], "help") == 0) {
		cmd = argc > 2 ? find(argv[2]) : NULL;
		if (argc > 2 && !cmd)
			return no_command(c, argv[2]);
		help(cmd);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0)
		return tell_version();
	if (argv[1][0] == '-')
		return usage(
			c, "%.100s: a command comes first, options after it", argv[1]);
	cmd = find(argv[1]);
	if (!cmd)
		return no_command(c, argv[1]);
	for (i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--version") == 0)
			return tell_version();
		if (asks_help(argv[i])) {
			help(cmd);
			return 0;
		}
	}
	return run(c, cmd, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
	const struct rlimit none = { 0, 0 };
	struct cli c = { 0 };

	/* A core file would hold passwords and mail. */
	setrlimit(RLIMIT_CORE, &none);
	fill_descriptors();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* whoever ignored it before us: we want to know */
	signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is like a full disk */
	/* Freed buffers go back to the system: memory shall not grow with a mailbox. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	umask(077);
	c.format = cli_format(argc, argv);
	set_up_log(&c);
	return flush(&c, command_line(&c, argc, argv));
}
