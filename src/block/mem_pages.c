/* SPDX-License-Identifier: MIT */
#include "block/mem_pages.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#define PAGE_BYTES 4096u
#define FANOUT_LOG 5
#define FANOUT     (1u << FANOUT_LOG)

/*
 * A part of the tree belongs to one content alone when its own count and that of everything above
 * it is one. Copying a shared node counts its children once more, so walking down from the root
 * and copying whatever has a higher count is enough.
 */
struct counted {
	atomic_uint refs;
};

struct page {
	struct counted counted;
	uint8_t bytes[PAGE_BYTES];
};

struct node {
	struct counted counted;
	void *child[FANOUT];
};

static void get(void *part)
{
	if (part)
		atomic_fetch_add_explicit(&((struct counted *)part)->refs, 1, memory_order_relaxed);
}

/* As deep as the tree is high, and that is bounded by 63 bits of offset. */
static void put(void *part, unsigned height)
{
	struct node *node = part;

	if (!part ||
	    atomic_fetch_sub_explicit(&((struct counted *)part)->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (unsigned i = 0; height > 0 && i < FANOUT; i++)
		put(node->child[i], height - 1);
	free(part);
}

static void *new_part(unsigned height)
{
	struct counted *part = calloc(1, height ? sizeof(struct node) : sizeof(struct page));

	if (part)
		atomic_init(&part->refs, 1);
	return part;
}

static void *copy_part(const void *part, unsigned height)
{
	void *copy = malloc(height ? sizeof(struct node) : sizeof(struct page));

	if (!copy)
		return NULL;
	atomic_init(&((struct counted *)copy)->refs, 1);
	if (height == 0) {
		memcpy(((struct page *)copy)->bytes, ((const struct page *)part)->bytes,
		       PAGE_BYTES);
	} else {
		struct node *node = copy;

		memcpy(node->child, ((const struct node *)part)->child, sizeof(node->child));
		for (unsigned i = 0; i < FANOUT; i++)
			get(node->child[i]);
	}
	return copy;
}

/* Make what hangs in `slot`, whose holder is ours, ours too. An empty slot is filled on demand. */
static bool own(void **slot, unsigned height, bool fill)
{
	struct counted *part = *slot;
	void *mine;

	if (!part && !fill)
		return true;
	if (part && atomic_load_explicit(&part->refs, memory_order_acquire) == 1)
		return true;
	mine = part ? copy_part(part, height) : new_part(height);
	if (!mine)
		return false;
	put(part, height);
	*slot = mine;
	return true;
}

/* Pages the tree has places for. */
static uint64_t capacity(const struct mem_pages *pages)
{
	return 1ull << (FANOUT_LOG * pages->height);
}

static void **child_slot(void *part, unsigned height, uint64_t index)
{
	return &((struct node *)part)->child[index >> (FANOUT_LOG * (height - 1)) & (FANOUT - 1)];
}

static bool grow(struct mem_pages *pages, uint64_t index)
{
	while (index >= capacity(pages)) {
		if (pages->root) {
			struct node *node = new_part(1);

			if (!node)
				return false;
			node->child[0] = pages->root;
			pages->root = node;
		}
		pages->height++;
	}
	return true;
}

/* Own everything from the root to the page, as far as it exists or, with `fill`, all of it. */
static bool own_path(struct mem_pages *pages, uint64_t index, bool fill)
{
	void **slot = &pages->root;

	if (fill && !grow(pages, index))
		return false;
	if (index >= capacity(pages))
		return true;
	for (unsigned height = pages->height;; height--) {
		if (!own(slot, height, fill))
			return false;
		if (height == 0 || !*slot)
			return true;
		slot = child_slot(*slot, height, index);
	}
}

/* NULL for a hole; *hole_pages is then how many pages from a multiple of it are missing. */
static struct page *find(const struct mem_pages *pages, uint64_t index, uint64_t *hole_pages)
{
	void *part = pages->root;
	unsigned height = pages->height;

	if (index >= capacity(pages))
		part = NULL;
	while (part && height > 0) {
		part = *child_slot(part, height, index);
		height--;
	}
	*hole_pages = 1ull << (FANOUT_LOG * height);
	return part;
}

void pages_share(const struct mem_pages *from, struct mem_pages *to)
{
	*to = *from;
	get(to->root);
}

void pages_release(struct mem_pages *pages)
{
	put(pages->root, pages->height);
	*pages = (struct mem_pages){0};
}

void pages_read(const struct mem_pages *pages, uint64_t off_bytes, void *buf, uint64_t len_bytes)
{
	uint8_t *out = buf;

	while (len_bytes > 0) {
		uint64_t within = off_bytes % PAGE_BYTES, hole_pages;
		uint64_t n = min_u64(PAGE_BYTES - within, len_bytes);
		const struct page *page = find(pages, off_bytes / PAGE_BYTES, &hole_pages);

		if (page)
			memcpy(out, page->bytes + within, n);
		else
			memset(out, 0, n);
		out += n;
		off_bytes += n;
		len_bytes -= n;
	}
}

bool pages_prepare(struct mem_pages *pages, uint64_t off_bytes, uint64_t len_bytes)
{
	if (len_bytes == 0)
		return true;
	for (uint64_t i = off_bytes / PAGE_BYTES; i <= (off_bytes + len_bytes - 1) / PAGE_BYTES;
	     i++)
		if (!own_path(pages, i, true))
			return false;
	return true;
}

void pages_write(struct mem_pages *pages, uint64_t off_bytes, const void *buf, uint64_t len_bytes)
{
	const uint8_t *in = buf;

	while (len_bytes > 0) {
		uint64_t within = off_bytes % PAGE_BYTES, hole_pages;
		uint64_t n = min_u64(PAGE_BYTES - within, len_bytes);
		struct page *page = find(pages, off_bytes / PAGE_BYTES, &hole_pages);

		memcpy(page->bytes + within, in, n);
		in += n;
		off_bytes += n;
		len_bytes -= n;
	}
}

/* Zero bytes inside one page, which is ours if it exists. */
static void zero_within(struct mem_pages *pages, uint64_t off_bytes, uint64_t end_bytes)
{
	uint64_t hole_pages;
	struct page *page = find(pages, off_bytes / PAGE_BYTES, &hole_pages);

	if (page)
		memset(page->bytes + off_bytes % PAGE_BYTES, 0, end_bytes - off_bytes);
}

/* Drop pages first..last, counted from the start of this part; nodes cut in two are ours. */
static void drop(void **slot, unsigned height, uint64_t first, uint64_t last)
{
	uint64_t child_pages;

	if (!*slot)
		return;
	if (height == 0 || (first == 0 && last == (1ull << (FANOUT_LOG * height)) - 1)) {
		put(*slot, height);
		*slot = NULL;
		return;
	}
	child_pages = 1ull << (FANOUT_LOG * (height - 1));
	for (uint64_t i = first / child_pages; i <= last / child_pages; i++) {
		uint64_t start = i * child_pages;

		drop(&((struct node *)*slot)->child[i], height - 1, max_u64(first, start) - start,
		     min_u64(last - start, child_pages - 1));
	}
}

bool pages_zero(struct mem_pages *pages, uint64_t off_bytes, uint64_t len_bytes)
{
	uint64_t end_bytes = off_bytes + len_bytes;
	uint64_t first = div_round_up(off_bytes, PAGE_BYTES); /* whole pages: first..end-1 */
	uint64_t end = end_bytes / PAGE_BYTES;

	if (len_bytes == 0)
		return true;
	/* Any node that the range cuts in two lies above its first or its last page. */
	if (!own_path(pages, off_bytes / PAGE_BYTES, false) ||
	    !own_path(pages, (end_bytes - 1) / PAGE_BYTES, false))
		return false;
	if (first > end) {
		zero_within(pages, off_bytes, end_bytes);
		return true;
	}
	if (off_bytes % PAGE_BYTES)
		zero_within(pages, off_bytes, first * PAGE_BYTES);
	if (end_bytes % PAGE_BYTES)
		zero_within(pages, end * PAGE_BYTES, end_bytes);
	end = min_u64(end, capacity(pages));
	if (first < end)
		drop(&pages->root, pages->height, first, end - 1);
	return true;
}

bool pages_has_data(const struct mem_pages *pages, uint64_t off_bytes, uint64_t *end_bytes)
{
	uint64_t index = off_bytes / PAGE_BYTES, hole_pages;
	bool is_data = find(pages, index, &hole_pages) != NULL;

	while (index < capacity(pages) && (find(pages, index, &hole_pages) != NULL) == is_data)
		index = is_data ? index + 1 : round_down(index, hole_pages) + hole_pages;
	*end_bytes = is_data || index < capacity(pages) ? index * PAGE_BYTES : UINT64_MAX;
	return is_data;
}
