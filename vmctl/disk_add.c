/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "cli/out.h"
#include "vmctl/config.h"
#include "vmctl/disk.h"
#include "vmctl/verbs.h"

struct disk_add_args {
	struct common common;
	const char *home;
};

static const struct opt disk_add_opts[] = {
    VM_HOME(struct disk_add_args),
    {0},
};

static enum err add(struct store *store, void *path, struct err_why *why)
{
	unsigned slot;

	return snap_disk_add(store, path, &slot, why);
}

/* The process of a VM that runs cannot look at other VMs. */
static int check_owner(const char *home, const char *name, const char *path)
{
	struct err_why why = {0};
	struct vm vm;
	int rc = vm_locate(home, name, &vm);

	if (!rc && snap_disk_check_owner(&file_ns_posix, vm.dir, path, &why))
		rc = out_fail(vm.name, &why);
	vm_close(&vm);
	return rc;
}

static int run(void *arg)
{
	struct disk_add_args *args = arg;
	const char *name = args->common.arg[0];
	struct err_why why = {0};
	char *path = config_absolute(args->common.arg[1], &why);
	json_t *request;
	int rc;

	if (!path)
		return out_fail(args->common.arg[1], &why);
	rc = check_owner(args->home, name, path);
	if (!rc) {
		request = json_pack("{s:s, s:o}", "do", "disk-attach", "path", json_text(path));
		rc = disk_change(args->home, name, args->common.json, request, add, path);
	}
	free(path);
	return rc;
}

const struct verb verb_disk_add = {
    .name = "disk add",
    .summary = "give a VM one more disk",
    .usage = "NAME FILE",
    .details =
	"The VHD, with the chain below it, stays where it is and belongs to the VM from now on.\n"
	"It gets the first free number. The guest of a VM that runs sees it at once; then the\n"
	"file has to be in a folder the VM could use at its start: its own, or one that\n"
	"'start --allow' named. Shows the VM.",
    .opts = disk_add_opts,
    .groups = GROUP_JSON,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct disk_add_args),
    .run = run,
};
