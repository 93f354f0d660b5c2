/* SPDX-License-Identifier: MIT */
#ifndef STRATA_CLI_PROGRESS_H
#define STRATA_CLI_PROGRESS_H

/*
 * Progress of long work on stderr, and the way to stop it. Between begin and end the first
 * SIGINT, SIGTERM or SIGHUP makes the work stop where everything is consistent (it fails with
 * ERR_CANCELLED); a second one of the same kind kills. One at a time; main thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/progress.h"

/* In the order of the words of --progress; 0 is what is not given. */
enum progress_mode { PROGRESS_UNSET, PROGRESS_AUTO, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE };

struct cli_progress {
	struct progress base;
	const char *label;
	unsigned mode;
	int64_t started_ms, shown_ms;
	bool drawn;
};

struct progress *progress_begin(struct cli_progress *progress, unsigned mode, const char *label);
void progress_end(struct cli_progress *progress);
/* True once the user asked to stop. */
bool progress_stopped(void);

#endif
