/* SPDX-License-Identifier: MIT */
/*
 * Drives a disk through the block interface, as the mount and a virtual machine do. Each thread
 * has a queue of its own and keeps `iodepth` requests in flight until the time is over.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "block/queue.h"
#include "block/stats.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "util/bytes.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

#define MAX_BS      (64u << 20)
#define MAX_DEPTH   4096u
#define MAX_THREADS 256u
#define RW_WORDS    "randread|randwrite|read|write"

enum rw { RW_UNSET, RW_RANDREAD, RW_RANDWRITE, RW_READ, RW_WRITE };

struct bench_args {
	struct common common;
	struct image_args image;
	struct opt_size bs, size;
	unsigned rw, iodepth, seconds, threads, flush_every;
	bool direct, raw, yes;
};

static const struct opt bench_opts[] = {
    {"rw", 0, OPT_CHOICE, RW_WORDS, offsetof(struct bench_args, rw),
     "what to do; randread by default"},
    {"bs", 0, OPT_SIZE, "SIZE", offsetof(struct bench_args, bs),
     "size of a request; 4K by default"},
    {"iodepth", 0, OPT_NUMBER, "N", offsetof(struct bench_args, iodepth),
     "requests in flight for each thread; 32 by default"},
    {"time", 0, OPT_NUMBER, "SECONDS", offsetof(struct bench_args, seconds), "3 by default"},
    {"threads", 0, OPT_NUMBER, "N", offsetof(struct bench_args, threads), "1 by default"},
    {"size", 0, OPT_SIZE, "SIZE", offsetof(struct bench_args, size),
     "use only so much of the disk, from its start"},
    {"flush-every", 0, OPT_NUMBER, "N", offsetof(struct bench_args, flush_every),
     "flush after every N writes of a thread; never by default"},
    {"direct", 0, OPT_FLAG, NULL, offsetof(struct bench_args, direct), "bypass the page cache"},
    {"raw", 0, OPT_FLAG, NULL, offsetof(struct bench_args, raw), "FILE is a raw image, not a VHD"},
    {"yes", 'y', OPT_FLAG, NULL, offsetof(struct bench_args, yes),
     "yes, overwrite what is on the disk; writing wants it"},
    IMAGE_PARENT(struct bench_args),
    IMAGE_SEARCH(struct bench_args),
    IMAGE_NO_LOCK(struct bench_args),
    {0},
};

struct bench {
	enum rw rw;
	bool writes;
	uint64_t bs, size_bytes;
	unsigned iodepth, threads, flush_every;
	int64_t deadline_ns;
	struct disk *vhd;  /* what was opened */
	struct disk *disk; /* the counting filter above it */
};

struct worker {
	const struct bench *bench;
	struct queue *queue;
	struct slot *slot;
	uint8_t *memory;
	pthread_t thread;
	unsigned in_flight, unflushed;
	uint64_t random, next_off;
	enum err err; /* the first failure; the worker then stops */
	struct err_why why;
};

struct slot {
	struct disk_req req;
	struct iovec iov;
	struct err_why why;
	struct worker *worker;
};

struct outcome {
	double seconds, open_ms;
	struct stats stats;
	struct vhd_usage usage;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* xorshift64*: fast, and good enough to spread requests. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static uint64_t next_offset(struct worker *worker)
{
	const struct bench *bench = worker->bench;
	uint64_t off = worker->next_off;

	if (bench->rw == RW_RANDREAD || bench->rw == RW_RANDWRITE)
		return next_random(&worker->random) % (bench->size_bytes / bench->bs) * bench->bs;
	worker->next_off += bench->bs;
	if (worker->next_off + bench->bs > bench->size_bytes)
		worker->next_off = 0;
	return off;
}

static void slot_done(struct disk_req *req);

static void submit(struct slot *slot)
{
	struct worker *worker = slot->worker;
	const struct bench *bench = worker->bench;
	bool flush = bench->flush_every && worker->unflushed >= bench->flush_every;

	slot->req = (struct disk_req){.done = slot_done, .why = &slot->why};
	if (flush) {
		slot->req.op = DISK_FLUSH;
		worker->unflushed = 0;
	} else {
		slot->req.op = bench->writes ? DISK_WRITE : DISK_READ;
		slot->req.off_bytes = next_offset(worker);
		slot->req.len_bytes = bench->bs;
		slot->req.iov = &slot->iov;
		slot->req.iov_count = 1;
		worker->unflushed += bench->writes;
	}
	worker->in_flight++;
	disk_submit(bench->disk, worker->queue, &slot->req);
}

static void slot_done(struct disk_req *req)
{
	struct slot *slot = container_of(req, struct slot, req);
	struct worker *worker = slot->worker;

	worker->in_flight--;
	if (req->result && !worker->err) {
		worker->err = req->result;
		worker->why = slot->why;
	}
	if (!worker->err && !progress_stopped() && now_ns() < worker->bench->deadline_ns)
		submit(slot);
}

static enum err worker_init(struct worker *worker)
{
	const struct bench *bench = worker->bench;

