/*
 * folder.c: which mailbox a folder name means, and what is in it.
 *
 * A name is made fit, put below the personal namespace's prefix, looked for,
 * created when missing, and from then on spelt as the server lists it
 * (quirks Q94-Q101).
 */
#include <popferry/buf.h>
#include <popferry/log.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Some 50,000 folders. libetpan takes up to fifty bytes for one of an answer. */
#define LIST_MAX (4 * MIB)

void folders_free(struct imap *i)
{
	struct folder *f;
	struct mailbox *m;

	while ((f = i->folders) != NULL) {
		i->folders = f->next;
		free(f->name);
		free(f);
	}
	while ((m = i->mailboxes) != NULL) {
		i->mailboxes = m->next;
		free(m->pub.wire);
		free(m);
	}
}

/* ---- names ---- */

/* Fit to stand in a command: nothing a quoted string cannot hold. */
static bool is_safe(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (s[n] < ' ' || s[n] > '~')
			return false;
	return n && n <= IMAP_NAME_MAX;
}

bool imap_quote(struct buf *b, const char *s)
{
	if (!is_safe(s) || !buf_addc(b, '"'))
		return false;
	for (; *s; s++) {
		if ((*s == '"' || *s == '\\') && !buf_addc(b, '\\'))
			return false;
		if (!buf_addc(b, *s))
			return false;
	}
	return buf_addc(b, '"');
}

static bool is_inbox(const char *p, size_t n)
{
	return n == 5 && text_same_n(p, "INBOX", 5);
}

/* INBOX is the same in any case; all else is compared byte by byte. */
static bool has_prefix(const char *s, const char *prefix)
{
	size_t n = strlen(prefix), skip = n >= 5 && is_inbox(prefix, 5) ? 5 : 0;

	return strlen(s) >= n && text_same_n(s, prefix, skip) &&
		memcmp(s + skip, prefix + skip, n - skip) == 0;
}

/* The name in modified UTF-7 with the server's delimiter and prefix. */
static bool folder_wire(const struct imap *i, const char *folder, struct buf *out)
{
	struct buf clean = BUF_INIT(IMAP_NAME_MAX), utf7 = BUF_INIT(IMAP_NAME_MAX);
	const char *p;
	bool ok;

	name_clean(folder, i->server.delimiter, &clean);
	if (!clean.n)
		buf_adds(&clean, "INBOX");
	if (is_inbox(clean.p, strcspn(clean.p, "/")))
		memcpy(clean.p, "INBOX", 5);
	ok = utf7_encode(buf_str(&clean), &utf7);
	buf_clear(&clean);
	for (p = buf_str(&utf7); ok && *p; p++) {
		if (*p != '/')
			ok = buf_addc(&clean, *p);
		else if (i->server.delimiter)
			ok = buf_addc(&clean, i->server.delimiter);
		else
			ok = buf_adds(&clean, " - ");
	}
	if (ok && !is_inbox(buf_str(&clean), clean.n) &&
		!has_prefix(buf_str(&clean), i->prefix))
		ok = buf_adds(out, i->prefix);
	ok = ok && buf_add(out, buf_str(&clean), clean.n);
	buf_free(&clean);
	buf_free(&utf7);
	return ok && is_safe(buf_str(out));
}

/* ---- LIST ---- */

static bool has_attribute(const struct mailimap_mailbox_list *e, const char *name)
{
	const struct mailimap_mbx_list_oflag *f;
	clistiter *at;

	if (!e->mb_flag || !e->mb_flag->mbf_oflags)
		return false;
	for (at = clist_begin(e->mb_flag->mbf_oflags); at; at = clist_next(at)) {
		f = clist_content(at);
		if (f->of_type == MAILIMAP_MBX_LIST_OFLAG_FLAG_EXT && f->of_flag_ext &&
			text_same(f->of_flag_ext, name))
			return true;
	}
	return false;
}

