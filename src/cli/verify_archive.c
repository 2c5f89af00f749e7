/* verify_archive.c: an archive, its seals and who signed them, checked and told. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/fs.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/sign.h>
#include <popferry/text.h>

#include "marks.h"
#include "verify.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	JSON_MAX = 16 * 1024 * 1024,
	SEAL_MAX = 1024 * 1024,
	FINDINGS_MAX = 1000, /* in the report; all are told */
	PARTIES_MAX = 64,
	PREFIX = 16, /* of a fingerprint, in names in trust/ */
};

/* Somebody who signed or timestamped seals. */
struct party {
	struct sign_mark mark;
	uint64_t seals;
};

/* All signatures, or all timestamps. */
struct marks {
	const char *kind;   /* "signed" */
	const char *in;     /* of names in trust/: "signer" */
	const char *option; /* that names whom to believe */
	const char *wanted; /* its value; NULL: not given */
	uint64_t there, missing, bad;
	struct party *parties;
	size_t n;
};

struct audit {
	struct cli *c;
	const char *path;
	struct archive_how how;
	struct archive_check k;
	struct marks signatures, stamps;
	char **findings;
	size_t n_findings;
};

static void audit_release(struct audit *a)
{
	while (a->n_findings)
		free(a->findings[--a->n_findings]);
	free(a->findings);
	free(a->signatures.parties);
	free(a->stamps.parties);
}

/* ---- what is found ---- */

static void find_bad(void *ctx, const char *what)
{
	struct audit *a = ctx;

	if (a->c->format == LOG_JSON)
		log_error(NULL, "damaged", LOG_S("what", what));
	else
		fprintf(stderr, "popferry: damaged: %s\n", what);
	if (a->n_findings == FINDINGS_MAX)
		return;
	a->findings = xreallocarray(
		a->findings, a->n_findings + 1, sizeof(*a->findings));
	a->findings[a->n_findings++] = xstrdup(what);
}

static void count_party(struct marks *m, const struct sign_mark *mark)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (strcmp(m->parties[i].mark.sha256, mark->sha256) == 0 &&
			m->parties[i].mark.verdict == mark->verdict)
			break;
	if (i == PARTIES_MAX)
		return;
	if (i == m->n) {
		m->parties = xreallocarray(m->parties, ++m->n, sizeof(*m->parties));
		m->parties[i] = (struct party){ *mark, 0 };
	}
	m->parties[i].seals++;
}

static void look_at(struct audit *a, struct marks *m, const char *seal,
	const struct sign_mark *mark)
{
	char text[2 * ERR_TEXT];

	if (mark->verdict == SIGN_NONE) {
		m->missing++;
		return;
	}
	m->there++;
	if (marks_weigh(mark->verdict, m->wanted != NULL) == 0) {
		count_party(m, mark);
		return;
	}
	m->bad++;
	snprintf(text, sizeof(text), "seals/%s is not %s as it should be: %s", seal,
		m->kind, mark->why);
	find_bad(a, text);
}

static void look(void *ctx, const char *seal, const struct sign_state *s)
{
	struct audit *a = ctx;

	look_at(a, &a->signatures, seal, &s->signature);
	look_at(a, &a->stamps, seal, &s->stamp);
}

/* ---- what is told ---- */

