/*
 * t_tls.c: TLS against a small server on loopback. Keys and certificates are
 * made when the test starts.
 */
#include "loop.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/net.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { KIB = 1024, DAY = 24 * 3600 };

/* ---- certificates ---- */

struct identity {
	EVP_PKEY *key;
	X509 *cert;
	char *pin;
};

static struct identity ca, good, other_name, expired, self_signed, strange, addressed;
static struct identity rsa, short_rsa;
static char ca_path[64], empty_path[64], dir[48];

static void must(bool ok)
{
	if (!ok) {
		ERR_print_errors_fp(stderr);
		abort();
	}
}

static char *pin_of(EVP_PKEY *key)
{
	unsigned char md[32], text[64], *der = NULL;
	int n = i2d_PUBKEY(key, &der);

	must(n > 0 && EVP_Digest(der, (size_t)n, md, NULL, EVP_sha256(), NULL) == 1);
	OPENSSL_free(der);
	EVP_EncodeBlock(text, md, 32);
	return xasprintf("sha256//%s", (char *)text);
}

static void add_ext(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

/* Valid from yesterday for so many days; issued by itself when by is NULL. */
static void make_with(struct identity *id, EVP_PKEY *key, const char *cn,
	const char *san, int days, const struct identity *by)
{
	static long serial;
	X509_NAME *name;
	X509 *x = X509_new();

	id->key = key;
	must(id->key && x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), -10L * DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), (long)days * DAY);
	name = X509_get_subject_name(x);
	must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
		     (const unsigned char *)cn, -1, -1, 0) == 1);
	X509_set_issuer_name(x, by ? X509_get_subject_name(by->cert) : name);
	X509_set_pubkey(x, id->key);
	if (san)
		add_ext(x, NID_subject_alt_name, san);
	else
		add_ext(x, NID_basic_constraints, "critical,CA:TRUE");
	must(X509_sign(x, by ? by->key : id->key, EVP_sha256()) > 0);
	id->cert = x;
	id->pin = pin_of(id->key);
}

static void make_identity(struct identity *id, const char *cn, const char *san,
	int days, const struct identity *by)
{
	make_with(id, EVP_EC_gen("P-256"), cn, san, days, by);
}

static void drop_identity(struct identity *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
	free(id->pin);
}

static int make_world(void **state)
{
	const char *tmp = getenv("TMPDIR");
	FILE *f;

	(void)state;
	snprintf(dir, sizeof(dir), "%.30s/t_tls.XXXXXX", tmp ? tmp : "/tmp");
	must(mkdtemp(dir) != NULL);
	make_identity(&ca, "Test CA\x1b[1m", NULL, 10, NULL);
	make_identity(&good, "localhost", "DNS:localhost", 10, &ca);
	make_identity(&other_name, "localhost",
		"DNS:mail.example.org,DNS:*.example.net,IP:192.0.2.7,DNS:evil\x1b[2J.example",
		10, &ca);
	make_identity(&expired, "localhost", "DNS:localhost", -2, &ca);
	make_identity(&self_signed, "localhost", "DNS:localhost", 10, NULL);
	make_identity(&addressed, "server", "IP:127.0.0.1", 10, &ca);
	make_identity(&strange, "Strange CA", NULL, 10, NULL);
	make_with(&rsa, EVP_RSA_gen(2048), "localhost", "DNS:localhost", 10, &ca);
	make_with(&short_rsa, EVP_RSA_gen(1024), "localhost", "DNS:localhost", 10, &ca);
	snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", dir);
	snprintf(empty_path, sizeof(empty_path), "%s/empty.pem", dir);
	f = fopen(ca_path, "w");
	must(f && PEM_write_X509(f, ca.cert) == 1 && fclose(f) == 0);
	f = fopen(empty_path, "w");
	must(f && fclose(f) == 0);
	/* Never raised by us, so not ignored here. */
	signal(SIGPIPE, SIG_DFL);
	return 0;
}

static int drop_world(void **state)
{
	struct identity *const all[] = { &ca, &good, &other_name, &expired,
		&self_signed, &strange, &addressed, &rsa, &short_rsa };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(all); i++)
		drop_identity(all[i]);
	unlink(ca_path);
	unlink(empty_path);
	return rmdir(dir);
}

/* ---- the server ---- */

