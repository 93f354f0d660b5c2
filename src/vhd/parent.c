/* SPDX-License-Identifier: MIT */
#include "vhd/parent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/text.h"
#include "vhd/locator.h"
#include "vhd/merge_guard.h"

struct lookup {
	struct vhd_layer *child;
	const struct vhd_open_opts *opts;
	struct file_ns *ns;
	unsigned flags;
	struct vhd_layer *found;
	char recorded[200];  /* where the image says its parent is */
	struct err_why last; /* why the best candidate was not taken */
	enum err error;      /* an error that ends the search */
};

/* A relative locator as a path below the child's folder; NULL when it would leave it. */
static char *safe_relative(const char *stored)
{
	char *path = strdup(stored);

	if (!path)
		return NULL;
	for (char *p = path; *p; p++) {
		if (*p == '\\')
			*p = '/';
	}
	bool safe = path[0] != '/' && path[0] && path[1] != ':';
	for (const char *p = path; p && *p; p = strchr(p, '/')) {
		p += *p == '/';
		if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || !p[2]))
			safe = false;
	}
	if (!safe) {
		free(path);
		return NULL;
	}
	return path;
}

/* Open one candidate; true ends the search (found, or an error that must be told). */
static bool try_path(struct lookup *l, const char *path, bool ignore_id)
{
	struct vhd_layer *layer;
	struct err_why why = {0};
	enum err e = layer_open(l->ns, path, l->flags, FILE_UNLOCKED, &layer, &why);

	if (e == ERR_NOENT)
		return false;
	if (e) {
		err_context(&why, "parent %s", path);
		l->last = why;
		return false;
	}
	const struct guid *want = &l->child->header.parent_uuid;
	if (guid_equal(&layer->footer.uuid, want) || ignore_id ||
	    merge_answers_to(l->ns, layer, want)) {
		l->found = layer;
		return true;
	}
	char is[GUID_TEXT_BYTES], should[GUID_TEXT_BYTES];
	err_set(&l->last, ERR_PARENT, "parent %s has UUID %s, the child was made from %s", path,
		guid_text(&layer->footer.uuid, is), guid_text(want, should));
	layer_close(layer, NULL);
	return false;
}

struct name_match {
	const char *want;
	char *found;
};

static bool match_name(void *arg, const char *name)
{
	struct name_match *match = arg;

	if (strcasecmp(name, match->want) != 0)
		return true;
	match->found = strdup(name);
	return false;
}

/* Windows does not tell upper from lower case, so a locator may not either. */
static char *other_case(struct lookup *l, const char *path)
{
	struct name_match match = {.want = path_file(path)};
	char *folder = path_folder(path);
	char *out = NULL;

	if (folder && !file_ns_list(l->ns, folder, match_name, &match, NULL) && match.found)
		out = path_beside(path, match.found);
	free(match.found);
	free(folder);
	return out;
}

static bool try_beside(struct lookup *l, const char *name)
{
	char *path = path_beside(l->child->path, name);
	bool done = path && try_path(l, path, false);

	if (path && !done && !l->last.code) {
		char *other = other_case(l, path);

		done = other && try_path(l, other, false);
		free(other);
	}
	free(path);
	return done;
}

/* The locators: relative ones are followed, the names of all are tried beside the child. */
static bool try_locators(struct lookup *l)
{
	for (unsigned slot = 0; slot < VHD_LOCATORS && !l->found; slot++) {
		const uint8_t *code = l->child->header.locator[slot].code;
		char *stored;

		if (locator_read(l->child, slot, &stored, NULL))
			continue;
		if (!*l->recorded)
			text_escape(stored, l->recorded, sizeof(l->recorded));
		if (memcmp(code, "W2ru", 4) == 0 || memcmp(code, "Wi2r", 4) == 0) {
			char *relative = safe_relative(stored);
			if (relative)
				try_beside(l, relative);
			free(relative);
		}
		if (!l->found)
			try_beside(l, path_last(stored));
		free(stored);
	}
	return l->found;
}

static bool match_uuid(void *arg, struct vhd_layer *layer)
{
	struct lookup *l = arg;

	if (!guid_equal(&layer->footer.uuid, &l->child->header.parent_uuid))
		return true;
	return !try_path(l, layer->path, false);
}

static bool try_search(struct lookup *l, const char *name)
{
	for (unsigned i = 0; i < l->opts->search_count && !l->found; i++) {
		char *path = NULL;

		if (name && asprintf(&path, "%s/%s", l->opts->search[i], path_last(name)) > 0)
			try_path(l, path, false);
		free(path);
		if (!l->found)
			l->error =
			    layers_in_folder(l->ns, l->opts->search[i], match_uuid, l, &l->last);
		if (l->error)
			return false;
	}
	return l->found;
}

static enum err not_found(const struct lookup *l, struct err_why *why)
{
	char uuid[GUID_TEXT_BYTES];

	if (l->last.code)
		return err_set(why, l->last.code == ERR_CORRUPT ? ERR_PARENT : l->last.code,
			       "%s; name the right one with --parent or --search", l->last.text);
	return err_set(
	    why, ERR_PARENT,
	    "parent not found: recorded as \"%s\", UUID %s; name it with --parent, or its "
	    "folder with --search",
	    l->recorded, guid_text(&l->child->header.parent_uuid, uuid));
}

enum err parent_open(struct vhd_layer *child, const struct vhd_open_opts *opts, bool is_leaf,
		     unsigned flags, struct vhd_layer **out, struct err_why *why)
{
	struct lookup l = {.child = child,
			   .opts = opts,
			   .ns = opts->ns ? opts->ns : &file_ns_posix,
			   .flags = flags};

	if (is_leaf && opts->parent) {
		if (!try_path(&l, opts->parent, opts->ignore_parent_id)) {
			if (!l.last.code)
				err_set(&l.last, ERR_PARENT, "parent %s: no such file",
					opts->parent);
			if (why)
				*why = l.last;
			return l.last.code;
		}
		*out = l.found;
		return ERR_OK;
	}

	char *name = header_parent_name(&child->header);
	if (!try_locators(&l) && name) {
		if (!*l.recorded)
			text_escape(name, l.recorded, sizeof(l.recorded));
		try_beside(&l, path_last(name));
	}
	if (!l.found)
		try_search(&l, name);
	free(name);
	if (!l.found)
		return not_found(&l, why);
	*out = l.found;
	return ERR_OK;
}

struct folder_scan {
	struct file_ns *ns;
	const char *dir;
	bool (*each)(void *arg, struct vhd_layer *layer);
	void *arg;
};

static bool scan_name(void *arg, const char *name)
{
	struct folder_scan *scan = arg;
	struct vhd_layer *layer;
	char *path = NULL;
	bool go_on = true;

	if (asprintf(&path, "%s/%s", scan->dir, name) < 0)
		return true;
	if (layer_open(scan->ns, path, 0, FILE_UNLOCKED, &layer, NULL) == ERR_OK) {
		go_on = scan->each(scan->arg, layer);
		layer_close(layer, NULL);
	}
	free(path);
	return go_on;
}

enum err layers_in_folder(struct file_ns *ns, const char *dir,
			  bool (*each)(void *arg, struct vhd_layer *layer), void *arg,
			  struct err_why *why)
{
	struct folder_scan scan = {.ns = ns, .dir = dir, .each = each, .arg = arg};

	return file_ns_list(ns, dir, scan_name, &scan, why);
}
