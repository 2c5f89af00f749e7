/*
 * archive_kit.h: what the tests that fill archives share: the codecs, and a spool for
 * the whole program (setup and teardown of the group).
 */
#ifndef ARCHIVE_KIT_H
#define ARCHIVE_KIT_H

#include "stride.h"
#include "t_archive.h"

static const enum archive_codec codecs[] = { ARCHIVE_GZ, ARCHIVE_ZST, ARCHIVE_ZIP,
	ARCHIVE_NONE };
UNUSED static const char *const suffixes[] = { "tar.gz", "tar.zst", "zip", "tar" };
enum { MEMBER = 4096 }; /* so small that few messages make many */

static struct spool *spool;
static int spool_dir;

static int setup(void **state)
{
	(void)state;
	spool_dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	spool_open(&spool, spool_dir, 1 << 24);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	spool_close(&spool);
	close(spool_dir);
	return 0;
}

/* Messages [from, to). */
UNUSED static void put_some(struct archive_writer *w, unsigned from, unsigned to)
{
	for (; from < to; from++)
		put_one(w, spool, from);
}

/* Those in the archive dir, in segments of so many at most, all sealed. */
UNUSED static void fill_sealed(const char *dir, enum archive_codec c, unsigned from,
	unsigned to, unsigned per_segment)
{
	struct archive_writer *w = open_archive(dir, c, per_segment);
	struct err err = ERR_INIT;

	put_some(w, from, to);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
}

/* A new archive of 14 messages in 3 segments. */
UNUSED static char *sealed(enum archive_codec c)
{
	char *dir = scratch();

	make_archive(dir, c, MEMBER);
	fill_sealed(dir, c, 0, 14, 5);
	return dir;
}

/* What verify finds, a line each. */
struct findings {
	unsigned n;
	char first[600], last[600], all[8192];
};

UNUSED static void note_finding(void *ctx, const char *what)
{
	struct findings *f = ctx;
	size_t n = strlen(f->all);

	if (f->n++ == 0)
		snprintf(f->first, sizeof(f->first), "%s", what);
	snprintf(f->last, sizeof(f->last), "%s", what);
	snprintf(f->all + n, sizeof(f->all) - n, "%s\n", what);
}

#endif
