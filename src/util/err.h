/* SPDX-License-Identifier: MIT */
#ifndef STRATA_UTIL_ERR_H
#define STRATA_UTIL_ERR_H

/*
 * The one list of errors, and the text that goes with one.
 *
 * A function that can fail returns `enum err`; where the fault is *seen* it also fills a
 * `struct err_why` (may be NULL) with a sentence that names the field, the offset and the rule.
 * Callers higher up may prefix context, never replace the text. It means something only when the
 * function failed: an error that was tolerated may leave its text there. Nothing here is printed or
 * logged: the programs do that. There is one mapper to exit codes and one to errno.
 *
 * Threads: a struct err_why belongs to its caller; no state is shared.
 */

enum err {
	ERR_OK = 0,
	ERR_IO,          /* a read, write or sync failed; `sys_errno` says how */
	ERR_NOSPC,       /* no room on the device or in the quota; nothing was lost */
	ERR_NOMEM,       /* an allocation failed; nothing was changed */
	ERR_RANGE,       /* a request outside the disk, or not a whole number of sectors */
	ERR_USAGE,       /* the caller asked for something that makes no sense */
	ERR_NOENT,       /* no such file */
	ERR_EXIST,       /* a file is there already and would have been overwritten */
	ERR_PERM,        /* the system refuses access */
	ERR_CORRUPT,     /* an on-disk structure breaks a rule; nothing was written */
	ERR_REPAIRABLE,  /* as ERR_CORRUPT, but `check --repair` can mend it without losing data */
	ERR_UNSUPPORTED, /* well formed, but of a kind this program does not handle */
	ERR_PARENT,      /* a parent is missing or is another disk than the child was made from */
	ERR_LOCKED,      /* another program has the image open in a way that excludes ours */
	ERR_READONLY,    /* a write to something opened or marked read-only */
	ERR_POISONED,  /* an earlier metadata write or sync failed: writes are refused until reopen
			*/
	ERR_REFUSED,   /* well formed and possible, but it would break something else */
	ERR_CANCELLED, /* the user or the program asked to stop; the image is consistent */
};

struct err_why {
	enum err code;
	int sys_errno; /* 0 where no system call was at fault */
	char text[480];
};

/*
 * Record `code` and a formatted text in `why` (which may be NULL); yields `code`. A macro, so that
 * compilers and analysers see that what it yields is not ERR_OK.
 */
#define err_set(why, code, ...) (err_record((why), (code), __VA_ARGS__), err_same(code))
static inline enum err err_same(enum err code)
{
	return code;
}
void err_record(struct err_why *why, enum err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, with the code derived from `sys_errno`; ": strerror" is appended to the text. */
enum err err_sys(struct err_why *why, int sys_errno, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " before the text that is there. Returns why->code (ERR_OK for NULL). */
enum err err_context(struct err_why *why, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The error class of a system errno (ENOSPC and EDQUOT -> ERR_NOSPC, ...). 0 -> ERR_OK. */
enum err err_from_errno(int sys_errno);

/* Short fixed text for a code, e.g. "corrupt image". */
const char *err_name(enum err code);

/* Exit code of the programs: 0, 1 error, 2 corrupt, 3 repairable, 63 unsupported, 64 usage, 75
 * locked. */
int err_exit_code(enum err code);

/* errno for FUSE replies; positive, 0 for ERR_OK. */
int err_errno(enum err code);

#endif
