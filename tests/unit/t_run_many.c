/* t_run_many.c: many engines in one process, each between servers of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine_kit.h"

#include <popferry/fs.h>

#include <pthread.h>

enum { MANY = 6 };

static const char *const mail[MANY] = { "abcdefgh", "ab", "", "aAb0123", "x!?@y",
	"qwertyuiopasdfghjklzxcvbnm" };

struct lane {
	struct rig *rig;
	struct job *job;
	struct engine *engine;
	pthread_t thread;
	int code;
};

/* What a program must do before it has threads: they would meet in environ. */
static void take_secrets(const struct job *j)
{
	char *password = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(secret_get(&j->source.secret, "source", &password, &err), 0);
	free(password);
	assert_int_equal(
		secret_get(&j->dest[0].secret, "dest", &password, &err), ST_OK);
	free(password);
}

static void lanes_open(struct lane *v)
{
	const struct pace pace = { .backoff_ms = 5, .settle_ms = 60, .grace_ms = 300 };
	size_t i;

	for (i = 0; i < MANY; i++) {
		kit_open(&v[i].rig);
		kit_mail(v[i].rig, mail[i]);
		v[i].job = kit_job(v[i].rig, "archive");
		take_secrets(v[i].job);
		engine_new(&v[i].engine, v[i].job, NULL);
		engine_pace(v[i].engine, &pace);
	}
}

static void lanes_close(struct lane *v)
{
	size_t i;

	for (i = 0; i < MANY; i++) {
		engine_free(&v[i].engine);
		job_free(&v[i].job);
		kit_close(&v[i].rig);
	}
}

static void *run(void *arg)
{
	struct lane *l = arg;

	l->code = engine_run(l->engine, &l->rig->out);
	return NULL;
}

static void run_all(struct lane *v, void (*meanwhile)(struct lane *v))
{
	size_t i;

	for (i = 0; i < MANY; i++)
		assert_int_equal(pthread_create(&v[i].thread, NULL, run, &v[i]), 0);
	if (meanwhile)
		meanwhile(v);
	for (i = 0; i < MANY; i++)
		pthread_join(v[i].thread, NULL);
}

static void expect_all(struct lane *v, size_t but)
{
	size_t i;

	for (i = 0; i < MANY; i++) {
		if (i == but)
			continue;
		assert_int_equal(v[i].code, 0);
		assert_int_equal(v[i].rig->out.ledger.stored, strlen(mail[i]));
		kit_expect(v[i].rig, "imap", mail[i]);
		kit_expect_archive(v[i].rig, "archive", mail[i]);
	}
}

static void look(struct lane *v)
{
	struct progress p;
	size_t i, k;

	for (k = 0; k < 50; k++)
		for (i = 0; i < MANY; i++)
			engine_progress(v[i].engine, &p);
}

static void test_all_at_once(void **state)
{
	struct lane v[MANY] = { { NULL, NULL, NULL, 0, 0 } };

	(void)state;
	lanes_open(v);
	run_all(v, look);
	expect_all(v, MANY);
	lanes_close(v);
}

/* The state directory of one is taken, by this very process; that is the others' no
 * business, and it goes on later. */
static void test_one_is_locked_out(void **state)
{
	struct lane v[MANY] = { { NULL, NULL, NULL, 0, 0 } };
	struct err err = ERR_INIT;
	int dirfd, lock;

	(void)state;
	lanes_open(v);
	assert_int_equal(fs_open_dir(&dirfd, v[3].job->state, &err), ST_OK);
	assert_int_equal(fs_lock(&lock, dirfd, "lock", &err), ST_OK);
	run_all(v, NULL);
	assert_int_equal(v[3].code, EX_TEMPFAIL);
	kit_expect(v[3].rig, "nothing", "");
	expect_all(v, 3);
	close(lock);
	close(dirfd);
	assert_int_equal(kit_run_job(v[3].rig, v[3].job), 0);
	kit_expect(v[3].rig, "later", mail[3]);
	lanes_close(v);
}

static void stop_last(struct lane *v)
{
	clock_sleep(100);
	engine_stop(v[MANY - 1].engine);
}

/* One is stopped, in front of a server that has fallen silent. */
static void test_one_is_stopped(void **state)
{
	struct lane v[MANY] = { { NULL, NULL, NULL, 0, 0 } };
	struct fakepop_ways ways = { .pipelining = true };
	struct rig *r;

	(void)state;
	lanes_open(v);
	r = v[MANY - 1].rig;
	ways.hang = kit_text(r, 'j');
	fakepop_behave(r->pop, &ways);
	run_all(v, stop_last);
	assert_int_equal(v[MANY - 1].code, EX_TEMPFAIL);
	assert_true(ledger_balances(&r->out.ledger));
	expect_all(v, MANY - 1);
	ways.hang = NULL;
	fakepop_behave(r->pop, &ways);
	assert_int_equal(kit_run_job(r, v[MANY - 1].job), 0);
	kit_expect(r, "later", mail[MANY - 1]);
	kit_expect_archive(r, "later", mail[MANY - 1]);
	lanes_close(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_one_is_locked_out),
		cmocka_unit_test(test_one_is_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
