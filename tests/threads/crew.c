/* SPDX-License-Identifier: MIT */
#include "tests/threads/crew.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/queue.h"
#include "util/bytes.h"

#define CHECK_SECTORS 512u

void crew_init(struct crew *crew, uint64_t size_bytes, unsigned count)
{
	memset(crew, 0, sizeof(*crew));
	crew->sectors = size_bytes / DISK_SECTOR;
	crew->count = count;
	crew->shadow = calloc(crew->sectors, sizeof(struct shadow));
	if (!crew->shadow || pthread_mutex_init(&crew->lock, NULL))
		abort();
}

void crew_free(struct crew *crew)
{
	free(crew->shadow);
	pthread_mutex_destroy(&crew->lock);
}

void crew_fail(struct crew *crew, const char *fmt, ...)
{
	va_list args;

	pthread_mutex_lock(&crew->lock);
	if (!atomic_load(&crew->failed)) {
		va_start(args, fmt);
		vsnprintf(crew->text, sizeof(crew->text), fmt, args);
		va_end(args);
		atomic_store(&crew->failed, true);
	}
	pthread_mutex_unlock(&crew->lock);
}

/* ---- contents ---- */

void sector_fill(uint8_t *sector, uint64_t tag, uint64_t number)
{
	if (!tag)
		memset(sector, 0, DISK_SECTOR);
	for (unsigned i = 0; tag && i < DISK_SECTOR / 8; i++)
		put_le64(sector + (size_t)i * 8, tag + (number << 20) + ((uint64_t)i << 56));
}

bool sector_is(const uint8_t *sector, uint64_t tag, uint64_t number)
{
	uint8_t want[DISK_SECTOR];

	sector_fill(want, tag, number);
	return memcmp(sector, want, DISK_SECTOR) == 0;
}

static void check_sectors(struct crew *crew, uint64_t first, uint64_t count, const uint8_t *buf)
{
	for (uint64_t i = 0; i < count; i++) {
		const struct shadow *shadow = &crew->shadow[first + i];
		const uint8_t *sector = buf + i * DISK_SECTOR;

		if (sector_is(sector, shadow->tag, first + i) ||
		    (shadow->maybe_zero && sector_is(sector, 0, first + i)))
			continue;
		crew_fail(crew, "sector %llu starts with %llx, tag should be %llx",
			  (unsigned long long)(first + i), (unsigned long long)get_le64(sector),
			  (unsigned long long)shadow->tag);
		return;
	}
}

static void remember(struct crew *crew, uint64_t first, uint64_t count, uint64_t tag, bool trimmed)
{
	for (uint64_t i = first; i < first + count; i++) {
		if (trimmed)
			crew->shadow[i].maybe_zero = true;
		else
			crew->shadow[i] = (struct shadow){.tag = tag};
	}
}

/* ---- the threads ---- */

struct job {
	struct worker worker;
	void (*work)(struct worker *worker);
};

static void *run_job(void *arg)
{
	struct job *job = arg;
	struct worker *worker = &job->worker;
	struct err_why why = {0};
	enum err err = queue_create(32, &worker->queue, &why);

	pthread_barrier_wait(&worker->crew->start);
	if (err) {
		crew_fail(worker->crew, "no queue: %s", why.text);
		return NULL;
	}
	job->work(worker);
	queue_destroy(worker->queue);
	return NULL;
}

bool crew_run(struct crew *crew, struct disk *disk, void (*work)(struct worker *worker))
{
	pthread_t thread[CREW_MAX];
	struct job job[CREW_MAX];

	crew->disk = disk;
	if (pthread_barrier_init(&crew->start, NULL, crew->count))
		abort();
	for (unsigned i = 0; i < crew->count; i++) {
		job[i] = (struct job){.worker = {.crew = crew, .idx = i, .rng = rng_seed(i + 1)},
				      .work = work};
		if (pthread_create(&thread[i], NULL, run_job, &job[i]))
			abort();
	}
	for (unsigned i = 0; i < crew->count; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&crew->start);
	return !atomic_load(&crew->failed);
}

uint64_t worker_tag(struct worker *worker)
{
	return ++worker->next_tag * CREW_MAX + worker->idx;
}

/* ---- one request after the other ---- */

static bool worked(struct worker *worker, enum err err, const char *what, const struct err_why *why)
{
	if (!err)
		return true;
	atomic_fetch_add(&worker->crew->refused, 1);
	if (!worker->crew->quiet_failures)
		crew_fail(worker->crew, "%s: %s", what, why->text);
	return false;
}

void worker_write(struct worker *worker, uint64_t first, uint64_t count)
{
	struct crew *crew = worker->crew;
	uint8_t *buf = calloc(count, DISK_SECTOR);
	uint64_t tag = worker_tag(worker);
	struct err_why why = {0};

	if (!buf)
		abort();
	for (uint64_t i = 0; i < count; i++)
		sector_fill(buf + i * DISK_SECTOR, tag, first + i);
	enum err err = disk_write(crew->disk, worker->queue, buf, first * DISK_SECTOR,
				  count * DISK_SECTOR, &why);
	if (worked(worker, err, "write", &why))
		remember(crew, first, count, tag, false);
	free(buf);
}

