/* decode.c: RFC 2047 words as people read them, by libetpan. */
#include <popferry/mail.h>

#include <libetpan/libetpan.h>

#include <stdlib.h>
#include <string.h>

bool mime_decode(const char *p, size_t n, struct buf *out)
{
	char *text = NULL;
	size_t at = 0;
	bool ok;

	/* libetpan walks the words one by one; nothing in it recurses. */
	if (n > FACT_MAX || !memchr(p, '=', n))
		return buf_add(out, p, n);
	if (mailmime_encoded_phrase_parse("utf-8", p, n, &at, "utf-8", &text) !=
			MAILIMF_NO_ERROR ||
		!text) {
		free(text);
		return buf_add(out, p, n);
	}
	ok = buf_adds(out, text);
	free(text);
	return ok;
}