enum manner {
	ECHO,     /* greets, repeats lines */
	STARTTLS, /* the same after STLS in plain text */
	INJECT,   /* with plain text behind the go-ahead */
	PLAIN,    /* greets in plain text where TLS is expected */
	SILENT,   /* never answers the handshake */
	HANG_UP,  /* in the middle of the handshake */
	CUT,      /* greets and closes the socket without a TLS goodbye */
	FLOOD,    /* sends much before it reads */
	CHOPPY,   /* records and keys of every kind, in pieces of every size */
	BURST,    /* many records at once, and then it waits */
	OLD,      /* TLS 1.1 at most */
	OLDEST,   /* TLS 1.0 alone */
	SHORT,    /* TLS 1.2 with Diffie-Hellman of 1024 bits */
	WEAK,     /* TLS 1.2, whatever its key */
};

struct server {
	enum manner manner;
	const struct identity *id;
	char sni[64];
	size_t flood, expect, got;
	int version; /* of TLS, at most; 0: any */
};

static SSL *accept_tls(int fd, struct server *s, SSL_CTX **ctx)
{
	SSL *ssl;

	*ctx = SSL_CTX_new(TLS_server_method());
	if (s->manner >= OLD) {
		SSL_CTX_set_security_level(*ctx, 0);
		SSL_CTX_set_min_proto_version(*ctx, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(*ctx,
			s->manner == OLD              ? TLS1_1_VERSION
				: s->manner == OLDEST ? TLS1_VERSION
						      : TLS1_2_VERSION);
	}
	if (s->manner == SHORT) {
		SSL_CTX_set_cipher_list(*ctx, "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0");
		SSL_CTX_set_dh_auto(*ctx, 2);
	}
	if (s->version)
		SSL_CTX_set_max_proto_version(*ctx, s->version);
	SSL_CTX_use_certificate(*ctx, s->id->cert);
	SSL_CTX_use_PrivateKey(*ctx, s->id->key);
	SSL_CTX_add1_chain_cert(*ctx, ca.cert);
	ssl = SSL_new(*ctx);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

		snprintf(s->sni, sizeof(s->sni), "%s", sni ? sni : "-");
	}
	return ssl;
}

static bool say(SSL *ssl, const char *text)
{
	return SSL_write(ssl, text, (int)strlen(text)) > 0;
}

static void flood(SSL *ssl, struct server *s)
{
	char *p = xcalloc(1, 64 * KIB);
	size_t n;
	int k = 1;

	for (n = 0; n < s->flood && k > 0; n += 64 * KIB)
		k = SSL_write(ssl, p, 64 * KIB);
	while (s->got < s->expect && (k = SSL_read(ssl, p, 64 * KIB)) > 0)
		s->got += (size_t)k;
	say(ssl, "end\r\n");
	free(p);
}

enum { CHOPPY_LINES = 4000 };

static const char filler[] =
	"all work and no play makes jack a dull boy; all work and no play makes jack a dull "
	"boy; all work and no play makes jack a dull boy; all work and no play makes jack a "
	"dull boy; all work and no play makes jack a dull boy; all work and no play makes "
	"jack a dull boy; all work and no play makes jack a dull boy; all work and no play "
	"makes jack a dull boy; all work and no play makes jack a dull boy.";

static size_t choppy_line(char line[512], unsigned i)
{
	int n = snprintf(line, 512, "%u %.*s\r\n", i, (int)(i * 37 % 400), filler);

	return (size_t)n;
}

/* What TLS made of it goes out in pieces that have nothing to do with its records. */
static void chop(int fd, BIO *from, unsigned *seed, bool all)
{
	char piece[20 * KIB];
	int n;

	while (BIO_pending(from) > (all ? 0 : 10000)) {
		n = BIO_read(from, piece,
			rand_r(seed) % 3 ? 1 + rand_r(seed) % 40
					 : 1 + rand_r(seed) % (int)sizeof(piece));
		if (n <= 0 || send(fd, piece, (size_t)n, MSG_NOSIGNAL) != n)
			return;
	}
}

