/* SPDX-License-Identifier: MIT */
#ifndef STRATA_CLI_ARGS_H
#define STRATA_CLI_ARGS_H

/*
 * What a verb is, and how its command line becomes a struct. Each verb has one descriptor: help,
 * usage and completion are generated from it, so an option exists in one place.
 *
 * A verb's arguments are a struct of its own whose first member is a struct common. Option tables
 * say where in that struct a value goes. Text stays in argv and is not copied.
 *
 * Errors here are the user's: a sentence on stderr, a hint, exit code 64.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum opt_kind {
	OPT_FLAG,   /* bool */
	OPT_TEXT,   /* const char * */
	OPT_MAYBE,  /* struct opt_maybe: --name or --name=text */
	OPT_LIST,   /* struct opt_list: may be given many times */
	OPT_SIZE,   /* struct opt_size, "+10G" is an error */
	OPT_RESIZE, /* struct opt_size, "+10G" is allowed */
	OPT_NUMBER, /* unsigned, at least 1; 0 when not given */
	OPT_CHOICE, /* unsigned: 1 for the first word of `value`, ...; 0 when not given */
};

struct opt_size {
	uint64_t bytes;
	bool given;
	bool relative;
};

struct opt_maybe {
	bool given;
	const char *text; /* NULL: without one */
};

#define OPT_LIST_MAX 64

struct opt_list {
	const char *item[OPT_LIST_MAX];
	unsigned count;
};

struct opt {
	const char *name; /* NULL ends a table */
	char letter;      /* 0: none */
	enum opt_kind kind;
	const char *value; /* what help shows for the value; for OPT_CHOICE the words, "a|b|c" */
	size_t off;        /* of the value in the verb's struct */
	const char *help;
};

/* Options that many verbs share; a verb names the groups it wants. */
enum opt_group {
	GROUP_JSON = 1,
	GROUP_DRY_RUN = 2,
	GROUP_PROGRESS = 4,
};

#define ARGS_MAX 3

struct common {
	const char *arg[ARGS_MAX]; /* the operands; those not given are NULL */
	unsigned progress;         /* enum progress_mode */
	bool json;
	bool dry_run;
	bool help;
};

struct verb {
	const char *name;    /* one word, or two: "snapshot take" */
	const char *alias;   /* NULL: none */
	const char *summary; /* one line */
	const char *usage;   /* operands, "SRC DST" */
	const char *details; /* paragraphs for `help VERB` */
	const struct opt *opts;
	unsigned groups;
	unsigned min_args, max_args; /* at most ARGS_MAX */
	size_t args_bytes;
	/* Returns the exit code. `args` points at the verb's struct. */
	int (*run)(void *args);
};

/*
 * Fill `args` (zeroed, verb->args_bytes) from argv, where argv[0] is (the last word of) the verb's
 * name. `operand` is what an empty operand is called in the error. Returns 0 or the exit code. With
 * --help only common.help is meaningful.
 */
int args_parse(const struct verb *verb, const char *operand, int argc, char **argv, void *args);

/* The options of `verb`, for `help VERB`. */
void args_print_options(const struct verb *verb, FILE *to);

/* The text between `|` number `index` (from 1) of "a|b|c", in `out`. */
const char *args_choice_text(const char *value, unsigned index, char *out, size_t out_bytes);

#endif
