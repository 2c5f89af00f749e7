/* marks.h: signatures and timestamps, told to people and programs. */
#ifndef MARKS_H
#define MARKS_H

#include <popferry/buf.h>
#include <popferry/sign.h>

#include "cli.h"

/* "none", "trusted", "unknown", "bad" */
const char *marks_word(enum sign_verdict v);
/* 0, or what it comes to: EX_DATAERR; EX_PARTIAL when it is missing. wanted: somebody
 * was named who must have made it. */
int marks_weigh(enum sign_verdict v, bool wanted);
/* `,"name":"text"` */
void marks_add(struct buf *b, const char *name, const char *text);
/* What is known of a seal, as members of an object: `"seal":...` */
void marks_members(struct buf *b, const char *seal, const struct sign_state *s);
/* On standard output: some lines, or an object; nothing with -q. */
void marks_tell(const struct cli *c, const char *seal, const struct sign_state *s);

#endif