	worker->slot = calloc(bench->iodepth, sizeof(*worker->slot));
	worker->memory = aligned_alloc(4096, round_up(bench->iodepth * bench->bs, 4096));
	if (!worker->slot || !worker->memory)
		return err_set(&worker->why, ERR_NOMEM, "no memory for %u requests",
			       bench->iodepth);
	/* Not zeros, which could be stored without being written. */
	for (uint64_t i = 0; i + 8 <= bench->iodepth * bench->bs; i += 8)
		put_le64(worker->memory + i, next_random(&worker->random));
	for (unsigned i = 0; i < bench->iodepth; i++) {
		worker->slot[i].worker = worker;
		worker->slot[i].iov = (struct iovec){worker->memory + i * bench->bs, bench->bs};
	}
	return queue_create(bench->iodepth, &worker->queue, &worker->why);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;

	worker->err = worker_init(worker);
	if (!worker->err)
		for (unsigned i = 0; i < worker->bench->iodepth; i++)
			submit(&worker->slot[i]);
	while (worker->in_flight)
		queue_wait(worker->queue);
	queue_destroy(worker->queue);
	free(worker->memory);
	free(worker->slot);
	return NULL;
}

/* Run all threads; the first failure of any of them is the result. */
static enum err run_workers(struct bench *bench, unsigned seconds, struct err_why *why)
{
	struct worker *workers = calloc(bench->threads, sizeof(*workers));
	unsigned started = 0;
	enum err err = ERR_OK;

	if (!workers)
		return err_set(why, ERR_NOMEM, "no memory for %u threads", bench->threads);
	bench->deadline_ns = now_ns() + (int64_t)seconds * 1000000000;
	for (; started < bench->threads; started++) {
		struct worker *worker = &workers[started];
		uint64_t share = bench->size_bytes / bench->threads * started;
		int rc;

		*worker = (struct worker){.bench = bench,
					  .random = 0x9e3779b97f4a7c15ull * (started + 1),
					  .next_off = share / bench->bs * bench->bs};
		rc = pthread_create(&worker->thread, NULL, worker_main, worker);
		if (rc) {
			err = err_sys(why, rc, "starting a thread");
			break;
		}
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].err && !err) {
			err = workers[i].err;
			*why = workers[i].why;
		}
	}
	free(workers);
	return err;
}

static int check_options(const struct bench_args *args, const struct bench *bench)
{
	if (!bench->bs || bench->bs % DISK_SECTOR || bench->bs > MAX_BS)
		return out_usage("bench", "--bs must be a multiple of 512 bytes up to 64M");
	if (bench->iodepth > MAX_DEPTH || bench->threads > MAX_THREADS)
		return out_usage("bench", "--iodepth is at most %u, --threads at most %u",
				 MAX_DEPTH, MAX_THREADS);
	if (bench->flush_every && !bench->writes)
		return out_usage("bench", "--flush-every is for writing");
	if (bench->writes && !args->yes && !args->common.dry_run)
		return out_usage("bench", "--rw %s overwrites what is on the disk: say --yes",
				 bench->rw == RW_WRITE ? "write" : "randwrite");
	return 0;
}

static enum err open_disk(const struct bench_args *args, struct bench *bench,
			  struct outcome *outcome, struct err_why *why)
{
	struct vhd_open_opts opts = image_open_opts(&args->image);
	int64_t start = now_ns();
	enum err err;

	opts.writable = bench->writes && !args->common.dry_run;
	opts.direct = args->direct;
	err = image_open(args->common.arg[0], args->raw ? IMAGE_RAW : IMAGE_VHD, &opts, &bench->vhd,
			 why);
	if (err)
		return err;
	outcome->open_ms = (double)(now_ns() - start) / 1e6;
	bench->size_bytes = image_size(bench->vhd);
	if (args->size.given)
		bench->size_bytes = min_u64(bench->size_bytes, args->size.bytes);
	err = stats_disk_open(bench->vhd, &bench->disk, why);
	if (err) {
		disk_close(bench->vhd, NULL);
		return err;
	}
	if (bench->size_bytes >= bench->bs)
		return ERR_OK;
	disk_close(bench->disk, NULL);
	return err_set(why, ERR_USAGE, "one request of --bs is larger than the disk or --size");
}

