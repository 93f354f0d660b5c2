/* SPDX-License-Identifier: MIT */
/* The list of errors and the text that goes with one. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "util/err.h"

Test(util_err, set_records_code_and_text)
{
	struct err_why why = {.code = ERR_IO, .sys_errno = EIO, .text = "old"};

	cr_expect_eq(err_set(&why, ERR_CORRUPT, "BAT entry %d", 17), ERR_CORRUPT);
	cr_expect_eq(why.code, ERR_CORRUPT);
	cr_expect_eq(why.sys_errno, 0);
	cr_expect_str_eq(why.text, "BAT entry 17");
}

Test(util_err, nowhere_to_record_is_allowed)
{
	cr_expect_eq(err_set(NULL, ERR_CORRUPT, "x"), ERR_CORRUPT);
	cr_expect_eq(err_sys(NULL, ENOENT, "x"), ERR_NOENT);
	cr_expect_eq(err_context(NULL, "x"), ERR_OK);
}

Test(util_err, sys_derives_code_and_appends_reason)
{
	struct err_why why;

	cr_expect_eq(err_sys(&why, ENOSPC, "writing %s", "a.vhd"), ERR_NOSPC);
	cr_expect_eq(why.sys_errno, ENOSPC);
	cr_expect_str_eq(why.text, "writing a.vhd: No space left on device");
}

Test(util_err, context_comes_first_and_keeps_the_rest)
{
	struct err_why why;

	err_sys(&why, EIO, "reading");
	cr_expect_eq(err_context(&why, "layer %d", 3), ERR_IO);
	cr_expect_eq(why.sys_errno, EIO);
	cr_expect_str_eq(why.text, "layer 3: reading: Input/output error");
}

Test(util_err, arguments_may_be_the_text_itself)
{
	struct err_why why;

	err_set(&why, ERR_IO, "inner");
	err_set(&why, ERR_PARENT, "outer (%s)", why.text);
	cr_expect_str_eq(why.text, "outer (inner)");
}

Test(util_err, long_text_is_cut_between_characters)
{
	struct err_why why;
	char filler[600];

	/* Two bytes a character, at both parities: one of them would be cut in the middle. */
	for (size_t start = 0; start < 2; start++) {
		memset(filler, 'x', start);
		for (size_t i = start; i + 2 < sizeof(filler); i += 2)
			memcpy(filler + i, "\xc3\xa9", 3);
		err_set(&why, ERR_IO, "%s", filler);
		size_t len = strlen(why.text);

		cr_assert(len < sizeof(why.text) && len > sizeof(why.text) - 6);
		cr_expect_str_eq(why.text + len - 5, "\xc3\xa9...");
	}
}

Test(util_err, context_on_a_full_text_stays_valid)
{
	struct err_why why;
	char filler[600];

	memset(filler, 'y', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	err_set(&why, ERR_CORRUPT, "%s", filler);
	for (int i = 0; i < 5; i++)
		cr_expect_eq(err_context(&why, "outer"), ERR_CORRUPT);
	cr_expect_eq(strncmp(why.text, "outer: outer: outer: outer: outer: yyy", 38), 0);
	cr_expect_eq(strlen(why.text), sizeof(why.text) - 1);
	cr_expect_str_eq(why.text + sizeof(why.text) - 5, "y...");
}

Test(util_err, system_errors_have_classes)
{
	cr_expect_eq(err_from_errno(0), ERR_OK);
	cr_expect_eq(err_from_errno(EDQUOT), ERR_NOSPC);
	cr_expect_eq(err_from_errno(ENOTDIR), ERR_NOENT);
	cr_expect_eq(err_from_errno(EEXIST), ERR_EXIST);
	cr_expect_eq(err_from_errno(EPERM), ERR_PERM);
	cr_expect_eq(err_from_errno(EROFS), ERR_READONLY);
	cr_expect_eq(err_from_errno(EINVAL), ERR_IO);
}

Test(util_err, exit_codes_are_the_documented_ones)
{
	cr_expect_eq(err_exit_code(ERR_OK), 0);
	cr_expect_eq(err_exit_code(ERR_IO), 1);
	cr_expect_eq(err_exit_code(ERR_CORRUPT), 2);
	cr_expect_eq(err_exit_code(ERR_REPAIRABLE), 3);
	cr_expect_eq(err_exit_code(ERR_UNSUPPORTED), 63);
	cr_expect_eq(err_exit_code(ERR_USAGE), 64);
	cr_expect_eq(err_exit_code(ERR_LOCKED), 75);
}

Test(util_err, every_failure_has_name_exit_code_and_errno)
{
	for (int code = ERR_IO; code <= ERR_CANCELLED; code++) {
		cr_expect_not_null(err_name((enum err)code), "code %d", code);
		cr_expect_gt(err_exit_code((enum err)code), 0, "code %d", code);
		cr_expect_gt(err_errno((enum err)code), 0, "code %d", code);
	}
	cr_expect_eq(err_errno(ERR_OK), 0);
}
