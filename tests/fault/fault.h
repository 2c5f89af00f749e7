/*
 * fault.h: what libfault and the programs that use it agree on.
 *
 * libfault.so, loaded into popferry by LD_PRELOAD, counts the calls of system
 * functions from main() on, and makes some of them fail. By the environment:
 *
 *	FAULT=write:17:ENOSPC    the 17th write() fails so
 *	FAULT=write:17+:ENOSPC   and all after it
 *	FAULT=write:17:short     it does half of what it was asked
 *	FAULT=any:100:EIO        the 100th call of any of them but malloc
 *	FAULT=disk:9+:ENOSPC     whatever needs room on a disk, from the 9th on
 *	FAULT_LOG=FILE           a struct fault_log, kept up to date
 *	FAULT_CLOCK=+N -N ~N     the wall clock jumps by N seconds after a few
 *	                         looks at it; ~: to and fro at each
 *	FAULT_SPEED=N            monotonic time and all waits run N times as fast
 *	FAULT_DELAY=N            each recv() takes N microseconds longer
 *	FAULT_PLACES=FILE        an array of uint64_t, FAULT_PLACES of them: for each call
 *	                         of malloc() a number, equal for calls from the same
 *	                         place, as its eight nearest callers tell
 *
 * A name stands for its family: "open" is open64() and __open_2() too, "malloc" is
 * calloc() and realloc(). write() counts on plain files only.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdint.h>

/* Families, in the order of fault_log.calls. */
#define FAULT_FAMILIES(X) \
	X(open) \
	X(openat) \
	X(read) \
	X(pread) \
	X(write) \
	X(pwrite) \
	X(fsync) \
	X(fdatasync) \
	X(ftruncate) \
	X(rename) \
	X(unlink) \
	X(mkdir) \
	X(stat) \
	X(fstat) \
	X(lseek) \
	X(mmap) \
	X(flock) \
	X(fcntl) \
	X(close) \
	X(fdopendir) \
	X(readdir) \
	X(readlink) \
	X(realpath) \
	X(access) \
	X(fchmodat) \
	X(fopen) \
	X(socket) \
	X(connect) \
	X(setsockopt) \
	X(getsockopt) \
	X(eventfd) \
	X(pipe) \
	X(poll) \
	X(send) \
	X(recv) \
	X(getrandom) \
	X(malloc) \
	X(pthread_create) \
	X(disk) \
	X(any)

#define FAULT_ENUM(name) FAULT_##name,
enum fault_family { FAULT_FAMILIES(FAULT_ENUM) FAULT_N };

enum { FAULT_PLACES = 50000 };

struct fault_log {
	uint64_t calls[FAULT_N];
	uint32_t fired;   /* calls that were made to fail */
	uint32_t healed;  /* a directory that failed to sync was synced otherwise */
	uint32_t closing; /* the first was while SQLite closed its database */
	uint32_t looks;   /* at the wall clock */
	char where[1024]; /* of the first: module+offset of each frame */
};

#endif
