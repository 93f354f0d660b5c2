/* SPDX-License-Identifier: MIT */
/* Chains with more files than a process may have open: each is open only while it is needed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/vhd_lab.h"
#include "vhd/parking.h"
#include "vhd/stack.h"

#define LAYERS 300u
#define BLOCKS 16u /* layer i has its number in block i % BLOCKS, in sector i / BLOCKS */
#define BYTES  (BLOCKS * (uint64_t)VHD_MIN_BLOCK)

static struct vlab lab;
static struct layer_facts facts[LAYERS];
static char names[LAYERS][64];

static uint64_t place_of(unsigned layer)
{
	return (uint64_t)(layer % BLOCKS) * VHD_MIN_BLOCK + layer / BLOCKS * DISK_SECTOR;
}

static void look(unsigned layer, struct file_ns *ns)
{
	struct err_why why = {0};
	struct guid parent;

	cr_assert_eq(stack_look(ns, names[layer], &facts[layer], &parent, &why), ERR_OK, "%s",
		     why.text);
}

static void start(void)
{
	vlab_start(&lab);
	for (unsigned i = 0; i < LAYERS; i++) {
		struct vhd_create_opts opts = {.type = i ? VHD_DIFFERENCING : VHD_DYNAMIC,
					       .size_bytes = i ? 0 : BYTES,
					       .block_size = VHD_MIN_BLOCK,
					       .parent = i ? names[i - 1] : NULL};
		struct stack_opts stack = {.ns = lab.ns, .writable = true};
		struct disk *disk;

		snprintf(names[i], sizeof(names[i]), "/c/%03u.vhd", i);
		cr_assert_eq(vlab_try_create(&lab, names[i], opts), ERR_OK, "%s", lab.why.text);
		look(i, lab.ns);
		cr_assert_eq(stack_open(facts, i + 1, &stack, &disk, &lab.why), ERR_OK, "%s",
			     lab.why.text);
		vlab_write(disk, place_of(i), DISK_SECTOR, 1000 + i);
		vlab_close(disk);
	}
}

static void stop(void)
{
	parking_limit(0);
	vlab_stop(&lab);
}

TestSuite(snap_parking, .init = start, .fini = stop, .timeout = 60);

static struct disk *open_all(struct file_ns *ns, bool direct)
{
	struct stack_opts opts = {.ns = ns, .direct = direct};
	struct err_why why = {0};
	struct disk *disk = NULL;

	cr_assert_eq(stack_open(facts, LAYERS, &opts, &disk, &why), ERR_OK, "%s", why.text);
	return disk;
}

static void read_all(struct disk *disk)
{
	for (unsigned i = 0; i < LAYERS; i++)
		cr_assert_eq(vlab_tag(disk, place_of(i)), 1000 + i, "layer %u", i);
	cr_assert_eq(vlab_tag(disk, BYTES - DISK_SECTOR), 0);
}

Test(snap_parking, no_more_files_are_open_than_allowed)
{
	static const unsigned limits[] = {8, 9, 40, LAYERS, 2 * LAYERS};

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		parking_limit(limits[i]);
		struct disk *disk = open_all(lab.ns, false);
		cr_expect_eq(parking_open_files(), 0, "none before it is needed");
		for (unsigned layer = 0; layer < LAYERS; layer++) {
			cr_assert_eq(vlab_tag(disk, place_of(layer)), 1000 + layer);
			cr_assert_leq(parking_open_files(), limits[i]);
		}
		read_all(disk);
		cr_expect_eq(parking_open_files(), limits[i] < LAYERS ? limits[i] : LAYERS,
			     "and what is allowed is used");
		vlab_close(disk);
		cr_expect_eq(parking_open_files(), 0);
	}
}

