/* fuzz_date.c: dates as anybody may have written them. */
#include "fuzz.h"

#include <popferry/mail.h>

#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(4102444800) /* 2100-01-01 */

static void check(const struct when *w)
{
	struct when again;
	char text[32];

	must(w->known || (!w->utc && !w->zone));
	must(w->zone > -24 * 60 && w->zone < 24 * 60);
	if (!date_sane(w, NOW))
		return;
	must(w->known && w->utc <= NOW + 2 * 86400);
	must(date_imap(text, w) == text && strlen(text) == 26);
	again = date_parse(text, strlen(text));
	must(again.known && again.utc == w->utc && again.zone == w->zone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct when date = date_parse(p, size), received = date_received(p, size);

	check(&date);
	check(&received);
	return 0;
}
