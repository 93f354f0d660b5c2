/* SPDX-License-Identifier: MIT */
#include "tests/crash/store_run.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/exercise.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define SECTORS      (SRUN_BYTES / DISK_SECTOR)
#define CALM_SECTORS 2u

/* ---- beginning and end ---- */

static void choose_disks(struct store_run *run)
{
	static const char *const path[SRUN_DISKS] = {"/disks/dynamic.vhd", "/disks/fixed.vhd"};
	bool alone = run->calm && run->config->alone;

	run->disks = alone ? 1 : SRUN_DISKS;
	for (unsigned d = 0; d < run->disks; d++)
		run->disk_path[d] = path[alone ? run->seed % SRUN_DISKS : d];
}

void *srun_begin(const void *config, uint64_t seed, bool calm)
{
	struct store_run *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	run->config = config;
	run->seed = seed;
	run->rng = rng_seed(seed);
	run->calm = calm;
	choose_disks(run);
	return run;
}

void srun_end(void *opaque)
{
	struct store_run *run = opaque;

	for (unsigned i = 0; i < run->owned_count; i++)
		model_free(run->owned[i]);
	free(run->owned);
	srun_free_outside(run);
	free(run);
}

struct names_ns *srun_names(const struct store_run *run, struct file_ns *below)
{
	struct names_ns *names = names_ns_new(below);

	if (run->config->times)
		names_ns_tell_times(names);
	names_ns_alone(names);
	return names;
}

/* Requests in random order, faults below them; calls about names are counted above. */
static void start(struct store_run *run, struct mem_ns *mem, bool in_operate)
{
	struct file_ns *at = mem_ns_base(mem);

	run->mem = mem;
	if (in_operate && run->file_rule) {
		run->fault = fault_ns_new(at);
		fault_ns_set(run->fault, run->file_rule);
		at = fault_ns_base(run->fault);
	}
	if (in_operate && !run->calm) {
		run->reorder = reorder_ns_new(at, run->seed);
		at = reorder_ns_base(run->reorder);
	}
	run->names = srun_names(run, at);
	names_ns_set(run->names, in_operate ? run->name_rule : NULL);
	run->ns = names_ns_base(run->names);
	if (in_operate)
		srun_watch(run);
}

enum err srun_stop(struct store_run *run, struct err_why *why)
{
	enum err e = snap_view_close(run->writer, why);

	snap_close(run->store);
	run->writer = NULL;
	run->store = NULL;
	names_ns_free(run->names);
	reorder_ns_free(run->reorder);
	fault_ns_free(run->fault);
	run->names = NULL;
	run->reorder = NULL;
	run->fault = NULL;
	run->ns = NULL;
	return e;
}

/* ---- what is known ---- */

static struct model *own(struct store_run *run, struct model *model)
{
	run->owned = reallocarray(run->owned, run->owned_count + 1, sizeof(struct model *));
	if (!run->owned)
		abort();
	run->owned[run->owned_count++] = model;
	return model;
}

struct model *srun_child(struct store_run *run, const struct model *of)
{
	return own(run, model_child(of));
}

static void note_time(struct store_run *run)
{
	for (unsigned d = 0; d < run->disks; d++)
		run->time[run->mark][d] = run->disk[d] ? model_now(run->disk[d]) : 0;
}

void srun_mark(struct store_run *run, uint64_t flags)
{
	if (++run->mark == SRUN_MARKS)
		abort(); /* the scenario is too long */
	note_time(run);
	mem_ns_mark(run->mem, run->mark | flags);
}

struct srun_shape *srun_begin_op(struct store_run *run)
{
	struct srun_shape *shape = &run->shape[run->shapes];

	if (run->shapes == SRUN_SHAPES)
		abort();
	srun_mark(run, 0);
	if (run->shapes)
		*shape = shape[-1];
	else
		*shape = (struct srun_shape){.current = -1};
	run->shapes++;
	shape->no_debt = false;
	shape->begun = run->mark;
	shape->done = SRUN_NEVER;
	return shape;
}

void srun_end_op(struct store_run *run)
{
	struct srun_shape *shape = &run->shape[run->shapes - 1];

	memcpy(run->disk, shape->disk, sizeof(run->disk));
	srun_mark(run, 0);
	shape->done = run->mark;
}

/* What setup has come to is where marks begin. */
static void settle(struct store_run *run)
{
	if (run->shapes)
		run->shape[0] = run->shape[run->shapes - 1];
	else
		run->shape[0] = (struct srun_shape){.current = -1};
	run->shape[0].begun = run->shape[0].done = 0;
	memcpy(run->shape[0].disk, run->disk, sizeof(run->disk));
	run->shapes = 1;
	run->mark = 0;
	note_time(run);
}

