/* SPDX-License-Identifier: MIT */
#include "tests/kill/writers.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/block.h"
#include "block/queue.h"
#include "tests/kill/content.h"
#include "util/bytes.h"

#define MOST_THREADS 4u
#define MOST_SLOTS   8u
#define ROOM         400u  /* sectors in a request with data */
#define MOST_ZEROED  1500u /* in one without */

struct writer;

struct request {
	struct disk_req req;
	struct writer *writer;
	struct iovec iov;
	struct err_why why;
	uint32_t place, count, tag;
	bool busy;
	uint8_t *buf;
	uint32_t *low; /* READ and FLUSH: what was completed when it was submitted */
};

struct writer {
	struct writers *of;
	pthread_t thread;
	struct rng rng;
	struct queue *queue;
	struct request request[MOST_SLOTS];
	unsigned slots, busy;
	unsigned pause_us; /* now and then */
	bool flushing;
};

struct writers {
	struct log *log;
	struct table *table;
	struct snap_view *view;
	_Atomic bool stop;
	unsigned count;
	struct writer writer[MOST_THREADS];
	_Atomic unsigned char claimed[PLACES]; /* somebody writes there */
};

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

/* ---- who writes where ---- */

/* As many places from `first` on as nobody else writes to. */
static uint32_t claim(struct writers *w, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (atomic_exchange(&w->claimed[first + i], 1))
			return i;
	return count;
}

static void unclaim(struct writers *w, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		atomic_store(&w->claimed[first + i], 0);
}

/* ---- the ends of requests ---- */

static void written(struct request *r)
{
	struct writers *w = r->writer->of;

	/* a trim promises nothing: what was there may still be read */
	for (uint32_t i = 0; r->req.op != DISK_TRIM && i < r->count; i++) {
		atomic_store(&w->table->completed[r->place + i], r->tag);
		if (r->req.flags & DISK_FUA)
			table_raise_durable(w->table, r->place + i, 1, &r->tag);
	}
	unclaim(w, r->place, r->count);
	atomic_fetch_add(&w->log->written, 1);
}

static void flushed(struct request *r)
{
	struct writers *w = r->writer->of;

	table_raise_durable(w->table, r->place, r->count, r->low);
	r->writer->flushing = false;
	atomic_fetch_add(&w->log->flushed, 1);
}

static void check_read(struct request *r, uint32_t i)
{
	struct writers *w = r->writer->of;
	uint64_t high = atomic_load(&w->table->submitted[r->place + i]);
	const uint8_t *sector = r->buf + (size_t)i * DISK_SECTOR;
	uint32_t tag;

	if (content_tag(sector, r->place + i, &tag) && tag_fits(tag, r->low[i], high))
		return;
	if (r->low[i] < high >> 32 && content_fits_torn(sector, r->place + i, r->low[i], high))
		return;
	log_fail(w->log,
		 "a writer reads at place %u 0x%llx..., write %u of place %u; allowed is %u to %u, "
		 "zeros from %u",
		 r->place + i, (unsigned long long)get_le64(sector), tag,
		 (uint32_t)get_le64(sector) & 0xffffff, r->low[i], (uint32_t)(high >> 32),
		 (uint32_t)high);
}

static void was_read(struct request *r)
{
	for (uint32_t i = 0; i < r->count; i++)
		check_read(r, i);
	atomic_fetch_add(&r->writer->of->log->read_back, 1);
}

static void done(struct disk_req *req)
{
	static const char *const names[] = {[DISK_READ] = "read",
					    [DISK_WRITE] = "write",
					    [DISK_FLUSH] = "flush",
					    [DISK_ZERO] = "zeroing",
					    [DISK_TRIM] = "trim"};
	struct request *r = req->owner;

	r->busy = false;
	r->writer->busy--;
	if (req->result)
		log_fail(r->writer->of->log, "a %s of current failed: %s", names[req->op],
			 r->why.text);
	else if (req->op == DISK_FLUSH)
		flushed(r);
	else if (req->op == DISK_READ)
		was_read(r);
	else
		written(r);
}

/* ---- their beginnings ---- */

static void submit(struct request *r, unsigned d, enum disk_op op, unsigned flags)
{
	struct writer *writer = r->writer;
	bool data = op == DISK_READ || op == DISK_WRITE;

	r->iov = (struct iovec){r->buf, (size_t)r->count * DISK_SECTOR};
	r->req = (struct disk_req){.op = op, .flags = flags, .done = done, .owner = r};
	r->req.why = &r->why;
	if (op != DISK_FLUSH) {
		r->req.off_bytes = (uint64_t)(r->place - first_place(d)) * DISK_SECTOR;
		r->req.len_bytes = (uint64_t)r->count * DISK_SECTOR;
	}
	if (data) {
		r->req.iov = &r->iov;
		r->req.iov_count = 1;
	}
	r->busy = true;
	writer->busy++;
	disk_submit(writer->of->view->disk[d], writer->queue, &r->req);
}

/* A place on disk `d`, and how many there are up to its end, at most `most`. */
static void choose_range(struct request *r, unsigned d, uint32_t most)
{
	struct rng *rng = &r->writer->rng;
	uint32_t sector = (uint32_t)rng_below(rng, disk_sectors(d));
	uint32_t left = disk_sectors(d) - sector;
	uint32_t usual = rng_percent(rng, 80) ? 16 : most;

	if (rng_percent(rng, 30))
		sector &= ~7u;
	r->place = first_place(d) + sector;
	r->count = 1 + (uint32_t)rng_below(rng, usual);
	if (r->count > left)
		r->count = left;
}

