/* table.c: rows for spreadsheets, review platforms, archivists and programs. */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum what {
	SEQ,
	NATIVE,
	FOLDER,
	DATE,
	DATE_UTC,
	RETRIEVED,
	FROM,
	TO,
	CC,
	SUBJECT,
	MESSAGE_ID,
	SIZE,
	SHA256,
	UIDL,
	FLAGS,
	ANOMALIES,
	SEGMENT,
	PATH,
	DATE_SENT,
	DATE_BEST,
	KIND,
	NOTHING,
	ORIGINAL,
	FOLDER_BAG,
	FOLDER_DIR,
	ATTACHMENTS,
	DATE_FIELD,
	BCC,
	CONTENT_TYPE,
};

struct column {
	const char *name;
	enum what what;
};

static const struct column csv_columns[] = {
	{ "seq", SEQ },
	{ "folder", FOLDER },
	{ "date", DATE },
	{ "date_utc", DATE_UTC },
	{ "from", FROM },
	{ "to", TO },
	{ "cc", CC },
	{ "subject", SUBJECT },
	{ "message_id", MESSAGE_ID },
	{ "size", SIZE },
	{ "sha256", SHA256 },
	{ "uidl", UIDL },
	{ "retrieved", RETRIEVED },
	{ "flags", FLAGS },
	{ "anomalies", ANOMALIES },
	{ "segment", SEGMENT },
	{ "path", PATH },
	{ NULL, SEQ },
};

/*
 * Names that review platforms know. DOCID, FROM, TO, CC, SUBJECT, FILESIZE: the U.S.
 * Department of Justice, Antitrust Division, "Metadata Fields & Family Record
 * Specifications"; FOLDER, and these too: LexisNexis, "Concordance Desktop: Basic
 * Database Fields"; DATESENT, DATERECEIVED: EDRM Search Guide, Appendix 1. The
 * delimiters are those that the FTC's Bureau of Competition recommends in its
 * Production Guide.
 */
static const struct column dat_columns[] = {
	{ "DOCID", SEQ },
	{ "FROM", FROM },
	{ "TO", TO },
	{ "CC", CC },
	{ "BCC", BCC },
	{ "SUBJECT", SUBJECT },
	{ "DATESENT", DATE_SENT },
	{ "DATERECEIVED", DATE },
	{ "MESSAGEID", MESSAGE_ID },
	{ "FOLDER", FOLDER },
	{ "ATTACHMENTCOUNT", ATTACHMENTS },
	{ "FILESIZE", SIZE },
	{ "SHA256", SHA256 },
	{ "NATIVELINK", NATIVE },
	{ NULL, SEQ },
};

/*
 * The elements that NARA Bulletin 2015-04, "Metadata Guidance for the Transfer of
 * Permanent Electronic Records", wants of each file, under its names; pipe-delimited,
 * as NARA's Records Express of 21 March 2016 asks. Rights is for the agency to fill in.
 * More elements are taken as they are (36 CFR 1236.54(a)(4)).
 */
static const struct column nara_columns[] = {
	{ "File Name", NATIVE },
	{ "Record ID", SEQ },
	{ "Title", SUBJECT },
	{ "Description", KIND },
	{ "Creator", FROM },
	{ "Creation Date", DATE_BEST },
	{ "Rights", NOTHING },
	{ "Recipient", TO },
	{ "Copy Recipient", CC },
	{ "Blind Copy Recipient", BCC },
	{ "Attachments", ATTACHMENTS },
	{ "Message ID", MESSAGE_ID },
	{ "Is Part Of", FOLDER },
	{ "File Size", SIZE },
	{ "SHA-256", SHA256 },
	{ NULL, SEQ },
};

/* Mailbag Specification 1.0, section 5.3.1: the required ones, and the optional. */
static const struct column mailbag_columns[] = {
	{ "Error", NOTHING },
	{ "Mailbag-Message-ID", SEQ },
	{ "Message-ID", MESSAGE_ID },
	{ "Original-File", ORIGINAL },
	{ "Message-Path", FOLDER_BAG },
	{ "Derivatives-Path", FOLDER_DIR },
	{ "Attachments", ATTACHMENTS },
	{ "Date", DATE_FIELD },
	{ "From", FROM },
	{ "To", TO },
	{ "Cc", CC },
	{ "Bcc", BCC },
	{ "Subject", SUBJECT },
	{ "Content-Type", CONTENT_TYPE },
	{ NULL, SEQ },
};

