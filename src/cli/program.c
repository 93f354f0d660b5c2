/* SPDX-License-Identifier: MIT */
#include "cli/program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "cli/version.h"
#include "util/bytes.h"

/* The longest name of a verb, and what is worth comparing with one. */
#define NAME_BYTES 32

/* How many words of argv make up `name`; 0 when they are another name. */
static int match(const char *name, int argc, char **argv)
{
	for (int words = 0; words < argc; words++) {
		size_t length = strcspn(name, " ");

		if (strlen(argv[words]) != length || strncmp(argv[words], name, length) != 0)
			return 0;
		if (!name[length])
			return words + 1;
		name += length + 1;
	}
	return 0;
}

static const struct verb *find_verb(const struct program *program, int argc, char **argv,
				    int *words)
{
	for (const struct verb *const *verb = program->verbs; *verb; verb++) {
		*words = match((*verb)->name, argc, argv);
		if (!*words && (*verb)->alias)
			*words = match((*verb)->alias, argc, argv);
		if (*words)
			return *verb;
	}
	return NULL;
}

/* Whether `verb` is one of `group`; all are of the group "". */
static bool in_group(const struct verb *verb, const char *group)
{
	size_t length = strlen(group);

	return !length || (!strncmp(verb->name, group, length) && verb->name[length] == ' ');
}

static bool is_group(const struct program *program, const char *word)
{
	for (const struct verb *const *verb = program->verbs; *word && *verb; verb++)
		if (in_group(*verb, word))
			return true;
	return false;
}

static void print_verbs(const struct program *program, const char *group, FILE *to)
{
	int width = 0;

	for (const struct verb *const *verb = program->verbs; *verb; verb++)
		if (in_group(*verb, group) && (int)strlen((*verb)->name) > width)
			width = (int)strlen((*verb)->name);
	for (const struct verb *const *verb = program->verbs; *verb; verb++) {
		if (!in_group(*verb, group))
			continue;
		fprintf(to, "  %-*s   %s", width, (*verb)->name, (*verb)->summary);
		if ((*verb)->alias)
			fprintf(to, " (alias %s)", (*verb)->alias);
		fputc('\n', to);
	}
}

static void print_help(const struct program *program, FILE *to)
{
	fprintf(to, "Usage: %s VERB [OPTION]... OPERAND...\n%s\n\nVerbs:\n", program->name,
		program->summary);
	print_verbs(program, "", to);
	fprintf(to, "\n'%s help VERB' tells more about one of them.\n%s", program->name,
		program->notes);
}

static void print_group_help(const struct program *program, const char *group)
{
	printf("Usage: %s %s VERB [OPTION]... OPERAND...\n\nVerbs:\n", program->name, group);
	print_verbs(program, group, stdout);
}

static void print_verb_help(const struct program *program, const struct verb *verb)
{
	printf("Usage: %s %s [OPTION]... %s\n", program->name, verb->name, verb->usage);
	if (verb->alias)
		printf("Alias: %s\n", verb->alias);
	printf("\n%s\n\nOptions:\n", verb->details);
	args_print_options(verb, stdout);
}

/* The number of letters to add, drop or change to get from `a` to `b`; large when b is long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_BYTES], length = (unsigned)strlen(b);

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

/* The verb whose name is nearest to `text`, if it is nearer than *best_distance. */
static const struct verb *nearest(const struct program *program, const char *text,
				  unsigned *best_distance)
{
	const struct verb *best = NULL;

	for (const struct verb *const *verb = program->verbs; *verb; verb++) {
		const char *name = (*verb)->name, *space = strchr(name, ' ');
		unsigned d = distance(text, name);

		if (space && distance(text, space + 1) < d) /* "take" */
			d = distance(text, space + 1);
		if (d < *best_distance) {
			best = *verb;
			*best_distance = d;
		}
	}
	return best;
}

/* The first word of argv is no verb, nor the first two together. */
static int unknown_verb(const struct program *program, int argc, char **argv)
{
	const struct verb *one, *two = NULL;
	unsigned best_distance = 3;
	char both[2 * NAME_BYTES] = "";

	if (is_group(program, argv[0]) && argc == 1)
		return out_usage(argv[0], "what to do is wanted: %s VERB", argv[0]);
	one = nearest(program, argv[0], &best_distance);
	if (argc > 1 && snprintf(both, sizeof(both), "%s %s", argv[0], argv[1]) < (int)sizeof(both))
		two = nearest(program, both, &best_distance);
	if (is_group(program, argv[0])) {
		if (two)
			return out_usage(argv[0], "there is no verb '%s %s'; did you mean '%s'?",
					 argv[0], argv[1], two->name);
		return out_usage(argv[0], "there is no verb '%s %s'", argv[0], argv[1]);
	}
	if (one || two)
		return out_usage(NULL, "there is no verb '%s'; did you mean '%s'?", argv[0],
				 two ? two->name : one->name);
	return out_usage(NULL, "there is no verb '%s'", argv[0]);
}

static bool is_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h");
}

/* `argv` is what follows the word help. */
static int help(const struct program *program, int argc, char **argv)
{
	const struct verb *verb;
	int words;

	if (argc < 1) {
		print_help(program, stdout);
		return 0;
	}
	verb = find_verb(program, argc, argv, &words);
	if (verb)
		print_verb_help(program, verb);
	else if (argc == 1 && is_group(program, argv[0]))
		print_group_help(program, argv[0]);
	else
		return unknown_verb(program, argc, argv);
	return 0;
}

static int run_verb(const struct program *program, const struct verb *verb, int argc, char **argv)
{
	void *args = calloc(1, verb->args_bytes);
	int rc;

	if (!args) {
		struct err_why why = {0};

		err_set(&why, ERR_NOMEM, "out of memory");
		return out_fail(NULL, &why);
	}
	rc = args_parse(verb, program->operand, argc, argv, args);
	if (!rc && ((struct common *)args)->help)
		print_verb_help(program, verb);
	else if (!rc)
		rc = verb->run(args);
	free(args);
	return rc;
}

/* `argv` begins with the first word after the program's name. */
static int dispatch(const struct program *program, int argc, char **argv)
{
	const struct verb *verb;
	int words;

	if (!strcmp(argv[0], "help") || is_help(argv[0]))
		return help(program, argc - 1, argv + 1);
	if (!strcmp(argv[0], "--version")) {
		printf("%s (Strata) %s\n", program->name, STRATA_VERSION);
		return 0;
	}
	verb = find_verb(program, argc, argv, &words);
	if (verb)
		return run_verb(program, verb, argc - words + 1, argv + words - 1);
	if (argc == 2 && is_group(program, argv[0]) && is_help(argv[1]))
		return help(program, 1, argv);
	return unknown_verb(program, argc, argv);
}

int program_main(const struct program *program, int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a reader that went away is a failed write, told as one */
	out_begin(program->name);
	if (argc < 2) {
		print_help(program, stderr);
		return EXIT_USAGE;
	}
	return out_close(dispatch(program, argc - 1, argv + 1));
}