/* In an order that has no use for what was open last. */
Test(snap_parking, in_any_order)
{
	struct rng rng = rng_seed(3);

	parking_limit(8);
	struct disk *disk = open_all(lab.ns, false);
	for (unsigned i = 0; i < 600; i++) {
		unsigned layer = (unsigned)rng_below(&rng, LAYERS);

		cr_assert_eq(vlab_tag(disk, place_of(layer)), 1000 + layer);
	}
	cr_expect_eq(parking_open_files(), 8);
	vlab_close(disk);
}

Test(snap_parking, several_disks_share_what_is_allowed)
{
	struct disk *disk[3];

	parking_limit(20);
	for (unsigned d = 0; d < 3; d++)
		disk[d] = open_all(lab.ns, false);
	for (unsigned layer = 0; layer < LAYERS; layer += 7)
		for (unsigned d = 0; d < 3; d++)
			cr_assert_eq(vlab_tag(disk[d], place_of(layer)), 1000 + layer);
	cr_expect_eq(parking_open_files(), 20);
	for (unsigned d = 0; d < 3; d++)
		vlab_close(disk[d]);
	cr_expect_eq(parking_open_files(), 0);
}

/* ---- holding ---- */

Test(snap_parking, what_is_held_stays_open)
{
	struct vhd_layer *layer[12];

	parking_limit(8);
	for (unsigned i = 0; i < ARRAY_LEN(layer); i++) {
		cr_assert_eq(layer_new_parked(lab.ns, &facts[i], 0, &layer[i], NULL), ERR_OK);
		cr_expect_not(layer_is_held(layer[i]));
		cr_assert_eq(layer_hold(layer[i], NULL), ERR_OK);
		cr_assert_eq(layer_hold(layer[i], NULL), ERR_OK, "twice");
	}
	cr_expect_eq(parking_open_files(), ARRAY_LEN(layer), "more than allowed, if need be");
	for (unsigned i = 0; i < ARRAY_LEN(layer); i++) {
		cr_expect_not_null(layer[i]->file);
		layer_release(layer[i]);
		cr_expect(layer_is_held(layer[i]));
		layer_release(layer[i]);
		cr_expect_not(layer_is_held(layer[i]));
	}
	struct vhd_layer *more;
	cr_assert_eq(layer_new_parked(lab.ns, &facts[20], 0, &more, NULL), ERR_OK);
	cr_assert_eq(layer_hold(more, NULL), ERR_OK);
	cr_expect_leq(parking_open_files(), 8, "the others went when room was needed");
	layer_release(more);
	layer_close(more, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(layer); i++)
		layer_close(layer[i], NULL);
	cr_expect_eq(parking_open_files(), 0);
}

Test(snap_parking, a_file_open_for_direct_access_counts_twice)
{
	struct vhd_layer *layer;

	cr_assert_eq(layer_new_parked(lab.ns, &facts[0], FILE_OPEN_DIRECT, &layer, NULL), ERR_OK);
	cr_assert_eq(layer_hold(layer, NULL), ERR_OK);
	cr_expect_eq(parking_open_files(), 2);
	layer_release(layer);
	layer_close(layer, NULL);
	cr_expect_eq(parking_open_files(), 0);
}

Test(snap_parking, facts_that_no_disk_can_have)
{
	static const struct layer_facts bad[] = {
	    {.path = "x", .type = VHD_DYNAMIC, .size_bytes = 0, .block_bytes = VHD_MIN_BLOCK},
	    {.path = "x", .type = VHD_DYNAMIC, .size_bytes = 511, .block_bytes = VHD_MIN_BLOCK},
	    {.path = "x",
	     .type = VHD_DYNAMIC,
	     .size_bytes = VHD_MAX_SIZE + 512,
	     .block_bytes = VHD_MIN_BLOCK},
	    {.path = "x", .type = VHD_DYNAMIC, .size_bytes = BYTES, .block_bytes = 0},
	    {.path = "x", .type = VHD_DIFFERENCING, .size_bytes = BYTES, .block_bytes = 98304},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vhd_layer *layer;
		struct err_why why = {0};

		cr_expect_eq(layer_new_parked(lab.ns, &bad[i], 0, &layer, &why), ERR_CORRUPT);
		cr_expect(strstr(why.text, "x: a "), "%s", why.text);
	}
}

