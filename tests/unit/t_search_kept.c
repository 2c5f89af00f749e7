/* t_search_kept.c: the index of an encrypted archive: kept for its reader alone, never
 * in clear, never believed when somebody else could have made it. */
#include "archive_kit.h"

#include <popferry/crypt.h>
#include <popferry/fs.h>
#include <popferry/search.h>

#include <dirent.h>

enum { MANY = 200 };

/* ---- archives and who reads them ---- */

struct place {
	char *dir, *path; /* of all, of the archive */
	char *key[2];
	struct recipients *to;
};

static struct place make_place(void)
{
	struct place p = { .dir = scratch() };
	char to[CRYPT_RECIPIENT];
	struct err err = ERR_INIT;
	unsigned i;

	p.path = xasprintf("%s/a", p.dir);
	recipients_open(&p.to);
	for (i = 0; i < 2; i++) {
		p.key[i] = xasprintf("%s/key%u", p.dir, i);
		ok(age_keygen(p.key[i], NULL, to, &err), &err);
		ok(recipients_add(p.to, to, &err), &err);
	}
	return p;
}

static void drop_place(struct place *p)
{
	const char *const argv[] = { "chmod", "-R", "u+w", p->dir, NULL };

	tool("/", "/dev/null", argv);
	remove_all(p->dir);
	recipients_close(&p->to);
	free(p->key[0]);
	free(p->key[1]);
	free(p->path);
	free(p->dir);
}

/* n messages more: word, word1 ..., in a segment of their own. */
static void fill_at(const struct place *p, const char *path, const char *state,
	const char *word, unsigned n)
{
	struct archive_config cfg = { .path = path,
		.slug = "acme",
		.codec = ARCHIVE_NONE,
		.codec_given = true,
		.recipients = p->to,
		.state = state };
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;
	unsigned i;

	ok(archive_open(&w, &cfg, &err), &err);
	for (i = 0; i < n; i++) {
		char *mail = xasprintf(
			"Subject: mail\r\n\r\nthe %s %s%u\r\n", word, word, i);
		struct message *m = message_from(spool, mail, strlen(mail));
		struct archive_entry e = { .folder = "",
			.occurrence = 1,
			.number = 1,
			.listed_size = UINT64_MAX,
			.retrieved = 1800000000,
			.date = { true, 1700000000, 0 } };
		uint64_t seq;

		ok(archive_put(w, m, &e, &seq, &err), &err);
		message_free(&m);
		free(mail);
	}
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
}

static void fill(const struct place *p, const char *word, unsigned n)
{
	fill_at(p, p->path, p->dir, word, n);
}

static struct identities *who(const char *a, const char *b)
{
	struct identities *ids;
	struct err err = ERR_INIT;

	identities_open(&ids);
	ok(identities_add(ids, a, NULL, NULL, &err), &err);
	if (b)
		ok(identities_add(ids, b, NULL, NULL, &err), &err);
	return ids;
}

/* ---- asking ---- */

struct asked {
	unsigned said;
	char last[400];
	uint64_t all, stop_at; /* 0: it goes on */
	const char *path;
	void (*meanwhile)(const char *path);
};

static void say(void *ctx, const char *what)
{
	struct asked *a = ctx;

	a->said++;
	snprintf(a->last, sizeof(a->last), "%s", what);
}

static bool go_on(void *ctx, uint64_t done, uint64_t all)
{
	struct asked *a = ctx;

	a->all = all;
	if (a->meanwhile)
		a->meanwhile(a->path);
	a->meanwhile = NULL;
	return !a->stop_at || done < a->stop_at;
}

static uint64_t count_hits(struct search *s, const char *text)
{
	struct err err = ERR_INIT;
	struct query *q = NULL;
	struct search_hits h;
	uint64_t n;

	ok(query_parse(&q, text, &err), &err);
	ok(search_find(s, q, SEARCH_SEQ, 0, &h, &err), &err);
	n = h.n;
	search_hits_free(&h);
	query_free(&q);
	return n;
}

/* What one search does: how often it says something, how many messages it reads. */
static void once_with(const char *path, struct identities *ids, bool rebuild,
	const char *query, uint64_t found, unsigned said, uint64_t read)
{
	struct asked a = { 0 };
	struct search_how how = { .rebuild = rebuild,
		.identities = ids,
		.say = say,
		.go_on = go_on,
		.ctx = &a };
	struct search *s = NULL;
	struct err err = ERR_INIT;
	uint64_t n;

	ok(search_open(&s, path, &how, &err), &err);
	n = count_hits(s, query);
	search_close(&s);
	if (n != found || a.said != said || a.all != read)
		fail_msg("%s: found %" PRIu64 ", read %" PRIu64 ", said %u times: %s",
			query, n, a.all, a.said, a.last);
}

