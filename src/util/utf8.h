/* SPDX-License-Identifier: MIT */
#ifndef STRATA_UTIL_UTF8_H
#define STRATA_UTIL_UTF8_H

/* One UTF-8 character at a time, to and from code points; the strict form of RFC 3629. */

#include <stdint.h>

#define UTF8_MAX_BYTES 4

/*
 * The character at the start of the NUL-terminated `in`: its length in bytes, 0 when it is not
 * valid (overlong, a surrogate, beyond U+10FFFF, cut short). Never reads past the NUL.
 */
unsigned utf8_decode(const char *in, uint32_t *code_point);

/* Store a valid code point; returns the number of bytes. */
unsigned utf8_encode(uint32_t code_point, char out[UTF8_MAX_BYTES]);

#endif
