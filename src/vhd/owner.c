/* SPDX-License-Identifier: MIT */
#include "vhd/owner.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/bitmap.h"
#include "vhd/leaf.h"
#include "vhd/parking.h"

#define CHUNK_BLOCKS 1024u

struct owner_block {
	uint32_t count; /* of runs; 0: not resolved */
	union {
		struct owner_run one;   /* count == 1 */
		struct owner_run *many; /* count > 1 */
	};
};

struct owner_chunk {
	struct owner_block block[CHUNK_BLOCKS];
};

enum err owner_init(struct owner_map *map, struct vhd_chain *chain, uint64_t budget_bytes,
		    struct err_why *why)
{
	const struct vhd_layer *top = chain_leaf(chain);

	*map = (struct owner_map){
	    .chain = chain,
	    .size_bytes = top->size_bytes,
	    .block_bytes = top->block_bytes,
	    .block_shift = top->block_shift,
	    .block_sectors = top->block_sectors,
	    .blocks = top->blocks,
	    .chunks = (uint32_t)div_round_up(top->blocks, CHUNK_BLOCKS),
	    .budget_bytes = budget_bytes,
	};
	map->chunk = calloc(map->chunks, sizeof(struct owner_chunk *));
	map->undecided = calloc(map->block_sectors / 64, sizeof(uint64_t));
	map->sector_layer = calloc(map->block_sectors, sizeof(uint32_t));
	map->sector_off = calloc(map->block_sectors, sizeof(uint64_t));
	if (!map->chunk || !map->undecided || !map->sector_layer || !map->sector_off) {
		owner_free(map);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	return ERR_OK;
}

static void forget_runs(struct owner_map *map, struct owner_block *block)
{
	if (block->count > 1) {
		map->used_bytes -= block->count * sizeof(struct owner_run);
		free(block->many);
	}
	block->count = 0;
}

static void forget_chunk(struct owner_map *map, uint32_t idx)
{
	struct owner_chunk *chunk = map->chunk[idx];

	for (uint32_t i = 0; i < CHUNK_BLOCKS; i++)
		forget_runs(map, &chunk->block[i]);
	free(chunk);
	map->chunk[idx] = NULL;
	map->used_bytes -= sizeof(struct owner_chunk);
}

void owner_free(struct owner_map *map)
{
	for (uint32_t i = 0; map->chunk && i < map->chunks; i++) {
		if (map->chunk[i])
			forget_chunk(map, i);
	}
	free(map->chunk);
	free(map->undecided);
	free(map->sector_layer);
	free(map->sector_off);
	free(map->bitmap);
	*map = (struct owner_map){0};
}

static void make_room(struct owner_map *map)
{
	for (uint32_t tried = 0; map->used_bytes > map->budget_bytes && tried < map->chunks;
	     tried++) {
		if (map->chunk[map->hand])
			forget_chunk(map, map->hand);
		map->hand = (map->hand + 1) % map->chunks;
	}
}

/* ---- resolving one block ---- */

struct resolve {
	struct owner_map *map;
	uint64_t first_sector;  /* of the block, on the disk */
	uint32_t sectors;       /* in the block and on the disk */
	uint32_t left;          /* undecided */
	struct owner_run whole; /* with `is_whole`: the one run there is */
	bool is_whole;
};

static void take(struct resolve *r, uint32_t first, uint32_t count, uint32_t layer, uint64_t off)
{
	struct owner_map *map = r->map;

	for (uint32_t i = 0; i < count; i++) {
		map->sector_layer[first + i] = layer;
		map->sector_off[first + i] = off + (uint64_t)i * DISK_SECTOR;
	}
	r->left -= count;
}

/*
 * All of a block from one place, which is what most blocks are: no need to look at its sectors one
 * by one.
 */
static bool take_whole(struct resolve *r, uint32_t count, const uint8_t *bitmap,
		       uint32_t bitmap_first, uint32_t layer, uint64_t off)
{
	if (r->left != r->sectors || count != r->sectors ||
	    (bitmap && !bitmap_all(bitmap, bitmap_first, count)))
		return false;
	r->whole = (struct owner_run){.layer = layer, .off_bytes = off};
	r->is_whole = true;
	r->left = 0;
	return true;
}

/* Take the undecided sectors among [first, first+count) whose bit is set; `bitmap` NULL: all are.
 */
static void take_present(struct resolve *r, uint32_t first, uint32_t count, const uint8_t *bitmap,
			 uint32_t bitmap_first, uint32_t layer, uint64_t off)
{
	struct owner_map *map = r->map;

	if (take_whole(r, count, bitmap, bitmap_first, layer, off))
		return;
	/* both `first` and `bitmap_first` are multiples of 64: the smallest block has 128 sectors
	 */
	for (uint32_t done = 0; done < count; done += 64) {
		uint32_t n = count - done < 64 ? count - done : 64;
		uint64_t *undecided = &map->undecided[(first + done) / 64];
		uint64_t got = *undecided & bitmap_word_mask(0, n);

		if (bitmap)
			got &= bitmap_word(bitmap, (bitmap_first + done) / 64);
		*undecided &= ~got;
		while (got) {
			uint32_t bit = (uint32_t)__builtin_clzll(got);
			uint64_t rest = ~(got << bit);
			uint32_t len = rest ? (uint32_t)__builtin_clzll(rest) : 64;

			take(r, first + done + bit, len, layer,
			     off + (uint64_t)(done + bit) * DISK_SECTOR);
			got &= ~bitmap_word_mask(bit, len);
		}
	}
}

static enum err read_bitmap(struct owner_map *map, struct vhd_layer *layer, uint32_t entry,
			    struct err_why *why)
{
	if (map->bitmap_room < layer->bitmap_bytes) {
		uint8_t *grown = realloc(map->bitmap, layer->bitmap_bytes);

		if (!grown)
			return err_set(why, ERR_NOMEM, "out of memory");
		map->bitmap = grown;
		map->bitmap_room = layer->bitmap_bytes;
	}
	enum err e = layer_hold(layer, why);
	if (!e) {
		e = layer_read_bitmap(layer, entry, map->bitmap, why);
		layer_release(layer);
	}
	if (e)
		err_context(why, "%s", layer->path);
	return e;
}

/* What layer n has of the layer's own block that holds disk sector `at`; to at most `count`. */
static enum err take_layer_block(struct resolve *r, unsigned n, uint64_t at, uint32_t count,
				 struct err_why *why)
{
	struct owner_map *map = r->map;
	struct vhd_layer *layer = map->chain->layer[n];
	uint32_t idx = (uint32_t)(at / layer->block_sectors);
	uint32_t in_block = (uint32_t)(at % layer->block_sectors);
	const uint8_t *bitmap = NULL;
	bool full = false;
	uint32_t entry;
	enum err e = ERR_OK;

