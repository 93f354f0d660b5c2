/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_VM_H
#define STRATA_VMCTL_VM_H

/*
 * The VM a verb is about. Functions that return int print what went wrong; they return 0 or the
 * exit code.
 */

#include "cli/args.h"
#include "snapshot/snapshot.h"

/* The option all verbs have; their struct has a member `const char *home`. */
/* clang-format off */
#define VM_HOME(type) \
	{"home", 0, OPT_TEXT, "DIR", offsetof(type, home), \
	 "folder of all VMs, instead of the usual one"}
/* clang-format on */

struct vm {
	const char *name; /* the caller's */
	char *home;       /* absolute */
	char *dir;
	struct store *store; /* NULL: located only */
};

/* The folder of all VMs, `given` or the usual one; free() it. */
int vm_home(const char *given, char **out);
/* Where the VM is or would be, without looking whether it is there. */
int vm_locate(const char *home, const char *name, struct vm *out);
/* `flags` is of enum snap_open_flags. */
int vm_open(const char *home, const char *name, unsigned flags, struct vm *out);
/* After vm_locate, a second step. */
int vm_open_store(struct vm *vm, unsigned flags);
void vm_close(struct vm *vm);

/* snap_tree, free it with snap_tree_free. */
int vm_tree(const struct vm *vm, unsigned flags, struct snap_tree *out);
/* The node that `text` names. */
int vm_find(const struct vm *vm, const struct snap_tree *tree, const char *text, unsigned *idx);
/* As vm_find, with "current" allowed: *id is NULL then, else it points into the tree. */
int vm_find_place(const struct vm *vm, const struct snap_tree *tree, const char *text,
		  const struct guid **id);
/* The node of that id; NULL when there is none. */
const struct snap_node *vm_node(const struct snap_tree *tree, const struct guid *id);

/* "off" or "running" */
const char *vm_state(const struct snap_tree *tree);

#endif
