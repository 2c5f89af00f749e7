/*
 * header.h: a header block, item by item.
 *
 * Lines end as canon.h says. Nothing fails: a line that is no field is junk.
 */
#ifndef MAIL_HEADER_H
#define MAIL_HEADER_H

#include <popferry/mail.h>
#include <popferry/text.h>

/* A name longer than this is no field. */
enum { FIELD_NAME_MAX = 256 };

enum item_kind {
	ITEM_FIELD,
	ITEM_JUNK,
	ITEM_BLANK,
	ITEM_FROM, /* mbox's "From " line, only at the very start */
};

struct item {
	enum item_kind kind;
	const char *p; /* all of it, with continuation lines and line ends */
	size_t n;
	const char *name, *value; /* of a field; the value as it stands, folded */
	size_t name_n, value_n;
};

struct header {
	const char *p;
	size_t n, pos;
	size_t tail, end; /* of the LF-ended stretch at pos */
	bool plain;
};

/* plain: it is known that there is no lone CR. */
void header_begin(struct header *h, const char *p, size_t n, bool plain);
bool header_next(struct header *h, struct item *it);

static inline bool item_is(const struct item *it, const char *name, size_t name_n)
{
	/* Most differ in the first byte, and in more than its case. */
	return it->name_n == name_n && !((it->name[0] ^ name[0]) & 0x5f) &&
		text_same_n(it->name, name, name_n);
}

/* Appends a value with line ends and the blanks around them as one blank. */
void field_unfold(const char *p, size_t n, struct buf *out);

/*
 * Finds the end of a header block that comes piece by piece. Blank lines (and
 * a "From " line) at the start belong to the header when a field follows.
 */
struct header_scan {
	size_t at;    /* looked at so far */
	size_t crs;   /* CRs just before */
	size_t blank; /* the end of the first blank line, while lead */
	bool lead;    /* no header line has come */
	bool empty;   /* nor anything in this line */
	bool plain;   /* set it: no lone CR, but perhaps the last byte */
};

void header_scan_init(struct header_scan *s);
/*
 * p and n are all bytes so far. True when *end is known: the bytes up to and
 * with the blank line. last: no more will come (always true then).
 */
bool header_scan(
	struct header_scan *s, const char *p, size_t n, bool last, size_t *end);

#endif
