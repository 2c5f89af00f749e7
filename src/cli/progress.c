/* progress.c: one line on a terminal, or a plain line now and then. */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { DRAW_MS = 200, PLAIN_MS = 10000, WIDTH_MAX = 200 };

struct progress_line {
	void (*compose)(void *ctx, char *out, size_t cap);
	void *ctx;
	struct engine *engine; /* of one job, with its name */
	const char *job;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool over, terminal;
	int64_t began, next_plain;
	char last[WIDTH_MAX + 8]; /* what is on the screen while `drawn` */
};

/* The hook of the log knows no context; one line is drawn at a time. */
static pthread_mutex_t screen = PTHREAD_MUTEX_INITIALIZER;
static bool drawn;

static void clear_line(void)
{
	static const char erase[] = "\r\033[K";

	if (drawn && write(STDERR_FILENO, erase, sizeof(erase) - 1) < 0)
		drawn = false;
	drawn = false;
}

/* Held while the log writes its line, so that the two do not mix. */
void progress_aside(bool before)
{
	if (before) {
		pthread_mutex_lock(&screen);
		clear_line();
	} else {
		pthread_mutex_unlock(&screen);
	}
}

/* The last column stays free: a full line would wrap on some terminals. */
static int width(void)
{
	struct winsize ws;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col == 0)
		return 79;
	return ws.ws_col < WIDTH_MAX ? ws.ws_col - 1 : WIDTH_MAX - 1;
}

static void add_eta(char *out, size_t cap, uint64_t left, double rate)
{
	uint64_t s = rate > 0 ? (uint64_t)((double)left / rate) : 0;

	if (rate <= 0)
		out[0] = '\0';
	else if (s >= 3600)
		snprintf(out, cap, ", %" PRIu64 " h %02" PRIu64 " min left", s / 3600,
			s / 60 % 60);
	else if (s >= 60)
		snprintf(out, cap, ", %" PRIu64 " min %02" PRIu64 " s left", s / 60,
			s % 60);
	else
		snprintf(out, cap, ", %" PRIu64 " s left", s);
}

static void describe(
	const struct progress_line *l, const struct progress *p, char *out, size_t cap)
{
	double seconds = (double)(clock_ms() - l->began) / 1000;
	double rate = seconds > 0.5 ? (double)p->done_bytes / seconds : 0;
	uint64_t left = p->total_bytes > p->done_bytes ? p->total_bytes - p->done_bytes
						       : 0;
	const char *phase = strcmp(p->phase, "waiting") == 0 ? "waiting to try again"
							     : p->phase;
	char in[16], all[16], per[16], eta[48] = "", failed[32] = "";

	if (p->total == 0 && p->done) {
		snprintf(out, cap, "%s: %" PRIu64 " read back", phase, p->done);
		return;
	}
	if (p->total == 0) {
		snprintf(out, cap, "%s", phase);
		return;
	}
	add_eta(eta, sizeof(eta), left, rate);
	if (p->failed)
		snprintf(failed, sizeof(failed), ", %" PRIu64 " failed", p->failed);
	/* A narrow terminal cuts off the end. */
	snprintf(out, cap,
		"%s: %" PRIu64 " of %" PRIu64 " safe%s%s; %s of %s, %s/s; %" PRIu64
		" fetched",
		phase, p->done, p->total, failed, eta, text_bytes(in, p->done_bytes),
		text_bytes(all, p->total_bytes), text_bytes(per, (uint64_t)rate),
		p->fetched);
}

static void compose_one(void *ctx, char *out, size_t cap)
{
	const struct progress_line *l = ctx;
	struct progress p;

	engine_progress(l->engine, &p);
	describe(l, &p, out, cap);
}

/* Only what changed is written, so that nothing flickers. */
static void draw_line(struct progress_line *l, const char *text)
{
	char out[WIDTH_MAX + 8];
	int n = snprintf(out, sizeof(out), "\r%.*s\033[K", width(), text);

	if (drawn && strcmp(out, l->last) == 0)
		return;
	drawn = write(STDERR_FILENO, out, (size_t)n) == n;
	memcpy(l->last, out, (size_t)n + 1);
}

static void print_line(struct progress_line *l, const char *text)
{
	char out[WIDTH_MAX + 96];
	int n = snprintf(out, sizeof(out), "popferry: %.70s%s%s\n",
		l->job ? l->job : "", l->job ? ": " : "", text);

	if (write(STDERR_FILENO, out, (size_t)n) < 0)
		l->next_plain = INT64_MAX; /* nobody reads it */
}

static void draw(struct progress_line *l)
{
	char text[WIDTH_MAX];

	if (clock_ms() < l->next_plain)
		return;
	if (!l->terminal)
		l->next_plain = clock_ms() + PLAIN_MS;
	l->compose(l->ctx, text, sizeof(text));
	pthread_mutex_lock(&screen);
	if (l->terminal)
		draw_line(l, text);
	else
		print_line(l, text);
	pthread_mutex_unlock(&screen);
}

static void *keep_drawing(void *arg)
{
	struct progress_line *l = arg;
	struct timespec t;

	pthread_mutex_lock(&l->lock);
	while (!l->over) {
		pthread_mutex_unlock(&l->lock);
		draw(l);
		pthread_mutex_lock(&l->lock);
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_nsec += DRAW_MS * 1000000L;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		if (!l->over)
			pthread_cond_timedwait(&l->changed, &l->lock, &t);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* A terminal that can erase a line. */
static bool can_erase(void)
{
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static void progress_free(struct progress_line **lp)
{
	struct progress_line *l = *lp;

	log_hook(NULL);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->changed);
	free(l);
	*lp = NULL;
}

static struct progress_line *line_new(const struct cli *c)
{
	if (c->progress == PROGRESS_NEVER || c->verbosity < 0 || c->format == LOG_JSON)
		return NULL;
	return xcalloc(1, sizeof(struct progress_line));
}

static void begin(
	struct progress_line **out, struct progress_line *l, const struct cli *c)
{
	pthread_condattr_t attr;

	l->terminal = c->progress == PROGRESS_ALWAYS || can_erase();
	l->began = clock_ms();
	l->next_plain = l->terminal ? 0 : l->began + PLAIN_MS;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (l->terminal)
		log_hook(progress_aside);
	*out = l;
	/* A machine that has no thread to spare goes on without the line. */
	if (pthread_create(&l->thread, NULL, keep_drawing, l) != 0)
		progress_free(out);
}

void progress_begin(struct progress_line **out, const struct cli *c, const char *job,
	struct engine *e)
{
	struct progress_line *l = line_new(c);

	*out = NULL;
	if (!l)
		return;
	l->engine = e;
	l->job = job;
	l->compose = compose_one;
	l->ctx = l;
	begin(out, l, c);
}

void progress_begin_with(struct progress_line **out, const struct cli *c,
	void (*compose)(void *ctx, char *out, size_t cap), void *ctx)
{
	struct progress_line *l = line_new(c);

	*out = NULL;
	if (!l)
		return;
	l->compose = compose;
	l->ctx = ctx;
	begin(out, l, c);
}

void progress_end(struct progress_line **lp)
{
	struct progress_line *l = *lp;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->over = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	clear_line();
	progress_free(lp);
}
