/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_CRASH_VHD_RUN_H
#define STRATA_TESTS_CRASH_VHD_RUN_H

/*
 * What the scenarios share: small VHDs in a recorded namespace with a model, opened, exercised,
 * and judged after a power cut. Disks are small (blocks of 64 KiB) so that a state costs little.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/fault.h"
#include "tests/lib/exercise.h"
#include "tests/lib/powercut.h"
#include "tests/lib/reorder.h"
#include "vhd/vhd.h"

#define RUN_BLOCK    (64u << 10)
#define RUN_LEAF     "/vm/leaf.vhd"
#define RUN_PARENT   "/vm/parent.vhd"
#define RUN_BASE     "/vm/base.vhd"
#define RUN_MAX_DISK (17u << 20)

struct vhd_run {
	const void *config;
	uint64_t seed;
	struct exercise ex;  /* ex.model is that of the leaf, owned here */
	struct model *below; /* of the base, where a scenario needs it; owned here */
	struct reorder_ns *reorder;
	struct fault_ns *fault; /* NULL: operate meets no faults */
	unsigned judged;
	uint64_t done_mark; /* when the operation was acknowledged; 0: not yet */
};

/* begin and end of a scenario. */
void *run_begin(const void *config, uint64_t seed, bool calm);
void run_end(void *run);

/* The namespace for operate: `ns`, with faults when there are to be some. */
struct file_ns *run_ns(const struct vhd_run *run, struct mem_ns *ns);

/* A new image. `parent` is NULL or makes it a differencing one (`type` and size are then ignored).
 */
enum err run_create(struct file_ns *ns, const char *path, enum vhd_type type, uint64_t size_bytes,
		    const char *parent, struct err_why *why);

/*
 * Open for writing into run->ex.disk, file requests in random order. With `marks` operations are
 * marked in the log of `ns`.
 */
enum err run_open(struct vhd_run *run, struct mem_ns *ns, const char *path, bool marks,
		  struct err_why *why);
/* Close, which flushes; acknowledged in the model. */
enum err run_close(struct vhd_run *run, struct err_why *why);

#define RUN_FILL UINT32_MAX

/*
 * Create a disk with a new model and fill part of it with random requests, or with RUN_FILL all of
 * it; closed and durable.
 */
enum err run_prepare(struct vhd_run *run, struct mem_ns *ns, const char *path, enum vhd_type type,
		     uint64_t size_bytes, const char *parent, unsigned requests,
		     struct err_why *why);

/*
 * A dynamic disk laid out as other programs do, block behind block without padding, its first
 * `blocks` blocks allocated and filled.
 */
enum err run_prepare_tight(struct vhd_run *run, struct mem_ns *ns, const char *path,
			   uint64_t size_bytes, unsigned blocks, struct err_why *why);

/* recover: open the leaf for writing and close it. */
enum err run_recover(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why);
enum err run_recover_path(struct mem_ns *ns, const char *path, struct err_why *why);

/* verify: the leaf's content is allowed, vhd_check is content, and now and then it is used on. */
enum err run_verify(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why);
enum err run_verify_path(struct vhd_run *run, struct mem_ns *ns, const char *path, uint64_t mark,
			 struct err_why *why);

/*
 * Barriers of a dynamic or differencing file, or of its intent record, that stand before or after
 * nothing that could go wrong without them, at least in the events that follow: the reason, or
 * NULL.
 */
const char *run_redundant(const struct powercut_barrier *barrier);

/* Only the structure of one file. */
enum err run_check(struct mem_ns *ns, const char *path, struct err_why *why);
/* Whether there is a file, and whether anything in it could be taken for a valid footer. */
bool run_exists(struct mem_ns *ns, const char *path);
bool run_has_footer(struct mem_ns *ns, const char *path);

/* Only content, against what the model shows now (after an operation was run to its end). */
enum err run_verify_live(struct vhd_run *run, struct mem_ns *ns, const char *path,
			 struct err_why *why);

#endif
