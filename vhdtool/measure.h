/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_MEASURE_H
#define STRATA_VHDTOOL_MEASURE_H

/*
 * The space a conversion would take, from the source's map alone: payload is not read, so zeros
 * that are stored count as data and the figures are upper bounds.
 */

#include "block/block.h"

struct measure {
	uint64_t virtual_size;
	uint64_t data_bytes; /* stored extents */
	uint32_t block_size;
	uint64_t blocks;    /* blocks of block_size that hold a stored extent */
	uint64_t raw_bytes; /* file sizes */
	uint64_t fixed_bytes;
	uint64_t dynamic_bytes;
};

enum err measure_disk(struct disk *disk, uint32_t block_size, struct measure *out,
		      struct err_why *why);

#endif
