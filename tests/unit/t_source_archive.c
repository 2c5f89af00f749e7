/*
 * t_source_archive.c: an archive as a source: all of it, in any order, with what is
 * damaged told and the rest given; and on its way back into a mailbox.
 */
#include "archive_kit.h"

#include "stride.h"
#include "sweep_kit.h"

#include <popferry/source.h>

enum { MESSAGES = 40 };

static int begin(void **state)
{
	log_setup(LOG_TEXT, LV_ERROR, open("/dev/null", O_WRONLY));
	return setup(state);
}

/* Messages [from, to), committed; then sealed or not. */
static void add(
	const char *dir, enum archive_codec c, unsigned from, unsigned to, bool seal)
{
	struct archive_writer *w = open_archive(dir, c, 0);
	struct err err = ERR_INIT;

	put_some(w, from, to);
	ok(seal ? archive_seal(w, &err) : archive_commit(w, 0, &err), &err);
	archive_close(&w);
}

/* Two sealed segments and an open one. */
static char *make(enum archive_codec c)
{
	char *dir = scratch(), *at = xasprintf("%s/arc", dir);

	make_archive(at, c, MEMBER);
	add(at, c, 0, 15, true);
	add(at, c, 15, 30, true);
	add(at, c, 30, MESSAGES, false);
	free(dir);
	return at;
}

static void done(char *at)
{
	*strrchr(at, '/') = '\0';
	remove_all(at);
	free(at);
}

/* ---- the stream ---- */

struct listed {
	uint64_t n, lost, last;
};

static void count(void *ctx, const struct archive_listed *m)
{
	struct listed *l = ctx;

	assert_true(m->seq > l->last);
	l->last = m->seq;
	l->n++;
	l->lost += !m->sha256;
	assert_true(m->sha256 || m->size == UINT64_MAX);
}

static void check_filed(unsigned i, const struct archive_filed *f)
{
	const struct archive_entry *a = &f->entry;
	struct archive_entry b;
	char uidl[32];

	b = entry_of(i, uidl);
	assert_string_equal(a->folder, b.folder);
	assert_int_equal(a->uidl_n, b.uidl_n);
	assert_memory_equal(a->uidl, b.uidl, b.uidl_n);
	assert_int_equal(a->occurrence, b.occurrence);
	assert_int_equal(a->number, b.number);
	assert_true(a->listed_size == b.listed_size);
	assert_int_equal(a->retrieved, b.retrieved);
	assert_true(a->date.known);
	assert_int_equal(a->date.utc, b.date.utc);
	assert_int_equal(a->date.zone, b.date.zone);
	assert_int_equal(a->seen, b.seen);
	assert_false(a->answered || a->flagged || a->draft);
}

enum got { GOT, BARE, NOT };
static bool loose_table; /* nothing checks a table that is not packed */

/* As same_take(), into a message, whose digest is compared in place of another. */
static enum status get_message(struct archive_stream *st, unsigned i, struct same *s,
	struct archive_filed *f, struct err *err)
{
	struct message_maker *mk;
	struct message *m = NULL;
	struct spool *sp;
	char scratch[4096];
	const char *p;
	enum status rc;
	size_t n;

	spool_open(&sp, -1, 8 * 1024 * 1024);
	message_begin(&mk, sp);
	rc = archive_stream_get(st, i + 1, message_put, mk, f, err);
	if (rc == ST_OK) {
		ok(message_end(&mk, &m, err), err);
		do {
			ok(body_read(m->body, s->at, scratch, sizeof(scratch), &p, &n,
				   err),
				err);
			same_take(s, p, n);
		} while (n);
	}
	message_drop(&mk);
	message_free(&m);
	spool_close(&sp);
	return rc;
}

/* ST_OK means: these very bytes. */
static enum got get(struct archive_stream *st, unsigned i, struct err *err)
{
	struct same s = { 0 };
	char *want = bytes_of(i, &s.n);
	struct archive_filed f;
	enum status rc;

