/* append_kit.h: what the tests of APPEND share: the dialogue up to it, and small
 * messages. */
#ifndef APPEND_KIT_H
#define APPEND_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "t_imap.h"

#define START(caps) GREET(caps) LOGIN(caps, "\"/\"") SELECT("5", "INBOX", "0", "12")

/* Message k, 19 bytes, not quite a command in its text; with the end of the APPEND. */
#define BODY(k) "C: S: " k "\\r\\n\\r\\nx EXPLODE\\r\\n\n"
/* With more of a MULTIAPPEND behind. */
#define PART(k) "C- S: " k "\\r\\n\\r\\nx EXPLODE\\r\\n\n"
#define SYNCED(tag) "C: " tag " APPEND \"INBOX\" () {19}\nSYNC\n"
#define AHEAD(tag, k) "C: " tag " APPEND \"INBOX\" () {19+}\n" BODY(k)
/* Message 0 goes out with a synchronising literal and is stored. */
#define CANARY \
	SYNCED("6") \
	"S: + go\n" BODY("0") "S: * 1 EXISTS\nS: 6 OK [APPENDUID 77 12] done\n"

enum { NMAX = 4 };

static inline void open_inbox(struct rig *rig, const char *script, size_t step,
	const struct imap_config *cfg, const struct imap_mailbox **mb)
{
	assert_int_equal(rig_open(rig, script, step, cfg), ST_OK);
	assert_int_equal(imap_login(rig->imap, &rig->err), ST_OK);
	assert_int_equal(imap_folder(rig->imap, "", mb, &rig->err), ST_OK);
}

static inline void spent(struct imap_append *a, size_t n)
{
	while (n--) {
		free(a[n].err);
		a[n].err = NULL;
	}
}

static inline enum status put_all(struct rig *rig, struct imap_append *a, size_t n)
{
	enum status rc = ST_OK;
	size_t k;

	for (k = 0; k < n && rc == ST_OK; k++)
		rc = imap_append(rig->imap, &a[k], &rig->err);
	return rc == ST_OK ? imap_finish(rig->imap, &rig->err) : rc;
}

static inline void add_bodies(struct mails *ms)
{
	char text[64];
	int k, n;

	mails_open(ms);
	for (k = 0; k < NMAX; k++) {
		n = snprintf(text, sizeof(text), "S: %d\r\n\r\nx EXPLODE\r\n", k);
		mails_add(ms, text, (size_t)n);
	}
}

/* *a is to append message 0 to INBOX. */
static inline void open_for_one(struct rig *rig, const char *script,
	const struct imap_config *cfg, const struct mails *ms, struct imap_append *a)
{
	const struct imap_mailbox *mb;

	open_inbox(rig, script, 0, cfg, &mb);
	*a = (struct imap_append){ .message = ms->m[0], .mailbox = mb };
}

#endif
