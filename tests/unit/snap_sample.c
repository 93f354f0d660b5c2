/* SPDX-License-Identifier: MIT */
#include "tests/unit/snap_sample.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static char *copy(const char *text)
{
	char *out = strdup(text);

	cr_assert_not_null(out);
	return out;
}

void sample_add_layer(struct catalogue *cat, uint64_t parent)
{
	struct cat_layer *layer = cat_add_layer(cat);

	cr_assert_not_null(layer);
	layer->parent = parent;
	layer->uuid = guid_new();
	layer->type = parent ? VHD_DIFFERENCING : VHD_DYNAMIC;
	layer->size_bytes = SLAB_BYTES;
	layer->block_bytes = SLAB_BLOCK;
	layer->sealed_bytes = 4096;
	layer->sealed_mtime_ns = -5;
}

static void add_node(struct catalogue *cat, uint64_t parent, const char *name, uint32_t config)
{
	struct cat_node *node = cat_add_node(cat);

	cr_assert_not_null(node);
	node->parent = parent;
	node->time = 1700000000;
	node->name = copy(name);
	node->note = copy(parent ? "" : "a note");
	node->config = config;
	node->layer[0] = 3;
	node->layer[1] = 4;
}

struct catalogue *sample_catalogue(void)
{
	struct catalogue *cat = calloc(1, sizeof(*cat));
	struct snap_config first = {.memory_bytes = MIB,
				    .cpus = 1,
				    .kernel = (char *)"/boot/k",
				    .cmdline = (char *)"quiet"};
	struct snap_config second = {.memory_bytes = GIB, .cpus = 4};

	cr_assert_not_null(cat);
	*cat = (struct catalogue){
	    .vm = guid_new(), .generation = 77, .next_number = 1, .disks = 2, .current_config = 1};
	cat->leaf = calloc(3, sizeof(*cat->leaf));
	cr_assert(cat->leaf && cat_add_config(cat, &first, &(uint32_t){0}) &&
		  cat_add_config(cat, &second, &(uint32_t){0}));
	for (uint64_t number = 1; number <= 6; number++)
		sample_add_layer(cat, number > 2 ? number - 2 : 0);
	cat->layer[1].path = copy("/disks/base.vhd");
	cat->layer[1].flags = CAT_FOREIGN;
	cat->layer[3].path = copy("disk1.1.vhd");
	cat->leaf[0] = 5;
	cat->leaf[1] = 6;
	add_node(cat, 0, "one", 0);
	add_node(cat, 7, "two", 1);
	cat->current = 8;
	cr_assert(cat_add_garbage(cat, cat->next_number++) &&
		  cat_add_garbage(cat, cat->next_number++));
	cat->fold =
	    (struct cat_fold){.lower = 1, .upper = 3, .phase = CAT_FOLD_COPY, .next_off = MIB};
	cr_assert_eq(cat_derive(cat, NULL), ERR_OK);
	cr_assert_eq(cat->next_number, NEXT);
	return cat;
}

uint8_t *sample_bytes(size_t *len)
{
	struct catalogue *cat = sample_catalogue();
	uint8_t *bytes = NULL;

	cr_assert_eq(cat_encode(cat, &bytes, len, NULL), ERR_OK);
	cat_free(cat);
	return bytes;
}

enum err sample_decode(const uint8_t *bytes, size_t len, struct err_why *why)
{
	struct catalogue *cat = NULL;
	enum err e = cat_decode(bytes, len, &cat, why);

	if (!e)
		cat_free(cat);
	return e;
}
