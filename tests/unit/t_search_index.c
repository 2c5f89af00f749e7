/* t_search_index.c: the index of an archive: made, kept up to date, thrown away; what
 * is found. */
#include "archive_kit.h"

#include <popferry/crypt.h>
#include <popferry/search.h>

#include <dirent.h>
#include <sqlite3.h>

enum { MANY = 4100 };

/* ---- an archive ---- */

static const struct {
	const char *mail, *folder, *uidl;
	int64_t date;
} mails[] = {
	{ "From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: Year end\r\n"
	  "Message-ID: <1@x>\r\n\r\nThe write off of the lamp.\r\n",
		"", "u1", 1704067200 }, /* 2024-01-01 */
	{ "From: Bob <bob@example.org>\r\nTo: ann@example.org\r\nCc: cid@example.net\r\n"
	  "Subject: Re: Year end\r\nMessage-ID: <2@x>\r\n\r\nOff we write. Caf\xc3\xa9!\r\n",
		"Sent", "u2", 1706745600 }, /* 2024-02-01 */
	{ "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nSubject: Report\r\n"
	  "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n"
	  "Content-Type: text/html\r\n\r\n<p>See the <b>atta</b>ched</p>\r\n--B\r\n"
	  "Content-Type: application/pdf; name=\"Q3 report.PDF\"\r\n\r\n%PDF lamp\r\n--B--\r\n",
		"Lists/a", "u3", 1706745601 },
	{ "From: x@y\r\nBcc: secret@example.org\r\nSubject: \xe6\x9d\xb1\xe4\xba\xac"
	  "\xe3\x82\xbf\xe3\x83\xaf\xe3\x83\xbc\r\n\r\nlamps and lampshades\r\n",
		"Sent/old", "u4", 1735689599 }, /* 2024-12-31 23:59:59 */
	{ "\r\nno header at all", "", NULL, 1735689600 },
};

static void put_mail(struct archive_writer *w, const char *mail, const char *folder,
	const char *uidl, int64_t date)
{
	struct message *m = message_from(spool, mail, strlen(mail));
	struct archive_entry e = { .folder = folder,
		.uidl = uidl,
		.uidl_n = uidl ? strlen(uidl) : 0,
		.occurrence = 1,
		.number = 1,
		.listed_size = UINT64_MAX,
		.retrieved = 1800000000,
		.date = { true, date, 60 } };
	struct err err = ERR_INIT;
	uint64_t seq;

	ok(archive_put(w, m, &e, &seq, &err), &err);
	message_free(&m);
}

/* dir/a with those mails, and dir's name. */
static char *make(const char *dir, enum archive_codec codec)
{
	char *path = xasprintf("%s/a", dir);
	struct archive_writer *w;
	struct err err = ERR_INIT;
	size_t i;

	make_archive(path, codec, MEMBER);
	w = open_archive(path, codec, 0);
	for (i = 0; i < N_ELEMENTS(mails); i++)
		put_mail(w, mails[i].mail, mails[i].folder, mails[i].uidl,
			mails[i].date);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	return path;
}

static void add(const char *path, enum archive_codec codec, const char *mail, bool seal)
{
	struct archive_writer *w = open_archive(path, codec, 0);
	struct err err = ERR_INIT;

	put_mail(w, mail, "", "new", 1735689700);
	ok(seal ? archive_seal(w, &err) : archive_commit(w, 0, &err), &err);
	archive_close(&w);
}

/* ---- asking ---- */

struct asked {
	unsigned said;
	char last[256];
	uint64_t all;
};

static void say(void *ctx, const char *what)
{
	struct asked *a = ctx;

	a->said++;
	snprintf(a->last, sizeof(a->last), "%s", what);
}

static bool go_on(void *ctx, uint64_t done, uint64_t all)
{
	(void)done;
	((struct asked *)ctx)->all = all;
	return true;
}

static struct search *open_search(const char *path, struct asked *a)
{
	const struct search_how how = { .say = say, .go_on = go_on, .ctx = a };
	struct err err = ERR_INIT;
	struct search *s = NULL;

	memset(a, 0, sizeof(*a));
	ok(search_open(&s, path, &how, &err), &err);
	return s;
}

