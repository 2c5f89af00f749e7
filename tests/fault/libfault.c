/* libfault.c: system calls that fail when told to. See fault.h. */
#undef _FORTIFY_SOURCE /* it puts inline functions in the place of those made here */
#include "fault.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#	define OLD_GLIBC "GLIBC_2.3.2"
#else
#	define OLD_GLIBC NULL
#endif

enum { SHORT = -1, FRAMES = 24, NEAR_FRAMES = 2 + 8, JUMP_AFTER = 3, SYNCED = 32 };

static const char *const family_names[] = {
#define NAME(name) #name,
	FAULT_FAMILIES(NAME)
};

static const struct {
	const char *name;
	int no;
} errors[] = {
	{ "short", SHORT },
	{ "ENOSPC", ENOSPC },
	{ "EIO", EIO },
	{ "EDQUOT", EDQUOT },
	{ "EMFILE", EMFILE },
	{ "ENOMEM", ENOMEM },
	{ "EINTR", EINTR },
	{ "EAGAIN", EAGAIN },
	{ "EACCES", EACCES },
	{ "EROFS", EROFS },
	{ "ENOLCK", ENOLCK },
	{ "ENETUNREACH", ENETUNREACH },
	{ "ECONNRESET", ECONNRESET },
	{ "EPIPE", EPIPE },
};

static struct {
	enum fault_family family; /* FAULT_N: none */
	uint64_t n;
	bool on; /* from the n-th on */
	int no;
} plan = { FAULT_N, 0, false, 0 };

static struct fault_log own_log, *book = &own_log;
static bool armed; /* main() has begun */
static uint64_t *places;
static struct {
	dev_t dev;
	ino_t ino;
} synced[SYNCED], unsynced; /* directories; of the second one at most */
static size_t synced_n;
static bool closing; /* SQLite ends */
static long clock_by, speed = 1, delay;
static char clock_how;

/* ---- reading what is asked for ---- */

static void refuse(const char *what)
{
	fprintf(stderr, "libfault: cannot use %s\n", what);
	_exit(126);
}

static void read_plan(const char *text)
{
	char family[32], error[32], plus[2] = "";
	unsigned long n;
	size_t i;

	if (sscanf(text, "%31[a-z_]:%lu%1[+]:%31s", family, &n, plus, error) != 4 &&
		sscanf(text, "%31[a-z_]:%lu:%31s", family, &n, error) != 3)
		refuse(text);
	plan.n = n;
	plan.on = plus[0] == '+';
	for (i = 0; i < FAULT_N; i++)
		if (strcmp(family_names[i], family) == 0)
			plan.family = (enum fault_family)i;
	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(errors[i].name, error) == 0)
			plan.no = errors[i].no;
	if (plan.family == FAULT_N || !plan.no || !n)
		refuse(text);
}

