/*
 * t_archive_crypt.c: encrypted archives: whoever has a key reads what was put, nobody
 * else reads anything, and a writer that dies at any step loses nothing.
 */
enum { MEMBER = 4096, MESSAGES = 9, PER_SEGMENT = 4, SEGMENTS = 3, STEPS_MAX = 600 };

#include "keys_kit.h"
#include "kill_kit.h"
#include "story_kit.h"
#include "stride.h"

#include <dirent.h>

/* ---- what is in clear ---- */

/* No message, nor its UIDL, nor its digest. */
static void nothing_told(const char *dir, const char *state)
{
	const char *const in[] = { dir, state };
	unsigned i, k;

	for (i = 0; i < MESSAGES; i++) {
		unsigned char sha[DIGEST];
		char uidl[32], hex[2 * DIGEST + 1];
		size_t n;
		char *bytes = bytes_of(i, &n);

		entry_of(i, uidl);
		EVP_Digest(bytes, n, sha, NULL, EVP_sha256(), NULL);
		text_hex(hex, sha, DIGEST);
		for (k = 0; k < 2; k++) {
			if (n > 8)
				not_in(in[k], bytes, n < 40 ? n : 40);
			if (strlen(uidl) > 4)
				not_in(in[k], uidl, strlen(uidl));
			not_in(in[k], hex, 16);
			not_in(in[k], (const char *)sha, 8);
		}
		free(bytes);
	}
}

/* ---- reading ---- */

static void check_all(const char *dir, const char *key, const char *state, unsigned n)
{
	struct archive_reader *r = NULL;
	struct identities *ids;
	struct err err = ERR_INIT;
	struct archive_check c;

	ok(read_with(&r, &ids, dir, key, state, &err), &err);
	check_each(r, n);
	ok(archive_verify(r, &c, print_bad, NULL, &err), &err);
	assert_int_equal(c.messages, n);
	assert_int_equal(c.closed, 0);
	assert_false(c.closed_open);
	archive_done(&r);
	identities_close(&ids);
}

