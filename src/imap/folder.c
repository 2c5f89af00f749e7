/*
 * folder.c: which mailbox a folder name means, and what is in it.
 *
 * A name is made fit, put below the personal namespace's prefix, looked for,
 * created when missing, and from then on spelt as the server lists it
 * (quirks Q94-Q101).
 */
#include <popferry/clock.h>
#include <popferry/buf.h>
#include <popferry/log.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

bool imap_is_safe(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (s[n] < ' ' || s[n] > '~')
			return false;
	return n && n <= IMAP_NAME_MAX;
}

bool imap_quote(struct buf *b, const char *s)
{
	if (!imap_is_safe(s) || !buf_addc(b, '"'))
		return false;
	for (; *s; s++) {
		if ((*s == '"' || *s == '\\') && !buf_addc(b, '\\'))
			return false;
		if (!buf_addc(b, *s))
			return false;
	}
	return buf_addc(b, '"');
}

bool imap_astring(struct buf *b, const char *s)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789&+,-./:=_~";
	size_t n = strspn(s, plain);

	return n && !s[n] ? buf_adds(b, s) : imap_quote(b, s);
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

/* The name in modified UTF-7 with the server's delimiter and prefix; flat: in one part
 * below the prefix. */
static bool folder_wire(
	const struct imap *i, const char *folder, bool flat, struct buf *out)
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
		else if (i->server.delimiter && !flat)
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
	return ok && imap_is_safe(buf_str(out));
}

/* ---- LIST ---- */