static char *ask_some(struct search *s, const char *query, enum search_order order,
	uint64_t limit, size_t *all)
{
	struct buf b = BUF_INIT(64 * 1024);
	struct err err = ERR_INIT;
	struct query *q = NULL;
	struct search_hits h;
	size_t i;
	char *got;

	if (query_parse(&q, query, &err) != ST_OK ||
		search_find(s, q, order, limit, &h, &err) != ST_OK)
		fail_msg("%s: %s", query, err.text);
	for (i = 0; i < h.n_first; i++)
		buf_addf(&b, "%s%" PRIu32, i ? " " : "", h.first[i]);
	*all = h.n;
	for (i = 1; i < h.n; i++)
		assert_true(h.seqs[i - 1] < h.seqs[i]);
	search_hits_free(&h);
	query_free(&q);
	got = xstrdup(buf_str(&b));
	buf_free(&b);
	return got;
}

static char *ask(struct search *s, const char *query, enum search_order order)
{
	size_t all;

	return ask_some(s, query, order, UINT64_MAX, &all);
}

static void expect(struct search *s, const char *query, const char *want)
{
	char *got = ask(s, query, SEARCH_SEQ);

	if (strcmp(got, want) != 0)
		fail_msg("%s: found %s, not %s", query, got, want);
	free(got);
}

/* Opens it, asks, and tells how many messages were read for that. */
static uint64_t once(
	const char *path, const char *query, const char *want, unsigned said)
{
	struct asked a;
	struct search *s = open_search(path, &a);

	expect(s, query, want);
	if (a.said != said)
		fail_msg("said %u times, last: %s", a.said, a.last);
	search_close(&s);
	return a.all;
}

/* ---- what is found ---- */

static const struct {
	const char *query, *want;
} finds[] = {
	{ "lamp", "1" },
	{ "LAMP", "1" },
	{ "lamp*", "1 4" },
	{ "\"write off\"", "1" },
	{ "write off", "1 2" },
	{ "-write", "3 4 5" },
	{ "write -lamp", "2" },
	{ "lamp OR report", "1 3" },
	{ "(lamp OR cafe) from:bob", "2" },
	{ "cafe", "2" },
	{ "caf\xc3\xa9", "2" },
	{ "attached", "3" },
	{ "pdf", "3" },
	{ "from:ann", "1" },
	{ "from:ann@example.org", "1" },
	{ "to:ann", "2" },
	{ "cc:cid", "2" },
	{ "bcc:secret", "4" },
	{ "from:jurgen", "3" },
	{ "from:j\xc3\xbcrgen", "3" },
	{ "subject:\"year end\"", "1 2" },
	{ "subject:lamp", "" },
	{ "body:lamp", "1" },
	{ "\xe4\xba\xac", "4" },
	{ "\xe6\x9d\xb1\xe4\xba\xac", "4" },
	{ "\xe4\xba\xac\xe6\x9d\xb1", "" },
	{ "after:2024-02", "2 3 4 5" },
	{ "after:2025", "5" },
	{ "before:2024-02", "1" },
	{ "on:2024", "1 2 3 4" },
	{ "on:2024-02-01", "2 3" },
	{ "on:2024-12-31", "4" },
	{ "after:2024-02-01T00:00:01Z before:2025", "3 4" },
	{ "has:attachment", "3" },
	{ "-has:attachment", "1 2 4 5" },
	{ "filename:*.pdf", "3" },
	{ "filename:\"q3 *\"", "3" },
	{ "filename:*.doc", "" },
	{ "larger:200", "3" },
	{ "smaller:30", "5" },
	{ "folder:INBOX", "1 5" },
	{ "folder:Sent", "2 4" },
	{ "folder:Lists", "3" },
	{ "uidl:u2", "2" },
	{ "-uidl:u2", "1 3 4 5" },
	{ "message-id:<1@x>", "1" },
	{ "id:2@x", "2" },
	{ "-id:2@x", "1 3 4 5" },
	{ "seq:2-3", "2 3" },
	{ "seq:4-", "4 5" },
	{ "seq:2 OR seq:5 OR lamp", "1 2 5" },
	{ "header -from:ann", "5" },
	{ "(from:ann lamp) OR (from:bob -lamp seq:2)", "1 2" },
	{ "sha256:00000000", "" },
	{ "' OR 1=1 --x", NULL },
	{ "\"'; DROP TABLE message; --\"", "" },
	{ "\"a\\\"b NEAR( c\"", "" },
	{ "rowid rank bm25", "" },
	{ "\xff\xfe", "" },
};

