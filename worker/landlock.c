/* SPDX-License-Identifier: MIT */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the record beside an image that is being changed (docs/FORMATS.md). */
#define RECORD_SUFFIX ".strata-intent"

/* Younger than the headers we may be compiled with. */
#define ACCESS_REFER     (UINT64_C(1) << 13)
#define ACCESS_TRUNCATE  (UINT64_C(1) << 14)
#define ACCESS_IOCTL_DEV (UINT64_C(1) << 15)
#define NET_BIND         (UINT64_C(1) << 0)
#define NET_CONNECT      (UINT64_C(1) << 1)
#define ACCESS_FIRST     ((UINT64_C(1) << 13) - 1) /* of the first version */

#define READ_FILES ((uint64_t)LANDLOCK_ACCESS_FS_READ_FILE | (uint64_t)LANDLOCK_ACCESS_FS_READ_DIR)
#define USE_FILE                                                                            \
	((uint64_t)LANDLOCK_ACCESS_FS_READ_FILE | (uint64_t)LANDLOCK_ACCESS_FS_WRITE_FILE | \
	 ACCESS_TRUNCATE | ACCESS_IOCTL_DEV)
#define WRITES ((uint64_t)LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE)
#define USE_FOLDER                                                                \
	(READ_FILES | (uint64_t)LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE | \
	 (uint64_t)LANDLOCK_ACCESS_FS_REMOVE_FILE | (uint64_t)LANDLOCK_ACCESS_FS_MAKE_REG)

/* struct landlock_ruleset_attr of the fourth version; older kernels accept it if `net` is 0. */
struct ruleset {
	uint64_t fs, net;
};

static void describe(long version, struct ruleset *out)
{
	*out = (struct ruleset){.fs = ACCESS_FIRST};
	if (version >= 2)
		out->fs |= ACCESS_REFER;
	if (version >= 3)
		out->fs |= ACCESS_TRUNCATE;
	if (version >= 4)
		out->net = NET_BIND | NET_CONNECT;
	if (version >= 5)
		out->fs |= ACCESS_IOCTL_DEV;
}

static enum err allow(int rules, uint64_t rights, int fd, const char *path, struct err_why *why)
{
	const struct landlock_path_beneath_attr attr = {.allowed_access = rights, .parent_fd = fd};

	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) < 0)
		return err_sys(why, errno, "Landlock: %s", path);
	return ERR_OK;
}

/* What is not there needs no rule. */
static enum err allow_path(int rules, uint64_t rights, const char *path, struct err_why *why)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	enum err err;

	if (fd < 0)
		return ERR_OK;
	err = allow(rules, rights, fd, path, why);
	close(fd);
	return err;
}

/*
 * A layer outside the folder; a change of it that was interrupted has left a record beside it, by
 * which it has to be read.
 */
static enum err allow_reading(int rules, uint64_t handled, const char *path, struct err_why *why)
{
	const uint64_t rights = USE_FILE & handled & ~WRITES;
	char *record;
	enum err err = allow_path(rules, rights, path, why);

	if (!err && asprintf(&record, "%s" RECORD_SUFFIX, path) < 0)
		err = err_set(why, ERR_NOMEM, "no memory for a file's name");
	if (!err) {
		err = allow_path(rules, rights, record, why);
		free(record);
	}
	return err;
}

static enum err allow_places(int rules, uint64_t handled, const struct places *places,
			     struct err_why *why)
{
	enum err err = allow(rules, USE_FOLDER & handled, places->dir_fd, places->dir, why);

	if (!err)
		err = allow_path(rules, USE_FILE & handled, "/dev/kvm", why);
	for (unsigned i = 0; !err && i < places->read_count; i++)
		err = allow_reading(rules, handled, places->reads[i], why);
	for (unsigned i = 0; !err && i < places->write_count; i++)
		err = allow_path(rules, USE_FILE & handled, places->writes[i], why);
	for (unsigned i = 0; !err && i < places->allowed_count; i++)
		err = allow_path(rules, USE_FOLDER & handled, places->allowed[i], why);
	return err;
}

enum err sandbox_confine(const struct places *places, bool *confined, struct err_why *why)
{
	long version =
	    syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset ruleset;
	enum err err;
	int rules;

	*confined = false;
	if (version < 1)
		return ERR_OK;
	describe(version, &ruleset);
	rules = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	if (rules < 0)
		return err_sys(why, errno, "Landlock");
	err = allow_places(rules, ruleset.fs, places, why);
	if (!err && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		err = err_sys(why, errno, "Landlock");
	close(rules);
	*confined = !err;
	return err;
}
