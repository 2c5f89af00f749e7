/*
 * engine_kit.h: what the tests of the engine share: a job between two fake
 * servers, and mail that is written as a word. In it each character is a message:
 *
 *	a b c   with a Message-ID of its own; twice the same letter: two equal messages
 *	A B C   the Message-ID of a, b, c, but another text
 *	0 1 2   without a Message-ID
 *	! ?     with an empty one
 *	@       with a blank line before the header
 *
 * cmocka must be included before.
 */
#ifndef ENGINE_KIT_H
#define ENGINE_KIT_H

#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/engine.h>
#include <popferry/log.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakeimap.h"
#include "fakepop.h"

struct rig {
	char dir[200], state[256], archive[256];
	struct fakepop *pop;
	struct fakeimap *imap;
	struct outcome out;
	char ledger[200]; /* of the last run, what is not 0: "3 listed, 3 stored" */
	int batch;        /* messages in a batch; 0: as kit_batch() says */
	const char *texts[128];
};

static inline int kit_index(char c)
{
	return (unsigned char)c & 0x7f;
}

/* Lines that would be commands if a server took them for such. */
#define KIT_COMMANDS \
	"q1 PLANT pwned\r\nq2 SELECT INBOX\r\nq3 PLANT pwned\r\nq4 NOOP\r\n"

static inline const char *kit_text(struct rig *r, char c)
{
	const char *p = strchr("!?", c);
	bool upper = c >= 'A' && c <= 'Z';
	char id = (char)(upper ? c + 32 : c);
	struct buf b = BUF_INIT(64 * 1024);
	int i;

	if (r->texts[kit_index(c)])
		return r->texts[kit_index(c)];
	if (c == '@')
		buf_adds(&b, "\r\n");
	buf_addf(&b,
		"Received: by relay.example; Mon, 1 Jan 2024 10:00:00 +0000\r\n"
		"From: ann@example.org\r\nTo: bob@example.org\r\n"
		"Date: Mon, 1 Jan 2024 10:00:%02d +0000\r\nSubject: letter (%c)\r\n",
		c % 60, c);
	if (p)
		buf_adds(&b, "Message-ID: <>\r\n");
	else if (id >= 'a' && id <= 'z')
		buf_addf(&b, "Message-ID: <letter-%c@example.org>\r\n", id);
	buf_addf(&b, "\r\nThis is (%c).\r\n.\r\n..\r\n" KIT_COMMANDS, c);
	for (i = 0; i < c % 16; i++)
		buf_adds(&b, "so that sizes differ\r\n");
	buf_adds(&b, "end\r\n");
	return r->texts[kit_index(c)] = buf_take(&b);
}

static inline void kit_open(struct rig **out)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	const char *tmp = getenv("TMPDIR");

	log_setup(LOG_TEXT, LV_ERROR,
		getenv("KIT_LOG") ? 2 : open("/dev/null", O_WRONLY));
	if (getenv("KIT_LOG"))
		log_setup(LOG_TEXT, LV_DEBUG, 2);
	snprintf(r->dir, sizeof(r->dir), "%s/engine.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->state, sizeof(r->state), "%s/state", r->dir);
	snprintf(r->archive, sizeof(r->archive), "%s/archive", r->dir);
	fakepop_open(&r->pop);
	fakeimap_open(&r->imap);
	*out = r;
}

static inline int kit_remove_one(
	const char *p, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(p);
}

