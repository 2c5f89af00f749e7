/*
 * vault.h: the files in segments/, as they are or encrypted.
 */
#ifndef ARCHIVE_VAULT_H
#define ARCHIVE_VAULT_H

#include "layout.h"

#include <popferry/crypt.h>

/* All of it is somebody else's. */
struct vault {
	int segdir;
	const struct policy *policy;
	const struct identities *ids; /* who reads what is encrypted; NULL: nobody */
	int tmpdir;                   /* for what must be decrypted as a whole */
	const struct recipients *to;  /* who is to read what is written */
};

/*
 * What a file has in it; of a damaged one what is left: what a message must be the
 * index, the tables and the tree tell. ST_DENIED, EX_NOPERM: it is for others.
 */
enum status vault_open(
	struct bytes **out, const struct vault *v, const char *file, struct err *err);
/* All of a small file, with a NUL behind it. ST_END: there is none. */
enum status vault_read(char **text, size_t *n, const struct vault *v, const char *file,
	size_t max, struct err *err);
/* Writes dir/file, durable. */
enum status vault_replace(const struct vault *v, int dir, const char *file,
	const void *p, size_t n, struct err *err);

/* Puts the file's name before the text, unless one of segments/ stands there. */
enum status vault_note(struct err *err, const char *file);

/* ST_DENIED, EX_NOPERM: it is encrypted, to these. */
enum status vault_closed(const struct policy *p, struct err *err);

#endif
