/* SPDX-License-Identifier: MIT */
#include "cli/ask.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum answer ask_line(const char *question, char *out, size_t out_bytes)
{
	*out = 0;
	if (!isatty(STDIN_FILENO))
		return ANSWER_NOBODY;
	fprintf(stderr, "%s", question);
	if (!fgets(out, (int)out_bytes, stdin))
		return ANSWER_NO;
	out[strcspn(out, "\n")] = 0;
	return ANSWER_YES;
}

enum answer ask_yes(const char *question)
{
	char line[16];
	enum answer answer = ask_line(question, line, sizeof(line));

	return answer == ANSWER_YES && strcmp(line, "yes") != 0 ? ANSWER_NO : answer;
}
