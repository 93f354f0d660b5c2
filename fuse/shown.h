/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_SHOWN_H
#define STRATA_FUSE_SHOWN_H

/*
 * One disk as it is shown: itself, its partitions, and a text about it. Nothing here changes
 * between shown_init and shown_free but for the atomic field.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "fuse/io.h"
#include "fuse/tree.h"

struct shown {
	struct byte_disk disk;
	struct tree tree;
	char *info;
	char label[200];        /* which of several disks, for messages: "" or "NAME/disk0/" */
	time_t opened;          /* the time stamp of what has no other */
	_Atomic time_t changed; /* of the last write, or of the content before that */
};

/* What is inside; free() it. Waits for the disk. */
enum err shown_probe(struct disk *disk, struct guestfs_table **out, struct err_why *why);
/*
 * Takes over `info`, on errors too; `disk` stays the caller's, and is to be closed after
 * shown_free. Label and times are the caller's to set.
 */
enum err shown_init(struct shown *shown, struct disk *disk, char *info,
		    const struct guestfs_table *table, struct err_why *why);
/* No request may be in flight. */
void shown_free(struct shown *shown);

/* When the file at `path` was written; now, if that cannot be told. */
time_t shown_file_time(const char *path);

#endif
