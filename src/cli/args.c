/* SPDX-License-Identifier: MIT */
#include "cli/args.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "util/bytes.h"
#include "util/text.h"

#define MAX_OPTIONS 40
#define LONG_BASE   256 /* getopt values of options without a letter start here */

struct group_opt {
	unsigned group; /* 0: every verb */
	struct opt opt;
};

/* clang-format off */
static const struct group_opt group_opts[] = {
	{ GROUP_DRY_RUN, { "dry-run", 'n', OPT_FLAG, NULL, offsetof(struct common, dry_run),
		"say what would be done, change nothing" } },
	{ GROUP_JSON, { "json", 0, OPT_FLAG, NULL, offsetof(struct common, json),
		"print JSON" } },
	{ GROUP_PROGRESS, { "progress", 0, OPT_CHOICE, "auto|plain|json|none",
		offsetof(struct common, progress), "how to show progress on stderr" } },
	{ 0, { "help", 'h', OPT_FLAG, NULL, offsetof(struct common, help), "show this help" } },
};
/* clang-format on */

struct opt_set {
	const struct opt *opt[MAX_OPTIONS];
	unsigned count;
};

static void collect(const struct verb *verb, struct opt_set *set)
{
	set->count = 0;
	for (const struct opt *opt = verb->opts; opt && opt->name; opt++)
		set->opt[set->count++] = opt;
	for (size_t i = 0; i < ARRAY_LEN(group_opts); i++)
		if (!group_opts[i].group || verb->groups & group_opts[i].group)
			set->opt[set->count++] = &group_opts[i].opt;
}

const char *args_choice_text(const char *value, unsigned index, char *out, size_t out_bytes)
{
	while (--index > 0 && (value = strchr(value, '|')))
		value++;
	snprintf(out, out_bytes, "%.*s", value ? (int)strcspn(value, "|") : 0, value ? value : "");
	return out;
}

/* The number, from 1, of `text` among the words of `choices`; 0 when it is none of them. */
static unsigned choice_index(const char *choices, const char *text)
{
	char word[32];

	for (unsigned i = 1; *args_choice_text(choices, i, word, sizeof(word)); i++)
		if (!strcmp(word, text))
			return i;
	return 0;
}

static bool parse_number(const char *text, unsigned *out)
{
	unsigned long value;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || !value || value > 1000000)
		return false;
	*out = (unsigned)value;
	return true;
}

static int store_size(const struct verb *verb, const struct opt *opt, const char *text,
		      struct opt_size *out)
{
	struct size_arg size;

	if (!size_parse(text, &size))
		return out_usage(verb->name, "--%s: '%s' is not a size such as 4096, 512M or 1.5T",
				 opt->name, text);
	if (size.relative && opt->kind != OPT_RESIZE)
		return out_usage(verb->name, "--%s: '%s': a size without '+' is wanted here",
				 opt->name, text);
	*out = (struct opt_size){.bytes = size.bytes, .given = true, .relative = size.relative};
	return 0;
}

static int store(const struct verb *verb, const struct opt *opt, const char *text, void *args)
{
	void *field = (char *)args + opt->off;
	struct opt_list *list = field;

	switch (opt->kind) {
	case OPT_FLAG:
		*(bool *)field = true;
		return 0;
	case OPT_TEXT:
		*(const char **)field = text;
		return 0;
	case OPT_MAYBE:
		*(struct opt_maybe *)field = (struct opt_maybe){.given = true, .text = text};
		return 0;
	case OPT_LIST:
		if (list->count == OPT_LIST_MAX)
			return out_usage(verb->name, "--%s was given more than %d times", opt->name,
					 OPT_LIST_MAX);
		list->item[list->count++] = text;
		return 0;
	case OPT_SIZE:
	case OPT_RESIZE:
		return store_size(verb, opt, text, field);
	case OPT_NUMBER:
		if (!parse_number(text, field))
			return out_usage(verb->name, "--%s: '%s' is not a number from 1 to 1000000",
					 opt->name, text);
		return 0;
	case OPT_CHOICE:
		*(unsigned *)field = choice_index(opt->value, text);
		if (!*(unsigned *)field)
			return out_usage(verb->name, "--%s: '%s' is not one of %s", opt->name, text,
					 opt->value);
		return 0;
	}
	return 0;
}

