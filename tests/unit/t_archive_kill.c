/*
 * t_archive_kill.c: a writer dies at each step there is, and others finish
 * its work: nothing lost, nothing twice, the same bytes as without a death.
 */
#include "story_kit.h"
#include "stride.h"
#include "kill_kit.h"

#include <dirent.h>

enum { MEMBER = 4096, MESSAGES = 9, PER_SEGMENT = 5, FILES = 7, STEPS_MAX = 500 };

static const struct {
	enum archive_codec codec;
	const char *files[FILES];
} rows[] = {
	{ ARCHIVE_GZ,
		{ "segments/acme-000001.tar.gz", "segments/acme-000002.tar.gz",
			"segments/acme-000001.idx", "segments/acme-000002.idx",
			"seals/acme-000001.seal.json", "seals/acme-000002.seal.json",
			"log/custody.jsonl" } },
	{ ARCHIVE_ZST,
		{ "segments/acme-000001.tar.zst", "segments/acme-000002.tar.zst",
			"segments/acme-000001.idx", "segments/acme-000002.idx",
			"seals/acme-000001.seal.json", "seals/acme-000002.seal.json",
			"log/custody.jsonl" } },
	{ ARCHIVE_ZIP,
		{ "segments/acme-000001.zip", "segments/acme-000002.zip",
			"segments/acme-000001.idx", "segments/acme-000002.idx",
			"seals/acme-000001.seal.json", "seals/acme-000002.seal.json",
			"log/custody.jsonl" } },
	{ ARCHIVE_NONE,
		{ "segments/acme-000001.tar", "segments/acme-000002.tar",
			"segments/acme-000001.idx", "segments/acme-000002.idx",
			"seals/acme-000001.seal.json", "seals/acme-000002.seal.json",
			"log/custody.jsonl" } },
};

/* By turns all that was put, and as much as the first of that needs. */
static enum status commit_some(struct archive_writer *w, unsigned put, struct err *err)
{
	uint64_t durable = archive_durable(w), seq = durable + 1;
	enum status rc = archive_commit(w, put % 4 == 0 ? seq : 0, err);

	if (rc == ST_OK && archive_durable(w) < seq)
		fail_msg("message %" PRIu64 " is not durable", seq);
	return rc;
}

/* What the server said in this run. */
static const char *said = STORY_SERVER;

/* What a run does: puts what is not there yet, commits now and then, seals. */
static int run(const char *dir, enum archive_codec codec, unsigned every)
{
	struct teller teller = STORY_TELLER;
	struct archive_config cfg = { .path = dir,
		.slug = "acme",
		.source = "pop3s://ann@pop.example.org",
		.codec = codec,
		.segment_messages = PER_SEGMENT,
		.threads = 4,
		.fixed = &fixed,
		.story = teller_story,
		.story_ctx = &teller };

	teller.server = said;
	return run_whole(&cfg, MESSAGES, every, commit_some);
}

struct sums {
	char sha[FILES][65];
};

/* Without what runs tell that found all done, by one that died, and no more to do. */
static void custody_sha(const char *dir, char sha[65])
{
	char *path = xasprintf("%s/log/custody.jsonl", dir), *text, *at;
	unsigned char sum[DIGEST];
	size_t n;

	text = slurp(path, &n);
	if ((at = strstr(text, "\"object\":\"pop3:"))) {
		while (at > text && at[-1] != '\n')
			at--;
		n = (size_t)(at - text);
		assert_null(strstr(at, "\"object\":\"acme-"));
	}
	digest_of(text, n, sum);
	text_hex(sha, sum, DIGEST);
	free(text);
	free(path);
}

static void sums_of(const char *dir, size_t k, struct sums *s)
{
	size_t i;

	for (i = 0; i < FILES - 1; i++)
		file_sha(dir, rows[k].files[i], s->sha[i]);
	custody_sha(dir, s->sha[i]);
}

/* How many files there are besides the lock. */
static unsigned leftovers(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.' && strcmp(e->d_name, "lock") != 0;
	closedir(d);
	return n;
}

/* A reader between two runs finds the archive in order. */
static void check_readable(const char *dir)
{
	struct archive_reader *r = NULL;
	struct archive_check c;
	struct err err = ERR_INIT;

	ok(archive_read(&r, dir, &err), &err);
	ok(archive_verify(r, &c, print_bad, NULL, &err), &err);
	archive_done(&r);
}

