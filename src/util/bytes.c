/* SPDX-License-Identifier: MIT */
#include "util/bytes.h"

#include <string.h>

/* The widest register every target has; any alignment. */
typedef uint64_t lane __attribute__((vector_size(16), aligned(1), may_alias));

#define STEP 256 /* bytes between two looks at the result */

static bool tail_is_zero(const uint8_t *p, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= p[i];
	return any == 0;
}

/* Four independent chains of ORs keep the load units busy. */
static bool step_is_zero(const uint8_t *p)
{
	const lane *l = (const lane *)p;
	lane a = l[0] | l[4] | l[8] | l[12];
	lane b = l[1] | l[5] | l[9] | l[13];
	lane c = l[2] | l[6] | l[10] | l[14];
	lane d = l[3] | l[7] | l[11] | l[15];
	lane any = (a | b) | (c | d);

	return (any[0] | any[1]) == 0;
}

bool bytes_are_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t head, last;

	if (len < sizeof(head))
		return tail_is_zero(p, len);

	/* Most buffers with content show it at once: spare them the loop. */
	memcpy(&head, p, sizeof(head));
	memcpy(&last, p + len - sizeof(last), sizeof(last));
	if (head | last)
		return false;

	for (; len >= STEP; p += STEP, len -= STEP) {
		if (!step_is_zero(p))
			return false;
	}
	return tail_is_zero(p, len);
}
