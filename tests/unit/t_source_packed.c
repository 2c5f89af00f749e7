/*
 * t_source_packed.c: messages in zip and tar files, whole, cut off and hostile. The
 * files are written by libarchive, as others would.
 */
#include "source_kit.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

enum form { ZIP, TAR, GZ, ZST, BZ2, FORMS };

static const struct {
	const char *name, *kind;
} forms[] = {
	{ "x.zip", "zip" },
	{ "x.tar", "tar" },
	{ "x.tar.gz", "tar" },
	{ "x.tar.zst", "tar" },
	{ "x.tar.bz2", "tar" },
};

struct row {
	const char *name, *folder; /* folder NULL: no message */
	const char *flags;         /* NULL: a file of its own */
	mode_t type;
};

static struct archive *create(enum form f)
{
	struct archive *a = archive_write_new();
	char *path = at(forms[f].name);

	if (f == ZIP)
		archive_write_set_format_zip(a);
	else
		archive_write_set_format_pax_restricted(a);
	if (f == GZ)
		archive_write_add_filter_gzip(a);
	if (f == ZST)
		archive_write_add_filter_zstd(a);
	if (f == BZ2)
		archive_write_add_filter_bzip2(a);
	assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
	free(path);
	return a;
}

enum { LINK = 1 }; /* no type: p is what it is one to */

static void add(
	struct archive *a, const char *name, mode_t type, const void *p, size_t n)
{
	struct archive_entry *e = archive_entry_new();
	/* So that a zip says that its names are in UTF-8. */
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	locale_t was = uselocale(utf8);

	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, type && type != LINK ? type : AE_IFREG);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_mtime(e, 1500000000, 0);
	archive_entry_set_size(e, type ? 0 : (la_int64_t)n);
	if (type == AE_IFLNK)
		archive_entry_set_symlink(e, "/etc/passwd");
	if (type == LINK)
		archive_entry_set_hardlink(e, p);
	assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
	if (!type)
		assert_int_equal(archive_write_data(a, p, n), n);
	archive_entry_free(e);
	uselocale(was);
	freelocale(utf8);
}

static void finish(struct archive *a)
{
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
}

/* ---- names ---- */

static const struct row rows[] = {
	{ "1.eml", "", NULL, 0 },
	{ "Sent/2.EML", "Sent", NULL, 0 },
	{ "./a/./3.eml", "a", NULL, 0 },
	{ "../../../4.eml", "", NULL, 0 },
	{ "/etc/5.eml", "etc", NULL, 0 },
	{ "a\nb/\033[2J.eml", "a\nb", NULL, 0 },
	{ "Entw\303\274rfe/\303\244.eml", "Entw\303\274rfe", NULL, 0 },
	{ "arc-000001/data/eml/Lists/dev/000000006.eml", "Lists/dev", NULL, 0 },
	{ "arc-000001/metadata/messages.csv", NULL, NULL, 0 },
	{ "arc-000001/bagit.txt", NULL, NULL, 0 },
	{ "home/ann/Maildir/cur/7.x:2,RS", "", "SR", 0 },
	{ "home/ann/Maildir/new/8.x", "", "", 0 },
	{ "home/ann/Maildir/.Sent.2020/cur/9.x:2,F", "Sent/2020", "F", 0 },
	{ "home/ann/Maildir/dovecot.index", NULL, NULL, 0 },
	{ "link.eml", NULL, NULL, AE_IFLNK },
	{ "dir.eml/", NULL, NULL, AE_IFDIR },
};

static void test_names(void **state)
{
	struct taken t;
	char flags[8];
	size_t i, n;
	enum form f;

	(void)state;
	for (f = 0; f < FORMS; f++) {
		struct archive *a = create(f);

		for (i = n = 0; i < N_ELEMENTS(rows); i++) {
			add(a, rows[i].name, rows[i].type, rows[i].name,
				strlen(rows[i].name));
			n += rows[i].folder != NULL;
		}
		finish(a);
		take_all(&t, forms[f].kind, forms[f].name);
		assert_int_equal(t.rc, ST_OK);
		assert_int_equal(t.n, n);
		for (i = 0; i < N_ELEMENTS(rows); i++) {
			const struct got *g;

			if (!rows[i].folder)
				continue;
			g = with_text(&t, rows[i].name);
			assert_string_equal(g->folder, rows[i].folder);
			assert_int_equal(g->o.bare, rows[i].flags == NULL);
			assert_int_equal(g->size, strlen(rows[i].name));
			if (!rows[i].flags)
				continue;
			assert_string_equal(flags_of(g, flags), rows[i].flags);
			assert_int_equal(g->o.date.utc, 1500000000);
		}
		drop(&t);
	}
}

