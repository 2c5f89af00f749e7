/* notary.h: a job's seals, signed and timestamped. */
#ifndef NOTARY_H
#define NOTARY_H

#include <popferry/sign.h>

#include "cli.h"

struct notary;

/* Opens the key, and looks whether recipients are any good, before hours of work. *out
 * is NULL, and ST_OK, when nothing is to be signed. */
enum status notary_open(struct notary **out, const struct job *job, struct err *err);
void notary_close(struct notary **n);

/*
 * After the run: all seals of its archive that are not yet signed or timestamped, also
 * those of earlier runs. What must wait for a TSA is warned of; any other failure
 * becomes that of a run that was good. What was done is told when tells is set. n may
 * be NULL.
 */
void notary_sign(
	const struct notary *n, const struct job *job, struct outcome *o, bool tells);

/* Who touched the evidence, and when, is part of its history. */
enum status notary_note(const char *path, const struct sign_done *d, struct err *err);

/* Lists what was signed, now or by somebody who died then. ST_DENIED, EX_TEMPFAIL: it
 * is right as it is, and the next one does it. */
enum status notary_list(const char *path, struct err *err);

#endif
