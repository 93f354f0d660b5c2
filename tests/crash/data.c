/* SPDX-License-Identifier: MIT */
/* Power cuts during plain use of a disk: P1 and P2 under W1 to W9. */
#include "tests/crash/scenarios.h"
#include "tests/crash/vhd_run.h"

#define DISK_BYTES (12u * RUN_BLOCK)

struct data_config {
	enum vhd_type type;
	enum vhd_type parent; /* of the parent; 0 for none */
	unsigned depth;       /* 1: another layer between the leaf and that parent */
	unsigned prepare;     /* requests on the leaf before the recording */
	unsigned parent_prepare;
	struct exercise_mix mix;
	unsigned requests;
	unsigned in_flight;
	uint64_t within_bytes; /* 0: the whole disk */
	bool reuse; /* first trim blocks of the upper half, so that there is space to use again */
};

/* The upper half stays empty, but for what exercise.calm needs: there a child can free blocks. */
static enum err fill_lower_half(struct vhd_run *run, struct mem_ns *ns, struct err_why *why)
{
	enum err err = run_open(run, ns, RUN_BASE, false, why);

	if (!err)
		err = exercise_fill(&run->ex, DISK_BYTES / 2, why);
	if (!err)
		err = exercise_do(&run->ex, DISK_WRITE, 0, DISK_BYTES - EXERCISE_FRESH,
				  EXERCISE_FRESH, why);
	return err ? err : run_close(run, why);
}

static enum err prepare_parents(struct vhd_run *run, struct mem_ns *ns, const char **parent,
				struct err_why *why)
{
	const struct data_config *config = run->config;
	/* Zeros below a child would hide that its data was lost. */
	bool fill = run->ex.calm && !config->reuse;
	enum err err;

	*parent = RUN_BASE;
	err = run_prepare(run, ns, RUN_BASE, config->parent, DISK_BYTES, NULL,
			  fill ? RUN_FILL : config->parent_prepare, why);
	if (!err && config->reuse)
		err = fill_lower_half(run, ns, why);
	if (err || !config->depth)
		return err;
	*parent = RUN_PARENT;
	return run_prepare(run, ns, RUN_PARENT, VHD_DIFFERENCING, 0, RUN_BASE,
			   config->parent_prepare, why);
}

static enum err data_setup(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	const struct data_config *config = run->config;
	const char *parent = NULL;
	enum err err = ERR_OK;

	if (config->parent)
		err = prepare_parents(run, ns, &parent, why);
	if (!err)
		err = run_prepare(run, ns, RUN_LEAF, config->type, DISK_BYTES, parent,
				  config->prepare, why);
	return err;
}

/* When calm by zeroing, because nobody can tell a trim that was lost. */
static enum err free_blocks(struct vhd_run *run, struct err_why *why)
{
	enum err err = ERR_OK;

	for (uint64_t off = DISK_BYTES / 2; off < DISK_BYTES - RUN_BLOCK && !err; off += RUN_BLOCK)
		if (rng_percent(&run->ex.rng, 70))
			err = exercise_do(&run->ex, run->ex.calm ? DISK_ZERO : DISK_TRIM, 0, off,
					  RUN_BLOCK, why);
	return err ? err : exercise_flush(&run->ex, why);
}

static enum err data_operate(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	const struct data_config *config = run->config;
	uint64_t within = config->within_bytes ? config->within_bytes : DISK_BYTES;
	enum err err = run_open(run, ns, RUN_LEAF, true, why);

	if (!err && config->reuse)
		err = free_blocks(run, why);
	if (!err)
		err = exercise_random(&run->ex, &config->mix, config->requests, config->in_flight,
				      within, why);
	if (!err)
		err = exercise_flush(&run->ex, why);
	return err ? err : run_close(run, why);
}

#define DATA_SCENARIO(id, text, ...)                                                           \
	{                                                                                      \
		.name = id, .about = text, .config = &(const struct data_config){__VA_ARGS__}, \
		.begin = run_begin, .setup = data_setup, .operate = data_operate,              \
		.recover = run_recover, .verify = run_verify, .end = run_end,                  \
		.redundant = run_redundant                                                     \
	}

