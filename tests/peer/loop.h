/*
 * loop.h: a server on loopback, in a thread, for tests that need a socket.
 */
#ifndef PEER_LOOP_H
#define PEER_LOOP_H

#include <stdbool.h>
#include <stddef.h>

struct loop;

/*
 * Listens on a free port of 127.0.0.1 and serves one client after the other:
 * serve() gets the (blocking) socket, which is closed when it returns.
 */
void loop_open(struct loop **out, void (*serve)(int fd, void *ctx), void *ctx);
/* From now on so many at a time (at most LOOP_MOST), each in a thread. */
enum { LOOP_MOST = 16 };
void loop_at_once(struct loop *l, unsigned n);
unsigned loop_port(const struct loop *l);
/* Ends the sockets of present clients and waits for the threads. */
void loop_close(struct loop **l);

/* A port of 127.0.0.1 on which nothing listens. */
unsigned loop_closed_port(void);

/* For serve(): all n bytes; false when the client is gone. No SIGPIPE. */
bool loop_send(int fd, const void *p, size_t n);
bool loop_say(int fd, const char *text);
/* Reads up to and with an LF, at most cap - 1 bytes; false at the end. */
bool loop_hear(int fd, char *line, size_t cap);

#endif
