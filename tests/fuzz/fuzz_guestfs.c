/* SPDX-License-Identifier: MIT */
/*
 * bytes -> file in memory -> raw disk -> partitions, signatures, and the free space of everything
 * found; the whole disk is also given to each reader, whatever the signatures say. Oracle: what is
 * called free is inside the partition, in order and in whole sectors.
 */
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/file.h"
#include "block/file_mem.h"
#include "block/queue.h"
#include "util/bytes.h"
#include "vhd/guestfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct queue *queue;
static struct guestfs_table table;

struct window {
	uint64_t at;
	uint64_t end;
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void take(void *arg, uint64_t off_bytes, uint64_t len_bytes)
{
	struct window *window = arg;

	require(len_bytes > 0 && (off_bytes | len_bytes) % DISK_SECTOR == 0);
	require(off_bytes >= window->at && off_bytes < window->end);
	require(len_bytes <= window->end - off_bytes);
	window->at = off_bytes + len_bytes;
}

static void free_ranges(struct disk *disk, const struct guestfs_partition *partition)
{
	struct window window = {partition->start_bytes,
				partition->start_bytes + partition->len_bytes};
	struct err_why why = {0};
	enum err e = guestfs_free_ranges(disk, queue, partition, take, &window, &why);

	require(e == ERR_OK || why.text[0]);
}

static void walk(struct disk *disk)
{
	static const char *const readers[] = {"ext4", "ntfs", "vfat"};
	struct err_why why = {0};

	require(guestfs_probe(disk, queue, &table, &why) == ERR_OK);
	require(table.count <= GUESTFS_MAX_PARTITIONS);
	for (unsigned i = 0; i < table.count; i++)
		free_ranges(disk, &table.partition[i]);
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		strcpy(table.whole.fs, readers[i]);
		free_ranges(disk, &table.whole);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mem_ns *ns = mem_ns_new();
	struct err_why why = {0};
	struct file *file;
	struct disk *disk;

	if (!queue)
		require(queue_create(4, &queue, &why) == ERR_OK);
	mem_ns_put(ns, "image", data, size);
	require(file_ns_open(mem_ns_base(ns), "image", 0, &file, &why) == ERR_OK);
	if (raw_disk_open(file, &disk, &why) == ERR_OK) {
		walk(disk);
		disk_close(disk, NULL);
	}
	mem_ns_free(ns);
	return 0;
}