static int getopt_arg(enum opt_kind kind)
{
	return kind == OPT_FLAG    ? no_argument
	       : kind == OPT_MAYBE ? optional_argument
				   : required_argument;
}

/* getopt's tables for `set`. Values are LONG_BASE + index, so that one switch serves both forms. */
static void build_getopt(const struct opt_set *set, struct option *longs, char *shorts)
{
	*shorts++ = ':'; /* a missing value is told apart from an unknown option */
	for (unsigned i = 0; i < set->count; i++) {
		int has_arg = getopt_arg(set->opt[i]->kind);

		longs[i] = (struct option){
		    .name = set->opt[i]->name, .has_arg = has_arg, .val = LONG_BASE + (int)i};
		if (!set->opt[i]->letter)
			continue;
		*shorts++ = set->opt[i]->letter;
		for (int colons = 0; colons < has_arg; colons++)
			*shorts++ = ':';
	}
	longs[set->count] = (struct option){0};
	*shorts = 0;
}

static const struct opt *find_option(const struct opt_set *set, int value)
{
	if (value >= LONG_BASE)
		return set->opt[value - LONG_BASE];
	for (unsigned i = 0; i < set->count; i++)
		if (set->opt[i]->letter == value)
			return set->opt[i];
	return NULL;
}

static int operands(const struct verb *verb, const char *operand, int argc, char **argv,
		    struct common *common)
{
	unsigned count = (unsigned)(argc - optind);

	if (count < verb->min_args)
		return out_usage(verb->name, "%s is wanted: %s",
				 count ? "one more operand" : "an operand", verb->usage);
	if (count > verb->max_args)
		return out_usage(verb->name, "'%s' is one operand too many",
				 argv[optind + (int)verb->max_args]);
	for (unsigned i = 0; i < count; i++) {
		common->arg[i] = argv[optind + (int)i];
		if (!*common->arg[i])
			return out_usage(verb->name, "an empty %s", operand);
	}
	return 0;
}

int args_parse(const struct verb *verb, const char *operand, int argc, char **argv, void *args)
{
	struct common *common = args;
	struct option longs[MAX_OPTIONS + 1];
	char shorts[3 * MAX_OPTIONS + 2];
	struct opt_set set;
	int value, rc;

	collect(verb, &set);
	build_getopt(&set, longs, shorts);
	opterr = 0;
	optind = 1;
	while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct opt *opt = find_option(&set, value);

		if (value == ':')
			return out_usage(verb->name, "'%s' needs a value", argv[optind - 1]);
		if (!opt && optopt && optopt < LONG_BASE)
			return out_usage(verb->name, "there is no option '-%c'", optopt);
		if (!opt)
			return out_usage(verb->name, "there is no option '%s'", argv[optind - 1]);
		rc = store(verb, opt, optarg, args);
		if (rc)
			return rc;
		if (common->help)
			return 0;
	}
	return operands(verb, operand, argc, argv, common);
}

void args_print_options(const struct verb *verb, FILE *to)
{
	struct opt_set set;

	collect(verb, &set);
	for (unsigned i = 0; i < set.count; i++) {
		const struct opt *opt = set.opt[i];
		char left[80];

		snprintf(left, sizeof(left), "%s%.1s%s--%s%s%s%s", opt->letter ? "-" : "  ",
			 opt->letter ? &opt->letter : "", opt->letter ? ", " : "  ", opt->name,
			 !opt->value              ? ""
			 : opt->kind == OPT_MAYBE ? "[="
						  : " ",
			 opt->value ? opt->value : "", opt->kind == OPT_MAYBE ? "]" : "");
		if (strlen(left) > 30)
			fprintf(to, "  %s\n  %-30s  %s\n", left, "", opt->help);
		else
			fprintf(to, "  %-30s  %s\n", left, opt->help);
	}
}
