/* t_sink_null.c: nowhere takes everything, promises it, and gives nothing back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/sink.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGES = 300, LARGE = SPOOL_SMALL + 70000 };

struct rig {
	const struct sink_ops *ops;
	struct endpoint end;
	struct sink_setup setup;
	struct log log;
	struct spool *spool;
	int dirfd;
};

static int set_up(void **state)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	const char *tmp = getenv("TMPDIR");

	r->ops = sink_kind("null");
	r->end.url = xstrdup("null:");
	r->setup = (struct sink_setup){ .end = &r->end, .log = &r->log };
	r->dirfd = open(tmp ? tmp : "/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	spool_open(&r->spool, r->dirfd, 1024 * 1024);
	*state = r;
	return r->ops ? 0 : -1;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	spool_close(&r->spool);
	close(r->dirfd);
	endpoint_release(&r->end);
	free(r);
	return 0;
}

static struct message *make(struct rig *r, size_t n)
{
	struct message_maker *mk;
	struct message *m = NULL;
	struct err err = ERR_INIT;
	char *text = xcalloc(1, n + 1);

	memset(text, 'x', n);
	message_begin(&mk, r->spool);
	message_put(mk, "Subject: s\r\n\r\n", 14);
	message_put(mk, text, n);
	assert_int_equal(message_end(&mk, &m, &err), ST_OK);
	free(text);
	return m;
}

static struct sink *start(struct rig *r)
{
	struct err err = ERR_INIT;
	struct sink *s = NULL;

	assert_int_equal(r->ops->open(&s, &r->setup, &err), ST_OK);
	return s;
}

static void test_takes_all(void **state)
{
	struct rig *r = *state;
	struct sink *s = start(r);
	struct delivery *d = xcalloc(MESSAGES, sizeof(*d));
	struct message *m[] = { make(r, 0), make(r, 100), make(r, LARGE) };
	struct err err = ERR_INIT;
	struct sink_floor floor;
	size_t i;

	assert_int_equal(r->ops->floor(s, "INBOX", &floor, &err), ST_OK);
	assert_true(floor.empty);
	for (i = 0; i < MESSAGES; i++) {
		d[i].message = m[i % N_ELEMENTS(m)];
		assert_int_equal(r->ops->find(s, &d[i], &floor, 0, &err), ST_END);
		assert_int_equal(r->ops->put(s, &d[i], &err), ST_OK);
	}
	assert_int_equal(r->ops->flush(s, &err), ST_OK);
	assert_int_equal(r->ops->await(s, &d[MESSAGES - 1], &err), ST_OK);
	assert_int_equal(r->ops->commit(s, &err), ST_OK);
	for (i = 0; i < MESSAGES; i++) {
		assert_int_equal(d[i].outcome, DELIVERY_STORED);
		assert_int_equal(d[i].generation, floor.generation);
		assert_int_equal(d[i].place, floor.next + i);
	}
	assert_int_equal(r->ops->finish(s, &err), ST_OK);
	r->ops->close(&s);
	assert_null(s);
	for (i = 0; i < N_ELEMENTS(m); i++)
		message_free(&m[i]);
	free(d);
}

/* A place of one session is none of another's. */
static void test_generations(void **state)
{
	struct rig *r = *state;
	struct sink *s = start(r);
	struct sink_floor a, b;
	struct err err = ERR_INIT;

	r->ops->floor(s, "INBOX", &a, &err);
	r->ops->close(&s);
	s = start(r);
	r->ops->floor(s, "INBOX", &b, &err);
	r->ops->close(&s);
	assert_true(a.generation != b.generation);
}

static void test_says_so(void **state)
{
	struct rig *r = *state;
	char said[200] = "";
	struct sink *s;
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	log_setup(LOG_TEXT, LV_WARN, fd[1]);
	s = start(r);
	log_setup(LOG_TEXT, LV_WARN, open("/dev/null", O_WRONLY | O_CLOEXEC));
	close(fd[1]);
	assert_true(read(fd[0], said, sizeof(said) - 1) > 0);
	assert_int_equal(strncmp(said, "warn ", 5), 0);
	assert_int_equal(strcspn(said, "\n"), strlen(said) - 1);
	close(fd[0]);
	r->ops->close(&s);
}

static void test_keeps_nothing(void **state)
{
	struct rig *r = *state;
	struct sink *s = start(r);
	struct sink_reading to = { 0 };
	struct err err = ERR_INIT;
	uint64_t place = 1;
	char *identity = r->ops->identity(&r->end);

	assert_string_equal(identity, "null:");
	assert_false(r->ops->record);
	assert_int_equal(r->ops->read(s, "INBOX", 1, &place, 1, &to, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);
	assert_non_null(strstr(err.text, "nothing to read back"));
	r->ops->close(&s);
	r->setup.reading = true;
	assert_int_equal(r->ops->open(&s, &r->setup, &err), ST_DENIED);
	assert_null(s);
	free(identity);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_takes_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_generations, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_keeps_nothing, set_up, tear_down),
	};

	log_setup(LOG_TEXT, LV_WARN, open("/dev/null", O_WRONLY | O_CLOEXEC));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
