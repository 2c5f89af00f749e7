/* policy.h: what hold, retention and dispose share. */
#ifndef CLI_POLICY_H
#define CLI_POLICY_H

#include <popferry/archive.h>
#include <popferry/buf.h>

#include "cli.h"

enum { CLOCK_SLACK = 86400, POLICY_JSON_MAX = 1024 * 1024, VERDICT_MAX = 256 };

/* WORDs as export understands them. */
extern const struct archive_words policy_words;
/* 1 to most. */
bool policy_number(const char *text, unsigned long most, unsigned *out);
/* 2030-12-31, in UTC, or RFC 3339. */
bool policy_date(const char *text, int64_t *out);
/* Warns when the clock cannot be right. *newest: the newest time that the archive tells
 * of. */
enum status policy_clock_of(
	const struct cli *c, const char *path, int64_t *newest, struct err *err);
/*
 * Warns when a message is due by this machine's clock alone: nothing in the archive
 * tells of a time at which it was. True then: once is enough.
 */
bool policy_due_by_clock(
	const struct cli *c, int64_t newest, const struct archive_verdict *v);
/* "is held: hold 1, Smith v. Jones" */
void policy_verdict(char *out, size_t cap, const struct archive_verdict *v);
void policy_add_words(struct buf *b, char *const *words, size_t n);

#endif
