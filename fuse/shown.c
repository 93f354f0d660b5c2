/* SPDX-License-Identifier: MIT */
#include "fuse/shown.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "block/queue.h"
#include "vhd/guestfs.h"

#define PROBE_DEPTH 16

enum err shown_probe(struct disk *disk, struct guestfs_table **out, struct err_why *why)
{
	struct guestfs_table *table = calloc(1, sizeof(*table));
	struct queue *queue;
	enum err err;

	if (!table)
		return err_set(why, ERR_NOMEM, "no memory for the partition table");
	err = queue_create(PROBE_DEPTH, &queue, why);
	if (!err) {
		err = guestfs_probe(disk, queue, table, why);
		queue_destroy(queue);
	}
	if (err)
		free(table);
	else
		*out = table;
	return err;
}

enum err shown_init(struct shown *shown, struct disk *disk, char *info,
		    const struct guestfs_table *table, struct err_why *why)
{
	struct disk_info facts;
	enum err err;

	*shown = (struct shown){.info = info};
	disk_get_info(disk, &facts);
	err = tree_build(&shown->tree, info, &shown->disk, facts.size_bytes, table, why);
	if (err)
		free(info);
	else
		byte_disk_init(&shown->disk, disk);
	return err;
}

void shown_free(struct shown *shown)
{
	tree_free(&shown->tree);
	free(shown->info);
	byte_disk_destroy(&shown->disk);
}

time_t shown_file_time(const char *path)
{
	struct stat st;

	return stat(path, &st) ? time(NULL) : st.st_mtime;
}
