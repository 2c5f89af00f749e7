/*
 * meet.c: messages of a server and of an archive, which of them are the same.
 *
 * A message is the same when its UIDL is, and the size that the server listed then and
 * lists now. Of others the listings that runs left in the archive may tell what became
 * of them.
 */
#include "meet.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

/* What is no character of a UIDL (RFC 1939) is the same whatever it is: tables have
 * U+FFFD for some of it. */
static char *uidl_key(const char *s, size_t n)
{
	char *out = xmalloc(n + 1), *p = out;
	size_t i;

	for (i = 0; i < n; i++)
		if (s[i] > ' ' && s[i] < 0x7f)
			*p++ = s[i];
		else if (p == out || p[-1] != '\n')
			*p++ = '\n';
	*p = '\0';
	return out;
}

void mails_add(
	struct mails *m, const char *uidl, size_t n, uint64_t size, uint64_t number)
{
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 256;
		m->v = xreallocarray(m->v, m->cap, sizeof(*m->v));
	}
	m->v[m->n++] = (struct mail){ uidl_key(uidl, n), size, number, 0, 0, FATES,
		false };
}

static void take_known(void *ctx, const struct archive_known *m)
{
	struct comparison *k = ctx;

	mails_add(&k->archive, m->uidl, strlen(m->uidl),
		m->listed == UINT64_MAX ? m->size : m->listed, m->seq);
}

enum status meet_known(struct comparison *k, struct archive_reader *r, struct err *err)
{
	return archive_each_known(r, take_known, k, err);
}

static void mails_free(struct mails *m)
{
	while (m->n)
		free(m->v[--m->n].uidl);
	free(m->v);
}

/* ---- comparing ---- */

static int by_uidl(const void *a, const void *b)
{
	const struct mail *x = a, *y = b;
	int d = strcmp(x->uidl, y->uidl);

	if (d || x->size != y->size)
		return d ? d : x->size < y->size ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

static int by_number(const void *a, const void *b)
{
	const struct mail *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static void sort(struct mails *m, int (*by)(const void *, const void *))
{
	if (m->n)
		qsort(m->v, m->n, sizeof(*m->v), by);
}

static size_t group_end(const struct mails *m, size_t i)
{
	size_t k = i;

	while (k < m->n && strcmp(m->v[k].uidl, m->v[i].uidl) == 0)
		k++;
	return k;
}

/* Those of one UIDL: from s to s_end of the server's, from a to a_end of the
 * archive's. */
typedef void meeting(
	struct comparison *k, size_t s, size_t s_end, size_t a, size_t a_end);

static void each_uidl(struct comparison *k, meeting *each)
{
	const struct mails *server = &k->server, *archive = &k->archive;
	size_t s = 0, a = 0;

	while (s < server->n) {
		size_t s_end = group_end(server, s), a_end;

		while (a < archive->n &&
			strcmp(archive->v[a].uidl, server->v[s].uidl) < 0)
			a++;
		a_end = a;
		if (a < archive->n &&
			strcmp(archive->v[a].uidl, server->v[s].uidl) == 0)
			a_end = group_end(archive, a);
		each(k, s, s_end, a, a_end);
		a = a_end;
		s = s_end;
	}
}

/* By their sizes; one that is not known (they come last) fits any. */
static void by_sizes(
	struct comparison *k, size_t s, size_t s_end, size_t a, size_t a_end)
{
	size_t first = a;

	for (; s < s_end; s++) {
		struct mail *m = &k->server.v[s], *v = k->archive.v;
		bool any = m->size == UINT64_MAX;
		size_t *at = any ? &first : &a;

		while (*at < a_end && (any ? v[*at].met : v[*at].size < m->size))
			++*at;
		if (*at == a_end || !(any || v[*at].size == m->size))
			continue;
		v[(*at)++].met = m->met = true;
		k->both++;
	}
}

static void count_sizes(
	struct comparison *k, size_t s, size_t s_end, size_t a, size_t a_end)
{
	uint64_t unmet = 0, left = 0;

	if (!*k->server.v[s].uidl)
		return;
	for (; s < s_end; s++)
		unmet += !k->server.v[s].met && k->server.v[s].told == FATES;
	for (; a < a_end; a++)
		left += !k->archive.v[a].met;
	k->other_size += unmet < left ? unmet : left;
}

/* A server without UIDLs leaves the sizes to be compared. */
static void forget_uidls(struct mails *m)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		*m->v[i].uidl = '\0';
}

/* ---- what the listings tell ---- */

static int by_seq(const void *a, const void *b)
{
	return by_number(
		*(const struct mail *const *)a, *(const struct mail *const *)b);
}

static struct mail *in_archive(const struct comparison *k, uint64_t seq)
{
	const struct mail is = { .number = seq }, *key = &is;
	struct mail **found = seq && k->archive.n
		? bsearch(&key, k->by_seq, k->archive.n, sizeof(*k->by_seq), by_seq)
		: NULL;

	return found ? *found : NULL;
}

static bool is_same(const struct mail *m, const char *uidl, uint64_t size)
{
	return m->size == size && strcmp(m->uidl, uidl) == 0;
}

/* The first of that UIDL and size that is not met: those that are come before it. */
static struct mail *first_unmet(struct mails *m, const char *uidl, uint64_t size)
{
	size_t from = 0, to = m->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		int d = strcmp(m->v[mid].uidl, uidl);

		if (d < 0 || (d == 0 && m->v[mid].size < size) ||
			(d == 0 && m->v[mid].size == size && m->v[mid].met))
			from = mid + 1;
		else
			to = mid;
	}
	return from < m->n && is_same(&m->v[from], uidl, size) ? &m->v[from] : NULL;
}