/* Which directories are just how it was packed? */
static void test_roots(void **state)
{
	static const struct {
		const char *a, *b, *fa, *fb;
	} pairs[] = {
		{ "Maildir/cur/1:2,", "Maildir/.Sent/cur/2:2,", "", "Sent" },
		{ "cur/1:2,", ".Sent/cur/2:2,", "", "Sent" },
		{ "./cur/1:2,", "./new/2", "", "" },
		{ "m/.Sent/cur/1:2,", "m/.Sent/cur/2:2,", "Sent", "Sent" },
		{ "m/.Sent/cur/1:2,", "m/.Sent.x/cur/2:2,", "Sent", "Sent/x" },
		{ "ann/Maildir/cur/1:2,", "bob/Maildir/cur/2:2,", "ann/Maildir",
			"bob/Maildir" },
		{ "mail/INBOX/cur/1:2,", "mail/Sent/cur/2:2,", "INBOX", "Sent" },
	};
	struct taken t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(pairs); i++) {
		struct archive *a = create(TAR);

		add(a, pairs[i].a, 0, "a", 1);
		add(a, pairs[i].b, 0, "b", 1);
		finish(a);
		take_all(&t, "tar", "x.tar");
		assert_string_equal(with_text(&t, "a")->folder, pairs[i].fa);
		assert_string_equal(with_text(&t, "b")->folder, pairs[i].fb);
		drop(&t);
	}
}

/* The same name again; the same content under it; another one. */
static void test_twins(void **state)
{
	struct taken t;
	enum form f;

	(void)state;
	for (f = 0; f < FORMS; f++) {
		struct archive *a = create(f);

		add(a, "a.eml", 0, "one", 3);
		add(a, "a.eml", 0, "one", 3);
		add(a, "a.eml", 0, "two", 3);
		add(a, "b.eml", 0, "one", 3);
		finish(a);
		take_all(&t, forms[f].kind, forms[f].name);
		assert_int_equal(t.n, 4);
		assert_string_equal(t.v[0].uidl, t.v[1].uidl);
		assert_string_not_equal(t.v[0].uidl, t.v[2].uidl);
		assert_string_not_equal(t.v[0].uidl, t.v[3].uidl);
		assert_int_equal(t.v[0].occurrence, 1);
		assert_int_equal(t.v[1].occurrence, 2);
		assert_int_equal(t.v[2].occurrence, 1);
		with_text(&t, "two");
		drop(&t);
	}
}

/* Dovecot copies a message by a link to its file, and tar keeps that. */
static void test_links(void **state)
{
	static const struct {
		const char *name, *to, *text; /* text NULL: it cannot be read */
	} links[] = {
		{ "m/.Sent/cur/3:2,", "m/cur/1:2,S", "one" },
		{ "m/.Old/cur/4:2,", "m/cur/1:2,S", "one" },
		{ "m/.Old/cur/5:2,", "m/cur/2:2,", "two" },
		{ "m/.Older/cur/6:2,", "m/.Old/cur/5:2,", "two" },
		{ "m/cur/7:2,", "m/tmp/x", NULL },
		{ "m/cur/8:2,", "/etc/passwd", NULL },
		{ "m/cur/9:2,", "m/cur/9:2,", NULL },
		{ "m/dovecot.index", "m/cur/2:2,", "" }, /* no message */
	};
	struct archive *a = create(GZ);
	struct taken t;
	size_t i, k, n = 2;

	(void)state;
	add(a, "m/cur/1:2,S", 0, "one", 3);
	add(a, "m/tmp/x", 0, "half", 4);
	add(a, "m/cur/2:2,", 0, "two", 3);
	for (i = 0; i < N_ELEMENTS(links); i++)
		add(a, links[i].name, LINK, links[i].to, 0);
	finish(a);
	take_all(&t, "tar", forms[GZ].name);
	assert_int_equal(t.rc, ST_OK);
	for (i = 0; i < N_ELEMENTS(links); i++) {
		size_t len = strlen(links[i].name);

		for (k = 0; k < t.n; k++)
			if (strncmp(t.v[k].uidl, links[i].name, len) == 0)
				break;
		if (links[i].text && !*links[i].text) {
			assert_int_equal(k, t.n);
			continue;
		}
		n++;
		assert_true(k < t.n);
		assert_int_equal(t.v[k].rc, links[i].text ? ST_OK : ST_SKIP);
		if (links[i].text)
			assert_string_equal(buf_str(&t.v[k].bytes), links[i].text);
	}
	assert_int_equal(t.n, n);
	drop(&t);
}

