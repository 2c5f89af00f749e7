/* job.c: the table of settings, and how each value gets into the job. */
#include "own.h"

#include <popferry/hand.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

/* expected: for what starts with the name of nothing. */
static enum status end_put(struct endpoint *e, const char *value, const char *expected,
	const struct spot *at, struct err *err)
{
	size_t n = strcspn(value, ":");

	if (!value[n] || !scheme_find(value, n))
		return spot_bad(at, err, "expected %s", expected);
	return url_parse(e, value, err) < 0 ? spot_note(at, err) : ST_OK;
}

static enum status set_source(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	(void)s;
	return end_put(&p->job.source, value, SOURCES, at, err);
}

static const struct word dedup_words[] = {
	{ "message-id", DEDUP_MESSAGE_ID },
	{ "exact", DEDUP_EXACT },
	{ "message-id-only", DEDUP_MESSAGE_ID_ONLY },
	{ "none", DEDUP_NONE },
	{ NULL, 0 },
};

static enum status set_dest(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	struct job *j = &p->job;
	enum status rc;

	(void)s;
	if (p->dest_layer != p->layer) {
		while (j->n_dest)
			endpoint_release(&j->dest[--j->n_dest]);
		p->dest_layer = p->layer;
	}
	if (j->n_dest == N_ELEMENTS(j->dest))
		return spot_bad(at, err,
			"a job has at most two destinations: an IMAP account and an "
			"archive");
	rc = end_put(&j->dest[j->n_dest], value, DESTS, at, err);
	j->n_dest += rc >= 0;
	return rc;
}

