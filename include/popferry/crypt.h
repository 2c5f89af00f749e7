/*
 * crypt.h: files that only those can read whom they are for.
 *
 * A file is encrypted to recipients and decrypted with identities. Two kinds, which do
 * not mix in one file: age v1 (X25519 keys or a passphrase; any size; read at any
 * place) and CMS AuthEnvelopedData with AES-256-GCM (X.509 certificates; read as a
 * whole). Both can be decrypted without popferry, by age(1) and openssl-cms(1).
 *
 * Nothing is handed out that was not authenticated before. Errors: ST_DENIED
 * (EX_NOPERM: none of the identities opens it; EX_DATAERR: damaged, or not what it
 * should be; EX_CONFIG: keys and certificates; EX_NOINPUT: a file of them is not
 * there), ST_FATAL (EX_IOERR ...). No text holds a key.
 *
 * Threads: everything here belongs to one thread at a time; what is made of recipients
 * or identities does not need them any more once it is open.
 */
#ifndef POPFERRY_CRYPT_H
#define POPFERRY_CRYPT_H

#include <popferry/buf.h>
#include <popferry/err.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CRYPT_KEY = 32 };

/* How a secret is asked for: the result is wiped and freed. */
typedef enum status crypt_ask(void *ctx, char **out, struct err *err);

/* ---- recipients: who is to read it ---- */

enum crypt_kind { CRYPT_NONE, CRYPT_AGE, CRYPT_CMS };
const char *crypt_suffix(enum crypt_kind k); /* "", ".age", ".p7m" */

struct recipients;
void recipients_open(struct recipients **out);
void recipients_close(struct recipients **r);
/*
 * "age1...", or a file: of such lines (empty ones and # comments aside), or of PEM
 * certificates with an RSA or EC key that are valid today.
 */
enum status recipients_add(struct recipients *r, const char *text, struct err *err);
/* From now on certificates may have expired: who could read once reads what is
 * rewritten. */
void recipients_expired(struct recipients *r);
/* Whoever knows the passphrase; there can be no other recipient then. */
enum status recipients_add_passphrase(
	struct recipients *r, const char *passphrase, struct err *err);
enum crypt_kind recipients_kind(const struct recipients *r);
size_t recipients_count(const struct recipients *r);
/* "age1...", "passphrase", or the certificate as "sha256:" and hex. Belongs to r. */
const char *recipients_name(const struct recipients *r, size_t i);
/* Their certificates in PEM; nothing for the others. */
void recipients_pem(const struct recipients *r, struct buf *out);

/* ---- identities: who reads it ---- */

struct identities;
void identities_open(struct identities **out);
void identities_close(struct identities **i);
/*
 * A file of AGE-SECRET-KEY-1... lines (as age-keygen makes them), the same encrypted
 * with a passphrase by age, or a private key in PEM. A regular file must be closed to
 * others. ask is for a passphrase; NULL: there is none.
 */
enum status identities_add(struct identities *i, const char *path, crypt_ask *ask,
	void *ctx, struct err *err);
enum status identities_add_passphrase(
	struct identities *i, const char *passphrase, struct err *err);
size_t identities_count(const struct identities *i);
/*
 * A key for one purpose (info) that is made of all of them together, in whatever
 * order, and so by nobody who lacks one. Wipe it. ST_END: one of them gives no secret,
 * as a key in a token or a passphrase.
 */
enum status identities_derive(unsigned char key[CRYPT_KEY], const struct identities *i,
	const char *salt, const char *info, struct err *err);

/*
 * Makes an identity: a file (mode 0600, not there yet) as age-keygen does, encrypted
 * when there is a passphrase. recipient is what others encrypt to.
 */
enum { CRYPT_RECIPIENT = 63 }; /* "age1" and 58 characters, NUL */
enum status age_keygen(const char *path, const char *passphrase,
	char recipient[CRYPT_RECIPIENT], struct err *err);

/* ---- encrypting ---- */

/* Takes the encrypted bytes in their order. */
typedef enum status crypt_give(void *ctx, const void *p, size_t n, struct err *err);

struct encryptor;
enum status encryptor_open(struct encryptor **out, const struct recipients *r,
	crypt_give *give, void *ctx, struct err *err);
enum status encryptor_write(
	struct encryptor *e, const void *p, size_t n, struct err *err);
/* Without this the file is not whole, and reads as cut off. */
enum status encryptor_end(struct encryptor *e, struct err *err);
/* Adds the key of this one file, so that it can be read back. */
void encryptor_key(const struct encryptor *e, struct identities *i);
void encryptor_close(struct encryptor **e);