/* The entry spelt as asked for, or else the first. */
static const struct mailimap_mailbox_list *best(clist *list, const char *wire)
{
	const struct mailimap_mailbox_list *e, *first = NULL;
	clistiter *at;

	for (at = clist_begin(list); at; at = clist_next(at)) {
		e = clist_content(at);
		if (strcmp(e->mb_name, wire) == 0)
			return e;
		if (!first && imap_is_safe(e->mb_name))
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
		*selectable = list_can_select(e);
	}
	if (list)
		mailimap_list_result_free(list);
	return rc;
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

/* With the special use, where that can be said; some refuse it all the same (Q92). */
static enum status say_create(struct imap *i, const char *wire, const char *use,
	struct reply *r, struct err *err)
{
	struct buf b = BUF_INIT(2 * IMAP_NAME_MAX + 64);
	enum status rc = ST_SKIP;

	if (use && imap_has(i, "CREATE-SPECIAL-USE") && imap_is_safe(use) &&
		!strpbrk(use, " ()\\\"") && buf_adds(&b, "CREATE ") &&
		imap_quote(&b, wire)) {
		buf_addf(&b, " (USE (\\%s))", use);
		etpan_begin(i, MIB);
		rc = etpan_end(i, etpan_command(i, b.p), r, err);
	}
	buf_free(&b);
	if (rc != ST_SKIP)
		return rc;
	etpan_begin(i, MIB);
	return etpan_end(i, mailimap_create(i->etpan, wire), r, err);
}

/*
 * CREATE may say NO to what is there and OK to what it then calls otherwise,
 * so that the list has the last word (quirk Q95).
 */
static enum status create(struct imap *i, const char *folder, const char *use,
	char **wire, struct err *err)
{
	char *listed = NULL;
	struct err why = ERR_INIT;
	bool selectable = true;
	struct reply r;
	enum status rc, made;

	made = say_create(i, *wire, use, &r, err);
	i->flatten = made == ST_SKIP && verdict_of_one(reply_verdict(&r));
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
static enum status find_or_make(struct imap *i, const char *folder, const char *use,
	char **wire, bool *created, struct err *err)
{
	bool selectable = false;
	char *listed = NULL;
	enum status rc;

	if (is_inbox(*wire, strlen(*wire)))
		return ST_OK;
	rc = list_one(i, *wire, &listed, &selectable, err);
	if (rc == ST_OK && listed && selectable) {
		free(*wire);
		*wire = listed;
		return ST_OK;
	}
	free(listed);
	if (rc == ST_OK && i->cfg.look_only)
		rc = err_set(err, ST_SKIP, EX_DATAERR, "%s has no mailbox \"%s\"",
			i->where, *wire);
	if (rc == ST_OK)
		rc = create(i, folder, use, wire, err);
	*created = rc == ST_OK;
	return rc;
}

static enum status wire_name(
	struct imap *i, const char *folder, bool flat, char **wire, struct err *err)
{
	struct buf b = BUF_INIT(IMAP_NAME_MAX);

	if (!folder_wire(i, folder, flat, &b)) {
		buf_free(&b);
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"folder \"%s\" cannot be made a mailbox name of %s", folder,
			i->where);
	}
	free(*wire);
	*wire = buf_take(&b);
	return ST_OK;
}

/*
 * Servers that allow no mailbox below another (\Noinferiors), or only so many
 * levels, get the parts of the name in one (quirk Q101).
 */
static enum status provide(struct imap *i, const char *folder, const char *use,
	char **wire, bool *created, struct err *err)
{
	const char *deep = i->server.delimiter ? strchr(folder, '/') : NULL;
	struct err why = ERR_INIT, flat = ERR_INIT;
	enum status rc = wire_name(i, folder, false, wire, &why), again = ST_DENIED;

	i->flatten = false;
	if (rc == ST_OK)
		rc = find_or_make(i, folder, use, wire, created, &why);
	if ((rc == ST_SKIP || (rc == ST_DENIED && i->flatten)) && deep && deep[1])
		again = wire_name(i, folder, true, wire, &flat);
	if (again == ST_OK)
		again = find_or_make(i, folder, use, wire, created, &flat);
	if (again == ST_OK)
		log_info(i->cfg.net.log, "folder-flattened", LOG_S("folder", folder),
			LOG_S("mailbox", *wire), LOG_S("reason", why.text));
	if (again == ST_OK || rc == ST_OK)
		return ST_OK;
	*err = again == ST_RETRY ? flat : why;
	return err->status;
}

/* Two folders in one mailbox: where names are the same in any case (quirk Q98). */
static void warn_of_merging(struct imap *i, const char *name, const struct mailbox *m)
{
	const struct folder *f;

	for (f = i->folders; f; f = f->next)
		if (f->mailbox == m && !text_same(m->pub.wire, "INBOX") &&
			!text_starts(f->name, "special:") &&
			!text_starts(name, "special:") && strcmp(f->name, name) != 0)
			break;
	if (f)
		log_warn(i->cfg.net.log, "folders-are-one", LOG_S("folder", name),
			LOG_S("other", f->name), LOG_S("mailbox", m->pub.wire));
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
	const char *name = folder, *use = NULL;
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
		name = use = folder + sizeof(special) - 1;
		rc = list_special(i, use, &wire, err);
	}
	if (rc == ST_OK && !wire)
		rc = provide(i, name, use, &wire, &created, err);
	if (rc == ST_OK) {
		f = xcalloc(1, sizeof(*f));
		f->name = xstrdup(folder);
		f->mailbox = mailbox_get(i, wire, created);
		warn_of_merging(i, folder, f->mailbox);
		f->next = i->folders;
		i->folders = f;
		*out = &f->mailbox->pub;
	}
	free(wire);
	return rc;
}

/* ---- SELECT ---- */

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

/* Gmail shows only so many messages of a folder if its owner said so (quirk Q102). */
static void warn_of_view(struct imap *i, const struct mailbox *m)
{
	static const uint32_t limits[] = { 1000, 2000, 5000, 10000 };
	size_t k;

	for (k = 0; imap_has(i, "X-GM-EXT-1") && k < N_ELEMENTS(limits); k++)
		if (m->pub.exists == limits[k])
			log_warn(i->cfg.net.log, "view-may-be-limited",
				LOG_S("mailbox", m->pub.wire),
				LOG_U("messages", m->pub.exists));
}

/* The command alone: mailimap_select() waits for the answer. */
enum status select_say(struct imap *i, const char *wire, int *tag, struct err *err)
{
	struct buf b = BUF_INIT(2 * IMAP_NAME_MAX + 64);
	enum status rc;

