/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_LOCATOR_STORE_H
#define STRATA_VHD_LOCATOR_STORE_H

/*
 * Parent locators of an image that exists already: finding room for them and changing them together
 * with the header, all or nothing (an intent record, W19).
 *
 * Room is, in this order: that of the present locators, as far as it really is theirs; a gap
 * between blocks; new room at the end of the file, which grows first (W3).
 */

#include "vhd/edit.h"

struct locator_new {
	uint8_t *data;
	uint32_t len_bytes; /* at most LOCATOR_MAX_BYTES, not 0 */
	uint8_t code[4];
};

/*
 * The image gets `header`, with these locators and no others (what the header says of them is
 * replaced). The BAT counts as ending at `clear_to`, when that is more than where it ends: nothing
 * is put there. Durable on return; edit->layer->header and what the edit knows of locators are then
 * the new ones. Before the record is written nothing but free room has changed.
 */
enum err locators_store(struct edit *edit, struct file_ns *ns, const struct vhd_header *header,
			const struct locator_new *items, unsigned count, uint64_t clear_to,
			struct err_why *why);

/* Move the locators' data out of [the end of the BAT, clear_to); nothing when none is there. */
enum err locators_clear(struct edit *edit, struct file_ns *ns, uint64_t clear_to,
			struct err_why *why);

#endif
