/* SPDX-License-Identifier: MIT */
#ifndef STRATA_CLI_ASK_H
#define STRATA_CLI_ASK_H

/* Questions to whoever sits at the terminal. */

#include <stddef.h>

enum answer { ANSWER_NO, ANSWER_YES, ANSWER_NOBODY };

/*
 * Put `question` on stderr and read a line from stdin. ANSWER_YES for exactly "yes"; ANSWER_NOBODY,
 * without a word, when stdin is no terminal.
 */
enum answer ask_yes(const char *question);

/*
 * As ask_yes, with any line (cut to `out_bytes`) as the answer. ANSWER_YES when there was one,
 * ANSWER_NO at the end of the input.
 */
enum answer ask_line(const char *question, char *out, size_t out_bytes);

#endif
