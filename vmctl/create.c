/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "vmctl/config.h"
#include "vmctl/show.h"
#include "vmctl/verbs.h"

#define DEFAULT_MEMORY (512ull << 20)
#define DEFAULT_CPUS   1

struct create_args {
	struct common common;
	const char *home;
	struct opt_list disks;
	struct config_args config;
	bool copy;
};

static const struct opt create_opts[] = {
    {"disk", 'd', OPT_LIST, "FILE", offsetof(struct create_args, disks),
     "a VHD for a disk, with the chain below it; may be repeated"},
    {"copy", 0, OPT_FLAG, NULL, offsetof(struct create_args, copy),
     "copy the disks into the VM's folder, instead of using them where they are"},
    CONFIG_OPTS(struct create_args),
    VM_HOME(struct create_args),
    {0},
};

static void free_paths(char **paths, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		free(paths[i]);
}

/* Errors are printed; returns 0 or the exit code, and then `paths` holds nothing. */
static int absolute_disks(const struct opt_list *disks, char *paths[OPT_LIST_MAX])
{
	struct err_why why = {0};

	for (unsigned i = 0; i < disks->count; i++) {
		paths[i] = config_absolute(disks->item[i], &why);
		if (!paths[i]) {
			free_paths(paths, i);
			return out_fail(disks->item[i], &why);
		}
	}
	return 0;
}

static int create(const struct create_args *args, const struct vm *vm,
		  const struct snap_config *config)
{
	char *paths[OPT_LIST_MAX];
	struct snap_create_opts opts = {
	    .config = *config,
	    .disks = (const char *const *)paths,
	    .disk_count = args->disks.count,
	    .copy = args->copy,
	};
	struct cli_progress progress;
	struct err_why why = {0};
	int rc = absolute_disks(&args->disks, paths);
	enum err err;

	if (rc)
		return rc;
	opts.progress = progress_begin(&progress, args->common.progress, "create");
	err = snap_create(vm->dir, &opts, &why);
	progress_end(&progress);
	free_paths(paths, args->disks.count);
	return err ? out_fail(vm->name, &why) : 0;
}

static int run(void *arg)
{
	struct create_args *args = arg;
	struct snap_config config = {.memory_bytes = DEFAULT_MEMORY, .cpus = DEFAULT_CPUS};
	struct vm vm;
	int rc;

	if (args->copy && !args->disks.count)
		return out_usage("create", "--copy is for disks: give --disk");
	for (unsigned i = 0; i < args->disks.count; i++)
		if (!*args->disks.item[i])
			return out_usage("create", "--disk: an empty file name");
	rc = vm_locate(args->home, args->common.arg[0], &vm);
	if (rc)
		return rc;
	rc = config_apply("create", &args->config, &config);
	if (!rc)
		rc = create(args, &vm, &config);
	snap_config_free(&config);
	if (!rc)
		rc = vm_open_store(&vm, SNAP_READONLY);
	if (!rc)
		rc = show_vm(&vm, args->common.json);
	vm_close(&vm);
	return rc;
}

const struct verb verb_create = {
    .name = "create",
    .summary = "make a new VM",
    .usage = "NAME",
    .details =
	"Make a VM, which must not exist, and show it. It has 512 MiB of memory and one\n"
	"processor unless told otherwise. Disks are used where they are, and belong to the VM\n"
	"from then on; with --copy they are copied, and what was copied stays independent.\n"
	"All or nothing.",
    .opts = create_opts,
    .groups = GROUP_JSON | GROUP_PROGRESS,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct create_args),
    .run = run,
};
