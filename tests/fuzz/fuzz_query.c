/* fuzz_query.c: queries to an archive of three messages, and a message to be
 * searched. */
#include "fuzz.h"

#include <popferry/archive.h>
#include <popferry/mem.h>
#include <popferry/search.h>

#include <stdlib.h>
#include <string.h>

static const char *const mails[] = {
	"From: Ann <ann@example.org>\r\nSubject: Year end\r\n\r\nThe lamp.\r\n",
	("To: bob@example.org\r\nSubject: Report\r\nContent-Type: application/pdf; "
	 "name=q3.pdf\r\n\r\n%PDF"),
	"Cc: c@example.org\r\n\r\n\xe6\x9d\xb1\xe4\xba\xac",
};

static void put(struct archive_writer *w, struct spool *sp, const char *mail)
{
	struct archive_entry e = { .folder = "", .uidl = "u", .uidl_n = 1 };
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m = NULL;
	uint64_t seq;

	message_begin(&mk, sp);
	message_put(mk, mail, strlen(mail));
	must(message_end(&mk, &m, &err) == ST_OK);
	must(archive_put(w, m, &e, &seq, &err) == ST_OK);
	message_free(&m);
}

static void make(const char *path)
{
	const struct archive_config cfg = { .path = path, .threads = 1 };
	struct archive_writer *w = NULL;
	struct err err = ERR_INIT;
	struct spool *sp;
	size_t i;

	spool_open(&sp, scratch_fd(), 1 << 20);
	must(archive_open(&w, &cfg, &err) == ST_OK);
	for (i = 0; i < N_ELEMENTS(mails); i++)
		put(w, sp, mails[i]);
	must(archive_seal(w, &err) == ST_OK);
	archive_close(&w);
	spool_close(&sp);
}

/* Open as long as the process lives. */
static struct search *shared;

static void close_shared(void)
{
	search_close(&shared);
}

static void open_shared(void)
{
	const struct search_how how = { .in_memory = true };
	char *path = xasprintf("%s/a", scratch());
	struct err err = ERR_INIT;

	make(path);
	must(search_open(&shared, path, &how, &err) == ST_OK);
	atexit(close_shared);
	free(path);
}

static void ask(const char *text)
{
	struct err err = ERR_INIT;
	struct query *q = NULL;
	unsigned order;

	if (query_parse(&q, text, &err) != ST_OK) {
		must(!q && err.exit == EX_USAGE);
		must(is_clean(err.text, strlen(err.text)));
		return;
	}
	for (order = SEARCH_SEQ; order <= SEARCH_RELEVANCE; order++) {
		struct search_hits h;
		size_t i;

		must_tell(search_find(shared, q, (enum search_order)order, UINT64_MAX,
				  &h, &err),
			&err);
		must(err.status == ST_OK && h.n <= N_ELEMENTS(mails) &&
			h.n_first == h.n);
		for (i = 0; i < h.n; i++)
			must(h.first[i] >= 1 && h.first[i] <= N_ELEMENTS(mails));
		search_hits_free(&h);
	}
	query_free(&q);
}

static void extract(const struct input *in, size_t step)
{
	struct search_text t;
	struct extract *x;
	size_t i;

	search_text_init(&t);
	extract_begin(&x, &t);
	for (i = 0; i < in->n; i += step)
		extract_put(x, in->p + i, in->n - i < step ? in->n - i : step);
	extract_end(&x);
	must(t.body.n <= SEARCH_BODY_MAX && t.subject.n <= SEARCH_FIELD_MAX);
	must(t.files.n == 0 || t.files.p[t.files.n - 1] == '\n');
	search_text_release(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size }, query = input_part(&in);
	char *text = input_text(&query);

	if (!shared)
		open_shared();
	ask(text);
	extract(&in, 1);
	extract(&in, 4096);
	free(text);
	return 0;
}
