/* SPDX-License-Identifier: MIT */
#include <stddef.h>

#include "cli/program.h"
#include "vhdtool/verbs.h"

static const struct verb *const verbs[] = {
    &verb_create, &verb_inspect, &verb_check, &verb_compact, &verb_expand,  &verb_shrink,
    &verb_resize, &verb_convert, &verb_merge, &verb_relink,  &verb_compare, &verb_diff,
    &verb_map,    &verb_measure, &verb_bench, &verb_mount,   &verb_umount,  NULL,
};

static const struct program vhdtool = {
    .name = "vhdtool",
    .summary = "Create, inspect, check, change and read Virtual Hard Disks (VHD).",
    .notes = "Sizes are bytes, or numbers with K, M, G or T (powers of 1024).\n"
	     "Exit codes: 0 done or nothing to do, 1 error, 2 corrupt image, 3 repairable image,\n"
	     "63 unsupported format, 64 wrong usage, 75 locked by another program.\n",
    .operand = "file name",
    .verbs = verbs,
};

int main(int argc, char **argv)
{
	return program_main(&vhdtool, argc, argv);
}
