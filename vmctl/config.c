/* SPDX-License-Identifier: MIT */
#include "vmctl/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/out.h"

#define MEMORY_UNIT (1u << 20)

bool config_given(const struct config_args *args)
{
	return args->memory.given || args->cpus || args->kernel || args->initrd || args->cmdline;
}

char *config_absolute(const char *path, struct err_why *why)
{
	const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
	char *folder, *given, *out = NULL;

	/* A path that ends in "/", "/." or "/.." has no last part to keep. */
	if (!*last || !strcmp(last, ".") || !strcmp(last, ".."))
		last = path + strlen(path);
	given = strndup(path, (size_t)(last - path));
	folder = given ? realpath(*given ? given : ".", NULL) : NULL;
	free(given);
	if (!folder) {
		err_sys(why, errno, "cannot be found");
		return NULL;
	}
	if (asprintf(&out, "%s/%s", folder[1] ? folder : "", last) < 0) {
		out = NULL;
		err_set(why, ERR_NOMEM, "no memory for a path");
	}
	free(folder);
	return out;
}

/* An absolute form of the path of a file, which has to be there; NULL: `why` says why not. */
static char *find_file(const char *path, struct err_why *why)
{
	char *out = config_absolute(path, why);
	struct stat st;

	if (!out)
		return NULL;
	if (stat(out, &st))
		err_sys(why, errno, "cannot be found");
	else if (!S_ISREG(st.st_mode))
		err_set(why, ERR_UNSUPPORTED, "is not a regular file");
	else
		return out;
	free(out);
	return NULL;
}

/* Change one text of a configuration; `is_file`: it names a file. */
static int apply_text(const char *text, bool is_file, char **field)
{
	struct err_why why = {0};
	char *value = NULL;

	if (!text)
		return 0;
	if (*text) {
		value = is_file ? find_file(text, &why) : strdup(text);
		if (!value && !why.code)
			err_set(&why, ERR_NOMEM, "no memory for a text");
		if (!value)
			return out_fail(text, &why);
	}
	free(*field);
	*field = value;
	return 0;
}

int config_apply(const char *verb, const struct config_args *args, struct snap_config *config)
{
	const char *initrd = args->initrd, *cmdline = args->cmdline;
	int rc;

	if (args->memory.given && (!args->memory.bytes || args->memory.bytes % MEMORY_UNIT))
		return out_usage(verb, "--memory must be a multiple of 1M and not 0");
	if (args->memory.given)
		config->memory_bytes = args->memory.bytes;
	if (args->cpus)
		config->cpus = args->cpus;
	if (args->kernel && !*args->kernel) { /* without it the other two mean nothing */
		initrd = initrd ? initrd : "";
		cmdline = cmdline ? cmdline : "";
	}
	rc = apply_text(args->kernel, true, &config->kernel);
	if (!rc)
		rc = apply_text(initrd, true, &config->initrd);
	if (!rc)
		rc = apply_text(cmdline, false, &config->cmdline);
	if (!rc && !config->kernel && (config->initrd || config->cmdline))
		rc = out_usage(verb, "--initrd and --cmdline need a --kernel");
	return rc;
}

void config_add_json(json_t *root, const struct snap_config *config)
{
	json_object_set_new(root, "memory", json_size(config->memory_bytes));
	json_object_set_new(root, "cpus", json_size(config->cpus));
	json_object_set_new(root, "kernel", json_text(config->kernel));
	json_object_set_new(root, "initrd", json_text(config->initrd));
	json_object_set_new(root, "cmdline", json_text(config->cmdline));
}

void config_print(const struct snap_config *config)
{
	out_row("memory", "%s", out_size(config->memory_bytes));
	out_row("processors", "%u", config->cpus);
	if (!config->kernel)
		return;
	out_row("kernel", "%s", out_name(config->kernel));
	if (config->initrd)
		out_row("initrd", "%s", out_name(config->initrd));
	if (config->cmdline)
		out_row("command line", "%s", out_name(config->cmdline));
}
