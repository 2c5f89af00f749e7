/* fuzz_crypt.c: files that say they are encrypted, and files of keys. */
#include "fuzz.h"

#include "../../src/crypt/own.h"

#include <popferry/mem.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a file for others can hold, read by whom it is not for. */
static void file(const struct input *in)
{
	struct identities *ids = NULL;
	struct err err = ERR_INIT;
	struct bytes *b = NULL;
	enum status rc;

	scratch_put("f", in->p, in->n);
	identities_open(&ids);
	memset(identities_new(ids, ID_AGE_KEY)->secret, 'k', CRYPT_KEY);
	memset(identities_new(ids, ID_CMS_KEY)->secret, 'k', CRYPT_KEY);
	rc = bytes_decrypt(&b, openat(scratch_fd(), "f", O_RDONLY | O_CLOEXEC), true,
		ids, scratch_fd(), &err);
	if (rc == ST_OK)
		bytes_close(&b);
	else
		must_tell(rc, &err);
	must(b == NULL);
	identities_close(&ids);
}

/* Without a key: whatever it says, it is not read past its end. */
static void head(const struct input *in)
{
	struct err err = ERR_INIT;
	struct age_head h;
	enum status rc = age_head_parse(&h, in->p, in->n, &err);

	must(rc == ST_OK || rc == ST_END || rc == ST_DENIED);
	if (rc == ST_DENIED)
		must_tell(rc, &err);
	if (rc != ST_OK)
		return;
	must(h.size <= in->n && h.mac_over < h.size && h.n > 0);
	age_head_release(&h);
}

static void records(const struct input *in)
{
	static const unsigned char key[CRYPT_KEY] = "k";
	struct records *r = NULL;
	struct err err = ERR_INIT;
	uint64_t end = 0;
	enum status rc;
	int fd;

	scratch_put("r", in->p, in->n);
	fd = openat(scratch_fd(), "r", O_RDWR | O_CLOEXEC);
	rc = records_open(&r, fd, key, "log", &err);
	if (rc == ST_OK) {
		must(records_sound(r, 0, &end, &err) == ST_OK);
		must(end <= records_size(r));
		must(records_cut(r, end, &err) == ST_OK);
		must(records_add(r, "x", 1, &err) == ST_OK);
		must(records_size(r) == end + 1);
	} else {
		must_tell(rc, &err);
	}
	records_close(&r);
	close(fd);
}

static void keys(const struct input *in)
{
	char *path = xasprintf("%s/k", scratch());
	struct identities *ids = NULL;
	struct recipients *r = NULL;
	struct err err = ERR_INIT;
	enum status rc;

	scratch_put("k", in->p, in->n);
	if (chmod(path, 0600) < 0)
		return;
	identities_open(&ids);
	recipients_open(&r);
	rc = identities_add(ids, path, NULL, NULL, &err);
	must(rc != ST_OK || identities_count(ids) > 0);
	if (rc != ST_OK)
		must_tell(rc, &err);
	rc = recipients_add(r, path, &err);
	must(rc != ST_OK || recipients_count(r) > 0);
	if (rc != ST_OK)
		must_tell(rc, &err);
	recipients_close(&r);
	identities_close(&ids);
	free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(
		const struct input *) = { file, head, records, keys };
	struct input in = { (const char *)data, size };

	kinds[input_byte(&in) % N_ELEMENTS(kinds)](&in);
	return 0;
}
