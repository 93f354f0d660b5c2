/* SPDX-License-Identifier: MIT */
#include "worker/bounded.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum err bounded_open(struct bounded *file, int dir_fd, struct err_why *why)
{
	struct stat st;

	file->dir_fd = dir_fd;
	file->bytes = 0;
	/* Not to be held up by what somebody has put there in its place. */
	file->fd = openat(
	    dir_fd, file->name,
	    O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	if (file->fd < 0)
		return err_sys(why, errno, "%s", file->name);
	if (fstat(file->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		bounded_close(file);
		return err_set(why, ERR_UNSUPPORTED, "%s is not a regular file", file->name);
	}
	file->bytes = (uint64_t)st.st_size;
	return ERR_OK;
}

void bounded_close(struct bounded *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

void bounded_rotate(struct bounded *file)
{
	if (file->fd < 0 || !file->bytes)
		return;
	if (renameat(file->dir_fd, file->name, file->dir_fd, file->old_name) < 0) {
		/* No bound without it: begin anew with this one. */
		if (ftruncate(file->fd, 0) == 0)
			file->bytes = 0;
		return;
	}
	bounded_close(file);
	bounded_open(file, file->dir_fd, NULL);
}

void bounded_write(struct bounded *file, const void *buf, size_t len)
{
	const char *from = buf;

	while (len && file->fd >= 0) {
		size_t room, part;
		ssize_t n;

		if (file->bytes >= file->max_bytes)
			bounded_rotate(file);
		if (file->fd < 0 || file->bytes >= file->max_bytes)
			return;
		room = (size_t)(file->max_bytes - file->bytes);
		part = len < room ? len : room;
		n = write(file->fd, from, part);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		from += n;
		len -= (size_t)n;
		file->bytes += (uint64_t)n;
	}
}
