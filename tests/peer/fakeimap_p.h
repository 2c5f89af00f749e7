/* fakeimap_p.h: what the files of the fake IMAP server share. */
#ifndef PEER_FAKEIMAP_P_H
#define PEER_FAKEIMAP_P_H

#include "fakeimap.h"

#include <popferry/buf.h>

#include <pthread.h>
#include <stdint.h>

enum {
	BOXES = 40,
	MESSAGES_MAX = 2000,
	LINE = 16 * 1024,
	IN_MAX = 64 * 1024,
	GROUP = 300,
	RULES = 40,
	NAME = 200,
};

/* ---- how it behaves, beyond struct fakeimap_ways (fakeimap_say.c) ---- */

enum ending { END_OK, END_LOST, END_RST, END_HANG, END_BYE, END_DROP };
enum commit_how { BY_ANSWER, BY_RULE, BY_RULE_EARLY };
enum mutation {
	MUTATE_NOT,
	MUTATE_WS,
	MUTATE_8BITX,
	MUTATE_DROPRECEIVED,
	MUTATE_LF,
	MUTATE_MSGID,
	MUTATE_REMIME,
	MUTATE_NUL80,
	MUTATE_ADDHEADER,
};
enum uid_told { UID_TRUE, UID_NONE, UID_WRONG, UID_ZERO, UID_SAME, UID_VALIDITY };

/* What is done about a command: a line "on" or "append". */
struct rule {
	char verb[40];  /* "APPEND", "UID FETCH", "*" */
	char *args;     /* a pattern for its arguments; NULL: any */
	char *text;     /* in a message of an APPEND; NULL: any */
	unsigned k;     /* the k-th command, or message offered; 0: any */
	unsigned times; /* 0: always */
	unsigned skip;  /* so many before it are spared */
	unsigned seen, used;
	char *tagged, *untagged; /* NULL: as usual, none */
	enum commit commit;
	enum commit_how how;
	unsigned late_ms;
	enum ending end;
	unsigned drop_at; /* END_DROP: bytes of the command */
	char *bye;
	enum mutation mutate;
	enum uid_told uid;
};

enum flaw {
	FLAW_NUL,
	FLAW_BARELF,
	FLAW_8BIT_HEADER,
	FLAW_LONG_LINE,
	FLAW_BAD_HEADER,
	FLAW_NO_FINAL_CRLF,
	FLAW_EMPTY,
	FLAW_FLAGS,
	FLAW_DATE,
	FLAW_MBOXFROM,
	FLAWS,
};

/* Something that happens by itself. */
struct event {
	enum { EV_NONE, EV_DELIVER, EV_EXPUNGE, EV_BUMP, EV_VANISH } what;
	unsigned at; /* messages stored */
	char box[NAME];
	char *text;
	unsigned n;
};

/* Owned texts; NULL: not so. */
struct acts {
	char *capa[2]; /* before and after login */
	char *greeting;
	unsigned greetings; /* left to say; UINT_MAX: always */
	bool need_id, gmail, xlist_only, readonly, nocase, create_lower, parents;
	bool visible_reselect, search_lies, fetch_quiet, bump_reconnect;
	unsigned slow, linemax, quota, maxmsg, appendlimit, bye_after, depth, exists;
	unsigned fetch_trunc, long_line, quota_used, quota_kib, connections;
	bool fetch_headless;
	struct {
		unsigned at, step, times; /* times 0: no more */
	} cut;
	bool has_appendlimit;
	char *quota_text, *maxmsg_text, *crowded_text;
	struct {
		bool untagged, silence, bye;
		char *text; /* NULL: none is refused */
		unsigned over, times;
	} literal;
	char *refuse[FLAWS]; /* the answer */
	bool kill[FLAWS];    /* as "* BYE" */
	char *ns;            /* of NAMESPACE */
	char *prefix;        /* all names but INBOX begin so */
	char *delimiter;     /* "" is NIL; NULL: "/" */
	char *bad_chars;
	enum { NUMBER_TRUE, NUMBER_ZERO, NUMBER_MISSING } uidvalidity, uidnext;
	enum mutation mutate;
	enum uid_told uid;
	struct rule rules[RULES];
	size_t n_rules;
	struct event events[RULES];
	size_t n_events;
};

