/* case_expect.h: what a case expects; scene.h says it. Part of t_cases.c. */
#ifndef CASE_EXPECT_H
#define CASE_EXPECT_H

#include "case_stage.h"

#include <popferry/fs.h>

enum { WANTS = 5000 };

/* ---- expect: messages ---- */

struct wants {
	struct scene_pick v[WANTS];
	size_t n;
};

static void add_want(void *ctx, const struct scene_pick *p)
{
	struct wants *w = ctx;

	assert_true(w->n < WANTS);
	w->v[w->n++] = *p;
}

static bool read_wants(struct wants *w, int argc, char **argv, char *why, size_t cap)
{
	int i;

	for (i = 0; i < argc; i++)
		if (!scene_pick(argv[i], add_want, w, why, cap))
			return false;
	return true;
}

static bool same(const char *a, size_t n, const char *b, size_t k)
{
	return n == k && memcmp(a, b, n) == 0;
}

/* As IMAP forces it: CRLF, no NUL, an end. */
static void imap_form(struct buf *b, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
			buf_addc(b, '\r');
		buf_addc(b, p[i] ? p[i] : '\x80');
	}
	if (!n || p[n - 1] != '\n')
		buf_adds(b, "\r\n");
}

static bool marked(const char *text, size_t n, unsigned number)
{
	char mark[40];
	bool found;
	char *copy = xmemdup0(text, n);
	size_t i;

	for (i = 0; i < n; i++)
		if (!copy[i])
			copy[i] = ' ';
	snprintf(mark, sizeof(mark), "(letter %u)", number);
	found = strstr(copy, mark);
	snprintf(mark, sizeof(mark), "Subject: letter %u\r", number);
	found |= strstr(copy, mark) != NULL;
	free(copy);
	return found;
}

/* Is this text a copy of the message? */
static bool fits(struct rig *r, const struct scene_pick *w, bool imap, const char *text,
	size_t n)
{
	struct buf b = BUF_INIT(SIZE_MAX / 2);
	const char *p;
	size_t k;
	bool yes;

	if (w->changed)
		return marked(text, n, w->number);
	p = fakepop_text(r->pop, w->number, &k);
	yes = p && same(p, k, text, n);
	if (p && !yes && imap) {
		imap_form(&b, p, k);
		yes = same(b.p, b.n, text, n);
		buf_free(&b);
	}
	return yes;
}

struct search {
	struct rig *r;
	struct wants *w;
	const char *box; /* NULL: any */
	bool imap, ok;
	char *why;
	size_t cap;
	size_t at; /* the want that was met last */
};

static void strike_out(void *ctx, const char *box, const char *text, size_t n)
{
	struct search *s = ctx;
	char head[200];
	size_t i, k;

	if (!s->ok || (s->box && strcmp(box, s->box) != 0))
		return;
	/* Most often they come in the order in which they are wanted. */
	for (k = 0; k < s->w->n; k++) {
		i = (s->at + k) % s->w->n;
		if (!s->w->v[i].times || !fits(s->r, &s->w->v[i], s->imap, text, n))
			continue;
		s->w->v[i].times--;
		s->at = i;
		return;
	}
	s->ok = scene_bad(s->why, s->cap, "in %s is one too many, %zu bytes: %s", box,
		n, text_clean(head, sizeof(head), text, n < 180 ? n : 180));
}

static bool all_found(struct search *s)
{
	size_t i;

	for (i = 0; s->ok && i < s->w->n; i++)
		if (s->w->v[i].times)
			s->ok = scene_bad(s->why, s->cap, "message %u is missing there",
				s->w->v[i].number);
	return s->ok;
}

static bool search_imap(
	struct stage *s, const char *box, int argc, char **argv, char *why, size_t cap)
{
	struct wants *w = xcalloc(1, sizeof(*w));
	struct search find = { s->r, w, box, true, true, why, cap, 0 };

	find.ok = read_wants(w, argc, argv, why, cap);
	if (find.ok)
		fakeimap_each(s->r->imap, strike_out, &find);
	all_found(&find);
	free(w);
	return find.ok;
}

static bool want_imap(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return search_imap(ctx, NULL, argc, argv, why, cap);
}

static bool want_imap_in(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return search_imap(ctx, argv[0], argc - 1, argv + 1, why, cap);
}

struct text_search {
	unsigned number;
	const char *text;
	bool found;
};

static void look_for_text(void *ctx, const char *box, const char *text, size_t n)
{
	struct text_search *t = ctx;

	(void)box;
	if (marked(text, n, t->number))
		t->found |= memmem(text, n, t->text, strlen(t->text)) != NULL;
}

