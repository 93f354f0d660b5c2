/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_GUESTFS_H
#define STRATA_VHD_GUESTFS_H

/*
 * What lies inside a disk: its partitions (libblkid), and which parts of it the file systems there
 * (ext2/3/4, NTFS, FAT12/16/32, exFAT is not) call free. Reads only; everything read is hostile.
 *
 * A file system is believed only when it says itself that it is clean: an unclean journal, a dirty
 * flag or anything out of the ordinary gives ERR_UNSUPPORTED with the reason, never a guess,
 * because a cluster wrongly called free is lost data.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"

#define GUESTFS_MAX_PARTITIONS 256u

struct guestfs_partition {
	unsigned number; /* as Linux numbers it: 1.., logical ones from 5; 0: the whole disk */
	uint64_t start_bytes;
	uint64_t len_bytes;
	char type[40]; /* "0x07", or the GPT type's UUID */
	char name[80]; /* GPT partition name, UTF-8; may be empty */
	char fs[24];   /* "ext4", "ntfs", "vfat", "" when unknown: libblkid's names */
	char fs_label[80];
	char fs_uuid[40];
};

struct guestfs_table {
	char scheme[8]; /* "dos", "gpt", "" for none */
	unsigned count;
	struct guestfs_partition partition[GUESTFS_MAX_PARTITIONS];
	struct guestfs_partition whole; /* number 0; .fs set when a file system fills the disk */
};

/*
 * Read partition table and file system signatures. Partitions that reach past the disk are cut to
 * it; empty ones and extended containers are left out. No table is not an error. About 60 KiB:
 * allocate it.
 */
enum err guestfs_probe(struct disk *disk, struct queue *queue, struct guestfs_table *out,
		       struct err_why *why);

/*
 * Call `range` with every free range of the file system in `partition`, ascending, offsets from
 * the start of the *disk*. ERR_UNSUPPORTED, before the first call, when the file system is unknown
 * or not clean, or when a volume manager divides the partition; ERR_IO may come in between.
 */
enum err guestfs_free_ranges(struct disk *disk, struct queue *queue,
			     const struct guestfs_partition *partition,
			     void (*range)(void *arg, uint64_t off_bytes, uint64_t len_bytes),
			     void *arg, struct err_why *why);

#endif
