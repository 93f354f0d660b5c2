/* SPDX-License-Identifier: MIT */

/*
 * T8: a VM's tree under random operations, beside a model that keeps every node's content plainly.
 *
 * Usage: tree [--steps N] [--seed N] [--depth N]
 *
 * Steps: writes to current (with the view kept open or not), take (under an open view too), revert
 * keeping or discarding, delete of a node or a subtree, folding with a small or no budget, opening
 * views of nodes that stay open over all of that, closing the store, export and import, check.
 * After each step that can change what is read some node, and now and then every node, is compared
 * sector by sector. At the end all is folded, compared and checked. One line a phase, "ok" or
 * "not ok"; the seed is printed, so that a failure can be had again.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tree/tree_model.h"

struct options {
	unsigned steps;
	uint64_t seed;
	unsigned depth;
};

static bool parse(int argc, char **argv, struct options *out)
{
	*out = (struct options){.steps = 3000, .seed = 1, .depth = 0};
	for (int i = 1; i + 1 < argc; i += 2) {
		unsigned long long value = strtoull(argv[i + 1], NULL, 0);

		if (!strcmp(argv[i], "--steps"))
			out->steps = (unsigned)value;
		else if (!strcmp(argv[i], "--seed"))
			out->seed = value;
		else if (!strcmp(argv[i], "--depth"))
			out->depth = (unsigned)value;
		else
			return false;
	}
	return argc % 2 == 1;
}

static int report(const char *phase, const struct options *o, bool ok, const struct err_why *why)
{
	if (ok)
		printf("ok tree %s (seed %llu)\n", phase, (unsigned long long)o->seed);
	else
		printf("not ok tree %s: %s; again: --steps %u --depth %u --seed %llu\n", phase,
		       why->text, o->steps, o->depth, (unsigned long long)o->seed);
	fflush(stdout);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct err_why why = {0};
	struct options o;
	int failed;

	if (!parse(argc, argv, &o)) {
		fprintf(stderr, "usage: tree [--steps N] [--seed N] [--depth N]\n");
		return 64;
	}
	struct tree_model *model = tree_model_new(o.seed, &why);
	if (!model)
		return report("setup", &o, false, &why);
	bool ok = o.depth ? tree_model_line(model, o.depth, &why)
			  : tree_model_steps(model, o.steps, &why);
	failed = report(o.depth ? "line" : "torture", &o, ok, &why);
	if (ok) {
		ok = tree_model_finish(model, &why);
		failed |= report("fold to the end", &o, ok, &why);
	}
	if (ok)
		tree_model_tell(model);
	tree_model_free(model);
	return failed;
}
