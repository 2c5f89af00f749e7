/*
 * t_imap.h: what the tests of imap share: a session with a scripted server,
 * and messages to store. cmocka must be included before.
 */
#ifndef T_IMAP_H
#define T_IMAP_H

#include <popferry/imap.h>
#include <popferry/log.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "script.h"

/* Steps by which every script is cut: all up to this, and whole. */
enum { STEP_MAX = 120 };

struct rig {
	struct script *script;
	struct imap *imap;
	struct err err;
};

static inline struct imap_config rig_config(void)
{
	struct imap_config cfg = {
		.user = "ann", .password = "pw", .multiappend = true
	};

	cfg.net.host = "mail.example";
	cfg.net.port = 993;
	cfg.net.tls = TLS_NONE;
	return cfg;
}

/* A session as far as CAPABILITY; rig->imap is NULL when that failed. */
static inline enum status rig_open(
	struct rig *rig, const char *text, size_t step, const struct imap_config *cfg)
{
	struct transport t;
	struct conn *c;

	memset(rig, 0, sizeof(*rig));
	script_open(&rig->script, text, step);
	t = script_transport(rig->script);
	conn_over(&c, &t, "dest", cfg->net.trace);
	return imap_over(&rig->imap, c, cfg, &rig->err);
}

/* Closes, and checks that the client said what the script wanted and no more. */
static inline void rig_close(struct rig *rig)
{
	char why[SCRIPT_WHY];

	imap_close(&rig->imap);
	if (!script_done(rig->script, why))
		fail_msg("%s", why);
	script_close(&rig->script);
}

/* Fails the test unless it is so, with all that is known about why. */
static inline void rig_want(const struct rig *rig, const char *name, size_t step,
	enum status rc, enum status want, int exit, const char *text)
{
	char why[SCRIPT_WHY];

	if (rc == want && rig->err.exit == exit &&
		(!text || strstr(rig->err.text, text)))
		return;
	script_done(rig->script, why);
	fail_msg("%s, step %zu: status %d, exit %d: %s (%s)", name, step, rc,
		rig->err.exit, rig->err.text, why);
}

#define GREET(caps) \
	"S: * OK ready\n" \
	"C: 1 CAPABILITY\n" \
	"S: * CAPABILITY IMAP4rev1 " caps "\n" \
	"S: 1 OK done\n"

/* LOGIN, CAPABILITY, and LIST for the delimiter: three tags, 2 to 4. */
#define LOGIN(caps, delimiter) \
	"C: 2 LOGIN ann pw\n" \
	"S: 2 OK in\n" \
	"C: 3 CAPABILITY\n" \
	"S: * CAPABILITY IMAP4rev1 " caps "\n" \
	"S: 3 OK done\n" \
	"C: 4 LIST \"\" \"\"\n" \
	"S: * LIST (\\\\Noselect) " delimiter " \"\"\n" \
	"S: 4 OK done\n"

#define SELECT(tag, box, exists, uidnext) \
	"C: " tag " SELECT " box "\n" \
	"S: * FLAGS (\\\\Answered \\\\Flagged \\\\Draft \\\\Seen)\n" \
	"S: * OK [PERMANENTFLAGS (\\\\Answered \\\\Flagged \\\\Draft \\\\Seen \\\\*)] ok\n" \
	"S: * " exists " EXISTS\n" \
	"S: * 0 RECENT\n" \
	"S: * OK [UIDVALIDITY 77] valid\n" \
	"S: * OK [UIDNEXT " uidnext "] next\n" \
	"S: " tag " OK [READ-WRITE] selected\n"

#define LOGOUT(tag) \
	"C: " tag " LOGOUT\n" \
	"S: * BYE see you\n" \
	"S: " tag " OK bye\n"

/* ---- messages ---- */

struct mails {
	struct spool *spool;
	int dir;
	struct message *m[8];
	size_t n;
};

static inline void mails_open(struct mails *ms)
{
	memset(ms, 0, sizeof(*ms));
	ms->dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	spool_open(&ms->spool, ms->dir, 1024 * 1024);
}

static inline struct message *mails_add(struct mails *ms, const char *text, size_t n)
{
	struct message_maker *mk;
	struct err err;

	message_begin(&mk, ms->spool);
	message_put(mk, text, n);
	if (message_end(&mk, &ms->m[ms->n], &err) != ST_OK)
		abort();
	return ms->m[ms->n++];
}

static inline void mails_close(struct mails *ms)
{
	size_t k;

	for (k = 0; k < ms->n; k++)
		message_free(&ms->m[k]);
	spool_close(&ms->spool);
	close(ms->dir);
}

#endif