	s.want = want;
	s.right = true;
	rc = i % 2 ? get_message(st, i, &s, &f, err)
		   : archive_stream_get(st, i + 1, same_take, &s, &f, err);
	free(want);
	if (rc != ST_OK) {
		assert_true(rc == ST_DENIED || rc == ST_FATAL);
		return NOT;
	}
	assert_true(s.right);
	assert_int_equal(s.at, s.n);
	if (f.unknown)
		return BARE;
	if (!loose_table)
		check_filed(i, &f);
	return GOT;
}

struct opened {
	struct archive_reader *r;
	struct archive_stream *s;
	struct listed listed;
};

static enum status open_stream(struct opened *o, const char *at, struct err *err)
{
	enum status rc;

	*o = (struct opened){ 0 };
	rc = archive_read(&o->r, at, err);
	if (rc != ST_OK)
		return rc;
	archive_stream_open(&o->s, o->r);
	return archive_stream_list(o->s, count, &o->listed, err);
}

static void close_stream(struct opened *o)
{
	archive_stream_close(&o->s);
	archive_done(&o->r);
}

static void test_any_order(void **state)
{
	struct err err = ERR_INIT;
	struct opened o;
	unsigned c, i;

	(void)state;
	for (c = 0; c < N_ELEMENTS(codecs); c++) {
		char *at = make(codecs[c]);

		ok(open_stream(&o, at, &err), &err);
		assert_int_equal(o.listed.n, MESSAGES);
		assert_int_equal(o.listed.lost, 0);
		for (i = 0; i < MESSAGES; i++)
			assert_int_equal(get(o.s, i, &err), GOT);
		for (i = MESSAGES; i-- > 0;)
			assert_int_equal(get(o.s, i, &err), GOT);
		for (i = 0; i < 3 * MESSAGES; i++)
			assert_int_equal(get(o.s, i * 7 % MESSAGES, &err), GOT);
		for (i = 0; i < MESSAGES; i += 3)
			assert_int_equal(get(o.s, i, &err), GOT);
		assert_int_equal(
			archive_stream_get(o.s, 0, kit_take, NULL, NULL, &err), ST_END);
		assert_int_equal(archive_stream_get(
					 o.s, MESSAGES + 1, kit_take, NULL, NULL, &err),
			ST_END);
		close_stream(&o);
		done(at);
	}
}

/* A message that cannot be kept is not one that was changed in the archive. */
static void test_full(void **state)
{
	char *at = make(ARCHIVE_ZST);
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m = NULL;
	struct archive_filed f;
	struct spool *sp;
	struct opened o;

	(void)state;
	ok(open_stream(&o, at, &err), &err);
	spool_open(&sp, -1, 0);
	message_begin(&mk, sp);
	ok(archive_stream_get(o.s, 1, message_put, mk, &f, &err), &err);
	assert_int_equal(message_end(&mk, &m, &err), ST_FATAL);
	assert_non_null(strstr(err.text, "spool"));
	spool_close(&sp);
	close_stream(&o);
	done(at);
}

/* ---- damage ---- */

static char *segment_of(const char *at, unsigned c, unsigned no)
{
	return xasprintf("%s/segments/acme-%06u.%s", at, no, suffixes[c]);
}

/* Which messages archive_get() can read, one by one: the stream reads no fewer. */
static void alone(const char *at, bool can[MESSAGES])
{
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	unsigned i;

	ok(archive_read(&r, at, &err), &err);
	for (i = 0; i < MESSAGES; i++) {
		struct same s = { 0 };
		char *want = bytes_of(i, &s.n);

		s.want = want;
		s.right = true;
		can[i] = archive_get(r, i + 1, same_take, &s, &err) == ST_OK;
		free(want);
	}
	archive_done(&r);
}