static void *map(const char *path, size_t size)
{
	int fd = (int)syscall(
		SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	if (fd < 0 || syscall(SYS_ftruncate, fd, size) < 0)
		refuse(path);
	p = (void *)syscall(
		SYS_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		refuse(path);
	syscall(SYS_close, fd);
	return p;
}

static void __attribute__((constructor)) begin(void)
{
	const char *s;
	void *frame;

	backtrace(&frame, 1); /* loads its library now, not when memory is short */
	if ((s = getenv("FAULT")))
		read_plan(s);
	if ((s = getenv("FAULT_LOG")))
		book = map(s, sizeof(*book));
	if ((s = getenv("FAULT_PLACES")))
		places = map(s, FAULT_PLACES * sizeof(*places));
	if ((s = getenv("FAULT_CLOCK"))) {
		clock_how = *s;
		clock_by = strtol(s + 1, NULL, 10);
	}
	if ((s = getenv("FAULT_SPEED")))
		speed = strtol(s, NULL, 10);
	if ((s = getenv("FAULT_DELAY")))
		delay = strtol(s, NULL, 10);
	unsetenv("LD_PRELOAD"); /* commands that popferry runs are not meant */
}

/* ---- counting and failing ---- */

static void note_where(void)
{
	void *frame[FRAMES];
	int n = backtrace(frame, FRAMES), i;
	size_t at = 0;

	for (i = 2; i < n && at + 64 < sizeof(book->where); i++) {
		Dl_info in;
		const char *name;

		if (!dladdr(frame[i], &in) || !in.dli_fname)
			continue;
		name = strrchr(in.dli_fname, '/');
		at += (size_t)snprintf(book->where + at, 64, "%s%.40s+0x%lx",
			at ? " " : "", name ? name + 1 : in.dli_fname,
			(unsigned long)((char *)frame[i] - (char *)in.dli_fbase) - 1);
	}
}

/* Of the n-th call of malloc(), which backtrace() does not call. */
static void note_place(uint64_t n)
{
	void *frame[NEAR_FRAMES];
	int have = backtrace(frame, NEAR_FRAMES), i;
	uint64_t h = 0;

	for (i = 0; i < have; i++)
		h = (h ^ (uintptr_t)frame[i]) * 0x9E3779B97F4A7C15u;
	if (n <= FAULT_PLACES)
		places[n - 1] = h;
}

static int count(enum fault_family f)
{
	uint64_t n = __atomic_add_fetch(&book->calls[f], 1, __ATOMIC_RELAXED);

	if (places && f == FAULT_malloc)
		note_place(n);
	if (f != plan.family || n < plan.n || (n > plan.n && !plan.on))
		return 0;
	if (__atomic_add_fetch(&book->fired, 1, __ATOMIC_RELAXED) == 1) {
		armed = false;
		book->closing = closing;
		note_where();
		armed = true;
	}
	return plan.no;
}

/* 0: the call goes on. Otherwise what it is to fail with, or SHORT. */
static int fault(enum fault_family f)
{
	int no, any;

	if (!__atomic_load_n(&armed, __ATOMIC_RELAXED))
		return 0;
	no = count(f);
	any = f == FAULT_malloc ? 0 : count(FAULT_any);
	return no ? no : any;
}

/* The same for what needs room on a disk. */
static int disk_fault(enum fault_family f)
{
	int no = fault(f), full;

	if (!__atomic_load_n(&armed, __ATOMIC_RELAXED))
		return no;
	full = count(FAULT_disk);
	return no ? no : full;
}

static bool is_file(int fd)
{
	struct stat st;

	return syscall(SYS_fstat, fd, &st) == 0 && S_ISREG(st.st_mode);
}

static size_t half(int no, size_t n)
{
	return no == SHORT && n > 1 ? n / 2 : n;
}

static bool fails(int no)
{
	if (no > 0)
		errno = no;
	return no > 0;
}

static void find_next(void *out, const char *name, const char *version)
{
	void *p = version ? dlvsym(RTLD_NEXT, name, version) : dlsym(RTLD_NEXT, name);

	if (!p)
		refuse(name);
	memcpy(out, &p, sizeof(p));
}

/* `next` is the C library's own function of this name. */
#define NEXT(name) \
	static __typeof__(&name) next; \
	if (!next) \
	find_next(&next, #name, NULL)

/* ---- main ---- */

typedef int main_fn(int, char **, char **);
int __libc_start_main(main_fn *main, int argc, char **argv, void (*init)(void),
	void (*fini)(void), void (*rtld)(void), void *end);

static main_fn *real_main;

static int main_here(int argc, char **argv, char **env)
{
	__atomic_store_n(&armed, true, __ATOMIC_SEQ_CST);
	return real_main(argc, argv, env);
}

int __libc_start_main(main_fn *main, int argc, char **argv, void (*init)(void),
	void (*fini)(void), void (*rtld)(void), void *end)
{
	NEXT(__libc_start_main);

	real_main = main;
	return next(main_here, argc, argv, init, fini, rtld, end);
}

/* ---- files ---- */

/* One definition a name; `family` is what it counts as. */
#define OPEN(name) \
	int name(const char *path, int flags, ...); \
	int name(const char *path, int flags, ...) \
	{ \
		mode_t mode = 0; \
		va_list ap; \
		va_start(ap, flags); \
		if (flags & (O_CREAT | O_TMPFILE)) \
			mode = va_arg(ap, mode_t); \
		va_end(ap); \
		if (fails(flags & O_CREAT ? disk_fault(FAULT_open) \
					  : fault(FAULT_open))) \
			return -1; \
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode); \
	}
#define OPENAT(name) \
	int name(int at, const char *path, int flags, ...); \
	int name(int at, const char *path, int flags, ...) \
	{ \
		mode_t mode = 0; \
		va_list ap; \
		va_start(ap, flags); \
		if (flags & (O_CREAT | O_TMPFILE)) \
			mode = va_arg(ap, mode_t); \
		va_end(ap); \
		if (fails(flags & O_CREAT ? disk_fault(FAULT_openat) \
					  : fault(FAULT_openat))) \
			return -1; \
		return (int)syscall(SYS_openat, at, path, flags, mode); \
	}
#undef open
#undef openat
OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)
OPENAT(openat)
OPENAT(openat64)
OPENAT(__openat_2)
OPENAT(__openat64_2)

ssize_t read(int fd, void *p, size_t n)
{
	int no = fault(FAULT_read);

	return fails(no) ? -1 : syscall(SYS_read, fd, p, half(no, n));
}

#define PREAD(name) \
	ssize_t name(int fd, void *p, size_t n, off_t off); \
	ssize_t name(int fd, void *p, size_t n, off_t off) \
	{ \
		int no = fault(FAULT_pread); \
		return fails(no) ? -1 : syscall(SYS_pread64, fd, p, half(no, n), off); \
	}
PREAD(pread)
PREAD(pread64)

ssize_t write(int fd, const void *p, size_t n)
{
	int no = fd > STDERR_FILENO && is_file(fd) ? disk_fault(FAULT_write) : 0;

	return fails(no) ? -1 : syscall(SYS_write, fd, p, half(no, n));
}

#define PWRITE(name) \
	ssize_t name(int fd, const void *p, size_t n, off_t off); \
	ssize_t name(int fd, const void *p, size_t n, off_t off) \
	{ \
		int no = disk_fault(FAULT_pwrite); \
		return fails(no) ? -1 \
				 : syscall(SYS_pwrite64, fd, p, half(no, n), off); \
	}
PWRITE(pwrite)
PWRITE(pwrite64)

static bool is_dir(int fd, struct stat *st)
{
	return syscall(SYS_fstat, fd, st) == 0 && S_ISDIR(st->st_mode);
}

/*
 * SQLite syncs its directory with fdatasync(), and does not mind when that fails;
 * popferry does it too, with fsync(), and must mind. So the first may fail when
 * the second was there.
 */
static void dir_synced(const struct stat *st)
{
	synced[synced_n % SYNCED].dev = st->st_dev;
	synced[synced_n++ % SYNCED].ino = st->st_ino;
	if (unsynced.ino == st->st_ino && unsynced.dev == st->st_dev)
		book->healed = 1;
}

static void dir_failed(const struct stat *st)
{
	size_t i;

	unsynced.dev = st->st_dev;
	unsynced.ino = st->st_ino;
	for (i = 0; i < SYNCED && i < synced_n; i++)
		if (synced[i].ino == st->st_ino && synced[i].dev == st->st_dev)
			book->healed = 1;
}

int fsync(int fd)
{
	struct stat st;
	int rc;

	if (fails(fault(FAULT_fsync)))
		return -1;
	rc = (int)syscall(SYS_fsync, fd);
	if (rc == 0 && is_dir(fd, &st))
		dir_synced(&st);
	return rc;
}

int fdatasync(int fd)
{
	int no = fault(FAULT_fdatasync);
	struct stat st;

	if (no > 0 && is_dir(fd, &st))
		dir_failed(&st);
	return fails(no) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t n)
{
	return fails(disk_fault(FAULT_ftruncate)) ? -1
						  : (int)syscall(SYS_ftruncate, fd, n);
}

int ftruncate64(int fd, off_t n)
{
	return ftruncate(fd, n);
}

int renameat(int a, const char *from, int b, const char *to)
{
	return fails(disk_fault(FAULT_rename))
		? -1
		: (int)syscall(SYS_renameat, a, from, b, to);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int at, const char *path, int flags)
{
	return fails(fault(FAULT_unlink)) ? -1
					  : (int)syscall(SYS_unlinkat, at, path, flags);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int at, const char *path, mode_t mode)
{
	return fails(disk_fault(FAULT_mkdir))
		? -1
		: (int)syscall(SYS_mkdirat, at, path, mode);
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int fstatat(int at, const char *path, struct stat *st, int flags)
{
	return fails(fault(FAULT_stat))
		? -1
		: (int)syscall(SYS_newfstatat, at, path, st, flags);
}

int stat(const char *path, struct stat *st)
{
	return fstatat(AT_FDCWD, path, st, 0);
}

int lstat(const char *path, struct stat *st)
{
	return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

int fstat(int fd, struct stat *st)
{
	return fails(fault(FAULT_fstat)) ? -1 : (int)syscall(SYS_fstat, fd, st);
}

int stat64(const char *path, struct stat64 *st)
{
	return fstatat(AT_FDCWD, path, (struct stat *)st, 0);
}

int lstat64(const char *path, struct stat64 *st)
{
	return fstatat(AT_FDCWD, path, (struct stat *)st, AT_SYMLINK_NOFOLLOW);
}

int fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *)st);
}

