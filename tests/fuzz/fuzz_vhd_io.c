/* SPDX-License-Identifier: MIT */
/*
 * Requests from the input against a disk of the engine's own making and its model: what is in range
 * succeeds and reads right, what is not is refused, and it is all there after reopening.
 */
#include <stdlib.h>

#include "tests/lib/exercise.h"
#include "tests/lib/fuzz_image.h"

#define LEAF   "/f/leaf.vhd"
#define PARENT "/f/parent.vhd"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(enum err err)
{
	if (err)
		abort();
}

static void create(struct mem_ns *ns, enum vhd_type type, uint32_t block_size)
{
	struct vhd_create_opts opts = {.ns = mem_ns_base(ns),
				       .type = type,
				       .size_bytes = type == VHD_DIFFERENCING ? 0 : FUZZ_DISK,
				       .block_size = type == VHD_FIXED ? 0 : block_size,
				       .parent = type == VHD_DIFFERENCING ? PARENT : NULL};

	must(vhd_create(type == VHD_DYNAMIC && block_size == FUZZ_BLOCK ? PARENT : LEAF, &opts,
			NULL));
}

static void reopen(struct exercise *exercise, struct mem_ns *ns, const char *path)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns), .writable = true};

	must(disk_close(exercise->disk, NULL));
	must(vhd_open(path, &opts, &exercise->disk, NULL));
	must(exercise_check_live(exercise, NULL));
}

/* One request; beyond the end it must be refused, and nothing else may happen. */
static void step(struct exercise *exercise, struct mem_ns *ns, const char *path,
		 struct fuzz_input *input)
{
	static const enum disk_op ops[] = {DISK_READ, DISK_WRITE, DISK_ZERO, DISK_TRIM, DISK_FLUSH};
	uint8_t what = fuzz_u8(input);
	uint64_t off = (uint64_t)fuzz_u8(input) * (FUZZ_DISK / 250 / DISK_SECTOR + 1) * DISK_SECTOR;
	uint64_t len = (1 + fuzz_u8(input) % 200u) * DISK_SECTOR;
	enum disk_op op = ops[what % 5];
	static uint8_t buf[200 * DISK_SECTOR];

	if (what >= 250) {
		reopen(exercise, ns, path);
	} else if (op == DISK_FLUSH) {
		must(exercise_do(exercise, DISK_FLUSH, 0, 0, 0, NULL));
	} else if (off + len > FUZZ_DISK) {
		if (disk_write(exercise->disk, exercise_queue(), buf, off, len, NULL) !=
			ERR_RANGE ||
		    disk_read(exercise->disk, exercise_queue(), buf, off, len, NULL) != ERR_RANGE)
			abort();
	} else {
		must(exercise_do(exercise, op, op == DISK_WRITE && what & 0x40 ? DISK_FUA : 0, off,
				 len, NULL));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t kind = fuzz_u8(&input);
	struct mem_ns *ns = mem_ns_new();
	struct exercise exercise = {.model = model_new(FUZZ_DISK), .grain_bytes = FUZZ_BLOCK};
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns), .writable = true};
	const char *path = kind % 3 == 0 ? PARENT : LEAF;

	if (kind % 3 == 1)
		create(ns, VHD_FIXED, 0);
	else
		create(ns, VHD_DYNAMIC, FUZZ_BLOCK);
	if (kind % 3 == 2) {
		must(vhd_open(PARENT, &opts, &exercise.disk, NULL));
		must(exercise_do(&exercise, DISK_WRITE, 0, 0, 100 * DISK_SECTOR, NULL));
		must(exercise_do(&exercise, DISK_WRITE, 0, 200 * DISK_SECTOR, 100 * DISK_SECTOR,
				 NULL));
		must(disk_close(exercise.disk, NULL));
		create(ns, VHD_DIFFERENCING, kind & 0x40 ? FUZZ_BLOCK * 2 : FUZZ_BLOCK);
	}
	must(vhd_open(path, &opts, &exercise.disk, NULL));
	while (input.len)
		step(&exercise, ns, path, &input);
	reopen(&exercise, ns, path);
	must(disk_close(exercise.disk, NULL));
	mem_ns_free(ns);
	model_free(exercise.model);
	return 0;
}
