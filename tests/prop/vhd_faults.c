/* SPDX-License-Identifier: MIT */
/*
 * Failing requests under a disk that stays open and is used on (T3, P5): the n-th request to the
 * files fails once, for each n until a whole sequence meets no fault. What failed may or may not
 * have happened; everything else must go on as if nothing had been. After a failed flush the disk
 * refuses writes, still reads right, and loses nothing that was acknowledged.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/fault.h"
#include "tests/lib/exercise.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define LEAF     "/d/leaf.vhd"
#define PARENT   "/d/parent.vhd"
#define BLOCK    VHD_MIN_BLOCK
#define SIZE     (10u * BLOCK)
#define REQUESTS 8u
#define MOST     2000u

struct trial {
	enum vhd_type type;
	struct fault_rule rule;
	uint64_t seed;
	struct mem_ns *ns;
	struct fault_ns *fault;
	struct exercise ex;
	bool fired;
};

static void must(const struct trial *trial, enum err err, const struct err_why *why,
		 const char *step)
{
	cr_assert_eq(err, ERR_OK, "type %d, seed %llu, op %d, errno %d, request %llu: %s: %s (%s)",
		     (int)trial->type, (unsigned long long)trial->seed, trial->rule.op,
		     trial->rule.sys_errno, (unsigned long long)trial->rule.nth, step, why->text,
		     err_name(err));
}

static void create(struct trial *trial, const char *path, enum vhd_type type)
{
	struct vhd_create_opts opts = {.ns = mem_ns_base(trial->ns),
				       .type = type,
				       .size_bytes = type == VHD_DIFFERENCING ? 0 : SIZE,
				       .block_size = type == VHD_FIXED ? 0 : BLOCK,
				       .parent = type == VHD_DIFFERENCING ? PARENT : NULL};
	struct err_why why = {0};

	must(trial, vhd_create(path, &opts, &why), &why, "create");
}

static void open_disk(struct trial *trial, const char *path, struct file_ns *ns)
{
	struct vhd_open_opts opts = {.ns = ns, .writable = true};
	struct err_why why = {0};

	must(trial, vhd_open(path, &opts, &trial->ex.disk, &why), &why, "open");
}

static void prepare(struct trial *trial)
{
	struct err_why why = {0};
	struct model *parent;

	trial->ns = mem_ns_new();
	trial->ex = (struct exercise){
	    .rng = rng_seed(trial->seed), .model = model_new(SIZE), .grain_bytes = BLOCK};
	if (trial->type == VHD_DIFFERENCING) {
		create(trial, PARENT, VHD_DYNAMIC);
		open_disk(trial, PARENT, mem_ns_base(trial->ns));
		must(trial, exercise_fill(&trial->ex, SIZE / 2, &why), &why, "fill");
		must(trial, disk_close(trial->ex.disk, &why), &why, "close");
		parent = trial->ex.model;
		trial->ex.model = model_child(parent);
		model_free(parent);
	}
	create(trial, LEAF, trial->type);
	trial->fault = fault_ns_new(mem_ns_base(trial->ns));
	open_disk(trial, LEAF, fault_ns_base(trial->fault));
}

/* Errors are what this is about: which ones are right is judged by what the disk shows. */
static void use(struct trial *trial)
{
	static const struct exercise_mix mix = {
	    .write = 45, .zero = 12, .trim = 12, .flush = 20, .fua = 15};
	struct err_why why = {0};

	for (unsigned i = 0; i < REQUESTS; i++) {
		enum err err = exercise_random(&trial->ex, &mix, 3, 3, SIZE, &why);

		cr_assert_neq(err, ERR_CORRUPT, "%s", why.text);
		cr_assert(!err || fault_ns_fired(trial->fault), "fails without a fault: %s",
			  why.text);
	}
}

/* The disk is still open: all that completed is there, poisoned or not; poisoned it stays so. */
static void check_open(struct trial *trial)
{
	static const uint8_t sector[DISK_SECTOR] = {1};
	struct disk_info info;
	struct err_why why = {0};

	fault_ns_set(trial->fault, NULL);
	must(trial, exercise_check_live(&trial->ex, &why), &why, "reading on");
	disk_get_info(trial->ex.disk, &info);
	cr_expect(info.poisoned || trial->rule.op != FILE_SYNC || !trial->fired,
		  "a failed sync leaves the disk writable");
	if (info.poisoned)
		cr_expect_eq(
		    disk_write(trial->ex.disk, exercise_queue(), sector, 0, DISK_SECTOR, NULL),
		    ERR_POISONED);
}