	*tag = imap_tag(i);
	imap_astring(&b, wire);
	rc = conn_sendf(i->conn, err, "%d SELECT %s\r\n", *tag, buf_str(&b));
	buf_free(&b);
	return rc;
}

/* ST_SKIP: refused, and *r says how. */
static enum status select_hear(struct imap *i, struct mailbox *m, int tag,
	int64_t began, struct reply *r, struct err *err)
{
	const struct mailimap_selection_info *s;
	mailimap *e = i->etpan;
	enum status rc;
	int took;

	if (e->imap_selection_info)
		mailimap_selection_info_free(e->imap_selection_info);
	e->imap_selection_info = mailimap_selection_info_new();
	if (!e->imap_selection_info)
		xmemory_gone();
	i->selected = NULL;
	rc = etpan_answer(i, tag, r, err);
	if (rc != ST_OK)
		return rc;
	s = e->imap_selection_info;
	if (!s)
		return imap_junk(i, r, err);
	m->pub.uidvalidity = s->sel_uidvalidity;
	m->pub.uidnext = s->sel_uidnext;
	m->pub.exists = s->sel_exists;
	m->pub.selected = true;
	took = (int)(clock_ms() - began) + 1;
	i->rtt_ms = i->rtt_ms && i->rtt_ms < took ? i->rtt_ms : took;
	m->pub.keywords = keeps_keywords(s);
	m->readonly = s->sel_perm == MAILIMAP_MAILBOX_READONLY;
	i->selected = m;
	warn_of_view(i, m);
	return ST_OK;
}

enum status select_hear_inbox(struct imap *i, int tag, int64_t began, struct err *err)
{
	const struct imap_mailbox *mb;
	struct reply r;
	enum status rc = imap_folder(i, "INBOX", &mb, err);

	if (rc == ST_OK)
		rc = select_hear(i, (struct mailbox *)mb, tag, began, &r, err);
	return rc == ST_SKIP ? ST_OK : rc;
}

enum status select_limits(struct imap *i, struct err *err)
{
	struct mailbox *m = i->selected;
	struct limits_asked asked = { 0, 0 };
	enum status rc = limits_ask(i, m, &asked, err);

	if (rc == ST_OK)
		rc = limits_hear(i, m, &asked, err);
	return rc == ST_OK && !m->pub.uidnext ? scan_uidnext(i, &m->pub.uidnext, err)
					      : rc;
}

enum status imap_reselect(
	struct imap *i, const struct imap_mailbox *mb, struct err *err)
{
	struct mailbox *m = (struct mailbox *)mb;
	enum status rc = imap_finish(i, err);
	struct limits_asked asked = { 0, 0 };
	bool together = imap_together(i);
	int64_t began;
	struct reply r;
	int tag;

	began = clock_ms();
	if (rc == ST_OK && !i->cfg.look_only)
		rc = limits_ask(i, m, &asked, err);
	if (rc == ST_OK && !together)
		rc = limits_hear(i, m, &asked, err);
	if (rc == ST_OK)
		rc = select_say(i, mb->wire, &tag, err);
	if (rc == ST_OK && together)
		rc = limits_hear(i, m, &asked, err);
	if (rc != ST_OK)
		return rc;
	rc = select_hear(i, m, tag, began, &r, err);
	if (rc == ST_SKIP)
		return imap_no(i, &r, EX_CANTCREAT, err, "%s refuses mailbox \"%s\"",
			i->where, mb->wire);
	if (rc != ST_OK)
		return rc;
	return m->pub.uidnext ? ST_OK : scan_uidnext(i, &m->pub.uidnext, err);
}

int imap_rtt_ms(const struct imap *i)
{
	return i->rtt_ms;
}

enum status imap_select(struct imap *i, const struct imap_mailbox *mb, struct err *err)
{
	if (i->selected && &i->selected->pub == mb)
		return ST_OK;
	return imap_reselect(i, mb, err);
}