/* False when others write there. */
static bool begin_change(struct request *r, enum disk_op op)
{
	struct writers *w = r->writer->of;

	r->count = claim(w, r->place, r->count);
	r->tag = atomic_fetch_add(&w->log->tag, 1) + 1;
	for (uint32_t i = 0; i < r->count; i++) {
		_Atomic uint64_t *at = &w->table->submitted[r->place + i];
		uint32_t zero = op == DISK_WRITE ? (uint32_t)atomic_load(at) : r->tag;

		atomic_store(at, pack_high(r->tag, zero));
		if (op == DISK_WRITE)
			content_fill(r->buf + (size_t)i * DISK_SECTOR, r->tag, r->place + i);
	}
	return r->count;
}

static void begin_flush(struct request *r, unsigned d)
{
	if (r->writer->flushing)
		return;
	r->writer->flushing = true;
	r->place = first_place(d);
	r->count = disk_sectors(d);
	for (uint32_t i = 0; i < r->count; i++)
		r->low[i] = atomic_load(&r->writer->of->table->completed[r->place + i]);
	submit(r, d, DISK_FLUSH, 0);
}

static void begin_read(struct request *r, unsigned d)
{
	choose_range(r, d, ROOM);
	for (uint32_t i = 0; i < r->count; i++)
		r->low[i] = atomic_load(&r->writer->of->table->completed[r->place + i]);
	submit(r, d, DISK_READ, 0);
}

static void begin(struct request *r)
{
	struct rng *rng = &r->writer->rng;
	unsigned d = (unsigned)rng_below(rng, DISKS), kind = (unsigned)rng_below(rng, 100);
	unsigned fua = rng_percent(rng, 6) ? DISK_FUA : 0;

	if (kind < 6) {
		begin_flush(r, d);
	} else if (kind < 30) {
		begin_read(r, d);
	} else if (kind < 88) {
		choose_range(r, d, ROOM);
		if (begin_change(r, DISK_WRITE))
			submit(r, d, DISK_WRITE, fua);
	} else if (kind < 96) {
		choose_range(r, d, MOST_ZEROED);
		if (begin_change(r, DISK_ZERO))
			submit(r, d, DISK_ZERO, fua | (kind & 1 ? DISK_KEEP_SPACE : 0));
	} else {
		choose_range(r, d, MOST_ZEROED);
		if (begin_change(r, DISK_TRIM))
			submit(r, d, DISK_TRIM, 0);
	}
}

/* ---- the threads ---- */

static void work(struct writer *writer)
{
	struct writers *w = writer->of;

	while (!atomic_load(&w->stop)) {
		for (unsigned i = 0; i < writer->slots; i++)
			if (!writer->request[i].busy)
				begin(&writer->request[i]);
		queue_wait(writer->queue);
		if (writer->pause_us && rng_percent(&writer->rng, 20))
			nanosleep(&(struct timespec){.tv_nsec = writer->pause_us * 1000L}, NULL);
	}
	while (writer->busy)
		queue_wait(writer->queue);
}

static void *run(void *arg)
{
	struct writer *writer = arg;
	struct err_why why = {0};

	if (queue_create(16, &writer->queue, &why)) {
		log_fail(writer->of->log, "a writer has no queue: %s", why.text);
		return NULL;
	}
	work(writer);
	queue_destroy(writer->queue);
	return NULL;
}

static void set_up(struct writers *w, struct writer *writer, struct rng *rng)
{
	writer->of = w;
	writer->rng = rng_seed(rng_next(rng));
	writer->slots = 1 + (unsigned)rng_below(rng, MOST_SLOTS);
	writer->pause_us = rng_percent(rng, 70) ? 1 + (unsigned)rng_below(rng, 2000) : 0;
	for (unsigned i = 0; i < writer->slots; i++) {
		struct request *r = &writer->request[i];

		r->writer = writer;
		r->buf = must(aligned_alloc(4096, ROOM * DISK_SECTOR));
		r->low = must(calloc(DYNAMIC_SECTORS, sizeof(*r->low)));
	}
}

struct writers *writers_start(struct log *log, struct snap_view *view, struct rng *rng)
{
	struct writers *w = must(calloc(1, sizeof(*w)));

	w->log = log;
	w->table = log_table(log);
	w->view = view;
	w->count = 2 + (unsigned)rng_below(rng, MOST_THREADS - 1);
	for (unsigned i = 0; i < w->count; i++)
		set_up(w, &w->writer[i], rng);
	for (unsigned i = 0; i < w->count; i++)
		if (pthread_create(&w->writer[i].thread, NULL, run, &w->writer[i]))
			abort();
	return w;
}

void writers_stop(struct writers *w)
{
	if (!w)
		return;
	atomic_store(&w->stop, true);
	for (unsigned i = 0; i < w->count; i++) {
		pthread_join(w->writer[i].thread, NULL);
		for (unsigned s = 0; s < w->writer[i].slots; s++) {
			free(w->writer[i].request[s].buf);
			free(w->writer[i].request[s].low);
		}
	}
	free(w);
}