/* What is opened must be what was looked at. */
Test(snap_parking, another_disk_is_noticed_when_it_is_opened)
{
	static const char *const says[] = {"UUID", "type", "disk's size", "block size", "file"};

	for (unsigned i = 0; i < ARRAY_LEN(says); i++) {
		struct layer_facts wrong = facts[5];
		struct vhd_layer *layer;
		struct err_why why = {0};

		if (i == 0)
			wrong.ino = 0; /* not looked at before */
		wrong.uuid.b[0] ^= 1;
		if (i == 4)
			wrong.ino++;
		else if (i == 1)
			wrong.type = VHD_DYNAMIC;
		else if (i == 2)
			wrong.size_bytes -= 512;
		else if (i == 3)
			wrong.block_bytes *= 2;
		cr_assert_eq(layer_new_parked(lab.ns, &wrong, 0, &layer, NULL), ERR_OK);
		cr_expect_eq(layer_hold(layer, &why), ERR_PARENT);
		cr_expect(strstr(why.text, says[i]), "%s", why.text);
		cr_expect_eq(parking_open_files(), 0);
		layer_close(layer, NULL);
	}
}

Test(snap_parking, a_missing_file_is_an_error_until_it_is_back)
{
	uint8_t buf[DISK_SECTOR];
	struct err_why why = {0};

	parking_limit(8);
	struct disk *disk = open_all(lab.ns, false);
	cr_assert_eq(file_ns_rename(lab.ns, names[40], "/aside", NULL), ERR_OK);
	cr_expect_eq(disk_read(disk, exercise_queue(), buf, place_of(40), sizeof(buf), &why),
		     ERR_PARENT);
	cr_assert_eq(file_ns_rename(lab.ns, "/aside", names[40], NULL), ERR_OK);
	read_all(disk);
	vlab_close(disk);
}

/* ---- with the system's own limit ---- */

static void write_out(const char *folder)
{
	for (unsigned i = 0; i < LAYERS; i++) {
		size_t len = (size_t)vlab_size(&lab, names[i]);
		uint8_t *bytes = malloc(len);

		cr_assert_not_null(bytes);
		vlab_get(&lab, names[i], 0, bytes, len);
		snprintf(names[i], sizeof(names[i]), "%s/%03u.vhd", folder, i);
		FILE *file = fopen(names[i], "w");
		cr_assert(file && fwrite(bytes, len, 1, file) == 1 && !fclose(file));
		free(bytes);
	}
}

/* Half of what is allowed is more than is free, as others have some: it makes do with less. */
Test(snap_parking, few_descriptors)
{
	char folder[] = "/tmp/strata-parking-XXXXXX";
	struct rlimit few = {64, 64};
	int taken[64];
	unsigned count = 0;

	cr_assert_not_null(mkdtemp(folder));
	write_out(folder);
	for (unsigned i = 0; i < LAYERS; i++)
		look(i, &file_ns_posix);
	exercise_queue(); /* has descriptors, too */
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	parking_limit(0);
	struct disk *disk = open_all(&file_ns_posix, false);
	read_all(disk);
	cr_expect_eq(parking_open_files(), 32);
	vlab_close(disk);
	while (count < ARRAY_LEN(taken) && (taken[count] = dup(0)) >= 0)
		count++;
	for (unsigned i = 0; i < 14; i++)
		close(taken[--count]);
	disk = open_all(&file_ns_posix, false);
	read_all(disk);
	cr_expect_leq(parking_open_files(), 14);
	vlab_close(disk);
	while (count)
		close(taken[--count]);
	for (unsigned i = 0; i < LAYERS; i++)
		unlink(names[i]);
	rmdir(folder);
}
