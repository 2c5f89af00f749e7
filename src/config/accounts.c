/* accounts.c: tables of accounts: their text, their columns, where the rows are. */
#include "accounts.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_FIRST = 64 * 1024, WHERE_PATH = 200 };

const struct part_name part_names[PARTS] = {
	{ "source-user", SOURCE_USER },
	{ "source-host", SOURCE_HOST },
	{ "source-port", SOURCE_PORT },
	{ "source-password", SOURCE_PASSWORD },
	{ "dest-user", DEST_USER },
	{ "dest-host", DEST_HOST },
	{ "dest-port", DEST_PORT },
	{ "dest-password", DEST_PASSWORD },
	/* Microsoft 365 */
	{ "emailaddress", DEST_USER },
	{ "username", SOURCE_USER },
	{ "password", SOURCE_PASSWORD },
	/* MigrationWiz; where there is a login name, it stands behind the address */
	{ "source-email", SOURCE_USER },
	{ "source-login-name", SOURCE_USER },
	{ "destination-email", DEST_USER },
	{ "destination-login-name", DEST_USER },
	{ "destination-password", DEST_PASSWORD },
	{ "flags", PART_NONE },
	/* imapsync, in this order when there is no header */
	{ "host1", SOURCE_HOST },
	{ "user1", SOURCE_USER },
	{ "password1", SOURCE_PASSWORD },
	{ "host2", DEST_HOST },
	{ "user2", DEST_USER },
	{ "password2", DEST_PASSWORD },
};

static enum status bad(const struct accounts *a, struct err *err, const char *text)
{
	return err_set(err, ST_DENIED, EX_USAGE, "%s: %s", a->shown, text);
}

/* ---- reading ---- */

/* Not by realloc: what it leaves behind may hold passwords. */
static void grow(struct accounts *a)
{
	size_t cap = a->cap ? 2 * a->cap : READ_FIRST;
	char *next = xmalloc(cap);

	if (a->n)
		memcpy(next, a->text, a->n);
	if (a->text)
		explicit_bzero(a->text, a->n);
	free(a->text);
	a->text = next;
	a->cap = cap;
}

static enum status read_all(struct accounts *a, int fd, struct err *err)
{
	struct stat st;
	ssize_t got;

	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return bad(a, err, "is a directory; expected a table (CSV)");
	for (;;) {
		if (a->n == a->cap)
			grow(a);
		got = read(fd, a->text + a->n, a->cap - a->n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, ST_DENIED, EX_USAGE, "%s: %s", a->shown,
				strerror(errno));
		if (!got)
			return ST_OK;
		a->n += (size_t)got;
		if (a->n > ACCOUNTS_MAX)
			return err_set(err, ST_DENIED, EX_USAGE,
				"%s: is over %d bytes long; split it", a->shown,
				ACCOUNTS_MAX);
	}
}

/* ---- the columns ---- */

char *accounts_name(const char *s)
{
	char *name = xstrdup(s), *c;

	for (c = name; *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z'       ? *c + 32
				: *c == '_' || *c == ' ' ? '-'
							 : *c);
	return name;
}

bool accounts_is_password(enum part part)
{
	return part == SOURCE_PASSWORD || part == DEST_PASSWORD;
}

static void column_add(struct accounts *a, const char *text)
{
	struct column *c;
	size_t i;

	a->columns = xreallocarray(a->columns, a->n_columns + 1, sizeof(*a->columns));
	c = &a->columns[a->n_columns++];
	*c = (struct column){ .name = accounts_name(text) };
	c->setting = setting_find(job_table, n_job_table, c->name);
	if (c->setting && !c->setting->option)
		c->setting = NULL;
	if (text_starts(c->name, "x-"))
		c->part = PART_NONE;
	for (i = 0; i < PARTS; i++)
		if (!strcmp(part_names[i].name, c->name))
			c->part = part_names[i].part;
	a->passwords |= accounts_is_password(c->part);
}

