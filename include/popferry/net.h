/*
 * net.h: a connection that keeps its promises.
 *
 * Every wait has a deadline, end of stream is an error, TLS is verified and
 * never silently given up, and what a peer sends is bounded by the caller.
 * Reading and writing never wait for each other: while we wait to send we go
 * on receiving, and the other way round, so that a window may be as deep as
 * its bytes allow.
 *
 * The same connection is offered twice: by the functions here, and to
 * libetpan as a mailstream (conn_stream()). There is one receive buffer, so
 * the two may alternate freely between commands.
 *
 * Errors: ST_RETRY (network lost, deadline, no DNS: EX_TEMPFAIL; refused, no route or
 * no handshake: EX_UNAVAILABLE), ST_DENIED (unknown host: EX_NOHOST; certificate:
 * EX_NOPERM; CA file: EX_CONFIG; no TLS: EX_UNAVAILABLE; too much or too early:
 * EX_PROTOCOL), ST_FATAL for our own mistakes. After any error but a
 * line too long the connection is dead; every later call fails at once.
 *
 * Threads: a connection belongs to one thread; only conn_cancel() may be
 * called from another.
 */
#ifndef POPFERRY_NET_H
#define POPFERRY_NET_H

#include <popferry/err.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;
struct buf;
struct _mailstream;

enum tls_mode {
	TLS_IMPLICIT, /* from the first byte: pop3s, imaps */
	TLS_STARTTLS, /* STLS, STARTTLS; required, never given up */
	TLS_NONE,     /* asked for in so many words */
};

/* The oldest version that will do; those before 1.2 only where they were asked for.
 * With them short keys, SHA-1 and a server without secure renegotiation will do as well
 * (quirk Q62). */
enum tls_min {
	TLS_MIN_1_2,
	TLS_MIN_1_1,
	TLS_MIN_1_0,
};

/* ---- trace ---- */

/*
 * A file that shows the dialogue, without secrets and without message text:
 * "C: " and "S: " lines with a time, the session's name and the number of its
 * connection ("dest#2"), control bytes escaped. One trace may serve several connections
 * and threads, and numbers them in the order in which they first have something to say.
 */
struct trace;
enum status trace_open(struct trace **out, const char *path, struct err *err);
void trace_close(struct trace **t);

/* ---- connecting ---- */

struct net_config {
	const char *host; /* name or address literal (IPv6 without brackets) */
	unsigned port;
	enum tls_mode tls;
	enum tls_min tls_min;
	const char *ca_file; /* PEM; NULL: the system's CAs */
	const char *pin;     /* "sha256//BASE64" of an SPKI in the chain; NULL: none.
				A pin is checked besides the CA, or instead of it
				when the chain is not trusted */
	const char *name;    /* "source" or "dest": for messages and the trace */
	int connect_ms;      /* TCP and TLS, each address; 0: 30 000 */
	struct trace *trace; /* may be NULL */
	int stop_fd; /* readable: a stop was asked for, and every wait ends, dialling too,
		      * until conn_ignore_stop(); 0: none */
	const struct log *log;
};

/* What the handshake gave: for probe, for the archive's evidence. */
struct tls_info {
	char version[16]; /* "TLSv1.3"; "" without TLS */
	char cipher[64];
	char subject[256], issuer[256]; /* one line, cleaned */
	char not_after[32];             /* RFC 3339 */
	char pin[64];                   /* sha256//BASE64 of the leaf's SPKI */
	char sha256[65];                /* of the leaf certificate */
};

struct conn;

/*
 * Resolves, tries each address in turn (IPv6 and IPv4), and for TLS_IMPLICIT
 * shakes hands. The error text names host, port, and what did not fit: "speaks no TLS
 * (it said ...)", the issuer that is not trusted, the names the certificate has. Sets
 * TCP_NODELAY and keepalive.
 */
enum status conn_dial(struct conn **out, const struct net_config *cfg, struct err *err);

/*
 * Shakes hands on a connection that spoke plain text until now. The receive
 * buffer must be empty: bytes that came with the go-ahead are an injection,
 * ST_DENIED and EX_PROTOCOL.
 */
enum status conn_start_tls(struct conn *c, struct err *err);

/* NULL without TLS. Belongs to the connection. */
const struct tls_info *conn_tls(const struct conn *c);
const char *conn_peer(const struct conn *c); /* "host:port (address)" */

/*
 * A connection over something else than a socket: the scripted peers of the
 * tests and fuzzers. read gives > 0 bytes, 0 at the end, -1 when it has
 * nothing now (then wait is called, which may return false for "never").
 * write takes at least one byte or returns -1 for "not now". No TLS.
 */
struct transport {
	void *ctx;
	long (*read)(void *ctx, char *p, size_t n);
	long (*write)(void *ctx, const char *p, size_t n);
	bool (*wait)(void *ctx, bool write, int ms);
	void (*close)(void *ctx); /* may be NULL */
};
void conn_over(struct conn **out, const struct transport *t, const char *name,
	struct trace *trace);

/* Closes at once and says nothing to the peer. NULL is fine. */
void conn_close(struct conn **c);

