/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_FUZZ_IMAGE_H
#define STRATA_TESTS_FUZZ_IMAGE_H

/*
 * From a fuzzer's bytes to images: either the bytes themselves, or a small valid image with the
 * bytes as a list of patches, its checksums made right again afterwards, so that the fuzzer gets
 * past them. And what to do with a disk that opened: walk all of it within bounds.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/file_mem.h"
#include "tests/lib/handmade.h"
#include "vhd/vhd.h"

#define FUZZ_BLOCK (64u << 10)
#define FUZZ_DISK  (3u * FUZZ_BLOCK + 1024)

/* What is left of the input. */
struct fuzz_input {
	const uint8_t *data;
	size_t len;
};

/* The next bytes; 0 when there are no more. */
uint8_t fuzz_u8(struct fuzz_input *input);
uint32_t fuzz_u32(struct fuzz_input *input);

enum fuzz_base { FUZZ_FIXED, FUZZ_DYNAMIC, FUZZ_CHILD };

/* A valid image; a child is one of the FUZZ_DYNAMIC image under the name "parent.vhd". */
struct handmade fuzz_base_image(enum fuzz_base base);

/*
 * `base` with up to `patches` patches from the input, each an offset, a length and bytes; footers
 * and header are sealed when the input says so, which is mostly.
 */
struct handmade fuzz_patched(struct fuzz_input *input, enum fuzz_base base, unsigned patches);

/* Read and map all of a small disk, or parts of a large one. Aborts on an impossible extent. */
void fuzz_walk(struct disk *disk);

#endif