static bool can_select(const struct mailimap_mailbox_list *e)
{
	if (e->mb_flag && e->mb_flag->mbf_type == MAILIMAP_MBX_LIST_FLAGS_SFLAG &&
		e->mb_flag->mbf_sflag == MAILIMAP_MBX_LIST_SFLAG_NOSELECT)
		return false;
	return !has_attribute(e, "NonExistent") && !has_attribute(e, "Noselect");
}

/* The entry spelt as asked for, or else the first. */
static const struct mailimap_mailbox_list *best(clist *list, const char *wire)
{
	const struct mailimap_mailbox_list *e, *first = NULL;
	clistiter *at;

	for (at = clist_begin(list); at; at = clist_next(at)) {
		e = clist_content(at);
		if (strcmp(e->mb_name, wire) == 0)
			return e;
		if (!first && is_safe(e->mb_name))
			first = e;
	}
	return first;
}

/* *found is the listed spelling (free it), or NULL. */
static enum status list_one(struct imap *i, const char *wire, char **found,
	bool *selectable, struct err *err)
{
	const struct mailimap_mailbox_list *e;
	clist *list = NULL;
	struct reply r;
	enum status rc;

	*found = NULL;
	etpan_begin(i, MIB);
	rc = etpan_end(i, mailimap_list(i->etpan, "", wire, &list), &r, err);
	if (rc == ST_SKIP)
		rc = imap_no(i, &r, EX_CANTCREAT, err,
			"%s refuses to list mailbox \"%s\"", i->where, wire);
	e = rc == ST_OK && list ? best(list, wire) : NULL;
	if (e) {
		*found = xstrdup(e->mb_name);
		*selectable = can_select(e);
	}
	if (list)
		mailimap_list_result_free(list);
	return rc;
}

static enum status list_all(
	struct imap *i, bool extended, clist **list, struct err *err)
{
	static const char command[] = "LIST \"\" \"*\" RETURN (SPECIAL-USE)";
	struct reply r;
	enum status rc;
	int how;

	*list = NULL;
	etpan_begin(i, LIST_MAX);
	if (extended)
		how = etpan_command(i, command);
	else
		how = mailimap_list(i->etpan, "", "*", list);
	rc = etpan_end(i, how, &r, err);
	if (rc == ST_OK && extended && i->etpan->imap_response_info) {
		*list = i->etpan->imap_response_info->rsp_mailbox_list;
		i->etpan->imap_response_info->rsp_mailbox_list = NULL;
	}
	return rc;
}

/* The mailbox with this special use (without the backslash), or NULL. */
static enum status list_special(
	struct imap *i, const char *use, char **found, struct err *err)
{
	const struct mailimap_mailbox_list *e;
	enum status rc = ST_SKIP;
	clist *list = NULL;
	clistiter *at;

	*found = NULL;
	if (!i->server.special_use)
		return ST_OK;
	/* Refused here and there although it is offered (quirk Q92). */
	if (imap_has(i, "LIST-EXTENDED"))
		rc = list_all(i, true, &list, err);
	if (rc == ST_SKIP) {
		if (list)
			mailimap_list_result_free(list);
		rc = list_all(i, false, &list, err);
	}
	for (at = rc == ST_OK && list ? clist_begin(list) : NULL; at && !*found;
		at = clist_next(at)) {
		e = clist_content(at);
		if (has_attribute(e, use) && can_select(e) && is_safe(e->mb_name))
			*found = xstrdup(e->mb_name);
	}
	if (list)
		mailimap_list_result_free(list);
	return rc == ST_SKIP ? ST_OK : rc;
}

/* ---- finding or making ---- */

static enum status subscribe(struct imap *i, const char *wire, struct err *err)
{
	struct reply r;
	enum status rc;

	etpan_begin(i, MIB);
	rc = etpan_end(i, mailimap_subscribe(i->etpan, wire), &r, err);
	if (rc != ST_SKIP)
		return rc;
	log_warn(i->cfg.net.log, "subscribe-failed", LOG_S("mailbox", wire),
		LOG_B("reply", r.text, r.n));
	return ST_OK;
}

/*
 * CREATE may say NO to what is there and OK to what it then calls otherwise,
 * so that the list has the last word (quirk Q95).
 */
