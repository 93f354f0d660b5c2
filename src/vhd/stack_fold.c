/* SPDX-License-Identifier: MIT */

/*
 * Two neighbouring layers become one, for src/snapshot: the part of W17 that moves payload. Neither
 * direction changes what is read through the upper one. Up, the upper layer gets sectors it had
 * from the lower one anyway; down, the lower one gets sectors that the upper one hides.
 */

#include <stdlib.h>
#include <string.h>

#include "vhd/footer_change.h"
#include "vhd/image.h"
#include "vhd/intent.h"
#include "vhd/locator.h"
#include "vhd/merge_copy.h"
#include "vhd/path.h"
#include "vhd/relink.h"
#include "vhd/stack.h"

/* What is to be copied as a disk: the upper layer on the lower one, or alone. */
static enum err open_source(const struct stack_fold *fold, bool both, struct disk **out,
			    struct err_why *why)
{
	struct layer_facts files[2] = {*fold->lower, *fold->upper};
	struct stack_opts opts = {.ns = fold->ns};

	return both ? stack_open(files, 2, &opts, out, why)
		    : stack_open(fold->upper, 1, &opts, out, why);
}

/*
 * Where it goes, on what is below both: zeros need no space only where nothing down there shows
 * (W9).
 */
static enum err open_target(const struct stack_fold *fold, struct disk **out, struct err_why *why)
{
	struct layer_facts *files = calloc(fold->below_count + 1, sizeof(*files));
	struct stack_opts opts = {.ns = fold->ns, .writable = true};

	if (!files)
		return err_set(why, ERR_NOMEM, "out of memory");
	if (fold->below_count)
		memcpy(files, fold->below, fold->below_count * sizeof(*files));
	files[fold->below_count] = *(fold->down ? fold->lower : fold->upper);
	enum err e = stack_open(files, fold->below_count + 1, &opts, out, why);
	free(files);
	return e;
}

enum err stack_fold_cost(const struct stack_fold *fold, uint64_t *up_bytes, uint64_t *down_bytes,
			 struct err_why *why)
{
	struct disk *disk;
	uint64_t all;
	enum err e = open_source(fold, true, &disk, why);

	if (e)
		return e;
	e = merge_copy_bytes(disk, 0, &all, why);
	if (!e)
		e = merge_copy_bytes(disk, 1, up_bytes, why);
	if (!e)
		*down_bytes = all - *up_bytes;
	disk_close(disk, NULL);
	return e;
}

static enum err copy(const struct stack_fold *fold, struct disk *from, uint64_t *next_off,
		     uint64_t *moved_bytes, struct err_why *why)
{
	struct merge_copy what = {.min_depth = fold->down ? 0 : 1,
				  .from_off = fold->from_off,
				  .budget_bytes = fold->budget_bytes,
				  .gentle = fold->gentle,
				  .progress = fold->progress,
				  .total_bytes = fold->total_bytes,
				  .done_bytes = fold->done_bytes};
	struct disk *into;
	enum err e = open_target(fold, &into, why);

	if (e)
		return e;
	e = merge_copy(from, into, &what, why);
	enum err closed = disk_close(into, e ? NULL : why); /* flushes */
	*moved_bytes = what.moved_bytes;
	if (!closed)
		*next_off = what.next_off;
	return e ? e : closed;
}

enum err stack_fold_copy(const struct stack_fold *fold, uint64_t *next_off, uint64_t *moved_bytes,
			 struct err_why *why)
{
	struct disk *from;

	*next_off = fold->from_off;
	*moved_bytes = 0;
	enum err e = open_source(fold, !fold->down, &from, why);
	if (e)
		return e;
	e = copy(fold, from, next_off, moved_bytes, why);
	disk_close(from, NULL);
	return e;
}

/* ---- headers ---- */

enum err stack_set_uuid(struct file_ns *ns, const char *path, const struct guid *uuid,
			struct err_why *why)
{
	struct vhd_layer *layer;
	enum err e = intent_replay(ns, path, why);

	if (!e)
		e = layer_open(ns, path, FILE_OPEN_RDWR | FILE_OPEN_NOFOLLOW, FILE_LOCK_WRITE,
			       &layer, why);
	if (e)
		return e;
	struct vhd_footer footer = layer->footer;
	footer.uuid = *uuid;
	if (!guid_equal(uuid, &layer->footer.uuid))
		e = footer_change(layer, ns, &footer, why);
	enum err closed = layer_close(layer, e ? NULL : why);
	return e ? e : closed;
}

/* Whether the W2ru locator of `layer` leads to `parent`, both absolute. */
static bool leads_to(struct vhd_layer *layer, const char *path, const char *parent)
{
	char *wanted = locator_relative_path(path, parent);
	bool found = false;

	for (unsigned i = 0; i < VHD_LOCATORS && wanted && !found; i++) {
		char *have = NULL;

		if (!memcmp(layer->header.locator[i].code, "W2ru", 4) &&
		    !locator_read(layer, i, &have, NULL))
			found = !strcmp(have, wanted);
		free(have);
	}
	free(wanted);
	return found;
}

/* The record of a change that was cut off counts: it is about to be carried out. */
static enum err needs_relink(struct file_ns *ns, const char *path, const char *parent,
			     const struct guid *uuid, bool *out, struct err_why *why)
{
	struct vhd_layer *layer;
	enum err e = intent_replay(ns, path, why);

	if (!e)
		e = layer_open(ns, path, FILE_OPEN_NOFOLLOW, FILE_UNLOCKED, &layer, why);
	if (e)
		return e;
	*out = layer->footer.type == VHD_DIFFERENCING &&
	       (!guid_equal(&layer->header.parent_uuid, uuid) || !leads_to(layer, path, parent));
	layer_close(layer, NULL);
	return ERR_OK;
}

static enum err relink(struct file_ns *ns, const char *path, const struct relink_to *to,
		       struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = ns};
	struct relink_to full = *to;
	struct edit *edit;
	enum err e = edit_open(path, &opts, true, &edit, why);

	if (e)
		return e;
	full.timestamp = edit->layer->header.parent_timestamp;
	e = relink_edit(edit, ns, &full, why);
	enum err closed = edit_close(edit, e ? NULL : why);
	return e ? e : closed;
}

enum err stack_relink(struct file_ns *ns, const char *path, const char *parent_path,
		      const struct guid *parent_uuid, struct err_why *why)
{
	char *child = path_absolute(ns, path);
	char *parent = path_absolute(ns, parent_path);
	struct relink_to to = {.path = parent, .uuid = *parent_uuid};
	bool wanted = false;
	enum err e = child && parent ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	if (!e)
		e = needs_relink(ns, child, parent, parent_uuid, &wanted, why);
	if (!e && wanted)
		e = relink(ns, child, &to, why);
	free(parent);
	free(child);
	return e;
}
