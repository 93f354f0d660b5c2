/* SPDX-License-Identifier: MIT */

/*
 * W17: a child, and what is between it and an ancestor (the *span*), is folded into the ancestor.
 *
 *   note, B -> grow the ancestor -> copy what the span holds, B -> mark the note, B ->
 *   tell the child's children -> remove the child, B -> merge_finish
 *
 * The note comes before the growing, so that the ancestor never shows by itself that something was
 * begun. merge_guard.h says how each state in between opens. Asking again does the copying again,
 * which changes nothing that is right already.
 *
 * Children of the child go on as children of the ancestor: those that are found - beside a file
 * that takes part, or in opts->search - are locked before anything changes and relinked; all of
 * them or nothing is done. One that is elsewhere needs vhd_relink. Any other child of a file that
 * takes part is refused.
 */

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/children.h"
#include "vhd/image.h"
#include "vhd/intent.h"
#include "vhd/merge_copy.h"
#include "vhd/merge_guard.h"
#include "vhd/merge_note.h"
#include "vhd/path.h"
#include "vhd/relink.h"
#include "vhd/resize.h"

/* A file of the span. */
struct folded {
	char *path;
	dev_t dev;
	ino_t ino;
};

struct merge {
	struct file_ns *ns;
	const struct vhd_open_opts *opts;
	struct folded *part; /* the child first */
	unsigned count;
	char *into;
	uint64_t into_bytes;      /* size of its disk */
	struct children children; /* all there are beside the files that take part */
	struct merge_note note;
	bool noted;               /* there is such a note already */
	struct edit **grandchild; /* locked */
	unsigned grandchildren;
};

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- what takes part ---- */

static enum err find_ancestor(const struct merge *m, const struct vhd_chain *chain,
			      const char *into, unsigned *out, struct err_why *why)
{
	struct file_info info;
	struct file *file;
	enum err e = ERR_OK;

	*out = chain->count - 2;
	if (!into)
		return ERR_OK;
	e = file_ns_open(m->ns, into, 0, &file, why);
	if (e)
		return e;
	e = file_get_info(file, &info, why);
	file_close(file, NULL);
	for (unsigned n = 0; n + 1 < chain->count && !e; n++) {
		*out = n;
		if (chain->layer[n]->info.dev == info.dev && chain->layer[n]->info.ino == info.ino)
			return ERR_OK;
	}
	return e ? e
		 : err_set(why, ERR_USAGE, "%s is not an ancestor of %s", into,
			   chain_leaf(chain)->path);
}

static enum err add_part(struct merge *m, const struct vhd_layer *layer, struct err_why *why)
{
	struct folded *part = &m->part[m->count];

	*part = (struct folded){strdup(layer->path), layer->info.dev, layer->info.ino};
	if (!part->path)
		return no_memory(why);
	m->count++;
	if (!merge_note_add(&m->note, m->ns, m->into, layer->path, &layer->footer.uuid))
		return no_memory(why);
	return children_beside(&m->children, m->ns, layer, why);
}

static enum err add_parts(struct merge *m, const struct vhd_chain *chain, unsigned ancestor,
			  struct err_why *why)
{
	const struct vhd_layer *into = chain->layer[ancestor];
	const struct vhd_layer *child = chain_leaf(chain);

	m->into = strdup(into->path);
	m->into_bytes = into->size_bytes;
	m->note.ancestor = into->footer.uuid;
	m->note.child = child->footer.uuid;
	m->note.child_bytes = child->size_bytes;
	m->part = calloc(chain->count, sizeof(*m->part));
	if (!m->into || !m->part)
		return no_memory(why);
	enum err e = children_beside(&m->children, m->ns, into, why);
	for (unsigned n = chain->count - 1; n > ancestor && !e; n--)
		e = add_part(m, chain->layer[n], why);
	return e ? e : children_in_search(&m->children, m->opts, why);
}

