/* SPDX-License-Identifier: MIT */
#include "worker/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KVM        "/dev/kvm"
#define MAX_GROUPS 256

struct identity {
	uid_t uid;
	gid_t gid, group[MAX_GROUPS];
	int groups;
};

static bool drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[2] = {{0}};

	/* Those that are beyond the kernel's last one are refused; nothing to mind. */
	for (unsigned i = 0; i < 64; i++)
		prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &head, none) == 0;
}

static bool become(const struct identity *who)
{
	if (who->uid && (setgroups((size_t)who->groups, who->group) < 0 ||
			 setresgid(who->gid, who->gid, who->gid) < 0 ||
			 setresuid(who->uid, who->uid, who->uid) < 0))
		return false;
	return drop_capabilities();
}

/* ---- would it be enough? ---- */

static bool may(int dir_fd, const char *path, int mode)
{
	return faccessat(dir_fd, path, mode, AT_EACCESS) == 0;
}

static bool may_use_files(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	bool fits = dir != NULL;

	while (fits && (entry = readdir(dir)))
		if (*entry->d_name != '.')
			fits = may(dir_fd, entry->d_name, R_OK | W_OK) || errno == ENOENT;
	if (dir)
		closedir(dir);
	return fits;
}

static bool may_use(const struct places *places)
{
	bool fits = may(AT_FDCWD, places->dir, R_OK | W_OK | X_OK) && may_use_files(places->dir_fd);

	for (unsigned i = 0; fits && i < places->boot_count; i++)
		fits = may(AT_FDCWD, places->boots[i], R_OK) || errno == ENOENT;
	for (unsigned i = 0; fits && i < places->read_count; i++)
		fits = may(AT_FDCWD, places->reads[i], R_OK) || errno == ENOENT;
	for (unsigned i = 0; fits && i < places->write_count; i++)
		fits = may(AT_FDCWD, places->writes[i], R_OK | W_OK) || errno == ENOENT;
	/* What is not there is another error, told later. */
	return fits && (may(AT_FDCWD, KVM, R_OK | W_OK) || errno == ENOENT);
}

/* In a process of its own, as there is no way back. */
static bool would_do(const struct identity *who, const struct places *places)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return false;
	if (!child)
		_exit(!(become(who) && may_use(places)));
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return status == 0;
}

/* ---- dropping ---- */

static void look_up(uid_t uid, gid_t gid, struct identity *out)
{
	const struct passwd *user = uid ? getpwuid(uid) : NULL;

	*out = (struct identity){.uid = uid, .gid = gid, .group = {gid}, .groups = 1};
	if (!user)
		return;
	out->gid = user->pw_gid;
	out->groups = MAX_GROUPS;
	if (getgrouplist(user->pw_name, user->pw_gid, out->group, &out->groups) < 0) {
		out->group[0] = user->pw_gid;
		out->groups = 1;
	}
}

static enum err drop_root(const struct places *places, const char **became, struct err_why *why)
{
	struct identity owner, root;
	struct stat st;

	if (fstat(places->dir_fd, &st) < 0)
		return err_sys(why, errno, "the VM's folder");
	look_up(0, 0, &root);
	look_up(st.st_uid, st.st_gid, &owner);
	if (st.st_uid && would_do(&owner, places)) {
		if (!become(&owner))
			return err_sys(why, errno, "becoming user %u", (unsigned)owner.uid);
		*became = "as the owner of its folder, without capabilities";
	} else if (would_do(&root, places)) {
		if (!become(&root))
			return err_sys(why, errno, "giving up capabilities");
		*became = "as root, without capabilities";
	} else {
		*became = "as root, with capabilities: its files need them";
	}
	return ERR_OK;
}

enum err sandbox_drop(const struct places *places, const char **became, struct err_why *why)
{
	enum err err = ERR_OK;

	*became = "as the user who started it";
	if (geteuid() == 0)
		err = drop_root(places, became, why);
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = err_sys(why, errno, "PR_SET_NO_NEW_PRIVS");
	return err;
}
