/* cmd_prove.c: one message, for somebody who has nothing else; and that, checked. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/export.h>
#include <popferry/mem.h>
#include <popferry/sign.h>
#include <popferry/text.h>

#include "cli.h"
#include "marks.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JSON_MAX = 64 * 1024, TOLD = 5 };

const struct option prove_options[] = {
	{ "check", NULL, "check such a DIR, which is all that is needed for it" },
	{ "trust", "FILE", "with --check: it must be signed by these, or their CAs" },
	{ "tsa-ca", "FILE", "with --check: and timestamped by a TSA of these CAs" },
	{ NULL, NULL, NULL },
};

/* ---- which message ---- */

struct search {
	const struct choice *choice;
	uint64_t seq[TOLD], found;
};

static enum status note_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct search *s = ctx;

	(void)err;
	if (choice_has(s->choice, row) && s->found++ < TOLD)
		s->seq[s->found - 1] = row->seq;
	return ST_OK;
}

/* A Message-ID may stand as it is. */
static char *word_of(const char *arg)
{
	if (text_starts(arg, "id:") || text_starts(arg, "sha256:") || *arg == '<')
		return xstrdup(arg);
	return xasprintf("%s%s", strchr(arg, '@') ? "id:" : "", arg);
}

static enum status only_one(const struct search *s, const char *arg, struct err *err)
{
	struct buf b = BUF_INIT(ERR_TEXT);
	uint64_t i;

	if (s->found == 1)
		return ST_OK;
	if (s->found == 0)
		return err_set(
			err, ST_DENIED, EX_PARTIAL, "there is no message %.200s", arg);
	for (i = 0; i < s->found && i < TOLD; i++)
		buf_addf(&b, "%s%" PRIu64, i ? ", " : "", s->seq[i]);
	err_set(err, ST_DENIED, EX_USAGE,
		"%" PRIu64 " messages are %.200s (%s%s): name one by its number",
		s->found, arg, buf_str(&b), s->found > TOLD ? ", ..." : "");
	buf_free(&b);
	return ST_DENIED;
}

static enum status find(
	struct archive_reader *r, const char *arg, uint64_t *seq, struct err *err)
{
	struct search s = { NULL, { 0 }, 0 };
	struct err why = ERR_INIT;
	struct choice *choice = NULL;
	char *word = word_of(arg);
	enum status rc = choice_make(&choice, &word, 1, err);

	*seq = rc == ST_OK ? choice_only(choice) : 0;
	if (rc != ST_OK || *seq)
		goto out;
	s.choice = choice;
	rc = archive_each(r, note_row, &s, &why);
	/* What else is damaged keeps nobody from proving this one. */
	if (rc < 0 && !s.found)
		err_set(err, rc, why.exit, "%s", why.text);
	else
		rc = only_one(&s, arg, err);
	*seq = s.seq[0];
out:
	choice_free(&choice);
	free(word);
	return rc;
}

/* ---- making it ---- */

static void members(struct buf *b, const struct archive_proof *p)
{
	buf_addf(b,
		"\"archive\":\"%s\",\"message\":%" PRIu64 ",\"bytes\":%" PRIu64
		",\"sha256\":\"%s\",\"seal\":%u,\"path\":%u,\"tree\":%" PRIu64,
		p->archive, p->seq, p->size, p->sha256, p->seal, p->path, p->tree);
}

static void tell(const struct cli *c, const char *out, const struct archive_proof *p)
{
	struct buf b = BUF_INIT(JSON_MAX);

	if (c->format == LOG_JSON) {
		members(&b, p);
		marks_add(&b, "proof", out);
		printf("{%s}\n", buf_str(&b));
	} else if (c->verbosity >= 0) {
		printf("%s: message %" PRIu64 " (%" PRIu64 " bytes, SHA-256 %s)\n"
		       "  is one of %" PRIu64 " under seal %u, by a path of %u; "
		       "HOWTO.txt and CHECK.sh there tell how to check it\n",
			out, p->seq, p->size, p->sha256, p->tree, p->seal, p->path);
	}
	buf_free(&b);
}

