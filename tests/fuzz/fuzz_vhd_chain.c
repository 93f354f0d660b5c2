/* SPDX-License-Identifier: MIT */
/* A child and its parent, both patched: open the chain, walk it, write, look at it, relink it. */
#include <stdlib.h>

#include "tests/lib/exercise.h"
#include "tests/lib/fuzz_image.h"

#define CHILD  "/f/child.vhd"
#define PARENT "/f/parent.vhd"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_chain(struct mem_ns *ns, struct vhd_open_opts *opts)
{
	static const uint8_t sector[DISK_SECTOR] = {1};
	struct disk *disk;

	opts->ns = mem_ns_base(ns);
	if (vhd_open(CHILD, opts, &disk, NULL))
		return;
	fuzz_walk(disk);
	if (opts->writable)
		disk_write(disk, exercise_queue(), sector, 0, DISK_SECTOR, NULL);
	disk_close(disk, NULL);
}

static void look_at_chain(struct mem_ns *ns)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	struct vhd_relink_opts relink = {.ignore_id_mismatch = true, .parent = PARENT};
	struct vhd_info *info;
	unsigned count;
	char *found = NULL;

	if (!vhd_inspect_chain(CHILD, &opts, &info, &count, NULL)) {
		for (unsigned i = 0; i < count; i++)
			vhd_info_free(&info[i]);
		free(info);
	}
	vhd_relink(CHILD, &opts, &relink, &found, NULL);
	free(found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t how = fuzz_u8(&input);
	struct handmade child = fuzz_patched(&input, FUZZ_CHILD, 1 + how % 16);
	struct handmade parent = fuzz_patched(&input, how & 0x10 ? FUZZ_CHILD : FUZZ_DYNAMIC, 16);
	struct vhd_open_opts opts = {.writable = how & 0x20,
				     .parent = how & 0x40 ? PARENT : NULL,
				     .ignore_parent_id = how & 0x80};
	struct mem_ns *ns = mem_ns_new();

	mem_ns_put(ns, CHILD, child.bytes, child.len);
	mem_ns_put(ns, PARENT, parent.bytes, parent.len);
	use_chain(ns, &opts);
	look_at_chain(ns);
	use_chain(ns, &opts);
	mem_ns_free(ns);
	handmade_free(&child);
	handmade_free(&parent);
	return 0;
}
