/* SPDX-License-Identifier: MIT */
#include "fuse/mount.h"

#include <stdlib.h>

#include "fuse/info.h"
#include "fuse/vm.h"
#include "vhd/guestfs.h"
#include "vhd/vhd.h"

#define TIDY_MS 1000

/* ---- an image ---- */

static enum err look_inside(struct shown *image, struct disk *disk, const char *path,
			    const struct vhd_open_opts *opts, struct err_why *why)
{
	struct guestfs_table *table;
	char *info;
	enum err err = shown_probe(disk, &table, why);

	if (err)
		return err;
	err = info_text(path, opts, table, &info, why);
	if (!err)
		err = shown_init(image, disk, info, table, why);
	free(table);
	return err;
}

static enum err open_image(const struct options *options, struct shown *image, struct err_why *why)
{
	struct vhd_open_opts opts = {
	    .writable = !options->readonly,
	    .parent = options->parent,
	    .search = (const char *const *)options->search,
	    .search_count = options->search_count,
	};
	struct disk *disk;
	enum err err = vhd_open(options->file, &opts, &disk, why);

	if (err)
		return err;
	err = look_inside(image, disk, options->file, &opts, why);
	if (err) {
		disk_close(disk, NULL);
		return err;
	}
	image->opened = time(NULL);
	image->changed = shown_file_time(options->file);
	return ERR_OK;
}

/* ---- the whole ---- */

enum err mount_open(const struct options *options, struct vhd_mount *out, struct err_why *why)
{
	*out = (struct vhd_mount){
	    .writable = !options->readonly,
	    .cached = options->kernel_cache,
	    .uid = options->uid,
	    .gid = options->gid,
	    .umask = options->umask,
	};
	return options->vm ? vm_open(options, &out->vm, why)
			   : open_image(options, &out->image, why);
}

enum err mount_close(struct vhd_mount *mount, struct err_why *why)
{
	struct disk *disk = mount->image.disk.disk;

	if (mount->vm) {
		vm_close(mount->vm);
		return ERR_OK;
	}
	shown_free(&mount->image);
	return disk_close(disk, why);
}

int mount_tidy_ms(const struct vhd_mount *mount)
{
	return mount->vm ? TIDY_MS : -1;
}

void mount_tidy(struct vhd_mount *mount)
{
	if (mount->vm)
		vm_tidy(mount->vm);
}

/* ---- using a disk ---- */

enum err mount_enter(struct vhd_mount *mount, uint64_t ino, struct use *out, struct err_why *why)
{
	*out = (struct use){.disk = &mount->image};
	return mount->vm ? vm_enter(mount->vm, ino, &out->view, &out->disk, why) : ERR_OK;
}

enum err mount_enter_for_attr(struct vhd_mount *mount, uint64_t ino, struct use *out,
			      struct err_why *why)
{
	*out = (struct use){.disk = &mount->image};
	return mount->vm ? vm_enter_for_attr(mount->vm, ino, &out->view, &out->disk, why) : ERR_OK;
}

void mount_leave(struct vhd_mount *mount, const struct use *use)
{
	if (use->view)
		vm_leave(mount->vm, use->view);
}
