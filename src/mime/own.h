/* own.h: what the files of this folder share. */
#ifndef MIME_OWN_H
#define MIME_OWN_H

#include <popferry/mime.h>

/* The value of the first field of that name in a header block; false: none. */
bool head_field(const char *head, size_t n, const char *name, struct buf *out);

/*
 * What a header block says of its part. boundary is "" unless it is a
 * multipart that has one.
 */
enum { BOUNDARY_MAX = 200 };
enum encoding { ENC_NONE, ENC_QP, ENC_BASE64 };
struct said {
	char boundary[BOUNDARY_MAX];
	enum encoding encoding;
};
void head_said(const char *head, size_t n, struct mime_part *part, struct said *said);

/* ---- transfer encodings, any cutting ---- */

struct decoder {
	enum encoding encoding;
	unsigned bits, n; /* base64: what is collected */
	char held[4];     /* quoted-printable: "=" and what came behind it */
	size_t held_n;
};
void decoder_init(struct decoder *d, enum encoding e);
void decoder_put(
	struct decoder *d, const char *p, size_t n, mail_take *take, void *ctx);
void decoder_end(struct decoder *d, mail_take *take, void *ctx);

#endif
