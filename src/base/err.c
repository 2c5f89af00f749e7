/* err.c: the status is returned, the story is kept. */
#include <popferry/err.h>
#include <popferry/text.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { RAW_MAX = 1024 };

static int clip(int n)
{
	return n < 0 ? 0 : n >= RAW_MAX ? RAW_MAX - 1 : n;
}

enum status err_set(struct err *e, enum status st, int ex, const char *fmt, ...)
{
	char raw[RAW_MAX];
	va_list ap;
	int n;

	if (!e)
		return st;
	va_start(ap, fmt);
	n = clip(vsnprintf(raw, sizeof(raw), fmt, ap));
	va_end(ap);
	text_clean(e->text, sizeof(e->text), raw, (size_t)n);
	e->status = st;
	e->exit = ex;
	e->reply[0] = '\0';
	return st;
}

static int exit_of(int no)
{
	switch (no) {
	case EACCES:
	case EPERM:
	case EROFS:
	case ENOENT:
	case ENOTDIR:
		return EX_CANTCREAT;
	default:
		return EX_IOERR;
	}
}

enum status err_sys(struct err *e, enum status st, const char *fmt, ...)
{
	char raw[RAW_MAX];
	int no = errno;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	err_set(e, st, exit_of(no), "%s: %s", raw, strerror(no));
	errno = no;
	return st;
}

enum status err_note(struct err *e, const char *fmt, ...)
{
	char raw[RAW_MAX], whole[RAW_MAX + ERR_TEXT + 2];
	va_list ap;

	if (!e)
		return ST_FATAL;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	snprintf(whole, sizeof(whole), "%s: %s", raw, e->text);
	text_clean(e->text, sizeof(e->text), whole, strlen(whole));
	return e->status;
}

void err_reply(struct err *e, const char *words, unsigned long n)
{
	if (e)
		text_clean(e->reply, sizeof(e->reply), words, n);
}
