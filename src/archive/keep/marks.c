/* marks.c: signatures, timestamps and their certificates get lines of the manifest. */
#include "../erase/record.h"

#include <popferry/fault.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum status archive_list_marks(const char *path, struct err *err)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct keeper k;
	enum status rc;

	if (dir < 0)
		return err_set(err, ST_DENIED, EX_NOINPUT, "archive %s: %s", path,
			strerror(errno));
	rc = file_there(dir, "manifest-sha256.txt", err);
	close(dir);
	if (rc != ST_OK) /* none is made here: verify tells */
		return rc;
	rc = keeper_open(&k, path, NULL, err);
	if (rc < 0)
		return rc;
	rc = manifest_fill(k.dir, k.segdir, &k.policy, err);
	fault_step("archive-marks-listed");
	keeper_close(&k);
	return rc == ST_OK ? rc : err_note(err, "archive %s", path);
}
