/* SPDX-License-Identifier: MIT */
#include "fuse/ops.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse/channel.h"
#include "fuse/log.h"
#include "fuse/mount.h"
#include "fuse/worker.h"
#include "util/bytes.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

/* Requests that the kernel sends without a caller waiting for each: read-ahead, asynchronous I/O.
 */
#define MAX_BACKGROUND 64
#define FOREVER        1e9
#define CHANGES_SHOWN  1.0 /* seconds until a changed time stamp is seen */
#define DIR_BYTES      16384u

static struct vhd_mount *mount_of(fuse_req_t fuse)
{
	return fuse_req_userdata(fuse);
}

static const struct node *node_of(fuse_req_t fuse, fuse_ino_t ino)
{
	return tree_node(&mount_of(fuse)->tree, ino);
}

static void init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = CHANNEL_MAX_IO;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND;
	/* Truncation comes as a setattr, which can tell it from a write. */
	conn->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
	/* Our own writes change the time stamps; that must not empty the kernel's cache. */
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
}

/* ---- names and attributes ---- */

static void fill_stat(const struct vhd_mount *mount, fuse_ino_t ino, struct stat *st)
{
	const struct node *node = tree_node(&mount->tree, ino);
	mode_t mode = 0;

	*st = (struct stat){
	    .st_ino = ino,
	    .st_nlink = 1,
	    .st_uid = mount->uid,
	    .st_gid = mount->gid,
	    .st_mtime = mount->opened,
	};
	switch (node->kind) {
	case NODE_DIR:
		mode = S_IFDIR | 0555;
		st->st_nlink = 2;
		break;
	case NODE_TEXT:
		mode = S_IFREG | 0444;
		break;
	case NODE_RANGE:
		mode = S_IFREG | (mount->writable ? 0666 : 0444);
		st->st_mtime = atomic_load(&mount->changed);
		break;
	}
	st->st_size = (off_t)node->size_bytes;
	st->st_mode = mode & ~mount->umask;
	st->st_blksize = 4096;
	st->st_blocks = (st->st_size + 511) / 512;
	st->st_atime = st->st_ctime = st->st_mtime;
}

static double attr_timeout(const struct vhd_mount *mount)
{
	return mount->writable ? CHANGES_SHOWN : FOREVER;
}

static void reply_attr(fuse_req_t fuse, fuse_ino_t ino)
{
	struct stat st;

	fill_stat(mount_of(fuse), ino, &st);
	fuse_reply_attr(fuse, &st, attr_timeout(mount_of(fuse)));
}

static void lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	const struct vhd_mount *mount = mount_of(fuse);
	struct fuse_entry_param entry = {
	    .ino = tree_lookup(&mount->tree, parent, name),
	    .attr_timeout = attr_timeout(mount),
	    .entry_timeout = FOREVER,
	};

	if (!entry.ino) {
		fuse_reply_err(fuse, ENOENT);
		return;
	}
	fill_stat(mount, entry.ino, &entry.attr);
	fuse_reply_entry(fuse, &entry);
}

static void getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	if (!node_of(fuse, ino))
		fuse_reply_err(fuse, ENOENT);
	else
		reply_attr(fuse, ino);
}

/*
 * Sizes are fixed. As with a block device, O_TRUNC (which comes without a handle) has no effect, so
 * that `cp` to a partition works; so has setting the times.
 */
static void setattr(fuse_req_t fuse, fuse_ino_t ino, struct stat *attr, int to_set,
		    struct fuse_file_info *fi)
{
	const int fixed = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
	const struct node *node = node_of(fuse, ino);
	bool resizes = (to_set & FUSE_SET_ATTR_SIZE) && (attr->st_size || fi);

	if (!node)
		fuse_reply_err(fuse, ENOENT);
	else if ((to_set & fixed) || (resizes && (uint64_t)attr->st_size != node->size_bytes))
		fuse_reply_err(fuse, EPERM);
	else
		reply_attr(fuse, ino);
}

static size_t add_entry(fuse_req_t fuse, char *buf, size_t room, const char *name, fuse_ino_t ino,
			off_t next)
{
	struct stat st;

	fill_stat(mount_of(fuse), ino, &st);
	return fuse_add_direntry(fuse, buf, room, name, &st, next);
}

/* Offsets: 1 after ".", 2 after "..", 2 + its inode number after an entry. */
static void readdir(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	const struct tree *tree = &mount_of(fuse)->tree;
	char buf[DIR_BYTES];
	size_t room = size < sizeof(buf) ? size : sizeof(buf), used = 0;
	fuse_ino_t child = off > 2 ? (fuse_ino_t)off - 2 : 0;

	(void)fi;
	for (;;) {
		const char *name = off == 0 ? "." : "..";
		fuse_ino_t entry = TREE_ROOT; /* the only directory that there is */
		size_t bytes;

		if (off >= 2) {
			entry = child = tree_next_child(tree, ino, child);
			if (!child)
				break;
			name = tree_node(tree, child)->name;
		}
		off = off < 2 ? off + 1 : (off_t)child + 2;
		bytes = add_entry(fuse, buf + used, room - used, name, entry, off);
		if (bytes > room - used)
			break;
		used += bytes;
	}
	fuse_reply_buf(fuse, buf, used);
}

