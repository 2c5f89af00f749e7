/* policy.c: archive.json and README.txt. */
#include "layout.h"
#include "member.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { POLICY_MAX = 64 * 1024, TOKEN_MAX = 256, README_MAX = 8 * 1024 };
#define SEGMENT_BYTES (UINT64_C(256) * 1024 * 1024)
enum { SEGMENT_MESSAGES = 50000 };

/* ---- reading the little JSON that archive.json is ---- */

/*
 * Behind the value that starts at s: a string, a word or number, or an object
 * or list (passed over). NULL when it is none.
 */
static const char *value_end(const char *s)
{
	int depth = 0;

	do {
		s += strspn(s, " \t\r\n,:");
		if (*s == '"') {
			for (s++; *s && *s != '"'; s++)
				if (*s == '\\' && s[1])
					s++;
			if (*s++ != '"')
				return NULL;
		} else if (*s == '{' || *s == '[') {
			depth++;
			s++;
		} else if (*s == '}' || *s == ']') {
			depth--;
			s++;
		} else {
			size_t n = strcspn(s, " \t\r\n,:{}[]\"");

			if (n == 0)
				return NULL;
			s += n;
		}
	} while (depth > 0);
	return depth == 0 ? s : NULL;
}

/* Copies a string's or number's text; false when too long or escaped. */
static bool copy_token(char out[TOKEN_MAX], const char *s, const char *end)
{
	if (*s == '"') {
		s++;
		end--;
	}
	if ((size_t)(end - s) >= TOKEN_MAX || memchr(s, '\\', (size_t)(end - s)))
		return false;
	memcpy(out, s, (size_t)(end - s));
	out[end - s] = '\0';
	return true;
}

/* The value of a key of the outer object; false when there is none. */
static bool json_get(char out[TOKEN_MAX], const char *s, const char *key)
{
	char name[TOKEN_MAX];

	s += strspn(s, " \t\r\n");
	if (*s++ != '{')
		return false;
	for (;;) {
		const char *value, *end;

		s += strspn(s, " \t\r\n,");
		end = *s == '"' ? value_end(s) : NULL;
		if (!end || !copy_token(name, s, end))
			return false;
		value = end + strspn(end, " \t\r\n");
		if (*value++ != ':')
			return false;
		value += strspn(value, " \t\r\n");
		end = value_end(value);
		if (!end)
			return false;
		if (strcmp(name, key) == 0)
			return copy_token(out, value, end);
		s = end;
	}
}

static bool json_number(uint64_t *out, const char *s, const char *key)
{
	char t[TOKEN_MAX], *end;

	if (!json_get(t, s, key) || t[0] < '0' || t[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(t, &end, 10);
	return *end == '\0' && errno == 0;
}

/* ---- archive.json ---- */

static bool slug_ok(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n <= SLUG_MAX && s[n] == '\0';
}

static bool codec_of(enum archive_codec *out, const char *name)
{
	enum archive_codec c;

	for (c = ARCHIVE_GZ; c <= ARCHIVE_NONE; c++)
		if (strcmp(archive_codec_name(c), name) == 0) {
			*out = c;
			return true;
		}
	return false;
}

static bool parse(struct policy *p, const char *s)
{
	char slug[TOKEN_MAX], id[TOKEN_MAX], codec[TOKEN_MAX];

	if (!json_get(slug, s, "slug") || !slug_ok(slug) || !json_get(id, s, "id") ||
		!text_starts(id, "urn:uuid:") || strlen(id) >= sizeof(p->id) ||
		!json_get(codec, s, "codec") || !codec_of(&p->codec, codec))
		return false;
	memcpy(p->slug, slug, strlen(slug) + 1);
	memcpy(p->id, id, strlen(id) + 1);
	return json_number(&p->member_bytes, s, "member_bytes") &&
		json_number(&p->segment_bytes, s, "segment_bytes") &&
		json_number(&p->segment_messages, s, "segment_messages") &&
		p->member_bytes >= 1024 && p->member_bytes <= 64 * 1024 * 1024 &&
		p->segment_bytes > 0 && p->segment_messages > 0 &&
		p->segment_messages <= SEGMENT_MESSAGES_MAX;
}

enum status policy_load(struct policy *p, int dir, struct err *err)
{
	uint64_t format;
	char *text;
	size_t n;
	enum status rc = fs_read(&text, &n, dir, "archive.json", POLICY_MAX, err);

	if (rc != ST_OK)
		return rc;
	memset(p, 0, sizeof(*p));
	if (!json_number(&format, text, "format"))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"archive.json is damaged: put it back from a copy of the archive");
	else if (format != ARCHIVE_FORMAT)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"the archive has format %" PRIu64
			", this popferry knows %d: use a newer popferry",
			format, ARCHIVE_FORMAT);
	else if (!parse(p, text))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"archive.json is damaged or not of a popferry archive: put it back "
			"from a copy of the archive");
	free(text);
	return rc;
}

