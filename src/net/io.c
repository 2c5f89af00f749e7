/* io.c: moving bytes: a socket, TLS on it, or a transport. */
#include "conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

static bool would_block(int no)
{
	return no == EAGAIN || no == EWOULDBLOCK;
}

static long plain_read(struct conn *c, char *p, size_t n)
{
	ssize_t k;

	do {
		k = recv(c->fd, p, n, 0);
		c->counts.reads++;
	} while (k < 0 && errno == EINTR);
	if (k >= 0) {
		c->drained = (size_t)k < n;
		return k;
	}
	if (would_block(errno))
		return IO_AGAIN;
	conn_lost(c, errno);
	return IO_FAIL;
}

static long plain_write(
	struct conn *c, const char *a, size_t an, const char *b, size_t bn)
{
	struct iovec iov[2] = { { (char *)a, an }, { (char *)b, bn } };
	struct msghdr msg = { .msg_iov = an ? iov : iov + 1,
		.msg_iovlen = (an > 0) + (size_t)(bn > 0) };
	ssize_t k;

	do {
		k = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		c->counts.writes++;
	} while (k < 0 && errno == EINTR);
	if (k >= 0)
		return k;
	if (would_block(errno))
		return IO_AGAIN;
	conn_lost(c, errno);
	return IO_FAIL;
}

static long some_read(struct conn *c, char *p, size_t n)
{
	if (c->tls)
		return tls_read(c, p, n);
	if (c->fd >= 0)
		return plain_read(c, p, n);
	c->counts.reads++;
	return c->over.read(c->over.ctx, p, n);
}

static long some_write(
	struct conn *c, const char *a, size_t an, const char *b, size_t bn)
{
	if (c->fd >= 0 && !c->tls)
		return plain_write(c, a, an, b, bn);
	if (!an) {
		a = b;
		an = bn;
	}
	if (c->tls)
		return tls_write(c, a, an);
	c->counts.writes++;
	return c->over.write(c->over.ctx, a, an);
}

long raw_read(struct conn *c, char *p, size_t n)
{
	long k = some_read(c, p, n);

	c->counts.wire_in += k > 0 ? (uint64_t)k : 0;
	return k;
}

long raw_write(struct conn *c, const char *a, size_t an, const char *b, size_t bn)
{
	long k = some_write(c, a, an, b, bn);

	c->counts.wire_out += k > 0 ? (uint64_t)k : 0;
	return k;
}

long io_read(struct conn *c, char *p, size_t n)
{
	return c->zip ? zip_read(c, p, n) : raw_read(c, p, n);
}

long io_write(struct conn *c, const char *a, size_t an, const char *b, size_t bn)
{
	if (!c->zip)
		return raw_write(c, a, an, b, bn);
	return an ? zip_write(c, a, an) : zip_write(c, b, bn);
}

bool io_more(const struct conn *c)
{
	return (c->zip && zip_more(c)) || (c->tls && tls_more(c));
}
