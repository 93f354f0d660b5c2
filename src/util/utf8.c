/* SPDX-License-Identifier: MIT */
#include "util/utf8.h"

/* Length and payload of a first byte; 0 when no character starts with it. */
static unsigned lead(uint8_t first, uint32_t *bits)
{
	if (first < 0x80) {
		*bits = first;
		return 1;
	}
	if (first >= 0xc2 && first < 0xe0) {
		*bits = first & 0x1f;
		return 2;
	}
	if (first >= 0xe0 && first < 0xf0) {
		*bits = first & 0x0f;
		return 3;
	}
	if (first >= 0xf0 && first < 0xf5) {
		*bits = first & 0x07;
		return 4;
	}
	return 0;
}

unsigned utf8_decode(const char *in, uint32_t *code_point)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c;
	unsigned len = lead((uint8_t)in[0], &c);

	for (unsigned i = 1; i < len; i++) {
		uint8_t next = (uint8_t)in[i];

		if ((next & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (next & 0x3f);
	}
	if (len == 0 || c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*code_point = c;
	return len;
}

unsigned utf8_encode(uint32_t c, char out[UTF8_MAX_BYTES])
{
	static const uint8_t mark[] = {0, 0, 0xc0, 0xe0, 0xf0};
	unsigned len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (unsigned i = len - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	out[0] = (char)(mark[len] | c);
	return len;
}
