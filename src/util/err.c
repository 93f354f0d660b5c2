/* SPDX-License-Identifier: MIT */
#include "util/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Texts are built in a buffer of their own and copied at the end, so that the arguments may point
 * into the very text that is being replaced.
 */
struct draft {
	char text[sizeof(((struct err_why *)0)->text)];
	size_t len;
};

/* End a text that did not fit with "...", without leaving half a UTF-8 character before it. */
static void draft_clip(struct draft *draft)
{
	size_t cut = sizeof(draft->text) - sizeof("...");

	while (cut > 0 && ((unsigned char)draft->text[cut] & 0xc0) == 0x80)
		cut--;
	memcpy(draft->text + cut, "...", sizeof("..."));
	draft->len = sizeof(draft->text);
}

__attribute__((format(printf, 2, 0))) static void draft_vadd(struct draft *draft, const char *fmt,
							     va_list args)
{
	size_t room = sizeof(draft->text) - draft->len;
	int n;

	if (room == 0)
		return;
	n = vsnprintf(draft->text + draft->len, room, fmt, args);
	if (n < 0)
		draft->text[draft->len] = '\0';
	else if ((size_t)n >= room)
		draft_clip(draft);
	else
		draft->len += (size_t)n;
}

__attribute__((format(printf, 2, 3))) static void draft_add(struct draft *draft, const char *fmt,
							    ...)
{
	va_list args;

	va_start(args, fmt);
	draft_vadd(draft, fmt, args);
	va_end(args);
}

static void draft_store(const struct draft *draft, struct err_why *why, enum err code,
			int sys_errno)
{
	why->code = code;
	why->sys_errno = sys_errno;
	memcpy(why->text, draft->text, sizeof(why->text));
}

void err_record(struct err_why *why, enum err code, const char *fmt, ...)
{
	struct draft draft = {.len = 0};
	va_list args;

	if (!why)
		return;
	va_start(args, fmt);
	draft_vadd(&draft, fmt, args);
	va_end(args);
	draft_store(&draft, why, code, 0);
}

enum err err_sys(struct err_why *why, int sys_errno, const char *fmt, ...)
{
	enum err code = err_from_errno(sys_errno);
	struct draft draft = {.len = 0};
	char reason[128];
	va_list args;

	if (!why)
		return code;
	va_start(args, fmt);
	draft_vadd(&draft, fmt, args);
	va_end(args);
	draft_add(&draft, ": %s", strerror_r(sys_errno, reason, sizeof(reason)));
	draft_store(&draft, why, code, sys_errno);
	return code;
}

enum err err_context(struct err_why *why, const char *fmt, ...)
{
	struct draft draft = {.len = 0};
	va_list args;

	if (!why)
		return ERR_OK;
	va_start(args, fmt);
	draft_vadd(&draft, fmt, args);
	va_end(args);
	draft_add(&draft, ": %s", why->text);
	draft_store(&draft, why, why->code, why->sys_errno);
	return why->code;
}

enum err err_from_errno(int sys_errno)
{
	switch (sys_errno) {
	case 0:
		return ERR_OK;
	case ENOSPC:
	case EDQUOT:
	case EFBIG: /* beyond what the file system can hold */
		return ERR_NOSPC;
	case ENOMEM:
		return ERR_NOMEM;
	case ENOENT:
	case ENOTDIR:
		return ERR_NOENT;
	case EEXIST:
		return ERR_EXIST;
	case EACCES:
	case EPERM:
		return ERR_PERM;
	case EROFS:
		return ERR_READONLY;
	case EBUSY:
	case ETXTBSY:
		return ERR_LOCKED;
	case ENOSYS:
	case EOPNOTSUPP:
		return ERR_UNSUPPORTED;
	case ENAMETOOLONG:
		return ERR_USAGE;
	case ECANCELED:
		return ERR_CANCELLED;
	default:
		return ERR_IO;
	}
}

static const struct {
	const char *name;
	int exit_code;
	int sys_errno;
} codes[] = {
    [ERR_OK] = {"no error", 0, 0},
    [ERR_IO] = {"input/output error", 1, EIO},
    [ERR_NOSPC] = {"no space left", 1, ENOSPC},
    [ERR_NOMEM] = {"out of memory", 1, ENOMEM},
    [ERR_RANGE] = {"request outside the disk", 1, EINVAL},
    [ERR_USAGE] = {"invalid request", 64, EINVAL},
    [ERR_NOENT] = {"no such file", 1, ENOENT},
    [ERR_EXIST] = {"file exists", 1, EEXIST},
    [ERR_PERM] = {"permission denied", 1, EACCES},
    [ERR_CORRUPT] = {"corrupt image", 2, EIO},
    [ERR_REPAIRABLE] = {"damaged but repairable image", 3, EIO},
    [ERR_UNSUPPORTED] = {"not supported", 63, EOPNOTSUPP},
    [ERR_PARENT] = {"missing or wrong parent", 1, EIO},
    [ERR_LOCKED] = {"in use by another program", 75, EBUSY},
    [ERR_READONLY] = {"read-only", 1, EROFS},
    [ERR_POISONED] = {"writes refused after an earlier failure", 1, EIO},
    [ERR_REFUSED] = {"refused", 1, EPERM},
    [ERR_CANCELLED] = {"cancelled", 1, ECANCELED},
};

const char *err_name(enum err code)
{
	return codes[code].name;
}

int err_exit_code(enum err code)
{
	return codes[code].exit_code;
}

int err_errno(enum err code)
{
	return codes[code].sys_errno;
}
