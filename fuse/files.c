/* SPDX-License-Identifier: MIT */
#include "fuse/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuse/call.h"
#include "fuse/channel.h"
#include "fuse/log.h"
#include "fuse/mount.h"
#include "fuse/nodes.h"
#include "fuse/place.h"
#include "fuse/views.h"
#include "fuse/vm.h"
#include "fuse/worker.h"
#include "util/bytes.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

/* A file that is open. */
struct open_file {
	struct shown *disk;
	const struct node *node;
};

static struct vhd_mount *mount_of(fuse_req_t fuse)
{
	return fuse_req_userdata(fuse);
}

/* ---- opening and closing ---- */

/*
 * fuse_file_info.fh: of an image, whether the file may be written; of a VM, where nothing may, the
 * view that the file is of.
 */
static struct open_file file_of(fuse_req_t fuse, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	struct vhd_mount *mount = mount_of(fuse);
	struct place at = place_of(ino);
	struct shown *disk = &mount->image;

	if (mount->vm)
		disk = view_disk((struct view *)(uintptr_t)fi->fh, at.disk - 1);
	return (struct open_file){disk, tree_node(&disk->tree, at.entry)};
}

static bool may_write(fuse_req_t fuse, const struct fuse_file_info *fi)
{
	return mount_of(fuse)->writable && fi->fh;
}

/*
 * Ranges bypass the kernel's cache: so disk.img and the partitions always show the same bytes,
 * large reads are not cut into small ones, and nothing is cached twice. A disk that nobody writes
 * has no such worries; there the user may choose. A VM's current is another one from time to time,
 * and so is what is told about a snapshot.
 */
static bool uses_cache(const struct vhd_mount *mount, fuse_ino_t ino, enum node_kind kind)
{
	if (!mount->vm)
		return kind == NODE_TEXT || mount->cached;
	return kind == NODE_RANGE && mount->cached && place_of(ino).number != NODES_CURRENT;
}

/* libfuse 3.14 does not know FOPEN_PARALLEL_DIRECT_WRITES, so the answer is put together here. */
static void reply_open(fuse_req_t fuse, fuse_ino_t ino, enum node_kind kind, const struct use *use,
		       bool writes)
{
	struct vhd_mount *mount = mount_of(fuse);
	struct fuse_open_out out = {
	    .fh = mount->vm ? (uintptr_t)use->view : writes,
	    .open_flags = uses_cache(mount, ino, kind)
			      ? FOPEN_KEEP_CACHE
			      : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	};

	if (mount->vm)
		vm_keep(mount->vm, use->view);
	/* Who has given up waiting for the answer will not close the file. */
	if (fuse_reply_buf(fuse, (const char *)&out, sizeof(out)) && mount->vm)
		vm_leave(mount->vm, use->view);
}

int unavailable_errno(const struct err_why *why)
{
	/* Nothing to report: it is gone, or being written. */
	bool expected = why->code == ERR_NOENT || why->code == ERR_LOCKED;

	if (!expected)
		log_failed_request("a snapshot cannot be shown", why);
	return why->sys_errno == ENFILE ? ENFILE : err_errno(why->code);
}

static void answer_open(const struct call *call)
{
	struct vhd_mount *mount = mount_of(call->fuse);
	bool writes = (call->flags & O_ACCMODE) != O_RDONLY;
	struct err_why why = {0};
	const struct node *node;
	struct use use;

	if (mount_enter(mount, call->ino, &use, &why)) {
		fuse_reply_err(call->fuse, unavailable_errno(&why));
		return;
	}
	node = tree_node(&use.disk->tree, place_of(call->ino).entry);
	if (!node)
		fuse_reply_err(call->fuse, ENOENT);
	else if (writes && !mount->writable)
		fuse_reply_err(call->fuse, EROFS);
	else if (writes && node->kind == NODE_TEXT)
		fuse_reply_err(call->fuse, EACCES);
	else
		reply_open(call->fuse, call->ino, node->kind, &use, writes);
	mount_leave(mount, &use);
}

void op_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call call = {.answer = answer_open, .fuse = fuse, .ino = ino, .flags = fi->flags};

	call_serve(&call);
}

void op_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vhd_mount *mount = mount_of(fuse);

	(void)ino;
	if (mount->vm)
		vm_leave(mount->vm, (struct view *)(uintptr_t)fi->fh);
	fuse_reply_err(fuse, 0);
}

/* ---- reading and writing ---- */

/* Answers a failure; false when there was none. */
static bool reply_failure(struct request *req, const char *what)
{
	char where[sizeof(req->disk->label) + TREE_NAME_BYTES + 96];

	if (!req->io.result)
		return false;
	snprintf(where, sizeof(where), "%s%s: %s of %llu bytes at %llu", req->disk->label,
		 req->node->name, what, (unsigned long long)req->io.len_bytes,
		 (unsigned long long)req->io.off_bytes);
	log_failed_request(where, &req->io.why);
	fuse_reply_err(req->fuse, err_errno(req->io.result));
	return true;
}

