/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_MEM_PAGES_H
#define STRATA_BLOCK_MEM_PAGES_H

/*
 * The content of a file in memory: a sparse array of bytes, up to 2^63 of them, that is copied in
 * constant time. Pages hang from a tree whose nodes and leaves are counted; copies share it, and a
 * writer first takes a copy of its own of just the nodes on the way to what it changes.
 *
 * A range is changed in two steps, so that a failed allocation changes nothing: pages_prepare,
 * which can fail, then pages_write, which cannot.
 *
 * Threads: one content belongs to one thread at a time; copies that share pages may be used from
 * different threads without further care.
 */

#include <stdbool.h>
#include <stdint.h>

struct mem_pages {
	void *root;      /* NULL: all zeros. A page when height is 0, else a node */
	unsigned height; /* levels of nodes above the pages */
};

/* Make `to`, which must be empty, a copy of `from`. */
void pages_share(const struct mem_pages *from, struct mem_pages *to);
/* Drop everything; what remains is empty and usable. */
void pages_release(struct mem_pages *pages);

void pages_read(const struct mem_pages *pages, uint64_t off_bytes, void *buf, uint64_t len_bytes);
/* Give the range pages of its own; the content stays. False when there is no memory. */
bool pages_prepare(struct mem_pages *pages, uint64_t off_bytes, uint64_t len_bytes);
/* The range must have been prepared since the last pages_share of this content. */
void pages_write(struct mem_pages *pages, uint64_t off_bytes, const void *buf, uint64_t len_bytes);
/* The range reads as zero afterwards; whole pages are freed. False: no memory, nothing changed. */
bool pages_zero(struct mem_pages *pages, uint64_t off_bytes, uint64_t len_bytes);
/* Whether the byte at off_bytes has a page, and where the run of like pages ends. */
bool pages_has_data(const struct mem_pages *pages, uint64_t off_bytes, uint64_t *end_bytes);

#endif
