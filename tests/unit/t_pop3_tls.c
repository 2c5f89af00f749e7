/* t_pop3_tls.c: STLS over loopback: taken, tampered with (quirk Q61), what it makes
 * forget. */
#include "loop.h"
#include "t_pop3.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static SSL_CTX *server_ctx;
static char ca_file[] = "/tmp/t_pop3_tls.XXXXXX";

/* A key and a certificate for 127.0.0.1 that signs itself. */
static int make_identity(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	X509_EXTENSION *san;
	int fd = mkstemp(ca_file);
	FILE *f = fdopen(fd, "w");

	(void)state;
	signal(SIGPIPE, SIG_IGN); /* the server's OpenSSL may write to nobody */
	if (!key || !f)
		return -1;
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_set_pubkey(cert, key);
	san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
	X509_add_ext(cert, san, -1);
	X509_EXTENSION_free(san);
	X509_sign(cert, key, EVP_sha256());
	PEM_write_X509(f, cert);
	fclose(f);
	server_ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(server_ctx, cert);
	SSL_CTX_use_PrivateKey(server_ctx, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	return 0;
}

static int drop_identity(void **state)
{
	(void)state;
	SSL_CTX_free(server_ctx);
	return unlink(ca_file);
}

/* In plain text it promises what it takes back under TLS. */
static bool plain_part(int fd, const char *go_ahead)
{
	char line[256];

	return loop_say(fd, "+OK plain <1.2@example.org>\r\n") &&
		loop_hear(fd, line, sizeof(line)) &&
		loop_say(fd,
			"+OK\r\nSTLS\r\nUSER\r\nSASL PLAIN\r\nPIPELINING\r\n.\r\n") &&
		loop_hear(fd, line, sizeof(line)) && loop_say(fd, go_ahead);
}

static void hear_tls(SSL *ssl, const char *want)
{
	char line[256];
	int n = SSL_read(ssl, line, sizeof(line) - 1);

	line[n > 0 ? n : 0] = '\0';
	if (strcmp(line, want) != 0)
		SSL_write(ssl, "-ERR test: what?\r\n", 18);
}

static void say_tls(SSL *ssl, const char *text)
{
	SSL_write(ssl, text, (int)strlen(text));
}

static void serve(int fd, void *ctx)
{
	SSL *ssl;

	if (!plain_part(fd, ctx))
		return;
	ssl = SSL_new(server_ctx);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		hear_tls(ssl, "CAPA\r\n");
		say_tls(ssl, "+OK\r\nUIDL\r\n.\r\n");
		hear_tls(ssl, "USER joe\r\n");
		say_tls(ssl, "+OK\r\n");
		hear_tls(ssl, "PASS secret\r\n");
		say_tls(ssl, "+OK\r\n");
		hear_tls(ssl, "CAPA\r\n");
		say_tls(ssl, "-ERR\r\n");
		hear_tls(ssl, "QUIT\r\n");
		say_tls(ssl, "+OK\r\n");
	}
	SSL_free(ssl);
}

/* TLS first, and a stamp for APOP in the greeting. */
static void serve_implicit(int fd, void *ctx)
{
	SSL *ssl = SSL_new(server_ctx);

	(void)ctx;
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		say_tls(ssl, "+OK <1.2@example.org>\r\n");
		hear_tls(ssl, "CAPA\r\n");
		say_tls(ssl, "-ERR\r\n");
		hear_tls(ssl, "USER joe\r\n");
		say_tls(ssl, "+OK\r\n");
		hear_tls(ssl, "PASS secret\r\n");
		say_tls(ssl, "+OK\r\n");
		hear_tls(ssl, "CAPA\r\n");
		say_tls(ssl, "-ERR\r\n");
	}
	SSL_free(ssl);
}

static void configure(struct pop3_config *cfg, const struct loop *l)
{
	*cfg = joe();
	cfg->net.host = "127.0.0.1";
	cfg->net.port = loop_port(l);
	cfg->net.tls = TLS_STARTTLS;
	cfg->net.ca_file = ca_file;
	cfg->net.name = "source";
}

static void taken(void **state)
{
	char go_ahead[] = "+OK begin\r\n";
	struct err err = ERR_INIT;
	const struct pop3_server *s;
	struct pop3_config cfg;
	struct pop3 *p = NULL;
	struct loop *l;

	(void)state;
	loop_open(&l, serve, go_ahead);
	configure(&cfg, l);
	if (pop3_connect(&p, &cfg, &err) != ST_OK)
		fail_msg("%s", err.text);
	s = pop3_server(p);
	assert_non_null(s->tls);
	assert_string_equal(s->greeting, "");
	assert_int_equal(s->n_capa, 1);
	assert_true(s->has_capa && s->uidl);
	assert_false(s->stls || s->apop || s->sasl_plain || s->pipelining || s->user);
	/* Neither the stamp nor the PLAIN of the plain part is used. */
	if (pop3_login(p, &err) != ST_OK || pop3_quit(p, &err) != ST_OK)
		fail_msg("%s", err.text);
	pop3_close(&p);
	loop_close(&l);
}

