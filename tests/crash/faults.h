/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_CRASH_FAULTS_H
#define STRATA_TESTS_CRASH_FAULTS_H

/*
 * Fault rows (T3): the operation of a scenario, with its n-th request to the files failing, for
 * each n until it gets through without meeting the fault. Then the fault is gone, and whatever the
 * operation said, the image must recover and verify as after a power cut at that moment: what was
 * acknowledged is there, nothing else was lost (P1, P5).
 */

#include "tests/lib/powercut.h"

#define FAULT_KINDS 6u /* EIO, ENOSPC, EDQUOT; once or from then on; with half a write landed */

struct fault_result {
	unsigned runs;  /* operations with a fault in them */
	unsigned quiet; /* of these: said to have succeeded all the same */
	bool failed;    /* stops at the first failure */
	char text[1024];
};

/* Every `stride`-th n, beginning at 1 + seed % stride. `kind` is below FAULT_KINDS. */
void faults_run(const struct powercut_scenario *scenario, uint64_t seed, unsigned kind,
		unsigned stride, struct fault_result *result);

#endif
