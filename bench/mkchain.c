/* SPDX-License-Identifier: MIT */
/*
 * Makes a chain of VHDs in a folder: 0000.vhd is dynamic with its first REGION bytes full, and each
 * child after it overwrites 4 KiB pages in a few places of that region, so that every block of the
 * leaf is put together from many layers. The same arguments give the same content. Prints the name
 * of the leaf.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/queue.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define PAGE_BYTES       4096u
#define CHUNK_BYTES      (1u << 20)
#define PLACES           4u  /* blocks that a layer touches */
#define WRITES_PER_PLACE 32u /* pages in each */

struct plan {
	const char *dir;
	uint64_t depth, size_bytes, region_bytes;
	uint64_t random;
	uint8_t *chunk;
};

static uint64_t next_random(struct plan *plan)
{
	plan->random ^= plan->random << 13;
	plan->random ^= plan->random >> 7;
	plan->random ^= plan->random << 17;
	return plan->random;
}

static void fill(struct plan *plan, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i += 8)
		put_le64(plan->chunk + i, next_random(plan));
}

static enum err fill_base(struct plan *plan, struct disk *disk, struct queue *queue,
			  struct err_why *why)
{
	enum err err = ERR_OK;

	for (uint64_t off = 0; off < plan->region_bytes && !err; off += CHUNK_BYTES) {
		fill(plan, CHUNK_BYTES);
		err = disk_write(disk, queue, plan->chunk, off, CHUNK_BYTES, why);
	}
	return err;
}

static enum err spray(struct plan *plan, struct disk *disk, struct queue *queue,
		      struct err_why *why)
{
	uint64_t block_pages = VHD_DEFAULT_BLOCK / PAGE_BYTES;
	enum err err = ERR_OK;

	for (unsigned place = 0; place < PLACES && !err; place++) {
		uint64_t block = next_random(plan) % (plan->region_bytes / VHD_DEFAULT_BLOCK);

		for (unsigned i = 0; i < WRITES_PER_PLACE && !err; i++) {
			uint64_t page = block * block_pages + next_random(plan) % block_pages;

			fill(plan, PAGE_BYTES);
			err = disk_write(disk, queue, plan->chunk, page * PAGE_BYTES, PAGE_BYTES,
					 why);
		}
	}
	return err;
}

static void layer_path(const struct plan *plan, uint64_t layer, char *out, size_t room)
{
	snprintf(out, room, "%s/%04" PRIu64 ".vhd", plan->dir, layer);
}

static enum err make_layer(struct plan *plan, uint64_t layer, struct queue *queue,
			   struct err_why *why)
{
	struct vhd_create_opts create = {.type = VHD_DYNAMIC, .size_bytes = plan->size_bytes};
	struct vhd_open_opts open = {.writable = true};
	char path[4096], parent[4096];
	struct disk *disk;
	enum err err;

	layer_path(plan, layer, path, sizeof(path));
	if (layer) {
		layer_path(plan, layer - 1, parent, sizeof(parent));
		create = (struct vhd_create_opts){.type = VHD_DIFFERENCING, .parent = parent};
	}
	err = vhd_create(path, &create, why);
	if (!err)
		err = vhd_open(path, &open, &disk, why);
	if (err)
		return err;
	err = layer ? spray(plan, disk, queue, why) : fill_base(plan, disk, queue, why);
	enum err closed = disk_close(disk, err ? NULL : why);
	return err ? err : closed;
}

static enum err make_chain(struct plan *plan, struct err_why *why)
{
	struct queue *queue;
	enum err err = queue_create(1, &queue, why);

	if (err)
		return err;
	plan->chunk = malloc(CHUNK_BYTES);
	if (!plan->chunk)
		err = err_set(why, ERR_NOMEM, "no memory for a buffer");
	for (uint64_t layer = 0; layer < plan->depth && !err; layer++)
		err = make_layer(plan, layer, queue, why);
	free(plan->chunk);
	queue_destroy(queue);
	return err;
}

static bool parse(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return *text && !*end && !errno && *out;
}

int main(int argc, char **argv)
{
	struct plan plan = {.random = 0x9e3779b97f4a7c15ull};
	struct err_why why = {0};
	char leaf[4096];

	if (argc != 5 || !parse(argv[2], &plan.depth) || !parse(argv[3], &plan.size_bytes) ||
	    !parse(argv[4], &plan.region_bytes) || plan.depth > VHD_MAX_DEPTH ||
	    plan.region_bytes % VHD_DEFAULT_BLOCK || plan.region_bytes > plan.size_bytes) {
		fprintf(stderr, "usage: mkchain DIR DEPTH SIZE REGION (bytes; whole 2 MiB)\n");
		return 64;
	}
	plan.dir = argv[1];
	if (make_chain(&plan, &why)) {
		fprintf(stderr, "mkchain: %s\n", why.text);
		return err_exit_code(why.code);
	}
	layer_path(&plan, plan.depth - 1, leaf, sizeof(leaf));
	printf("%s\n", leaf);
	return 0;
}
