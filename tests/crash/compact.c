/* SPDX-License-Identifier: MIT */
/* Power cuts while an image is compacted: P4 under W9, W10, W11. */
#include <stdlib.h>
#include <string.h>

#include "tests/crash/scenarios.h"
#include "tests/crash/vhd_run.h"
#include "util/bytes.h"

#define DISK_BYTES   (14u * RUN_BLOCK)
#define TIGHT_BLOCKS 10u
#define AGAIN_EVERY  4u /* states in which compaction is asked for again */

struct compact_config {
	enum vhd_compact_mode mode;
	bool child;
	bool filesystem;
	bool tight; /* no padding between blocks, so that the new footer falls on an old block */
	unsigned prepare;
};

/*
 * A FAT12 file system over the whole disk: boot sector, one table, a root directory without
 * entries. Its clusters are marked used and free at random in long runs, as no file needs to be
 * there for a cluster to be used.
 */
#define FAT_ROOT_ENTRIES    16u
#define FAT_CLUSTER_SECTORS 8u
#define FAT_TABLE_SECTORS   1u
#define FAT_DATA_SECTOR     (1u + FAT_TABLE_SECTORS + FAT_ROOT_ENTRIES * 32 / DISK_SECTOR)
#define FAT_CLUSTER_BYTES   (FAT_CLUSTER_SECTORS * DISK_SECTOR)
#define FAT_CLUSTERS        ((DISK_BYTES / DISK_SECTOR - FAT_DATA_SECTOR) / FAT_CLUSTER_SECTORS)

static void fat_boot_sector(uint8_t *boot)
{
	memset(boot, 0, DISK_SECTOR);
	memcpy(boot, "\xeb\x3c\x90STRATA  ", 11);
	put_le16(boot + 11, DISK_SECTOR);
	boot[13] = FAT_CLUSTER_SECTORS;
	put_le16(boot + 14, 1);
	boot[16] = 1;
	put_le16(boot + 17, FAT_ROOT_ENTRIES);
	put_le16(boot + 19, DISK_BYTES / DISK_SECTOR);
	boot[21] = 0xf8;
	put_le16(boot + 22, FAT_TABLE_SECTORS);
	boot[38] = 0x29;
	memcpy(boot + 43, "STRATA     FAT12   ", 19);
	boot[510] = 0x55;
	boot[511] = 0xaa;
}

static void fat_set(uint8_t *table, uint32_t cluster, uint16_t value)
{
	uint8_t *at = table + cluster * 3 / 2;

	if (cluster & 1)
		put_le16(at, (uint16_t)((get_le16(at) & 0x000f) | value << 4));
	else
		put_le16(at, (uint16_t)((get_le16(at) & 0xf000) | value));
}

/* Trim in the model what the file system does not use: compaction may drop it. */
static void fat_trim(struct vhd_run *run, const uint8_t *table)
{
	for (uint32_t cluster = 2; cluster < FAT_CLUSTERS + 2; cluster++) {
		uint16_t word = get_le16(table + cluster * 3 / 2);
		uint64_t off =
		    (FAT_DATA_SECTOR + (cluster - 2) * FAT_CLUSTER_SECTORS) * (uint64_t)DISK_SECTOR;
		struct model_op op;

		if (cluster & 1 ? word >> 4 : word & 0xfff)
			continue;
		op = model_trim(run->ex.model, off, FAT_CLUSTER_BYTES);
		model_done(run->ex.model, &op, true);
	}
}

static enum err fat_setup(struct vhd_run *run, struct err_why *why)
{
	uint8_t head[FAT_DATA_SECTOR * DISK_SECTOR] = {0};
	uint8_t *table = head + DISK_SECTOR;
	bool used = false;
	enum err err;

	fat_boot_sector(head);
	fat_set(table, 0, 0xff8);
	fat_set(table, 1, 0xfff);
	for (uint32_t cluster = 2; cluster < FAT_CLUSTERS + 2; cluster++) {
		if (rng_percent(&run->ex.rng, 6))
			used = !used;
		fat_set(table, cluster, used ? 0xfff : 0);
	}
	err = exercise_put(&run->ex, 0, head, sizeof(head), why);
	if (!err)
		err = exercise_do(&run->ex, DISK_FLUSH, 0, 0, 0, why);
	/* Begun here, so allowed at every later mark. */
	fat_trim(run, table);
	return err;
}

/* When calm the first blocks of the file: then others move, and the new footer falls on one. */
static bool zero_this_block(struct vhd_run *run, unsigned block)
{
	const struct compact_config *config = run->config;

	if (!run->ex.calm)
		return rng_percent(&run->ex.rng, 35);
	return (block < TIGHT_BLOCKS / 2) != config->tight;
}

static enum err zero_some_blocks(struct vhd_run *run, struct err_why *why)
{
	enum err err = ERR_OK;

