/*
 * layout.h: names in an archive directory, archive.json, the top manifest.
 */
#ifndef ARCHIVE_LAYOUT_H
#define ARCHIVE_LAYOUT_H

#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/crypt.h>

enum {
	ARCHIVE_FORMAT = 1,
	SLUG_MAX = 32,
	NAME_MAX_SEGMENT = SLUG_MAX + 8, /* "-", 6 digits, NUL */
	STEM_MAX = NAME_MAX_SEGMENT + 8, /* ".r", up to 4 digits */
	REVISION_MAX = 9999,
	FILE_NAME_MAX = 96,
	SEGMENT_MESSAGES_MAX = 65000, /* zip: under 65 535 entries */
	SEGMENT_NO_MAX = 999999,
	PATH_LABEL_MAX = 160,
	RECIPIENTS_MAX = 32,
	RECIPIENT_MAX = 80, /* "sha256:", 64 digits, NUL */
};
#define SEQ_MAX UINT64_C(999999999)

/* archive.json */
struct policy {
	char id[64]; /* urn:uuid:... */
	char slug[SLUG_MAX + 1];
	enum archive_codec codec;
	uint64_t member_bytes, segment_bytes, segment_messages;
	bool tree;     /* all its segments have seals */
	bool log_head; /* its custody log has an anchor */
	enum crypt_kind crypt;
	unsigned to_n; /* whom it is encrypted to */
	char to[RECIPIENTS_MAX][RECIPIENT_MAX];
};

/* ST_END when there is none; ST_DENIED, EX_DATAERR when damaged or newer. */
enum status policy_load(struct policy *p, int dir, struct err *err);
/* A new one from the configuration, written with README.txt beside it. */
enum status policy_make(
	struct policy *p, int dir, const struct archive_config *cfg, struct err *err);
/* Those of an encrypted archive at path, also with certificates that have expired
 * since. Close them. */
enum status policy_recipients(struct recipients **out, const struct policy *p,
	const char *path, bool expired, struct err *err);
/* ST_DENIED, EX_USAGE when it is not encrypted to exactly these. */
enum status policy_same_recipients(
	const struct policy *p, const struct recipients *r, struct err *err);
/* Notes them in a new one; of certificates the archive gets a copy. */
enum status policy_set_recipients(
	struct policy *p, int dir, const struct recipients *r, struct err *err);
/* The "encrypt" of archive.json, with a comma before it; nothing when it is not. */
void policy_encrypt_text(struct buf *b, const struct policy *p);
/* ST_DENIED, EX_DATAERR: it makes no sense. */
bool policy_encrypt_read(struct policy *p, const char *json);
/* The README.txt of such an archive. */
void readme_text(struct buf *b, const struct policy *p);
/* VERIFY.sh; the same in all archives of one version of popferry. */
enum { SCRIPT_MAX = 64 * 1024 };
void script_text(struct buf *b);
enum status script_write(int dir, struct err *err);

/* ".tar.gz" and so on: of sealed segments (but for encryption), and of open ones (zip:
 * ".tar"). */
const char *codec_suffix(enum archive_codec c);
const char *codec_open_suffix(enum archive_codec c);
/* Whether members are compressed; a zip is only when it is sealed. */
bool codec_packs(enum archive_codec c);

/* The same with encryption: ".tar.gz.age"; and ".idx", ".idx.age". */
const char *segment_suffix(const struct policy *p);
const char *idx_suffix(const struct policy *p);

void segment_name(char out[NAME_MAX_SEGMENT], const struct policy *p, unsigned no);
/*
 * What the names of its files begin with: its name and, when messages were disposed of,
 * ".rN".
 */
struct segment_no {
	unsigned no, revision;
};
void segment_stem(char out[STEM_MAX], const struct policy *p, struct segment_no s);
/* The file's name, of a fixed kind: "%s.idx" with the segment's name. */
void file_name(char out[FILE_NAME_MAX], const char *segment, const char *suffix);
/* Of the key of an open segment that is encrypted, in the state directory. */
void key_name(char out[FILE_NAME_MAX], const struct policy *p, unsigned no);
void rest_name(char out[FILE_NAME_MAX], const char *segment, unsigned member);

/* Whether dirfd/name is there: ST_OK, ST_END, or what keeps us from knowing. */
enum status file_there(int dirfd, const char *name, struct err *err);

/* The same of a file that nothing but a file of this very place will do for: ST_DENIED,
 * EX_DATAERR for a link, a folder or a pipe. */
enum status file_real(int dirfd, const char *name, struct err *err);

/* The names in dirfd/name but "." and "..". ST_END: it is not there. */
struct names;
enum status names_open(
	struct names **out, int dirfd, const char *name, struct err *err);
/* The next one, good until the call after it. ST_END: there is no other. */
enum status names_next(struct names *l, const char **name, struct err *err);
void names_close(struct names **l);

/* The sealed segments, ascending, each in its newest revision; *out is the caller's. */
enum status segments_list(struct segment_no **out, size_t *n, int segdir,
	const struct policy *p, struct err *err);

/* The number of the segment whose commit log is in open/; 0: there is none. */
enum status open_log_find(
	unsigned *no, int opendir, const struct policy *p, struct err *err);

/* "INBOX" or the folder's name made safe; see FORMAT. b: PATH_LABEL_MAX at least. */
void folder_label(struct buf *b, const char *folder);
/* "data/eml/LABEL/000000001.eml" */
void message_path(struct buf *b, const char *folder, uint64_t seq);
/* Whether it is such a path, and of which message. */
bool message_path_seq(const char *path, uint64_t *seq);
/* The same for what stands where a message stood: ".tombstone" instead of ".eml". */
bool tombstone_path_seq(const char *path, uint64_t *seq);
/* Either of them. */
bool entry_path_seq(const char *path, bool tombstone, uint64_t *seq);

/* ---- manifest-sha256.txt of the directory ---- */

/* What was just read and found good. */
struct known_sum {
	char name[FILE_NAME_MAX];
	unsigned char sha[DIGEST];
};

/*
 * Rewrites it: lines already there stay as they are, files without a line are read and
 * get one; but the one of sum, which may be NULL, is not read again.
 */
enum status manifest_update(int dir, int segdir, const struct policy *p,
	const struct known_sum *sum, struct err *err);

/* The same where a file has no line, else nothing. */
enum status manifest_fill(int dir, int segdir, const struct policy *p, struct err *err);

/* Where there are segments nobody makes it anew, as if it had always said so:
 * ST_DENIED, EX_DATAERR when it is missing there. */
enum status manifest_there(
	int dir, int segdir, const struct policy *p, struct err *err);

/* Each line; damage ends it with ST_DENIED, no file with ST_END. */
enum status manifest_each(int dir,
	enum status (*each)(void *ctx, const char *name,
		const unsigned char sha[DIGEST], struct err *err),
	void *ctx, struct err *err);

#endif
