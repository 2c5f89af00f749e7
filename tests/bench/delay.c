/*
 * delay.c: a round trip of so many milliseconds between a client and a server, and what
 * it saw.
 *
 *	delay [-d MS] [-o FILE] LISTEN:TARGET...	ports of 127.0.0.1
 *
 * Every piece goes on half a round trip after it was read; a connection takes as long
 * as the handshake of TCP would. Nothing limits the rate but the memory of what is
 * under way. On SIGTERM it writes into FILE, for each pair of ports:
 *
 *	LISTEN connections N round-trips N pieces-up N up BYTES down BYTES
 *
 * A round trip is counted by what could have caused what: a piece from the client is
 * one deeper than the deepest it was given before. So a client that waits for each
 * answer counts each, and one that asks ahead counts one, whatever the speed of the
 * machine.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 256 * 1024, UNDER_WAY = 64 * 1024 * 1024, PORTS = 16, LINKS = 64 };

struct piece {
	struct piece *next;
	int64_t due;
	unsigned depth;
	size_t n, done;
	char bytes[];
};

/* One direction of a connection. */
struct way {
	int from, to;
	struct piece *first, **last;
	size_t held;
	bool ended, shut; /* nothing more is read; that was told */
	unsigned depth;   /* of what `to` was given */
	uint64_t bytes, pieces;
};

struct link {
	struct port *port;
	struct way up, down;
	int64_t due; /* when the server is dialled; 0: it was */
};

struct port {
	unsigned listen, target;
	int fd;
	uint64_t connections, trips, pieces, up, down;
};

static struct port ports[PORTS];
static struct link *links[LINKS];
static size_t n_ports, n_links;
static int64_t half;
static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct sockaddr_in address(unsigned port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void prepare(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void listen_on(struct port *p)
{
	struct sockaddr_in a = address(p->listen);
	int one = 1;

	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		listen(p->fd, 64) < 0)
		die("listen");
	fcntl(p->fd, F_SETFL, O_NONBLOCK);
}

static void accept_one(struct port *p)
{
	int fd = accept(p->fd, NULL, NULL);
	struct link *l;

	if (fd < 0)
		return;
	l = n_links < LINKS ? calloc(1, sizeof(*l)) : NULL;
	if (!l) {
		close(fd);
		return;
	}
	prepare(fd);
	l->port = p;
	l->up = (struct way){ .from = fd, .to = -1 };
	l->down = (struct way){ .from = -1, .to = fd };
	l->up.last = &l->up.first;
	l->down.last = &l->down.first;
	/* SYN there, SYN back, ACK there: then the server knows of it. */
	l->due = now() + 3 * half;
	links[n_links++] = l;
	p->connections++;
}

static bool dial(struct link *l)
{
	struct sockaddr_in a = address(l->port->target);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	prepare(fd);
	l->up.to = l->down.from = fd;
	l->due = 0;
	return true;
}

/* depth: of what comes this way. */
static void take_in(struct way *w, unsigned depth)
{
	static char buffer[PIECE];
	ssize_t n = recv(w->from, buffer, sizeof(buffer), 0);
	struct piece *p;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		w->ended = true;
		return;
	}
	p = malloc(sizeof(*p) + (size_t)n);
	if (!p)
		die("malloc");
	*p = (struct piece){ NULL, now() + half, depth, (size_t)n, 0 };
	memcpy(p->bytes, buffer, (size_t)n);
	*w->last = p;
	w->last = &p->next;
	w->held += (size_t)n;
	w->bytes += (size_t)n;
	w->pieces++;
}

static void give_out(struct way *w)
{
	while (w->first && w->first->due <= now()) {
		struct piece *p = w->first;
		ssize_t n = send(
			w->to, p->bytes + p->done, p->n - p->done, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) { /* nobody is there to take it */
			w->ended = true;
			p->done = p->n;
		} else {
			p->done += (size_t)n;
			w->held -= (size_t)n;
		}
		if (p->depth > w->depth)
			w->depth = p->depth;
		if (p->done < p->n)
			return;
		w->first = p->next;
		if (!w->first)
			w->last = &w->first;
		free(p);
	}
	if (w->ended && !w->first && !w->shut) {
		shutdown(w->to, SHUT_WR);
		w->shut = true;
	}
}