	for (unsigned block = 0; block < DISK_BYTES / RUN_BLOCK && !err; block++)
		if (zero_this_block(run, block))
			err = exercise_do(&run->ex, DISK_ZERO, DISK_KEEP_SPACE,
					  (uint64_t)block * RUN_BLOCK, RUN_BLOCK, why);
	return err;
}

static enum err compact_setup(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	const struct compact_config *config = run->config;
	/* When calm everything can be dropped, and every block that moves holds something. */
	unsigned in_parent = run->ex.calm ? 0 : 6;
	unsigned in_leaf = run->ex.calm ? RUN_FILL : config->prepare;
	enum err err = ERR_OK;

	if (config->child)
		err =
		    run_prepare(run, ns, RUN_PARENT, VHD_DYNAMIC, DISK_BYTES, NULL, in_parent, why);
	if (!err && config->tight)
		err = run_prepare_tight(run, ns, RUN_LEAF, DISK_BYTES, TIGHT_BLOCKS, why);
	else if (!err)
		err = run_prepare(run, ns, RUN_LEAF, VHD_DYNAMIC, DISK_BYTES,
				  config->child ? RUN_PARENT : NULL, in_leaf, why);
	if (!err)
		err = run_open(run, ns, RUN_LEAF, false, why);
	if (!err)
		err = zero_some_blocks(run, why);
	if (!err && config->filesystem)
		err = fat_setup(run, why);
	return err ? err : run_close(run, why);
}

static enum err compact(struct file_ns *ns, const struct compact_config *config,
			struct vhd_compact_result *result, struct err_why *why)
{
	struct vhd_open_opts open_opts = {.ns = ns};
	struct vhd_compact_opts opts = {.mode = config->mode};

	*result = (struct vhd_compact_result){0};
	return vhd_compact(RUN_LEAF, &open_opts, &opts, result, why);
}

static enum err compact_operate(void *opaque, struct mem_ns *ns, struct err_why *why)
{
	struct vhd_run *run = opaque;
	const struct compact_config *config = run->config;
	struct vhd_compact_result result;
	enum err err;

	mem_ns_mark(ns, model_now(run->ex.model));
	err = compact(run_ns(run, ns), config, &result, why);
	if (!err && config->filesystem && !result.filesystems)
		err = err_set(why, ERR_CORRUPT, "the file system was not asked: %s", result.note);
	return err;
}

static enum err compact_verify(void *opaque, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_run *run = opaque;
	struct vhd_compact_result result;
	enum err err = run_verify(run, ns, mark, why);

	if (err || run->judged % AGAIN_EVERY != 1)
		return err;
	err = compact(mem_ns_base(ns), run->config, &result, why);
	if (!err)
		err = run_verify_live(run, ns, RUN_LEAF, why);
	if (!err)
		err = compact(mem_ns_base(ns), run->config, &result, why);
	if (!err && result.file_after != result.file_before)
		err = err_set(why, ERR_CORRUPT, "compacting a compact file changes its size");
	if (err)
		err_context(why, "asked again");
	return err;
}

static const char *compact_redundant(const struct powercut_barrier *barrier)
{
	if (!barrier->names && barrier->before == 1u << EV_BAT && barrier->after == 1u << EV_FOOTER)
		return "before the footer moves: it goes into the padding between blocks";
	return run_redundant(barrier);
}

#define COMPACT_SCENARIO(id, text, ...)                                                           \
	{                                                                                         \
		.name = id, .about = text, .config = &(const struct compact_config){__VA_ARGS__}, \
		.begin = run_begin, .setup = compact_setup, .operate = compact_operate,           \
		.recover = run_recover, .verify = compact_verify, .end = run_end,                 \
		.redundant = compact_redundant                                                    \
	}

const struct powercut_scenario crash_compact[] = {
    COMPACT_SCENARIO("compact-prezeroed", "zero blocks dropped, tail blocks moved (W10, W11)",
		     .mode = COMPACT_PREZEROED, .prepare = 25),
    COMPACT_SCENARIO("compact-diff", "the same in a child: only where the parent is zero (W9)",
		     .mode = COMPACT_PREZEROED, .child = true, .prepare = 25),
    COMPACT_SCENARIO("compact-full", "zero blocks and what a FAT file system calls free",
		     .mode = COMPACT_FULL, .filesystem = true, .prepare = 25),
    COMPACT_SCENARIO("compact-quick", "only what a FAT file system calls free",
		     .mode = COMPACT_QUICK, .filesystem = true, .prepare = 25),
    {
	.name = "compact-tight",
	.about = "an image as QEMU lays it out: the footer falls on a block that has moved",
	.config = &(const struct compact_config){.mode = COMPACT_PREZEROED, .tight = true},
	.begin = run_begin,
	.setup = compact_setup,
	.operate = compact_operate,
	.recover = run_recover,
	.verify = compact_verify,
	.end = run_end,
	.redundant = run_redundant,
    },
    {0},
};