static uint64_t peak_rss_bytes(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) ? 0 : (uint64_t)usage.ru_maxrss * 1024;
}

static void show(const struct bench_args *args, const struct bench *bench,
		 const struct outcome *outcome)
{
	const struct stats_op *op = &outcome->stats.op[bench->writes ? DISK_WRITE : DISK_READ];
	double iops = (double)op->count / outcome->seconds;
	double mb_per_s = (double)op->bytes / 1e6 / outcome->seconds;
	double p50_us = (double)stats_percentile_ns(op, 0.50) / 1e3;
	double p99_us = (double)stats_percentile_ns(op, 0.99) / 1e3;
	const struct vhd_usage *usage = &outcome->usage;
	char rw[16];

	args_choice_text(RW_WORDS, bench->rw, rw, sizeof(rw));
	if (!args->common.json) {
		printf("%s: %s, %s a request, %u in flight, %u threads, %.1f s\n",
		       out_name(args->common.arg[0]), rw, out_size(bench->bs), bench->iodepth,
		       bench->threads, outcome->seconds);
		out_row("requests a second", "%.0f", iops);
		out_row("MB/s", "%.1f", mb_per_s);
		out_row("latency", "half below %.1f us, 99 %% below %.1f us", p50_us, p99_us);
		return;
	}
	json_emit(json_pack(
	    "{s:o, s:s, s:o, s:i, s:i, s:f, s:o, s:o, s:f, s:f, s:f, s:f, s:f, s:o, s:i, s:o, "
	    "s:o, s:o, s:o}",
	    "path", json_text(args->common.arg[0]), "rw", rw, "bs", json_size(bench->bs), "iodepth",
	    (int)bench->iodepth, "threads", (int)bench->threads, "seconds", outcome->seconds,
	    "requests", json_size(op->count), "bytes", json_size(op->bytes), "iops", iops,
	    "mb_per_s", mb_per_s, "p50_us", p50_us, "p99_us", p99_us, "open_ms", outcome->open_ms,
	    "max_rss_bytes", json_size(peak_rss_bytes()), "depth", (int)usage->depth, "map_bytes",
	    json_size(usage->map_bytes), "syncs", json_size(usage->syncs), "flushes",
	    json_size(usage->flushes), "blocks_allocated", json_size(usage->blocks_allocated)));
}

/* With the disk open: measure, and close it. */
static enum err measure(const struct bench_args *args, struct bench *bench, struct outcome *outcome,
			struct err_why *why)
{
	struct cli_progress progress;
	int64_t start;
	enum err err;

	progress_begin(&progress, PROGRESS_NONE, "bench"); /* so that Ctrl-C still reports */
	start = now_ns();
	err = run_workers(bench, args->seconds ? args->seconds : 3, why);
	outcome->seconds = (double)(now_ns() - start) / 1e9;
	progress_end(&progress);
	stats_disk_get(bench->disk, &outcome->stats);
	if (!args->raw)
		vhd_get_usage(bench->vhd, &outcome->usage);
	return image_close(bench->disk, err, why);
}

static int run(void *arg)
{
	const struct bench_args *args = arg;
	const char *path = args->common.arg[0];
	struct bench bench = {
	    .rw = args->rw ? args->rw : RW_RANDREAD,
	    .writes = args->rw == RW_RANDWRITE || args->rw == RW_WRITE,
	    .bs = args->bs.given ? args->bs.bytes : 4096,
	    .iodepth = args->iodepth ? args->iodepth : 32,
	    .threads = args->threads ? args->threads : 1,
	    .flush_every = args->flush_every,
	};
	struct outcome outcome = {0};
	struct err_why why = {0};
	int rc;

	rc = check_options(args, &bench);
	if (rc)
		return rc;
	if (open_disk(args, &bench, &outcome, &why))
		return out_fail(path, &why);
	if (args->common.dry_run) {
		disk_close(bench.disk, NULL);
		printf("would %s the first %s of %s\n", bench.writes ? "overwrite" : "read",
		       out_size(bench.size_bytes), out_name(path));
		return 0;
	}
	if (measure(args, &bench, &outcome, &why))
		return out_fail(path, &why);
	show(args, &bench, &outcome);
	return 0;
}

const struct verb verb_bench = {
    .name = "bench",
    .summary = "measure a disk through the engine",
    .usage = "FILE",
    .details =
	"Read or write FILE for some seconds and tell requests a second, MB/s (of 1,000,000\n"
	"bytes) and the latency below which half and 99 % of the requests stayed. Writing\n"
	"destroys what is on the disk and wants --yes.",
    .opts = bench_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct bench_args),
    .run = run,
};
