/* sinks.h: the kinds of sink there are. */
#ifndef SINKS_H
#define SINKS_H

#include <popferry/sink.h>

extern const struct sink_ops imap_sink;
extern const struct sink_ops archive_sink;
extern const struct sink_ops null_sink;

#endif
