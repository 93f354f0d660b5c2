/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_FILE_MEM_H
#define STRATA_BLOCK_FILE_MEM_H

/*
 * Files and folders in memory, with every event recorded: the recording file of T1, and the
 * "bytes -> file -> open" of the fuzz targets. Not for production data.
 *
 * Content is kept sparse in pages. Each namespace has one log: every write, zero, punch,
 * allocate, truncate, sync, create, unlink, rename and directory sync with their data. What changes
 * a file is logged when it is submitted, because from then on it may be on the disk; a sync when it
 * completes. mem_ns_replay (tests/lib) rebuilds from it what a disk may hold after a power cut.
 *
 * Paths are compared as text, after "./" and doubled slashes are taken out; folders exist by being
 * part of a path. Ids of files are never used again and survive cloning.
 *
 * Errors: what goes through the file contract fails with ERR_NOMEM as it should; the functions
 * below, for preparing and examining, abort when there is no memory.
 *
 * Threads: one mutex a namespace; the log is stable only while nothing is in flight. Files must be
 * closed before their namespace is freed.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/file.h"

struct mem_ns; /* a file_ns; see mem_ns_base */

enum mem_event_kind {
	MEM_WRITE,    /* file, off, len, data */
	MEM_ZERO,     /* file, off, len: zero, punch */
	MEM_ALLOCATE, /* file, off, len: may extend the size; also after a MEM_ZERO past the end */
	MEM_TRUNCATE, /* file, off = new size */
	MEM_SYNC,     /* file: makes durable every event of this file with ended < this begun */
	MEM_CREATE,   /* file, path */
	MEM_UNLINK,   /* file, path */
	MEM_RENAME,   /* file, path -> path2 */
	MEM_SYNC_DIR, /* path: a barrier for names in its folder */
	MEM_MARK,     /* a note of the test: off = its number */
};

struct mem_event {
	enum mem_event_kind kind;
	enum file_event what;
	uint32_t file_id; /* stable per file, from 0 in order of creation */
	uint64_t off_bytes;
	uint64_t len_bytes;
	uint8_t *data; /* MEM_WRITE */
	char *path;
	char *path2;
	/* One clock for the namespace: when the request was submitted, and when it completed. */
	uint64_t begun;
	uint64_t ended; /* UINT64_MAX: not yet */
};

struct mem_ns *mem_ns_new(void);
void mem_ns_free(struct mem_ns *ns);
struct file_ns *mem_ns_base(struct mem_ns *ns);

/* Put a file there with this content, without logging it; replaces one of that name. */
void mem_ns_put(struct mem_ns *ns, const char *path, const void *data, uint64_t len_bytes);
/* Size of a file, or UINT64_MAX when there is none. */
uint64_t mem_ns_size(struct mem_ns *ns, const char *path);
/* Copy content out, zeros beyond the end. */
void mem_ns_get(struct mem_ns *ns, const char *path, uint64_t off_bytes, void *buf,
		uint64_t len_bytes);

/* A deep-enough copy: pages are shared until either side writes. The log of the copy is empty. */
struct mem_ns *mem_ns_clone(struct mem_ns *ns);
/* Apply one logged event to `ns` (usually a clone of the state at the start of the log). */
void mem_ns_apply(struct mem_ns *ns, const struct mem_event *event);
/* As mem_ns_apply, only the sectors (512 bytes from the start of the write) whose bit is set. */
void mem_ns_apply_torn(struct mem_ns *ns, const struct mem_event *event,
		       const uint64_t *sector_mask);

void mem_ns_log_start(struct mem_ns *ns); /* empties the log and turns recording on */
void mem_ns_log_stop(struct mem_ns *ns);
void mem_ns_mark(struct mem_ns *ns, uint64_t number);
const struct mem_event *mem_ns_log(struct mem_ns *ns, size_t *count);

#endif