static bool is_host(const char *s)
{
	return !host_fault(s, strlen(s)) &&
		(strpbrk(s, ".:") || text_same(s, "localhost"));
}

/* host1;user1;password1;host2;user2;password2; without a header: seen by its hosts. */
static bool is_imapsync(const struct accounts *a, const struct record *r)
{
	size_t i;

	for (i = 0; i < a->n_columns; i++)
		if (a->columns[i].setting || a->columns[i].part != PART_FREE)
			return false;
	return a->separator == ';' && r->n_fields >= PARTS_IMAPSYNC &&
		is_host(record_field(r, 0)) && is_host(record_field(r, 3));
}

static void columns_release(struct accounts *a)
{
	while (a->n_columns)
		free(a->columns[--a->n_columns].name);
	free(a->columns);
	a->columns = NULL;
}

static void imapsync_columns(struct accounts *a, size_t n)
{
	size_t i;

	columns_release(a);
	for (i = 0; i < n; i++)
		column_add(a,
			i < PARTS_IMAPSYNC ? part_names[PARTS - PARTS_IMAPSYNC + i].name
					   : "");
}

static bool may_repeat(const struct column *c)
{
	static const char *const many[] = { "dest", "tsa", "encrypt-to", "identity" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(many); i++)
		if (!strcmp(c->name, many[i]))
			return true;
	return !*c->name;
}

/* What a header is told of goes by its number: it may be a row, with a password. */
static enum status check_header(
	const struct accounts *a, const struct record *r, struct err *err)
{
	size_t i, k;

	if (r->fault)
		return err_set(err, ST_DENIED, EX_USAGE, "%s:%u: the row %s", a->shown,
			r->line, r->fault);
	for (i = 0; i < a->n_columns; i++)
		for (k = 0; k < i && !may_repeat(&a->columns[i]); k++)
			if (!strcmp(a->columns[i].name, a->columns[k].name))
				return err_set(err, ST_DENIED, EX_USAGE,
					"%s:%u: the columns %zu and %zu have the same "
					"name",
					a->shown, r->line, k + 1, i + 1);
	return ST_OK;
}

/* The first row; it is the header, or a->header_n is 0. */
static enum status take_header(
	struct accounts *a, struct sheet *s, struct record *r, struct err *err)
{
	size_t i;

	if (a->n >= 2 &&
		(!memcmp(a->text, "\xff\xfe", 2) || !memcmp(a->text, "\xfe\xff", 2)))
		return bad(a, err, "is in UTF-16; save it as \"CSV UTF-8\"");
	sheet_begin(s, a->text, a->n);
	a->separator = s->separator;
	if (!sheet_next(s, r))
		return bad(a, err,
			"is empty; its first line names columns, such as "
			"name,source,dest,source-password-file,dest-password-file");
	for (i = 0; i < r->n_fields; i++)
		column_add(a, record_field(r, i));
	if (is_imapsync(a, r)) {
		imapsync_columns(a, r->n_fields);
		a->header_at = (size_t)(r->p - a->text);
		return ST_OK;
	}
	a->header_at = (size_t)(r->p - a->text);
	a->header_n = r->n;
	a->header_line = r->line;
	return check_header(a, r, err);
}

static enum status check_passwords(
	const struct accounts *a, int fd, bool allowed, struct err *err)
{
	struct stat st;

	if (!a->passwords)
		return ST_OK;
	if (!allowed)
		return bad(a, err,
			"has a column of passwords: put each into a file closed to others, "
			"named in a column source-password-file or dest-password-file; or "
			"say --allow-inline-secrets");
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		return ST_OK; /* a pipe has no other readers */
	if (secret_judge(fd, "table with passwords", a->shown, 0077, err) < 0) {
		if (err)
			err->exit = EX_USAGE;
		return ST_DENIED;
	}
	return ST_OK;
}

/* ---- the rows ---- */

