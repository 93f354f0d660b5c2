/* SPDX-License-Identifier: MIT */
#include "cli/out.h"
#include "vmctl/config.h"
#include "vmctl/show.h"
#include "vmctl/verbs.h"

struct set_args {
	struct common common;
	const char *home;
	struct config_args config;
};

static const struct opt set_opts[] = {
    CONFIG_OPTS(struct set_args),
    VM_HOME(struct set_args),
    {0},
};

static int change(const struct set_args *args, const struct vm *vm)
{
	struct snap_config config;
	struct err_why why = {0};
	struct snap_tree tree;
	int rc = vm_tree(vm, 0, &tree);

	if (rc)
		return rc;
	if (snap_config_copy(&tree.config, &config)) {
		rc = config_apply("set", &args->config, &config);
		if (!rc && snap_set_config(vm->store, &config, &why))
			rc = out_fail(vm->name, &why);
	} else {
		err_set(&why, ERR_NOMEM, "no memory for a configuration");
		rc = out_fail(vm->name, &why);
	}
	snap_config_free(&config);
	snap_tree_free(&tree);
	return rc;
}

static int run(void *arg)
{
	struct set_args *args = arg;
	struct vm vm;
	int rc;

	if (!config_given(&args->config))
		return out_usage("set", "nothing to set was given");
	rc = vm_open(args->home, args->common.arg[0], 0, &vm);
	if (rc)
		return rc;
	rc = change(args, &vm);
	if (!rc)
		rc = show_vm(&vm, args->common.json);
	vm_close(&vm);
	return rc;
}

const struct verb verb_set = {
    .name = "set",
    .summary = "change a VM's configuration",
    .usage = "NAME",
    .details =
	"Change what the options name, leave the rest, and show the VM. A VM that runs has\n"
	"the new configuration from its next start. Snapshots keep theirs. Without a kernel\n"
	"there is no initrd and no command line: --kernel '' clears all three.",
    .opts = set_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct set_args),
    .run = run,
};
