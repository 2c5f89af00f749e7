/*
 * archive.h: the archive on disk: write, find again, list, check.
 *
 * One archive is a directory; the format is told in src/archive/FORMAT. Messages
 * go into a segment: an ordinary compressed tar whose entries hold them byte
 * for byte. The open segment is readable by plain tar at every commit; what is
 * committed survives kill -9, and the finished segment has the same bytes
 * whether or not it was interrupted. A closed segment is never opened for writing
 * again.
 *
 * Errors: ST_FATAL (EX_IOERR, EX_CANTCREAT), ST_DENIED (EX_TEMPFAIL: another
 * process writes to it; EX_DATAERR: damaged, or of a newer format; EX_USAGE:
 * another codec, a bad slug, or other recipients; EX_NOINPUT: nothing there to read;
 * EX_NOPERM: encrypted, and no identity opens it). After a
 * failed put, commit or seal the writer can only be closed; the next open recovers.
 *
 * Threads: a writer or reader belongs to one thread. A writer starts some of its own,
 * to compress; the bytes do not depend on how many.
 */
#ifndef POPFERRY_ARCHIVE_H
#define POPFERRY_ARCHIVE_H

#include <popferry/crypt.h>
#include <popferry/err.h>
#include <popferry/mail.h>
#include <popferry/story.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum archive_codec { ARCHIVE_GZ, ARCHIVE_ZST, ARCHIVE_ZIP, ARCHIVE_NONE };
const char *archive_codec_name(enum archive_codec c); /* gz zst zip none */

struct archive_config {
	const char *path;
	const char *slug;   /* for new archives: [a-z0-9-]{1,32}; NULL: from path */
	const char *source; /* "pop3s://user@host": for bag-info.txt */
	enum archive_codec codec; /* for new archives */
	bool codec_given;         /* then an existing archive must have the same */
	uint64_t member_bytes;    /* 64 KiB to 64 MiB; 0: 1 MiB, of zst 2 MiB */
	/* When a segment is full: compressed bytes, and messages (65 000 at most). 0:
	 * what archive.json says; of a new one 256 MiB, and 50 000. */
	uint64_t segment_bytes;
	unsigned segment_messages;
	/* That compress, at most 4; 0: one a processor, of zst half as many. */
	unsigned threads;
	/*
	 * Whom it is encrypted to. An archive that is there must have the same; NULL:
	 * for a new one nobody, else those it has.
	 */
	const struct recipients *recipients;
	/* The job's directory for keys of what is open, of an encrypted archive: there
	 * must be one. */
	const char *state;
	const struct archive_fixed *fixed; /* NULL: random bytes and the clock */
	/* Asked at each sealing what the run has to tell; NULL: nothing. */
	void (*story)(void *ctx, struct run_story *out);
	void *story_ctx;
};

/* Instead of those, so that two archives can have the same bytes. */
struct archive_fixed {
	unsigned char seed[32]; /* of the salts */
	int64_t now;            /* UTC seconds */
};

/* What is known of a message besides its bytes and facts. */
struct archive_entry {
	const char *folder; /* UTF-8, '/' between parts; "" is INBOX */
	const char *uidl;   /* bytes; NULL: none */
	size_t uidl_n;
	uint32_t occurrence;
	uint32_t number;      /* in the session */
	uint64_t listed_size; /* UINT64_MAX: unknown */
	int64_t retrieved;    /* UTC seconds */
	struct when date;     /* INTERNALDATE as judged */
	bool seen, answered, flagged, draft;
};

/* ---- writing ---- */

struct archive_writer;

/*
 * Opens or makes the archive, locks it, and recovers: the open segment is cut
 * back to the last commit, a half-finished sealing is done again.
 */
enum status archive_open(
	struct archive_writer **out, const struct archive_config *cfg, struct err *err);

/*
 * before(ctx) is called before anything that was put becomes durable: in commit and
 * seal, and in a put that fills a segment. When it fails so do they, and nothing has
 * become durable.
 */
void archive_before_commit(struct archive_writer *w,
	enum status (*before)(void *ctx, struct err *err), void *ctx);

/* Adds one message; *seq is its number in the archive (from 1). Not yet durable. */
enum status archive_put(struct archive_writer *w, const struct message *m,
	const struct archive_entry *e, uint64_t *seq, struct err *err);

