/*
 * tls.c: TLS on a connection's socket.
 *
 * OpenSSL reads and writes through a BIO of ours: it never raises SIGPIPE, counts the
 * system calls, and keeps the first words of a peer that turns out not to speak TLS.
 *
 * The BIO also receives ahead. OpenSSL could do that, but moves all that it has to the
 * front of its buffer for each record; servers make records of 4 KiB.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ---- the BIO ---- */

static BIO_METHOD *wire_method;
static CRYPTO_ONCE wire_once = CRYPTO_ONCE_STATIC_INIT;

static int wire_write(BIO *b, const char *p, int n)
{
	struct conn *c = BIO_get_data(b);
	int flags = MSG_NOSIGNAL | (c->follows ? MSG_MORE : 0);
	ssize_t k;

	BIO_clear_retry_flags(b);
	do {
		k = send(c->fd, p, (size_t)n, flags);
		c->counts.writes++;
	} while (k < 0 && errno == EINTR);
	if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_write(b);
	else if (k < 0)
		c->wire_errno = errno;
	return (int)k;
}

/* Fills c->wire, which is empty. */
static ssize_t receive(BIO *b, struct conn *c)
{
	size_t keep;
	ssize_t k;

	do {
		k = recv(c->fd, c->wire, WIRE_SIZE, 0);
		c->counts.reads++;
	} while (k < 0 && errno == EINTR);
	if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_read(b);
	else if (k < 0)
		c->wire_errno = errno;
	c->wire_eof |= k == 0;
	c->drained = k > 0 && k < WIRE_SIZE;
	c->wire_off = 0;
	c->wire_n = k > 0 ? (size_t)k : 0;
	if (k > 0 && c->first_n < sizeof(c->first)) {
		keep = sizeof(c->first) - c->first_n;
		keep = (size_t)k < keep ? (size_t)k : keep;
		memcpy(c->first + c->first_n, c->wire, keep);
		c->first_n += keep;
	}
	return k;
}

static int wire_read(BIO *b, char *p, int n)
{
	struct conn *c = BIO_get_data(b);
	ssize_t k;

	BIO_clear_retry_flags(b);
	if (!c->wire_n) {
		k = receive(b, c);
		if (k <= 0)
			return (int)k;
	}
	if ((size_t)n > c->wire_n)
		n = (int)c->wire_n;
	memcpy(p, c->wire + c->wire_off, (size_t)n);
	c->wire_off += (size_t)n;
	c->wire_n -= (size_t)n;
	return n;
}

static long wire_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	const struct conn *c = BIO_get_data(b);

	(void)num;
	(void)ptr;
	if (cmd == BIO_CTRL_EOF)
		return c->wire_eof;
	return cmd == BIO_CTRL_FLUSH;
}

static void make_wire_method(void)
{
	int type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK;

	wire_method = BIO_meth_new(type, "popferry wire");
	if (!wire_method)
		return;
	BIO_meth_set_write(wire_method, wire_write);
	BIO_meth_set_read(wire_method, wire_read);
	BIO_meth_set_ctrl(wire_method, wire_ctrl);
}

static BIO *wire_new(struct conn *c)
{
	BIO *b = NULL;

	if (CRYPTO_THREAD_run_once(&wire_once, make_wire_method) == 1 && wire_method)
		b = BIO_new(wire_method);
	if (b) {
		BIO_set_data(b, c);
		BIO_set_init(b, 1);
	}
	return b;
}

/* ---- setting up ---- */

static int verify(X509_STORE_CTX *ctx, void *conn)
{
	return cert_accept(conn, ctx);
}

/*
 * CA certificates that were read. The system's take 30 ms and more than a MiB, so all
 * connections share them; OpenSSL locks them for itself. Never freed: there are few.
 */
struct anchors {
	struct anchors *next;
	char *file; /* NULL: the system's */
	struct stat st;
	X509_STORE *store;
};
static struct anchors *anchors;
static CRYPTO_RWLOCK *anchors_lock;
static CRYPTO_ONCE anchors_once = CRYPTO_ONCE_STATIC_INIT;