static unsigned compare(const char *at, size_t where)
{
	struct err err = ERR_INIT;
	bool can[MESSAGES];
	struct opened o;
	unsigned i, bad = 0;

	alone(at, can);
	open_stream(&o, at, &err);
	for (i = 0; i < MESSAGES; i++) {
		enum got g = get(o.s, i, &err);

		if (can[i] && g == NOT)
			fail_msg("%s at %zu: message %u can be read alone: %s", at,
				where, i, err.text);
		bad += g == NOT;
	}
	/* What is good is so in any order. */
	for (i = MESSAGES; i-- > 0;)
		if (get(o.s, i, &err) == NOT && can[i])
			fail_msg("%s at %zu: message %u backwards: %s", at, where, i,
				err.text);
	close_stream(&o);
	return bad;
}

static void test_flipped(void **state)
{
	unsigned c, no, bad = 0;

	(void)state;
	for (c = 0; c < N_ELEMENTS(codecs); c++) {
		char *at = make(codecs[c]);

		loose_table = codecs[c] == ARCHIVE_NONE;
		for (no = 1; no <= 2; no++) {
			char *path = segment_of(at, c, no), *p;
			size_t n, i;

			p = slurp(path, &n);
			for (i = no; i < n; i += n / (25 / (size_t)stride_of(2)) + 1) {
				p[i] ^= 0x10;
				spit(path, p, n);
				bad += compare(at, i);
				p[i] ^= 0x10;
			}
			spit(path, p, n);
			free(p);
			free(path);
		}
		loose_table = false;
		assert_int_equal(compare(at, 0), 0);
		done(at);
	}
	assert_true(bad > 25);
}

static void expect_all(const char *at)
{
	struct err err = ERR_INIT;
	struct opened o;
	unsigned i;

	ok(open_stream(&o, at, &err), &err);
	for (i = 0; i < MESSAGES; i++)
		assert_int_equal(get(o.s, i, &err), GOT);
	close_stream(&o);
}

/* A frame's own checksum says nothing that the digests do not say. */
static void test_checksum(void **state)
{
	char *at = make(ARCHIVE_ZST),
	     *index = xasprintf("%s/segments/acme-000001.idx", at),
	     *path = xasprintf("%s/segments/acme-000001.tar.zst", at), *p;
	unsigned long off, len;
	size_t n;

	(void)state;
	p = slurp(index, &n);
	assert_int_equal(sscanf(strchr(p, '\n'), "%*u %*u %lu %lu", &off, &len), 2);
	free(p);
	p = slurp(path, &n);
	p[off + len - 1] ^= 1;
	spit(path, p, n);
	expect_all(at);
	free(p);
	free(path);
	free(index);
	done(at);
}

static void test_cut(void **state)
{
	unsigned c;

	(void)state;
	for (c = 0; c < N_ELEMENTS(codecs); c++) {
		char *at = make(codecs[c]), *path = segment_of(at, c, 1), *p;
		unsigned before = 15, bad;
		size_t n, i;

		p = slurp(path, &n);
		for (i = 0; i < n; i += n / 20 + 1) {
			spit(path, p, i);
			bad = compare(at, i);
			/* The more is left, the more can be had. */
			assert_true(bad <= before);
			before = bad;
		}
		free(p);
		free(path);
		done(at);
	}
}

static void test_index(void **state)
{
	unsigned c;

	(void)state;
	for (c = 0; c < N_ELEMENTS(codecs); c++) {
		char *at = make(codecs[c]),
		     *path = xasprintf("%s/segments/acme-000001.idx", at), *p;
		size_t n, k;

		p = slurp(path, &n);
		for (k = 0; k < n; k += n / 30 + 1) {
			if (p[k] == '9' || p[k] == '\n')
				continue;
			p[k] ^= 1;
			spit(path, p, n);
			assert_int_equal(compare(at, k), 0);
			p[k] ^= 1;
		}
		unlink(path);
		expect_all(at);
		free(p);
		free(path);
		done(at);
	}
}

/* Where the tag section of segment 1 begins. */
static size_t tags_at(const char *at)
{
	char *path = xasprintf("%s/segments/acme-000001.idx", at), *p;
	size_t n, off;

	p = slurp(path, &n);
	off = (size_t)strtoul(strstr(p, "tags\t-\t") + 7, NULL, 10);
	free(p);
	free(path);
	return off + 20;
}

