/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/ask.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "vhd/vhd.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

struct check_args {
	struct common common;
	struct image_args image;
	bool chain, repair, yes;
};

static const struct opt check_opts[] = {
    {"chain", 'c', OPT_FLAG, NULL, offsetof(struct check_args, chain),
     "check the disk's ancestors too"},
    {"repair", 'r', OPT_FLAG, NULL, offsetof(struct check_args, repair),
     "mend what can be mended without losing data, after asking"},
    {"yes", 'y', OPT_FLAG, NULL, offsetof(struct check_args, yes), "repair without asking"},
    IMAGE_PARENT(struct check_args),
    IMAGE_SEARCH(struct check_args),
    {0},
};

struct reports {
	struct vhd_report *report;
	unsigned count;
};

static const char *kind_name(enum vhd_finding_kind kind)
{
	static const char *const names[] = {"note", "repairable", "corrupt"};

	return names[kind];
}

static const char *result_name(enum err result)
{
	return result == ERR_OK ? "clean" : result == ERR_REPAIRABLE ? "repairable" : "corrupt";
}

/* The worst of all reports: corrupt before repairable before clean. */
static enum err worst(const struct reports *reports)
{
	enum err result = ERR_OK;

	for (unsigned i = 0; i < reports->count; i++) {
		enum err one = vhd_report_result(&reports->report[i]);

		if (one == ERR_CORRUPT || result == ERR_OK)
			result = one == ERR_OK ? result : one;
	}
	return result;
}

static json_t *finding_json(const struct vhd_finding *finding)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "kind", kind_name(finding->kind), "offset",
			 json_size(finding->off_bytes), "field", json_text(finding->field), "rule",
			 json_text(finding->rule), "action",
			 json_text(finding->action[0] ? finding->action : NULL));
}

static json_t *report_json(const struct vhd_report *report)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->count; i++)
		json_array_append_new(list, finding_json(&report->finding[i]));
	return json_pack("{s:o, s:s, s:o, s:o}", "path", json_text(report->path), "result",
			 result_name(vhd_report_result(report)), "findings", list, "suppressed",
			 json_size(report->suppressed));
}

/* The engine escapes names in what it says; escaping twice would double their backslashes. */
static void print_report(const struct vhd_report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		const struct vhd_finding *finding = &report->finding[i];

		printf("%s: %s: %s at 0x%" PRIx64 ": %s\n", out_name(report->path),
		       kind_name(finding->kind), finding->field, finding->off_bytes, finding->rule);
	}
	if (report->suppressed)
		printf("%s: %zu more of the same kind\n", out_name(report->path),
		       report->suppressed);
	printf("%s: %s\n", out_name(report->path), result_name(vhd_report_result(report)));
}

static void show(const struct reports *reports, bool json, bool repaired)
{
	json_t *files;

	if (!json) {
		for (unsigned i = 0; i < reports->count; i++)
			print_report(&reports->report[i]);
		return;
	}
	files = json_array();
	for (unsigned i = 0; i < reports->count; i++)
		json_array_append_new(files, report_json(&reports->report[i]));
	json_emit(json_pack("{s:s, s:b, s:o}", "result", result_name(worst(reports)), "repaired",
			    repaired, "files", files));
}

static void free_reports(struct reports *reports)
{
	for (unsigned i = 0; i < reports->count; i++)
		vhd_report_free(&reports->report[i]);
	free(reports->report);
}

/* Check `count` files, the leaf first. Prints errors; returns 0 or the exit code. */
static int check_paths(const struct check_args *args, const char *const *paths, unsigned count,
		       struct reports *out)
{
	struct vhd_open_opts opts = image_open_opts(&args->image);
	struct cli_progress progress;
	struct err_why why = {0};
	struct progress *base;
	int rc = 0;

	*out = (struct reports){.report = calloc(count, sizeof(*out->report))};
	if (!out->report) {
		err_set(&why, ERR_NOMEM, "no memory for %u reports", count);
		return out_fail(NULL, &why);
	}
	base = progress_begin(&progress, args->common.progress, "check");
	while (!rc && out->count < count) {
		if (vhd_check(paths[out->count], &opts, base, &out->report[out->count], &why))
			rc = out_fail(paths[out->count], &why);
		else
			out->count++;
		opts.parent = NULL; /* was the leaf's */
	}
	progress_end(&progress);
	return rc;
}

