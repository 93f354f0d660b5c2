/* SPDX-License-Identifier: MIT */
#include "vhd/compact_scan.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/bitmap_runs.h"

/*
 * A megabyte on its way keeps a disk busy and stays in the processor's cache until it is looked at.
 * A buffer also holds a probe: the largest bitmap (64 KiB) and PROBE_BYTES of data.
 */
#define LANES       8u
#define PIECE_BYTES (128u << 10)
#define PROBE_BYTES (64u << 10) /* most blocks in use show it here */
#define BUF_ALIGN   4096u

struct scan {
	struct edit *edit;
	struct queue *queue;
	const struct free_map *free;
	uint8_t *verdict;
	struct edit_work *work;
	uint32_t next; /* in edit->order */
	unsigned busy; /* lanes */
	enum err err;  /* the first one, with its text in `why` */
	struct err_why why;
};

/* One block being looked at. */
struct lane {
	struct file_req req;
	struct iovec iov;
	struct scan *scan;
	uint32_t pos;     /* in edit->order */
	uint32_t sectors; /* of the block that are on the disk */
	uint32_t at, end; /* sectors in the buffer, or on their way */
	bool some_free;   /* sectors that are present were taken out of `needed` */
	uint8_t *needed;  /* bitmap: sectors that must read zero */
	uint8_t *buf;
};

static uint64_t disk_off(const struct vhd_layer *layer, uint32_t block)
{
	return (uint64_t)block << layer->block_shift;
}

static uint64_t disk_end(const struct vhd_layer *layer, uint32_t block)
{
	return min_u64(disk_off(layer, block) + layer->block_bytes, layer->size_bytes);
}

static uint32_t sectors_on_disk(const struct vhd_layer *layer, uint32_t block)
{
	return (uint32_t)((disk_end(layer, block) - disk_off(layer, block)) / DISK_SECTOR);
}

/* ---- one block ---- */

static void take_block(struct lane *lane);

static void finish_block(struct lane *lane, enum scan_verdict verdict)
{
	struct scan *scan = lane->scan;

	scan->verdict[lane->pos] = (uint8_t)verdict;
	if (!edit_work_done(scan->work, scan->edit->layer->block_bytes) && !scan->err)
		scan->err = err_set(&scan->why, ERR_CANCELLED, "%s: stopped while reading blocks",
				    scan->edit->layer->path);
}

static void clear_free(struct lane *lane)
{
	const struct scan *scan = lane->scan;
	const struct vhd_layer *layer = scan->edit->layer;
	uint32_t block = scan->edit->order[lane->pos];
	uint64_t start = disk_off(layer, block), stop = disk_end(layer, block);

	for (size_t i = free_map_find(scan->free, start);
	     i < scan->free->count && scan->free->range[i].from < stop; i++) {
		uint64_t from = max_u64(scan->free->range[i].from, start) - start;
		uint64_t to = min_u64(scan->free->range[i].to, stop) - start;
		uint32_t first = (uint32_t)(from / DISK_SECTOR), end = (uint32_t)(to / DISK_SECTOR);

		if (bitmap_next(lane->needed, first, end, true) < end)
			lane->some_free = true;
		bitmap_clear(lane->needed, first, end - first);
	}
}

static bool piece_is_zero(const struct lane *lane, const uint8_t *data)
{
	uint32_t s = bitmap_next(lane->needed, lane->at, lane->end, true);

	while (s < lane->end) {
		uint32_t e = bitmap_next(lane->needed, s, lane->end, false);

		if (!bytes_are_zero(data + (size_t)(s - lane->at) * DISK_SECTOR,
				    (size_t)(e - s) * DISK_SECTOR))
			return false;
		s = bitmap_next(lane->needed, e, lane->end, true);
	}
	return true;
}

static void piece_done(struct file_req *req);

