/* label.c: the columns of messages.csv that file a message, without the rest of it. */
#include "label.h"
#include "../form/csv.h"
#include "../form/segment.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 64 * 1024 * 1024 }; /* folders and UIDLs of one segment */

void labels_free(struct labels *l)
{
	free(l->v);
	free(l->text);
	*l = (struct labels){ 0 };
}

static void labels_begin(struct labels *l, const struct idx *x)
{
	labels_free(l);
	l->n = x->n;
	l->first = x->n ? x->rows[0].seq : 0;
	l->v = xcalloc(x->n + 1, sizeof(*l->v));
	/* Offset 0 is the empty text. */
	l->text_cap = 4096;
	l->text = xmalloc(l->text_cap);
	l->text[0] = '\0';
	l->text_n = 1;
}

static size_t add_text(struct labels *l, const char *s)
{
	size_t n = strlen(s) + 1, at = l->text_n;

	if (n == 1)
		return 0;
	while (l->text_cap - l->text_n < n) {
		l->text_cap *= 2;
		l->text = xreallocarray(l->text, l->text_cap, 1);
	}
	memcpy(l->text + at, s, n);
	l->text_n += n;
	return at;
}

/* Is it one of the words of the field? */
static bool has_word(const char *words, const char *word)
{
	size_t n = strlen(word);
	const char *p = words;

	while ((p = strstr(p, word))) {
		if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
		p += n;
	}
	return false;
}

static enum status take_row(void *ctx, char *const f[CSV_COLUMNS], struct err *err)
{
	struct labels *l = ctx;
	uint64_t seq = strtoull(f[CSV_SEQ], NULL, 10);
	struct label *k;

	if (seq < l->first || seq - l->first >= l->n || l->v[seq - l->first].known ||
		l->text_n > TEXT_MAX)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"metadata/messages.csv tells of other messages than there are");
	k = &l->v[seq - l->first];
	if (!text_unhex(k->sha, DIGEST, f[CSV_SHA256]))
		return err_set(err, ST_DENIED, EX_DATAERR,
			"metadata/messages.csv has no digest of message %.20s",
			f[CSV_SEQ]);
	if (strcmp(l->text + l->folder, f[CSV_FOLDER]) != 0)
		l->folder = add_text(l, f[CSV_FOLDER]);
	k->folder = l->folder;
	k->uidl = add_text(l, f[CSV_UIDL]);
	k->number = (uint32_t)strtoul(f[CSV_MSGNO], NULL, 10);
	k->listed_size = *f[CSV_LIST_SIZE] ? strtoull(f[CSV_LIST_SIZE], NULL, 10)
					   : UINT64_MAX;
	k->retrieved = date_parse(f[CSV_RETRIEVED], strlen(f[CSV_RETRIEVED])).utc;
	k->date = date_parse(f[CSV_INTERNAL_DATE], strlen(f[CSV_INTERNAL_DATE]));
	k->seen = has_word(f[CSV_FLAGS], "seen");
	k->answered = has_word(f[CSV_FLAGS], "answered");
	k->flagged = has_word(f[CSV_FLAGS], "flagged");
	k->draft = has_word(f[CSV_FLAGS], "draft");
	k->known = true;
	return ST_OK;
}

enum status labels_sealed(struct labels *l, const struct archive_reader *r,
	const struct sealed *s, struct bytes *b, const struct idx *x, struct err *err)
{
	struct entries *entries = NULL;
	struct unpacker *u = NULL;
	struct csv csv;
	const char *p;
	size_t n;
	enum status rc;

	labels_begin(l, x);
	csv_init(&csv);
	rc = segment_tag(
		&entries, &u, b, r->policy.codec, s->name, x, tag_names[TAG_CSV], err);
	while (rc == ST_OK && (rc = entries_data(entries, &p, &n, err)) == ST_OK && n)
		rc = csv_feed(&csv, p, n, take_row, l, err);
	if (rc == ST_OK)
		rc = csv_end(&csv, err);
	entries_close(&entries);
	unpacker_close(&u);
	csv_release(&csv);
	return rc;
}

struct lines {
	struct labels *l;
	struct csv csv;
};

static enum status take_line(
	void *ctx, size_t row, const char *line, size_t n, struct err *err)
{
	struct lines *s = ctx;

	(void)row;
	return csv_feed(&s->csv, line, n, take_row, s->l, err);
}

enum status labels_open(
	struct labels *l, const struct archive_reader *r, struct err *err)
{
	struct lines s = { .l = l };
	enum status rc;

	labels_begin(l, &r->open.idx);
	csv_init(&s.csv);
	s.csv.body = true; /* the log has no header line */
	rc = open_state_rows(&r->open, &r->log, take_line, &s, err);
	csv_release(&s.csv);
	return rc;
}
