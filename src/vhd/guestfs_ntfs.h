/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_GUESTFS_NTFS_H
#define STRATA_VHD_GUESTFS_NTFS_H

/*
 * The least of NTFS that finding free space needs: MFT records, their attributes, and the content
 * of a file whose attributes all fit its one record. Used by guestfs_ntfs.c alone.
 *
 * Whatever breaks a rule, or is more than this reader handles, is ERR_UNSUPPORTED.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"
#include "vhd/guestfs_internal.h"

#define NTFS_MAX_RECORD_BYTES 4096u
/* A run takes two bytes at least, and all of them lie in one record. */
#define NTFS_MAX_RUNS (NTFS_MAX_RECORD_BYTES / 2)

enum ntfs_attribute {
	NTFS_ATTRIBUTE_LIST = 0x20,
	NTFS_VOLUME_INFORMATION = 0x70,
	NTFS_DATA = 0x80,
	NTFS_END = -1,
};

struct ntfs {
	const struct guestfs_volume *volume;
	uint32_t cluster_bytes;
	uint32_t record_bytes;
	uint64_t clusters;
	uint64_t mft_lcn;
	uint64_t mirror_lcn;
};

struct ntfs_run {
	uint64_t lcn;
	uint64_t clusters;
};

struct ntfs_file {
	uint64_t valid_bytes; /* initialized content that this record knows the place of */
	unsigned run_count;
	struct ntfs_run run[NTFS_MAX_RUNS];
	bool resident;
	uint8_t value[NTFS_MAX_RECORD_BYTES]; /* when resident */
};

/*
 * Undo the fixups (the last two bytes of each sector) of a record or restart page of `len_bytes`;
 * false when they show that it was not written as a whole.
 */
bool ntfs_fixup(uint8_t *buf, uint32_t len_bytes);

/* Record `number` of the first 16, checked, in `record` (NTFS_MAX_RECORD_BYTES). */
enum err ntfs_read_record(const struct ntfs *ntfs, unsigned number, uint8_t *record,
			  struct err_why *why);

/*
 * Value of the resident, unnamed attribute `type` of a record that ntfs_read_record returned;
 * refused when it is shorter than `min_bytes`.
 */
enum err ntfs_value(const uint8_t *record, enum ntfs_attribute type, uint32_t min_bytes,
		    const uint8_t **value, struct err_why *why);

/*
 * The unnamed data of record `number`. With `first_part` it is enough when the record knows the
 * beginning (the MFT itself may go on in other records).
 */
enum err ntfs_open(const struct ntfs *ntfs, unsigned number, bool first_part, struct ntfs_file *out,
		   struct err_why *why);

/* Read whole sectors from the clusters or the value of `file`. */
enum err ntfs_read(const struct ntfs *ntfs, const struct ntfs_file *file, uint64_t off_bytes,
		   void *buf, uint64_t len_bytes, struct err_why *why);

#endif