static bool in_trust(const struct audit *a, const struct marks *m, const char *sha256)
{
	char *path = xasprintf("%s/trust/%s-%.*s.pem", a->path, m->in, PREFIX, sha256);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

static void party_text(
	const struct audit *a, const struct marks *m, const struct party *p)
{
	printf("%s: %" PRIu64 " seal%s %s by %s (fingerprint %s)", a->path, p->seals,
		text_s(p->seals), m->kind, p->mark.by, p->mark.sha256);
	if (p->mark.verdict == SIGN_TRUSTED)
		printf(", who is trusted\n");
	else
		printf(", %s, which nobody vouched for: name whom you trust with %s\n",
			in_trust(a, m, p->mark.sha256) ? "the certificate in trust/"
						       : "a certificate not in trust/",
			m->option);
}

/* Where nothing is signed or timestamped nothing is missing, unless it was asked
 * for. */
static bool uses(const struct audit *a, const struct marks *m)
{
	return a->signatures.there || a->stamps.there || m->wanted || a->k.signatures ||
		a->k.timestamps;
}

/* An archive without them is no worse for it; one that has lost them was tampered with,
 * or somebody signed again. */
static void taken_text(
	const struct audit *a, const struct marks *m, uint64_t made, const char *what)
{
	if (m->missing && made > m->there)
		printf("%s: log/custody.jsonl tells of %" PRIu64
		       " %s, and there are %" PRIu64 ": some were taken away\n",
			a->path, made, what, m->there);
}

static void all_marks_text(const struct audit *a)
{
	const struct marks *s = &a->signatures, *t = &a->stamps;
	size_t i;

	for (i = 0; i < s->n; i++)
		party_text(a, s, &s->parties[i]);
	for (i = 0; i < t->n; i++)
		party_text(a, t, &t->parties[i]);
	if (s->missing && uses(a, s))
		printf("%s: %" PRIu64 " seal%s not signed\n", a->path, s->missing,
			text_s(s->missing));
	taken_text(a, s, a->k.signatures, "signatures");
	taken_text(a, t, a->k.timestamps, "timestamps");
	if (t->missing && uses(a, t))
		printf("%s: %" PRIu64 " seal%s: timestamp pending\n", a->path,
			t->missing, text_s(t->missing));
}

static void audit_text(const struct audit *a)
{
	const struct archive_check *k = &a->k;
	char bytes[16];

	printf("%s: ", a->path);
	if (k->damaged)
		printf("DAMAGED in %" PRIu64 " place%s: ", k->damaged,
			text_s(k->damaged));
	printf("%" PRIu64 " message%s (%s), %" PRIu64 " sealed segment%s%s\n",
		k->messages, text_s(k->messages), text_bytes(bytes, k->bytes),
		k->segments, text_s(k->segments),
		!k->damaged                ? ": all good"
			: k->segments == 1 ? " is good"
					   : " are good");
	if (k->closed)
		printf("%s: %" PRIu64 " message%s in %" PRIu64
		       " encrypted segment%s: the files, seals and marks were checked; "
		       "their messages only --identity opens\n",
			a->path, k->closed_messages, text_s(k->closed_messages),
			k->closed, text_s(k->closed));
	if (k->closed_open)
		printf("%s: what is not sealed yet is encrypted, and its key is with the "
		       "job that writes it: it was not looked at\n",
			a->path);
	if (k->unsealed)
		printf("%s: %" PRIu64 " segment%s no seal, being of popferry 0.1.0\n",
			a->path, k->unsealed, k->unsealed == 1 ? " has" : "s have");
	if (k->unanchored)
		printf("%s: log/custody.head is missing: what was dropped from the end of "
		       "the log since the last seal cannot be known\n",
			a->path);
	if (k->gone)
		printf("%s: %" PRIu64
		       " more message%s disposed of: the records in policy/ tell when and by "
		       "whose authority\n",
			a->path, k->gone, k->gone == 1 ? " was" : "s were");
	if (k->unfinished)
		printf("%s: a disposal was interrupted: the next `popferry dispose` or copy "
		       "ends it\n",
			a->path);
	if (a->how.quick)
		printf("%s: of the messages in sealed segments %" PRIu64
		       " were read, of the others only the files and seals\n",
			a->path,
			a->how.sample < k->messages ? a->how.sample : k->messages);
	all_marks_text(a);
}

static void parties_json(
	struct buf *b, const struct audit *a, const struct marks *m, const char *name)
{
	size_t i;

	buf_addf(b, ",\"%s\":[", name);
	for (i = 0; i < m->n; i++) {
		const struct party *p = &m->parties[i];

		buf_addf(b, "%s{\"seals\":%" PRIu64 ",\"in_trust\":%s", i ? "," : "",
			p->seals, in_trust(a, m, p->mark.sha256) ? "true" : "false");
		marks_add(b, "name", p->mark.by);
		marks_add(b, "sha256", p->mark.sha256);
		marks_add(b, "verdict", marks_word(p->mark.verdict));
		buf_addc(b, '}');
	}
	buf_addc(b, ']');
}

static void audit_json(
	struct buf *b, const struct audit *a, int exit, const char *reason)
{
	const struct archive_check *k = &a->k;
	size_t i;

	buf_addf(b,
		"{\"good\":%s,\"exit\":%d,\"segments\":%" PRIu64
		",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"damaged\":%" PRIu64
		",\"seals\":%" PRIu64 ",\"unsealed\":%" PRIu64 ",\"events\":%" PRIu64
		",\"log_head\":%s,\"disposed\":%" PRIu64
		",\"quick\":%s,\"sample\":%" PRIu64,
		exit ? "false" : "true", exit, k->segments, k->messages, k->bytes,
		k->damaged, k->seals, k->unsealed, k->events,
		k->unanchored ? "false" : "true", k->gone,
		a->how.quick ? "true" : "false", a->how.sample);
	if (k->closed || k->closed_open)
		buf_addf(b,
			",\"encrypted_segments\":%" PRIu64
			",\"encrypted_messages\":%" PRIu64 ",\"open_not_read\":%s",
			k->closed, k->closed_messages,
			k->closed_open ? "true" : "false");
	buf_addf(b,
		",\"signed\":%" PRIu64 ",\"not_signed\":%" PRIu64
		",\"timestamped\":%" PRIu64 ",\"timestamps_pending\":%" PRIu64
		",\"signatures_made\":%" PRIu64 ",\"timestamps_made\":%" PRIu64,
		a->signatures.there, a->signatures.missing, a->stamps.there,
		a->stamps.missing, k->signatures, k->timestamps);
	parties_json(b, a, &a->signatures, "signers");
	parties_json(b, a, &a->stamps, "tsas");
	buf_adds(b, ",\"findings\":[");
	for (i = 0; i < a->n_findings; i++) {
		buf_adds(b, i ? "," : "");
		text_json(b, a->findings[i], strlen(a->findings[i]));
	}
	buf_addc(b, ']');
	marks_add(b, "reason", reason);
	marks_add(b, "version", VERSION);
	marks_add(b, "archive", a->path);
	buf_adds(b, "}\n");
}

/* What is told and what is reported are the same object. */
static enum status tell(const struct audit *a, int code, struct err *err)
{
	const char *report = a->c->job->report;
	struct buf b = BUF_INIT(JSON_MAX);
	enum status rc = ST_OK;

	audit_json(&b, a, code, code ? err->text : "");
	if (report)
		rc = report_put(report, &b, err);
	/* What could not be read at all has no numbers. */
	if (a->c->verbosity >= 0 && (code == 0 || code == EX_PARTIAL || a->k.damaged) &&
		!(report && strcmp(report, "-") == 0)) {
		if (a->c->format == LOG_JSON)
			fwrite(buf_str(&b), 1, b.n, stdout);
		else
			audit_text(a);
	}
	buf_free(&b);
	return rc;
}

/* That it was looked at, and what came of it, is part of its history. */
static void note(const struct audit *a)
{
	struct err err = ERR_INIT;
	char *detail = xasprintf("{\"damaged\":%" PRIu64 ",\"messages\":%" PRIu64
				 ",\"quick\":%s,\"sample\":%" PRIu64 "}",
		a->k.damaged, a->k.messages, a->how.quick ? "true" : "false",
		a->how.sample);

	if (archive_note(a->path, "verify", "archive", detail, &err) < 0) {
		err_note(&err, "this was not noted in the archive");
		cli_complain(a->c, &err);
	}
	free(detail);
}

/* ---- doing it ---- */

/* NULL, or why what was asked for makes no sense. */
static const char *misuse(struct audit *a)
{
	const char *sample = cli_option(a->c, "sample");
	char *end = NULL;

	if (a->c->n_args > 1)
		return "verify takes one ARCHIVE";
	a->how.quick = cli_option(a->c, "quick") || sample;
	if (a->how.quick && cli_option(a->c, "full"))
		return "--full reads everything: it goes without --quick and --sample";
	if (!sample)
		return NULL;
	a->how.sample = strtoull(sample, &end, 10);
	if (*sample < '0' || *sample > '9' || *end || a->how.sample == 0)
		return "--sample takes a number of messages";
	return NULL;
}

static enum status check_marks(
	struct audit *a, const struct sign_trust *t, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc = sign_check_archive(a->path, t, look, a, &why);
	uint64_t bad = a->signatures.bad + a->stamps.bad, open = 0;

	/* What is bad was counted, if it was not that they could not be looked at. */
	if (rc < 0 && (why.exit != EX_DATAERR || !bad))
		return err_set(err, rc, why.exit, "%s", why.text);
	a->k.damaged += bad;
	if (bad)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"%" PRIu64 " signature%s or timestamp%s not to be believed",
			bad, text_s(bad), bad == 1 ? " is" : "s are");
	if (a->signatures.wanted)
		open += a->signatures.missing;
	if (a->stamps.wanted)
		open += a->stamps.missing;
	if (open)
		return err_set(err, ST_DENIED, EX_PARTIAL,
			"what is there is good, but %" PRIu64
			" signature%s or timestamp%s missing",
			open, text_s(open), open == 1 ? " is" : "s are");
	return ST_OK;
}

