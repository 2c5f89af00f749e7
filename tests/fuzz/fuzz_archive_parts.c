/*
 * fuzz_archive_parts.c: the readers of each file of an archive, given anything.
 *
 * Here whole files come from the input, and no checksum stands before them.
 */
#include "fuzz.h"

#include "../../src/archive/form/commit.h"
#include "../../src/archive/form/csv.h"
#include "../../src/archive/form/tar.h"

#include <popferry/mem.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { LOG_MAX = 1 << 20, UNPACKED_MAX = 1 << 24 };

static const struct policy policy = { .id = "urn:uuid:0",
	.slug = "acme",
	.codec = ARCHIVE_GZ,
	.member_bytes = 2048,
	.segment_bytes = 1000000,
	.segment_messages = 1000 };

static int open_scratch(const char *name)
{
	int fd = openat(scratch_fd(), name, O_RDONLY | O_CLOEXEC);

	must(fd >= 0);
	return fd;
}

/* ---- the commit log ---- */

static enum status take_line(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	size_t *rows = ctx;

	(void)err;
	must(row == *rows && line && n);
	++*rows;
	return ST_OK;
}

static void check_state(int fd)
{
	const struct open_file log = { fd, NULL };
	struct err err = ERR_INIT;
	struct open_state o;
	enum status rc = open_state_read(&o, &log, &policy, &err);
	size_t rows = 0, i;

	must_tell(rc, &err);
	if (rc != ST_OK)
		return;
	must(o.idx.n && o.idx.n <= SEGMENT_MESSAGES_MAX && o.first && o.no);
	must(o.next == o.first + o.idx.n && o.sources_n <= SOURCES_MAX);
	for (i = 0; i < o.idx.n; i++)
		must(o.idx.rows[i].seq == o.first + i);
	rc = open_state_rows(&o, &log, take_line, &rows, &err);
	must_tell(rc, &err);
	must(rc != ST_OK || rows == o.idx.n);
	open_state_free(&o);
}

static void raw_log(const struct input *in)
{
	int fd;

	scratch_put("raw.log", in->p, in->n);
	fd = open_scratch("raw.log");
	check_state(fd);
	close(fd);
}

/* Records of the input's kinds and payloads, with the right checksums. */
static void made_log(const struct input *from)
{
	struct buf b = BUF_INIT(LOG_MAX);
	struct input in = *from, part;

	while (in.n) {
		char kind = (char)input_byte(&in);
		uLong crc = crc32(0, (unsigned char *)&kind, 1);

		part = input_part(&in);
		crc = crc32(crc, (const unsigned char *)part.p, (uInt)part.n);
		buf_addf(&b, "%c %zu %08lx\n", kind, part.n, crc);
		buf_add(&b, part.p, part.n);
		buf_addc(&b, '\n');
	}
	part = (struct input){ b.p, b.n };
	raw_log(&part);
	buf_free(&b);
}

/* ---- tables ---- */

static void load_idx(const struct input *in)
{
	const struct vault v = {
		.segdir = scratch_fd(), .policy = &policy, .tmpdir = -1
	};
	struct err err = ERR_INIT;
	struct idx x = { 0 };
	enum status rc;
	size_t i;

	scratch_put("acme-000001.idx", in->p, in->n);
	rc = idx_load(&x, &v, "acme-000001", &err);
	must_tell(rc, &err);
	must(rc != ST_OK || x.n);
	for (i = 0; i < x.n; i++)
		must(x.rows[i].seq == x.rows[0].seq + i);
	idx_free(&x);
}

static enum status take_fields(void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	size_t *rows = ctx, i;

	(void)err;
	for (i = 0; i < CSV_COLUMNS; i++)
		must(strlen(f[i]) <= CSV_ROW_MAX);
	++*rows;
	return ST_OK;
}