static void test_finds(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ);
	struct asked a;
	struct search *s = open_search(path, &a);
	struct search_found m;
	struct err err = ERR_INIT;
	char *by_sha;
	uint64_t in, not ;
	size_t i;

	(void)state;
	assert_int_equal(a.said, 0);
	assert_int_equal(a.all, N_ELEMENTS(mails));
	for (i = 0; i < N_ELEMENTS(finds); i++)
		if (finds[i].want)
			expect(s, finds[i].query, finds[i].want);
	ok(search_count(s, &in, &not, &err), &err);
	assert_int_equal(in, N_ELEMENTS(mails));
	assert_int_equal(not, 0);
	ok(search_get(s, 2, &m, &err), &err);
	assert_string_equal(m.subject, "Re: Year end");
	assert_string_equal(m.folder, "Sent");
	ok(search_get(s, 1, &m, &err), &err);
	assert_string_equal(m.folder, "INBOX");
	ok(search_get(s, 2, &m, &err), &err);
	assert_int_equal(m.date.utc, mails[1].date);
	assert_int_equal(m.date.zone, 60);
	by_sha = xasprintf("sha256:%.13s", m.sha256);
	expect(s, by_sha, "2");
	free(by_sha);
	by_sha = xasprintf("sha256:%s", m.sha256);
	expect(s, by_sha, "2");
	free(by_sha);
	assert_int_equal(search_get(s, 99, &m, &err), ST_END);
	search_close(&s);
	remove_all(dir);
	free(path);
	free(dir);
}

static void test_orders(void **state)
{
	static const struct {
		const char *query, *want;
		enum search_order order;
	} rows[] = {
		{ "seq:1-3", "3 2 1", SEARCH_DATE },
		{ "write", "2 1", SEARCH_DATE },
		{ "year OR write", "2 1", SEARCH_DATE },
		{ "seq:1-3", "3 2 1", SEARCH_RELEVANCE },
		{ "report OR lamp", "3 1",
			SEARCH_RELEVANCE }, /* the subject counts more */
		{ "report seq:1-3", "3", SEARCH_RELEVANCE },
	};
	char *dir = scratch(), *path = make(dir, ARCHIVE_ZST);
	struct asked a;
	struct search *s = open_search(path, &a);
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char *got = ask(s, rows[i].query, rows[i].order);

		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: %s, not %s", rows[i].query, got, rows[i].want);
		free(got);
	}
	search_close(&s);
	remove_all(dir);
	free(path);
	free(dir);
}

/* What is shown is the beginning of what there is, in every order. */
static void test_limits(void **state)
{
	static const char *const queries[] = { "seq:1-5", "year OR write", "lamp*",
		"has:attachment", "-lamp", "nowhere" };
	char *dir = scratch(), *path = make(dir, ARCHIVE_NONE);
	struct asked a;
	struct search *s = open_search(path, &a);
	size_t i, k, n, all;
	unsigned order;

	(void)state;
	for (i = 0; i < N_ELEMENTS(queries); i++)
		for (order = SEARCH_SEQ; order <= SEARCH_RELEVANCE; order++) {
			char *whole = ask_some(s, queries[i], (enum search_order)order,
				UINT64_MAX, &n);

			for (k = 0; k <= n; k++) {
				char *some = ask_some(s, queries[i],
					(enum search_order)order, k, &all);

				assert_int_equal(all, n);
				assert_int_equal(strlen(some), k ? 2 * k - 1 : 0);
				assert_memory_equal(some, whole, strlen(some));
				free(some);
			}
			free(whole);
		}
	search_close(&s);
	remove_all(dir);
	free(path);
	free(dir);
}

/* While a view is held nobody writes; then it is free, though a row was read. */
static void test_hold(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_NONE);
	char *file = xasprintf("%s/index/catalog.sqlite", path);
	struct asked a;
	struct search *s = open_search(path, &a);
	struct search_found m;
	struct err err = ERR_INIT;
	sqlite3 *db = NULL;

	(void)state;
	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	ok(search_hold(s, &err), &err);
	ok(search_get(s, 2, &m, &err), &err);
	assert_int_equal(
		sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_BUSY);
	search_let_go(s);
	assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE; COMMIT", NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	search_close(&s);
	remove_all(dir);
	free(file);
	free(path);
	free(dir);
}

/* ---- what is new ---- */

static void test_up_to_date(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_NONE);

	(void)state;
	assert_int_equal(once(path, "lamp", "1", 0), 5);
	assert_int_equal(once(path, "lamp", "1", 0), 0);
	add(path, ARCHIVE_NONE, "Subject: lamp\r\n\r\n", false);
	assert_int_equal(once(path, "lamp", "1 6", 0), 1);
	/* What is sealed was there before. */
	add(path, ARCHIVE_NONE, "Subject: lamp\r\n\r\n2", true);
	assert_int_equal(once(path, "lamp", "1 6 7", 0), 1);
	assert_int_equal(once(path, "lamp", "1 6 7", 0), 0);
	remove_all(dir);
	free(path);
	free(dir);
}