static enum status set_pin(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	static const char base64[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789+/";
	const size_t digest = 43; /* 32 bytes, and one "=" */
	const char *b = value + strlen("sha256//");

	if (!text_starts(value, "sha256//") || strspn(b, base64) != digest ||
		strcmp(b + digest, "=") != 0)
		return spot_bad(at, err,
			"expected sha256// and the base64 of a SHA-256, 44 characters "
			"that end in \"=\" (popferry probe shows it)");
	return text_put((char **)((char *)p + s->at), value, at, err);
}

static enum status set_seen(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	static const struct word words[] = {
		{ "status-header", SEEN_STATUS_HEADER },
		{ "all", SEEN_ALL },
		{ "none", SEEN_NONE },
		{ "older-than:AGE", 0 }, /* only for the list in the error */
		{ NULL, 0 },
	};
	static const char older[] = "older-than:";
	unsigned word;
	enum status rc;

	(void)s;
	if (text_starts(value, older)) {
		if (!parse_age(value + strlen(older), &p->job.seen_age))
			return spot_bad(at, err,
				"expected an age like 30d, 6w or 1y after "
				"\"older-than:\", not \"%.60s\"",
				value + strlen(older));
		p->job.seen = SEEN_OLDER_THAN;
		return ST_OK;
	}
	rc = word_find(words, value, &word, at, err);
	if (rc >= 0)
		p->job.seen = word;
	return rc;
}

static enum status set_delete(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	static const struct word words[] = {
		{ "never", DELETE_NEVER },
		{ "verified", DELETE_VERIFIED },
		{ "verified:AGE", 0 },
		{ NULL, 0 },
	};
	static const char aged[] = "verified:";
	unsigned word;
	enum status rc;

	(void)s;
	if (text_starts(value, aged)) {
		if (!parse_age(value + strlen(aged), &p->job.delete_age))
			return spot_bad(at, err,
				"expected an age like 30d, 6w or 1y after "
				"\"verified:\", not \"%.60s\"",
				value + strlen(aged));
		p->job.delete = DELETE_VERIFIED;
		return ST_OK;
	}
	rc = word_find(words, value, &word, at, err);
	if (rc >= 0) {
		p->job.delete = word;
		p->job.delete_age = 0;
	}
	return rc;
}

/* Cuts the next item of a comma list out of *s, trimmed; false at the end. */
static bool next_item(const char **s, char *item, size_t cap)
{
	const char *p = *s;
	size_t n;

	if (!p)
		return false;
	n = strcspn(p, ",");
	*s = p[n] ? p + n + 1 : NULL;
	while (n && (*p == ' ' || *p == '\t'))
		p++, n--;
	while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
		n--;
	if (n >= cap)
		n = cap - 1;
	memcpy(item, p, n);
	item[n] = '\0';
	return true;
}

static enum status set_date_source(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	static const struct word words[] = {
		{ "received", DATE_RECEIVED },
		{ "header", DATE_HEADER },
		{ "none", DATE_NONE },
		{ "date", DATE_HEADER },
		{ NULL, 0 },
	};
	enum date_from order[N_ELEMENTS(p->job.date_order)] = { DATE_NONE };
	char item[64];
	unsigned word = DATE_RECEIVED;
	size_t n = 0, i;
	bool none = false;

	(void)s;
	while (next_item(&value, item, sizeof(item))) {
		if (word_find(words, item, &word, at, err) < 0)
			return ST_DENIED;
		if (none)
			return spot_bad(at, err, "nothing can follow \"none\"");
		none = word == DATE_NONE;
		for (i = 0; i < n; i++)
			if (order[i] == word)
				return spot_bad(at, err, "\"%s\" is given twice", item);
		if (!none)
			order[n++] = word;
	}
	memcpy(p->job.date_order, order, sizeof(order));
	return ST_OK;
}

static enum status set_rescue(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	static const struct word words[] = {
		{ "none", 0 },
		{ "repair", JOB_REPAIR },
		{ "wrap", JOB_WRAP },
		{ "archive", JOB_ARCHIVE },
		{ NULL, 0 },
	};
	unsigned steps = 0, word, n = 0;
	bool none = false;
	char item[64];

	(void)s;
	while (next_item(&value, item, sizeof(item))) {
		if (word_find(words, item, &word, at, err) < 0)
			return ST_DENIED;
		if (steps & word)
			return spot_bad(at, err, "\"%s\" is given twice", item);
		none |= !word;
		steps |= word;
		n++;
	}
	if (none && n > 1)
		return spot_bad(at, err, "\"none\" stands alone");
	p->job.rescue = steps;
	return ST_OK;
}

static void me_release(struct job *j)
{
	while (j->n_me)
		free(j->me[--j->n_me]);
	free(j->me);
	j->me = NULL;
}

static enum status set_me(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	struct job next = { 0 };
	char item[320], *c;

	(void)s;
	while (next_item(&value, item, sizeof(item))) {
		const char *domain = strchr(item, '@');

		if (!domain || domain == item || !domain[1] || strpbrk(item, " <>\"")) {
			me_release(&next);
			return spot_bad(at, err,
				"expected mail addresses with commas between, as in "
				"me@example.org, me@example.net; not \"%.60s\"",
				item);
		}
		for (c = item; *c; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c = (char)(*c + 32);
		next.me = xreallocarray(next.me, next.n_me + 1, sizeof(*next.me));
		next.me[next.n_me++] = xstrdup(item);
	}
	me_release(&p->job);
	p->job.me = next.me;
	p->job.n_me = next.n_me;
	return ST_OK;
}

static enum status set_name(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	static const char fit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				  "0123456789._@+-";
	size_t n = strlen(value);

	(void)s;
	if (!n || n > NAME_MAX_BYTES || strspn(value, fit) != n || *value == '.' ||
		*value == '-')
		return spot_bad(at, err,
			"expected 1 to %d letters, digits and \"._@+-\", not starting "
			"with \".\" or \"-\"",
			NAME_MAX_BYTES);
	return text_put(&p->job.name, value, at, err);
}

static enum status set_folder(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	(void)s;
	return template_put(&p->job.folder, value, at, err);
}

static enum status set_scan(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	char *words = xmalloc(strlen(value) + 1), *argv[HAND_WORDS_MAX + 1];
	bool fit = hand_split(value, words, argv) && *argv[0];

	(void)s;
	free(words);
	if (!fit)
		return spot_bad(at, err,
			"expected a program and at most %d arguments, with every quote "
			"closed",
			HAND_WORDS_MAX - 1);
	return text_put(&p->job.scan, value, at, err);
}

/* It is told with each message that goes there, so it is one folder and no template. */
static enum status set_quarantine(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	(void)s;
	if (strchr(value, '%'))
		return spot_bad(
			at, err, "expected the name of a folder, without \"%%\"");
	return template_put(&p->job.quarantine_folder, value, at, err);
}

static enum status set_dedup(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	unsigned word;
	enum status rc = word_find(dedup_words, value, &word, at, err);

	(void)s;
	if (rc < 0)
		return rc;
	p->job.dedup = word;
	p->job.dedup_given = true;
	return rc;
}

static enum status set_codec(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	static const struct word words[] = {
		{ "gz", 0 },
		{ "zst", 1 },
		{ "zip", 2 },
		{ "none", 3 },
		{ NULL, 0 },
	};
	enum status rc = word_find(words, value, &p->job.codec, at, err);

	(void)s;
	if (rc >= 0)
		p->job.codec_given = true;
	return rc;
}

/*
 * Takes the facts of one section of another profile in place of what was
 * known. That profile is read whole, so that its errors are found.
 */
static enum status set_profile(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	bool pop3 = s->key[0] == 's';
	struct job *other;
	struct plan *o;
	enum status rc;

	job_new(&other);
	o = (struct plan *)other;
	o->reading = p->reading;
	o->table = p->table;
	o->row = p->row;
	rc = profile_load(o, value, err);
	if (rc < 0)
		rc = spot_note(at, err);
	else if (pop3 ? !o->has_pop3 : !o->has_imap)
		rc = spot_bad(at, err, "the profile \"%.60s\" has no section [%s]",
			value, pop3 ? "pop3" : "imap");
	else if (pop3)
		pop3_facts_copy(&p->pop3, &o->pop3);
	else
		imap_facts_copy(&p->imap, &o->imap);
	if (rc >= 0 && pop3)
		p->has_pop3 = true;
	if (rc >= 0 && !pop3)
		p->has_imap = true;
	job_free(&other);
	return rc;
}

static enum status set_extends(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err)
{
	(void)s;
	if (!p->reading)
		return spot_bad(at, err, "is possible in a profile file only");
	return profile_load(p, value, err) < 0 ? spot_note(at, err) : ST_OK;
}

static const struct word tls_words[] = {
	{ "implicit", TLS_IMPLICIT + 1 },
	{ "starttls", TLS_STARTTLS + 1 },
	{ "none", TLS_NONE + 1 },
	{ NULL, 0 },
};

static const struct word tls_min_words[] = {
	{ "1.0", TLS_MIN_1_0 },
	{ "1.1", TLS_MIN_1_1 },
	{ "1.2", TLS_MIN_1_2 },
	{ NULL, 0 },
};

static const struct word scan_words[] = {
	{ "note", SCAN_NOTE + 1 },
	{ "quarantine", SCAN_QUARANTINE + 1 },
	{ "refuse", SCAN_REFUSE + 1 },
	{ NULL, 0 },
};

const char *dedup_name(enum dedup d)
{
	return dedup_words[d].name;
}

#define AT(f, t) .at = FIELD(plan, f, t)
#define ROW(k, arg, opt, t, text, ...) \
	{ \
		.key = (k), .argument = (arg), .option = (opt), .type = (t), \
		.help = (text), __VA_ARGS__ \
	}
#define BY(k, arg, fn, text) ROW(k, arg, true, SET_BY, text, .set = (fn))
#define BY_AT(k, arg, fn, text, f) \
	ROW(k, arg, true, SET_BY, text, .set = (fn), AT(f, char *))

const struct setting job_table[] = {
	BY("source", "URL", set_source, "where mail comes from: a SOURCE as of copy"),
	BY("dest", "URL", set_dest, "where it goes: a DEST as of copy"),
	BY_AT("source-password-file", "FILE", set_secret,
		"password: first line of a file closed to others", source.secret.file),
	BY_AT("source-password-command", "COMMAND", set_secret,
		"password: first line it prints; no shell is used",
		source.secret.command),
	BY_AT("source-password-env", "NAME", set_secret,
		"password: name of an environment variable", source.secret.env),
	BY_AT("dest-password-file", "FILE", set_secret,
		"password: first line of a file closed to others", dest.secret.file),
	BY_AT("dest-password-command", "COMMAND", set_secret,
		"password: first line it prints; no shell is used",
		dest.secret.command),
	BY_AT("dest-password-env", "NAME", set_secret,
		"password: name of an environment variable", dest.secret.env),
	ROW("source-tls", "MODE", true, SET_WORD, "implicit, starttls or none",
		AT(source.tls, unsigned), .words = tls_words),
	ROW("dest-tls", "MODE", true, SET_WORD, "implicit, starttls or none",
		AT(dest.tls, unsigned), .words = tls_words),
	ROW("source-tls-min", "VERSION", true, SET_WORD,
		"oldest TLS that will do: 1.2 (usual), 1.1 or 1.0",
		AT(source.tls_min, unsigned), .words = tls_min_words),
	ROW("dest-tls-min", "VERSION", true, SET_WORD,
		"oldest TLS that will do: 1.2 (usual), 1.1 or 1.0",
		AT(dest.tls_min, unsigned), .words = tls_min_words),
	ROW("ca-file", "FILE", true, SET_TEXT,
		"trust the CAs of this PEM file, not the system's",
		AT(ca_file, char *)),
	BY_AT("source-pin", "PIN", set_pin, "sha256//BASE64 of the server's public key",
		source.pin),
	BY_AT("dest-pin", "PIN", set_pin, "sha256//BASE64 of the server's public key",
		dest.pin),
	BY("source-profile", "NAME", set_profile,
		"take what is known of such a server from a profile"),
	BY("dest-profile", "NAME", set_profile,
		"take what is known of such a server from a profile"),
	ROW("state", "DIR", true, SET_TEXT, "where it is noted what has been done",
		AT(job.state, char *)),
	BY("dedup", "MODE", set_dedup,
		"duplicates: message-id, exact, message-id-only, none"),
	BY("folder", "NAME", set_folder, "folder for what no rule of a profile files"),
	BY("rescue", "STEPS", set_rescue,
		"for messages a server refuses: repair, wrap, archive"),
	BY("scan", "COMMAND", set_scan,
		"ask a program about each message first: 0 is clean, 1 is not"),
	ROW("scan-policy", "POLICY", true, SET_WORD,
		"what is not clean: note, quarantine, refuse",
		AT(job.scan_policy, unsigned), .words = scan_words),
	ROW("scan-timeout", "SECONDS", true, SET_UINT,
		"give the scan of a message up after so long",
		AT(job.scan_timeout, unsigned), .lo = 1, .hi = 86400),
	BY("quarantine-folder", "NAME", set_quarantine,
		"for scan-policy quarantine; Quarantine without it"),
	BY("seen", "POLICY", set_seen,
		"mark read: status-header, all, none, older-than:AGE"),
	BY("date-source", "ORDER", set_date_source,
		"headers to take dates from: received,header"),
	ROW("since", "DATE", true, SET_DAY,
		"only mail of that day (2024-03-01, 30d) and later",
		AT(job.since, int64_t)),
	ROW("before", "DATE", true, SET_DAY, "only mail before that day",
		AT(job.before, int64_t)),
	ROW("min-size", "SIZE", true, SET_SIZE,
		"only messages of at least that size (512k, 35M)",
		AT(job.min_size, uint64_t), .lo = 1, .hi = INT64_MAX),
	ROW("max-size", "SIZE", true, SET_SIZE, "only messages of at most that size",
		AT(job.max_size, uint64_t), .lo = 1, .hi = INT64_MAX),
	ROW("limit", "N", true, SET_COUNT, "at most that many new messages in this run",
		AT(job.limit, uint64_t), .lo = 1, .hi = 1000000000),
	BY("delete", "POLICY", set_delete,
		"at the source: never, verified, verified:AGE"),
	ROW("max-delete", "N", true, SET_COUNT,
		"delete at most that many at the source in this run",
		AT(job.max_delete, uint64_t), .lo = 1, .hi = 1000000000),
	ROW("timeout", "SECONDS", true, SET_UINT,
		"give a silent server up after so long", AT(job.timeout, unsigned),
		.lo = 1, .hi = 86400),
	ROW("dry-run", NULL, true, SET_BOOL, "show the plan and do nothing else",
		AT(job.dry_run, bool), .words = yes_no),
	ROW("check", NULL, true, SET_BOOL,
		"at the end read back what was stored, and compare",
		AT(job.check, bool), .words = yes_no),
	ROW("report", "FILE", true, SET_TEXT,
		"write the result as JSON; - is standard output",
		AT(job.report, char *)),
	ROW("trace", "FILE", true, SET_TEXT,
		"write the dialogue with the servers, no secrets",
		AT(job.trace, char *)),
	BY("codec", "NAME", set_codec,
		"compression of a new archive: gz, zst, zip, none"),
	ROW("member-size", "SIZE", true, SET_SIZE,
		"how much a new archive compresses together (1M, of zst 2M)",
		AT(job.member_size, uint64_t), .lo = 64 * 1024, .hi = 64 * 1024 * 1024),
	BY("encrypt-to", "AGE1|FILE", set_crypt,
		"whom a new archive is encrypted to; give it at least twice"),
	ROW("single-recipient", NULL, true, SET_BOOL,
		"one recipient is enough: no second key if that one is lost",
		AT(job.single_recipient, bool), .words = yes_no),
	BY("identity", "FILE", set_crypt,
		"a key (of age, or PEM) that opens an encrypted archive"),
	BY_AT("identity-password-file", "FILE", set_secret,
		"its passphrase: first line of a file closed to others",
		job.identity.secret.file),
	BY_AT("identity-password-command", "COMMAND", set_secret,
		"the same: first line it prints; no shell is used",
		job.identity.secret.command),
	BY_AT("identity-password-env", "NAME", set_secret,
		"the same, from the environment", job.identity.secret.env),
	ROW("sign-key", "FILE", true, SET_TEXT,
		"sign the seals of the archive with it: PEM, or a pkcs11: URI",
		AT(job.sealing.key, char *)),
	ROW("sign-cert", "FILE", true, SET_TEXT,
		"and its certificate, and those up to its CA: PEM",
		AT(job.sealing.cert, char *)),
	BY_AT("sign-password-file", "FILE", set_secret,
		"that key's passphrase, or its token's PIN", job.sealing.secret.file),
	BY_AT("sign-password-command", "COMMAND", set_secret,
		"the same, from a command", job.sealing.secret.command),
	BY_AT("sign-password-env", "NAME", set_secret, "the same, from the environment",
		job.sealing.secret.env),
	BY("tsa", "URL", set_tsa,
		"timestamp seals there (RFC 3161); several are tried in order"),
	ROW("tsa-ca", "FILE", true, SET_TEXT,
		"believe timestamps of these CAs, not of the system's",
		AT(job.sealing.tsa_ca, char *)),
	ROW("name", "NAME", true, SET_BY, "name of the job in logs and reports",
		.set = set_name),
	ROW("me", "ADDRESSES", true, SET_BY, "own addresses, for rules with from-me",
		.set = set_me),
	ROW("extends", "NAME", false, SET_BY, "profile to read first",
		.set = set_extends),
};
const size_t n_job_table = N_ELEMENTS(job_table);

const struct setting_help *job_settings(size_t *n)
{
	static struct setting_help help[N_ELEMENTS(job_table)];
	size_t i;

	for (i = 0; i < N_ELEMENTS(job_table); i++)
		help[i] = (struct setting_help){ job_table[i].key,
			job_table[i].argument, job_table[i].help, job_table[i].option };
	*n = N_ELEMENTS(help);
	return help;
}

void job_new(struct job **out)
{
	struct plan *p = xcalloc(1, sizeof(*p));

	p->job.date_order[0] = DATE_RECEIVED;
	p->job.date_order[1] = DATE_HEADER;
	*out = &p->job;
}

static void end_release(struct end *e)
{
	secret_release(&e->secret);
	free(e->pin);
}

void job_free(struct job **jp)
{
	struct plan *p = (struct plan *)*jp;
	struct job *j = *jp;

	if (!j)
		return;
	free(j->name);
	free(j->state);
	free(j->report);
	free(j->trace);
	free(j->folder);
	free(j->scan);
	free(j->quarantine_folder);
	free(j->sealing.key);
	free(j->sealing.cert);
	secret_release(&j->sealing.secret);
	tsa_release(&j->sealing);
	free(j->sealing.tsa_ca);
	texts_release(&j->encrypt_to);
	texts_release(&j->identity.files);
	secret_release(&j->identity.secret);
	endpoint_release(&j->source);
	while (j->n_dest)
		endpoint_release(&j->dest[--j->n_dest]);
	me_release(j);
	while (j->n_rules)
		rule_release(&j->rules[--j->n_rules]);
	free(j->rules);
	end_release(&p->source);
	end_release(&p->dest);
	free(p->ca_file);
	pop3_facts_release(&p->pop3);
	imap_facts_release(&p->imap);
	free(p);
	*jp = NULL;
}

static enum status put(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	if (s->type == SET_BY)
		return s->set(p, s, value, at, err);
	return setting_put(p, s, value, at, err);
}

enum status job_put(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	char *filled = NULL;
	enum status rc;

	if (!value) /* a switch on the command line */
		value = s->argument ? "" : "yes";
	if (!p->table || !strchr(value, '{'))
		return put(p, s, value, at, err);
	rc = accounts_fill(p, s, value, &filled, at, err);
	if (rc >= 0)
		rc = put(p, s, filled, at, err);
	free(filled);
	return rc;
}

enum status job_set(struct job *j, const char *key, const char *value,
	const char *where, struct err *err)
{
	struct nearest n = NEAREST(key);
	const struct setting *s = setting_find(job_table, n_job_table, key);
	struct spot at = { where, key };
	size_t i;

	if (s)
		return job_put((struct plan *)j, s, value, &at, err);
	for (i = 0; i < n_job_table; i++)
		nearest_offer(&n, job_table[i].key);
	return spot_bad(&at, err, "there is no such setting%s%s%s",
		n.best ? "; did you mean \"" : "", n.best ? n.best : "",
		n.best ? "\"?" : "");
}
