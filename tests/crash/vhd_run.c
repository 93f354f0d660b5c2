/* SPDX-License-Identifier: MIT */
#include "tests/crash/vhd_run.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/handmade.h"
#include "util/bytes.h"

#define USED_ON_EVERY 16u /* states in which the disk is written to after recovery */

void *run_begin(const void *config, uint64_t seed, bool calm)
{
	struct vhd_run *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	run->config = config;
	run->seed = seed;
	run->ex.rng = rng_seed(seed);
	run->ex.calm = calm;
	run->ex.grain_bytes = RUN_BLOCK;
	return run;
}

void run_end(void *opaque)
{
	struct vhd_run *run = opaque;

	disk_close(run->ex.disk, NULL);
	reorder_ns_free(run->reorder);
	model_free(run->ex.model);
	model_free(run->below);
	free(run);
}

struct file_ns *run_ns(const struct vhd_run *run, struct mem_ns *ns)
{
	return run->fault ? fault_ns_base(run->fault) : mem_ns_base(ns);
}

enum err run_create(struct file_ns *ns, const char *path, enum vhd_type type, uint64_t size_bytes,
		    const char *parent, struct err_why *why)
{
	struct vhd_create_opts opts = {.ns = ns,
				       .type = type,
				       .size_bytes = size_bytes,
				       .block_size = type == VHD_FIXED ? 0 : RUN_BLOCK};

	if (parent) {
		opts.type = VHD_DIFFERENCING;
		opts.size_bytes = 0;
		opts.block_size = RUN_BLOCK;
		opts.parent = parent;
	}
	return vhd_create(path, &opts, why);
}

enum err run_open(struct vhd_run *run, struct mem_ns *ns, const char *path, bool marks,
		  struct err_why *why)
{
	struct vhd_open_opts opts = {.writable = true};

	reorder_ns_free(run->reorder);
	run->reorder = reorder_ns_new(run_ns(run, ns), run->seed);
	opts.ns = reorder_ns_base(run->reorder);
	run->ex.marks = marks ? ns : NULL;
	return vhd_open(path, &opts, &run->ex.disk, why);
}

enum err run_close(struct vhd_run *run, struct err_why *why)
{
	struct model_op flush = model_flush(run->ex.model);
	enum err err = disk_close(run->ex.disk, why);

	run->ex.disk = NULL;
	if (!err) {
		uint64_t mark = model_flushed(run->ex.model, &flush);

		if (run->ex.marks)
			mem_ns_mark(run->ex.marks, mark);
	}
	return err;
}

enum err run_prepare(struct vhd_run *run, struct mem_ns *ns, const char *path, enum vhd_type type,
		     uint64_t size_bytes, const char *parent, unsigned requests,
		     struct err_why *why)
{
	struct exercise_mix mix = {.write = 80, .zero = 5, .trim = 5, .flush = 5};
	struct model *model = parent ? model_child(run->ex.model) : model_new(size_bytes);
	enum err err;

	model_free(run->ex.model);
	run->ex.model = model;
	err = run_create(mem_ns_base(ns), path, type, size_bytes, parent, why);
	if (!err)
		err = run_open(run, ns, path, false, why);
	if (err)
		return err;
	if (run->ex.calm)
		mix.trim = 0; /* it would allow zeros from then on, whatever is lost */
	if (requests == RUN_FILL)
		err = exercise_fill(&run->ex, model_size(model), why);
	else
		err = exercise_random(&run->ex, &mix, requests, 4, model_size(model), why);
	return err ? err : run_close(run, why);
}

static enum err put_file(struct mem_ns *ns, const char *path, const struct handmade *image,
			 struct err_why *why)
{
	struct file *file;
	enum err err = file_ns_open(mem_ns_base(ns), path, FILE_OPEN_CREATE, &file, why);

	if (err)
		return err;
	err = file_write(file, EV_DATA, image->bytes, 0, image->len, why);
	file_close(file, NULL);
	return err;
}

