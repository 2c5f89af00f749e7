/* fakepop_p.h: what the files of the POP3 server share. */
#ifndef PEER_FAKEPOP_P_H
#define PEER_FAKEPOP_P_H

#include "fakepop.h"
#include "loop.h"

#include <popferry/buf.h>

#include <pthread.h>
#include <stdint.h>

enum { RULES = 40, CAPAS = 20, LATER = 40, VIOLATION = 200 };

enum pop_command {
	POP_GREETING,
	POP_CAPA,
	POP_USER,
	POP_PASS,
	POP_STAT,
	POP_UIDL,
	POP_LIST,
	POP_RETR,
	POP_TOP,
	POP_DELE,
	POP_RSET,
	POP_NOOP,
	POP_QUIT,
	POP_LAST,
	POP_AUTH,
	POP_COMMANDS, /* and what is none */
};
extern const char *const pop_commands[POP_COMMANDS];

enum stuffing { STUFF_ON, STUFF_OFF, STUFF_LF, STUFF_TWICE };
enum term {
	TERM_OK,
	TERM_NONE,
	TERM_GLUED,
	TERM_DOTCR,
	TERM_DOTLF,
	TERM_LF,
	TERM_DOUBLE,
	TERM_EXTRA
};

/* A message. */
struct letter {
	unsigned number;
	char *text; /* as it is delivered: with a CRLF at its end, unless it is empty */
	size_t n;
	char *uidl;            /* NULL: by the mode */
	char *size;            /* what LIST says; NULL: the truth */
	bool no_uidl, no_list; /* no such row */
	bool hidden, gone;     /* by "vanish"; deleted */
	bool taken;            /* RETRieved in a session that is over */
	bool popped;           /* and hidden by the window */
	bool seen;
	enum stuffing stuffing;
	enum term term;
	bool cuts;
	size_t cut;
	unsigned cut_times; /* 0: always */
	unsigned cut_step;  /* the next one is so many bytes later */
	unsigned renders;
};

enum act { ACT_REPLY, ACT_EXTRA, ACT_DELAY, ACT_HANG, ACT_DROP, ACT_KILL, ACT_STOP };
struct rule {
	enum pop_command command;
	unsigned nth, letter; /* 0: any */
	enum act act;
	char *text;
	unsigned ms;
	bool done;
	unsigned left; /* 0: for ever */
	bool used_up;
};

enum uidl_mode { UIDL_NORMAL, UIDL_OFF, UIDL_HIDDEN, UIDL_NUMBER, UIDL_RANDOM };
enum ahead { AHEAD_OFF, AHEAD_ON, AHEAD_LIES, AHEAD_RETR, AHEAD_SWALLOWED };
enum destruction { DESTROY_OFF, DESTROY_QUIT, DESTROY_ON };
enum dele { DELE_OK, DELE_IGNORED, DELE_PARTIAL };

/* How it behaves; a session takes a copy. Texts live until the server is closed. */
struct ways {
	struct fakepop_ways old;
	enum uidl_mode uidl;
	unsigned epoch; /* of "uidl reset" */
	const char *prefix, *suffix;
	struct {
		const char *raw, *extra, *form;
	} uidls, lists;
	bool rows_down;
	unsigned limit; /* of RETRs or bytes in a session; 0: none */
	bool limit_bytes;
	enum act limit_act; /* ACT_REPLY: -ERR */
	unsigned idle_ms, slow, window, lock_ms, login_delay_ms;
	enum destruction destruction;
	const char *greeting;
	bool capa_off;
	const char *capa[CAPAS];
	size_t n_capa;
	enum ahead ahead;
	enum dele dele;
	unsigned dele_most;
	const char *inject;
	bool rerender;
};

struct later {
	unsigned session; /* number of the connection; 0: done */
	int argc;
	char **argv;
};

struct fakepop {
	struct loop *loop;
	pthread_mutex_t lock; /* of all below */
	struct ways ways;
	struct letter **letters; /* in order of their numbers, from first on */
	size_t n, first;
	size_t *order; /* of listing: n - first indices */
	struct rule rules[RULES];
	size_t n_rules;
	struct later later[LATER];
	size_t n_later;
	char **texts; /* kept for the ways */
	size_t n_texts;
	bool dovecot; /* greets as one, pipelines and takes AUTH PLAIN, unless told otherwise */
	unsigned behaved; /* logins since fakepop_behave() */
	unsigned connections, logins, counts[POP_COMMANDS + 1];
	struct {
		unsigned connections, logins, counts[POP_COMMANDS + 1];
	} mark;
	int64_t locked_until, login_ms;
	char violation[VIOLATION];
	char said_uidl[2048];
	void (*tell)(void *ctx, enum fakepop_event what);
	void *tell_ctx;
};

/* ---- sessions ---- */

/* A message as a session sees it. */
struct place {
	struct letter *l;
	bool retrieved, deleted;
};

struct session {
	struct fakepop *p;
	int fd;
	struct ways ways;
	struct place *places; /* as it was at the login */
	size_t n;
	unsigned number, heard[POP_COMMANDS + 1], retrs;
	unsigned dele_deleted;
	size_t sent;
	struct buf out;
	bool in, orderly, ended, mute;
};

/* Adds to what is sent when the command is answered. */
void pop_say(struct session *s, const char *text);
/* Until the client goes away. */
void pop_hang(struct session *s);
/* What the client should not have done. */
void pop_blame(struct session *s, const char *what, const char *line);
void pop_carry_out(struct session *s, enum pop_command command, const char *line);
/* With the lock held: the end of a session, with or without QUIT. */
void pop_leave(struct session *s);

/* ---- the maildrop ---- */

/* All with the lock held. */
struct letter *fakepop_letter(struct fakepop *p, unsigned number); /* NULL: none */
struct letter *fakepop_new(struct fakepop *p);
void fakepop_set_text(struct letter *l, const char *text, size_t n);
/* Appends its UIDL, as message `place` of a session. False: it has none. */
bool fakepop_add_uidl(struct fakepop *p, const struct ways *w, const struct letter *l,
	size_t place, struct buf *b);
const char *fakepop_keep(struct fakepop *p, const char *text);

/* letter.c: the standard text of message number; and "retr.N WORDS". */
void letter_standard(struct buf *b, unsigned number);
bool letter_words(struct fakepop *p, struct letter *l, int argc, char **argv, char *why,
	size_t cap);
/* Appends what RETR sends behind the status line. */
void letter_wire(struct letter *l, const struct ways *w, struct buf *b);
/* Its bytes by these ways and this rendering. */
void letter_bytes(
	const struct letter *l, const struct ways *w, unsigned render, struct buf *b);

#endif
