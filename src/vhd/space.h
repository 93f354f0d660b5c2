/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_SPACE_H
#define STRATA_VHD_SPACE_H

/*
 * Where new blocks of a leaf come from. A *slot* is the place of one block whose data is on a 4 KiB
 * boundary, durable-zero, its bitmap already as a new block of this type needs it: all ones for a
 * dynamic disk, zeros for a differencing one. Slots are made many at a time (W3), so that an
 * allocation costs no barrier of its own, and given back to the file system at close. Those of a
 * differencing disk take no space on the file system before they are written to.
 *
 * W3 has the old footer's sector zeroed after the new one is durable. We lay slots out so that the
 * old footer falls in the padding before a slot, which nothing ever reads; so that step and its
 * barrier are not needed.
 *
 * Threads: needs the image's lock. Growing blocks for two file operations and a sync.
 */

#include <stdbool.h>
#include <stdint.h>

#include "vhd/layer.h"

/* The way of a dropped block back into use (W7); a flush moves it one step at most. */
enum freed_state {
	FREED_DROPPED,    /* unlinked in memory */
	FREED_PUBLISHING, /* the flush in progress makes the unlink durable */
	FREED_UNLINKED,   /* no BAT on disk names it */
	FREED_ZEROING,    /* the flush in progress makes it durable-zero */
};

struct freed {
	uint32_t entry;
	uint64_t op_seq; /* requests up to this one may still touch it */
	enum freed_state state;
	struct freed *next;
};

struct space {
	uint32_t *slot; /* entries ready for use, highest first */
	uint32_t slots, slot_room;
	uint64_t end_off;   /* end of the highest block or slot */
	uint32_t next_grow; /* slots to make next time */
	struct freed *freed;
	uint64_t syncs;
};

/* `used_end_off`: end of the highest block in the BAT, or of the metadata. */
void space_init(struct space *space, uint64_t used_end_off);
void space_free(struct space *space);

/* Take a slot; makes new ones when there are none, at most `unallocated` at a time. */
enum err space_take(struct space *space, struct vhd_layer *layer, uint32_t unallocated,
		    uint32_t *entry, struct err_why *why);
/* A freed place has become durable-zero: it is a slot again. False: out of memory. */
bool space_add(struct space *space, uint32_t entry);
/* The block at `entry` was unlinked in memory: to be used again by W7. False: out of memory (the
 * space is then lost until the next compact, nothing else). */
bool space_release(struct space *space, uint32_t entry, uint64_t op_seq);

/*
 * Cut unused slots off the end of the file: footer at the new end, B, truncate, B (W11). `end_off`
 * is the end of the highest block the BAT names. Does nothing on a block device or when there
 * is less than one block to gain.
 */
enum err space_trim_tail(struct space *space, struct vhd_layer *layer, uint64_t end_off,
			 struct err_why *why);

#endif
