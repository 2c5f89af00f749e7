/* cmd_show.c: a message, as people read it or byte for byte. */
#include <popferry/buf.h>
#include <popferry/export.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/mime.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 8192, HEAD_MAX = 256 * 1024, FIELD_MAX = 64 * 1024 };

const struct option show_options[] = {
	{ "headers", NULL, "all header fields, decoded, and no text" },
	{ "parts", NULL, "what it consists of: number, type, size, file name" },
	{ "part", "N", "one part, decoded; into a file or pipe as it is" },
	{ "raw", NULL, "all bytes; into a file or pipe as they are" },
	{ NULL, NULL, NULL },
};

enum mode { TEXT, HEADERS, PARTS, PART, RAW };

struct part_info {
	struct mime_part p;
	uint64_t size;
};

struct show {
	const struct cli *c;
	struct archive_reader *r;
	struct choice *choice;
	enum mode mode;
	const char *part; /* its number */
	uint64_t found, bad;
	/* of the message under way */
	struct buf head;
	bool head_done;
	struct part_info *parts;
	size_t n_parts;
	const struct mime_part *chosen;
	struct charset *charset;
	struct html *html; /* of a part that is shown without its tags */
	bool exact;        /* bytes go out as they are */
	char line[PIECE];
	size_t line_n;
};

/* ---- text for terminals ---- */

