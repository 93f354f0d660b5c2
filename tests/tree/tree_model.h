/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_TREE_MODEL_H
#define STRATA_TESTS_TREE_MODEL_H

/* A store in memory and what every node of it must read as. Threads: none. */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

struct tree_model;

/* NULL with the reason. */
struct tree_model *tree_model_new(uint64_t seed, struct err_why *why);
void tree_model_free(struct tree_model *model);

/* Random operations; false with what went wrong. */
bool tree_model_steps(struct tree_model *model, unsigned steps, struct err_why *why);
/* That many nodes in one line, a write in each; then some reverts, deletions and folds in it. */
bool tree_model_line(struct tree_model *model, unsigned depth, struct err_why *why);
/* Close what is open, fold to the end, compare every node, check. */
bool tree_model_finish(struct tree_model *model, struct err_why *why);
/* One line on what was done. */
void tree_model_tell(const struct tree_model *model);

#endif
