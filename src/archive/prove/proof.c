/*
 * proof.c: one message with all that is needed to prove it where the archive is not.
 * See FORMAT.
 */
#include "proof.h"
#include "../form/hash.h"
#include "../read/reader.h"
#include "../form/segment.h"
#include "../form/statement.h"

#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MARK_MAX = 1024 * 1024, TRUST_MAX = 1000 };

static void add_hex(struct buf *b, const char *key, const unsigned char *p, size_t n)
{
	char hex[2 * DIGEST + 1];

	buf_addf(b, "\"%s\":\"%s\"", key, text_hex(hex, p, n));
}

void proof_text(struct buf *b, const struct proof *p)
{
	char hex[2 * DIGEST + 1];
	size_t i;

	buf_addf(b, "{\"archive\":\"%s\",\"index\":%" PRIu64 ",", p->archive,
		p->path.index);
	add_hex(b, "leaf", p->leaf, DIGEST);
	buf_adds(b, ",\"path\":[");
	for (i = 0; i < p->path.n; i++)
		buf_addf(b, "%s\"%s\"", i ? "," : "",
			text_hex(hex, p->path.node[i], DIGEST));
	buf_adds(b, "],");
	add_hex(b, "root", p->root, DIGEST);
	buf_addc(b, ',');
	add_hex(b, "salt", p->salt, SALT);
	buf_addf(b, ",\"seal\":{\"seal\":%u,", p->seal);
	add_hex(b, "sha256", p->seal_sha, DIGEST);
	buf_addf(b, "},\"seq\":%" PRIu32 ",", p->row.seq);
	add_hex(b, "sha256", p->row.sha, DIGEST);
	buf_addf(b,
		",\"size\":%" PRIu64 ",\"tree_size\":%" PRIu64
		",\"type\":\"mail-archive-proof/1\"}\n",
		p->row.size, p->path.size);
}

/* ---- where the message stands ---- */

struct place {
	const struct sealed *sealed;
	struct idx x;
	struct statement seal;
	struct tree before;
};

static bool has(const struct idx *x, uint64_t seq)
{
	return x->n && seq >= x->rows[0].seq && seq <= x->rows[x->n - 1].seq;
}

static enum status look_in(struct place *at, const struct archive_reader *r, size_t i,
	uint64_t seq, struct err *err)
{
	enum status rc;

	idx_free(&at->x);
	at->sealed = &r->sealed[i];
	rc = idx_get(&at->x, &r->vault, at->sealed->stem, err);
	return rc != ST_OK ? rc : has(&at->x, seq) ? ST_OK : ST_END;
}

static enum status find_segment(
	struct place *at, const struct archive_reader *r, uint64_t seq, struct err *err)
{
	struct err why = ERR_INIT;
	size_t likely = 0, i;
	struct idx_row row;
	uint64_t first;
	enum status rc = ST_END;

	if (r->has_open && seq >= r->open.first && seq < r->open.next)
		return err_set(err, ST_DENIED, EX_TEMPFAIL,
			"message %" PRIu64
			" is not sealed yet: a run of `popferry copy` "
			"into this archive seals it when it ends; prove it after that",
			seq);
	for (i = 0; i < r->sealed_n; i++) {
		idx_look(&row, &r->vault, r->sealed[i].stem, 0, &first);
		if (first && first <= seq)
			likely = i;
	}
	if (r->sealed_n)
		rc = look_in(at, r, likely, seq, &why);
	for (i = 0; rc != ST_OK && rc != ST_FATAL && i < r->sealed_n; i++)
		rc = look_in(at, r, i, seq, &why);
	/* One that cannot be read may be the one that has it. */
	if (rc != ST_OK && why.exit)
		return err_set(err, why.status, why.exit, "%s", why.text);
	return rc;
}

static enum status damaged(const char *file, const char *what, struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"%s %s: `popferry verify` tells what is damaged", file, what);
}

static enum status load_seal(
	struct place *at, const struct archive_reader *r, struct err *err)
{
	char name[FILE_NAME_MAX];
	struct statement before;
	enum status rc = statement_load(
		&at->seal, r->dir, &r->policy, at->sealed->no, err);

	statement_name(name, &r->policy, at->sealed->no);
	if (rc == ST_END && r->policy.tree)
		return damaged(name, "is missing", err);
	if (rc == ST_END)
		return err_set(err, ST_DENIED, EX_UNAVAILABLE,
			"segment %s was made by popferry 0.1.0, which made no seals: there is "
			"nothing that could prove its messages",
			at->sealed->name);
	if (rc != ST_OK || at->seal.prev == 0)
		return rc;
	rc = statement_load(&before, r->dir, &r->policy, at->seal.prev, err);
	if (rc < 0)
		return rc;
	if (rc == ST_END || memcmp(before.self, at->seal.prev_sha, DIGEST) != 0)
		return damaged(name, "does not follow from the seal before it", err);
	at->before = before.tree;
	return ST_OK;
}

