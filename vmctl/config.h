/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_CONFIG_H
#define STRATA_VMCTL_CONFIG_H

/* A VM's configuration on the command line, in JSON and as text. */

#include <jansson.h>

#include "cli/args.h"
#include "snapshot/snapshot.h"

/* What verbs that change a configuration have in their struct as `config`, and the options. */
struct config_args {
	struct opt_size memory;
	unsigned cpus;
	const char *kernel, *initrd, *cmdline; /* NULL: not given, "": none */
};

/* clang-format off */
#define CONFIG_OPTS(type) \
	{"memory", 'm', OPT_SIZE, "SIZE", offsetof(type, config.memory), \
	 "memory, a multiple of 1M"}, \
	{"cpus", 'c', OPT_NUMBER, "N", offsetof(type, config.cpus), \
	 "virtual processors"}, \
	{"kernel", 'k', OPT_TEXT, "FILE", offsetof(type, config.kernel), \
	 "Linux kernel to start; '' for none"}, \
	{"initrd", 'i', OPT_TEXT, "FILE", offsetof(type, config.initrd), \
	 "its initial RAM disk; '' for none"}, \
	{"cmdline", 'a', OPT_TEXT, "TEXT", offsetof(type, config.cmdline), \
	 "its command line; '' for none"}
/* clang-format on */

/* Whether any of the options was given. */
bool config_given(const struct config_args *args);

/*
 * Change `config` to what the options of `verb` say. Errors are printed; returns 0 or the exit
 * code. `config` must be freed either way.
 */
int config_apply(const char *verb, const struct config_args *args, struct snap_config *config);

/* An absolute form of `path`, whose last part is left as it is; free() it. NULL: see `why`. */
char *config_absolute(const char *path, struct err_why *why);

void config_add_json(json_t *root, const struct snap_config *config);
void config_print(const struct snap_config *config);

#endif