/*
 * Returns when all messages up to number seq (0: all that were put) are durable, and
 * perhaps more: it does not wait for what was put after them when it need not.
 */
enum status archive_commit(struct archive_writer *w, uint64_t seq, struct err *err);

/* The last message that is durable, as are all before it. 0: none is. */
uint64_t archive_durable(const struct archive_writer *w);
/* How many milliseconds the disk has taken to make a commit durable, on average. */
int archive_commit_ms(const struct archive_writer *w);

/* How often messages were disposed of. */
unsigned archive_disposals(const struct archive_writer *w);

/*
 * Looks for a durable message with this SHA-256 that archive_claim() has not
 * given away, among all segments: first for one with this UIDL and occurrence too,
 * then (UIDLs change: quirk Q11) for any. ST_OK and its number, or ST_END.
 */
enum status archive_find(struct archive_writer *w, const struct archive_entry *e,
	const struct message *m, uint64_t *seq, struct err *err);

/* The same for any message of these very bytes. */
enum status archive_recall(struct archive_writer *w, const unsigned char sha256[DIGEST],
	uint64_t *seq, struct err *err);

/* This number belongs to a known message: find() will not give it again. */
void archive_claim(struct archive_writer *w, uint64_t seq);

/*
 * The run is at its end. Commits and closes the open segment, if it holds anything: tag
 * files, end of archive, re-read and checked, renamed into segments/. If not, what the
 * run has to tell goes to the custody log alone.
 */
enum status archive_seal(struct archive_writer *w, struct err *err);

/*
 * Adds an event to the custody log: "export", of object, with what is to be said of it
 * (a JSON object; NULL: nothing). ST_END: the archive has no log, or not one that can
 * be written here (a copy on a disc).
 */
enum status archive_note(const char *path, const char *event, const char *object,
	const char *detail, struct err *err);

/* The event "delete.server": these, of this source, are there no more. As
 * archive_note(). */
enum status archive_note_removed(const char *path, const char *account,
	const struct story_item *items, size_t n, struct err *err);

/*
 * Lists in manifest-sha256.txt what has no line there yet: signatures and timestamps
 * that were made since. ST_END: there is no such file. ST_DENIED, EX_TEMPFAIL: somebody
 * else is at work here; whoever calls this next does it.
 */
enum status archive_list_marks(const char *path, struct err *err);

struct archive_finished {
	bool open;                 /* something was, committed or not */
	uint64_t sealed, messages; /* 0 or 1 segment now, and what it has */
	uint64_t segments;         /* sealed, with that one */
};
/*
 * Seals what a run that was interrupted has committed, as the next one would; its seal
 * tells nothing of the source. Where nothing is open nothing is written. state: as in
 * the config, of the job that was interrupted; NULL: none is known. ST_DENIED:
 * EX_TEMPFAIL, somebody is at work here; EX_NOPERM, it is encrypted and the key is not
 * there.
 */
enum status archive_finish(struct archive_finished *out, const char *path,
	const char *state, struct err *err);

/* Releases the lock. What was not committed is lost, as by a crash. */
void archive_close(struct archive_writer **w);

/* ---- reading ---- */

struct archive_reader;
enum status archive_read(
	struct archive_reader **out, const char *path, struct err *err);

struct archive_access {
	const struct identities
		*identities; /* they must outlive the reader; NULL: none */
	/* Where the key may be of what is not sealed yet: what that holds is unknown
	 * without it. NULL: nowhere. */
	const char *state;
	/* Also without an identity, for what can be done so: archive_verify(),
	 * archive_read_id(). */
	bool closed;
};
enum status archive_read_as(struct archive_reader **out, const char *path,
	const struct archive_access *a, struct err *err);
enum crypt_kind archive_crypt(const struct archive_reader *r);
void archive_done(struct archive_reader **r);

/*
 * One row of metadata/messages.csv; texts live until the callback returns.
 * Never NULL; date is the INTERNALDATE as judged, RFC 3339 with its zone; occurrence
 * is 1 when a segment has lost its index; path and texts are empty when it has lost
 * its table. Header texts are raw: clean them.
 */
struct archive_row {
	uint64_t seq, size;
	const char *segment, *path, *folder, *uidl, *sha256, *date, *date_utc,
		*retrieved, *from, *to, *cc, *subject, *message_id, *flags, *anomalies;
	uint32_t occurrence;
	bool sealed;
};

