/* sources.h: the kinds of source there are. */
#ifndef SOURCES_H
#define SOURCES_H

#include <popferry/source.h>

extern const struct source_ops pop3_source;
extern const struct source_ops archive_source;

#endif
