/* SPDX-License-Identifier: MIT */
#include "tests/crash/scenarios.h"

#include "util/bytes.h"

static const struct powercut_scenario *const families[] = {
    crash_data,  crash_resize,     crash_compact,   crash_chain,
    crash_store, crash_store_fold, crash_store_make};

size_t crash_scenario_count(void)
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		for (const struct powercut_scenario *s = families[i]; s->name; s++)
			count++;
	return count;
}

const struct powercut_scenario *crash_scenario(size_t idx)
{
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		for (const struct powercut_scenario *s = families[i]; s->name; s++)
			if (!idx--)
				return s;
	return NULL;
}
