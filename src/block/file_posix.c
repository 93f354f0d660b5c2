/* SPDX-License-Identifier: MIT */

/*
 * A real file: up to two descriptors of it, one through the page cache and, if asked for, one with
 * O_DIRECT. Each request goes to the one it fits; the kernel keeps the two coherent.
 */

#include "block/file_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/iov.h"
#include "block/queue.h"
#include "util/bytes.h"
#include "util/text.h"

/* Larger requests with unaligned memory go through the page cache, not through a copy. */
#define MAX_BOUNCE_BYTES (1u << 20)
#define BOUNCE_ALIGN     4096u

enum err posix_fail(struct err_why *why, int sys_errno, const char *path, const char *what)
{
	char shown[POSIX_SHOWN_BYTES];

	text_escape(path, shown, sizeof(shown));
	return err_sys(why, sys_errno, "%s: %s", shown, what);
}

/* ---- requests ---- */

static bool attach_bounce(const struct posix_file *file, struct file_req *req)
{
	size_t align = max_u64(file->align_mem_bytes, BOUNCE_ALIGN);

	if (req->len_bytes > MAX_BOUNCE_BYTES ||
	    posix_memalign(&req->bounce, align, (size_t)req->len_bytes)) {
		req->bounce = NULL;
		return false;
	}
	if (req->op == FILE_WRITE)
		iov_gather(req->iov, req->iov_count, req->bounce);
	return true;
}

static const struct fixed_file *descriptor_for(const struct posix_file *file, struct file_req *req)
{
	uint32_t align = file->align_off_bytes;

	if (file->direct.fd < 0 || (req->op != FILE_READ && req->op != FILE_WRITE))
		return &file->plain;
	if ((req->off_bytes | req->len_bytes) & (align - 1))
		return &file->plain;
	if (iov_is_aligned(req->iov, req->iov_count, file->align_mem_bytes, align) ||
	    attach_bounce(file, req))
		return &file->direct;
	return &file->plain;
}

static void posix_submit(struct file *file, struct queue *queue, struct file_req *req)
{
	struct posix_file *posix = container_of(file, struct posix_file, base);
	bool changes = req->op != FILE_READ && req->op != FILE_SYNC;

	/* A ring has no truncate in all kernels we support. */
	if (req->op == FILE_TRUNCATE || (changes && !posix->writable)) {
		posix_run(file, req);
		queue_complete(queue, req);
		return;
	}
	req->fd = descriptor_for(posix, req);
	queue_start(queue, req);
}

/* ---- facts ---- */

static enum err posix_info(struct file *file, struct file_info *out, struct err_why *why)
{
	struct posix_file *posix = container_of(file, struct posix_file, base);
	bool no_punch = atomic_load_explicit(&posix->no_punch, memory_order_relaxed);
	struct stat st;

	*out = (struct file_info){
	    .dev = posix->dev,
	    .ino = posix->ino,
	    .block_device = posix->block_device,
	    .writable = posix->writable,
	    .can_punch = posix->writable && !no_punch,
	    .direct = posix->direct.fd >= 0,
	    .align_off_bytes = posix->align_off_bytes,
	    .align_mem_bytes = posix->align_mem_bytes,
	};
	if (posix->block_device) {
		if (ioctl(posix->plain.fd, BLKGETSIZE64, &out->size_bytes) < 0)
			return posix_fail(why, errno, file->path, "asking for the device's size");
		out->usage_bytes = out->size_bytes;
		return ERR_OK;
	}
	if (fstat(posix->plain.fd, &st) < 0)
		return posix_fail(why, errno, file->path, "asking for the file's size");
	out->size_bytes = (uint64_t)st.st_size;
	out->usage_bytes = (uint64_t)st.st_blocks * 512;
	out->mtime_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
	return ERR_OK;
}

static enum err posix_map_data(struct file *file, uint64_t off_bytes, bool *is_data,
			       uint64_t *end_bytes, struct err_why *why)
{
	struct posix_file *posix = container_of(file, struct posix_file, base);
	off_t off = (off_t)off_bytes, data, hole;

	*is_data = true;
	*end_bytes = UINT64_MAX;
	if (posix->block_device || off < 0)
		return ERR_OK;
	/* The position these calls leave behind is used by nobody. */
	data = lseek(posix->plain.fd, off, SEEK_DATA);
	if (data < 0 && errno == EINVAL)
		return ERR_OK; /* a file system that does not know */
	if (data < 0 && errno == ENXIO) {
		*is_data = false;
		return ERR_OK;
	}
	if (data > off) {
		*is_data = false;
		*end_bytes = (uint64_t)data;
		return ERR_OK;
	}
	hole = data < 0 ? data : lseek(posix->plain.fd, off, SEEK_HOLE);
	if (hole < 0)
		return posix_fail(why, errno, file->path, "looking for holes");
	*end_bytes = (uint64_t)hole;
	return ERR_OK;
}