/* Only one merge at a time may have to do with a file; this one may have been begun before. */
static enum err check_notes(struct merge *m, const struct vhd_chain *chain, unsigned ancestor,
			    struct err_why *why)
{
	for (unsigned n = 0; n < chain->count; n++) {
		const struct vhd_layer *layer = chain->layer[n];
		struct merge_note found;
		bool live, same;

		if (merge_note_load(m->ns, layer->path, &found, NULL))
			continue;
		live = guid_equal(&found.ancestor, &layer->footer.uuid);
		same = n == ancestor && guid_equal(&found.child, &m->note.child) &&
		       found.count == m->note.count;
		m->noted |= live && same && found.child_bytes == m->note.child_bytes;
		merge_note_free(&found);
		if (live && !same)
			return err_set(why, ERR_REFUSED,
				       "%s: another merge into it is half done; finish that first",
				       layer->path);
	}
	return ERR_OK;
}

/* Look at the chain without holding on to anything. */
static enum err survey(struct merge *m, const char *child, const char *into, struct err_why *why)
{
	struct vhd_layer *leaf;
	struct vhd_chain chain;
	unsigned ancestor;
	enum err e = layer_open(m->ns, child, 0, FILE_UNLOCKED, &leaf, why);

	if (e) {
		err_context(why, "%s", child);
		return e;
	}
	if (leaf->footer.type != VHD_DIFFERENCING) {
		e = err_set(why, ERR_USAGE,
			    "%s is a %s disk, which has no parent to be merged into", child,
			    vhd_type_name(leaf->footer.type));
		layer_close(leaf, NULL);
		return e;
	}
	e = chain_open(leaf, m->opts, false, &chain, why);
	if (e)
		return e;
	e = find_ancestor(m, &chain, into, &ancestor, why);
	if (!e)
		e = add_parts(m, &chain, ancestor, why);
	if (!e)
		e = check_notes(m, &chain, ancestor, why);
	chain_close(&chain, NULL);
	return e;
}

/* ---- other children ---- */

static bool takes_part(const struct merge *m, const struct guid *uuid)
{
	bool found = guid_equal(uuid, &m->note.ancestor);

	for (unsigned i = 0; i < m->count; i++)
		found |= guid_equal(uuid, &m->note.file[i].uuid);
	return found;
}

/* The file itself, where it lies; a copy of it is another child. */
static bool is_part(const struct merge *m, const struct child *child)
{
	for (unsigned i = 0; i < m->count; i++) {
		if (child->dev == m->part[i].dev && child->ino == m->part[i].ino)
			return true;
	}
	return false;
}

static enum err hold_grandchild(struct merge *m, const char *path, bool writable,
				struct err_why *why)
{
	struct edit **grown =
	    realloc(m->grandchild, (m->grandchildren + 1) * sizeof(struct edit *));
	struct vhd_open_opts opts = {.ns = m->ns};

	if (!grown)
		return no_memory(why);
	m->grandchild = grown;
	enum err e = edit_open(path, &opts, writable, &grown[m->grandchildren], why);
	if (e)
		err_context(why, "%s, a child that would have to be relinked", path);
	else
		m->grandchildren++;
	return e;
}

static bool is_held(const struct merge *m, const struct child *child)
{
	for (unsigned i = 0; i < m->grandchildren; i++) {
		const struct file_info *info = &m->grandchild[i]->layer->info;

		if (info->dev == child->dev && info->ino == child->ino)
			return true;
	}
	return false;
}

static enum err check_children(struct merge *m, bool writable, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < m->children.count && !e; i++) {
		const struct child *child = &m->children.item[i];

		if (is_part(m, child) || !takes_part(m, &child->parent_uuid) || is_held(m, child))
			continue;
		if (!guid_equal(&child->parent_uuid, &m->note.child))
			e = err_set(why, ERR_REFUSED,
				    "%s has another child, %s, which the merge would break",
				    m->into, child->path);
		else
			e = hold_grandchild(m, child->path, writable, why);
	}
	return e;
}