/* ---- its leaf, and the others of the segment ---- */

struct leaves {
	struct proof *p;
	unsigned char (*v)[DIGEST];
	size_t n, max, mine; /* mine: the place of the message */
	struct buf line;
	bool begun, bad;
};

/* seq, size, sha256, salt, leaf; of what was erased only the first and the last. */
static void take_leaf(struct leaves *l, char *line)
{
	char *leaf = strrchr(line, '\t'), *salt;

	if (!l->begun) {
		l->begun = true;
		return;
	}
	if (!leaf || l->n == l->max || !text_unhex(l->v[l->n], DIGEST, leaf + 1)) {
		l->bad = true;
		return;
	}
	if (l->n++ != l->mine)
		return;
	*leaf = '\0';
	salt = strrchr(line, '\t');
	l->bad |= !salt || !text_unhex(l->p->salt, SALT, salt + 1);
}

static void take_lines(struct leaves *l, const char *s, size_t n)
{
	size_t i;

	for (i = 0; !l->bad && i < n; i++) {
		if (s[i] != '\n') {
			l->bad = !buf_addc(&l->line, s[i]);
			continue;
		}
		buf_addc(&l->line, '\0');
		take_leaf(l, l->line.p);
		buf_clear(&l->line);
	}
}

static enum status read_leaves(struct leaves *l, const struct archive_reader *r,
	const struct place *at, struct err *err)
{
	struct entries *entries = NULL;
	struct unpacker *u = NULL;
	const char *s;
	size_t n;
	struct bytes *b = NULL;
	enum status rc = reader_open_sealed(&b, r, at->sealed, err);

	if (rc == ST_OK)
		rc = segment_tag(&entries, &u, b, r->policy.codec, at->sealed->name,
			&at->x, tag_names[TAG_TREE], err);
	while (rc == ST_OK && (rc = entries_data(entries, &s, &n, err)) == ST_OK && n)
		take_lines(l, s, n);
	entries_close(&entries);
	unpacker_close(&u);
	bytes_close(&b);
	if (rc == ST_OK && (l->bad || l->n != l->max))
		rc = damaged(at->sealed->file, "has no tree that can be read", err);
	return rc;
}

static enum status climb(struct proof *p, const struct archive_reader *r,
	const struct place *at, struct err *err)
{
	struct leaves l = { .p = p, .max = at->x.n, .line = BUF_INIT(TREE_LINE_MAX) };
	unsigned char leaf[DIGEST];
	enum status rc;

	l.mine = p->row.seq - at->x.rows[0].seq;
	l.v = xcalloc(l.max, sizeof(*l.v));
	rc = read_leaves(&l, r, at, err);
	if (rc == ST_OK) {
		memcpy(p->leaf, l.v[l.mine], DIGEST);
		tree_path(&p->path, &at->before, l.v, l.n, at->before.n + l.mine);
		tree_leaf(leaf, &p->row, p->salt);
		if (memcmp(leaf, p->leaf, DIGEST) != 0 ||
			!tree_path_root(&p->path, leaf, p->root) ||
			memcmp(p->root, at->seal.root, DIGEST) != 0 ||
			p->path.size != at->seal.tree.n)
			rc = damaged(at->sealed->file,
				"has another tree than its seal tells", err);
	}
	buf_free(&l.line);
	free(l.v);
	return rc;
}

static enum status prove(struct proof *p, struct place *at,
	const struct archive_reader *r, uint64_t seq, struct err *err)
{
	enum status rc = find_segment(at, r, seq, err);

	if (rc == ST_OK)
		rc = load_seal(at, r, err);
	if (rc != ST_OK)
		return rc;
	if (at->seal.first != at->x.rows[0].seq || at->seal.count != at->x.n)
		return damaged(at->sealed->file,
			"has other messages than its seal tells", err);
	memcpy(p->archive, r->policy.id, sizeof(p->archive));
	p->seal = at->seal.no;
	memcpy(p->seal_sha, at->seal.self, DIGEST);
	p->row = at->x.rows[seq - at->seal.first];
	if (p->row.gone)
		return reader_gone(r, seq, err);
	return climb(p, r, at, err);
}

/* ---- the directory ---- */

struct writing {
	int fd;
	enum status rc;
	struct err *err;
};

