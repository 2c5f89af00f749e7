/* loop.c: the loopback server. */
#include "loop.h"

#include <popferry/mem.h>

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct loop {
	int listener;
	unsigned port;
	struct server {
		struct loop *loop;
		pthread_t thread;
		int client; /* -1: none; under lock */
	} servers[LOOP_MOST];
	unsigned n;
	pthread_mutex_t lock;
	bool ending;
	void (*serve)(int fd, void *ctx);
	void *ctx;
};

static int bind_somewhere(unsigned *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		abort();
	*port = ntohs(a.sin_port);
	return fd;
}

static bool enter(struct server *s, int fd)
{
	bool ok;

	pthread_mutex_lock(&s->loop->lock);
	ok = !s->loop->ending;
	s->client = ok ? fd : -1;
	pthread_mutex_unlock(&s->loop->lock);
	return ok;
}

static void leave(struct server *s, int fd)
{
	pthread_mutex_lock(&s->loop->lock);
	s->client = -1;
	close(fd);
	pthread_mutex_unlock(&s->loop->lock);
}

static void *run(void *arg)
{
	struct server *s = arg;
	struct loop *l = s->loop;
	int fd;

	while ((fd = accept(l->listener, NULL, NULL)) >= 0) {
		if (enter(s, fd))
			l->serve(fd, l->ctx);
		leave(s, fd);
	}
	return NULL;
}

void loop_at_once(struct loop *l, unsigned n)
{
	for (; l->n < n && l->n < LOOP_MOST; l->n++) {
		struct server *s = &l->servers[l->n];

		s->loop = l;
		s->client = -1;
		if (pthread_create(&s->thread, NULL, run, s) != 0)
			abort();
	}
}

void loop_open(struct loop **out, void (*serve)(int fd, void *ctx), void *ctx)
{
	struct loop *l = xcalloc(1, sizeof(*l));

	l->serve = serve;
	l->ctx = ctx;
	l->listener = bind_somewhere(&l->port);
	if (listen(l->listener, 8) < 0)
		abort();
	pthread_mutex_init(&l->lock, NULL);
	loop_at_once(l, 1);
	*out = l;
}

unsigned loop_port(const struct loop *l)
{
	return l->port;
}

void loop_close(struct loop **lp)
{
	struct loop *l = *lp;
	unsigned i;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->ending = true;
	for (i = 0; i < l->n; i++)
		if (l->servers[i].client >= 0)
			shutdown(l->servers[i].client, SHUT_RDWR);
	shutdown(l->listener, SHUT_RDWR);
	pthread_mutex_unlock(&l->lock);
	for (i = 0; i < l->n; i++)
		pthread_join(l->servers[i].thread, NULL);
	close(l->listener);
	pthread_mutex_destroy(&l->lock);
	free(l);
	*lp = NULL;
}

unsigned loop_closed_port(void)
{
	unsigned port;

	/* It stays ours, and nobody listens there, until the process ends. */
	bind_somewhere(&port);
	return port;
}

bool loop_send(int fd, const void *p, size_t n)
{
	const char *c = p;
	ssize_t k;

	while (n) {
		k = send(fd, c, n, MSG_NOSIGNAL);
		if (k <= 0)
			return false;
		c += k;
		n -= (size_t)k;
	}
	return true;
}

bool loop_say(int fd, const char *text)
{
	return loop_send(fd, text, strlen(text));
}

bool loop_hear(int fd, char *line, size_t cap)
{
	size_t n = 0;

	while (n + 1 < cap && recv(fd, line + n, 1, 0) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = '\0';
	return n && line[n - 1] == '\n';
}