off_t lseek(int fd, off_t off, int whence)
{
	return fails(fault(FAULT_lseek)) ? -1 : syscall(SYS_lseek, fd, off, whence);
}

void *mmap(void *p, size_t n, int prot, int flags, int fd, off_t off)
{
	return fails(fault(FAULT_mmap))
		? MAP_FAILED
		: (void *)syscall(SYS_mmap, p, n, prot, flags, fd, off);
}

void *mmap64(void *p, size_t n, int prot, int flags, int fd, off_t off)
{
	return mmap(p, n, prot, flags, fd, off);
}

int flock(int fd, int how)
{
	return fails(fault(FAULT_flock)) ? -1 : (int)syscall(SYS_flock, fd, how);
}

/* Only locks fail, and only their taking. */
#define FCNTL(name) \
	int name(int fd, int what, ...); \
	int name(int fd, int what, ...) \
	{ \
		va_list ap; \
		void *arg; \
		va_start(ap, what); \
		arg = va_arg(ap, void *); \
		va_end(ap); \
		if (what == F_SETLK && ((struct flock *)arg)->l_type != F_UNLCK && \
			fails(fault(FAULT_fcntl))) \
			return -1; \
		return (int)syscall(SYS_fcntl, fd, what, arg); \
	}
FCNTL(fcntl)
FCNTL(fcntl64)

