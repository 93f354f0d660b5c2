/* SPDX-License-Identifier: MIT */
/* Power cuts while files of a chain are made, folded and relinked: W16, W17, relink. */
#include <stdlib.h>
#include <string.h>

#include "tests/crash/scenarios.h"
#include "tests/crash/vhd_run.h"

#define DISK_BYTES  (8u * RUN_BLOCK)
#define AGAIN_EVERY 4u /* states in which a merge is asked for again */

/* An operation that changes no content: its return is acknowledged like a flush. */
static struct model_op begin_op(struct vhd_run *run, struct mem_ns *ns)
{
	struct model_op op = model_flush(run->ex.model);

	mem_ns_mark(ns, op.mark);
	return op;
}

static void end_op(struct vhd_run *run, struct mem_ns *ns, const struct model_op *op)
{
	run->done_mark = model_flushed(run->ex.model, op);
	mem_ns_mark(ns, run->done_mark);
}

static bool is_done(const struct vhd_run *run, uint64_t mark)
{
	return run->done_mark && mark >= run->done_mark;
}

/* ---- create ---- */

struct create_config {
	enum vhd_type type;
};

static enum err create(struct vhd_run *run, struct file_ns *ns, struct err_why *why)
{
	const struct create_config *config = run->config;

	return run_create(ns, RUN_LEAF, config->type, DISK_BYTES,
			  config->type == VHD_DIFFERENCING ? RUN_PARENT : NULL, why);
}

static enum err create_setup(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	const struct create_config *config = run->config;
	struct model *parent;
	enum err err;

	if (config->type != VHD_DIFFERENCING) {
		run->ex.model = model_new(DISK_BYTES);
		return ERR_OK;
	}
	err = run_prepare(run, ns, RUN_PARENT, VHD_DYNAMIC, DISK_BYTES, NULL, 12, why);
	if (err)
		return err;
	parent = run->ex.model;
	run->ex.model = model_child(parent);
	model_free(parent);
	return ERR_OK;
}

static enum err create_operate(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	struct model_op op = begin_op(run, ns);
	enum err err = create(run, run_ns(run, ns), why);

	if (!err)
		end_op(run, ns, &op);
	return err;
}

/* All of it, or nothing that could be taken for an image. */
static enum err create_recover(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_run *run = opaque;

	if (run_has_footer(ns, RUN_LEAF))
		return run_recover_path(ns, RUN_LEAF, why);
	return is_done(run, mark) ? err_set(why, ERR_NOENT, "a created image is gone") : ERR_OK;
}

static enum err create_verify(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_run *run = opaque;
	enum err err = ERR_OK;

	if (!run_has_footer(ns, RUN_LEAF)) {
		if (run_exists(ns, RUN_LEAF))
			err = file_ns_unlink(mem_ns_base(ns), RUN_LEAF, why);
		if (!err)
			err = create(run, mem_ns_base(ns), why);
	}
	return err ? err : run_verify(run, ns, mark, why);
}

static const char *create_redundant(const struct powercut_barrier *barrier)
{
	if (!barrier->names && barrier->before == 1u << EV_SPACE &&
	    barrier->after == 1u << EV_FOOTER)
		return "before the only footer: it is lost with the size that holds it";
	return NULL;
}

/* ---- merge ---- */

struct merge_config {
	enum vhd_type base;
	bool span;  /* a chain of three, folded in one pass */
	bool grown; /* the child is larger than its parent */
};

static enum err merge(struct vhd_run *run, struct file_ns *ns, struct err_why *why)
{
	const struct merge_config *config = run->config;
	struct vhd_open_opts open_opts = {.ns = ns};
	struct vhd_merge_opts opts = {.into = config->span ? RUN_BASE : NULL};
	struct vhd_merge_result result = {0};
	enum err err = vhd_merge(RUN_LEAF, &open_opts, &opts, &result, why);

	free(result.into);
	return err;
}

static enum err merge_setup(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	const struct merge_config *config = run->config;
	struct vhd_open_opts open_opts = {.ns = mem_ns_base(ns)};
	struct vhd_resize_opts resize = {.size_bytes = DISK_BYTES + 2 * RUN_BLOCK};
	enum err err = run_prepare(run, ns, RUN_BASE, config->base, DISK_BYTES, NULL, 10, why);
	struct model_op op;

	if (!err)
		run->below = model_child(run->ex.model);
	if (!err && config->span)
		err = run_prepare(run, ns, RUN_PARENT, 0, 0, RUN_BASE, 6, why);
	if (!err)
		err = run_prepare(run, ns, RUN_LEAF, 0, 0, config->span ? RUN_PARENT : RUN_BASE, 8,
				  why);
	if (err || !config->grown)
		return err;
	op = model_resize(run->ex.model, resize.size_bytes);
	err = vhd_resize(RUN_LEAF, &open_opts, &resize, why);
	model_done(run->ex.model, &op, !err);
	model_durable(run->ex.model, &op);
	return err;
}

static enum err merge_operate(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	struct model_op op = begin_op(run, ns);
	enum err err = merge(run, run_ns(run, ns), why);

	if (!err)
		end_op(run, ns, &op);
	if (!err && (run_exists(ns, RUN_LEAF) || run_exists(ns, RUN_PARENT)))
		err = err_set(why, ERR_CORRUPT, "a merged file was not removed");
	return err;
}

/* Whoever finds the child uses the child; without it the ancestor has everything. */
static const char *merged_path(struct mem_ns *ns)
{
	return run_exists(ns, RUN_LEAF) ? RUN_LEAF : RUN_BASE;
}