static void be_choppy(SSL *ssl)
{
	BIO *out = BIO_new(BIO_s_mem());
	unsigned seed = 3, i;
	char line[512];
	size_t n, k;

	SSL_set0_wbio(ssl, out);
	for (i = 0; i < CHOPPY_LINES; i++) {
		n = choppy_line(line, i);
		k = (size_t)rand_r(&seed) % (n - 1) + 1;
		if (SSL_version(ssl) == TLS1_3_VERSION && i % 50 == 0)
			SSL_key_update(ssl,
				i % 100 ? SSL_KEY_UPDATE_REQUESTED
					: SSL_KEY_UPDATE_NOT_REQUESTED);
		must(SSL_write(ssl, line, (int)k) == (int)k &&
			SSL_write(ssl, line + k, (int)(n - k)) == (int)(n - k));
		chop(SSL_get_fd(ssl), out, &seed, false);
	}
	SSL_shutdown(ssl);
	chop(SSL_get_fd(ssl), out, &seed, true);
	/* Our keys were answered; closed with that unread, all would be lost. */
	while (recv(SSL_get_fd(ssl), line, sizeof(line), 0) > 0)
		;
}

enum { BURST_LINES = 20 };

static void be_bursting(SSL *ssl)
{
	BIO *out = BIO_new(BIO_s_mem());
	char line[32], *all;
	unsigned i;
	long n;

	SSL_set0_wbio(ssl, out);
	for (i = 0; i < BURST_LINES; i++) {
		snprintf(line, sizeof(line), "line %u\r\n", i);
		must(say(ssl, line));
	}
	n = BIO_get_mem_data(out, &all);
	must(send(SSL_get_fd(ssl), all, (size_t)n, MSG_NOSIGNAL) == n);
	recv(SSL_get_fd(ssl), line, 1, 0);
}

