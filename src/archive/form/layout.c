/* layout.c: names of files, segments and messages. */
#include "layout.h"
#include "hash.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART_MAX = 80, PARTS_MAX = 8, HASH_HEX = 8 };

static const struct {
	const char *name, *suffix, *open_suffix;
} codecs[] = {
	[ARCHIVE_GZ] = { "gz", ".tar.gz", ".tar.gz.part" },
	[ARCHIVE_ZST] = { "zst", ".tar.zst", ".tar.zst.part" },
	[ARCHIVE_ZIP] = { "zip", ".zip", ".tar.part" },
	[ARCHIVE_NONE] = { "none", ".tar", ".tar.part" },
};

const char *archive_codec_name(enum archive_codec c)
{
	return codecs[c].name;
}

const char *codec_suffix(enum archive_codec c)
{
	return codecs[c].suffix;
}

const char *codec_open_suffix(enum archive_codec c)
{
	return codecs[c].open_suffix;
}

const char *segment_suffix(const struct policy *p)
{
	static const char *const suffixes[][3] = {
		[ARCHIVE_GZ] = { ".tar.gz", ".tar.gz.age", ".tar.gz.p7m" },
		[ARCHIVE_ZST] = { ".tar.zst", ".tar.zst.age", ".tar.zst.p7m" },
		[ARCHIVE_ZIP] = { ".zip", ".zip.age", ".zip.p7m" },
		[ARCHIVE_NONE] = { ".tar", ".tar.age", ".tar.p7m" },
	};

	return suffixes[p->codec][p->crypt];
}

const char *idx_suffix(const struct policy *p)
{
	static const char *const suffixes[] = { ".idx", ".idx.age", ".idx.p7m" };

	return suffixes[p->crypt];
}

bool codec_packs(enum archive_codec c)
{
	return c == ARCHIVE_GZ || c == ARCHIVE_ZST;
}

void segment_name(char out[NAME_MAX_SEGMENT], const struct policy *p, unsigned no)
{
	snprintf(out, NAME_MAX_SEGMENT, "%s-%06u", p->slug, no % (SEGMENT_NO_MAX + 1));
}

void segment_stem(char out[STEM_MAX], const struct policy *p, struct segment_no s)
{
	char name[NAME_MAX_SEGMENT];

	segment_name(name, p, s.no);
	if (s.revision)
		snprintf(
			out, STEM_MAX, "%s.r%u", name, s.revision % (REVISION_MAX + 1));
	else
		snprintf(out, STEM_MAX, "%s", name);
}

void file_name(char out[FILE_NAME_MAX], const char *segment, const char *suffix)
{
	snprintf(out, FILE_NAME_MAX, "%s%s", segment, suffix);
}

void rest_name(char out[FILE_NAME_MAX], const char *segment, unsigned member)
{
	snprintf(out, FILE_NAME_MAX, "%s.rest-%06u.tar", segment, member);
}

void key_name(char out[FILE_NAME_MAX], const struct policy *p, unsigned no)
{
	snprintf(out, FILE_NAME_MAX, "archive-%s-%06u.key", p->id + strlen("urn:uuid:"),
		no % (SEGMENT_NO_MAX + 1));
}

static int by_number(const void *a, const void *b)
{
	const struct segment_no *x = a, *y = b;

	if (x->no != y->no)
		return x->no < y->no ? -1 : 1;
	return x->revision < y->revision ? -1 : x->revision > y->revision;
}

/* The numbers in SLUG-N.EXT or SLUG-N.rN.EXT; false when it is something else. */
static bool number_of(struct segment_no *out, const char *name, const struct policy *p)
{
	char want[FILE_NAME_MAX], stem[STEM_MAX], *end;
	size_t n = strlen(p->slug);
	unsigned long no, revision = 0;

	if (strncmp(name, p->slug, n) != 0 || name[n] != '-')
		return false;
	no = strtoul(name + n + 1, &end, 10);
	if (no == 0 || no > SEGMENT_NO_MAX)
		return false;
	if (text_starts(end, ".r"))
		revision = strtoul(end + 2, NULL, 10);
	if (revision > REVISION_MAX)
		return false;
	*out = (struct segment_no){ (unsigned)no, (unsigned)revision };
	segment_stem(stem, p, *out);
	file_name(want, stem, segment_suffix(p));
	return strcmp(want, name) == 0;
}

