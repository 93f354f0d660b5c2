/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "block/mem_ns.h"
#include "util/bytes.h"

#define SECTOR 512u

/* What tests prepare their ground with has nobody to report to. */
static void must(bool ok)
{
	if (!ok)
		abort();
}

/* ---- recording ---- */

void mem_event_release(struct mem_event *event)
{
	free(event->data);
	free(event->path);
	free(event->path2);
}

bool mem_log_reserve(struct mem_log *log, size_t count)
{
	size_t room = log->room ? log->room : 64;
	struct mem_event *event;

	if (!log->on || log->room - log->count >= count)
		return true;
	while (room - log->count < count)
		room *= 2;
	event = realloc(log->event, room * sizeof(*event));
	if (!event)
		return false;
	log->event = event;
	log->room = room;
	return true;
}

void mem_log_add(struct mem_log *log, struct mem_event event)
{
	if (log->on)
		log->event[log->count++] = event;
	else
		mem_event_release(&event);
}

static void log_empty(struct mem_log *log)
{
	for (size_t i = 0; i < log->count; i++)
		mem_event_release(&log->event[i]);
	log->count = 0;
}

void mem_ns_log_start(struct mem_ns *ns)
{
	pthread_mutex_lock(&ns->lock);
	log_empty(&ns->log);
	ns->log.on = true;
	pthread_mutex_unlock(&ns->lock);
}

void mem_ns_log_stop(struct mem_ns *ns)
{
	pthread_mutex_lock(&ns->lock);
	ns->log.on = false;
	pthread_mutex_unlock(&ns->lock);
}

void mem_ns_mark(struct mem_ns *ns, uint64_t number)
{
	uint64_t now;

	pthread_mutex_lock(&ns->lock);
	must(mem_log_reserve(&ns->log, 1));
	now = ns->log.clock++;
	mem_log_add(
	    &ns->log,
	    (struct mem_event){.kind = MEM_MARK, .off_bytes = number, .begun = now, .ended = now});
	pthread_mutex_unlock(&ns->lock);
}

const struct mem_event *mem_ns_log(struct mem_ns *ns, size_t *count)
{
	*count = ns->log.count;
	return ns->log.event;
}

/* ---- applying what was recorded ---- */

bool mem_inode_apply(struct mem_inode *inode, const struct mem_event *event)
{
	uint64_t off = event->off_bytes, len = event->len_bytes;

	switch (event->kind) {
	case MEM_WRITE:
		if (!pages_prepare(&inode->pages, off, len))
			return false;
		pages_write(&inode->pages, off, event->data, len);
		inode->size_bytes = max_u64(inode->size_bytes, off + len);
		return true;
	case MEM_ZERO:
		return pages_zero(&inode->pages, off, len);
	case MEM_ALLOCATE:
		inode->size_bytes = max_u64(inode->size_bytes, off + len);
		return true;
	case MEM_TRUNCATE:
		if (off < inode->size_bytes &&
		    !pages_zero(&inode->pages, off, inode->size_bytes - off))
			return false;
		inode->size_bytes = off;
		return true;
	default:
		return true;
	}
}

static struct mem_inode *inode_by_id(struct mem_ns *ns, uint32_t id)
{
	return id < ns->inode_count ? ns->inode[id] : NULL;
}

static void apply_name(struct mem_ns *ns, const struct mem_event *event)
{
	struct mem_inode *inode = inode_by_id(ns, event->file_id);

	if (event->kind == MEM_CREATE && !inode)
		must(mem_inode_new(ns, event->file_id, event->path) != NULL);
	if (!inode || !inode->path || strcmp(inode->path, event->path) != 0)
		return; /* here this name was never given to the file */
	if (event->kind == MEM_RENAME)
		must(mem_inode_name(ns, inode, event->path2));
	if (event->kind == MEM_UNLINK)
		mem_inode_unname(ns, inode);
}

