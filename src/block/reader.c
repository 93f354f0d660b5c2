/* SPDX-License-Identifier: MIT */
#include "block/reader.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/bytes.h"

/* Eight requests of 1 MiB keep a fast disk busy and stay within the caches of most machines. */
#define SLOTS 8u
/* Reading a shorter run of zeros along is cheaper than a request more. */
#define MIN_SKIP_BYTES (64u << 10)
#define BUFFER_ALIGN   4096u
#define REPORT_NS      10000000u

struct slot {
	struct reader_piece piece;
	struct reader *reader;
	uint8_t *buffer[READER_MAX_DISKS];
	struct iovec iov[READER_MAX_DISKS];
	struct disk_req req[READER_MAX_DISKS];
	struct err_why why[READER_MAX_DISKS];
	unsigned in_flight;
	struct slot *next;
};

/* A run of the plan: which disks to read for it (a bit each). */
struct run {
	uint64_t len_bytes;
	unsigned mask;
};

struct reader {
	struct disk *disk[READER_MAX_DISKS];
	uint64_t disk_bytes[READER_MAX_DISKS];
	unsigned disk_count;
	struct queue *queue;
	struct progress *progress;
	uint64_t reported_ns; /* when */
	uint64_t size_bytes;
	uint64_t planned_bytes; /* everything before is in a slot or was handed out */
	struct run ahead;       /* at planned_bytes, already asked for; len 0: none */
	struct slot slot[SLOTS];
	struct slot *unused;
	struct slot *ready, **ready_tail; /* in the order of the disk */
	enum err err;                     /* the first one, with its text in `why` */
	struct err_why why;
};

/* ---- the plan ---- */

/* What disk `i` has at the cursor; beyond its end: zeros without end. */
static enum err map_one(struct reader *reader, unsigned i, uint64_t off, struct disk_extent *out)
{
	if (off >= reader->disk_bytes[i]) {
		*out = (struct disk_extent){off, reader->size_bytes - off, EXTENT_ZERO, 0, NULL, 0};
		return ERR_OK;
	}
	return disk_map(reader->disk[i], off, reader->disk_bytes[i] - off, out, &reader->why);
}

static bool same_place(const struct disk_extent *a, const struct disk_extent *b)
{
	return a->state == EXTENT_DATA && b->state == EXTENT_DATA &&
	       a->file_off_bytes == b->file_off_bytes && !strcmp(a->path, b->path);
}

/* The run at `off`, as far as no disk's extent ends. */
static enum err map_run(struct reader *reader, uint64_t off, struct run *out)
{
	struct disk_extent extent[READER_MAX_DISKS] = {0};
	bool skip;

	*out = (struct run){reader->size_bytes - off, 0};
	for (unsigned i = 0; i < reader->disk_count; i++) {
		enum err err = map_one(reader, i, off, &extent[i]);

		if (err != ERR_OK)
			return err;
		out->len_bytes = min_u64(out->len_bytes, extent[i].len_bytes);
	}
	for (unsigned i = 0; i < reader->disk_count; i++) {
		skip = extent[i].state == EXTENT_ZERO &&
		       (extent[i].len_bytes >= MIN_SKIP_BYTES || off >= reader->disk_bytes[i]);
		out->mask |= skip ? 0 : 1u << i;
	}
	if (reader->disk_count == 2 && same_place(&extent[0], &extent[1]))
		out->mask = 0;
	return ERR_OK;
}

/* Join what follows and is read from the same disks; data up to a whole piece. */
static enum err plan(struct reader *reader, struct run *out)
{
	uint64_t off = reader->planned_bytes;
	uint64_t limit = reader->size_bytes - off;
	struct run next = reader->ahead;
	enum err err = ERR_OK;

	if (!next.len_bytes)
		err = map_run(reader, off, &next);
	*out = (struct run){0, next.mask};
	if (next.mask) /* up to a multiple, so that requests are aligned whatever came before */
		limit = min_u64(limit, READER_PIECE_BYTES - off % READER_PIECE_BYTES);
	while (err == ERR_OK && next.mask == out->mask && out->len_bytes < limit) {
		uint64_t take = min_u64(next.len_bytes, limit - out->len_bytes);

		out->len_bytes += take;
		next.len_bytes -= take;
		if (!next.len_bytes && out->len_bytes < limit)
			err = map_run(reader, off + out->len_bytes, &next);
	}
	reader->ahead = next;
	return err;
}

/* ---- reading ---- */

static void read_done(struct disk_req *req)
{
	struct slot *slot = req->owner;

	slot->in_flight--;
	if (req->result != ERR_OK && slot->reader->err == ERR_OK) {
		slot->reader->err = req->result;
		slot->reader->why = *req->why;
	}
}

