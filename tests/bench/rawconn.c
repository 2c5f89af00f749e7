/* rawconn.c: both ways at once over one socket, in large pieces. */
#include "rawconn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN = 256 * 1024, OUT = 256 * 1024, LINE = 4096 };

struct raw {
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
	size_t n; /* in `in`, and not taken yet */
	char line[LINE];
	size_t line_n;
	char in[IN];
};

void raw_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("raw: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

double raw_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void start_tls(struct raw *r, const char *ca)
{
	r->ctx = SSL_CTX_new(TLS_client_method());
	if (!r->ctx || SSL_CTX_load_verify_locations(r->ctx, ca, NULL) != 1)
		raw_die("%s: not a CA file", ca);
	SSL_CTX_set_verify(r->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_read_ahead(r->ctx, 1);
	SSL_CTX_set_default_read_buffer_len(r->ctx, IN);
	SSL_CTX_set_mode(r->ctx,
		SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	r->ssl = SSL_new(r->ctx);
	if (!r->ssl || SSL_set1_host(r->ssl, "localhost") != 1 ||
		SSL_set_fd(r->ssl, r->fd) != 1 || SSL_connect(r->ssl) != 1)
		raw_die("TLS: %s", ERR_reason_error_string(ERR_peek_last_error()));
}

struct raw *raw_open(unsigned port, const char *ca)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct raw *r = calloc(1, sizeof(*r));
	int one = 1;

	if (!r)
		raw_die("no memory");
	r->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (r->fd < 0 || connect(r->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		raw_die("port %u: %s", port, strerror(errno));
	setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (ca)
		start_tls(r, ca);
	fcntl(r->fd, F_SETFL, O_NONBLOCK);
	return r;
}

void raw_close(struct raw *r)
{
	SSL_free(r->ssl);
	SSL_CTX_free(r->ctx);
	close(r->fd);
	free(r);
}

/* Bytes, or 0 when it would wait; *want gets what for. */
static size_t some_in(struct raw *r, short *want)
{
	ssize_t n;
	int got;

	if (!r->ssl) {
		n = recv(r->fd, r->in + r->n, IN - r->n, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			raw_die("the server hung up");
		*want |= POLLIN;
		return n > 0 ? (size_t)n : 0;
	}
	got = SSL_read(r->ssl, r->in + r->n, (int)(IN - r->n));
	if (got > 0)
		return (size_t)got;
	got = SSL_get_error(r->ssl, got);
	if (got != SSL_ERROR_WANT_READ && got != SSL_ERROR_WANT_WRITE)
		raw_die("the server hung up");
	*want |= got == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
	return 0;
}

static size_t some_out(struct raw *r, const char *p, size_t n, short *want)
{
	ssize_t done;
	int got;

	if (n > OUT)
		n = OUT;
	if (!r->ssl) {
		done = send(r->fd, p, n, MSG_NOSIGNAL);
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			raw_die("send: %s", strerror(errno));
		if (done < 0)
			*want |= POLLOUT;
		return done > 0 ? (size_t)done : 0;
	}
	got = SSL_write(r->ssl, p, (int)n);
	if (got > 0)
		return (size_t)got;
	got = SSL_get_error(r->ssl, got);
	if (got != SSL_ERROR_WANT_READ && got != SSL_ERROR_WANT_WRITE)
		raw_die("the server hung up");
	*want |= got == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
	return 0;
}

void raw_run(struct raw *r, const char *out, size_t n, raw_take *take, void *ctx)
{
	bool done = false;

	for (;;) {
		short want = 0;
		size_t sent = n ? some_out(r, out, n, &want) : 0, got, used;

		out += sent;
		n -= sent;
		got = done ? 0 : some_in(r, &want);
		r->n += got;
		if (r->n && !done) {
			used = take(ctx, r->in, r->n, &done);
			r->n -= used;
			memmove(r->in, r->in + used, r->n);
		}
		if (done && !n)
			return;
		if (!sent && !got) {
			struct pollfd f = { r->fd, want, 0 };

			poll(&f, 1, -1);
		}
	}
}

static size_t take_line(void *ctx, const char *p, size_t n, bool *done)
{
	struct raw *r = ctx;
	const char *lf = memchr(p, '\n', n);
	size_t len = lf ? (size_t)(lf - p) + 1 : 0;

	if (!lf)
		return 0;
	r->line_n = len < LINE ? len - 1 : LINE - 1;
	memcpy(r->line, p, r->line_n);
	while (r->line_n && r->line[r->line_n - 1] == '\r')
		r->line_n--;
	r->line[r->line_n] = '\0';
	*done = true;
	return len;
}

const char *raw_ask(struct raw *r, const char *out, size_t n)
{
	raw_run(r, out, n, take_line, r);
	return r->line;
}
