/* SPDX-License-Identifier: MIT */
/*
 * Measures the snapshot tree from inside, as one process that holds a VM would see it.
 *
 *   snapshots make HOME DEPTH SIZE REGION   two VMs in HOME: "deep" with DEPTH snapshots in a line,
 *                                           each after random 4 KiB writes to REGION; "shallow"
 *                                           with one. Both disks have SIZE bytes.
 *   snapshots ops HOME ROUNDS               take and revert in both, in turns: medians in ms
 *   snapshots reads HOME FLAT REGION MS cached|direct
 *                                           4 KiB random reads, depth 32, of deep's current and of
 *                                           FLAT, in turns: one JSON array entry for each round
 *   snapshots fold HOME REGION MS           latency of single 4 KiB reads of deep's current,
 *                                           without and with a fold in the background
 *
 * Prints JSON. The same arguments give the same content.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "block/queue.h"
#include "snapshot/snapshot.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define PAGE        4096u
#define DEPTH       32u
#define WRITES      128u /* in each layer */
#define ROUNDS      5u
#define MAX_SAMPLES 1000000u
#define CHUNK       (1u << 20)
#define PATH_ROOM   4096u

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int fail(const char *what, const struct err_why *why)
{
	fprintf(stderr, "snapshots: %s: %s\n", what, why->text);
	return 1;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(double *values, size_t count, double part)
{
	qsort(values, count, sizeof(*values), by_value);
	return count ? values[(size_t)((double)(count - 1) * part)] : 0;
}

/* ---- making ---- */

static void fill(uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 8)
		put_le64(buf + i, next_random());
}

static enum err spray(struct disk *disk, struct queue *queue, uint64_t region, struct err_why *why)
{
	uint8_t buf[PAGE];
	enum err e = ERR_OK;

	for (unsigned i = 0; i < WRITES && !e; i++) {
		fill(buf, sizeof(buf));
		e = disk_write(disk, queue, buf, next_random() % (region / PAGE) * PAGE, PAGE, why);
	}
	return e;
}

static enum err make_base(const char *path, uint64_t size, uint64_t region, struct queue *queue,
			  struct err_why *why)
{
	struct vhd_create_opts create = {.type = VHD_DYNAMIC, .size_bytes = size};
	struct vhd_open_opts open = {.writable = true};
	uint8_t *buf = malloc(CHUNK);
	struct disk *disk;
	enum err e = buf ? vhd_create(path, &create, why) : ERR_NOMEM;

	if (!e)
		e = vhd_open(path, &open, &disk, why);
	if (e) {
		free(buf);
		return e;
	}
	for (uint64_t off = 0; off < region && !e; off += CHUNK) {
		fill(buf, CHUNK);
		e = disk_write(disk, queue, buf, off, CHUNK, why);
	}
	free(buf);
	enum err closed = disk_close(disk, e ? NULL : why);
	return e ? e : closed;
}

static enum err make_vm(const char *home, const char *name, unsigned depth, uint64_t size,
			uint64_t region, struct queue *queue, struct err_why *why)
{
	char dir[PATH_ROOM], base[PATH_ROOM];
	const char *disks[] = {base};
	struct snap_create_opts create = {
	    .config = {.memory_bytes = 512u << 20, .cpus = 1}, .disks = disks, .disk_count = 1};
	struct snap_view_opts writable = {.writable = true};
	struct snap_view *view = NULL;
	struct store *store = NULL;

	snprintf(dir, sizeof(dir), "%s/%s", home, name);
	snprintf(base, sizeof(base), "%s/%s.vhd", home, name);
	enum err e = make_base(base, size, region, queue, why);
	if (!e)
		e = snap_create(dir, &create, why);
	if (!e)
		e = snap_open(NULL, dir, 0, &store, why);
	if (!e)
		e = snap_view_open(store, NULL, &writable, &view, why);
	for (unsigned i = 0; i < depth && !e; i++) {
		struct snap_take_opts take = {0};
		struct guid id;

		e = spray(view->disk[0], queue, region, why);
		if (!e)
			e = snap_take(store, &take, &id, why);
	}
	enum err closed = snap_view_close(view, e ? NULL : why);
	snap_close(store);
	return e ? e : closed;
}

