/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_MERGE_GUARD_H
#define STRATA_VHD_MERGE_GUARD_H

/*
 * What a merge that is under way means for whoever opens the files it is about (W17, P3).
 *
 *            note written             all copied: marked            child gone
 *   idle --------------------> copying -------------> copied -----------------> finishing -> idle
 *
 *  M1 From "copying" on the ancestor holds content of the child, perhaps not all of it. It is read
 *     only through the child, which overlays whatever has been copied.
 *  M2 From "copied" on the ancestor shows what the child shows. It goes by both UUIDs, so that the
 *     child's own children may be told, one by one, that it is their parent now.
 *  M3 The child is removed after it was marked, the ancestor's UUID changed after that, the files
 *     between the two removed after that, and the note last. With the child gone the next writable
 *     open of the ancestor does what is left; a read-only one needs nothing of it.
 *
 * So at every moment either the child opens, or the ancestor does in its place.
 */

#include "vhd/chain.h"

/*
 * Before `path` is opened as a disk of its own: ERR_REPAIRABLE while a merge into it is half done
 * (M1); with `writable` one that only has to be finished is finished (M3).
 */
enum err merge_settle(struct file_ns *ns, const char *path, bool writable, struct err_why *why);

/* The same for the parents in a chain: ERR_REPAIRABLE for one that may not be read in this way. */
enum err merge_check_parents(struct file_ns *ns, const struct vhd_chain *chain,
			     struct err_why *why);

/* Whether the disk goes by this UUID as well (M2). */
bool merge_answers_to(struct file_ns *ns, const struct vhd_layer *layer, const struct guid *uuid);

/*
 * The child has been removed, durably: do what is left (M3). ERR_OK when there is no note. Of the
 * folded files those in the ancestor's folder and below are removed, if they still are what the
 * note says; a note cannot name files elsewhere for removal.
 */
enum err merge_finish(struct file_ns *ns, const char *ancestor, struct err_why *why);

#endif
