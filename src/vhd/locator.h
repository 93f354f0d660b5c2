/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_LOCATOR_H
#define STRATA_VHD_LOCATOR_H

/*
 * Parent locators and the parent name (specification, "Parent Locator Entries"): the places where a
 * differencing image says its parent is. W2ru (relative) and W2ku (absolute) are UTF-16LE; the
 * old Wi2r and Wi2k are bytes of a code page, taken only when they are plain ASCII; MacX is a
 * URL in UTF-8. Everything else is ignored. All of it is hostile input and only ever a hint:
 * what decides is the parent's UUID.
 */

#include <stdbool.h>

#include "util/err.h"
#include "vhd/layer.h"

#define LOCATOR_MAX_BYTES (64u << 10)

/*
 * The path of locator `slot` in UTF-8, as stored (backslashes and all). ERR_NOENT for an empty or
 * unknown slot, ERR_CORRUPT when it breaks a rule. free() the result.
 */
enum err locator_read(struct vhd_layer *layer, unsigned slot, char **out, struct err_why *why);

/* The parent name of the header in UTF-8; NULL when empty, not valid, or out of memory. */
char *header_parent_name(const struct vhd_header *header);

/*
 * Store `name` as the parent name, cut to what fits on a character. False on invalid UTF-8, and on
 * a backslash, which readers take for a separator.
 */
bool header_set_parent_name(struct vhd_header *header, const char *name);

/* UTF-16LE bytes of a locator for `path` with slashes turned to backslashes. free() *data. */
enum err locator_encode(const char *path, uint8_t **data, uint32_t *len_bytes, struct err_why *why);

/*
 * The path of `to` as seen from the folder of `from`, as a W2ru locator holds it: ".\\name",
 * "..\\base\\name". Both are absolute and normalised. NULL when out of memory.
 */
char *locator_relative_path(const char *from, const char *to);

#endif
