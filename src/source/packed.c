/*
 * packed.c: the messages in a zip or tar file as a source.
 *
 * Nothing is ever unpacked to disk, and no name leads anywhere. A listing reads the
 * whole file, for only that tells sizes and digests; a message is known again by its
 * name and digest. Then it is read again, from its start, as often as what is wanted
 * stands before what was given. Where the file is damaged or cut off, what stands
 * before is given, and the end says that it was not all.
 */
#include "sources.h"

#include "packed.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct packed *self(const struct source *s)
{
	return (struct packed *)(uintptr_t)s;
}

static void packed_close(struct source **sp)
{
	struct packed *p;

	if (!*sp)
		return;
	p = self(*sp);
	pack_rewind(p);
	if (p->fd >= 0)
		close(p->fd);
	if (p->utf8)
		freelocale(p->utf8);
	EVP_MD_CTX_free(p->sha);
	free(p->piece);
	free(p->v);
	free(p->names.text);
	files_release(&p->f);
	free(p);
	*sp = NULL;
}

static enum status packed_open(
	struct source **out, const struct source_setup *setup, struct err *err)
{
	struct packed *p = xcalloc(1, sizeof(*p));
	struct source *base = &p->f.base;
	enum status rc = ST_OK;
	struct stat st;

	files_open(&p->f, &packed_source, setup);
	p->zip = strcmp(setup->end->scheme, "zip") == 0;
	p->cut = (struct err)ERR_INIT;
	p->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	p->sha = EVP_MD_CTX_new();
	if (!p->sha)
		xmemory_gone();
	p->fd = open(p->f.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (p->fd < 0 || fstat(p->fd, &st) < 0)
		rc = files_unopened(p->f.path, err);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is no file; name a %s file, and of directories use "
			"maildir: or eml:",
			p->f.path, p->zip ? "zip" : "tar");
	else
		p->file_size = (uint64_t)st.st_size;
	if (rc != ST_OK)
		packed_close(&base);
	*out = base;
	return rc;
}

/* ---- listing ---- */

/* The name's bytes as they stand there; NULL: it has none that can be told. */
static const char *entry_name(struct archive_entry *e)
{
	const char *name = archive_entry_pathname_utf8(e);

	if (!name)
		name = archive_entry_pathname(e);
	return name && strlen(name) < PATH_BYTES ? name : NULL;
}

static const char *link_name(struct archive_entry *e)
{
	const char *name = archive_entry_hardlink_utf8(e);

	return name ? name : archive_entry_hardlink(e);
}

/* What is left out, as in a directory. */
static const char *why_not(struct archive_entry *e)
{
	if (archive_entry_filetype(e) == AE_IFLNK)
		return "it is a symbolic link";
	return archive_entry_filetype(e) == AE_IFREG ? NULL : "it is no ordinary file";
}

static bool is_wanted(struct packed *p, struct archive_entry *e, const char *path)
{
	const char *why = link_name(e) ? NULL : why_not(e);
	struct name name;

	if (archive_entry_filetype(e) == AE_IFDIR && !link_name(e))
		return false;
	if (!path) /* so nobody knows whether it is a message */
		return !why;
	name_read(path, strlen(path), &name);
	if (name.kind == NAME_OTHER)
		files_pass(&p->f, path);
	else if (why)
		files_skip(&p->f, path, why);
	return name.kind != NAME_OTHER && !why;
}

static const char *name_of(const struct packed *p, const struct packed_mail *m)
{
	return p->names.text + m->name;
}

static struct packed_mail *add_mail(
	struct packed *p, struct archive_entry *e, const char *path)
{
	struct packed_mail *m;
	char none[32];

	snprintf(none, sizeof(none), "entry %" PRIu64, p->entry);
	if (p->n == p->cap) {
		p->cap += p->cap / 2 + 256;
		p->v = xreallocarray(p->v, p->cap, sizeof(*p->v));
	}
	m = &p->v[p->n++];
	*m = (struct packed_mail){ .entry = p->entry, .occurrence = 1 };
	m->size = UINT64_MAX;
	m->name = names_keep(&p->names, path ? path : none);
	m->time = archive_entry_mtime_is_set(e) ? (int64_t)archive_entry_mtime(e) : 0;
	return m;
}

static enum status list_entry(
	struct packed *p, struct archive_entry *e, struct err *err)
{
	const char *path = entry_name(e);
	struct err why = ERR_INIT;
	struct packed_mail *m;
	enum status rc;
	uint64_t size;

