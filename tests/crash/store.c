/* SPDX-License-Identifier: MIT */
/* Power cuts while a VM's tree is changed: W16, W18, P3, P4. */
#include <string.h>

#include "tests/crash/scenarios.h"
#include "tests/crash/store_run.h"

/* ---- taking ---- */

static enum err take_setup(struct store_run *run, struct err_why *why)
{
	enum err e = srun_write_closed(run, 3, why);

	if (!e)
		e = srun_take(run, "first", why);
	return e ? e : srun_write_closed(run, 2, why);
}

static enum err take_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_take(run, "second", why);

	if (!e)
		e = srun_write_closed(run, 1, why);
	return e ? e : srun_take(run, "third", why);
}

/* Under an open disk: with writes that were flushed and such that were not. */
static enum err live_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_open_writer(run, why);

	if (!e)
		e = srun_write(run, 2, why);
	if (!e)
		e = srun_flush(run, why);
	if (!e)
		e = srun_write(run, 1, why);
	if (!e)
		e = srun_take(run, "second", why);
	if (!e)
		e = srun_write(run, 1, why);
	if (!e)
		e = srun_flush(run, why);
	if (!e)
		e = srun_write(run, 1, why);
	return e ? e : srun_close_writer(run, why);
}

/* ---- going back ---- */

static enum err revert_setup(struct store_run *run, struct err_why *why)
{
	enum err e = take_setup(run, why);

	if (!e)
		e = srun_set_memory(run, 2 * SRUN_MEMORY, why);
	if (!e)
		e = srun_take(run, "second", why);
	return e ? e : srun_write_closed(run, 2, why);
}

static enum err keep_operate(struct store_run *run, struct err_why *why)
{
	return srun_revert(run, "first", "kept", why);
}

static enum err discard_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_revert(run, "first", NULL, why);

	if (!e)
		e = srun_write_closed(run, 1, why);
	return e ? e : srun_revert(run, "second", NULL, why);
}

/* ---- deleting ---- */

/* first -> second -> third, and beside second a branch. */
static enum err tree_setup(struct store_run *run, struct err_why *why)
{
	enum err e = revert_setup(run, why);

	if (!e)
		e = srun_take(run, "third", why);
	if (!e)
		e = srun_revert(run, "first", NULL, why);
	if (!e)
		e = srun_write_closed(run, 2, why);
	if (!e)
		e = srun_take(run, "branch", why);
	return e ? e : srun_write_closed(run, 1, why);
}

/* In the middle, at an end, and the one that current stands on. */
static enum err delete_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_delete(run, "second", false, why);

	if (!e)
		e = srun_delete(run, "third", false, why);
	return e ? e : srun_delete(run, "branch", false, why);
}

static enum err subtree_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_delete(run, "second", true, why);

	return e ? e : srun_delete(run, "first", true, why);
}

/* Garbage of one operation is collected by it, and crossed out by the next one. */
static enum err mixed_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_delete(run, "third", false, why);

	if (!e)
		e = srun_rename(run, "first", "root", NULL, why);
	if (!e)
		e = srun_revert(run, "second", NULL, why);
	if (!e)
		e = srun_take(run, "last", why);
	return e ? e : srun_delete(run, "branch", false, why);
}

/* ---- what touches no layer ---- */

static enum err edit_operate(struct store_run *run, struct err_why *why)
{
	enum err e = srun_rename(run, "first", "renamed", "a note", why);

	if (!e)
		e = srun_set_memory(run, 4 * SRUN_MEMORY, why);
	return e ? e : srun_rename(run, "renamed", NULL, "another note", why);
}

#define STORE_SCENARIO(id, text, ...)                                                          \
	{                                                                                      \
		.name = id, .about = text, .config = &(const struct srun_config){__VA_ARGS__}, \
		.begin = srun_begin, .setup = srun_setup, .operate = srun_operate,             \
		.recover = srun_recover, .verify = srun_verify, .end = srun_end,               \
		.redundant = srun_redundant                                                    \
	}

const struct powercut_scenario crash_store[] = {
    STORE_SCENARIO("vm-take", "snapshots of a VM that is off (W16)", .setup = take_setup,
		   .operate = take_operate),
    STORE_SCENARIO("vm-take-live", "a snapshot under an open disk (W16, P1)", .setup = take_setup,
		   .operate = live_operate),
    STORE_SCENARIO("vm-revert-keep", "back to a snapshot, what was current is kept (W18)",
		   .setup = revert_setup, .operate = keep_operate),
    STORE_SCENARIO("vm-revert-discard", "back and forth, what was current goes (W18)",
		   .setup = revert_setup, .operate = discard_operate),
    STORE_SCENARIO("vm-delete", "snapshots are deleted one by one (W18)", .setup = tree_setup,
		   .operate = delete_operate),
    STORE_SCENARIO("vm-delete-subtree", "and with all below them", .setup = tree_setup,
		   .operate = subtree_operate),
    STORE_SCENARIO("vm-mixed", "one operation after the other, each with its garbage",
		   .setup = tree_setup, .operate = mixed_operate),
    STORE_SCENARIO("vm-edit", "names, notes and the configuration", .setup = take_setup,
		   .operate = edit_operate),
    {0},
};