static enum err posix_file_lock(struct file *file, int mode, struct err_why *why)
{
	struct posix_file *posix = container_of(file, struct posix_file, base);
	enum err err = posix_lock(posix->plain.fd, file->path, posix->lock_mode, mode, why);

	if (err == ERR_OK)
		posix->lock_mode = mode;
	return err;
}

static enum err posix_lock_range(struct file *file, uint64_t off_bytes, uint64_t len_bytes,
				 int mode, struct err_why *why)
{
	static const short types[] = {
	    [FILE_UNLOCKED] = F_UNLCK, [FILE_LOCK_READ] = F_RDLCK, [FILE_LOCK_WRITE] = F_WRLCK};
	struct posix_file *posix = container_of(file, struct posix_file, base);
	struct flock lock = {.l_type = types[mode],
			     .l_whence = SEEK_SET,
			     .l_start = (off_t)off_bytes,
			     .l_len = (off_t)len_bytes};
	int rc;

	do
		rc = fcntl(posix->plain.fd, F_OFD_SETLK, &lock);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return ERR_OK;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(why, ERR_LOCKED, "%s: another program holds the lock", file->path);
	return posix_fail(why, errno, file->path, "locking");
}

static enum err posix_sync_all(struct file *file, struct err_why *why)
{
	struct posix_file *posix = container_of(file, struct posix_file, base);
	int rc;

	do
		rc = fsync(posix->plain.fd);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? posix_fail(why, errno, file->path, "syncing") : ERR_OK;
}

static enum err posix_clone(struct file *file, struct file *from, struct err_why *why)
{
	struct posix_file *to = container_of(file, struct posix_file, base);
	struct posix_file *source = container_of(from, struct posix_file, base);

	if (from->ops != file->ops)
		return err_set(why, ERR_UNSUPPORTED, "%s: not a file to clone", from->path);
	return ioctl(to->plain.fd, FICLONE, source->plain.fd) < 0
		   ? posix_fail(why, errno, file->path, "cloning")
		   : ERR_OK;
}

/* ---- open and close ---- */

static void drop_descriptor(struct fixed_file *fd, int *sys_errno)
{
	if (fd->fd < 0)
		return;
	fixed_file_drop(fd);
	/* EINTR: closed all the same, and nothing was waiting to be written. */
	if (close(fd->fd) < 0 && errno != EINTR && !*sys_errno)
		*sys_errno = errno;
	fd->fd = -1;
}

static enum err posix_close(struct file *file, struct err_why *why)
{
	struct posix_file *posix = container_of(file, struct posix_file, base);
	enum err err = ERR_OK;
	int sys_errno = 0;

	/*
	 * By hand, because a lock lives as long as anything refers to the descriptor, and a ring
	 * lets go of it a little later than we do.
	 */
	if (posix->lock_mode != FILE_UNLOCKED)
		err = posix_lock(posix->plain.fd, file->path, posix->lock_mode, FILE_UNLOCKED, why);
	drop_descriptor(&posix->direct, &sys_errno);
	drop_descriptor(&posix->plain, &sys_errno);
	if (sys_errno)
		err = posix_fail(why, sys_errno, file->path, "closing, data may be lost");
	free(file->path);
	free(posix);
	return err;
}

static const struct file_ops posix_ops = {
    .name = "posix",
    .run = posix_run,
    .submit = posix_submit,
    .info = posix_info,
    .lock = posix_file_lock,
    .map_data = posix_map_data,
    .sync_all = posix_sync_all,
    .lock_range = posix_lock_range,
    .clone = posix_clone,
    .close = posix_close,
};

static const char *kind_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a folder";
	case S_IFIFO:
		return "a pipe";
	case S_IFCHR:
		return "a character device";
	case S_IFSOCK:
		return "a socket";
	default:
		return "of an unknown kind";
	}
}

