/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>

#include "block/copy.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct diff_args {
	struct common common;
	const char *home;
};

static const struct opt diff_opts[] = {
    VM_HOME(struct diff_args),
    {0},
};

/* Two places of a VM, open. */
struct pair {
	struct snap_view *a, *b;
	struct queue *queue;
};

static void pair_close(struct pair *pair)
{
	/* Both are read-only: closing them cannot lose a write. */
	if (pair->a)
		snap_view_close(pair->a, NULL);
	if (pair->b)
		snap_view_close(pair->b, NULL);
	queue_destroy(pair->queue);
}

static int pair_open(const struct vm *vm, const struct common *common, struct pair *out)
{
	struct snap_view_opts opts = {0};
	const struct guid *a, *b;
	struct err_why why = {0};
	struct snap_tree tree;
	int rc = vm_tree(vm, 0, &tree);

	*out = (struct pair){0};
	if (rc)
		return rc;
	rc = vm_find_place(vm, &tree, common->arg[1], &a);
	if (!rc)
		rc = vm_find_place(vm, &tree, common->arg[2], &b);
	if (!rc && (snap_view_open(vm->store, a, &opts, &out->a, &why) ||
		    snap_view_open(vm->store, b, &opts, &out->b, &why) ||
		    queue_create(64, &out->queue, &why)))
		rc = out_fail(vm->name, &why);
	snap_tree_free(&tree);
	if (rc)
		pair_close(out);
	return rc;
}

/* Extents are printed as they are found: there may be more than fit in memory. */
struct listing {
	bool json;
	uint64_t count, bytes; /* of one disk */
};

static bool print_extent(void *arg, const struct disk_difference *difference)
{
	struct listing *listing = arg;

	if (listing->json)
		printf("%s\n        {\"start\": %" PRIu64 ", \"length\": %" PRIu64 "}",
		       listing->count ? "," : "", difference->start_bytes, difference->len_bytes);
	else
		printf("%16" PRIu64 " %16" PRIu64 "\n", difference->start_bytes,
		       difference->len_bytes);
	listing->count++;
	listing->bytes += difference->len_bytes;
	return !ferror(stdout);
}

static void print_disk_head(const struct listing *listing, unsigned i, bool first)
{
	if (listing->json)
		printf("%s\n    {\n      \"disk\": %u,\n      \"extents\": [", first ? "" : ",", i);
	else
		printf("disk %u\n%16s %16s\n", i, "start", "length");
}

static void print_disk_tail(const struct listing *listing, bool complete)
{
	if (listing->json)
		printf("%s],\n      \"changed_bytes\": %" PRIu64 "\n    }",
		       listing->count ? "\n      " : "", listing->bytes);
	else if (complete)
		printf("%" PRIu64 " extents, %s\n", listing->count, out_size_exact(listing->bytes));
}

static enum err list_disks(const struct pair *pair, bool json, struct progress *progress,
			   struct err_why *why)
{
	unsigned count =
	    pair->a->disk_count < pair->b->disk_count ? pair->a->disk_count : pair->b->disk_count;
	enum err err = ERR_OK;
	bool first = true;

	for (unsigned i = 0; !err && i < count; i++) {
		struct listing listing = {.json = json};

		if (!pair->a->disk[i] || !pair->b->disk[i])
			continue;
		print_disk_head(&listing, i, first);
		first = false;
		err = disk_differences(pair->a->disk[i], pair->b->disk[i], pair->queue,
				       print_extent, &listing, progress, why);
		print_disk_tail(&listing, !err);
	}
	return err;
}

static int run(void *arg)
{
	struct diff_args *args = arg;
	bool json = args->common.json;
	struct cli_progress progress;
	struct err_why why = {0};
	struct pair pair;
	struct vm vm;
	enum err err;
	int rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);

	if (rc)
		return rc;
	rc = pair_open(&vm, &args->common, &pair);
	if (!rc) {
		if (json)
			printf("{\n  \"disks\": [");
		err = list_disks(&pair, json,
				 progress_begin(&progress, args->common.progress, "diff"), &why);
		progress_end(&progress);
		if (json)
			printf("%s],\n  \"complete\": %s\n}\n", pair.a->disk_count ? "\n  " : "",
			       err ? "false" : "true");
		pair_close(&pair);
		rc = err ? out_fail(vm.name, &why) : 0;
	}
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_diff = {
    .name = "snapshot diff",
    .summary = "list what differs between two snapshots",
    .usage = "NAME A B",
    .details =
	"List, for each disk and in order, every run of sectors in which the snapshots A and B\n"
	"read differently; either may be 'current'. What both have from the same place of the\n"
	"same file is not read. Exits 0 whether or not there are differences.",
    .opts = diff_opts,
    .groups = GROUP_JSON | GROUP_PROGRESS,
    .min_args = 3,
    .max_args = 3,
    .args_bytes = sizeof(struct diff_args),
    .run = run,
};
