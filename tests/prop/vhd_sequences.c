/* SPDX-License-Identifier: MIT */
/*
 * Random sequences of operations against the model: requests in flight together, reopening, new
 * children, compaction, growth, merging, over every type and several block sizes. The seed is
 * printed when something is wrong; STRATA_SEED=<n> runs that one.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/exercise.h"
#include "tests/lib/reorder.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define MAX_DEPTH  6u
#define MAX_BYTES  (6u << 20)
#define STEPS      40u
#define PATH_BYTES 300u

struct sequence {
	uint64_t seed;
	struct exercise ex;
	struct file_ns *files;        /* all files; names are folder/N.vhd */
	struct reorder_ns *reordered; /* the same, for an open disk */
	const char *folder;
	bool direct;
	unsigned depth; /* files in the chain */
	unsigned made;  /* files ever made */
	char path[MAX_DEPTH][PATH_BYTES];
	struct err_why why;
	char last[60]; /* the step that was taken last */
};

static void must(struct sequence *seq, enum err err)
{
	cr_assert_eq(err, ERR_OK, "seed %llu, %s: %s (%s)", (unsigned long long)seq->seed,
		     seq->last, seq->why.text, err_name(err));
}

static void step(struct sequence *seq, const char *name)
{
	snprintf(seq->last, sizeof(seq->last), "%s", name);
}

static char *leaf(struct sequence *seq)
{
	return seq->path[seq->depth - 1];
}

static void open_leaf(struct sequence *seq)
{
	struct vhd_open_opts opts = {
	    .writable = true,
	    .direct = seq->direct,
	    .map_budget_bytes = rng_percent(&seq->ex.rng, 30) ? 4096 : 0,
	};

	opts.ns = seq->reordered ? reorder_ns_base(seq->reordered) : seq->files;
	must(seq, vhd_open(leaf(seq), &opts, &seq->ex.disk, &seq->why));
}

static void close_leaf(struct sequence *seq)
{
	must(seq, disk_close(seq->ex.disk, &seq->why));
	seq->ex.disk = NULL;
}

static void check_structure(struct sequence *seq)
{
	struct vhd_open_opts opts = {.ns = seq->files};
	struct vhd_report report = {0};

	step(seq, "check");
	must(seq, vhd_check(leaf(seq), &opts, NULL, &report, &seq->why));
	for (size_t i = 0; i < report.count; i++)
		cr_assert_eq(report.finding[i].kind, FINDING_NOTE, "seed %llu: %s: %s",
			     (unsigned long long)seq->seed, report.finding[i].field,
			     report.finding[i].rule);
	vhd_report_free(&report);
}

/* ---- steps that need the disk closed ---- */

static uint32_t choose_block(struct rng *rng)
{
	return VHD_MIN_BLOCK << rng_below(rng, 4);
}

static void make_child(struct sequence *seq)
{
	struct vhd_create_opts opts = {.ns = seq->files,
				       .type = VHD_DIFFERENCING,
				       .block_size = choose_block(&seq->ex.rng),
				       .parent = leaf(seq)};
	struct model *parent = seq->ex.model;

	step(seq, "new child");
	if (seq->depth == MAX_DEPTH)
		return;
	snprintf(seq->path[seq->depth], PATH_BYTES, "%s/%u.vhd", seq->folder, seq->made++);
	must(seq, vhd_create(seq->path[seq->depth], &opts, &seq->why));
	seq->depth++;
	seq->ex.model = model_child(parent);
	model_free(parent);
}

static void merge(struct sequence *seq)
{
	struct vhd_open_opts open_opts = {.ns = seq->files};
	struct vhd_merge_opts opts = {0};
	struct vhd_merge_result result = {0};
	unsigned levels;

	step(seq, "merge");
	if (seq->depth < 2)
		return;
	levels = (unsigned)rng_between(&seq->ex.rng, 1, seq->depth - 1);
	opts.into = levels > 1 ? seq->path[seq->depth - 1 - levels] : NULL;
	must(seq, vhd_merge(leaf(seq), &open_opts, &opts, &result, &seq->why));
	free(result.into);
	seq->depth -= levels;
}

static void compact(struct sequence *seq)
{
	struct vhd_open_opts open_opts = {.ns = seq->files};
	struct vhd_compact_opts opts = {.mode = COMPACT_PREZEROED};
	struct vhd_compact_result result = {0};
	enum err err;

	step(seq, "compact");
	err = vhd_compact(leaf(seq), &open_opts, &opts, &result, &seq->why);
	if (err != ERR_UNSUPPORTED) /* a fixed disk */
		must(seq, err);
}

static void grow(struct sequence *seq)
{
	struct vhd_open_opts open_opts = {.ns = seq->files};
	struct vhd_resize_opts opts = {0};
	struct model_op op;

	step(seq, "expand");
	opts.size_bytes =
	    model_size(seq->ex.model) + rng_between(&seq->ex.rng, 1, 2000) * DISK_SECTOR;
	if (opts.size_bytes > MAX_BYTES)
		return;
	op = model_resize(seq->ex.model, opts.size_bytes);
	must(seq, vhd_resize(leaf(seq), &open_opts, &opts, &seq->why));
	model_done(seq->ex.model, &op, true);
}

/* ---- a whole sequence ---- */

static void use(struct sequence *seq)
{
	static const struct exercise_mix mix = {
	    .write = 45, .zero = 10, .trim = 10, .flush = 8, .fua = 10};

	step(seq, "requests");
	seq->ex.grain_bytes = choose_block(&seq->ex.rng);
	/* Who reads a sector through the page cache while it is being written may see a part of it.
	 */
	unsigned depth = seq->files == &file_ns_posix && !seq->direct ? 1 : 8;

	must(seq, exercise_random(&seq->ex, &mix, 12, depth, model_size(seq->ex.model), &seq->why));
}

