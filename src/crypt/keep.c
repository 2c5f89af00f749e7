/* keep.c: the key of an open segment, in a file that is destroyed with it. */
#include "own.h"

#include <popferry/fs.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <unistd.h>

enum status crypt_key_make(
	unsigned char key[CRYPT_KEY], int dirfd, const char *name, struct err *err)
{
	enum status rc;

	/* Never over one that is there: what it opens would be lost. */
	if (faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"%s: there is a key already", name);
	rc = random_bytes(key, CRYPT_KEY, err);
	if (rc == ST_OK)
		rc = fs_replace(dirfd, name, key, CRYPT_KEY, 0600, err);
	if (rc != ST_OK)
		OPENSSL_cleanse(key, CRYPT_KEY);
	return rc;
}

enum status crypt_key_read(
	unsigned char key[CRYPT_KEY], int dirfd, const char *name, struct err *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	enum status rc;
	uint64_t size;

	if (fd < 0)
		return errno == ENOENT ? ST_END
				       : err_sys(err, ST_FATAL, "open %s", name);
	rc = file_size(fd, &size, err);
	if (rc == ST_OK && size != CRYPT_KEY)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is not the key of an open segment: it has %" PRIu64
			" bytes, not %d",
			name, size, CRYPT_KEY);
	if (rc == ST_OK)
		rc = read_at(fd, key, CRYPT_KEY, 0, err);
	close(fd);
	return rc;
}

/* Overwriting helps where a file system writes in place; elsewhere it does no harm. */
static enum status overwrite(int fd, struct err *err)
{
	static const char zeros[CRYPT_KEY];
	enum status rc = fs_write(fd, zeros, sizeof(zeros), err);

	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync");
	return rc;
}

enum status crypt_key_destroy(int dirfd, const char *name, struct err *err)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	enum status rc;

	if (fd < 0)
		return errno == ENOENT ? ST_END
				       : err_sys(err, ST_FATAL, "open %s", name);
	rc = overwrite(fd, err);
	close(fd);
	if (rc == ST_OK && unlinkat(dirfd, name, 0) < 0)
		rc = err_sys(err, ST_FATAL, "remove");
	if (rc == ST_OK)
		rc = fs_sync_dir(dirfd, err);
	return rc == ST_OK ? rc : err_note(err, "%s", name);
}
