/* meet.h: what a server lists, compared with what an archive has. */
#ifndef MEET_H
#define MEET_H

#include "cli.h"

#include <popferry/archive.h>
#include <popferry/source.h>

struct mail {
	char *uidl; /* "": none */
	uint64_t size;
	uint64_t number; /* on the server; in the archive */
	/* One of the server that is not met: what the listings tell of it. */
	uint64_t place; /* in the archive, where it is; 0: nowhere */
	uint32_t turn;  /* which of those that are the same comes next; of the first */
	uint8_t told;   /* enum fate, or FATES */
	bool met;
};

struct mails {
	struct mail *v;
	size_t n, cap;
};

struct comparison {
	struct cli *c;
	const char *path;
	char *account;
	struct mails server, archive;
	struct listing listing;
	struct mail **by_seq; /* those of the archive */
	/* Of the server: each is one of these. */
	uint64_t both, duplicates, filtered, failed, left, only_server;
	uint64_t renamed;    /* of both: by the listings, under another name */
	uint64_t other_size; /* of only_server: their UIDL is known */
	uint64_t only_archive;
	uint64_t unread; /* listings */
};

void mails_add(
	struct mails *m, const char *uidl, size_t n, uint64_t size, uint64_t number);

/* What the archive has. */
enum status meet_known(struct comparison *k, struct archive_reader *r, struct err *err);
/* When both sides are there. The server's are by number afterwards. */
enum status meet_all(struct comparison *k, struct archive_reader *r, struct err *err);
void meet_free(struct comparison *k);

#endif
