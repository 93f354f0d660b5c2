/* SPDX-License-Identifier: MIT */
#include "vhdtool/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/queue.h"
#include "util/bytes.h"

#define PIECE_BYTES (1u << 20)
#define PIECES      4u
#define GRAIN_BYTES 4096u

struct piece {
	struct disk_req req;
	struct iovec iov;
	struct err_why why;
	uint8_t *data;
	uint64_t len_bytes;
	bool zero, ready; /* zero: not read, and req is not used */
};

/* Pieces in the order of the disk: filled at `head`, written from `tail`. */
struct reader {
	struct disk *disk;
	struct queue *queue;
	uint64_t size_bytes, next_bytes;
	struct piece piece[PIECES];
	uint8_t *memory; /* PIECES buffers and one of zeros */
	unsigned head, tail;
};

static void piece_done(struct disk_req *req)
{
	container_of(req, struct piece, req)->ready = true;
}

static enum err read_ahead(struct reader *reader, struct err_why *why)
{
	while (reader->head - reader->tail < PIECES && reader->next_bytes < reader->size_bytes) {
		struct piece *piece = &reader->piece[reader->head % PIECES];
		uint64_t room = min_u64(PIECE_BYTES, reader->size_bytes - reader->next_bytes);
		struct disk_extent extent;
		enum err err = disk_map(reader->disk, reader->next_bytes, room, &extent, why);

		if (err)
			return err;
		piece->len_bytes = extent.len_bytes;
		piece->zero = piece->ready = extent.state == EXTENT_ZERO;
		piece->why = (struct err_why){0};
		if (!piece->zero) {
			piece->iov = (struct iovec){piece->data, piece->len_bytes};
			piece->req = (struct disk_req){.op = DISK_READ,
						       .off_bytes = reader->next_bytes,
						       .len_bytes = piece->len_bytes,
						       .iov = &piece->iov,
						       .iov_count = 1,
						       .done = piece_done,
						       .why = &piece->why};
			disk_submit(reader->disk, reader->queue, &piece->req);
		}
		reader->next_bytes += piece->len_bytes;
		reader->head++;
	}
	queue_flush(reader->queue);
	return ERR_OK;
}

static struct piece *wait_for_tail(struct reader *reader)
{
	struct piece *piece = &reader->piece[reader->tail % PIECES];

	while (!piece->ready)
		queue_wait(reader->queue);
	return piece;
}

static enum err write_all(int fd, const uint8_t *data, uint64_t len_bytes,
			  struct progress *progress, uint64_t done_bytes, uint64_t size_bytes,
			  struct err_why *why)
{
	while (len_bytes) {
		ssize_t n = write(fd, data, len_bytes);

		if (n < 0 && errno != EINTR)
			return err_sys(why, errno, "standard output");
		/* A signal that arrives while the reader is slow has to be noticed here. */
		if (n < 0 && !progress_report(progress, done_bytes, size_bytes))
			return err_set(why, ERR_CANCELLED, "stopped");
		if (n > 0) {
			data += n;
			len_bytes -= (uint64_t)n;
		}
	}
	return ERR_OK;
}

static enum err pump_out(struct reader *reader, int fd, struct progress *progress,
			 struct err_why *why)
{
	const uint8_t *zeros = reader->memory + PIECES * (size_t)PIECE_BYTES;
	uint64_t done_bytes = 0;

	while (done_bytes < reader->size_bytes) {
		struct piece *piece;
		enum err err;

		if (!progress_report(progress, done_bytes, reader->size_bytes))
			return err_set(why, ERR_CANCELLED, "stopped");
		err = read_ahead(reader, why);
		if (err)
			return err;
		piece = wait_for_tail(reader);
		if (!piece->zero && piece->req.result) {
			*why = piece->why;
			return piece->req.result;
		}
		err = write_all(fd, piece->zero ? zeros : piece->data, piece->len_bytes, progress,
				done_bytes, reader->size_bytes, why);
		if (err)
			return err;
		done_bytes += piece->len_bytes;
		reader->tail++;
	}
	progress_report(progress, done_bytes, reader->size_bytes);
	return ERR_OK;
}