/* Of each number the last: an older revision that is still there is on its way out. */
static size_t newest_only(struct segment_no *list, size_t n)
{
	size_t i, kept = 0;

	for (i = 0; i < n; i++)
		if (i + 1 == n || list[i + 1].no != list[i].no)
			list[kept++] = list[i];
	return kept;
}

/* NAME-000001 and the like, of an archive of any name. */
static bool is_somebodys(const char *name, const struct policy *p)
{
	const char *suffix = segment_suffix(p);
	size_t n = strlen(name), tail = strlen(suffix), digits = 0;

	if (n <= tail || strcmp(name + n - tail, suffix) != 0)
		return false;
	for (n -= tail; n && isdigit((unsigned char)name[n - 1]); n--)
		digits++;
	return digits == 6 && n > 1 && name[n - 1] == '-';
}

enum status segments_list(struct segment_no **out, size_t *n, int segdir,
	const struct policy *p, struct err *err)
{
	struct segment_no *list = NULL, no;
	char other[FILE_NAME_MAX] = "";
	struct names *l;
	const char *name;
	enum status rc = names_open(&l, segdir, ".", err);

	*n = 0;
	while (rc == ST_OK && (rc = names_next(l, &name, err)) == ST_OK) {
		if (!number_of(&no, name, p)) {
			if (is_somebodys(name, p))
				snprintf(other, sizeof(other), "%s", name);
			continue;
		}
		list = xreallocarray(list, *n + 1, sizeof(*list));
		list[(*n)++] = no;
	}
	names_close(&l);
	/* To go on would be to begin anew beside all that is there. */
	if (rc >= 0 && *n == 0 && *other)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"archive.json names the segments %s-NUMBER, but segments/ has %s: "
			"one of them was changed; put it back from a copy of the archive",
			p->slug, other);
	if (rc < 0) {
		free(list);
		*n = 0;
		return err_note(err, "segments");
	}
	if (*n)
		qsort(list, *n, sizeof(*list), by_number);
	*n = newest_only(list, *n);
	*out = list;
	return ST_OK;
}

enum status open_log_find(
	unsigned *no, int opendir, const struct policy *p, struct err *err)
{
	char segment[NAME_MAX_SEGMENT], file[FILE_NAME_MAX];
	size_t n = strlen(p->slug);
	struct names *l;
	const char *name;
	enum status rc = names_open(&l, opendir, ".", err);

	*no = 0;
	while (rc == ST_OK && (rc = names_next(l, &name, err)) == ST_OK) {
		unsigned long k;

		if (strncmp(name, p->slug, n) != 0 || name[n] != '-')
			continue;
		k = strtoul(name + n + 1, NULL, 10);
		if (k == 0 || k > SEGMENT_NO_MAX)
			continue;
		segment_name(segment, p, (unsigned)k);
		file_name(file, segment, ".log");
		if (strcmp(file, name) != 0)
			continue;
		if (*no)
			rc = err_set(err, ST_DENIED, EX_DATAERR,
				"open/ has two commit logs: put it back from a copy of the "
				"archive");
		*no = (unsigned)k;
	}
	names_close(&l);
	return rc < 0 ? err_note(err, "open") : ST_OK;
}

/* ---- what is in a directory ---- */

enum status file_there(int dirfd, const char *name, struct err *err)
{
	if (faccessat(dirfd, name, F_OK, 0) == 0)
		return ST_OK;
	return errno == ENOENT ? ST_END : err_sys(err, ST_FATAL, "%s", name);
}

enum status file_real(int dirfd, const char *name, struct err *err)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT || errno == ENOTDIR
			? ST_END
			: err_sys(err, ST_FATAL, "%s", name);
	if (S_ISREG(st.st_mode))
		return ST_OK;
	return err_set(err, ST_DENIED, EX_DATAERR,
		"%s is a link or something else that is no file: put it back from a copy",
		name);
}

struct names {
	DIR *dir;
};