static void submit(struct lane *lane, uint64_t off_bytes, uint64_t len_bytes,
		   void (*done)(struct file_req *req))
{
	struct scan *scan = lane->scan;

	lane->iov = (struct iovec){lane->buf, (size_t)len_bytes};
	lane->req = (struct file_req){.op = FILE_READ,
				      .event = EV_DATA,
				      .off_bytes = off_bytes,
				      .len_bytes = len_bytes,
				      .iov = &lane->iov,
				      .iov_count = 1,
				      .done = done,
				      .owner = lane};
	scan->busy++;
	file_submit(scan->edit->layer->file, scan->queue, &lane->req);
}

/* Go on behind what is known to be zero. */
static void read_on(struct lane *lane)
{
	const struct edit *edit = lane->scan->edit;
	uint32_t place = edit->bat[edit->order[lane->pos]];
	uint32_t next = bitmap_next(lane->needed, lane->end, lane->sectors, true);
	bool untouched = lane->end == 0;

	if (next == lane->sectors) {
		finish_block(lane, untouched && lane->some_free ? SCAN_FREE : SCAN_ZERO);
		take_block(lane);
		return;
	}
	lane->at = next;
	lane->end = (uint32_t)min_u64(lane->sectors, next + PIECE_BYTES / DISK_SECTOR);
	submit(lane, layer_data_off(edit->layer, place) + (uint64_t)next * DISK_SECTOR,
	       (uint64_t)(lane->end - next) * DISK_SECTOR, piece_done);
}

/* True when the lane may go on. */
static bool request_ended(struct lane *lane)
{
	struct scan *scan = lane->scan;

	scan->busy--;
	if (lane->req.result && !scan->err)
		scan->err = file_req_explain(&lane->req, &scan->why);
	return !scan->err;
}

static void judge_piece(struct lane *lane, const uint8_t *data)
{
	if (piece_is_zero(lane, data)) {
		read_on(lane);
		return;
	}
	finish_block(lane, SCAN_KEEP);
	take_block(lane);
}

static void piece_done(struct file_req *req)
{
	struct lane *lane = req->owner;

	if (request_ended(lane))
		judge_piece(lane, lane->buf);
}

/* The bitmap, and the first of the data behind it. */
static void probe_done(struct file_req *req)
{
	struct lane *lane = req->owner;
	const struct scan *scan = lane->scan;
	uint32_t bitmap_bytes = scan->edit->layer->bitmap_bytes;

	if (!request_ended(lane))
		return;
	memcpy(lane->needed, lane->buf, bitmap_bytes);
	if (scan->free)
		clear_free(lane);
	if (bitmap_next(lane->needed, 0, lane->sectors, true) == lane->sectors)
		lane->end = 0; /* nothing is needed: what was read does not matter */
	judge_piece(lane, lane->buf + bitmap_bytes);
}

/* A block that is free altogether is not read at all. */
static bool known_free(const struct scan *scan, uint32_t block)
{
	const struct vhd_layer *layer = scan->edit->layer;

	return scan->free &&
	       free_map_covers(scan->free, disk_off(layer, block), disk_end(layer, block));
}

static void take_block(struct lane *lane)
{
	struct scan *scan = lane->scan;
	const struct edit *edit = scan->edit;
	const struct vhd_layer *layer = edit->layer;

	while (scan->next < edit->used && !scan->err) {
		uint32_t block = edit->order[scan->next];

		lane->pos = scan->next++;
		if (known_free(scan, block)) {
			finish_block(lane, SCAN_FREE);
			continue;
		}
		lane->sectors = sectors_on_disk(layer, block);
		lane->some_free = false;
		lane->at = 0;
		lane->end = (uint32_t)min_u64(lane->sectors, PROBE_BYTES / DISK_SECTOR);
		submit(lane, layer_bitmap_off(edit->bat[block]),
		       layer->bitmap_bytes + (uint64_t)lane->end * DISK_SECTOR, probe_done);
		return;
	}
}

/* ---- all blocks ---- */

