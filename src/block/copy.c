/* SPDX-License-Identifier: MIT */
#include "block/copy.h"

#include <stdlib.h>

#include "block/reader.h"
#include "util/bytes.h"

/*
 * Each piece that was read becomes a job: writes of its parts that are not zero, all at once; when
 * the last has completed its buffer goes back to the reader. So reads and writes overlap, and the
 * reader's buffers bound what is in flight.
 */
#define GRAIN_BYTES 4096u
/* Below this a run of zeros costs more as a request than as data. */
#define MIN_ZERO_BYTES (64u << 10)
/* Zeroing of a large run is done in such steps, so that it can be cancelled. */
#define ZERO_STEP_BYTES (UINT64_C(256) << 20)

struct copy {
	struct disk *dst;
	struct queue *queue;
	struct reader *reader;
	bool dst_is_zero;
	unsigned jobs; /* in flight */
	enum err err;  /* the first failed write, with its text in `why` */
	struct err_why why;
};

struct part {
	struct disk_req req;
	struct iovec iov;
};

struct job {
	struct copy *copy;
	struct reader_piece *piece;
	struct err_why why;
	unsigned in_flight;
	struct part part[];
};

/* Where the grain that holds byte `off` of the piece ends; grains count from the disk's start. */
static uint64_t grain_end(const struct reader_piece *piece, uint64_t off)
{
	uint64_t end = round_down(piece->off_bytes + off, GRAIN_BYTES) + GRAIN_BYTES;

	return min_u64(end - piece->off_bytes, piece->len_bytes);
}

/* Where the run of zero grains that starts at `off` ends: at `off` when there is none. */
static uint64_t zeros_end(const struct reader_piece *piece, uint64_t off)
{
	while (off < piece->len_bytes) {
		uint64_t end = grain_end(piece, off);

		if (!bytes_are_zero(piece->data[0] + off, end - off))
			break;
		off = end;
	}
	return off;
}

/*
 * The part at *off: data, or at least min_zero bytes of zeros. Advances *off beyond it; returns
 * whether it is data.
 */
static bool next_part(const struct reader_piece *piece, uint64_t min_zero, uint64_t *off)
{
	uint64_t start = *off, at = start, end;

	while (at < piece->len_bytes) {
		end = zeros_end(piece, at);
		if (end - at >= min_zero) {
			*off = at > start ? at : end;
			return at > start;
		}
		at = end < piece->len_bytes ? grain_end(piece, end) : end;
	}
	*off = at;
	return true;
}

static void end_job(struct job *job)
{
	job->copy->jobs--;
	reader_release(job->copy->reader, job->piece);
	free(job);
}

static void part_done(struct disk_req *req)
{
	struct job *job = req->owner;
	struct copy *copy = job->copy;

	if (req->result != ERR_OK && copy->err == ERR_OK) {
		copy->err = req->result;
		copy->why = job->why;
	}
	if (!--job->in_flight)
		end_job(job);
}

static void add_part(struct job *job, unsigned i, bool is_data, uint64_t start, uint64_t end)
{
	struct part *part = &job->part[i];

	part->iov.iov_base = (void *)(uintptr_t)(job->piece->data[0] + start);
	part->iov.iov_len = (size_t)(end - start);
	part->req = (struct disk_req){
	    .op = is_data ? DISK_WRITE : DISK_ZERO,
	    .off_bytes = job->piece->off_bytes + start,
	    .len_bytes = end - start,
	    .iov = is_data ? &part->iov : NULL,
	    .iov_count = is_data ? 1 : 0,
	    .done = part_done,
	    .owner = job,
	    .why = &job->why,
	};
}

static enum err write_piece(struct copy *copy, struct reader_piece *piece, struct err_why *why)
{
	uint64_t min_zero = copy->dst_is_zero ? DISK_SECTOR : MIN_ZERO_BYTES;
	size_t most = piece->len_bytes / GRAIN_BYTES + 2;
	struct job *job = malloc(sizeof(*job) + most * sizeof(job->part[0]));
	unsigned count = 0;

	if (!job) {
		reader_release(copy->reader, piece);
		return err_set(why, ERR_NOMEM, "no memory for a copy job");
	}
	*job = (struct job){.copy = copy, .piece = piece};
	copy->jobs++;
	for (uint64_t off = 0, start = 0; off < piece->len_bytes; start = off) {
		bool is_data = next_part(piece, min_zero, &off);

		if (is_data || !copy->dst_is_zero)
			add_part(job, count++, is_data, start, off);
	}
	job->in_flight = count;
	if (!count)
		end_job(job);
	for (unsigned i = 0; i < count; i++)
		disk_submit(copy->dst, copy->queue, &job->part[i].req);
	return ERR_OK;
}

static enum err zero_piece(struct copy *copy, struct reader_piece *piece, struct err_why *why)
{
	uint64_t off = piece->off_bytes, left = copy->dst_is_zero ? 0 : piece->len_bytes;
	enum err err = ERR_OK;

	while (left && err == ERR_OK) {
		uint64_t step = min_u64(left, ZERO_STEP_BYTES);

		err = disk_zero(copy->dst, copy->queue, off, step, why);
		off += step;
		left -= step;
	}
	reader_release(copy->reader, piece);
	return err;
}

static enum err run(struct copy *copy, struct err_why *why)
{
	struct reader_piece *piece;
	enum err err = ERR_OK;

	while (err == ERR_OK && copy->err == ERR_OK) {
		err = reader_next(copy->reader, &piece, why);
		if (err != ERR_OK || !piece)
			break;
		if (piece->data[0])
			err = write_piece(copy, piece, why);
		else
			err = zero_piece(copy, piece, why);
	}
	while (copy->jobs)
		queue_wait(copy->queue);
	if (err == ERR_OK && copy->err != ERR_OK) {
		err = copy->err;
		if (why)
			*why = copy->why;
	}
	return err;
}

enum err disk_copy(struct disk *src, struct disk *dst, bool dst_is_zero, struct queue *queue,
		   struct progress *progress, struct err_why *why)
{
	struct copy copy = {.dst = dst, .queue = queue, .dst_is_zero = dst_is_zero};
	struct disk_info src_info, dst_info;
	enum err err;

	disk_get_info(src, &src_info);
	disk_get_info(dst, &dst_info);
	if (dst_info.size_bytes < src_info.size_bytes)
		return err_set(why, ERR_USAGE,
			       "the target's %llu bytes do not hold the source's %llu",
			       (unsigned long long)dst_info.size_bytes,
			       (unsigned long long)src_info.size_bytes);
	err = reader_open(&src, 1, queue, progress, &copy.reader, why);
	if (err != ERR_OK)
		return err;
	err = run(&copy, why);
	reader_close(copy.reader);
	return err == ERR_OK ? disk_flush(dst, queue, why) : err;
}
