/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_KILL_VERIFY_H
#define STRATA_TESTS_KILL_VERIFY_H

/* What is left after a kill, against the log; what was read is what is expected from then on. */

#include "tests/kill/log.h"

struct verify_opts {
	unsigned disks_outside; /* layers whose files are not in the store's folder */
	bool mend;              /* open current for writing, which does so */
	bool fold;              /* all there is, and look at everything again */
};

/* In a process of its own, that ends with it: exit code 0 when all is well. */
void verify_run(struct log *log, const char *dir, const struct verify_opts *opts);

#endif
