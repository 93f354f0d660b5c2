/* SPDX-License-Identifier: MIT */
#ifndef STRATA_CLI_PROGRAM_H
#define STRATA_CLI_PROGRAM_H

/*
 * A program is a table of verbs, and everything that is generated from it: finding the verb, help,
 * --version, a guess at what a wrong word was to be. A verb whose name has two words, "snapshot
 * take", belongs to the group "snapshot".
 */

#include "cli/args.h"

struct program {
	const char *name;
	const char *summary;             /* one sentence */
	const char *notes;               /* lines that end the help */
	const char *operand;             /* what an operand is, for errors: "file name" */
	const struct verb *const *verbs; /* NULL ends them */
};

/* All of main: returns the exit code. */
int program_main(const struct program *program, int argc, char **argv);

#endif
