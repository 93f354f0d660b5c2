/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "block/copy.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "util/bytes.h"
#include "vhdtool/image.h"
#include "vhdtool/pair.h"
#include "vhdtool/verbs.h"

static const struct opt compare_opts[] = {
    {"format-a", 0, OPT_CHOICE, IMAGE_FORMATS, offsetof(struct pair_args, format_a),
     "what A is; by its name when not given"},
    {"format-b", 0, OPT_CHOICE, IMAGE_FORMATS, offsetof(struct pair_args, format_b),
     "what B is; by its name when not given"},
    {"strict", 0, OPT_FLAG, NULL, offsetof(struct pair_args, strict),
     "disks of different sizes are different, even if the rest is zeros"},
    IMAGE_SEARCH(struct pair_args),
    IMAGE_NO_LOCK(struct pair_args),
    {0},
};

static bool stop_at_first(void *arg, const struct disk_difference *difference)
{
	*(uint64_t *)arg = difference->start_bytes;
	return false;
}

/* One sector; zeros where the disk has ended. */
static enum err read_sector(struct disk *disk, uint64_t size, struct queue *queue, uint64_t off,
			    uint8_t *out, struct err_why *why)
{
	memset(out, 0, DISK_SECTOR);
	return off < size ? disk_read(disk, queue, out, off, DISK_SECTOR, why) : ERR_OK;
}

/* From the first differing sector to the first differing byte. */
static enum err find_byte(const struct pair *pair, uint64_t *at, struct err_why *why)
{
	uint8_t a[DISK_SECTOR], b[DISK_SECTOR];
	unsigned i = 0;
	enum err err;

	err = read_sector(pair->a, pair->size_a, pair->queue, *at, a, why);
	if (!err)
		err = read_sector(pair->b, pair->size_b, pair->queue, *at, b, why);
	if (err)
		return err;
	while (i < DISK_SECTOR - 1 && a[i] == b[i])
		i++;
	*at += i;
	return ERR_OK;
}

static void show(const struct pair_args *args, const struct pair *pair, bool equal, uint64_t first)
{
	bool differs = first != UINT64_MAX;

	if (args->common.json) {
		json_emit(json_pack("{s:b, s:o, s:o, s:o}", "equal", equal, "first_difference",
				    differs ? json_size(first) : json_null(), "size_a",
				    json_size(pair->size_a), "size_b", json_size(pair->size_b)));
		return;
	}
	if (differs)
		printf("different, from byte %" PRIu64 " on\n", first);
	else
		printf("%s\n", equal ? "equal" : "different sizes");
	if (pair->size_a != pair->size_b)
		printf("sizes: %" PRIu64 " and %" PRIu64 "%s\n", pair->size_a, pair->size_b,
		       differs ? "" : "; the rest of the larger one is zeros");
}

static int run(void *arg)
{
	struct pair_args *args = arg;
	struct cli_progress progress;
	uint64_t first = UINT64_MAX;
	struct err_why why = {0};
	struct pair pair;
	bool equal;
	enum err err;
	int rc;

	rc = pair_open(args, "compare", &pair);
	if (rc)
		return rc;
	err = disk_differences(pair.a, pair.b, pair.queue, stop_at_first, &first,
			       progress_begin(&progress, args->common.progress, "compare"), &why);
	progress_end(&progress);
	if (!err && first != UINT64_MAX)
		err = find_byte(&pair, &first, &why);
	equal = first == UINT64_MAX && !(args->strict && pair.size_a != pair.size_b);
	if (!err)
		show(args, &pair, equal, first);
	pair_close(&pair);
	return err ? out_fail(NULL, &why) : !equal;
}

const struct verb verb_compare = {
    .name = "compare",
    .summary = "tell whether two disks have the same content",
    .usage = "A B",
    .details =
	"Compare what A and B read as; each may be a raw image or a VHD of any type with its\n"
	"chain. A shorter disk counts as zeros up to the size of the longer one, unless\n"
	"--strict. Exits 0 when they are equal, 1 when they differ or on an error (then\n"
	"nothing is on standard output).",
    .opts = compare_opts,
    .groups = GROUP_JSON | GROUP_PROGRESS,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct pair_args),
    .run = run,
};
