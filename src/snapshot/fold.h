/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_FOLD_H
#define STRATA_SNAPSHOT_FOLD_H

/*
 * Folding (W17). A layer that is debt - no node, no leaf, only others build on it - and the one
 * above it become one file. Two directions:
 *
 *   up    what the lower layer has and the upper one has not is copied into the upper one; then the
 *         catalogue says that the upper one's parent is the lower one's
 *   down  what the upper layer has is copied into the lower one; then the lower file takes the
 *         upper layer's UUID and, in the catalogue, its place
 *
 * Neither changes what is read through the upper layer while it goes on. The steps:
 *
 *   catalogue: fold, COPY, B -> payload in slices, B, catalogue: how far, B -> down only: SETTLE,
 *   B, UUID, B -> catalogue without the fold, B -> headers of children (relink) -> file removed
 *
 * Before SETTLE a fold may be called off at any time: the target then has sectors nobody reads.
 * From the beginning the target's identity counts as unknown, so that it is not taken for a layer
 * somebody else has changed. From SETTLE on whoever changes the catalogue next finishes it.
 *
 * The top of several layers of debt goes first: then each sector moves once.
 */

#include "snapshot/store.h"

struct fold_pick {
	uint64_t lower, upper; /* 0: nothing to fold */
	bool down;
	uint64_t bytes; /* to be moved */
	unsigned busy;  /* layers that cannot be folded now */
};

/*
 * What to fold next, in a copy of the catalogue, but for layers among `skipped`. Looks at metadata
 * of layers; no lock needed.
 */
enum err fold_choose(struct store *store, const struct catalogue *cat, const uint64_t *skipped,
		     unsigned skips, struct fold_pick *out, struct err_why *why);

/*
 * When a leaf is folded down: from here to store_end nobody opens it. ERR_LOCKED: somebody has. It
 * comes before the settling, so that what cannot be finished is not begun.
 */
enum err fold_lock_leaf(struct store *store, const struct catalogue *cat, struct err_why *why);

/* Is the pair still one that can be folded? */
bool fold_is_valid(const struct catalogue *cat, const struct fold_pick *pick);

#endif