enum err run_prepare_tight(struct vhd_run *run, struct mem_ns *ns, const char *path,
			   uint64_t size_bytes, unsigned blocks, struct err_why *why)
{
	struct handmade image = handmade_dynamic(size_bytes, RUN_BLOCK, blocks);
	enum err err = put_file(ns, path, &image, why);

	handmade_free(&image);
	model_free(run->ex.model);
	run->ex.model = model_new(size_bytes);
	if (!err)
		err = run_open(run, ns, path, false, why);
	if (!err)
		err = exercise_fill(&run->ex, (uint64_t)blocks * RUN_BLOCK, why);
	return err ? err : run_close(run, why);
}

enum err run_recover_path(struct mem_ns *ns, const char *path, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns), .writable = true};
	struct disk *disk;
	enum err err = vhd_open(path, &opts, &disk, why);

	return err ? err : disk_close(disk, why);
}

enum err run_recover(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	(void)run;
	(void)mark;
	return run_recover_path(ns, RUN_LEAF, why);
}

#define EVENT(name) (1u << EV_##name)

const char *run_redundant(const struct powercut_barrier *barrier)
{
	const unsigned footer_and_space = EVENT(FOOTER) | EVENT(SPACE);
	const unsigned ready_space = EVENT(BITMAP) | EVENT(SPACE);

	if (barrier->names)
		return barrier->before == 1u << MEM_UNLINK && strstr(barrier->path, "intent")
			   ? "after an intent record was removed: replaying it does no harm"
			   : NULL;
	if (barrier->again)
		return "another one follows at once";
	if ((barrier->before & footer_and_space) == footer_and_space &&
	    !(barrier->after & EVENT(BAT)))
		return "after growth, when another barrier comes before a block is published";
	if (barrier->before == EVENT(HEADER) && barrier->after == EVENT(FOOTER_COPY))
		return "before the footer copy: the trailing footer rules until the next one";
	if (barrier->before == EVENT(BAT) && barrier->after == EVENT(HEADER))
		return "before the header: entries past the end of the disk are not followed";
	if (barrier->before == EVENT(SPACE) && barrier->after == EVENT(MOVE))
		return "after the old footer was zeroed: it lies in padding that nobody reads";
	if (barrier->before == EVENT(HEADER) && !barrier->after)
		return "after the header of a shrunk disk: it may name more entries than needed";
	if (barrier->before == EVENT(FOOTER) && barrier->after == EVENT(SPACE))
		return "before a tail is cut off: for tools that know only the trailing footer";
	if (!(barrier->before & ~ready_space) && !(barrier->after & ~footer_and_space))
		return "after space was made or freed, when it is not used before the next one";
	return NULL;
}

enum err run_check(struct mem_ns *ns, const char *path, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	struct vhd_report report = {0};
	enum err err = vhd_check(path, &opts, NULL, &report, why);

	if (err)
		return err;
	if (vhd_report_result(&report)) {
		const struct vhd_finding *worst = &report.finding[0];

		for (size_t i = 0; i < report.count; i++)
			if (report.finding[i].kind > worst->kind)
				worst = &report.finding[i];
		err = err_set(why, vhd_report_result(&report), "check of %s: %s at %#llx: %s", path,
			      worst->field, (unsigned long long)worst->off_bytes, worst->rule);
	}
	vhd_report_free(&report);
	return err;
}

bool run_exists(struct mem_ns *ns, const char *path)
{
	return mem_ns_size(ns, path) != UINT64_MAX;
}

bool run_has_footer(struct mem_ns *ns, const char *path)
{
	uint64_t size = mem_ns_size(ns, path);
	uint8_t footer[HANDMADE_FOOTER];

	if (size == UINT64_MAX || size < HANDMADE_FOOTER)
		return false;
	mem_ns_get(ns, path, 0, footer, sizeof(footer));
	if (handmade_footer_valid(footer))
		return true;
	mem_ns_get(ns, path, size - HANDMADE_FOOTER, footer, sizeof(footer));
	return handmade_footer_valid(footer);
}