/* With the table gone, bytes and folders are left. */
static void test_table(void **state)
{
	char *at = make(ARCHIVE_GZ), *path = segment_of(at, 0, 1), *p;
	struct err err = ERR_INIT;
	struct archive_filed f;
	struct buf b = BUF_INIT(1 << 20);
	struct opened o;
	size_t n;
	unsigned i;

	(void)state;
	p = slurp(path, &n);
	spit(path, p, tags_at(at));
	ok(open_stream(&o, at, &err), &err);
	for (i = 0; i < 15; i++)
		assert_int_equal(get(o.s, i, &err), BARE);
	for (; i < MESSAGES; i++)
		assert_int_equal(get(o.s, i, &err), GOT);
	ok(archive_stream_get(o.s, 1, kit_take, &b, &f, &err), &err);
	assert_string_equal(f.entry.folder, "");
	ok(archive_stream_get(o.s, 2, kit_take, &b, &f, &err), &err);
	assert_string_equal(f.entry.folder, "Sent");
	assert_null(f.entry.uidl);
	assert_false(f.entry.date.known);
	ok(archive_stream_get(o.s, 3, kit_take, &b, &f, &err), &err);
	assert_memory_equal(f.entry.folder, "Lists/caf__", 11);
	close_stream(&o);
	buf_free(&b);
	free(p);
	free(path);
	done(at);
}

