/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_INFO_H
#define STRATA_VHDTOOL_INFO_H

/* What the headers of one file say, for people and as JSON. */

#include <jansson.h>

#include "vhd/vhd.h"

/* The object that `inspect` prints for a file; the caller owns it. */
json_t *info_json(const struct vhd_info *info);
void info_print(const struct vhd_info *info);

#endif
