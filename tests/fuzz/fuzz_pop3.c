/* fuzz_pop3.c: a whole POP3 session with a server that says anything. */
#include "fuzz.h"

#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/pop3.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SPOOL_BYTES = 64 * 1024, TRACE_BYTES = 256 * 1024, DELETED = 2 };

static const char password[] = "s3cr3t=Wort";
static const char token[] = "AGpvZQBzM2NyM3Q9V29ydA=="; /* of SASL PLAIN */

/* One byte of the input decides how the session is configured. */
static struct pop3_config config(unsigned how, struct trace *trace)
{
	struct pop3_config cfg = { .user = "joe", .password = password };

	cfg.auth = how % 4;
	cfg.pipelining = how & 4 ? POP3_PIPELINE_NO : POP3_PIPELINE_AUTO;
	cfg.window_bytes = how & 8 ? 4096 : 0;
	cfg.window_count = how & 8 ? 3 : 0;
	cfg.message_max = how & 16 ? 100 : 0;
	cfg.net.tls = how & 32 ? TLS_STARTTLS : TLS_NONE;
	cfg.net.trace = trace;
	return cfg;
}

static void check_listing(const struct pop3_listing *l, size_t said)
{
	size_t i;

	must(l->n <= said && l->repeated <= l->n);
	for (i = 0; i < l->n; i++) {
		const struct pop3_item *it = &l->items[i];
		const char *uidl = pop3_uidl(l, it);

		must(it->number > 0 && (!i || it->number > it[-1].number));
		must(it->occurrence > 0 && it->occurrence <= l->n);
		must(it->uidl_n <= POP3_UIDL_MAX && !uidl == !it->uidl_n);
		must(!uidl || !memchr(uidl, '\n', it->uidl_n));
	}
}

static enum status fetch_one(struct pop3 *p, struct spool *sp, uint64_t max,
	uint32_t *number, struct err *err)
{
	struct message_maker *mk;
	struct message *m = NULL;
	enum status rc;

	message_begin(&mk, sp);
	rc = pop3_next(p, number, message_put, mk, err);
	if (rc != ST_OK) {
		message_drop(&mk);
		return rc;
	}
	must(message_end(&mk, &m, err) == ST_OK);
	must(m->facts.size <= max);
	message_free(&m);
	return ST_OK;
}

static enum status fetch_all(struct pop3 *p, const struct pop3_listing *l,
	struct spool *sp, uint64_t max, struct err *err)
{
	uint32_t number = 0;
	enum status rc;
	size_t i;

	for (i = 0; i < l->n; i++)
		pop3_want(p, l->items[i].number, l->items[i].size);
	for (i = 0; i < l->n; i++) {
		rc = fetch_one(p, sp, max, &number, err);
		if (rc != ST_OK && rc != ST_SKIP)
			return rc;
		must_tell(rc, err);
		must(number == l->items[i].number);
	}
	rc = fetch_one(p, sp, max, &number, err);
	must(rc == ST_END || rc == ST_RETRY);
	return rc == ST_END ? ST_OK : rc;
}

static enum status use(
	struct pop3 *p, struct spool *sp, const struct input *said, struct err *err)
{
	const struct pop3_server *s = pop3_server(p);
	struct pop3_listing l = { 0 };
	enum status rc;
	size_t i;

	rc = pop3_login(p, err);
	must(is_clean(s->greeting, strlen(s->greeting)) && s->n_capa <= POP3_CAPA_MAX);
	for (i = 0; i < s->n_capa; i++)
		must(is_clean(s->capa[i], strlen(s->capa[i])));
	if (rc == ST_OK)
		rc = pop3_list(p, &l, err);
	if (rc == ST_OK)
		check_listing(&l, said->n);
	if (rc == ST_OK)
		rc = fetch_all(p, &l, sp, said->n, err);
	for (i = 0; rc == ST_OK && i < l.n && i < DELETED; i++) {
		rc = pop3_dele(p, l.items[i].number, err);
		if (rc == ST_SKIP)
			rc = ST_OK;
	}
	return rc == ST_OK ? pop3_quit(p, err) : rc;
}

/* All that the server says, without the marks of who waits for whom. */
static char *without_marks(const struct input *said, size_t *n)
{
	char *all = xmalloc(said->n + 1);
	struct input in = *said, part;

	for (*n = 0; in.n; *n += part.n) {
		part = input_part(&in);
		memcpy(all + *n, part.p, part.n);
	}
	return all;
}

/* The trace shows no secret, unless the server says it by itself. */
static void check_trace(int fd, const struct input *said, const struct err *err)
{
	static const char *const secrets[] = { password, token };
	static char text[TRACE_BYTES];
	ssize_t got = pread(fd, text, sizeof(text), 0);
	char *all;
	size_t i, len, n;

	all = without_marks(said, &n);
	for (i = 0; got > 0 && i < N_ELEMENTS(secrets); i++) {
		len = strlen(secrets[i]);
		if (memmem(all, n, secrets[i], len))
			continue;
		must(!memmem(text, (size_t)got, secrets[i], len));
		must(!strstr(err->text, secrets[i]));
	}
	free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };
	unsigned how = input_byte(&in);
	int fd = memfd_create("trace", MFD_CLOEXEC);
	char *path = xasprintf("/proc/self/fd/%d", fd);
	struct trace *trace = NULL;
	struct err err = ERR_INIT;
	struct pop3_config cfg;
	struct pop3 *p = NULL;
	struct transport over;
	struct spool *sp;
	struct conn *c;
	struct feed f;
	enum status rc;

	must(trace_open(&trace, path, &err) == ST_OK);
	spool_open(&sp, scratch_fd(), SPOOL_BYTES);
	cfg = config(how, trace);
	feed_open(&f, &in);
	over = feed_transport(&f);
	conn_over(&c, &over, "source", trace);
	rc = pop3_over(&p, c, &cfg, &err);
	if (rc == ST_OK)
		rc = use(p, sp, &in, &err);
	/* A transport has no TLS to start. */
	must(rc != ST_FATAL || cfg.net.tls == TLS_STARTTLS);
	must_tell(rc, &err);
	pop3_close(&p);
	spool_close(&sp);
	trace_close(&trace);
	check_trace(fd, &in, &err);
	close(fd);
	free(path);
	return 0;
}
