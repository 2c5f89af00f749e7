/* line.c: how fast the line to the peer is, as the kernel sees it. */
#include "conn.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

struct conn_line conn_line_used(const struct conn *c)
{
	struct conn_line line = { c->counts.wire_out, c->blocked_ms * 1000, 0 };
	struct tcp_info info;
	socklen_t n = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (c->fd < 0 || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
		return line;
	/* An older kernel tells less: nothing is known then. */
	if (n < offsetof(struct tcp_info, tcpi_sndbuf_limited))
		return (struct conn_line){ 0, 0, 0 };
	line.bytes = info.tcpi_bytes_acked;
	line.busy_us = info.tcpi_busy_time;
	line.choked_us = info.tcpi_rwnd_limited;
	return line;
}
