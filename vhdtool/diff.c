/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>

#include "block/copy.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "vhdtool/image.h"
#include "vhdtool/pair.h"
#include "vhdtool/verbs.h"

static const struct opt diff_opts[] = {
    {"format-a", 0, OPT_CHOICE, IMAGE_FORMATS, offsetof(struct pair_args, format_a),
     "what A is; by its name when not given"},
    {"format-b", 0, OPT_CHOICE, IMAGE_FORMATS, offsetof(struct pair_args, format_b),
     "what B is; by its name when not given"},
    IMAGE_SEARCH(struct pair_args),
    IMAGE_NO_LOCK(struct pair_args),
    {0},
};

/* Extents are printed as they are found: there may be more than fit in memory. */
struct listing {
	bool json;
	uint64_t count, bytes;
};

static bool print_extent(void *arg, const struct disk_difference *difference)
{
	struct listing *listing = arg;

	if (listing->json)
		printf("%s\n    {\"start\": %" PRIu64 ", \"length\": %" PRIu64 "}",
		       listing->count ? "," : "", difference->start_bytes, difference->len_bytes);
	else
		printf("%16" PRIu64 " %16" PRIu64 "\n", difference->start_bytes,
		       difference->len_bytes);
	listing->count++;
	listing->bytes += difference->len_bytes;
	return !ferror(stdout);
}

static void print_head(bool json)
{
	if (json)
		printf("{\n  \"extents\": [");
	else
		printf("%16s %16s\n", "start", "length");
}

static void print_tail(const struct listing *listing, bool complete)
{
	if (listing->json)
		printf("%s],\n  \"changed_bytes\": %" PRIu64 ",\n  \"complete\": %s\n}\n",
		       listing->count ? "\n  " : "", listing->bytes, complete ? "true" : "false");
	else if (complete)
		printf("%" PRIu64 " extents, %s\n", listing->count, out_size_exact(listing->bytes));
}

static int run(void *arg)
{
	struct pair_args *args = arg;
	struct listing listing = {.json = args->common.json};
	struct cli_progress progress;
	struct err_why why = {0};
	struct pair pair;
	enum err err;
	int rc;

	rc = pair_open(args, "diff", &pair);
	if (rc)
		return rc;
	print_head(listing.json);
	err = disk_differences(pair.a, pair.b, pair.queue, print_extent, &listing,
			       progress_begin(&progress, args->common.progress, "diff"), &why);
	progress_end(&progress);
	print_tail(&listing, !err);
	pair_close(&pair);
	return err ? out_fail(NULL, &why) : 0;
}

const struct verb verb_diff = {
    .name = "diff",
    .summary = "list the extents in which two disks differ",
    .usage = "A B",
    .details =
	"List, in order, every run of sectors in which A and B read differently; they may be\n"
	"any two images or two nodes of a chain. What both own in the same place of the same\n"
	"file is not read. Exits 0 whether or not there are differences.",
    .opts = diff_opts,
    .groups = GROUP_JSON | GROUP_PROGRESS,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct pair_args),
    .run = run,
};
