/* SPDX-License-Identifier: MIT */
/* Power cuts while whole VMs are made, copied and removed: all of it or nothing (W16, P4). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "tests/crash/scenarios.h"
#include "tests/crash/store_run.h"
#include "tests/lib/exercise.h"
#include "vhd/vhd.h"

#define OUT  "/home/out"  /* an export */
#define MADE "/home/made" /* by the operation */

/* ---- what is left ---- */

static bool see_name(void *arg, const char *name)
{
	char *found = arg;

	snprintf(found, 64, "%s", name);
	return true;
}

/* What an operation that was cut off has left can be removed, and then it is gone. */
static enum err remove_rest(struct file_ns *ns, const char *dir, struct err_why *why)
{
	char found[64] = "";
	enum err e = snap_remove(ns, dir, why);

	if (e && e != ERR_NOENT)
		return e;
	e = file_ns_list(ns, dir, see_name, found, why);
	if (!e && *found)
		e = err_set(why, ERR_CORRUPT, "%s/%s is still there", dir, found);
	return e;
}

/* One thing went wrong, and all else worked: what was begun has been taken back. */
static enum err check_undone(const struct store_run *run, struct file_ns *ns, const char *dir,
			     struct err_why *why)
{
	bool for_good = (run->file_rule && run->file_rule->sticky) ||
			(run->name_rule && run->name_rule->sticky);
	char found[64] = "";
	enum err e = ERR_OK;

	if (run->op_failed && !for_good)
		e = file_ns_list(ns, dir, see_name, found, why);
	if (!e && *found)
		e = err_set(why, ERR_CORRUPT, "it failed, and left %s/%s behind", dir, found);
	return e;
}

static enum err check_disk(struct file_ns *ns, const char *path, struct model *model,
			   struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = ns};
	struct exercise ex = {.model = model};
	enum err e = vhd_open(path, &opts, &ex.disk, why);

	if (e)
		return e;
	e = exercise_check_live(&ex, why);
	disk_close(ex.disk, NULL);
	if (e)
		err_context(why, "%s", path);
	return e;
}

/* ---- creating ---- */

static enum err create_operate(struct store_run *run, struct err_why *why)
{
	struct srun_shape *shape = srun_begin_op(run);
	enum err e;

	shape->exists = true;
	shape->memory_bytes = SRUN_MEMORY;
	memcpy(shape->disk, run->disk, sizeof(shape->disk));
	srun_mark(run, SRUN_UNNAMED | SRUN_OLD_NAMES);
	e = srun_create(run, run->ns, why);
	if (!e)
		srun_end_op(run);
	return e;
}

/* The disks it was made from are as they were; without it, it can be made. */
static enum err create_judge(struct store_run *run, struct file_ns *ns,
			     const struct srun_shape *shape, bool acknowledged, struct err_why *why)
{
	struct store *store;
	enum err e = ERR_OK;

	(void)acknowledged;
	for (unsigned d = 0; d < run->disks && !e; d++)
		e = check_disk(ns, run->disk_path[d], run->disk[d], why);
	if (!e)
		e = srun_check_outside(run, ns, true, why);
	if (!e)
		e = check_undone(run, ns, SRUN_DIR, why);
	if (e || shape->exists)
		return e;
	e = remove_rest(ns, SRUN_DIR, why);
	if (!e)
		e = srun_create(run, ns, why);
	if (!e)
		e = snap_open(ns, SRUN_DIR, 0, &store, why);
	if (e)
		return err_context(why, "made again"), e;
	e = srun_check_shape(store, &run->shape[1], NULL, why);
	if (!e)
		e = srun_check_dir(ns, SRUN_DIR, false, why);
	snap_close(store);
	return e;
}

/* ---- removing ---- */

static enum err tree_setup(struct store_run *run, struct err_why *why)
{
	enum err e = srun_write_closed(run, 2, why);

	if (!e)
		e = srun_take(run, "first", why);
	if (!e)
		e = srun_write_closed(run, 2, why);
	if (!e)
		e = srun_take(run, "second", why);
	return e ? e : srun_write_closed(run, 1, why);
}

static enum err remove_operate(struct store_run *run, struct err_why *why)
{
	struct srun_shape *shape = srun_begin_op(run);
	enum err e;

	shape->exists = false;
	snap_close(run->store);
	run->store = NULL;
	e = snap_remove(run->ns, SRUN_DIR, why);
	if (!e)
		srun_end_op(run);
	return e;
}

/* Disks that live elsewhere stay: they hold what the first snapshot has. */
static enum err remove_judge(struct store_run *run, struct file_ns *ns,
			     const struct srun_shape *shape, bool acknowledged, struct err_why *why)
{
	const struct srun_node *first = &run->shape[0].node[0];
	enum err e = ERR_OK;

	(void)acknowledged;
	for (unsigned d = 0; d < run->disks && !e; d++)
		e = check_disk(ns, run->disk_path[d], first->disk[d], why);
	if (!e)
		e = srun_check_outside(run, ns, true, why);
	return e || shape->exists ? e : remove_rest(ns, SRUN_DIR, why);
}

/* ---- copying out and in ---- */

/* A node, but for the whole VM. */
static enum err copy_out(const struct store_run *run, struct store *store, const char *to,
			 struct err_why *why)
{
	bool whole = run->config->kind == SNAP_EXPORT_VM;
	struct guid id;
	enum err e = whole ? ERR_OK : srun_id(store, "second", &id, why);

	return e ? e : snap_export(store, whole ? NULL : &id, run->config->kind, to, NULL, why);
}

static enum err export_operate(struct store_run *run, struct err_why *why)
{
	enum err e;

