/* SPDX-License-Identifier: MIT */
#include "tests/lib/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

/*
 * In the namespace every file needs a name at any time, so a file whose own name has not landed
 * sits under a hidden one, in a folder that no scenario uses.
 */
#define HIDDEN_FORMAT "/.nameless/%u"
#define HIDDEN_BYTES  32

struct inode {
	const char *name; /* NULL: hidden */
	uint64_t size;
	bool known;
	bool gone; /* unlinked, or replaced by a rename */
};

struct world {
	struct mem_ns *ns;
	struct inode *inode;
	size_t count;
};

static char *hidden_name(uint32_t file_id, char out[HIDDEN_BYTES])
{
	snprintf(out, HIDDEN_BYTES, HIDDEN_FORMAT, file_id);
	return out;
}

static void emit(struct world *world, struct mem_event event)
{
	mem_ns_apply(world->ns, &event);
}

struct world *world_new(void)
{
	struct world *world = calloc(1, sizeof(*world));

	if (!world)
		abort();
	world->ns = mem_ns_new();
	return world;
}

struct world *world_copy(const struct world *world)
{
	struct world *copy = calloc(1, sizeof(*copy));

	if (!copy)
		abort();
	copy->ns = mem_ns_clone(world->ns);
	copy->count = world->count;
	copy->inode = calloc(world->count + 1, sizeof(*copy->inode));
	if (!copy->inode)
		abort();
	if (world->count)
		memcpy(copy->inode, world->inode, world->count * sizeof(*copy->inode));
	return copy;
}

void world_free(struct world *world)
{
	if (!world)
		return;
	mem_ns_free(world->ns);
	free(world->inode);
	free(world);
}

static const struct inode *find(const struct world *world, uint32_t file_id)
{
	return file_id < world->count ? &world->inode[file_id] : NULL;
}

uint64_t world_size(const struct world *world, uint32_t file_id)
{
	const struct inode *inode = find(world, file_id);

	return inode ? inode->size : 0;
}

const char *world_name(const struct world *world, uint32_t file_id)
{
	const struct inode *inode = find(world, file_id);

	return inode ? inode->name : NULL;
}

size_t world_files(const struct world *world)
{
	return world->count;
}

void world_introduce(struct world *world, uint32_t file_id)
{
	char hidden[HIDDEN_BYTES];

	if (file_id >= world->count) {
		size_t count = (size_t)file_id + 1;

		world->inode = reallocarray(world->inode, count, sizeof(*world->inode));
		if (!world->inode)
			abort();
		memset(world->inode + world->count, 0,
		       (count - world->count) * sizeof(*world->inode));
		world->count = count;
	}
	if (world->inode[file_id].known)
		return;
	world->inode[file_id].known = true;
	emit(world, (struct mem_event){.kind = MEM_CREATE,
				       .file_id = file_id,
				       .path = hidden_name(file_id, hidden)});
}

void world_set_size(struct world *world, uint32_t file_id, uint64_t size_bytes)
{
	world_introduce(world, file_id);
	if (world->inode[file_id].gone)
		return;
	world->inode[file_id].size = size_bytes;
	emit(world,
	     (struct mem_event){.kind = MEM_TRUNCATE, .file_id = file_id, .off_bytes = size_bytes});
}

void world_apply_data(struct world *world, const struct mem_event *event, uint64_t off_bytes,
		      uint64_t len_bytes)
{
	const struct inode *inode;
	struct mem_event part = *event;

	world_introduce(world, event->file_id);
	inode = &world->inode[event->file_id];
	if (inode->gone || off_bytes >= inode->size)
		return;
	if (len_bytes > inode->size - off_bytes)
		len_bytes = inode->size - off_bytes;
	part.off_bytes = off_bytes;
	part.len_bytes = len_bytes;
	if (part.kind == MEM_WRITE)
		part.data = event->data + (off_bytes - event->off_bytes);
	emit(world, part);
}

static void remove_name(struct world *world, uint32_t file_id)
{
	struct inode *inode = &world->inode[file_id];
	char *name = strdup(inode->name);

	if (!name)
		abort();
	emit(world, (struct mem_event){.kind = MEM_UNLINK, .file_id = file_id, .path = name});
	free(name);
	inode->name = NULL;
	inode->gone = true;
}

/* Give the file the name `path`, taking it from whoever has it. */
static void give_name(struct world *world, uint32_t file_id, char *path)
{
	struct inode *inode = &world->inode[file_id];
	char hidden[HIDDEN_BYTES];
	char *from;

	if (inode->name && !strcmp(inode->name, path))
		return;
	for (uint32_t i = 0; i < world->count; i++)
		if (world->inode[i].name && !strcmp(world->inode[i].name, path))
			remove_name(world, i);
	from = strdup(inode->name ? inode->name : hidden_name(file_id, hidden));
	if (!from)
		abort();
	emit(world, (struct mem_event){
			.kind = MEM_RENAME, .file_id = file_id, .path = from, .path2 = path});
	free(from);
	inode->name = path;
}

void world_apply_name(struct world *world, const struct mem_event *event)
{
	const struct inode *inode;

	world_introduce(world, event->file_id);
	inode = &world->inode[event->file_id];
	if (inode->gone)
		return;
	if (event->kind == MEM_CREATE)
		give_name(world, event->file_id, event->path);
	else if (event->kind == MEM_RENAME)
		give_name(world, event->file_id, event->path2);
	else if (inode->name && !strcmp(inode->name, event->path))
		remove_name(world, event->file_id);
}

bool world_would_change(const struct world *world, const struct mem_event *event)
{
	const struct inode *inode = find(world, event->file_id);
	uint64_t size = inode ? inode->size : 0;
	uint64_t end = event->off_bytes + event->len_bytes;
	char hidden[HIDDEN_BYTES];
	uint8_t *now;
	bool changes;

	if (!inode || event->kind == MEM_TRUNCATE)
		return size != event->off_bytes;
	if (event->kind == MEM_ALLOCATE || end > size)
		return end > size;
	now = malloc(event->len_bytes);
	if (!now)
		abort();
	mem_ns_get(world->ns, inode->name ? inode->name : hidden_name(event->file_id, hidden),
		   event->off_bytes, now, event->len_bytes);
	changes = event->kind == MEM_WRITE ? memcmp(now, event->data, event->len_bytes) != 0
					   : !bytes_are_zero(now, event->len_bytes);
	free(now);
	return changes;
}

void world_finish(struct world *world)
{
	for (uint32_t i = 0; i < world->count; i++) {
		struct inode *inode = &world->inode[i];
		char hidden[HIDDEN_BYTES];

		if (!inode->known || inode->gone || inode->name)
			continue;
		inode->gone = true;
		emit(world, (struct mem_event){
				.kind = MEM_UNLINK, .file_id = i, .path = hidden_name(i, hidden)});
	}
}

struct mem_ns *world_ns(struct world *world)
{
	return world->ns;
}
