/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_READER_H
#define STRATA_BLOCK_READER_H

/*
 * Reads one disk, or two in step, from start to end: several requests in flight, results in order.
 * What disk_map knows to be zero is not read, nor - with two disks - what both have from the same
 * place of the same file. A disk that ends before the other reads as zeros from there on.
 *
 * Ownership: the buffers of a piece belong to whoever got it from reader_next until reader_release;
 * as long as pieces are held back the reader reads correspondingly less ahead. Pieces may be
 * released in any order, also from a completion.
 *
 * Threads: one queue, one thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "util/progress.h"

#define READER_MAX_DISKS 2
/* A piece that has data is at most this long. */
#define READER_PIECE_BYTES (1u << 20)

struct reader;

struct reader_piece {
	uint64_t off_bytes;
	uint64_t len_bytes;
	/* NULL: zeros. All NULL with two disks: the same content in both, which may not be zero. */
	const uint8_t *data[READER_MAX_DISKS];
};

/*
 * Reads up to the end of the longest disk. The disks, the queue and `progress` (may be NULL)
 * outlive the reader.
 */
enum err reader_open(struct disk *const *disks, unsigned disk_count, struct queue *queue,
		     struct progress *progress, struct reader **out, struct err_why *why);

/*
 * The next piece, or NULL at the end; waits for it. Reports what was handed out before as done, so
 * it may return ERR_CANCELLED. After an error only release and close are allowed.
 */
enum err reader_next(struct reader *reader, struct reader_piece **out, struct err_why *why);

void reader_release(struct reader *reader, struct reader_piece *piece);

/* Waits for what is in flight. Every piece must have been released. NULL is allowed. */
void reader_close(struct reader *reader);

#endif
