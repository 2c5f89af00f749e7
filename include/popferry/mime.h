/*
 * mime.h: the parts of a message (RFC 2045, 2046, 2231), for showing it.
 *
 * A push parser with constant memory: bytes go in, parts and their decoded
 * bytes come out. Nothing in it can fail: what makes no sense is one part of
 * the type text/plain or application/octet-stream, as RFC 2049 would have it.
 * An attached message (message/rfc822) is one part; its inside is not looked at.
 *
 * Threads: an object belongs to one thread.
 */
#ifndef POPFERRY_MIME_H
#define POPFERRY_MIME_H

#include <popferry/buf.h>
#include <popferry/mail.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MIME_DEPTH_MAX = 20,   /* multiparts in multiparts; deeper ones are leaves */
	MIME_PARTS_MAX = 1000, /* what follows counts as part of the last one */
	MIME_HEADER_MAX = 256 * 1024, /* of a part's header; the rest is not seen */
	MIME_NUMBER = 96,
	MIME_WORD = 80,
	MIME_NAME = 512,
};

struct mime_part {
	char number
		[MIME_NUMBER]; /* as in IMAP: "1", "2.1"; of the outermost multipart "" */
	char type[MIME_WORD];    /* lower case, "text/plain" when it does not say */
	char charset[MIME_WORD]; /* as written; "" when it does not say */
	char name[MIME_NAME];    /* of the file; UTF-8 or not: clean it. "" for none */
	bool attachment;         /* it says so */
	bool multipart;          /* only parts in it, no bytes of its own */
};

struct mime_to {
	/* The header has been read; p lives until the next part. May be NULL. */
	void (*part)(void *ctx, const struct mime_part *p);
	/* Decoded bytes of the last part. May be NULL: then it is much faster. */
	void (*data)(void *ctx, const struct mime_part *p, const char *s, size_t n);
};

struct mime;
void mime_begin(struct mime **out, const struct mime_to *to, void *ctx);
void mime_put(void *mime, const char *p, size_t n); /* a mail_take */
void mime_end(struct mime **m);

/*
 * Each field of a header block in order: its name and its value, unfolded and
 * trimmed. What is no field comes with an empty name.
 */
void mime_fields(const char *head, size_t n,
	void (*field)(void *ctx, const char *name, size_t name_n, const char *value,
		size_t n),
	void *ctx);

/* ---- character sets ---- */

/*
 * Bytes of a character set to UTF-8; what is invalid there becomes U+FFFD. A
 * set that is not known, or none, leaves the bytes as they are.
 */
struct charset;
void charset_begin(struct charset **out, const char *name, mail_take *take, void *ctx);
void charset_put(struct charset *c, const char *p, size_t n);
void charset_end(struct charset **c);

/* ---- HTML ---- */

/*
 * The text of HTML, in UTF-8 as it comes: no tags, comments, scripts and styles;
 * elements that part words are a LF, other blanks in a row one. Takes anything.
 */
struct html;
void html_begin(struct html **out, mail_take *take, void *ctx);
void html_put(void *html, const char *p, size_t n); /* a mail_take */
void html_end(struct html **h);

#endif
