/* cutter.c: the line that can be cut. */
#include "cutter.h"

#include "loop.h"

#include <popferry/mem.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 16 * 1024 };

struct cutter {
	struct loop *loop;
	unsigned server_port;
	pthread_mutex_t lock; /* of all below */
	struct cut cut;
	unsigned cuts;
};

/* One connection. */
struct line {
	int client, server;
	struct cut cut;
	bool counting, broken;
	size_t counted;
	char held[PIECE]; /* of the client: the begin of a line, while not counting */
	size_t held_n;
};

static int dial(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	a.sin_port = htons((uint16_t)port);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void pass(struct line *l, bool to_server, const char *p, size_t n)
{
	enum cut_side side = to_server ? CUT_TO_SERVER : CUT_TO_CLIENT;
	size_t room = l->cut.after - l->counted;

	if (l->counting && l->cut.side == side) {
		l->broken = n > room;
		if (l->broken)
			n = room;
		l->counted += n;
	}
	/* Who is gone is noticed where reading from it ends. */
	loop_send(to_server ? l->server : l->client, p, n);
}

/* Lines of the client go through whole until the one with which counting begins. */
static void pass_lines(struct line *l, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && !l->counting; i++) {
		l->held[l->held_n++] = p[i];
		if (p[i] != '\n' && l->held_n < sizeof(l->held))
			continue;
		l->counting = memmem(
			l->held, l->held_n, l->cut.since, strlen(l->cut.since));
		pass(l, true, l->held, l->held_n);
		l->held_n = 0;
	}
	if (i < n && !l->broken)
		pass(l, true, p + i, n - i);
}

/* False at the end of what this side says. */
static bool carry(struct line *l, bool to_server)
{
	char piece[PIECE];
	ssize_t n = recv(to_server ? l->client : l->server, piece, sizeof(piece), 0);

	if (n <= 0)
		return false;
	if (to_server && !l->counting)
		pass_lines(l, piece, (size_t)n);
	else
		pass(l, to_server, piece, (size_t)n);
	return true;
}

static void finish(int fd)
{
	char waste[PIECE];

	shutdown(fd, SHUT_WR);
	while (recv(fd, waste, sizeof(waste), 0) > 0)
		;
}

static void set_reset(int fd)
{
	const struct linger l = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static void serve(int fd, void *ctx)
{
	struct cutter *c = ctx;
	struct line *l = xcalloc(1, sizeof(*l));
	struct pollfd p[2];
	bool open = true;
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	pthread_mutex_lock(&c->lock);
	l->cut = c->cut;
	if (c->cuts >= l->cut.times)
		l->cut.side = CUT_NONE;
	pthread_mutex_unlock(&c->lock);
	l->counting = l->cut.side == CUT_NONE || !l->cut.since;
	l->client = fd;
	l->server = dial(c->server_port);
	p[0] = (struct pollfd){ l->client, POLLIN, 0 };
	p[1] = (struct pollfd){ l->server, POLLIN, 0 };
	while (l->server >= 0 && open && !l->broken && poll(p, 2, -1) > 0) {
		if (p[0].revents)
			open = carry(l, true);
		if (open && !l->broken && p[1].revents)
			open = carry(l, false);
	}
	if (l->broken) {
		pthread_mutex_lock(&c->lock);
		c->cuts++;
		pthread_mutex_unlock(&c->lock);
	}
	/* The server has done what it does at an end before the client hears of it. */
	if (l->server >= 0) {
		finish(l->server);
		close(l->server);
	}
	if (l->broken && l->cut.reset)
		set_reset(l->client);
	else
		finish(l->client);
	free(l);
}

void cutter_open(struct cutter **out, unsigned server_port)
{
	struct cutter *c = xcalloc(1, sizeof(*c));

	c->server_port = server_port;
	pthread_mutex_init(&c->lock, NULL);
	loop_open(&c->loop, serve, c);
	*out = c;
}

void cutter_close(struct cutter **cp)
{
	struct cutter *c = *cp;

	if (!c)
		return;
	loop_close(&c->loop);
	pthread_mutex_destroy(&c->lock);
	free(c);
	*cp = NULL;
}

unsigned cutter_port(const struct cutter *c)
{
	return loop_port(c->loop);
}

void cutter_set(struct cutter *c, const struct cut *cut)
{
	pthread_mutex_lock(&c->lock);
	c->cut = *cut;
	c->cuts = 0;
	if (!c->cut.times)
		c->cut.times = 1;
	pthread_mutex_unlock(&c->lock);
}

unsigned cutter_cuts(struct cutter *c)
{
	unsigned n;

	pthread_mutex_lock(&c->lock);
	n = c->cuts;
	pthread_mutex_unlock(&c->lock);
	return n;
}