static void write_bytes(void *ctx, const char *p, size_t n)
{
	struct writing *w = ctx;

	if (w->rc == ST_OK)
		w->rc = fs_write(w->fd, p, n, w->err);
}

static enum status put_message(
	int dir, struct archive_reader *r, uint64_t seq, struct err *err)
{
	struct err why = ERR_INIT;
	struct writing w = { -1, ST_OK, err };
	enum status rc;

	w.fd = openat(dir, "message.eml",
		O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (w.fd < 0)
		return err_sys(err, ST_FATAL, "create message.eml");
	rc = archive_get(r, seq, write_bytes, &w, &why);
	if (w.rc != ST_OK)
		rc = w.rc;
	else if (rc != ST_OK)
		rc = err_set(err, rc == ST_END ? ST_DENIED : rc,
			why.exit ? why.exit : EX_DATAERR, "%s",
			*why.text ? why.text : "the message is missing");
	else if (fsync(w.fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync message.eml");
	close(w.fd);
	return rc;
}

static enum status put(int dir, const char *name, const struct buf *b, struct err *err)
{
	return fs_replace(dir, name, buf_str(b), b->n, 0666, err);
}

/* ST_END: there is no such file. */
static enum status put_copy(
	int dir, const char *name, int from, const char *file, struct err *err)
{
	struct stat st;
	char *bytes = NULL;
	size_t n;
	enum status rc;

	if (fstatat(from, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? ST_END : err_sys(err, ST_FATAL, "%s", file);
	if (!S_ISREG(st.st_mode))
		return damaged(file, "is no file", err);
	rc = fs_read(&bytes, &n, from, file, MARK_MAX, err);
	if (rc == ST_OK)
		rc = fs_replace(dir, name, bytes, n, 0666, err);
	free(bytes);
	return rc;
}

static enum status put_seal(
	int dir, const struct archive_reader *r, const struct proof *p, struct err *err)
{
	static const char *const ends[] = { ".json", ".p7s", ".tsr" };
	unsigned char sha[DIGEST];
	char name[FILE_NAME_MAX], file[FILE_NAME_MAX], to[16];
	enum status rc = ST_OK;
	size_t i;

	statement_name(name, &r->policy, p->seal);
	name[strlen(name) - strlen(ends[0])] = '\0';
	for (i = 0; rc == ST_OK && i < N_ELEMENTS(ends); i++) {
		file_name(file, name, ends[i]);
		snprintf(to, sizeof(to), "seal%s", ends[i]);
		rc = put_copy(dir, to, r->dir, file, err);
		rc = rc == ST_END && i ? ST_OK : rc;
	}
	if (rc == ST_OK)
		rc = hash_file(dir, "seal.json", sha, NULL, err);
	if (rc == ST_END || (rc == ST_OK && memcmp(sha, p->seal_sha, DIGEST) != 0))
		rc = damaged(name, "was changed meanwhile", err);
	return rc;
}

static bool is_trust(const char *name)
{
	size_t n = strlen(name);

	return (text_starts(name, "signer-") || text_starts(name, "tsa-")) && n > 4 &&
		strcmp(name + n - 4, ".pem") == 0;
}

static enum status put_certificates(int to, int from, struct err *err)
{
	struct names *l;
	const char *name;
	unsigned n = 0;
	enum status rc = names_open(&l, from, ".", err);

	while (rc == ST_OK && (rc = names_next(l, &name, err)) == ST_OK) {
		if (!is_trust(name))
			continue;
		rc = ++n > TRUST_MAX ? damaged("trust", "has too many files", err)
				     : put_copy(to, name, from, name, err);
	}
	names_close(&l);
	return rc == ST_END ? ST_OK : rc;
}

static enum status put_trust(int dir, const struct archive_reader *r, struct err *err)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, to = -1;
	int from = openat(r->dir, "trust", flags);
	enum status rc = ST_OK;

	if (from < 0)
		return errno == ENOENT ? ST_OK : err_sys(err, ST_FATAL, "trust");
	if (mkdirat(dir, "trust", 0777) < 0 || (to = openat(dir, "trust", flags)) < 0)
		rc = err_sys(err, ST_FATAL, "make directory trust");
	if (rc == ST_OK)
		rc = put_certificates(to, from, err);
	if (to >= 0)
		close(to);
	close(from);
	return rc;
}

static enum status fill(
	int dir, struct archive_reader *r, const struct proof *p, struct err *err)
{
	struct buf text = BUF_INIT(PROOF_MAX), script = BUF_INIT(SCRIPT_MAX),
		   howto = BUF_INIT(PROOF_MAX);
	enum status rc;

	proof_text(&text, p);
	proof_script(&script);
	proof_howto(&howto, p);
	rc = put_message(dir, r, p->row.seq, err);
	if (rc == ST_OK)
		rc = put_seal(dir, r, p, err);
	if (rc == ST_OK)
		rc = put_trust(dir, r, err);
	if (rc == ST_OK)
		rc = put(dir, "CHECK.sh", &script, err);
	if (rc == ST_OK)
		rc = put(dir, "HOWTO.txt", &howto, err);
	if (rc == ST_OK)
		rc = put(dir, "proof.json", &text, err);
	if (rc == ST_OK)
		rc = fs_sync_dir(dir, err);
	buf_free(&text);
	buf_free(&script);
	buf_free(&howto);
	return rc;
}

/* A name in a directory: where the proof is to be. */
struct target {
	int parent;
	char *name, *temp;
};

static enum status target_open(struct target *t, const char *out, struct err *err)
{
	size_t n = strlen(out);
	char *path, *slash;
	enum status rc = ST_OK;

	while (n > 1 && out[n - 1] == '/')
		n--;
	path = xmemdup0(out, n);
	slash = strrchr(path, '/');
	t->name = xstrdup(slash ? slash + 1 : path);
	t->temp = xasprintf(".%s.%ld.part", t->name, (long)getpid());
	if (slash)
		slash[slash == path] = '\0';
	t->parent = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->parent < 0)
		rc = err_sys(err, ST_DENIED, "directory %s", slash ? path : ".");
	free(path);
	return rc;
}

static void target_close(struct target *t)
{
	if (t->parent >= 0)
		close(t->parent);
	free(t->name);
	free(t->temp);
}

static enum status refuse_there(const struct target *t, struct err *err)
{
	struct stat st;

	if (fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_CANTCREAT,
		"%s is there already: name a directory that is not", t->name);
}

/* It gets its name when all in it is durable, and never that of something else. */
static enum status publish(const struct target *t, struct err *err)
{
	int no;

	fault_step("prove-written");
	if (renameat2(t->parent, t->temp, t->parent, t->name, RENAME_NOREPLACE) == 0)
		return fs_sync_dir(t->parent, err);
	no = errno;
	if (refuse_there(t, err) != ST_OK)
		return ST_DENIED;
	/* A file system without it. */
	if (no == EINVAL && renameat(t->parent, t->temp, t->parent, t->name) == 0)
		return fs_sync_dir(t->parent, err);
	return err_sys(err, ST_FATAL, "rename %s to %s", t->temp, t->name);
}

/* Only what fill() makes. */
static void take_away(const struct target *t)
{
	static const char *const dirs[] = { "trust", "." };
	const char *name;
	struct names *l;
	size_t i;
	int fd, in;

	fd = openat(
		t->parent, t->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	for (i = 0; fd >= 0 && i < N_ELEMENTS(dirs); i++) {
		in = openat(
			fd, dirs[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (in < 0 || names_open(&l, in, ".", NULL) != ST_OK)
			continue;
		while (names_next(l, &name, NULL) == ST_OK)
			unlinkat(in, name, 0);
		names_close(&l);
		close(in);
		unlinkat(fd, "trust", AT_REMOVEDIR);
	}
	if (fd >= 0)
		close(fd);
	unlinkat(t->parent, t->temp, AT_REMOVEDIR);
}

static enum status make(const struct target *t, struct archive_reader *r,
	const struct proof *p, struct err *err)
{
	enum status rc = ST_OK;
	int fd;

	if (mkdirat(t->parent, t->temp, 0777) < 0)
		return err_sys(err, ST_DENIED, "make directory %s", t->name);
	fd = openat(
		t->parent, t->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		rc = err_sys(err, ST_FATAL, "directory %s", t->temp);
	if (rc == ST_OK)
		rc = fill(fd, r, p, err);
	if (fd >= 0)
		close(fd);
	if (rc == ST_OK)
		rc = publish(t, err);
	if (rc != ST_OK)
		take_away(t);
	return rc;
}

enum status archive_prove(struct archive_reader *r, uint64_t seq, const char *out,
	struct archive_proof *told, struct err *err)
{
	struct proof *p = xcalloc(1, sizeof(*p));
	struct place at = { 0 };
	struct target t = { -1, NULL, NULL };
	enum status rc = target_open(&t, out, err);

	if (rc == ST_OK)
		rc = refuse_there(&t, err);
	if (rc == ST_OK)
		rc = prove(p, &at, r, seq, err);
	if (rc == ST_OK)
		rc = make(&t, r, p, err);
	if (rc == ST_OK)
		proof_tell(told, p);
	target_close(&t);
	idx_free(&at.x);
	free(p);
	return rc;
}
