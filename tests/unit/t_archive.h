/*
 * t_archive.h: what the archive tests share: odd messages, scratch
 * directories, tools run without a shell.
 */
#ifndef T_ARCHIVE_H
#define T_ARCHIVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <popferry/archive.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* ---- directories ---- */

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(p);
}

UNUSED static void remove_all(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new empty directory; free() the name. */
UNUSED static char *scratch(void)
{
	const char *base = getenv("TMPDIR");
	char *t = xasprintf("%s/t_archive.XXXXXX", base && *base ? base : "/tmp");

	assert_non_null(mkdtemp(t));
	return t;
}

UNUSED static char *slurp(const char *path, size_t *n)
{
	char *p = NULL;
	struct err err = ERR_INIT;

	if (fs_read(&p, n, AT_FDCWD, path, 1 << 28, &err) != ST_OK)
		fail_msg("%s: %s", path, err.text);
	return p;
}

/* Of the archive, the caller's: urn:uuid:... */
UNUSED static char *id_of(const char *archive)
{
	static const char key[] = "\"id\":\"";
	char *path = xasprintf("%s/archive.json", archive), *text, *at, *id;
	size_t n;

	text = slurp(path, &n);
	at = strstr(text, key);
	assert_non_null(at);
	at += strlen(key);
	id = xasprintf("%.*s", (int)strcspn(at, "\""), at);
	free(text);
	free(path);
	return id;
}

UNUSED static void spit(const char *path, const void *p, size_t n)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	close(fd);
}

UNUSED static bool exists(const char *dir, const char *name)
{
	char *p = xasprintf("%s/%s", dir, name);
	bool yes = access(p, F_OK) == 0;

	free(p);
	return yes;
}

/* Hex SHA-256 of a file, or "" when there is none. */
UNUSED static void file_sha(const char *dir, const char *name, char out[65])
{
	char *p = xasprintf("%s/%s", dir, name), *bytes;
	unsigned char sha[32];
	size_t n;

	out[0] = '\0';
	if (access(p, F_OK) == 0) {
		bytes = slurp(p, &n);
		EVP_Digest(bytes, n, sha, NULL, EVP_sha256(), NULL);
		text_hex(out, sha, 32);
		free(bytes);
	}
	free(p);
}

/* Runs a tool with its output to a file; -1 when it is not installed. */
UNUSED static int tool(const char *dir, const char *out, const char *const argv[])
{
	posix_spawn_file_actions_t to;
	pid_t pid;
	int st, rc;

	posix_spawn_file_actions_init(&to);
	posix_spawn_file_actions_addopen(
		&to, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&to, 1, 2);
	posix_spawn_file_actions_addchdir_np(&to, dir);
	/* A fork() copies the tables of a sanitizer's memory each time. */
	rc = posix_spawnp(&pid, argv[0], &to, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&to);
	if (rc == ENOENT)
		return -1;
	assert_int_equal(rc, 0);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	return WEXITSTATUS(st) == 127 ? -1 : WEXITSTATUS(st);
}

/* ---- messages ---- */

/* The bytes of message i: of many sizes and contents, always the same. */
UNUSED static char *bytes_of(unsigned i, size_t *n)
{
	static const size_t sizes[] = { 700, 0, 1, 511, 512, 513, 5000, 20000, 1024,
		3000 };
	size_t size = sizes[i % N_ELEMENTS(sizes)], k, head = 0;
	uint32_t x = 12345 + i;
	char *p = xmalloc(size + 512);

	if (size > 200)
		head = (size_t)snprintf(p, 512,
			"From: \"A, \"\"B\" <a%u@example.org>\r\nTo: b@example.org\r\n"
			"Subject: caf\xc3\xa9 \xff, line %u\r\n"
			"Message-ID: <%u@example.org>\r\n"
			"Date: Fri, 5 Jan 2024 10:00:%02u +0100\r\n\r\n",
			i, i, i, i % 60);
	for (k = head; k < size; k++) {
		x = x * 1664525 + 1013904223;
		/* Text, with NUL, bare CR and bare LF now and then. */
		p[k] = (char)(x >> 24 < 8 ? (x >> 8) % 16 : 'a' + (x >> 26));
	}
	*n = size;
	return p;
}

UNUSED static struct message *message_from(struct spool *sp, const char *p, size_t n)
{
	struct message_maker *mk;
	struct message *m = NULL;
	struct err err = ERR_INIT;

	message_begin(&mk, sp);
	message_put(mk, p, n);
	if (message_end(&mk, &m, &err) != ST_OK)
		fail_msg("%s", err.text);
	return m;
}

UNUSED static struct message *message_of(struct spool *sp, unsigned i)
{
	size_t n;
	char *p = bytes_of(i, &n);
	struct message *m = message_from(sp, p, n);

	free(p);
	return m;
}

/* What is known of message i; uidl must outlive it. */
UNUSED static struct archive_entry entry_of(unsigned i, char uidl[32])
{
	static const char *const folders[] = { "", "Sent", "Lists/caf\xc3\xa9",
		"../x/.y" };
	struct archive_entry e = { 0 };

	snprintf(uidl, 32, "u\"%u", i);
	e.folder = folders[i % N_ELEMENTS(folders)];
	e.uidl = uidl;
	e.uidl_n = strlen(uidl);
	e.occurrence = 1;
	e.number = i + 1;
	e.listed_size = i % 3 ? i * 100 : UINT64_MAX;
	e.retrieved = 1700000000 + i;
	e.date = (struct when){ true, 1704445200 + i, 60 };
	e.seen = i % 2;
	return e;
}