void mem_ns_apply(struct mem_ns *ns, const struct mem_event *event)
{
	struct mem_inode *inode;

	pthread_mutex_lock(&ns->lock);
	switch (event->kind) {
	case MEM_CREATE:
	case MEM_UNLINK:
	case MEM_RENAME:
		apply_name(ns, event);
		break;
	default:
		/* A file that is gone, or was never created here, has nothing to change. */
		inode = inode_by_id(ns, event->file_id);
		if (inode)
			must(mem_inode_apply(inode, event));
		break;
	}
	pthread_mutex_unlock(&ns->lock);
}

void mem_ns_apply_torn(struct mem_ns *ns, const struct mem_event *event,
		       const uint64_t *sector_mask)
{
	for (uint64_t i = 0; i < div_round_up(event->len_bytes, SECTOR); i++) {
		struct mem_event sector = *event;

		if (!(sector_mask[i / 64] >> (i % 64) & 1))
			continue;
		sector.off_bytes += i * SECTOR;
		sector.len_bytes = min_u64(SECTOR, event->len_bytes - i * SECTOR);
		if (event->data)
			sector.data += i * SECTOR;
		mem_ns_apply(ns, &sector);
	}
}

/* ---- namespaces whole ---- */

static struct mem_inode *inode_copy(struct mem_ns *ns, const struct mem_inode *from)
{
	struct mem_inode *inode = calloc(1, sizeof(*inode));

	must(inode != NULL);
	inode->id = from->id;
	mem_set_path(ns, inode, strdup(from->path));
	must(inode->path != NULL);
	inode->size_bytes = from->size_bytes;
	pages_share(&from->pages, &inode->pages);
	return inode;
}

struct mem_ns *mem_ns_clone(struct mem_ns *ns)
{
	struct mem_ns *clone = mem_ns_new();

	must(clone != NULL);
	pthread_mutex_lock(&ns->lock);
	clone->inode = calloc(ns->inode_count ? ns->inode_count : 1, sizeof(struct mem_inode *));
	must(clone->inode != NULL);
	clone->inode_count = ns->inode_count;
	for (uint32_t i = 0; i < ns->inode_count; i++)
		if (ns->inode[i] && ns->inode[i]->path)
			clone->inode[i] = inode_copy(clone, ns->inode[i]);
	pthread_mutex_unlock(&ns->lock);
	return clone;
}

void mem_ns_free(struct mem_ns *ns)
{
	if (!ns)
		return;
	for (uint32_t i = 0; i < ns->inode_count; i++) {
		if (!ns->inode[i])
			continue;
		pages_release(&ns->inode[i]->pages);
		free(ns->inode[i]->path);
		free(ns->inode[i]);
	}
	log_empty(&ns->log);
	free(ns->log.event);
	free(ns->inode);
	pthread_mutex_destroy(&ns->lock);
	free(ns);
}

void mem_ns_put(struct mem_ns *ns, const char *path, const void *data, uint64_t len_bytes)
{
	/* Only read from. */
	struct mem_event content = {
	    .kind = MEM_WRITE, .len_bytes = len_bytes, .data = (uint8_t *)data};
	char name[PATH_MAX];
	struct mem_inode *inode;

	must(mem_path(path, name));
	pthread_mutex_lock(&ns->lock);
	inode = mem_inode_new(ns, ns->inode_count, name);
	must(inode && mem_inode_apply(inode, &content));
	pthread_mutex_unlock(&ns->lock);
}

uint64_t mem_ns_size(struct mem_ns *ns, const char *path)
{
	char name[PATH_MAX];
	struct mem_inode *inode;
	uint64_t size_bytes;

	must(mem_path(path, name));
	pthread_mutex_lock(&ns->lock);
	inode = mem_find(ns, name);
	size_bytes = inode ? inode->size_bytes : UINT64_MAX;
	pthread_mutex_unlock(&ns->lock);
	return size_bytes;
}

void mem_ns_get(struct mem_ns *ns, const char *path, uint64_t off_bytes, void *buf,
		uint64_t len_bytes)
{
	static const struct mem_pages nothing;
	char name[PATH_MAX];
	struct mem_inode *inode;

	must(mem_path(path, name));
	pthread_mutex_lock(&ns->lock);
	inode = mem_find(ns, name);
	pages_read(inode ? &inode->pages : &nothing, off_bytes, buf, len_bytes);
	pthread_mutex_unlock(&ns->lock);
}