static void check_end(const char *dir, size_t k, const struct sums *want, unsigned n)
{
	struct sums got;
	char *open = xasprintf("%s/open", dir);
	size_t i;

	sums_of(dir, k, &got);
	for (i = 0; i < FILES; i++)
		if (strcmp(got.sha[i], want->sha[i]) != 0)
			fail_msg("%s differs after a death at step %u",
				rows[k].files[i], n);
	check_messages(dir, MESSAGES);
	check_good(dir, 2, MESSAGES);
	assert_int_equal(leftovers(open), 0);
	free(open);
}

/* Dies at each stride-th step. */
static void sweep(size_t k, unsigned stride)
{
	enum archive_codec codec = rows[k].codec;
	struct sums want;
	unsigned n;
	char *dir = scratch();
	bool died = true;

	make_archive(dir, codec, MEMBER);
	assert_int_equal(run(dir, codec, 2), 0);
	sums_of(dir, k, &want);
	check_end(dir, k, &want, 0);
	remove_all(dir);
	free(dir);
	for (n = 1; died && n < STEPS_MAX; n += stride) {
		dir = scratch();
		make_archive(dir, codec, MEMBER);
		died = run_killed(dir, codec, 2, n);
		/* The second one dies too, in or soon after recovery. */
		if (died)
			run_killed(dir, codec, 3, 1 + n % 9);
		/* What a reader sees in between is good. */
		if (died && exists(dir, "manifest-sha256.txt"))
			check_readable(dir);
		assert_int_equal(run(dir, codec, 4), 0);
		check_end(dir, k, &want, n);
		remove_all(dir);
		free(dir);
	}
	assert_false(died);
	assert_true(n > 30);
}

static void test_gz(void **state)
{
	(void)state;
	sweep(0, (unsigned)stride_of(4));
}

static void test_zst(void **state)
{
	(void)state;
	sweep(1, (unsigned)(4 * stride_of(3)));
}

static void test_zip(void **state)
{
	(void)state;
	sweep(2, (unsigned)(2 * stride_of(4)));
}

static void test_none(void **state)
{
	(void)state;
	sweep(3, (unsigned)(3 * stride_of(4)));
}

/* Also the making of an archive can be cut short. */
static void test_making(void **state)
{
	unsigned n;
	bool died = true;

	(void)state;
	for (n = 1; died && n < 12; n++) {
		char *dir = scratch();

		died = run_killed(dir, ARCHIVE_GZ, 2, n);
		assert_int_equal(run(dir, ARCHIVE_GZ, 2), 0);
		check_messages(dir, MESSAGES);
		check_good(dir, 2, MESSAGES);
		remove_all(dir);
		free(dir);
	}
}

/*
 * The run that goes on has heard something else. What was told before stays as it was
 * told: each segment is as one of the two would have made it.
 */
static void test_other_story(void **state)
{
	static const char *const words[] = { "{\"greeting\":\"two\"}", STORY_SERVER };
	struct sums want[2];
	unsigned n, tried = 0, first = 0;
	bool died = true;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		char *dir = scratch();

		said = words[i]; /* the last is what those that die hear */
		make_archive(dir, ARCHIVE_GZ, MEMBER);
		assert_int_equal(run(dir, ARCHIVE_GZ, 2), 0);
		sums_of(dir, 0, &want[i]);
		remove_all(dir);
		free(dir);
	}
	assert_string_not_equal(want[0].sha[1], want[1].sha[1]);
	for (n = 1; died && n < STEPS_MAX; n += (unsigned)stride_of(3)) {
		char *dir = scratch();
		struct sums got;

		make_archive(dir, ARCHIVE_GZ, MEMBER);
		died = run_killed(dir, ARCHIVE_GZ, 2, n);
		said = words[0];
		assert_int_equal(run(dir, ARCHIVE_GZ, 4), 0);
		said = words[1];
		sums_of(dir, 0, &got);
		for (i = 0; i < 2; i++) {
			if (strcmp(got.sha[i], want[0].sha[i]) != 0 &&
				strcmp(got.sha[i], want[1].sha[i]) != 0)
				fail_msg("segment %zu is new after a death at step %u",
					i + 1, n);
			first += strcmp(got.sha[i], want[1].sha[i]) == 0;
		}
		tried++;
		check_good(dir, 2, MESSAGES);
		remove_all(dir);
		free(dir);
	}
	assert_false(died);
	assert_in_range(first, tried / 5, 2 * tried - tried / 5);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gz),
		cmocka_unit_test(test_zst),
		cmocka_unit_test(test_zip),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_making),
		cmocka_unit_test(test_other_story),
	};

	if (argc == 5 && strcmp(argv[1], "--run") == 0)
		return run(argv[2], (enum archive_codec)strtol(argv[3], NULL, 10),
			(unsigned)strtoul(argv[4], NULL, 10));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
