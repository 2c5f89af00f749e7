/*
 * tree.h: a directory of mail, as it was found.
 */
#ifndef SOURCE_TREE_H
#define SOURCE_TREE_H

#include "files.h"

#include <sys/stat.h>

enum place { HERE, IN_NEW, IN_CUR, UNREAD };

struct mail {
	uint64_t size;
	int64_t time;
	size_t name; /* in the text, of the file */
	uint32_t dir, occurrence;
	uint8_t place; /* UNREAD: it is no message, but a directory that cannot be read */
	bool gone;
};

struct dir {
	char *path;      /* from the root, with a '/' behind; "": the root */
	bool maildir;    /* it has cur */
	size_t first, n; /* its messages */
};

struct tree {
	struct files f;
	const struct endpoint *end;
	int root;
	bool maildirs; /* nothing else is wanted */
	bool named;    /* each file was named: whatever it is called, it is a message */
	struct dir *dirs;
	size_t n_dirs;
	struct mail *v;
	size_t n, cap;
	struct names names;
	bool copied; /* the files' times are those of a copy */
};

extern const char *const walk_places[]; /* "", "new/", "cur/" */

const char *walk_name(const struct tree *t, const struct mail *m);
/* From the root; free it. */
char *walk_path(const struct tree *t, const struct mail *m);
/* Bytes of a name that stay when flags change. */
size_t walk_lasting(const char *name);
/* path is taken over. */
void walk_add_dir(struct tree *t, char *path);
/* st NULL: nothing is known of it. */
struct mail *walk_add_mail(struct tree *t, size_t dir, enum place place,
	const char *name, const struct stat *st);
/* Fills the tree, from its first directory on; each in the order of the names. */
enum status walk_all(struct tree *t, struct err *err);
/* Where all messages of this folder are now: once for all that were moved. */
void walk_look_again(struct tree *t, const struct dir *d);

#endif
