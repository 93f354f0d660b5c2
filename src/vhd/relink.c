/* SPDX-License-Identifier: MIT */
#include "vhd/relink.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/locator.h"
#include "vhd/locator_store.h"
#include "vhd/parent.h"

/* ---- rewriting ---- */

static enum err encode_locators(const char *child_path, const char *parent_path,
				struct locator_new items[2], struct err_why *why)
{
	char *relative = locator_relative_path(child_path, parent_path);

	if (!relative)
		return err_set(why, ERR_NOMEM, "out of memory");
	memcpy(items[0].code, "W2ku", 4);
	memcpy(items[1].code, "W2ru", 4);
	enum err e = locator_encode(parent_path, &items[0].data, &items[0].len_bytes, why);
	if (!e)
		e = locator_encode(relative, &items[1].data, &items[1].len_bytes, why);
	free(relative);
	return e;
}

enum err relink_edit(struct edit *edit, struct file_ns *ns, const struct relink_to *to,
		     struct err_why *why)
{
	struct vhd_header header = edit->layer->header;
	struct locator_new items[2] = {0};
	char *child_path = path_absolute(ns, edit->layer->path);
	enum err e = child_path ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	header.parent_uuid = to->uuid;
	header.parent_timestamp = to->timestamp;
	if (!e && !header_set_parent_name(&header, path_file(to->path)))
		e = err_set(why, ERR_USAGE, "the parent's name is not valid UTF-8");
	if (!e)
		e = encode_locators(child_path, to->path, items, why);
	if (!e)
		e = locators_store(edit, ns, &header, items, ARRAY_LEN(items), 0, why);
	for (unsigned i = 0; i < ARRAY_LEN(items); i++)
		free(items[i].data);
	free(child_path);
	return e;
}

/* ---- the parent ---- */

/* As named, or by its UUID in the folders to search and then in the child's own. */
static enum err find_parent(struct vhd_layer *child, const struct vhd_open_opts *open_opts,
			    const struct vhd_relink_opts *opts, struct vhd_layer **out,
			    struct err_why *why)
{
	struct vhd_open_opts lookup = *open_opts;
	char *folder = path_folder(child->path);
	const char **search = calloc(open_opts->search_count + 1, sizeof(char *));

	if (!folder || !search) {
		free(folder);
		free(search);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	for (unsigned i = 0; i < open_opts->search_count; i++)
		search[i] = open_opts->search[i];
	search[open_opts->search_count] = folder;
	lookup.search = search;
	lookup.search_count++;
	lookup.parent = opts->parent ? opts->parent : open_opts->parent;
	lookup.ignore_parent_id = opts->ignore_id_mismatch;
	enum err e =
	    opts->ignore_id_mismatch && !lookup.parent
		? err_set(why, ERR_USAGE, "a parent of any UUID can only be taken when it is named")
		: parent_open(child, &lookup, true, 0, out, why);
	free(search);
	free(folder);
	return e;
}

static bool is_same_disk(const struct vhd_layer *a, const struct vhd_layer *b)
{
	return (a->info.dev == b->info.dev && a->info.ino == b->info.ino) ||
	       guid_equal(&a->footer.uuid, &b->footer.uuid);
}

/*
 * ERR_REFUSED when the child is among the parent and its ancestors. An ancestor that is missing
 * ends the walk: the chain may be mended one file at a time, in any order.
 */
static enum err check_loop(const struct vhd_layer *child, struct vhd_layer *parent,
			   const struct vhd_open_opts *open_opts, struct err_why *why)
{
	struct vhd_layer *at = parent;
	enum err e = ERR_OK;

	for (unsigned depth = 1; !e; depth++) {
		struct vhd_layer *next;

		if (is_same_disk(at, child))
			e = err_set(why, ERR_REFUSED,
				    "%s cannot be the parent: its chain holds the child itself, %s",
				    parent->path, at->path);
		else if (depth >= VHD_MAX_DEPTH)
			e = err_set(why, ERR_REFUSED, "%s: its chain has more than %u files",
				    parent->path, VHD_MAX_DEPTH);
		if (e || at->footer.type != VHD_DIFFERENCING)
			break;
		if (parent_open(at, open_opts, false, 0, &next, NULL))
			break;
		if (at != parent)
			layer_close(at, NULL);
		at = next;
	}
	if (at != parent)
		layer_close(at, NULL);
	return e;
}

/* ---- the operation ---- */

static enum err relink_to_layer(struct edit *edit, struct file_ns *ns, struct vhd_layer *parent,
				struct err_why *why)
{
	char *path = path_absolute(ns, parent->path);
	struct relink_to to = {
	    .path = path, .uuid = parent->footer.uuid, .timestamp = parent->footer.timestamp};
	enum err e =
	    path ? relink_edit(edit, ns, &to, why) : err_set(why, ERR_NOMEM, "out of memory");

	free(path);
	return e;
}

static enum err relink(struct edit *edit, const struct vhd_open_opts *open_opts,
		       const struct vhd_relink_opts *opts, char **parent_path, struct err_why *why)
{
	struct file_ns *ns = open_opts->ns ? open_opts->ns : &file_ns_posix;
	struct vhd_layer *parent;

	if (edit->layer->footer.type != VHD_DIFFERENCING)
		return err_set(why, ERR_USAGE, "%s is a %s disk, which has no parent",
			       edit->layer->path, vhd_type_name(edit->layer->footer.type));
	enum err e = find_parent(edit->layer, open_opts, opts, &parent, why);
	if (e)
		return e;
	e = check_loop(edit->layer, parent, open_opts, why);
	/*
	 * A writer of the parent would pull the ground from under the child: the lock finds him. It
	 * comes after the check for loops, which has the better words when the parent is the child.
	 */
	if (!e && !open_opts->no_lock)
		e = file_lock(parent->file, FILE_LOCK_READ, why);
	if (!e && !opts->dry_run)
		e = relink_to_layer(edit, ns, parent, why);
	if (!e && !(*parent_path = strdup(parent->path)))
		e = err_set(why, ERR_NOMEM, "out of memory");
	layer_close(parent, NULL);
	return e;
}

enum err vhd_relink(const char *child, const struct vhd_open_opts *open_opts,
		    const struct vhd_relink_opts *opts, char **parent_path, struct err_why *why)
{
	static const struct vhd_open_opts defaults;
	struct edit *edit;

	if (!open_opts)
		open_opts = &defaults;
	*parent_path = NULL;
	enum err e = edit_open(child, open_opts, !opts->dry_run, &edit, why);
	if (e) {
		err_context(why, "%s", child);
		return e;
	}
	e = relink(edit, open_opts, opts, parent_path, why);
	enum err closed = edit_close(edit, e ? NULL : why);
	if (!e && closed) {
		free(*parent_path);
		*parent_path = NULL;
	}
	return e ? e : closed;
}
