/* SPDX-License-Identifier: MIT */
/* Power cuts while debt is folded (W17): whatever is there reads the same at any moment (P3, P4).
 */
#include <string.h>

#include "tests/crash/scenarios.h"
#include "tests/crash/store_run.h"
#include "util/bytes.h"

#define SECTOR ((uint64_t)DISK_SECTOR)

/* Sectors [first, first + count) of each block of both disks, in what is current now. */
static enum err fill_blocks(struct store_run *run, uint64_t first, uint64_t count,
			    struct err_why *why)
{
	enum err e = srun_open_writer(run, why);

	for (unsigned i = 0; i < run->disks * (SRUN_BYTES / SRUN_BLOCK) && !e; i++)
		e = srun_fill(run, i % run->disks,
			      i / run->disks * (uint64_t)SRUN_BLOCK + first * SECTOR,
			      count * SECTOR, why);
	return e ? e : srun_close_writer(run, why);
}

static enum err fill_and_take(struct store_run *run, uint64_t first, uint64_t count,
			      const char *name, struct err_why *why)
{
	enum err e = fill_blocks(run, first, count, why);

	return e ? e : srun_take(run, name, why);
}

/* "gone" holds little and what is on it much: its sectors go up. */
static enum err up_setup(struct store_run *run, struct err_why *why)
{
	enum err e = fill_and_take(run, 0, 20, "base", why);

	if (!e)
		e = fill_and_take(run, 4, 6, "gone", why);
	if (!e)
		e = fill_and_take(run, 8, 40, "kept", why);
	return e ? e : fill_blocks(run, 60, 4, why);
}

/* The other way round: what is on it goes down. */
static enum err down_setup(struct store_run *run, struct err_why *why)
{
	enum err e = fill_and_take(run, 0, 20, "base", why);

	if (!e)
		e = fill_and_take(run, 4, 40, "gone", why);
	if (!e)
		e = fill_and_take(run, 40, 6, "kept", why);
	return e ? e : fill_blocks(run, 60, 4, why);
}

static enum err delete_and_fold(struct store_run *run, struct err_why *why)
{
	enum err e = srun_delete(run, "gone", false, why);

	return e ? e : srun_fold(run, 0, why);
}

/* The delete is not what is looked at. */
static enum err up_deleted(struct store_run *run, struct err_why *why)
{
	enum err e = up_setup(run, why);

	return e ? e : srun_delete(run, "gone", false, why);
}

static enum err down_deleted(struct store_run *run, struct err_why *why)
{
	enum err e = down_setup(run, why);

	return e ? e : srun_delete(run, "gone", false, why);
}

static enum err fold_operate(struct store_run *run, struct err_why *why)
{
	return srun_fold(run, 0, why);
}

/* Down into the disks the VM was made from; one of them is fixed. */
static enum err base_setup(struct store_run *run, struct err_why *why)
{
	enum err e = fill_and_take(run, 0, 10, "gone", why);

	if (!e)
		e = fill_and_take(run, 5, 10, "kept", why);
	if (!e)
		e = fill_blocks(run, 12, 8, why);
	return e ? e : srun_delete(run, "gone", false, why);
}

/* What was written last goes down, and the file below is the leaf from then on. */
static enum err leaf_setup(struct store_run *run, struct err_why *why)
{
	enum err e = fill_and_take(run, 0, 20, "base", why);

	if (!e)
		e = fill_and_take(run, 4, 20, "gone", why);
	if (!e)
		e = fill_blocks(run, 12, 6, why);
	return e ? e : srun_delete(run, "gone", false, why);
}

static enum err leaf_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_fold(run, 0, why);

	if (!e)
		e = srun_write_closed(run, 1, why);
	return e ? e : srun_take(run, "new", why);
}

/* Two build on what takes the place of two files: their headers have to follow. */
static enum err children_setup(struct store_run *run, struct err_why *why)
{
	enum err e = down_setup(run, why);

	if (!e)
		e = srun_take(run, "one", why);
	if (!e)
		e = srun_revert(run, "kept", NULL, why);
	if (!e)
		e = fill_blocks(run, 70, 4, why);
	return e ? e : srun_delete(run, "gone", false, why);
}

/* Debt with two children is copied up into both, as they hide nearly all of it. */
static enum err shared_setup(struct store_run *run, struct err_why *why)
{
	enum err e = fill_and_take(run, 0, 20, "base", why);