static void talk(SSL *ssl, struct server *s)
{
	int n, small = 16 * KIB;
	char line[256];

	if (s->manner == FLOOD) {
		/* The kernel must not swallow what the client is slow to read. */
		setsockopt(
			SSL_get_fd(ssl), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
		flood(ssl, s);
		return;
	}
	if (s->manner == CHOPPY) {
		be_choppy(ssl);
		return;
	}
	if (s->manner == BURST) {
		be_bursting(ssl);
		return;
	}
	say(ssl, s->manner == CUT ? "+OK half" : "+OK hello\r\n");
	if (s->manner == CUT)
		return;
	while ((n = SSL_read(ssl, line, sizeof(line))) > 0)
		if (SSL_write(ssl, line, n) <= 0)
			break;
}

static void serve(int fd, void *arg)
{
	struct server *s = arg;
	SSL_CTX *ctx = NULL;
	char line[512];
	SSL *ssl;

	if (s->manner == PLAIN)
		loop_say(fd, "+OK \x1b[31mplain ready\r\n");
	while (s->manner == SILENT && recv(fd, line, sizeof(line), 0) > 0)
		;
	if (s->manner == PLAIN || s->manner == SILENT || s->manner == HANG_UP) {
		loop_hear(fd, line, s->manner == HANG_UP ? 8 : sizeof(line));
		return;
	}
	if (s->manner == STARTTLS || s->manner == INJECT) {
		loop_say(fd, "+OK hello\r\n");
		if (!loop_hear(fd, line, sizeof(line)))
			return;
		loop_say(fd,
			s->manner == INJECT ? "+OK go\r\n+OK injected\r\n"
					    : "+OK go\r\n");
	}
	ssl = accept_tls(fd, s, &ctx);
	if (SSL_is_init_finished(ssl))
		talk(ssl, s);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}

/* Blocks SIGPIPE in this thread: OpenSSL's own BIO raises it when we hang up. */
static void serve_quietly(int fd, void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	serve(fd, arg);
}

static enum status connect_tls(struct conn **c, struct loop *l, const char *host,
	const char *ca_file, const char *pin, enum tls_mode mode, struct err *err)
{
	struct net_config cfg = { .host = host,
		.port = loop_port(l),
		.tls = mode,
		.ca_file = ca_file,
		.pin = pin,
		.name = "source",
		.connect_ms = 3000 };

	return conn_dial(c, &cfg, err);
}

/* To a server with these manners, which the client trusts. */
static void open_tls(struct loop **l, struct conn **c, struct server *s)
{
	struct err err = ERR_INIT;

	loop_open(l, serve_quietly, s);
	if (connect_tls(c, *l, "localhost", ca_path, NULL, TLS_IMPLICIT, &err) != ST_OK)
		fail_msg("%s", err.text);
}

static const char *line_of(struct conn *c)
{
	struct err err = ERR_INIT;
	const char *p;
	size_t n;

	if (conn_line(c, 1000, &p, &n, &err) != ST_OK)
		fail_msg("%s", err.text);
	return p;
}

/* ---- whom we trust ---- */

static void trust(void **state)
{
	static const char wrong_pin[] =
		"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	const struct {
		const char *name, *host;
		const struct identity *id;
		const char *ca_file, *pin;
		enum status st;
		int ex;
		const char *words[3];
	} rows[] = {
		{ "trusted", "localhost", &good, ca_path, NULL, ST_OK, 0, { 0 } },
		{ "address", "127.0.0.1", &addressed, ca_path, NULL, ST_OK, 0, { 0 } },
		{ "address not named", "127.0.0.1", &good, ca_path, NULL, ST_DENIED,
			EX_NOPERM,
			{ "has a certificate for localhost", "not for 127.0.0.1",
				good.pin } },
		{ "other names", "localhost", &other_name, ca_path, NULL, ST_DENIED,
			EX_NOPERM,
			{ "mail.example.org, *.example.net, 192.0.2.7, "
			  "evil\\x1b[2J.example",
				"not for localhost", "source localhost:" } },
		{ "no names", "localhost", &strange, ca_path, NULL, ST_DENIED,
			EX_NOPERM, { "self-signed", strange.pin } },
		{ "expired", "localhost", &expired, ca_path, NULL, ST_DENIED, EX_NOPERM,
			{ "expired at 2", "renew" } },
		{ "self-signed", "localhost", &self_signed, ca_path, NULL, ST_DENIED,
			EX_NOPERM, { "self-signed", self_signed.pin } },
		{ "system CAs", "localhost", &good, NULL, NULL, ST_DENIED, EX_NOPERM,
			{ "not trusted here", "CN = Test CA\\1B[1m", good.pin } },
		{ "no CA file", "localhost", &good, "/nonexistent", NULL, ST_DENIED,
			EX_CONFIG, { "/nonexistent" } },
		{ "empty CA file", "localhost", &good, empty_path, NULL, ST_DENIED,
			EX_CONFIG, { "empty.pem" } },
		{ "pin and CA", "localhost", &good, ca_path, good.pin, ST_OK, 0,
			{ 0 } },
		{ "pin of the CA", "localhost", &good, ca_path, ca.pin, ST_OK, 0,
			{ 0 } },
		{ "pin, no CA", "localhost", &good, NULL, good.pin, ST_OK, 0, { 0 } },
		{ "pin, self-signed", "localhost", &self_signed, NULL, self_signed.pin,
			ST_OK, 0, { 0 } },
		{ "pin, other name", "localhost", &other_name, ca_path, other_name.pin,
			ST_OK, 0, { 0 } },
		{ "wrong pin", "localhost", &good, ca_path, wrong_pin, ST_DENIED,
			EX_NOPERM, { "with the pin", good.pin, wrong_pin } },
		/* The server presents the CA beside a leaf that it did not issue. */
		{ "stolen CA pin", "localhost", &self_signed, ca_path, ca.pin,
			ST_DENIED, EX_NOPERM, { self_signed.pin } },
		{ "CA pin untrusted", "localhost", &good, NULL, ca.pin, ST_DENIED,
			EX_NOPERM, { good.pin } },
		{ "CA pin, other name", "localhost", &other_name, ca_path, ca.pin,
			ST_DENIED, EX_NOPERM, { other_name.pin } },
	};
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct server s = { .manner = ECHO, .id = rows[i].id };
		struct err err = ERR_INIT;
		struct conn *c = NULL;
		enum status rc;
		struct loop *l;

		loop_open(&l, serve_quietly, &s);
		rc = connect_tls(&c, l, rows[i].host, rows[i].ca_file, rows[i].pin,
			TLS_IMPLICIT, &err);
		if (rc != rows[i].st || err.exit != rows[i].ex)
			fail_msg("%s: %d %d: %s", rows[i].name, rc, err.exit, err.text);
		for (k = 0; k < 3 && rows[i].words[k]; k++)
			if (!strstr(err.text, rows[i].words[k]))
				fail_msg("%s: no \"%s\" in: %s", rows[i].name,
					rows[i].words[k], err.text);
		if (rc == ST_OK)
			assert_string_equal(line_of(c), "+OK hello");
		conn_close(&c);
		loop_close(&l);
	}
}