static void test_missing(void **state)
{
	char *at = make(ARCHIVE_ZST), *path = segment_of(at, 1, 1);
	struct err err = ERR_INIT;
	struct opened o;
	unsigned i;

	(void)state;
	unlink(path);
	ok(open_stream(&o, at, &err), &err);
	assert_int_equal(o.listed.n, MESSAGES);
	assert_int_equal(o.listed.lost, 15);
	assert_int_equal(get(o.s, 3, &err), NOT);
	assert_non_null(strstr(err.text, "acme-000001 is missing"));
	for (i = 15; i < MESSAGES; i++)
		assert_int_equal(get(o.s, i, &err), GOT);
	close_stream(&o);
	free(path);
	done(at);

	/* The last one: what it had nobody knows. */
	at = scratch();
	path = xasprintf("%s/arc", at);
	free(at);
	at = path;
	make_archive(at, ARCHIVE_GZ, MEMBER);
	add(at, ARCHIVE_GZ, 0, 5, true);
	add(at, ARCHIVE_GZ, 5, 9, true);
	path = segment_of(at, 0, 2);
	unlink(path);
	free(path);
	assert_int_equal(open_stream(&o, at, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(o.listed.n, 5);
	for (i = 0; i < 5; i++)
		assert_int_equal(get(o.s, i, &err), GOT);
	close_stream(&o);
	done(at);
}

/* ---- the source ---- */

static void put_name(void *ctx, const struct item *it)
{
	buf_addf(ctx, "%u %.*s %lld;", it->number, (int)it->uidl_n, it->uidl,
		it->size == UINT64_MAX ? -1 : (long long)it->size);
}

static void names_of(const char *url, struct buf *out, char **account)
{
	const struct source_ops *ops = source_kind("archive");
	struct endpoint end = { 0 };
	struct source_setup setup = { .end = &end };
	struct listing l;
	struct source *s;
	struct err err = ERR_INIT;

	ok(url_parse(&end, url, &err), &err);
	*account = ops->account(&end, &err);
	ok(ops->open(&s, &setup, &err), &err);
	buf_clear(out);
	ok(ops->list(s, put_name, out, &l, &err), &err);
	assert_true(l.steady);
	ops->close(&s);
	endpoint_release(&end);
}

static void test_names(void **state)
{
	char *at = make(ARCHIVE_GZ), *to = xasprintf("%s-moved", at),
	     *url = xasprintf("archive:%s", at), *moved = xasprintf("archive:%s", to),
	     *account, *again;
	struct buf a = BUF_INIT(1 << 16), b = BUF_INIT(1 << 16);

	(void)state;
	names_of(url, &a, &account);
	assert_string_equal(account, "archive:urn:uuid:0");
	/* Nothing of it depends on where it is, or on what is sealed. */
	add(at, ARCHIVE_GZ, 0, 0, true);
	assert_int_equal(rename(at, to), 0);
	names_of(moved, &b, &again);
	assert_string_equal(again, account);
	assert_string_equal(buf_str(&a), buf_str(&b));
	assert_non_null(strstr(buf_str(&a), "2 2."));
	free(account);
	free(again);
	buf_free(&a);
	buf_free(&b);
	free(url);
	free(moved);
	free(at);
	done(to);
}

/* As wanted, and no more after a wind down. */
static void test_wanted(void **state)
{
	static const uint32_t order[] = { 5, 1, 2, 3, 40, 39, 16, 16, 2 };
	const struct source_ops *ops = source_kind("archive");
	char *at = make(ARCHIVE_ZIP), *url = xasprintf("archive:%s", at);
	struct endpoint end = { 0 };
	struct source_setup setup = { .end = &end };
	struct buf b = BUF_INIT(1 << 20), names = BUF_INIT(1 << 16);
	struct err err = ERR_INIT;
	struct listing l;
	struct source *s;
	uint32_t number;
	size_t i, n;

	(void)state;
	ok(url_parse(&end, url, &err), &err);
	ok(ops->open(&s, &setup, &err), &err);
	ok(ops->list(s, put_name, &names, &l, &err), &err);
	for (i = 0; i < N_ELEMENTS(order); i++)
		ops->want(s, order[i], 1);
	for (i = 0; i < N_ELEMENTS(order); i++) {
		char *want = bytes_of(order[i] - 1, &n), uidl[32];
		struct archive_entry e;

		e = entry_of(order[i] - 1, uidl);
		buf_clear(&b);
		ok(ops->next(s, &number, kit_take, &b, &err), &err);
		assert_int_equal(number, order[i]);
		assert_int_equal(b.n, n);
		assert_memory_equal(buf_str(&b), want, n);
		assert_string_equal(ops->origin(s)->folder, e.folder);
		assert_int_equal(ops->oddity(s), ODD_NONE);
		free(want);
	}
	assert_int_equal(ops->next(s, &number, kit_take, &b, &err), ST_END);
	assert_null(ops->origin(s));
	ops->want(s, 1, 1);
	ops->wind_down(s);
	assert_int_equal(ops->next(s, &number, kit_take, &b, &err), ST_END);
	assert_int_equal(ops->remove(s, 1, &err), ST_SKIP);
	ok(ops->finish(s, &err), &err);
	ops->close(&s);
	endpoint_release(&end);
	buf_free(&b);
	buf_free(&names);
	free(url);
	done(at);
}

static void test_refused(void **state)
{
	const struct source_ops *ops = source_kind("archive");
	struct endpoint end = { .path = (char *)(uintptr_t) "/nowhere/at/all" };
	struct source_setup setup = { .end = &end };
	struct err err = ERR_INIT;
	struct source *s;
	char *at = make(ARCHIVE_GZ), *json = xasprintf("%s/archive.json", at), *p, *f;
	size_t n;

	(void)state;
	assert_null(ops->account(&end, &err));
	assert_int_equal(err.exit, EX_NOINPUT);
	assert_int_equal(ops->open(&s, &setup, &err), ST_DENIED);
	assert_null(s);
	p = slurp(json, &n);
	f = strstr(p, "\"format\":1");
	assert_non_null(f);
	f[9] = '7';
	spit(json, p, n);
	end.path = at;
	assert_null(ops->account(&end, &err));
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(ops->open(&s, &setup, &err), ST_DENIED);
	free(p);
	free(json);
	done(at);
}

/* ---- judging ---- */

static void test_judged(void **state)
{
	static const struct {
		const char *dest, *key, *value, *folder, *want;
		bool seen;
		int64_t date;
	} rows[] = {
		{ "imap://u@h/", NULL, NULL, "", "INBOX", true, 1000000000 },
		{ "imap://u@h/", NULL, NULL, "Lists/a", "Lists/a", true, 1000000000 },
		{ "imap://u@h/", NULL, NULL, "inbox/a", "INBOX/a", true, 1000000000 },
		{ "imap://u@h/Old", NULL, NULL, "", "Old", true, 1000000000 },
		{ "imap://u@h/Old", NULL, NULL, "INBOX", "Old", true, 1000000000 },
		{ "imap://u@h/Old", NULL, NULL, "INBOX/a", "Old/a", true, 1000000000 },
		{ "imap://u@h/Old", NULL, NULL, "INBOXES", "Old/INBOXES", true,
			1000000000 },
		{ "imap://u@h/Old", NULL, NULL, "100%Y", "Old/100%Y", true,
			1000000000 },
		{ "imap://u@h/", NULL, NULL, "special:Sent", "special:Sent", true,
			1000000000 },
		{ "imap://u@h/Old", NULL, NULL, "special:Sent", "Old/Sent", true,
			1000000000 },
		{ "archive:/tmp/x", NULL, NULL, "special:Sent", "special:Sent", true,
			1000000000 },
		{ "imap://u@h/Old", "folder", "New", "a", "New", true, 1000000000 },
		{ "imap://u@h/", "seen", "none", "a", "a", false, 1000000000 },
		{ "imap://u@h/", "date-source", "header", "a", "a", true, 1704448800 },
	};
	static const char mail[] = "Date: Fri, 5 Jan 2024 10:00:00 +0000\r\n\r\nx\r\n";
	struct message *m = message_from(spool, mail, strlen(mail));
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct origin was = { .folder = rows[i].folder,
			.date = { true, 1000000000, 60 },
			.seen = true,
			.flagged = true };
		struct judgement v;
		struct job *j;

		job_new(&j);
		kit_set(j, "dest", rows[i].dest);
		if (rows[i].key)
			kit_set(j, rows[i].key, rows[i].value);
		judge_again(j, m, &was, 10, 1800000000, &v);
		assert_string_equal(v.folder, rows[i].want);
		assert_int_equal(v.seen, rows[i].seen);
		assert_int_equal(v.date.utc, rows[i].date);
		assert_true(v.flagged);
		/* A date that no server would take is none. */
		was.date.utc = 9000000000;
		judge_again(j, m, &was, 10, 1800000000, &v);
		assert_int_equal(v.date.utc, 1704448800);
		was.bare = true;
		judge_again(j, m, &was, 10, 1800000000, &v);
		assert_false(v.flagged || v.seen);
		assert_int_equal(v.date.utc, 1704448800);
		assert_string_equal(v.folder, rows[i].want);
		job_free(&j);
	}
	message_free(&m);
}

/* ---- the engine ---- */

/* From the rig's archive into its mailbox. */
static int restore(struct rig *r, const char *options)
{
	char *state = xasprintf("%s/restored", r->dir),
	     *from = xasprintf("archive:%s", r->archive);
	struct job *j = kit_job(r, "user=nobody"), *k;
	struct err err = ERR_INIT;
	char *copy = xstrdup(options), *p, *next = copy;
	int code;

	job_free(&j);
	job_new(&k);
	kit_set(k, "source", from);
	p = xasprintf("imap://u@127.0.0.1:%u/", fakeimap_port(r->imap));
	kit_set(k, "dest", p);
	free(p);
	kit_set(k, "dest-tls", "none");
	kit_set(k, "dest-password-env", "KIT_DEST");
	kit_set(k, "state", state);
	while ((p = strsep(&next, " ")) && *p)
		kit_set(k, p, NULL);
	ok(job_check(k, &err), &err);
	code = kit_run_job(r, k);
	job_free(&k);
	free(copy);
	free(state);
	free(from);
	return code;
}

static void test_restored(void **state)
{
	struct rig *r;

	(void)state;
	kit_open(&r);
	kit_mail(r, "abac0!A@");
	assert_int_equal(kit_run(r, "only-archive dedup=none"), 0);
	/* Equal ones are kept: what was archived was wanted. */
	assert_int_equal(restore(r, "check"), 0);
	assert_string_equal(r->ledger, "8 listed, 8 stored");
	assert_int_equal(r->out.n_checked, 1);
	assert_int_equal(r->out.checked[0].verified, 8);
	kit_expect(r, "restored", "abac0!A@");
	assert_int_equal(restore(r, "check"), 0);
	assert_string_equal(r->ledger, "8 listed, 8 known");
	assert_int_equal(r->out.checked[0].verified, 0);
	/* New ones come to it. */
	kit_mail(r, "abac0!A@d");
	assert_int_equal(kit_run(r, "only-archive dedup=none"), 0);
	assert_int_equal(restore(r, ""), 0);
	assert_string_equal(r->ledger, "9 listed, 8 known, 1 stored");
	assert_int_equal(r->out.n_checked, 0);
	kit_expect(r, "restored", "abac0!A@d");
	kit_close(&r);
}

static void test_restored_in_part(void **state)
{
	struct rig *r;
	char *cmd;

	(void)state;
	kit_open(&r);
	kit_mail(r, "ab");
	assert_int_equal(kit_run(r, "only-archive codec=none"), 0);
	kit_mail(r, "abcd");
	assert_int_equal(kit_run(r, "only-archive"), 0);
	cmd = xasprintf(
		"sed -i 's/This is (c)/This is (C)/' '%s'/segments/*2.tar", r->archive);
	assert_int_equal(
		tool("/", "/dev/null", (const char *[]){ "sh", "-c", cmd, NULL }), 0);
	free(cmd);
	assert_int_equal(restore(r, ""), EX_PARTIAL);
	assert_string_equal(r->ledger, "4 listed, 3 stored, 1 failed");
	kit_expect(r, "in part", "abd");
	assert_int_equal(restore(r, ""), EX_PARTIAL);
	assert_string_equal(r->ledger, "4 listed, 3 known, 1 failed");
	/* It was put back from a copy. */
	cmd = xasprintf(
		"sed -i 's/This is (C)/This is (c)/' '%s'/segments/*2.tar", r->archive);
	assert_int_equal(
		tool("/", "/dev/null", (const char *[]){ "sh", "-c", cmd, NULL }), 0);
	free(cmd);
	assert_int_equal(restore(r, ""), 0);
	assert_string_equal(r->ledger, "4 listed, 3 known, 1 stored");
	kit_expect(r, "in part", "abcd");
	/* The last segment is gone: that is no success. */
	cmd = xasprintf("rm '%s'/segments/*2.tar", r->archive);
	assert_int_equal(
		tool("/", "/dev/null", (const char *[]){ "sh", "-c", cmd, NULL }), 0);
	free(cmd);
	assert_int_equal(restore(r, ""), EX_PARTIAL);
	assert_string_equal(r->ledger, "3 listed, 2 known, 1 failed");
	kit_close(&r);
}

/* --check tells what a server did with what it took. */
static void test_checked(void **state)
{
	struct rig *r;

	(void)state;
	kit_open(&r);
	kit_mail(r, "abc");
	assert_int_equal(kit_run(r, "only-archive"), 0);
	sweep_say(r, false, "capa -MULTIAPPEND");
	sweep_say(r, false, "append~(b) mutate=addheader");
	assert_int_equal(restore(r, "check"), EX_PARTIAL);
	assert_string_equal(r->ledger, "3 listed, 3 stored");
	assert_int_equal(r->out.checked[0].verified, 2);
	assert_int_equal(r->out.checked[0].changed, 1);
	kit_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_judged),
		cmocka_unit_test(test_restored),
		cmocka_unit_test(test_restored_in_part),
		cmocka_unit_test(test_checked),
	};

	return cmocka_run_group_tests(tests, begin, teardown);
}
