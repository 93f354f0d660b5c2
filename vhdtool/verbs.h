/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_VERBS_H
#define STRATA_VHDTOOL_VERBS_H

/* The verbs of vhdtool, each in a file of its name. */

#include "cli/args.h"

extern const struct verb verb_create, verb_inspect, verb_check, verb_compact, verb_expand,
    verb_shrink, verb_resize, verb_convert, verb_merge, verb_relink, verb_compare, verb_diff,
    verb_map, verb_measure, verb_bench, verb_mount, verb_umount;

#endif
