/* SPDX-License-Identifier: MIT */
#include "fuse/ops.h"

#include "fuse/files.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuse/call.h"
#include "fuse/channel.h"
#include "fuse/mount.h"
#include "fuse/place.h"
#include "fuse/vm.h"
#include "util/bytes.h"

/* Requests that the kernel sends without a caller waiting for each: read-ahead, asynchronous I/O.
 */
#define MAX_BACKGROUND 64
#define FOREVER        1e9
#define CHANGES_SHOWN  1.0 /* seconds until a change is seen */
#define DIR_BYTES      16384u

static struct vhd_mount *mount_of(fuse_req_t fuse)
{
	return fuse_req_userdata(fuse);
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

/* ---- attributes ---- */

static void fill_stat(const struct vhd_mount *mount, fuse_ino_t ino, mode_t mode, time_t changed,
		      struct stat *st)
{
	*st = (struct stat){
	    .st_ino = ino,
	    .st_mode = mode & ~mount->umask,
	    .st_nlink = 1,
	    .st_uid = mount->uid,
	    .st_gid = mount->gid,
	    .st_blksize = 4096,
	    .st_atime = changed,
	    .st_mtime = changed,
	    .st_ctime = changed,
	};
}

static void stat_node(const struct vhd_mount *mount, const struct shown *disk,
		      const struct node *node, fuse_ino_t ino, struct stat *st)
{
	switch (node->kind) {
	case NODE_DIR:
		fill_stat(mount, ino, S_IFDIR | 0555, disk->opened, st);
		st->st_nlink = 2;
		break;
	case NODE_TEXT:
		fill_stat(mount, ino, S_IFREG | 0444, disk->opened, st);
		break;
	case NODE_RANGE:
		fill_stat(mount, ino, S_IFREG | (mount->writable ? 0666 : 0444),
			  atomic_load(&disk->changed), st);
		break;
	}
	st->st_size = (off_t)node->size_bytes;
	st->st_blocks = (st->st_size + 511) / 512;
}

/* The errno of the answer, or 0; so for what follows. */
static int stat_dir(const struct vhd_mount *mount, fuse_ino_t ino, struct stat *st)
{
	struct vm_dir dir;

	if (!vm_stat_dir(mount->vm, ino, &dir))
		return ENOENT;
	fill_stat(mount, ino, S_IFDIR | 0555, dir.changed, st);
	st->st_nlink = 2 + dir.subdirs;
	return 0;
}

static int stat_file(struct vhd_mount *mount, fuse_ino_t ino, struct stat *st)
{
	struct err_why why = {0};
	const struct node *node;
	struct use use;

	if (mount_enter_for_attr(mount, ino, &use, &why))
		return unavailable_errno(&why);
	node = tree_node(&use.disk->tree, place_of(ino).entry);
	if (node)
		stat_node(mount, use.disk, node, ino, st);
	mount_leave(mount, &use);
	return node ? 0 : ENOENT;
}

static int stat_ino(struct vhd_mount *mount, fuse_ino_t ino, struct stat *st)
{
	return mount->vm && vm_is_dir(ino) ? stat_dir(mount, ino, st) : stat_file(mount, ino, st);
}

static double attr_timeout(const struct vhd_mount *mount)
{
	return mount->writable || mount->vm ? CHANGES_SHOWN : FOREVER;
}

static void reply_stat(fuse_req_t fuse, int sys_errno, const struct stat *st)
{
	if (sys_errno)
		fuse_reply_err(fuse, sys_errno);
	else
		fuse_reply_attr(fuse, st, attr_timeout(mount_of(fuse)));
}

static void answer_getattr(const struct call *call)
{
	struct stat st;

	reply_stat(call->fuse, stat_ino(mount_of(call->fuse), call->ino, &st), &st);
}

static void getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call call = {.answer = answer_getattr, .fuse = fuse, .ino = ino};

	(void)fi;
	call_serve(&call);
}

/*
 * Sizes are fixed. As with a block device, O_TRUNC (which comes without a handle) has no effect, so
 * that `cp` to a partition works; so has setting the times.
 */
static void setattr(fuse_req_t fuse, fuse_ino_t ino, struct stat *attr, int to_set,
		    struct fuse_file_info *fi)
{
	const int fixed = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
	bool resizes = (to_set & FUSE_SET_ATTR_SIZE) && (attr->st_size || fi);
	struct vhd_mount *mount = mount_of(fuse);
	struct stat st = {0};
	int sys_errno = mount->vm ? EROFS : stat_ino(mount, ino, &st);

	if (!sys_errno && ((to_set & fixed) || (resizes && attr->st_size != st.st_size)))
		sys_errno = EPERM;
	reply_stat(fuse, sys_errno, &st);
}

/* ---- names ---- */

static int lookup_dir(struct vhd_mount *mount, fuse_ino_t parent, const char *name,
		      struct fuse_entry_param *entry)
{
	entry->ino = vm_lookup(mount->vm, parent, name);
	return entry->ino ? stat_dir(mount, entry->ino, &entry->attr) : ENOENT;
}

