/* check.c: does it all fit together? And what nobody said. */
#include "own.h"

#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum status bad(struct err *err, const char *text)
{
	return err_set(err, ST_DENIED, EX_USAGE, "%s", text);
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static void put_copy(char **field, const char *s)
{
	char *next = copy(s);

	free(*field);
	*field = next;
}

static const struct scheme *scheme_of(const struct endpoint *e)
{
	return scheme_find(e->scheme, strlen(e->scheme));
}

/* ---- ends ---- */

/* What the profile says of a server, whatever its protocol. */
struct common_facts {
	unsigned port, tls;
	const char *user_form;
};

/* The login name as this server wants it. */
static enum status fit_user(
	struct endpoint *e, const char *what, const char *form, struct err *err)
{
	char *at = strrchr(e->user, '@');

	if (!form)
		return ST_OK;
	if (!strcmp(form, "local")) {
		if (at == e->user)
			return err_set(err, ST_DENIED, EX_USAGE,
				"%s: the login name is empty before its \"@\"", what);
		if (at)
			*at = '\0';
		return ST_OK;
	}
	if (!at)
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s: this server wants the whole mail address as login name, "
			"not \"%.100s\"; write %s://user%%40example.org@%s",
			what, e->user, e->scheme, e->host);
	return ST_OK;
}

static enum status fit_end(struct endpoint *e, const char *what, const struct end *set,
	const struct common_facts *f, const char *ca_file, struct err *err)
{
	const struct scheme *s = scheme_of(e);

	e->tls = set->tls ? (enum tls_mode)(set->tls - 1) : s->tls;
	e->tls_min = (enum tls_min)set->tls_min;
	if (!e->port && f->port && (!f->tls || f->tls - 1 == (unsigned)e->tls))
		e->port = f->port;
	if (!e->port)
		e->port = e->tls == TLS_IMPLICIT ? s->port_tls : s->port;
	put_copy(&e->ca_file, ca_file);
	put_copy(&e->pin, set->pin);
	put_copy(&e->secret.file, set->secret.file);
	put_copy(&e->secret.command, set->secret.command);
	put_copy(&e->secret.env, set->secret.env);
	put_copy(&e->secret.text, set->secret.text);
	return fit_user(e, what, f->user_form, err);
}

static enum status fit_source(struct plan *p, struct err *err)
{
	struct endpoint *e = &p->job.source;
	struct common_facts f = { p->pop3.port, p->pop3.tls, p->pop3.user_form };
	const struct scheme *s = scheme_of(e);

	if (!s->source)
		return err_set(err, ST_DENIED, EX_USAGE,
			"source: %s: is a destination only; a source is " SOURCES,
			e->scheme);
	if (!s->network)
		return ST_OK;
	pop3_facts_copy(&e->pop3, &p->pop3);
	return fit_end(e, "source", &p->source, &f, p->ca_file, err);
}

static enum status fit_dest(struct plan *p, struct endpoint *e, struct err *err)
{
	struct common_facts f = { p->imap.port, p->imap.tls, p->imap.user_form };
	const struct scheme *s = scheme_of(e);

	if (!s->dest)
		return err_set(err, ST_DENIED, EX_USAGE,
			"dest: %s: is a source only; a destination is " DESTS,
			e->scheme);
	if (!s->network)
		return ST_OK;
	imap_facts_copy(&e->imap, &p->imap);
	return fit_end(e, "dest", &p->dest, &f, p->ca_file, err);
}

/* Own addresses: the source user is one when it is an address. */
static void add_me(struct job *j, const char *user)
{
	char *mine;
	size_t i;

	if (!user || !strchr(user, '@'))
		return;
	mine = xstrdup(user);
	for (i = 0; mine[i]; i++)
		if (mine[i] >= 'A' && mine[i] <= 'Z')
			mine[i] = (char)(mine[i] + 32);
	for (i = 0; i < j->n_me; i++)
		if (!strcmp(j->me[i], mine)) {
			free(mine);
			return;
		}
	j->me = xreallocarray(j->me, j->n_me + 1, sizeof(*j->me));
	j->me[j->n_me++] = mine;
}

enum status job_check_ends(struct job *j, struct err *err)
{
	struct plan *p = (struct plan *)j;
	enum status rc = ST_OK;
	size_t i;

	if (j->source.url) {
		add_me(j, j->source.user);
		j->source.identity = &j->identity;
		rc = fit_source(p, err);
	}
	for (i = 0; i < j->n_dest && rc >= 0; i++) {
		j->dest[i].identity = &j->identity;
		rc = fit_dest(p, &j->dest[i], err);
	}
	return rc;
}

