/* SPDX-License-Identifier: MIT */
#include "vhd/merge_guard.h"

#include <stdlib.h>
#include <string.h>

#include "vhd/edit.h"
#include "vhd/footer_change.h"
#include "vhd/merge_note.h"
#include "vhd/path.h"
#include "vhd/resize.h"

/* As merge_note_load, but having no note leaves no text behind. */
static enum err load(struct file_ns *ns, const char *ancestor, struct merge_note *note,
		     struct err_why *why)
{
	struct err_why here = {0};
	enum err e = merge_note_load(ns, ancestor, note, &here);

	if (e && e != ERR_NOENT && why)
		*why = here;
	return e;
}

static enum err half_done(const struct merge_note *note, const char *ancestor, struct err_why *why)
{
	char *child = merge_note_path(note, ancestor, 0);
	enum err e =
	    err_set(why, ERR_REPAIRABLE,
		    "%s: a merge of %s into it is half done; finish it with 'vhdtool merge'",
		    ancestor, child ? child : "a child");

	free(child);
	return e;
}

/* ---- finishing ---- */

/* The ancestor becomes the child: its UUID, and its size when that is less. */
static enum err become_child(struct file_ns *ns, const char *path, const struct merge_note *note,
			     struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = ns};
	struct edit *edit;
	enum err e = edit_open_merging(path, &opts, true, &edit, why);

	if (e)
		return e;
	struct vhd_footer footer = edit->layer->footer;
	if (guid_equal(&footer.uuid, &note->ancestor)) {
		footer.uuid = note->child;
		e = footer_change(edit->layer, ns, &footer, why);
	}
	if (!e && note->child_bytes < edit->layer->size_bytes)
		e = resize_edit(edit, ns, note->child_bytes, NULL, why);
	enum err closed = edit_close(edit, e ? NULL : why);
	return e ? e : closed;
}

static bool is_below(const char *path)
{
	for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/') {
		if (p[0] == '/' || (p[0] == '.' && p[1] == '.' && (p[2] == '/' || !p[2])))
			return false;
	}
	return true;
}

static bool is_disk(struct file_ns *ns, const char *path, const struct guid *uuid)
{
	struct vhd_layer *layer;

	if (layer_open(ns, path, 0, FILE_UNLOCKED, &layer, NULL))
		return false;
	bool same = guid_equal(&layer->footer.uuid, uuid);
	layer_close(layer, NULL);
	return same;
}

/* Remove the file; its folder is synced later, *sync_due names it until then. */
static enum err remove_file(struct file_ns *ns, char *path, char **sync_due, struct err_why *why)
{
	char *folder = path_folder(path);
	char *due = *sync_due ? path_folder(*sync_due) : NULL;
	enum err e =
	    folder && (due || !*sync_due) ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	if (!e && due && strcmp(folder, due) != 0)
		e = file_ns_sync_dir(ns, *sync_due, why);
	if (!e)
		e = file_ns_unlink(ns, path, why);
	free(folder);
	free(due);
	if (e) {
		free(path);
		return e;
	}
	free(*sync_due);
	*sync_due = path;
	return ERR_OK;
}

/* What was between the child and the ancestor. */
static enum err remove_folded(struct file_ns *ns, const char *ancestor,
			      const struct merge_note *note, struct err_why *why)
{
	char *sync_due = NULL;
	enum err e = ERR_OK;

	for (unsigned i = 1; i < note->count && !e; i++) {
		char *path = merge_note_path(note, ancestor, i);

		if (!path)
			e = err_set(why, ERR_NOMEM, "out of memory");
		else if (is_below(note->file[i].path) && is_disk(ns, path, &note->file[i].uuid))
			e = remove_file(ns, path, &sync_due, why);
		else
			free(path);
	}
	if (!e && sync_due)
		e = file_ns_sync_dir(ns, sync_due, why);
	free(sync_due);
	return e;
}

enum err merge_finish(struct file_ns *ns, const char *ancestor, struct err_why *why)
{
	struct merge_note note;
	enum err e = load(ns, ancestor, &note, why);

	if (e)
		return e == ERR_NOENT ? ERR_OK : e;
	e = become_child(ns, ancestor, &note, why);
	if (!e)
		e = remove_folded(ns, ancestor, &note, why);
	if (!e)
		e = merge_note_remove(ns, ancestor, why);
	merge_note_free(&note);
	return e;
}

/* ---- opening ---- */

/* An unreadable child may be the child all the same. */
static bool child_is_there(struct file_ns *ns, const char *ancestor, const struct merge_note *note)
{
	char *path = merge_note_path(note, ancestor, 0);
	struct vhd_layer *layer;
	enum err e = path ? layer_open(ns, path, 0, FILE_UNLOCKED, &layer, NULL) : ERR_NOMEM;
	bool there = e != ERR_NOENT;

	if (!e) {
		there = guid_equal(&layer->footer.uuid, &note->child);
		layer_close(layer, NULL);
	}
	free(path);
	return there;
}

static enum err settle(struct file_ns *ns, const char *path, const struct guid *uuid,
		       const struct merge_note *note, bool writable, struct err_why *why)
{
	bool is_old = guid_equal(uuid, &note->ancestor);

	if (is_old && (!note->copied || child_is_there(ns, path, note)))
		return half_done(note, path, why);
	if (!writable)
		return ERR_OK;
	/* The note of an image that another one has replaced since is of no use to anybody. */
	if (!is_old && !guid_equal(uuid, &note->child))
		return merge_note_remove(ns, path, why);
	return merge_finish(ns, path, why);
}

enum err merge_settle(struct file_ns *ns, const char *path, bool writable, struct err_why *why)
{
	struct merge_note note;
	struct vhd_layer *layer;
	enum err e = load(ns, path, &note, why);

	if (e)
		return e == ERR_NOENT ? ERR_OK : e;
	e = layer_open(ns, path, 0, FILE_UNLOCKED, &layer, why);
	if (!e) {
		struct guid uuid = layer->footer.uuid;

		layer_close(layer, NULL);
		e = settle(ns, path, &uuid, &note, writable, why);
	}
	merge_note_free(&note);
	return e;
}

/* M1 and M2: below the child, or below a child of the child that knows already. */
static bool may_read(const struct vhd_chain *chain, unsigned n, const struct merge_note *note)
{
	if (note->copied && guid_equal(&chain->layer[n + 1]->header.parent_uuid, &note->child))
		return true;
	for (unsigned i = n + 1; i < chain->count; i++) {
		if (guid_equal(&chain->layer[i]->footer.uuid, &note->child))
			return true;
	}
	return false;
}

enum err merge_check_parents(struct file_ns *ns, const struct vhd_chain *chain, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned n = 0; n + 1 < chain->count && !e; n++) {
		struct vhd_layer *layer = chain->layer[n];
		struct merge_note note;

		e = load(ns, layer->path, &note, why);
		if (e) {
			e = e == ERR_NOENT ? ERR_OK : e;
			continue;
		}
		if (guid_equal(&layer->footer.uuid, &note.ancestor) && !may_read(chain, n, &note))
			e = half_done(&note, layer->path, why);
		merge_note_free(&note);
	}
	return e;
}

bool merge_answers_to(struct file_ns *ns, const struct vhd_layer *layer, const struct guid *uuid)
{
	struct merge_note note;

	if (load(ns, layer->path, &note, NULL))
		return false;
	bool answers = note.copied && guid_equal(&layer->footer.uuid, &note.ancestor) &&
		       guid_equal(uuid, &note.child);
	merge_note_free(&note);
	return answers;
}
