/* facts.c: what the sections [pop3] and [imap] of a profile can say. */
#include "own.h"

#include <popferry/mem.h>

#include <stdlib.h>

#define TEXT(s, k, f) \
	{ \
		.key = (k), .type = SET_TEXT, .at = FIELD(s, f, char *) \
	}
#define HOST(s, k, f) \
	{ \
		.key = (k), .type = SET_HOST, .at = FIELD(s, f, char *) \
	}
#define FORM(s, k, f, w) \
	{ \
		.key = (k), .type = SET_FORM, .at = FIELD(s, f, char *), .words = (w) \
	}
#define UINT(s, k, f, l, h) \
	{ \
		.key = (k), .type = SET_UINT, .at = FIELD(s, f, unsigned), .lo = (l), \
		.hi = (h) \
	}
#define SIZE(s, k, f, l, h) \
	{ \
		.key = (k), .type = SET_SIZE, .at = FIELD(s, f, uint64_t), .lo = (l), \
		.hi = (h) \
	}
#define WORD(s, k, f, w) \
	{ \
		.key = (k), .type = SET_WORD, .at = FIELD(s, f, unsigned), \
		.words = (w) \
	}
#define BOOL(s, k, f, w) \
	{ \
		.key = (k), .type = SET_BOOL, .at = FIELD(s, f, bool), .words = (w) \
	}

/* "none" is missing on purpose: no profile can take the encryption away. */
static const struct word tls_words[] = {
	{ "implicit", TLS_IMPLICIT + 1 },
	{ "starttls", TLS_STARTTLS + 1 },
	{ NULL, 0 },
};
static const struct word pop3_auth_words[] = {
	{ "auto", 0 },
	{ "user", 1 },
	{ "plain", 2 },
	{ "apop", 3 },
	{ NULL, 0 },
};
static const struct word imap_auth_words[] = {
	{ "auto", 0 },
	{ "login", 1 },
	{ "plain", 2 },
	{ NULL, 0 },
};
static const struct word pipelining_words[] = {
	{ "auto", false },
	{ "no", true },
	{ NULL, 0 },
};
static const struct word literal_words[] = {
	{ "auto", false },
	{ "sync", true },
	{ NULL, 0 },
};
static const struct word multiappend_words[] = {
	{ "yes", false },
	{ "no", true },
	{ NULL, 0 },
};

static const struct word compress_words[] = {
	{ "auto", 0 },
	{ "yes", 1 },
	{ "no", 2 },
	{ NULL, 0 },
};

static const struct word yes_words[] = {
	{ "no", false },
	{ "yes", true },
	{ NULL, 0 },
};
static const struct word rset_words[] = {
	{ "auto", 0 },
	{ "yes", 1 },
	{ "no", 2 },
	{ NULL, 0 },
};
static const struct word user_words[] = {
	{ "email", 0 },
	{ "local", 0 },
	{ NULL, 0 },
};

enum { KIB = 1024, MIB = 1024 * 1024, GIB = 1024 * 1024 * 1024 };

const struct setting pop3_settings[] = {
	HOST(pop3_facts, "host", host),
	UINT(pop3_facts, "port", port, 1, 65535),
	WORD(pop3_facts, "tls", tls, tls_words),
	WORD(pop3_facts, "auth", auth, pop3_auth_words),
	BOOL(pop3_facts, "pipelining", no_pipelining, pipelining_words),
	SIZE(pop3_facts, "window-bytes", window_bytes, 4 * KIB, GIB),
	UINT(pop3_facts, "window-count", window_count, 1, 100000),
	SIZE(pop3_facts, "message-max", message_max, KIB, INT64_MAX),
	UINT(pop3_facts, "session-messages", session_messages, 1, 10000000),
	UINT(pop3_facts, "delete-batch", delete_batch, 1, 100000),
	UINT(pop3_facts, "login-interval", login_interval, 1, 86400),
	BOOL(pop3_facts, "window", window, yes_words),
	BOOL(pop3_facts, "glued-dot", glued_dot, yes_words),
	WORD(pop3_facts, "rset", rset, rset_words),
	FORM(pop3_facts, "user", user_form, user_words),
	TEXT(pop3_facts, "notes", notes),
};
const size_t n_pop3_settings = N_ELEMENTS(pop3_settings);

const struct setting imap_settings[] = {
	HOST(imap_facts, "host", host),
	UINT(imap_facts, "port", port, 1, 65535),
	WORD(imap_facts, "tls", tls, tls_words),
	WORD(imap_facts, "auth", auth, imap_auth_words),
	BOOL(imap_facts, "literal", literal_sync, literal_words),
	BOOL(imap_facts, "multiappend", no_multiappend, multiappend_words),
	WORD(imap_facts, "compress", compress, compress_words),
	SIZE(imap_facts, "append-max", append_max, KIB, INT64_MAX),
	SIZE(imap_facts, "window-bytes", window_bytes, 4 * KIB, GIB),
	SIZE(imap_facts, "batch-bytes", batch_bytes, 4 * KIB, GIB),
	UINT(imap_facts, "batch-count", batch_count, 1, 10000),
	UINT(imap_facts, "settle", settle, 1, 3600),
	UINT(imap_facts, "connections", connections, 1, 16),
	FORM(imap_facts, "user", user_form, user_words),
	TEXT(imap_facts, "notes", notes),
};
const size_t n_imap_settings = N_ELEMENTS(imap_settings);

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

void pop3_facts_release(struct pop3_facts *f)
{
	free(f->host);
	free(f->user_form);
	free(f->notes);
	*f = (struct pop3_facts){ 0 };
}

void imap_facts_release(struct imap_facts *f)
{
	free(f->host);
	free(f->user_form);
	free(f->notes);
	*f = (struct imap_facts){ 0 };
}

void pop3_facts_copy(struct pop3_facts *to, const struct pop3_facts *from)
{
	struct pop3_facts f = *from;

	f.host = copy(from->host);
	f.user_form = copy(from->user_form);
	f.notes = copy(from->notes);
	pop3_facts_release(to);
	*to = f;
}

void imap_facts_copy(struct imap_facts *to, const struct imap_facts *from)
{
	struct imap_facts f = *from;

	f.host = copy(from->host);
	f.user_form = copy(from->user_form);
	f.notes = copy(from->notes);
	imap_facts_release(to);
	*to = f;
}
