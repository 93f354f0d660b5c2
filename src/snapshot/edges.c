/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "snapshot/store.h"

/* Our own locks do not exclude us: what this process holds is looked up first. */

static enum err lock(struct store *store, uint64_t file, uint64_t first, uint64_t count,
		     enum file_lock mode, struct err_why *why)
{
	if (!store->lock_file || !count)
		return ERR_OK;
	return file_lock_range(store->lock_file, file * EDGES_OF_A_FILE + first, count, mode, why);
}

/* Where an edge is, or would be. */
static unsigned place_of(const struct store *store, uint64_t file, uint64_t upper)
{
	unsigned low = 0, high = store->edges;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		const struct edge *edge = &store->edge[middle];

		if (edge->file < file || (edge->file == file && edge->upper < upper))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_edge(const struct store *store, unsigned at, uint64_t file, uint64_t upper)
{
	return at < store->edges && store->edge[at].file == file && store->edge[at].upper == upper;
}

enum err edge_hold(struct store *store, uint64_t file, uint64_t upper, struct err_why *why)
{
	unsigned at = place_of(store, file, upper);

	if (is_edge(store, at, file, upper)) {
		store->edge[at].count++;
		return ERR_OK;
	}
	struct edge *grown = realloc(store->edge, (store->edges + 1) * sizeof(*grown));
	if (!grown)
		return err_set(why, ERR_NOMEM, "out of memory");
	store->edge = grown;
	enum err e = lock(store, file, upper, 1, FILE_LOCK_READ, why);
	if (e)
		return e;
	memmove(&grown[at + 1], &grown[at], (store->edges - at) * sizeof(*grown));
	grown[at] = (struct edge){.file = file, .upper = upper, .count = 1};
	store->edges++;
	return ERR_OK;
}

void edge_release(struct store *store, uint64_t file, uint64_t upper)
{
	unsigned at = place_of(store, file, upper);

	if (!is_edge(store, at, file, upper) || --store->edge[at].count)
		return;
	lock(store, file, upper, 1, FILE_UNLOCKED, NULL);
	store->edges--;
	memmove(&store->edge[at], &store->edge[at + 1], (store->edges - at) * sizeof(*store->edge));
}

static uint64_t above(const uint64_t *file, unsigned count, unsigned i)
{
	return i + 1 < count ? file[i + 1] : EDGE_TOP;
}

enum err edges_hold(struct store *store, const uint64_t *file, unsigned count, struct err_why *why)
{
	for (unsigned i = 0; i < count; i++) {
		enum err e = edge_hold(store, file[i], above(file, count, i), why);

		if (!e)
			continue;
		while (i-- > 0)
			edge_release(store, file[i], above(file, count, i));
		return e;
	}
	return ERR_OK;
}

void edges_release(struct store *store, const uint64_t *file, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		edge_release(store, file[i], above(file, count, i));
}

enum err edges_hold_all(struct store *store, const uint64_t *file, unsigned count, uint64_t upper,
			struct err_why *why)
{
	for (unsigned i = 0; i < count; i++) {
		enum err e = edge_hold(store, file[i], upper, why);

		if (e) {
			edges_release_all(store, file, i, upper);
			return e;
		}
	}
	return ERR_OK;
}

void edges_release_all(struct store *store, const uint64_t *file, unsigned count, uint64_t upper)
{
	for (unsigned i = 0; i < count; i++)
		edge_release(store, file[i], upper);
}

static bool read_here(const struct store *store, uint64_t file, uint64_t upper)
{
	for (unsigned at = place_of(store, file, 0);
	     at < store->edges && store->edge[at].file == file; at++)
		if (!upper || store->edge[at].upper != upper)
			return true;
	return false;
}

/* The edges before that to `upper`, and those after it; all when there is none. */
bool edges_close(struct store *store, uint64_t file, uint64_t upper)
{
	uint64_t before = upper ? upper : EDGES_OF_A_FILE;
	uint64_t after = upper ? EDGES_OF_A_FILE - upper - 1 : 0;

	if (read_here(store, file, upper) || lock(store, file, 0, before, FILE_LOCK_WRITE, NULL))
		return false;
	if (lock(store, file, upper + 1, after, FILE_LOCK_WRITE, NULL)) {
		lock(store, file, 0, before, FILE_UNLOCKED, NULL);
		return false;
	}
	return true;
}

void edges_open(struct store *store, uint64_t file, uint64_t upper)
{
	uint64_t before = upper ? upper : EDGES_OF_A_FILE;

	lock(store, file, 0, before, FILE_UNLOCKED, NULL);
	if (upper)
		lock(store, file, upper + 1, EDGES_OF_A_FILE - upper - 1, FILE_UNLOCKED, NULL);
}
