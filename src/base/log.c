/* log.c: one event, one line, one write. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/log.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/*
 * A line over LINE_MAX_BYTES is cut. The buffer holds a little more: whatever
 * single piece it refuses, the line is known to be too long.
 */
enum { LINE_MAX_BYTES = 16 * 1024, PIECE_MAX = 64 };

static const char *const level_names[] = { "error", "warn", "info", "debug", "warn" };

static struct {
	pthread_mutex_t lock;
	enum log_format format;
	enum log_level max;
	int fd;
	void (*hook)(bool before);
} state = { PTHREAD_MUTEX_INITIALIZER, LOG_TEXT, LV_WARN, STDERR_FILENO, NULL };

void log_setup(enum log_format format, enum log_level max, int fd)
{
	state.format = format;
	state.max = max;
	state.fd = fd;
}

void log_hook(void (*hook)(bool before))
{
	state.hook = hook;
}

static size_t field_len(const struct log_field *f)
{
	return f->n == (size_t)-1 ? strlen(f->s) : f->n;
}

static bool plain(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] >= 0x7f || strchr("\"=;\\", s[i]))
			return false;
	return n > 0;
}

static void add_text(struct buf *b, const struct log_field *f)
{
	size_t n, i;

	buf_addf(b, " %s=", f->name);
	if (!f->s) {
		buf_addf(b, "%" PRIu64, f->u);
		return;
	}
	n = field_len(f);
	if (plain(f->s, n)) {
		text_clean_add(b, f->s, n);
		return;
	}
	buf_addc(b, '"');
	for (i = 0; i < n;) {
		size_t run = 0;

		while (i + run < n && f->s[i + run] != '"' && f->s[i + run] != '\\')
			run++;
		text_clean_add(b, f->s + i, run);
		i += run;
		if (i < n)
			buf_addf(b, "\\%c", f->s[i++]);
	}
	buf_addc(b, '"');
}

static void add_json(struct buf *b, const struct log_field *f)
{
	buf_addc(b, ',');
	text_json(b, f->name, strlen(f->name));
	buf_addc(b, ':');
	if (f->s)
		text_json(b, f->s, field_len(f));
	else
		buf_addf(b, "%" PRIu64, f->u);
}

static void add_fields(struct buf *b, const struct log_field *f, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (state.format == LOG_JSON)
			add_json(b, &f[i]);
		else
			add_text(b, &f[i]);
	}
}

static void add_chain(struct buf *b, const struct log *log)
{
	if (!log)
		return;
	add_chain(b, log->parent);
	add_fields(b, log->fields, log->n);
}

static void add_head(struct buf *b, enum log_level level, const char *event)
{
	char now[24];

	if (state.format == LOG_JSON)
		buf_addf(b, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"",
			clock_rfc3339(now, clock_utc()), level_names[level], event);
	else
		buf_addf(b, "%s %s", level_names[level], event);
}

/* Makes a line that is too long a short one; one in JSON must still be JSON. */
static void cut(struct buf *b, enum log_level level, const char *event)
{
	if (state.format == LOG_JSON) {
		buf_clear(b);
		add_head(b, level, event);
		buf_adds(b, ",\"cut\":true");
		return;
	}
	b->n = LINE_MAX_BYTES - 3;
	while ((b->p[b->n] & 0xc0) == 0x80) /* not within a character */
		b->n--;
	buf_adds(b, "...");
}

void log_event(const struct log *log, enum log_level level, const char *event,
	const struct log_field *fields, size_t n)
{
	struct buf b = BUF_INIT(LINE_MAX_BYTES + PIECE_MAX);
	ssize_t put;

	if (level > state.max && level != LV_SAFETY)
		return;
	add_head(&b, level, event);
	add_chain(&b, log);
	add_fields(&b, fields, n);
	if (b.n > LINE_MAX_BYTES)
		cut(&b, level, event);
	buf_adds(&b, state.format == LOG_JSON ? "}\n" : "\n");
	pthread_mutex_lock(&state.lock);
	if (state.hook)
		state.hook(true);
	/* Nowhere to complain to when the log itself cannot be written. */
	put = write(state.fd, b.p, b.n);
	(void)put;
	if (state.hook)
		state.hook(false);
	pthread_mutex_unlock(&state.lock);
	buf_free(&b);
}