/* ---- using the disk on ---- */

static enum err read_whole(struct mem_ns *ns, const char *path, uint8_t *buf, uint64_t *size_bytes,
			   struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	struct disk_info info;
	struct disk *disk;
	enum err err = vhd_open(path, &opts, &disk, why);

	if (err)
		return err;
	disk_get_info(disk, &info);
	if (info.size_bytes > RUN_MAX_DISK)
		abort(); /* a scenario made too large a disk */
	*size_bytes = info.size_bytes;
	err = disk_read(disk, exercise_queue(), buf, 0, info.size_bytes, why);
	disk_close(disk, NULL);
	return err;
}

/* One sector of each block, which allocates whatever is not there. */
static enum err write_everywhere(struct mem_ns *ns, const char *path, uint8_t *expected,
				 uint64_t size_bytes, struct rng *rng, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns), .writable = true};
	struct disk *disk;
	enum err err = vhd_open(path, &opts, &disk, why);
	enum err closed;

	if (err)
		return err;
	for (uint64_t block = 0; block < size_bytes && !err; block += RUN_BLOCK) {
		uint64_t room = min_u64(RUN_BLOCK, size_bytes - block) / DISK_SECTOR;
		uint64_t off = block + rng_below(rng, room) * DISK_SECTOR;

		rng_fill(rng, expected + off, DISK_SECTOR);
		err = disk_write(disk, exercise_queue(), expected + off, off, DISK_SECTOR, why);
	}
	closed = disk_close(disk, err ? NULL : why);
	return err ? err : closed;
}

static enum err use_on(struct vhd_run *run, struct mem_ns *ns, const char *path,
		       struct err_why *why)
{
	uint8_t *expected = malloc(RUN_MAX_DISK);
	uint8_t *found = malloc(RUN_MAX_DISK);
	struct rng rng = rng_seed(run->seed ^ run->judged);
	uint64_t size_bytes = 0;
	enum err err;

	if (!expected || !found)
		abort();
	err = read_whole(ns, path, expected, &size_bytes, why);
	if (!err)
		err = write_everywhere(ns, path, expected, size_bytes, &rng, why);
	if (!err)
		err = read_whole(ns, path, found, &size_bytes, why);
	for (uint64_t off = 0; off < size_bytes && !err; off += DISK_SECTOR)
		if (memcmp(found + off, expected + off, DISK_SECTOR))
			err = err_set(why, ERR_CORRUPT, "sector %llu changed by later writes",
				      (unsigned long long)(off / DISK_SECTOR));
	if (!err)
		err = run_check(ns, path, why);
	if (err)
		err_context(why, "used on after recovery");
	free(expected);
	free(found);
	return err;
}

/* ---- judging ---- */

enum err run_verify_path(struct vhd_run *run, struct mem_ns *ns, const char *path, uint64_t mark,
			 struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	struct disk *disk;
	enum err err = vhd_open(path, &opts, &disk, why);

	if (err)
		return err;
	err = exercise_check_cut(disk, run->ex.model, mark, why);
	disk_close(disk, NULL);
	if (!err)
		err = run_check(ns, path, why);
	if (!err && ++run->judged % USED_ON_EVERY == 0)
		err = use_on(run, ns, path, why);
	return err;
}

enum err run_verify(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	return run_verify_path(run, ns, RUN_LEAF, mark, why);
}

enum err run_verify_live(struct vhd_run *run, struct mem_ns *ns, const char *path,
			 struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	struct exercise ex = {.model = run->ex.model};
	enum err err = vhd_open(path, &opts, &ex.disk, why);

	if (err)
		return err;
	err = exercise_check_live(&ex, why);
	disk_close(ex.disk, NULL);
	return err ? err : run_check(ns, path, why);
}
