/* SPDX-License-Identifier: MIT */
#include "fuse/mount.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "block/queue.h"
#include "fuse/info.h"
#include "vhd/guestfs.h"
#include "vhd/vhd.h"

#define PROBE_DEPTH 16

static enum err probe(struct disk *disk, struct guestfs_table *table, struct err_why *why)
{
	struct queue *queue;
	enum err err = queue_create(PROBE_DEPTH, &queue, why);

	if (err)
		return err;
	err = guestfs_probe(disk, queue, table, why);
	queue_destroy(queue);
	return err;
}

static enum err look_inside(struct vhd_mount *mount, const char *path,
			    const struct vhd_open_opts *opts, struct err_why *why)
{
	struct guestfs_table *table = calloc(1, sizeof(*table));
	struct disk_info facts;
	enum err err;

	if (!table)
		return err_set(why, ERR_NOMEM, "no memory for the partition table");
	disk_get_info(mount->disk.disk, &facts);
	err = probe(mount->disk.disk, table, why);
	if (!err)
		err = info_text(path, opts, table, &mount->info, why);
	if (!err)
		err = tree_build(&mount->tree, mount->info, &mount->disk, facts.size_bytes, table,
				 why);
	free(table);
	return err;
}

static time_t time_of_file(const char *path)
{
	struct stat st;

	return stat(path, &st) ? time(NULL) : st.st_mtime;
}

enum err mount_open(const struct options *options, struct vhd_mount *out, struct err_why *why)
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
	*out = (struct vhd_mount){
	    .writable = !options->readonly,
	    .cached = options->kernel_cache,
	    .uid = options->uid,
	    .gid = options->gid,
	    .umask = options->umask,
	    .opened = time(NULL),
	    .changed = time_of_file(options->file),
	};
	byte_disk_init(&out->disk, disk);
	err = look_inside(out, options->file, &opts, why);
	if (err)
		mount_close(out, NULL);
	return err;
}

enum err mount_close(struct vhd_mount *mount, struct err_why *why)
{
	struct disk *disk = mount->disk.disk;

	tree_free(&mount->tree);
	free(mount->info);
	byte_disk_destroy(&mount->disk);
	return disk_close(disk, why);
}
