/*
 * compress.c: COMPRESS=DEFLATE (RFC 4978), where it pays.
 *
 * A session begins without. Compression takes time on both sides, which is won back
 * only on a line that is slower than a processor compresses; so that is measured: bytes
 * that were carried away, by the time in which there was something to carry. A server
 * that takes its time to store the mail is no slow line.
 */
#include <popferry/log.h>

#include "session.h"

#include <inttypes.h>

enum {
	SPAN_US = 3000 * 1000, /* measured at a time: so long, */
	SPANS_SLOW = 2,        /* and so many in a row; lines begin slowly */
};
#define SPAN_BYTES (4 * MIB)   /* or so much */
#define SLOW_BYTES_S (8 * MIB) /* a second */

enum status imap_compress(struct imap *i, struct err *err)
{
	struct reply r;
	enum status rc;
	int tag;

	if (i->compressed || i->compress_tried || !imap_has(i, "COMPRESS=DEFLATE"))
		return ST_OK;
	i->compress_tried = true;
	tag = imap_tag(i);
	rc = conn_sendf(i->conn, err, "%d COMPRESS DEFLATE\r\n", tag);
	if (rc == ST_OK)
		rc = reply_wait(i, tag, &r, NULL, NULL, err);
	if (rc != ST_OK)
		return rc;
	if (r.kind != REPLY_OK) {
		log_info(i->cfg.net.log, "compress-refused", LOG_S("server", i->where),
			LOG_B("reply", r.text, r.n));
		return ST_OK;
	}
	rc = conn_deflate(i->conn, err);
	i->compressed = rc == ST_OK;
	return rc;
}

/* Is what was sent since the last look, and before that, too slow? */
static bool is_slow(struct imap *i, uint64_t *rate)
{
	const struct conn_line now = conn_line_used(i->conn), old = i->line;
	uint64_t bytes = now.bytes - old.bytes, busy = now.busy_us - old.busy_us;

	if (bytes < SPAN_BYTES && busy < SPAN_US)
		return false;
	i->line = now;
	*rate = busy ? bytes * 1000000 / busy : UINT64_MAX;
	if (*rate >= SLOW_BYTES_S || (now.choked_us - old.choked_us) > busy / 2)
		i->slow_spans = 0;
	else
		i->slow_spans++;
	return i->slow_spans >= SPANS_SLOW;
}

enum status imap_compress_if_slow(struct imap *i, struct err *err)
{
	enum status rc;
	uint64_t rate;

	if (i->cfg.compress != IMAP_COMPRESS_AUTO || i->compress_tried ||
		!imap_has(i, "COMPRESS=DEFLATE") || !is_slow(i, &rate))
		return ST_OK;
	log_info(i->cfg.net.log, "slow-line", LOG_S("server", i->where),
		LOG_U("bytes_per_second", rate), LOG_S("meaning", "it is compressed"));
	rc = flight_until(i, 0, err);
	return rc == ST_OK ? imap_compress(i, err) : rc;
}