/* As a network file system tells of what could not be written. */
int close(int fd)
{
	int no = fault(FAULT_close), rc = (int)syscall(SYS_close, fd);

	return fails(no) ? -1 : rc;
}

DIR *fdopendir(int fd)
{
	NEXT(fdopendir);

	return fails(fault(FAULT_fdopendir)) ? NULL : next(fd);
}

struct dirent *readdir(DIR *d)
{
	NEXT(readdir);

	return fails(fault(FAULT_readdir)) ? NULL : next(d);
}

ssize_t readlink(const char *path, char *p, size_t n)
{
	return fails(fault(FAULT_readlink)) ? -1 : syscall(SYS_readlink, path, p, n);
}

char *realpath(const char *path, char *out)
{
	NEXT(realpath);

	return fails(fault(FAULT_realpath)) ? NULL : next(path, out);
}

int faccessat(int at, const char *path, int mode, int flags)
{
	NEXT(faccessat);

	return fails(fault(FAULT_access)) ? -1 : next(at, path, mode, flags);
}

int access(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, 0);
}

int fchmodat(int at, const char *path, mode_t mode, int flags)
{
	NEXT(fchmodat);

	return fails(fault(FAULT_fchmodat)) ? -1 : next(at, path, mode, flags);
}

FILE *fopen(const char *path, const char *mode)
{
	NEXT(fopen);

	return fails(fault(FAULT_fopen)) ? NULL : next(path, mode);
}

/* What it moves from its log into its file then is safe in the log. */
int sqlite3_close(void *db);
int sqlite3_close(void *db)
{
	int rc;

	NEXT(sqlite3_close);
	closing = true;
	rc = next(db);
	closing = false;
	return rc;
}

/* ---- the network and the rest ---- */

int socket(int domain, int type, int protocol)
{
	return fails(fault(FAULT_socket))
		? -1
		: (int)syscall(SYS_socket, domain, type, protocol);
}

int connect(int fd, __CONST_SOCKADDR_ARG a, socklen_t n)
{
	return fails(fault(FAULT_connect))
		? -1
		: (int)syscall(SYS_connect, fd, a.__sockaddr__, n);
}

