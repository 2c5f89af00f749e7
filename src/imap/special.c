/*
 * special.c: the mailbox for sent mail, for drafts: by what the server says of
 * it, or else by the names that mail programs give it (quirk Q100).
 */
#include <popferry/buf.h>
#include <popferry/text.h>

#include "session.h"

#include <stdlib.h>
#include <string.h>

/* Some 50,000 folders. libetpan takes up to fifty bytes for one of an answer. */
#define LIST_MAX (4 * MIB)

/* The special use, what XLIST calls it, and its names. */
static const struct {
	const char *use, *xlist;
	const char *names[24];
} uses[] = {
	{ "Sent", "Sent",
		{ "Sent", "Sent Items", "Sent Messages", "Sent Mail", "Sent-Mail",
			"Gesendet", "Gesendete Objekte", "Gesendete Elemente",
			"Gesendete Nachrichten", "Envoy\xc3\xa9s",
			"Messages envoy\xc3\xa9s",
			"\xc3\x89l\xc3\xa9ments envoy\xc3\xa9s", "Enviados",
			"Elementos enviados", "Posta inviata", "Inviata", "Verzonden",
			"Verzonden items",
			"Wys\xc5\x82"
			"ane",
			"Elementy wys\xc5\x82"
			"ane",
			"Skickat" } },
	{ "Drafts", "Drafts",
		{ "Drafts", "Draft", "Entw\xc3\xbcrfe", "Brouillons", "Borradores",
			"Bozze", "Concepten", "Rascunhos", "Szkice", "Kopie robocze",
			"Utkast" } },
	{ "Trash", "Trash",
		{ "Trash", "Deleted Items", "Deleted Messages", "Papierkorb",
			"Gel\xc3\xb6schte Objekte", "Gel\xc3\xb6schte Elemente",
			"Corbeille", "Papelera", "Elementos eliminados", "Cestino",
			"Posta eliminata", "Prullenbak", "Lixeira", "Kosz" } },
	{ "Junk", "Spam",
		{ "Junk", "Spam", "Junk E-mail", "Junk Email", "Bulk Mail",
			"Spamverdacht", "Unerw\xc3\xbcnscht", "Junk-E-Mail",
			"Courrier ind\xc3\xa9sirable", "Correo no deseado",
			"Posta indesiderata", "Ongewenste e-mail" } },
	{ "Archive", "Archive",
		{ "Archive", "Archives", "Archiv", "Archivo", "Archivio", "Archief",
			"Archiwum" } },
	{ "All", "AllMail", { NULL } },
	{ "Flagged", "Starred", { NULL } },
};

static bool list_has(const struct mailimap_mailbox_list *e, const char *attribute)
{
	const struct mailimap_mbx_list_oflag *f;
	clistiter *at;

	if (!e->mb_flag || !e->mb_flag->mbf_oflags)
		return false;
	for (at = clist_begin(e->mb_flag->mbf_oflags); at; at = clist_next(at)) {
		f = clist_content(at);
		if (f->of_type == MAILIMAP_MBX_LIST_OFLAG_FLAG_EXT && f->of_flag_ext &&
			text_same(f->of_flag_ext, attribute))
			return true;
	}
	return false;
}

bool list_can_select(const struct mailimap_mailbox_list *e)
{
	if (e->mb_flag && e->mb_flag->mbf_type == MAILIMAP_MBX_LIST_FLAGS_SFLAG &&
		e->mb_flag->mbf_sflag == MAILIMAP_MBX_LIST_SFLAG_NOSELECT)
		return false;
	return !list_has(e, "NonExistent") && !list_has(e, "Noselect");
}

/* The last part of a name in UTF-8; false when it has none. */
static bool leaf(const struct mailimap_mailbox_list *e, struct buf *out)
{
	const char *slash = e->mb_delimiter ? strrchr(e->mb_name, e->mb_delimiter)
					    : NULL;

	buf_clear(out);
	return utf7_decode(slash ? slash + 1 : e->mb_name, out) && out->n;
}

enum how { BY_LIST, BY_RETURN, BY_XLIST };

static enum status list_all(struct imap *i, enum how how, clist **list, struct err *err)
{
	static const char command[] = "LIST \"\" \"*\" RETURN (SPECIAL-USE)";
	struct reply r;
	enum status rc;
	int done;

	*list = NULL;
	etpan_begin(i, LIST_MAX);
	if (how == BY_RETURN)
		done = etpan_command(i, command);
	else if (how == BY_XLIST)
		done = mailimap_xlist(i->etpan, "", "*", list);
	else
		done = mailimap_list(i->etpan, "", "*", list);
	rc = etpan_end(i, done, &r, err);
	if (rc == ST_OK && how == BY_RETURN && i->etpan->imap_response_info) {
		*list = i->etpan->imap_response_info->rsp_mailbox_list;
		i->etpan->imap_response_info->rsp_mailbox_list = NULL;
	}
	if (rc != ST_OK && *list) {
		mailimap_list_result_free(*list);
		*list = NULL;
	}
	return rc;
}

/* Which of its names a mailbox has, counted from 1; 0: none. */
static size_t rank(const struct mailimap_mailbox_list *e, size_t use, struct buf *name)
{
	size_t k;

	if (!leaf(e, name))
		return 0;
	for (k = 0; k < N_ELEMENTS(uses[use].names) && uses[use].names[k]; k++)
		if (text_same(uses[use].names[k], buf_str(name)))
			return k + 1;
	return 0;
}

/* The mailbox with the attribute, or else the one with the first of the names. */
static const struct mailimap_mailbox_list *choose(
	clist *list, const char *attribute, const char *xlist, size_t use)
{
	const struct mailimap_mailbox_list *e, *best = NULL;
	struct buf name = BUF_INIT(IMAP_NAME_MAX);
	size_t r, best_rank = SIZE_MAX;
	clistiter *at;

	for (at = list ? clist_begin(list) : NULL; at; at = clist_next(at)) {
		e = clist_content(at);
		if (!list_can_select(e) || !imap_is_safe(e->mb_name))
			continue;
		if (list_has(e, attribute) || (xlist && list_has(e, xlist))) {
			best = e;
			break;
		}
		r = use < N_ELEMENTS(uses) ? rank(e, use, &name) : 0;
		if (r && r < best_rank) {
			best_rank = r;
			best = e;
		}
	}
	buf_free(&name);
	return best;
}

enum status list_special(struct imap *i, const char *use, char **found, struct err *err)
{
	bool special = i->server.special_use, xlist = !special && imap_has(i, "XLIST");
	const struct mailimap_mailbox_list *e;
	enum status rc = ST_SKIP;
	clist *list = NULL;
	size_t k;

	*found = NULL;
	for (k = 0; k < N_ELEMENTS(uses); k++)
		if (text_same(uses[k].use, use))
			break;
	/* Refused here and there although they are offered (quirk Q92). */
	if (special && imap_has(i, "LIST-EXTENDED"))
		rc = list_all(i, BY_RETURN, &list, err);
	if (rc == ST_SKIP && xlist)
		rc = list_all(i, BY_XLIST, &list, err);
	if (rc == ST_SKIP)
		rc = list_all(i, BY_LIST, &list, err);
	e = rc == ST_OK
		? choose(list, use,
			  xlist && k < N_ELEMENTS(uses) ? uses[k].xlist : NULL, k)
		: NULL;
	if (e)
		*found = xstrdup(e->mb_name);
	if (list)
		mailimap_list_result_free(list);
	return rc == ST_SKIP ? ST_OK : rc;
}