/* APOP is for those who have no TLS. */
static void implicit(void **state)
{
	struct err err = ERR_INIT;
	struct pop3_config cfg;
	struct pop3 *p = NULL;
	struct loop *l;

	(void)state;
	loop_open(&l, serve_implicit, NULL);
	configure(&cfg, l);
	cfg.net.tls = TLS_IMPLICIT;
	if (pop3_connect(&p, &cfg, &err) != ST_OK || pop3_login(p, &err) != ST_OK)
		fail_msg("%s", err.text);
	assert_true(pop3_server(p)->apop);
	pop3_close(&p);
	loop_close(&l);
}

/* All that a Dovecot is sent at once, and what it says to that. */
static void serve_dovecot(int fd, void *ctx)
{
	static const char all[] = "CAPA\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\nCAPA\r\n"
				  "NOOP\r\nNOOP\r\nLAST\r\nLIST\r\nUIDL\r\n";
	char heard[256] = "";
	int n = 0, k = 1;
	SSL *ssl = SSL_new(server_ctx);

	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		say_tls(ssl, "+OK Dovecot ready.\r\n");
		while (k > 0 && n < (int)strlen(all)) {
			k = SSL_read(ssl, heard + n, (int)sizeof(heard) - 1 - n);
			n += k > 0 ? k : 0;
		}
		say_tls(ssl, strcmp(heard, all) == 0 ? ctx : "-ERR test: what?\r\n");
		if (!strstr(ctx, "UIDL 1"))
			SSL_shutdown(ssl);
		else
			hear_tls(ssl, "QUIT\r\n");
	}
	SSL_free(ssl);
}

static void dovecot(void **state)
{
#define CAN "+OK\r\nPIPELINING\r\nUIDL\r\nSASL PLAIN\r\n.\r\n"
	static const struct {
		char says[200];
		enum status st;
		int ex;
		bool ahead_failed;
	} rows[] = {
		{ CAN "+OK in\r\n" CAN "+OK\r\n+OK\r\n-ERR\r\n+OK\r\n1 5\r\n.\r\n"
		      "+OK UIDL 1\r\n1 a\r\n.\r\n",
			ST_OK, 0, false },
		{ CAN "-ERR [AUTH] no\r\n", ST_DENIED, EX_NOPERM, false },
		{ CAN "-ERR [IN-USE] no\r\n", ST_RETRY, EX_TEMPFAIL, false },
		{ CAN, ST_RETRY, EX_TEMPFAIL, true },
		{ CAN "+OK in\r\n" CAN, ST_RETRY, EX_TEMPFAIL, true },
		{ "+OK\r\nPIPELINING\r\nSASL LOGIN\r\n.\r\n-ERR\r\n", ST_RETRY,
			EX_PROTOCOL, true },
		{ "-ERR\r\n-ERR\r\n", ST_RETRY, EX_PROTOCOL, true },
	};
#undef CAN
	struct pop3_config cfg;
	struct pop3_listing l;
	struct pop3 *p = NULL;
	struct loop *loop;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct err err = ERR_INIT;
		enum status st;

		loop_open(&loop, serve_dovecot, (void *)(uintptr_t)rows[i].says);
		configure(&cfg, loop);
		cfg.net.tls = TLS_IMPLICIT;
		cfg.lists = true;
		if (pop3_connect(&p, &cfg, &err) != ST_OK)
			fail_msg("row %zu: %s", i, err.text);
		st = pop3_login(p, &err);
		if (st != rows[i].st || (st != ST_OK && err.exit != rows[i].ex) ||
			pop3_pipelining_failed(p) != rows[i].ahead_failed)
			fail_msg("row %zu: %d, exit %d: %s", i, st, err.exit, err.text);
		if (st == ST_OK &&
			(pop3_list(p, &l, &err) != ST_OK || l.n != 1 ||
				pop3_quit(p, &err) != ST_OK))
			fail_msg("row %zu: %s", i, err.text);
		pop3_close(&p);
		loop_close(&loop);
	}
}

/* A server far away: of that the handshake of TLS tells, or else the answer to CAPA. */
enum { FAR_MS = 120, FAR_LETTERS = 60, MIB = 1024 * 1024 };
struct far {
	enum tls_mode tls;
	unsigned asked; /* messages, before any has come */
};

static void drop(void *ctx, const char *p, size_t n)
{
	(void)ctx, (void)p, (void)n;
}

static ssize_t far_read(int fd, SSL *ssl, char *p, size_t n)
{
	return ssl ? SSL_read(ssl, p, (int)n) : read(fd, p, n);
}

