/* SPDX-License-Identifier: MIT */
/* Any bytes as an image: inspect, open, walk, write; nothing crashes, reading changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "tests/lib/exercise.h"
#include "tests/lib/fuzz_image.h"

#define PATH "/f/image.vhd"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_only(struct mem_ns *ns, const struct handmade *image)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	struct vhd_info info;
	struct disk *disk;
	uint8_t *after;

	if (!vhd_inspect(PATH, &opts, &info, NULL))
		vhd_info_free(&info);
	if (!vhd_open(PATH, &opts, &disk, NULL)) {
		fuzz_walk(disk);
		disk_close(disk, NULL);
	}
	after = malloc(image->len + 1);
	if (!after || mem_ns_size(ns, PATH) != image->len)
		abort();
	mem_ns_get(ns, PATH, 0, after, image->len);
	if (memcmp(after, image->bytes, image->len))
		abort();
	free(after);
}

static void write_some(struct mem_ns *ns)
{
	static const uint8_t sector[DISK_SECTOR] = {1};
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns), .writable = true};
	struct disk_info info;
	struct disk *disk;

	if (vhd_open(PATH, &opts, &disk, NULL))
		return;
	disk_get_info(disk, &info);
	disk_write(disk, exercise_queue(), sector, 0, DISK_SECTOR, NULL);
	disk_write(disk, exercise_queue(), sector, info.size_bytes - DISK_SECTOR, DISK_SECTOR,
		   NULL);
	disk_close(disk, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t kind = fuzz_u8(&input);
	struct mem_ns *ns = mem_ns_new();
	struct handmade raw = {.bytes = (uint8_t *)input.data, .len = input.len};
	struct handmade image =
	    kind & 0x80 ? handmade_copy(&raw) : fuzz_patched(&input, kind % 2, 64);

	mem_ns_put(ns, PATH, image.bytes, image.len);
	read_only(ns, &image);
	write_some(ns);
	mem_ns_free(ns);
	handmade_free(&image);
	return 0;
}
