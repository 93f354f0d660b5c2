/* SPDX-License-Identifier: MIT */
#include "snapshot/survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

static void found(struct layer_survey *layer, enum layer_state state, const char *why)
{
	layer->state = state;
	snprintf(layer->why, sizeof(layer->why), "%.150s", why);
}

/* ---- one layer ---- */

/* A fold that has copied all may have changed the UUID already. */
static bool uuid_fits(const struct catalogue *cat, const struct cat_layer *layer,
		      const struct guid *uuid)
{
	const struct cat_layer *upper = cat_layer(cat, cat->fold.upper);

	if (guid_equal(uuid, &layer->uuid))
		return true;
	return cat->fold.phase == CAT_FOLD_SETTLE && cat->fold.down &&
	       layer->number == cat->fold.lower && upper && guid_equal(uuid, &upper->uuid);
}

static void look_at_headers(const struct survey *s, const struct cat_layer *layer,
			    const struct vhd_info *info, struct layer_survey *out)
{
	const struct cat_layer *parent = cat_layer(s->cat, layer->parent);

	if (!uuid_fits(s->cat, layer, &info->uuid))
		found(out, LAYER_GONE, "is another disk: its UUID is not the one it had");
	else if (info->type != layer->type)
		found(out, LAYER_GONE, "is a disk of another type");
	else if (!layer->is_leaf && !layer_is_changing(s->cat, layer) &&
		 info->virtual_size != layer->size_bytes)
		found(out, LAYER_GONE, "is a disk of another size");
	else if (parent && !layer_is_changing(s->cat, layer) &&
		 !guid_equal(&info->parent_uuid, &parent->uuid))
		found(out, LAYER_UNLINKED, "names another parent in its header");
}

/* Its identity; what a fold is changing has none. */
static void look_at_file(const struct survey *s, const struct cat_layer *layer,
			 const struct file_info *info, struct layer_survey *out)
{
	if (!layer->sealed_bytes || layer->is_leaf || layer_is_changing(s->cat, layer))
		return;
	if (info->size_bytes != layer->sealed_bytes)
		found(out, LAYER_TOUCHED, "was changed behind our back: its length is another");
	else if (layer->sealed_mtime_ns && info->mtime_ns &&
		 info->mtime_ns != layer->sealed_mtime_ns)
		found(out, LAYER_TOUCHED,
		      "was changed behind our back: it was written to after it was sealed");
}

/* What vhd_check says can be repaired. The target of a fold is mended by whoever goes on with it.
 */
static enum layer_state mendable(const struct survey *s, const struct cat_layer *layer)
{
	return layer == cat_fold_target(s->cat) ? LAYER_UNFINISHED : LAYER_MENDABLE;
}

static enum err look_inside(const struct survey *s, const struct cat_layer *layer, const char *path,
			    struct progress *progress, struct layer_survey *out,
			    struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = s->ns};
	struct vhd_report report;
	enum err e = vhd_check(path, &opts, progress, &report, why);

	if (e == ERR_LOCKED)
		return ERR_OK; /* in use, so somebody else looks after it */
	if (e)
		return e;
	enum err result = vhd_report_result(&report);
	for (size_t i = 0; i < report.count && result; i++) {
		char text[160];

		if (report.finding[i].kind == FINDING_NOTE)
			continue;
		snprintf(text, sizeof(text), "%.40s at 0x%llx: %.90s", report.finding[i].field,
			 (unsigned long long)report.finding[i].off_bytes, report.finding[i].rule);
		found(out, result == ERR_REPAIRABLE ? mendable(s, layer) : LAYER_DAMAGED, text);
		break;
	}
	vhd_report_free(&report);
	return ERR_OK;
}

static enum err look_at_layer(const struct survey *s, const struct cat_layer *layer, bool full,
			      struct progress *progress, struct layer_survey *out,
			      struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = s->ns};
	struct err_why here = {0};
	struct file_info file;
	struct vhd_info info;
	char *path = store_layer_path(s->dir, layer);
	enum err e = ERR_OK;

	if (!path)
		return no_memory(why);
	/* A link is not followed: what is beside it is not what the catalogue means. */
	if (file_ns_info(s->ns, path, &file, &here) || vhd_inspect(path, &opts, &info, &here)) {
		found(out, LAYER_GONE, here.text);
	} else {
		look_at_file(s, layer, &file, out);
		look_at_headers(s, layer, &info, out);
		vhd_info_free(&info);
		if (full && (out->state == LAYER_FINE || out->state == LAYER_TOUCHED))
			e = look_inside(s, layer, path, progress, out, why);
	}
	free(path);
	return e;
}

/* ---- what follows from it ---- */

static void mark_dead(struct survey *s)
{
	const struct catalogue *cat = s->cat;

	for (unsigned i = 0; i < cat->layers; i++) {
		const struct cat_layer *parent = cat_layer(cat, cat->layer[i].parent);

		s->layer[i].dead = s->layer[i].state == LAYER_GONE ||
				   (parent && s->layer[parent - cat->layer].dead);
	}
}

static bool any_dead(const struct survey *s, const uint64_t *layers)
{
	for (unsigned d = 0; d < s->cat->disks; d++)
		if (layers[d] && s->layer[cat_layer(s->cat, layers[d]) - s->cat->layer].dead)
			return true;
	return false;
}