/* ---- name and state ---- */

static void default_name(struct job *j)
{
	static const char fit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				  "0123456789._@+-";
	const struct endpoint *e = &j->source;
	size_t end = e->path ? strlen(e->path) : 0, from;
	char *s;

	/* A folder is the same with a '/' behind it. */
	while (end > 1 && e->path[end - 1] == '/')
		end--;
	for (from = end; from > 0 && e->path[from - 1] != '/'; from--)
		;
	if (e->path)
		j->name = xasprintf(
			"%s-%.*s", e->scheme, (int)(end - from), e->path + from);
	else
		j->name = xasprintf("%s@%s", e->user, e->host);
	if (strlen(j->name) > NAME_MAX_BYTES)
		j->name[NAME_MAX_BYTES] = '\0';
	for (s = j->name; *s; s++)
		if (!strchr(fit, *s) || (s == j->name && (*s == '.' || *s == '-')))
			*s = '_';
}

/* FNV-1a: to tell jobs apart, not to defend against anybody. */
static uint64_t mix(uint64_t h, const char *s)
{
	do {
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	} while (*s++);
	return h;
}

static uint64_t mix_host(uint64_t h, const char *s)
{
	char c[2] = "";

	for (; *s; s++) {
		c[0] = (char)(*s >= 'A' && *s <= 'Z' ? *s + 32 : *s);
		h = mix(h, c);
	}
	return mix(h, "");
}

/* What it is, not how it is reached: TLS and its usual ports do not count. */
static uint64_t mix_end(uint64_t h, const struct endpoint *e)
{
	const struct scheme *s = scheme_of(e);
	char port[16] = "";

	if (!s->network && !e->path)
		return mix(h, s->name);
	if (!s->network) {
		char *path = path_canon(e->path);

		h = mix(mix(h, s->name), path);
		free(path);
		return h;
	}
	if (e->port && e->port != s->port && e->port != s->port_tls)
		snprintf(port, sizeof(port), "%u", e->port);
	h = mix(mix(h, s->source ? "pop3" : "imap"), e->user);
	h = mix_host(h, e->host);
	return mix(mix(h, port), e->folder ? e->folder : "");
}

static uint64_t job_hash(const struct job *j)
{
	uint64_t h = mix_end(0xcbf29ce484222325u, &j->source), dests = 0;
	size_t i;

	/* Added up: the order in which two destinations are written is nothing. */
	for (i = 0; i < j->n_dest; i++)
		dests += mix_end(0xcbf29ce484222325u, &j->dest[i]);
	h = (h ^ dests) * 0x100000001b3u;
	return h ^ h >> 32;
}

/* "{name}" in a path: so that one setting does for many jobs. */
static void fill_name(char **path, const char *name)
{
	static const char word[] = "{name}";
	char *at, *next;

	while (*path && (at = strstr(*path, word))) {
		next = xasprintf("%.*s%s%s", (int)(at - *path), *path, name,
			at + sizeof(word) - 1);
		free(*path);
		*path = next;
	}
}

static void fill_names(struct job *j)
{
	struct plan *p = (struct plan *)j;
	size_t i;

	fill_name(&j->state, j->name);
	fill_name(&j->report, j->name);
	fill_name(&j->trace, j->name);
	fill_name(&p->source.secret.file, j->name);
	fill_name(&p->dest.secret.file, j->name);
	for (i = 0; i < j->n_dest; i++) {
		if (!j->dest[i].path)
			continue;
		fill_name(&j->dest[i].path, j->name);
		fill_name(&j->dest[i].url, j->name);
	}
}

static enum status default_state(struct job *j, struct err *err)
{
	j->state = state_default(j->name, job_hash(j));
	if (!j->state)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"HOME is not set, so there is no place for the journal; name one "
			"with --state");
	return ST_OK;
}

static enum status check_state(const struct job *j, struct err *err)
{
	const struct endpoint *ends[] = { &j->source, &j->dest[0], &j->dest[1] };
	char *state = path_canon(j->state);
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; i < 1 + j->n_dest && rc >= 0; i++) {
		char *dir = ends[i]->path ? path_canon(ends[i]->path) : NULL;

		if (dir && path_inside(state, dir))
			rc = err_set(err, ST_DENIED, EX_USAGE,
				"state: %s lies inside the %s %s, which holds mail only; "
				"choose another directory",
				j->state, i ? "archive" : ends[i]->scheme,
				ends[i]->path);
		free(dir);
	}
	free(state);
	return rc;
}

