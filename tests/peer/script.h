/*
 * script.h: a server that says what it is told, for tests without sockets.
 *
 * A script is text, one item a line; empty lines and "#" comments are skipped:
 *
 *	S: +OK hello            the server sends this and CRLF
 *	S- +OK no line end      the server sends just this
 *	C: CAPA                 the client must send exactly this and CRLF
 *	C- abc                  the client must send exactly this, no line end
 *	C~ LIST                 the client must send a line that starts so
 *	SYNC                    by now the client has read all and sent nothing more
 *	EOF                     the server closes; what is sent later is ignored
 *
 * In S and C text \r \n \t \\ and \xNN are escapes. What stands after a C item is
 * only sent when that item was received; the client may send ahead (SYNC
 * forbids it). At the end of a script without EOF the server is silent: a
 * client that waits for more is told "never", which conn makes a timeout.
 * After a mismatch the server closes, and script_done() tells why.
 */
#ifndef PEER_SCRIPT_H
#define PEER_SCRIPT_H

#include <popferry/net.h>

#include <stdbool.h>
#include <stddef.h>

enum { SCRIPT_WHY = 512 };

struct script;

/*
 * step: every read and every write moves at most so many bytes; 0: no limit.
 * A text that is no script ends the test program.
 */
void script_open(struct script **out, const char *text, size_t step);
void script_close(struct script **s);

/* For conn_over(). The script must outlive the connection. */
struct transport script_transport(struct script *s);

/* All bytes the server sends, for choosing steps: 1 .. script_size(). */
size_t script_size(const struct script *s);

/* Everything expected was sent, and nothing else; if not, why tells what. */
bool script_done(const struct script *s, char why[SCRIPT_WHY]);

#endif