static int make(char **arg)
{
	struct err_why why = {0};
	struct queue *queue;
	uint64_t size = strtoull(arg[2], NULL, 0), region = strtoull(arg[3], NULL, 0);

	if (queue_create(64, &queue, &why) ||
	    make_vm(arg[0], "deep", (unsigned)strtoul(arg[1], NULL, 0), size, region, queue,
		    &why) ||
	    make_vm(arg[0], "shallow", 1, size, region, queue, &why))
		return fail("make", &why);
	queue_destroy(queue);
	return 0;
}

/* ---- take and revert ---- */

struct timing {
	struct store *store;
	double *take, *revert;
};

static enum err open_vm(const char *home, const char *name, struct store **store,
			struct err_why *why)
{
	char dir[PATH_ROOM];

	snprintf(dir, sizeof(dir), "%s/%s", home, name);
	return snap_open(NULL, dir, 0, store, why);
}

/* Take, go back to where it was before, and delete what was taken: the depth stays the same. */
static enum err one_round(struct timing *t, unsigned round, struct err_why *why)
{
	struct snap_take_opts opts = {0};
	struct guid id, kept, before;
	struct snap_tree tree;
	unsigned deleted;
	double start;
	enum err e = snap_tree(t->store, 0, &tree, why);

	if (e)
		return e;
	before = tree.node[tree.current_idx].id;
	snap_tree_free(&tree);
	start = now_ms();
	e = snap_take(t->store, &opts, &id, why);
	t->take[round] = now_ms() - start;
	start = now_ms();
	if (!e)
		e = snap_revert(t->store, &before, NULL, &kept, why);
	t->revert[round] = now_ms() - start;
	return e ? e : snap_delete(t->store, &id, false, &deleted, why);
}

static int ops(char **arg)
{
	static const char *const names[] = {"deep", "shallow"};
	unsigned rounds = (unsigned)strtoul(arg[1], NULL, 0);
	struct timing t[2];
	struct err_why why = {0};

	for (unsigned i = 0; i < 2; i++) {
		t[i].take = calloc(rounds, sizeof(double));
		t[i].revert = calloc(rounds, sizeof(double));
		if (open_vm(arg[0], names[i], &t[i].store, &why))
			return fail(names[i], &why);
	}
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned i = 0; i < 2; i++)
			if (one_round(&t[(r + i) % 2], r, &why))
				return fail("a round", &why);
	printf("{\"take_deep_ms\": %.3f, \"take_shallow_ms\": %.3f, \"revert_deep_ms\": %.3f, "
	       "\"revert_shallow_ms\": %.3f}\n",
	       percentile(t[0].take, rounds, 0.5), percentile(t[1].take, rounds, 0.5),
	       percentile(t[0].revert, rounds, 0.5), percentile(t[1].revert, rounds, 0.5));
	for (unsigned i = 0; i < 2; i++) {
		snap_close(t[i].store);
		free(t[i].take);
		free(t[i].revert);
	}
	return 0;
}

/* ---- reading ---- */

struct reading {
	struct disk *disk;
	struct queue *queue;
	uint64_t pages;
	double until_ms;
	uint64_t done;
	unsigned busy;
	enum err err;
	struct err_why why;
};

struct slot {
	struct disk_req req;
	struct iovec iov;
	struct reading *of;
};

static void read_next(struct slot *slot);

static void read_done(struct disk_req *req)
{
	struct slot *slot = req->owner;
	struct reading *r = slot->of;

	r->busy--;
	r->done++;
	if (req->result)
		r->err = req->result;
	if (!r->err && now_ms() < r->until_ms)
		read_next(slot);
}

