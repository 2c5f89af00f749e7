/* verify.h: an archive, checked. */
#ifndef VERIFY_H
#define VERIFY_H

#include "cli.h"

/* Read, with its seals, signatures and timestamps. The exit code. */
int verify_archive(struct cli *c, const char *path, struct err *err);
/* Compared with what a server lists now: the arguments are ARCHIVE and POP3-URL. */
int verify_server(struct cli *c, struct err *err);

#endif
