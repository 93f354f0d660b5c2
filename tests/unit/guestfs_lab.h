/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_GUESTFS_LAB_H
#define STRATA_TESTS_GUESTFS_LAB_H

/*
 * A bench for the guestfs tests: a folder of its own for each test, images made there by the file
 * systems' own tools, and what guestfs says about them. Anything that goes wrong in here fails the
 * running test.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/file.h"
#include "vhd/guestfs.h"

/* For TestSuite: make the folder and a queue, remove both. */
void lab_start(void);
void lab_stop(void);

/* Skip the test, with the reason, when a program is missing. */
void lab_need(const char *program);
/* Run a shell command in the folder; it must succeed. */
void lab_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, for a command that prints one number. */
uint64_t lab_number(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Unpack a fixed VHD among the fixtures as raw image `name`; skips when it is not there. */
void lab_unpack(const char *fixture, const char *name);

void lab_read(const char *name, uint64_t off_bytes, void *buf, size_t len_bytes);
void lab_write(const char *name, uint64_t off_bytes, const void *buf, size_t len_bytes);

/* A file whose every sector says that it belongs to `id`. */
void lab_make_pattern(const char *name, uint64_t id, unsigned sectors);

/* Path of a file in the folder; valid until the next call. */
const char *lab_path(const char *name);
/* Opened by name for as long as the test runs. */
struct disk *lab_disk(const char *name);
struct queue *lab_queue(void);
/* A copy of an image in memory, as a disk and as the file below it, to be changed there. */
struct disk *lab_memory_disk(const char *name, struct file **file);

/* The table must be read without an error; freed by lab_stop. */
const struct guestfs_table *lab_probe(const char *name);

struct lab_range {
	uint64_t off_bytes;
	uint64_t len_bytes;
};

struct lab_free {
	enum err err;
	struct err_why why;
	struct lab_range *range; /* freed by lab_stop */
	size_t count;
	uint64_t bytes;
};

/*
 * Free ranges of one partition. That they are in order, disjoint, in whole sectors and inside the
 * partition is checked here, error or not.
 */
struct lab_free lab_free_in(const char *name, const struct guestfs_partition *partition);
/* The same for a whole disk that holds file system `fs` (as blkid must find). */
struct lab_free lab_free(const char *name, const char *fs);
/* The range must be refused with a text that contains `text`. */
void lab_refused(const char *name, const char *fs, const char *text);

bool lab_is_free(const struct lab_free *free, uint64_t off_bytes);
/*
 * Look for the sectors of pattern `id` all over the image: each of its `sectors` must be found,
 * inside the free ranges (`is_free`) or outside them.
 */
void lab_check_pattern(const char *name, const struct lab_free *free, uint64_t id, unsigned sectors,
		       bool is_free);

#endif