static enum status take_rows(struct accounts *a, struct err *err)
{
	struct sheet s = { .p = a->text, .n = a->n, .line = 1 };

	s.separator = a->separator;
	s.off = a->header_at;
	s.line = a->record.line;
	if (a->header_n && !sheet_next(&s, &a->record))
		return ST_OK;
	while (sheet_next(&s, &a->record)) {
		if (a->n_rows == ACCOUNTS_ROWS_MAX)
			return err_set(err, ST_DENIED, EX_USAGE,
				"%s: has more than %d rows; split it", a->shown,
				ACCOUNTS_ROWS_MAX);
		if (a->n_rows == a->rows_cap) {
			a->rows_cap = a->rows_cap ? 2 * a->rows_cap : 64;
			a->rows = xreallocarray(a->rows, a->rows_cap, sizeof(*a->rows));
		}
		a->rows[a->n_rows++] = (struct row){ (size_t)(a->record.p - a->text),
			a->record.line };
	}
	return ST_OK;
}

const struct record *accounts_turn(struct accounts *a, size_t row)
{
	struct sheet s = { .p = a->text, .n = a->n, .separator = a->separator };

	if (row != a->current && row != NO_ROW) {
		s.off = a->rows[row].at;
		s.line = a->rows[row].line;
		sheet_next(&s, &a->record);
	}
	a->current = row;
	return &a->record;
}

enum status accounts_open(
	struct accounts **out, const char *path, bool passwords, struct err *err)
{
	bool input = !strcmp(path, "-");
	struct accounts *a = xcalloc(1, sizeof(*a));
	int fd = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t n = strlen(path);
	struct sheet s;
	enum status rc;

	a->shown = input         ? xstrdup("standard input")
		: n > WHERE_PATH ? xasprintf("...%s", path + n - WHERE_PATH)
				 : xstrdup(path);
	a->current = NO_ROW;
	record_init(&a->record);
	rc = fd < 0 ? bad(a, err, strerror(errno)) : read_all(a, fd, err);
	if (rc >= 0)
		rc = take_header(a, &s, &a->record, err);
	if (rc >= 0)
		rc = check_passwords(a, fd, passwords, err);
	if (rc >= 0)
		rc = take_rows(a, err);
	if (fd >= 0 && !input)
		close(fd);
	if (rc < 0)
		accounts_close(&a);
	*out = a;
	return rc;
}

void accounts_close(struct accounts **ap)
{
	struct accounts *a = *ap;

	if (!a)
		return;
	if (a->text)
		explicit_bzero(a->text, a->n);
	free(a->text);
	record_release(&a->record);
	columns_release(a);
	free(a->rows);
	free(a->shown);
	free(a);
	*ap = NULL;
}

size_t accounts_count(const struct accounts *a)
{
	return a->n_rows;
}

void accounts_where(const struct accounts *a, size_t row, char out[ACCOUNTS_WHERE])
{
	snprintf(out, ACCOUNTS_WHERE, "%s:%u", a->shown, a->rows[row].line);
}

/* With a line end, which that of the last row may lack. */
static char *add_line(char *to, const char *p, size_t n)
{
	memcpy(to, p, n);
	to += n;
	if (n && to[-1] != '\n')
		*to++ = '\n';
	return to;
}

char *accounts_text(struct accounts *a, const bool *wanted, size_t *n)
{
	size_t i, most = a->header_n + 1;
	const struct record *r;
	char *text, *to;

	for (i = 0; i < a->n_rows; i++)
		if (wanted[i])
			most += (i + 1 < a->n_rows ? a->rows[i + 1].at : a->n) -
				a->rows[i].at + 1;
	to = text = xmalloc(most);
	to = add_line(to, a->text + a->header_at, a->header_n);
	for (i = 0; i < a->n_rows; i++) {
		if (!wanted[i])
			continue;
		r = accounts_turn(a, i);
		to = add_line(to, r->p, r->n);
	}
	*n = (size_t)(to - text);
	return text;
}
