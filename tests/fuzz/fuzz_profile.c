/* fuzz_profile.c: profile files, options and URLs. */
#include "fuzz.h"

#include <popferry/config.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1800000000)

/* A place where what is named in a profile does no harm. */
static void settle(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	must(setenv("HOME", scratch(), 1) == 0);
	must(setenv("XDG_STATE_HOME", scratch(), 1) == 0);
	must(setenv("XDG_CONFIG_HOME", scratch(), 1) == 0);
	must(setenv("POPFERRY_PROFILES", scratch(), 1) == 0);
	scratch_put("other.conf", "dedup = exact\n", 14);
}

static void check_values(const char *s)
{
	int64_t v;
	uint64_t u;

	must(!parse_day(s, NOW, &v) || v > 0);
	must(!parse_age(s, &v) || v >= 0);
	must(!parse_size(s, &u) || u <= INT64_MAX);
}

static void check_url(const char *s)
{
	struct endpoint e = { 0 };
	struct err err = ERR_INIT;
	enum status rc = url_parse(&e, s, &err);

	must_tell(rc, &err);
	must(rc == ST_OK || rc == ST_DENIED);
	if (rc == ST_OK) {
		must(e.scheme && e.url && e.port <= 65535);
		must(e.path || (e.host && *e.host && e.user && *e.user));
		must(!e.user || !strpbrk(e.user, "\r\n"));
		must(!e.folder || !strpbrk(e.folder, "\r\n"));
	}
	endpoint_release(&e);
}

/* Every line is an option: "folder=Old mail". */
static void set_all(struct job *j, const struct input *lines)
{
	char *text = input_text(lines), *s = text, *end, *value;
	struct err err = ERR_INIT;

	for (; *s; s = end) {
		end = s + strcspn(s, "\n");
		if (*end)
			*end++ = '\0';
		value = strchr(s, '=');
		if (value)
			*value++ = '\0';
		must_tell(job_set(j, s, value, "--option", &err), &err);
	}
	free(text);
}

static void check_job(const struct job *j)
{
	size_t i;

	must(j->name && j->state && j->n_dest >= 1 && j->n_dest <= 2);
	must(j->source.scheme && strcmp(j->dest[0].scheme, "pop3s") != 0);
	for (i = 0; i < j->n_rules; i++)
		must(j->rules[i].n_tests && !j->rules[i].folder == j->rules[i].skip);
}

static void check_profile(const struct input *text, const struct input *options)
{
	char *path = xasprintf("%s/fuzz.conf", scratch());
	struct err err = ERR_INIT;
	struct job *j;
	enum status rc;

	scratch_put("fuzz.conf", text->p, text->n);
	job_new(&j);
	rc = job_load(j, path, &err);
	must_tell(rc, &err);
	set_all(j, options);
	rc = job_check(j, &err);
	must_tell(rc, &err);
	if (rc == ST_OK)
		check_job(j);
	job_free(&j);
	free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size }, options, text = in;
	char *s = input_text(&in);

	settle();
	check_values(s);
	check_url(s);
	options = input_part(&text);
	check_profile(&text, &options);
	free(s);
	return 0;
}
