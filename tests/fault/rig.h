/*
 * rig.h: what the programs of this folder share: popferry as it is, run between
 * two fake servers on loopback, and a look at what arrived.
 *
 * The environment: POPFERRY, the program; FAULTLIB, libfault.so; TMPDIR, by
 * default /dev/shm where there is one.
 */
#ifndef RIG_H
#define RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fault.h"

struct fakeimap;
struct fakepop;

enum {
	RIG_MAIL = 10,    /* messages of a job; the last of them is large */
	RIG_HUNG = -1,    /* rig_wait(): it had to be killed */
	RIG_SIGNAL = 128, /* rig_wait(): and the signal's number */
	RIG_WHY = 900,
};

struct rig {
	char dir[200], archive[256], said[256], log[256];
	struct fakepop *pop;
	struct fakeimap *imap;
};

struct rig_run {
	const char *env[8];  /* "NAME=VALUE", NULL after the last */
	const char *codec;   /* NULL: as popferry chooses */
	unsigned long files; /* RLIMIT_NOFILE; 0: as it is */
	unsigned long bytes; /* RLIMIT_FSIZE; 0: as it is */
};

/* The mail is made once a process, before the first rig. */
void rig_begin(void);
void rig_open(struct rig **out);
void rig_close(struct rig **r); /* and what is in its directory */

/* popferry copy, from the one to the other and an archive. env: see struct rig_run. */
pid_t rig_start(struct rig *r, const struct rig_run *how);
/* Its exit code, RIG_SIGNAL + n, or RIG_HUNG. */
int rig_wait(pid_t pid, int ms);
int rig_copy(struct rig *r, const struct rig_run *how, int ms);

/* What popferry printed in the last run; owned by the caller. */
char *rig_said(const struct rig *r);
/* False when the library wrote none. */
bool rig_log(const struct rig *r, struct fault_log *out);

/*
 * True when every message is at both places once, byte for byte, and the archive is
 * sound; else why says what is not so.
 */
bool rig_complete(struct rig *r, char why[RIG_WHY]);
/* The same of what `popferry verify` says of the archive. */
bool rig_verify(struct rig *r, char why[RIG_WHY]);

#endif