const struct powercut_scenario crash_data[] = {
    DATA_SCENARIO("allocate-dynamic", "first writes to blocks, the file grows (W3, W4)",
		  .type = VHD_DYNAMIC, .requests = 18, .in_flight = 4,
		  .mix = {.write = 80, .flush = 15}),
    DATA_SCENARIO("allocate-diff", "first writes to blocks of a child (W5)",
		  .type = VHD_DIFFERENCING, .parent = VHD_DYNAMIC, .parent_prepare = 20,
		  .requests = 18, .in_flight = 4, .mix = {.write = 80, .flush = 15}),
    DATA_SCENARIO("allocate-chain", "the same on a chain of three, with a fixed base",
		  .type = VHD_DIFFERENCING, .parent = VHD_FIXED, .depth = 1, .parent_prepare = 12,
		  .requests = 14, .in_flight = 4, .mix = {.write = 80, .flush = 15}),
    DATA_SCENARIO("bitmap-diff", "more sectors of blocks a child has already (W6)",
		  .type = VHD_DIFFERENCING, .parent = VHD_DYNAMIC, .parent_prepare = 20,
		  .prepare = 10, .requests = 18, .in_flight = 4, .within_bytes = 2 * RUN_BLOCK,
		  .mix = {.write = 75, .flush = 20}),
    DATA_SCENARIO("overwrite-dynamic", "writes to blocks that are there", .type = VHD_DYNAMIC,
		  .prepare = 30, .requests = 18, .in_flight = 6, .mix = {.write = 75, .flush = 15}),
    DATA_SCENARIO("overwrite-fixed", "writes to a fixed disk", .type = VHD_FIXED, .prepare = 10,
		  .requests = 16, .in_flight = 6,
		  .mix = {.write = 65, .zero = 10, .trim = 5, .flush = 15, .fua = 10}),
    DATA_SCENARIO("fua-dynamic", "writes durable by themselves among flushes", .type = VHD_DYNAMIC,
		  .prepare = 4, .requests = 16, .in_flight = 4,
		  .mix = {.write = 75, .zero = 10, .flush = 10, .fua = 40}),
    DATA_SCENARIO("fua-diff", "the same in a child", .type = VHD_DIFFERENCING,
		  .parent = VHD_DYNAMIC, .parent_prepare = 15, .prepare = 4, .requests = 16,
		  .in_flight = 4, .mix = {.write = 75, .zero = 10, .flush = 10, .fua = 40}),
    DATA_SCENARIO("zero-trim-dynamic", "zeroes and trims among writes (W9)", .type = VHD_DYNAMIC,
		  .prepare = 20, .requests = 20, .in_flight = 4,
		  .mix = {.write = 35, .zero = 25, .trim = 25, .flush = 12, .fua = 5}),
    DATA_SCENARIO("zero-trim-diff", "a trim never brings a parent's data back (W9)",
		  .type = VHD_DIFFERENCING, .parent = VHD_DYNAMIC, .parent_prepare = 25,
		  .prepare = 12, .requests = 20, .in_flight = 4,
		  .mix = {.write = 35, .zero = 25, .trim = 25, .flush = 12, .fua = 5}),
    DATA_SCENARIO("reuse-dynamic", "space of freed blocks is used again (W7)", .type = VHD_DYNAMIC,
		  .prepare = 30, .requests = 14, .in_flight = 4, .reuse = true,
		  .mix = {.write = 70, .trim = 10, .flush = 15}),
    DATA_SCENARIO("reuse-diff", "the same in a child", .type = VHD_DIFFERENCING,
		  .parent = VHD_DYNAMIC, .parent_prepare = 0, .prepare = 25, .requests = 14,
		  .in_flight = 4, .reuse = true, .within_bytes = DISK_BYTES / 2,
		  .mix = {.write = 70, .trim = 10, .flush = 15}),
    {0},
};
