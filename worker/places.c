/* SPDX-License-Identifier: MIT */
#include "worker/places.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot/snapshot.h"

static bool is_inside(const struct places *places, const char *path)
{
	size_t len = strlen(places->dir);

	return !strncmp(path, places->dir, len) && path[len] == '/' && !strchr(path + len + 1, '/');
}

/* False without memory. */
static bool add(const struct places *places, const char *path, char ***list, unsigned *count)
{
	char **grown, *copy;

	if (!path || is_inside(places, path))
		return true;
	for (unsigned i = 0; i < *count; i++)
		if (!strcmp((*list)[i], path))
			return true;
	grown = realloc(*list, (*count + 1) * sizeof(*grown));
	if (!grown)
		return false;
	*list = grown;
	copy = strdup(path);
	if (copy)
		grown[(*count)++] = copy;
	return copy;
}

static bool add_tree(struct places *out, const struct snap_tree *tree)
{
	bool ok = add(out, tree->config.kernel, &out->boots, &out->boot_count) &&
		  add(out, tree->config.initrd, &out->boots, &out->boot_count);

	for (unsigned i = 0; ok && i < tree->disk_count; i++)
		ok = add(out, tree->current[i].path, &out->writes, &out->write_count);
	return ok;
}

static bool add_files(struct places *out, char **paths, unsigned count)
{
	bool ok = true;

	for (unsigned i = 0; i < count; i++) {
		ok = ok && add(out, paths[i], &out->reads, &out->read_count);
		free(paths[i]);
	}
	free(paths);
	return ok;
}

enum err places_find(struct places *out, struct err_why *why)
{
	struct store *store = NULL;
	struct snap_tree tree;
	char **paths;
	unsigned count;
	bool ok = true;

	if (!snap_open(&file_ns_posix, out->dir, SNAP_READONLY, &store, NULL)) {
		if (!snap_tree(store, 0, &tree, NULL)) {
			ok = add_tree(out, &tree);
			snap_tree_free(&tree);
		}
		if (!snap_files(store, &paths, &count, NULL))
			ok = add_files(out, paths, count) && ok;
	}
	snap_close(store);
	return ok ? ERR_OK : err_set(why, ERR_NOMEM, "no memory for the names of files");
}

static void free_list(char **list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

void places_free(struct places *places)
{
	free_list(places->boots, places->boot_count);
	free_list(places->reads, places->read_count);
	free_list(places->writes, places->write_count);
	places->boots = places->reads = places->writes = NULL;
	places->boot_count = places->read_count = places->write_count = 0;
}
