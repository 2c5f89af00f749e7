/*
 * raw.c: what a server can do, asked by clients that do nothing with it. What they take
 * is the limit that popferry is measured against.
 *
 *	raw [OPTION...] down	every message by one pipeline of RETR, thrown away
 *	raw [OPTION...] multi	up by MULTIAPPEND, 100 messages or 8 MiB a command
 *	raw [OPTION...] append	up by one APPEND a message, pipelined
 *	raw [OPTION...] both	down and multi at once, in two processes
 *
 *	-c FILE     the CA: TLS from the first byte
 *	-s FILE     the password of everybody
 *	-P PORT -u USER   of POP3         -I PORT -v USER   of IMAP
 *	-m DIR      what goes up: a Maildir, LF line ends
 *
 * The folder is selected first, literals are not waited for. Prints {"messages": N,
 * "bytes": N, "seconds": S, "cpu": S}; to read the Maildir is not in it.
 */
#include "rawconn.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH_COUNT = 100, BATCH_BYTES = 8 * 1024 * 1024, SECRET = 256 };

struct options {
	const char *ca, *pop_user, *imap_user, *maildir;
	unsigned pop_port, imap_port;
	char secret[SECRET];
};

/* What goes out, as one piece. */
struct text {
	char *p;
	size_t n, cap;
};

struct tally {
	unsigned long want, have;
	uint64_t bytes;
	bool inside; /* an answer whose beginning has been taken */
};

static char *room(struct text *t, size_t n)
{
	if (t->n + n > t->cap) {
		t->cap = t->n + n > 2 * t->cap ? t->n + n : 2 * t->cap;
		t->p = realloc(t->p, t->cap);
		if (!t->p)
			raw_die("no memory");
	}
	return t->p + t->n;
}

static void add(struct text *t, const char *p, size_t n)
{
	memcpy(room(t, n), p, n);
	t->n += n;
}

/* The words around a number. */
static void add_number(
	struct text *t, const char *before, unsigned long n, const char *after)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%lu", n);

	add(t, before, strlen(before));
	add(t, digits, (size_t)len);
	add(t, after, strlen(after));
}

/* ---- down ---- */

/* At the end of an answer stands CRLF.CRLF, and nothing else in it can hold that. */
static size_t count_answers(void *ctx, const char *p, size_t n, bool *done)
{
	struct tally *t = ctx;
	size_t off = 0;

	while (t->have < t->want && off < n) {
		const char *end = memmem(p + off, n - off, "\r\n.\r\n", 5);
		size_t len = end ? (size_t)(end + 5 - p) - off : n - off;

		if (!t->inside && p[off] != '+')
			raw_die("RETR: %.60s", p + off);
		if (!end &&
			len < 512) /* it may be a status line, or the end's beginning */
			break;
		len -= end ? 0 : 4;
		t->inside = !end;
		t->have += end != NULL;
		t->bytes += len;
		off += len;
	}
	*done = t->have == t->want;
	return off;
}

static void log_in(struct raw *r, const struct options *o)
{
	char out[SECRET * 4];
	int n = snprintf(out, sizeof(out), "USER %s\r\nPASS %s\r\nSTAT\r\n",
		o->pop_user, o->secret);
	int i;

	raw_ask(r, NULL, 0);
	for (i = 0; i < 2; i++) {
		const char *line = raw_ask(r, out, i ? 0 : (size_t)n);

		if (line[0] != '+')
			raw_die("login: %s", line);
	}
}

static struct tally down(const struct options *o)
{
	struct raw *r = raw_open(o->pop_port, o->ca);
	struct tally t = { 0 };
	struct text out = { NULL, 0, 0 };
	unsigned long i;

	log_in(r, o);
	if (sscanf(raw_ask(r, NULL, 0), "+OK %lu", &t.want) != 1)
		raw_die("STAT was not understood");
	for (i = 1; i <= t.want; i++)
		add_number(&out, "RETR ", i, "\r\n");
	if (t.want)
		raw_run(r, out.p, out.n, count_answers, &t);
	raw_ask(r, "QUIT\r\n", 6);
	raw_close(r);
	free(out.p);
	return t;
}

/* ---- up ---- */

