/* SPDX-License-Identifier: MIT */
#include "vmctl/export.h"

#include <stdio.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"

struct export_args {
	struct common common;
	const char *home;
	bool flat, chain;
};

static const struct opt export_opts[] = {
    EXPORT_OPTS(struct export_args, "only what is current, one VHD for each disk",
		"only what is current, as a chain of VHDs"),
    VM_HOME(struct export_args),
    {0},
};

static const char *kind_name(enum snap_export_kind kind)
{
	static const char *const names[] = {
	    [SNAP_EXPORT_FLAT] = "flat",
	    [SNAP_EXPORT_CHAIN] = "chain",
	    [SNAP_EXPORT_VM] = "vm",
	};

	return names[kind];
}

int export_place(const struct vm *vm, const struct guid *id, enum snap_export_kind kind,
		 const char *to, const struct common *common)
{
	struct cli_progress progress;
	struct err_why why = {0};
	enum err err;

	err = snap_export(vm->store, id, kind, to,
			  progress_begin(&progress, common->progress, "export"), &why);
	progress_end(&progress);
	if (err)
		return out_fail(vm->name, &why);
	if (common->json)
		json_emit(json_pack("{s:o, s:o, s:s, s:o}", "name", json_text(vm->name), "node",
				    id_json(id), "kind", kind_name(kind), "path", json_text(to)));
	return 0;
}

static int run(void *arg)
{
	struct export_args *args = arg;
	enum snap_export_kind kind = args->flat    ? SNAP_EXPORT_FLAT
				     : args->chain ? SNAP_EXPORT_CHAIN
						   : SNAP_EXPORT_VM;
	struct vm vm;
	int rc;

	if (args->flat && args->chain)
		return out_usage("export", "--flat and --chain exclude each other");
	rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);
	if (rc)
		return rc;
	rc = export_place(&vm, NULL, kind, args->common.arg[1], &args->common);
	vm_close(&vm);
	return rc;
}

const struct verb verb_export = {
    .name = "export",
    .summary = "copy a VM with its snapshots to a folder",
    .usage = "NAME DIR",
    .details =
	"Copy the VM with all its snapshots to DIR, which must not exist; 'vmctl import' makes\n"
	"a VM of it again. With --flat or --chain only what is current, without snapshots.\n"
	"The disks in DIR are plain VHDs that other programs open. When it fails or is\n"
	"stopped nothing is left behind.",
    .opts = export_opts,
    .groups = GROUP_JSON | GROUP_PROGRESS,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct export_args),
    .run = run,
};
