/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "cli/out.h"
#include "util/bytes.h"
#include "vmctl/call.h"
#include "vmctl/columns.h"
#include "vmctl/state.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

#define NAME_COLUMNS 20u

struct list_args {
	struct common common;
	const char *home;
};

static const struct opt list_opts[] = {
    VM_HOME(struct list_args),
    {0},
};

/* One VM as it is to be listed; `state` NULL: it cannot be opened, `why` says why. */
struct entry {
	char *dir;
	const char *state;
	unsigned nodes;
	struct err_why why;
};

/* False when the VM is gone meanwhile. */
static bool look(const char *home, const char *name, struct entry *out)
{
	struct store *store = NULL;
	struct snap_tree tree;
	enum err err;

	*out = (struct entry){0};
	err = snap_vm_dir(home, name, &out->dir, &out->why);
	if (!err)
		err = snap_open(&file_ns_posix, out->dir, SNAP_READONLY, &store, &out->why);
	if (!err)
		err = snap_tree(store, 0, &tree, &out->why);
	if (!err) {
		json_t *status = call_status(out->dir);

		out->state = state_name(&tree, status);
		json_decref(status);
		out->nodes = tree.count;
		snap_tree_free(&tree);
	}
	snap_close(store);
	return err != ERR_NOENT;
}

static json_t *entry_json(const char *name, const struct entry *entry)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "name", json_text(name), "path",
			 json_text(entry->dir), "state", json_text(entry->state), "nodes",
			 entry->state ? json_size(entry->nodes) : json_null(), "error",
			 json_text(entry->state ? NULL : entry->why.text));
}

static void print_entry(const char *name, unsigned columns, const struct entry *entry)
{
	columns_print(out_name(name), columns);
	if (entry->state)
		printf("  %-8s %9u  %s\n", entry->state, entry->nodes, out_name(entry->dir));
	else
		printf("  %-8s %9s  %s\n", "damaged", "-", out_name(entry->dir));
}

/* Room for the longest name, but not for extremes. */
static unsigned name_columns(char *const *names, unsigned count)
{
	unsigned columns = 4;

	for (unsigned i = 0; i < count; i++) {
		unsigned own = columns_of(out_name(names[i]));

		if (own > columns && own <= 2 * NAME_COLUMNS)
			columns = own;
	}
	return columns < NAME_COLUMNS ? NAME_COLUMNS : columns;
}

static void list(const char *home, char *const *names, unsigned count, bool json)
{
	json_t *root = json ? json_array() : NULL;
	unsigned columns;

	columns_begin();
	columns = name_columns(names, count);
	if (!json && count)
		printf("%-*s  %-8s %9s  %s\n", (int)columns, "NAME", "STATE", "SNAPSHOTS",
		       "FOLDER");
	for (unsigned i = 0; i < count; i++) {
		struct entry entry;

		if (look(home, names[i], &entry)) {
			if (json)
				json_array_append_new(root, entry_json(names[i], &entry));
			else
				print_entry(names[i], columns, &entry);
			if (!entry.state)
				out_note(names[i], "%s", entry.why.text);
		}
		free(entry.dir);
	}
	if (json)
		json_emit(root);
}

static int run(void *arg)
{
	struct list_args *args = arg;
	struct err_why why = {0};
	unsigned count;
	char *home, **names;
	int rc = vm_home(args->home, &home);

	if (rc)
		return rc;
	if (snap_list_vms(home, &names, &count, &why)) {
		rc = out_fail(home, &why);
	} else {
		list(home, names, count, args->common.json);
		for (unsigned i = 0; i < count; i++)
			free(names[i]);
		free(names);
	}
	free(home);
	return rc;
}

const struct verb verb_list = {
    .name = "list",
    .summary = "list all VMs",
    .usage = "",
    .details = "List the VMs, whether they run, how many snapshots they have, and where they are.\n"
	       "One that cannot be opened is listed as damaged, with the reason on stderr.",
    .opts = list_opts,
    .groups = GROUP_JSON,
    .min_args = 0,
    .max_args = 0,
    .args_bytes = sizeof(struct list_args),
    .run = run,
};