/* Who was given what is part of the archive's history. */
static void note(const struct cli *c, const char *path, const struct archive_proof *p)
{
	struct err err = ERR_INIT;
	/* No digest: the log outlives a disposal of the message. */
	char *detail = xasprintf("{\"seal\":%u}", p->seal);
	char *object = xasprintf("%" PRIu64, p->seq);

	if (archive_note(path, "prove", object, detail, &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(c, &err);
	}
	free(detail);
	free(object);
}

static int prove(struct cli *c, struct err *err)
{
	const char *path = cli_archive_path(c->args[0]), *out = c->args[2];
	struct archive_reader *r = NULL;
	struct archive_proof p;
	uint64_t seq;
	enum status rc = cli_read(c, &r, path, err);

	if (rc == ST_OK)
		rc = find(r, c->args[1], &seq, err);
	if (rc == ST_OK)
		rc = archive_prove(r, seq, out, &p, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_PARTIAL, "there is no message %.200s",
			c->args[1]);
	archive_done(&r);
	if (rc != ST_OK)
		return cli_archive_failed(c, err);
	note(c, path, &p);
	tell(c, out, &p);
	return 0;
}

/* ---- checking it ---- */

static enum status check_marks(
	const struct cli *c, int dir, struct sign_state *s, struct err *err)
{
	const char *signers = cli_option(c, "trust"), *tsas = cli_option(c, "tsa-ca");
	struct sign_trust *t = NULL;
	enum status rc = sign_trust_open(&t, signers, tsas, err);
	int a, b;

	if (rc == ST_OK)
		rc = sign_check(s, t, dir, "seal.json", err);
	sign_trust_close(&t);
	if (rc != ST_OK)
		return rc;
	a = marks_weigh(s->signature.verdict, signers != NULL);
	b = marks_weigh(s->stamp.verdict, tsas != NULL);
	if (a == EX_DATAERR || b == EX_DATAERR)
		return err_set(err, ST_DENIED, EX_DATAERR, "the %s: %s",
			a == EX_DATAERR ? "signature is not one to be believed"
					: "timestamp is not one to be believed",
			a == EX_DATAERR ? s->signature.why : s->stamp.why);
	if (a || b)
		return err_set(err, ST_DENIED, EX_PARTIAL, "the seal is not %s",
			a ? "signed" : "timestamped");
	return ST_OK;
}

/* What all of it does not prove. */
static void tell_unvouched(const struct sign_state *s)
{
	if (s->signature.verdict == SIGN_NONE)
		printf("  nobody vouches that the seal is of that archive: only the archive can "
		       "tell\n");
	else if (s->signature.verdict == SIGN_UNKNOWN)
		printf("  nobody vouched for who signed: name whom you trust with --trust\n");
	if (s->stamp.verdict == SIGN_NONE)
		printf("  nobody vouches for when the seal was made\n");
	else if (s->stamp.verdict == SIGN_UNKNOWN)
		printf("  nobody vouched for who timestamped: name whom you trust with "
		       "--tsa-ca\n");
}

static void tell_checked(const struct cli *c, const char *dir,
	const struct archive_proof *p, const struct sign_state *s, int code)
{
	struct buf b = BUF_INIT(JSON_MAX);
	char name[32];

	snprintf(name, sizeof(name), "seal %u", p->seal);
	if (c->format == LOG_JSON) {
		buf_addf(&b, "\"good\":%s,", code ? "false" : "true");
		members(&b, p);
		marks_add(&b, "proof", dir);
		buf_adds(&b, ",\"marks\":{");
		marks_members(&b, name, s);
		printf("{%s}}\n", buf_str(&b));
	} else if (c->verbosity >= 0) {
		printf("%s: message %" PRIu64 " of archive %s: %" PRIu64
		       " bytes, SHA-256 %s%s\n",
			dir, p->seq, p->archive, p->size, p->sha256,
			code ? "" : ": right");
		marks_tell(c, name, s);
		tell_unvouched(s);
	}
	buf_free(&b);
}

static int check(struct cli *c, const char *path, struct err *err)
{
	struct sign_state *s = xcalloc(1, sizeof(*s));
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct archive_proof p = { 0 };
	enum status rc;

	if (dir < 0)
		rc = err_sys(err, ST_DENIED, "%s", path);
	else
		rc = archive_proof_check(dir, &p, err);
	if (rc == ST_OK) {
		rc = check_marks(c, dir, s, err);
		if (rc == ST_OK || s->signature.verdict || s->stamp.verdict)
			tell_checked(c, path, &p, s, rc == ST_OK ? 0 : err->exit);
	}
	if (dir >= 0)
		close(dir);
	free(s);
	if (rc == ST_OK)
		return 0;
	fflush(stdout);
	err_note(err, "%s", path);
	cli_complain(c, err);
	return err->exit;
}

int cmd_prove(struct cli *c, struct err *err)
{
	bool checks = cli_option(c, "check") != NULL;

	if (checks && c->n_args != 1)
		return cli_bad_usage(
			c, "prove", "prove --check needs the DIR of a proof", err);
	if (checks)
		return check(c, c->args[0], err);
	if (cli_option(c, "trust") || cli_option(c, "tsa-ca"))
		return cli_bad_usage(
			c, "prove", "--trust and --tsa-ca go with --check", err);
	if (c->n_args != 3)
		return cli_bad_usage(c, "prove",
			"prove needs an ARCHIVE, a message and a DIR to be made", err);
	return prove(c, err);
}