static void slug_from(char out[SLUG_MAX + 1], const char *path)
{
	size_t end = strlen(path), start, n = 0;

	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/';)
		start--;
	for (; start < end && n < SLUG_MAX; start++) {
		char c = path[start];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c + 32);
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
			c = '-';
		if (c != '-' || (n && out[n - 1] != '-'))
			out[n++] = c;
	}
	while (n && out[n - 1] == '-')
		n--;
	out[n] = '\0';
	if (n == 0)
		memcpy(out, "archive", 8);
}

static enum status make_id(char out[64], struct err *err)
{
	unsigned char r[16];
	char h[33];

	if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return err_sys(err, ST_FATAL, "random bytes");
	r[6] = (unsigned char)((r[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
	r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
	text_hex(h, r, sizeof(r));
	snprintf(out, 64, "urn:uuid:%.8s-%.4s-%.4s-%.4s-%s", h, h + 8, h + 12, h + 16,
		h + 20);
	return ST_OK;
}

enum status policy_make(
	struct policy *p, int dir, const struct archive_config *cfg, struct err *err)
{
	struct buf b = BUF_INIT(README_MAX);
	char now[24];
	enum status rc;

	memset(p, 0, sizeof(*p));
	if (cfg->slug && !slug_ok(cfg->slug))
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s is no name for an archive: take 1 to %d of a-z, 0-9 and -",
			cfg->slug, SLUG_MAX);
	if (cfg->slug)
		memcpy(p->slug, cfg->slug, strlen(cfg->slug) + 1);
	else
		slug_from(p->slug, cfg->path);
	p->codec = cfg->codec;
	p->member_bytes = member_bytes(cfg->codec);
	p->segment_bytes = cfg->segment_bytes ? cfg->segment_bytes : SEGMENT_BYTES;
	p->segment_messages = cfg->segment_messages ? cfg->segment_messages
						    : SEGMENT_MESSAGES;
	if (p->segment_messages > SEGMENT_MESSAGES_MAX)
		p->segment_messages = SEGMENT_MESSAGES_MAX;
	rc = make_id(p->id, err);
	if (rc < 0)
		return rc;
	readme_text(&b, p);
	rc = fs_replace(dir, "README.txt", b.p, b.n, 0444, err);
	buf_clear(&b);
	buf_addf(&b,
		"{\"format\":%d,\"id\":\"%s\",\"slug\":\"%s\",\"created\":\"%s\","
		"\"hash\":\"sha256\",\"codec\":\"%s\",\"member_bytes\":%" PRIu64
		",\"segment_bytes\":%" PRIu64 ",\"segment_messages\":%" PRIu64 "}\n",
		ARCHIVE_FORMAT, p->id, p->slug, clock_rfc3339(now, clock_utc()),
		archive_codec_name(p->codec), p->member_bytes, p->segment_bytes,
		p->segment_messages);
	if (rc == ST_OK)
		rc = fs_replace(dir, "archive.json", b.p, b.n, 0444, err);
	buf_free(&b);
	return rc;
}

/* ---- README.txt ---- */

static const struct {
	const char *list, *extract;
} how[] = {
	[ARCHIVE_GZ] = { "tar tzf", "tar xzf" },
	[ARCHIVE_ZST] = { "tar --zstd -tf", "tar --zstd -xf" },
	[ARCHIVE_ZIP] = { "unzip -l", "unzip" },
	[ARCHIVE_NONE] = { "tar tf", "tar xf" },
};

void readme_text(struct buf *b, const struct policy *p)
{
	char name[NAME_MAX_SEGMENT];
	const char *ext = codec_suffix(p->codec);

	segment_name(name, p, 1);
	buf_addf(b,
		"This directory is a mail archive made by popferry, format %d.\n"
		"It can be read and checked without popferry.\n\n"
		"Each file in segments/ holds messages as the mail server sent them, one\n"
		"file a message, and a table of them: metadata/messages.csv.\n\n",
		ARCHIVE_FORMAT);
	buf_addf(b, "List a segment:      %s segments/%s%s\n", how[p->codec].list, name,
		ext);
	buf_addf(b, "Extract a segment:   %s segments/%s%s\n", how[p->codec].extract,
		name, ext);
	buf_addf(b,
		"Check the files:     sha256sum -c manifest-sha256.txt\n"
		"Check the messages:  extract, then\n"
		"                     cd %s && sha256sum -c manifest-sha256.txt\n\n"
		"An extracted segment is a BagIt bag (RFC 8493). Files in segments/ are\n"
		"complete and never change. open/ holds messages of a run that is under way or\n"
		"was interrupted; the next run completes them. Its .part and .rest files are\n"
		"tars too. Do not change anything by hand.\n",
		name);
}