void worker_zero(struct worker *worker, enum disk_op op, uint64_t first, uint64_t count)
{
	struct err_why why = {0};
	uint64_t off = first * DISK_SECTOR, len = count * DISK_SECTOR;
	enum err err = op == DISK_ZERO
			   ? disk_zero(worker->crew->disk, worker->queue, off, len, &why)
			   : disk_trim(worker->crew->disk, worker->queue, off, len, &why);

	if (worked(worker, err, "zero or trim", &why))
		remember(worker->crew, first, count, 0, op == DISK_TRIM);
}

void worker_check(struct worker *worker, uint64_t first, uint64_t count)
{
	uint8_t *buf = malloc(count * DISK_SECTOR);
	struct err_why why = {0};

	if (!buf)
		abort();
	enum err err = disk_read(worker->crew->disk, worker->queue, buf, first * DISK_SECTOR,
				 count * DISK_SECTOR, &why);
	if (worked(worker, err, "read", &why))
		check_sectors(worker->crew, first, count, buf);
	free(buf);
}

void worker_flush(struct worker *worker)
{
	struct err_why why = {0};

	worked(worker, disk_flush(worker->crew->disk, worker->queue, &why), "flush", &why);
}

/* ---- many requests in flight ---- */

struct slot {
	struct disk_req req;
	struct iovec iov;
	struct err_why why;
	struct worker *worker;
	uint64_t unit, first, count, tag;
	bool busy;
	uint8_t buf[UNIT_BYTES];
};

static void slot_done(struct disk_req *req)
{
	struct slot *slot = req->owner;
	struct crew *crew = slot->worker->crew;

	slot->busy = false;
	if (!worked(slot->worker, req->result, "request", &slot->why))
		return;
	if (req->op == DISK_READ)
		check_sectors(crew, slot->first, slot->count, slot->buf);
	else if (req->op != DISK_FLUSH)
		remember(crew, slot->first, slot->count, slot->tag, req->op == DISK_TRIM);
}

static bool unit_is_free(const struct slot *slot, uint64_t unit)
{
	for (unsigned i = 0; i < CREW_DEPTH; i++) {
		if (slot[i].busy && slot[i].req.op != DISK_FLUSH && slot[i].unit == unit)
			return false;
	}
	return true;
}

static enum disk_op choose_op(struct rng *rng)
{
	static const enum disk_op often[] = {DISK_WRITE, DISK_WRITE, DISK_WRITE, DISK_WRITE,
					     DISK_READ,  DISK_READ,  DISK_READ,  DISK_ZERO,
					     DISK_TRIM,  DISK_FLUSH};

	return often[rng_below(rng, ARRAY_LEN(often))];
}

static void submit_one(struct worker *worker, struct slot *slots, struct slot *slot)
{
	struct crew *crew = worker->crew;
	uint64_t units = crew->sectors / UNIT_SECTORS / crew->count;
	enum disk_op op = choose_op(&worker->rng);

	slot->unit = rng_below(&worker->rng, units) * crew->count + worker->idx;
	if (op != DISK_FLUSH && !unit_is_free(slots, slot->unit))
		return;
	slot->count = rng_between(&worker->rng, 1, UNIT_SECTORS);
	slot->first = slot->unit * UNIT_SECTORS;
	slot->first += rng_below(&worker->rng, UNIT_SECTORS - slot->count + 1);
	slot->tag = op == DISK_WRITE ? worker_tag(worker) : 0;
	for (uint64_t i = 0; op == DISK_WRITE && i < slot->count; i++)
		sector_fill(slot->buf + i * DISK_SECTOR, slot->tag, slot->first + i);
	slot->iov = (struct iovec){slot->buf, slot->count * DISK_SECTOR};
	slot->req =
	    (struct disk_req){.op = op, .done = slot_done, .owner = slot, .why = &slot->why};
	if (op != DISK_FLUSH) {
		slot->req.off_bytes = slot->first * DISK_SECTOR;
		slot->req.len_bytes = slot->count * DISK_SECTOR;
	}
	if (op == DISK_READ || op == DISK_WRITE) {
		slot->req.iov = &slot->iov;
		slot->req.iov_count = 1;
	}
	if ((op == DISK_WRITE || op == DISK_ZERO) && rng_percent(&worker->rng, 10))
		slot->req.flags = DISK_FUA;
	slot->worker = worker;
	slot->busy = true;
	disk_submit(crew->disk, worker->queue, &slot->req);
}

void worker_mixed(struct worker *worker)
{
	struct slot *slots = calloc(CREW_DEPTH, sizeof(*slots));
	bool any = true;

	if (!slots)
		abort();
	for (unsigned round = 0; round < worker->crew->rounds; round++) {
		struct slot *slot = &slots[rng_below(&worker->rng, CREW_DEPTH)];

		while (slot->busy)
			queue_wait(worker->queue);
		submit_one(worker, slots, slot);
	}
	while (any) {
		any = false;
		for (unsigned i = 0; i < CREW_DEPTH; i++)
			any |= slots[i].busy;
		if (any)
			queue_wait(worker->queue);
	}
	free(slots);
}

bool crew_check(struct crew *crew, struct disk *disk)
{
	struct worker me = {.crew = crew};
	struct err_why why = {0};

	crew->disk = disk;
	if (queue_create(8, &me.queue, &why)) {
		crew_fail(crew, "no queue: %s", why.text);
		return false;
	}
	for (uint64_t at = 0; at < crew->sectors; at += CHECK_SECTORS)
		worker_check(&me, at, min_u64(CHECK_SECTORS, crew->sectors - at));
	queue_destroy(me.queue);
	return !atomic_load(&crew->failed);
}