static void run_sql(const char *path, const char *sql)
{
	char *file = xasprintf("%s/index/catalog.sqlite", path);
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	free(file);
}

/* A file that is no good index is thrown away, and that is said once. */
static void test_thrown_away(void **state)
{
	static const char *const sqls[] = { "PRAGMA user_version = 1",
		"PRAGMA application_id = 7",
		"UPDATE meta SET value = 'urn:uuid:1' WHERE key = 'archive'",
		"DELETE FROM meta", "DROP TABLE fts_0", "DROP TABLE message",
		"DROP TABLE shard", "DROP TABLE meta", "DROP TABLE folder",
		"INSERT INTO fts_0(rowid, body) VALUES(99, 'lamp')",
		"UPDATE message SET seq = 1000000000000 WHERE seq = 5" };
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ);
	char *file = xasprintf("%s/index/catalog.sqlite", path), *bytes;
	size_t i, n;

	(void)state;
	once(path, "lamp", "1", 0);
	for (i = 0; i < N_ELEMENTS(sqls); i++) {
		run_sql(path, sqls[i]);
		once(path, "lamp", "1", 1);
		once(path, "lamp", "1", 0);
	}
	spit(file, "no database at all, but long enough to look like one\n", 53);
	once(path, "lamp", "1", 1);
	spit(file, "", 0);
	once(path, "lamp", "1", 0);
	bytes = slurp(file, &n);
	spit(file, bytes, n / 2);
	once(path, "lamp", "1", 1);
	/* Whatever is in it, a search finds what is there, or says why not. */
	for (i = 100; i < n; i += n / 23) {
		struct search *s = NULL;
		struct err err = ERR_INIT;

		memset(bytes + i, 0x5a, n - i < 600 ? n - i : 600);
		spit(file, bytes, n);
		if (search_open(&s, path, NULL, &err) == ST_OK)
			free(ask(s, "lamp OR report OR cafe", SEARCH_RELEVANCE));
		search_close(&s);
	}
	free(bytes);
	unlink(file);
	once(path, "lamp", "1", 0);
	remove_all(dir);
	free(file);
	free(path);
	free(dir);
}

/* Other messages under the same numbers: nothing of the old ones stays. */
static void test_changed(void **state)
{
	char *dir = scratch(), *other = scratch(), *path = make(dir, ARCHIVE_GZ);
	char *b = xasprintf("%s/a", other), *from = xasprintf("%s/index", path),
	     *to = xasprintf("%s/index", b), *file, *bytes;
	size_t n, i;

	(void)state;
	once(path, "lampshades", "4", 0);
	make_archive(b, ARCHIVE_GZ, MEMBER);
	for (i = 0; i < N_ELEMENTS(mails); i++)
		add(b, ARCHIVE_GZ, "Subject: candle\r\n\r\n", true);
	assert_int_equal(rename(from, to), 0);
	once(b, "lamp*", "", 1);
	once(b, "candle", "1 2 3 4 5", 0);
	file = xasprintf("%s/catalog.sqlite", to);
	bytes = slurp(file, &n);
	assert_null(memmem(bytes, n, "lampshades", 10));
	assert_null(memmem(bytes, n, "Q3 report", 9));
	free(bytes);
	free(file);
	remove_all(dir);
	remove_all(other);
	free(from);
	free(to);
	free(b);
	free(path);
	free(other);
	free(dir);
}

/* One bad byte: the others are found, it is counted, and found when it is mended. */
static void test_damaged(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_NONE);
	char *file = xasprintf("%s/segments/acme-000001.tar", path), *bytes, *bad;
	struct err err = ERR_INIT;
	struct asked a;
	struct search *s;
	uint64_t in, not ;
	size_t n;

	(void)state;
	bytes = slurp(file, &n);
	bad = memmem(bytes, n, "Off we write", 12);
	assert_non_null(bad);
	*bad ^= 1;
	spit(file, bytes, n);
	s = open_search(path, &a);
	expect(s, "write", "1");
	expect(s, "-lamp", "3 4 5");
	ok(search_count(s, &in, &not, &err), &err);
	assert_int_equal(in, 4);
	assert_int_equal(not, 1);
	search_close(&s);
	*bad ^= 1;
	spit(file, bytes, n);
	assert_int_equal(once(path, "write", "1 2", 0), 1);
	remove_all(dir);
	free(bytes);
	free(file);
	free(path);
	free(dir);
}

