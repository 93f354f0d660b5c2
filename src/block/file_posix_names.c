/* SPDX-License-Identifier: MIT */

/* The folder side of the backend on real files. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file_posix.h"

static enum err posix_unlink(struct file_ns *ns, const char *path, struct err_why *why)
{
	(void)ns;
	return unlink(path) < 0 ? posix_fail(why, errno, path, "removing the file") : ERR_OK;
}

static enum err posix_rename(struct file_ns *ns, const char *from, const char *to,
			     struct err_why *why)
{
	(void)ns;
	return rename(from, to) < 0 ? posix_fail(why, errno, from, "renaming the file") : ERR_OK;
}

/* The folder that holds `path`; NULL without memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static enum err posix_sync_dir(struct file_ns *ns, const char *path, struct err_why *why)
{
	char *dir = folder_of(path);
	enum err err = ERR_OK;
	int fd, rc;

	(void)ns;
	if (!dir)
		return err_set(why, ERR_NOMEM, "no memory to sync a folder");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		err = posix_fail(why, errno, dir, "opening the folder to sync it");
	} else {
		do
			rc = fsync(fd);
		while (rc < 0 && errno == EINTR);
		if (rc < 0)
			err = posix_fail(why, errno, dir, "syncing the folder");
		close(fd);
	}
	free(dir);
	return err;
}

static enum err posix_list(struct file_ns *ns, const char *dir,
			   bool (*each)(void *arg, const char *name), void *arg,
			   struct err_why *why)
{
	DIR *stream = opendir(dir);
	enum err err = ERR_OK;
	struct dirent *entry;

	(void)ns;
	if (!stream)
		return posix_fail(why, errno, dir, "listing the folder");
	for (;;) {
		errno = 0;
		entry = readdir(stream);
		if (!entry)
			break;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (!each(arg, entry->d_name))
			break;
	}
	if (!entry && errno)
		err = posix_fail(why, errno, dir, "listing the folder");
	closedir(stream);
	return err;
}

static enum err posix_names_info(struct file_ns *ns, const char *path, struct file_info *out,
				 struct err_why *why)
{
	struct stat st;

	(void)ns;
	if (lstat(path, &st) < 0)
		return posix_fail(why, errno, path, "examining the file");
	if (!S_ISREG(st.st_mode))
		return err_set(why, ERR_UNSUPPORTED, "%s is not a regular file", path);
	*out = (struct file_info){
	    .size_bytes = (uint64_t)st.st_size,
	    .usage_bytes = (uint64_t)st.st_blocks * 512,
	    .mtime_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec,
	    .dev = st.st_dev,
	    .ino = st.st_ino,
	};
	return ERR_OK;
}

static enum err posix_mkdir(struct file_ns *ns, const char *path, struct err_why *why)
{
	(void)ns;
	return mkdir(path, 0777) < 0 ? posix_fail(why, errno, path, "making the folder") : ERR_OK;
}

static enum err posix_rmdir(struct file_ns *ns, const char *path, struct err_why *why)
{
	(void)ns;
	return rmdir(path) < 0 ? posix_fail(why, errno, path, "removing the folder") : ERR_OK;
}

static const struct file_ns_ops posix_ns_ops = {
    .open = posix_open,
    .unlink = posix_unlink,
    .rename = posix_rename,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .info = posix_names_info,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
};

struct file_ns file_ns_posix = {.ops = &posix_ns_ops};
