/* SPDX-License-Identifier: MIT */
#ifndef STRATA_UTIL_GUID_H
#define STRATA_UTIL_GUID_H

/* 128-bit identifiers as VHD stores them: sixteen bytes, printed in storage order. */

#include <stdbool.h>
#include <stdint.h>

#define GUID_TEXT_BYTES 37 /* 36 characters and the NUL */

struct guid {
	uint8_t b[16];
};

/* A fresh random (version 4) identifier. */
struct guid guid_new(void);
bool guid_equal(const struct guid *a, const struct guid *b);
bool guid_is_zero(const struct guid *g);
/* Lower-case text of `g` in `out`; returns `out`. */
char *guid_text(const struct guid *g, char out[GUID_TEXT_BYTES]);
/* False when `text` is not an identifier of the usual form. */
bool guid_parse(const char *text, struct guid *out);

#endif
