/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "cli/ask.h"
#include "cli/out.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct delete_args {
	struct common common;
	const char *home;
	bool yes;
};

static const struct opt delete_opts[] = {
    {"yes", 'y', OPT_FLAG, NULL, offsetof(struct delete_args, yes), "delete without asking"},
    VM_HOME(struct delete_args),
    {0},
};

/* What would be lost, as words. ERR_NOENT only: a damaged VM has to be deletable too. */
static enum err extent(const struct vm *vm, char *out, size_t out_bytes, struct err_why *why)
{
	struct store *store = NULL;
	struct snap_tree tree;
	enum err err;

	snprintf(out, out_bytes, ", which is damaged,");
	err = snap_open(&file_ns_posix, vm->dir, SNAP_READONLY, &store, why);
	if (err == ERR_NOENT)
		return err;
	if (!err && !snap_tree(store, 0, &tree, why)) {
		snprintf(out, out_bytes, " with its %u snapshots", tree.count);
		snap_tree_free(&tree);
	}
	snap_close(store);
	return ERR_OK;
}

/* Returns 0 for a yes, else the exit code. */
static int confirm(const struct vm *vm)
{
	char question[1024], what[64];
	struct err_why why = {0};
	enum answer answer;

	if (extent(vm, what, sizeof(what), &why))
		return out_fail(vm->name, &why);
	snprintf(question, sizeof(question), "Delete %s%s for good? Type yes: ", out_name(vm->name),
		 what);
	answer = ask_yes(question);
	if (answer == ANSWER_NOBODY)
		return out_usage("delete", "%s was not deleted: without a terminal --yes is wanted",
				 out_name(vm->name));
	if (answer == ANSWER_YES)
		return 0;
	out_note(vm->name, "was not deleted");
	return 1;
}

static int remove_vm(const struct vm *vm, bool json)
{
	struct err_why why = {0};

	if (snap_remove(&file_ns_posix, vm->dir, &why))
		return out_fail(vm->name, &why);
	if (json)
		json_emit(json_pack("{s:o, s:o}", "name", json_text(vm->name), "path",
				    json_text(vm->dir)));
	return 0;
}

static int run(void *arg)
{
	struct delete_args *args = arg;
	struct vm vm;
	int rc = vm_locate(args->home, args->common.arg[0], &vm);

	if (rc)
		return rc;
	if (!args->yes)
		rc = confirm(&vm);
	if (!rc)
		rc = remove_vm(&vm, args->common.json);
	vm_close(&vm);
	return rc;
}

const struct verb verb_delete = {
    .name = "delete",
    .summary = "delete a VM with all its snapshots",
    .usage = "NAME",
    .details = "Delete the VM's folder with everything of it, also when it is damaged. Disks that\n"
	       "live elsewhere stay. Asks at a terminal; elsewhere --yes is wanted.",
    .opts = delete_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct delete_args),
    .run = run,
};
