/* fuzz_rules.c: messages judged by rules: a profile, an INPUT_MARK, a message. */
#include "fuzz.h"

#include <popferry/engine.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

enum { SPOOL_BYTES = 64 * 1024, FOLDERS_MAX = 64 * 1024 };
#define NOW INT64_C(1800000000)

static struct message *message_of(struct spool *sp, const struct input *in)
{
	struct err err = ERR_INIT;
	struct message *m = NULL;
	struct message_maker *mk;

	message_begin(&mk, sp);
	message_put(mk, in->p, in->n);
	must(message_end(&mk, &m, &err) == ST_OK);
	return m;
}

static void check(const struct job *j, const struct message *m, uint64_t listed)
{
	struct buf clean = BUF_INIT(FOLDERS_MAX);
	struct judgement v, again;

	judge(j, m, listed, NOW, &v);
	must(memchr(v.folder, '\0', sizeof(v.folder)) != NULL);
	must(!v.filtered || v.rule);
	must(!v.date.known || date_sane(&v.date, NOW));
	must(v.date.known == (strcmp(v.date_from, "none") != 0));
	name_clean(v.folder, '/', &clean);
	judge(j, m, listed, NOW, &again);
	must(strcmp(v.folder, again.folder) == 0 && v.rule == again.rule);
	buf_free(&clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size }, profile = input_part(&in);
	char *path = xasprintf("%s/rules.conf", scratch());
	struct err err = ERR_INIT;
	struct message *m;
	struct spool *sp;
	struct job *j;

	scratch_put("rules.conf", profile.p, profile.n);
	spool_open(&sp, scratch_fd(), SPOOL_BYTES);
	m = message_of(sp, &in);
	job_new(&j);
	/* What was read before a mistake is as good as any. */
	must_tell(job_load(j, path, &err), &err);
	check(j, m, UINT64_MAX);
	check(j, m, size);
	job_free(&j);
	message_free(&m);
	spool_close(&sp);
	free(path);
	return 0;
}
