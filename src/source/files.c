/* files.c: what reading files has none of, and what all who read them do. */
#include "files.h"

#include <popferry/clock.h>
#include <popferry/mem.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

size_t names_keep(struct names *names, const char *name)
{
	size_t n = strlen(name) + 1, at = names->n;

	if (n > names->cap - names->n) {
		names->cap += names->cap / 2 + n + READ_PIECE;
		names->text = xrealloc(names->text, names->cap);
	}
	memcpy(names->text + at, name, n);
	names->n += n;
	return at;
}

struct files *files_of(const struct source *s)
{
	return (struct files *)(uintptr_t)s;
}

char *files_account(const struct endpoint *end, struct err *err)
{
	char *path = path_canon(end->path);
	char *account = xasprintf("%s:%s", end->scheme, path);

	(void)err;
	free(path);
	return account;
}

void files_open(
	struct files *f, const struct source_ops *ops, const struct source_setup *setup)
{
	f->base.ops = ops;
	f->log = setup->log;
	f->path = setup->end->path;
	f->stop_fd = setup->stop_fd;
	atomic_init(&f->cancelled, false);
	buf_init(&f->folder, PATH_BYTES);
}

void files_release(struct files *f)
{
	queue_free(&f->wanted);
	buf_free(&f->folder);
	free(f->uidl);
}

enum status files_stopped(struct files *f, struct err *err)
{
	struct pollfd p = { f->stop_fd, POLLIN, 0 };

	if (!atomic_load(&f->cancelled) && (!f->stop_fd || poll(&p, 1, 0) <= 0))
		return ST_OK;
	return err_set(
		err, ST_RETRY, EX_TEMPFAIL, "%s: stopped while reading it", f->path);
}

enum status files_unopened(const char *path, struct err *err)
{
	int no = errno;

	err_sys(err, ST_DENIED, "%s cannot be read", path);
	if (no == ENOENT || no == EACCES || no == EPERM || no == ENOTDIR || no == ELOOP)
		err->exit = EX_NOINPUT;
	return err->status;
}

void files_skip(struct files *f, const char *name, const char *why)
{
	if (f->skipped++ < SKIPPED_LINES)
		log_warn(f->log, "file-skipped", LOG_S("file", name),
			LOG_S("reason", why));
}

void files_pass(struct files *f, const char *name)
{
	if (f->passed++ == 0)
		log_info(f->log, "no-message", LOG_S("file", name));
}

void files_tell_passed(struct files *f, size_t found)
{
	/* Where there is nothing else, something else was meant. */
	enum log_level level = found ? LV_INFO : LV_WARN;

	if (f->passed)
		log_event(f->log, level, "passed-over",
			LOG_ARGS(LOG_U("files", f->passed),
				LOG_S("reason",
					"they are no messages: those end in .eml, or "
					"stand in a Maildir's cur or new; an mbox, zip "
					"or tar is named itself")));
	if (f->skipped > SKIPPED_LINES)
		log_warn(f->log, "files-skipped", LOG_U("files", f->skipped));
}

void files_filed(struct files *f, uint32_t number, uint64_t size, char *uidl)
{
	free(f->uidl);
	f->uidl = uidl;
	buf_clear(&f->folder);
	f->origin = (struct origin){
		.folder = "",
		.uidl = uidl,
		.uidl_n = strlen(uidl),
		.occurrence = 1,
		.number = number,
		.listed_size = size,
		.retrieved = clock_utc(),
	};
	f->filed = true;
}

void files_want(struct source *base, uint32_t number, uint64_t size)
{
	(void)size;
	queue_add(&files_of(base)->wanted, number);
}

void files_wind_down(struct source *base)
{
	queue_clear(&files_of(base)->wanted);
}

enum oddity files_oddity(const struct source *base)
{
	(void)base;
	return ODD_NONE;
}

const struct origin *files_origin(const struct source *base)
{
	struct files *f = files_of(base);

	return f->filed ? &f->origin : NULL;
}

enum status files_remove(struct source *base, uint32_t number, struct err *err)
{
	(void)base;
	(void)number;
	return err_set(err, ST_SKIP, EX_USAGE,
		"nothing is ever deleted from files that are read");
}

enum status files_finish(struct source *base, struct err *err)
{
	(void)base;
	(void)err;
	return ST_OK;
}

bool files_no(const struct source *base)
{
	(void)base;
	return false;
}

int files_wait(const struct source *base)
{
	(void)base;
	return 0;
}

void files_cancel(struct source *base)
{
	atomic_store(&files_of(base)->cancelled, true);
}
