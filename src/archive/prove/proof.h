/*
 * proof.h: one message and how its leaf leads to a root that was sealed. See FORMAT.
 */
#ifndef ARCHIVE_PROOF_H
#define ARCHIVE_PROOF_H

#include "../form/layout.h"
#include "../form/tree.h"

enum { PROOF_MAX = 64 * 1024 }; /* bytes of proof.json, and of a seal */

struct proof {
	char archive[64]; /* the id */
	unsigned seal;
	unsigned char seal_sha[DIGEST];
	struct idx_row row; /* seq, size and sha of the message */
	unsigned char salt[SALT], leaf[DIGEST], root[DIGEST];
	struct tree_path path;
};

/* proof.json: canonical, as a seal is. */
void proof_text(struct buf *b, const struct proof *p);

void proof_tell(struct archive_proof *out, const struct proof *p);

/* CHECK.sh and HOWTO.txt. */
void proof_script(struct buf *b);
void proof_howto(struct buf *b, const struct proof *p);

#endif
