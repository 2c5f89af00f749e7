/*
 * fuzz_archive.c: archives with damage that looks like anything.
 *
 * A small archive of each codec, with sealed segments and an open one, is made
 * once. The input says what to change in its files; then all that reads an
 * archive reads it, and sometimes a writer takes it up.
 *
 *	byte     codec (low 2 bits), CHECKSUMS, WRITER
 *	changes  file, kind, offset (2 bytes), length, and for some kinds bytes
 */
#include "fuzz.h"

#include <popferry/archive.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { CODECS = 4, FILES_MAX = 24, MESSAGES = 8, CHANGES_MAX = 40 };
enum { FILE_MAX = 1 << 20, MEMBER = 2048, CHECKSUMS = 4, WRITER = 8 };

/* A file of the archive as it was made, and as it is now. */
struct file {
	char *name; /* "open/acme-000003.log" */
	char *made, *now;
	size_t made_n, now_n;
	bool changed, gone;
};

static struct sample {
	char *path;
	struct file files[FILES_MAX];
	size_t n;
} samples[CODECS];

/* ---- making the samples ---- */

static char *under(const char *dir, const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static void put_file(const char *dir, const char *name, const void *p, size_t n)
{
	char *path = under(dir, name);
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	must(fd >= 0 && (n == 0 || write(fd, p, n) == (ssize_t)n));
	close(fd);
	free(path);
}

static struct archive_writer *open_writer(
	const char *path, enum archive_codec codec, struct err *err)
{
	struct archive_config cfg = { .path = path,
		.slug = "acme",
		.source = "pop3s://ann@pop.example.org",
		.codec = codec,
		.codec_given = true };
	struct archive_writer *w = NULL;

	return archive_open(&w, &cfg, err) == ST_OK ? w : NULL;
}

static enum status put_one(
	struct archive_writer *w, struct spool *sp, unsigned i, struct err *err)
{
	struct archive_entry e = { .folder = i % 2 ? "Sent/caf\xc3\xa9" : "",
		.uidl = "u\"1",
		.uidl_n = 3,
		.occurrence = 1,
		.number = i,
		.listed_size = i % 3 ? 100 * i : UINT64_MAX,
		.retrieved = 1700000000 + i,
		.date = { true, 1704445200 + i, 60 } };
	struct message_maker *mk;
	struct message *m = NULL;
	enum status rc;
	char text[800];
	uint64_t seq;
	int n;

	n = snprintf(text, sizeof(text),
		"From: a@example.org\r\nSubject: %u\r\n\r\n%*u\r\n", i, i * 60, i);
	message_begin(&mk, sp);
	message_put(mk, text, (size_t)n);
	must(message_end(&mk, &m, err) == ST_OK);
	rc = archive_find(w, &e, m, &seq, err);
	if (rc == ST_END)
		rc = archive_put(w, m, &e, &seq, err);
	message_free(&m);
	return rc;
}

/* Members are so small that a few messages make several. */
static void set_policy(const char *path, enum archive_codec codec)
{
	char *json = xasprintf("{\"format\":1,\"id\":\"urn:uuid:0\",\"slug\":\"acme\","
			       "\"later\":[{\"a\":\"}\"}],\"codec\":\"%s\","
			       "\"member_bytes\":%d,\"segment_bytes\":1000000000,"
			       "\"segment_messages\":60000}\n",
		archive_codec_name(codec), MEMBER);
	char *manifest = under(path, "manifest-sha256.txt");

	put_file(path, "archive.json", json, strlen(json));
	unlink(manifest);
	free(manifest);
	free(json);
}

static void keep_file(struct sample *s, const char *folder, const char *name)
{
	struct file *f = &s->files[s->n++];
	struct err err = ERR_INIT;
	char *path;

	must(s->n <= FILES_MAX);
	f->name = *folder ? under(folder, name) : xstrdup(name);
	path = under(s->path, f->name);
	must(fs_read(&f->made, &f->made_n, AT_FDCWD, path, FILE_MAX, &err) == ST_OK);
	free(path);
}

static int is_file(const struct dirent *e)
{
	return e->d_name[0] != '.' && strcmp(e->d_name, "lock") != 0 &&
		e->d_type != DT_DIR;
}

static void keep_folder(struct sample *s, const char *folder)
{
	char *path = under(s->path, folder);
	struct dirent **names;
	int i, n = scandir(path, &names, is_file, alphasort);

	must(n >= 0);
	for (i = 0; i < n; i++) {
		keep_file(s, folder, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	free(path);
}

static void make_sample(struct sample *s, enum archive_codec codec)
{
	struct err err = ERR_INIT;
	struct archive_writer *w;
	struct spool *sp;
	unsigned i;

	s->path = under(scratch(), archive_codec_name(codec));
	w = open_writer(s->path, codec, &err);
	archive_close(&w);
	set_policy(s->path, codec);
	w = open_writer(s->path, codec, &err);
	must(w != NULL);
	spool_open(&sp, scratch_fd(), FILE_MAX);
	for (i = 1; i <= MESSAGES; i++) {
		must(put_one(w, sp, i, &err) == ST_OK);
		must(archive_commit(w, 0, &err) == ST_OK);
		if (i == 2 || i == 4)
			must(archive_seal(w, &err) == ST_OK);
	}
	archive_close(&w);
	spool_close(&sp);
	keep_folder(s, "");
	keep_folder(s, "segments");
	keep_folder(s, "open");
	keep_folder(s, "seals");
	keep_folder(s, "log");
}

/* ---- changing ---- */

static void change(struct sample *s, struct input *in)
{
	struct file *f = &s->files[input_byte(in) % s->n];
	unsigned kind = input_byte(in);
	size_t off = input_byte(in) << 8, n, k;
	struct file *other;

	off |= input_byte(in);
	off %= f->now_n + 1;
	n = input_byte(in);
	k = n < f->now_n - off ? n : f->now_n - off;
	f->changed = true;
	switch (kind % 6) {
	case 0: /* other bytes */
		for (; k; k--)
			f->now[off++] = (char)input_byte(in);
		break;
	case 1: /* more bytes */
		n = n < in->n ? n : in->n;
		f->now = xrealloc(f->now, f->now_n + n + 1);
		memmove(f->now + off + n, f->now + off, f->now_n - off);
		f->now_n += n;
		for (; n; n--)
			f->now[off++] = (char)input_byte(in);
		break;
	case 2: /* fewer */
		memmove(f->now + off, f->now + off + k, f->now_n - off - k);
		f->now_n -= k;
		break;
	case 3: /* cut short */
		f->now_n = off;
		break;
	case 4: /* another file's */
		other = &s->files[n % s->n];
		f->now = xrealloc(f->now, other->made_n + 1);
		memcpy(f->now, other->made, other->made_n);
		f->now_n = other->made_n;
		break;
	default:
		f->gone = true;
	}
}

/* Gives the records of a commit log right checksums again. */
static void sum_again(struct file *f)
{
	char *p = f->now, *end = p + f->now_n, *lf, sum[9];
	unsigned long len;
	uLong crc;

	while (p < end && (lf = memchr(p, '\n', (size_t)(end - p)))) {
		f->now[f->now_n] = '\0';
		if (lf - p < 12 || p[1] != ' ')
			return;
		len = strtoul(p + 2, NULL, 10);
		if (len > (size_t)(end - lf - 1))
			return;
		crc = crc32(0, (unsigned char *)p, 1);
		crc = crc32(crc, (unsigned char *)lf + 1, (uInt)len);
		snprintf(sum, sizeof(sum), "%08lx", crc);
		memcpy(lf - 8, sum, 8);
		p = lf + 1 + len + 1;
	}
}

static void change_all(struct sample *s, struct input *in, bool checksums)
{
	unsigned count;
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct file *f = &s->files[i];

		f->now = xmemdup0(f->made, f->made_n);
		f->now_n = f->made_n;
		f->changed = f->gone = false;
	}
	for (count = 0; in->n && count < CHANGES_MAX; count++)
		change(s, in);
	for (i = 0; i < s->n; i++) {
		struct file *f = &s->files[i];
		size_t n = strlen(f->name);

		if (checksums && f->changed && !strcmp(f->name + n - 4, ".log")) {
			f->now = xrealloc(f->now, f->now_n + 1);
			sum_again(f);
		}
		if (f->changed)
			put_file(s->path, f->name, f->now, f->now_n);
		if (f->gone) {
			char *path = under(s->path, f->name);

			unlink(path);
			free(path);
		}
		free(f->now);
	}
}

/* What a writer made goes, and what was changed comes back. */
static void restore(struct sample *s, bool all)
{
	static const char *const folders[] = { "segments", "open" };
	size_t i;

	for (i = 0; all && i < N_ELEMENTS(folders); i++) {
		char *path = under(s->path, folders[i]);
		struct dirent **names;
		int n = scandir(path, &names, is_file, NULL), k;

		for (k = 0; k < n; k++) {
			char *name = under(path, names[k]->d_name);

			unlink(name);
			free(name);
			free(names[k]);
		}
		if (n >= 0)
			free(names);
		free(path);
	}
	for (i = 0; i < s->n; i++)
		if (all || s->files[i].changed)
			put_file(s->path, s->files[i].name, s->files[i].made,
				s->files[i].made_n);
}

/* ---- reading ---- */

static void drop(void *ctx, const char *p, size_t n)
{
	uint64_t *all = ctx;

	must(p && n);
	*all += n;
}

static void finding(void *ctx, const char *what)
{
	unsigned *n = ctx;

	must(*what);
	++*n;
}

struct rows {
	uint64_t n, last;
};

static enum status take_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct rows *r = ctx;

	(void)err;
	must(row->segment && row->path && row->folder && row->uidl && row->sha256);
	must(row->date && row->from && row->to && row->subject && row->message_id);
	must(row->flags && row->anomalies);
	r->n++;
	r->last = row->seq;
	return ST_OK;
}

static void read_all(const struct sample *s)
{
	struct archive_check check = { 0 };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct rows rows = { 0 };
	unsigned findings = 0;
	enum status each, verify, get;
	uint64_t seq, bytes = 0;

	must_tell(archive_read(&r, s->path, &err), &err);
	if (!r)
		return;
	each = archive_each(r, take_row, &rows, &err);
	must_tell(each, &err);
	verify = archive_verify(r, &check, finding, &findings, &err);
	must_tell(verify, &err);
	must(verify != ST_OK || (!check.damaged && !findings));
	must(check.damaged == findings);
	/* What is found good is good in every way. */
	must(verify != ST_OK || (each == ST_OK && rows.n == check.messages));
	for (seq = 0; seq <= MESSAGES + 1; seq++) {
		bytes = 0;
		get = archive_get(r, seq, drop, &bytes, &err);
		must_tell(get, &err);
		must(verify != ST_OK || get == (seq && seq <= rows.n ? ST_OK : ST_END));
	}
	archive_done(&r);
}

static void write_on(const struct sample *s, enum archive_codec codec)
{
	struct err err = ERR_INIT;
	struct archive_writer *w = open_writer(s->path, codec, &err);
	struct spool *sp;
	enum status rc;

	if (!w) {
		must_tell(err.status, &err);
		return;
	}
	spool_open(&sp, scratch_fd(), FILE_MAX);
	rc = put_one(w, sp, 3, &err);
	if (rc == ST_OK)
		rc = archive_commit(w, 0, &err);
	if (rc == ST_OK)
		rc = archive_seal(w, &err);
	must_tell(rc, &err);
	archive_close(&w);
	spool_close(&sp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };
	unsigned how = input_byte(&in);
	struct sample *s = &samples[how % CODECS];

	if (!s->path)
		make_sample(s, how % CODECS);
	change_all(s, &in, how & CHECKSUMS);
	read_all(s);
	if (how & WRITER) {
		write_on(s, how % CODECS);
		read_all(s);
	}
	restore(s, how & WRITER);
	return 0;
}
