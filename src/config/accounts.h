/*
 * accounts.h: a table of accounts as it is kept: the text as it was read, with where
 * each row begins. A row is taken apart again when its job is made, so one that waits
 * costs what it takes in the file.
 */
#ifndef CONFIG_ACCOUNTS_H
#define CONFIG_ACCOUNTS_H

#include "own.h"

/* What a column can be that is no setting. */
enum part {
	PART_FREE, /* for "{column}" */
	PART_NONE, /* nobody reads it */
	SOURCE_USER,
	SOURCE_HOST,
	SOURCE_PORT,
	SOURCE_PASSWORD,
	DEST_USER,
	DEST_HOST,
	DEST_PORT,
	DEST_PASSWORD,
};

struct part_name {
	const char *name;
	enum part part;
};
enum { PARTS = 23, PARTS_OURS = 8, PARTS_IMAPSYNC = 6 };
/* Ours first, and those of imapsync last, in its order. */
extern const struct part_name part_names[PARTS];

#define NO_ROW SIZE_MAX

struct column {
	char *name; /* lower case, '-' for '_' and ' '; "": none */
	const struct setting *setting;
	enum part part; /* when it is no setting */
	bool used;
};

struct row {
	size_t at;
	unsigned line;
};

struct accounts {
	char *shown;
	char *text; /* wiped */
	size_t n, cap;
	char separator;
	bool passwords; /* there is a column of them */
	size_t header_at, header_n;
	unsigned header_line;
	struct column *columns;
	size_t n_columns;
	struct row *rows;
	size_t n_rows, rows_cap;
	struct record record;
	size_t current; /* the row in it, or NO_ROW */
};

/* Brings the row into a->record. */
const struct record *accounts_turn(struct accounts *a, size_t row);
/* A column's name as it is compared; free it. */
char *accounts_name(const char *s);
bool accounts_is_password(enum part part);

#endif
