/* SPDX-License-Identifier: MIT */
#include <stddef.h>

#include "cli/program.h"
#include "vmctl/verbs.h"

static const struct verb *const verbs[] = {
    &verb_create,
    &verb_list,
    &verb_show,
    &verb_set,
    &verb_delete,
    &verb_start,
    &verb_stop,
    &verb_reset,
    &verb_pause,
    &verb_resume,
    &verb_console,
    &verb_kvp,
    &verb_log,
    &verb_disk_add,
    &verb_disk_remove,
    &verb_disk_resize,
    &verb_import,
    &verb_export,
    &verb_snapshot_take,
    &verb_snapshot_list,
    &verb_snapshot_tree,
    &verb_snapshot_revert,
    &verb_snapshot_delete,
    &verb_snapshot_rename,
    &verb_snapshot_diff,
    &verb_snapshot_export,
    &verb_fold,
    &verb_check,
    NULL,
};

static const struct program vmctl = {
    .name = "vmctl",
    .summary = "Make and run virtual machines, and manage their snapshots.",
    .notes =
	"A snapshot is named by its name, its id, or the first 8 or more characters of the id.\n"
	"Sizes are bytes, or numbers with K, M, G or T (powers of 1024).\n"
	"VMs are in --home DIR, else in $STRATA_HOME, else in /var/lib/strata for root and in\n"
	"~/.local/share/strata for others.\n"
	"Exit codes: 0 done or nothing to do, 1 error, 2 something is lost, 3 repairable,\n"
	"63 unsupported format, 64 wrong usage, 75 in use by another program.\n",
    .operand = "name",
    .verbs = verbs,
};

int main(int argc, char **argv)
{
	return program_main(&vmctl, argc, argv);
}
