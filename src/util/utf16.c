/* SPDX-License-Identifier: MIT */
#include "util/utf16.h"

#include <string.h>

#include "util/bytes.h"
#include "util/utf8.h"

static uint32_t get_unit(const uint8_t *p, enum utf16_order order)
{
	return order == UTF16_BE ? get_be16(p) : get_le16(p);
}

static void put_unit(uint8_t *p, enum utf16_order order, uint32_t unit)
{
	if (order == UTF16_BE)
		put_be16(p, (uint16_t)unit);
	else
		put_le16(p, (uint16_t)unit);
}

static bool is_high(uint32_t unit)
{
	return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(uint32_t unit)
{
	return unit >= 0xdc00 && unit < 0xe000;
}

/* The character at `in`, of which `len_bytes` >= 2 are left: its bytes, 0 for a lone surrogate. */
static size_t next_char(const uint8_t *in, size_t len_bytes, enum utf16_order order, uint32_t *c)
{
	uint32_t low;

	*c = get_unit(in, order);
	if (is_low(*c))
		return 0;
	if (!is_high(*c))
		return 2;
	if (len_bytes < 4)
		return 0;
	low = get_unit(in + 2, order);
	if (!is_low(low))
		return 0;
	*c = 0x10000 + ((*c - 0xd800) << 10 | (low - 0xdc00));
	return 4;
}

bool utf16_to_utf8(const uint8_t *in, size_t len_bytes, enum utf16_order order, bool strict,
		   char *out, size_t out_bytes)
{
	size_t at = 0, used = 0;

	if (len_bytes % 2 || out_bytes == 0)
		return false;
	while (at < len_bytes) {
		char text[UTF8_MAX_BYTES];
		uint32_t c;
		size_t taken = next_char(in + at, len_bytes - at, order, &c);
		unsigned n;

		if (taken == 0)
			return false;
		if (c == 0)
			break;
		n = utf8_encode(c, text);
		if (n >= out_bytes - used)
			return false;
		memcpy(out + used, text, n);
		used += n;
		at += taken;
	}
	out[used] = '\0';
	return !strict || bytes_are_zero(in + at, len_bytes - at);
}

bool utf8_to_utf16(const char *in, enum utf16_order order, uint8_t *out, size_t *len_bytes)
{
	size_t used = 0;

	while (*in) {
		uint32_t c = 0;
		unsigned taken = utf8_decode(in, &c);
		size_t n = c < 0x10000 ? 2 : 4;

		if (taken == 0 || n > *len_bytes - used)
			return false;
		if (n == 2) {
			put_unit(out + used, order, c);
		} else {
			put_unit(out + used, order, 0xd800 + ((c - 0x10000) >> 10));
			put_unit(out + used + 2, order, 0xdc00 + ((c - 0x10000) & 0x3ff));
		}
		used += n;
		in += taken;
	}
	*len_bytes = used;
	return true;
}