	if (map->leaf && n == map->chain->count - 1)
		leaf_lookup(map->leaf, idx, &entry, &bitmap, &full);
	else
		e = chain_bat_entry(map->chain, n, idx, &entry, why);
	if (e || entry == BAT_UNUSED)
		return e;
	if (!bitmap && !full) {
		e = read_bitmap(map, layer, entry, why);
		if (e)
			return e;
		bitmap = map->bitmap;
	}
	take_present(r, (uint32_t)(at - r->first_sector), count, bitmap, in_block, n,
		     layer_data_off(layer, entry) + (uint64_t)in_block * DISK_SECTOR);
	return ERR_OK;
}

/* What layer n has of the block before disk sector `end`. */
static enum err take_layer(struct resolve *r, unsigned n, uint64_t end, struct err_why *why)
{
	struct vhd_layer *layer = r->map->chain->layer[n];

	if (r->first_sector >= end)
		return ERR_OK;
	if (!layer_is_sparse(layer)) {
		take_present(r, 0, (uint32_t)(end - r->first_sector), NULL, 0, n,
			     r->first_sector * DISK_SECTOR);
		return ERR_OK;
	}
	for (uint64_t at = r->first_sector; at < end;) {
		uint64_t block_end = round_down(at, layer->block_sectors) + layer->block_sectors;
		uint32_t count = (uint32_t)(min_u64(block_end, end) - at);
		enum err e = take_layer_block(r, n, at, count, why);

		if (e)
			return e;
		at += count;
	}
	return ERR_OK;
}

static void start(struct resolve *r, struct owner_map *map, uint32_t block)
{
	uint64_t disk_sectors = map->size_bytes / DISK_SECTOR;

	*r = (struct resolve){.map = map};
	r->first_sector = (uint64_t)block * map->block_sectors;
	r->sectors = (uint32_t)min_u64(map->block_sectors, disk_sectors - r->first_sector);
	r->left = r->sectors;
	memset(map->undecided, 0xff, map->block_sectors / 8);
}

/*
 * Walk the layers [0, top) from the top until every sector has an owner. A child was made from a
 * disk that ended where its parent ends: what lies below a smaller parent never shows.
 */
static enum err walk(struct resolve *r, unsigned top, struct err_why *why)
{
	uint64_t end = r->first_sector + r->sectors;