/* Whoever hears something else says nothing. */
static void far_answer(int fd, SSL *ssl, const char *want, const char *say)
{
	size_t n = strlen(want), got = 0;
	char line[64];
	ssize_t k;

	while (got < n && (k = far_read(fd, ssl, line + got, n - got)) > 0)
		got += (size_t)k;
	if (got != n || memcmp(line, want, n) != 0)
		return;
	if (ssl)
		say_tls(ssl, say);
	else
		loop_say(fd, say);
}

static void serve_from_afar(int fd, void *ctx)
{
	const struct timeval silence = { 0, 300 * 1000 };
	struct far *far = ctx;
	char heard[2000];
	SSL *ssl = NULL;
	const char *p;
	size_t n = 0;
	ssize_t k;

	if (far->tls == TLS_IMPLICIT) {
		usleep(FAR_MS * 1000);
		ssl = SSL_new(server_ctx);
		SSL_set_fd(ssl, fd);
		if (SSL_accept(ssl) != 1)
			fail_msg("no TLS");
	}
	far_answer(fd, ssl, "", "+OK hello\r\n");
	if (!ssl)
		usleep(FAR_MS * 1000);
	far_answer(fd, ssl, "CAPA\r\n", "+OK\r\nPIPELINING\r\nUIDL\r\nUSER\r\n.\r\n");
	far_answer(fd, ssl, "USER joe\r\n", "+OK\r\n");
	far_answer(fd, ssl, "PASS secret\r\n", "+OK\r\n");
	far_answer(fd, ssl, "CAPA\r\nNOOP\r\nNOOP\r\n",
		"+OK\r\nPIPELINING\r\nUIDL\r\n.\r\n+OK\r\n+OK\r\n");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	while ((k = far_read(fd, ssl, heard + n, sizeof(heard) - 1 - n)) > 0)
		n += (size_t)k;
	heard[n] = '\0';
	for (p = heard; (p = strstr(p, "RETR ")); p++)
		far->asked++;
	SSL_free(ssl);
}

/* What a line of a gigabit holds is asked for before anything has come. */
static void first_window(void **state)
{
	static const enum tls_mode modes[] = { TLS_IMPLICIT, TLS_NONE };
	struct err err = ERR_INIT;
	struct pop3_config cfg;
	struct pop3 *p = NULL;
	struct loop *l;
	unsigned i;
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(modes); k++) {
		struct far far = { modes[k], 0 };

		loop_open(&l, serve_from_afar, &far);
		configure(&cfg, l);
		cfg.net.tls = modes[k];
		if (pop3_connect(&p, &cfg, &err) != ST_OK ||
			pop3_login(p, &err) != ST_OK)
			fail_msg("row %zu: %s", k, err.text);
		for (i = 1; i <= FAR_LETTERS; i++)
			pop3_want(p, i, MIB);
		assert_int_equal(pop3_next(p, &i, drop, NULL, &err), ST_RETRY);
		pop3_close(&p);
		loop_close(&l);
		/* 128 KiB a millisecond, and 4 MiB; and not all of them. */
		if (far.asked < 4 + FAR_MS / 8 || far.asked > 32)
			fail_msg("row %zu: %u of %d messages were asked for", k,
				far.asked, FAR_LETTERS);
	}
}

static void tampered(void **state)
{
	char go_ahead[] = "+OK begin\r\n+OK injected\r\n";
	struct err err = ERR_INIT;
	struct pop3_config cfg;
	struct pop3 *p = NULL;
	struct loop *l;

	(void)state;
	loop_open(&l, serve, go_ahead);
	configure(&cfg, l);
	assert_int_equal(pop3_connect(&p, &cfg, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_PROTOCOL);
	assert_non_null(strstr(err.text, "tampering"));
	assert_null(p);
	loop_close(&l);
}

static void say_nothing(int fd, void *ctx)
{
	char line[64];

	(void)ctx;
	loop_hear(fd, line, sizeof(line));
}

static void silent_port(void **state)
{
	struct err err = ERR_INIT;
	struct pop3_config cfg;
	struct pop3 *p = NULL;
	struct loop *l;

	(void)state;
	loop_open(&l, say_nothing, NULL);
	configure(&cfg, l);
	cfg.greeting_ms = 50;
	assert_int_equal(pop3_connect(&p, &cfg, &err), ST_RETRY);
	assert_int_equal(err.exit, EX_UNAVAILABLE);
	assert_non_null(strstr(err.text, "TLS"));
	loop_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken),
		cmocka_unit_test(implicit),
		cmocka_unit_test(dovecot),
		cmocka_unit_test(first_window),
		cmocka_unit_test(tampered),
		cmocka_unit_test(silent_port),
	};

	return cmocka_run_group_tests_name(
		"pop3_tls", tests, make_identity, drop_identity);
}
