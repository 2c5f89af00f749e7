/* page.h: one HTML file about an archive: no network, no script needed, nothing
 * hostile. */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H

#include <popferry/archive.h>
#include <popferry/sign.h>

#include "sums.h"

#include <stdio.h>

/* What is known of a seal: texts of it, clean already. */
struct page_seal {
	char name[64];
	char sealed_at[40], first[24], last[24], count[24], root[80], segment[80];
	char listed[24], stored[24], failed[24]; /* "" when the run did not tell */
	struct sign_state state;
};

struct page {
	FILE *f;
	const char *path, *id;
	uint64_t messages, bytes, unsealed, odd, copies, copy_bytes, stored;
	char first[40], last[40];
	struct sums folders, months, senders, anomalies, segments;
	struct page_seal *seals;
	size_t n_seals;
	const char *damage; /* NULL: nothing was seen of any */
	char verified[256]; /* "": nobody asked for that */
	uint64_t limit;     /* messages listed, at most */
	uint64_t listed;    /* so far */
};

/* All but the messages; then each of them; then the end. */
void page_begin(struct page *p);
void page_message(struct page *p, const struct archive_row *row);
void page_end(struct page *p);

#endif