	if (!is_wanted(p, e, path))
		return files_stopped(&p->f, err);
	m = add_mail(p, e, path);
	if (!path)
		m->why = "its name is unreadable or too long";
	else if (link_name(e))
		m->link = names_keep(&p->names, link_name(e));
	else if (archive_entry_sparse_count(e) > 0)
		m->why = "it has holes, as no message has";
	if (m->why || m->link)
		return files_stopped(&p->f, err);
	rc = pack_read(p, NULL, NULL, &size, m->id, &why);
	if (rc == ST_RETRY || rc == ST_FATAL) {
		*err = why;
		return rc;
	}
	m->size = rc == ST_OK ? size : UINT64_MAX;
	if (rc == ST_SKIP)
		return ST_OK;
	if (rc != ST_OK)
		*err = why;
	return rc;
}

static enum status read_all(struct packed *p, struct err *err)
{
	struct archive_entry *e;
	enum status rc = pack_begin(p, err);

	while (rc == ST_OK) {
		rc = pack_next(p, &e, err);
		if (rc == ST_OK)
			rc = list_entry(p, e, err);
	}
	if (rc == ST_END && !pack_ended_well(p))
		rc = pack_damaged(p, err);
	if (rc == ST_DENIED && p->entry) {
		p->cut = *err;
		rc = ST_END;
	}
	pack_rewind(p);
	return rc == ST_END ? ST_OK : rc;
}

/* ---- folders ---- */

static size_t part_of(const char *p, size_t n)
{
	const char *slash = memchr(p, '/', n);

	return slash ? (size_t)(slash - p) : n;
}

/* Bytes of the parts both begin with; ".Sent" is a folder and none of them. */
static size_t shared_parts(const char *a, size_t an, const char *b, size_t bn)
{
	size_t at = 0;

	for (;;) {
		size_t k = part_of(a + at, an - at);

		if (!k || k != part_of(b + at, bn - at) || memcmp(a + at, b + at, k))
			return at;
		if (a[at] == '.' && k > 1 && !(k == 2 && a[at + 1] == '.'))
			return at;
		at += k;
		if (at == an || at == bn)
			return at;
		at++;
	}
}

/* The directory all Maildirs stand in is how they came to be packed, and no folder. */
static void find_common(struct packed *p)
{
	const char *first = NULL;
	size_t i;

	for (i = 0; i < p->n; i++) {
		const char *path = name_of(p, &p->v[i]);
		struct name name;

		name_read(path, strlen(path), &name);
		if (name.kind != NAME_MAILDIR)
			continue;
		if (!first) {
			first = path;
			p->common = name.dir_n;
		}
		p->common = shared_parts(first, p->common, path, name.dir_n);
	}
}

/* What popferry packs its own messages in. */
static size_t bag_parts(const char *dir, size_t n)
{
	static const char bag[] = "data/eml";
	const size_t len = sizeof(bag) - 1;
	size_t i;

	for (i = 0; i + len <= n; i++)
		if ((i == 0 || dir[i - 1] == '/') && memcmp(dir + i, bag, len) == 0 &&
			(i + len == n || dir[i + len] == '/'))
			return i + len;
	return 0;
}

/* ---- names ---- */

static int by_name(const void *ap, const void *bp, void *packed)
{
	const struct packed *p = packed;
	const uint32_t x = *(const uint32_t *)ap, y = *(const uint32_t *)bp;
	const struct packed_mail *a = &p->v[x], *b = &p->v[y];
	int d = memcmp(a->id, b->id, FILE_ID_BYTES);

	if (d == 0)
		d = strcmp(name_of(p, a), name_of(p, b));
	return d ? d : (x > y) - (x < y);
}

/* Those with the same name and content are told apart by their order. */
static void count_twins(struct packed *p)
{
	uint32_t *order = xcalloc(p->n + 1, sizeof(*order));
	size_t i;

	for (i = 0; i < p->n; i++)
		order[i] = (uint32_t)i;
	if (p->n > 1)
		qsort_r(order, p->n, sizeof(*order), by_name, p);
	for (i = 1; i < p->n; i++) {
		const struct packed_mail *a = &p->v[order[i - 1]];
		struct packed_mail *b = &p->v[order[i]];

		if (memcmp(a->id, b->id, FILE_ID_BYTES) == 0 &&
			strcmp(name_of(p, a), name_of(p, b)) == 0)
			b->occurrence = a->occurrence + 1;
	}
	free(order);
}

