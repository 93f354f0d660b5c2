/* SPDX-License-Identifier: MIT */
#ifndef STRATA_UTIL_TEXT_H
#define STRATA_UTIL_TEXT_H

/* Sizes and untrusted names, read from and written for people. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct size_arg {
	uint64_t bytes;
	bool relative; /* written with a leading '+': add to what is there */
};

/*
 * "10G", "+512M", "4096", "1.5T": bytes; K/M/G/T (either case, optional "iB" or "B") are powers of
 * 1024. False on anything else, on overflow, and on a fraction that is not a whole number of bytes.
 */
bool size_parse(const char *text, struct size_arg *out);

/* "1.5 GiB", "512 B"; returns `out`. */
char *size_text(uint64_t bytes, char *out, size_t out_bytes);

/*
 * Copy `in` to `out`, escaping control characters, invalid UTF-8 and backslashes as \xNN (\\), cut
 * to `out_bytes` with "...". Used for every name that comes from an image. Returns `out`.
 */
char *text_escape(const char *in, char *out, size_t out_bytes);

#endif
