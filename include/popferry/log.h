/*
 * log.h: one line is one event.
 *
 * A line has a level, an event name and typed fields; a log carries the
 * fields of its parents (job, session). Values are escaped. Nothing of a
 * message body and no secret is ever a field. The functions are thread-safe;
 * log_setup() is called once, before threads.
 *
 *	log_info(&s->log, "message-stored", LOG_U("size", n), LOG_S("where", w));
 *	info message-stored job=alice size=4711 where="INBOX;uid=42"
 */
#ifndef POPFERRY_LOG_H
#define POPFERRY_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LV_ERROR,
	LV_WARN,
	LV_INFO,
	LV_DEBUG,
	LV_SAFETY /* a warning that no max drops: safety is taken away */
};
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
	const char *name;
	const char *s; /* text when not NULL, else u is the value */
	size_t n;
	uint64_t u;
};

struct log {
	const struct log *parent; /* may be NULL; must outlive this */
	const struct log_field *fields;
	size_t n;
};

#define LOG_S(name, text) \
	((struct log_field){ (name), (text) ? (text) : "", (size_t)-1, 0 })
#define LOG_B(name, p, len) ((struct log_field){ (name), (p) ? (p) : "", (len), 0 })
#define LOG_U(name, v) ((struct log_field){ (name), NULL, 0, (v) })

/* Levels above max are dropped. Lines go to fd, each in one write(2). */
void log_setup(enum log_format format, enum log_level max, int fd);

/*
 * Called before and after each line while a progress line stands on the same
 * terminal, so that it can be cleared (true) and drawn again (false).
 */
void log_hook(void (*hook)(bool before));

void log_event(const struct log *log, enum log_level level, const char *event,
	const struct log_field *fields, size_t n);

#define LOG_ARGS(...) \
	(struct log_field[]){ __VA_ARGS__ }, \
		sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field)
#define log_error(l, e, ...) log_event((l), LV_ERROR, (e), LOG_ARGS(__VA_ARGS__))
#define log_warn(l, e, ...) log_event((l), LV_WARN, (e), LOG_ARGS(__VA_ARGS__))
#define log_info(l, e, ...) log_event((l), LV_INFO, (e), LOG_ARGS(__VA_ARGS__))
#define log_debug(l, e, ...) log_event((l), LV_DEBUG, (e), LOG_ARGS(__VA_ARGS__))

#endif