/* ---- mailboxes (fakeimap_box.c) ---- */

struct stored {
	unsigned uid;
	int64_t from_ms; /* seen from then on */
	char *text;      /* as it is given back */
	size_t n;
	char *sent; /* as it came */
	size_t sent_n;
};

struct box {
	char name[NAME], attr[NAME];
	bool readonly, noselect, noinferiors, subscribed;
	unsigned uidvalidity, uidnext;
	struct stored m[MESSAGES_MAX];
	size_t n;
};

struct fakeimap {
	struct loop *loop;
	pthread_mutex_t lock; /* of all below; a session waits without it */
	struct fakeimap_ways ways;
	struct acts acts;
	struct box *boxes[BOXES];
	size_t n_boxes;
	unsigned dropped, skipped, changes, fetches, logins;
	unsigned sessions;        /* now */
	unsigned offered, stored; /* messages since the last directive */
	struct buf heard;         /* all commands */
};

struct box *box_find(struct fakeimap *s, const char *name, bool make);
/* The message as it is given back is made by mutate. */
unsigned box_keep(struct box *b, const char *text, size_t n, int64_t from_ms,
	enum mutation mutate);
void box_drop(struct box *b, size_t i);
unsigned box_total(const struct fakeimap *s);
bool stored_seen(const struct stored *m);
void boxes_renumber(struct fakeimap *s);
/* What is due once n messages were stored, or (before) when the n-th comes. */
void events_due(struct fakeimap *s, unsigned n, bool before);
/* The message as the server would give it back; free it. */
char *mutated(const char *text, size_t n, enum mutation how, size_t *out_n);

/* ---- a session (fakeimap.c) ---- */

struct session {
	struct fakeimap *s;
	int fd;
	struct fakeimap_ways ways;
	struct box *selected;
	size_t shown; /* messages there were at SELECT */
	unsigned stored;
	bool ended, logged_in, said_id;
	unsigned bytes;  /* of this command */
	unsigned cut_at; /* the connection ends there; 0: it does not */
	bool cut;
	char in[IN_MAX];
	size_t in_n, in_at;
	struct zipped *zip; /* COMPRESS; NULL: not yet */
};

/* From now on it is compressed; what is left of the input, too. */
void imapd_deflate(struct session *c);
bool imapd_get(struct session *c, char *out);
/* A line without its end. */
bool imapd_hear(struct session *c, char *line);
void imapd_send(struct session *c, const char *p, size_t n);
void imapd_say(struct session *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Ends it so. END_HANG waits until the client goes. */
void imapd_end(struct session *c, enum ending how, const char *bye);
/* An astring at *p: to out, *p behind it. */
void imapd_word(const char **p, char *out, size_t cap);
const char *imapd_capa(const struct session *c);
bool imapd_can(const struct session *c, const char *capability);

/* ---- commands ---- */

void append_run(struct session *c, const char *tag, const char *args);
/* False: there is no such command. */
bool command_run(
	struct session *c, const char *name, const char *tag, const char *args);

/* ---- acts (fakeimap_rule.c, fakeimap_say.c) ---- */

void acts_release(struct acts *a);
/* The rule about this command, which then counts as used; or NULL. */
struct rule *acts_rule(struct acts *a, const char *verb, const char *args);
void rules_release(struct acts *a);

/* What a word means; false, with why, when it is none of these. */
bool named_mutation(const char *word, enum mutation *out, char *why, size_t cap);
bool named_uid(const char *word, enum uid_told *out, char *why, size_t cap);

/* Directives about commands. */
bool say_on(void *ctx, int argc, char **argv, char *why, size_t cap);
bool say_bad(void *ctx, int argc, char **argv, char *why, size_t cap);
bool say_login(void *ctx, int argc, char **argv, char *why, size_t cap);
bool say_create(void *ctx, int argc, char **argv, char *why, size_t cap);
bool say_append(void *ctx, int argc, char **argv, char *why, size_t cap);

#endif
