/* own.h: what the files of this folder share. */
#ifndef CONFIG_OWN_H
#define CONFIG_OWN_H

#include <popferry/config.h>

#include <sys/types.h>

enum {
	VALUE_MAX = 4096,         /* bytes of one value or URL */
	PROFILE_LINE_MAX = 4096,  /* bytes of one line of a profile */
	PROFILE_MAX = 512 * 1024, /* bytes of one profile */
	PROFILE_DEPTH = 8,        /* extends, source-profile and dest-profile */
	RULES_MAX = 500,          /* in one job */
	RULE_TESTS_MAX = 50,
	RULE_NAME_MAX = 64,
	TEMPLATE_MAX = 512,
	NAME_MAX_BYTES = 64, /* of a job */
	SECRET_MAX = 4096,   /* bytes of a password */
	COMMAND_SECONDS = 60,
	TSA_MAX = 16,
};

/* ---- where a value stands, and what is wrong with it ---- */

/* "alice.conf:7" and "folder"; or "--folder" or "DEST", which say both. */
struct spot {
	const char *where, *key;
};
enum status spot_bad(const struct spot *at, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Puts the place before an error that has been set without it. */
enum status spot_note(const struct spot *at, struct err *err);

/* What can stand at each end. */
#define SOURCES \
	"pop3s://user@host, pop3://user@host, archive:DIR, maildir:DIR, mbox:FILE, " \
	"eml:FILE, zip:FILE or tar:FILE"
#define DESTS "imaps://user@host/Folder, imap://user@host/Folder or archive:DIR"

/* ---- tables of settings ---- */

struct word {
	const char *name;
	unsigned value;
};
extern const struct word yes_no[]; /* yes 1, no 0; ends with a NULL name */

struct plan;
struct setting;
typedef enum status setting_fn(struct plan *p, const struct setting *s,
	const char *value, const struct spot *at, struct err *err);

enum setting_type {
	SET_TEXT,  /* char *, owned, not empty */
	SET_HOST,  /* the same: a name or an address */
	SET_FORM,  /* the same: one of words */
	SET_UINT,  /* unsigned, lo to hi */
	SET_COUNT, /* uint64_t, lo to hi */
	SET_SIZE,  /* uint64_t, bytes, lo to hi */
	SET_DAY,   /* int64_t, UTC seconds */
	SET_WORD,  /* an enum or unsigned: one of words */
	SET_BOOL,  /* bool: one of words */
	SET_BY,    /* by a function of its own; only for settings of a job */
};

struct setting {
	const char *key;
	enum setting_type type;
	size_t at; /* offset of the field */
	uint64_t lo, hi;
	const struct word *words;
	setting_fn *set;
	const char *argument, *help;
	bool option;
};

/* The offset of a field; does not compile unless the field has that type. */
#define FIELD(s, f, type) \
	(offsetof(struct s, f) + 0 * _Generic(((struct s *)0)->f, type : 1))

const struct setting *setting_find(
	const struct setting *table, size_t n, const char *key);
/* Checks the value and puts it into its field of base; SET_BY is not for this. */
enum status setting_put(void *base, const struct setting *s, const char *value,
	const struct spot *at, struct err *err);
enum status word_find(const struct word *words, const char *value, unsigned *out,
	const struct spot *at, struct err *err);
/* Replaces *field by a copy of the text when that is fit: not empty, one line. */
enum status text_put(
	char **field, const char *value, const struct spot *at, struct err *err);

extern const struct setting pop3_settings[], imap_settings[];
extern const size_t n_pop3_settings, n_imap_settings;

/* ---- tables in text (RFC 4180) ---- */

enum {
	SHEET_FIELDS_MAX = 256,
	SHEET_FIELD_MAX = 64 * 1024,
	SHEET_ROW_MAX = 1024 * 1024,
};

struct sheet {
	const char *p;
	size_t n, off;
	unsigned line; /* where off is, from 1 */
	char separator;
};

/* A row: its fields, each with a NUL behind it, without their quotes. */
struct record {
	const char *p; /* as it stands in the text, with its line end */
	size_t n;
	unsigned line;     /* where it begins */
	const char *fault; /* NULL: it is good */
	size_t n_fields, used, at[SHEET_FIELDS_MAX];
	char *text; /* SHEET_ROW_MAX bytes; may hold passwords */
};

/* Begins at the text's start, behind a byte order mark; finds the separator. */
void sheet_begin(struct sheet *s, const char *p, size_t n);
/* The next row that is neither empty nor a comment; false: there is none. */
bool sheet_next(struct sheet *s, struct record *r);
void record_init(struct record *r);
void record_release(struct record *r); /* wipes it */
const char *record_field(const struct record *r, size_t i);

/* ---- a job in the making ---- */

struct reading;

/* Settings of one end that wait for job_check() to know which end that is. */
struct end {
	struct secret secret;
	unsigned secret_layer;
	unsigned tls; /* enum tls_mode + 1; 0: not set */
	unsigned tls_min;
	char *pin;
};

/* What job_new() gives: the job first, so that one is the other. */
struct plan {
	struct job job;
	struct end source, dest;
	char *ca_file;
	struct pop3_facts pop3;
	struct imap_facts imap;
	bool has_pop3, has_imap; /* such a section was read */
	/*
	 * Settings of one origin (a file, or the command line) belong together:
	 * destinations and password sources of a later one replace, not add.
	 */
	unsigned layer, layers, dest_layer, tsa_layer, sign_layer;
	unsigned encrypt_layer, identity_layer, identity_secret_layer;
	const struct reading *reading; /* the profile being read, or NULL */
	struct accounts *table;        /* whose columns "{column}" is, or NULL */
	size_t row;
};

extern const struct setting job_table[];
extern const size_t n_job_table;
enum status job_put(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err);

void pop3_facts_release(struct pop3_facts *f);
void imap_facts_release(struct imap_facts *f);
void pop3_facts_copy(struct pop3_facts *to, const struct pop3_facts *from);
void imap_facts_copy(struct imap_facts *to, const struct imap_facts *from);
void secret_release(struct secret *s);

/* *out: the value with each "{column}" replaced by that of p's row. */
enum status accounts_fill(struct plan *p, const struct setting *s, const char *value,
	char **out, const struct spot *at, struct err *err);

/* Reads the profile into p; the profiles being read stand in p->reading. */
enum status profile_load(struct plan *p, const char *spec, struct err *err);

/* ---- passwords, timestamps ---- */

/* One of the three places a password can come from; at is the field. */
enum status set_secret(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err);
/* The password itself, of a table. */
enum status password_put(struct plan *p, bool source, const char *text,
	const struct spot *at, struct err *err);
/* A file that holds passwords: ours, and closed to others (mode bits). */
enum status secret_judge(
	int fd, const char *what, const char *path, mode_t others, struct err *err);
/* Adds one; those of an options list replace those of a profile. */
enum status set_tsa(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err);
void tsa_release(struct sealing *s);

/* ---- encryption ---- */

/* Adds one of encrypt-to, or of identity. */
enum status set_crypt(struct plan *p, const struct setting *s, const char *value,
	const struct spot *at, struct err *err);
void texts_release(struct texts *t);
enum status check_crypt(const struct job *j, struct err *err);

/* ---- rules ---- */

enum status rule_put(struct rule *r, const char *key, const char *value,
	const struct spot *at, struct err *err);
/* Asks that it has tests and says what to do. */
enum status rule_check(const struct rule *r, const struct spot *at, struct err *err);
void rule_release(struct rule *r);
/* Checks a folder template and puts it into *field, special names spelt as in RFC 6154.
 */
enum status template_put(
	char **field, const char *value, const struct spot *at, struct err *err);

/* ---- small ones ---- */

struct scheme {
	const char *name;
	bool network, source, dest;
	enum tls_mode tls;
	unsigned port_tls, port;  /* with TLS from the first byte, and without */
	const char *what, *place; /* of a path: "a directory", "DIR" */
};
const struct scheme *scheme_find(const char *name, size_t n);
/* NULL when it is a host name or address, else what is wrong with it. */
const char *host_fault(const char *host, size_t n);

bool parse_number(const char *s, uint64_t lo, uint64_t hi, uint64_t *out);
bool has_control(const char *s, size_t n);
bool path_inside(const char *path, const char *dir); /* both from path_canon() */
/* Where a job's state is when nobody says it; NULL: HOME is not set. Free it. */
char *state_default(const char *name, uint64_t hash);

/* The first line the command prints into *out. It is killed after ms, and when stop_fd
 * (0: none) becomes readable. */
enum status command_line(const char *command, int ms, int stop_fd, const char *what,
	char **out, struct err *err);

#endif