static bool want_imap_text(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct stage *s = ctx;
	struct text_search t = { .text = argv[1] };

	(void)argc;
	if (!scene_number(argv[0], &t.number))
		return scene_bad(why, cap, "%s is no message", argv[0]);
	fakeimap_each(s->r->imap, look_for_text, &t);
	return t.found ||
		scene_bad(
			why, cap, "no copy of message %u has \"%s\"", t.number, t.text);
}

static void archive_bad(void *ctx, const char *what)
{
	struct search *s = ctx;

	if (s->ok)
		s->ok = scene_bad(s->why, s->cap, "the archive is not sound: %s", what);
}

static enum status keep_seq(void *ctx, const struct archive_row *row, struct err *err)
{
	(void)err;
	return buf_add(ctx, &row->seq, sizeof(row->seq)) ? ST_OK : ST_FATAL;
}

static void search_archive(struct search *s, struct archive_reader *a)
{
	struct buf b = BUF_INIT(SIZE_MAX / 2), seqs = BUF_INIT(1024 * 1024);
	struct archive_check check;
	struct err err = ERR_INIT;
	uint64_t seq;
	size_t i;

	if (archive_verify(a, &check, archive_bad, s, &err) != ST_OK ||
		archive_each(a, keep_seq, &seqs, &err) != ST_OK)
		archive_bad(s, err.text);
	for (i = 0; s->ok && i < seqs.n; i += sizeof(seq)) {
		memcpy(&seq, seqs.p + i, sizeof(seq));
		buf_clear(&b);
		if (archive_get(a, seq, kit_take, &b, &err) != ST_OK)
			archive_bad(s, err.text);
		else
			strike_out(s, "the archive", buf_str(&b), b.n);
	}
	buf_free(&b);
	buf_free(&seqs);
}

static bool want_archive(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct stage *s = ctx;
	struct wants *w = xcalloc(1, sizeof(*w));
	struct search find = { s->r, w, NULL, false, true, why, cap, 0 };
	struct archive_reader *a = NULL;
	struct err err = ERR_INIT;
	struct stat st;

	find.ok = read_wants(w, argc, argv, why, cap);
	if (find.ok && (w->n || stat(s->r->archive, &st) == 0)) {
		if (archive_read(&a, s->r->archive, &err) == ST_OK)
			search_archive(&find, a);
		else
			find.ok = scene_bad(why, cap, "archive: %s", err.text);
	}
	archive_done(&a);
	all_found(&find);
	free(w);
	return find.ok;
}

