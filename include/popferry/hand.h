/*
 * hand.h: handing something to a program, and hearing what it says.
 *
 * The program is run without a shell, in a session of its own, with default signals,
 * no descriptor but the three, and of our environment only PATH, HOME, USER,
 * LOGNAME, SHELL, LANG, LANGUAGE, LC_*, TZ, TMPDIR and XDG_RUNTIME_DIR: a password may
 * stand in any other. What it gets comes on its standard input. It need not read it.
 *
 * Threads: an open struct hand never changes, so any number may run it. SIGPIPE must be
 * ignored.
 */
#ifndef POPFERRY_HAND_H
#define POPFERRY_HAND_H

#include <popferry/err.h>

#include <stddef.h>
#include <stdint.h>

enum {
	HAND_WORDS_MAX = 64,
	HAND_SECONDS = 60, /* that a program has, if nobody says otherwise */
	HAND_LINE = 256,
	HAND_VALUE_MAX = 4096, /* bytes of a variable; the rest is cut off */
};

/*
 * The words of a command into argv, with a NULL behind; they stand in words, which
 * must have room for all of command. Blanks part them, '...' keeps all, "..." keeps all
 * but \" and \\, a backslash keeps the next byte. Their count, or 0: there are
 * none or too many, or a quote stays open.
 */
size_t hand_split(const char *command, char *words, char *argv[HAND_WORDS_MAX + 1]);

struct hand;
/*
 * Takes the command apart and finds its program, so that what cannot be run is told
 * before anything is done. what: "--exec", for errors; it must outlive the hand.
 * seconds 0: HAND_SECONDS. ST_DENIED with EX_USAGE or EX_CONFIG.
 */
enum status hand_open(struct hand **out, const char *command, unsigned seconds,
	const char *what, struct err *err);
void hand_close(struct hand **h);
const char *hand_program(const struct hand *h); /* as it was written */

/* A variable of its environment; control characters are escaped. value may be NULL. */
struct hand_value {
	const char *name, *value;
	size_t n;
};

/* Gives the next piece, which stays until the next call; *n is 0 at the end. */
typedef enum status hand_give(void *ctx, const char **p, size_t *n, struct err *err);

enum hand_end { HAND_EXIT, HAND_SIGNAL, HAND_LATE };
struct hand_answer {
	enum hand_end end;
	int code; /* exit code or signal; of HAND_LATE 0 */
	int64_t ms;
	char line[HAND_LINE]; /* the first that it wrote, clean */
};

/*
 * Runs it once. ST_OK: it has ended, and *out says how. What is left of its session
 * after its time is up is killed: SIGTERM, and 2 s later SIGKILL. ST_RETRY,
 * EX_TEMPFAIL: stop_fd (0: none) became readable, and it was killed. ST_DENIED,
 * EX_CONFIG: it cannot be run; EX_TEMPFAIL: not now. ST_FATAL: no pipe; or what give()
 * said.
 */
enum status hand_run(const struct hand *h, const struct hand_value *env, size_t n_env,
	hand_give *give, void *ctx, int stop_fd, struct hand_answer *out,
	struct err *err);

/* "exit code 1: what it wrote", "ended by signal 11", "not done in time". Returns
 * out. */
char *hand_told(char *out, size_t cap, const struct hand_answer *a);

#endif