static char *uidl_of(const struct packed *p, const struct packed_mail *m)
{
	char hex[2 * FILE_ID_BYTES + 1];

	return xasprintf("%s;%s", name_of(p, m),
		m->size == UINT64_MAX ? "unreadable"
				      : text_hex(hex, m->id, FILE_ID_BYTES));
}

static enum status packed_list(struct source *base,
	void (*each)(void *ctx, const struct item *it), void *ctx, struct listing *out,
	struct err *err)
{
	struct packed *p = self(base);
	enum status rc = p->listed ? ST_OK : read_all(p, err);
	size_t i;

	if (rc != ST_OK)
		return rc;
	if (!p->listed) {
		pack_links(p);
		find_common(p);
		count_twins(p);
		files_tell_passed(&p->f, p->n);
	}
	p->listed = true;
	*out = (struct listing){ .n = p->n, .steady = true };
	for (i = 0; i < p->n; i++) {
		const struct packed_mail *m = &p->v[i];
		char *uidl = uidl_of(p, m);
		struct item it = { (uint32_t)i + 1, m->occurrence, m->size, uidl,
			(uint32_t)strlen(uidl) };

		out->unreadable += m->size == UINT64_MAX;
		each(ctx, &it);
		free(uidl);
	}
	return ST_OK;
}

/* ---- messages ---- */

static void note_origin(struct packed *p, uint32_t number)
{
	const struct packed_mail *m = &p->v[number - 1];
	const char *path = name_of(p, m);
	struct origin *o = &p->f.origin;
	struct name name;
	bool maildir;
	size_t from;

	name_read(path, strlen(path), &name);
	maildir = name.kind == NAME_MAILDIR;
	from = maildir ? p->common : bag_parts(path, name.dir_n);
	files_filed(&p->f, number, m->size, uidl_of(p, m));
	name_folder(path + from, name.dir_n - from, maildir, &p->f.folder);
	o->folder = buf_str(&p->f.folder);
	o->occurrence = m->occurrence;
	o->bare = !maildir;
	o->date = (struct when){ m->time > 0, m->time, 0 };
	o->seen = name.seen;
	o->answered = name.answered;
	o->flagged = name.flagged;
	o->draft = name.draft;
}

/* Goes on to that entry, from the start when it was passed. */
static enum status go_to(struct packed *p, uint64_t entry, struct err *err)
{
	struct archive_entry *e;
	enum status rc = ST_OK;

	if (!p->a || p->entry >= entry)
		rc = pack_begin(p, err);
	while (rc == ST_OK && p->entry < entry) {
		rc = pack_next(p, &e, err);
		if (rc == ST_OK)
			rc = files_stopped(&p->f, err);
	}
	return rc == ST_END ? pack_damaged(p, err) : rc;
}

static enum status packed_next(struct source *base, uint32_t *number, mail_take *take,
	void *ctx, struct err *err)
{
	struct packed *p = self(base);
	unsigned char id[FILE_ID_BYTES];
	const struct packed_mail *m;
	uint64_t size = 0;
	enum status rc;

	p->f.filed = false;
	if (!queue_take(&p->f.wanted, number))
		return ST_END;
	m = &p->v[*number - 1];
	if (m->why)
		return err_set(err, ST_SKIP, EX_DATAERR, "%s: %s cannot be read: %s",
			p->f.path, name_of(p, m), m->why);
	rc = go_to(p, m->entry, err);
	if (rc == ST_OK)
		rc = pack_read(p, take, ctx, &size, id, err);
	if (rc == ST_OK && (size != m->size || memcmp(id, m->id, FILE_ID_BYTES) != 0))
		rc = err_set(err, ST_SKIP, EX_TEMPFAIL,
			"%s: %s was changed while it was read", p->f.path,
			name_of(p, m));
	if (rc == ST_OK)
		note_origin(p, *number);
	/* The end tells that there is more; of this one, that it cannot be had. */
	if (rc == ST_DENIED) {
		pack_rewind(p);
		rc = err->status = ST_SKIP;
	}
	return rc;
}

static enum status packed_finish(struct source *base, struct err *err)
{
	const struct packed *p = self(base);

	if (p->cut.status == ST_OK)
		return ST_OK;
	*err = p->cut;
	return err->status;
}

static const char *const schemes[] = { "zip", "tar", NULL };

const struct source_ops packed_source = {
	.schemes = schemes,
	FILES_OPS,
	.open = packed_open,
	.list = packed_list,
	.next = packed_next,
	.finish = packed_finish,
	.close = packed_close,
};
