/* SPDX-License-Identifier: MIT */
#ifndef STRATA_UTIL_UTF16_H
#define STRATA_UTIL_UTF16_H

/*
 * UTF-16 as VHD stores it (parent name: big-endian; locators: little-endian) to and from UTF-8.
 * Input is untrusted: unpaired surrogates are an error, never passed on.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum utf16_order { UTF16_LE, UTF16_BE };

/*
 * Decode `len_bytes` (even) to a NUL-terminated UTF-8 string. Decoding stops at the first NUL
 * unit; `strict` makes anything but NULs after it an error. Returns false on an odd length, an
 * unpaired surrogate, or when `out_bytes` is too small (len_bytes / 2 * 3 + 1 always suffices).
 */
bool utf16_to_utf8(const uint8_t *in, size_t len_bytes, enum utf16_order order, bool strict,
		   char *out, size_t out_bytes);

/*
 * Encode a UTF-8 string without a terminator. *len_bytes is the room in `out` going in, what was
 * written coming out. False on invalid UTF-8 (overlong, surrogate, beyond U+10FFFF) or no room.
 */
bool utf8_to_utf16(const char *in, enum utf16_order order, uint8_t *out, size_t *len_bytes);

#endif