/* ---- the whole ---- */

/* False of null: alone, which throws away what it is given. */
static bool is_kept(const struct endpoint *e)
{
	return e->path || scheme_of(e)->network;
}

static enum status check_ends(const struct job *j, struct err *err)
{
	char *a, *b;
	bool same;
	size_t i;

	if (!j->source.url)
		return bad(
			err, "there is no source; name one, as in pop3s://user@host");
	if (!j->n_dest)
		return bad(err,
			"there is no destination; name one, as in imaps://user@host/Folder "
			"or archive:DIR");
	if (j->n_dest == 2 &&
		(!j->dest[0].path == !j->dest[1].path || !is_kept(&j->dest[0]) ||
			!is_kept(&j->dest[1])))
		return bad(err,
			"dest: two destinations must be one IMAP account and one archive");
	for (i = 0; i < j->n_dest; i++) {
		if (!j->source.path || !j->dest[i].path)
			continue;
		a = path_canon(j->source.path);
		b = path_canon(j->dest[i].path);
		same = path_inside(a, b) || path_inside(b, a);
		free(a);
		free(b);
		if (same)
			return bad(err,
				"dest: source and destination are the same archive or "
				"directory, or one lies inside the other");
	}
	return ST_OK;
}

static bool has_secret(const struct secret *s)
{
	return s->file || s->command || s->env;
}

static enum status check_sealing(const struct job *j, struct err *err)
{
	const struct sealing *s = &j->sealing;
	bool archive = false;
	size_t i;

	for (i = 0; i < j->n_dest; i++)
		archive |= j->dest[i].path != NULL;
	if ((s->key != NULL) != (s->cert != NULL))
		return bad(err, "sign-key and sign-cert: one needs the other");
	if (has_secret(&s->secret) && !s->key)
		return bad(err, "sign-password: is of no use without sign-key");
	if (s->tsa_ca && !s->n_tsa)
		return bad(err, "tsa-ca: is of no use without tsa");
	if ((s->key || s->n_tsa) && !archive)
		return bad(err,
			"sign-key and tsa: are for the seals of an archive; there is none "
			"among the destinations");
	return ST_OK;
}

static enum status check_limits(const struct job *j, struct err *err)
{
	if (j->since && j->before && j->since >= j->before)
		return bad(err,
			"since: is not earlier than before; no message could be both");
	if (j->max_size && j->min_size > j->max_size)
		return bad(err, "min-size: is larger than max-size");
	if (j->max_delete && j->delete == DELETE_NEVER)
		return bad(err, "max-delete: is of no use without delete = verified");
	if (!j->scan && (j->scan_policy || j->scan_timeout || j->quarantine_folder))
		return bad(err,
			"scan-policy, scan-timeout and quarantine-folder: are of no use "
			"without scan, which names the program");
	if (j->quarantine_folder && j->scan_policy != SCAN_QUARANTINE + 1)
		return bad(err,
			"quarantine-folder: is of no use without scan-policy = quarantine");
	if (j->source.path && j->delete != DELETE_NEVER)
		return err_set(err, ST_DENIED, EX_USAGE,
			"delete: nothing is ever deleted from %s",
			strcmp(j->source.scheme, "archive") == 0
				? "an archive"
				: "files that are read; only a POP3 mailbox can be emptied");
	if (j->delete != DELETE_NEVER && !is_kept(&j->dest[0]))
		return bad(err,
			"delete: null: keeps nothing, so nothing can be deleted at the "
			"source; name a real destination");
	return ST_OK;
}

enum status job_check(struct job *j, struct err *err)
{
	enum status rc;

	/* The URL's own name, before a profile takes the domain off the user. */
	if (j->source.url && !j->name)
		default_name(j);
	if (j->name)
		fill_names(j);
	rc = check_ends(j, err);
	if (rc >= 0)
		rc = check_limits(j, err);
	if (rc >= 0)
		rc = check_sealing(j, err);
	if (rc >= 0)
		rc = check_crypt(j, err);
	/* What was archived was wanted, and one message may be in two folders. */
	if (rc >= 0 && j->source.path && !j->dedup_given)
		j->dedup = DEDUP_NONE;
	if (rc >= 0 && !j->state)
		rc = default_state(j, err);
	if (rc >= 0)
		rc = check_state(j, err);
	return rc < 0 ? rc : job_check_ends(j, err);
}
