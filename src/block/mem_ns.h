/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_MEM_NS_H
#define STRATA_BLOCK_MEM_NS_H

/*
 * What the three parts of the files in memory share: file_mem.c (names), mem_file.c (open files and
 * their requests) and mem_log.c (recording, applying what was recorded, copies). Everything here is
 * called with the namespace's lock held.
 */

#include <limits.h>
#include <pthread.h>

#include "block/file_mem.h"
#include "block/mem_pages.h"

/* A file, whatever its name. It lives as long as it has a name or an open handle. */
struct mem_inode {
	uint32_t id;
	unsigned handles;
	unsigned readers; /* image locks held */
	bool writer;
	char *path;                  /* NULL: unlinked; change it with mem_set_path alone */
	struct mem_inode *next_name; /* with the same hash */
	uint64_t size_bytes;
	struct mem_pages pages; /* nothing but zeros past size_bytes */
};

struct mem_log {
	struct mem_event *event;
	size_t count;
	size_t room;
	uint64_t clock;
	bool on;
};

#define MEM_NAMES 1024u /* buckets; a power of two */

struct mem_ns {
	struct file_ns base;
	pthread_mutex_t lock;     /* guards all of the below */
	struct mem_inode **inode; /* by id; NULL: gone */
	uint32_t inode_count;
	struct mem_inode *name[MEM_NAMES]; /* by hash of the path */
	struct mem_log log;
};

/* `in` without "./" and doubled slashes. False when it is too long. */
bool mem_path(const char *in, char out[PATH_MAX]);

/* Takes over `path`, which is nobody else's; NULL: none. */
void mem_set_path(struct mem_ns *ns, struct mem_inode *inode, char *path);
struct mem_inode *mem_find(struct mem_ns *ns, const char *path);
/* A new empty file `id`; takes the name from whoever has it. NULL: no memory, nothing changed. */
struct mem_inode *mem_inode_new(struct mem_ns *ns, uint32_t id, const char *path);
/* Give `inode` this name instead of its own, taking it from whoever has it. */
bool mem_inode_name(struct mem_ns *ns, struct mem_inode *inode, const char *path);
void mem_inode_unname(struct mem_ns *ns, struct mem_inode *inode);
/* Free it if it has neither a name nor a handle. */
void mem_inode_settle(struct mem_ns *ns, struct mem_inode *inode);
/* Change content or size as `event` says. False: no memory, nothing changed. */
bool mem_inode_apply(struct mem_inode *inode, const struct mem_event *event);

/* A handle that has no file yet; NULL: no memory. Attached, it is freed by file_close. */
struct file *mem_file_new(struct mem_ns *ns, const char *path, bool writable);
void mem_file_attach(struct file *file, struct mem_inode *inode);
void mem_file_free(struct file *file);

/* Make room for `count` more events, so that as many mem_log_add cannot fail. */
bool mem_log_reserve(struct mem_log *log, size_t count);
/* Record `event` and take over its data and names; when not recording, free them. */
void mem_log_add(struct mem_log *log, struct mem_event event);
void mem_event_release(struct mem_event *event);

#endif