static void make_anchors_lock(void)
{
	anchors_lock = CRYPTO_THREAD_lock_new();
}

static bool are_of(const struct anchors *a, const char *file, const struct stat *st)
{
	if (!file || !a->file)
		return file == a->file;
	return strcmp(a->file, file) == 0 && a->st.st_dev == st->st_dev &&
		a->st.st_ino == st->st_ino && a->st.st_size == st->st_size &&
		a->st.st_mtim.tv_sec == st->st_mtim.tv_sec &&
		a->st.st_mtim.tv_nsec == st->st_mtim.tv_nsec;
}

static struct anchors *read_anchors(const char *file, const struct stat *st)
{
	X509_STORE *store = X509_STORE_new();
	struct anchors *a;

	if (!store ||
		(file ? X509_STORE_load_file(store, file)
		      : X509_STORE_set_default_paths(store)) != 1) {
		X509_STORE_free(store);
		return NULL;
	}
	a = xcalloc(1, sizeof(*a));
	a->file = file ? xstrdup(file) : NULL;
	a->st = *st;
	a->store = store;
	a->next = anchors;
	return anchors = a;
}

/* A reference to them; NULL: they cannot be read. */
static X509_STORE *anchors_of(const char *file)
{
	X509_STORE *store = NULL;
	struct stat st = { 0 };
	struct anchors *a;

	if ((file && stat(file, &st) < 0) ||
		CRYPTO_THREAD_run_once(&anchors_once, make_anchors_lock) != 1 ||
		!anchors_lock || !CRYPTO_THREAD_write_lock(anchors_lock))
		return NULL;
	for (a = anchors; a && !are_of(a, file, &st); a = a->next)
		;
	if (!a)
		a = read_anchors(file, &st);
	if (a && X509_STORE_up_ref(a->store))
		store = a->store;
	CRYPTO_THREAD_unlock(anchors_lock);
	return store;
}

static enum status trust(struct conn *c)
{
	X509_STORE *store = anchors_of(c->cfg.ca_file);

	if (store) {
		SSL_CTX_set_cert_store(c->tls_ctx, store); /* takes the reference */
		return ST_OK;
	}
	return conn_fail(c, ST_DENIED, EX_CONFIG,
		"cannot be checked: the CA file %s cannot be read or holds no PEM certificate",
		c->cfg.ca_file ? c->cfg.ca_file : "of this system");
}

static bool is_address(const char *host)
{
	unsigned char raw[16];

	return inet_pton(AF_INET, host, raw) == 1 ||
		inet_pton(AF_INET6, host, raw) == 1;
}

/* Whom the certificate must name; the server is told the name, never an address. */
static bool expect_name(struct conn *c)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(c->tls);
	char name[256];
	size_t n;

	if (is_address(c->cfg.host))
		return X509_VERIFY_PARAM_set1_ip_asc(param, c->cfg.host) == 1;
	n = strlen(c->cfg.host);
	if (n && c->cfg.host[n - 1] == '.')
		n--;
	if (n >= sizeof(name))
		return false;
	memcpy(name, c->cfg.host, n);
	name[n] = '\0';
	X509_VERIFY_PARAM_set_hostflags(param,
		X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, name, n) == 1 &&
		SSL_set_tlsext_host_name(c->tls, name) == 1;
}

static const struct version {
	int number;
	const char *name;
} versions[] = {
	[TLS_MIN_1_2] = { TLS1_2_VERSION, "1.2" },
	[TLS_MIN_1_1] = { TLS1_1_VERSION, "1.1" },
	[TLS_MIN_1_0] = { TLS1_VERSION, "1.0" },
};

/* OpenSSL has what is old at level 0 only, whatever the version. */
static bool allow_old(struct conn *c, SSL_CTX *ctx)
{
	if (SSL_CTX_set_min_proto_version(ctx, versions[c->cfg.tls_min].number) != 1)
		return false;
	if (c->cfg.tls_min == TLS_MIN_1_2)
		return true;
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
	return SSL_CTX_set_cipher_list(ctx, "DEFAULT:@SECLEVEL=0") == 1;
}

