/* SPDX-License-Identifier: MIT */
#include "vhd/children.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/parent.h"

struct scan {
	struct children *children;
	bool no_memory;
};

static bool add_child(struct children *children, const struct vhd_layer *layer)
{
	if (children->count == children->room) {
		unsigned room = children->room ? children->room * 2 : 16;
		struct child *grown = realloc(children->item, room * sizeof(*grown));

		if (!grown)
			return false;
		children->item = grown;
		children->room = room;
	}
	char *path = strdup(layer->path);
	if (!path)
		return false;
	children->item[children->count++] = (struct child){.path = path,
							   .uuid = layer->footer.uuid,
							   .parent_uuid = layer->header.parent_uuid,
							   .dev = layer->info.dev,
							   .ino = layer->info.ino};
	return true;
}

static bool see_layer(void *arg, struct vhd_layer *layer)
{
	struct scan *scan = arg;

	if (layer->footer.type == VHD_DIFFERENCING)
		scan->no_memory = !add_child(scan->children, layer);
	return !scan->no_memory;
}

/* False without memory; *is_new says whether the folder is still to be read. */
static bool note_folder(struct children *children, const char *folder, bool *is_new)
{
	*is_new = false;
	for (unsigned i = 0; i < children->folders; i++) {
		if (strcmp(children->folder[i], folder) == 0)
			return true;
	}
	char **grown = realloc(children->folder, (children->folders + 1) * sizeof(char *));
	char *copy = strdup(folder);
	if (grown)
		children->folder = grown;
	if (!grown || !copy) {
		free(copy);
		return false;
	}
	children->folder[children->folders++] = copy;
	*is_new = true;
	return true;
}

static enum err add_folder(struct children *children, struct file_ns *ns, const char *folder,
			   struct err_why *why)
{
	struct scan scan = {.children = children};
	bool is_new;

	if (!note_folder(children, folder, &is_new))
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = is_new ? layers_in_folder(ns, folder, see_layer, &scan, why) : ERR_OK;
	if (!e && scan.no_memory)
		e = err_set(why, ERR_NOMEM, "out of memory");
	if (e)
		err_context(why, "looking for children");
	return e;
}

enum err children_beside(struct children *children, struct file_ns *ns,
			 const struct vhd_layer *layer, struct err_why *why)
{
	if (layer->info.block_device)
		return ERR_OK;
	char *folder = path_folder(layer->path);
	enum err e = folder ? add_folder(children, ns, folder, why)
			    : err_set(why, ERR_NOMEM, "out of memory");

	free(folder);
	return e;
}

enum err children_in_search(struct children *children, const struct vhd_open_opts *opts,
			    struct err_why *why)
{
	struct file_ns *ns = opts->ns ? opts->ns : &file_ns_posix;
	enum err e = ERR_OK;

	for (unsigned i = 0; i < opts->search_count && !e; i++)
		e = add_folder(children, ns, opts->search[i], why);
	return e;
}

void children_free(struct children *children)
{
	for (unsigned i = 0; i < children->count; i++)
		free(children->item[i].path);
	for (unsigned i = 0; i < children->folders; i++)
		free(children->folder[i]);
	free(children->item);
	free(children->folder);
	*children = (struct children){0};
}

enum err children_refuse(const struct vhd_layer *layer, const struct vhd_open_opts *opts,
			 const char *verb, struct err_why *why)
{
	struct file_ns *ns = opts->ns ? opts->ns : &file_ns_posix;
	struct children children = {0};
	enum err e = children_beside(&children, ns, layer, why);

	if (!e)
		e = children_in_search(&children, opts, why);
	for (unsigned i = 0; i < children.count && !e; i++) {
		const struct child *child = &children.item[i];
		bool itself = child->dev == layer->info.dev && child->ino == layer->info.ino;

		if (!itself && guid_equal(&child->parent_uuid, &layer->footer.uuid))
			e = err_set(
			    why, ERR_REFUSED,
			    "%s has a child, %s, which reads it as it is: %s would break the child",
			    layer->path, child->path, verb);
	}
	children_free(&children);
	return e;
}
