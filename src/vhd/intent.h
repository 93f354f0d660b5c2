/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_INTENT_H
#define STRATA_VHD_INTENT_H

/*
 * The intent record (W19): a small file beside an image, named <image>.strata-intent, for the few
 * changes that cannot be ordered so that every intermediate state is valid: moving the only footer
 * of a fixed image (W13), rewriting a header and its locators, giving an image another UUID. It is
 * a redo record: the size the file is to have and the bytes to be written, with the bytes that
 * were there before.
 *
 *   intent_commit: record written, B, folder synced -> changes applied, B -> record removed, folder
 *   synced. A crash in between is finished by intent_replay, which any writable open calls first;
 *   a read-only open overlays the record in memory (layer.c) and changes nothing.
 *
 * A record is only replayed when each of its places still holds, sector by sector, the old or the
 * new bytes: else another program has changed the image since, and the record is stale. Stale and
 * incomplete records change nothing and are removed by the next writable open.
 *
 * Format (docs/FORMATS.md): all integers little-endian, xxHash64 of everything before it last.
 */

#include "block/file.h"
#include "util/guid.h"

#define INTENT_MAX_WRITES 16u
#define INTENT_SUFFIX     ".strata-intent"

struct intent_write {
	uint64_t off_bytes; /* multiple of 512 */
	uint32_t len_bytes; /* multiple of 512, at most 128 KiB */
	const uint8_t *data;
};

struct intent {
	struct guid uuid;    /* of the image when the record was made */
	uint64_t size_bytes; /* the file is to have; 0: unchanged */
	unsigned count;
	struct intent_write write[INTENT_MAX_WRITES];
	uint8_t *owned; /* what `data` points into, after intent_load */
};

/* Carry out the changes all or nothing. `file` is open for writing and locked. */
enum err intent_commit(struct file_ns *ns, const char *path, struct file *file,
		       const struct intent *intent, struct err_why *why);

/* Finish what a crash interrupted. ERR_OK when there is no record. Takes the image's lock. */
enum err intent_replay(struct file_ns *ns, const char *path, struct err_why *why);

/*
 * For readers: the record of `path` when there is one and it is to be replayed; else ERR_NOENT,
 * also for a stale or damaged one.
 */
enum err intent_load(struct file_ns *ns, const char *path, struct file *file, struct intent *out,
		     struct err_why *why);
/* Put the new bytes of the record over what was read from [off_bytes, off_bytes+len_bytes). */
void intent_overlay(const struct intent *intent, uint64_t off_bytes, void *buf, uint64_t len_bytes);
void intent_free(struct intent *intent);

#endif
