/* SPDX-License-Identifier: MIT */

/* A snapshot under the feet of a writer in this process: its disks get new leaves while paused. */

#include <stdlib.h>

#include "snapshot/view.h"

void live_note_sizes(struct store *store, struct catalogue *cat)
{
	for (unsigned d = 0; d < cat->disks; d++) {
		struct disk_info info;

		if (!cat->leaf[d] || !store->writer->base.disk[d])
			continue;
		disk_get_info(store->writer->base.disk[d], &info);
		cat_layer(cat, cat->leaf[d])->size_bytes = info.size_bytes;
	}
}

/* Room for one more, and a hold on the edges there will be. */
static enum err make_room(struct store *store, struct view_disk *of, uint64_t file,
			  struct err_why *why)
{
	uint64_t *number = realloc(of->number, (of->count + 1) * sizeof(*number));

	if (number)
		of->number = number;
	uint64_t *files = number ? realloc(of->file, (of->count + 1) * sizeof(*files)) : NULL;
	if (!files)
		return err_set(why, ERR_NOMEM, "out of memory");
	of->file = files;
	enum err e = edge_hold(store, file, EDGE_TOP, why);
	if (e)
		return e;
	e = edge_hold(store, of->file[of->count - 1], file, why);
	if (e)
		edge_release(store, file, EDGE_TOP);
	return e;
}

static void give_up_room(struct store *store, const struct view_disk *of, uint64_t file)
{
	edge_release(store, of->file[of->count - 1], file);
	edge_release(store, file, EDGE_TOP);
}

static enum err prepare_disk(struct store *store, const struct catalogue *cat, unsigned d,
			     uint64_t leaf, struct err_why *why)
{
	struct disk *disk = store->writer->base.disk[d];
	struct view_disk *of = &store->writer->of[d];
	const struct cat_layer *layer = cat_layer(cat, leaf);
	struct layer_facts facts;
	enum err e = layer_facts_of(store, cat, layer, &facts, why);

	if (e)
		return e;
	e = make_room(store, of, layer->file, why);
	if (!e) {
		e = stack_pause(disk, why);
		if (!e) {
			e = stack_prepare(disk, &facts, &of->next, why);
			if (e)
				stack_resume(disk);
		}
		if (e)
			give_up_room(store, of, layer->file);
		else
			of->next_number = leaf;
	}
	free((char *)facts.path);
	return e;
}

enum err live_prepare(struct store *store, const struct catalogue *cat, const uint64_t *leaf,
		      struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned d = 0; d < cat->disks && !e; d++)
		if (leaf[d] && !store->writer->base.disk[d])
			e = err_set(why, ERR_IO, "disk %u is not open any more", d);
	for (unsigned d = 0; d < cat->disks && !e; d++)
		if (leaf[d])
			e = prepare_disk(store, cat, d, leaf[d], why);
	if (e)
		live_drop(store);
	return e;
}

/* A new layer's file has its number. */
void live_push(struct store *store)
{
	struct view *view = store->writer;

	for (unsigned d = 0; d < view->base.disk_count; d++) {
		struct view_disk *of = &view->of[d];

		if (!of->next)
			continue;
		stack_push(view->base.disk[d], of->next);
		of->next = NULL;
		edge_release(store, of->file[of->count - 1], EDGE_TOP);
		of->number[of->count] = of->next_number;
		of->file[of->count] = of->next_number;
		of->count++;
		stack_resume(view->base.disk[d]);
	}
}

void live_drop(struct store *store)
{
	struct view *view = store->writer;

	for (unsigned d = 0; view && d < view->base.disk_count; d++) {
		struct view_disk *of = &view->of[d];

		if (!of->next)
			continue;
		stack_drop(of->next);
		of->next = NULL;
		give_up_room(store, of, of->next_number);
		stack_resume(view->base.disk[d]);
	}
}

void live_fail(struct store *store, const struct err_why *why)
{
	struct view *view = store->writer;

	for (unsigned d = 0; d < view->base.disk_count; d++)
		if (view->base.disk[d])
			stack_poison(view->base.disk[d], why);
	live_drop(store);
}
