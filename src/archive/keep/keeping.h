/*
 * keeping.h: the rules of holds and retention as their records tell them.
 */
#ifndef ARCHIVE_KEEPING_H
#define ARCHIVE_KEEPING_H

#include "../erase/record.h"
#include "../erase/secret.h"

/* What a hold or class chooses, beside what is told of it to others. */
struct rule {
	struct ranges seqs; /* of a hold */
	uint64_t last;      /* the newest message when it was placed */
	char **words;
	size_t words_n;
	void *choice;
};

struct archive_keeping {
	const struct archive_words *w;
	const struct vault *vault; /* while records are read */
	struct archive_hold *holds;
	struct rule *hold_rules;
	size_t holds_n;
	struct archive_class *classes; /* the newest definition of each name */
	struct rule *class_rules;
	size_t classes_n;
	int64_t *sealed_by; /* of segment i + 1: the newest time of seals before it */
	size_t sealed_n;
	int64_t newest;
	uint64_t events; /* in the custody log, as the seals tell; there may be more */
};

/*
 * The rules alone; dir is the archive's. *k is freed by archive_keeping_free(). Where
 * nobody reads the words there are only holds, without them.
 */
enum status keeping_rules(
	struct archive_keeping *k, int dir, const struct vault *v, struct err *err);
void keeping_clear(struct archive_keeping *k);

/* hold.c, retention.c: one record more. */
enum status hold_take(
	struct archive_keeping *k, unsigned no, const char *text, struct err *err);
enum status class_take(
	struct archive_keeping *k, unsigned no, const char *text, struct err *err);

void rule_words(struct rule *r, const char *text);
void words_json(struct buf *b, char *const *words, size_t n);
/* ST_DENIED, EX_USAGE: they are no choice. */
enum status words_check(
	const struct archive_words *w, char *const *words, size_t n, struct err *err);

#endif