/* What cannot be known for a message, and may be one, has failed. */
static void test_nameless(void **state)
{
	char *name = xmalloc(5001);
	struct archive *a = create(TAR);
	struct taken t;

	(void)state;
	memset(name, 'x', 5000);
	memcpy(name + 4996, ".eml", 5);
	add(a, "a.eml", 0, "one", 3);
	add(a, name, 0, "two", 3);
	finish(a);
	take_all(&t, "tar", forms[TAR].name);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.v[0].rc, ST_OK);
	assert_int_equal(t.v[1].rc, ST_SKIP);
	assert_string_equal(t.v[1].uidl, "entry 2;unreadable");
	drop(&t);
	free(name);
}

/* In an order that is not the file's. */
static void test_any_order(void **state)
{
	static const uint32_t order[] = { 3, 1, 2, 5, 4, 1, 5 };
	struct endpoint end = { 0 };
	struct source *s;
	struct taken t;
	size_t i;
	enum form f;

	(void)state;
	for (f = 0; f < FORMS; f++) {
		struct archive *a = create(f);

		for (i = 0; i < 5; i++) {
			char name[16], text[2] = { (char)('1' + i), 0 };

			snprintf(name, sizeof(name), "%zu.eml", i);
			add(a, name, 0, text, 1);
		}
		finish(a);
		s = open_source(&end, &t, forms[f].kind, forms[f].name);
		for (i = 0; i < N_ELEMENTS(order); i++) {
			get(s, &t, order[i]);
			assert_int_equal(t.v[order[i] - 1].bytes.n, 1);
			assert_int_equal(t.v[order[i] - 1].bytes.p[0], '0' + order[i]);
		}
		close_source(s, &t);
		endpoint_release(&end);
		drop(&t);
	}
}

/* ---- damage ---- */

enum { MESSAGES = 6, MESSAGE = 1500 };

/* Bytes that no codec makes much smaller. */
static void fill(char out[MESSAGE], unsigned i)
{
	uint32_t x = i + 1;
	size_t k;

	for (k = 0; k < MESSAGE; k++) {
		x = x * 1664525 + 1013904223;
		out[k] = (char)(x >> 24);
	}
}

static char *slurp_form(enum form f, size_t *n)
{
	char *path = at(forms[f].name), *p;
	FILE *in = fopen(path, "re");
	long size;

	fseek(in, 0, SEEK_END);
	size = ftell(in);
	rewind(in);
	p = xmalloc((size_t)size);
	*n = fread(p, 1, (size_t)size, in);
	fclose(in);
	free(path);
	return p;
}

static void make_six(enum form f)
{
	struct archive *a = create(f);
	char text[MESSAGE], name[32];
	unsigned i;

	for (i = 0; i < MESSAGES; i++) {
		fill(text, i);
		snprintf(name, sizeof(name), "%u.eml", i);
		add(a, name, 0, text, sizeof(text));
	}
	finish(a);
}

/* What is given is right, and where something is missing that is told. */
static size_t check_six(const struct taken *t, const char *what, size_t where)
{
	char text[MESSAGE];
	size_t i, good = 0;

	for (i = 0; i < t->n; i++) {
		const struct got *g = &t->v[i];

		if (g->rc == ST_OK && g->bytes.n == MESSAGE && g->uidl[0] >= '0' &&
			g->uidl[0] <= '9') {
			fill(text, (unsigned)(g->uidl[0] - '0'));
			if (memcmp(text, g->bytes.p, MESSAGE) == 0)
				good++;
			else if (t->rc == ST_OK)
				fail_msg("%zu: wrong bytes", where);
		}
	}
	/* A zip's names have no digest: one may be that of no message now. */
	if (what && good < MESSAGES && t->rc == ST_OK && good == t->n)
		fail_msg("%s, %zu: %zu messages, and that is all", what, where, good);
	return good;
}

