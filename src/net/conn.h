/*
 * conn.h: the inside of a connection, for the files of this folder.
 *
 * conn.c begins and ends them; flow.c knows buffers, waiting and the order of things;
 * io.c moves bytes over a socket, TLS or a transport, deflate.c compresses them before;
 * tls.c and cert.c are OpenSSL; dial.c makes connections; line.c measures them; trace.c
 * writes the dialogue down; etpan.c is libetpan's view, and guard.c keeps from it what
 * it cannot stand.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <popferry/net.h>

#include <poll.h>
#include <stdatomic.h>
#include <sys/types.h>

enum {
	IN_SIZE = 128 * 1024,     /* receive buffer */
	IN_CEILING = 1024 * 1024, /* the same while we wait to send */
	WIRE_SIZE = 128 * 1024,   /* received, and not yet asked for by TLS */
	OUT_SIZE = 64 * 1024,     /* gathered and not yet sent */
	LARGE_PIECE = 16 * 1024,  /* sent without copying; also one TLS record */
	LOW_WATER = 64 * 1024,    /* worth waking up for, when more is expected */
	LULL_MS = 3,              /* so long is waited for that much */
	TRACE_LINE = 480,
	FIRST_WORDS = 96, /* of what a peer said instead of TLS */
};

/* One direction of the dialogue, as the trace sees it. */
struct trace_line {
	char text[TRACE_LINE];
	size_t n;
	bool cut;       /* the line is longer than text */
	bool secret;    /* text ends in the mark for a secret */
	uint64_t quiet; /* bytes of message text not yet told */
};

/* What the guard has seen of the present line. */
struct guarded {
	unsigned depth; /* of parentheses */
	unsigned flags; /* how much of "PERMANENTFLAGS (" */
	bool in_braces;
	uint64_t literal; /* the number in them */
};

struct conn {
	int fd; /* -1: over a transport */
	struct transport over;
	struct ssl_ctx_st *tls_ctx;
	struct ssl_st *tls;
	struct tls_info info;

	struct net_config cfg; /* its texts belong to us */
	char *where;           /* "source pop.example.org:995" */
	char *peer;

	int wake; /* eventfd: readable when cancelled; -1 over a transport */
	atomic_bool cancelled;
	bool dead, eof;
	bool told; /* a mailstream call failed */
	struct err why;
	int patience;
	int64_t until;     /* when the present wait has lasted too long */
	const char *doing; /* what is waited for, when it is not the dialogue */

	char *in; /* in_n bytes from in_off */
	size_t in_off, in_n, in_cap;
	uint64_t budget;
	bool guard;
	struct guarded guarded;
	short want_in, want_out; /* poll events that let a read or a write go on */
	bool drained;            /* the last read took all there was */
	bool patient;            /* the kernel wakes us for no less than LOW_WATER */
	uint64_t expect;         /* bytes that are on their way */
	int rtt_ms;              /* of conn_rtt_ms() */

	char out[OUT_SIZE];
	size_t out_n;
	bool out_secret;

	bool secret, quiet;
	struct trace_line sent, got;
	unsigned traced; /* its number in the trace; 0: none yet */

	char *wire; /* of TLS: wire_n bytes from wire_off */
	size_t wire_off, wire_n;
	char first[FIRST_WORDS]; /* received during the TLS handshake */
	size_t first_n;
	bool wire_eof;
	bool follows; /* another record is written behind this one */
	int wire_errno;

	struct deflate *zip; /* NULL: not compressed */
	uint64_t blocked_ms; /* waited until more could be sent */

	struct conn_counts counts;
	struct _mailstream *stream;
};

/* conn.c */
struct conn *conn_new(const struct net_config *cfg);
/* Ends the connection: "WHERE text". The first reason stays. Returns st. */
enum status conn_fail(struct conn *c, enum status st, int ex, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The peer went away; its last words go into the reply. */
enum status conn_lost(struct conn *c, int no);
/* Hands the reason of the end to a caller. */
enum status conn_gone(const struct conn *c, struct err *err);

/* flow.c: waits until c->until for poll events. */
enum status conn_wait(struct conn *c, short events);

/* io.c: bytes moved, or one of these; 0 from io_read is the end. */
enum { IO_AGAIN = -1, IO_FAIL = -2 };
long io_read(struct conn *c, char *p, size_t n);
/* a goes before b; at least one is not empty. */
long io_write(struct conn *c, const char *a, size_t an, const char *b, size_t bn);
/* More can be had without asking the kernel. */
bool io_more(const struct conn *c);
/* The same below the compression. */
long raw_read(struct conn *c, char *p, size_t n);
long raw_write(struct conn *c, const char *a, size_t an, const char *b, size_t bn);

/* deflate.c: as in io.c; zip_sync() makes that the peer sees all of it: 0 when done. */
void zip_end(struct conn *c);
long zip_read(struct conn *c, char *p, size_t n);
long zip_write(struct conn *c, const char *p, size_t n);
long zip_sync(struct conn *c);
bool zip_more(const struct conn *c);
bool zip_unsent(const struct conn *c);

/* tls.c */
enum status tls_start(struct conn *c);
/* What else can be done about a server that is too old; "" when nothing can. */
const char *tls_way(const struct conn *c, char *out, size_t cap);
void tls_end(struct conn *c);
long tls_read(struct conn *c, char *p, size_t n);
long tls_write(struct conn *c, const char *p, size_t n);
bool tls_more(const struct conn *c);
void tls_part(struct conn *c); /* says that nothing more comes */

/* cert.c: run inside the handshake; false when conn_fail() has told why not. */
struct x509_store_ctx_st;
bool cert_accept(struct conn *c, struct x509_store_ctx_st *ctx);

/* trace.c */
void trace_sent(struct conn *c, const char *p, size_t n);
void trace_got(struct conn *c, const char *p, size_t n);
void trace_settle(struct conn *c); /* writes what is pending */
void trace_note(struct conn *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* guard.c */
/* False, and the end of the connection, when libetpan must not see these bytes. */
bool conn_guarded(struct conn *c, const char *p, size_t n);
void guard_reset(struct conn *c); /* a new line begins */

/* etpan.c */
void etpan_free(struct conn *c);

#endif