/* All messages in order, sealed and open, from the manifests. ST_DENIED and EX_DATAERR
 * after those that are there when a segment is damaged or missing; any other status but
 * ST_OK, also of each(), ends it. */
enum status archive_each(struct archive_reader *r,
	enum status (*each)(void *ctx, const struct archive_row *row, struct err *err),
	void *ctx, struct err *err);

/* What the source said of a message. */
struct archive_known {
	uint64_t seq, size;
	uint64_t listed;  /* its size by the source's listing; UINT64_MAX: unknown */
	const char *uidl; /* until the callback returns; "": none */
};
/* All messages in order; ST_DENIED, EX_DATAERR when a table is damaged. */
enum status archive_each_known(struct archive_reader *r,
	void (*each)(void *ctx, const struct archive_known *m), void *ctx,
	struct err *err);

/*
 * What the runs from this source told of the messages it listed (listing.tsv, FORMAT),
 * oldest segment first: all lines of a listing, in its order, with the UIDL as the
 * source had it. What has a listing that cannot be read, or is not what its seal tells,
 * goes to lost() as one sentence instead. Memory does not grow with the lines. A run
 * that stored nothing left no listing, and one that was not ended has none yet.
 */
enum status archive_each_told(struct archive_reader *r, const char *account,
	void (*each)(void *ctx, const struct story_item *it),
	void (*lost)(void *ctx, const char *what), void *ctx, struct err *err);

/*
 * The bytes of one message. ST_END when there is no such number. They are compared
 * with the recorded digest as they pass: unless ST_OK comes, throw them away.
 */
enum status archive_get(struct archive_reader *r, uint64_t seq, mail_take *take,
	void *ctx, struct err *err);

/*
 * A message that was compared with its digest before anything of it is given: small
 * ones are kept in memory, large ones are read a second time. It must not outlive r.
 */
struct archive_mail;
enum status archive_fetch(struct archive_mail **out, struct archive_reader *r,
	uint64_t seq, struct err *err);
uint64_t archive_mail_size(const struct archive_mail *m);
const char *archive_mail_sha256(const struct archive_mail *m); /* hex */
/* ST_DENIED: the file changed under our hands, and what was given is wrong. */
enum status archive_mail_give(
	const struct archive_mail *m, mail_take *take, void *ctx, struct err *err);
void archive_mail_free(struct archive_mail **m);

/* ---- reading all of it, in order ---- */

const char *archive_read_id(const struct archive_reader *r); /* urn:uuid:... */

/* A message as the indexes know it; nothing is unpacked for that. */
struct archive_listed {
	uint64_t seq, size;
	const unsigned char *sha256; /* NULL: it is lost, and its size is not known */
};

/* How it was filed. Texts live until the next call. */
struct archive_filed {
	struct archive_entry entry; /* as it was put */
	/* Not NULL: the segment's table is damaged, and this says how. Of entry only
	 * the folder is known then, as its path has it. */
	const char *unknown;
};

/* Each member is unpacked once, and each table read once, as long as numbers ascend. */
struct archive_stream;
void archive_stream_open(struct archive_stream **out, struct archive_reader *r);
void archive_stream_close(struct archive_stream **s);

/*
 * All messages by number, first of all. What a missing or unreadable segment had is
 * listed as lost. ST_DENIED, EX_DATAERR: all that is known was listed, but how much is
 * lost besides nobody knows.
 */
enum status archive_stream_list(struct archive_stream *s,
	void (*each)(void *ctx, const struct archive_listed *m), void *ctx,
	struct err *err);

/* As archive_get(). After ST_DENIED, EX_DATAERR others may be had. A message_maker must
 * be new: its digest is compared. */
enum status archive_stream_get(struct archive_stream *s, uint64_t seq, mail_take *take,
	void *ctx, struct archive_filed *out, struct err *err);

/* ---- one message, for somebody who has nothing else ---- */

struct archive_proof {
	uint64_t seq, size;
	uint64_t tree;       /* messages under the root */
	unsigned seal, path; /* its number; nodes from the leaf to the root */
	char archive[64], sha256[65];
};