static inline void kit_remove(const char *dir)
{
	nftw(dir, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void kit_close(struct rig **rp)
{
	struct rig *r = *rp;
	size_t i;

	fakepop_close(&r->pop);
	fakeimap_close(&r->imap);
	outcome_release(&r->out);
	kit_remove(r->dir);
	for (i = 0; i < N_ELEMENTS(r->texts); i++)
		free((char *)(uintptr_t)r->texts[i]);
	free(r);
	*rp = NULL;
}

static inline void kit_mail(struct rig *r, const char *mail)
{
	fakepop_empty(r->pop);
	for (; *mail; mail++)
		fakepop_add(r->pop, NULL, kit_text(r, *mail));
}

static inline void kit_set(struct job *j, const char *key, const char *value)
{
	struct err err = ERR_INIT;

	if (job_set(j, key, value, "test", &err) != ST_OK)
		fail_msg("%s: %s", key, err.text);
}

/* options: "dedup=none limit=3"; "archive" adds one, "only-archive" is without IMAP;
 * "user=ann" is the name at the source. */
static inline struct job *kit_job_at(
	const char *dir, unsigned pop, unsigned imap, const char *options)
{
	char url[400], *copy = xstrdup(options ? options : ""), *p = copy, *next, *eq;
	const char *user = strstr(copy, "user="), *many = strstr(copy, "connections=");
	unsigned connections = many
		? (unsigned)strtoul(many + strlen("connections="), NULL, 10)
		: 0;
	struct err err = ERR_INIT;
	struct job *j;

	job_new(&j);
	snprintf(url, sizeof(url), "pop3://%.*s@127.0.0.1:%u",
		user ? (int)strcspn(user + 5, " ") : 1, user ? user + 5 : "u", pop);
	kit_set(j, "source", url);
	snprintf(url, sizeof(url), "imap://u@127.0.0.1:%u/", imap);
	if (!strstr(copy, "only-archive")) {
		kit_set(j, "dest", url);
		kit_set(j, "dest-tls", "none");
	}
	snprintf(url, sizeof(url), "archive:%s/archive", dir);
	if (strstr(copy, "archive"))
		kit_set(j, "dest", url);
	snprintf(url, sizeof(url), "%s/state", dir);
	kit_set(j, "state", url);
	kit_set(j, "source-tls", "none");
	setenv("KIT_SOURCE", "secret", 1);
	setenv("KIT_DEST", "secret", 1);
	kit_set(j, "source-password-env", "KIT_SOURCE");
	kit_set(j, "dest-password-env", "KIT_DEST");
	for (; p && *p; p = next) {
		next = strchr(p, ' ');
		if (next)
			*next++ = '\0';
		eq = strchr(p, '=');
		if (eq)
			*eq++ = '\0';
		if (!strstr(p, "archive") && strcmp(p, "user") != 0 &&
			strcmp(p, "connections") != 0)
			kit_set(j, p, eq);
	}
	free(copy);
	if (job_check(j, &err) != ST_OK)
		fail_msg("job: %s", err.text);
	/* The first, if any is a server. */
	if (connections)
		j->dest[0].imap.connections = connections;
	return j;
}

static inline struct job *kit_job(struct rig *r, const char *options)
{
	return kit_job_at(
		r->dir, fakepop_port(r->pop), fakeimap_port(r->imap), options);
}

/* Messages in a batch: KIT_BATCH=N in the environment; else as many as there are. */
static inline int kit_batch(void)
{
	const char *text = getenv("KIT_BATCH");

	return text ? (int)strtol(text, NULL, 10) : 0;
}

static inline struct pace kit_pace(void)
{
	return (struct pace){ 5, 60, 300, 0, kit_batch(), 0 };
}

static inline void kit_ledger(const struct ledger *l, char *out, size_t cap)
{
	const struct {
		uint64_t n;
		const char *name;
	} parts[] = { { l->listed, "listed" }, { l->known, "known" },
		{ l->stored, "stored" }, { l->duplicate, "duplicate" },
		{ l->filtered, "filtered" }, { l->failed, "failed" },
		{ l->vanished, "vanished" }, { l->left, "left" } };
	size_t i, n = 0;

	out[0] = '\0';
	for (i = 0; i < N_ELEMENTS(parts); i++)
		if (parts[i].n)
			n += (size_t)snprintf(out + n, cap - n, "%s%llu %s",
				n ? ", " : "", (unsigned long long)parts[i].n,
				parts[i].name);
}

static inline int kit_run_job(struct rig *r, struct job *j)
{
	struct pace pace = kit_pace();
	struct engine *e;
	int code;

	if (r->batch)
		pace.batch_count = r->batch;
	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	outcome_release(&r->out);
	code = engine_run(e, &r->out);
	kit_ledger(&r->out.ledger, r->ledger, sizeof(r->ledger));
	assert_true(ledger_balances(&r->out.ledger));
	engine_free(&e);
	return code;
}

static inline int kit_run(struct rig *r, const char *options)
{
	struct job *j = kit_job(r, options);
	int code = kit_run_job(r, j);

	job_free(&j);
	return code;
}

/* These and no others are at the IMAP side, so often. */
static inline void kit_expect(struct rig *r, const char *name, const char *mail)
{
	unsigned want, got, i;
	const char *p, *q;

	for (p = mail; *p; p++) {
		want = 0;
		for (q = mail; *q; q++)
			want += *q == *p;
		got = fakeimap_copies(r->imap, kit_text(r, *p));
		if (got != want)
			fail_msg("%s: %u copies of (%c), not %u", name, got, *p, want);
	}
	i = fakeimap_copies(r->imap, NULL);
	if (i != strlen(mail))
		fail_msg("%s: %u messages, not %zu", name, i, strlen(mail));
	if (fakeimap_has(r->imap, "pwned"))
		fail_msg("%s: mail was carried out as commands", name);
}

/* ---- the archive ---- */

enum { KIT_SEQS = 200 };

struct kit_seqs {
	uint64_t seq[KIT_SEQS];
	size_t n;
};

static inline enum status kit_seq(
	void *ctx, const struct archive_row *row, struct err *err)
{
	struct kit_seqs *s = ctx;

	(void)err;
	assert_true(s->n < KIT_SEQS);
	s->seq[s->n++] = row->seq;
	return ST_OK;
}

static inline void kit_take(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

static inline void kit_bad(void *ctx, const char *what)
{
	fail_msg("%s: %s", (const char *)ctx, what);
}

/* The same of the archive, which must also be sound. */
static inline void kit_expect_archive(struct rig *r, const char *name, const char *mail)
{
	struct buf b = BUF_INIT(64 * 1024);
	struct kit_seqs seqs = { .n = 0 };
	char *left = xstrdup(mail), *p;
	struct archive_check check;
	struct archive_reader *a;
	struct err err = ERR_INIT;
	size_t i;

	assert_int_equal(archive_read(&a, r->archive, &err), ST_OK);
	assert_int_equal(
		archive_verify(a, &check, kit_bad, (void *)(uintptr_t)name, &err),
		ST_OK);
	assert_int_equal(archive_each(a, kit_seq, &seqs, &err), ST_OK);
	for (i = 0; i < seqs.n; i++) {
		buf_clear(&b);
		assert_int_equal(
			archive_get(a, seqs.seq[i], kit_take, &b, &err), ST_OK);
		for (p = left; *p; p++)
			if (*p != ' ' && strcmp(kit_text(r, *p), buf_str(&b)) == 0)
				break;
		if (!*p)
			fail_msg("%s: one too many in the archive: %.*s", name, 240,
				buf_str(&b));
		*p = ' ';
	}
	if (strspn(left, " ") != strlen(left))
		fail_msg("%s: not in the archive: %s", name, left);
	archive_done(&a);
	buf_free(&b);
	free(left);
}

#endif
