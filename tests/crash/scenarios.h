/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_CRASH_SCENARIOS_H
#define STRATA_TESTS_CRASH_SCENARIOS_H

/* The families of scenarios, each an array that ends with one without a name. */

#include <stddef.h>

#include "tests/lib/powercut.h"

extern const struct powercut_scenario crash_data[];   /* reads, writes, zeroes, trims, flushes */
extern const struct powercut_scenario crash_resize[]; /* expand and shrink */
extern const struct powercut_scenario crash_compact[];
extern const struct powercut_scenario crash_chain[]; /* create, merge, relink */
extern const struct powercut_scenario crash_store[]; /* the tree of a VM */
extern const struct powercut_scenario crash_store_fold[];
extern const struct powercut_scenario crash_store_make[]; /* whole VMs: create, export, import */

size_t crash_scenario_count(void);
const struct powercut_scenario *crash_scenario(size_t idx);

#endif
