/*
 * packed.h: a zip or tar file, read from its start.
 */
#ifndef SOURCE_PACKED_H
#define SOURCE_PACKED_H

#include "files.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <openssl/evp.h>
#include <zlib.h>

struct packed_mail {
	uint64_t entry; /* its place in the file, from 1 */
	uint64_t size;  /* as it was read; UINT64_MAX: it cannot be read */
	size_t name;    /* in the text */
	size_t link;    /* a hard link: there stands to what; 0: it is none */
	int64_t time;
	uint32_t occurrence;
	uint32_t turn;   /* of those with this entry, from 0 */
	const char *why; /* it is not read; NULL: try */
	unsigned char id[FILE_ID_BYTES];
};

struct packed {
	struct files f;
	bool zip;
	int fd;
	locale_t utf8; /* to read names in; 0: there is none such */
	EVP_MD_CTX *sha;
	uint64_t file_size;
	struct archive *a; /* NULL: not being read */
	gzFile gz;         /* it is read by way of this; NULL: as it is */
	char *piece;       /* of it */
	uint64_t entry;    /* that it stands in; 0: before the first */
	uint64_t out;      /* bytes that came out of it */
	struct packed_mail *v;
	size_t n, cap;
	struct names names;
	size_t common; /* bytes of the directory all Maildirs are in */
	bool listed;
	struct err cut; /* why there may be more; ST_OK: that is all */
};

/* Before its start. */
void pack_rewind(struct packed *p);
/* Sets it to its start. */
enum status pack_begin(struct packed *p, struct err *err);
/* ST_END behind the last entry; ST_DENIED, EX_DATAERR when no other can be read. */
enum status pack_next(struct packed *p, struct archive_entry **e, struct err *err);
/*
 * The bytes of the entry, to take() when it is not NULL. ST_SKIP: they are damaged,
 * and another entry may follow. ST_DENIED: nothing more can be read.
 */
enum status pack_read(struct packed *p, mail_take *take, void *ctx, uint64_t *size,
	unsigned char id[FILE_ID_BYTES], struct err *err);
/* After the last entry: is the rest of it as it was written, too? */
bool pack_ended_well(struct packed *p);
enum status pack_damaged(struct packed *p, struct err *err);
/* After the listing: what the hard links are of, and an order in which a file is read
 * as seldom as can be (links.c). */
void pack_links(struct packed *p);

#endif