static void start_read(struct reader *reader, struct slot *slot, unsigned i)
{
	slot->iov[i] = (struct iovec){slot->buffer[i], (size_t)slot->piece.len_bytes};
	slot->req[i] = (struct disk_req){
	    .op = DISK_READ,
	    .off_bytes = slot->piece.off_bytes,
	    .len_bytes = slot->piece.len_bytes,
	    .iov = &slot->iov[i],
	    .iov_count = 1,
	    .done = read_done,
	    .owner = slot,
	    .why = &slot->why[i],
	};
	slot->piece.data[i] = slot->buffer[i];
	slot->in_flight++;
	disk_submit(reader->disk[i], reader->queue, &slot->req[i]);
}

/* Give every unused slot its piece. */
static void read_ahead(struct reader *reader)
{
	while (reader->unused && reader->err == ERR_OK &&
	       reader->planned_bytes < reader->size_bytes) {
		struct slot *slot = reader->unused;
		struct run run;

		reader->err = plan(reader, &run);
		if (reader->err != ERR_OK)
			return;
		reader->unused = slot->next;
		slot->next = NULL;
		*reader->ready_tail = slot;
		reader->ready_tail = &slot->next;

		slot->piece = (struct reader_piece){reader->planned_bytes, run.len_bytes, {NULL}};
		reader->planned_bytes += run.len_bytes;
		for (unsigned i = 0; i < reader->disk_count; i++)
			if (run.mask & 1u << i)
				start_read(reader, slot, i);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The start and the end are always reported, what is between not too often. */
static void report(struct reader *reader, uint64_t done_bytes)
{
	uint64_t now;

	if (!reader->progress)
		return;
	now = now_ns();
	if (done_bytes && done_bytes < reader->size_bytes && now - reader->reported_ns < REPORT_NS)
		return;
	reader->reported_ns = now;
	if (!progress_report(reader->progress, done_bytes, reader->size_bytes))
		reader->err = err_set(&reader->why, ERR_CANCELLED, "stopped on request");
}

/* Nothing new is started after an error; what is in flight ends in reader_close. */
static enum err give_up(const struct reader *reader, struct err_why *why)
{
	if (why)
		*why = reader->why;
	return reader->err;
}

enum err reader_next(struct reader *reader, struct reader_piece **out, struct err_why *why)
{
	struct slot *slot;

	for (;;) {
		read_ahead(reader);
		if (reader->err != ERR_OK)
			return give_up(reader, why);
		slot = reader->ready;
		if (slot ? !slot->in_flight : reader->planned_bytes == reader->size_bytes)
			break;
		queue_wait(reader->queue);
	}
	report(reader, slot ? slot->piece.off_bytes : reader->size_bytes);
	if (reader->err != ERR_OK)
		return give_up(reader, why);
	*out = slot ? &slot->piece : NULL;
	if (slot)
		reader->ready = slot->next;
	if (!reader->ready)
		reader->ready_tail = &reader->ready;
	return ERR_OK;
}

static void make_unused(struct reader *reader, struct slot *slot)
{
	slot->next = reader->unused;
	reader->unused = slot;
}

void reader_release(struct reader *reader, struct reader_piece *piece)
{
	make_unused(reader, container_of(piece, struct slot, piece));
}

/* ---- open and close ---- */

static bool make_slot(struct reader *reader, struct slot *slot)
{
	slot->reader = reader;
	for (unsigned i = 0; i < reader->disk_count; i++) {
		void *buffer;

		if (posix_memalign(&buffer, BUFFER_ALIGN, READER_PIECE_BYTES))
			return false;
		slot->buffer[i] = buffer;
	}
	make_unused(reader, slot);
	return true;
}

enum err reader_open(struct disk *const *disks, unsigned disk_count, struct queue *queue,
		     struct progress *progress, struct reader **out, struct err_why *why)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	bool ok = reader;

	*out = NULL;
	if (ok) {
		reader->disk_count = disk_count;
		reader->queue = queue;
		reader->progress = progress;
		reader->ready_tail = &reader->ready;
	}
	for (unsigned i = 0; ok && i < disk_count; i++) {
		struct disk_info info;

		disk_get_info(disks[i], &info);
		reader->disk[i] = disks[i];
		reader->disk_bytes[i] = info.size_bytes;
		reader->size_bytes = max_u64(reader->size_bytes, info.size_bytes);
	}
	for (unsigned i = 0; ok && i < SLOTS; i++)
		ok = make_slot(reader, &reader->slot[i]);
	if (!ok) {
		reader_close(reader);
		return err_set(why, ERR_NOMEM, "no memory for read buffers");
	}
	*out = reader;
	return ERR_OK;
}

void reader_close(struct reader *reader)
{
	if (!reader)
		return;
	for (unsigned s = 0; s < SLOTS; s++) {
		struct slot *slot = &reader->slot[s];

		while (slot->in_flight)
			queue_wait(reader->queue);
		for (unsigned i = 0; i < reader->disk_count; i++)
			free(slot->buffer[i]);
	}
	free(reader);
}
