/* SPDX-License-Identifier: MIT */
#include "worker/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/text.h"

#define MAGIC_AT 0x202
#define MAGIC    "HdrS"

static enum err fail(int fd, enum err err)
{
	close(fd);
	return err;
}

enum err boot_file_open(const char *what, const char *path, int *out, struct err_why *why)
{
	char shown[256];
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	text_escape(path, shown, sizeof(shown));
	if (fd < 0)
		return err_sys(why, errno, "the %s %s", what, shown);
	if (fstat(fd, &st) < 0)
		return fail(fd, err_sys(why, errno, "the %s %s", what, shown));
	if (!S_ISREG(st.st_mode))
		return fail(fd, err_set(why, ERR_UNSUPPORTED, "the %s %s is not a regular file",
					what, shown));
	*out = fd;
	return ERR_OK;
}

enum err kernel_open(const char *path, int *out, struct err_why *why)
{
	char magic[4], shown[256];
	enum err err = boot_file_open("kernel", path, out, why);
	ssize_t n;

	if (err)
		return err;
	do
		n = pread(*out, magic, sizeof(magic), MAGIC_AT);
	while (n < 0 && errno == EINTR);
	text_escape(path, shown, sizeof(shown));
	if (n < 0)
		err = err_sys(why, errno, "the kernel %s", shown);
	else if (n < (ssize_t)sizeof(magic) || memcmp(magic, MAGIC, sizeof(magic)) != 0)
		err = err_set(why, ERR_CORRUPT,
			      "the kernel %s is not a Linux kernel (bzImage): no \"%s\" at 0x%x",
			      shown, MAGIC, MAGIC_AT);
	if (err) {
		close(*out);
		*out = -1;
	}
	return err;
}