static const struct {
	const struct column *columns;
	const char *start, *separator, *quote, *doubled, *newline, *end;
} dialects[] = {
	[TABLE_CSV] = { csv_columns, "", ",", "\"", "\"\"", " ", "\r\n" },
	/* U+00FE around fields, 0x14 between them, U+00AE for a line end */
	[TABLE_DAT] = { dat_columns, "\xef\xbb\xbf", "\x14", "\xc3\xbe", " ",
		"\xc2\xae", "\r\n" },
	[TABLE_NARA] = { nara_columns, "", "|", "\"", "\"\"", " ", "\r\n" },
	[TABLE_MAILBAG] = { mailbag_columns, "", ",", "\"", "\"\"", " ", "\r\n" },
};

/* Decoded, and clean for whatever shows the table. */
static void add_shown(struct buf *b, const char *header)
{
	struct buf raw = BUF_INIT(SHOWN_MAX);

	if (!mime_decode(header, strlen(header), &raw)) {
		buf_clear(&raw);
		buf_adds(&raw, header);
	}
	text_clean_add(b, buf_str(&raw), raw.n);
	buf_free(&raw);
}

static void add_clean(struct buf *b, const char *s)
{
	text_clean_add(b, s, strlen(s));
}

static void add_native(struct buf *b, enum dialect d, const char *native)
{
	for (; native && *native; native++)
		buf_addc(b, *native == '/' && d == TABLE_DAT ? '\\' : *native);
}

/* date_utc without the mark of one that is not the sender's; "" if it is to be his. */
static void add_date(struct buf *b, const char *utc, bool only_sent)
{
	size_t n = strcspn(utc, "~");

	if (!utc[n] || !only_sent)
		text_clean_add(b, utc, n);
}

/* As in a bag's manifest (RFC 8493, section 2.1.3). */
static void add_folder(struct buf *b, const char *folder)
{
	for (; *folder; folder++)
		if (strchr("%\r\n", *folder))
			buf_addf(b, "%%%02X", (unsigned)*folder);
		else
			buf_addc(b, *folder);
}

static void add_dir(struct buf *b, const char *path)
{
	const char *slash = strrchr(path, '/');

	buf_add(b, path, slash ? (size_t)(slash - path) : 0);
}

static void value(struct buf *b, enum dialect d, enum what what,
	const struct archive_row *row, const struct besides *x)
{
	char name[256];

	switch (what) {
	case SEQ:
		buf_addf(b, d == TABLE_CSV ? "%" PRIu64 : "%09" PRIu64, row->seq);
		break;
	case NATIVE:
		add_native(b, d, x->native);
		break;
	case FOLDER:
		add_clean(b, row->folder);
		break;
	case DATE:
		add_clean(b, row->date);
		break;
	case DATE_UTC:
		add_clean(b, row->date_utc);
		break;
	case RETRIEVED:
		add_clean(b, row->retrieved);
		break;
	case FROM:
		add_shown(b, row->from);
		break;
	case TO:
		add_shown(b, row->to);
		break;
	case CC:
		add_shown(b, row->cc);
		break;
	case SUBJECT:
		add_shown(b, row->subject);
		break;
	case MESSAGE_ID:
		add_clean(b, row->message_id);
		break;
	case SIZE:
		buf_addf(b, "%" PRIu64, row->size);
		break;
	case SHA256:
		add_clean(b, row->sha256);
		break;
	case UIDL:
		add_clean(b, row->uidl);
		break;
	case FLAGS:
		add_clean(b, row->flags);
		break;
	case ANOMALIES:
		add_clean(b, row->anomalies);
		break;
	case SEGMENT:
		add_clean(b, row->segment);
		break;
	case PATH:
		add_clean(b, row->path);
		break;
	case DATE_SENT:
		add_date(b, row->date_utc, true);
		break;
	case DATE_BEST:
		add_date(b, row->date_utc, false);
		break;
	case KIND:
		buf_adds(b, "E-mail message");
		break;
	case NOTHING:
		break;
	case ORIGINAL:
		message_name(name, row);
		buf_adds(b, name);
		break;
	case FOLDER_BAG:
		add_folder(b, row->folder);
		break;
	case FOLDER_DIR:
		message_name(name, row);
		add_dir(b, name);
		break;
	case ATTACHMENTS:
		buf_addf(b, "%u", x->attachments);
		break;
	case DATE_FIELD:
		add_shown(b, buf_str(&x->date));
		break;
	case BCC:
		add_shown(b, buf_str(&x->bcc));
		break;
	case CONTENT_TYPE:
		add_shown(b, buf_str(&x->content_type));
		break;
	}
}

