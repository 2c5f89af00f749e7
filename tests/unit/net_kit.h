/*
 * net_kit.h: what the tests of the connection share: one over a script, traced or not,
 * and a directory for the trace (make_dir and drop_dir of the group).
 */
#ifndef NET_KIT_H
#define NET_KIT_H

#include "script.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/net.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static inline const char *line_of(struct conn *c, size_t max)
{
	struct err err = ERR_INIT;
	const char *p;
	size_t n;

	if (conn_line(c, max, &p, &n, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_int_equal(p[n], 0);
	return p;
}

static inline void done(const struct script *s)
{
	char why[SCRIPT_WHY];

	if (!script_done(s, why))
		fail_msg("%s", why);
}

static inline struct conn *on_script(struct script **s, const char *text, size_t step)
{
	struct transport t;
	struct conn *c;

	script_open(s, text, step);
	t = script_transport(*s);
	conn_over(&c, &t, "peer", NULL);
	return c;
}

static inline void finish(struct conn *c, struct script *s)
{
	done(s);
	conn_close(&c);
	script_close(&s);
}

/* ---- trace ---- */

static char dir[48], trace_path[64];

static inline char *trace_text(void)
{
	struct err err;
	size_t n;
	char *p;

	assert_int_equal(fs_read(&p, &n, AT_FDCWD, trace_path, MIB, &err), ST_OK);
	return p;
}

static inline struct conn *on_traced_script(
	struct script **s, struct trace **t, const char *text, size_t step)
{
	struct err err = ERR_INIT;
	struct transport tr;
	struct conn *c;

	unlink(trace_path);
	assert_int_equal(trace_open(t, trace_path, &err), ST_OK);
	script_open(s, text, step);
	tr = script_transport(*s);
	conn_over(&c, &tr, "dest", *t);
	return c;
}

/* The lines of the trace without their time, joined by '|'. */
static inline char *trace_lines(void)
{
	char *all = trace_text(), *out = all, *p = all, *lf;

	while ((lf = strchr(p, '\n'))) {
		assert_true(lf - p > 25 && p[23] == 'Z');
		p += 25;
		memmove(out, p, (size_t)(lf - p));
		out += lf - p;
		*out++ = '|';
		p = lf + 1;
	}
	*out = '\0';
	return all;
}

static inline int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	/* Never raised by us, so not ignored here. */
	signal(SIGPIPE, SIG_DFL);
	snprintf(dir, sizeof(dir), "%.30s/t_net.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(trace_path, sizeof(trace_path), "%s/trace", dir);
	return 0;
}

static inline int drop_dir(void **state)
{
	(void)state;
	unlink(trace_path);
	return rmdir(dir);
}

#endif
