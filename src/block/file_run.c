/* SPDX-License-Identifier: MIT */

/*
 * Requests on real files without a ring: what the synchronous helpers use, and what the queue falls
 * back to where the file system cannot do an operation in one step. Always through the descriptor
 * without O_DIRECT, which takes any alignment and which the kernel keeps coherent with the other.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file_posix.h"
#include "block/iov.h"
#include "util/bytes.h"

#define ZEROS_BYTES (1u << 20)

/* These return 0 or an errno. */

static int transfer(int fd, const struct file_req *req)
{
	uint64_t moved = 0;

	while (moved < req->len_bytes) {
		size_t within;
		unsigned i = iov_seek(req->iov, req->iov_count, moved, &within);
		char *base = (char *)req->iov[i].iov_base + within;
		size_t len = req->iov[i].iov_len - within;
		off_t off = (off_t)(req->off_bytes + moved);
		ssize_t n =
		    req->op == FILE_READ ? pread(fd, base, len, off) : pwrite(fd, base, len, off);

		if (n > 0)
			moved += (uint64_t)n;
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			return errno;
		else if (!n && req->op == FILE_WRITE)
			return EIO;
		else if (!n)
			break; /* the end of the file */
	}
	if (moved < req->len_bytes)
		iov_zero_from(req->iov, req->iov_count, moved);
	return 0;
}

static int write_zeros(int fd, uint64_t off_bytes, uint64_t len_bytes)
{
	void *zeros = calloc(1, ZEROS_BYTES);
	int rc = zeros ? 0 : ENOMEM;

	while (len_bytes && !rc) {
		uint64_t n = min_u64(len_bytes, ZEROS_BYTES);
		struct iovec iov = {zeros, (size_t)n};
		struct file_req req = {
		    .op = FILE_WRITE,
		    .off_bytes = off_bytes,
		    .len_bytes = n,
		    .iov = &iov,
		    .iov_count = 1,
		};

		rc = transfer(fd, &req);
		off_bytes += n;
		len_bytes -= n;
	}
	free(zeros);
	return rc;
}

static int call_fallocate(int fd, int mode, uint64_t off_bytes, uint64_t len_bytes)
{
	int rc;

	do
		rc = fallocate(fd, mode, (off_t)off_bytes, (off_t)len_bytes);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? errno : 0;
}

/* The file system or device cannot do this, or not at this alignment. */
static bool cannot(int rc)
{
	return rc == EOPNOTSUPP || rc == ENOSYS || rc == EINVAL || rc == ENODEV;
}

static int file_size(int fd, bool block_device, uint64_t *out)
{
	struct stat st;

	if (block_device)
		return ioctl(fd, BLKGETSIZE64, out) < 0 ? errno : 0;
	if (fstat(fd, &st) < 0)
		return errno;
	*out = (uint64_t)st.st_size;
	return 0;
}

static int zero(const struct posix_file *file, uint64_t off_bytes, uint64_t len_bytes)
{
	int fd = file->plain.fd;
	int rc = call_fallocate(fd, FALLOC_FL_ZERO_RANGE, off_bytes, len_bytes);

	if (!cannot(rc))
		return rc;
	rc = call_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_bytes, len_bytes);
	if (!rc && !file->block_device)
		rc = call_fallocate(fd, 0, off_bytes, len_bytes);
	return cannot(rc) ? write_zeros(fd, off_bytes, len_bytes) : rc;
}

static int punch(struct posix_file *file, uint64_t off_bytes, uint64_t len_bytes)
{
	int fd = file->plain.fd;
	int rc =
	    call_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_bytes, len_bytes);
	uint64_t size = 0;

	if (!cannot(rc))
		return rc;
	if (rc != EINVAL)
		atomic_store_explicit(&file->no_punch, true, memory_order_relaxed);
	rc = file_size(fd, file->block_device, &size);
	if (rc || off_bytes >= size)
		return rc;
	return write_zeros(fd, off_bytes, min_u64(len_bytes, size - off_bytes));
}

static int allocate(const struct posix_file *file, uint64_t off_bytes, uint64_t len_bytes)
{
	int fd = file->plain.fd;
	int rc = call_fallocate(fd, 0, off_bytes, len_bytes);
	uint64_t end = off_bytes + len_bytes;
	uint64_t size = 0;

	if (!cannot(rc))
		return rc;
	rc = file_size(fd, file->block_device, &size);
	if (rc || end <= size)
		return rc;
	if (file->block_device)
		return ENOSPC;
	return ftruncate(fd, (off_t)end) < 0 ? errno : 0;
}

static int truncate_to(const struct posix_file *file, uint64_t size_bytes)
{
	int rc;

	do
		rc = ftruncate(file->plain.fd, (off_t)size_bytes);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? errno : 0;
}

static int sync_data(const struct posix_file *file)
{
	int rc;

	/* An interrupted sync has reported nothing yet; any other failure is final. */
	do
		rc = fdatasync(file->plain.fd);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? errno : 0;
}

static int run(struct posix_file *file, const struct file_req *req)
{
	switch (req->op) {
	case FILE_READ:
	case FILE_WRITE:
		return transfer(file->plain.fd, req);
	case FILE_SYNC:
		return sync_data(file);
	case FILE_ZERO:
		return zero(file, req->off_bytes, req->len_bytes);
	case FILE_PUNCH:
		return punch(file, req->off_bytes, req->len_bytes);
	case FILE_ALLOCATE:
		return allocate(file, req->off_bytes, req->len_bytes);
	case FILE_TRUNCATE:
		return truncate_to(file, req->off_bytes);
	}
	return EINVAL;
}

enum err posix_run(struct file *file, struct file_req *req)
{
	struct posix_file *posix = container_of(file, struct posix_file, base);
	bool changes = req->op != FILE_READ && req->op != FILE_SYNC;

	req->sys_errno = changes && !posix->writable ? EROFS : run(posix, req);
	req->result = err_from_errno(req->sys_errno);
	return req->result;
}
