/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_EXPORT_H
#define STRATA_VMCTL_EXPORT_H

#include "vmctl/vm.h"

/* --flat and --chain; their struct has members of these names. */
/* clang-format off */
#define EXPORT_OPTS(type, flat_help, chain_help) \
	{"flat", 0, OPT_FLAG, NULL, offsetof(type, flat), flat_help}, \
	{"chain", 0, OPT_FLAG, NULL, offsetof(type, chain), chain_help}
/* clang-format on */

/* Export, with progress, and say so. Errors are printed; returns 0 or the exit code. */
int export_place(const struct vm *vm, const struct guid *id, enum snap_export_kind kind,
		 const char *to, const struct common *common);

#endif
