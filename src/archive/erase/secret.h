/*
 * secret.h: what a record says in words: whoever wrote them may have named people,
 * messages or a case. In an encrypted archive they are for its readers alone. See
 * FORMAT.
 */
#ifndef ARCHIVE_SECRET_H
#define ARCHIVE_SECRET_H

#include "../form/vault.h"

enum { SECRET_MAX = 16 * 1024 * 1024 };

/* Nobody here can read it. */
bool vault_is_closed(const struct vault *v);

/*
 * Appends the key "secret", with a comma before it, of these members of an object
 * ("a":"b","c":[]); nothing when the archive is not encrypted: then they stand in the
 * record themselves.
 */
enum status secret_add(struct buf *b, const struct vault *v, const struct buf *members,
	struct err *err);

/*
 * The object that has the words of the record text; xmalloc()ed. ST_END: nobody here
 * can read them. ST_DENIED, EX_DATAERR: they are damaged.
 */
enum status secret_read(
	char **out, const char *text, const struct vault *v, struct err *err);

#endif
