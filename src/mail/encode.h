/* encode.h: header values in ASCII, by RFC 2047. */
#ifndef MAIL_ENCODE_H
#define MAIL_ENCODE_H

#include <popferry/mail.h>

/* Bytes that no header line should hold as they are. */
bool encode_needed(const char *p, size_t n);

/*
 * Append an unfolded value so that it is printable ASCII: of a text field, where
 * words with other bytes become encoded words; of a list of addresses, where that
 * is possible in names and comments, and '?' stands elsewhere; of any other field,
 * where such bytes are '?'. The text is UTF-8 when it can be, else "unknown-8bit".
 */
void encode_text(struct buf *out, const char *p, size_t n);
void encode_addresses(struct buf *out, const char *p, size_t n);
void encode_plain(struct buf *out, const char *p, size_t n);

/*
 * Appends "NAME: VALUE" CRLF, broken at blanks into lines of 78 bytes where
 * that can be. False, and nothing added, when a line would still be over 998.
 */
bool encode_fold(struct buf *out, const char *name, size_t name_n, const char *value);

#endif