int srun_find(const struct srun_shape *shape, const char *name)
{
	for (unsigned i = 0; i < shape->count; i++)
		if (!strcmp(shape->node[i].name, name))
			return (int)i;
	return -1;
}

void srun_add_node(struct store_run *run, struct srun_shape *shape, const char *name)
{
	struct srun_node *node = &shape->node[shape->count];

	if (shape->count == SRUN_NODES)
		abort();
	*node = (struct srun_node){.name = name,
				   .note = "",
				   .parent = shape->current,
				   .memory_bytes = shape->memory_bytes};
	for (unsigned d = 0; d < run->disks; d++)
		node->disk[d] = srun_child(run, run->disk[d]);
	shape->count++;
}

/* ---- content ---- */

static enum err do_change(struct store_run *run, struct disk *disk, unsigned d, enum disk_op kind,
			  uint64_t off_bytes, uint64_t len_bytes, struct err_why *why)
{
	static uint8_t buf[SRUN_BYTES];
	struct model *model = run->disk[d];
	struct model_op op = kind == DISK_WRITE  ? model_write(model, off_bytes, len_bytes, buf)
			     : kind == DISK_ZERO ? model_zero(model, off_bytes, len_bytes)
						 : model_trim(model, off_bytes, len_bytes);
	enum err e;

	srun_mark(run, 0);
	if (kind == DISK_WRITE)
		e = disk_write(disk, exercise_queue(), buf, off_bytes, len_bytes, why);
	else if (kind == DISK_ZERO)
		e = disk_zero(disk, exercise_queue(), off_bytes, len_bytes, why);
	else
		e = disk_trim(disk, exercise_queue(), off_bytes, len_bytes, why);
	model_done(model, &op, !e);
	return e;
}

/* Sectors nothing was written to since setup, in each block in turn: the loss of any shows. */
static enum err write_calm(struct store_run *run, struct disk *disk, unsigned d,
			   struct err_why *why)
{
	uint64_t n = run->fresh[d]++;
	uint64_t block = n % (SRUN_BYTES / SRUN_BLOCK);
	uint64_t at = n / (SRUN_BYTES / SRUN_BLOCK) * (CALM_SECTORS + 1) * DISK_SECTOR;

	return do_change(run, disk, d, DISK_WRITE, block * SRUN_BLOCK + at % SRUN_BLOCK,
			 CALM_SECTORS * DISK_SECTOR, why);
}

static enum err write_one(struct store_run *run, struct disk *disk, unsigned d, struct err_why *why)
{
	uint64_t first = rng_below(&run->rng, SECTORS);
	uint64_t most = rng_percent(&run->rng, 80) ? 12 : 160;
	uint64_t count = min_u64(SECTORS - first, rng_between(&run->rng, 1, most));
	uint64_t roll = rng_below(&run->rng, 100);

	if (run->calm)
		return write_calm(run, disk, d, why);
	return do_change(run, disk, d,
			 roll < 84   ? DISK_WRITE
			 : roll < 94 ? DISK_ZERO
				     : DISK_TRIM,
			 first * DISK_SECTOR, count * DISK_SECTOR, why);
}

enum err srun_write(struct store_run *run, unsigned count, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < count * run->disks && !e; i++)
		e = write_one(run, run->writer->disk[i % run->disks], i % run->disks, why);
	return e;
}

enum err srun_fill(struct store_run *run, unsigned d, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why)
{
	return do_change(run, run->writer->disk[d], d, DISK_WRITE, off_bytes, len_bytes, why);
}

enum err srun_flush(struct store_run *run, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned d = 0; d < run->disks && !e; d++) {
		struct model_op op = model_flush(run->disk[d]);

		srun_mark(run, 0);
		e = disk_flush(run->writer->disk[d], exercise_queue(), why);
		if (!e)
			model_flushed(run->disk[d], &op);
		srun_mark(run, 0);
	}
	return e;
}

/* ---- the disks, and the VM ---- */

static enum err make_disk(struct store_run *run, unsigned d, struct err_why *why)
{
	struct file_ns *ns = mem_ns_base(run->mem);
	bool chain = run->config->chain && d == 0;
	bool fixed = strstr(run->disk_path[d], "fixed");
	struct vhd_create_opts base = {.ns = ns,
				       .type = fixed ? VHD_FIXED : VHD_DYNAMIC,
				       .size_bytes = SRUN_BYTES,
				       .block_size = fixed ? 0 : SRUN_BLOCK};
	struct vhd_create_opts child = {.ns = ns, .type = VHD_DIFFERENCING, .parent = SRUN_BASE};
	struct vhd_open_opts opts = {.ns = ns, .writable = true};
	struct disk *disk;
	enum err e = vhd_create(chain ? child.parent : run->disk_path[d], &base, why);