static void drop(struct way *w)
{
	while (w->first) {
		struct piece *p = w->first;

		w->first = p->next;
		free(p);
	}
}

static void close_link(size_t i)
{
	struct link *l = links[i];
	struct port *p = l->port;

	p->trips += l->down.depth;
	p->pieces += l->up.pieces;
	p->up += l->up.bytes;
	p->down += l->down.bytes;
	close(l->up.from);
	if (l->up.to >= 0)
		close(l->up.to);
	drop(&l->up);
	drop(&l->down);
	free(l);
	links[i] = links[--n_links];
}

static bool waits(const struct way *w, int64_t at)
{
	return w->first && w->first->due <= at;
}

/* Everything that can be done now; when more is to be done by the clock alone. */
static void step(void)
{
	struct pollfd fds[PORTS + 2 * LINKS];
	int64_t at = now(), next = at + 1000000000;
	struct timespec t;
	size_t i, n = 0, old = n_links;

	for (i = 0; i < n_ports; i++)
		fds[n++] = (struct pollfd){ ports[i].fd, POLLIN, 0 };
	for (i = 0; i < n_links; i++) {
		struct link *l = links[i];
		const struct way *w[] = { &l->up, &l->down };
		short client = 0, server = 0;
		size_t k;

		if (l->due && l->due < next)
			next = l->due;
		for (k = 0; k < 2; k++)
			if (w[k]->first && w[k]->first->due > at && !l->due &&
				w[k]->first->due < next)
				next = w[k]->first->due;
		if (!l->up.ended && l->up.held < UNDER_WAY)
			client |= POLLIN;
		if (!l->down.ended && l->down.held < UNDER_WAY)
			server |= POLLIN;
		if (waits(&l->down, at))
			client |= POLLOUT;
		if (waits(&l->up, at))
			server |= POLLOUT;
		fds[n++] = (struct pollfd){ client ? l->up.from : -1, client, 0 };
		fds[n++] = (struct pollfd){ server ? l->up.to : -1, server, 0 };
	}
	next = next > at ? next - at : 0;
	t = (struct timespec){ next / 1000000000, next % 1000000000 };
	if (ppoll(fds, n, &t, NULL) < 0 && errno != EINTR)
		die("poll");
	for (i = old; i-- > 0;) {
		struct link *l = links[i];
		struct pollfd *f = fds + n_ports + 2 * i;

		if (l->due && l->due <= now() && !dial(l)) {
			close_link(i);
			continue;
		}
		if (f[0].revents & (POLLIN | POLLHUP | POLLERR))
			take_in(&l->up, l->down.depth + 1);
		if (f[1].revents & (POLLIN | POLLHUP | POLLERR))
			take_in(&l->down, l->up.depth);
		if (!l->due) {
			give_out(&l->up);
			give_out(&l->down);
		}
		if (l->up.ended && l->up.shut && l->down.ended && l->down.shut)
			close_link(i);
	}
	for (i = 0; i < n_ports; i++)
		if (fds[i].revents)
			accept_one(&ports[i]);
}

static void report(const char *path)
{
	FILE *f = fopen(path, "w");
	size_t i;

	if (!f)
		die(path);
	for (i = 0; i < n_ports; i++)
		fprintf(f,
			"%u connections %llu round-trips %llu pieces-up %llu up %llu down "
			"%llu\n",
			ports[i].listen, (unsigned long long)ports[i].connections,
			(unsigned long long)ports[i].trips,
			(unsigned long long)ports[i].pieces,
			(unsigned long long)ports[i].up,
			(unsigned long long)ports[i].down);
	if (fclose(f) != 0)
		die(path);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	const char *out = NULL;
	int c;

	while ((c = getopt(argc, argv, "d:o:")) >= 0)
		if (c == 'd')
			half = (int64_t)(strtod(optarg, NULL) * 500000);
		else if (c == 'o')
			out = optarg;
		else
			return 64;
	for (; optind < argc && n_ports < PORTS; optind++) {
		struct port *p = &ports[n_ports++];

		if (sscanf(argv[optind], "%u:%u", &p->listen, &p->target) != 2)
			return 64;
		listen_on(p);
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	while (!stop)
		step();
	while (n_links)
		close_link(0);
	if (out)
		report(out);
	return 0;
}