/* ---- a seal that was kept elsewhere ---- */

/* kept: a file, or the SHA-256 of one. */
static enum status kept_digest(
	const char *kept, unsigned char sha[DIGEST], struct err *err)
{
	char *text = NULL;
	size_t n = 0;
	enum status rc;

	if (strlen(kept) == 2 * DIGEST && text_unhex(sha, DIGEST, kept))
		return ST_OK;
	rc = fs_read(&text, &n, AT_FDCWD, kept, SEAL_MAX, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"--against: there is no file %s, and it is no SHA-256 (64 hex digits)",
			kept);
	if (rc == ST_OK)
		digest_of(text, n, sha);
	free(text);
	return rc;
}

static bool is_seal(int dir, const char *name, const unsigned char want[DIGEST])
{
	unsigned char sha[DIGEST];
	struct err err = ERR_INIT;
	char *text = NULL;
	size_t n = 0;
	bool same;

	if (fnmatch("*.seal.json", name, FNM_PERIOD) != 0 ||
		fs_read(&text, &n, dir, name, SEAL_MAX, &err) != ST_OK)
		return false;
	digest_of(text, n, sha);
	same = memcmp(sha, want, DIGEST) == 0;
	free(text);
	return same;
}

/* A whole archive put back from an older copy is good by all that is in it. */
static enum status check_kept(struct audit *a, struct err *err)
{
	const char *kept = cli_option(a->c, "against");
	unsigned char want[DIGEST];
	struct dirent *e;
	bool there = false;
	enum status rc;
	char *path;
	DIR *d;

