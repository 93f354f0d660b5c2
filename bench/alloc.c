/* SPDX-License-Identifier: MIT */
/*
 * Writes 4 KiB at a fixed step through a VHD, as `qemu-img bench -w -S STEP` does, so that both
 * can be made to allocate a block with every write. Prints one JSON object: the time from opening
 * to the return of close (which flushes), and how many syncs, flushes and blocks that took.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/queue.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define WRITE_BYTES 4096u
#define MAX_DEPTH   1024u

struct job {
	struct disk *disk;
	struct queue *queue;
	uint64_t disk_bytes, next_off, step_bytes;
	uint64_t left, unflushed, flush_every;
	unsigned in_flight;
	struct iovec iov; /* the same for all: only read */
	enum err err;
	struct err_why why;
};

struct slot {
	struct disk_req req;
	struct job *job;
};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void slot_done(struct disk_req *req);

static void submit(struct slot *slot)
{
	struct job *job = slot->job;

	slot->req = (struct disk_req){.done = slot_done, .why = &job->why};
	if (job->flush_every && job->unflushed == job->flush_every) {
		slot->req.op = DISK_FLUSH;
		job->unflushed = 0;
	} else {
		slot->req.op = DISK_WRITE;
		slot->req.off_bytes = job->next_off;
		slot->req.len_bytes = WRITE_BYTES;
		slot->req.iov = &job->iov;
		slot->req.iov_count = 1;
		job->next_off = (job->next_off + job->step_bytes) % job->disk_bytes;
		job->unflushed++;
		job->left--;
	}
	job->in_flight++;
	disk_submit(job->disk, job->queue, &slot->req);
}

static void slot_done(struct disk_req *req)
{
	struct slot *slot = container_of(req, struct slot, req);
	struct job *job = slot->job;

	job->in_flight--;
	if (req->result)
		job->err = req->result;
	if (!job->err && job->left)
		submit(slot);
}

static enum err run_job(struct job *job, unsigned depth)
{
	struct slot *slots = calloc(depth, sizeof(*slots));

	if (!slots)
		return err_set(&job->why, ERR_NOMEM, "no memory for %u requests", depth);
	for (unsigned i = 0; i < depth && job->left && !job->err; i++) {
		slots[i].job = job;
		submit(&slots[i]);
	}
	while (job->in_flight)
		queue_wait(job->queue);
	free(slots);
	return job->err;
}

/* Everything between opening and closing; `usage` is taken before the flush of the close. */
static enum err measure(const char *path, struct job *job, unsigned depth, struct vhd_usage *usage)
{
	struct vhd_open_opts opts = {.writable = true};
	struct disk_info info;
	enum err err = queue_create(depth, &job->queue, &job->why);

	if (err)
		return err;
	err = vhd_open(path, &opts, &job->disk, &job->why);
	if (!err) {
		disk_get_info(job->disk, &info);
		job->disk_bytes = info.size_bytes;
		err = run_job(job, depth);
		vhd_get_usage(job->disk, usage);
		enum err closed = disk_close(job->disk, err ? NULL : &job->why);
		err = err ? err : closed;
	}
	queue_destroy(job->queue);
	return err;
}

static bool parse(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return *text && !*end && !errno;
}

int main(int argc, char **argv)
{
	static uint8_t payload[WRITE_BYTES] __attribute__((aligned(4096)));
	struct job job = {.iov = {payload, sizeof(payload)}};
	struct vhd_usage usage = {0};
	uint64_t count, depth;

	if (argc != 7 || !parse(argv[2], &count) || !parse(argv[3], &job.next_off) ||
	    !parse(argv[4], &job.step_bytes) || !parse(argv[5], &depth) ||
	    !parse(argv[6], &job.flush_every) || !depth || depth > MAX_DEPTH) {
		fprintf(stderr, "usage: alloc FILE COUNT START STEP DEPTH FLUSH_EVERY\n");
		return 64;
	}
	memset(payload, 0x5a, sizeof(payload));
	job.left = count;

	double start = now_s();
	if (measure(argv[1], &job, (unsigned)depth, &usage)) {
		fprintf(stderr, "alloc: %s\n", job.why.text);
		return err_exit_code(job.why.code);
	}
	printf("{\"seconds\": %.6f, \"writes\": %" PRIu64 ", \"blocks_allocated\": %" PRIu64
	       ", \"syncs\": %" PRIu64 ", \"flushes\": %" PRIu64 "}\n",
	       now_s() - start, count, usage.blocks_allocated, usage.syncs, usage.flushes);
	return 0;
}
