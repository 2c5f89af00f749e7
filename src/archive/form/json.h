/*
 * json.h: reading the little JSON that archive.json, seals and custody events are.
 */
#ifndef ARCHIVE_JSON_H
#define ARCHIVE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOKEN_MAX = 256 };

/*
 * The value at a path of keys ("tree.size") in the object s, up to *end. NULL when
 * there is none. No key may have a '.' or an escape in it.
 */
const char *json_at(const char *s, const char *path, const char **end);

/* A string's, word's or number's text; false when there is none, or it is escaped. */
bool json_get(char out[TOKEN_MAX], const char *s, const char *path);
bool json_number(uint64_t *out, const char *s, const char *path);
/* A string of exactly 2n hex digits. */
bool json_hex(unsigned char *out, size_t n, const char *s, const char *path);

/* A text without its escapes, xmalloc()ed; NULL: there is none. */
char *json_text(const char *s, const char *path);
/* A list of texts; *n of them. */
char **json_texts(const char *s, const char *path, size_t *n);
void json_texts_free(char ***texts, size_t n);

#endif
