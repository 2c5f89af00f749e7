/* sources.h: the kinds of source there are. */
#ifndef SOURCES_H
#define SOURCES_H

#include <popferry/source.h>

extern const struct source_ops pop3_source;
extern const struct source_ops archive_source;
extern const struct source_ops tree_source;   /* Maildirs, and files of one message */
extern const struct source_ops mbox_source;   /* mbox files */
extern const struct source_ops packed_source; /* zip and tar files */

#endif