static bool is_tail(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* Tabs stay; everything else that is no character is escaped. */
static void print_clean(const char *p, size_t n)
{
	struct buf b = BUF_INIT((size_t)PIECE * 16);

	while (n) {
		const char *tab = memchr(p, '\t', n);
		size_t k = tab ? (size_t)(tab - p) : n;

		text_clean_add(&b, p, k);
		if (tab)
			buf_addc(&b, '\t');
		k += tab != NULL;
		p += k;
		n -= k;
	}
	fwrite(buf_str(&b), 1, b.n, stdout);
	buf_free(&b);
}

/* What is held of the line; a character that is cut stays for the next time. */
static void flush_line(struct show *s, bool whole)
{
	size_t n = s->line_n, keep = 0;

	if (!whole) {
		while (keep < 3 && keep < n && is_tail(s->line[n - 1 - keep]))
			keep++;
		keep += keep < n && (unsigned char)s->line[n - 1 - keep] >= 0xc0;
		if (keep > 3)
			keep = 0;
	}
	if (whole && n && s->line[n - 1] == '\r')
		n--;
	print_clean(s->line, n - keep);
	memmove(s->line, s->line + s->line_n - keep, keep);
	s->line_n = keep;
	if (whole)
		putchar('\n');
}

static void put_text(void *ctx, const char *p, size_t n)
{
	struct show *s = ctx;
	size_t i;

	for (i = 0; i < n; i++) {
		if (p[i] == '\n') {
			flush_line(s, true);
			continue;
		}
		if (s->line_n == PIECE)
			flush_line(s, false);
		s->line[s->line_n++] = p[i];
	}
}

static void end_text(struct show *s)
{
	if (s->line_n)
		flush_line(s, true);
	s->line_n = 0;
}

static void put_exact(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	fwrite(p, 1, n, stdout);
}

/* ---- the first pass: header and parts ---- */

/* Up to the first blank line behind a field. */
static void take_head(struct show *s, const char *p, size_t n)
{
	size_t from = s->head.n, i;

	if (s->head_done)
		return;
	if (n > HEAD_MAX - s->head.n)
		n = HEAD_MAX - s->head.n;
	buf_add(&s->head, p, n);
	for (i = from; i < s->head.n; i++) {
		const char *h = s->head.p;
		size_t back = i && h[i - 1] == '\r' ? 2 : 1;

		if (h[i] == '\n' && i > back && h[i - back] == '\n') {
			s->head.n = i + 1;
			s->head.p[s->head.n] = '\0';
			s->head_done = true;
			return;
		}
	}
	s->head_done = s->head.n == HEAD_MAX;
}

struct both {
	struct show *s;
	struct mime *m;
};

static void take_first(void *ctx, const char *p, size_t n)
{
	struct both *b = ctx;

	take_head(b->s, p, n);
	mime_put(b->m, p, n);
}

static void note_part(void *ctx, const struct mime_part *p)
{
	struct show *s = ctx;

	s->parts = xreallocarray(s->parts, s->n_parts + 1, sizeof(*s->parts));
	s->parts[s->n_parts++] = (struct part_info){ *p, 0 };
}

static void note_size(void *ctx, const struct mime_part *p, const char *d, size_t n)
{
	struct show *s = ctx;

	(void)p;
	(void)d;
	s->parts[s->n_parts - 1].size += n;
}

static enum status first_pass(
	struct show *s, const struct archive_mail *m, struct err *err)
{
	static const struct mime_to to = { note_part, note_size };
	struct both both = { s, NULL };
	enum status rc;

	buf_clear(&s->head);
	s->head_done = false;
	s->n_parts = 0;
	mime_begin(&both.m, &to, s);
	rc = archive_mail_give(m, take_first, &both, err);
	mime_end(&both.m);
	return rc;
}

/* ---- a part ---- */

static void give_part(void *ctx, const struct mime_part *p, const char *d, size_t n)
{
	struct show *s = ctx;

	if (strcmp(p->number, s->chosen->number) == 0)
		charset_put(s->charset, d, n);
}

static void put_marked(void *ctx, const char *p, size_t n)
{
	html_put(((struct show *)ctx)->html, p, n);
}

/*
 * Text is shown as UTF-8, HTML of a message without its tags; what goes into a file or
 * pipe stays as it is.
 */
static enum status print_part(struct show *s, const struct archive_mail *m,
	const struct mime_part *p, struct err *err)
{
	bool marked = s->mode == TEXT && strcmp(p->type, "text/html") == 0;
	static const struct mime_to to = { NULL, give_part };
	struct mime *mime;
	enum status rc;

	s->chosen = p;
	charset_begin(&s->charset, s->exact ? "" : p->charset,
		s->exact         ? put_exact
			: marked ? put_marked
				 : put_text,
		s);
	if (marked)
		html_begin(&s->html, put_text, s);
	mime_begin(&mime, &to, s);
	rc = archive_mail_give(m, mime_put, mime, err);
	mime_end(&mime);
	charset_end(&s->charset);
	html_end(&s->html);
	if (!s->exact)
		end_text(s);
	return rc;
}

static void describe_part(const struct part_info *i)
{
	char name[2 * MIME_NAME] = "", type[MIME_WORD], size[16];

	text_clean(type, sizeof(type), i->p.type, strlen(i->p.type));
	printf("%-7s %s", i->p.number, type);
	if (!i->p.multipart)
		printf(", %s", text_bytes(size, i->size));
	if (i->p.name[0])
		printf(", \"%s\"",
			text_clean(name, sizeof(name), i->p.name, strlen(i->p.name)));
	printf("%s\n", i->p.attachment && !i->p.name[0] ? ", attachment" : "");
}

/* ---- the header ---- */

static void print_field(const char *name, size_t name_n, const char *value, size_t n)
{
	struct buf shown = BUF_INIT(FIELD_MAX), clean = BUF_INIT(16 * FIELD_MAX);

	if (!mime_decode(value, n, &shown)) {
		buf_clear(&shown);
		buf_add(&shown, value, n < FIELD_MAX ? n : FIELD_MAX);
	}
	if (name_n)
		text_clean_add(&clean, name, name_n);
	text_clean_add(&clean, name_n ? ": " : "", name_n ? 2 : 0);
	text_clean_add(&clean, buf_str(&shown), shown.n);
	puts(buf_str(&clean));
	buf_free(&shown);
	buf_free(&clean);
}

static void print_any(
	void *ctx, const char *name, size_t name_n, const char *value, size_t n)
{
	(void)ctx;
	print_field(name, name_n, value, n);
}

static void print_wanted(
	void *ctx, const char *name, size_t name_n, const char *value, size_t n)
{
	static const char *const wanted[] = { "From", "To", "Cc", "Date", "Subject" };
	size_t i;

	(void)ctx;
	for (i = 0; i < N_ELEMENTS(wanted); i++)
		if (name_n == strlen(wanted[i]) && text_same_n(name, wanted[i], name_n))
			print_field(name, name_n, value, n);
}

/* ---- a message ---- */

static bool is_text(const struct mime_part *p, const char *type)
{
	return !p->multipart && !p->attachment && text_starts(p->type, type);
}

/* Plain text parts; when there is none, the first text of another kind. */
static enum status print_texts(
	struct show *s, const struct archive_mail *m, struct err *err)
{
	const char *type = "text/plain";
	bool any = false;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; i < s->n_parts; i++)
		any = any || is_text(&s->parts[i].p, type);
	if (!any)
		type = "text/";
	for (i = 0; rc == ST_OK && i < s->n_parts; i++)
		if (is_text(&s->parts[i].p, type)) {
			putchar('\n');
			rc = print_part(s, m, &s->parts[i].p, err);
			if (!any)
				break;
		}
	return rc;
}

static enum status print_message(
	struct show *s, const struct archive_mail *m, uint64_t seq, struct err *err)
{
	enum status rc = first_pass(s, m, err);
	size_t i;

	if (rc != ST_OK)
		return rc;
	printf("Message %" PRIu64 ", %" PRIu64 " bytes, SHA-256 %s\n", seq,
		archive_mail_size(m), archive_mail_sha256(m));
	mime_fields(buf_str(&s->head), s->head.n,
		s->mode == HEADERS ? print_any : print_wanted, s);
	if (s->mode == HEADERS)
		return ST_OK;
	if (s->n_parts > 1)
		printf("\n");
	for (i = 0; s->n_parts > 1 && i < s->n_parts; i++)
		if (!s->parts[i].p.multipart)
			describe_part(&s->parts[i]);
	return print_texts(s, m, err);
}

