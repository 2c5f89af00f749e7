/*
 * cutter.h: a line on loopback that can be cut at a byte, for tests.
 *
 * It stands before a server and takes connection after connection, one at a time.
 */
#ifndef PEER_CUTTER_H
#define PEER_CUTTER_H

#include <stdbool.h>
#include <stddef.h>

struct cutter;

enum cut_side {
	CUT_NONE,
	CUT_TO_SERVER,
	CUT_TO_CLIENT,
};

struct cut {
	enum cut_side side;
	/* Bytes are counted from the first line of the client that holds this text;
	 * NULL: from the beginning of the connection. */
	const char *since;
	size_t after;   /* so many get through; in place of the next the line is cut */
	bool reset;     /* RST to the client, else FIN; to the server it is all one */
	unsigned times; /* connections that are cut, at least 1; later ones are not */
};

void cutter_open(struct cutter **out, unsigned server_port);
void cutter_close(struct cutter **c);
unsigned cutter_port(const struct cutter *c);

/* For the connections to come; what was cut so far is forgotten. */
void cutter_set(struct cutter *c, const struct cut *cut);
/* Connections cut since. */
unsigned cutter_cuts(struct cutter *c);

#endif
