/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_MODEL_H
#define STRATA_TESTS_MODEL_H

/*
 * What a disk may hold, kept in memory as plainly as possible: for every sector the values it was
 * given and when. It answers two questions about what was read: is this the value the disk must
 * show now (a live read), and is this a value it may show after a power cut (P1, P2).
 *
 * Time is a counter. Every function that begins or acknowledges something returns its moment, the
 * "mark", which a crash test also puts into the log of the recorded namespace (mem_ns_mark), before
 * it starts the operation or right after the disk acknowledged it. The last mark before a cut then
 * tells which operations had begun and which flushes had been acknowledged.
 *
 * After a cut at mark t a sector may hold the last value that an acknowledged flush covered, or
 * any value whose write began after that, up to t. A trim, and a write that failed, add a value
 * without ruling out the older ones.
 *
 * Content is made from a tag, unique for each write, and the number of the sector, so that
 * misplaced data, another layer's data and torn sectors are all recognised. Tag 0 is zeros; content
 * given by the caller is kept, for the life of the process, and has a tag of its own.
 *
 * Changes that overlap must not be in flight together; reads may overlap anything. Units: bytes,
 * multiples of 512. Threads: none. Running out of memory ends the test program.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

#define MODEL_SECTOR 512u

struct model;

/* An operation between its begin and its end. */
struct model_op {
	uint64_t mark;
	uint64_t off_bytes;
	uint64_t len_bytes;
};

/* A disk of zeros. */
struct model *model_new(uint64_t size_bytes);
/* A new disk that shows what `parent` shows now: a differencing child, or a converted copy. */
struct model *model_child(const struct model *parent);
void model_free(struct model *model);

/* Begin a write; fills `buf` with what is to be written. */
struct model_op model_write(struct model *model, uint64_t off_bytes, uint64_t len_bytes, void *buf);
/* Begin a write of this very content, for data that has to mean something (a file system). */
struct model_op model_put(struct model *model, uint64_t off_bytes, uint64_t len_bytes,
			  const void *buf);
struct model_op model_zero(struct model *model, uint64_t off_bytes, uint64_t len_bytes);
struct model_op model_trim(struct model *model, uint64_t off_bytes, uint64_t len_bytes);
/* A grown disk shows zeros behind the old end. */
struct model_op model_resize(struct model *model, uint64_t size_bytes);
/* The operation completed; with `ok` false it may or may not have had its effect. */
void model_done(struct model *model, const struct model_op *op, bool ok);

/* Begin a flush: it will cover what has completed by now. */
struct model_op model_flush(struct model *model);
/* The flush was acknowledged. Returns the mark of that moment. */
uint64_t model_flushed(struct model *model, const struct model_op *flush);
/* A completed operation was acknowledged as durable by itself (FUA, or a structural operation). */
uint64_t model_durable(struct model *model, const struct model_op *op);
/* The moment now, as a mark. */
uint64_t model_now(const struct model *model);

/* The size the disk has now. */
uint64_t model_size(const struct model *model);
/* May the disk have this size after a cut at `mark`? */
bool model_size_after_cut(const struct model *model, uint64_t mark, uint64_t size_bytes);

/*
 * Compare what was read (`buf` NULL: zeros); false, with the sector and what it should be in `why`.
 */
bool model_check_live(struct model *model, uint64_t off_bytes, const void *buf, uint64_t len_bytes,
		      struct err_why *why);
/* The same for a read that was submitted at moment `since` and has completed now. */
bool model_check_read(struct model *model, uint64_t since, uint64_t off_bytes, const void *buf,
		      uint64_t len_bytes, struct err_why *why);
bool model_check_after_cut(struct model *model, uint64_t mark, uint64_t off_bytes, const void *buf,
			   uint64_t len_bytes, struct err_why *why);

/* Copy of the value the disk shows now (the oldest one possible where several are). */
void model_get(const struct model *model, uint64_t off_bytes, void *buf, uint64_t len_bytes);

#endif
