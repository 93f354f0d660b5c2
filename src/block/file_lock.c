/* SPDX-License-Identifier: MIT */

/*
 * Image locking as QEMU does it, so that the two exclude each other. A permission has a number: 0
 * read consistent data, 1 write, 2 write what is there already, 3 resize. An opener takes a shared
 * lock on byte 100+n for each one it uses and on byte 200+n for each one it denies to others; then
 * it looks whether anybody else denies what it uses, or uses what it denies. Looking after taking
 * means that of two that come together at least one sees the other.
 *
 * The locks are advisory and belong to the open file description (OFD), so two opens in one process
 * exclude each other too, and closing another descriptor of the file does not drop them. Where the
 * file system has no locks the image is used without.
 */

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <time.h>

#include "block/file_posix.h"
#include "util/text.h"

#define USE_BASE  100
#define DENY_BASE 200

#define RETRIES_PER_SECOND 50
#define RETRIES            25

#define PERM_READ   (1u << 0)
#define PERM_WRITE  (1u << 1)
#define PERM_RESIZE (1u << 3)
#define PERM_COUNT  4

struct claim {
	unsigned uses;
	unsigned denies;
};

static const struct claim claims[] = {
    [FILE_UNLOCKED] = {0, 0},
    [FILE_LOCK_READ] = {PERM_READ, PERM_WRITE | PERM_RESIZE},
    [FILE_LOCK_WRITE] = {PERM_READ | PERM_WRITE | PERM_RESIZE, PERM_WRITE | PERM_RESIZE},
};

/* Returns 0 or an errno; F_OFD_GETLK leaves its answer in *type. */
static int lock_byte(int fd, int cmd, short *type, unsigned byte)
{
	struct flock lock = {.l_type = *type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int rc;

	do
		rc = fcntl(fd, cmd, &lock);
	while (rc < 0 && errno == EINTR);
	*type = lock.l_type;
	return rc < 0 ? errno : 0;
}

static int set_bytes(int fd, short type, unsigned base, unsigned perms)
{
	for (unsigned n = 0; n < PERM_COUNT; n++) {
		short t = type;
		int rc = perms & 1u << n ? lock_byte(fd, F_OFD_SETLK, &t, base + n) : 0;

		if (rc)
			return rc;
	}
	return 0;
}

static int set_claim(int fd, short type, struct claim claim)
{
	int rc = set_bytes(fd, type, USE_BASE, claim.uses);

	return rc ? rc : set_bytes(fd, type, DENY_BASE, claim.denies);
}

/* The permissions of `perms` whose byte somebody else has. */
static int find_taken(int fd, unsigned base, unsigned perms, unsigned *taken)
{
	*taken = 0;
	for (unsigned n = 0; n < PERM_COUNT; n++) {
		short type = F_WRLCK; /* what any lock of others excludes */
		int rc = perms & 1u << n ? lock_byte(fd, F_OFD_GETLK, &type, base + n) : 0;

		if (rc)
			return rc;
		if (perms & 1u << n && type != F_UNLCK)
			*taken |= 1u << n;
	}
	return 0;
}

static bool is_unsupported(int rc)
{
	return rc == ENOLCK || rc == EOPNOTSUPP || rc == ENOSYS || rc == EINVAL;
}

static enum err excluded(const char *path, enum file_lock wanted, struct claim by,
			 struct err_why *why)
{
	char shown[POSIX_SHOWN_BYTES];
	const char *use = wanted == FILE_LOCK_WRITE ? "writing" : "reading";

	text_escape(path, shown, sizeof(shown));
	if (by.uses & (PERM_WRITE | PERM_RESIZE))
		return err_set(
		    why, ERR_LOCKED,
		    "%s cannot be opened for %s: another program has it open for writing", path,
		    use);
	return err_set(
	    why, ERR_LOCKED,
	    "%s cannot be opened for %s: another program uses it and does not allow that", path,
	    use);
}

static enum err try_lock(int fd, const char *path, enum file_lock held, enum file_lock wanted,
			 struct err_why *why)
{
	struct claim old = claims[held], want = claims[wanted];
	struct claim more = {want.uses & ~old.uses, want.denies & ~old.denies};
	struct claim less = {old.uses & ~want.uses, old.denies & ~want.denies};
	struct claim by = {0, 0};
	enum err err = ERR_OK;
	int rc;

	rc = set_claim(fd, F_RDLCK, more);
	if (!rc)
		rc = find_taken(fd, DENY_BASE, want.uses, &by.denies);
	if (!rc)
		rc = find_taken(fd, USE_BASE, want.denies, &by.uses);
	if (rc == EAGAIN || rc == EACCES || by.denies || by.uses)
		err = excluded(path, wanted, by, why);
	else if (rc && !is_unsupported(rc))
		err = posix_fail(why, rc, path, "locking the image");
	set_claim(fd, F_UNLCK, err == ERR_OK ? less : more);
	return err;
}

/*
 * Of rings that are gone the kernel takes down the rest when it gets round to it, which can be
 * seconds later, and until then their files stay open. A ring that comes and goes makes it do so
 * now. When none is to be had there is nothing lost but time.
 */
static void hurry_dead_rings(void)
{
	struct io_uring ring;

	if (!io_uring_queue_init(2, &ring, 0))
		io_uring_queue_exit(&ring);
}

/*
 * A process that was killed gives its locks back only when the kernel has finished with its
 * io_uring, a moment after it is gone: whoever opens the image next should not have to know.
 */
enum err posix_lock(int fd, const char *path, enum file_lock held, enum file_lock wanted,
		    struct err_why *why)
{
	const struct timespec pause = {.tv_nsec = 1000000000 / RETRIES_PER_SECOND};
	enum err err = try_lock(fd, path, held, wanted, why);

	for (unsigned i = 0; err == ERR_LOCKED && i < RETRIES; i++) {
		hurry_dead_rings();
		nanosleep(&pause, NULL);
		err = try_lock(fd, path, held, wanted, why);
	}
	return err;
}
