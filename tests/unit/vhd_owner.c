/* SPDX-License-Identifier: MIT */
/* The owner map: chains read what a plain model says, within the budget, and without asking twice.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "tests/unit/vhd_lab.h"

#define BLOCK VHD_MIN_BLOCK
#define SIZE  (6 * MIB - 1536)

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_owner, .init = start, .fini = stop);

static struct disk *open_budget(const char *path, bool writable, uint64_t budget)
{
	struct vhd_open_opts opts = {
	    .ns = lab.ns, .writable = writable, .map_budget_bytes = budget};
	struct disk *disk;

	cr_assert_eq(vhd_open(path, &opts, &disk, &lab.why), ERR_OK, "%s", lab.why.text);
	return disk;
}

static uint64_t map_bytes(struct disk *disk)
{
	struct vhd_usage usage;

	vhd_get_usage(disk, &usage);
	return usage.map_bytes;
}

static void name_layer(char out[16], unsigned n)
{
	snprintf(out, 16, "layer%02u", n);
}

static const struct exercise_mix mix = {.write = 60, .zero = 12, .trim = 8, .flush = 4, .fua = 5};

/* `depth` layers of changing block sizes, each with random requests; the model of the leaf. */
static struct model *make_chain(unsigned depth, uint64_t seed, uint64_t budget)
{
	static const uint32_t blocks[] = {BLOCK, 8 * BLOCK, 2 * BLOCK, BLOCK, 32 * BLOCK};
	struct model *model = model_new(SIZE);

	for (unsigned n = 0; n < depth; n++) {
		struct vhd_create_opts opts = {.type = n ? VHD_DIFFERENCING : VHD_DYNAMIC,
					       .size_bytes = SIZE,
					       .block_size =
						   blocks[(n + seed) % ARRAY_LEN(blocks)]};
		char name[16], parent[16];

		name_layer(name, n);
		if (n) {
			struct model *below = model;

			name_layer(parent, n - 1);
			opts.parent = parent;
			model = model_child(below);
			model_free(below);
		}
		cr_assert_eq(vlab_try_create(&lab, name, opts), ERR_OK, "%s", lab.why.text);
		struct exercise ex = {.rng = rng_seed(seed * 100 + n),
				      .model = model,
				      .disk = open_budget(name, true, budget),
				      .grain_bytes = BLOCK};
		cr_assert_eq(exercise_random(&ex, &mix, 60, 4, SIZE, &lab.why), ERR_OK,
			     "seed %llu, layer %u: %s", (unsigned long long)seed, n, lab.why.text);
		cr_assert_eq(exercise_check_live(&ex, &lab.why), ERR_OK, "seed %llu, layer %u: %s",
			     (unsigned long long)seed, n, lab.why.text);
		vlab_close(ex.disk);
	}
	return model;
}

static void check_chain(unsigned depth, uint64_t seed, uint64_t budget)
{
	struct model *model = make_chain(depth, seed, budget);
	char name[16];

	name_layer(name, depth - 1);
	struct exercise ex = {
	    .model = model, .disk = open_budget(name, false, budget), .grain_bytes = BLOCK};
	cr_expect_eq(exercise_check_live(&ex, &lab.why), ERR_OK, "seed %llu: %s",
		     (unsigned long long)seed, lab.why.text);
	vlab_close(ex.disk);
	model_free(model);
}

Test(vhd_owner, a_chain_equals_its_model)
{
	check_chain(7, 1, 0);
}

Test(vhd_owner, a_chain_equals_its_model_with_a_tiny_budget)
{
	for (uint64_t seed = 2; seed < 6; seed++) {
		vlab_stop(&lab);
		vlab_start(&lab);
		check_chain(5, seed, 1);
	}
}

/* ---- the map of the disk ---- */