	for (unsigned n = top; n-- > 0 && r->left;) {
		end = min_u64(end, r->map->chain->layer[n]->size_bytes / DISK_SECTOR);
		enum err e = take_layer(r, n, end, why);

		if (e)
			return e;
	}
	return ERR_OK;
}

static bool undecided(const struct owner_map *map, uint32_t sector)
{
	return map->undecided[sector / 64] >> (63 - sector % 64) & 1;
}

/* The run that starts at `sector`, and its end. */
static struct owner_run run_at(const struct resolve *r, uint32_t sector, uint32_t *end)
{
	const struct owner_map *map = r->map;
	struct owner_run run = {.first = sector, .layer = OWNER_NONE};
	uint32_t i = sector + 1;

	if (undecided(map, sector)) {
		while (i < r->sectors && undecided(map, i))
			i++;
	} else {
		run.layer = map->sector_layer[sector];
		run.off_bytes = map->sector_off[sector];
		while (i < r->sectors && !undecided(map, i) && map->sector_layer[i] == run.layer &&
		       map->sector_off[i] == run.off_bytes + (uint64_t)(i - sector) * DISK_SECTOR)
			i++;
	}
	*end = i;
	return run;
}

static enum err store_runs(struct owner_map *map, struct owner_block *block,
			   const struct owner_run *runs, uint32_t count)
{
	struct owner_run *copy = NULL;

	if (count > 1) {
		copy = malloc(count * sizeof(*copy));
		if (!copy)
			return ERR_NOMEM;
		memcpy(copy, runs, count * sizeof(*copy));
		map->used_bytes += count * sizeof(*copy);
	}
	struct owner_run one = runs[0];
	forget_runs(map, block);
	block->count = count;
	if (copy)
		block->many = copy;
	else
		block->one = one;
	return ERR_OK;
}

static enum err collect(struct resolve *r, struct owner_block *block, struct err_why *why)
{
	uint32_t count = 0, end;

	if (r->left == r->sectors) {
		r->whole = (struct owner_run){.layer = OWNER_NONE};
		r->is_whole = true;
	}
	if (r->is_whole)
		return store_runs(r->map, block, &r->whole, 1); /* one run needs no memory */
	for (uint32_t at = 0; at < r->sectors; at = end, count++)
		run_at(r, at, &end);
	struct owner_run *runs = malloc(((size_t)count + 1) * sizeof(*runs));
	if (!runs)
		return err_set(why, ERR_NOMEM, "out of memory");
	uint32_t i = 0;
	for (uint32_t at = 0; at < r->sectors; at = end)
		runs[i++] = run_at(r, at, &end);
	enum err e = store_runs(r->map, block, runs, count);
	free(runs);
	return e ? err_set(why, e, "out of memory") : ERR_OK;
}

static enum err resolve(struct owner_map *map, uint32_t block_idx, struct owner_block *block,
			struct err_why *why)
{
	struct resolve r;

	start(&r, map, block_idx);
	enum err e = walk(&r, map->chain->count, why);
	return e ? e : collect(&r, block, why);
}

static struct owner_block *block_slot(struct owner_map *map, uint32_t idx)
{
	struct owner_chunk *chunk = map->chunk[idx / CHUNK_BLOCKS];