/* Nothing tells how many messages there are: no search says that it found none. */
static void test_unlisted(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ);
	char *file = xasprintf("%s/segments/acme-000001.tar.gz", path), *bytes;
	char *idx = xasprintf("%s/segments/acme-000001.idx", path);
	struct asked a;
	struct search *s;
	unsigned i;
	size_t n;

	(void)state;
	unlink(idx);
	bytes = slurp(file, &n);
	spit(file, bytes, 100);
	for (i = 0; i < 2; i++) {
		struct err err = ERR_INIT;

		s = open_search(path, &a);
		expect(s, "lamp", "");
		assert_int_equal(search_whole(s, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		search_close(&s);
	}
	spit(file, bytes, n);
	s = open_search(path, &a);
	expect(s, "lamp", "1");
	assert_int_equal(search_whole(s, NULL), ST_OK);
	search_close(&s);
	remove_all(dir);
	free(bytes);
	free(idx);
	free(file);
	free(path);
	free(dir);
}

/* ---- where it cannot be written, and who dies ---- */

static void open_to_all(const char *path)
{
	const char *const argv[] = { "chmod", "-R", "a+rX,a-w", path, NULL };

	assert_int_equal(tool("/", "/dev/null", argv), 0);
}

/* As somebody who may only read. */
static void read_only_once(
	const char *path, const char *query, const char *want, unsigned said)
{
	pid_t pid = fork();
	int st;

	if (pid == 0) {
		if (getuid() == 0 && setuid(65534) < 0)
			_exit(99);
		once(path, query, want, said);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	assert_int_equal(WEXITSTATUS(st), 0);
}

static void test_read_only(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ),
	     *index = xasprintf("%s/index", path);
	const char *const again[] = { "chmod", "-R", "u+w", path, NULL };

	(void)state;
	chmod(dir, 0755);
	open_to_all(path);
	read_only_once(path, "lamp", "1", 0);
	assert_false(exists(path, "index"));
	tool("/", "/dev/null", again);
	once(path, "lamp", "1", 0);
	open_to_all(path);
	read_only_once(path, "lamp", "1", 0);
	tool("/", "/dev/null", again);
	add(path, ARCHIVE_GZ, "Subject: lamp\r\n\r\n", true);
	open_to_all(path);
	read_only_once(path, "lamp", "1 6", 1);
	tool("/", "/dev/null", again);
	remove_all(index);
	spit(index, "x", 1);
	{
		struct search *s = NULL;
		struct err err = ERR_INIT;

		assert_int_equal(search_open(&s, path, NULL, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		assert_null(s);
	}
	remove_all(dir);
	free(index);
	free(path);
	free(dir);
}

static void test_in_memory(void **state)
{
	char *dir = scratch(), *path = make(dir, ARCHIVE_GZ);
	const struct search_how how = { .in_memory = true };
	struct err err = ERR_INIT;
	struct search *s = NULL;

	(void)state;
	ok(search_open(&s, path, &how, &err), &err);
	expect(s, "lamp", "1");
	search_close(&s);
	assert_false(exists(path, "index"));
	remove_all(dir);
	free(path);
	free(dir);
}

static unsigned files_of_sqlite(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d))) {
		char to[256] = "";

		if (readlinkat(dirfd(d), e->d_name, to, sizeof(to) - 1) > 0)
			n += strstr(to, "etilqs") != NULL;
	}
	closedir(d);
	return n;
}

/* Of an encrypted archive SQLite writes nothing anywhere, also when it should save
 * memory. */
