/* zygote.c: the process that is put aside. */
#include "zygote.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct zygote {
	pid_t pid;
	int fd;
};

/* One that cannot be forked counts as one that ended oddly. */
static int fork_one(int fd, char *args, int (*run)(char *args))
{
	int st = -1;
	pid_t pid = fork();

	if (pid == 0) {
		close(fd);
		_exit(run(args));
	}
	if (pid < 0 || waitpid(pid, &st, 0) != pid)
		return -1;
	return st;
}

static void serve(int fd, int (*run)(char *args))
{
	char args[ZYGOTE_ARGS];
	int st;

	while (recv(fd, args, sizeof(args), 0) == sizeof(args)) {
		st = fork_one(fd, args, run);
		if (send(fd, &st, sizeof(st), MSG_NOSIGNAL) != sizeof(st))
			break;
	}
	_exit(0);
}

void zygote_open(struct zygote **out, int (*run)(char *args))
{
	struct zygote *z = xcalloc(1, sizeof(*z));
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	z->pid = fork();
	if (z->pid < 0)
		abort();
	if (z->pid == 0) {
		close(fds[0]);
		serve(fds[1], run);
	}
	close(fds[1]);
	z->fd = fds[0];
	*out = z;
}

void zygote_close(struct zygote **zp)
{
	struct zygote *z = *zp;

	if (!z)
		return;
	close(z->fd);
	waitpid(z->pid, NULL, 0);
	free(z);
	*zp = NULL;
}

int zygote_run(struct zygote *z, const char *args)
{
	char all[ZYGOTE_ARGS] = { 0 };
	int st;

	if (strlen(args) >= sizeof(all))
		abort();
	memcpy(all, args, strlen(args));
	if (send(z->fd, all, sizeof(all), MSG_NOSIGNAL) != sizeof(all) ||
		recv(z->fd, &st, sizeof(st), 0) != sizeof(st))
		abort();
	return st;
}