	return chunk ? &chunk->block[idx % CHUNK_BLOCKS] : NULL;
}

enum err owner_get(struct owner_map *map, uint32_t idx, const struct owner_run **runs,
		   uint32_t *count, struct err_why *why)
{
	struct owner_block *block = block_slot(map, idx);

	if (!block || !block->count) {
		make_room(map);
		if (!map->chunk[idx / CHUNK_BLOCKS]) {
			struct owner_chunk *chunk = calloc(1, sizeof(*chunk));

			if (!chunk)
				return err_set(why, ERR_NOMEM, "out of memory");
			map->chunk[idx / CHUNK_BLOCKS] = chunk;
			map->used_bytes += sizeof(*chunk);
		}
		block = block_slot(map, idx);
		enum err e = resolve(map, idx, block, why);
		if (e)
			return e;
	}
	*runs = block->count > 1 ? block->many : &block->one;
	*count = block->count;
	return ERR_OK;
}

uint32_t owner_find(const struct owner_run *runs, uint32_t count, uint32_t sector)
{
	uint32_t low = 0, high = count; /* runs[low].first <= sector < runs[high].first */

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (runs[middle].first <= sector)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Append to a run list, joining with the last run where the two are one. */
static void push(struct owner_run *out, uint32_t *count, struct owner_run run)
{
	if (*count) {
		const struct owner_run *last = &out[*count - 1];
		uint64_t next_off =
		    last->off_bytes + (uint64_t)(run.first - last->first) * DISK_SECTOR;

		if (last->layer == run.layer &&
		    (run.layer == OWNER_NONE || next_off == run.off_bytes))
			return;
	}
	out[(*count)++] = run;
}

void owner_assign(struct owner_map *map, uint32_t idx, uint32_t first, uint32_t n, uint32_t layer,
		  uint64_t off_bytes)
{
	struct owner_block *block;

	make_room(map); /* writing splits runs, so it can outgrow the budget like resolving can */
	block = block_slot(map, idx);
	if (!block || !block->count)
		return; /* not known: the next touch resolves it from the leaf's new state */
	const struct owner_run *old = block->count > 1 ? block->many : &block->one;
	struct owner_run *out = malloc((block->count + 2) * sizeof(*out));
	if (!out) {
		forget_runs(map, block);
		return;
	}
	uint32_t count = 0;
	for (uint32_t i = 0; i < block->count && old[i].first < first; i++)
		push(out, &count, old[i]);
	push(out, &count, (struct owner_run){first, layer, off_bytes});
	for (uint32_t i = 0; i < block->count; i++) {
		uint32_t end = i + 1 < block->count ? old[i + 1].first : map->block_sectors;
		struct owner_run rest = old[i];

		if (end <= first + n)
			continue;
		if (rest.first < first + n) {
			rest.off_bytes += (uint64_t)(first + n - rest.first) * DISK_SECTOR;
			rest.first = first + n;
		}
		if (rest.first < map->block_sectors)
			push(out, &count, rest);
	}
	if (store_runs(map, block, out, count))
		forget_runs(map, block);
	free(out);
}

static void renumber_block(struct owner_map *map, struct owner_block *block, uint32_t first,
			   uint32_t old, uint32_t count)
{
	struct owner_run *runs = block->count > 1 ? block->many : &block->one;

	for (uint32_t i = 0; i < block->count; i++) {
		if (runs[i].layer == OWNER_NONE || runs[i].layer < first)
			continue;
		if (runs[i].layer < first + old) {
			forget_runs(map, block);
			return;
		}
		runs[i].layer = runs[i].layer - old + count;
	}
}

void owner_renumber(struct owner_map *map, uint32_t first, uint32_t old, uint32_t count)
{
	for (uint32_t i = 0; i < map->chunks; i++) {
		for (uint32_t j = 0; map->chunk[i] && j < CHUNK_BLOCKS; j++)
			renumber_block(map, &map->chunk[i]->block[j], first, old, count);
	}
}

enum err owner_below_is_zero(struct owner_map *map, uint32_t block, bool *out, struct err_why *why)
{
	struct resolve r;

	start(&r, map, block);
	enum err e = walk(&r, map->chain->count - 1, why);
	*out = r.left == r.sectors;
	return e;
}