/* ---- opening ---- */

static enum err open_layers(const struct merge *m, enum file_lock lock, struct vhd_layer **layers,
			    struct err_why *why)
{
	unsigned flags = m->opts->direct ? FILE_OPEN_DIRECT : 0;
	enum err e = ERR_OK;

	for (unsigned i = 0; i < m->count && !e; i++) {
		struct vhd_layer **layer = &layers[m->count - 1 - i]; /* the base comes first */

		e = layer_open(m->ns, m->part[i].path, flags, lock, layer, why);
		if (!e && !guid_equal(&(*layer)->footer.uuid, &m->note.file[i].uuid))
			e = err_set(why, ERR_LOCKED, "%s was replaced meanwhile", m->part[i].path);
	}
	return e;
}

/* The span as a disk of what it holds by itself, without the ancestor. */
static enum err open_span(const struct merge *m, enum file_lock lock, struct disk **out,
			  struct err_why *why)
{
	struct vhd_layer **layers = calloc(m->count, sizeof(struct vhd_layer *));
	struct vhd_chain chain;

	if (!layers)
		return no_memory(why);
	enum err e = open_layers(m, lock, layers, why);
	if (e) {
		for (unsigned i = 0; i < m->count; i++)
			layer_close(layers[i], NULL);
		free(layers);
		return e;
	}
	e = chain_of(layers, m->count, &chain, why);
	return e ? e : image_new(&chain, false, m->opts->map_budget_bytes, out, why);
}

/* As vhd_open, but for the guard: this is the one who may. */
static enum err open_ancestor(const struct merge *m, struct disk **out, struct err_why *why)
{
	struct vhd_open_opts opts = *m->opts;
	struct vhd_layer *layer;
	struct vhd_chain chain;
	unsigned flags = FILE_OPEN_RDWR | (opts.direct ? FILE_OPEN_DIRECT : 0);
	enum err e = layer_open(m->ns, m->into, flags, FILE_LOCK_WRITE, &layer, why);

	if (e)
		return e;
	opts.parent = NULL;
	e = chain_open(layer, &opts, true, &chain, why);
	return e ? e : image_new(&chain, true, opts.map_budget_bytes, out, why);
}

/* ---- steps ---- */

/* Finish what other operations left behind, so that the files are as their headers say. */
static enum err replay_intents(const struct merge *m, struct err_why *why)
{
	enum err e = intent_replay(m->ns, m->into, why);

	for (unsigned i = 0; i < m->count && !e; i++)
		e = intent_replay(m->ns, m->part[i].path, why);
	return e;
}

/* The ancestor is locked by now: nobody else finds a note that nothing follows. */
static enum err begin(struct merge *m, struct err_why *why)
{
	enum err e = m->noted ? ERR_OK : merge_note_write(m->ns, m->into, &m->note, why);

	m->noted |= !e;
	return e;
}

static enum err grow_ancestor(struct merge *m, struct err_why *why)
{
	struct vhd_open_opts opts = *m->opts;
	struct edit *edit;

	if (m->into_bytes >= m->note.child_bytes)
		return ERR_OK;
	opts.parent = NULL;
	enum err e = edit_open_merging(m->into, &opts, true, &edit, why);
	if (e)
		return e;
	e = resize_check_growth(edit, &opts, m->note.child_bytes, why);
	if (!e)
		e = begin(m, why);
	if (!e)
		e = resize_edit(edit, m->ns, m->note.child_bytes, NULL, why);
	enum err closed = edit_close(edit, e ? NULL : why);
	return e ? e : closed;
}

static enum err relink_grandchildren(const struct merge *m, struct err_why *why)
{
	char *path = path_absolute(m->ns, m->into);
	struct relink_to to = {.path = path, .uuid = m->note.child};
	enum err e = path ? ERR_OK : no_memory(why);

