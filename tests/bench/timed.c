/*
 * timed.c: runs a command and says what it cost, all its processes together.
 *
 *	timed FILE COMMAND [ARG...]
 *
 * FILE gets one line: exit wall user sys rss, in seconds and KiB. The peak of memory is
 * that of the largest process; it is small here because this program is.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct timespec a, b;
	struct rusage use;
	int status, code;
	pid_t pid;
	FILE *f;

	if (argc < 3)
		return 64;
	clock_gettime(CLOCK_MONOTONIC, &a);
	pid = fork();
	if (pid == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &use) < 0)
		return 71;
	clock_gettime(CLOCK_MONOTONIC, &b);
	code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	f = fopen(argv[1], "w");
	if (!f)
		return 73;
	fprintf(f, "%d %.6f %.6f %.6f %ld\n", code,
		(double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9,
		seconds(use.ru_utime), seconds(use.ru_stime), use.ru_maxrss);
	return fclose(f) == 0 ? code : 74;
}
