/*
 * etpan.c: the connection as libetpan's mailstream.
 *
 * A read gives bytes up to the first LF and no further. libetpan reads lines
 * and counted literals to their ends, and every answer ends in LF, so between
 * two commands its own buffer is empty and our readers see all that follows.
 */
#include "conn.h"

#include <popferry/mem.h>

#include <libetpan/libetpan.h>
#include <stdlib.h>
#include <string.h>

/* libetpan moves the rest of its buffer for each line: small is faster. */
enum { ETPAN_BUFFER = 8192 };

static ssize_t failed(struct conn *c)
{
	c->told = true;
	return -1;
}

static ssize_t stream_read(mailstream_low *low, void *buf, size_t n)
{
	struct conn *c = low->data;
	const char *p, *lf;
	size_t have;

	if (c->dead)
		return failed(c);
	if (!c->in_n && conn_fill(c, NULL) != ST_OK)
		return failed(c);
	p = conn_peek(c, &have);
	n = have < n ? have : n;
	lf = memchr(p, '\n', n);
	if (lf)
		n = (size_t)(lf - p) + 1;
	if (!conn_guarded(c, p, n))
		return failed(c);
	memcpy(buf, p, n);
	conn_take(c, n);
	c->told = false;
	return (ssize_t)n;
}

static ssize_t stream_write(mailstream_low *low, const void *buf, size_t n)
{
	struct conn *c = low->data;
	bool secret = c->secret;
	enum status rc;

	/* libetpan marks what it knows to be a password. */
	c->secret = secret || !low->privacy;
	rc = conn_send(c, buf, n, NULL);
	c->secret = secret;
	if (rc == ST_OK)
		rc = conn_flush(c, NULL);
	if (rc != ST_OK)
		return failed(c);
	c->told = false;
	return (ssize_t)n;
}

static int stream_close(mailstream_low *low)
{
	(void)low; /* the socket is conn_close()'s */
	return 0;
}

static int stream_get_fd(mailstream_low *low)
{
	const struct conn *c = low->data;

	return c->fd;
}

static void stream_free(mailstream_low *low)
{
	struct conn *c = low->data;

	explicit_bzero(c->stream->write_buffer, c->stream->buffer_max_size);
	c->stream = NULL;
	free(low);
}

static mailstream_low_driver driver = {
	.mailstream_read = stream_read,
	.mailstream_write = stream_write,
	.mailstream_close = stream_close,
	.mailstream_get_fd = stream_get_fd,
	.mailstream_free = stream_free,
};

struct _mailstream *conn_stream(struct conn *c)
{
	mailstream_low *low;

	if (c->stream)
		return c->stream;
	low = mailstream_low_new(c, &driver);
	c->stream = low ? mailstream_new(low, ETPAN_BUFFER) : NULL;
	if (!c->stream)
		xmemory_gone();
	return c->stream;
}

void etpan_free(struct conn *c)
{
	if (c->stream)
		mailstream_close(c->stream);
}

enum status conn_last(const struct conn *c, struct err *err)
{
	return c->told ? conn_gone(c, err) : ST_OK;
}
