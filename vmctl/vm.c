/* SPDX-License-Identifier: MIT */
#include "vmctl/vm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/out.h"

/* One that is not there has no VMs; what is no folder was named by mistake. */
static enum err check_home(const char *home, struct err_why *why)
{
	struct stat st;

	if (stat(home, &st) < 0 || S_ISDIR(st.st_mode))
		return ERR_OK;
	return err_set(why, ERR_NOENT, "the home of all VMs is not a folder");
}

int vm_home(const char *given, char **out)
{
	struct err_why why = {0};
	int rc;

	if (given && !*given)
		return out_usage(NULL, "--home: an empty name");
	if (snap_home(given, out, &why))
		return out_fail(NULL, &why);
	if (!check_home(*out, &why))
		return 0;
	rc = out_fail(*out, &why);
	free(*out);
	*out = NULL;
	return rc;
}

int vm_locate(const char *home, const char *name, struct vm *out)
{
	struct err_why why = {0};
	int rc;

	*out = (struct vm){.name = name};
	rc = vm_home(home, &out->home);
	if (!rc && snap_vm_dir(out->home, name, &out->dir, &why))
		rc = out_fail(NULL, &why);
	if (rc)
		vm_close(out);
	return rc;
}

int vm_open_store(struct vm *vm, unsigned flags)
{
	struct err_why why = {0};

	if (snap_open(&file_ns_posix, vm->dir, flags, &vm->store, &why))
		return out_fail(vm->name, &why);
	return 0;
}

int vm_open(const char *home, const char *name, unsigned flags, struct vm *out)
{
	int rc = vm_locate(home, name, out);

	if (rc)
		return rc;
	rc = vm_open_store(out, flags);
	if (rc)
		vm_close(out);
	return rc;
}

void vm_close(struct vm *vm)
{
	snap_close(vm->store);
	free(vm->home);
	free(vm->dir);
	*vm = (struct vm){0};
}

int vm_tree(const struct vm *vm, unsigned flags, struct snap_tree *out)
{
	struct err_why why = {0};

	return snap_tree(vm->store, flags, out, &why) ? out_fail(vm->name, &why) : 0;
}

int vm_find(const struct vm *vm, const struct snap_tree *tree, const char *text, unsigned *idx)
{
	struct err_why why = {0};

	return snap_find(tree, text, idx, &why) ? out_fail(vm->name, &why) : 0;
}

int vm_find_place(const struct vm *vm, const struct snap_tree *tree, const char *text,
		  const struct guid **id)
{
	unsigned idx;
	int rc;

	*id = NULL;
	if (!strcmp(text, "current"))
		return 0;
	rc = vm_find(vm, tree, text, &idx);
	if (!rc)
		*id = &tree->node[idx].id;
	return rc;
}

const struct snap_node *vm_node(const struct snap_tree *tree, const struct guid *id)
{
	for (unsigned i = 0; i < tree->count; i++)
		if (guid_equal(&tree->node[i].id, id))
			return &tree->node[i];
	return NULL;
}

const char *vm_state(const struct snap_tree *tree)
{
	return tree->running ? "running" : "off";
}