enum err stream_out(struct disk *disk, struct queue *queue, int fd, struct progress *progress,
		    struct err_why *why)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	struct disk_info info;
	enum err err;

	if (!reader ||
	    !(reader->memory = aligned_alloc(GRAIN_BYTES, (PIECES + 1) * (size_t)PIECE_BYTES))) {
		free(reader);
		return err_set(why, ERR_NOMEM, "no memory for buffers");
	}
	disk_get_info(disk, &info);
	reader->disk = disk;
	reader->queue = queue;
	reader->size_bytes = info.size_bytes;
	memset(reader->memory + PIECES * (size_t)PIECE_BYTES, 0, PIECE_BYTES);
	for (unsigned i = 0; i < PIECES; i++)
		reader->piece[i].data = reader->memory + i * (size_t)PIECE_BYTES;

	err = pump_out(reader, fd, progress, why);
	for (; reader->tail != reader->head; reader->tail++)
		wait_for_tail(reader);
	free(reader->memory);
	free(reader);
	return err;
}

/* Read until `want` bytes are there or the stream ends. */
static enum err read_full(int fd, uint8_t *data, uint64_t want, uint64_t *got,
			  struct progress *progress, uint64_t done_bytes, uint64_t size_bytes,
			  struct err_why *why)
{
	*got = 0;
	while (*got < want) {
		ssize_t n = read(fd, data + *got, want - *got);

		if (n < 0 && errno != EINTR)
			return err_sys(why, errno, "standard input");
		if (n < 0 && !progress_report(progress, done_bytes, size_bytes))
			return err_set(why, ERR_CANCELLED, "stopped");
		if (!n)
			break;
		if (n > 0)
			*got += (uint64_t)n;
	}
	return ERR_OK;
}

/* Write the runs of `data` that are not zeros; `len_bytes` is a whole number of sectors. */
static enum err write_nonzero(struct disk *disk, struct queue *queue, const uint8_t *data,
			      uint64_t off_bytes, uint64_t len_bytes, struct err_why *why)
{
	uint64_t start = 0, at = 0;
	enum err err = ERR_OK;

	while (at < len_bytes && !err) {
		uint64_t grain = min_u64(GRAIN_BYTES, len_bytes - at);
		bool zero = bytes_are_zero(data + at, grain);

		if (zero && start < at)
			err = disk_write(disk, queue, data + start, off_bytes + start, at - start,
					 why);
		at += grain;
		if (zero)
			start = at;
	}
	if (start < at && !err)
		err = disk_write(disk, queue, data + start, off_bytes + start, at - start, why);
	return err;
}

static enum err pump_in(struct disk *disk, struct queue *queue, int fd, uint64_t size_bytes,
			uint8_t *data, struct progress *progress, struct err_why *why)
{
	uint64_t done_bytes = 0, got;
	enum err err;

	while (done_bytes < size_bytes) {
		uint64_t want = min_u64(PIECE_BYTES, size_bytes - done_bytes);
		uint64_t whole = round_up(want, DISK_SECTOR);

		if (!progress_report(progress, done_bytes, size_bytes))
			return err_set(why, ERR_CANCELLED, "stopped");
		err = read_full(fd, data, want, &got, progress, done_bytes, size_bytes, why);
		if (err)
			return err;
		if (got < want)
			return err_set(why, ERR_IO,
				       "standard input ended after %" PRIu64 " of %" PRIu64
				       " bytes",
				       done_bytes + got, size_bytes);
		memset(data + want, 0, whole - want);
		err = write_nonzero(disk, queue, data, done_bytes, whole, why);
		if (err)
			return err;
		done_bytes += want;
	}
	err = read_full(fd, data, 1, &got, progress, done_bytes, size_bytes, why);
	if (err)
		return err;
	if (got)
		return err_set(why, ERR_USAGE, "standard input holds more than %" PRIu64 " bytes",
			       size_bytes);
	progress_report(progress, done_bytes, size_bytes);
	return disk_flush(disk, queue, why);
}

enum err stream_in(struct disk *disk, struct queue *queue, int fd, uint64_t size_bytes,
		   struct progress *progress, struct err_why *why)
{
	uint8_t *data = aligned_alloc(GRAIN_BYTES, PIECE_BYTES);
	enum err err;

	if (!data)
		return err_set(why, ERR_NOMEM, "no memory for buffers");
	err = pump_in(disk, queue, fd, size_bytes, data, progress, why);
	free(data);
	return err;
}