static void read_next(struct slot *slot)
{
	struct reading *r = slot->of;

	slot->req = (struct disk_req){.op = DISK_READ,
				      .off_bytes = next_random() % r->pages * PAGE,
				      .len_bytes = PAGE,
				      .iov = &slot->iov,
				      .iov_count = 1,
				      .done = read_done,
				      .owner = slot,
				      .why = &r->why};
	r->busy++;
	disk_submit(r->disk, r->queue, &slot->req);
}

static double random_reads(struct disk *disk, struct queue *queue, uint64_t region, double ms,
			   unsigned depth, struct err_why *why)
{
	struct reading r = {.disk = disk, .queue = queue, .pages = region / PAGE};
	struct slot slot[DEPTH] = {0};
	uint8_t *buf = aligned_alloc(PAGE, (size_t)depth * PAGE);
	double start = now_ms();

	r.until_ms = start + ms;
	for (unsigned i = 0; buf && i < depth; i++) {
		slot[i].of = &r;
		slot[i].iov = (struct iovec){buf + (size_t)i * PAGE, PAGE};
		read_next(&slot[i]);
	}
	while (r.busy)
		queue_wait(queue);
	free(buf);
	if (r.err)
		*why = r.why;
	return r.err ? -1 : (double)r.done * 1e3 / (now_ms() - start);
}

static int reads(char **arg)
{
	uint64_t region = strtoull(arg[2], NULL, 0);
	double ms = strtod(arg[3], NULL);
	bool direct = !strcmp(arg[4], "direct");
	struct vhd_open_opts flat_opts = {.direct = direct};
	struct snap_view_opts deep_opts = {.direct = direct};
	struct err_why why = {0};
	struct snap_view *view;
	struct store *store;
	struct queue *queue;
	struct disk *disk[2];
	struct rusage usage;
	double opened = now_ms();

	if (open_vm(arg[0], "deep", &store, &why) ||
	    snap_view_open(store, NULL, &deep_opts, &view, &why))
		return fail("deep", &why);
	opened = now_ms() - opened;
	if (vhd_open(arg[1], &flat_opts, &disk[1], &why) || queue_create(64, &queue, &why))
		return fail(arg[1], &why);
	disk[0] = view->disk[0];
	for (unsigned i = 0; i < 2; i++) /* all of it is in the caches after that */
		if (random_reads(disk[i], queue, region, ms, DEPTH, &why) < 0)
			return fail("reading", &why);
	printf("{\"open_ms\": %.3f, \"rounds\": [", opened);
	for (unsigned r = 0; r < ROUNDS; r++) {
		double iops[2];

		for (unsigned i = 0; i < 2; i++)
			iops[(r + i) % 2] =
			    random_reads(disk[(r + i) % 2], queue, region, ms, DEPTH, &why);
		printf("%s[%.0f, %.0f]", r ? ", " : "", iops[0], iops[1]);
	}
	getrusage(RUSAGE_SELF, &usage);
	struct vhd_usage map;
	vhd_get_usage(disk[0], &map);
	printf("], \"depth\": %u, \"max_rss_bytes\": %llu, \"map_bytes\": %" PRIu64 "}\n",
	       map.depth, (unsigned long long)usage.ru_maxrss << 10, map.map_bytes);
	disk_close(disk[1], NULL);
	snap_view_close(view, NULL);
	snap_close(store);
	queue_destroy(queue);
	return 0;
}

/* ---- folding meanwhile ---- */

struct folding {
	struct store *store;
	atomic_bool stop;
	bool failed;
	uint64_t moved;
};

static bool keep_on(struct progress *progress, uint64_t done, uint64_t total);

struct stoppable {
	struct progress base;
	struct folding *of;
};

static bool keep_on(struct progress *progress, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	return !container_of(progress, struct stoppable, base)->of->stop;
}

