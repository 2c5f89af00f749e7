/* cmd_recover.c: what is good in a damaged archive, and what is lost. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/log.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>

enum { JSON_MAX = 64 * 1024 };

static void lost(void *ctx, uint64_t first, uint64_t last, const char *why)
{
	const struct cli *c = ctx;

	if (c->format == LOG_JSON)
		log_error(NULL, "lost", LOG_U("first", first), LOG_U("last", last),
			LOG_S("reason", why));
	else if (first == last)
		printf("lost: message %" PRIu64 ": %s\n", first, why);
	else
		printf("lost: messages %" PRIu64 " to %" PRIu64 ": %s\n", first, last,
			why);
}

int cmd_recover(struct cli *c, struct err *err)
{
	struct archive_recovery out = { 0 };
	enum status rc;

	if (c->n_args != 1)
		return cli_bad_usage(c, "recover", "recover needs an ARCHIVE", err);
	rc = archive_recover(
		cli_archive_path(c->args[0]), c->identities, &out, lost, c, err);
	if (rc == ST_OK || out.good + out.lost) {
		if (c->format == LOG_JSON)
			printf("{\"segments\":%" PRIu64 ",\"good\":%" PRIu64
			       ",\"lost\":%" PRIu64 ",\"indexes\":%" PRIu64
			       ",\"unmade\":%" PRIu64 "}\n",
				out.segments, out.good, out.lost, out.indexes,
				out.unmade);
		else if (c->verbosity >= 0)
			printf("%" PRIu64 " segment%s: %" PRIu64
			       " message%s good, %" PRIu64 " %s lost; %" PRIu64
			       " index%s made again\n",
				out.segments, text_s(out.segments), out.good,
				out.good == 1 ? " is" : "s are", out.lost,
				out.lost == 1 ? "is" : "are", out.indexes,
				out.indexes == 1 ? " was" : "es were");
		if (out.unmade && c->format != LOG_JSON && c->verbosity >= 0)
			printf("%" PRIu64
			       " index%s could not be made as before: put %s back from a "
			       "copy; all can be read without, but slowly\n",
				out.unmade, out.unmade == 1 ? "" : "es",
				out.unmade == 1 ? "it" : "them");
	}
	fflush(stdout);
	return rc == ST_OK ? 0 : cli_archive_failed(c, err);
}