Test(vhd_owner, extents_tell_where_the_bytes_are)
{
	struct model *model = make_chain(4, 11, 0);
	struct disk *disk = open_budget("layer03", false, 0);
	struct disk_extent extent;
	uint8_t *from_disk = malloc(SIZE), *from_file = malloc(SIZE);
	unsigned extents = 0;

	for (uint64_t at = 0; at < SIZE; at += extent.len_bytes, extents++) {
		cr_assert_eq(disk_map(disk, at, SIZE - at, &extent, &lab.why), ERR_OK, "%s",
			     lab.why.text);
		cr_assert_eq(extent.start_bytes, at);
		cr_assert(extent.len_bytes && extent.len_bytes <= SIZE - at);
		cr_assert_eq(extent.len_bytes % DISK_SECTOR, 0);
		cr_assert_eq(
		    disk_read(disk, exercise_queue(), from_disk, at, extent.len_bytes, NULL),
		    ERR_OK);
		if (extent.state == EXTENT_ZERO) {
			cr_assert(bytes_are_zero(from_disk, extent.len_bytes));
			continue;
		}
		char want[16];
		name_layer(want, 3 - extent.depth);
		cr_assert_str_eq(extent.path, want);
		vlab_get(&lab, extent.path, extent.file_off_bytes, from_file, extent.len_bytes);
		cr_assert_arr_eq(from_disk, from_file, extent.len_bytes);
	}
	cr_expect_gt(extents, 20, "only %u extents", extents);
	free(from_disk);
	free(from_file);
	vlab_close(disk);
	model_free(model);
}

Test(vhd_owner, neighbours_in_the_file_are_one_extent)
{
	struct disk_extent extent;

	vlab_create(&lab, "f", VHD_FIXED, MIB, NULL);
	struct disk *disk = vlab_open(&lab, "f", false);
	cr_assert_eq(disk_map(disk, 512, MIB - 512, &extent, NULL), ERR_OK);
	cr_expect_eq(extent.len_bytes, MIB - 512);
	cr_expect_eq(extent.file_off_bytes, 512);
	vlab_close(disk);

	vlab_create(&lab, "d", VHD_DYNAMIC, 4 * MIB, NULL);
	disk = vlab_open(&lab, "d", true);
	vlab_write(disk, MIB, BLOCK, 1);
	cr_assert_eq(disk_map(disk, 0, 4 * MIB, &extent, NULL), ERR_OK);
	cr_expect_eq(extent.state, EXTENT_ZERO);
	cr_expect_eq(extent.len_bytes, MIB);
	cr_expect_null(extent.path);
	cr_assert_eq(disk_map(disk, MIB + 512, MIB, &extent, NULL), ERR_OK);
	cr_expect_eq(extent.state, EXTENT_DATA);
	cr_expect_eq(extent.len_bytes, BLOCK - 512);
	cr_expect_eq(disk_map(disk, 0, 0, &extent, NULL), ERR_USAGE);
	cr_expect_eq(disk_map(disk, 4 * MIB - 512, 1024, &extent, NULL), ERR_RANGE);
	vlab_close(disk);
}

/* ---- resolved once, lazily ---- */

static uint64_t reads_of(enum file_event event, struct disk *disk, uint64_t off, uint64_t len)
{
	struct fault_rule rule = {.op = FILE_READ, .event = (int)event, .nth = UINT64_MAX};
	uint8_t *buf = malloc(len);

	fault_ns_set(lab.fault, &rule);
	cr_assert_eq(disk_read(disk, exercise_queue(), buf, off, len, NULL), ERR_OK);
	uint64_t reads = fault_ns_matches(lab.fault);
	fault_ns_set(lab.fault, NULL);
	free(buf);
	return reads;
}

Test(vhd_owner, a_block_is_resolved_on_first_touch_only)
{
	struct fault_rule rule = {.op = FILE_READ, .event = EV_BAT, .nth = UINT64_MAX};

	vlab_create(&lab, "a", VHD_DYNAMIC, MIB, NULL);
	struct disk *disk = vlab_open(&lab, "a", true);
	vlab_write(disk, 0, MIB, 1);
	vlab_close(disk);
	vlab_create(&lab, "b", VHD_DIFFERENCING, 0, "a");
	vlab_create(&lab, "c", VHD_DIFFERENCING, 0, "b");
	fault_ns_set(lab.fault, &rule);
	disk = open_budget("c", false, 0);
	cr_expect_eq(fault_ns_matches(lab.fault), 0, "opening reads no table");
	cr_expect_eq(reads_of(EV_BAT, disk, 0, 512), 3, "a page of each file");
	cr_expect_eq(reads_of(EV_BAT, disk, 0, BLOCK), 0);
	cr_expect_eq(reads_of(EV_BAT, disk, BLOCK, BLOCK), 0);
	cr_expect_eq(reads_of(EV_BITMAP, disk, 0, 2 * BLOCK), 0);
	cr_expect_eq(reads_of(EV_BITMAP, disk, 2 * BLOCK, 2 * BLOCK), 2);
	vlab_close(disk);
}