static void info_and_sni(void **state)
{
	const struct identity *const ids[] = { &good, &addressed };
	const char *const hosts[] = { "localhost", "127.0.0.1" };
	const char *const sni[] = { "localhost", "-" };
	const struct tls_info *t;
	struct conn *c;
	struct loop *l;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(ids); i++) {
		struct server s = { .manner = ECHO, .id = ids[i] };

		loop_open(&l, serve_quietly, &s);
		assert_int_equal(
			connect_tls(&c, l, hosts[i], ca_path, NULL, TLS_IMPLICIT, NULL),
			ST_OK);
		t = conn_tls(c);
		assert_string_equal(t->version, "TLSv1.3");
		assert_true(strlen(t->cipher) > 8);
		assert_string_equal(t->pin, ids[i]->pin);
		assert_string_equal(t->issuer, "CN = Test CA\\1B[1m");
		assert_int_equal(strlen(t->sha256), 64);
		assert_int_equal(t->not_after[19], 'Z');
		assert_string_equal(line_of(c), "+OK hello");
		conn_close(&c);
		loop_close(&l);
		assert_string_equal(s.sni, sni[i]);
	}
}

/* ---- servers that are not what they seem ---- */

static void wrong_servers(void **state)
{
	const struct {
		enum manner manner;
		enum status st;
		int ex;
		const char *words[2];
	} rows[] = {
		{ PLAIN, ST_DENIED, EX_UNAVAILABLE,
			{ "speaks no TLS from the first byte",
				"it said \"+OK \\x1b[31mplain ready\"" } },
		{ HANG_UP, ST_RETRY, EX_TEMPFAIL, { "the TLS handshake" } },
		{ OLD, ST_DENIED, EX_NOPERM, { "older than 1.2" } },
	};
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct server s = { .manner = rows[i].manner, .id = &good };
		struct err err = ERR_INIT;
		struct conn *c = NULL;
		struct loop *l;

		loop_open(&l, serve_quietly, &s);
		assert_int_equal(connect_tls(&c, l, "localhost", ca_path, NULL,
					 TLS_IMPLICIT, &err),
			rows[i].st);
		assert_int_equal(err.exit, rows[i].ex);
		for (k = 0; k < 2 && rows[i].words[k]; k++)
			if (!strstr(err.text, rows[i].words[k]))
				fail_msg(
					"no \"%s\" in: %s", rows[i].words[k], err.text);
		loop_close(&l);
	}
}

/* Quirk Q62: what is too old to be safe is taken where that was asked for. */
static void old_servers(void **state)
{
	const struct {
		enum manner manner;
		const struct identity *id;
		enum tls_min min;
		const char *version; /* NULL: refused */
		const char *words[2];
	} rows[] = {
		{ OLD, &good, TLS_MIN_1_2, NULL,
			{ "older than 1.2", "or --source-tls-min 1.0 takes" } },
		{ OLD, &good, TLS_MIN_1_1, "TLSv1.1", { 0 } },
		{ OLD, &good, TLS_MIN_1_0, "TLSv1.1", { 0 } },
		{ OLDEST, &good, TLS_MIN_1_1, NULL,
			{ "older than 1.1", "or --source-tls-min 1.0 takes" } },
		{ OLDEST, &good, TLS_MIN_1_0, "TLSv1", { 0 } },
		{ SHORT, &rsa, TLS_MIN_1_2, NULL,
			{ "key that is too short", "or --source-tls-min 1.0 takes" } },
		{ SHORT, &rsa, TLS_MIN_1_0, "TLSv1.2", { 0 } },
		{ WEAK, &short_rsa, TLS_MIN_1_2, NULL,
			{ "a key too short", "or --source-tls-min 1.0 takes" } },
		{ WEAK, &short_rsa, TLS_MIN_1_1, "TLSv1.2", { 0 } },
		{ ECHO, &good, TLS_MIN_1_0, "TLSv1.3", { 0 } },
		/* Old is not unknown. */
		{ OLDEST, &strange, TLS_MIN_1_0, NULL, { "self-signed" } },
		{ OLD, &expired, TLS_MIN_1_0, NULL, { "expired" } },
	};
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct server s = { .manner = rows[i].manner, .id = rows[i].id };
		struct net_config cfg = { .host = "localhost",
			.ca_file = ca_path,
			.tls_min = rows[i].min,
			.name = "source",
			.connect_ms = 3000 };
		struct err err = ERR_INIT;
		struct conn *c = NULL;
		struct loop *l;
		enum status rc;

		loop_open(&l, serve_quietly, &s);
		cfg.port = loop_port(l);
		rc = conn_dial(&c, &cfg, &err);
		if (rc != (rows[i].version ? ST_OK : ST_DENIED))
			fail_msg("row %zu: %d: %s", i, rc, err.text);
		if (rc == ST_OK)
			assert_string_equal(conn_tls(c)->version, rows[i].version);
		else
			assert_int_equal(err.exit, EX_NOPERM);
		for (k = 0; k < 2 && rows[i].words[k]; k++)
			if (!strstr(err.text, rows[i].words[k]))
				fail_msg("row %zu: no \"%s\" in: %s", i,
					rows[i].words[k], err.text);
		conn_close(&c);
		loop_close(&l);
	}
}

