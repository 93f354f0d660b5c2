/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_KILL_CONTENT_H
#define STRATA_TESTS_KILL_CONTENT_H

/* What sectors hold: tag and place in each word, so that what is torn or misplaced is recognised.
 */

#include "block/queue.h"
#include "snapshot/snapshot.h"
#include "tests/kill/log.h"

void content_fill(uint8_t *sector, uint32_t tag, uint32_t place);
/* False: it is neither zeros nor anything that was ever written to this place. */
bool content_tag(const uint8_t *sector, uint32_t place, uint32_t *tag);
/*
 * As content_tag and tag_fits, while it was being written to: the system promises the reader of a
 * page that is just being filled nothing about sectors, so each word is looked at.
 */
bool content_fits_torn(const uint8_t *sector, uint32_t place, uint32_t low, uint64_t high);

/* What a whole view reads as; `tags` has room for all places. */
bool content_of_view(struct snap_view *view, struct queue *queue, uint32_t *tags,
		     struct err_why *why);
/* ERR_CORRUPT names the first place that is out of bounds. */
bool content_fits(const uint32_t *tags, const uint32_t *low, const uint64_t *high,
		  struct err_why *why);
/* The bounds of one that reads so. */
void content_bounds(const uint32_t *tags, struct bounds *out);

#endif
