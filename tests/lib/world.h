/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_WORLD_H
#define STRATA_TESTS_WORLD_H

/*
 * The storage below a namespace in memory, with what a file system keeps apart: contents, sizes
 * and names. Parts of logged events are applied to it one by one. A file exists from its creation
 * on, whether its name has landed or not; one without a name is lost by world_finish.
 *
 * The names given by events are not copied: the log must outlive the world. Threads: none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/file_mem.h"

struct world;

struct world *world_new(void);
struct world *world_copy(const struct world *world);
void world_free(struct world *world);

/* Size of a file; 0 for an unknown one. */
uint64_t world_size(const struct world *world, uint32_t file_id);
/* The name that has landed, or NULL. */
const char *world_name(const struct world *world, uint32_t file_id);
/* One more than the greatest file id known. */
size_t world_files(const struct world *world);

void world_set_size(struct world *world, uint32_t file_id, uint64_t size_bytes);
/* Bytes of a MEM_WRITE or MEM_ZERO; what lies beyond the file's size is dropped. */
void world_apply_data(struct world *world, const struct mem_event *event, uint64_t off_bytes,
		      uint64_t len_bytes);
/* A MEM_CREATE, MEM_UNLINK or MEM_RENAME. */
void world_apply_name(struct world *world, const struct mem_event *event);
/* The file exists, its name need not. */
void world_introduce(struct world *world, uint32_t file_id);

/* Whether applying the whole of this MEM_WRITE, ZERO, ALLOCATE or TRUNCATE changes anything. */
bool world_would_change(const struct world *world, const struct mem_event *event);

/* Remove what has no name; afterwards only the namespace may be used. */
void world_finish(struct world *world);
struct mem_ns *world_ns(struct world *world);

#endif