static void count_dead(struct survey *s)
{
	const struct catalogue *cat = s->cat;
	const struct cat_node *node;

	for (unsigned i = 0; i < cat->nodes; i++)
		s->dead_nodes += any_dead(s, cat->node[i].layer);
	s->leaf_is_dead = any_dead(s, cat->leaf);
	node = cat_node(cat, cat->current);
	while (node && any_dead(s, node->layer))
		node = cat_node(cat, node->parent);
	s->back_to = node ? node->number : 0;
}

/* ---- files the catalogue does not name ---- */

struct scan {
	struct survey *survey;
	uint64_t *file;
	unsigned count;
	bool failed;
};

static bool add_file(void *arg, const char *name)
{
	struct scan *scan = arg;
	uint64_t file;

	if (!store_parse_file_name(name, &file))
		return true;
	uint64_t *grown = realloc(scan->file, (scan->count + 1) * sizeof(*grown));
	scan->failed = !grown;
	if (!grown)
		return false;
	scan->file = grown;
	grown[scan->count++] = file;
	return true;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static bool is_named(const struct catalogue *cat, uint64_t file)
{
	for (unsigned i = 0; i < cat->layers; i++)
		if (cat->layer[i].file == file && !cat->layer[i].path)
			return true;
	for (unsigned i = 0; i < cat->garbage_count; i++)
		if (cat->garbage[i] == file)
			return true;
	return false;
}

static const struct cat_layer *by_uuid(const struct catalogue *cat, const struct guid *uuid)
{
	for (unsigned i = 0; i < cat->layers; i++)
		if (guid_equal(&cat->layer[i].uuid, uuid))
			return &cat->layer[i];
	return NULL;
}

/* The disk whose leaf or node's layer that is. */
static bool disk_of(const struct catalogue *cat, uint64_t layer, unsigned *disk)
{
	for (unsigned d = 0; d < cat->disks; d++) {
		*disk = d;
		if (cat->leaf[d] == layer)
			return true;
		for (unsigned i = 0; i < cat->nodes; i++)
			if (cat->node[i].layer[d] == layer)
				return true;
	}
	return false;
}

/* A leaf made after the copy was written: it builds on something the copy knows. */
static void look_at_newer(struct survey *s, uint64_t file)
{
	struct layer_facts facts;
	struct guid parent;
	unsigned disk;
	char *path = store_file_path(s->dir, file);

	if (path && !stack_look(s->ns, path, &facts, &parent, NULL)) {
		const struct cat_layer *below = by_uuid(s->cat, &parent);

		if (below && disk_of(s->cat, below->number, &disk))
			s->newer[disk] = file;
	}
	free(path);
}

static enum err look_for_strays(struct survey *s, struct err_why *why)
{
	struct scan scan = {.survey = s};
	enum err e = file_ns_list(s->ns, s->dir, add_file, &scan, why);

	if (!e && scan.failed)
		e = no_memory(why);
	if (!e && scan.count)
		qsort(scan.file, scan.count, sizeof(*scan.file), by_number);
	for (unsigned i = 0; !e && i < scan.count; i++) {
		if (is_named(s->cat, scan.file[i]))
			continue;
		s->strays++;
		if (s->from_copy && scan.file[i] >= s->cat->next_number)
			look_at_newer(s, scan.file[i]);
	}
	bool any = false, all = true;
	for (unsigned d = 0; d < s->cat->disks; d++) {
		any |= s->newer[d] != 0;
		all &= s->newer[d] || !s->cat->leaf[d];
	}
	s->has_newer = any && all;
	/* Numbers that were given stay given; else what is newer would count as leftovers. */
	if (s->from_copy && scan.count && scan.file[scan.count - 1] >= s->cat->next_number)
		s->cat->next_number = scan.file[scan.count - 1] + 1;
	free(scan.file);
	return e;
}

/* ---- all of it ---- */

static enum err read_catalogue(struct survey *s, struct err_why *why)
{
	enum err e = catalogue_read(s->ns, s->dir, STORE_CATALOGUE, &s->cat, &s->cat_why);

	if (e == ERR_CORRUPT || e == ERR_NOENT) {
		s->from_copy = !catalogue_read(s->ns, s->dir, CATALOGUE_COPY, &s->cat, NULL);
		if (e == ERR_CORRUPT || s->from_copy)
			return ERR_OK;
	}
	if (e && why)
		*why = s->cat_why;
	return e;
}

enum err survey_make(struct file_ns *ns, const char *dir, bool full, struct progress *progress,
		     struct survey *out, struct err_why *why)
{
	*out = (struct survey){.ns = ns, .dir = dir};
	enum err e = read_catalogue(out, why);

	if (e || !out->cat)
		return e;
	out->layer = calloc(out->cat->layers + 1, sizeof(*out->layer));
	if (!out->layer)
		e = no_memory(why);
	for (unsigned i = 0; i < out->cat->layers && !e; i++)
		e = look_at_layer(out, &out->cat->layer[i], full, progress, &out->layer[i], why);
	if (!e) {
		mark_dead(out);
		count_dead(out);
		e = look_for_strays(out, why);
	}
	if (e)
		survey_free(out);
	return e;
}

void survey_free(struct survey *survey)
{
	cat_free(survey->cat);
	free(survey->layer);
	survey->cat = NULL;
	survey->layer = NULL;
}