/*
 * Makes the directory out: the message, how its leaf leads to the root of a seal, the
 * seal with its signature and timestamp, certificates, and how to check all that
 * (FORMAT). It gets its name when all in it is durable. ST_END: there is no such
 * message. ST_DENIED: EX_TEMPFAIL, it is not sealed yet; EX_UNAVAILABLE, version 0.1.0
 * made no seals; EX_CANTCREAT, out is there already.
 */
enum status archive_prove(struct archive_reader *r, uint64_t seq, const char *out,
	struct archive_proof *told, struct err *err);

/*
 * Whether all in such a directory fits together, but for the signature and the
 * timestamp of its seal.json, which sign_check() knows. ST_DENIED, EX_DATAERR when not.
 */
enum status archive_proof_check(int dirfd, struct archive_proof *told, struct err *err);

/* ---- checking ---- */

struct archive_check {
	uint64_t segments, messages, bytes; /* found good */
	uint64_t damaged;                   /* things found bad */
	uint64_t seals, unsealed; /* segments with one; without one: of version 0.1.0 */
	uint64_t events;          /* in the custody log */
	uint64_t signatures, timestamps; /* that were made, as it tells */
	uint64_t gone; /* messages that were disposed of, with a record of it */
	/* Encrypted segments, and messages in them, of which only the files and seals
	 * were looked at; messages that are not sealed, and whose key is not here. */
	uint64_t closed, closed_messages;
	bool closed_open;
	/* There is no log/custody.head: what was dropped from the log since the last
	 * seal cannot be known. */
	bool unanchored;
	bool unfinished; /* a disposal was interrupted: the next one goes on with it */
};

/* How much is looked at; nothing said: everything. */
struct archive_how {
	bool quick;      /* files and seals: no message is unpacked */
	uint64_t sample; /* with quick: but so many are, from all over the archive */
};
/*
 * Reads everything and compares: each file with manifest-sha256.txt, each message with
 * its SHA-256 and size, each segment's rows with its entries, numbers without gap; each
 * segment with its seal, the seals and the custody log with each other.
 * Each finding goes to bad() as one sentence that names the file, message or byte
 * range. ST_OK when all is good, ST_DENIED with EX_DATAERR when not; EX_TEMPFAIL:
 * messages were disposed of since r was opened. What runs add meanwhile is passed over.
 * how may be NULL.
 */
enum status archive_verify_as(struct archive_reader *r, const struct archive_how *how,
	struct archive_check *out, void (*bad)(void *ctx, const char *what), void *ctx,
	struct err *err);
enum status archive_verify(struct archive_reader *r, struct archive_check *out,
	void (*bad)(void *ctx, const char *what), void *ctx, struct err *err);

/* ---- what has to stay, and what may go ---- */

/*
 * Holds, retention classes and disposals are records in policy/. The rules choose
 * messages by words, as export.h tells them; whoever calls brings what understands
 * these.
 */
struct archive_words {
	enum status (*make)(void **out, char *const *words, size_t n, struct err *err);
	bool (*has)(const void *choice, const struct archive_row *row);
	bool (*numbers)(const void *choice); /* of a row it looks at seq alone */
	void (*free)(void *choice);
};

/*
 * Of an encrypted archive who has an identity reads what these words are applied to,
 * and what records say in words, which is encrypted as the messages are. Without one
 * these calls do what needs no reading, or say ST_DENIED, EX_NOPERM.
 */

struct archive_holding {
	const char *matter;
	char *const *words; /* none: everything */
	size_t words_n;
	bool future; /* also what comes later and is chosen */
	const struct archive_words *w;
	const struct identities *identities; /* NULL: none; then numbers can be held */
};
struct archive_held {
	unsigned no; /* its number */
	uint64_t n;  /* messages that it holds now */
	/* What is not sealed yet could not be read, and is held only with future. */
	bool open_unknown;
};
/*
 * Places a hold on what the words choose: as long as it stands, archive_dispose()
 * leaves those messages alone. It is in policy/ and in the log when this returns.
 */
enum status archive_hold_place(const char *path, const struct archive_holding *h,
	struct archive_held *out, struct err *err);
/* ST_DENIED, EX_USAGE: there is no such hold, or it was released before. */
enum status archive_hold_release(const char *path, unsigned hold, const char *reason,
	const struct identities *ids, struct err *err);