/* What the descriptor really is, whatever the name said. */
static enum err identify(struct posix_file *posix, int fd, struct err_why *why)
{
	const char *path = posix->base.path;
	char shown[POSIX_SHOWN_BYTES];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return posix_fail(why, errno, path, "examining the file");
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(why, ERR_UNSUPPORTED,
			       "%s is %s: only regular files and block devices can hold an image",
			       text_escape(path, shown, sizeof(shown)), kind_name(st.st_mode));
	posix->block_device = S_ISBLK(st.st_mode);
	/* The same device may have several nodes; no file has inode number 0. */
	posix->dev = posix->block_device ? st.st_rdev : st.st_dev;
	posix->ino = posix->block_device ? 0 : st.st_ino;
	return ERR_OK;
}

/* The smallest transfer that works, for kernels that do not tell. */
static uint32_t probe_alignment(int fd)
{
	void *buf;
	uint32_t found = 0;

	if (posix_memalign(&buf, BOUNCE_ALIGN, BOUNCE_ALIGN))
		return 0;
	for (uint32_t align = 512; align <= BOUNCE_ALIGN && !found; align *= 2)
		if (pread(fd, buf, align, align) >= 0)
			found = align;
	free(buf);
	return found;
}

static bool ask_alignment(struct posix_file *posix, int fd)
{
	int sector = 0;
	struct statx stx;

#ifdef STATX_DIOALIGN
	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		posix->align_off_bytes = stx.stx_dio_offset_align;
		posix->align_mem_bytes = stx.stx_dio_mem_align;
		return is_power_of_two(posix->align_off_bytes) &&
		       is_power_of_two(posix->align_mem_bytes);
	}
#endif
	if (posix->block_device && !ioctl(fd, BLKSSZGET, &sector))
		posix->align_off_bytes = (uint32_t)sector;
	else
		posix->align_off_bytes = probe_alignment(fd);
	posix->align_mem_bytes = posix->align_off_bytes;
	return is_power_of_two(posix->align_off_bytes);
}

/* Where it does not work, everything goes through the page cache: slower, not wrong. */
static void open_direct(struct posix_file *posix)
{
	int access = posix->writable ? O_RDWR : O_RDONLY;
	int fd = open(posix->base.path, access | O_DIRECT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct posix_file other = {.base.path = posix->base.path};

	if (fd < 0)
		return;
	if (identify(&other, fd, NULL) == ERR_OK && other.dev == posix->dev &&
	    other.ino == posix->ino && fcntl(fd, F_SETFL, O_DIRECT) == 0 &&
	    ask_alignment(posix, fd)) {
		fixed_file_take(&posix->direct, fd, &posix->plain);
		return;
	}
	posix->align_off_bytes = posix->align_mem_bytes = 1;
	close(fd);
}

static enum err open_plain(struct posix_file *posix, unsigned flags, struct err_why *why)
{
	/* Not to wait for the other end of what turns out to be a pipe. */
	int how = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (posix->writable ? O_RDWR : O_RDONLY);
	const char *path = posix->base.path;
	enum err err;
	int fd;

	if (flags & FILE_OPEN_CREATE)
		how |= O_CREAT | O_EXCL;
	if (flags & FILE_OPEN_NOFOLLOW)
		how |= O_NOFOLLOW;
	fd = open(path, how, 0666);
	if (fd < 0)
		return posix_fail(why, errno, path,
				  flags & FILE_OPEN_CREATE ? "creating the file"
							   : "opening the file");
	err = identify(posix, fd, why);
	/* A ring would not wait for the device on a descriptor that must not block. */
	if (err == ERR_OK && fcntl(fd, F_SETFL, 0) < 0)
		err = posix_fail(why, errno, path, "changing the descriptor's mode");
	if (err != ERR_OK) {
		close(fd);
		return err;
	}
	fixed_file_take(&posix->plain, fd, &posix->plain);
	return ERR_OK;
}

enum err posix_open(struct file_ns *ns, const char *path, unsigned flags, struct file **out,
		    struct err_why *why)
{
	struct posix_file *posix = calloc(1, sizeof(*posix));
	char *copy = strdup(path);
	enum err err;

	(void)ns;
	if (!posix || !copy) {
		free(posix);
		free(copy);
		return err_set(why, ERR_NOMEM, "no memory to open a file");
	}
	posix->base = (struct file){.ops = &posix_ops, .path = copy};
	posix->writable = flags & (FILE_OPEN_RDWR | FILE_OPEN_CREATE);
	posix->align_off_bytes = posix->align_mem_bytes = 1;
	posix->direct.fd = -1;
	err = open_plain(posix, flags, why);
	if (err != ERR_OK) {
		free(copy);
		free(posix);
		return err;
	}
	if (flags & FILE_OPEN_DIRECT)
		open_direct(posix);
	*out = &posix->base;
	return ERR_OK;
}