static void *fold(void *arg)
{
	struct folding *f = arg;
	struct stoppable progress = {.base.report = keep_on, .of = f};
	struct snap_fold_opts opts = {.background = true, .progress = &progress.base};
	struct snap_fold_result result;
	struct err_why why = {0};
	enum err e = snap_fold(f->store, &opts, &result, &why);

	f->moved = result.moved_bytes;
	f->failed = e && e != ERR_CANCELLED;
	if (f->failed)
		fail("fold", &why);
	return NULL;
}

/* Mean and 99th percentile of single reads, in microseconds. */
static bool latency(struct disk *disk, struct queue *queue, uint64_t region, double ms,
		    double *mean, double *p99, struct err_why *why)
{
	double *sample = malloc(MAX_SAMPLES * sizeof(*sample));
	double until = now_ms() + ms, total = 0;
	uint8_t *buf = aligned_alloc(PAGE, PAGE);
	size_t count = 0;
	enum err e = sample && buf ? ERR_OK : ERR_NOMEM;

	while (!e && count < MAX_SAMPLES && now_ms() < until) {
		double start = now_ms();

		e = disk_read(disk, queue, buf, next_random() % (region / PAGE) * PAGE, PAGE, why);
		sample[count] = (now_ms() - start) * 1e3;
		total += sample[count++];
	}
	*mean = count ? total / (double)count : 0;
	*p99 = count ? percentile(sample, count, 0.99) : 0;
	free(sample);
	free(buf);
	return !e;
}

/* Every second snapshot goes, so that there is something to fold in many places. */
static enum err delete_half(struct store *store, struct err_why *why)
{
	struct snap_tree tree;
	enum err e = snap_tree(store, 0, &tree, why);
	unsigned deleted;

	for (unsigned i = 1; !e && i < tree.count; i += 2)
		e = snap_delete(store, &tree.node[i].id, false, &deleted, why);
	if (!e)
		snap_tree_free(&tree);
	return e;
}

static int fold_latency(char **arg)
{
	uint64_t region = strtoull(arg[1], NULL, 0);
	double ms = strtod(arg[2], NULL), mean[2], p99[2];
	struct snap_view_opts direct = {.direct = true};
	struct err_why why = {0};
	struct folding f = {0};
	struct snap_view *view;
	struct queue *queue;
	pthread_t thread;

	if (open_vm(arg[0], "deep", &f.store, &why) || delete_half(f.store, &why) ||
	    snap_view_open(f.store, NULL, &direct, &view, &why) || queue_create(64, &queue, &why))
		return fail("deep", &why);
	struct disk *disk = view->disk[0];
	if (!latency(disk, queue, region, ms, &mean[0], &p99[0], &why) ||
	    !latency(disk, queue, region, ms, &mean[0], &p99[0], &why))
		return fail("reading", &why);
	pthread_create(&thread, NULL, fold, &f);
	bool ok = latency(disk, queue, region, ms, &mean[1], &p99[1], &why);
	f.stop = true;
	pthread_join(thread, NULL);
	if (!ok || f.failed)
		return fail("reading while folding", &why);
	printf("{\"mean_us\": %.1f, \"mean_folding_us\": %.1f, \"p99_us\": %.1f, "
	       "\"p99_folding_us\": %.1f, \"moved_bytes\": %" PRIu64 "}\n",
	       mean[0], mean[1], p99[0], p99[1], f.moved);
	snap_view_close(view, NULL);
	snap_close(f.store);
	queue_destroy(queue);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		int (*run)(char **arg);
	} verbs[] = {
	    {"make", 4, make}, {"ops", 2, ops}, {"reads", 5, reads}, {"fold", 3, fold_latency}};
	struct rlimit files;

	/* As the programs do: descriptors are cheap, and layers are many. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(verbs); i++)
		if (!strcmp(argv[1], verbs[i].name) && argc == verbs[i].args + 2)
			return verbs[i].run(argv + 2);
	fprintf(stderr, "usage: snapshots make|ops|reads|fold ...\n");
	return 64;
}