/* What stock tar gives for that file of a segment. */
static char *segment_text(const struct rig *r, const char *file)
{
	char tar[32], *name, *out = xasprintf("%s/entry", r->dir), *text;
	struct buf b = BUF_INIT(1024 * 1024);
	unsigned long no = strtoul(file, &name, 10);
	size_t n = 0;
	struct err err = ERR_INIT;
	pid_t pid;
	int st, fd;

	snprintf(tar, sizeof(tar), "archive-%06lu", no);
	buf_addf(&b, "%s%s", tar, name);
	pid = fork();
	if (pid == 0) {
		char *from = xasprintf("%s/segments/%s.tar.gz", r->archive, tar);

		fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(fd, STDOUT_FILENO);
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		execlp("tar", "tar", "-xOzf", from, buf_str(&b), (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	if (fs_read(&text, &n, AT_FDCWD, out, 1024 * 1024, &err) != ST_OK)
		text = NULL;
	unlink(out);
	free(out);
	buf_free(&b);
	return text;
}

static bool has_text(const struct stage *s, const char *file, const char *what)
{
	struct err err = ERR_INIT;
	char *path, *text = NULL;
	size_t n;
	bool has;

	if (file[0] >= '0' && file[0] <= '9') {
		text = segment_text(s->r, file);
	} else {
		path = xasprintf("%s/%s", s->r->archive, file);
		if (fs_read(&text, &n, AT_FDCWD, path, 1024 * 1024, &err) != ST_OK)
			text = NULL;
		free(path);
	}
	has = text && strstr(text, what);
	if (text && !has && getenv("KIT_LOG"))
		print_message("%s: %s\n", file, text);
	free(text);
	return has;
}

static bool want_archive_text(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return has_text(ctx, argv[0], argv[1]) ||
		scene_bad(
			why, cap, "%s of the archive has no \"%s\"", argv[0], argv[1]);
}

static bool want_no_archive_text(
	void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return !has_text(ctx, argv[0], argv[1]) ||
		scene_bad(why, cap, "%s of the archive has \"%s\"", argv[0], argv[1]);
}

/* ---- expect: the report ---- */

/* Each entry of an array of the report is a line of its own. */
static const char *next_entry(const char *p, size_t *n)
{
	p = strchr(p, '\n');
	if (!p || strncmp(p + 1, "  {", 3) != 0)
		return NULL;
	*n = strcspn(p + 1, "\n");
	return p + 1;
}

static const char *first_entry(const struct stage *s, const char *array, size_t *n)
{
	char name[40];
	const char *p;

	snprintf(name, sizeof(name), "\"%s\":[", array);
	p = s->report ? strstr(s->report, name) : NULL;
	return p ? next_entry(p, n) : NULL;
}

static bool about(const struct stage *s, const char *entry, unsigned number)
{
	struct buf b = BUF_INIT(4096);
	const char *uidl = fakepop_uidl(s->r->pop, number);
	char place[40];
	bool yes = false;

	if (uidl) {
		buf_adds(&b, "\"uidl\":");
		text_json(&b, uidl, strlen(uidl));
		yes = strstr(entry, buf_str(&b));
		buf_free(&b);
	}
	if (!yes && !strstr(entry, "\"uidl\":\"")) {
		snprintf(place, sizeof(place), "\"number\":%u,", number);
		yes = strstr(entry, place);
	}
	return yes;
}

/* An entry with this kind (NULL: any) about this message (0: any) with this text. */
static bool entry(const struct stage *s, const char *array, const char *kind,
	unsigned number, const char *text)
{
	const char *p;
	char *one, word[80];
	bool found = false;
	size_t n;

	snprintf(word, sizeof(word), "\"%s\"", kind ? kind : "");
	for (p = first_entry(s, array, &n); p && !found; p = next_entry(p, &n)) {
		one = xmemdup0(p, n);
		found = (!kind || strstr(one, word)) &&
			(!number || about(s, one, number)) &&
			(!text || strstr(one, text));
		free(one);
	}
	return found;
}

static unsigned long entries(const struct stage *s, const char *array)
{
	unsigned long count = 0;
	const char *p;
	size_t n;

	for (p = first_entry(s, array, &n); p; p = next_entry(p, &n))
		count++;
	return count;
}

/* The array itself, for a message that says what was there instead. */
static const char *shown(const struct stage *s, const char *array)
{
	const char *p = s->report ? strstr(s->report, array) : NULL;

	return p ? p : "nothing";
}

static bool want_failures(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return scene_compare(
		"failures", entries(ctx, "failures"), argc, argv, why, cap);
}

static bool want_notices(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return scene_compare("notices", entries(ctx, "notices"), argc, argv, why, cap);
}

static bool want_failure(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;
	const char *text = argc > 1 ? argv[1] : NULL;
	unsigned number;

	if (!scene_number(argv[0], &number))
		return scene_bad(why, cap, "%s is no message", argv[0]);
	if (entry(s, "failures", NULL, number, text))
		return true;
	return scene_bad(why, cap,
		"no failure of message %u with \"%s\"; there is %.300s", number,
		text ? text : "", shown(s, "\"failures\""));
}

static bool want_notice(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;
	const char *text = argc > 2 ? argv[2] : NULL;
	unsigned number = 0;

	if (argc > 1 && !scene_number(argv[1], &number))
		text = argv[1];
	if (entry(s, "notices", strcmp(argv[0], "*") == 0 ? NULL : argv[0], number,
		    text))
		return true;
	return scene_bad(why, cap,
		"no notice \"%s\" of message %u with \"%s\"; there is %.300s", argv[0],
		number, text ? text : "", shown(s, "\"notices\""));
}

static bool want_no_notice(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	if (!entry(ctx, "notices", argv[0], 0, NULL))
		return true;
	return scene_bad(why, cap, "there is a notice \"%s\"", argv[0]);
}

static bool contains(
	const char *what, const char *text, const char *part, char *why, size_t cap)
{
	if (text && strstr(text, part))
		return true;
	return scene_bad(
		why, cap, "%s has no \"%s\": %.300s", what, part, text ? text : "");
}

static bool want_text(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	(void)argc;
	return contains("the error", s->r->out.err.text, argv[0], why, cap);
}

static bool want_report(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	(void)argc;
	return contains("the report", s->report, argv[0], why, cap);
}

/* Nothing in it that a terminal would obey. */
static bool want_clean(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;
	const char *const texts[] = { s->log, s->report, s->r->out.err.text };
	size_t i;

	(void)argc, (void)argv;
	for (i = 0; i < N_ELEMENTS(texts); i++)
		if (strpbrk(texts[i], "\x1b\x07\x08\x7f\r"))
			return scene_bad(why, cap, "a control character is in the %s",
				i == 0           ? "log"
					: i == 1 ? "report"
						 : "error");
	return true;
}

static bool want_log(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	(void)argc;
	return contains("the log", s->log, argv[0], why, cap);
}

/* ---- expect: the run ---- */

static bool want_exit(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;
	unsigned code;

	(void)argc;
	if (!scene_number(argv[0], &code))
		return scene_bad(why, cap, "%s is no exit code", argv[0]);
	if (s->ran && !s->died && s->code == (int)code)
		return true;
	return scene_bad(why, cap, "exit %d, not %u (%s; %s)", s->code, code,
		s->r->ledger, s->code ? s->r->out.err.text : "");
}

static bool want_ledger(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;
	struct buf b = BUF_INIT(1000);
	bool same;
	int i;

	for (i = 0; i < argc; i++)
		buf_addf(&b, "%s%s", i ? " " : "", argv[i]);
	same = strcmp(buf_str(&b), s->r->ledger) == 0;
	buf_free(&b);
	return same ||
		scene_bad(why, cap, "the ledger is \"%s\" (exit %d: %s)", s->r->ledger,
			s->code, s->r->out.err.text);
}

static bool want_sessions(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	return scene_compare(
		"sessions", fakepop_sessions(s->r->pop), argc, argv, why, cap);
}

static bool want_logins(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	return scene_compare("logins", fakepop_logins(s->r->pop), argc, argv, why, cap);
}

static bool want_took(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	return scene_compare("took", (unsigned long)s->took, argc, argv, why, cap);
}

static bool want_pop(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;
	struct wants *w = xcalloc(1, sizeof(*w));
	struct search find = { s->r, w, NULL, false, true, why, cap, 0 };
	unsigned n;
	size_t i;

	find.ok = read_wants(w, argc, argv, why, cap);
	for (n = 1; find.ok && n <= fakepop_messages(s->r->pop); n++) {
		if (!fakepop_holds(s->r->pop, n))
			continue;
		for (i = 0; i < w->n && w->v[i].number != n; i++)
			;
		if (i == w->n)
			find.ok = scene_bad(
				why, cap, "message %u is still in the maildrop", n);
		else
			w->v[i].times = 0;
	}
	all_found(&find);
	free(w);
	return find.ok;
}

/* ---- the words ---- */

static bool pop_expect(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	return fakepop_expect(s->r->pop, argc, argv, why, cap);
}

static bool imap_expect(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	const struct stage *s = ctx;

	return fakeimap_expect(s->r->imap, argc, argv, why, cap);
}

/* "pop-count ..." said to the server as "count ...". */
static bool say_behind(const char *prefix, int argc, char **argv,
	bool (*say)(void *ctx, int argc, char **argv, char *why, size_t cap), void *ctx,
	char *why, size_t cap)
{
	char *whole = argv[0];
	bool ok;

	argv[0] += strlen(prefix);
	ok = say(ctx, argc, argv, why, cap);
	argv[0] = whole;
	return ok;
}

static bool say_expect(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	static const struct scene_verb verbs[] = {
		{ "exit", 1, 1, want_exit },
		{ "ledger", 0, -1, want_ledger },
		{ "imap", 1, -1, want_imap },
		{ "imap-in", 2, -1, want_imap_in },
		{ "imap-text", 2, 2, want_imap_text },
		{ "archive", 1, -1, want_archive },
		{ "archive-text", 2, 2, want_archive_text },
		{ "no-archive-text", 2, 2, want_no_archive_text },
		{ "pop", 1, -1, want_pop },
		{ "sessions", 1, 2, want_sessions },
		{ "logins", 1, 2, want_logins },
		{ "failures", 1, 2, want_failures },
		{ "failure", 1, 2, want_failure },
		{ "notices", 1, 2, want_notices },
		{ "notice", 1, 3, want_notice },
		{ "no-notice", 1, 1, want_no_notice },
		{ "text", 1, 1, want_text },
		{ "report", 1, 1, want_report },
		{ "log", 1, 1, want_log },
		{ "took", 1, 2, want_took },
		{ "clean", 0, 0, want_clean },
	};
	struct stage *s = ctx;
	size_t i;

	for (i = 0; i < N_ELEMENTS(verbs); i++)
		if (strcmp(argv[0], verbs[i].name) == 0)
			return scene_say(
				verbs, N_ELEMENTS(verbs), ctx, argc, argv, why, cap);
	if (text_starts(argv[0], "pop-"))
		return say_behind("pop-", argc, argv, pop_expect, s, why, cap);
	if (text_starts(argv[0], "imap-"))
		return say_behind("imap-", argc, argv, imap_expect, s, why, cap);
	return scene_bad(why, cap, "nothing called \"%s\" can be expected", argv[0]);
}

#endif
