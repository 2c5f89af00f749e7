/* kit.c: input, scratch files, the peer, and promises that many targets check. */
#include "fuzz.h"

#include <popferry/log.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fuzz_broken(const char *file, int line, const char *promise)
{
	fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, promise);
	abort();
}

/* Warnings are what hostile input is expected to make. */
__attribute__((constructor)) static void quiet(void)
{
	log_setup(LOG_TEXT, LV_DEBUG, open("/dev/null", O_WRONLY | O_CLOEXEC));
}

/* ---- input ---- */

unsigned input_byte(struct input *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return (unsigned char)*in->p++;
}

struct input input_part(struct input *in)
{
	const char *end = in->n ? memchr(in->p, INPUT_MARK, in->n) : NULL;
	struct input part = { in->p, end ? (size_t)(end - in->p) : in->n };

	in->p += part.n + (end != NULL);
	in->n -= part.n + (end != NULL);
	return part;
}

char *input_text(const struct input *in)
{
	return xmemdup0(in->n ? in->p : "", in->n ? strnlen(in->p, in->n) : 0);
}

/* ---- scratch files ---- */

static char *dir;
static int dirfd_of_scratch = -1;

static int drop(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static void drop_scratch(void)
{
	nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
	close(dirfd_of_scratch);
}

const char *scratch(void)
{
	const char *tmp = getenv("TMPDIR");

	if (dir)
		return dir;
	dir = xasprintf("%s/popferry-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	must(mkdtemp(dir) != NULL);
	dirfd_of_scratch = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dirfd_of_scratch >= 0);
	atexit(drop_scratch);
	return dir;
}

int scratch_fd(void)
{
	scratch();
	return dirfd_of_scratch;
}

void scratch_put(const char *name, const void *p, size_t n)
{
	int fd;

	unlinkat(scratch_fd(), name, 0);
	fd = openat(scratch_fd(), name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	must(fd >= 0);
	must(n == 0 || write(fd, p, n) == (ssize_t)n);
	close(fd);
}

/* ---- texts ---- */

size_t utf8_at(const char *p, size_t n)
{
	static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = n ? (unsigned char)*p : 0xff;
	size_t len = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4, i;
	unsigned v = len == 1 ? c : c & (0x7fu >> len);

	if (!len || c > 0xf7 || len > n)
		return 0;
	for (i = 1; i < len; i++) {
		if (((unsigned char)p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | ((unsigned char)p[i] & 0x3f);
	}
	return v >= least[len] && v <= 0x10ffff && v >> 11 != 0x1b ? len : 0;
}

bool is_clean(const char *p, size_t n)
{
	size_t len;

	for (; n; p += len, n -= len) {
		len = utf8_at(p, n);
		if (!len || (unsigned char)*p < ' ' || *p == 0x7f ||
			(*p == '\xc2' && (unsigned char)p[1] < 0xa0))
			return false;
	}
	return true;
}

void must_tell(enum status rc, const struct err *err)
{
	must(rc >= ST_FATAL && rc <= ST_END);
	must(is_clean(err->text, strnlen(err->text, sizeof(err->text))));
	must(is_clean(err->reply, strnlen(err->reply, sizeof(err->reply))));
	if (rc < ST_OK)
		must(err->status == rc && err->text[0] && err->exit > 0);
}

/* ---- the peer ---- */

void feed_open(struct feed *f, struct input *in)
{
	unsigned how = input_byte(in);

	*f = (struct feed){
		.in = *in, .step = how & 0x3f, .silent = (how & 0x40) != 0
	};
}

static long feed_read(void *ctx, char *p, size_t n)
{
	struct feed *f = ctx;
	const char *mark;

	while (f->heard && f->in.n && *f->in.p == INPUT_MARK) {
		input_byte(&f->in);
		f->heard = false;
	}
	if (!f->in.n)
		return f->silent ? -1 : 0;
	if (f->step && n > f->step)
		n = f->step;
	n = n < f->in.n ? n : f->in.n;
	mark = memchr(f->in.p, INPUT_MARK, n);
	if (mark)
		n = (size_t)(mark - f->in.p);
	if (!n)
		return -1;
	memcpy(p, f->in.p, n);
	f->in.p += n;
	f->in.n -= n;
	return (long)n;
}

static long feed_write(void *ctx, const char *p, size_t n)
{
	struct feed *f = ctx;

	(void)p;
	f->heard = true;
	f->got += n;
	return (long)(f->step && n > f->step * 64 ? f->step * 64 : n);
}

static bool feed_wait(void *ctx, bool write, int ms)
{
	struct feed *f = ctx;

	(void)ms;
	f->heard |= !write;
	return write || f->in.n || !f->silent;
}

struct transport feed_transport(struct feed *f)
{
	return (struct transport){ f, feed_read, feed_write, feed_wait, NULL };
}

/* Linked in place of clock_sleep(): a fuzzer has no time. */
void __wrap_clock_sleep(int64_t ms);
void __wrap_clock_sleep(int64_t ms)
{
	(void)ms;
}