	if (!e)
		e = fill_and_take(run, 4, 6, "gone", why);
	if (!e)
		e = fill_and_take(run, 4, 5, "one", why);
	if (!e)
		e = srun_revert(run, "gone", NULL, why);
	if (!e)
		e = fill_and_take(run, 5, 5, "two", why);
	return e ? e : srun_delete(run, "gone", false, why);
}

static enum err many_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_delete(run, "gone", false, why);

	if (!e)
		e = srun_delete(run, "base", false, why);
	return e ? e : srun_fold(run, 0, why);
}

static enum err slices_operate(struct store_run *run, struct err_why *why)
{
	return srun_fold(run, 1, why);
}

/* Half way, then others come: the fold goes on, or is called off. */
static enum err taken_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_fold_some(run, 1, why);

	if (!e)
		e = srun_write_closed(run, 1, why);
	if (!e)
		e = srun_take(run, "new", why);
	return e ? e : srun_fold(run, 0, why);
}

static enum err deleted_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_fold_some(run, 1, why);

	if (!e)
		e = srun_delete(run, "kept", false, why);
	return e ? e : srun_fold(run, 0, why);
}

/* What a fold copied into a layer that goes with the operation. */
static enum err reverted_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_fold_some(run, 1, why);

	if (!e)
		e = srun_revert(run, "base", NULL, why);
	return e ? e : srun_fold(run, 0, why);
}

/* Under a disk that is open, with writes that are not flushed. */
static enum err live_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_open_writer(run, why);

	if (!e)
		e = srun_write(run, 2, why);
	if (!e)
		e = srun_fold(run, 0, why);
	if (!e)
		e = srun_write(run, 1, why);
	if (!e)
		e = srun_flush(run, why);
	return e ? e : srun_close_writer(run, why);
}

#define FOLD_SCENARIO(id, text, ...)                                                              \
	{                                                                                         \
		.name = id, .about = text,                                                        \
		.config = &(const struct srun_config){.alone = true, .times = true, __VA_ARGS__}, \
		.begin = srun_begin, .setup = srun_setup, .operate = srun_operate,                \
		.recover = srun_recover, .verify = srun_verify, .end = srun_end,                  \
		.redundant = srun_redundant                                                       \
	}

const struct powercut_scenario crash_store_fold[] = {
    FOLD_SCENARIO("vm-fold-up", "a deleted snapshot's sectors go up (W17)", .setup = up_deleted,
		  .operate = fold_operate, .fold = true),
    FOLD_SCENARIO("vm-fold-down", "what is on it goes down into its file (W17)",
		  .setup = down_deleted, .operate = fold_operate, .fold = true),
    FOLD_SCENARIO("vm-fold-base", "into the disks the VM was made from", .setup = base_setup,
		  .operate = fold_operate, .fold = true),
    FOLD_SCENARIO("vm-fold-copied", "the same, when they were copied", .setup = base_setup,
		  .operate = fold_operate, .copy = true),
    FOLD_SCENARIO("vm-fold-leaf", "what is current goes down, and is used on", .setup = leaf_setup,
		  .operate = leaf_operate),
    FOLD_SCENARIO("vm-fold-children", "two headers have to follow", .setup = children_setup,
		  .operate = fold_operate, .fold = true),
    FOLD_SCENARIO("vm-fold-shared", "up into both of two children", .setup = shared_setup,
		  .operate = fold_operate),
    FOLD_SCENARIO("vm-fold-delete", "right after the snapshot was deleted", .setup = up_setup,
		  .operate = delete_and_fold),
    FOLD_SCENARIO("vm-fold-many", "several layers, one after the other", .setup = down_setup,
		  .operate = many_operate, .fold = true),
    FOLD_SCENARIO("vm-fold-slices", "with a budget, in many steps", .setup = up_deleted,
		  .operate = slices_operate, .fold = true),
    FOLD_SCENARIO("vm-fold-taken", "half way, then a snapshot is taken", .setup = leaf_setup,
		  .operate = taken_operate),
    FOLD_SCENARIO("vm-fold-deleted", "half way, then what it copied into is deleted",
		  .setup = up_deleted, .operate = deleted_operate),
    FOLD_SCENARIO("vm-fold-reverted", "half way, then current goes", .setup = leaf_setup,
		  .operate = reverted_operate, .fold = true),
    FOLD_SCENARIO("vm-fold-live", "under a disk that is written to", .setup = down_deleted,
		  .operate = live_operate),
    {0},
};