/* How long messages must stay: one of days, years and until. */
struct archive_class {
	const char *name;
	unsigned days, years;
	int64_t until;  /* 0: not this */
	bool from_date; /* from the message's date; else from when it was retrieved */
	bool fallback;  /* for what no other class chooses; else words choose */
	char *const *words;
	size_t words_n;
	const char *authority; /* NULL: none was named */
};

/* Defines a class, or defines it anew. ST_DENIED, EX_USAGE: it would become shorter or
 * choose other messages, and no authority is named. *no: of the record. */
enum status archive_retention_set(const char *path, const struct archive_class *c,
	const struct archive_words *w, const struct identities *ids, unsigned *no,
	struct err *err);

struct archive_hold {
	unsigned no, released; /* numbers of the records; 0: it is in force */
	/* matter and reason are NULL, and words none, when nobody here can read
	 * them. */
	const char *matter, *placed_at, *seqs; /* "1-5,9" */
	const char *released_at, *reason;      /* NULL while it is in force */
	bool future;
	char *const *words;
	size_t words_n;
};

/*
 * What the records say together. It does not need the reader any more. Of an encrypted
 * archive that nobody reads there are only the holds, without their words.
 */
struct archive_keeping;
enum status archive_keeping_load(struct archive_keeping **out, struct archive_reader *r,
	const struct archive_words *w, struct err *err);
void archive_keeping_free(struct archive_keeping **k);
const struct archive_hold *archive_holds(const struct archive_keeping *k, size_t *n);
const struct archive_class *archive_classes(const struct archive_keeping *k, size_t *n);
/*
 * The newest time the archive tells of, in seals and the custody log. When it lies in
 * the future, a clock was or is wrong.
 */
int64_t archive_newest(const struct archive_keeping *k);

enum archive_fate {
	ARCHIVE_FREE, /* no rule keeps it */
	ARCHIVE_DUE,  /* its time is over */
	ARCHIVE_KEPT, /* until then */
	ARCHIVE_HELD,
	ARCHIVE_OPEN,  /* not sealed yet */
	ARCHIVE_FIXED, /* in a segment of 0.1.0, which has no tree */
};
struct archive_verdict {
	enum archive_fate fate;
	unsigned hold;    /* HELD: which one */
	const char *rule; /* its matter, or the class; NULL: none */
	int64_t until;    /* of the class; 0: none */
};
/* Hold beats retention; of classes the one that keeps it longest counts. */
void archive_judge(const struct archive_keeping *k, const struct archive_row *row,
	int64_t now, struct archive_verdict *out);

struct archive_disposal {
	const char *authority;
	const struct archive_words *words;
	bool (*chosen)(void *ctx, const struct archive_row *row);
	/* What becomes of each that is chosen; may be NULL. */
	void (*tell)(void *ctx, const struct archive_row *row,
		const struct archive_verdict *v);
	void *ctx;
	const struct identities *identities; /* NULL: none */
	bool due;   /* of these only what is DUE; the others are passed over */
	bool act;   /* else nothing is done */
	int64_t at; /* without act: as if it were then; 0: now */
};
struct archive_disposed {
	uint64_t gone, refused; /* messages; without act: that would be */
	unsigned records;
};
/*
 * Takes the chosen messages that are FREE or DUE out of their segments. What is left of
 * each is a tombstone with its leaf, so that seals, signatures and timestamps stay
 * right for all others. Goes on first with what an earlier call could not end. Killed
 * at any moment: the segment is as before or as after it. ST_DENIED, EX_DATAERR: a
 * segment is damaged, and nothing was taken out of it.
 */
enum status archive_dispose(const char *path, const struct archive_disposal *d,
	struct archive_disposed *out, struct err *err);

/* ---- after damage ---- */

struct archive_recovery {
	uint64_t segments, good, lost; /* messages */
	uint64_t indexes;              /* that were made again */
	uint64_t unmade; /* that did not come out so: all can be read without */
};
/*
 * Makes again what can be made from the segments: an index that is lost or damaged, if
 * it comes out as manifest-sha256.txt says (never one that is encrypted); index/ goes.
 * Each message is read, and each run of those that are lost goes to lost(). ST_DENIED,
 * EX_DATAERR: some are.
 */
enum status archive_recover(const char *path, const struct identities *ids,
	struct archive_recovery *out,
	void (*lost)(void *ctx, uint64_t first, uint64_t last, const char *why),
	void *ctx, struct err *err);

#endif
