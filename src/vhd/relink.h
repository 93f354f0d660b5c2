/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_RELINK_H
#define STRATA_VHD_RELINK_H

#include "vhd/edit.h"

/* What a child is to say of its parent. */
struct relink_to {
	const char *path; /* absolute (path_absolute) */
	struct guid uuid;
	uint32_t timestamp;
};

/*
 * Rewrite parent name, UUID, time stamp and locators (W2ku, W2ru; any others are dropped) of a
 * differencing image, all or nothing. Whether the parent is the right one was the caller's
 * question.
 */
enum err relink_edit(struct edit *edit, struct file_ns *ns, const struct relink_to *to,
		     struct err_why *why);

#endif
