/* SPDX-License-Identifier: MIT */
#include "vhd/guestfs.h"

#include <string.h>
#include <strings.h>

#include "util/bytes.h"
#include "vhd/guestfs_internal.h"

/* Large enough to be fast, small enough for one request of any backend. */
#define READ_BYTES (1u << 20)

enum err guestfs_read(const struct guestfs_volume *volume, void *buf, uint64_t off_bytes,
		      uint64_t len_bytes, struct err_why *why)
{
	uint8_t *out = buf;
	uint64_t end;

	if (off_bytes % DISK_SECTOR || len_bytes % DISK_SECTOR ||
	    !checked_add(off_bytes, len_bytes, &end) || end > volume->len_bytes)
		return err_set(why, ERR_UNSUPPORTED,
			       "metadata of %llu bytes at 0x%llx: not whole sectors inside the "
			       "partition of %llu bytes",
			       (unsigned long long)len_bytes, (unsigned long long)off_bytes,
			       (unsigned long long)volume->len_bytes);
	while (off_bytes < end) {
		uint64_t piece = min_u64(end - off_bytes, READ_BYTES);
		enum err e = disk_read(volume->disk, volume->queue, out,
				       volume->start_bytes + off_bytes, piece, why);
		if (e)
			return e;
		out += piece;
		off_bytes += piece;
	}
	return ERR_OK;
}

void guestfs_runs_end(struct guestfs_runs *runs)
{
	if (runs->run_end > runs->run_off)
		runs->range(runs->arg, runs->start_bytes + runs->run_off,
			    runs->run_end - runs->run_off);
	runs->run_off = runs->run_end;
}

void guestfs_runs_add(struct guestfs_runs *runs, uint64_t off_bytes, uint64_t len_bytes)
{
	uint64_t end = min_u64(off_bytes + len_bytes, runs->limit_bytes);

	if (off_bytes >= end)
		return;
	if (off_bytes != runs->run_end) {
		guestfs_runs_end(runs);
		runs->run_off = off_bytes;
	}
	runs->run_end = end;
}

/* Index of the first bit at or after `from` that is `value`; `count` when there is none. */
static uint64_t find_bit(const uint8_t *bits, uint64_t count, uint64_t from, unsigned value)
{
	uint8_t other = value ? 0x00 : 0xff;

	while (from < count) {
		if (from % 8 == 0 && bits[from / 8] == other)
			from += 8;
		else if ((bits[from / 8] >> from % 8 & 1u) == value)
			return from;
		else
			from++;
	}
	return count;
}

void guestfs_runs_add_bits(struct guestfs_runs *runs, const uint8_t *bits, uint64_t count,
			   uint64_t off_bytes, uint32_t unit_bytes)
{
	uint64_t first = find_bit(bits, count, 0, 0);

	while (first < count) {
		uint64_t end = find_bit(bits, count, first, 1);

		guestfs_runs_add(runs, off_bytes + first * unit_bytes, (end - first) * unit_bytes);
		first = find_bit(bits, count, end, 0);
	}
}

/*
 * Types of partitions that a volume manager divides: a file system that begins there may go on
 * elsewhere, and what lies behind its beginning may belong to another one.
 */
static bool is_divided(const struct guestfs_partition *partition)
{
	static const char *const types[] = {
	    "0x42",                                 /* Windows dynamic disk */
	    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", /* its database ... */
	    "af9b60a0-1431-4f62-bc68-3311714a69ad", /* ... and its data */
	    "e75caf8f-f680-4cee-afa3-b001e56efc2d", /* Windows storage space */
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (strcasecmp(partition->type, types[i]) == 0)
			return true;
	}
	return false;
}

enum err guestfs_free_ranges(struct disk *disk, struct queue *queue,
			     const struct guestfs_partition *partition,
			     void (*range)(void *arg, uint64_t off_bytes, uint64_t len_bytes),
			     void *arg, struct err_why *why)
{
	static const struct {
		const char *fs;
		enum err (*free)(const struct guestfs_volume *volume, struct guestfs_runs *runs,
				 struct err_why *why);
	} readers[] = {
	    {"ext2", guestfs_ext_free},  {"ext3", guestfs_ext_free}, {"ext4", guestfs_ext_free},
	    {"ntfs", guestfs_ntfs_free}, {"vfat", guestfs_fat_free},
	};
	struct guestfs_volume volume = {disk, queue, partition->start_bytes, partition->len_bytes};
	struct guestfs_runs runs = {
	    .range = range, .arg = arg, .start_bytes = partition->start_bytes};
	struct disk_info info;
	uint64_t end;

	disk_get_info(disk, &info);
	if (partition->start_bytes % DISK_SECTOR ||
	    !checked_add(partition->start_bytes, partition->len_bytes, &end) ||
	    end > info.size_bytes)
		return err_set(why, ERR_USAGE,
			       "partition %u is not whole sectors inside the disk of %llu bytes",
			       partition->number, (unsigned long long)info.size_bytes);
	if (is_divided(partition))
		return err_set(why, ERR_UNSUPPORTED,
			       "partition %u belongs to a dynamic disk or storage space (type %s)",
			       partition->number, partition->type);
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		if (strcmp(partition->fs, readers[i].fs) != 0)
			continue;
		enum err e = readers[i].free(&volume, &runs, why);
		if (e) {
			err_context(why, "partition %u, %s", partition->number, partition->fs);
			return e;
		}
		guestfs_runs_end(&runs);
		return ERR_OK;
	}
	return err_set(why, ERR_UNSUPPORTED, "partition %u: free space of %s is not known",
		       partition->number,
		       partition->fs[0] ? partition->fs : "an unknown file system");
}