static int check_chain(const struct check_args *args, struct reports *out)
{
	struct vhd_open_opts opts = image_open_opts(&args->image);
	struct err_why why = {0};
	struct vhd_info *info;
	const char **paths;
	unsigned count;
	int rc;

	if (vhd_inspect_chain(args->common.arg[0], &opts, &info, &count, &why)) {
		/* When the leaf itself is to blame, its findings say more than one sentence. */
		rc = check_paths(args, args->common.arg, 1, out);
		return rc || worst(out) == ERR_CORRUPT ? rc : out_fail(args->common.arg[0], &why);
	}
	paths = calloc(count, sizeof(*paths));
	if (paths) {
		for (unsigned i = 0; i < count; i++)
			paths[i] = info[i].path;
		rc = check_paths(args, paths, count, out);
	} else {
		err_set(&why, ERR_NOMEM, "no memory for %u names", count);
		rc = out_fail(NULL, &why);
	}
	free(paths);
	for (unsigned i = 0; i < count; i++)
		vhd_info_free(&info[i]);
	free(info);
	return rc;
}

static bool has_actions(const struct vhd_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		if (report->finding[i].action[0])
			return true;
	return false;
}

/* Print what repair would do; returns how many actions there are. */
static size_t print_plan(const struct reports *reports)
{
	size_t actions = 0;

	for (unsigned i = 0; i < reports->count; i++)
		for (size_t k = 0; k < reports->report[i].count; k++) {
			const struct vhd_finding *finding = &reports->report[i].finding[k];

			if (!finding->action[0])
				continue;
			if (!actions++)
				fputs("Plan:\n", stderr);
			fprintf(stderr, "  %s: %s: %s\n", out_name(reports->report[i].path),
				finding->field, finding->action);
		}
	return actions;
}

static bool confirmed(const struct check_args *args)
{
	enum answer answer = args->yes ? ANSWER_YES : ask_yes("Carry this out? Type yes: ");

	if (answer != ANSWER_YES)
		out_note(args->common.arg[0], "nothing was changed%s",
			 answer == ANSWER_NOBODY ? ": repairing needs --yes" : "");
	return answer == ANSWER_YES;
}

/* Repair one file; *report is then one of a new check, the state afterwards. */
static enum err repair_file(struct vhd_report *report, struct vhd_open_opts *opts,
			    struct err_why *why)
{
	struct vhd_report done, after;
	enum err err;

	opts->writable = true;
	err = vhd_repair(report->path, opts, &done, why);
	if (err)
		return err;
	vhd_report_free(&done);
	opts->writable = false;
	err = vhd_check(report->path, opts, NULL, &after, why);
	if (err)
		return err;
	vhd_report_free(report);
	*report = after;
	return ERR_OK;
}

/* Repair what needs it. Prints errors; returns 0 or the exit code. */
static int repair(const struct check_args *args, struct reports *reports)
{
	struct vhd_open_opts opts = image_open_opts(&args->image);
	struct err_why why = {0};

	for (unsigned i = 0; i < reports->count; i++) {
		struct vhd_report *report = &reports->report[i];

		if (has_actions(report) && repair_file(report, &opts, &why))
			return out_fail(report->path, &why);
		opts.parent = NULL; /* was the leaf's */
	}
	return 0;
}

static int run(void *arg)
{
	struct check_args *args = arg;
	struct reports reports = {0};
	bool repaired = false;
	int rc;

	rc = args->chain ? check_chain(args, &reports)
			 : check_paths(args, args->common.arg, 1, &reports);
	if (!rc && args->repair && print_plan(&reports) && !args->common.dry_run &&
	    confirmed(args)) {
		rc = repair(args, &reports);
		repaired = !rc;
	}
	if (!rc) {
		show(&reports, args->common.json, repaired);
		rc = err_exit_code(worst(&reports));
	}
	free_reports(&reports);
	return rc;
}

const struct verb verb_check = {
    .name = "check",
    .summary = "verify a disk's structure, and mend it",
    .usage = "FILE",
    .details =
	"Verify every structure of FILE in linear time and name what is wrong: field, offset\n"
	"in the file, rule. Exits 0 when it is clean, 2 when it is corrupt, 3 when --repair\n"
	"can mend it without losing data. --repair prints its plan first and needs a yes\n"
	"typed at a terminal, or --yes; the exit code then tells the state afterwards.",
    .opts = check_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON | GROUP_PROGRESS,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct check_args),
    .run = run,
};
