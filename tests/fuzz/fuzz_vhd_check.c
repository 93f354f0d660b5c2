/* SPDX-License-Identifier: MIT */
/*
 * A patched image is checked. The verdict is held to what it means: what is called sound opens and
 * reads, what is called repairable is sound after the repair.
 */
#include <stdlib.h>

#include "tests/lib/exercise.h"
#include "tests/lib/fuzz_image.h"

#define PATH   "/f/image.vhd"
#define PARENT "/f/parent.vhd"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err verdict(const struct vhd_open_opts *opts)
{
	struct vhd_report report = {0};
	enum err err = vhd_check(PATH, opts, NULL, &report, NULL);

	if (err)
		return ERR_UNSUPPORTED; /* checking was not possible: no verdict */
	err = vhd_report_result(&report);
	vhd_report_free(&report);
	return err;
}

static void must_open(const struct vhd_open_opts *opts)
{
	struct disk *disk;
	enum err err = vhd_open(PATH, opts, &disk, NULL);

	if (err == ERR_PARENT)
		return; /* the file itself is sound */
	if (err)
		abort();
	fuzz_walk(disk);
	disk_close(disk, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	enum fuzz_base base = fuzz_u8(&input) % 3;
	struct handmade image = fuzz_patched(&input, base, 64);
	struct handmade parent = fuzz_base_image(FUZZ_DYNAMIC);
	struct mem_ns *ns = mem_ns_new();
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	enum err err;

	mem_ns_put(ns, PATH, image.bytes, image.len);
	mem_ns_put(ns, PARENT, parent.bytes, parent.len);
	err = verdict(&opts);
	if (err == ERR_REPAIRABLE) {
		struct vhd_report report = {0};

		if (vhd_repair(PATH, &opts, &report, NULL))
			abort();
		vhd_report_free(&report);
		err = verdict(&opts);
		if (err)
			abort();
	}
	if (!err)
		must_open(&opts);
	mem_ns_free(ns);
	handmade_free(&image);
	handmade_free(&parent);
	return 0;
}
