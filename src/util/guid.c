/* SPDX-License-Identifier: MIT */
#include "util/guid.h"

#include <string.h>
#include <uuid/uuid.h>

_Static_assert(sizeof(uuid_t) == sizeof(((struct guid *)0)->b), "a uuid_t is sixteen bytes");
_Static_assert(UUID_STR_LEN == GUID_TEXT_BYTES, "the text form has one length");

struct guid guid_new(void)
{
	struct guid g;

	uuid_generate_random(g.b);
	return g;
}

bool guid_equal(const struct guid *a, const struct guid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool guid_is_zero(const struct guid *g)
{
	return uuid_is_null(g->b);
}

char *guid_text(const struct guid *g, char out[GUID_TEXT_BYTES])
{
	uuid_unparse_lower(g->b, out);
	return out;
}

bool guid_parse(const char *text, struct guid *out)
{
	uuid_t parsed;

	if (uuid_parse(text, parsed) != 0)
		return false;
	memcpy(out->b, parsed, sizeof(out->b));
	return true;
}
