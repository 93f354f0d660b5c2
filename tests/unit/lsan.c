/* SPDX-License-Identifier: MIT */

/* Criterion's runner does not free all of its own state; that is not ours to report. */

const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libcriterion\n";
}
