/* SPDX-License-Identifier: MIT */
#include "cli/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/text.h"

#define TEXT_SLOTS 8
#define TEXT_BYTES 4352 /* PATH_MAX and some escapes */

static const char *program_name = "";

void out_begin(const char *program)
{
	program_name = program;
}

static char *next_slot(void)
{
	static char slot[TEXT_SLOTS][TEXT_BYTES];
	static unsigned at;

	return slot[at++ % TEXT_SLOTS];
}

static bool begins_with_path(const char *text, const char *path)
{
	size_t length = strlen(path);

	return !strncmp(text, path, length) && text[length] == ':';
}

static void error_line(const char *path, const char *text)
{
	if (path && !begins_with_path(text, path))
		fprintf(stderr, "%s: %s: %s\n", program_name, out_name(path), text);
	else
		fprintf(stderr, "%s: %s\n", program_name, text);
}

int out_fail(const char *path, const struct err_why *why)
{
	error_line(path, why->text[0] ? why->text : err_name(why->code));
	return why->code ? err_exit_code(why->code) : 1;
}

int out_usage(const char *verb, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s: %s%s", program_name, verb ? verb : "", verb ? ": " : "");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\nTry '%s %s%s'.\n", program_name, verb ? "help " : "--help",
		verb ? verb : "");
	return EXIT_USAGE;
}

void out_note(const char *path, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	error_line(path, text);
}

void out_row(const char *label, const char *fmt, ...)
{
	va_list args;

	printf("  %-18s ", label);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

const char *out_name(const char *name)
{
	return name ? text_escape(name, next_slot(), TEXT_BYTES) : "-";
}

const char *out_size(uint64_t bytes)
{
	return size_text(bytes, next_slot(), TEXT_BYTES);
}

const char *out_size_exact(uint64_t bytes)
{
	char *slot = next_slot(), text[32];

	snprintf(slot, TEXT_BYTES, "%s (%" PRIu64 " bytes)", size_text(bytes, text, sizeof(text)),
		 bytes);
	return slot;
}

const char *out_time(int64_t seconds)
{
	time_t when = (time_t)seconds;
	char *slot = next_slot();
	struct tm tm;

	if (!gmtime_r(&when, &tm) || !strftime(slot, TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(slot, TEXT_BYTES, "%" PRId64, seconds);
	return slot;
}

json_t *json_text(const char *text)
{
	json_t *value;

	if (!text)
		return json_null();
	value = json_string(text);
	return value ? value : json_string(out_name(text));
}

json_t *json_size(uint64_t bytes)
{
	return json_integer((json_int_t)bytes);
}

void json_emit(json_t *root)
{
	if (!root) {
		fprintf(stderr, "%s: out of memory\n", program_name);
		exit(1);
	}
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
	putchar('\n');
	json_decref(root);
}

int out_close(int exit_code)
{
	bool failed = ferror(stdout);

	/* EBADF: started with stdout closed and nothing was printed. */
	if (fclose(stdout) && errno != EBADF)
		failed = true;
	if (!failed)
		return exit_code;
	fprintf(stderr, "%s: standard output: %s\n", program_name, strerror(errno));
	return exit_code ? exit_code : 1;
}
