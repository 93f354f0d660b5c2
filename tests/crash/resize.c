/* SPDX-License-Identifier: MIT */
/* Power cuts while a disk grows or shrinks: P4 under W12, W13, W14. */
#include "tests/crash/scenarios.h"
#include "tests/crash/vhd_run.h"

#define TIGHT_BLOCKS       4u
#define BAT_SECTOR_ENTRIES 128u

struct resize_config {
	enum vhd_type type;
	bool child;
	bool tight; /* the first block lies right behind the BAT */
	uint64_t from_bytes, to_bytes;
	unsigned prepare;
	uint64_t prepare_within; /* so that a shrink cuts only unallocated blocks */
};

/* Blocks in use before the BAT has to grow over them; nothing above prepare_within. */
static enum err resize_setup(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	static const struct exercise_mix mix = {.write = 90};
	struct vhd_run *run = opaque;
	const struct resize_config *config = run->config;
	enum err err = ERR_OK;

	if (config->child)
		err = run_prepare(run, ns, RUN_PARENT, VHD_DYNAMIC, config->from_bytes, NULL, 15,
				  why);
	if (!err && config->tight)
		err = run_prepare_tight(run, ns, RUN_LEAF, config->from_bytes, TIGHT_BLOCKS, why);
	else if (!err)
		err = run_prepare(run, ns, RUN_LEAF, config->type, config->from_bytes,
				  config->child ? RUN_PARENT : NULL, 0, why);
	if (!err)
		err = run_open(run, ns, RUN_LEAF, false, why);
	if (!err)
		err = exercise_random(&run->ex, &mix, config->prepare, 4, config->prepare_within,
				      why);
	return err ? err : run_close(run, why);
}

static enum err resize(struct file_ns *ns, const struct resize_config *config, struct err_why *why)
{
	struct vhd_open_opts open_opts = {.ns = ns};
	struct vhd_resize_opts opts = {.size_bytes = config->to_bytes};

	return vhd_resize(RUN_LEAF, &open_opts, &opts, why);
}

static enum err resize_operate(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	const struct resize_config *config = run->config;
	struct model_op op = model_resize(run->ex.model, config->to_bytes);
	enum err err;

	mem_ns_mark(ns, op.mark);
	err = resize(run_ns(run, ns), config, why);
	/* It may still be finished when it failed: only an acknowledgement makes it certain. */
	model_done(run->ex.model, &op, true);
	if (!err)
		mem_ns_mark(ns, model_durable(run->ex.model, &op));
	return err;
}

/* Whatever the cut left, asking again finishes it. */
static enum err resize_verify(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_run *run = opaque;
	enum err err = run_verify(run, ns, mark, why);

	if (err)
		return err;
	if (run->judged % 16 == 0)
		return ERR_OK; /* it has been written to */
	err = resize(mem_ns_base(ns), run->config, why);
	if (!err)
		err = run_verify_live(run, ns, RUN_LEAF, why);
	if (err)
		err_context(why, "asked again");
	return err;
}

#define RESIZE_SCENARIO(id, text, ...)                                                           \
	{                                                                                        \
		.name = id, .about = text, .config = &(const struct resize_config){__VA_ARGS__}, \
		.begin = run_begin, .setup = resize_setup, .operate = resize_operate,            \
		.recover = run_recover, .verify = resize_verify, .end = run_end,                 \
		.redundant = run_redundant                                                       \
	}

const struct powercut_scenario crash_resize[] = {
    RESIZE_SCENARIO("expand-dynamic", "a few blocks more, the BAT has room (W12)",
		    .type = VHD_DYNAMIC, .from_bytes = 6 * RUN_BLOCK, .to_bytes = 11 * RUN_BLOCK,
		    .prepare = 14, .prepare_within = 6 * RUN_BLOCK),
    RESIZE_SCENARIO("expand-dynamic-bat", "the BAT grows over leading blocks (W10, W12)",
		    .type = VHD_DYNAMIC, .tight = true, .from_bytes = 6 * RUN_BLOCK,
		    .to_bytes = (2 * BAT_SECTOR_ENTRIES + 2) * RUN_BLOCK, .prepare = 4,
		    .prepare_within = 6 * RUN_BLOCK),
    RESIZE_SCENARIO("expand-diff", "a child grows past its parent (W12)", .type = VHD_DIFFERENCING,
		    .child = true, .from_bytes = 6 * RUN_BLOCK, .to_bytes = 11 * RUN_BLOCK,
		    .prepare = 14, .prepare_within = 6 * RUN_BLOCK),
    RESIZE_SCENARIO("expand-fixed", "the only footer moves (W13)", .type = VHD_FIXED,
		    .from_bytes = 4 * RUN_BLOCK, .to_bytes = 6 * RUN_BLOCK, .prepare = 8,
		    .prepare_within = 4 * RUN_BLOCK),
    RESIZE_SCENARIO("shrink-dynamic", "unallocated blocks are cut (W14)", .type = VHD_DYNAMIC,
		    .from_bytes = 11 * RUN_BLOCK, .to_bytes = 6 * RUN_BLOCK, .prepare = 12,
		    .prepare_within = 5 * RUN_BLOCK),
    RESIZE_SCENARIO("shrink-fixed", "zeros are cut from a fixed disk (W13, W14)", .type = VHD_FIXED,
		    .from_bytes = 6 * RUN_BLOCK, .to_bytes = 4 * RUN_BLOCK, .prepare = 8,
		    .prepare_within = 4 * RUN_BLOCK),
    {0},
};