static void check_reopened(struct trial *trial, enum err closed)
{
	uint64_t mark = model_now(trial->ex.model);
	struct vhd_open_opts opts = {.ns = mem_ns_base(trial->ns)};
	struct vhd_report report = {0};
	struct err_why why = {0};

	open_disk(trial, LEAF, mem_ns_base(trial->ns));
	must(trial,
	     closed ? exercise_check_cut(trial->ex.disk, trial->ex.model, mark, &why)
		    : exercise_check_live(&trial->ex, &why),
	     &why, "after reopening");
	must(trial, disk_close(trial->ex.disk, &why), &why, "close");
	must(trial, vhd_check(LEAF, &opts, NULL, &report, &why), &why, "check");
	cr_expect_eq(vhd_report_result(&report), ERR_OK, "check after request %llu failed",
		     (unsigned long long)trial->rule.nth);
	vhd_report_free(&report);
}

/* False when the fault was not met any more. */
static bool run_trial(struct trial *trial)
{
	enum err closed;

	prepare(trial);
	fault_ns_set(trial->fault, &trial->rule);
	use(trial);
	trial->fired = fault_ns_fired(trial->fault);
	check_open(trial);
	closed = disk_close(trial->ex.disk, NULL);
	cr_expect(!closed || trial->fired, "close fails without a fault");
	fault_ns_free(trial->fault);
	check_reopened(trial, closed);
	model_free(trial->ex.model);
	mem_ns_free(trial->ns);
	return trial->fired;
}

static void fail_each(enum vhd_type type, enum file_op op, int sys_errno, bool partial)
{
	unsigned failed = 0;

	for (uint64_t seed = 1; seed <= 15; seed++) {
		for (uint64_t n = 1; n < MOST; n++) {
			struct trial trial = {.type = type,
					      .seed = seed,
					      .rule = {.op = op,
						       .event = FAULT_ANY,
						       .nth = n,
						       .sys_errno = sys_errno,
						       .partial = partial}};

			if (!run_trial(&trial))
				break;
			failed++;
		}
	}
	cr_log_info("type %d op %d: %u requests failed", (int)type, (int)op, failed);
	cr_expect_gt(failed, 0, "no request of kind %d", (int)op);
}

Test(vhd_faults, dynamic_survives_a_failed_write)
{
	fail_each(VHD_DYNAMIC, FILE_WRITE, EIO, false);
	fail_each(VHD_DYNAMIC, FILE_WRITE, ENOSPC, true);
}

Test(vhd_faults, dynamic_survives_a_failed_read_or_sync)
{
	fail_each(VHD_DYNAMIC, FILE_READ, EIO, false);
	fail_each(VHD_DYNAMIC, FILE_SYNC, EIO, false);
}

Test(vhd_faults, dynamic_survives_a_failed_allocation)
{
	fail_each(VHD_DYNAMIC, FILE_ALLOCATE, ENOSPC, false);
	fail_each(VHD_DYNAMIC, FILE_ALLOCATE, EDQUOT, false);
}

Test(vhd_faults, dynamic_survives_a_failed_punch_or_zero)
{
	fail_each(VHD_DYNAMIC, FILE_PUNCH, EIO, false);
	fail_each(VHD_DYNAMIC, FILE_ZERO, EIO, false);
}

Test(vhd_faults, child_survives_a_failed_write)
{
	fail_each(VHD_DIFFERENCING, FILE_WRITE, EIO, false);
	fail_each(VHD_DIFFERENCING, FILE_WRITE, EDQUOT, true);
}

Test(vhd_faults, child_survives_a_failed_read_or_sync)
{
	fail_each(VHD_DIFFERENCING, FILE_READ, EIO, false);
	fail_each(VHD_DIFFERENCING, FILE_SYNC, EIO, false);
}

Test(vhd_faults, child_survives_a_failed_allocation_punch_or_zero)
{
	fail_each(VHD_DIFFERENCING, FILE_ALLOCATE, ENOSPC, false);
	fail_each(VHD_DIFFERENCING, FILE_PUNCH, EIO, false);
	fail_each(VHD_DIFFERENCING, FILE_ZERO, EIO, false);
}

Test(vhd_faults, fixed_survives_a_failed_write_or_sync)
{
	fail_each(VHD_FIXED, FILE_WRITE, EIO, true);
	fail_each(VHD_FIXED, FILE_SYNC, EIO, false);
}
