/*
 * scene.h: scenes and cases, the small text files that say how servers misbehave
 * and what must come of it. This is the manual of their language.
 *
 * A file is read line by line and done from top to bottom. Words are separated by
 * blanks; "..." keeps blanks, alone or as a part of a word (body="a b"), and in it
 * \r \n \t \\ \" \xHH are escapes (not \x00: there are words for NUL). "#" where a word
 * could begin starts a comment. A word that nobody knows is an error, which
 * names file and line.
 *
 *	title TEXT ...        what must hold, one sentence (first line)
 *	quirk Q17 Q44 ...     which entries of the catalogue it is about
 *	pop WORDS             the POP3 server: fakepop.h has its words
 *	imap WORDS            the IMAP server: fakeimap.h has its words
 *	run [OPTIONS]         one run of the engine
 *	lose state|archive    the state directory, or the archive, is gone
 *	expect WORDS          what must be true now, after the last run
 *
 * Options of run are settings of a job as KEY=VALUE or KEY ("dedup=none", "dry-run"),
 * and these:
 *
 *	archive               an archive beside the IMAP server
 *	only-archive          no IMAP server
 *	deadline=MS           a silent server is given up after so long (2000)
 *	settle=MS             what a server gets to show what it took (60)
 *	stop-after=MS         engine_stop() then
 *	kill=MS               the run is a process, and killed then
 *	crash=N               the run is a process that dies at its Nth step
 *	process               the run is a process (for "pop on X kill")
 *	user=NAME             the name at the POP3 server (u)
 *	fact.KEY=VALUE        what a profile knows of the POP3 server: fact.window=yes
 *	imap-fact.KEY=VALUE   of the IMAP server
 *
 * A run that is a process and was killed has no ledger, exit code or report. In every
 * other run the ledger must balance, exit code 0 must mean that nothing failed or
 * is left, and the end must come within CASE_SECONDS (t_cases.c).
 *
 * A message is meant by its number, from 1 in the order in which it was given to the
 * maildrop; it keeps it for the whole case, wherever the server lists it. LIST is such
 * numbers: "1..5 8 9x2" (message 9 twice), or "none". With "~" ("3~") the message may
 * have been changed: it is known by its subject "letter 3" or the "(letter 3)" in its
 * text. Without, an archive has the very bytes, and an IMAP server these with line ends
 * and NUL as IMAP forces them. OP is = (may be left out), <, <=, > or >=.
 *
 *	exit CODE             of the run
 *	ledger TEXT           all that is not 0: "ledger 5 listed, 3 known, 2 stored"
 *	imap LIST             in all mailboxes of the IMAP server
 *	imap-in BOX LIST      in this one
 *	imap-text N TEXT      a copy of message N there has this text
 *	imap-NAME WORDS       asked of the IMAP server: see fakeimap.h
 *	archive LIST          in the archive, which must be sound
 *	archive-text FILE TEXT  a file of the archive ("log/custody.jsonl") has this text, or
 *	                      one in a segment ("1/metadata/errors.csv")
 *	no-archive-text FILE TEXT  it has not, or there is no such file
 *	pop LIST              left in the maildrop
 *	pop-NAME WORDS        asked of the POP3 server: see fakepop.h
 *	sessions OP N         connections to the POP3 server in this run
 *	logins OP N           those that got through the login
 *	failures OP N         lines in the report's failures
 *	failure N [TEXT]      there is one for message N, with this text
 *	notices OP N          lines in the report's notices
 *	notice KIND [N] [TEXT] there is one of this kind (*: any), for message N, with
 *	                      this text
 *	no-notice KIND        there is none of this kind
 *	text TEXT             the error in which the run ended has this text
 *	report TEXT           the report has this text anywhere
 *	log TEXT              the log of this run has this text
 *	clean                 log, report and error have no control characters
 *	took OP MS            how long the run was
 */
#ifndef PEER_SCENE_H
#define PEER_SCENE_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

/* ---- files ---- */

struct scene_line {
	unsigned number;
	int argc; /* at least 1 */
	char **argv;
};

struct scene {
	char *path;
	struct scene_line *lines;
	size_t n;
};

/* False: why says file, line and what is wrong. */
bool scene_read(struct scene **out, const char *path, char *why, size_t cap);
void scene_free(struct scene **s);

/* ---- words ---- */

/*
 * A table of first words and who does the rest. scene_say() calls say() with the words
 * behind the name; false, with why, when there is no such name, too few
 * words follow, or say() says so.
 */
struct scene_verb {
	const char *name;
	int least, most; /* words behind the name; most -1: any number */
	bool (*say)(void *ctx, int argc, char **argv, char *why, size_t cap);
};
bool scene_say(const struct scene_verb *verbs, size_t n, void *ctx, int argc,
	char **argv, char *why, size_t cap);

/* Fills why and returns false. */
bool scene_bad(char *why, size_t cap, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The whole word is a number. */
bool scene_number(const char *word, unsigned *out);
/* "name=5" or "name": is the word so named; *value is behind the "=", or NULL. */
bool scene_is(const char *word, const char *name, const char **value);

/* Calls each() for "3", "1..5", "3x2", "3~"; or with nothing for "none". */
struct scene_pick {
	unsigned number, times;
	bool changed; /* "~" */
};
bool scene_pick(const char *word, void (*each)(void *ctx, const struct scene_pick *p),
	void *ctx, char *why, size_t cap);

/*
 * "[OP] N" is true for the number; what names it in why. Used for counters.
 */
bool scene_compare(const char *what, unsigned long got, int argc, char **argv,
	char *why, size_t cap);

#endif
