/* SPDX-License-Identifier: MIT */
#include "vhd/compact_free.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/guestfs.h"

#define MAX_RANGES (1u << 20) /* 16 MiB */

struct asking {
	struct free_map *map;
	const struct guestfs_partition *partition;
};

static void take_note(struct free_map *map, const char *reason)
{
	if (!*map->note)
		snprintf(map->note, sizeof(map->note), "%.255s", reason);
}

/* Too many ranges: forget the short ones, until half of the room is free again. */
static void thin_out(struct free_map *map)
{
	while (map->count > MAX_RANGES / 2) {
		size_t kept = 0;

		map->min_bytes = map->min_bytes ? map->min_bytes * 2 : DISK_SECTOR;
		for (size_t i = 0; i < map->count; i++) {
			if (map->range[i].to - map->range[i].from >= map->min_bytes)
				map->range[kept++] = map->range[i];
		}
		map->count = kept;
	}
}

static bool make_room(struct free_map *map)
{
	if (map->count < map->room)
		return true;
	if (map->room == MAX_RANGES) {
		thin_out(map);
		return true;
	}
	size_t room = map->room ? map->room * 2 : 1024;
	struct edit_range *grown = realloc(map->range, room * sizeof(*grown));

	if (!grown)
		return false;
	map->range = grown;
	map->room = room;
	return true;
}

static void add_range(void *arg, uint64_t off_bytes, uint64_t len_bytes)
{
	struct asking *asking = arg;
	struct free_map *map = asking->map;
	uint64_t end = asking->partition->start_bytes + asking->partition->len_bytes;
	struct edit_range range = {max_u64(off_bytes, asking->partition->start_bytes), end};
	uint64_t stop;

	if (checked_add(off_bytes, len_bytes, &stop))
		range.to = min_u64(stop, end);
	range.from = div_round_up(range.from, DISK_SECTOR) * DISK_SECTOR;
	range.to = round_down(range.to, DISK_SECTOR);
	if (range.from >= range.to)
		return;
	if (map->count && map->range[map->count - 1].to == range.from) {
		map->range[map->count - 1].to = range.to;
		return;
	}
	if (range.to - range.from < map->min_bytes)
		return;
	if (!make_room(map)) {
		map->no_memory = true;
		return;
	}
	map->range[map->count++] = range;
}

/* A file system that changes its mind half way is not believed at all. */
static void ask(struct free_map *map, struct disk *disk, struct queue *queue,
		const struct guestfs_partition *partition)
{
	struct asking asking = {map, partition};
	struct err_why why = {0};
	uint64_t start = partition->start_bytes;

	enum err e = guestfs_free_ranges(disk, queue, partition, add_range, &asking, &why);
	if (!e) {
		map->filesystems++;
		return;
	}
	take_note(map, why.text);
	while (map->count && map->range[map->count - 1].from >= start)
		map->count--;
	if (map->count)
		map->range[map->count - 1].to = min_u64(map->range[map->count - 1].to, start);
}

static int by_start(const void *a, const void *b)
{
	const struct guestfs_partition *x = a, *y = b;

	return x->start_bytes < y->start_bytes ? -1 : x->start_bytes > y->start_bytes;
}

/* What is free in one of two overlapping partitions may be in use in the other. `p` is sorted. */
static bool any_overlap(const struct guestfs_table *table)
{
	const struct guestfs_partition *p = table->partition;

	for (unsigned i = 1; i < table->count; i++) {
		if (p[i].start_bytes < p[i - 1].start_bytes + p[i - 1].len_bytes)
			return true;
	}
	return false;
}

static void ask_all(struct free_map *map, struct disk *disk, struct queue *queue,
		    struct guestfs_table *table)
{
	if (!table->count) {
		if (*table->whole.fs)
			ask(map, disk, queue, &table->whole);
		return;
	}
	qsort(table->partition, table->count, sizeof(table->partition[0]), by_start);
	if (*table->whole.fs) {
		take_note(map, "the disk has both partitions and a file system of its own");
		return;
	}
	if (any_overlap(table)) {
		take_note(map, "partitions overlap");
		return;
	}
	for (unsigned i = 0; i < table->count; i++)
		ask(map, disk, queue, &table->partition[i]);
}

enum err free_map_load(struct free_map *map, struct disk *disk, struct queue *queue,
		       struct err_why *why)
{
	struct guestfs_table *table = calloc(1, sizeof(*table));

	*map = (struct free_map){0};
	if (!table)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = guestfs_probe(disk, queue, table, why);
	if (!e)
		ask_all(map, disk, queue, table);
	free(table);
	if (!e && map->no_memory)
		e = err_set(why, ERR_NOMEM, "out of memory");
	if (e)
		free_map_release(map);
	return e;
}

void free_map_release(struct free_map *map)
{
	free(map->range);
	*map = (struct free_map){0};
}

size_t free_map_find(const struct free_map *map, uint64_t off_bytes)
{
	size_t low = 0, high = map->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (map->range[mid].to > off_bytes)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

bool free_map_covers(const struct free_map *map, uint64_t from, uint64_t to)
{
	size_t i = free_map_find(map, from);

	return i < map->count && map->range[i].from <= from && map->range[i].to >= to;
}
