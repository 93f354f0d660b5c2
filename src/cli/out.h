/* SPDX-License-Identifier: MIT */
#ifndef STRATA_CLI_OUT_H
#define STRATA_CLI_OUT_H

/*
 * What the programs print: errors (one line on stderr, "PROGRAM: PATH: text"), facts for people,
 * JSON. Main thread only. Text that comes from an image or a catalogue passes out_name first.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

#define EXIT_USAGE 64

/* The program's name, for all that follows; before anything else here. */
void out_begin(const char *program);

/* Report `why` about `path` (NULL: none); returns its exit code. */
int out_fail(const char *path, const struct err_why *why);
/* Report a wrong command line of `verb` (NULL: none), with a hint; returns EXIT_USAGE. */
int out_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A remark on stderr, "PROGRAM: PATH: text"; no error. */
void out_note(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "  label            text" */
void out_row(const char *label, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * An escaped copy of a name for printing; "-" for NULL. Valid until seven more calls of the
 * functions here that return text.
 */
const char *out_name(const char *name);
/* "1.5 GiB"; lifetime as out_name. */
const char *out_size(uint64_t bytes);
/* "1.5 GiB (1610612736 bytes)"; lifetime as out_name. */
const char *out_size_exact(uint64_t bytes);

/* ISO 8601, UTC, of seconds since 1970: "2024-05-01T10:00:00Z"; lifetime as out_name. */
const char *out_time(int64_t seconds);

/* A JSON string; what is not UTF-8 is escaped as text_escape does. NULL gives null. */
json_t *json_text(const char *text);
json_t *json_size(uint64_t bytes);
/* Print `root` and a newline, and free it. */
void json_emit(json_t *root);

/* Close stdout; a failed write is an error of the program. Returns the exit code to use. */
int out_close(int exit_code);

#endif