	run->disk[d] = own(run, model_new(SRUN_BYTES));
	if (!e && chain)
		e = vhd_create(run->disk_path[d], &child, why);
	if (!e)
		e = vhd_open(run->disk_path[d], &opts, &disk, why);
	if (e)
		return e;
	/* Zeros below would hide that what was written is lost. */
	bool fill = run->calm || fixed;
	e = do_change(run, disk, d, DISK_WRITE, 0, fill ? SRUN_BYTES : 2 * SRUN_BLOCK, why);
	enum err closed = disk_close(disk, e ? NULL : why);
	return e ? e : closed;
}

enum err srun_create(struct store_run *run, struct file_ns *ns, struct err_why *why)
{
	struct snap_create_opts opts = {.ns = ns,
					.config = {.memory_bytes = SRUN_MEMORY, .cpus = 1},
					.disks = run->disk_path,
					.disk_count = run->disks,
					.copy = run->config->copy};

	return snap_create(SRUN_DIR, &opts, why);
}

static enum err make_vm(struct store_run *run, struct err_why *why)
{
	struct srun_shape *shape = srun_begin_op(run);
	enum err e = srun_create(run, run->ns, why);

	if (e)
		return e;
	shape->exists = true;
	shape->memory_bytes = SRUN_MEMORY;
	memcpy(shape->disk, run->disk, sizeof(shape->disk));
	srun_end_op(run);
	return snap_open(run->ns, SRUN_DIR, 0, &run->store, why);
}

enum err srun_setup(void *opaque, struct mem_ns *mem, struct err_why *why)
{
	struct store_run *run = opaque;
	enum err e = ERR_OK;

	start(run, mem, false);
	for (unsigned d = 0; d < run->disks && !e; d++)
		e = make_disk(run, d, why);
	if (!e && !run->config->no_vm)
		e = make_vm(run, why);
	if (!e && run->config->setup)
		e = run->config->setup(run, why);
	enum err closed = srun_stop(run, e ? NULL : why);
	settle(run);
	srun_note_outside(run);
	return e ? e : closed;
}

enum err srun_operate(void *opaque, struct mem_ns *mem, struct err_why *why)
{
	struct store_run *run = opaque;
	enum err e = ERR_OK;

	start(run, mem, true);
	if (!run->config->no_vm)
		e = snap_open(run->ns, SRUN_DIR, 0, &run->store, why);
	if (!e)
		e = run->config->operate(run, why);
	if (run->leave_open)
		return e;
	enum err closed = srun_stop(run, e ? NULL : why);
	return e ? e : closed;
}

/* ---- steps ---- */

enum err srun_open_writer(struct store_run *run, struct err_why *why)
{
	struct snap_view_opts opts = {.writable = true};

	return snap_view_open(run->store, NULL, &opts, &run->writer, why);
}

/* Closing flushes; calm it comes before, so that nothing else does its work. */
enum err srun_close_writer(struct store_run *run, struct err_why *why)
{
	struct snap_view *view = run->writer;
	struct model_op op[SRUN_DISKS];
	enum err e = run->calm ? srun_flush(run, why) : ERR_OK;

	if (e)
		return e;

	for (unsigned d = 0; d < run->disks; d++)
		op[d] = model_flush(run->disk[d]);
	srun_mark(run, 0);
	run->writer = NULL;
	e = snap_view_close(view, why);
	for (unsigned d = 0; d < run->disks && !e; d++)
		model_flushed(run->disk[d], &op[d]);
	srun_mark(run, 0);
	return e;
}

enum err srun_write_closed(struct store_run *run, unsigned count, struct err_why *why)
{
	enum err e = srun_open_writer(run, why);

	if (!e)
		e = srun_write(run, count, why);
	return e ? e : srun_close_writer(run, why);
}

enum err srun_id(struct store *store, const char *name, struct guid *id, struct err_why *why)
{
	struct snap_tree tree;
	unsigned idx;
	enum err e = snap_tree(store, 0, &tree, why);

	if (e)
		return e;
	e = snap_find(&tree, name, &idx, why);
	if (!e)
		*id = tree.node[idx].id;
	snap_tree_free(&tree);
	return e;
}

/* A snapshot makes all of it durable that was written before. */
enum err srun_take(struct store_run *run, const char *name, struct err_why *why)
{
	struct snap_take_opts opts = {.name = name};
	struct srun_shape *shape = srun_begin_op(run);
	struct model_op op[SRUN_DISKS];
	struct guid id;

	srun_add_node(run, shape, name);
	shape->current = (int)shape->count - 1;
	for (unsigned d = 0; d < run->disks; d++)
		op[d] = model_flush(run->disk[d]);
	enum err e = snap_take(run->store, &opts, &id, why);
	if (e)
		return e;
	for (unsigned d = 0; d < run->disks; d++)
		model_flushed(run->disk[d], &op[d]);
	srun_end_op(run);
	return ERR_OK;
}

