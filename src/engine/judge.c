/* judge.c: filters, routing rules, folder templates, date and flags of a message. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "engine_p.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ADDRESS_MAX = 320, FIELDS_MAX = 64 };

/* ---- addresses ---- */

/*
 * The next address in a header value: what stands between < and >, or else a
 * word with an '@'. Enough for routing; it never fails on odd mail.
 */
static bool next_address(const char **p, char out[ADDRESS_MAX])
{
	const char *at = strchr(*p, '@'), *a, *b;
	size_t n;

	if (!at)
		return false;
	for (a = at; a > *p && !strchr("<,;:\" \t()", a[-1]); a--)
		;
	for (b = at; *b && !strchr(">,;\" \t()", *b); b++)
		;
	*p = b;
	n = (size_t)(b - a);
	if (n >= ADDRESS_MAX)
		n = ADDRESS_MAX - 1;
	memcpy(out, a, n);
	out[n] = '\0';
	return true;
}

static bool holds_me(const struct job *job, const char *value)
{
	char one[ADDRESS_MAX];
	size_t i;

	while (value && next_address(&value, one))
		for (i = 0; i < job->n_me; i++)
			if (text_same(one, job->me[i]))
				return true;
	return false;
}

/* ---- rules ---- */

static bool header_matches(const struct message *m, const struct rule_test *t)
{
	struct buf value = BUF_INIT(FACT_MAX);
	bool hit = false;
	unsigned n;

	for (n = 0; !hit && n < FIELDS_MAX && message_field(m, t->header, n, &value);
		n++) {
		hit = text_glob(t->pattern, buf_str(&value), value.n);
		buf_clear(&value);
	}
	buf_free(&value);
	return hit;
}

static bool test_holds(const struct job *job, const struct message *m,
	const struct judgement *v, const struct rule_test *t)
{
	const struct facts *f = &m->facts;

	switch (t->kind) {
	case TEST_HEADER:
		return header_matches(m, t);
	case TEST_FROM_ME:
		return holds_me(job, f->from) == (t->value != 0);
	case TEST_TO_ME:
		return (holds_me(job, f->to) || holds_me(job, f->cc)) ==
			(t->value != 0);
	case TEST_SINCE:
		return v->date.known && v->date.utc >= t->value;
	case TEST_BEFORE:
		return v->date.known && v->date.utc < t->value;
	case TEST_MIN_SIZE:
		return f->size >= (uint64_t)t->value;
	case TEST_MAX_SIZE:
		return f->size <= (uint64_t)t->value;
	}
	return false;
}

static const struct rule *first_rule(
	const struct job *job, const struct message *m, const struct judgement *v)
{
	size_t i, k;

	for (i = 0; i < job->n_rules; i++) {
		const struct rule *r = &job->rules[i];

		for (k = 0; k < r->n_tests; k++)
			if (!test_holds(job, m, v, &r->tests[k]))
				break;
		if (k == r->n_tests)
			return r;
	}
	return NULL;
}

/* ---- folder templates ---- */

/* "Name of list <list.example.org>" gives "list"; without brackets the whole. */
static void add_list_name(struct buf *out, const char *list_id)
{
	const char *a, *b;

	if (!list_id) {
		buf_adds(out, "none");
		return;
	}
	a = strrchr(list_id, '<');
	a = a ? a + 1 : list_id;
	b = a + strcspn(a, ".>");
	if (b == a)
		buf_adds(out, "none");
	buf_add(out, a, (size_t)(b - a));
}

static void add_sender(struct buf *out, const char *from, bool domain)
{
	char one[ADDRESS_MAX];
	const char *at;

	if (!from || !next_address(&from, one)) {
		buf_adds(out, "unknown");
		return;
	}
	/* An address over ADDRESS_MAX is cut, perhaps before its '@'. */
	at = strchr(one, '@');
	buf_adds(out, !domain ? one : at ? at + 1 : "unknown");
}

static void add_date(struct buf *out, const struct when *w, char what)
{
	time_t t = (time_t)(w->utc + w->zone * 60);
	struct tm tm;

	/* As the sender's clock had it: a letter of New Year's Eve stays there. */
	if (!w->known || !gmtime_r(&t, &tm))
		buf_adds(out, "undated");
	else if (what == 'Y')
		buf_addf(out, "%04d", tm.tm_year + 1900);
	else
		buf_addf(out, "%02d", what == 'm' ? tm.tm_mon + 1 : tm.tm_mday);
}

/*
 * Values come from mail, so a '/' in one of them must not make a level: it
 * becomes '_' here; what else a server cannot take the sink makes fit.
 */
static void add_value(
	struct buf *out, const struct message *m, const struct judgement *v, char what)
{
	size_t from = out->n;

	switch (what) {
	case 'l':
		add_list_name(out, m->facts.list_id);
		break;
	case 's':
	case 'a':
		add_sender(out, m->facts.from, what == 's');
		break;
	case '%':
		buf_addc(out, '%');
		break;
	default:
		add_date(out, &v->date, what);
	}
	for (; from < out->n; from++)
		if (out->p[from] == '/' || out->p[from] == '\0')
			out->p[from] = '_';
}

static void expand(struct judgement *v, const struct message *m, const char *template)
{
	struct buf out = BUF_INIT(sizeof(v->folder) - 1);
	const char *p;

	for (p = template; *p; p++) {
		if (*p == '%' && p[1])
			add_value(&out, m, v, *++p);
		else
			buf_addc(&out, *p);
	}
	snprintf(v->folder, sizeof(v->folder), "%s", buf_str(&out));
	buf_free(&out);
}

/* ---- date, flags ---- */

