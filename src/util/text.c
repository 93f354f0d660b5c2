/* SPDX-License-Identifier: MIT */
#include "util/text.h"

#include <stdio.h>
#include <string.h>

#include "util/bytes.h"
#include "util/utf8.h"

/* Digits of a fraction we read; 10^18 is the last power of ten below 2^63. */
#define FRACTION_DIGITS 18

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool parse_whole(const char **text, uint64_t *out)
{
	const char *p = *text;
	uint64_t v = 0;

	if (!is_digit(*p))
		return false;
	for (; is_digit(*p); p++) {
		if (!checked_mul(v, 10, &v) || !checked_add(v, (uint64_t)(*p - '0'), &v))
			return false;
	}
	*text = p;
	*out = v;
	return true;
}

/* The digits after a point as numerator / denominator, trailing zeros left out. */
static bool parse_fraction(const char **text, uint64_t *numerator, uint64_t *denominator)
{
	size_t digits = strspn(*text, "0123456789");
	size_t kept = digits;

	*numerator = 0;
	*denominator = 1;
	while (kept > 0 && (*text)[kept - 1] == '0')
		kept--;
	if (digits == 0 || kept > FRACTION_DIGITS)
		return false;
	for (size_t i = 0; i < kept; i++) {
		*numerator = *numerator * 10 + (uint64_t)((*text)[i] - '0');
		*denominator *= 10;
	}
	*text += digits;
	return true;
}

/* "", "B", or K/M/G/T with an optional "B" or "iB" after it. */
static bool parse_unit(const char *text, uint64_t *out)
{
	static const char letters[] = "KMGTkmgt";
	const char *letter = *text ? strchr(letters, *text) : NULL;

	*out = 1;
	if (letter) {
		*out = 1ull << (10 * ((letter - letters) % 4 + 1));
		text++;
		if (strcmp(text, "iB") == 0)
			return true;
	}
	return *text == '\0' || strcmp(text, "B") == 0;
}

bool size_parse(const char *text, struct size_arg *out)
{
	uint64_t whole, numerator = 0, denominator = 1, unit, bytes;
	unsigned __int128 part;
	bool relative = *text == '+';

	if (relative)
		text++;
	if (!parse_whole(&text, &whole))
		return false;
	if (*text == '.') {
		text++;
		if (!parse_fraction(&text, &numerator, &denominator))
			return false;
	}
	if (!parse_unit(text, &unit))
		return false;

	part = (unsigned __int128)numerator * unit;
	if (part % denominator)
		return false;
	if (!checked_mul(whole, unit, &bytes) ||
	    !checked_add(bytes, (uint64_t)(part / denominator), &bytes))
		return false;
	*out = (struct size_arg){.bytes = bytes, .relative = relative};
	return true;
}

char *size_text(uint64_t bytes, char *out, size_t out_bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	uint64_t unit = 1, whole = bytes, tenths = 0;
	unsigned i = 0;

	while (whole >= 1024) {
		unit <<= 10;
		whole = bytes / unit;
		/* Rounded to the nearest; a carry may reach the next unit. */
		tenths = (bytes % unit / (unit / 1024) * 10 + 512) / 1024;
		whole += tenths / 10;
		tenths %= 10;
		i++;
	}
	if (tenths)
		snprintf(out, out_bytes, "%llu.%llu %s", (unsigned long long)whole,
			 (unsigned long long)tenths, names[i]);
	else
		snprintf(out, out_bytes, "%llu %s", (unsigned long long)whole, names[i]);
	return out;
}

/* What stands for the character at `in`; returns how many bytes of it were taken. */
static unsigned escape_char(const char *in, char piece[16], size_t *piece_bytes)
{
	uint32_t c = 0;
	unsigned taken = utf8_decode(in, &c);

	if (taken == 1 && c == '\\') {
		*piece_bytes = 2;
		memcpy(piece, "\\\\", 2);
	} else if (taken == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0)) {
		/* Byte by byte: what follows a wrong byte may be sound again. */
		taken = taken ? taken : 1;
		*piece_bytes = 4 * (size_t)taken;
		for (unsigned i = 0; i < taken; i++)
			snprintf(piece + 4 * (size_t)i, 5, "\\x%02x", (uint8_t)in[i]);
	} else {
		*piece_bytes = taken;
		memcpy(piece, in, taken);
	}
	return taken;
}

char *text_escape(const char *in, char *out, size_t out_bytes)
{
	size_t used = 0, cut = 0;

	if (out_bytes == 0)
		return out;
	while (*in) {
		char piece[16];
		size_t n;

		in += escape_char(in, piece, &n);
		if (n >= out_bytes - used) {
			snprintf(out + cut, out_bytes - cut, "...");
			return out;
		}
		memcpy(out + used, piece, n);
		used += n;
		if (used + sizeof("...") <= out_bytes)
			cut = used;
	}
	out[used] = '\0';
	return out;
}