static void silent_handshake(void **state)
{
	struct server s = { .manner = SILENT };
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	struct loop *l;

	(void)state;
	loop_open(&l, serve_quietly, &s);
	{
		struct net_config cfg = { .host = "127.0.0.1",
			.port = loop_port(l),
			.name = "source",
			.connect_ms = 50 };

		assert_int_equal(conn_dial(&c, &cfg, &err), ST_RETRY);
	}
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_non_null(strstr(err.text, "the TLS handshake"));
	loop_close(&l);
}

/* A connection that is cut is never taken for the end of what was said. */
static void cut_connection(void **state)
{
	struct server s = { .manner = CUT, .id = &good };
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	struct loop *l;
	const char *p;
	size_t n;

	(void)state;
	open_tls(&l, &c, &s);
	assert_int_equal(conn_line(c, 99, &p, &n, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_true(conn_dead(c));
	conn_close(&c);
	loop_close(&l);
}

/* Sending to a peer that is gone is an error, not a SIGPIPE. */
static void no_sigpipe(void **state)
{
	struct server s = { .manner = CUT, .id = &good };
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	struct loop *l;
	char *big = xcalloc(1, 256 * KIB);
	int i;

	(void)state;
	open_tls(&l, &c, &s);
	conn_patience(c, 2000);
	clock_sleep(50);
	for (i = 0; i < 100 && conn_send(c, big, 256 * KIB, &err) == ST_OK; i++)
		;
	assert_int_equal(err.status, ST_RETRY);
	conn_close(&c);
	loop_close(&l);
	free(big);
}

/* ---- STARTTLS ---- */

static enum status upgrade(struct conn **c, struct loop *l, struct err *err)
{
	assert_int_equal(
		connect_tls(c, l, "localhost", ca_path, NULL, TLS_STARTTLS, err),
		ST_OK);
	assert_null(conn_tls(*c));
	assert_string_equal(line_of(*c), "+OK hello");
	assert_int_equal(conn_sendf(*c, err, "STLS\r\n"), ST_OK);
	assert_string_equal(line_of(*c), "+OK go");
	return conn_start_tls(*c, err);
}

static void starttls(void **state)
{
	struct server s = { .manner = STARTTLS, .id = &good };
	struct err err = ERR_INIT;
	struct conn *c;
	struct loop *l;

	(void)state;
	loop_open(&l, serve_quietly, &s);
	if (upgrade(&c, l, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_non_null(conn_tls(c));
	assert_string_equal(line_of(c), "+OK hello");
	conn_close(&c);
	s.id = &self_signed;
	assert_int_equal(upgrade(&c, l, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	assert_true(conn_dead(c));
	assert_int_equal(conn_sendf(c, NULL, "USER a\r\n"), ST_DENIED);
	conn_close(&c);
	loop_close(&l);
}

/* Quirk Q61, Q124. */
static void injection(void **state)
{
	struct server s = { .manner = INJECT, .id = &good };
	struct err err = ERR_INIT;
	struct conn *c;
	struct loop *l;

	(void)state;
	loop_open(&l, serve_quietly, &s);
	assert_int_equal(upgrade(&c, l, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_PROTOCOL);
	assert_non_null(strstr(err.text, "after agreeing to TLS"));
	conn_close(&c);
	loop_close(&l);
}

/* ---- both ways at once ---- */

static void full_duplex(void **state)
{
	struct server s = {
		.manner = FLOOD, .id = &good, .flood = 704 * KIB, .expect = 12000000
	};
	char *out = xcalloc(1, s.expect);
	struct err err = ERR_INIT;
	struct conn *c;
	struct loop *l;
	size_t n, got = 0, i, k;

	(void)state;
	open_tls(&l, &c, &s);
	conn_patience(c, 5000);
	for (i = 0, k = 1; i < s.expect; i += n, k = k * 5 % 300007) {
		n = k < s.expect - i ? k : s.expect - i;
		if (conn_send(c, out + i, n, &err) != ST_OK)
			fail_msg("%s", err.text);
	}
	assert_int_equal(conn_flush(c, &err), ST_OK);
	while (got < s.flood) {
		conn_peek(c, &n);
		if (!n)
			assert_int_equal(conn_fill(c, &err), ST_OK);
		n = n < s.flood - got ? n : s.flood - got;
		conn_take(c, n);
		got += n;
	}
	assert_string_equal(line_of(c), "end");
	/* Read-ahead: far fewer calls than one a record. */
	assert_true(conn_counts(c).reads < 704 / 16 * 4);
	conn_close(&c);
	loop_close(&l);
	assert_int_equal(s.got, s.expect);
	free(out);
}

/* Nothing is missing, and what comes with the goodbye is there. */
static void choppy_records(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	char line[512];
	size_t i, n;
	unsigned k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(versions); i++) {
		struct server s = {
			.manner = CHOPPY, .id = &good, .version = versions[i]
		};
		struct err err = ERR_INIT;
		const char *p;
		struct conn *c;
		struct loop *l;

		open_tls(&l, &c, &s);
		conn_patience(c, 5000);
		for (k = 0; k < CHOPPY_LINES; k++) {
			n = choppy_line(line, k);
			line[n - 2] = '\0';
			assert_string_equal(line_of(c), line);
		}
		assert_int_equal(conn_line(c, 1000, &p, &n, &err), ST_RETRY);
		conn_close(&c);
		loop_close(&l);
	}
}

/* What came with others is not waited for. */
static void burst_of_records(void **state)
{
	struct server s = { .manner = BURST, .id = &good };
	struct conn *c;
	struct loop *l;
	int64_t start = clock_ms();
	char line[32];
	unsigned i;

	(void)state;
	open_tls(&l, &c, &s);
	conn_patience(c, 20000);
	for (i = 0; i < BURST_LINES; i++) {
		snprintf(line, sizeof(line), "line %u", i);
		assert_string_equal(line_of(c), line);
	}
	assert_true(clock_ms() < start + 10000);
	conn_close(&c);
	loop_close(&l);
}

/* Records are sent together, and the kernel never keeps the last of them for more. */
static void nothing_kept(void **state)
{
	enum { ROUNDS = 20, SENT = 40 * KIB, KEPT_MS = 200 };
	struct server s = { .manner = ECHO, .id = &good };
	char *out = xcalloc(1, SENT);
	struct err err = ERR_INIT;
	struct conn *c;
	struct loop *l;
	int64_t start;
	size_t n, got;
	int i;

	(void)state;
	open_tls(&l, &c, &s);
	conn_patience(c, 5000);
	assert_string_equal(line_of(c), "+OK hello");
	start = clock_ms();
	for (i = 0; i < ROUNDS; i++) {
		assert_int_equal(conn_send(c, out, SENT, &err), ST_OK);
		assert_int_equal(conn_flush(c, &err), ST_OK);
		for (got = 0; got < SENT; got += n) {
			conn_peek(c, &n);
			if (!n)
				assert_int_equal(conn_fill(c, &err), ST_OK);
			conn_take(c, n);
		}
	}
	assert_true(clock_ms() < start + ROUNDS * KEPT_MS / 2);
	conn_close(&c);
	loop_close(&l);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trust),
		cmocka_unit_test(info_and_sni),
		cmocka_unit_test(wrong_servers),
		cmocka_unit_test(old_servers),
		cmocka_unit_test(silent_handshake),
		cmocka_unit_test(cut_connection),
		cmocka_unit_test(no_sigpipe),
		cmocka_unit_test(starttls),
		cmocka_unit_test(injection),
		cmocka_unit_test(full_duplex),
		cmocka_unit_test(choppy_records),
		cmocka_unit_test(burst_of_records),
		cmocka_unit_test(nothing_kept),
	};

	return cmocka_run_group_tests(tests, make_world, drop_world);
}
