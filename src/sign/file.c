/* file.c: signatures and timestamps as files, and files of certificates. */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *mark_name(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(".json");

	if (*end && n > k && strcmp(name + n - k, ".json") == 0)
		n -= k;
	return xasprintf("%.*s%s", (int)n, name, end);
}

bool mark_there(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, 0) == 0;
}

enum status mark_put(
	int dirfd, const char *name, const void *p, size_t n, struct err *err)
{
	enum status rc = fs_replace(dirfd, name, p, n, 0444, err);

	/* The umask has taken what everybody shall have. */
	if (rc == ST_OK && fchmodat(dirfd, name, 0444, 0) < 0)
		rc = err_sys(err, ST_FATAL, "%s", name);
	return rc;
}

enum status mark_get(
	char **out, size_t *n, int dirfd, const char *name, size_t max, struct err *err)
{
	enum status rc = fs_read(out, n, dirfd, name, max, err);

	if (rc == ST_END)
		rc = err_set(
			err, ST_DENIED, EX_NOINPUT, "%s: there is no such file", name);
	return rc;
}

enum status cert_read(
	STACK_OF(X509) * *out, const char *what, const char *path, struct err *err)
{
	STACK_OF(X509) *all = NULL;
	char *text = NULL;
	BIO *bio = NULL;
	size_t n = 0;
	X509 *x;
	enum status rc = fs_read(&text, &n, AT_FDCWD, path, PEM_MAX, err);

	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_CONFIG, "there is no such file");
	if (rc != ST_OK) {
		err_note(err, "%s %s", what, path);
		goto out;
	}
	all = sk_X509_new_null();
	bio = BIO_new_mem_buf(text, (int)n);
	if (!all || !bio)
		xmemory_gone();
	while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (!sk_X509_push(all, x))
			xmemory_gone();
	ERR_clear_error();
	if (!sk_X509_num(all)) {
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"%s %s: holds no certificate in PEM, between lines of BEGIN and END "
			"CERTIFICATE",
			what, path);
		goto out;
	}
	*out = all;
	all = NULL;
out:
	BIO_free(bio);
	sk_X509_pop_free(all, X509_free);
	free(text);
	return rc;
}