static void test_encrypted(void **state)
{
	char *dir = scratch(), *key = xasprintf("%s/key", dir),
	     *path = xasprintf("%s/a", dir), to[CRYPT_RECIPIENT];
	struct archive_config cfg = {
		.path = path, .slug = "acme", .state = dir, .fixed = &fixed
	};
	struct archive_writer *w = NULL;
	struct identities *ids;
	struct search_how how = { 0 };
	struct search *s = NULL;
	struct recipients *r;
	struct err err = ERR_INIT;
	size_t i;

	(void)state;
	ok(age_keygen(key, NULL, to, &err), &err);
	recipients_open(&r);
	ok(recipients_add(r, to, &err), &err);
	cfg.recipients = r;
	ok(archive_open(&w, &cfg, &err), &err);
	for (i = 0; i < N_ELEMENTS(mails); i++)
		put_mail(w, mails[i].mail, mails[i].folder, mails[i].uidl,
			mails[i].date);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	identities_open(&ids);
	ok(identities_add(ids, key, NULL, NULL, &err), &err);
	how.identities = ids;
	sqlite3_soft_heap_limit64(1);
	ok(search_open(&s, path, &how, &err), &err);
	expect(s, "lamp", "1");
	assert_int_equal(files_of_sqlite(), 0);
	search_close(&s);
	/* Nor when it reads what was kept. */
	ok(search_open(&s, path, &how, &err), &err);
	expect(s, "lamp", "1");
	assert_int_equal(files_of_sqlite(), 0);
	search_close(&s);
	sqlite3_soft_heap_limit64(0);
	assert_false(exists(path, "index/catalog.sqlite"));
	identities_close(&ids);
	recipients_close(&r);
	remove_all(dir);
	free(path);
	free(key);
	free(dir);
}

/* A process of its own brings the index up to date, and dies at a step. */
static int index_and_exit(const char *path)
{
	struct search *s = NULL;
	struct err err = ERR_INIT;
	enum status rc = search_open(&s, path, NULL, &err);

	search_close(&s);
	return rc == ST_OK ? 0 : 1;
}

static bool dies(const char *path, unsigned at)
{
	pid_t pid = fork();
	char n[16];
	int st;

	if (pid == 0) {
		snprintf(n, sizeof(n), "%u", at);
		setenv("POPFERRY_CRASH_AT", n, 1);
		execl("/proc/self/exe", "t_search_index", path, (char *)NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSIGNALED(st) || WEXITSTATUS(st) == 0);
	return WIFSIGNALED(st);
}

/* Not in the order of the numbers. */
static int64_t date_of(unsigned seq)
{
	return 1700000000 + seq * 7919 % MANY;
}

/* Few or many: the newest are first, and relevance, which is the same for all, changes
 * nothing. */
static void check_order(struct search *s, const char *text)
{
	struct err err = ERR_INIT;
	struct query *q = NULL;
	struct search_hits h, best;
	size_t i;

	ok(query_parse(&q, text, &err), &err);
	ok(search_find(s, q, SEARCH_DATE, UINT64_MAX, &h, &err), &err);
	assert_true(h.n > 0 && h.n_first == h.n);
	for (i = 1; i < h.n; i++)
		assert_true(date_of(h.first[i - 1]) > date_of(h.first[i]));
	ok(search_find(s, q, SEARCH_RELEVANCE, 100, &best, &err), &err);
	assert_int_equal(best.n, h.n);
	assert_memory_equal(best.first, h.first, best.n_first * sizeof(*best.first));
	search_hits_free(&best);
	search_hits_free(&h);
	query_free(&q);
}

/* Killed after each step: what was done stays done, and all is found once. */
static void test_killed(void **state)
{
	char *dir = scratch(), *path = xasprintf("%s/a", dir), mail[64];
	struct archive_writer *w;
	struct err err = ERR_INIT;
	struct asked a;
	struct search *s;
	uint64_t last = MANY + 1;
	unsigned i, at;

	(void)state;
	make_archive(path, ARCHIVE_NONE, 1 << 20);
	w = open_archive(path, ARCHIVE_NONE, 0);
	for (i = 1; i <= MANY; i++) {
		snprintf(mail, sizeof(mail), "Subject: mail number%u\r\n\r\n", i);
		put_mail(w, mail, "", NULL, date_of(i));
	}
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	for (at = 1; dies(path, at); at++)
		;
	assert_in_range(at, 2, 9);
	s = open_search(path, &a);
	assert_int_equal(a.all, 0);
	expect(s, "number1", "1");
	expect(s, "number2000 OR number2001 OR number4100", "2000 2001 4100");
	check_order(s, "mail");
	check_order(s, "number1*");
	check_order(s, "number33*");
	check_order(s, "seq:100-3000 -number1*");
	check_order(s, "seq:4000- OR number7");
	ok(search_count(s, &last, &(uint64_t){ 0 }, &err), &err);
	assert_int_equal(last, MANY);
	search_close(&s);
	remove_all(dir);
	free(path);
	free(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_up_to_date),
		cmocka_unit_test(test_thrown_away),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_unlisted),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_in_memory),
		cmocka_unit_test(test_encrypted),
		cmocka_unit_test(test_killed),
	};

	if (argc == 2)
		return index_and_exit(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