static enum status set_up(struct conn *c)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *wire;

	c->tls_ctx = ctx;
	if (!ctx || !allow_old(c, ctx))
		goto broken;
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ctx,
		SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify, c);
	if (trust(c) != ST_OK)
		return c->why.status;
	c->tls = SSL_new(ctx);
	wire = c->tls ? wire_new(c) : NULL;
	if (!wire)
		goto broken;
	SSL_set_bio(c->tls, wire, wire);
	if (expect_name(c))
		return ST_OK;
broken:
	return conn_fail(
		c, ST_FATAL, EX_SOFTWARE, "cannot be reached: TLS is not set up");
}

/* ---- the handshake ---- */

/* Every record of TLS starts with a type from 20 to 23 and a 3. */
static bool spoke_plain(const struct conn *c)
{
	return c->first_n &&
		(c->first[0] < 20 || c->first[0] > 23 ||
			(c->first_n > 1 && c->first[1] != 3));
}

static enum status says_no_tls(struct conn *c)
{
	size_t n = 0;
	char said[FIRST_WORDS * 2];

	while (n < c->first_n && c->first[n] != '\r' && c->first[n] != '\n')
		n++;
	return conn_fail(c, ST_DENIED, EX_UNAVAILABLE,
		"speaks no TLS from the first byte (it said \"%s\"); use pop3:// or imap:// "
		"for STARTTLS on this port, or the port for TLS (995 for POP3, 993 for IMAP)",
		text_clean(said, sizeof(said), c->first, n));
}

const char *tls_way(const struct conn *c, char *out, size_t cap)
{
	bool ours = strcmp(c->cfg.name, "source") == 0 ||
		strcmp(c->cfg.name, "dest") == 0;

	out[0] = '\0';
	if (ours && c->cfg.tls_min != TLS_MIN_1_0)
		snprintf(out, cap, ", or --%s-tls-min 1.0 takes it as it is",
			c->cfg.name);
	return out;
}

static enum status refused(struct conn *c)
{
	static const char old[] = "offers only TLS older than %s";
	static const struct {
		int reason;
		const char *text;
	} causes[] = {
		{ SSL_R_UNSUPPORTED_PROTOCOL, old },
		{ SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, old },
		{ SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED,
			"knows no secure renegotiation of TLS" },
		{ SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
			"has no TLS cipher in common with us" },
		{ SSL_R_NO_SHARED_CIPHER, "has no TLS cipher in common with us" },
		{ SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY,
			"has no TLS cipher in common with us" },
		{ SSL_R_DH_KEY_TOO_SMALL,
			"uses a TLS key that is too short to be safe" },
	};
	unsigned long e = ERR_peek_error();
	const char *text = ERR_reason_error_string(e);
	char way[80], what[80];
	size_t i;

	for (i = 0; i < N_ELEMENTS(causes); i++) {
		if (ERR_GET_LIB(e) != ERR_LIB_SSL ||
			ERR_GET_REASON(e) != causes[i].reason)
			continue;
		snprintf(what, sizeof(what), old, versions[c->cfg.tls_min].name);
		return conn_fail(c, ST_DENIED, EX_NOPERM,
			"%s; its administrator must change that%s",
			causes[i].text == old ? what : causes[i].text,
			tls_way(c, way, sizeof(way)));
	}
	return conn_fail(c, ST_RETRY, EX_UNAVAILABLE, "failed the TLS handshake: %s",
		text ? text : "unknown reason");
}

