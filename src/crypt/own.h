/* own.h: what the files of this folder share. */
#ifndef CRYPT_OWN_H
#define CRYPT_OWN_H

#include <popferry/buf.h>
#include <popferry/crypt.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
	TAG = 16,      /* of both ciphers */
	NONCE = 12,    /* of both */
	POINT = 32,    /* X25519: a secret, or a point */
	FILE_KEY = 16, /* of age */
	DIGEST = 32,   /* SHA-256 */
	CHUNK = 64 * 1024,
	SEALED_CHUNK = CHUNK + TAG,
	AGE_HEADER_MAX = 256 * 1024,
	KEY_FILE_MAX = 1024 * 1024,
	PASSPHRASE_MAX = 4096,
};

/* ---- primitives (prim.c) ---- */

enum aead { AEAD_CHACHA, AEAD_GCM };

/* A cipher with its key. The error tells of an OpenSSL that has not got it. */
enum status aead_new(EVP_CIPHER_CTX **out, enum aead which,
	const unsigned char key[CRYPT_KEY], struct err *err);
/* n bytes and a tag into out, which is not in. */
void aead_seal(EVP_CIPHER_CTX *c, const unsigned char nonce[NONCE], const void *ad,
	size_t ad_n, const void *in, size_t n, unsigned char *out);
/* n bytes and their tag; false unless they are what was sealed. */
bool aead_unseal(EVP_CIPHER_CTX *c, const unsigned char nonce[NONCE], const void *ad,
	size_t ad_n, const unsigned char *in, size_t n, unsigned char *out);
enum status random_bytes(void *p, size_t n, struct err *err);
bool hkdf(unsigned char out[DIGEST], const void *key, size_t key_n, const void *salt,
	size_t salt_n, const char *info);
/* False when the point is one that gives no secret. */
bool x25519(unsigned char out[POINT], const unsigned char secret[POINT],
	const unsigned char point[POINT]);
bool x25519_public(unsigned char out[POINT], const unsigned char secret[POINT]);
/* RFC 4648 without padding; false unless it is the one right way to write it. */
bool bare_base64(unsigned char *out, size_t cap, size_t *n, const char *s, size_t s_n);
void bare_base64_add(struct buf *b, const void *p, size_t n);

/* ---- bech32.c: "age1...", "AGE-SECRET-KEY-1..." of 32 bytes ---- */

bool bech32_read(unsigned char out[POINT], const char *prefix, const char *s, size_t n);
/* prefix in lower case, and so is all of it. */
void bech32_write(struct buf *b, const char *prefix, const unsigned char in[POINT]);

/* ---- recipients and identities ---- */

struct recipient {
	char *name;
	unsigned char point[POINT];
	char *passphrase; /* NULL: it is the point, or */
	X509 *cert;
};
struct recipients {
	enum crypt_kind kind;
	bool expired; /* certificates may be */
	struct recipient *v;
	size_t n;
};

enum identity_kind { ID_X25519, ID_PASSPHRASE, ID_PKEY, ID_AGE_KEY, ID_CMS_KEY };
struct identity {
	enum identity_kind kind;
	unsigned char secret[CRYPT_KEY]; /* X25519, or the key of one file */
	unsigned char point[POINT];
	char *passphrase;
	EVP_PKEY *pkey;
};
struct identities {
	struct identity *v;
	size_t n;
};
struct identity *identities_new(struct identities *i, enum identity_kind kind);

/* A file of keys, whole; secret: nobody else may read it. Wipe it with wipe_free(). */
enum status key_file_read(
	char **out, size_t *n, const char *path, bool secret, struct err *err);
void wipe_free(void *p, size_t n);
/* The next line that is neither empty nor a comment; false at the end. */
struct lines {
	const char *p, *end;
	unsigned no;
};
bool lines_next(struct lines *l, const char **s, size_t *n);
/* The newest error of OpenSSL, and none after. */
const char *openssl_reason(void);

/* ---- the header of an age file (age_head.c) ---- */

enum { STANZA_ARGS = 4, STANZAS_MAX = 1024 };

