/* journal_kit.h: what the journal's tests share: a state directory, messages by hand.
 */
#ifndef JOURNAL_KIT_H
#define JOURNAL_KIT_H

#include <popferry/journal.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ACCOUNT "pop3s://alice@pop.example.org"
#define DB "journal.sqlite"

/* ---- a state directory a test ---- */

static char dir[256];
static int dirfd_;
static struct err err;

static inline const char *in_dir(const char *name)
{
	static char path[4][512];
	static unsigned k;

	snprintf(path[++k % 4], sizeof(path[0]), "%s/%s", dir, name);
	return path[k % 4];
}

static inline void wipe(void)
{
	static const char *const names[] = { DB, DB "-wal", DB "-shm", DB "-journal",
		"other" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(names); i++)
		unlink(in_dir(names[i]));
}

static inline int set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof(dir), "%s/t_journal.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
	memset(&err, 0, sizeof(err));
	return dirfd_ < 0 ? -1 : 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	close(dirfd_);
	wipe();
	return rmdir(dir);
}

#define OK(call) \
	do { \
		enum status rc_ = (call); \
		if (rc_ != ST_OK) \
			print_error("%s: %d: %s\n", #call, rc_, err.text); \
		assert_int_equal(rc_, ST_OK); \
	} while (0)

static inline struct journal *open_it(void)
{
	struct journal *j = NULL;

	OK(journal_open(&j, dirfd_, ACCOUNT, false, &err));
	return j;
}

static inline void reopen(struct journal **j)
{
	journal_close(j);
	assert_null(*j);
	*j = open_it();
}

/* ---- messages made by hand ---- */

static inline struct facts facts_of(uint32_t n)
{
	struct facts f = { .size = 1000 + n, .wire = 1000 + n, .has_msgid = true };
	unsigned char *const digests[] = { f.sha256, f.exact, f.body, f.loose, f.ident,
		f.msgid };
	uint64_t x = n;
	size_t i, k;

	for (i = 0; i < N_ELEMENTS(digests); i++)
		for (k = 0; k < DIGEST; k++) {
			x = x * 6364136223846793005u + 1442695040888963407u + i;
			digests[i][k] = (unsigned char)(x >> 33);
		}
	return f;
}

static inline struct journal_key key_of(
	const char *uidl, uint32_t occurrence, uint64_t size)
{
	return (struct journal_key){
		.uidl = uidl,
		.uidl_n = uidl ? strlen(uidl) : 0,
		.occurrence = occurrence,
		.listed_size = size,
	};
}

static inline int64_t take(struct journal *j, const char *uidl, uint32_t n)
{
	struct facts f = facts_of(n);
	struct journal_key k = key_of(uidl, 0, f.size);
	int64_t id = 0;

	OK(journal_take(j, &k, &f, 1700000000 + n, &id, &err));
	assert_true(id > 0);
	return id;
}

static inline void store(struct journal *j, int64_t id, unsigned sink, uint64_t number)
{
	struct place floor = { 7, 1 }, at = { 7, number };

	OK(journal_storing(j, id, sink, "INBOX", &floor, 1, &err));
	OK(journal_stored(j, id, sink, &at, NULL, &err));
}

static inline void failed(struct journal *j, const char *uidl, const struct facts *f)
{
	struct journal_key k = key_of(uidl, 0, f ? f->size : UINT64_MAX);
	struct err why = ERR_INIT;

	err_set(&why, ST_SKIP, EX_DATAERR, "it broke");
	err_reply(&why, "NO\r\n", 4);
	OK(journal_failed(j, &k, 12, f, "store", &why, &err));
}

static inline struct journal_row row_of(struct journal *j, const char *uidl)
{
	struct journal_row r;

	OK(journal_find(j, uidl, strlen(uidl), 0, &r, &err));
	return r;
}

static inline struct journal_row get(struct journal *j, int64_t id)
{
	struct journal_row r;

	OK(journal_get(j, id, &r, &err));
	return r;
}

static inline struct journal_totals totals(struct journal *j)
{
	struct journal_totals t;

	OK(journal_totals(j, &t, &err));
	return t;
}

static inline unsigned sink(struct journal *j, const char *identity)
{
	unsigned k = 99;

	OK(journal_sink(j, identity, &k, &err));
	assert_true(k < JOURNAL_SINKS);
	return k;
}

/* ---- children ---- */

static inline int exit_of_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Exits of children: the parent shows where one went wrong. */
#define NEED(n, cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "child: %s: %s\n", #cond, err.text); \
			_exit(n); \
		} \
	} while (0)

/* ---- candidates seen ---- */

struct seen {
	int64_t id[16];
	unsigned stored[16], storing[16];
	size_t n, stop_after;
	enum status with;
};

static inline enum status see(void *ctx, const struct journal_row *row, struct err *e)
{
	struct seen *s = ctx;

	(void)e;
	assert_true(s->n < N_ELEMENTS(s->id));
	s->id[s->n] = row->id;
	s->stored[s->n] = row->stored;
	s->storing[s->n++] = row->storing;
	return s->stop_after && s->n == s->stop_after ? s->with : ST_OK;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
