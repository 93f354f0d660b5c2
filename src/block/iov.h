/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_IOV_H
#define STRATA_BLOCK_IOV_H

/*
 * Walking and copying scattered buffers. Offsets and lengths are bytes within the whole array and
 * are trusted to lie inside it. Empty elements are allowed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The sum of the lengths; false when it does not fit. */
bool iov_sum(const struct iovec *iov, unsigned count, uint64_t *out);
/* The element that holds byte `off` (count when off is the end), and the offset within it. */
unsigned iov_seek(const struct iovec *iov, unsigned count, uint64_t off, size_t *within);
/* Whether every address and every length is a multiple of its power of two. */
bool iov_is_aligned(const struct iovec *iov, unsigned count, uint32_t address_align,
		    uint32_t len_align);
void iov_gather(const struct iovec *iov, unsigned count, void *out);
void iov_scatter(const struct iovec *iov, unsigned count, const void *in);
/* Zero `len` bytes from byte `off` on. */
void iov_zero_range(const struct iovec *iov, unsigned count, uint64_t off, uint64_t len);
/*
 * The elements of `iov` that cover `len` bytes from byte `off` on, into `out` (room for `count`);
 * returns how many.
 */
unsigned iov_slice(const struct iovec *iov, unsigned count, uint64_t off, uint64_t len,
		   struct iovec *out);
/* Zero everything from byte `off` on. */
void iov_zero_from(const struct iovec *iov, unsigned count, uint64_t off);

#endif