/* ---- memory (P6) ---- */

/* What one resolution may need beyond the budget. */
#define SLACK (128 * KIB)

Test(vhd_owner, reading_stays_within_the_budget)
{
	struct vhd_create_opts opts = {
	    .type = VHD_DYNAMIC, .size_bytes = 64 * GIB, .block_size = VHD_DEFAULT_BLOCK};
	uint64_t budget = 256 * KIB;
	struct vhd_usage usage;
	uint8_t buf[512];

	cr_assert_eq(vlab_try_create(&lab, "d", opts), ERR_OK);
	struct disk *disk = open_budget("d", false, budget);
	for (uint64_t at = 0; at < 64 * GIB; at += 16 * MIB)
		cr_assert_eq(disk_read(disk, exercise_queue(), buf, at, 512, NULL), ERR_OK);
	vhd_get_usage(disk, &usage);
	cr_expect_leq(usage.map_bytes, budget + SLACK);
	cr_expect_geq(usage.map_budget_bytes, budget);
	vlab_close(disk);
}

/* Every second sector of many blocks that were known as one run each. */
Test(vhd_owner, scattered_writes_stay_within_the_budget)
{
	uint64_t budget = 256 * KIB, most = 0;
	uint8_t *buf = malloc(16 * MIB);

	vlab_create(&lab, "base", VHD_DYNAMIC, 16 * MIB, NULL);
	vlab_create(&lab, "leaf", VHD_DIFFERENCING, 0, "base");
	struct disk *disk = open_budget("leaf", true, budget);
	cr_assert_eq(disk_read(disk, exercise_queue(), buf, 0, 16 * MIB, NULL), ERR_OK);
	for (uint64_t at = 0; at < 16 * MIB; at += 1024) {
		vlab_write(disk, at, 512, 3);
		most = max_u64(most, map_bytes(disk));
	}
	cr_expect_leq(most, budget + SLACK, "%llu bytes", (unsigned long long)most);
	for (uint64_t at = 0; at < 16 * MIB; at += 64 * KIB + 1024)
		cr_expect(vlab_tag(disk, at) == 3 && vlab_tag(disk, at + 512) == 0);
	free(buf);
	vlab_close(disk);
}

/* ---- errors ---- */

/* A read that cannot know the owner fails, and succeeds when the fault is gone (P5). */
Test(vhd_owner, a_failed_lookup_changes_nothing)
{
	static const enum file_event events[] = {EV_BAT, EV_BITMAP, EV_DATA};
	uint8_t buf[512];

	vlab_create(&lab, "base", VHD_DYNAMIC, MIB, NULL);
	struct disk *disk = vlab_open(&lab, "base", true);
	vlab_write(disk, 0, MIB, 4);
	vlab_close(disk);
	vlab_create(&lab, "leaf", VHD_DIFFERENCING, 0, "base");
	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		struct fault_rule rule = {
		    .op = FILE_READ, .event = (int)events[i], .nth = 1, .sys_errno = EIO};

		disk = open_budget("leaf", true, 0);
		fault_ns_set(lab.fault, &rule);
		lab.why = (struct err_why){0};
		cr_expect_eq(disk_read(disk, exercise_queue(), buf, 4096, 512, &lab.why), ERR_IO);
		cr_expect(vlab_said(&lab, "base"), "%s", lab.why.text);
		cr_expect(fault_ns_fired(lab.fault));
		fault_ns_set(lab.fault, NULL);
		cr_expect_eq(vlab_tag(disk, 4096), 4);
		vlab_close(disk);
	}
}
