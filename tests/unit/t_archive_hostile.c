/*
 * t_archive_hostile.c: archives that somebody made to do harm, checksums and all.
 */
#include "t_archive.h"

#include "../../src/archive/commit.h"

#include <zlib.h>

static const struct policy policy = { .id = "urn:uuid:0", .slug = "acme" };

/* ---- commit logs with right checksums -------------------------------------------- */

static void add_record(struct buf *b, const char *record)
{
	size_t n = strlen(record + 1);
	uLong crc = crc32(0, (const unsigned char *)record, (uInt)n + 1);

	buf_addf(b, "%c %zu %08lx\n%s\n", *record, n, crc, record + 1);
}

/* A message's record: its tar offset, key, occurrence and line of messages.csv. */
static char *row(uint64_t at, unsigned seq)
{
	struct buf b = BUF_INIT(4096);
	unsigned i;

	buf_addf(&b, "R%" PRIu64 " 0011223344556677 1\n\"%u\"", at, seq);
	for (i = 1; i < 35; i++)
		buf_addf(&b, i == 3 ? ",\"10\"" : i == 4 ? ",\"%064d\"" : ",\"\"", 0);
	buf_adds(&b, "\r\n");
	return buf_take(&b);
}

#define BEGIN "B1 urn:uuid:0 1 1"
#define ROW NULL /* of the next message */

static const struct {
	const char *name;
	const char *records[8];
	size_t n;
	enum status want;
} logs[] = {
	{ "sound", { BEGIN, ROW, "C0 0 1024 00000000 2" }, 3, ST_OK },
	{ "more members than there are",
		{ BEGIN, ROW, "C0 0 1024 00000000 2", "C0 4000000 1024 00000000 2" }, 4,
		ST_DENIED },
	{ "members that are not committed",
		{ BEGIN, ROW, "C0 0 1024 00000000 2", "M0 100 0 1024" }, 4, ST_OK },
	{ "fewer members than there are",
		{ BEGIN, ROW, "M0 100 0 1024", "C0 0 1024 00000000 2" }, 4, ST_DENIED },
};

static void test_logs(void **state)
{
	char *dir = scratch(), *path = xasprintf("%s/log", dir);
	size_t k, i;

	(void)state;
	for (k = 0; k < N_ELEMENTS(logs); k++) {
		struct buf b = BUF_INIT(64 * 1024);
		struct err err = ERR_INIT;
		struct open_state o;
		unsigned seq = 0;
		enum status rc;
		int fd;

		for (i = 0; i < logs[k].n; i++) {
			char *made = logs[k].records[i] ? NULL : row(512, ++seq);

			add_record(&b, made ? made : logs[k].records[i]);
			free(made);
		}
		spit(path, b.p, b.n);
		fd = open(path, O_RDONLY);
		rc = open_state_read(&o, fd, &policy, &err);
		if (rc != logs[k].want)
			fail_msg("%s: %d (%s)", logs[k].name, rc, err.text);
		if (rc == ST_OK)
			open_state_free(&o);
		close(fd);
		buf_free(&b);
	}
	remove_all(dir);
	free(path);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