/* ---- talking ---- */

/* The longest silence accepted in any wait from now on. Default 120 000. */
void conn_patience(struct conn *c, int ms);

/*
 * Bytes this peer may still send before it is cut off with EX_PROTOCOL;
 * UINT64_MAX for no limit (the default). For libetpan, which has no limits.
 */
void conn_budget(struct conn *c, uint64_t bytes);

/*
 * Ends the connection when parentheses nest deeper than 256 in one line, a literal is
 * larger than the budget, or PERMANENTFLAGS is malformed:
 * on while libetpan parses (it recurses), off for our own parsers.
 */
void conn_guard(struct conn *c, bool on);

/* What follows is secret (true) or plain again (false): for the trace only. */
void conn_secret(struct conn *c, bool on);
/* What follows, in both directions, is message text: only counted in the trace. */
void conn_quiet(struct conn *c, bool on);

/* The bytes received and not yet taken. Never waits. *n may be 0. */
const char *conn_peek(const struct conn *c, size_t *n);
/* Forgets the first n of them. */
void conn_take(struct conn *c, size_t n);
/* Waits for at least one more byte than conn_peek() shows; sends meanwhile. */
enum status conn_fill(struct conn *c, struct err *err);
/*
 * At least so many bytes are on their way to us: a hint, so that a fast line is read
 * in large pieces. Wrong ones cost a few milliseconds.
 */
void conn_expect(struct conn *c, uint64_t bytes);
/* Receives what is there without waiting, and sends what fits. */
enum status conn_poll(struct conn *c, struct err *err);

/*
 * The next line without its CRLF (or bare LF), at most max bytes; *line is valid until
 * the next call on c and is followed by a NUL not counted in *n (it may contain NULs).
 * A longer line: ST_DENIED, EX_PROTOCOL.
 */
enum status conn_line(
	struct conn *c, size_t max, const char **line, size_t *n, struct err *err);

/*
 * Adds to what is to be sent. Small pieces are gathered (64 KiB) and large
 * ones sent at once without copying; may wait for room, receiving meanwhile (into a
 * receive buffer that grows to at most 1 MiB).
 */
enum status conn_send(struct conn *c, const void *p, size_t n, struct err *err);
enum status conn_sendf(struct conn *c, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Returns when everything has been handed to the kernel. */
enum status conn_flush(struct conn *c, struct err *err);
/*
 * Sends a last word to which no answer is awaited, and closes our side: for when
 * nothing depends on whether it arrives. The connection is dead then.
 */
void conn_part(struct conn *c, const char *word);
/*
 * From now on what is sent, and what was received beyond what conn_peek() has given and
 * was taken, is compressed (RFC 4978): the peer has just agreed to it.
 */
enum status conn_deflate(struct conn *c, struct err *err);
/*
 * What the line has carried away so far, for a rate: bytes, in so many microseconds in
 * which there was something to carry, and of these those in which the peer took no
 * more.
 */
struct conn_line {
	uint64_t bytes, busy_us, choked_us;
};
struct conn_line conn_line_used(const struct conn *c);
/* Bytes gathered and not yet handed to the kernel. */
size_t conn_unsent(const struct conn *c);

/* About what an answer takes on this line, in milliseconds: what the handshake of TLS
 * took, or where there was none, connecting; or the answer that conn_answered() tells
 * of, which comes from further away where something between answers for the peer. */
int conn_rtt_ms(const struct conn *c);
/* The answer to a small command that went alone took so long. */
void conn_answered(struct conn *c, int64_t ms);

/* From now on a readable stop_fd ends nothing: what is under way may settle. */
void conn_ignore_stop(struct conn *c);

/* From any thread: whatever the connection waits for fails with EX_TEMPFAIL. */
void conn_cancel(struct conn *c);
/* From now on every call fails; nothing more is sent, not even by libetpan. */
void conn_kill(struct conn *c);
bool conn_dead(const struct conn *c);

struct conn_counts {
	uint64_t in, out;           /* bytes of the protocol, before TLS */
	uint64_t wire_in, wire_out; /* the same, compressed where that is done */
	uint64_t reads, writes;     /* system calls */
};
struct conn_counts conn_counts(const struct conn *c);

/* ---- libetpan ---- */

/*
 * A mailstream over this connection: read never returns 0, write sends all or
 * fails. Made once a connection; freed with it. libetpan's session object must
 * be freed first, after conn_kill() when it must not say QUIT or LOGOUT.
 */
struct _mailstream *conn_stream(struct conn *c);
/* Why the last mailstream call failed; ST_OK when none did. */
enum status conn_last(const struct conn *c, struct err *err);

/* ---- SASL (RFC 4616) and APOP (RFC 1939) ---- */

/* base64 of "authzid NUL user NUL password"; wiped by the caller. */
bool sasl_plain(const char *user, const char *password, struct buf *out);
/* The 32 hex digits for APOP; false unless stamp is a valid "<...@...>" msg-id
 * (CVE-2007-1558: only printable ASCII, no blanks). */
bool apop_digest(const char *stamp, const char *password, char out[33]);

#endif