	if (!kept)
		return ST_OK;
	rc = kept_digest(kept, want, err);
	if (rc != ST_OK)
		return rc;
	path = xasprintf("%s/seals", a->path);
	d = opendir(path);
	while (d && !there && (e = readdir(d)))
		there = is_seal(dirfd(d), e->d_name, want);
	if (d)
		closedir(d);
	free(path);
	if (there)
		return ST_OK;
	a->k.damaged++;
	find_bad(a,
		"no seal here is the one that was kept: the archive was put back from an "
		"older copy, seals were taken away, or it is another archive");
	return err_set(err, ST_DENIED, EX_DATAERR, "%s does not go as far as %s",
		a->path, kept);
}

/* ---- all of it ---- */

static enum status check(struct audit *a, struct err *err)
{
	const struct archive_access access = { .identities = a->c->identities,
		.closed = true };
	struct archive_reader *r = NULL;
	struct err marks = ERR_INIT, kept = ERR_INIT;
	struct sign_trust *t = NULL;
	enum status rc, marked = ST_OK, behind = ST_OK;

	rc = sign_trust_open(&t, a->signatures.wanted, a->stamps.wanted, err);
	if (rc == ST_OK)
		rc = archive_read_as(&r, a->path, &access, err);
	if (rc == ST_OK)
		rc = archive_verify_as(r, &a->how, &a->k, find_bad, a, err);
	archive_done(&r);
	if (rc == ST_OK || a->k.damaged) {
		marked = check_marks(a, t, &marks);
		behind = check_kept(a, &kept);
		note(a);
	}
	sign_trust_close(&t);
	if (rc == ST_OK && marked != ST_OK)
		rc = err_set(err, marked, marks.exit, "%s: %s", a->path, marks.text);
	if (rc == ST_OK && behind != ST_OK)
		rc = err_set(err, behind, kept.exit, "%s", kept.text);
	return rc;
}

int verify_archive(struct cli *c, const char *path, struct err *err)
{
	struct audit a = { .c = c,
		.path = path,
		.signatures = { .kind = "signed",
			.in = "signer",
			.option = "--trust",
			.wanted = cli_option(c, "trust") },
		.stamps = { .kind = "timestamped",
			.in = "tsa",
			.option = "--tsa-ca",
			.wanted = cli_option(c, "tsa-ca") } };
	const char *fault = misuse(&a);
	int code;

	if (fault)
		return cli_bad_usage(c, "verify", fault, err);
	code = check(&a, err) == ST_OK ? 0 : cli_archive_failed(c, err);
	if (tell(&a, code, err) != ST_OK) {
		err_note(err, "the report could not be written");
		cli_complain(c, err);
		code = code ? code : err->exit;
	}
	audit_release(&a);
	return code;
}