/* ---- archives ---- */

/* How many threads compress in what open_archive() opens; 0: as many as usual. */
UNUSED static unsigned threads;

/* Instead of chance and the clock. */
UNUSED static const struct archive_fixed fixed = { "not so random", 1700009999 };

UNUSED static struct archive_writer *open_archive(
	const char *path, enum archive_codec codec, unsigned per_segment)
{
	struct archive_config cfg = { .path = path,
		.slug = "acme",
		.source = "pop3s://ann@pop.example.org",
		.codec = codec,
		.codec_given = true,
		.segment_messages = per_segment,
		.threads = threads,
		.fixed = &fixed };
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;

	if (archive_open(&w, &cfg, &err) != ST_OK)
		fail_msg("open: %s", err.text);
	return w;
}

/*
 * An archive with a fixed identity, so that two of them can be equal byte for
 * byte, and with members small enough that few messages make many.
 */
UNUSED static void make_archive(
	const char *path, enum archive_codec codec, unsigned member)
{
	struct archive_writer *w = open_archive(path, codec, 0);
	char *json = xasprintf("%s/archive.json", path),
	     *manifest = xasprintf("%s/manifest-sha256.txt", path),
	     *text = xasprintf("{\"format\":1,\"id\":\"urn:uuid:0\",\"slug\":\"acme\","
			       "\"later\":{\"a\":[1,\"}\"]},"
			       "\"tree\":\"rfc6962-sha256\",\"log_head\":true,"
			       "\"codec\":\"%s\","
			       "\"member_bytes\":%u,\"segment_bytes\":1000000000,"
			       "\"segment_messages\":60000}\n",
		     archive_codec_name(codec), member);

	archive_close(&w);
	spit(json, text, strlen(text));
	unlink(manifest);
	free(json);
	free(manifest);
	free(text);
}

UNUSED static uint64_t put_one(struct archive_writer *w, struct spool *sp, unsigned i)
{
	struct message *m = message_of(sp, i);
	struct err err = ERR_INIT;
	struct archive_entry e;
	uint64_t seq = 0;
	char uidl[32];

	e = entry_of(i, uidl);
	if (archive_put(w, m, &e, &seq, &err) != ST_OK)
		fail_msg("put %u: %s", i, err.text);
	message_free(&m);
	return seq;
}

/* The number of message i in the archive, or 0. */
UNUSED static uint64_t find_one(struct archive_writer *w, struct spool *sp, unsigned i)
{
	struct message *m = message_of(sp, i);
	struct err err = ERR_INIT;
	struct archive_entry e;
	uint64_t seq = 0;
	char uidl[32];
	enum status rc;

	e = entry_of(i, uidl);
	rc = archive_find(w, &e, m, &seq, &err);
	if (rc < 0)
		fail_msg("find %u: %s", i, err.text);
	message_free(&m);
	return rc == ST_OK ? seq : 0;
}

UNUSED static void ok(enum status rc, const struct err *err)
{
	if (rc != ST_OK)
		fail_msg("status %d: %s", rc, err->text);
}

/* All n messages, in the order of their making, byte for byte. */
struct same {
	const char *want;
	size_t n, at;
	bool right;
};

UNUSED static void same_take(void *ctx, const char *p, size_t n)
{
	struct same *s = ctx;

	s->right = s->right && n <= s->n - s->at && memcmp(s->want + s->at, p, n) == 0;
	s->at += n;
}

/* The messages 1 to n are what they should be. */
UNUSED static void check_each(struct archive_reader *r, unsigned n)
{
	struct err err = ERR_INIT;
	struct same s = { 0 };
	unsigned i;

	for (i = 0; i < n; i++) {
		char *want = bytes_of(i, &s.n);

		s.want = want;
		s.at = 0;
		s.right = true;
		ok(archive_get(r, i + 1, same_take, &s, &err), &err);
		assert_true(s.right);
		assert_int_equal(s.at, s.n);
		free(want);
	}
}

UNUSED static void check_messages(const char *path, unsigned n)
{
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct same s = { 0 };

	ok(archive_read(&r, path, &err), &err);
	check_each(r, n);
	assert_int_equal(archive_get(r, n + 1, same_take, &s, &err), ST_END);
	assert_int_equal(archive_get(r, 0, same_take, &s, &err), ST_END);
	archive_done(&r);
}

UNUSED static void print_bad(void *ctx, const char *what)
{
	(void)ctx;
	print_message("%s\n", what);
}

UNUSED static void check_good(const char *path, unsigned segments, unsigned messages)
{
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct archive_check c;

	ok(archive_read(&r, path, &err), &err);
	ok(archive_verify(r, &c, print_bad, NULL, &err), &err);
	assert_int_equal(c.segments, segments);
	assert_int_equal(c.messages, messages);
	assert_int_equal(c.damaged, 0);
	archive_done(&r);
}

#endif
