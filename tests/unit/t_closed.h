/*
 * t_closed.h: what the tests of encrypted archives share that hold, keep, dispose or
 * recover: an archive, and who reads it.
 */
#ifndef T_CLOSED_H
#define T_CLOSED_H

#include "t_dispose.h"

#include "keys_kit.h"

/* ---- archives ---- */

/* One of 14 messages in 3 segments, in dir/a, with its state in dir/s. */
struct closed {
	char *dir, *at, *st;
	struct identities *ids;
};

UNUSED static void read_as(struct closed *c, const char *key)
{
	struct err err = ERR_INIT;

	identities_close(&c->ids);
	if (key) {
		identities_open(&c->ids);
		ok(identities_add(c->ids, key, NULL, NULL, &err), &err);
	}
	readers = c->ids;
}

UNUSED static void closed_open(
	struct closed *c, enum archive_codec codec, unsigned kind)
{
	struct archive_writer *w;
	struct err err = ERR_INIT;

	*c = (struct closed){ .dir = scratch() };
	make_fixed(c->dir, codec, kind);
	c->at = xasprintf("%s/a", c->dir);
	c->st = xasprintf("%s/s", c->dir);
	w = open_crypt(c->at, c->st, codec, NULL);
	put_some(w, 0, ALL);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	read_as(c, keys.key[kind][0]);
}

UNUSED static void closed_drop(struct closed *c)
{
	read_as(c, NULL);
	remove_all(c->dir);
	free(c->dir);
	free(c->at);
	free(c->st);
}

/* Who has no key finds nothing wrong, and sees how many there are. */
UNUSED static void check_keyless(const char *dir, unsigned messages, unsigned gone)
{
	const struct archive_access access = { .closed = true };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct archive_check c;

	ok(archive_read_as(&r, dir, &access, &err), &err);
	ok(archive_verify(r, &c, print_bad, NULL, &err), &err);
	assert_int_equal(c.closed_messages, messages);
	assert_int_equal(c.gone, gone);
	archive_done(&r);
	assert_int_equal(script(dir), 0);
}

UNUSED static int begin(void **state)
{
	return setup(state) || make_keys(state);
}

UNUSED static int end(void **state)
{
	return teardown(state) || drop_keys(state);
}

#endif