/* The tree is what it is. */
static void refuse_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
			 dev_t rdev)
{
	(void)parent, (void)name, (void)mode, (void)rdev;
	fuse_reply_err(fuse, EPERM);
}

static void refuse_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent, (void)name, (void)mode;
	fuse_reply_err(fuse, EPERM);
}

static void refuse_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	(void)parent, (void)name;
	fuse_reply_err(fuse, EPERM);
}

static void refuse_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name,
			  fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	(void)parent, (void)name, (void)new_parent, (void)new_name, (void)flags;
	fuse_reply_err(fuse, EPERM);
}

/* ---- opening and closing ---- */

/*
 * Ranges bypass the kernel's cache: so disk.img and the partitions always show the same bytes,
 * large reads are not cut into small ones, and nothing is cached twice. A disk that nobody writes
 * has no such worries; there the user may choose.
 *
 * fuse_file_info.fh tells whether the file may be written. libfuse 3.14 does not know
 * FOPEN_PARALLEL_DIRECT_WRITES, so the answer is put together here.
 */
static void open_file(fuse_req_t fuse, int flags, enum node_kind kind)
{
	const struct vhd_mount *mount = mount_of(fuse);
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	bool cached = kind == NODE_TEXT || mount->cached;
	struct fuse_open_out out = {
	    .fh = writes,
	    .open_flags =
		cached ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	};

	if (writes && !mount->writable)
		fuse_reply_err(fuse, EROFS);
	else if (writes && kind == NODE_TEXT)
		fuse_reply_err(fuse, EACCES);
	else
		fuse_reply_buf(fuse, (const char *)&out, sizeof(out));
}

static void open_node(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct node *node = node_of(fuse, ino);

	if (!node)
		fuse_reply_err(fuse, ENOENT);
	else
		open_file(fuse, fi->flags, node->kind);
}

/* ---- reading and writing ---- */

/* Answers a failure; false when there was none. */
static bool reply_failure(struct request *req, const char *what)
{
	char where[TREE_NAME_BYTES + 96];

	if (!req->io.result)
		return false;
	snprintf(where, sizeof(where), "%s: %s of %llu bytes at %llu",
		 node_of(req->fuse, req->ino)->name, what, (unsigned long long)req->io.len_bytes,
		 (unsigned long long)req->io.off_bytes);
	log_failed_request(where, &req->io.why);
	fuse_reply_err(req->fuse, err_errno(req->io.result));
	return true;
}

static void start(struct request *req, fuse_ino_t ino, enum disk_op op, uint64_t off_bytes,
		  uint64_t len_bytes, void (*done)(struct byte_req *io))
{
	const struct node *node = node_of(req->fuse, ino);

	req->ino = ino;
	req->io.op = op;
	req->io.off_bytes = node->start_bytes + off_bytes;
	req->io.len_bytes = len_bytes;
	req->io.done = done;
	request_submit(req, node->disk);
}

static void read_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	if (!reply_failure(req, "read"))
		fuse_reply_buf(req->fuse, (const char *)io->data, io->len_bytes);
	request_free(req);
}

static void read_node(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t at,
		      struct fuse_file_info *fi)
{
	const struct node *node = node_of(fuse, ino);
	uint64_t off = min_u64((uint64_t)at, node->size_bytes);
	uint64_t len = min_u64(min_u64(size, CHANNEL_MAX_IO), node->size_bytes - off);
	struct request *req;

	(void)fi;
	if (node->kind == NODE_TEXT || !len) {
		fuse_reply_buf(fuse, len ? node->text + off : NULL, len);
		return;
	}
	req = request_new(fuse, byte_read_room(node->start_bytes + off, len));
	if (req)
		start(req, ino, DISK_READ, off, len, read_done);
	else
		fuse_reply_err(fuse, ENOMEM);
}

static void note_change(fuse_req_t fuse)
{
	atomic_store(&mount_of(fuse)->changed, time(NULL));
}

static void write_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	note_change(req->fuse);
	if (!reply_failure(req, "write"))
		fuse_reply_write(req->fuse, io->len_bytes);
	request_free(req);
}

/* Bytes from `off` on that are inside the node; 0 after an answer was given. */
static uint64_t writable_len(fuse_req_t fuse, fuse_ino_t ino, uint64_t off, uint64_t len,
			     const struct fuse_file_info *fi)
{
	const struct node *node = node_of(fuse, ino);
	int sys_errno = 0;

	if (!fi->fh)
		sys_errno = EBADF;
	else if (!len)
		sys_errno = EINVAL;
	else if (off >= node->size_bytes)
		sys_errno = ENOSPC; /* as a block device has it */
	if (sys_errno) {
		fuse_reply_err(fuse, sys_errno);
		return 0;
	}
	return min_u64(len, node->size_bytes - off);
}

