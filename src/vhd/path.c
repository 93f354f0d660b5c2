/* SPDX-License-Identifier: MIT */
#include "vhd/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *path_beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	size_t dir = slash ? (size_t)(slash - path) + 1 : 0;
	char *out = malloc(dir + strlen(name) + 1);

	if (out) {
		memcpy(out, path, dir);
		memcpy(out + dir, name, strlen(name) + 1);
	}
	return out;
}

char *path_folder(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

const char *path_last(const char *path)
{
	const char *last = path;

	for (const char *p = path; *p; p++) {
		if ((*p == '/' || *p == '\\') && p[1])
			last = p + 1;
	}
	return last;
}

const char *path_file(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *path_absolute(struct file_ns *ns, const char *path)
{
	char *folder, *real, *out = NULL;

	if (ns != &file_ns_posix)
		return strdup(path);
	folder = path_folder(path);
	real = folder ? realpath(folder, NULL) : NULL;
	if (real && asprintf(&out, "%s/%s", strcmp(real, "/") ? real : "", path_file(path)) < 0)
		out = NULL;
	free(folder);
	free(real);
	return out;
}
