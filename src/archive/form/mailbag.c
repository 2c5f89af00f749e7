/* mailbag.c: rows of mailbag.csv, made of those of messages.csv. */
#include "mailbag.h"

#include <popferry/mem.h>

#include <string.h>

enum how {
	AS_IT_IS,
	FOLDER,    /* escaped as in a bag's manifest (RFC 8493, section 2.1.3) */
	IN_BAG,    /* below data/eml/ */
	DIRECTORY, /* of that */
};

/* Section 5.3.1: the required columns, and the optional ones. */
static const struct {
	const char *name;
	enum csv_column from;
	enum how how;
} columns[] = {
	{ "Error", CSV_ERROR, AS_IT_IS },
	{ "Mailbag-Message-ID", CSV_ID, AS_IT_IS },
	{ "Message-ID", CSV_MESSAGE_ID, AS_IT_IS },
	{ "Original-File", CSV_PATH, IN_BAG },
	{ "Message-Path", CSV_FOLDER, FOLDER },
	{ "Derivatives-Path", CSV_PATH, DIRECTORY },
	{ "Attachments", CSV_ATTACHMENTS, AS_IT_IS },
	{ "Date", CSV_DATE_HDR, AS_IT_IS },
	{ "From", CSV_FROM, AS_IT_IS },
	{ "To", CSV_TO, AS_IT_IS },
	{ "Cc", CSV_CC, AS_IT_IS },
	{ "Bcc", CSV_BCC, AS_IT_IS },
	{ "Subject", CSV_SUBJECT, AS_IT_IS },
	{ "Content-Type", CSV_CONTENT_TYPE, AS_IT_IS },
};
static const char payload[] = "data/eml/";

void mailbag_header(struct buf *b)
{
	const char *names[N_ELEMENTS(columns)];
	size_t i;

	for (i = 0; i < N_ELEMENTS(columns); i++)
		names[i] = columns[i].name;
	csv_line(b, names, NULL, N_ELEMENTS(columns));
}

static void add_folder(struct buf *b, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (memchr("%\r\n", p[i], 3))
			buf_addf(b, "%%%02X", (unsigned char)p[i]);
		else
			buf_addc(b, p[i]);
}

/* quoted: it stands in a table, where a '"' is two. */
static void value(struct buf *b, struct csv_part v, enum how how, bool quoted)
{
	const char *slash, *quote;
	size_t i, k;

	if ((how == IN_BAG || how == DIRECTORY) && v.n >= strlen(payload) &&
		memcmp(v.p, payload, strlen(payload)) == 0) {
		v.p += strlen(payload);
		v.n -= strlen(payload);
	}
	if (how == DIRECTORY) {
		slash = memrchr(v.p, '/', v.n);
		v.n = slash ? (size_t)(slash - v.p) : 0;
	}
	for (i = 0; i < v.n; i += k) {
		quote = quoted ? NULL : memchr(v.p + i, '"', v.n - i);
		k = quote ? (size_t)(quote - v.p) + 1 - i : v.n - i;
		if (how == FOLDER)
			add_folder(b, v.p + i, k);
		else
			buf_add(b, v.p + i, k);
		if (quote)
			buf_addc(b, '"');
	}
}

static void row(struct buf *b, const struct csv_part f[CSV_COLUMNS], bool quoted)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(columns); i++) {
		buf_adds(b, i ? ",\"" : "\"");
		value(b, f[columns[i].from], columns[i].how, quoted);
		buf_addc(b, '"');
	}
	buf_adds(b, "\r\n");
}

void mailbag_row(struct buf *b, char *const f[CSV_COLUMNS])
{
	struct csv_part parts[CSV_COLUMNS];
	size_t i;

	for (i = 0; i < CSV_COLUMNS; i++)
		parts[i] = (struct csv_part){ f[i], strlen(f[i]) };
	row(b, parts, false);
}

void mailbag_line(struct buf *b, const char *line, size_t n)
{
	struct csv_part parts[CSV_COLUMNS];

	csv_parts(parts, CSV_COLUMNS, line, n);
	row(b, parts, true);
}
