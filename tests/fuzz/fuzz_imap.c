/* fuzz_imap.c: a whole IMAP session with a server that says anything. */
#include "fuzz.h"

#include <popferry/imap.h>
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

/*
 * What libetpan 1.9.4 forgets to free when it gives a response up. The budget of
 * a command bounds it.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:mailimap_section_spec_new\n"
	       "leak:mmap_string_sized_new\n";
}

enum { SPOOL_BYTES = 64 * 1024, MESSAGES = 6, SEEN_MAX = 20 };

static const char *const texts[] = {
	"Subject: one\r\n\r\nbody\r\n",
	"Subject: bare\n\nbody\n",
	"",
	"Subject: nul\r\n\r\n\x80.\r\n",
	"a\r\n",
	"Subject: six\r\n\r\n(((\r\n",
};

static const char *const folders[] = { "INBOX", "Sent/2024", "special:Sent",
	"caf\xc3\xa9/a\"b" };

struct mails {
	struct spool *sp;
	struct message *m[MESSAGES];
	struct imap_append a[MESSAGES];
};

static void mails_open(struct mails *ms)
{
	struct message_maker *mk;
	struct err err = ERR_INIT;
	size_t i;

	memset(ms, 0, sizeof(*ms));
	spool_open(&ms->sp, scratch_fd(), SPOOL_BYTES);
	for (i = 0; i < MESSAGES; i++) {
		message_begin(&mk, ms->sp);
		message_put(mk, texts[i], strlen(texts[i]));
		must(message_end(&mk, &ms->m[i], &err) == ST_OK);
	}
}

static void mails_close(struct mails *ms)
{
	size_t i;

	for (i = 0; i < MESSAGES; i++)
		message_free(&ms->m[i]);
	spool_close(&ms->sp);
}

static struct imap_config config(unsigned how)
{
	struct imap_config cfg = { .user = "ann", .password = "p\"w" };

	cfg.auth = how % 3;
	cfg.literal = how & 4 ? IMAP_LITERAL_SYNC : IMAP_LITERAL_AUTO;
	cfg.multiappend = how & 8;
	cfg.cautious = how & 16;
	cfg.batch_count = how & 32 ? 2 : 0;
	cfg.net.tls = how & 64 ? TLS_STARTTLS : TLS_NONE;
	cfg.user = how & 128 ? "\xc3\xa4nn" : cfg.user;
	return cfg;
}

static enum status store(struct imap *i, const struct imap_mailbox *mb,
	struct mails *ms, struct err *err)
{
	enum status rc = ST_OK;
	size_t k, n;

	for (n = 0; n < MESSAGES && rc == ST_OK; n++) {
		ms->a[n] = (struct imap_append){ .message = ms->m[n], .mailbox = mb };
		ms->a[n].date = (struct when){ n != 1, 1704445200, 60 };
		ms->a[n].seen = n == 0 || n == 5;
		ms->a[n].flagged = n == 5;
		rc = imap_append(i, &ms->a[n], err);
	}
	if (rc == ST_OK)
		rc = imap_finish(i, err);
	for (k = 0; k < n; k++) {
		must(rc != ST_OK || ms->a[k].outcome != IMAP_PENDING);
		if (ms->a[k].outcome == IMAP_REFUSED)
			must_tell(ms->a[k].err->status, ms->a[k].err);
		free(ms->a[k].err);
		ms->a[k].err = NULL;
	}
	return rc;
}

struct look {
	uint32_t uid[SEEN_MAX];
	size_t n;
	uint32_t first;
};

static void take_seen(void *ctx, const struct imap_seen *m)
{
	struct look *l = ctx;

	must(m->uid >= l->first && m->header[m->header_n] == '\0');
	if (l->n < SEEN_MAX)
		l->uid[l->n++] = m->uid;
}

static void count(void *ctx, const char *p, size_t n)
{
	uint64_t *all = ctx;

	must(p && n);
	*all += n;
}

static enum status look(
	struct imap *i, const struct imap_mailbox *mb, size_t said, struct err *err)
{
	struct look l = { .first = 2 };
	uint64_t room, got = 0;
	enum status rc = imap_reselect(i, mb, err);
	size_t k;

	if (rc == ST_OK)
		rc = imap_scan(i, l.first, take_seen, &l, err);
	for (k = 0; k < l.n && rc == ST_OK; k++) {
		rc = imap_fetch(i, l.uid[k], count, &got, err);
		must(got <= said);
		if (rc == ST_SKIP)
			rc = ST_OK;
	}
	return rc == ST_OK ? imap_room(i, mb, &room, err) : rc;
}

static enum status use(struct imap *i, const char *folder, struct mails *ms,
	size_t said, struct err *err)
{
	const struct imap_mailbox *mb = NULL;
	enum status rc = imap_login(i, err);

	if (rc == ST_OK)
		rc = imap_folder(i, folder, &mb, err);
	if (rc == ST_OK)
		must(strlen(mb->wire) <= IMAP_NAME_MAX);
	if (rc == ST_OK)
		rc = imap_select(i, mb, err);
	if (rc == ST_OK)
		rc = store(i, mb, ms, err);
	return rc == ST_OK ? look(i, mb, said, err) : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };
	unsigned how = input_byte(&in), where = input_byte(&in);
	struct imap_config cfg = config(how);
	struct err err = ERR_INIT;
	struct transport over;
	struct imap *i = NULL;
	struct mails ms;
	struct conn *c;
	struct feed f;
	enum status rc;

	mails_open(&ms);
	feed_open(&f, &in);
	over = feed_transport(&f);
	conn_over(&c, &over, "dest", NULL);
	rc = imap_over(&i, c, &cfg, &err);
	if (rc == ST_OK)
		rc = use(i, folders[where % N_ELEMENTS(folders)], &ms, in.n, &err);
	/* A transport has no TLS to start. */
	must(rc != ST_FATAL || cfg.net.tls == TLS_STARTTLS);
	must_tell(rc, &err);
	imap_close(&i);
	mails_close(&ms);
	return 0;
}
