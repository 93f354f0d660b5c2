/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_NODE_H
#define STRATA_VMCTL_NODE_H

/* Snapshots, disks and debt as JSON and as text. */

#include <jansson.h>

#include "vmctl/vm.h"

#define SHORT_ID_BYTES 9 /* 8 characters, which snap_find takes, and the NUL */

/* The first characters of an id in `out`; returns `out`. */
const char *node_short_id(const struct guid *id, char out[SHORT_ID_BYTES]);

/* An id as JSON; null for NULL and for zero. */
json_t *id_json(const struct guid *id);
json_t *disks_json(const struct snap_disk *disk, unsigned count);
json_t *node_json(const struct snap_tree *tree, unsigned idx);
/* All nodes, parents before children. */
json_t *nodes_json(const struct snap_tree *tree);
/* Print the JSON of one node; nothing when it is gone meanwhile. Returns 0 or the exit code. */
int node_emit(const struct vm *vm, const struct guid *id);
json_t *debt_json(const struct snap_debt *debt);

/* The id of the node current stands on; NULL: none. */
const struct guid *current_id(const struct snap_tree *tree);

/* Whether anything of the debt can be folded. */
bool debt_is_foldable(const struct snap_debt *debt);
/* A row, "waiting to fold   3 layers, 1.2 GiB". */
void debt_print(const struct snap_debt *debt);

#endif
