/* policy.c: archive.json and README.txt. */
#include "json.h"
#include "layout.h"
#include "member.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { POLICY_MAX = 64 * 1024, README_MAX = 16 * 1024 };
#define SEGMENT_BYTES (UINT64_C(256) * 1024 * 1024)
enum { SEGMENT_MESSAGES = 50000 };

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
	char slug[TOKEN_MAX], id[TOKEN_MAX], codec[TOKEN_MAX], tree[TOKEN_MAX],
		head[TOKEN_MAX];

	if (!json_get(slug, s, "slug") || !slug_ok(slug) || !json_get(id, s, "id") ||
		!text_starts(id, "urn:uuid:") || strlen(id) >= sizeof(p->id) ||
		!json_get(codec, s, "codec") || !codec_of(&p->codec, codec))
		return false;
	memcpy(p->slug, slug, strlen(slug) + 1);
	memcpy(p->id, id, strlen(id) + 1);
	p->tree = json_get(tree, s, "tree");
	if (p->tree && strcmp(tree, "rfc6962-sha256") != 0)
		return false;
	p->log_head = json_get(head, s, "log_head") && strcmp(head, "true") == 0;
	if (!policy_encrypt_read(p, s))
		return false;
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

enum status script_write(int dir, struct err *err)
{
	struct buf b = BUF_INIT(SCRIPT_MAX);
	enum status rc;

	script_text(&b);
	rc = fs_replace(dir, "VERIFY.sh", b.p, b.n, 0555, err);
	buf_free(&b);
	return rc;
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
	p->tree = p->log_head = true;
	p->member_bytes = cfg->member_bytes ? cfg->member_bytes
					    : member_bytes(cfg->codec);
	p->segment_bytes = cfg->segment_bytes ? cfg->segment_bytes : SEGMENT_BYTES;
	p->segment_messages = cfg->segment_messages ? cfg->segment_messages
						    : SEGMENT_MESSAGES;
	if (p->segment_messages > SEGMENT_MESSAGES_MAX)
		p->segment_messages = SEGMENT_MESSAGES_MAX;
	rc = make_id(p->id, err);
	if (rc == ST_OK && cfg->recipients)
		rc = policy_set_recipients(p, dir, cfg->recipients, err);
	if (rc < 0)
		return rc;
	readme_text(&b, p);
	rc = fs_replace(dir, "README.txt", b.p, b.n, 0444, err);
	buf_clear(&b);
	if (rc == ST_OK)
		rc = script_write(dir, err);
	buf_addf(&b,
		"{\"format\":%d,\"id\":\"%s\",\"slug\":\"%s\",\"created\":\"%s\","
		"\"hash\":\"sha256\",\"tree\":\"rfc6962-sha256\",\"log_head\":true,\"codec\":\"%s\",\"member_bytes\":%" PRIu64
		",\"segment_bytes\":%" PRIu64 ",\"segment_messages\":%" PRIu64,
		ARCHIVE_FORMAT, p->id, p->slug, clock_rfc3339(now, clock_utc()),
		archive_codec_name(p->codec), p->member_bytes, p->segment_bytes,
		p->segment_messages);
	policy_encrypt_text(&b, p);
	buf_adds(&b, "}\n");
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
	const char *ext = codec_suffix(p->codec),
		   *where = p->crypt == CRYPT_NONE ? "segments/" : "";

	segment_name(name, p, 1);
	buf_addf(b,
		"This directory is a mail archive made by popferry, format %d.\n"
		"It can be read and checked without popferry.\n\n"
		"Each file in segments/ holds messages as the mail server sent them, one\n"
		"file a message, and a table of them: metadata/messages.csv. The last one of a run\n"
		"has metadata/listing.tsv too: all that the server listed, and what became of it;\n"
		"metadata/errors.csv: what could not be had; metadata/server.json: what the server\n"
		"said.\n\n",
		ARCHIVE_FORMAT);
	if (p->crypt == CRYPT_AGE)
		buf_addf(b,
			"The segments are encrypted (age v1, https://age-encryption.org/v1). With one of\n"
			"the keys that archive.json tells of:\n\n"
			"Decrypt a segment:   age -d -i KEY -o %s%s segments/%s%s\n\n"
			"The commands below are for what comes out of that.\n\n",
			name, ext, name, segment_suffix(p));
	if (p->crypt == CRYPT_CMS)
		buf_addf(b,
			"The segments are encrypted (CMS AuthEnvelopedData, RFC 5083, AES-256-GCM), to\n"
			"the certificates in recipients.pem. With the key of one of them:\n\n"
			"Decrypt a segment:   openssl cms -decrypt -binary -inform DER -inkey KEY -in segments/%s%s -out %s%s\n\n"
			"The commands below are for what comes out of that.\n\n",
			name, segment_suffix(p), name, ext);
	buf_addf(b, "List a segment:      %s %s%s%s\n", how[p->codec].list, where, name,
		ext);
	buf_addf(b, "Extract a segment:   %s %s%s%s\n", how[p->codec].extract, where,
		name, ext);
	buf_addf(b,
		"Check everything:    sh VERIFY.sh\n"
		"Check the files:     sha256sum -c manifest-sha256.txt\n"
		"Check the messages:  extract, then\n"
		"                     cd %s && sha256sum -c manifest-sha256.txt\n\n"
		"An extracted segment is a BagIt bag (RFC 8493) and a Mailbag 1.0 (mailbag.csv\n"
		"has a line for each message). Files in segments/ are complete and never change.\n"
		"open/ holds messages of a run that is under way or was interrupted; the next\n"
		"run completes them. %s "
		"Do not change anything by hand.\n\n",
		name,
		p->crypt == CRYPT_NONE
			? "Its .part and .rest files are\ntars too."
			: "They are\nencrypted with a key of the job that writes them.");
	buf_adds(b,
		"How an auditor checks it. VERIFY.sh compares each file with\n"
		"manifest-sha256.txt, each message with messages.csv, and each segment with its\n"
		"seal in seals/. It says what is wrong, and ends with 0 if nothing is, else 65.\n"
		"It needs sha256sum, tar and awk; whoever does not trust the copy in here takes\n"
		"that of another archive: all are alike.\n\n"
		"A seal tells how many messages there were, the SHA-256 of the segment, of the\n"
		"seal before it, and the root of a Merkle tree (RFC 6962) over all messages until\n"
		"then. The leaf of a message is the SHA-256 of a zero byte and the text\n"
		"\"v1 SEQ SHA256 SIZE SALT\", a node that of a byte 01 and the two below it; the\n"
		"salts stand in metadata/merkle.tsv of the segment. So whoever has kept the last\n"
		"seal, or its SHA-256, on paper or signed, can prove that not one message was\n"
		"added, changed or taken away since. log/custody.jsonl says what was done with the\n"
		"archive; each line has the SHA-256 of the line before it, each seal that of the\n"
		"last line when it was made.\n");
}