static void write_node(fuse_req_t fuse, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	uint64_t len = writable_len(fuse, ino, (uint64_t)off, size, fi);
	struct request *req;

	if (!len)
		return;
	req = request_new_from_message(fuse, buf);
	if (!req) {
		fuse_reply_err(fuse, ENOMEM);
		return;
	}
	/* For a file that is not cached the kernel leaves this to us. */
	if (fi->flags & O_DSYNC)
		req->io.flags = DISK_FUA;
	start(req, ino, DISK_WRITE, (uint64_t)off, len, write_done);
}

/* ---- durability, space ---- */

static void flush_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	if (!reply_failure(req, "flush"))
		fuse_reply_err(req->fuse, 0);
	request_free(req);
}

static void flush_range(fuse_req_t fuse, fuse_ino_t ino)
{
	struct request *req = request_new(fuse, 0);

	if (req)
		start(req, ino, DISK_FLUSH, 0, 0, flush_done);
	else
		fuse_reply_err(fuse, ENOMEM);
}

/* P1 */
static void fsync_node(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync, (void)fi;
	if (node_of(fuse, ino)->kind == NODE_RANGE && mount_of(fuse)->writable)
		flush_range(fuse, ino);
	else
		fuse_reply_err(fuse, 0);
}

/* A descriptor is closed: who wrote learns now whether it is safe. */
static void flush_node(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (fi->fh)
		flush_range(fuse, ino);
	else
		fuse_reply_err(fuse, 0);
}

static void zero_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	note_change(req->fuse);
	if (!reply_failure(req, "zeroing"))
		fuse_reply_err(req->fuse, 0);
	request_free(req);
}

/* Holes and zero ranges read as zeros afterwards. Reserving space is not something a disk does. */
static void fallocate_node(fuse_req_t fuse, fuse_ino_t ino, int mode, off_t off, off_t len,
			   struct fuse_file_info *fi)
{
	int what = mode & ~FALLOC_FL_KEEP_SIZE;
	struct request *req;
	uint64_t inside;

	if (what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE) {
		fuse_reply_err(fuse, EOPNOTSUPP);
		return;
	}
	inside = writable_len(fuse, ino, (uint64_t)off, (uint64_t)len, fi);
	if (!inside)
		return;
	req = request_new(fuse, 0);
	if (!req) {
		fuse_reply_err(fuse, ENOMEM);
		return;
	}
	req->io.flags = what == FALLOC_FL_ZERO_RANGE ? DISK_KEEP_SPACE : 0;
	start(req, ino, DISK_ZERO, (uint64_t)off, inside, zero_done);
}

/* The next place at or after `off` whose state is `state`; the end of the node if there is none. */
static enum err find_state(const struct node *node, uint64_t off, enum disk_extent_state state,
			   uint64_t *out, struct err_why *why)
{
	while (off < node->size_bytes) {
		uint64_t at = round_down(node->start_bytes + off, DISK_SECTOR);
		uint64_t end = node->start_bytes + node->size_bytes;
		struct disk_extent extent;
		enum err err = disk_map(node->disk->disk, at, end - at, &extent, why);

		if (err)
			return err;
		if (extent.state == state)
			break;
		off = extent.start_bytes + extent.len_bytes - node->start_bytes;
	}
	*out = off;
	return ERR_OK;
}

/* The errno of the answer, or 0 and the place. */
static int seek(const struct node *node, uint64_t off, int whence, uint64_t *found)
{
	struct err_why why = {0};

	*found = off;
	if (off >= node->size_bytes)
		return ENXIO;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return EINVAL;
	if (node->kind == NODE_TEXT)
		*found = whence == SEEK_DATA ? off : node->size_bytes;
	else if (find_state(node, off, whence == SEEK_DATA ? EXTENT_DATA : EXTENT_ZERO, found,
			    &why))
		return err_errno(why.code);
	return whence == SEEK_DATA && *found == node->size_bytes ? ENXIO : 0;
}

static void lseek_node(fuse_req_t fuse, fuse_ino_t ino, off_t off, int whence,
		       struct fuse_file_info *fi)
{
	uint64_t found;
	int sys_errno = seek(node_of(fuse, ino), (uint64_t)off, whence, &found);

	(void)fi;
	if (sys_errno)
		fuse_reply_err(fuse, sys_errno);
	else
		fuse_reply_lseek(fuse, (off_t)found);
}

const struct fuse_lowlevel_ops vhd_mount_ops = {
    .init = init,
    .lookup = lookup,
    .getattr = getattr,
    .setattr = setattr,
    .readdir = readdir,
    .mknod = refuse_mknod,
    .mkdir = refuse_mkdir,
    .unlink = refuse_unlink,
    .rmdir = refuse_unlink,
    .rename = refuse_rename,
    .open = open_node,
    .read = read_node,
    .write = write_node,
    .flush = flush_node,
    .fsync = fsync_node,
    .fallocate = fallocate_node,
    .lseek = lseek_node,
};
