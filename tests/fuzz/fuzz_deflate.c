/* fuzz_deflate.c: a compressed connection whose peer sends anything. */
#include "fuzz.h"

#include <popferry/net.h>

#include <string.h>

enum { LINE_MAX_HERE = 4096, TAKEN_MAX = 8 * 1024 * 1024, HELD_MAX = 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };
	bool lines = input_byte(&in) & 1;
	enum status rc = ST_OK;
	struct err err = ERR_INIT;
	struct transport over;
	size_t n, all = 0;
	const char *p;
	struct conn *c;
	struct feed f;

	feed_open(&f, &in);
	over = feed_transport(&f);
	conn_over(&c, &over, "peer", NULL);
	must(conn_deflate(c, NULL) == ST_OK);
	while (rc == ST_OK && all < TAKEN_MAX) {
		if (lines) {
			rc = conn_line(c, LINE_MAX_HERE, &p, &n, &err);
			must(rc != ST_OK || (n <= LINE_MAX_HERE && !p[n]));
			n++;
		} else {
			rc = conn_fill(c, &err);
			p = conn_peek(c, &n);
			must(n <= HELD_MAX);
			conn_take(c, n);
			conn_sendf(c, NULL, "%zu\r\n", n);
		}
		all += n;
	}
	must(rc == ST_OK || err.status == rc);
	conn_close(&c);
	return 0;
}
