/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_GUESTFS_INTERNAL_H
#define STRATA_VHD_GUESTFS_INTERNAL_H

/*
 * What the readers of guest file systems share: a volume (a checked window on a disk) and the
 * runs of free space on their way to the caller. Everybody else uses guestfs.h.
 *
 * A reader first convinces itself that the file system is whole and clean and only then reports
 * anything; it never writes, never recurses, and takes memory that does not grow with the volume
 * (ext: one bit a cluster, at most 64 MiB). Units: bytes from the start of the volume.
 */

#include <stddef.h>
#include <stdint.h>

#include "block/block.h"

/* How much the readers take from the disk at once. */
#define GUESTFS_PIECE_BYTES ((size_t)64 << 10)

struct guestfs_volume {
	struct disk *disk;
	struct queue *queue;
	uint64_t start_bytes; /* on the disk */
	uint64_t len_bytes;
};

/*
 * Read inside the volume. Offset and length come from its metadata and are checked here:
 * ERR_UNSUPPORTED when they leave the volume or are not whole sectors.
 */
enum err guestfs_read(const struct guestfs_volume *volume, void *buf, uint64_t off_bytes,
		      uint64_t len_bytes, struct err_why *why);

/* Joins neighbouring runs and hands them on. `limit_bytes`: nothing is reported from there on. */
struct guestfs_runs {
	void (*range)(void *arg, uint64_t off_bytes, uint64_t len_bytes);
	void *arg;
	uint64_t start_bytes; /* of the volume, on the disk */
	uint64_t limit_bytes;
	uint64_t run_off; /* the run being joined; empty when run_off == run_end */
	uint64_t run_end;
};

/* Runs must come in ascending order. */
void guestfs_runs_add(struct guestfs_runs *runs, uint64_t off_bytes, uint64_t len_bytes);
/*
 * A piece of an allocation bitmap: `count` bits, least significant first, 1 = used. The first one
 * stands for `unit_bytes` at off_bytes. The products are known not to overflow.
 */
void guestfs_runs_add_bits(struct guestfs_runs *runs, const uint8_t *bits, uint64_t count,
			   uint64_t off_bytes, uint32_t unit_bytes);
void guestfs_runs_end(struct guestfs_runs *runs);

/* The readers, one a family. Each sets runs->limit_bytes to the end of its file system. */
enum err guestfs_ext_free(const struct guestfs_volume *volume, struct guestfs_runs *runs,
			  struct err_why *why);
enum err guestfs_ntfs_free(const struct guestfs_volume *volume, struct guestfs_runs *runs,
			   struct err_why *why);
enum err guestfs_fat_free(const struct guestfs_volume *volume, struct guestfs_runs *runs,
			  struct err_why *why);

#endif
