/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "cli/ask.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct check_args {
	struct common common;
	const char *home;
	bool full, repair, yes;
};

static const struct opt check_opts[] = {
    {"full", 'f', OPT_FLAG, NULL, offsetof(struct check_args, full),
     "verify the structures of every layer too"},
    {"repair", 'r', OPT_FLAG, NULL, offsetof(struct check_args, repair),
     "mend what can be mended, after asking"},
    {"yes", 'y', OPT_FLAG, NULL, offsetof(struct check_args, yes), "repair without asking"},
    VM_HOME(struct check_args),
    {0},
};

static const char *kind_name(enum snap_finding_kind kind)
{
	static const char *const names[] = {
	    [SNAP_NOTE] = "note",
	    [SNAP_REPAIRABLE] = "repairable",
	    [SNAP_LOST] = "lost",
	};

	return names[kind];
}

static const char *result_name(const struct snap_report *report)
{
	enum err result = snap_report_result(report);

	return result == ERR_OK ? "clean" : result == ERR_REPAIRABLE ? "repairable" : "corrupt";
}

static void show_json(const struct vm *vm, const struct snap_report *report, bool repaired)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->count; i++) {
		const struct snap_finding *finding = &report->finding[i];

		json_array_append_new(
		    list, json_pack("{s:s, s:o, s:o}", "kind", kind_name(finding->kind), "what",
				    json_text(finding->what), "action",
				    json_text(finding->action[0] ? finding->action : NULL)));
	}
	json_emit(json_pack("{s:o, s:s, s:b, s:i, s:i, s:o}", "name", json_text(vm->name), "result",
			    result_name(report), "repaired", repaired, "nodes", (int)report->nodes,
			    "layers", (int)report->layers, "findings", list));
}

/* The engine escapes names in what it says; escaping twice would double their backslashes. */
static void show_text(const struct vm *vm, const struct snap_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		printf("%s: %s: %s\n", out_name(vm->name), kind_name(report->finding[i].kind),
		       report->finding[i].what);
	printf("%s: %s, %u snapshots, %u layers\n", out_name(vm->name), result_name(report),
	       report->nodes, report->layers);
}

/* Print what repair would do; false when that is nothing. */
static bool print_plan(const struct snap_report *report)
{
	bool any = false;

	for (size_t i = 0; i < report->count; i++) {
		const struct snap_finding *finding = &report->finding[i];

		if (!finding->action[0])
			continue;
		fprintf(stderr, "%s  %s: %s\n", any ? "" : "Plan:\n", finding->what,
			finding->action);
		any = true;
	}
	return any;
}

static bool confirmed(const struct check_args *args)
{
	enum answer answer = args->yes ? ANSWER_YES : ask_yes("Carry this out? Type yes: ");

	if (answer != ANSWER_YES)
		out_note(args->common.arg[0], "nothing was changed%s",
			 answer == ANSWER_NOBODY ? ": repairing needs --yes" : "");
	return answer == ANSWER_YES;
}

static int check(const struct check_args *args, const struct vm *vm, struct snap_report *out)
{
	struct cli_progress progress;
	struct err_why why = {0};
	enum err err;

	err = snap_check(&file_ns_posix, vm->dir, args->full,
			 progress_begin(&progress, args->common.progress, "check"), out, &why);
	progress_end(&progress);
	return err ? out_fail(vm->name, &why) : 0;
}

/* Repair; *report is then one of a new check, the state afterwards. */
static int repair(const struct check_args *args, const struct vm *vm, struct snap_report *report)
{
	struct snap_report done = {0};
	struct err_why why = {0};
	enum err err;

	err = snap_repair(&file_ns_posix, vm->dir, &done, &why);
	snap_report_free(&done);
	if (err)
		return out_fail(vm->name, &why);
	snap_report_free(report);
	*report = (struct snap_report){0};
	return check(args, vm, report);
}

static int run(void *arg)
{
	struct check_args *args = arg;
	struct snap_report report = {0};
	bool repaired = false;
	struct vm vm;
	int rc = vm_locate(args->home, args->common.arg[0], &vm);

	if (rc)
		return rc;
	rc = check(args, &vm, &report);
	if (!rc && args->repair && print_plan(&report) && !args->common.dry_run &&
	    confirmed(args)) {
		rc = repair(args, &vm, &report);
		repaired = !rc;
	}
	if (!rc) {
		if (args->common.json)
			show_json(&vm, &report, repaired);
		else
			show_text(&vm, &report);
		rc = err_exit_code(snap_report_result(&report));
	}
	snap_report_free(&report);
	vm_close(&vm);
	return rc;
}

const struct verb verb_check = {
    .name = "check",
    .summary = "verify a VM's folder, and mend it",
    .usage = "NAME",
    .details =
	"Compare the catalogue with the files that are there and with what their headers say;\n"
	"with --full verify every layer, too. Exits 0 when all is well, 2 when something is\n"
	"lost, 3 when --repair can mend it without losing anything. --repair prints its plan\n"
	"first and needs a yes typed at a terminal, or --yes; the exit code then tells the\n"
	"state afterwards. It never removes a layer that holds data.",
    .opts = check_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON | GROUP_PROGRESS,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct check_args),
    .run = run,
};