static void start(struct request *req, struct open_file file, enum disk_op op, uint64_t off_bytes,
		  uint64_t len_bytes, void (*done)(struct byte_req *io))
{
	req->disk = file.disk;
	req->node = file.node;
	req->io.op = op;
	req->io.off_bytes = file.node->start_bytes + off_bytes;
	req->io.len_bytes = len_bytes;
	req->io.done = done;
	request_submit(req, file.node->disk);
}

static void read_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	if (!reply_failure(req, "read"))
		fuse_reply_buf(req->fuse, (const char *)io->data, io->len_bytes);
	request_free(req);
}

void op_read(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi)
{
	struct open_file file = file_of(fuse, ino, fi);
	const struct node *node = file.node;
	uint64_t off = min_u64((uint64_t)at, node->size_bytes);
	uint64_t len = min_u64(min_u64(size, CHANNEL_MAX_IO), node->size_bytes - off);
	struct request *req;

	if (node->kind == NODE_TEXT || !len) {
		fuse_reply_buf(fuse, len ? node->text + off : NULL, len);
		return;
	}
	req = request_new(fuse, byte_read_room(node->start_bytes + off, len));
	if (req)
		start(req, file, DISK_READ, off, len, read_done);
	else
		fuse_reply_err(fuse, ENOMEM);
}

static void note_change(struct request *req)
{
	atomic_store(&req->disk->changed, time(NULL));
}

static void write_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	note_change(req);
	if (!reply_failure(req, "write"))
		fuse_reply_write(req->fuse, io->len_bytes);
	request_free(req);
}

/* Bytes from `off` on that are inside the node; 0 after an answer was given. */
static uint64_t writable_len(fuse_req_t fuse, const struct node *node, uint64_t off, uint64_t len,
			     const struct fuse_file_info *fi)
{
	int sys_errno = 0;

	if (!may_write(fuse, fi))
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

void op_write(fuse_req_t fuse, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct open_file file = file_of(fuse, ino, fi);
	uint64_t len = writable_len(fuse, file.node, (uint64_t)off, size, fi);
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
	start(req, file, DISK_WRITE, (uint64_t)off, len, write_done);
}

/* ---- durability, space ---- */

static void flush_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	if (!reply_failure(req, "flush"))
		fuse_reply_err(req->fuse, 0);
	request_free(req);
}

static void flush_disk(fuse_req_t fuse, struct open_file file)
{
	struct request *req = request_new(fuse, 0);

	if (req)
		start(req, file, DISK_FLUSH, 0, 0, flush_done);
	else
		fuse_reply_err(fuse, ENOMEM);
}

/* P1 */
void op_fsync(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct open_file file = file_of(fuse, ino, fi);

	(void)datasync;
	if (file.node->kind == NODE_RANGE && mount_of(fuse)->writable)
		flush_disk(fuse, file);
	else
		fuse_reply_err(fuse, 0);
}

/* A descriptor is closed: who wrote learns now whether it is safe. */
void op_flush(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (may_write(fuse, fi))
		flush_disk(fuse, file_of(fuse, ino, fi));
	else
		fuse_reply_err(fuse, 0);
}

static void zero_done(struct byte_req *io)
{
	struct request *req = container_of(io, struct request, io);

	note_change(req);
	if (!reply_failure(req, "zeroing"))
		fuse_reply_err(req->fuse, 0);
	request_free(req);
}

/* Holes and zero ranges read as zeros afterwards. Reserving space is not something a disk does. */
void op_fallocate(fuse_req_t fuse, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	struct open_file file = file_of(fuse, ino, fi);
	int what = mode & ~FALLOC_FL_KEEP_SIZE;
	struct request *req;
	uint64_t inside;

	if (what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE) {
		fuse_reply_err(fuse, EOPNOTSUPP);
		return;
	}
	inside = writable_len(fuse, file.node, (uint64_t)off, (uint64_t)len, fi);
	if (!inside)
		return;
	req = request_new(fuse, 0);
	if (!req) {
		fuse_reply_err(fuse, ENOMEM);
		return;
	}
	req->io.flags = what == FALLOC_FL_ZERO_RANGE ? DISK_KEEP_SPACE : 0;
	start(req, file, DISK_ZERO, (uint64_t)off, inside, zero_done);
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

void op_lseek(fuse_req_t fuse, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	uint64_t found;
	int sys_errno = seek(file_of(fuse, ino, fi).node, (uint64_t)off, whence, &found);

	if (sys_errno)
		fuse_reply_err(fuse, sys_errno);
	else
		fuse_reply_lseek(fuse, (off_t)found);
}