/* Of several that are the same each in its turn. */
static struct mail *unmet(struct mails *m, const char *uidl, uint64_t size)
{
	struct mail *first = first_unmet(m, uidl, size), *at;

	if (!first)
		return NULL;
	at = first + first->turn;
	if (at == m->v + m->n || !is_same(at, uidl, size)) {
		at = first;
		first->turn = 0;
	}
	first->turn++;
	return at;
}

/*
 * A later line wins over an earlier one; but "known" without a number only says that an
 * earlier one may know more.
 */
static void take_told(void *ctx, const struct story_item *it)
{
	struct comparison *k = ctx;
	const struct mail *there = in_archive(k, it->place);
	bool had = it->fate == FATE_STORED || it->fate == FATE_KNOWN ||
		it->fate == FATE_DUPLICATE;
	char *uidl;
	struct mail *m = NULL;

	if (it->fate == FATE_RENAMED || (it->fate == FATE_KNOWN && !it->place))
		return;
	uidl = uidl_key(it->uidl, k->listing.nameless ? 0 : it->uidl_n);
	/* Else it is the line of one that is met. */
	if (!there || it->fate == FATE_DUPLICATE || !is_same(there, uidl, it->size)) {
		m = unmet(&k->server, uidl, it->size);
		if (!m && *uidl)
			m = unmet(&k->server, uidl, UINT64_MAX);
	}
	free(uidl);
	if (!m)
		return;
	m->place = there ? there->number : 0;
	m->told = (uint8_t)(there && it->fate != FATE_DUPLICATE ? FATE_STORED
			: !there && had                         ? FATES
								: it->fate);
}

static void take_lost(void *ctx, const char *what)
{
	struct comparison *k = ctx;
	struct err err = ERR_INIT;

	k->unread++;
	err_set(&err, ST_DENIED, EX_DATAERR,
		"%s: what it tells of messages that are not in the archive is not known",
		what);
	cli_complain(k->c, &err);
}

/* One that the archive has under another name is in both, once. */
static void count_told(struct comparison *k, struct mail *m)
{
	struct mail *there = in_archive(k, m->place);
	uint64_t *const counts[FATES + 1] = { &k->left, &k->duplicates, &k->duplicates,
		&k->duplicates, &k->filtered, &k->failed, &k->left, &k->only_server,
		&k->only_server };

	if (m->told == FATE_STORED && !there->met) {
		there->met = m->met = true;
		k->both++;
		k->renamed++;
	} else {
		++*counts[m->told];
	}
}

static enum status ask_listings(
	struct comparison *k, struct archive_reader *r, struct err *err)
{
	enum status rc;
	size_t i;

	k->by_seq = xcalloc(k->archive.n + 1, sizeof(*k->by_seq));
	for (i = 0; i < k->archive.n; i++)
		k->by_seq[i] = &k->archive.v[i];
	qsort(k->by_seq, k->archive.n, sizeof(*k->by_seq), by_seq);
	rc = archive_each_told(r, k->account, take_told, take_lost, k, err);
	for (i = 0; i < k->server.n; i++)
		if (!k->server.v[i].met)
			count_told(k, &k->server.v[i]);
	return rc;
}

enum status meet_all(struct comparison *k, struct archive_reader *r, struct err *err)
{
	enum status rc = ST_OK;

	if (k->listing.nameless)
		forget_uidls(&k->archive);
	sort(&k->server, by_uidl);
	sort(&k->archive, by_uidl);
	each_uidl(k, by_sizes);
	if (k->both < k->server.n)
		rc = ask_listings(k, r, err);
	each_uidl(k, count_sizes);
	k->only_archive = k->archive.n - k->both;
	sort(&k->server, by_number);
	return rc;
}

void meet_free(struct comparison *k)
{
	free(k->by_seq);
	mails_free(&k->server);
	mails_free(&k->archive);
	free(k->account);
}