static int lookup_file(struct vhd_mount *mount, fuse_ino_t parent, const char *name,
		       struct fuse_entry_param *entry)
{
	struct place at = place_of(parent);
	struct err_why why = {0};
	struct use use;

	if (mount_enter(mount, parent, &use, &why))
		return unavailable_errno(&why);
	at.entry = (unsigned)tree_lookup(&use.disk->tree, at.entry, name);
	if (at.entry) {
		entry->ino = place_ino(at);
		stat_node(mount, use.disk, tree_node(&use.disk->tree, at.entry), entry->ino,
			  &entry->attr);
	}
	mount_leave(mount, &use);
	return at.entry ? 0 : ENOENT;
}

static void answer_lookup(const struct call *call)
{
	struct vhd_mount *mount = mount_of(call->fuse);
	struct fuse_entry_param entry = {
	    .attr_timeout = attr_timeout(mount),
	    .entry_timeout = mount->vm ? CHANGES_SHOWN : FOREVER,
	};
	int sys_errno = mount->vm && vm_is_above_disks(call->ino)
			    ? lookup_dir(mount, call->ino, call->name, &entry)
			    : lookup_file(mount, call->ino, call->name, &entry);

	if (sys_errno)
		fuse_reply_err(call->fuse, sys_errno);
	else
		fuse_reply_entry(call->fuse, &entry);
}

static void lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	struct call call = {.answer = answer_lookup, .fuse = fuse, .ino = parent};

	if ((size_t)snprintf(call.name, sizeof(call.name), "%s", name) < sizeof(call.name))
		call_serve(&call);
	else
		fuse_reply_err(fuse, ENAMETOOLONG);
}

/* The next entry of a directory. Positions do not change when others come or go. */
struct child {
	uint64_t ino, position;
	mode_t mode;
	const char *name;
	struct vm_child dir; /* holds the name */
};

static bool next_child(const struct vhd_mount *mount, const struct shown *disk, fuse_ino_t parent,
		       uint64_t after, struct child *out)
{
	struct place at = place_of(parent);
	const struct node *node;

	if (!disk) {
		if (!vm_next_child(mount->vm, parent, after, &out->dir))
			return false;
		out->ino = out->dir.ino;
		out->position = out->dir.position;
		out->mode = S_IFDIR;
		out->name = out->dir.name;
		return true;
	}
	at.entry = (unsigned)tree_next_child(&disk->tree, at.entry, after);
	node = tree_node(&disk->tree, at.entry);
	if (!node)
		return false;
	out->ino = place_ino(at);
	out->position = at.entry;
	out->mode = node->kind == NODE_DIR ? S_IFDIR : S_IFREG;
	out->name = node->name;
	return true;
}

/* The directory above `ino`, which is one. */
static fuse_ino_t parent_of(fuse_ino_t ino)
{
	struct place at = place_of(ino);

	if (at.disk)
		at.disk = 0;
	else
		at.number = 0;
	return place_ino(at);
}

/* Offsets: 1 after ".", 2 after "..", 2 + its position after an entry. */
static bool next_entry(const struct vhd_mount *mount, const struct shown *disk, fuse_ino_t parent,
		       off_t off, struct child *out)
{
	if (off >= 2)
		return next_child(mount, disk, parent, (uint64_t)off - 2, out);
	out->ino = off == 0 ? parent : parent_of(parent);
	out->position = 0;
	out->mode = S_IFDIR;
	out->name = off == 0 ? "." : "..";
	return true;
}

static void reply_list(const struct call *call, const struct shown *disk)
{
	char buf[DIR_BYTES];
	size_t room = min_u64(call->size, sizeof(buf)), used = 0;
	off_t off = call->off;
	struct child child;

	while (next_entry(mount_of(call->fuse), disk, call->ino, off, &child)) {
		struct stat st = {.st_ino = child.ino, .st_mode = child.mode};
		off_t next = off == 0 ? 1 : 2 + (off_t)child.position;
		size_t bytes =
		    fuse_add_direntry(call->fuse, buf + used, room - used, child.name, &st, next);

		if (bytes > room - used)
			break;
		used += bytes;
		off = next;
	}
	fuse_reply_buf(call->fuse, buf, used);
}

static void answer_readdir(const struct call *call)
{
	struct vhd_mount *mount = mount_of(call->fuse);
	struct err_why why = {0};
	struct use use;

	if (mount->vm && vm_is_above_disks(call->ino)) {
		reply_list(call, NULL);
	} else if (mount_enter(mount, call->ino, &use, &why)) {
		fuse_reply_err(call->fuse, unavailable_errno(&why));
	} else {
		reply_list(call, use.disk);
		mount_leave(mount, &use);
	}
}

static void readdir(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct call call = {
	    .answer = answer_readdir, .fuse = fuse, .ino = ino, .size = size, .off = off};

	(void)fi;
	call_serve(&call);
}

/* ---- what there is not ---- */

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
    .open = op_open,
    .release = op_release,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
};
