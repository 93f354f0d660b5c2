/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <unistd.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "vmctl/background.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"

/* Of the pauses, each twice as long as the one before. */
#define MOST_WAIT_SECONDS 16u

struct fold_args {
	struct common common;
	const char *home;
	struct opt_size budget;
	bool background;
};

static const struct opt fold_opts[] = {
    {"budget", 'b', OPT_SIZE, "SIZE", offsetof(struct fold_args, budget),
     "stop after about so much was moved"},
    {"background", 0, OPT_FLAG, NULL, offsetof(struct fold_args, background),
     "leave the processor and most of the disk's time to others"},
    VM_HOME(struct fold_args),
    {0},
};

static int read_debt(const struct vm *vm, struct snap_debt *out)
{
	struct snap_tree tree;
	int rc = vm_tree(vm, SNAP_TREE_SIZES, &tree);

	if (rc)
		return rc;
	*out = tree.debt;
	snap_tree_free(&tree);
	return 0;
}

/* One run, added to *out. */
static enum err fold_once(struct store *store, const struct snap_fold_opts *opts,
			  struct snap_fold_result *out, struct err_why *why)
{
	struct snap_fold_result result = {0};
	enum err err = snap_fold(store, opts, &result, why);

	out->folded += result.folded;
	out->moved_bytes += result.moved_bytes;
	out->busy = result.busy;
	out->more = result.more;
	return err;
}

static int fold(const struct fold_args *args, const struct vm *vm, struct snap_fold_result *out)
{
	struct snap_fold_opts opts = {
	    .budget_bytes = args->budget.bytes,
	    .background = args->background,
	};
	unsigned wait_seconds = 1;
	struct cli_progress progress;
	struct err_why why = {0};
	enum err err;

	opts.progress = progress_begin(&progress, args->common.progress, "fold");
	err = fold_once(vm->store, &opts, out, &why);
	/* In the background nobody waits for us: what is in use now may be free soon. */
	while (args->background && (err == ERR_LOCKED || (!err && out->busy)) &&
	       wait_seconds <= MOST_WAIT_SECONDS && !progress_stopped()) {
		sleep(wait_seconds);
		wait_seconds *= 2;
		err = fold_once(vm->store, &opts, out, &why);
	}
	progress_end(&progress);
	return err ? out_fail(vm->name, &why) : 0;
}

static void show_json(const struct vm *vm, const struct snap_debt *before,
		      const struct snap_fold_result *result, const struct snap_debt *after,
		      bool dry_run)
{
	json_emit(json_pack("{s:o, s:o, s:i, s:i, s:o, s:b, s:o, s:b}", "name", json_text(vm->name),
			    "debt_before", debt_json(before), "folded", (int)result->folded, "busy",
			    (int)result->busy, "moved_bytes", json_size(result->moved_bytes),
			    "more", result->more, "debt", debt_json(after), "dry_run", dry_run));
}

static void show_text(const struct snap_fold_result *result)
{
	out_row("folded", "%u layers, %s moved", result->folded, out_size(result->moved_bytes));
	if (result->busy)
		out_row("in use", "%u layers, left for later", result->busy);
	if (result->more)
		out_row("budget", "used up, there is more to fold");
}

static int run(void *arg)
{
	struct fold_args *args = arg;
	bool dry_run = args->common.dry_run, json = args->common.json;
	struct snap_fold_result result = {0};
	struct snap_debt before, after;
	struct vm vm;
	int rc;

	if (args->budget.given && !args->budget.bytes)
		return out_usage("fold", "--budget must not be 0");
	if (args->background)
		background_priority();
	rc = vm_open(args->home, args->common.arg[0], dry_run ? SNAP_READONLY : 0, &vm);
	if (rc)
		return rc;
	rc = read_debt(&vm, &before);
	if (!rc && !json) {
		printf("%s\n", out_name(vm.name));
		debt_print(&before);
	}
	if (!rc && !dry_run)
		rc = fold(args, &vm, &result);
	if (!rc && json)
		rc = read_debt(&vm, &after);
	if (!rc && json)
		show_json(&vm, &before, &result, &after, dry_run);
	else if (!rc && !dry_run)
		show_text(&result);
	vm_close(&vm);
	return rc;
}

const struct verb verb_fold = {
    .name = "fold",
    .summary = "remove the layers of deleted snapshots",
    .usage = "NAME",
    .details =
	"Layers that no snapshot needs any more, but whose blocks others read, are folded\n"
	"into their neighbours and removed. Nothing that can be read changes meanwhile, and\n"
	"everything else may be done with the VM. May be stopped at any time and asked for\n"
	"again. --dry-run only tells what is waiting. Layers that several others build on are\n"
	"shared: they cost nothing and stay.",
    .opts = fold_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON | GROUP_PROGRESS,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct fold_args),
    .run = run,
};
