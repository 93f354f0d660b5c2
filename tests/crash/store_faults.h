/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_CRASH_STORE_FAULTS_H
#define STRATA_TESTS_CRASH_STORE_FAULTS_H

/*
 * Fault rows (T3) for the scenarios on a VM's store: the n-th call fails, on content or on names,
 * for each n until the operation gets through. Then the fault is gone. The store that met it goes
 * on working or refuses cleanly; closed and opened again it is what it was before the operation or
 * after it, nothing is left behind, and whatever was done after the fault is there (P4, P5).
 */

#include "tests/crash/faults.h"

#define STORE_FAULT_KINDS 13u

bool store_faults_wanted(const struct powercut_scenario *scenario);
void store_faults_run(const struct powercut_scenario *scenario, uint64_t seed, unsigned kind,
		      unsigned stride, struct fault_result *result);

#endif
