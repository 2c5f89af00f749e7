/* kill_kit.h: a run of the archive's writer, in a process of its own that dies at a
 * step. */
#ifndef KILL_KIT_H
#define KILL_KIT_H

#include "t_archive.h"

/* What a run does: puts what is not there yet, commits now and then, seals. The exit
 * code. */
UNUSED static int run_whole(const struct archive_config *cfg, unsigned messages,
	unsigned every,
	enum status (*commit)(struct archive_writer *w, unsigned put, struct err *err))
{
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
	struct archive_writer *w = NULL;
	struct spool *sp;
	struct err err = ERR_INIT;
	unsigned i, put = 0;
	enum status rc;

	spool_open(&sp, fd, 1 << 24);
	rc = archive_open(&w, cfg, &err);
	for (i = 0; rc == ST_OK && i < messages; i++) {
		uint64_t seq = find_one(w, sp, i);

		if (seq) {
			archive_claim(w, seq);
			continue;
		}
		put_one(w, sp, i);
		if (++put % every == 0)
			rc = commit(w, put, &err);
	}
	if (rc == ST_OK)
		rc = archive_seal(w, &err);
	archive_close(&w);
	spool_close(&sp);
	close(fd);
	if (rc != ST_OK)
		fprintf(stderr, "run: %s\n", err.text);
	return rc == ST_OK ? 0 : 1;
}

/* The same in a process that dies at step n (0: never). True when it died. */
UNUSED static bool run_killed(
	const char *dir, enum archive_codec codec, unsigned every, unsigned n)
{
	char at[16], c[16], e[16];
	pid_t pid;
	int st;

	snprintf(at, sizeof(at), "%u", n);
	snprintf(c, sizeof(c), "%d", (int)codec);
	snprintf(e, sizeof(e), "%u", every);
	pid = fork();
	if (pid == 0) {
		setenv("POPFERRY_CRASH_AT", at, 1);
		execl("/proc/self/exe", "test", "--run", dir, c, e, (char *)NULL);
		_exit(99);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	if (WIFSIGNALED(st) && WTERMSIG(st) == 9)
		return true;
	if (!WIFEXITED(st) || WEXITSTATUS(st) != 0)
		fail_msg("codec %s, death at step %u: the run failed",
			archive_codec_name(codec), n);
	return false;
}

#endif