static void once(const char *path, const char *key, const char *query, uint64_t found,
	unsigned said, uint64_t read)
{
	struct identities *ids = who(key, NULL);

	once_with(path, ids, false, query, found, said, read);
	identities_close(&ids);
}

/* ---- what lies there ---- */

/* The path of an index that is kept, NULL: none; and how many are. */
static char *find_kept(const char *path, unsigned *n)
{
	char *dir = xasprintf("%s/index", path), *file = NULL;
	DIR *d = opendir(dir);
	struct dirent *e;

	*n = 0;
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || strcmp(e->d_name, "lock") == 0)
			continue;
		if (!text_starts(e->d_name, "catalog-") ||
			strlen(e->d_name) != strlen("catalog-.enc") + 16)
			fail_msg("index/%s is there", e->d_name);
		if ((*n)++ == 0)
			file = xasprintf("%s/%s", dir, e->d_name);
	}
	if (d)
		closedir(d);
	free(dir);
	return file;
}

static unsigned kept(const char *path)
{
	unsigned n;

	free(find_kept(path, &n));
	return n;
}

static char *the_kept(const char *path)
{
	unsigned n;
	char *file = find_kept(path, &n);

	assert_int_equal(n, 1);
	return file;
}

static void in_no_file(const char *dir, const char *word)
{
	const char *const argv[] = { "grep", "-rlai", word, dir, NULL };

	assert_int_equal(tool("/", "/dev/null", argv), 1);
}

static uint64_t inode(const char *file)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	return st.st_ino;
}

static void copy_all(const char *from, const char *to)
{
	const char *const argv[] = { "cp", "-a", from, to, NULL };

	assert_int_equal(tool("/", "/dev/null", argv), 0);
}

/* ---- it is kept ---- */

static void test_kept(void **state)
{
	struct place p = make_place();
	struct identities *both = who(p.key[1], p.key[0]);
	uint64_t was;
	char *file;

	(void)state;
	fill(&p, "lamp", 20);
	once(p.path, p.key[0], "lamp", 20, 0, 20);
	file = the_kept(p.path);
	was = inode(file);
	once(p.path, p.key[0], "lamp7 OR lamp9", 2, 0, 0);
	assert_int_equal(inode(file), was);
	fill(&p, "candle", 3);
	once(p.path, p.key[0], "candle", 3, 0, 3);
	once(p.path, p.key[0], "candle OR lamp7", 4, 0, 0);
	once_with(p.path, both, false, "candle", 3, 0, 23);
	identities_close(&both);
	/* In another order, and one of them twice, they are the same. */
	both = who(p.key[0], p.key[1]);
	ok(identities_add(both, p.key[0], NULL, NULL, NULL), NULL);
	once_with(p.path, both, false, "candle", 3, 0, 0);
	once_with(p.path, both, true, "candle", 3, 0, 23);
	once_with(p.path, both, false, "candle", 3, 0, 0);
	assert_int_equal(kept(p.path), 2);
	in_no_file(p.path, "candle");
	in_no_file(p.path, "lamp7");
	in_no_file(p.path, "SQLite format");
	identities_close(&both);
	drop_place(&p);
	free(file);
}

/* What was done when it is stopped is kept, too. */
static void test_stopped(void **state)
{
	struct place p = make_place();
	struct identities *ids = who(p.key[0], NULL);
	struct asked a = { .stop_at = 64 };
	struct search_how how = { .identities = ids, .go_on = go_on, .ctx = &a };
	struct search *s = NULL;
	struct err err = ERR_INIT;

	(void)state;
	fill(&p, "lamp", MANY);
	assert_int_equal(search_open(&s, p.path, &how, &err), ST_RETRY);
	once_with(p.path, ids, false, "lamp", MANY, 0, MANY - 64);
	once_with(p.path, ids, false, "lamp", MANY, 0, 0);
	identities_close(&ids);
	drop_place(&p);
}