static void judge_date(const struct job *job, const struct message *m, int64_t now,
	struct judgement *v)
{
	size_t i;

	v->date_from = "none";
	for (i = 0; job->date_order[i] != DATE_NONE; i++) {
		bool received = job->date_order[i] == DATE_RECEIVED;
		const struct when *w = received ? &m->facts.received_when
						: &m->facts.date_when;

		if (!w->known || !date_sane(w, now))
			continue;
		v->date = *w;
		v->date_from = received ? "received" : "header";
		return;
	}
}

/* Status: R read; X-Status: A answered, F flagged, T draft (mbox custom). */
static void judge_flags(const struct job *job, const struct message *m, int64_t now,
	struct judgement *v)
{
	const char *status = m->facts.status, *x = m->facts.x_status;

	v->answered = x && strchr(x, 'A');
	v->flagged = x && strchr(x, 'F');
	v->draft = x && strchr(x, 'T');
	switch (job->seen) {
	case SEEN_STATUS_HEADER:
		v->seen = (status && strchr(status, 'R')) || (x && strchr(x, 'R'));
		break;
	case SEEN_ALL:
		v->seen = true;
		break;
	case SEEN_NONE:
		v->seen = false;
		break;
	case SEEN_OLDER_THAN:
		v->seen = v->date.known && v->date.utc < now - job->seen_age;
		break;
	}
}

/*
 * Filed once already: that holds, unless an option asks for something else than the
 * default. Status headers say nothing that was not judged then.
 */
static void keep_date(const struct job *job, const struct origin *was, int64_t now,
	struct judgement *v)
{
	if (job->date_order[0] != DATE_RECEIVED || job->date_order[1] != DATE_HEADER ||
		!was->date.known || !date_sane(&was->date, now))
		return;
	v->date = was->date;
	v->date_from = "source";
}

static void keep_flags(
	const struct job *job, const struct origin *was, struct judgement *v)
{
	if (job->seen == SEEN_STATUS_HEADER)
		v->seen = was->seen;
	v->answered = was->answered;
	v->flagged = was->flagged;
	v->draft = was->draft;
}

static const char *option_filter(const struct job *job, const struct message *m,
	uint64_t listed, const struct judgement *v)
{
	uint64_t size = listed == UINT64_MAX ? m->facts.size : listed;

	if (job->since && (!v->date.known || v->date.utc < job->since))
		return v->date.known ? "since" : NULL;
	if (job->before && v->date.known && v->date.utc >= job->before)
		return "before";
	if (job->min_size && size < job->min_size)
		return "min-size";
	if (job->max_size && size > job->max_size)
		return "max-size";
	return NULL;
}

static const char *default_folder(const struct job *job)
{
	size_t i;

	if (job->folder)
		return job->folder;
	for (i = 0; i < job->n_dest; i++)
		if (job->dest[i].folder && job->dest[i].folder[0])
			return NULL; /* of a URL: no template, taken as it is */
	return "INBOX";
}

/* "", "inbox" and "Inbox/x" name the same folders as "INBOX" and "INBOX/x". */
static void spell_inbox(struct judgement *v)
{
	size_t n = strlen("INBOX");

	if (!v->folder[0])
		snprintf(v->folder, sizeof(v->folder), "INBOX");
	else if (text_same_n(v->folder, "INBOX", n) &&
		(v->folder[n] == '/' || !v->folder[n]))
		memcpy(v->folder, "INBOX", n);
}

static const char *url_folder(const struct job *job)
{
	size_t i;

	for (i = 0; i < job->n_dest; i++)
		if (job->dest[i].folder && job->dest[i].folder[0])
			return job->dest[i].folder;
	return "";
}

/* The folder it was in, below that of the URL, which takes the place of INBOX. */
static void keep_folder(
	const struct job *job, const struct origin *was, struct judgement *v)
{
	static const char inbox[] = "INBOX", special[] = "special:";
	const char *top = url_folder(job), *name = was->folder;
	size_t n = strlen(inbox);

	if (text_same_n(name, inbox, n) && (name[n] == '/' || !name[n]) && *top)
		name += n + (name[n] == '/');
	if (*top && text_starts(name, special))
		name += strlen(special);
	snprintf(v->folder, sizeof(v->folder), "%s%s%s", top, *top && *name ? "/" : "",
		name);
}

static void judge_folder(const struct job *job, const struct message *m,
	const struct origin *was, struct judgement *out)
{
	const struct rule *rule = first_rule(job, m, out);
	const char *template;

	if (rule) {
		out->rule = rule->name;
		out->filtered = rule->skip;
		if (!rule->skip)
			expand(out, m, rule->folder);
		return;
	}
	if (was && !job->folder) {
		keep_folder(job, was, out);
		return;
	}
	template = default_folder(job);
	if (template)
		expand(out, m, template);
	else
		snprintf(out->folder, sizeof(out->folder), "%s", url_folder(job));
}

void judge_again(const struct job *job, const struct message *m,
	const struct origin *was, uint64_t listed_size, int64_t now,
	struct judgement *out)
{
	bool filed = was && !was->bare;

	*out = (struct judgement){ 0 };
	judge_date(job, m, now, out);
	if (filed)
		keep_date(job, was, now, out);
	judge_flags(job, m, now, out);
	if (filed)
		keep_flags(job, was, out);
	out->rule = option_filter(job, m, listed_size, out);
	out->filtered = out->rule != NULL;
	if (!out->filtered)
		judge_folder(job, m, was, out);
	if (!out->filtered)
		spell_inbox(out);
}

void judge(const struct job *job, const struct message *m, uint64_t listed_size,
	int64_t now, struct judgement *out)
{
	judge_again(job, m, NULL, listed_size, now, out);
}
