/* crypt_kit.h: a folder, files, keys, for the tests of src/crypt. */
#ifndef CRYPT_KIT_H
#define CRYPT_KIT_H

#include "../../src/crypt/own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[256];
static int dirfd_;

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof(dir), "%s/t_crypt.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 ? -1 : 0;
}

static int run(const char *const args[], const char *out)
{
	pid_t pid = fork();
	int status, fd;

	if (pid == 0) {
		fd = open(out ? out : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd >= 0)
			dup2(fd, 1);
		fd = open("/dev/null", O_WRONLY);
		if (fd >= 0)
			dup2(fd, 2);
		execvp(args[0], (char *const *)args);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int drop_dir(void **state)
{
	const char *const args[] = { "rm", "-rf", dir, NULL };

	(void)state;
	close(dirfd_);
	return run(args, NULL);
}

static inline char *in_dir(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static inline void put(const char *name, const void *p, size_t n)
{
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fs_write(fd, p, n, NULL), ST_OK);
	close(fd);
}

static inline int open_it(const char *name)
{
	int fd = openat(dirfd_, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static inline void good(enum status rc, const struct err *err)
{
	if (rc != ST_OK)
		fail_msg("status %d: %s", rc, err->text);
}

static inline void has_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" has no \"%s\"", text, part);
}

/* The byte at offset i of every plain text here. */
static inline unsigned char byte_at(uint64_t i)
{
	return (unsigned char)(i * 31 + i / 253 + i / 65521);
}

static inline void plain_text(unsigned char *p, uint64_t from, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = byte_at(from + i);
}

static inline enum status to_fd(void *ctx, const void *p, size_t n, struct err *err)
{
	return fs_write(*(const int *)ctx, p, n, err);
}

/* A file of n bytes, written in pieces; its own key goes to own, unless NULL. */
static inline void encrypt_file(const char *name, const struct recipients *r,
	uint64_t n, size_t step, struct identities *own)
{
	struct encryptor *e = NULL;
	struct err err = ERR_INIT;
	unsigned char *p = xmalloc(step);
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t at;

	good(encryptor_open(&e, r, to_fd, &fd, &err), &err);
	for (at = 0; at < n; at += step) {
		size_t k = n - at < step ? (size_t)(n - at) : step;

		plain_text(p, at, k);
		good(encryptor_write(e, p, k, &err), &err);
	}
	good(encryptor_end(e, &err), &err);
	if (own)
		encryptor_key(e, own);
	encryptor_close(&e);
	assert_null(e);
	free(p);
	close(fd);
}

static inline void check_one(struct bytes *b, uint64_t n, size_t step)
{
	unsigned char *p = xmalloc(step + 1), *want = xmalloc(step + 1);
	struct err err = ERR_INIT;
	uint64_t at;
	size_t got;

	assert_int_equal(bytes_size(b), n);
	for (at = 0; at < n; at += step) {
		good(bytes_read(b, p, step, at, &got, &err), &err);
		assert_int_equal(got, n - at < step ? n - at : step);
		plain_text(want, at, got);
		assert_memory_equal(p, want, got);
	}
	good(bytes_read(b, p, step, n, &got, &err), &err);
	assert_int_equal(got, 0);
	good(bytes_read(b, p, step, UINT64_MAX, &got, &err), &err);
	assert_int_equal(got, 0);
	free(p);
	free(want);
}

/* All of it, read in pieces of step bytes; the same by its twin. */
static inline void check_bytes(struct bytes *b, uint64_t n, size_t step)
{
	struct err err = ERR_INIT;
	struct bytes *twin = NULL;

	check_one(b, n, step);
	good(bytes_twin(&twin, b, &err), &err);
	check_one(twin, n, step);
	bytes_close(&twin);
	check_one(b, n, step);
}

static inline size_t read_file(unsigned char **out, const char *name)
{
	char *p = NULL;
	size_t n = 0;

	assert_int_equal(fs_read(&p, &n, dirfd_, name, 64 * 1024 * 1024, NULL), ST_OK);
	*out = (unsigned char *)p;
	return n;
}

#endif
