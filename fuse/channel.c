/* SPDX-License-Identifier: MIT */
#include "fuse/channel.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

static _Thread_local int thread_fd = -1;

void channel_use(int fd)
{
	thread_fd = fd;
}

static ssize_t answer(int session_fd, struct iovec *iov, int count, void *userdata)
{
	(void)session_fd;
	(void)userdata;
	return writev(thread_fd, iov, count);
}

static ssize_t receive(int session_fd, void *buf, size_t room, void *userdata)
{
	(void)session_fd;
	(void)userdata;
	return read(thread_fd, buf, room);
}

enum err channel_attach(struct fuse_session *session, struct err_why *why)
{
	static const struct fuse_custom_io io = {.writev = answer, .read = receive};
	int rc = fuse_session_custom_io(session, &io, fuse_session_fd(session));

	return rc ? err_sys(why, -rc, "cannot take over the connection to the kernel") : ERR_OK;
}

static int open_clone(int fd)
{
	uint32_t source = (uint32_t)fd;
	int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (clone >= 0 && ioctl(clone, FUSE_DEV_IOC_CLONE, &source)) {
		close(clone);
		clone = -1;
	}
	return clone;
}

enum err channel_clone(int fd, int *out, struct err_why *why)
{
	int clone = open_clone(fd);

	if (clone < 0)
		clone = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (clone < 0 || fcntl(clone, F_SETFL, O_RDWR | O_NONBLOCK)) {
		err_sys(why, errno, "cannot open a connection to the kernel");
		if (clone >= 0)
			close(clone);
		return why->code;
	}
	*out = clone;
	return ERR_OK;
}

ssize_t channel_read(int fd, void *buf)
{
	for (;;) {
		ssize_t n = read(fd, buf, CHANNEL_MSG_ROOM);

		if (n > 0)
			return n;
		if (n < 0 && errno == EAGAIN)
			return 0;
		/* ENOENT: the request was withdrawn before it was read. */
		if (n == 0 || (errno != EINTR && errno != ENOENT))
			return -1;
	}
}