static enum status feed_csv(
	const struct input *in, bool body, size_t step, size_t *rows)
{
	struct err err = ERR_INIT;
	enum status rc = ST_OK;
	struct csv c;
	size_t at, k;

	*rows = 0;
	csv_init(&c);
	c.body = body;
	for (at = 0; rc == ST_OK && at < in->n; at += k) {
		k = step < in->n - at ? step : in->n - at;
		rc = csv_feed(&c, in->p + at, k, take_fields, rows, &err);
	}
	if (rc == ST_OK)
		rc = csv_end(&c, &err);
	must_tell(rc, &err);
	csv_release(&c);
	return rc;
}

static void read_csv(const struct input *from)
{
	struct input in = *from;
	unsigned how = input_byte(&in);
	size_t whole, cut;
	enum status a = feed_csv(&in, how & 1, SIZE_MAX, &whole);
	enum status b = feed_csv(&in, how & 1, (how >> 1) + 1, &cut);

	must(a == b && whole == cut);
}

static enum status take_sum(
	void *ctx, const char *name, const unsigned char sha[DIGEST], struct err *err)
{
	(void)ctx;
	(void)sha;
	(void)err;
	must(*name && *name != '/' && !strstr(name, ".."));
	return ST_OK;
}

static void read_manifest(const struct input *in)
{
	struct err err = ERR_INIT;

	scratch_put("manifest-sha256.txt", in->p, in->n);
	must_tell(manifest_each(scratch_fd(), take_sum, NULL, &err), &err);
}

static void load_policy(const struct input *in)
{
	struct err err = ERR_INIT;
	struct policy p;
	enum status rc;

	scratch_put("archive.json", in->p, in->n);
	rc = policy_load(&p, scratch_fd(), &err);
	must_tell(rc, &err);
	must(rc != ST_OK || (p.codec <= ARCHIVE_NONE && *p.slug && p.segment_messages));
}

/* ---- compressed things ---- */

static void read_entries(struct entries *s)
{
	struct err err = ERR_INIT;
	uint64_t all = 0, n_entry;
	struct entry e;
	const char *p;
	size_t n;
	enum status rc;

	while ((rc = entries_next(s, &e, &err)) == ST_OK) {
		must(*e.path && *e.path != '/');
		for (n_entry = 0; (rc = entries_data(s, &p, &n, &err)) == ST_OK && n;)
			n_entry += n;
		must(rc != ST_OK || n_entry == e.size);
		all += n_entry;
		if (rc != ST_OK || all > UNPACKED_MAX)
			break;
	}
	must_tell(rc, &err);
}

static void unpack(const struct input *from)
{
	struct input in = *from;
	enum archive_codec codec = input_byte(&in) % (ARCHIVE_NONE + 1);
	struct err err = ERR_INIT;
	struct entries *s = NULL;
	struct unpacker *u;
	struct bytes *b = NULL;
	enum status rc;

	scratch_put("packed", in.p, in.n);
	must(bytes_plain(&b, open_scratch("packed"), true, &err) == ST_OK);
	unpacker_open(&u, codec, b, 0, in.n, true);
	rc = codec == ARCHIVE_ZIP ? entries_open_zip(&s, b, &err)
				  : entries_open(&s, u, &err);
	must_tell(rc, &err);
	if (rc == ST_OK)
		read_entries(s);
	entries_close(&s);
	unpacker_close(&u);
	bytes_close(&b);
}

static void rebuild(const struct input *from)
{
	struct input in = *from;
	enum archive_codec codec = input_byte(&in) % (ARCHIVE_NONE + 1);
	struct err err = ERR_INIT;
	struct idx x = { 0 };
	struct bytes *b = NULL;
	enum status rc;
	size_t i;

	scratch_put("packed", in.p, in.n);
	must(bytes_plain(&b, open_scratch("packed"), true, &err) == ST_OK);
	rc = idx_rebuild(&x, b, codec, "acme-000001", &err);
	must_tell(rc, &err);
	must(rc != ST_OK || x.n);
	for (i = 0; i < x.n; i++)
		must(x.rows[i].seq == x.rows[0].seq + i);
	idx_free(&x);
	bytes_close(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const struct input *) = { made_log, raw_log,
		load_idx, read_csv, read_manifest, load_policy, unpack, rebuild };
	struct input in = { (const char *)data, size };

	readers[input_byte(&in) % N_ELEMENTS(readers)](&in);
	return 0;
}
