/* store.h: what only the message maker does with a body. */
#ifndef MAIL_STORE_H
#define MAIL_STORE_H

#include <popferry/mail.h>

/* Nothing more comes: a body in a file gives its write buffer back. */
enum status body_seal(struct body *b, struct err *err);

#endif
