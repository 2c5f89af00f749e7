/*
 * kept.c: the index of an encrypted archive, in a file that its readers alone can make.
 *
 * What one encrypts to somebody with, everybody has: who can write in the
 * archive could put an index there that leaves messages out. So the key is made of
 * secrets of who searches, and of the archive's id. An older index of the same reader
 * can be put back: that it is compared with the archive before each search makes it
 * harmless.
 *
 *   text    its size (8 bytes, big endian), the database; in records, as open/ has them
 */
#include "own.h"

#include <popferry/crypt.h>
#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/log.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SIZE = 8,
	TAG = 8,
	/* While it is read or written it is in memory twice. */
	KEPT_MAX = 1 << 30,
	/* Records take little more room than what is in them. */
	FILE_MAX = KEPT_MAX + KEPT_MAX / 64,
};

static uint64_t keep_max(const struct search *s)
{
	return s->how.keep_max ? s->how.keep_max : KEPT_MAX;
}

static bool derive(unsigned char key[CRYPT_KEY], const struct search *s,
	const char *info, struct err *err)
{
	return identities_derive(key, s->how.identities, archive_read_id(s->r), info,
		       err) == ST_OK;
}

/* One key for the text. The other is the name: it tells who has the secrets that it is
 * theirs, and others nothing, not even of two archives that they have one reader. */
static bool name_it(struct search *s)
{
	unsigned char tag[CRYPT_KEY];
	char hex[2 * TAG + 1];
	bool can = derive(tag, s, "popferry-search-name/1", NULL);

	if (can) {
		text_hex(hex, tag, TAG);
		snprintf(s->kept, sizeof(s->kept), "catalog-%s.enc", hex);
	}
	explicit_bzero(tag, sizeof(tag));
	return can;
}

static int open_folder(const struct search *s)
{
	char *path = xasprintf("%s/index", s->path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	free(path);
	return fd;
}

static enum status open_records(
	struct records **r, const struct search *s, int fd, struct err *err)
{
	unsigned char key[CRYPT_KEY];
	enum status rc = ST_END;

	if (derive(key, s, "popferry-search-index/1", err))
		rc = records_open(r, fd, key, s->kept, err);
	explicit_bzero(key, sizeof(key));
	return rc;
}

/* ---- beginning ---- */

unsigned count_disposals(const char *archive)
{
	char *path = xasprintf("%s/policy", archive);
	DIR *d = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += text_starts(e->d_name, "disposition-");
	if (d)
		closedir(d);
	free(path);
	return n;
}

void kept_begin(struct search *s)
{
	if (!name_it(s))
		log_info(NULL, "index-not-kept",
			LOG_S("reason", "no secret can be had of an --identity"));
}

/* ---- reading ---- */

static enum status bad(struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"it is damaged, or was made by somebody else");
}

static enum status read_all(
	unsigned char **out, uint64_t *n, struct records *r, struct err *err)
{
	unsigned char head[SIZE];
	uint64_t all = records_size(r);
	size_t got, i;
	enum status rc;

	if (all <= SIZE || all > KEPT_MAX + SIZE)
		return bad(err);
	rc = records_read(r, head, SIZE, 0, &got, err);
	for (i = 0, *n = 0; rc == ST_OK && i < SIZE; i++)
		*n = *n << 8 | head[i];
	if (rc != ST_OK || *n != all - SIZE)
		return bad(err);
	*out = sqlite3_malloc64(*n);
	if (!*out)
		xmemory_gone();
	rc = records_read(r, *out, (size_t)*n, SIZE, &got, err);
	if (rc == ST_OK && got == *n)
		return ST_OK;
	sqlite3_free(*out);
	return bad(err);
}

/* Into a database that grows as any in memory. Takes p. */
static enum status put_database(
	struct search *s, unsigned char *p, uint64_t n, struct err *err)
{
	sqlite3 *from = NULL;
	sqlite3_backup *copy = NULL;
	int rc = sqlite3_open_v2(
		":memory:", &from, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_deserialize(from, "main", p, (int64_t)n, (int64_t)n,
			SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY);
	else
		sqlite3_free(p);
	if (rc == SQLITE_OK)
		copy = sqlite3_backup_init(s->db, "main", from, "main");
	if (copy) {
		sqlite3_backup_step(copy, -1);
		rc = sqlite3_backup_finish(copy);
	} else if (rc == SQLITE_OK) {
		rc = sqlite3_errcode(s->db);
	}
	sqlite3_close(from);
	if ((rc & 0xff) == SQLITE_NOMEM)
		xmemory_gone();
	return rc == SQLITE_OK ? ST_OK : bad(err);
}

static enum status load(struct search *s, int fd, struct err *err)
{
	struct records *r = NULL;
	unsigned char *p = NULL;
	struct stat st;
	uint64_t n = 0;
	enum status rc;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return bad(err);
	rc = open_records(&r, s, fd, NULL);
	rc = rc == ST_OK ? read_all(&p, &n, r, err) : bad(err);
	records_close(&r);
	return rc == ST_OK ? put_database(s, p, n, err) : rc;
}

enum status kept_load(struct search *s, struct err *err)
{
	int dirfd, fd;
	enum status rc;