static void bounded(const struct place *p, struct identities *ids, uint64_t keep_max,
	uint64_t found, bool told)
{
	struct asked a = { 0 };
	struct search_how how = { .identities = ids,
		.keep_max = keep_max,
		.say = say,
		.go_on = go_on,
		.ctx = &a };
	struct search *s = NULL;
	struct err err = ERR_INIT;

	ok(search_open(&s, p->path, &how, &err), &err);
	assert_int_equal(count_hits(s, "lamp OR candle"), found);
	search_close(&s);
	assert_int_equal(a.said, told);
	assert_int_equal(told,
		strstr(a.last, "good for this search alone") &&
			strstr(a.last, "it is larger than 4.0 KiB"));
}

/* One that is too large is good for the search, is told of, and is not kept; what was
 * kept when it was smaller stays, and is good for what it has. */
static void test_too_large(void **state)
{
	struct place p = make_place();
	struct identities *ids = who(p.key[0], NULL);
	uint64_t was;
	char *file;

	(void)state;
	fill(&p, "lamp", 20);
	bounded(&p, ids, 4096, 20, true);
	assert_int_equal(kept(p.path), 0);
	bounded(&p, ids, 4096, 20, true);
	assert_int_equal(kept(p.path), 0);
	bounded(&p, ids, 0, 20, false);
	file = the_kept(p.path);
	was = inode(file);
	bounded(&p, ids, 4096, 20, false); /* nothing is new in it */
	fill(&p, "candle", 3);
	bounded(&p, ids, 4096, 23, true);
	once(p.path, p.key[0], "candle OR lamp7", 4, 0, 3);
	assert_true(inode(file) != was);
	free(file);
	identities_close(&ids);
	drop_place(&p);
}

/* What a writer that died has left behind is in nobody's way. */
static void test_left_behind(void **state)
{
	struct place p = make_place();
	char *file, *part;

	(void)state;
	fill(&p, "lamp", 5);
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	file = the_kept(p.path);
	part = xasprintf("%s.part", file);
	assert_int_equal(rename(file, part), 0);
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	free(file);
	file = the_kept(p.path);
	once(p.path, p.key[0], "lamp", 5, 0, 0);
	free(part);
	free(file);
	drop_place(&p);
}

/* ---- it is not believed ---- */