static enum status print_parts(
	struct show *s, const struct archive_mail *m, struct err *err)
{
	enum status rc = first_pass(s, m, err);
	size_t i;

	for (i = 0; rc == ST_OK && i < s->n_parts; i++)
		describe_part(&s->parts[i]);
	return rc;
}

static enum status print_one_part(
	struct show *s, const struct archive_mail *m, uint64_t seq, struct err *err)
{
	enum status rc = first_pass(s, m, err);
	size_t i;

	for (i = 0; rc == ST_OK && i < s->n_parts; i++)
		if (strcmp(s->parts[i].p.number, s->part) == 0 &&
			!s->parts[i].p.multipart)
			return print_part(s, m, &s->parts[i].p, err);
	if (rc != ST_OK)
		return rc;
	return err_set(err, ST_SKIP, EX_PARTIAL,
		"message %" PRIu64 " has no part %.40s: see `popferry show --parts`",
		seq, s->part);
}

static enum status print_raw(
	struct show *s, const struct archive_mail *m, struct err *err)
{
	enum status rc = archive_mail_give(m, s->exact ? put_exact : put_text, s, err);

	if (!s->exact)
		end_text(s);
	return rc;
}

static enum status show_one(struct show *s, uint64_t seq, struct err *err)
{
	struct archive_mail *m = NULL;
	enum status rc = archive_fetch(&m, s->r, seq, err);

	if (rc == ST_OK) {
		if (s->found++ && (s->mode == TEXT || s->mode == HEADERS))
			printf("\n");
		switch (s->mode) {
		case TEXT:
		case HEADERS:
			rc = print_message(s, m, seq, err);
			break;
		case PARTS:
			rc = print_parts(s, m, err);
			break;
		case PART:
			rc = print_one_part(s, m, seq, err);
			break;
		case RAW:
			rc = print_raw(s, m, err);
			break;
		}
	}
	archive_mail_free(&m);
	return rc;
}

static enum status show_row(void *ctx, const struct archive_row *row, struct err *err)
{
	struct err why = ERR_INIT;
	struct show *s = ctx;
	enum status rc;

	if (!choice_has(s->choice, row))
		return ST_OK;
	rc = show_one(s, row->seq, &why);
	if (rc == ST_DENIED && why.exit == EX_DATAERR) {
		/* The others may be good. */
		s->bad++;
		fflush(stdout);
		cli_complain(s->c, &why);
		return ST_OK;
	}
	if (rc < 0)
		err_set(err, rc, why.exit, "%s", why.text);
	return rc;
}

static enum status show_all(struct show *s, struct err *err)
{
	uint64_t only = choice_only(s->choice);
	enum status rc = only ? show_one(s, only, err)
			      : archive_each(s->r, show_row, s, err);

	if (rc == ST_END || (rc == ST_OK && s->found + s->bad == 0))
		return err_set(err, ST_DENIED, EX_PARTIAL, "there is no such message");
	if (rc == ST_OK && s->bad)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%" PRIu64 " message%s damaged", s->bad,
			s->bad == 1 ? " is" : "s are");
	return rc;
}

static enum status read_options(struct show *s, struct err *err)
{
	static const struct {
		const char *option;
		enum mode mode;
	} modes[] = { { "headers", HEADERS }, { "parts", PARTS }, { "part", PART },
		{ "raw", RAW } };
	size_t i;

	for (i = 0; i < N_ELEMENTS(modes); i++) {
		if (!cli_option(s->c, modes[i].option))
			continue;
		if (s->mode != TEXT)
			return err_set(err, ST_DENIED, EX_USAGE,
				"--headers, --parts, --part and --raw: give one of them");
		s->mode = modes[i].mode;
	}
	s->part = cli_option(s->c, "part");
	s->exact = (s->mode == RAW || s->mode == PART) && !isatty(STDOUT_FILENO);
	return ST_OK;
}

int cmd_show(struct cli *c, struct err *err)
{
	struct show s = { .c = c };
	enum status rc;

	signal(SIGPIPE, SIG_DFL);
	if (c->n_args < 2)
		return cli_bad_usage(
			c, "show", "show needs an ARCHIVE and a message's number", err);
	buf_init(&s.head, HEAD_MAX);
	rc = read_options(&s, err);
	if (rc == ST_OK)
		rc = choice_make(&s.choice, c->args + 1, c->n_args - 1, err);
	if (rc == ST_OK)
		rc = cli_read(c, &s.r, cli_archive_path(c->args[0]), err);
	if (rc == ST_OK)
		rc = show_all(&s, err);
	archive_done(&s.r);
	choice_free(&s.choice);
	buf_free(&s.head);
	free(s.parts);
	fflush(stdout);
	return rc < 0 ? cli_archive_failed(c, err) : 0;
}
