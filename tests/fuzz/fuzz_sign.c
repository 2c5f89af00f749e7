/* fuzz_sign.c: what a TSA answers, and signatures and timestamps in an archive. */
#include "fuzz.h"

#include "../../src/sign/own.h"

#include <limits.h>
#include <string.h>

static const char seal[] = "{\"seal\":1}\n";

static void answer(const struct input *in)
{
	struct http_reply r = { .body = BUF_INIT(ANSWER_MAX) };
	enum http_step step = http_parse(&r, in->p, in->n, true);

	must((step == HTTP_BAD) == (r.fault != NULL));
	must(r.body.n <= in->n);
	must(is_clean(r.reason, strlen(r.reason)) && is_clean(r.type, strlen(r.type)));
	must(is_clean(r.location, strlen(r.location)));
	buf_free(&r.body);
}

/* Nobody is trusted, so nothing may be. */
static void mark(const struct input *in, bool stamp)
{
	struct sign_trust t = { X509_STORE_new(), NULL };
	struct stamp_wanted want = { "x.json", seal, sizeof(seal) - 1, NULL };
	struct sign_mark m;
	int64_t when = 0;

	memset(&m, 0, sizeof(m));
	if (stamp)
		stamp_check(&m, &when, in->p, in->n, &want, t.signers, NULL);
	else
		cms_check(&m, in->p, in->n, "x.json", seal, sizeof(seal) - 1, &t, 0);
	must(m.verdict == SIGN_BAD || m.verdict == SIGN_UNKNOWN);
	must(m.why[0] && is_clean(m.by, strlen(m.by)));
	must(when == 0 || m.verdict == SIGN_UNKNOWN);
	X509_STORE_free(t.signers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };
	unsigned kind = input_byte(&in) % 3;

	if (kind == 0)
		answer(&in);
	else
		mark(&in, kind == 1);
	return 0;
}