static enum status create(
	struct imap *i, const char *folder, char **wire, struct err *err)
{
	char *listed = NULL;
	struct err why = ERR_INIT;
	bool selectable = true;
	struct reply r;
	enum status rc, made;

	etpan_begin(i, MIB);
	made = etpan_end(i, mailimap_create(i->etpan, *wire), &r, err);
	if (made == ST_SKIP)
		made = imap_no(i, &r, EX_CANTCREAT, &why,
			"%s cannot make mailbox \"%s\" for folder \"%s\"", i->where,
			*wire, folder);
	else if (made != ST_OK)
		return made;
	if (made == ST_RETRY) {
		*err = why;
		return made;
	}
	rc = list_one(i, *wire, &listed, &selectable, err);
	if (rc != ST_OK)
		return rc;
	if (!listed && made != ST_OK) {
		*err = why;
		return made;
	}
	if (!selectable) {
		free(listed);
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"%s has \"%s\" only as a folder of folders (\\Noselect); choose "
			"another folder name",
			i->where, *wire);
	}
	if (listed) {
		free(*wire);
		*wire = listed;
	}
	return made == ST_OK ? subscribe(i, *wire, err) : ST_OK;
}

/* Looks for the name and makes it when it is not there. */
static enum status provide(
	struct imap *i, const char *folder, char **wire, bool *created, struct err *err)
{
	struct buf b = BUF_INIT(IMAP_NAME_MAX);
	bool selectable = false;
	char *listed = NULL;
	enum status rc = ST_OK;

	if (!folder_wire(i, folder, &b)) {
		buf_free(&b);
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"folder \"%s\" cannot be made a mailbox name of %s", folder,
			i->where);
	}
	*wire = buf_take(&b);
	if (is_inbox(*wire, strlen(*wire)))
		return ST_OK;
	rc = list_one(i, *wire, &listed, &selectable, err);
	if (rc == ST_OK && listed && selectable) {
		free(*wire);
		*wire = listed;
		return ST_OK;
	}
	free(listed);
	if (rc == ST_OK)
		rc = create(i, folder, wire, err);
	*created = rc == ST_OK;
	return rc;
}

static struct mailbox *mailbox_get(struct imap *i, char *wire, bool created)
{
	struct mailbox *m;

	for (m = i->mailboxes; m; m = m->next)
		if (strcmp(m->pub.wire, wire) == 0)
			break;
	if (!m) {
		m = xcalloc(1, sizeof(*m));
		m->pub.wire = xstrdup(wire);
		m->next = i->mailboxes;
		i->mailboxes = m;
	}
	m->pub.created = created;
	return m;
}

enum status imap_folder(struct imap *i, const char *folder,
	const struct imap_mailbox **out, struct err *err)
{
	static const char special[] = "special:";
	const char *name = folder;
	bool created = false;
	char *wire = NULL;
	enum status rc;
	struct folder *f;

	for (f = i->folders; f; f = f->next)
		if (strcmp(f->name, folder) == 0)
			break;
	if (f) {
		f->mailbox->pub.created = false;
		*out = &f->mailbox->pub;
		return ST_OK;
	}
	rc = imap_finish(i, err);
	if (rc == ST_OK && text_starts(folder, special)) {
		name = folder + sizeof(special) - 1;
		rc = list_special(i, name, &wire, err);
	}
	if (rc == ST_OK && !wire)
		rc = provide(i, name, &wire, &created, err);
	if (rc == ST_OK) {
		f = xcalloc(1, sizeof(*f));
		f->name = xstrdup(folder);
		f->mailbox = mailbox_get(i, wire, created);
		f->next = i->folders;
		i->folders = f;
		*out = &f->mailbox->pub;
	}
	free(wire);
	return rc;
}

/* ---- SELECT, STATUS ---- */

