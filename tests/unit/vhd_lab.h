/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_VHD_LAB_H
#define STRATA_TESTS_VHD_LAB_H

/*
 * A bench for tests of the VHD engine: a folder in memory with fault injection in front, images
 * made there, spoiled there and opened there. Whatever goes wrong in here fails the running test,
 * unless the function returns an enum err.
 *
 * Contents: every sector says whose it is (`tag`) and where it belongs; tag 0 is zeros.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block.h"
#include "block/fault.h"
#include "block/file_mem.h"
#include "block/queue.h"
#include "tests/lib/exercise.h"
#include "util/bytes.h"
#include "vhd/layer.h"
#include "vhd/vhd.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)

struct vlab {
	struct mem_ns *mem;
	struct fault_ns *fault;
	struct file_ns *ns; /* the fault filter's */
	struct err_why why; /* of the last call below that returns an enum err */
};

void vlab_start(struct vlab *lab);
void vlab_stop(struct vlab *lab);

/* ---- images ---- */

/* An image of 64 KiB blocks, or fixed; with `parent` a differencing one of the parent's size. */
void vlab_create(struct vlab *lab, const char *path, enum vhd_type type, uint64_t size_bytes,
		 const char *parent);
/* The same with any options; lab->ns is filled in. */
enum err vlab_try_create(struct vlab *lab, const char *path, struct vhd_create_opts opts);

struct disk *vlab_open(struct vlab *lab, const char *path, bool writable);
enum err vlab_try_open(struct vlab *lab, const char *path, bool writable, struct disk **out);
/* Opens and closes; what opening said. */
enum err vlab_probe(struct vlab *lab, const char *path, bool writable);
void vlab_close(struct disk *disk);

/* Whether the text of the last error has this in it. */
bool vlab_said(const struct vlab *lab, const char *part);

/* ---- content ---- */

void vlab_write(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes, uint64_t tag);
enum err vlab_try_write(struct vlab *lab, struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
			uint64_t tag);
void vlab_zero(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes);
void vlab_trim(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes);
void vlab_flush(struct disk *disk);
enum err vlab_try_flush(struct vlab *lab, struct disk *disk);
/* Every sector of the range has this tag; false names the first that has not in lab->why. */
bool vlab_holds(struct vlab *lab, struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
		uint64_t tag);
/* The tag of one sector; UINT64_MAX when it is none of ours. */
uint64_t vlab_tag(struct disk *disk, uint64_t off_bytes);
/* The same on an image that is opened for reading just for that. */
uint64_t vlab_tag_of(struct vlab *lab, const char *path, uint64_t off_bytes);

/* ---- spoiling a file ---- */

uint64_t vlab_size(struct vlab *lab, const char *path);
void vlab_get(struct vlab *lab, const char *path, uint64_t off_bytes, void *buf, size_t len_bytes);
void vlab_put(struct vlab *lab, const char *path, uint64_t off_bytes, const void *buf,
	      size_t len_bytes);
void vlab_put32(struct vlab *lab, const char *path, uint64_t off_bytes, uint32_t value);
void vlab_put64(struct vlab *lab, const char *path, uint64_t off_bytes, uint64_t value);
void vlab_truncate(struct vlab *lab, const char *path, uint64_t size_bytes);
/* Set `width` bytes (1, 2, 4, 8; big-endian) of both footers, or of the header, and mend sums. */
void vlab_set_footers(struct vlab *lab, const char *path, unsigned at, unsigned width,
		      uint64_t value);
void vlab_set_header(struct vlab *lab, const char *path, unsigned at, unsigned width,
		     uint64_t value);
/* Mend the checksum of a footer (field at 64 of 512 bytes) or header (at 36 of 1024). */
void vlab_mend(struct vlab *lab, const char *path, uint64_t off_bytes, bool header);

/* The decoded layer of a path; closed by the caller. */
struct vhd_layer *vlab_layer(struct vlab *lab, const char *path);
uint32_t vlab_bat_entry(struct vlab *lab, const char *path, uint32_t idx);

/* What a power cut now would leave at best: the files as they are, all handles gone. */
struct vlab vlab_snapshot(struct vlab *lab);

/* Unpack a fixture as `path`; skips the test, with the reason, when it is not there. */
void vlab_fixture(struct vlab *lab, const char *fixture, const char *path);

#endif
