/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_COMPACT_FREE_H
#define STRATA_VHD_COMPACT_FREE_H

/*
 * Which parts of a disk its file systems call free: sorted, disjoint ranges of whole sectors.
 * Memory is bounded; when there are too many ranges the shortest are forgotten, which only keeps
 * blocks that could have gone.
 */

#include <stdbool.h>
#include <stddef.h>

#include "block/block.h"
#include "vhd/edit.h"

struct free_map {
	struct edit_range *range; /* bytes of the disk, ascending */
	size_t count, room;
	uint64_t min_bytes; /* shorter ranges are not kept */
	bool no_memory;
	unsigned filesystems; /* that were asked and gave an answer */
	char note[256];       /* why one was not believed; "" */
};

/*
 * Ask every file system on `disk`. One that guestfs does not trust, and partitions that overlap,
 * leave a note and count as used. Errors are those of reading the partition table, and memory.
 */
enum err free_map_load(struct free_map *map, struct disk *disk, struct queue *queue,
		       struct err_why *why);
void free_map_release(struct free_map *map);

/* The first range that ends after off_bytes; map->count when there is none. */
size_t free_map_find(const struct free_map *map, uint64_t off_bytes);
/* Whether all of [from, to) is free. */
bool free_map_covers(const struct free_map *map, uint64_t from, uint64_t to);

#endif