enum err scan_blocks(struct edit *edit, struct queue *queue, const struct free_map *free_ranges,
		     uint8_t *verdict, struct edit_work *work, struct err_why *why)
{
	struct scan scan = {
	    .edit = edit, .queue = queue, .free = free_ranges, .verdict = verdict, .work = work};
	uint32_t bitmap_bytes = edit->layer->bitmap_bytes;
	uint8_t *buf = aligned_alloc(BUF_ALIGN, (size_t)LANES * PIECE_BYTES);
	uint8_t *needed = malloc((size_t)LANES * bitmap_bytes);
	struct lane lane[LANES] = {0};

	if (!buf || !needed) {
		scan.err = err_set(&scan.why, ERR_NOMEM, "out of memory");
	} else {
		for (unsigned i = 0; i < LANES; i++) {
			lane[i].scan = &scan;
			lane[i].buf = buf + (size_t)i * PIECE_BYTES;
			lane[i].needed = needed + (size_t)i * bitmap_bytes;
			take_block(&lane[i]);
		}
	}
	while (scan.busy)
		queue_wait(queue);
	free(needed);
	free(buf);
	if (scan.err && why)
		*why = scan.why;
	return scan.err;
}

void scan_by_map(const struct edit *edit, const struct free_map *free_ranges, uint8_t *verdict)
{
	const struct vhd_layer *layer = edit->layer;

	for (uint32_t i = 0; i < edit->used; i++) {
		uint32_t block = edit->order[i];

		if (free_map_covers(free_ranges, disk_off(layer, block), disk_end(layer, block)))
			verdict[i] = SCAN_FREE;
	}
}

/* ---- below a differencing image ---- */

#define BELOW_BYTES (256u << 10)

/* Whether the parent reads zero in [from, to) of the disk. */
static enum err parent_is_zero(struct disk *parent, struct queue *queue, uint64_t from, uint64_t to,
			       bool payload, uint8_t *buf, bool *out, struct err_why *why)
{
	enum err e = ERR_OK;

	*out = true;
	while (from < to && *out && !e) {
		struct disk_extent extent;

		e = disk_map(parent, from, to - from, &extent, why);
		if (e)
			break;
		uint64_t len = extent.len_bytes;
		if (extent.state == EXTENT_DATA) {
			len = min_u64(len, BELOW_BYTES);
			*out = payload;
			if (payload)
				e = disk_read(parent, queue, buf, from, len, why);
			if (payload && !e)
				*out = bytes_are_zero(buf, len);
		}
		from += len;
	}
	return e;
}

/* `buf` has room for a bitmap and BELOW_BYTES behind it. */
static enum err below_runs(struct edit *edit, struct disk *parent, struct queue *queue,
			   uint32_t block, bool payload, uint8_t *buf, bool *out,
			   struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;
	uint32_t sectors = sectors_on_disk(layer, block);
	uint64_t start = disk_off(layer, block);
	struct disk_info info;
	enum err e = ERR_OK;

	disk_get_info(parent, &info);
	if (payload)
		e = layer_read_bitmap(layer, edit->bat[block], buf, why);
	else
		memset(buf, 0xff, layer->bitmap_bytes);
	*out = true;
	for (uint32_t s = bitmap_next(buf, 0, sectors, true); s < sectors && *out && !e;) {
		uint32_t end = bitmap_next(buf, s, sectors, false);
		uint64_t from = min_u64(start + (uint64_t)s * DISK_SECTOR, info.size_bytes);
		uint64_t to = min_u64(start + (uint64_t)end * DISK_SECTOR, info.size_bytes);

		e = parent_is_zero(parent, queue, from, to, payload, buf + layer->bitmap_bytes, out,
				   why);
		s = bitmap_next(buf, end, sectors, true);
	}
	return e;
}

enum err scan_below(struct edit *edit, struct disk *parent, struct queue *queue, uint32_t block,
		    bool payload, bool *out, struct err_why *why)
{
	uint8_t *buf = malloc(edit->layer->bitmap_bytes + BELOW_BYTES);

	if (!buf)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = below_runs(edit, parent, queue, block, payload, buf, out, why);
	free(buf);
	return e;
}
