/* SPDX-License-Identifier: MIT */
#include "vhdtool/measure.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/out.h"
#include "util/bytes.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

#define FOOTER_BYTES 512u
#define HEADER_BYTES 1024u
#define BAT_ENTRY    4u
#define DATA_ALIGN   4096u /* bitmaps end, and data starts, on such a boundary */

struct measure_args {
	struct common common;
	struct image_args image;
	struct opt_size block_size;
	unsigned from; /* enum image_format */
};

static const struct opt measure_opts[] = {
    {"from", 'f', OPT_CHOICE, IMAGE_FORMATS, offsetof(struct measure_args, from),
     "what FILE is; by its name when not given"},
    {"block-size", 'b', OPT_SIZE, "SIZE", offsetof(struct measure_args, block_size),
     "block size of the dynamic disk; 2M by default"},
    IMAGE_PARENT(struct measure_args),
    IMAGE_SEARCH(struct measure_args),
    IMAGE_NO_LOCK(struct measure_args),
    {0},
};

/* Size of a dynamic VHD with `blocks` blocks: footer copy, header, BAT, blocks, footer. */
static uint64_t dynamic_bytes(uint64_t virtual_size, uint32_t block_size, uint64_t blocks)
{
	uint64_t entries = div_round_up(virtual_size, block_size);
	uint64_t head = FOOTER_BYTES + HEADER_BYTES + round_up(entries * BAT_ENTRY, DISK_SECTOR);
	uint64_t bitmap = round_up(block_size / DISK_SECTOR / 8, DISK_SECTOR);
	uint64_t stride = round_up(bitmap, DATA_ALIGN) + block_size;

	if (!blocks)
		return head + FOOTER_BYTES;
	return round_up(head + bitmap, DATA_ALIGN) + block_size + (blocks - 1) * stride +
	       FOOTER_BYTES;
}

enum err measure_disk(struct disk *disk, uint32_t block_size, struct measure *out,
		      struct err_why *why)
{
	uint64_t size = image_size(disk), off = 0,
		 counted = 0; /* blocks below `counted` are done */
	struct disk_extent extent;
	enum err err;

	*out = (struct measure){.virtual_size = size, .block_size = block_size};
	while (off < size) {
		err = disk_map(disk, off, size - off, &extent, why);
		if (err)
			return err;
		off += extent.len_bytes;
		if (extent.state == EXTENT_DATA) {
			uint64_t first = max_u64(counted, extent.start_bytes / block_size);

			counted = div_round_up(off, block_size);
			out->blocks += counted - first;
			out->data_bytes += extent.len_bytes;
		}
	}
	out->raw_bytes = size;
	out->fixed_bytes = size + FOOTER_BYTES;
	out->dynamic_bytes = dynamic_bytes(size, block_size, out->blocks);
	return ERR_OK;
}

static void show(const char *path, const struct measure *m, bool json)
{
	if (json) {
		json_emit(json_pack(
		    "{s:o, s:o, s:o, s:{s:o, s:o}, s:{s:o, s:o}, s:{s:o, s:o, s:o}}", "path",
		    json_text(path), "virtual_size", json_size(m->virtual_size), "data_size",
		    json_size(m->data_bytes), "raw", "file_size", json_size(m->raw_bytes),
		    "disk_usage", json_size(m->data_bytes), "fixed", "file_size",
		    json_size(m->fixed_bytes), "disk_usage", json_size(m->fixed_bytes), "dynamic",
		    "file_size", json_size(m->dynamic_bytes), "block_size",
		    json_size(m->block_size), "blocks", json_size(m->blocks)));
		return;
	}
	printf("%s\n", out_name(path));
	out_row("virtual size", "%s", out_size_exact(m->virtual_size));
	out_row("stored data", "%s", out_size_exact(m->data_bytes));
	out_row("as raw", "%s, at most %s on disk", out_size_exact(m->raw_bytes),
		out_size(m->data_bytes));
	out_row("as fixed", "%s", out_size_exact(m->fixed_bytes));
	out_row("as dynamic", "at most %s, %" PRIu64 " blocks of %s",
		out_size_exact(m->dynamic_bytes), m->blocks, out_size(m->block_size));
}

static int run(void *arg)
{
	struct measure_args *args = arg;
	const char *path = args->common.arg[0];
	struct vhd_open_opts opts = image_open_opts(&args->image);
	uint64_t block_size = args->block_size.given ? args->block_size.bytes : VHD_DEFAULT_BLOCK;
	unsigned format = args->from ? args->from : image_format_of_name(path);
	struct err_why why = {0};
	struct measure measure;
	struct disk *disk;
	enum err err;

	if (!format)
		return out_usage(
		    "measure", "the name of %s does not say what it is: give --from " IMAGE_FORMATS,
		    path);
	if (!is_power_of_two(block_size) || block_size < VHD_MIN_BLOCK ||
	    block_size > VHD_MAX_BLOCK)
		return out_usage("measure", "--block-size must be a power of two from 64K to 256M");
	if (image_open(path, format, &opts, &disk, &why))
		return out_fail(path, &why);
	err = measure_disk(disk, (uint32_t)block_size, &measure, &why);
	disk_close(disk, NULL);
	if (err)
		return out_fail(path, &why);
	show(path, &measure, args->common.json);
	return 0;
}

const struct verb verb_measure = {
    .name = "measure",
    .summary = "tell the space a conversion would take",
    .usage = "FILE",
    .details =
	"Tell how large FILE would be as a raw image, a fixed and a dynamic disk. The figures\n"
	"come from its map: stored zeros count as data, so convert may need less.",
    .opts = measure_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct measure_args),
    .run = run,
};