static bool keeps_keywords(const struct mailimap_selection_info *s)
{
	const struct mailimap_flag_perm *f;
	clistiter *at;

	if (!s->sel_perm_flags)
		return false;
	for (at = clist_begin(s->sel_perm_flags); at; at = clist_next(at)) {
		f = clist_content(at);
		if (f->fl_type == MAILIMAP_FLAG_PERM_ALL)
			return true;
	}
	return false;
}

enum status imap_reselect(
	struct imap *i, const struct imap_mailbox *mb, struct err *err)
{
	struct mailbox *m = (struct mailbox *)mb;
	const struct mailimap_selection_info *s;
	enum status rc = imap_finish(i, err);
	struct reply r;

	if (rc != ST_OK)
		return rc;
	i->selected = NULL;
	etpan_begin(i, MIB);
	rc = etpan_end(i, mailimap_select(i->etpan, mb->wire), &r, err);
	if (rc == ST_SKIP)
		return imap_no(i, &r, EX_CANTCREAT, err, "%s refuses mailbox \"%s\"",
			i->where, mb->wire);
	if (rc != ST_OK)
		return rc;
	s = i->etpan->imap_selection_info;
	if (!s)
		return imap_junk(i, &r, err);
	m->pub.uidvalidity = s->sel_uidvalidity;
	m->pub.uidnext = s->sel_uidnext;
	m->pub.exists = s->sel_exists;
	m->pub.keywords = keeps_keywords(s);
	m->readonly = s->sel_perm == MAILIMAP_MAILBOX_READONLY;
	i->selected = m;
	return m->pub.uidnext ? ST_OK : scan_uidnext(i, &m->pub.uidnext, err);
}

enum status imap_select(struct imap *i, const struct imap_mailbox *mb, struct err *err)
{
	if (i->selected && &i->selected->pub == mb)
		return ST_OK;
	return imap_reselect(i, mb, err);
}

struct numbers {
	uint64_t messages, size;
	bool found;
};

/* "STATUS name (MESSAGES 3 SIZE 100)"; the name may have been a literal. */
static void status_line(void *ctx, const char *line, size_t n)
{
	struct numbers *s = ctx;
	const char *p = memrchr(line, '(', n), *end = line + n;
	char word[16];
	size_t k;

	for (; p && p < end; p += k) {
		p += *p == '(' || *p == ' ';
		for (k = 0; p + k < end && !strchr(" ()", p[k]); k++)
			;
		if (!k)
			break;
		memcpy(word, p, k < sizeof(word) ? k : 0);
		word[k < sizeof(word) ? k : 0] = '\0';
		if (text_same(word, "MESSAGES")) {
			s->messages = strtoull(p + k, NULL, 10);
			s->found = true;
		} else if (text_same(word, "SIZE")) {
			s->size = strtoull(p + k, NULL, 10);
		}
	}
}

/* Our own command: libetpan can neither ask for SIZE nor read it. */
enum status imap_status(struct imap *i, const struct imap_mailbox *mb,
	uint32_t *messages, uint64_t *octets, struct err *err)
{
	struct numbers s = { 0, UINT64_MAX, false };
	struct buf b = BUF_INIT(2 * IMAP_NAME_MAX + 64);
	enum status rc = imap_finish(i, err);
	struct reply r = { 0 };
	int tag;

	if (rc != ST_OK)
		return rc;
	tag = imap_tag(i);
	imap_quote(&b, mb->wire);
	rc = conn_sendf(i->conn, err, "%d STATUS %s (MESSAGES%s)\r\n", tag, buf_str(&b),
		imap_has(i, "STATUS=SIZE") ? " SIZE" : "");
	buf_free(&b);
	if (rc == ST_OK)
		rc = reply_wait(i, tag, &r, status_line, &s, err);
	if (rc != ST_OK)
		return rc;
	if (r.kind != REPLY_OK)
		return imap_no(i, &r, EX_CANTCREAT, err,
			"%s tells nothing about mailbox \"%s\"", i->where, mb->wire);
	if (!s.found)
		return imap_junk(i, &r, err);
	*messages = s.messages < UINT32_MAX ? (uint32_t)s.messages : UINT32_MAX;
	*octets = s.size;
	return ST_OK;
}
