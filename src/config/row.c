/* row.c: from a row of a table to a job, and "{column}" in what all rows share. */
#include "accounts.h"

#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- "{column}" ---- */

/* The field of such a part; the last that is not empty, NULL: there is none. */
static const char *part_field(struct accounts *a, enum part part)
{
	const char *found = NULL;
	size_t i;

	for (i = 0; i < a->n_columns; i++)
		if (!a->columns[i].setting && a->columns[i].part == part &&
			*record_field(&a->record, i))
			found = record_field(&a->record, i);
	return found;
}

/* ST_END: there is no such column. *value is NULL when it is empty here. */
static enum status look_up(struct accounts *a, const char *name, const char **value)
{
	enum part part = PART_FREE;
	size_t i;

	for (i = 0; i < a->n_columns; i++) {
		struct column *c = &a->columns[i];

		if (!*c->name || strcmp(c->name, name) != 0)
			continue;
		if (!c->setting && accounts_is_password(c->part))
			return ST_DENIED;
		c->used = true;
		*value = a->current == NO_ROW ? "1" : record_field(&a->record, i);
		if (!**value)
			*value = NULL;
		return ST_OK;
	}
	for (i = 0; i < PARTS_OURS; i++)
		if (!strcmp(part_names[i].name, name))
			part = part_names[i].part;
	if (accounts_is_password(part))
		return ST_DENIED;
	*value = part == PART_FREE     ? NULL
		: a->current == NO_ROW ? "1"
				       : part_field(a, part);
	return *value ? ST_OK : ST_END;
}

/* RFC 3986: what stands for itself everywhere in a URL. */
static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || (c && strchr("-._~", c));
}

static void add_encoded(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (is_unreserved(*s))
			buf_addc(b, *s);
		else
			buf_addf(b, "%%%02X", (unsigned)(unsigned char)*s);
	}
}

/* Fit to be a part of a path, a folder's name or a word of a command. */
static bool is_plain(const char *s)
{
	if (*s == '.' || *s == '-')
		return false;
	for (; *s; s++)
		if (!is_unreserved(*s) && !strchr("@+=,", *s) &&
			!((unsigned char)*s & 0x80))
			return false;
	return true;
}

static bool is_server_url(const struct setting *s, const char *value)
{
	size_t n = strcspn(value, ":");
	const struct scheme *scheme = scheme_find(value, n);

	return (!strcmp(s->key, "source") || !strcmp(s->key, "dest")) && scheme &&
		scheme->network;
}

static enum status fill_one(struct buf *b, struct accounts *a, const char *word,
	bool url, const struct spot *at, struct err *err)
{
	char *name = accounts_name(word);
	const char *value = NULL;
	enum status rc = look_up(a, name, &value);

	if (!value && !strcmp(name, "name")) {
		rc = ST_OK; /* job_check() knows it */
		buf_adds(b, "{name}");
	} else if (rc == ST_DENIED) {
		spot_bad(at, err,
			"{%s} is a password, and stands in none but its column", word);
	} else if (!value) {
		rc = spot_bad(at, err,
			rc == ST_END ? "there is no column for {%s}"
				     : "{%s} is empty in this row",
			word);
	} else if (url) {
		add_encoded(b, value);
	} else if (is_plain(value)) {
		buf_adds(b, value);
	} else {
		rc = spot_bad(at, err,
			"what {%s} stands for may have letters, digits and "
			"\"._~@+=,-\" here, and not start with \".\" or \"-\"",
			word);
	}
	free(name);
	return rc;
}

/* "{word}" at s: its length, or 0. */
static size_t placeholder(const char *s, char *word, size_t cap)
{
	size_t n = strspn(s + 1,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

	if (!n || n >= cap || s[n + 1] != '}')
		return 0;
	memcpy(word, s + 1, n);
	word[n] = '\0';
	return n + 2;
}

enum status accounts_fill(struct plan *p, const struct setting *s, const char *value,
	char **out, const struct spot *at, struct err *err)
{
	struct buf b = BUF_INIT(2 * SHEET_ROW_MAX);
	bool url = is_server_url(s, value);
	enum status rc = ST_OK;
	char word[64];

	accounts_turn(p->table, p->row);
	while (rc >= 0 && *value) {
		size_t n = *value == '{' ? placeholder(value, word, sizeof(word)) : 0;

		if (n)
			rc = fill_one(&b, p->table, word, url, at, err);
		else
			buf_addc(&b, *value);
		value += n ? n : 1;
	}
	*out = rc >= 0 ? xstrdup(buf_str(&b)) : NULL;
	buf_free(&b);
	return rc;
}

enum status accounts_used(const struct accounts *a, struct err *err)
{
	struct nearest near;
	size_t i, k;

	for (i = 0; i < a->n_columns; i++) {
		const struct column *c = &a->columns[i];

		if (c->used || c->setting || c->part != PART_FREE || !*c->name)
			continue;
		near = (struct nearest)NEAREST(c->name);
		for (k = 0; k < n_job_table; k++)
			if (job_table[k].option)
				nearest_offer(&near, job_table[k].key);
		for (k = 0; k < PARTS_OURS; k++)
			nearest_offer(&near, part_names[k].name);
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s:%u: column %zu is no setting, as are name, source, dest, folder "
			"and source-password-file, and no {...} stands for it%s%s%s; if it "
			"is for you alone, let its name start with \"x-\"",
			a->shown, a->header_line, i + 1,
			near.best ? "; did you mean \"" : "",
			near.best ? near.best : "", near.best ? "\"?" : "");
	}
	return ST_OK;
}

