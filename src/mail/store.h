/* store.h: what only the message maker does with a body, a spool and facts. */
#ifndef MAIL_STORE_H
#define MAIL_STORE_H

#include <popferry/mail.h>

/* Nothing more comes: a body in a file gives its write buffer back. */
enum status body_seal(struct body *b, struct err *err);

/* A spool keeps one maker that is not in use: its memory is large, and warm. */
struct message_maker *spool_swap(struct spool *sp, struct message_maker *mk);
void maker_free(struct message_maker *mk); /* NULL is none */

/* As facts_end(), and the maker begins anew. */
void facts_next(struct facts_maker *fm, struct facts *f);

#endif