	srun_begin_op(run);
	srun_mark(run, SRUN_UNNAMED | SRUN_OLD_NAMES);
	e = copy_out(run, run->store, MADE, why);
	if (!e)
		srun_end_op(run);
	return e;
}

static enum err import_setup(struct store_run *run, struct err_why *why)
{
	enum err e = tree_setup(run, why);

	return e ? e : copy_out(run, run->store, OUT, why);
}

static enum err import_operate(struct store_run *run, struct err_why *why)
{
	enum err e;

	srun_begin_op(run);
	srun_mark(run, SRUN_UNNAMED);
	e = snap_import(run->ns, OUT, MADE, NULL, why);
	if (!e)
		srun_end_op(run);
	return e;
}

/* Only what is current, which is what "second" was: as a store, and as plain disks. */
static enum err check_node(struct store_run *run, struct file_ns *ns, struct store *store,
			   const struct srun_shape *shape, struct err_why *why)
{
	const struct srun_node *node = &shape->node[srun_find(shape, "second")];
	struct srun_shape alone = {.current = -1};
	enum err e;

	memcpy(alone.disk, node->disk, sizeof(alone.disk));
	e = srun_check_shape(store, &alone, NULL, why);
	for (unsigned d = 0; d < run->disks && !e; d++) {
		char path[64];

		snprintf(path, sizeof(path), MADE "/disk%u.vhd", d);
		e = check_disk(ns, path, node->disk[d], why);
	}
	return e;
}

static enum err check_made(struct store_run *run, struct file_ns *ns,
			   const struct srun_shape *shape, struct err_why *why)
{
	struct store *store;
	enum err e = snap_open(ns, MADE, 0, &store, why);

	if (e)
		return e;
	if (run->config->kind == SNAP_EXPORT_VM)
		e = srun_check_shape(store, shape, NULL, why);
	else
		e = check_node(run, ns, store, shape, why);
	snap_close(store);
	return e ? e : srun_check_dir(ns, MADE, true, why);
}

struct sweep {
	struct file_ns *ns;
	const char *dir;
};

static bool sweep_name(void *arg, const char *name)
{
	const struct sweep *sweep = arg;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", sweep->dir, name);
	file_ns_unlink(sweep->ns, path, NULL);
	return true;
}

/* Whoever asked for an export removes what a power cut has left of it. */
static enum err clear(struct file_ns *ns, const char *dir, struct err_why *why)
{
	struct sweep sweep = {ns, dir};

	return file_ns_list(ns, dir, sweep_name, &sweep, why);
}

static enum err make_again(struct store_run *run, struct file_ns *ns, struct err_why *why)
{
	bool imports = run->config->operate == import_operate;
	struct store *store;
	enum err e = imports ? remove_rest(ns, MADE, why) : clear(ns, MADE, why);

	if (!e && imports)
		return snap_import(ns, OUT, MADE, NULL, why);
	if (!e)
		e = snap_open(ns, SRUN_DIR, 0, &store, why);
	if (e)
		return e;
	e = copy_out(run, store, MADE, why);
	snap_close(store);
	return e;
}

static enum err copy_judge(struct store_run *run, struct file_ns *ns,
			   const struct srun_shape *shape, bool acknowledged, struct err_why *why)
{
	struct store *store;
	enum err e = check_undone(run, ns, MADE, why);

	if (!e)
		e = srun_check_outside(run, ns, true, why);
	if (e)
		return e;
	e = snap_open(ns, MADE, SNAP_READONLY, &store, why);
	snap_close(e ? NULL : store);
	if (e == ERR_NOENT && (!acknowledged || shape == run->shape || run->op_failed)) {
		e = make_again(run, ns, why);
		if (e)
			err_context(why, "asked again");
	}
	if (!e)
		e = check_made(run, ns, shape, why);
	return e ? e : remove_rest(ns, MADE, why);
}

#define MAKE_SCENARIO(id, text, ...)                                                           \
	{                                                                                      \
		.name = id, .about = text, .config = &(const struct srun_config){__VA_ARGS__}, \
		.begin = srun_begin, .setup = srun_setup, .operate = srun_operate,             \
		.recover = srun_recover, .verify = srun_verify, .end = srun_end,               \
		.redundant = srun_redundant                                                    \
	}

const struct powercut_scenario crash_store_make[] = {
    MAKE_SCENARIO("vm-create", "a new VM from disks that stay where they are (W16)", .no_vm = true,
		  .chain = true, .operate = create_operate, .judge = create_judge),
    MAKE_SCENARIO("vm-create-copy", "from disks that are copied, one with a base", .no_vm = true,
		  .chain = true, .copy = true, .operate = create_operate, .judge = create_judge),
    MAKE_SCENARIO("vm-remove", "a VM goes, its disks elsewhere stay", .setup = tree_setup,
		  .operate = remove_operate, .judge = remove_judge),
    MAKE_SCENARIO("vm-export-flat", "a snapshot as plain disks", .kind = SNAP_EXPORT_FLAT,
		  .setup = tree_setup, .operate = export_operate, .judge = copy_judge),
    MAKE_SCENARIO("vm-export-chain", "a snapshot as the files of its chain",
		  .kind = SNAP_EXPORT_CHAIN, .setup = tree_setup, .operate = export_operate,
		  .judge = copy_judge),
    MAKE_SCENARIO("vm-export-all", "the whole VM", .kind = SNAP_EXPORT_VM, .setup = tree_setup,
		  .operate = export_operate, .judge = copy_judge),
    MAKE_SCENARIO("vm-import", "a VM from an export", .kind = SNAP_EXPORT_VM, .setup = import_setup,
		  .operate = import_operate, .judge = copy_judge),
    {0},
};