static enum err merge_recover(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_run *run = opaque;

	if (is_done(run, mark) && (run_exists(ns, RUN_LEAF) || run_exists(ns, RUN_PARENT)))
		return err_set(why, ERR_CORRUPT, "a merged file has come back");
	return run_recover_path(ns, merged_path(ns), why);
}

/*
 * While the child is there, the base alone shows what it always did, or what the child shows, or
 * it does not open: never something in between.
 */
static enum err check_base_alone(struct vhd_run *run, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	struct exercise as_before = {.model = run->below}, as_child = {.model = run->ex.model};
	struct disk *disk;
	enum err err = vhd_open(RUN_BASE, &opts, &disk, NULL);

	if (err)
		return err == ERR_REPAIRABLE ? ERR_OK
					     : err_set(why, err, "the base alone does not open");
	as_before.disk = as_child.disk = disk;
	if (exercise_check_live(&as_before, NULL))
		err = exercise_check_live(&as_child, why);
	disk_close(disk, NULL);
	if (err)
		err_context(why, "the base alone");
	return err;
}

static enum err merge_verify(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_run *run = opaque;
	enum err err = run_verify_path(run, ns, merged_path(ns), mark, why);

	if (!err && run_exists(ns, RUN_LEAF))
		err = check_base_alone(run, ns, why);
	if (err || !run_exists(ns, RUN_LEAF) || run->judged % AGAIN_EVERY != 1)
		return err;
	err = merge(run, mem_ns_base(ns), why);
	if (!err)
		err = run_verify_live(run, ns, RUN_BASE, why);
	if (err)
		err_context(why, "asked again");
	return err;
}

/* Nothing is acknowledged between the steps of a merge, so a later barrier may do for two. */
static const char *merge_redundant(const struct powercut_barrier *barrier)
{
	const unsigned copying = 1u << EV_DATA | 1u << EV_SPACE;

	if (!barrier->names && barrier->before & 1u << EV_DATA && barrier->after == 1u << EV_FOOTER)
		return "after the copying: the one before the tail is cut off covers it";
	if (!barrier->names && barrier->before == 1u << EV_FOOTER && barrier->after & copying)
		return "after the ancestor was expanded: the next one comes before it is readable";
	return run_redundant(barrier);
}

/* ---- relink ---- */

#define MOVED_PARENT "/vm/elsewhere/parent.vhd"

static enum err relink(struct file_ns *ns, struct err_why *why)
{
	struct vhd_open_opts open_opts = {.ns = ns};
	struct vhd_relink_opts opts = {.parent = MOVED_PARENT};
	char *found = NULL;
	enum err err = vhd_relink(RUN_LEAF, &open_opts, &opts, &found, why);

	free(found);
	return err;
}

static enum err relink_setup(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	enum err err = run_prepare(run, ns, RUN_PARENT, VHD_DYNAMIC, DISK_BYTES, NULL, 10, why);

	if (!err)
		err = run_prepare(run, ns, RUN_LEAF, 0, 0, RUN_PARENT, 8, why);
	if (!err)
		err = file_ns_rename(mem_ns_base(ns), RUN_PARENT, MOVED_PARENT, why);
	return err;
}

static enum err relink_operate(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	struct model_op op = begin_op(run, ns);
	enum err err = relink(run_ns(run, ns), why);

	if (!err)
		end_op(run, ns, &op);
	return err;
}

/* Before it is done the child may or may not know its parent, but its parent can be named. */
static enum err relink_recover(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_open_opts opts = {
	    .ns = mem_ns_base(ns), .writable = true, .parent = MOVED_PARENT};
	struct disk *disk;
	enum err err;

	if (is_done(opaque, mark))
		opts.parent = NULL;
	err = vhd_open(RUN_LEAF, &opts, &disk, why);
	return err ? err : disk_close(disk, why);
}

static enum err relink_verify(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_run *run = opaque;
	enum err err = ERR_OK;

	if (!is_done(run, mark))
		err = relink(mem_ns_base(ns), why);
	return err ? err : run_verify(run, ns, mark, why);
}

#define CHAIN_SCENARIO(id, text, kind, ...)                                                      \
	{                                                                                        \
		.name = id, .about = text, .config = &(const struct kind##_config){__VA_ARGS__}, \
		.begin = run_begin, .setup = kind##_setup, .operate = kind##_operate,            \
		.recover = kind##_recover, .verify = kind##_verify, .end = run_end,              \
		.redundant = kind##_redundant                                                    \
	}

const struct powercut_scenario crash_chain[] = {
    CHAIN_SCENARIO("create-dynamic", "a new image, whole or not at all (W16)", create,
		   .type = VHD_DYNAMIC),
    CHAIN_SCENARIO("create-fixed", "the same, preallocated", create, .type = VHD_FIXED),
    CHAIN_SCENARIO("create-diff", "a new child, with its locators", create,
		   .type = VHD_DIFFERENCING),
    CHAIN_SCENARIO("merge-dynamic", "a child into its dynamic parent (W17)", merge,
		   .base = VHD_DYNAMIC),
    CHAIN_SCENARIO("merge-fixed", "a child into its fixed parent (W17)", merge, .base = VHD_FIXED),
    CHAIN_SCENARIO("merge-span", "two layers into the base in one pass (W17)", merge,
		   .base = VHD_DYNAMIC, .span = true),
    CHAIN_SCENARIO("merge-grown", "a child larger than its parent (W17)", merge,
		   .base = VHD_DYNAMIC, .grown = true),
    {
	.name = "relink",
	.about = "a child learns where its parent has gone",
	.begin = run_begin,
	.setup = relink_setup,
	.operate = relink_operate,
	.recover = relink_recover,
	.verify = relink_verify,
	.end = run_end,
	.redundant = run_redundant,
    },
    {0},
};