/* ---- from a row to a job ---- */

static enum status check_row(const struct accounts *a, const struct record *r,
	const char *where, struct err *err)
{
	size_t i;

	if (r->fault)
		return err_set(
			err, ST_DENIED, EX_USAGE, "%s: the row %s", where, r->fault);
	if (r->n_fields != a->n_columns)
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s: the row has %zu fields, and there are %zu columns; a field "
			"with a \"%c\" in it stands in quotes",
			where, r->n_fields, a->n_columns, a->separator);
	for (i = 0; i < r->n_fields; i++) {
		if (strlen(record_field(r, i)) && !*a->columns[i].name)
			return err_set(err, ST_DENIED, EX_USAGE,
				"%s: something stands in column %zu, which has no name",
				where, i + 1);
	}
	return ST_OK;
}

static enum status put_setting(struct plan *p, const struct accounts *a,
	const struct column *c, const char *value, const char *where, struct err *err)
{
	struct spot at = { where, c->name };
	enum status rc = job_put(p, c->setting, value, &at, err);

	/* A password may have come into a wrong column; these errors show no value. */
	if (rc < 0 && a->passwords && strcmp(c->name, "source") != 0 &&
		strcmp(c->name, "dest") != 0 && strcmp(c->name, "name") != 0)
		return spot_bad(&at, err,
			"expected %s: %s (what stands there is not shown: this table has "
			"passwords)",
			c->setting->argument ? c->setting->argument : "yes or no",
			c->setting->help);
	return rc;
}

/* "pop3s://user@host:port" of its parts. */
static enum status put_url(struct plan *p, struct accounts *a, bool source,
	const char *where, struct err *err)
{
	const char *user = part_field(a, source ? SOURCE_USER : DEST_USER);
	const char *host = part_field(a, source ? SOURCE_HOST : DEST_HOST);
	const char *port = part_field(a, source ? SOURCE_PORT : DEST_PORT);
	struct spot at = { where, source ? "source-host" : "dest-host" };
	struct buf b = BUF_INIT(4 * SHEET_FIELD_MAX);
	const char *fault;
	enum status rc;
	uint64_t n;

	if (!host)
		return ST_OK; /* the settings of all rows have it, with "{source-user}" */
	fault = host_fault(host, strlen(host));
	if (fault)
		return spot_bad(
			&at, err, "expected a host name or an address: %s", fault);
	if (!user)
		return spot_bad(&at, err, "needs a user beside it, in a column %s",
			source ? "source-user" : "dest-user");
	if (port && !parse_number(port, 1, 65535, &n)) {
		at.key = source ? "source-port" : "dest-port";
		return spot_bad(&at, err, "the port must be a number from 1 to 65535");
	}
	buf_adds(&b, source ? "pop3s://" : "imaps://");
	add_encoded(&b, user);
	buf_addf(&b, strchr(host, ':') ? "@[%s]" : "@%s", host);
	if (port)
		buf_addf(&b, ":%s", port);
	rc = job_put(p,
		setting_find(job_table, n_job_table, source ? "source" : "dest"),
		buf_str(&b), &at, err);
	buf_free(&b);
	return rc;
}

static enum status put_password(struct plan *p, struct accounts *a, bool source,
	const char *where, struct err *err)
{
	const char *text = part_field(a, source ? SOURCE_PASSWORD : DEST_PASSWORD);
	struct spot at = { where, source ? "source-password" : "dest-password" };

	return text ? password_put(p, source, text, &at, err) : ST_OK;
}

static enum status put_row(
	struct plan *p, struct accounts *a, const char *where, struct err *err)
{
	enum status rc = ST_OK;
	bool source = false;
	size_t i;

	for (i = 0; rc >= 0 && i < a->n_columns; i++) {
		const struct column *c = &a->columns[i];
		const char *value = record_field(&a->record, i);

		if (!c->setting || !*value)
			continue;
		source |= !strcmp(c->name, "source");
		rc = put_setting(p, a, c, value, where, err);
	}
	if (rc >= 0 && !source)
		rc = put_url(p, a, true, where, err);
	if (rc >= 0)
		rc = put_url(p, a, false, where, err);
	if (rc >= 0)
		rc = put_password(p, a, true, where, err);
	if (rc >= 0)
		rc = put_password(p, a, false, where, err);
	return rc;
}

void accounts_bind(struct accounts *a, struct job *j)
{
	struct plan *p = (struct plan *)j;

	p->table = a;
	p->row = NO_ROW;
}

enum status accounts_job(struct accounts *a, size_t row, const char *profile,
	struct job **out, struct err *err)
{
	char where[ACCOUNTS_WHERE];
	struct plan *p;
	enum status rc;

	job_new(out);
	p = (struct plan *)*out;
	p->table = a;
	p->row = row;
	accounts_where(a, row, where);
	rc = check_row(a, accounts_turn(a, row), where, err);
	if (rc >= 0 && profile) {
		rc = job_load(*out, profile, err);
		if (rc < 0)
			err_note(err, "%s", where);
	}
	if (rc >= 0) {
		/* A field is taken as it is, and comes after the profile. */
		p->table = NULL;
		p->layer = ++p->layers;
		rc = put_row(p, a, where, err);
		p->layer = 0;
		p->table = a;
	}
	if (rc < 0)
		job_free(out);
	return rc;
}
