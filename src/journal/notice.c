/* notice.c: what a reader of the report should know of a message. */
#include "own.h"

#include <string.h>

static void clean(char out[NOTE_MAX], const char *s)
{
	text_clean(out, NOTE_MAX, s ? s : "", s ? strlen(s) : 0);
}

enum status journal_notice(struct journal *j, int64_t id, const char *kind,
	const char *text, struct err *err)
{
	char clear[ERR_TEXT], word[NOTE_MAX];
	enum status rc = id ? row_known(j, id, err) : ST_OK;

	if (rc != ST_OK)
		return rc;
	clean(word, kind);
	text_clean(clear, sizeof(clear), text, strlen(text));
	return query_change(j, Q_NOTICE,
		WITH(id ? INT((uint64_t)id) : BLOB(NULL, 0), INT((uint64_t)j->run),
			TEXT(word), TEXT(clear)),
		NULL, err);
}

enum status journal_notice_about(struct journal *j, int64_t id, uint32_t number,
	const struct facts *f, struct err *err)
{
	char message_id[NOTE_MAX], subject[NOTE_MAX];

	clean(message_id, f->message_id);
	clean(subject, f->subject);
	return query_change(j, Q_NOTICE_ABOUT,
		WITH(INT((uint64_t)id), INT((uint64_t)j->run), INT(number),
			TEXT(message_id), TEXT(subject)),
		NULL, err);
}

enum status journal_notices(struct journal *j, int64_t run,
	void (*each)(void *ctx, const struct journal_notice *n), void *ctx,
	struct err *err)
{
	enum query q = run ? Q_NOTICES_RUN : Q_NOTICES;
	struct value which = INT((uint64_t)run);
	struct journal_notice n;
	enum status rc;

	rc = query_row(j, q, &which, run ? 1 : 0, err);
	while (rc == ST_OK) {
		n.uidl = col_blob(j, q, 0, &n.uidl_n);
		n.number = (uint32_t)col_int(j, q, 1);
		n.size = (uint64_t)col_int_or(j, q, 2, -1);
		n.message_id = col_text(j, q, 3);
		n.subject = col_text(j, q, 4);
		n.kind = col_text(j, q, 5);
		n.text = col_text(j, q, 6);
		each(ctx, &n);
		rc = query_next(j, q, err);
	}
	return rc == ST_END ? ST_OK : rc;
}

enum status journal_notice_kinds(struct journal *j, int64_t id,
	void (*each)(void *ctx, const char *kind), void *ctx, struct err *err)
{
	enum status rc = query_row(j, Q_NOTICE_KINDS, WITH(INT((uint64_t)id)), err);

	while (rc == ST_OK) {
		each(ctx, col_text(j, Q_NOTICE_KINDS, 0));
		rc = query_next(j, Q_NOTICE_KINDS, err);
	}
	return rc == ST_END ? ST_OK : rc;
}