int setsockopt(int fd, int level, int name, const void *p, socklen_t n)
{
	return fails(fault(FAULT_setsockopt))
		? -1
		: (int)syscall(SYS_setsockopt, fd, level, name, p, n);
}

int getsockopt(int fd, int level, int name, void *p, socklen_t *n)
{
	return fails(fault(FAULT_getsockopt))
		? -1
		: (int)syscall(SYS_getsockopt, fd, level, name, p, n);
}

int eventfd(unsigned start, int flags)
{
	return fails(fault(FAULT_eventfd)) ? -1
					   : (int)syscall(SYS_eventfd2, start, flags);
}

int pipe2(int fd[2], int flags)
{
	return fails(fault(FAULT_pipe)) ? -1 : (int)syscall(SYS_pipe2, fd, flags);
}

int poll(struct pollfd *v, nfds_t n, int ms)
{
	NEXT(poll);

	/* At least one: a wait of none is a look, and would spin. */
	if (ms > 0 && speed > 1)
		ms = (int)(ms / speed) + 1;
	return fails(fault(FAULT_poll)) ? -1 : next(v, n, ms);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	int no = fault(FAULT_send);

	return fails(no) ? -1 : syscall(SYS_sendto, fd, p, half(no, n), flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	return fails(fault(FAULT_send)) ? -1 : syscall(SYS_sendmsg, fd, m, flags);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
	int no = fault(FAULT_recv);

	if (delay)
		usleep((useconds_t)delay);
	return fails(no) ? -1
			 : syscall(SYS_recvfrom, fd, p, half(no, n), flags, NULL, NULL);
}

ssize_t getrandom(void *p, size_t n, unsigned flags)
{
	return fails(fault(FAULT_getrandom)) ? -1 : syscall(SYS_getrandom, p, n, flags);
}

int pthread_create(
	pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	int no = fault(FAULT_pthread_create);
	NEXT(pthread_create);

	return no > 0 ? no : next(out, attr, fn, arg);
}

/* ---- memory ---- */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n)
{
	return fails(fault(FAULT_malloc)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails(fault(FAULT_malloc)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails(fault(FAULT_malloc)) ? NULL : __libc_realloc(p, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
	int no = fault(FAULT_malloc);
	void *p = no > 0 ? NULL : __libc_memalign(align, n);

	if (p)
		*out = p;
	return p ? 0 : ENOMEM;
}

/* ---- time ---- */

static long jump(void)
{
	uint32_t n = __atomic_add_fetch(&book->looks, 1, __ATOMIC_RELAXED);

	if (!clock_how || n <= JUMP_AFTER)
		return 0;
	if (clock_how == '~')
		return n % 2 ? clock_by : -clock_by;
	return clock_how == '-' ? -clock_by : clock_by;
}

static struct timespec start;

static int64_t ns(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static struct timespec of_ns(int64_t n)
{
	return (struct timespec){ n / 1000000000, n % 1000000000 };
}

int clock_gettime(clockid_t which, struct timespec *t)
{
	int rc = (int)syscall(SYS_clock_gettime, which, t);

	if (rc == 0 && which == CLOCK_REALTIME)
		t->tv_sec += jump();
	if (rc == 0 && which == CLOCK_MONOTONIC && speed > 1) {
		if (!start.tv_sec)
			start = *t;
		*t = of_ns(ns(&start) + (ns(t) - ns(&start)) * speed);
	}
	return rc;
}

time_t time(time_t *out)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (out)
		*out = t.tv_sec;
	return t.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec t;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	*out = (struct timeval){ t.tv_sec, t.tv_nsec / 1000 };
	return 0;
}

int nanosleep(const struct timespec *t, struct timespec *left)
{
	struct timespec shorter = of_ns(ns(t) / speed);

	return (int)syscall(SYS_nanosleep, &shorter, left);
}

/* Who waits until a time by the fast clock means the real one. */
int pthread_cond_timedwait(
	pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
	static __typeof__(&pthread_cond_timedwait) next;
	struct timespec real = *until;

	if (!next) /* an older one of that name knows no monotonic clock */
		find_next(&next, "pthread_cond_timedwait", OLD_GLIBC);
	if (start.tv_sec)
		real = of_ns(ns(&start) + (ns(until) - ns(&start)) / speed);
	return next(c, m, &real);
}
