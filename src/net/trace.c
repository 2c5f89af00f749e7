/*
 * trace.c: the dialogue on file, without secrets and without mail.
 *
 * What is secret is decided when it is handed to be sent, byte by byte, never by
 * looking at the text: a secret byte is not copied here at all. What came
 * from the server is told when it is taken from the receive buffer, for only then
 * is known whether it is message text.
 */
#include <popferry/mem.h>
#include <popferry/text.h>

#include "conn.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORD_MAX = 16 };

static const char hidden[] = "<secret>";

struct trace {
	int fd;
	atomic_uint connections; /* that it has told of */
};

enum status trace_open(struct trace **out, const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(err, ST_FATAL, "trace file %s", path);
	*out = xmalloc(sizeof(**out));
	(*out)->fd = fd;
	atomic_init(&(*out)->connections, 0);
	return ST_OK;
}

void trace_close(struct trace **t)
{
	if (!*t)
		return;
	close((*t)->fd);
	free(*t);
	*t = NULL;
}

/* One write(2) a line, so that several threads may share the file. */
static void put_line(struct conn *c, const char *mark, const char *p, size_t n)
{
	char clean[TRACE_LINE + 32], line[TRACE_LINE + 256], when[32] = "";
	struct timespec now;
	struct tm tm;
	int k;

	if (!c->traced)
		c->traced = atomic_fetch_add(&c->cfg.trace->connections, 1) + 1;
	clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	text_clean(clean, sizeof(clean), p, n);
	k = snprintf(line, sizeof(line), "%s.%03ldZ %.60s#%u %s %s\n", when,
		now.tv_nsec / 1000000, c->cfg.name, c->traced, mark, clean);
	/* A full disk must not stop the mail: the trace just ends. */
	if (write(c->cfg.trace->fd, line, (size_t)k) < 0)
		return;
}

static void end_line(
	struct conn *c, struct trace_line *l, const char *mark, bool complete)
{
	if (l->cut)
		memcpy(l->text + l->n - 3, "...", 3);
	else if (complete && l->n && l->text[l->n - 1] == '\r')
		l->n--;
	if (l->n || complete)
		put_line(c, mark, l->text, l->n);
	l->n = 0;
	l->cut = l->secret = false;
}

static void add(struct trace_line *l, const char *p, size_t n)
{
	size_t room = sizeof(l->text) - l->n;

	if (n > room) {
		n = room;
		l->cut = true;
	}
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

static void settle_one(struct conn *c, struct trace_line *l, const char *mark)
{
	char text[64];
	int n;

	end_line(c, l, mark, false);
	if (!l->quiet)
		return;
	n = snprintf(
		text, sizeof(text), "<%" PRIu64 " bytes of message text>", l->quiet);
	put_line(c, mark, text, (size_t)n);
	l->quiet = 0;
}

void trace_settle(struct conn *c)
{
	if (!c->cfg.trace)
		return;
	settle_one(c, &c->sent, "C:");
	settle_one(c, &c->got, "S:");
}

static void add_plain(
	struct conn *c, struct trace_line *l, const char *mark, const char *p, size_t n)
{
	const char *lf;

	while (n && (lf = memchr(p, '\n', n))) {
		size_t k = (size_t)(lf - p);

		add(l, p, k);
		end_line(c, l, mark, true);
		p += k + 1;
		n -= k + 1;
	}
	if (n) {
		add(l, p, n);
		l->secret = false;
	}
}

static void add_secret(
	struct conn *c, struct trace_line *l, const char *mark, const char *p, size_t n)
{
	if (!l->secret)
		add(l, hidden, sizeof(hidden) - 1);
	l->secret = true;
	if (p[n - 1] == '\n')
		end_line(c, l, mark, true);
}

static bool begin(struct conn *c, struct trace_line *l, const char *mark, size_t n)
{
	if (!c->cfg.trace || !n)
		return false;
	if (c->quiet && !c->secret) {
		l->quiet += n;
		return false;
	}
	if (l->quiet)
		settle_one(c, l, mark);
	return true;
}

void trace_sent(struct conn *c, const char *p, size_t n)
{
	if (!begin(c, &c->sent, "C:", n))
		return;
	if (c->secret)
		add_secret(c, &c->sent, "C:", p, n);
	else
		add_plain(c, &c->sent, "C:", p, n);
}

/* The first word of an answer ("+OK", "-ERR", "+", a tag) is never secret. */
static size_t first_word(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && i <= WORD_MAX && p[i] > ' ')
		i++;
	return i < n && p[i] == ' ' ? i + 1 : 0;
}

void trace_got(struct conn *c, const char *p, size_t n)
{
	if (!begin(c, &c->got, "S:", n))
		return;
	if (!c->secret) {
		add_plain(c, &c->got, "S:", p, n);
		return;
	}
	if (!c->got.n)
		add(&c->got, p, first_word(p, n));
	add_secret(c, &c->got, "S:", p, n);
}

void trace_note(struct conn *c, const char *fmt, ...)
{
	char text[TRACE_LINE];
	va_list ap;

	if (!c->cfg.trace)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_line(c, "--", text, strlen(text));
}