	for (unsigned i = 0; i < m->grandchildren && !e; i++) {
		to.timestamp = m->grandchild[i]->layer->header.parent_timestamp;
		e = relink_edit(m->grandchild[i], m->ns, &to, why);
	}
	free(path);
	return e;
}

static enum err copy_into(struct merge *m, struct disk *span, struct progress *progress,
			  uint64_t *copied, struct err_why *why)
{
	struct disk *into;
	enum err e = open_ancestor(m, &into, why);

	if (e)
		return e;
	e = begin(m, why);
	if (!e)
		e = merge_copy_bytes(span, 0, copied, why);
	if (!e) {
		struct merge_copy what = {.progress = progress, .total_bytes = *copied};

		e = merge_copy(span, into, &what, why);
	}
	enum err closed = disk_close(into, e ? NULL : why); /* flushes */
	return e ? e : closed;
}

static enum err remove_child(const struct merge *m, struct err_why *why)
{
	enum err e = file_ns_unlink(m->ns, m->part[0].path, why);

	return e ? e : file_ns_sync_dir(m->ns, m->part[0].path, why);
}

/* Files that merge_finish leaves alone because they are not below the ancestor's folder. */
static enum err remove_others(const struct merge *m, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 1; i < m->count && !e; i++) {
		struct err_why here = {0};

		e = file_ns_unlink(m->ns, m->part[i].path, &here);
		if (!e)
			e = file_ns_sync_dir(m->ns, m->part[i].path, &here);
		if (e == ERR_NOENT)
			e = ERR_OK;
		else if (e && why)
			*why = here;
	}
	return e;
}

static enum err run(struct merge *m, struct progress *progress, uint64_t *copied,
		    struct err_why *why)
{
	struct disk *span;
	enum err e = replay_intents(m, why);

	if (!e)
		e = open_span(m, FILE_LOCK_WRITE, &span, why);
	if (e)
		return e;
	e = grow_ancestor(m, why);
	if (!e)
		e = copy_into(m, span, progress, copied, why);
	if (!e)
		e = merge_note_mark(m->ns, m->into, why);
	if (!e)
		e = relink_grandchildren(m, why);
	if (!e)
		e = remove_child(m, why);
	if (!e)
		e = merge_finish(m->ns, m->into, why);
	if (!e)
		e = remove_others(m, why);
	disk_close(span, NULL);
	return e;
}

/* ---- the operation ---- */

static enum err count_bytes(const struct merge *m, uint64_t *bytes, struct err_why *why)
{
	struct disk *span;
	enum err e = open_span(m, FILE_UNLOCKED, &span, why);

	if (e)
		return e;
	e = merge_copy_bytes(span, 0, bytes, why);
	disk_close(span, NULL);
	return e;
}

static void end(struct merge *m)
{
	for (unsigned i = 0; i < m->grandchildren; i++)
		edit_close(m->grandchild[i], NULL);
	for (unsigned i = 0; i < m->count; i++)
		free(m->part[i].path);
	free(m->grandchild);
	free(m->part);
	children_free(&m->children);
	free(m->into);
	merge_note_free(&m->note);
}

enum err vhd_merge(const char *child, const struct vhd_open_opts *open_opts,
		   const struct vhd_merge_opts *opts, struct vhd_merge_result *out,
		   struct err_why *why)
{
	static const struct vhd_open_opts defaults;
	struct merge m = {.opts = open_opts ? open_opts : &defaults};
	enum err e;

	m.ns = m.opts->ns ? m.opts->ns : &file_ns_posix;
	*out = (struct vhd_merge_result){0};
	e = survey(&m, child, opts->into, why);
	if (!e)
		e = check_children(&m, !opts->dry_run, why);
	if (!e)
		e = opts->dry_run ? count_bytes(&m, &out->copied_bytes, why)
				  : run(&m, opts->progress, &out->copied_bytes, why);
	if (!e) {
		out->into = m.into;
		out->files_removed = m.count;
		m.into = NULL;
	}
	end(&m);
	return e;
}