static void check_closed(const char *dir, uint64_t segments, uint64_t n, bool open)
{
	struct archive_reader *r = NULL;
	struct identities *ids;
	struct err err = ERR_INIT;
	struct archive_check c;

	assert_int_equal(archive_read(&r, dir, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	ok(read_with(&r, &ids, dir, NULL, NULL, &err), &err);
	ok(archive_verify(r, &c, print_bad, NULL, &err), &err);
	assert_int_equal(c.segments, segments);
	assert_int_equal(c.closed, segments);
	assert_int_equal(c.closed_messages, n);
	assert_int_equal(c.messages, 0);
	assert_true(c.closed_open == open);
	archive_done(&r);
}

static void check_denied(const char *dir)
{
	struct archive_reader *r = NULL;
	struct identities *ids;
	struct err err = ERR_INIT;

	assert_int_equal(read_with(&r, &ids, dir, keys.other, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_NOPERM);
	archive_done(&r);
	identities_close(&ids);
}

/* One byte of it is another. */
static void damage(const char *path)
{
	size_t n;
	char *text = slurp(path, &n);

	text[n - n / 3] ^= 1;
	chmod(path, 0600);
	spit(path, text, n);
	chmod(path, 0444);
	free(text);
}

static void check_damaged(const char *dir, const char *key)
{
	struct archive_reader *r = NULL;
	struct identities *ids;
	struct err err = ERR_INIT;
	struct archive_check c;

	ok(read_with(&r, &ids, dir, key, NULL, &err), &err);
	assert_int_equal(archive_verify(r, &c, NULL, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_true(c.damaged > 0);
	archive_done(&r);
	identities_close(&ids);
}

static enum status get_first(struct archive_reader *r, struct err *err)
{
	struct same s = { 0 };
	char *want = bytes_of(0, &s.n);
	enum status rc;

	s.want = want;
	rc = archive_get(r, 1, same_take, &s, err);
	free(want);
	return rc;
}

/* CMS is decrypted as a whole: not again for each message, once it was found
 * damaged. */
static void check_lost(const char *dir, const char *key)
{
	struct archive_reader *r = NULL;
	struct identities *ids;
	struct err err = ERR_INIT;
	char *path = xasprintf("%s/segments/acme-000001.tar.gz.p7m", dir),
	     *away = xasprintf("%s/away", dir);

	damage(path);
	ok(read_with(&r, &ids, dir, key, NULL, &err), &err);
	assert_int_equal(get_first(r, &err), ST_DENIED);
	assert_non_null(strstr(err.text, "its tag is wrong"));
	assert_int_equal(rename(path, away), 0);
	err = (struct err)ERR_INIT;
	assert_int_equal(get_first(r, &err), ST_DENIED);
	assert_non_null(strstr(err.text, "its tag is wrong"));
	assert_int_equal(rename(away, path), 0);
	archive_done(&r);
	identities_close(&ids);
	free(away);
	free(path);
}

static unsigned keys_left(const char *state)
{
	DIR *d = opendir(state);
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strstr(e->d_name, ".key") != NULL;
	closedir(d);
	return n;
}

/* All is there but the index of the last segment. */
static void check_unindexed(const char *dir, const char *key)
{
	struct archive_reader *r = NULL;
	struct identities *ids;
	struct err err = ERR_INIT;

	check_damaged(dir, key);
	check_denied(dir);
	ok(read_with(&r, &ids, dir, key, NULL, &err), &err);
	check_each(r, MESSAGES);
	archive_done(&r);
	identities_close(&ids);
}

/* What was encrypted last does not decide who opens an archive: it may be damaged. */
static void check_last_index(const char *dir, unsigned kind)
{
	char *path = xasprintf(
		     "%s/segments/acme-000003.idx%s", dir, crypt_suffix(kinds[kind])),
	     *text;
	size_t n, at;

	text = slurp(path, &n);
	chmod(path, 0600);
	for (at = 24; at < 240; at += 24) {
		text[at] ^= 1;
		spit(path, text, n);
		check_unindexed(dir, keys.key[kind][1]);
		text[at] ^= 1;
	}
	assert_int_equal(unlink(path), 0);
	check_unindexed(dir, keys.key[kind][1]);
	spit(path, text, n);
	chmod(path, 0444);
	free(text);
	free(path);
}

/* ---- one archive of each ---- */

static void one_archive(enum archive_codec codec, unsigned kind)
{
	static const char *const ext[] = { "tar.gz", "tar.zst", "zip", "tar" };
	char *dir = scratch(), *state = scratch(), *segment;
	struct recipients *to = to_both(kind);
	struct archive_writer *w = open_crypt(dir, state, codec, to);
	struct spool *sp;
	struct err err = ERR_INIT;
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
	unsigned i;

	spool_open(&sp, fd, 1 << 24);
	for (i = 0; i < PER_SEGMENT + 2; i++)
		put_one(w, sp, i);
	ok(archive_commit(w, 0, &err), &err);
	nothing_told(dir, state);
	assert_int_equal(keys_left(state), 1);
	check_closed(dir, 1, PER_SEGMENT, true);
	check_all(dir, keys.key[kind][0], state, PER_SEGMENT + 2);
	for (; i < MESSAGES; i++)
		put_one(w, sp, i);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	nothing_told(dir, state);
	assert_int_equal(keys_left(state), 0);
	for (i = 0; i < 2; i++)
		check_all(dir, keys.key[kind][i], NULL, MESSAGES);
	check_closed(dir, SEGMENTS, MESSAGES, false);
	check_denied(dir);
	check_last_index(dir, kind);

	/* The next run need not name them, and knows what there is without reading
	 * it. */
	w = open_crypt(dir, state, codec, NULL);
	for (i = 0; i < MESSAGES; i++)
		assert_int_equal(find_one(w, sp, i), i + 1);
	assert_int_equal(find_one(w, sp, MESSAGES), 0);
	archive_close(&w);
	recipients_close(&to);
	to = to_both(!kind);
	assert_int_equal(try_open(&w, dir, state, codec, to, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);

	segment = xasprintf("%s/segments/acme-000002.%s%s", dir, ext[codec],
		crypt_suffix(kinds[kind]));
	damage(segment);
	check_damaged(dir, keys.key[kind][0]);
	check_damaged(dir, NULL);
	if (kind == 1 && codec == ARCHIVE_GZ)
		check_lost(dir, keys.key[kind][0]);
	free(segment);
	spool_close(&sp);
	close(fd);
	recipients_close(&to);
	remove_all(dir);
	remove_all(state);
	free(dir);
	free(state);
}

static void test_each(void **state)
{
	enum archive_codec c;
	unsigned kind;

	(void)state;
	for (c = ARCHIVE_GZ; c <= ARCHIVE_NONE; c++)
		for (kind = 0; kind < 2; kind++)
			one_archive(c, kind);
}

/* A new archive that is not encrypted does not become so, nor the other way round. */
static void test_mixed(void **state)
{
	char *dir = scratch(), *st = scratch();
	struct recipients *to = to_both(0);
	struct archive_writer *w = open_archive(dir, ARCHIVE_GZ, 0);
	struct err err = ERR_INIT;

	(void)state;
	archive_close(&w);
	assert_int_equal(try_open(&w, dir, st, ARCHIVE_GZ, to, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);
	remove_all(dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(try_open(&w, dir, NULL, ARCHIVE_GZ, to, &err), ST_DENIED);
	recipients_close(&to);
	remove_all(dir);
	remove_all(st);
	free(dir);
	free(st);
}

/* Who can write to the archive cannot make it an open one, or name others. */
static void test_changed_policy(void **state)
{
	char *dir = scratch(), *st = scratch(),
	     *json = xasprintf("%s/archive.json", dir), *text;
	struct recipients *to = to_both(0);
	struct archive_writer *w = open_crypt(dir, st, ARCHIVE_GZ, to);
	struct spool *sp;
	struct err err = ERR_INIT;
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY);

	(void)state;
	spool_open(&sp, fd, 1 << 24);
	put_one(w, sp, 0);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	text = xasprintf(
		"{\"format\":1,\"id\":\"urn:uuid:0\",\"slug\":\"acme\","
		"\"tree\":\"rfc6962-sha256\",\"codec\":\"gz\",\"member_bytes\":4096,"
		"\"segment_bytes\":1000000000,\"segment_messages\":60000}\n");
	chmod(json, 0600);
	spit(json, text, strlen(text));
	assert_int_equal(try_open(&w, dir, st, ARCHIVE_GZ, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	free(text);
	spool_close(&sp);
	close(fd);
	recipients_close(&to);
	remove_all(dir);
	remove_all(st);
	free(json);
	free(dir);
	free(st);
}

/* The line of recipients.pem, made right. */
static void vouch_for(const char *dir, const char *pem, size_t n)
{
	char *path = xasprintf("%s/manifest-sha256.txt", dir), *text, *at;
	unsigned char sha[DIGEST];
	char hex[2 * DIGEST + 1];
	size_t len;

	text = slurp(path, &len);
	at = strstr(text, "  recipients.pem");
	assert_non_null(at);
	digest_of(pem, n, sha);
	text_hex(hex, sha, DIGEST);
	memcpy(at - (ptrdiff_t)strlen(hex), hex, strlen(hex));
	spit(path, text, len);
	free(text);
	free(path);
}

/* The certificates are not those of archive.json: whoever verifies it is told. */
static void test_changed_certificates(void **state)
{
	const struct archive_access keyless = { .closed = true };
	char *dir = scratch(), *st = scratch(),
	     *pem = xasprintf("%s/recipients.pem", dir), *text;
	struct recipients *to = to_both(1);
	struct archive_writer *w = open_crypt(dir, st, ARCHIVE_GZ, to);
	struct archive_reader *r = NULL;
	struct archive_check c;
	struct err err = ERR_INIT;
	size_t n;

	(void)state;
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	ok(archive_read_as(&r, dir, &keyless, &err), &err);
	ok(archive_verify(r, &c, print_bad, NULL, &err), &err);
	archive_done(&r);
	text = slurp(pem, &n);
	n = (size_t)(strchr(strstr(text, "-----END"), '\n') + 1 - text);
	spit(pem, text, n);
	vouch_for(dir, text, n);
	ok(archive_read_as(&r, dir, &keyless, &err), &err);
	assert_int_equal(archive_verify(r, &c, NULL, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(c.damaged, 1);
	archive_done(&r);
	recipients_close(&to);
	remove_all(dir);
	remove_all(st);
	free(text);
	free(pem);
	free(dir);
	free(st);
}

/*
 * Somebody who can write to the archive makes archive.json say what he likes, before
 * there is a seal that tells of it, or after he took the seals away: the job remembers.
 */
static void test_remembered_policy(void **state)
{
	char *dir = scratch(), *st = scratch(),
	     *json = xasprintf("%s/archive.json", dir), *was, *text, *at;
	struct recipients *to = to_both(0);
	struct archive_writer *w = open_crypt(dir, st, ARCHIVE_GZ, to);
	struct spool *sp;
	struct err err = ERR_INIT;
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
	size_t n;

	(void)state;
	spool_open(&sp, fd, 1 << 24);
	put_one(w, sp, 0);
	ok(archive_commit(w, 0, &err), &err);
	archive_close(&w);
	was = slurp(json, &n);
	chmod(json, 0600);
	/* The first recipient twice, instead of both: who has the second key is left
	 * out. */
	text = xmemdup0(was, n);
	at = strstr(text, keys.to[0][0]);
	assert_non_null(at);
	memcpy(strstr(text, keys.to[0][1]), keys.to[0][0], strlen(keys.to[0][0]));
	spit(json, text, n);
	assert_int_equal(try_open(&w, dir, st, ARCHIVE_GZ, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	/* Somebody else's. */
	memcpy(strstr(text, keys.to[0][0]), keys.other_to, strlen(keys.other_to));
	spit(json, text, n);
	assert_int_equal(try_open(&w, dir, st, ARCHIVE_GZ, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	/* Nobody: in clear. */
	at = strstr(text, ",\"encrypt\"");
	assert_non_null(at);
	memcpy(at, "}\n", sizeof("}\n"));
	spit(json, text, strlen(text));
	assert_int_equal(try_open(&w, dir, st, ARCHIVE_GZ, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	/* As it was. */
	spit(json, was, n);
	w = open_crypt(dir, st, ARCHIVE_GZ, NULL);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	check_all(dir, keys.key[0][1], NULL, 1);
	spool_close(&sp);
	close(fd);
	recipients_close(&to);
	remove_all(dir);
	remove_all(st);
	free(text);
	free(was);
	free(json);
	free(dir);
	free(st);
}

/* The key of what is open is gone: said, and what is sealed stays usable. */
static void test_lost_key(void **state)
{
	char *dir = scratch(), *st = scratch(), *open_dir = xasprintf("%s/open", dir),
	     *away = xasprintf("%s/away", dir);
	struct recipients *to = to_both(0);
	struct archive_writer *w = open_crypt(dir, st, ARCHIVE_GZ, to);
	struct spool *sp;
	struct err err = ERR_INIT;
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
	unsigned i;

	(void)state;
	spool_open(&sp, fd, 1 << 24);
	for (i = 0; i < PER_SEGMENT + 2; i++)
		put_one(w, sp, i);
	ok(archive_commit(w, 0, &err), &err);
	archive_close(&w);
	remove_all(st);
	assert_int_equal(mkdir(st, 0700), 0);
	assert_int_equal(try_open(&w, dir, st, ARCHIVE_GZ, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_non_null(strstr(err.text, "journal"));
	assert_int_equal(rename(open_dir, away), 0);
	w = open_crypt(dir, st, ARCHIVE_GZ, NULL);
	/* That state knew what there is: without it all is new. */
	assert_int_equal(find_one(w, sp, 0), 0);
	assert_int_equal(put_one(w, sp, PER_SEGMENT), PER_SEGMENT + 1);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	check_all(dir, keys.key[0][1], NULL, PER_SEGMENT + 1);
	spool_close(&sp);
	close(fd);
	recipients_close(&to);
	remove_all(dir);
	remove_all(st);
	free(away);
	free(open_dir);
	free(dir);
	free(st);
}

static void reopen_and_find(const char *dir, const char *st, struct spool *sp)
{
	struct archive_writer *w = open_crypt(dir, st, ARCHIVE_GZ, NULL);
	struct err err = ERR_INIT;
	unsigned i;

	for (i = 0; i < PER_SEGMENT - 1; i++)
		assert_int_equal(find_one(w, sp, i), i + 1);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	check_all(dir, keys.key[0][1], NULL, PER_SEGMENT - 1);
}

static void must_refuse(const char *dir, const char *st)
{
	struct archive_writer *w = NULL;
	struct archive_reader *r = NULL;
	struct identities *ids;
	struct err err = ERR_INIT;

	assert_int_equal(try_open(&w, dir, st, ARCHIVE_GZ, NULL, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_non_null(strstr(err.text, "key"));
	err = (struct err)ERR_INIT;
	assert_int_equal(read_with(&r, &ids, dir, keys.key[0][0], st, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	archive_done(&r);
	identities_close(&ids);
}

/*
 * The key is that of another open segment of this number (of another job, of an older
 * copy of the state directory), or the bytes that it is mixed with are damaged: that
 * nothing can be read does not mean that nothing was written.
 */
static void test_foreign_key(void **state)
{
	char *dir = scratch(), *st = scratch(), *at[2], *was[2], *id;
	struct recipients *to = to_both(0);
	struct archive_writer *w = open_crypt(dir, st, ARCHIVE_GZ, to);
	struct spool *sp;
	struct err err = ERR_INIT;
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
	size_t n[2];
	unsigned i;

	(void)state;
	spool_open(&sp, fd, 1 << 24);
	for (i = 0; i < PER_SEGMENT - 1; i++)
		put_one(w, sp, i);
	ok(archive_commit(w, 0, &err), &err);
	archive_close(&w);
	id = id_of(dir);
	at[0] = xasprintf("%s/archive-%s-000001.key", st, id + strlen("urn:uuid:"));
	free(id);
	at[1] = xasprintf("%s/open/acme-000001.log", dir);
	for (i = 0; i < 2; i++) {
		char *other;

		was[i] = slurp(at[i], &n[i]);
		other = xmemdup0(was[i], n[i]);
		other[20] ^= 1;
		spit(at[i], other, n[i]);
		must_refuse(dir, st);
		spit(at[i], was[i], n[i]);
		free(other);
	}
	reopen_and_find(dir, st, sp);
	for (i = 0; i < 2; i++) {
		free(at[i]);
		free(was[i]);
	}
	spool_close(&sp);
	close(fd);
	recipients_close(&to);
	remove_all(dir);
	remove_all(st);
	free(dir);
	free(st);
}

/* ---- deaths ---- */

static enum status commit_all(struct archive_writer *w, unsigned put, struct err *err)
{
	(void)put;
	return archive_commit(w, 0, err);
}

static int run(const char *dir, enum archive_codec codec, unsigned every)
{
	struct teller teller = STORY_TELLER;
	char *at = xasprintf("%s/a", dir), *st = xasprintf("%s/s", dir);
	struct archive_config cfg = { .path = at,
		.slug = "acme",
		.source = "pop3s://ann@pop.example.org",
		.codec = codec,
		.segment_messages = PER_SEGMENT,
		.state = st,
		.fixed = &fixed,
		.story = teller_story,
		.story_ctx = &teller };
	int code;

	teller.server = STORY_SERVER;
	code = run_whole(&cfg, MESSAGES, every, commit_all);
	free(at);
	free(st);
	return code;
}

/* The seals' digests of what was encrypted. */
static void plain_sums(const char *dir, char out[SEGMENTS][65])
{
	static const char key[] = "\"plain_sha256\":\"";
	unsigned i;

	for (i = 0; i < SEGMENTS; i++) {
		char *path = xasprintf("%s/a/seals/acme-%06u.seal.json", dir, i + 1);
		char *text, *at;
		size_t n;

		text = slurp(path, &n);
		at = strstr(text, key);
		assert_non_null(at);
		snprintf(out[i], 65, "%.64s", at + strlen(key));
		free(text);
		free(path);
	}
}

static void check_end(
	const char *dir, unsigned kind, char want[SEGMENTS][65], unsigned n)
{
	char *at = xasprintf("%s/a", dir), *st = xasprintf("%s/s", dir);
	char is[SEGMENTS][65];
	unsigned i;

	plain_sums(dir, is);
	for (i = 0; i < SEGMENTS; i++)
		if (strcmp(is[i], want[i]) != 0)
			fail_msg("segment %u differs after a death at step %u", i + 1,
				n);
	check_all(at, keys.key[kind][n % 2], NULL, MESSAGES);
	assert_int_equal(keys_left(st), 0);
	free(at);
	free(st);
}

static void sweep(enum archive_codec codec, unsigned kind, unsigned stride)
{
	char want[SEGMENTS][65], *dir = scratch();
	bool died = true;
	unsigned n;

	make_fixed(dir, codec, kind);
	assert_int_equal(run(dir, codec, 2), 0);
	plain_sums(dir, want);
	remove_all(dir);
	free(dir);
	for (n = 1; died && n < STEPS_MAX; n += stride * (unsigned)stride_of(3)) {
		dir = scratch();
		make_fixed(dir, codec, kind);
		died = run_killed(dir, codec, 2, n);
		if (died)
			run_killed(dir, codec, 3, 1 + n % 9);
		assert_int_equal(run(dir, codec, 4), 0);
		check_end(dir, kind, want, n);
		remove_all(dir);
		free(dir);
	}
	assert_false(died);
	assert_true(n > 30);
}

static void test_deaths(void **state)
{
	(void)state;
	sweep(ARCHIVE_GZ, 0, 2);
	sweep(ARCHIVE_ZIP, 0, 7);
	sweep(ARCHIVE_ZST, 1, 7);
	sweep(ARCHIVE_NONE, 0, 5);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_changed_policy),
		cmocka_unit_test(test_changed_certificates),
		cmocka_unit_test(test_remembered_policy),
		cmocka_unit_test(test_lost_key),
		cmocka_unit_test(test_foreign_key),
		cmocka_unit_test(test_deaths),
	};

	if (argc == 5 && strcmp(argv[1], "--run") == 0)
		return run(argv[2], (enum archive_codec)strtol(argv[3], NULL, 10),
			(unsigned)strtoul(argv[4], NULL, 10));
	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