enum err srun_revert(struct store_run *run, const char *name, const char *keep, struct err_why *why)
{
	struct guid id, kept;
	enum err e = srun_id(run->store, name, &id, why);

	if (e)
		return e;
	struct srun_shape *shape = srun_begin_op(run);
	if (keep)
		srun_add_node(run, shape, keep);
	shape->current = srun_find(shape, name);
	shape->memory_bytes = shape->node[shape->current].memory_bytes;
	for (unsigned d = 0; d < run->disks; d++)
		shape->disk[d] = srun_child(run, shape->node[shape->current].disk[d]);
	e = snap_revert(run->store, &id, keep, &kept, why);
	if (!e)
		srun_end_op(run);
	return e;
}

/* Children of a node that goes are its parent's. */
static void remove_node(struct srun_shape *shape, unsigned idx)
{
	int parent = shape->node[idx].parent;

	memmove(&shape->node[idx], &shape->node[idx + 1],
		(shape->count - idx - 1) * sizeof(shape->node[0]));
	shape->count--;
	for (unsigned i = 0; i < shape->count; i++)
		if (shape->node[i].parent == (int)idx)
			shape->node[i].parent = parent;
	if (shape->current == (int)idx)
		shape->current = parent;
	for (unsigned i = 0; i < shape->count; i++)
		shape->node[i].parent -= shape->node[i].parent > (int)idx;
	shape->current -= shape->current > (int)idx;
}

static void remove_below(struct srun_shape *shape, const char *name)
{
	for (unsigned i = shape->count; i-- > 0;) {
		int at = shape->node[i].parent;

		while (at >= 0 && strcmp(shape->node[at].name, name) != 0)
			at = shape->node[at].parent;
		if (at >= 0)
			remove_node(shape, i);
	}
}

enum err srun_delete(struct store_run *run, const char *name, bool subtree, struct err_why *why)
{
	struct guid id;
	unsigned deleted;
	enum err e = srun_id(run->store, name, &id, why);

	if (e)
		return e;
	struct srun_shape *shape = srun_begin_op(run);
	if (subtree)
		remove_below(shape, name);
	remove_node(shape, (unsigned)srun_find(shape, name));
	e = snap_delete(run->store, &id, subtree, &deleted, why);
	if (!e)
		srun_end_op(run);
	return e;
}

enum err srun_rename(struct store_run *run, const char *name, const char *to, const char *note,
		     struct err_why *why)
{
	struct guid id;
	enum err e = srun_id(run->store, name, &id, why);

	if (e)
		return e;
	struct srun_shape *shape = srun_begin_op(run);
	struct srun_node *node = &shape->node[srun_find(shape, name)];
	node->name = to ? to : node->name;
	node->note = note ? note : node->note;
	e = snap_rename(run->store, &id, to, note, why);
	if (!e)
		srun_end_op(run);
	return e;
}

enum err srun_set_memory(struct store_run *run, uint64_t bytes, struct err_why *why)
{
	struct snap_config config = {.memory_bytes = bytes, .cpus = 1};

	srun_begin_op(run)->memory_bytes = bytes;
	enum err e = snap_set_config(run->store, &config, why);
	if (!e)
		srun_end_op(run);
	return e;
}

static bool has_faults(const struct store_run *run)
{
	return run->file_rule || run->name_rule;
}

enum err srun_fold(struct store_run *run, uint64_t budget_bytes, struct err_why *why)
{
	struct snap_fold_opts opts = {.budget_bytes = budget_bytes};
	struct snap_fold_result result = {.more = true};
	struct srun_shape *shape = srun_begin_op(run);
	enum err e = ERR_OK;

	while (!e && result.more)
		e = snap_fold(run->store, &opts, &result, why);
	if (!e && result.busy && !run->writer && !has_faults(run))
		e = err_set(why, ERR_LOCKED, "a fold left %u layers nobody uses", result.busy);
	/* A layer that could not be read is counted as busy, and left for another time. */
	shape->no_debt = !run->writer && !result.busy;
	if (!e)
		srun_end_op(run);
	return e;
}

enum err srun_fold_some(struct store_run *run, uint64_t budget_bytes, struct err_why *why)
{
	struct snap_fold_opts opts = {.budget_bytes = budget_bytes};
	struct snap_fold_result result;
	enum err e;

	srun_begin_op(run);
	e = snap_fold(run->store, &opts, &result, why);
	if (!e && !result.more)
		e = err_set(why, ERR_USAGE, "the scenario's fold was to be cut short");
	if (!e)
		srun_end_op(run);
	return e;
}