static void test_foreign(void **state)
{
	struct place p = make_place(), other = make_place();
	struct identities *ids = who(other.key[0], NULL);
	struct search_how how = { .identities = ids };
	struct err err = ERR_INIT;
	struct search *s = NULL;
	char *mine, *theirs, *bytes;
	size_t n;

	(void)state;
	fill(&p, "lamp", 5);
	/* Who has no key to the archive makes nothing there. */
	assert_int_equal(search_open(&s, p.path, &how, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	assert_false(exists(p.path, "index"));
	identities_close(&ids);
	/* The index of another reader, under the name of mine. */
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	mine = the_kept(p.path);
	bytes = slurp(mine, &n);
	unlink(mine);
	once(p.path, p.key[1], "lamp", 5, 0, 5);
	theirs = the_kept(p.path);
	assert_string_not_equal(mine, theirs);
	spit(theirs, bytes, n);
	once(p.path, p.key[1], "lamp", 5, 1, 5);
	once(p.path, p.key[1], "lamp", 5, 0, 0);
	free(bytes);
	free(theirs);
	/* That of another archive of the same reader. */
	fill_at(&p, other.path, other.dir, "candle", 5);
	once(other.path, p.key[0], "candle", 5, 0, 5);
	theirs = the_kept(other.path);
	assert_string_not_equal(strrchr(mine, '/'), strrchr(theirs, '/'));
	bytes = slurp(theirs, &n);
	spit(mine, bytes, n);
	once(p.path, p.key[0], "candle", 0, 1, 5);
	once(p.path, p.key[0], "lamp", 5, 0, 0);
	free(bytes);
	free(theirs);
	free(mine);
	drop_place(&p);
	drop_place(&other);
}

/* Each of these is noticed, whatever it hits, and costs no more than making it anew. */
static void test_damaged(void **state)
{
	struct place p = make_place();
	char *file, *bytes, *empty = xasprintf("%s/empty", p.dir), *name;
	size_t n, i, steps = 0;

	(void)state;
	fill(&p, "lamp", 0);
	copy_all(p.path, empty);
	fill(&p, "lamp", 5);
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	file = the_kept(p.path);
	bytes = slurp(file, &n);
	for (i = 0; i < n; i += i < 128 ? 1 : 997, steps++) {
		bytes[i] ^= (char)(1 << i % 8);
		spit(file, bytes, n);
		once(p.path, p.key[0], "lamp3", 1, 1, 5);
		bytes[i] ^= (char)(1 << i % 8);
	}
	assert_true(steps > 150);
	assert_true(n > 65640); /* where a record ends */
	spit(file, bytes, 65640);
	once(p.path, p.key[0], "lamp3", 1, 1, 5);
	for (i = 0; i < n; i += i < 128 ? 16 : 3989) {
		spit(file, bytes, i);
		once(p.path, p.key[0], "lamp3", 1, 1, 5);
	}
	spit(file, bytes, n - 1);
	once(p.path, p.key[0], "lamp3", 1, 1, 5);
	/* A file that is larger than any, and what is no file. */
	spit(file, bytes, n);
	assert_int_equal(truncate(file, INT64_C(1) << 40), 0);
	once(p.path, p.key[0], "lamp3", 1, 1, 5);
	unlink(file);
	assert_int_equal(symlink("/dev/zero", file), 0);
	once(p.path, p.key[0], "lamp3", 1, 1, 5);
	once(p.path, p.key[0], "lamp3", 1, 0, 0);
	/* It is gone for good, also where there is nothing to put in its place. */
	name = xasprintf("%s/index", empty);
	assert_int_equal(mkdir(name, 0700), 0);
	free(name);
	name = xasprintf("%s/index%s", empty, strrchr(file, '/'));
	spit(name, bytes, n - 1);
	once(empty, p.key[0], "lamp3", 0, 1, 0);
	once(empty, p.key[0], "lamp3", 0, 0, 0);
	free(name);
	free(empty);
	free(bytes);
	free(file);
	drop_place(&p);
}

static void same_times(const char *from, const char *to)
{
	static const char *const folders[] = { "segments", "open" };
	struct dirent *e;
	struct stat a, b;
	size_t i;

	for (i = 0; i < N_ELEMENTS(folders); i++) {
		char *x = xasprintf("%s/%s", from, folders[i]),
		     *y = xasprintf("%s/%s", to, folders[i]);
		DIR *d = opendir(x);
		int other = open(y, O_RDONLY | O_DIRECTORY);

		assert_true(d && other >= 0);
		while ((e = readdir(d))) {
			if (e->d_name[0] == '.')
				continue;
			assert_int_equal(fstatat(dirfd(d), e->d_name, &a, 0), 0);
			assert_int_equal(fstatat(other, e->d_name, &b, 0), 0);
			if (strcmp(e->d_name, "lock") != 0)
				assert_int_equal(a.st_size, b.st_size);
			assert_int_equal(utimensat(other, e->d_name,
						 (const struct timespec[]){
							 a.st_mtim, a.st_mtim },
						 0),
				0);
		}
		closedir(d);
		close(other);
		free(x);
		free(y);
	}
}

/* An older index that somebody puts back hides nothing, also when all files are made to
 * look as they did; and what was in it does not come back. */
static void test_put_back(void **state)
{
	struct place p = make_place();
	char *twin = xasprintf("%s/twin", p.dir), *keys = xasprintf("%s/keys", p.dir),
	     *file, *bytes, *name;
	size_t n;

	(void)state;
	fill(&p, "lamp", 5);
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	file = the_kept(p.path);
	bytes = slurp(file, &n);
	fill(&p, "candle", 5);
	once(p.path, p.key[0], "candle", 5, 0, 5);
	spit(file, bytes, n);
	once(p.path, p.key[0], "candle OR lamp", 10, 0, 5);
	once(p.path, p.key[0], "candle OR lamp", 10, 0, 0);
	free(bytes);

	assert_int_equal(mkdir(keys, 0700), 0);
	copy_all(p.path, twin);
	fill_at(&p, twin, keys, "bottle", 5);
	fill(&p, "bucket", 5);
	once(p.path, p.key[0], "bucket", 5, 0, 5);
	same_times(p.path, twin);
	name = xasprintf("%s/index%s", twin, strrchr(file, '/'));
	bytes = slurp(file, &n);
	spit(name, bytes, n);
	once(twin, p.key[0], "bucket", 0, 1, 15);
	once(twin, p.key[0], "bottle", 5, 0, 0);
	free(bytes);
	free(name);
	free(file);
	free(keys);
	free(twin);
	drop_place(&p);
}

/* ---- where it cannot be kept ---- */

enum { CLOSED = 98 };

/* As somebody who may only read. */
static void read_only_once(
	struct place *p, const char *query, uint64_t found, uint64_t read)
{
	const char *const no[] = { "chmod", "-R", "a-w", p->path, NULL };
	const char *const yes[] = { "chmod", "-R", "u+w", p->path, NULL };
	const char *const all[] = { "chmod", "-R", "a+rX", p->path, NULL };
	struct identities *ids = who(p->key[0], NULL);
	pid_t pid;
	int st;

	chmod(p->dir, 0755);
	tool("/", "/dev/null", all);
	tool("/", "/dev/null", no);
	pid = fork();
	if (pid == 0) {
		if (getuid() == 0 && setuid(65534) < 0)
			_exit(99);
		if (access(p->path, R_OK) < 0)
			_exit(CLOSED);
		unsetenv("TMPDIR"); /* it may be root's */
		once_with(p->path, ids, false, query, found, 0, read);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	tool("/", "/dev/null", yes);
	identities_close(&ids);
	assert_true(WIFEXITED(st));
	if (WEXITSTATUS(st) == CLOSED)
		skip(); /* nobody else may look into TMPDIR */
	assert_int_equal(WEXITSTATUS(st), 0);
}

static void test_read_only(void **state)
{
	struct place p = make_place();
	char *file, *bytes, *now;
	size_t n, k;

	(void)state;
	fill(&p, "lamp", 5);
	read_only_once(&p, "lamp", 5, 5);
	assert_false(exists(p.path, "index"));
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	read_only_once(&p, "lamp", 5, 0);
	fill(&p, "candle", 2);
	file = the_kept(p.path);
	bytes = slurp(file, &n);
	read_only_once(&p, "candle OR lamp", 7, 2);
	now = slurp(file, &k);
	assert_int_equal(n, k);
	assert_memory_equal(bytes, now, n);
	free(now);
	free(bytes);
	free(file);
	drop_place(&p);
}

/* Of a passphrase no key is made; and of others none that lacks something. */
static void test_no_secret(void **state)
{
	struct place p = make_place();
	struct identities *ids = who(p.key[0], NULL);

	(void)state;
	ok(identities_add_passphrase(ids, "secret", NULL), NULL);
	fill(&p, "lamp", 5);
	once_with(p.path, ids, false, "lamp", 5, 0, 5);
	once_with(p.path, ids, false, "lamp", 5, 0, 5);
	assert_false(exists(p.path, "index"));
	identities_close(&ids);
	drop_place(&p);
}

/* Somebody else just writes: then this search keeps nothing. */
static void test_locked(void **state)
{
	struct place p = make_place();
	char *dir = xasprintf("%s/index", p.path);
	int dirfd, lock = -1;
	struct err err = ERR_INIT;

	(void)state;
	fill(&p, "lamp", 5);
	assert_int_equal(mkdir(dir, 0700), 0);
	dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	ok(fs_lock(&lock, dirfd, "lock", &err), &err);
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	assert_int_equal(kept(p.path), 0);
	close(lock);
	close(dirfd);
	once(p.path, p.key[0], "lamp", 5, 0, 5);
	assert_int_equal(kept(p.path), 1);
	free(dir);
	drop_place(&p);
}

static void dispose_meanwhile(const char *path)
{
	char *policy = xasprintf("%s/policy", path),
	     *record = xasprintf("%s/disposition-000001.json", policy);

	mkdir(policy, 0700);
	spit(record, "{}", 2);
	free(record);
	free(policy);
}

/* What is disposed of while it is searched for does not come to the folder again. */
static void test_disposed_meanwhile(void **state)
{
	struct place p = make_place();
	struct identities *ids = who(p.key[0], NULL);
	struct asked a = { .path = p.path, .meanwhile = dispose_meanwhile };
	struct search_how how = { .identities = ids, .go_on = go_on, .ctx = &a };
	struct search *s = NULL;
	struct err err = ERR_INIT;

	(void)state;
	fill(&p, "lamp", 5);
	ok(search_open(&s, p.path, &how, &err), &err);
	assert_int_equal(count_hits(s, "lamp"), 5);
	search_close(&s);
	assert_int_equal(kept(p.path), 0);
	once_with(p.path, ids, false, "lamp", 5, 0, 5);
	assert_int_equal(kept(p.path), 1);
	identities_close(&ids);
	drop_place(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_left_behind),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_put_back),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_no_secret),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_disposed_meanwhile),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
