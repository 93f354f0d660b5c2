/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_VERBS_H
#define STRATA_VMCTL_VERBS_H

/* The verbs of vmctl, each in a file of its name. */

#include "cli/args.h"

extern const struct verb verb_create, verb_list, verb_show, verb_set, verb_delete, verb_start,
    verb_stop, verb_reset, verb_pause, verb_resume, verb_console, verb_kvp, verb_log, verb_disk_add,
    verb_disk_remove, verb_disk_resize, verb_import, verb_export, verb_snapshot_take,
    verb_snapshot_list, verb_snapshot_tree, verb_snapshot_revert, verb_snapshot_delete,
    verb_snapshot_rename, verb_snapshot_diff, verb_snapshot_export, verb_fold, verb_check;

#endif
