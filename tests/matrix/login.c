/*
 * login.c: preloaded into a mail server that wants system users, so that it
 * runs for anybody. Every user name exists, belongs to who runs the server, has
 * its home in $HOMES, and logs in with the first line of the file $SECRET.
 * Becoming another user does nothing. /var/mail, /var/lib/popa3d and
 * /etc/spop3d.conf are looked for below $PRIVATE. What goes to syslog is appended
 * to the file $LOG.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <shadow.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

/* Declared here: the headers of PAM need not be installed. */
struct pam_message {
	int msg_style;
	const char *msg;
};

struct pam_response {
	char *resp;
	int resp_retcode;
};

struct pam_conv {
	int (*conv)(int n, const struct pam_message **ask, struct pam_response **answer,
		void *ctx);
	void *appdata_ptr;
};

struct pam_handle {
	struct pam_conv conv;
	char user[128];
};

enum { PAM_OK = 0, PAM_REFUSED = 7, PAM_ITEM_USER = 2, PAM_ASK_HIDDEN = 1 };

static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "/nonexistent";
}

/* ---- users ---- */

struct passwd *getpwnam(const char *name)
{
	static struct passwd user;
	static char home[4096], own[128], hash[2], real_name[2],
		shell[16]; /* servers write into them */
	hash[0] = 'x';
	real_name[0] = 0;
	snprintf(shell, sizeof(shell), "/bin/sh");
	snprintf(own, sizeof(own), "%s", name);
	snprintf(home, sizeof(home), "%s/%s", setting("HOMES"), name);
	user = (struct passwd){
		.pw_name = own,
		.pw_passwd = hash,
		.pw_uid = getuid(),
		.pw_gid = getgid(),
		.pw_gecos = real_name,
		.pw_dir = home,
		.pw_shell = shell,
	};
	return &user;
}

struct spwd *getspnam(const char *name)
{
	(void)name;
	return NULL;
}

int setuid(uid_t uid)
{
	(void)uid;
	return 0;
}

int setgid(gid_t gid)
{
	(void)gid;
	return 0;
}

int seteuid(uid_t uid)
{
	(void)uid;
	return 0;
}

int setegid(gid_t gid)
{
	(void)gid;
	return 0;
}

int setreuid(uid_t real, uid_t effective)
{
	(void)real;
	(void)effective;
	return 0;
}

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	(void)real;
	(void)effective;
	(void)saved;
	return 0;
}

int setgroups(size_t n, const gid_t *groups)
{
	(void)n;
	(void)groups;
	return 0;
}

int initgroups(const char *user, gid_t group)
{
	(void)user;
	(void)group;
	return 0;
}

int chroot(const char *path)
{
	(void)path;
	return 0;
}

/* ---- PAM ---- */

int pam_start(const char *service, const char *user, const struct pam_conv *conv,
	struct pam_handle **out);
int pam_end(struct pam_handle *pam, int status);
int pam_authenticate(struct pam_handle *pam, int flags);
int pam_acct_mgmt(struct pam_handle *pam, int flags);
int pam_setcred(struct pam_handle *pam, int flags);
int pam_get_item(const struct pam_handle *pam, int item, const void **out);
int pam_set_item(struct pam_handle *pam, int item, const void *value);

int pam_start(const char *service, const char *user, const struct pam_conv *conv,
	struct pam_handle **out)
{
	struct pam_handle *pam = calloc(1, sizeof(*pam));
	(void)service;
	if (!pam)
		return PAM_REFUSED;
	pam->conv = *conv;
	snprintf(pam->user, sizeof(pam->user), "%s", user ? user : "");
	*out = pam;
	return PAM_OK;
}

int pam_end(struct pam_handle *pam, int status)
{
	(void)status;
	free(pam);
	return PAM_OK;
}

int pam_authenticate(struct pam_handle *pam, int flags)
{
	struct pam_message ask = { PAM_ASK_HIDDEN, "Password: " };
	const struct pam_message *list = &ask;
	struct pam_response *answer = NULL;
	char secret[256] = "";
	FILE *file = fopen(setting("SECRET"), "r");
	int right = 0;
	(void)flags;
	if (file && fgets(secret, sizeof(secret), file))
		secret[strcspn(secret, "\n")] = 0;
	if (file)
		fclose(file);
	if (*secret &&
		pam->conv.conv(1, &list, &answer, pam->conv.appdata_ptr) == PAM_OK &&
		answer && answer->resp)
		right = strcmp(answer->resp, secret) == 0;
	if (answer)
		free(answer->resp);
	free(answer);
	return right ? PAM_OK : PAM_REFUSED;
}

