/* t_sink_find.c: how young a look at the folder must be, before a message is not
 * there; and what is known when an answer was awaited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_kit.h"

#include <popferry/sink.h>

struct desk {
	struct rig *rig;
	struct job *job;
	struct spool *spool;
	struct log log;
	const struct sink_ops *ops;
	struct sink *sink;
	struct delivery a;
	int dirfd;
};

static struct message *letter(struct desk *k, char c)
{
	const char *text = kit_text(k->rig, c);
	struct message_maker *mk;
	struct err err = ERR_INIT;
	struct message *m;

	message_begin(&mk, k->spool);
	message_put(mk, text, strlen(text));
	assert_int_equal(message_end(&mk, &m, &err), ST_OK);
	return m;
}

static void open_sink(struct desk *k)
{
	const struct sink_setup setup = { .password = "secret",
		.log = &k->log,
		.job = k->job,
		.end = &k->job->dest[0],
		.look_ms = 5 };
	struct err err = ERR_INIT;

	k->ops = sink_kind("imap");
	assert_int_equal(k->ops->open(&k->sink, &setup, &err), ST_OK);
}

static int set_up(void **state)
{
	struct desk *k = xcalloc(1, sizeof(*k));

	kit_open(&k->rig);
	k->job = kit_job(k->rig, "dedup=none");
	k->dirfd = open(k->rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	spool_open(&k->spool, k->dirfd, 1024 * 1024);
	open_sink(k);
	k->a.folder = "INBOX";
	k->a.message = letter(k, 'a');
	*state = k;
	return 0;
}

static int tear_down(void **state)
{
	struct desk *k = *state;
	struct message *m = (struct message *)(uintptr_t)k->a.message;

	k->ops->close(&k->sink);
	message_free(&m);
	spool_close(&k->spool);
	close(k->dirfd);
	job_free(&k->job);
	kit_close(&k->rig);
	free(k);
	return 0;
}

static enum status find(struct desk *k, int64_t until_ms)
{
	struct sink_floor floor;
	struct err err = ERR_INIT;
	enum status rc;

	assert_int_equal(k->ops->floor(k->sink, "INBOX", &floor, &err), ST_OK);
	floor = (struct sink_floor){ 0, 1, false };
	rc = k->ops->find(k->sink, &k->a, &floor, until_ms, &err);
	assert_true(rc == ST_OK || rc == ST_END);
	return rc;
}

static void test_any_look_will_do(void **state)
{
	struct desk *k = *state;

	assert_int_equal(find(k, 0), ST_END);
	fakeimap_put(k->rig->imap, "INBOX", kit_text(k->rig, 'a'));
	assert_int_equal(find(k, 0), ST_END);
}

/* Whoever asks may be late: the time is over, but the last look was before it. */
static void test_a_time_that_is_over(void **state)
{
	struct desk *k = *state;
	int64_t then;

	assert_int_equal(find(k, 0), ST_END);
	fakeimap_put(k->rig->imap, "INBOX", kit_text(k->rig, 'a'));
	then = clock_ms() + 1;
	clock_sleep(20);
	assert_int_equal(find(k, then), ST_OK);
}

static void test_a_look_is_young_enough(void **state)
{
	struct desk *k = *state;
	int64_t then = clock_ms();

	clock_sleep(2);
	assert_int_equal(find(k, then), ST_END);
	fakeimap_put(k->rig->imap, "INBOX", kit_text(k->rig, 'a'));
	assert_int_equal(find(k, then), ST_END);
}

static void test_a_time_to_come(void **state)
{
	struct desk *k = *state;
	int64_t then = clock_ms() + 40;

	assert_int_equal(find(k, then), ST_END);
	assert_true(clock_ms() >= then);
	fakeimap_put(k->rig->imap, "INBOX", kit_text(k->rig, 'a'));
	assert_int_equal(find(k, clock_ms() + 2000), ST_OK);
	assert_true(clock_ms() < then + 1500);
}

static void say(struct desk *k, char *verb, char *a, char *b)
{
	char *argv[] = { verb, a, b }, why[200];

	assert_true(fakeimap_say(k->rig->imap, b ? 3 : 2, argv, why, sizeof(why)));
}

/* Whose answer is awaited, and those put before it, are known, whichever of several
 * connections they went by. */
static void test_await_by_turns(void **state)
{
	enum { LETTERS = 20 };
	static char connections[] = "connections", four[] = "4", capa[] = "capa",
		    is[] = "=", uidplus[] = "UIDPLUS";
	struct desk *k = *state;
	struct message *m[LETTERS];
	struct delivery d[LETTERS] = { 0 };
	struct sink_floor floor;
	struct err err = ERR_INIT;
	size_t i;

	k->ops->close(&k->sink);
	say(k, connections, four, NULL);
	say(k, capa, is, uidplus);
	k->job->dest[0].imap.connections = 2;
	open_sink(k);
	assert_int_equal(k->ops->floor(k->sink, "INBOX", &floor, &err), ST_OK);
	for (i = 0; i < LETTERS; i++) {
		m[i] = letter(k, (char)('a' + i));
		d[i].folder = "INBOX";
		d[i].message = m[i];
		assert_int_equal(k->ops->put(k->sink, &d[i], &err), ST_OK);
	}
	assert_int_equal(k->ops->await(k->sink, &d[LETTERS - 1], &err), ST_OK);
	for (i = 0; i < LETTERS; i++) {
		assert_int_equal(d[i].outcome, DELIVERY_STORED);
		assert_true(d[i].place);
		message_free(&m[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_any_look_will_do, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_a_time_that_is_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_a_look_is_young_enough, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_time_to_come, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_await_by_turns, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
