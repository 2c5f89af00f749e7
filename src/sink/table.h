/* table.h: what is in a mailbox, from some UID on, and to whom each message was
 * given. */
#ifndef SINK_TABLE_H
#define SINK_TABLE_H

#include "imap_sink.h"

/* A message. */
struct entry {
	uint64_t ident, msgid; /* first bytes of the digests; 0: none */
	uint32_t uid;
	uint32_t next_ident, next_msgid; /* index + 1 */
	bool claimed;
	uint64_t owner; /* first bytes of the exact digest of what it was claimed for */
};

struct table {
	struct table *next;
	const struct imap_mailbox *mailbox;
	int64_t viewed; /* clock_ms() of the last fresh look; the finder's */
	int64_t quiet;  /* until then nothing new may be seen, or more is to come */
	uint32_t uidvalidity;
	uint32_t from, upto; /* UIDs read: from <= uid < upto; 0: none yet */
	struct entry *entries;
	size_t n, cap;
	uint32_t *ident_heads, *msgid_heads; /* index + 1; mask + 1 of them */
	size_t mask;
	struct claim {
		uint64_t owner;
		uint32_t uidvalidity, uid;
	} * claims; /* known messages, as they came */
	size_t n_claims, cap_claims;
};

/* That of the mailbox; it is the sink's. */
struct table *table_of(struct imap_sink *s, const struct imap_mailbox *mb);

/* Reads what was not read yet of the selected mailbox, from `first` on. */
enum status table_read(struct imap_sink *s, struct table *t,
	const struct imap_mailbox *mb, uint32_t first, struct err *err);

/* First bytes of a digest, as the table has them; never 0. */
uint64_t table_key(const unsigned char digest[DIGEST]);

/* Where the chain for this ident or Message-ID begins. */
uint32_t table_chain(const struct table *t, bool by_ident, uint64_t key);
/* The next entry of a chain that is nobody's yet; NULL at its end. */
struct entry *table_next(
	struct table *t, uint32_t *head, bool by_ident, uint64_t key, uint32_t first);
/* Entries with this ident that this owner has. */
unsigned table_owned(const struct table *t, uint64_t ident, uint64_t owner);

/* Gives it away, until the table is read anew. */
void table_give(struct entry *e, uint64_t owner);
/* And for good. */
void table_keep(struct table *t, struct entry *e, uint64_t owner);

#endif