struct stanza {
	const char *args[STANZA_ARGS]; /* of them the first is the type */
	size_t args_n[STANZA_ARGS];
	size_t n; /* how many there are, of which more than STANZA_ARGS are not kept */
	unsigned char *body;
	size_t body_n;
};
struct age_head {
	struct stanza *v;
	size_t n;
	size_t mac_over; /* bytes from the begin */
	unsigned char mac[DIGEST];
	size_t size;
};
/* ST_END: more bytes are needed. Stanzas point into p. */
enum status age_head_parse(
	struct age_head *h, const char *p, size_t n, struct err *err);
void age_head_release(struct age_head *h);
bool stanza_is(const struct stanza *s, const char *type);
void stanza_write(struct buf *b, const char *args, const void *body, size_t n);

/* ---- who has the key (age_key.c) ---- */

/* A whole header for these recipients. */
enum status age_wrap(struct buf *out, const unsigned char key[FILE_KEY],
	const struct recipients *r, struct err *err);
/* The key of the file whose header is h, of these bytes; its MAC is right. */
enum status age_unwrap(unsigned char key[FILE_KEY], const struct age_head *h,
	const char *head, const struct identities *i, struct err *err);
/* Checks what stands in a stanza of a known type. NULL, or what is wrong. */
const char *stanza_fault(const struct stanza *s);

/* ---- kinds of encryptors ---- */

struct encryptor_ops {
	enum status (*write)(
		struct encryptor *e, const void *p, size_t n, struct err *err);
	enum status (*end)(struct encryptor *e, struct err *err);
	void (*key)(const struct encryptor *e, struct identities *i);
	void (*close)(struct encryptor *e);
};
struct encryptor {
	const struct encryptor_ops *ops;
	crypt_give *give;
	void *ctx;
};
enum status age_encryptor(
	struct encryptor **out, const struct recipients *r, struct err *err);
enum status cms_encryptor(
	struct encryptor **out, const struct recipients *r, struct err *err);

/* ---- kinds of bytes ---- */

struct bytes_ops {
	enum status (*read)(
		struct bytes *b, void *p, size_t n, uint64_t off, struct err *err);
	enum status (*twin)(struct bytes **out, const struct bytes *b, struct err *err);
	void (*close)(struct bytes *b);
};
struct bytes {
	const struct bytes_ops *ops;
	uint64_t size;
	int fd;
	bool owned;
};
/* Exactly n bytes of the file. */
enum status read_at(int fd, void *p, size_t n, uint64_t off, struct err *err);
enum status file_size(int fd, uint64_t *out, struct err *err);
/* Takes fd over, if owned, only when it is ST_OK. cut: its end may be missing or
 * damaged. */
enum status age_bytes(struct bytes **out, int fd, bool owned, bool cut,
	const struct identities *i, struct err *err);
/* A file of size bytes under a veil; both are taken over. */
void veiled_bytes(struct bytes **out, int fd, struct veil *v, uint64_t size);

/* ---- CMS (cms.c, cms_key.c, ber.c) ---- */

/* What stands before and behind the content of AuthEnvelopedData. */
struct cms_frame {
	unsigned char *infos; /* the content of the SET of RecipientInfo; owned */
	size_t infos_n;
	unsigned char nonce[NONCE];
};
/* Parses an encrypted file, gives each piece of the content in place, then its tag. */
enum status ber_read(struct cms_frame *f, int fd, crypt_give *give, void *ctx,
	unsigned char tag[TAG], struct err *err);
/* Appends tag and length. */
void ber_head(struct buf *b, unsigned char tag, size_t n);
/* All that stands before the first piece of the content. */
void ber_begin(struct buf *b, const struct cms_frame *f);
void ber_finish(struct buf *b, const unsigned char tag[TAG]);
/* The same as a whole, for OpenSSL, without content. */
void ber_mini(struct buf *b, const struct cms_frame *f);
/* The recipients of such a DER, less the one whose key is kek: its wrapped key. */
bool ber_infos(struct cms_frame *f, unsigned char wrapped[CRYPT_KEY + 8],
	const unsigned char *der, size_t n);

/* A content key and the RecipientInfos that wrap it. */
enum status cms_wrap(struct cms_frame *f, unsigned char key[CRYPT_KEY],
	const struct recipients *r, struct err *err);
/* ST_END: this is none of its recipients. */
enum status cms_unwrap(unsigned char key[CRYPT_KEY], const struct cms_frame *f,
	EVP_PKEY *pkey, struct err *err);
enum status cms_bytes(struct bytes **out, int fd, const struct identities *i,
	int tmpdir, struct err *err);

#endif