static void field(struct buf *b, enum dialect d, const char *s, bool excel_safe)
{
	const char *quote = dialects[d].quote;
	size_t n = strlen(quote);

	buf_adds(b, quote);
	if (excel_safe && *s && strchr("=+-@\t\r", *s))
		buf_addc(b, '\'');
	while (*s) {
		if (strncmp(s, quote, n) == 0) {
			buf_adds(b, dialects[d].doubled);
			s += n;
		} else if (strncmp(s, dialects[d].separator, 1) == 0 &&
			d == TABLE_DAT) {
			buf_addc(b, ' ');
			s++;
		} else {
			buf_addc(b, *s++);
		}
	}
	buf_adds(b, quote);
}

void table_line(struct buf *all, enum dialect d, const struct archive_row *row,
	const struct besides *x, bool excel_safe)
{
	struct buf one = BUF_INIT(ROW_MAX / 4);
	const struct column *c;

	if (!row)
		buf_adds(all, dialects[d].start);
	for (c = dialects[d].columns; c->name; c++) {
		if (c != dialects[d].columns)
			buf_adds(all, dialects[d].separator);
		buf_clear(&one);
		if (row)
			value(&one, d, c->what, row, x);
		else
			buf_adds(&one, c->name);
		field(all, d, buf_str(&one), excel_safe);
	}
	buf_adds(all, dialects[d].end);
	buf_free(&one);
}

void table_put(struct out *o, enum dialect d, const struct archive_row *row,
	const struct besides *x, bool excel_safe)
{
	struct buf b = BUF_INIT(ROW_MAX);

	table_line(&b, d, row, x, excel_safe);
	out_put(o, buf_str(&b), b.n);
	buf_free(&b);
}

/* ---- JSON ---- */

static void add_text(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, ",\"%s\":", name);
	text_json(b, text, strlen(text));
}

static void add_header(struct buf *b, const char *name, const char *header)
{
	struct buf shown = BUF_INIT(4 * SHOWN_MAX);

	add_shown(&shown, header);
	add_text(b, name, buf_str(&shown));
	buf_free(&shown);
}

void row_json(struct buf *b, const struct archive_row *r)
{
	buf_addf(b, "{\"seq\":%" PRIu64 ",\"size\":%" PRIu64 ",\"sealed\":%s", r->seq,
		r->size, r->sealed ? "true" : "false");
	add_text(b, "segment", r->segment);
	add_text(b, "path", r->path);
	add_text(b, "folder", r->folder);
	add_text(b, "uidl", r->uidl);
	add_text(b, "sha256", r->sha256);
	add_text(b, "date", r->date);
	add_text(b, "date_utc", r->date_utc);
	add_text(b, "retrieved", r->retrieved);
	add_header(b, "from", r->from);
	add_header(b, "to", r->to);
	add_header(b, "cc", r->cc);
	add_header(b, "subject", r->subject);
	add_header(b, "message_id", r->message_id);
	add_text(b, "flags", r->flags);
	add_text(b, "anomalies", r->anomalies);
	buf_addc(b, '}');
}

/* ---- the formats that are only a table ---- */

static enum status csv_begin(struct export *x, struct err *err)
{
	(void)err;
	table_put(x->t.file, TABLE_CSV, NULL, NULL, false);
	return ST_OK;
}

static enum status csv_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	(void)m;
	(void)err;
	table_put(x->t.file, TABLE_CSV, row, NULL, x->job->excel_safe);
	return ST_OK;
}

static enum status jsonl_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	struct buf b = BUF_INIT(ROW_MAX);

	(void)m;
	(void)err;
	row_json(&b, row);
	buf_addc(&b, '\n');
	out_put(x->t.file, buf_str(&b), b.n);
	buf_free(&b);
	return ST_OK;
}

const struct format format_csv = { .name = "csv",
	.what = "a table of the messages, for spreadsheets",
	.begin = csv_begin,
	.put = csv_put };
const struct format format_jsonl = {
	.name = "jsonl", .what = "the same as JSON, one object a line", .put = jsonl_put
};