static void take_step(struct sequence *seq)
{
	unsigned roll = (unsigned)rng_below(&seq->ex.rng, 100);

	if (roll < 60) {
		use(seq);
		return;
	}
	step(seq, "content");
	must(seq, exercise_check_live(&seq->ex, &seq->why));
	step(seq, "close");
	close_leaf(seq);
	if (roll < 70)
		check_structure(seq);
	else if (roll < 80)
		make_child(seq);
	else if (roll < 87)
		compact(seq);
	else if (roll < 93)
		grow(seq);
	else
		merge(seq);
	open_leaf(seq);
	must(seq, exercise_check_live(&seq->ex, &seq->why));
}

static void create_base(struct sequence *seq, enum vhd_type type)
{
	uint64_t size = rng_between(&seq->ex.rng, 1, 4000) * DISK_SECTOR;
	struct vhd_create_opts opts = {.ns = seq->files, .type = type, .size_bytes = size};

	if (type != VHD_FIXED)
		opts.block_size = choose_block(&seq->ex.rng);
	seq->ex.model = model_new(size);
	snprintf(seq->path[0], PATH_BYTES, "%s/%u.vhd", seq->folder, seq->made++);
	step(seq, "create");
	must(seq, vhd_create(seq->path[0], &opts, &seq->why));
	seq->depth = 1;
}

static void run_sequence(struct sequence *seq, enum vhd_type type)
{
	seq->ex.rng = rng_seed(seq->seed);
	create_base(seq, type);
	open_leaf(seq);
	for (unsigned i = 0; i < STEPS; i++)
		take_step(seq);
	step(seq, "last close");
	must(seq, exercise_check_live(&seq->ex, &seq->why));
	close_leaf(seq);
	check_structure(seq);
	model_free(seq->ex.model);
}

static void run_in_memory(enum vhd_type type, uint64_t seed)
{
	struct mem_ns *ns = mem_ns_new();
	struct sequence seq = {.seed = seed, .files = mem_ns_base(ns), .folder = "/d"};

	seq.reordered = reorder_ns_new(seq.files, seed);
	run_sequence(&seq, type);
	reorder_ns_free(seq.reordered);
	mem_ns_free(ns);
}

static void run_seeds(enum vhd_type type, uint64_t first, unsigned count)
{
	const char *chosen = getenv("STRATA_SEED");

	if (chosen) {
		run_in_memory(type, strtoull(chosen, NULL, 10));
		return;
	}
	for (unsigned i = 0; i < count; i++)
		run_in_memory(type, first + i);
}

Test(vhd_sequences, dynamic_agrees_with_the_model)
{
	run_seeds(VHD_DYNAMIC, 1000, 60);
}

Test(vhd_sequences, fixed_agrees_with_the_model)
{
	run_seeds(VHD_FIXED, 2000, 40);
}

/*
 * Blocks freed and their space used again while reads of the old tenant are still under way: a
 * read may show what was there, or zeros, but never the new tenant's data (W7).
 */
Test(vhd_sequences, reads_in_flight_never_see_the_next_tenant)
{
	static const struct exercise_mix mix = {.write = 25, .trim = 25, .flush = 20, .whole = 80};

	for (uint64_t seed = 5000; seed < 5040; seed++) {
		struct mem_ns *ns = mem_ns_new();
		struct sequence seq = {.seed = seed, .files = mem_ns_base(ns), .folder = "/d"};
		struct vhd_create_opts opts = {.ns = seq.files,
					       .type = VHD_DYNAMIC,
					       .size_bytes = 40 * VHD_MIN_BLOCK,
					       .block_size = VHD_MIN_BLOCK};

		seq.reordered = reorder_ns_new(seq.files, seed);
		seq.ex = (struct exercise){.rng = rng_seed(seed),
					   .model = model_new(opts.size_bytes),
					   .grain_bytes = VHD_MIN_BLOCK};
		snprintf(seq.path[0], PATH_BYTES, "/d/reuse.vhd");
		seq.depth = 1;
		step(&seq, "requests");
		must(&seq, vhd_create(leaf(&seq), &opts, &seq.why));
		open_leaf(&seq);
		must(&seq, exercise_random(&seq.ex, &mix, 400, 40, opts.size_bytes, &seq.why));
		must(&seq, exercise_check_live(&seq.ex, &seq.why));
		close_leaf(&seq);
		check_structure(&seq);
		model_free(seq.ex.model);
		reorder_ns_free(seq.reordered);
		mem_ns_free(ns);
	}
}

/* Sequences on the system's own files, where requests really are in flight together. */
static void remove_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	char path[PATH_BYTES];

	for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name) < sizeof(path))
			unlink(path);
	}
	if (dir)
		closedir(dir);
	rmdir(folder);
}

static void run_on_disk(bool direct, uint64_t seed)
{
	const char *tmp = getenv("TMPDIR");
	char folder[200];
	struct sequence seq = {
	    .seed = seed, .files = &file_ns_posix, .folder = folder, .direct = direct};

	snprintf(folder, sizeof(folder), "%s/strata-sequence.XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(folder));
	run_sequence(&seq, seed % 3 ? VHD_DYNAMIC : VHD_FIXED);
	remove_folder(folder);
}

Test(vhd_sequences, real_files_agree_with_the_model)
{
	for (uint64_t seed = 3000; seed < 3006; seed++)
		run_on_disk(false, seed);
}

Test(vhd_sequences, real_files_without_the_page_cache_agree_with_the_model)
{
	for (uint64_t seed = 4000; seed < 4006; seed++)
		run_on_disk(true, seed);
}
