/*
 * mailbag.h: mailbag.csv (Mailbag Specification 1.0), which says of each message what
 * messages.csv says of it too, under the names that archivists' programs look for.
 */
#ifndef ARCHIVE_MAILBAG_H
#define ARCHIVE_MAILBAG_H

#include "csv.h"

/* The line of column names. */
void mailbag_header(struct buf *b);

/* The line that follows from a row, with its CRLF. b needs a ceiling of CSV_ROW_MAX. */
void mailbag_row(struct buf *b, char *const f[CSV_COLUMNS]);

/* The same of a line of messages.csv. */
void mailbag_line(struct buf *b, const char *line, size_t n);

#endif