/*
 * A file of this many bytes is the largest that openssl-cms(1) should be asked to
 * decrypt: it takes more than three times as much memory. It is no bound of what is
 * here.
 */
#define CRYPT_CMS_MAX (UINT64_C(256) * 1024 * 1024)

/* ---- reading, at any place ---- */

/* The bytes of a file, whatever it is kept in. */
struct bytes;
/* Up to n bytes at off into p; *got is less only at the end. */
enum status bytes_read(
	struct bytes *b, void *p, size_t n, uint64_t off, size_t *got, struct err *err);
uint64_t bytes_size(const struct bytes *b);
/* The same for another thread, which must be done with it before b is closed. */
enum status bytes_twin(struct bytes **out, const struct bytes *b, struct err *err);
void bytes_close(struct bytes **b);

/* A file as it is. owned: the descriptor is closed with it, also when opening fails. */
enum status bytes_plain(struct bytes **out, int fd, bool owned, struct err *err);
/*
 * An encrypted one; the size is that of what is in it. CMS is decrypted as a whole into
 * a file without a name in tmpdir, which is encrypted again, with a key that is nowhere
 * else. The identities are tried in their order.
 */
enum status bytes_decrypt(struct bytes **out, int fd, bool owned,
	const struct identities *i, int tmpdir, struct err *err);
/*
 * The same after damage: an age file that was cut off, or whose end is damaged, has
 * what is there of it, and each part that is read was authenticated in its place. That
 * something is missing at its end the caller must know from elsewhere. Of CMS there is
 * all or nothing.
 */
enum status bytes_salvage(struct bytes **out, int fd, bool owned,
	const struct identities *i, int tmpdir, struct err *err);
/* Decrypts what can only be read in order (age alone), from the descriptor's position:
 * each piece is good when it is given, but only ST_OK says that it was all. */
enum status age_stream(int fd, const struct identities *i, crypt_give *give, void *ctx,
	struct err *err);

/* ---- files that grow, under one key ---- */

/*
 * A key in dirfd/name (0600, 32 bytes): makes it, durable; reads it (ST_END: there is
 * none); overwrites and removes it.
 */
enum status crypt_key_make(
	unsigned char key[CRYPT_KEY], int dirfd, const char *name, struct err *err);
enum status crypt_key_read(
	unsigned char key[CRYPT_KEY], int dirfd, const char *name, struct err *err);
enum status crypt_key_destroy(int dirfd, const char *name, struct err *err);

/*
 * A file that is appended to, of records that are encrypted (AES-256-GCM) and bound to
 * their place and to a label: the name of the file, so that two files of one key cannot
 * be exchanged. Offsets and sizes are those of what is in it. A write that a crash tore
 * ends the file before it. That whole records are missing at the end it cannot tell;
 * who needs to know keeps the size elsewhere.
 */
struct records;
/* For reading and appending; an empty file is a new one, or, when fd is only for
 * reading, ST_END. fd stays the caller's. */
enum status records_open(struct records **out, int fd,
	const unsigned char key[CRYPT_KEY], const char *label, struct err *err);
void records_close(struct records **r);
uint64_t records_size(const struct records *r);
/* Where the record ends that has the byte at off, which is before the end. */
uint64_t records_border(const struct records *r, uint64_t off);
/* One call, one record or several: all of it is there after a sync of fd. After an
 * error nothing of it is. */
enum status records_add(struct records *r, const void *p, size_t n, struct err *err);
/* Cuts it to size, which must be the end of a record (of what one call has added). */
enum status records_cut(struct records *r, uint64_t size, struct err *err);
enum status records_read(struct records *r, void *p, size_t n, uint64_t off,
	size_t *got, struct err *err);
/*
 * Where what is whole and right ends, from off (the end of a record) on: a crash may
 * have left records of the right form in which not all bytes were written.
 */
enum status records_sound(
	struct records *r, uint64_t off, uint64_t *end, struct err *err);
/* The same as bytes; r stays the caller's. They are those of now: what is added is not
 * among them, and after a cut they are to be closed. */
enum status bytes_records(struct bytes **out, const struct records *r, struct err *err);

/* ---- temporary files ---- */

/*
 * What makes the bytes of a file without a name unreadable to who finds them on the
 * disk (AES-256-CTR): the key is made here and is only in memory, and never used for a
 * second file. Each offset may be written once. Whether bytes were changed it does not
 * tell. Any thread may apply it.
 */
struct veil;
enum status veil_open(struct veil **out, struct err *err);
void veil_close(struct veil **v);
/* Both ways; out may be in. off: of these bytes in the file. */
void veil_apply(
	const struct veil *v, uint64_t off, const void *in, void *out, size_t n);

#endif