/* A message and its literal's head, with CRLF for LF. */
static void add_file(struct text *t, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t i, n, lines = 0;
	char *raw, *to;

	if (fd < 0 || fstat(fd, &st) < 0)
		raw_die("%s: cannot be read", name);
	n = (size_t)st.st_size;
	raw = malloc(n + 1);
	if (!raw || read(fd, raw, n) != (ssize_t)n)
		raw_die("%s: cannot be read", name);
	close(fd);
	for (i = 0; i < n; i++)
		lines += raw[i] == '\n';
	add_number(t, " {", n + lines, "+}\r\n");
	to = room(t, n + lines);
	for (i = 0; i < n; i++) {
		if (raw[i] == '\n')
			*to++ = '\r';
		*to++ = raw[i];
	}
	t->n += n + lines;
	free(raw);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* All commands. t->want gets their number, t->have the number of messages. */
static struct text load(const char *maildir, bool multi, struct tally *t)
{
	struct text out = { NULL, 0, 0 };
	struct dirent **v;
	char path[4096];
	size_t begun = 0;
	int i, n, dirfd, in_batch = 0;

	snprintf(path, sizeof(path), "%s/cur", maildir);
	n = scandir(path, &v, visible, by_name);
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (n < 0 || dirfd < 0)
		raw_die("%s: cannot be read", path);
	for (i = 0; i < n; i++) {
		bool go_on = multi && in_batch && in_batch < BATCH_COUNT &&
			out.n - begun < BATCH_BYTES;

		if (!go_on) {
			begun = out.n;
			in_batch = 0;
			add_number(&out, i ? "\r\nA" : "A", ++t->want, " APPEND INBOX");
		}
		add_file(&out, dirfd, v[i]->d_name);
		in_batch++;
		free(v[i]);
	}
	if (n)
		add(&out, "\r\n", 2);
	free(v);
	close(dirfd);
	t->have = (unsigned long)n;
	t->bytes = out.n;
	return out;
}

static size_t count_oks(void *ctx, const char *p, size_t n, bool *done)
{
	unsigned long *left = ctx;
	size_t off = 0;
	const char *lf;

	while (*left && (lf = memchr(p + off, '\n', n - off))) {
		const char *line = p + off;
		size_t len = (size_t)(lf - line);
		const char *word = memchr(line, ' ', len);

		if (line[0] == 'A' && word && len > (size_t)(word - line) + 3 &&
			memcmp(word, " OK", 3) == 0)
			--*left;
		else if (line[0] != '*' || (len > 5 && memcmp(line, "* BYE", 5) == 0))
			raw_die("APPEND: %.*s", (int)len, line);
		off += len + 1;
	}
	*done = !*left;
	return off;
}

static void up(const struct options *o, const struct text *out, const struct tally *t)
{
	struct raw *r = raw_open(o->imap_port, o->ca);
	unsigned long left = t->want;
	char hello[SECRET * 4];
	int n = snprintf(hello, sizeof(hello),
		"L LOGIN \"%s\" \"%s\"\r\nS SELECT INBOX\r\n", o->imap_user, o->secret);
	const char *line = raw_ask(r, hello, (size_t)n);

	while (line[0] != 'S') {
		if (line[0] != '*' && strncmp(line, "L OK", 4) != 0)
			raw_die("login: %s", line);
		line = raw_ask(r, NULL, 0);
	}
	if (strncmp(line, "S OK", 4) != 0)
		raw_die("SELECT: %s", line);
	if (left)
		raw_run(r, out->p, out->n, count_oks, &left);
	raw_ask(r, "Z LOGOUT\r\n", 10);
	raw_close(r);
}

/* ---- main ---- */

static void read_secret(const char *path, char out[SECRET])
{
	FILE *f = fopen(path, "r");

	if (!f || !fgets(out, SECRET, f))
		raw_die("%s: cannot be read", path);
	out[strcspn(out, "\r\n")] = '\0';
	fclose(f);
}

static double cpu(void)
{
	double sum = 0;
	int who;

	for (who = 0; who < 2; who++) {
		struct rusage u;

		getrusage(who ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
		sum += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	}
	return sum;
}

int main(int argc, char **argv)
{
	struct options o = { 0 };
	struct tally t = { 0 };
	struct text out = { NULL, 0, 0 };
	const char *what;
	double began, used;
	int c, status = 0;
	pid_t pid = 0;

	while ((c = getopt(argc, argv, "c:s:P:u:I:v:m:")) >= 0)
		switch (c) {
		case 'c':
			o.ca = optarg;
			break;
		case 's':
			read_secret(optarg, o.secret);
			break;
		case 'P':
			o.pop_port = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'u':
			o.pop_user = optarg;
			break;
		case 'I':
			o.imap_port = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'v':
			o.imap_user = optarg;
			break;
		case 'm':
			o.maildir = optarg;
			break;
		default:
			return 64;
		}
	what = optind < argc ? argv[optind] : "";
	if (strcmp(what, "down") != 0)
		out = load(o.maildir, strcmp(what, "append") != 0, &t);
	began = raw_now();
	used = cpu();
	if (strcmp(what, "both") == 0 && (pid = fork()) == 0) {
		down(&o);
		return 0;
	}
	if (strcmp(what, "down") == 0)
		t = down(&o);
	else
		up(&o, &out, &t);
	if (pid && (waitpid(pid, &status, 0) < 0 || status != 0))
		raw_die("down: failed");
	printf("{\"messages\": %lu, \"bytes\": %llu, \"seconds\": %.6f, \"cpu\": %.6f}\n",
		t.have, (unsigned long long)t.bytes, raw_now() - began, cpu() - used);
	free(out.p);
	return 0;
}