/* What an OpenSSL call that gave no bytes means. */
static long meaning(struct conn *c, int k, short *want)
{
	unsigned long e;

	switch (SSL_get_error(c->tls, k)) {
	case SSL_ERROR_WANT_READ:
		*want = POLLIN;
		return IO_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		*want = POLLOUT;
		return IO_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		break;
	}
	if (c->dead)
		return IO_FAIL;
	e = ERR_peek_error();
	if (c->doing && spoke_plain(c))
		says_no_tls(c);
	else if (c->wire_errno)
		conn_lost(c, c->wire_errno);
	else if (c->wire_eof)
		return 0;
	else if (c->doing)
		refused(c);
	else
		conn_fail(c, ST_RETRY, EX_TEMPFAIL, "broke the TLS connection: %s",
			e ? ERR_reason_error_string(e) : "unknown reason");
	return IO_FAIL;
}

static enum status shake_hands(struct conn *c)
{
	short want = POLLIN;
	long rc;
	int k;

	for (;;) {
		ERR_clear_error();
		k = SSL_connect(c->tls);
		if (k == 1)
			return ST_OK;
		rc = meaning(c, k, &want);
		if (rc == 0)
			return conn_lost(c, 0);
		if (rc == IO_FAIL || conn_wait(c, want) != ST_OK)
			return c->why.status;
	}
}

enum status tls_start(struct conn *c)
{
	enum status rc;
	int64_t began;

	c->first_n = 0;
	c->wire = xmalloc(WIRE_SIZE);
	rc = set_up(c);
	if (rc == ST_OK) {
		began = clock_ms();
		c->doing = "the TLS handshake";
		rc = shake_hands(c);
		c->doing = NULL;
		c->rtt_ms = (int)(clock_ms() - began);
	}
	if (rc != ST_OK)
		return rc;
	snprintf(c->info.version, sizeof(c->info.version), "%s",
		SSL_get_version(c->tls));
	snprintf(c->info.cipher, sizeof(c->info.cipher), "%s",
		SSL_get_cipher_name(c->tls));
	trace_note(c, "%s %s, certificate of %s by %s, pin %s", c->info.version,
		c->info.cipher, c->info.subject, c->info.issuer, c->info.pin);
	return ST_OK;
}

void tls_end(struct conn *c)
{
	SSL_free(c->tls);
	SSL_CTX_free(c->tls_ctx);
	c->tls = NULL;
	c->tls_ctx = NULL;
	free(c->wire);
	c->wire = NULL;
	c->wire_n = 0;
}

enum status conn_start_tls(struct conn *c, struct err *err)
{
	char byte;

	if (c->dead || conn_flush(c, err) != ST_OK)
		return conn_gone(c, err);
	if (c->fd < 0 || c->tls) {
		conn_fail(c, ST_FATAL, EX_SOFTWARE, "cannot start TLS here");
		return conn_gone(c, err);
	}
	/* A server that is about to shake hands never speaks first. */
	if (c->in_n || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
		conn_fail(c, ST_DENIED, EX_PROTOCOL,
			"sent plain text after agreeing to TLS: somebody may be tampering with "
			"the connection");
		return conn_gone(c, err);
	}
	c->until = clock_ms() + c->cfg.connect_ms;
	if (tls_start(c) != ST_OK)
		return conn_gone(c, err);
	return ST_OK;
}

/* ---- bytes ---- */

static int clip(size_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

long tls_read(struct conn *c, char *p, size_t n)
{
	int k;

	ERR_clear_error();
	k = SSL_read(c->tls, p, clip(n));
	if (k > 0) {
		c->want_in = POLLIN;
		return k;
	}
	return meaning(c, k, &c->want_in);
}

long tls_write(struct conn *c, const char *p, size_t n)
{
	long rc;
	int k;

	ERR_clear_error();
	c->follows = n > LARGE_PIECE;
	k = SSL_write(c->tls, p, clip(n));
	c->follows = false;
	if (k > 0) {
		c->want_out = POLLOUT;
		return k;
	}
	rc = meaning(c, k, &c->want_out);
	if (rc == 0) {
		conn_lost(c, 0);
		rc = IO_FAIL;
	}
	return rc;
}

bool tls_more(const struct conn *c)
{
	return c->wire_n || SSL_has_pending(c->tls) == 1;
}

void tls_part(struct conn *c)
{
	ERR_clear_error();
	SSL_shutdown(c->tls);
}
