/* fs.c: whole files, private directories, locks. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum status fs_write(int fd, const void *p, size_t n, struct err *err)
{
	const char *c = p;

	while (n) {
		ssize_t k = write(fd, c, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return err_sys(err, ST_FATAL, "write");
		c += k;
		n -= (size_t)k;
	}
	return ST_OK;
}

ssize_t fs_pread(int fd, void *p, size_t n, uint64_t off)
{
	char *c = p;
	size_t got = 0;

	while (got < n) {
		ssize_t k = pread(fd, c + got, n - got, (off_t)(off + got));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		if (k == 0)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

enum status fs_sync_dir(int dirfd, struct err *err)
{
	/* Some network file systems cannot sync a directory and say EINVAL. */
	if (fsync(dirfd) < 0 && errno != EINVAL)
		return err_sys(err, ST_FATAL, "sync directory");
	return ST_OK;
}

enum status fs_replace(int dirfd, const char *name, const void *p, size_t n,
	mode_t mode, struct err *err)
{
	char *tmp = xasprintf(".%s.%ld.new", name, (long)getpid());
	enum status rc;
	int fd;

	/* A leftover of a process that died with our pid. */
	unlinkat(dirfd, tmp, 0);
	fd = openat(
		dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0) {
		rc = err_sys(err, ST_FATAL, "create %s", name);
		goto out;
	}
	rc = fs_write(fd, p, n, err);
	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync");
	if (close(fd) < 0 && rc == ST_OK)
		rc = err_sys(err, ST_FATAL, "close");
	if (rc == ST_OK && renameat(dirfd, tmp, dirfd, name) < 0)
		rc = err_sys(err, ST_FATAL, "rename");
	if (rc == ST_OK)
		rc = fs_sync_dir(dirfd, err);
	if (rc != ST_OK) {
		unlinkat(dirfd, tmp, 0);
		err_note(err, "%s", name);
	}
out:
	free(tmp);
	return rc;
}

static enum status make_parents(const char *path, struct err *err)
{
	char *copy = xstrdup(path), *s = copy;
	enum status rc = ST_OK;

	while (*s && (s = strchr(s + 1, '/'))) {
		*s = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST) {
			rc = err_sys(err, ST_FATAL, "make directory %s", copy);
			break;
		}
		*s = '/';
	}
	free(copy);
	return rc;
}

static enum status check_dir(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, ST_FATAL, "%s", path);
	if (st.st_uid != geteuid())
		return err_set(err, ST_FATAL, EX_CONFIG,
			"%s belongs to user %ld: run as that user or name another directory",
			path, (long)st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err, ST_FATAL, EX_CONFIG,
			"%s can be written to by others; run: chmod go-w %s", path,
			path);
	return ST_OK;
}

static enum status open_dir(int *out, const char *path, struct err *err)
{
	enum status rc = make_parents(path, err);
	int fd;

	if (rc != ST_OK)
		return rc;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, ST_FATAL, "make directory %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
		return err_set(err, ST_FATAL, EX_CONFIG,
			"%s is not a directory (or is a symbolic link): name the real one",
			path);
	if (fd < 0)
		return err_sys(err, ST_FATAL, "open directory %s", path);
	rc = check_dir(fd, path, err);
	if (rc != ST_OK) {
		close(fd);
		return rc;
	}
	*out = fd;
	return ST_OK;
}

enum status fs_open_dir(int *out, const char *path, struct err *err)
{
	size_t n = strlen(path);
	enum status rc;
	char *bare;

	/* A '/' at the end would make open() follow a symbolic link. */
	while (n > 1 && path[n - 1] == '/')
		n--;
	bare = xmemdup0(path, n);
	rc = open_dir(out, bare, err);
	free(bare);
	return rc;
}

static enum status busy(int fd, const char *name, struct err *err)
{
	char who[256];
	ssize_t n = fs_pread(fd, who, sizeof(who) - 1, 0);

	while (n > 0 && who[n - 1] == '\n')
		n--;
	who[n > 0 ? n : 0] = '\0';
	return err_set(err, ST_DENIED, EX_TEMPFAIL,
		"another run is at work here: %s is held by %s; try again when it has ended",
		name, n > 0 ? who : "an unknown process");
}

enum status fs_lock(int *out, int dirfd, const char *name, struct err *err)
{
	char host[128] = "", now[24], line[256];
	int fd, n;

	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, ST_FATAL, "open %s", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		enum status rc = errno == EWOULDBLOCK
			? busy(fd, name, err)
			: err_sys(err, ST_FATAL, "lock %s", name);
		close(fd);
		return rc;
	}
	gethostname(host, sizeof(host) - 1);
	n = snprintf(line, sizeof(line), "process %ld on %s since %s\n", (long)getpid(),
		host, clock_rfc3339(now, clock_utc()));
	/* Who we are is a courtesy: the lock itself is what counts. */
	if (ftruncate(fd, 0) < 0 || pwrite(fd, line, (size_t)n, 0) < 0)
		errno = 0;
	*out = fd;
	return ST_OK;
}

enum status fs_tmpfile(int *out, int dirfd, struct err *err)
{
	char name[64];
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	static unsigned long serial;
	unsigned long k;

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		k = __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED);
		snprintf(name, sizeof(name), ".tmp.%ld.%lu", (long)getpid(), k);
		fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlinkat(dirfd, name, 0);
	}
	if (fd < 0)
		return err_sys(err, ST_FATAL, "temporary file");
	*out = fd;
	return ST_OK;
}

enum status fs_read(
	char **out, size_t *n, int dirfd, const char *name, size_t max, struct err *err)
{
	/* O_NONBLOCK: a pipe of that name must not hold us up. */
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	enum status rc = ST_OK;
	struct stat st;
	char *p = NULL;
	ssize_t got;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR
			? ST_END
			: err_sys(err, ST_FATAL, "open %s", name);
	if (fstat(fd, &st) < 0) {
		rc = err_sys(err, ST_FATAL, "%s", name);
		goto out;
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max) {
		rc = err_set(err, ST_FATAL, EX_DATAERR,
			"%s is not a file of at most %zu bytes", name, max);
		goto out;
	}
	p = xmalloc((size_t)st.st_size + 1);
	got = fs_pread(fd, p, (size_t)st.st_size, 0);
	if (got < 0) {
		rc = err_sys(err, ST_FATAL, "read %s", name);
		goto out;
	}
	p[got] = '\0';
	*n = (size_t)got;
	*out = p;
	p = NULL;
out:
	free(p);
	close(fd);
	return rc;
}