enum status names_open(struct names **out, int dirfd, const char *name, struct err *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	enum status rc;

	*out = NULL;
	if (!dir) {
		rc = fd < 0 && errno == ENOENT
			? ST_END
			: err_sys(err, ST_FATAL, "read directory %s", name);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	*out = xcalloc(1, sizeof(**out));
	(*out)->dir = dir;
	return ST_OK;
}

enum status names_next(struct names *l, const char **name, struct err *err)
{
	struct dirent *d;

	do {
		errno = 0; /* only so an error is known from the end */
		d = readdir(l->dir);
		if (!d)
			return errno ? err_sys(err, ST_FATAL, "read directory")
				     : ST_END;
	} while (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0);
	*name = d->d_name;
	return ST_OK;
}

void names_close(struct names **lp)
{
	if (!*lp)
		return;
	closedir((*lp)->dir);
	free(*lp);
	*lp = NULL;
}

/* ---- paths inside a segment ---- */

static bool dos_device(const char *s, size_t n)
{
	static const char *const names[] = { "con", "prn", "aux", "nul" };
	size_t i, stem = 0;

	while (stem < n && s[stem] != '.')
		stem++;
	for (i = 0; stem == 3 && i < N_ELEMENTS(names); i++)
		if (text_same_n(s, names[i], 3))
			return true;
	return stem == 4 && (text_same_n(s, "com", 3) || text_same_n(s, "lpt", 3)) &&
		s[3] >= '0' && s[3] <= '9';
}

static bool fits(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static void add_mark(struct buf *b, const char *s, size_t n)
{
	unsigned char sha[DIGEST];
	char hex[HASH_HEX + 1];

	hash_of(s, n, sha);
	buf_addf(b, "~%s", text_hex(hex, sha, HASH_HEX / 2));
}

static void add_part(struct buf *b, const char *s, size_t n)
{
	size_t most = PART_MAX - HASH_HEX - 1, keep = n <= PART_MAX ? n : most, i;
	char out[PART_MAX];
	bool changed = keep < n;

	for (i = 0; i < keep; i++)
		out[i] = fits(s[i]) ? s[i] : '_';
	if (out[0] == '.' || out[0] == '-' || dos_device(out, keep))
		out[0] = '_';
	if (out[keep - 1] == '.')
		out[keep - 1] = '_';
	changed = changed || memcmp(out, s, keep) != 0;
	if (changed && keep > most)
		keep = most;
	buf_add(b, out, keep);
	if (changed)
		add_mark(b, s, n);
}

void folder_label(struct buf *out, const char *folder)
{
	struct buf b = BUF_INIT(2 * PARTS_MAX * PART_MAX);
	const char *s = folder;
	unsigned parts = 0;

	while (*s && parts <= PARTS_MAX) {
		size_t n = strcspn(s, "/");

		if (n) {
			if (parts++)
				buf_addc(&b, '/');
			add_part(&b, s, n);
		}
		s += n + (s[n] == '/');
	}
	if (parts == 0)
		buf_adds(&b, "INBOX");
	if (parts > PARTS_MAX || b.n > PATH_LABEL_MAX) {
		size_t keep = PATH_LABEL_MAX - HASH_HEX - 1;

		if (keep > b.n)
			keep = b.n;
		while (keep && (b.p[keep - 1] == '/' || b.p[keep - 1] == '.'))
			keep--;
		b.n = keep;
		add_mark(&b, folder, strlen(folder));
	}
	buf_add(out, b.p, b.n);
	buf_free(&b);
}

void message_path(struct buf *b, const char *folder, uint64_t seq)
{
	buf_adds(b, "data/eml/");
	folder_label(b, folder);
	buf_addf(b, "/%09" PRIu64 ".eml", seq);
}

/* "data/eml/LABEL/000000001" and then this. */
static bool path_seq(const char *path, const char *end, uint64_t *seq)
{
	size_t n = strlen(path), k = strlen(end), i;
	const char *digits;

	if (n < strlen("data/eml/x/000000001") + k || !text_starts(path, "data/eml/") ||
		strcmp(path + n - k, end) != 0)
		return false;
	digits = path + n - k - 9;
	if (digits[-1] != '/')
		return false;
	*seq = 0;
	for (i = 0; i < 9; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return false;
		*seq = *seq * 10 + (uint64_t)(digits[i] - '0');
	}
	return true;
}

bool message_path_seq(const char *path, uint64_t *seq)
{
	return path_seq(path, ".eml", seq);
}

bool tombstone_path_seq(const char *path, uint64_t *seq)
{
	return path_seq(path, ".tombstone", seq);
}

bool entry_path_seq(const char *path, bool tombstone, uint64_t *seq)
{
	return tombstone ? tombstone_path_seq(path, seq) : message_path_seq(path, seq);
}
