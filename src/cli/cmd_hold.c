/* cmd_hold.c: legal holds of an archive. */
#include <popferry/archive.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct option hold_options[] = {
	{ "matter", "TEXT", "place: what it is for" },
	{ "future", NULL, "place: also what comes later and is chosen" },
	{ "reason", "TEXT", "release: why" },
	{ NULL, NULL, NULL },
};

/* Only the job that writes an encrypted archive knows what is not sealed yet. */
static void tell_open(const struct cli *c)
{
	struct err warn = ERR_INIT;

	err_set(&warn, ST_SKIP, EX_PARTIAL,
		"what is not sealed yet is encrypted, and not held: --future holds it, too");
	cli_complain(c, &warn);
}

static int place(struct cli *c, struct err *err)
{
	const char *matter = cli_option(c, "matter");
	struct archive_holding h = { .matter = matter,
		.words = c->args + 2,
		.words_n = c->n_args - 2,
		.future = cli_option(c, "future") != NULL,
		.w = &policy_words,
		.identities = c->identities };
	struct archive_held held;

	if (!matter || !*matter)
		return cli_bad_usage(c, "hold",
			"hold place needs --matter: what the hold is for", err);
	if (archive_hold_place(cli_archive_path(c->args[1]), &h, &held, err) != ST_OK)
		return cli_archive_failed(c, err);
	if (c->format == LOG_JSON)
		printf("{\"hold\":%u,\"messages\":%" PRIu64 "}\n", held.no, held.n);
	else if (c->verbosity >= 0)
		printf("hold %u holds %" PRIu64 " message%s%s\n", held.no, held.n,
			text_s(held.n),
			h.future ? ", and what comes and is chosen" : "");
	if (held.open_unknown && !h.future)
		tell_open(c);
	return 0;
}

static int release(struct cli *c, struct err *err)
{
	const char *reason = cli_option(c, "reason");
	unsigned no;

	if (c->n_args != 3 || !policy_number(c->args[2], 999999, &no))
		return cli_bad_usage(c, "hold",
			"hold release needs an ARCHIVE and the number of a hold", err);
	if (!reason || !*reason)
		return cli_bad_usage(
			c, "hold", "hold release needs --reason: why it ends", err);
	if (archive_hold_release(cli_archive_path(c->args[1]), no, reason,
		    c->identities, err) != ST_OK)
		return cli_archive_failed(c, err);
	if (c->format != LOG_JSON && c->verbosity >= 0)
		printf("hold %u is released\n", no);
	return 0;
}

static void add_text(struct buf *b, const char *key, const char *s)
{
	buf_addf(b, ",\"%s\":", key);
	if (s)
		text_json(b, s, strlen(s));
	else
		buf_adds(b, "null");
}

static void print_json(const struct archive_hold *h)
{
	struct buf b = BUF_INIT(POLICY_JSON_MAX);
	size_t i;

	buf_addf(&b, "{\"hold\":%u,\"in_force\":%s,\"future\":%s", h->no,
		h->released ? "false" : "true", h->future ? "true" : "false");
	add_text(&b, "matter", h->matter);
	add_text(&b, "placed_at", h->placed_at);
	add_text(&b, "released_at", h->released_at);
	add_text(&b, "reason", h->reason);
	add_text(&b, "seqs", h->seqs);
	buf_adds(&b, ",\"words\":[");
	for (i = 0; i < h->words_n; i++) {
		buf_adds(&b, i ? "," : "");
		text_json(&b, h->words[i], strlen(h->words[i]));
	}
	printf("%s]}\n", buf_str(&b));
	buf_free(&b);
}

static void print_text(const struct archive_hold *h)
{
	struct buf b = BUF_INIT(POLICY_JSON_MAX);

	buf_addf(&b, "%4u  %.10s  ", h->no, h->placed_at);
	if (h->matter) {
		text_clean_add(&b, h->matter, strlen(h->matter));
		buf_adds(&b, ": ");
		policy_add_words(&b, h->words, h->words_n);
	} else {
		buf_adds(&b, "what for and which: only --identity tells");
	}
	buf_adds(&b, h->future ? ", then and later; messages " : "; messages ");
	buf_adds(&b, *h->seqs ? h->seqs : "none yet");
	if (h->released) {
		buf_addf(
			&b, "; released %.10s: ", h->released_at ? h->released_at : "");
		text_clean_add(&b, h->reason ? h->reason : "",
			strlen(h->reason ? h->reason : ""));
	}
	printf("%s\n", buf_str(&b));
	buf_free(&b);
}

static int list(struct cli *c, struct err *err)
{
	/* Who has no key sees that there are holds, not what for. */
	const struct archive_access access = { .identities = c->identities,
		.closed = true };
	struct archive_keeping *k = NULL;
	struct archive_reader *r = NULL;
	const struct archive_hold *h;
	enum status rc = archive_read_as(
		&r, cli_archive_path(c->args[1]), &access, err);
	size_t n, i;

	if (rc == ST_OK)
		rc = archive_keeping_load(&k, r, &policy_words, err);
	archive_done(&r);
	if (rc != ST_OK)
		return cli_archive_failed(c, err);
	h = archive_holds(k, &n);
	for (i = 0; i < n; i++)
		(c->format == LOG_JSON ? print_json : print_text)(&h[i]);
	archive_keeping_free(&k);
	return 0;
}

int cmd_hold(struct cli *c, struct err *err)
{
	static const struct {
		const char *name;
		int (*run)(struct cli *c, struct err *err);
	} verbs[] = { { "place", place }, { "release", release }, { "list", list } };
	size_t i;

	for (i = 0; c->n_args >= 2 && i < N_ELEMENTS(verbs); i++)
		if (strcmp(c->args[0], verbs[i].name) == 0)
			return verbs[i].run(c, err);
	return cli_bad_usage(
		c, "hold", "hold needs place, release or list, and an ARCHIVE", err);
}