	if (!*s->kept)
		return ST_END;
	dirfd = open_folder(s);
	if (dirfd < 0)
		return ST_END;
	fd = openat(dirfd, s->kept, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	close(dirfd);
	if (fd < 0)
		return errno == ENOENT ? ST_END : bad(err);
	rc = load(s, fd, err);
	close(fd);
	return rc;
}

/* ---- writing ---- */

static enum status write_all(
	struct search *s, int fd, const unsigned char *p, uint64_t n, struct err *err)
{
	struct records *r = NULL;
	unsigned char head[SIZE];
	enum status rc = open_records(&r, s, fd, err);
	size_t i;

	for (i = 0; i < SIZE; i++)
		head[i] = (unsigned char)(n >> 8 * (SIZE - 1 - i));
	if (rc == ST_OK)
		rc = records_add(r, head, SIZE, err);
	if (rc == ST_OK)
		rc = records_add(r, p, (size_t)n, err);
	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync");
	records_close(&r);
	return rc;
}

/* Under the lock: there is one writer of this name. */
static enum status write_file(struct search *s, int dirfd, struct err *err)
{
	char part[sizeof(s->kept) + 8];
	sqlite3_int64 n = 0;
	unsigned char *p;
	enum status rc;
	int fd;

	p = sqlite3_serialize(s->db, "main", &n, 0);
	if (!p)
		xmemory_gone();
	snprintf(part, sizeof(part), "%s.part", s->kept);
	unlinkat(dirfd, part, 0);
	fd = openat(
		dirfd, part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	rc = fd < 0 ? err_sys(err, ST_FATAL, "create")
		    : write_all(s, fd, p, (uint64_t)n, err);
	sqlite3_free(p);
	if (fd >= 0)
		close(fd);
	fault_step("index-kept-written");
	if (rc == ST_OK && renameat(dirfd, part, dirfd, s->kept) < 0)
		rc = err_sys(err, ST_FATAL, "rename");
	fault_step("index-kept");
	if (rc == ST_OK)
		rc = fs_sync_dir(dirfd, err);
	if (rc != ST_OK)
		unlinkat(dirfd, part, 0);
	return rc;
}

static bool too_large(struct search *s)
{
	sqlite3_int64 n = 0;

	sqlite3_serialize(s->db, "main", &n, SQLITE_SERIALIZE_NOCOPY);
	return (uint64_t)n > keep_max(s);
}

/* Where nothing can be written nothing is, as ever. */
static int make_folder(const struct search *s)
{
	char *path = xasprintf("%s/index", s->path);
	int fd;

	mkdir(path, 0700);
	fd = open_folder(s);
	if (fd >= 0 && faccessat(fd, ".", W_OK, 0) < 0) {
		close(fd);
		fd = -1;
	}
	free(path);
	return fd;
}

static enum status save(struct search *s, int dirfd, struct err *err)
{
	int lock = -1;
	enum status rc = fs_lock(&lock, dirfd, "lock", err);

	if (rc == ST_DENIED)
		return ST_OK; /* another search keeps its own, which is as good */
	if (rc == ST_OK)
		rc = write_file(s, dirfd, err);
	/* A disposal removes what is in index/ after its record was written: nothing of
	 * what it disposes of may come there behind it. */
	if (rc == ST_OK && count_disposals(s->path) != s->disposals &&
		unlinkat(dirfd, s->kept, 0) < 0 && errno != ENOENT)
		rc = err_sys(err, ST_FATAL, "remove");
	if (lock >= 0)
		close(lock);
	return rc;
}

void kept_save(struct search *s)
{
	struct err err = ERR_INIT;
	enum status rc = ST_OK;
	char *text, most[16];
	int dirfd;

	if (!*s->kept || !s->changed)
		return;
	dirfd = make_folder(s);
	if (dirfd < 0)
		return;
	if (too_large(s))
		rc = err_set(&err, ST_DENIED, EX_DATAERR, "it is larger than %s",
			text_bytes(most, keep_max(s)));
	else
		rc = save(s, dirfd, &err);
	close(dirfd);
	if (rc == ST_OK) {
		s->changed = false;
		return;
	}
	text = xasprintf("the index is good for this search alone: %s/index/%s: %s",
		s->path, s->kept, err.text);
	search_say(s, text);
	free(text);
}
