/* SPDX-License-Identifier: MIT */
/*
 * vhdtool: one table of verbs, and everything that is generated from it. Each verb lives in its
 * own file; what is here only finds the verb, parses its command line and runs it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhdtool/args.h"
#include "vhdtool/out.h"

static const struct verb *const verbs[] = {
    &verb_create, &verb_inspect, &verb_check, &verb_compact, &verb_expand,  &verb_shrink,
    &verb_resize, &verb_convert, &verb_merge, &verb_relink,  &verb_compare, &verb_diff,
    &verb_map,    &verb_measure, &verb_bench, &verb_mount,   &verb_umount,
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (!strcmp(name, verbs[i]->name) ||
		    (verbs[i]->alias && !strcmp(name, verbs[i]->alias)))
			return verbs[i];
	return NULL;
}

/* The number of letters to add, drop or change to get from `a` to `b`; large when b is long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[24], length = (unsigned)strlen(b);

	if (length >= ARRAY_LEN(row))
		return ~0u;
	for (unsigned j = 0; j <= length; j++)
		row[j] = j;
	for (unsigned i = 0; a[i]; i++) {
		unsigned diagonal = row[0];

		row[0] = i + 1;
		for (unsigned j = 0; j < length; j++) {
			unsigned best = diagonal + (a[i] != b[j]);

			best = best < row[j] + 1 ? best : row[j] + 1;
			best = best < row[j + 1] + 1 ? best : row[j + 1] + 1;
			diagonal = row[j + 1];
			row[j + 1] = best;
		}
	}
	return row[length];
}

static int unknown_verb(const char *name)
{
	const struct verb *best = NULL;
	unsigned best_distance = 3;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		unsigned d = distance(name, verbs[i]->name);

		if (d < best_distance) {
			best = verbs[i];
			best_distance = d;
		}
	}
	if (best)
		return out_usage(NULL, "there is no verb '%s'; did you mean '%s'?", name,
				 best->name);
	return out_usage(NULL, "there is no verb '%s'", name);
}

static void print_help(FILE *to)
{
	fputs("Usage: vhdtool VERB [OPTION]... OPERAND...\n"
	      "Create, inspect, check, change and read Virtual Hard Disks (VHD).\n\nVerbs:\n",
	      to);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		fprintf(to, "  %-9s %s", verbs[i]->name, verbs[i]->summary);
		if (verbs[i]->alias)
			fprintf(to, " (alias %s)", verbs[i]->alias);
		fputc('\n', to);
	}
	fputs("\n'vhdtool help VERB' tells more about one of them.\n"
	      "Sizes are bytes, or numbers with K, M, G or T (powers of 1024).\n"
	      "Exit codes: 0 done or nothing to do, 1 error, 2 corrupt image, 3 repairable image,\n"
	      "63 unsupported format, 64 wrong usage, 75 locked by another program.\n",
	      to);
}

static void print_verb_help(const struct verb *verb)
{
	printf("Usage: vhdtool %s [OPTION]... %s\n", verb->name, verb->usage);
	if (verb->alias)
		printf("Alias: %s\n", verb->alias);
	printf("\n%s\n\nOptions:\n", verb->details);
	args_print_options(verb, stdout);
}

static int help(int argc, char **argv)
{
	const struct verb *verb;

	if (argc < 2) {
		print_help(stdout);
		return 0;
	}
	verb = find_verb(argv[1]);
	if (!verb)
		return unknown_verb(argv[1]);
	print_verb_help(verb);
	return 0;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	void *args = calloc(1, verb->args_bytes);
	int rc;

	if (!args) {
		fputs("vhdtool: out of memory\n", stderr);
		return 1;
	}
	rc = args_parse(verb, argc, argv, args);
	if (!rc && ((struct common *)args)->help)
		print_verb_help(verb);
	else if (!rc)
		rc = verb->run(args);
	free(args);
	return rc;
}

int main(int argc, char **argv)
{
	const struct verb *verb;

	signal(SIGPIPE, SIG_IGN); /* a reader that went away is a failed write, told as one */
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return out_close(help(argc - 1, argv + 1));
	verb = find_verb(argv[1]);
	if (!verb)
		return unknown_verb(argv[1]);
	return out_close(run_verb(verb, argc - 1, argv + 1));
}