int pam_acct_mgmt(struct pam_handle *pam, int flags)
{
	(void)pam;
	(void)flags;
	return PAM_OK;
}

int pam_setcred(struct pam_handle *pam, int flags)
{
	(void)pam;
	(void)flags;
	return PAM_OK;
}

int pam_get_item(const struct pam_handle *pam, int item, const void **out)
{
	if (item != PAM_ITEM_USER)
		return PAM_REFUSED;
	*out = pam->user;
	return PAM_OK;
}

int pam_set_item(struct pam_handle *pam, int item, const void *value)
{
	(void)pam;
	(void)item;
	(void)value;
	return PAM_OK;
}

/* ---- files ---- */

static const char *moved(const char *path, char *room, size_t size)
{
	static const char *const mine[] = { "/var/mail", "/var/lib/popa3d",
		"/etc/spop3d.conf" };
	for (size_t i = 0; path && i < sizeof(mine) / sizeof(mine[0]); i++) {
		size_t len = strlen(mine[i]);
		if (strncmp(path, mine[i], len) != 0 ||
			(path[len] && path[len] != '/' && path[len] != '.'))
			continue;
		snprintf(room, size, "%s%s", setting("PRIVATE"), path);
		return room;
	}
	return path;
}

/* The function of that name behind this one. */
#define BEHIND(type, name) (__extension__(type) dlsym(RTLD_NEXT, name))

int open(const char *path, int flags, ...)
{
	char room[4096];
	va_list rest;
	va_start(rest, flags);
	mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	return BEHIND(int (*)(const char *, int, ...), "open")(
		moved(path, room, sizeof(room)), flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
	char room[4096];
	return BEHIND(FILE * (*)(const char *, const char *), "fopen")(
		moved(path, room, sizeof(room)), mode);
}

int chdir(const char *path)
{
	char room[4096];
	return BEHIND(int (*)(const char *), "chdir")(moved(path, room, sizeof(room)));
}

DIR *opendir(const char *path)
{
	char room[4096];
	return BEHIND(DIR * (*)(const char *), "opendir")(
		moved(path, room, sizeof(room)));
}

int stat(const char *path, struct stat *out)
{
	char room[4096];
	return BEHIND(int (*)(const char *, struct stat *), "stat")(
		moved(path, room, sizeof(room)), out);
}

int lstat(const char *path, struct stat *out)
{
	char room[4096];
	return BEHIND(int (*)(const char *, struct stat *), "lstat")(
		moved(path, room, sizeof(room)), out);
}

/* What they were before glibc 2.33. */
int __xstat(int version, const char *path, struct stat *out);
int __lxstat(int version, const char *path, struct stat *out);

int __xstat(int version, const char *path, struct stat *out)
{
	(void)version;
	return stat(path, out);
}

int __lxstat(int version, const char *path, struct stat *out)
{
	(void)version;
	return lstat(path, out);
}

int link(const char *from, const char *to)
{
	char one[4096], two[4096];
	return BEHIND(int (*)(const char *, const char *), "link")(
		moved(from, one, sizeof(one)), moved(to, two, sizeof(two)));
}

int unlink(const char *path)
{
	char room[4096];
	return BEHIND(int (*)(const char *), "unlink")(moved(path, room, sizeof(room)));
}

/* ---- FAM ---- */

/* None: Courier looks again by itself then, and does not wait a second for a daemon. */
int FAMOpen(void *fam);

int FAMOpen(void *fam)
{
	(void)fam;
	return -1;
}

/* ---- syslog ---- */

void vsyslog(int priority, const char *format, va_list rest)
{
	char line[1024];
	int fd = open(setting("LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
	int len = vsnprintf(line, sizeof(line) - 1, format, rest);
	(void)priority;
	if (fd < 0)
		return;
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(fd, line, (size_t)len) < 0)
		errno = 0;
	close(fd);
}

void syslog(int priority, const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	vsyslog(priority, format, rest);
	va_end(rest);
}

/* What syslog becomes with _FORTIFY_SOURCE. */
void __syslog_chk(int priority, int flag, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void __vsyslog_chk(int priority, int flag, const char *format, va_list rest)
	__attribute__((format(printf, 3, 0)));

void __syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list rest;
	(void)flag;
	va_start(rest, format);
	vsyslog(priority, format, rest);
	va_end(rest);
}

void __vsyslog_chk(int priority, int flag, const char *format, va_list rest)
{
	(void)flag;
	vsyslog(priority, format, rest);
}
