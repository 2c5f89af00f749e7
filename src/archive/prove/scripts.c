/*
 * scripts.c: VERIFY.sh, which checks an archive where there is no popferry (see
 * FORMAT), and CHECK.sh with HOWTO.txt, by which a single proof is checked there. They
 * stand here as files of these names; the build makes strings of their lines.
 */
#include "proof.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>

/* One string a line: a compiler need not take a longer one. */
static const char *const verify[] = {
#include "VERIFY.sh.h"
};
static const char *const check[] = {
#include "CHECK.sh.h"
};
static const char *const howto[] = {
#include "HOWTO.txt.h"
};

static void add_lines(struct buf *b, const char *const *lines, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		buf_adds(b, lines[i]);
}

void script_text(struct buf *b)
{
	add_lines(b, verify, N_ELEMENTS(verify));
}

void proof_script(struct buf *b)
{
	add_lines(b, check, N_ELEMENTS(check));
}

void proof_howto(struct buf *b, const struct proof *p)
{
	char sha[2 * DIGEST + 1], seal[2 * DIGEST + 1];

	buf_addf(b,
		"message.eml is message %" PRIu32 " of the mail archive\n%s,\n"
		"byte for byte as the mail server gave it: %" PRIu64
		" bytes, SHA-256\n%s.\n"
		"It was sealed with seal %u of that archive, whose SHA-256 is\n%s.\n\n",
		p->row.seq, p->archive, p->row.size, text_hex(sha, p->row.sha, DIGEST),
		p->seal, text_hex(seal, p->seal_sha, DIGEST));
	add_lines(b, howto, N_ELEMENTS(howto));
}
