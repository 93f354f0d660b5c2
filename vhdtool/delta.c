/* SPDX-License-Identifier: MIT */
#include "vhdtool/delta.h"

#include <stdlib.h>

#include "block/copy.h"
#include "block/queue.h"
#include "util/bytes.h"

#define PIECE_BYTES (1u << 20)

struct delta {
	struct disk *src, *dst;
	struct queue *queue; /* not the one that looks for differences: that one is running */
	uint8_t *data;
	uint64_t size_bytes;
	struct err_why *why;
	enum err err;
};

static bool copy_range(void *arg, const struct disk_difference *difference)
{
	struct delta *delta = arg;
	uint64_t at = difference->start_bytes;
	uint64_t end = min_u64(at + difference->len_bytes, delta->size_bytes);

	while (at < end) {
		uint64_t len = min_u64(PIECE_BYTES, end - at);

		delta->err = disk_read(delta->src, delta->queue, delta->data, at, len, delta->why);
		if (!delta->err)
			delta->err =
			    disk_write(delta->dst, delta->queue, delta->data, at, len, delta->why);
		if (delta->err)
			return false;
		at += len;
	}
	return true;
}

enum err delta_copy(struct disk *src, struct disk *dst, struct queue *queue,
		    struct progress *progress, struct err_why *why)
{
	struct delta delta = {.src = src, .dst = dst, .why = why};
	struct disk_info info;
	enum err err;

	disk_get_info(src, &info);
	delta.size_bytes = info.size_bytes;
	delta.data = aligned_alloc(4096, PIECE_BYTES);
	if (!delta.data)
		return err_set(why, ERR_NOMEM, "no memory for a buffer");
	err = queue_create(16, &delta.queue, why);
	if (!err)
		err = disk_differences(src, dst, queue, copy_range, &delta, progress, why);
	if (!err)
		err = delta.err;
	if (!err)
		err = disk_flush(dst, queue, why);
	queue_destroy(delta.queue);
	free(delta.data);
	return err;
}