static void test_cut(void **state)
{
	struct taken t;
	size_t n, k, before, good;
	enum form f;

	(void)state;
	for (f = 0; f < FORMS; f++) {
		char *p;

		make_six(f);
		p = slurp_form(f, &n);
		for (before = k = 0; k < n; k += 97) {
			put(forms[f].name, p, k);
			take_all(&t, forms[f].kind, forms[f].name);
			good = check_six(&t, forms[f].name, k);
			assert_true(good >= before);
			before = good;
			/* A zip's table comes last; all else ends in its end. */
			assert_true(t.rc == ST_DENIED ||
				(good == MESSAGES &&
					(f == ZIP || k + 512 > n || f == TAR)));
			if (t.rc != ST_OK)
				assert_int_equal(t.err.exit, EX_DATAERR);
			drop(&t);
		}
		free(p);
	}
}

static void test_flipped(void **state)
{
	struct taken t;
	size_t n, k;
	enum form f;

	(void)state;
	for (f = 0; f < FORMS; f++) {
		char *p;

		if (f == TAR || f == ZST)
			continue; /* as it was written here, there is no digest in it */
		make_six(f);
		p = slurp_form(f, &n);
		for (k = 0; k < n; k += 61) {
			p[k] ^= 0x11;
			put(forms[f].name, p, n);
			take_all(&t, forms[f].kind, forms[f].name);
			check_six(&t, f == ZIP ? NULL : forms[f].name, k);
			drop(&t);
			p[k] ^= 0x11;
		}
		free(p);
	}
}

static void test_bomb(void **state)
{
	static char zeros[1 << 20];
	struct archive *a;
	struct taken t;
	unsigned i;
	enum form f;

	(void)state;
	for (f = ZIP; f < FORMS; f += ZST) {
		struct archive_entry *e = archive_entry_new();

		a = create(f);
		add(a, "good.eml", 0, "good", 4);
		archive_entry_set_pathname(e, "bomb.eml");
		archive_entry_set_filetype(e, AE_IFREG);
		archive_entry_set_size(e, 80LL << 20);
		archive_write_header(a, e);
		for (i = 0; i < 80; i++)
			archive_write_data(a, zeros, sizeof(zeros));
		archive_entry_free(e);
		add(a, "last.eml", 0, "last", 4);
		finish(a);
		take_all(&t, forms[f].kind, forms[f].name);
		with_text(&t, "good");
		if (f == ZIP) { /* 1000 times: as much as deflate can */
			assert_int_equal(t.rc, ST_OK);
			assert_int_equal(t.v[1].size, 80 << 20);
		} else {
			assert_int_equal(t.rc, ST_DENIED);
			assert_int_equal(t.err.exit, EX_DATAERR);
			assert_non_null(strstr(t.err.text, "times its size"));
		}
		drop(&t);
	}
}

static void test_refused(void **state)
{
	static const char *const texts[] = { "", "x", "From a@b\n\nx\n", "PK\003\004" };
	struct taken t;
	enum form f;
	size_t i;

	(void)state;
	for (f = 0; f < FORMS; f++)
		for (i = 0; i < N_ELEMENTS(texts); i++) {
			put_text(forms[f].name, texts[i]);
			take_all(&t, forms[f].kind, forms[f].name);
			assert_int_equal(t.rc, ST_DENIED);
			assert_int_equal(t.err.exit, EX_DATAERR);
			assert_non_null(strstr(t.err.text, forms[f].name));
			drop(&t);
		}
	take_all(&t, "zip", "nowhere");
	assert_int_equal(t.rc, ST_DENIED);
	drop(&t);
	free(at("dir/"));
	take_all(&t, "tar", "dir");
	assert_int_equal(t.rc, ST_DENIED);
	drop(&t);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, drop_root)
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_roots),
		TEST(test_twins),
		TEST(test_links),
		TEST(test_nameless),
		TEST(test_any_order),
		TEST(test_cut),
		TEST(test_flipped),
		TEST(test_bomb),
		TEST(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
