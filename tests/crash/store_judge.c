/* SPDX-License-Identifier: MIT */

/* What a store may be after a power cut. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/store.h"
#include "tests/crash/store_run.h"
#include "tests/lib/exercise.h"
#include "util/bytes.h"
#include "vhd/locator.h"

#define USED_ON_EVERY 16u /* states in which the VM is used on */

/* ---- the tree ---- */

static bool same_name(const struct snap_tree *tree, int idx, const struct srun_shape *shape,
		      int wanted)
{
	if (idx < 0 || wanted < 0)
		return idx < 0 && wanted < 0;
	return !strcmp(tree->node[idx].name, shape->node[wanted].name);
}

static bool same_node(const struct snap_tree *tree, const struct snap_node *found,
		      const struct srun_shape *shape)
{
	int at = srun_find(shape, found->name);

	return at >= 0 && !strcmp(found->note, shape->node[at].note) &&
	       found->config.memory_bytes == shape->node[at].memory_bytes &&
	       found->disk_count == tree->disk_count &&
	       same_name(tree, found->parent_idx, shape, shape->node[at].parent);
}

static bool same_tree(const struct snap_tree *tree, const struct srun_shape *shape)
{
	bool same = shape->exists && tree->count == shape->count &&
		    tree->config.memory_bytes == shape->memory_bytes &&
		    same_name(tree, tree->current_idx, shape, shape->current);

	for (unsigned i = 0; i < tree->count && same; i++)
		same = same_node(tree, &tree->node[i], shape);
	return same;
}

static enum err describe(const struct snap_tree *tree, struct err_why *why)
{
	char text[300];
	size_t used = 0;

	for (unsigned i = 0; i < tree->count && used < sizeof(text) - 1; i++) {
		int parent = tree->node[i].parent_idx;

		used +=
		    (size_t)snprintf(text + used, sizeof(text) - used, " %s(%s)",
				     tree->node[i].name, parent < 0 ? "" : tree->node[parent].name);
		used = min_u64(used, sizeof(text) - 1);
	}
	text[used] = 0;
	return err_set(why, ERR_CORRUPT, "the tree is neither the old nor the new one:%s, at %s",
		       text, tree->current_idx < 0 ? "none" : tree->node[tree->current_idx].name);
}

/* ---- content ---- */

static enum err check_disk(struct disk *disk, struct model *model, const uint64_t *time,
			   struct err_why *why)
{
	static uint8_t buf[SRUN_BYTES];
	struct disk_info info;
	enum err e;

	disk_get_info(disk, &info);
	if (info.size_bytes != SRUN_BYTES)
		return err_set(why, ERR_CORRUPT, "the disk has %llu bytes",
			       (unsigned long long)info.size_bytes);
	e = disk_read(disk, exercise_queue(), buf, 0, SRUN_BYTES, why);
	if (e)
		return e;
	bool ok = time ? model_check_after_cut(model, *time, 0, buf, SRUN_BYTES, why)
		       : model_check_live(model, 0, buf, SRUN_BYTES, why);
	return ok ? ERR_OK : ERR_CORRUPT;
}

static enum err check_view(struct store *store, const char *name, struct model *const *disk,
			   const uint64_t *time, struct err_why *why)
{
	struct snap_view *view;
	struct guid id;
	enum err e = name ? srun_id(store, name, &id, why) : ERR_OK;

	if (!e)
		e = snap_view_open(store, name ? &id : NULL, NULL, &view, why);
	if (e)
		return e;
	for (unsigned d = 0; d < view->disk_count && !e; d++) {
		e = check_disk(view->disk[d], disk[d], time ? &time[d] : NULL, why);
		if (e)
			err_context(why, "disk %u of %s", d, name ? name : "current");
	}
	snap_view_close(view, NULL);
	return e;
}

enum err srun_check_shape(struct store *store, const struct srun_shape *shape, const uint64_t *time,
			  struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < shape->count && !e; i++)
		e = check_view(store, shape->node[i].name, shape->node[i].disk, NULL, why);
	return e ? e : check_view(store, NULL, shape->disk, time, why);
}

/* ---- which shape ---- */

/* From when on what is current has to be: of an operation that came through, when it was done. */
static void time_of(const struct store_run *run, unsigned idx, uint64_t mark,
		    uint64_t time[SRUN_DISKS])
{
	const struct srun_shape *shape = &run->shape[idx];

	for (unsigned d = 0; d < run->disks; d++) {
		bool is_new = idx && shape->disk[d] != shape[-1].disk[d];

		if (mark >= shape->done)
			time[d] = run->time[mark][d];
		else if (shape->done != SRUN_NEVER)
			time[d] = run->time[shape->done][d];
		else
			time[d] = is_new ? 0 : run->time[mark][d];
	}
}

static bool is_candidate(const struct store_run *run, unsigned idx, uint64_t mark)
{
	bool over = idx + 1 < run->shapes && run->shape[idx + 1].done <= mark;

	return run->shape[idx].begun <= mark && !over;
}

static bool debt_is_right(const struct snap_tree *tree, const struct srun_shape *shape,
			  uint64_t mark)
{
	return !shape->no_debt || mark < shape->done || tree->debt.layers == tree->debt.shared;
}

enum err srun_match(struct store_run *run, struct store *store, uint64_t mark, unsigned *idx,
		    struct err_why *why)
{
	struct snap_tree tree;
	enum err e = snap_tree(store, SNAP_TREE_SIZES, &tree, why), found = ERR_NOENT;

	if (e)
		return e;
	/* Of those that show the same tree the last one whose content is there. */
	for (unsigned i = run->shapes; i-- > 0 && found;) {
		uint64_t time[SRUN_DISKS];

		if (!is_candidate(run, i, mark) || !same_tree(&tree, &run->shape[i]))
			continue;
		time_of(run, i, mark, time);
		found = debt_is_right(&tree, &run->shape[i], mark)
			    ? srun_check_shape(store, &run->shape[i], time, why)
			    : err_set(why, ERR_CORRUPT, "a fold came to its end and left debt");
		*idx = i;
	}
	if (found == ERR_NOENT)
		found = describe(&tree, why);
	snap_tree_free(&tree);
	return found;
}

/* ---- the folder ---- */

struct listing {
	const struct catalogue *cat;
	bool settled;
	char stray[64];
};

/* The record of a change of a layer counts as the layer, as long as it may be under way. */
static bool is_layer(const struct listing *l, const char *name)
{
	static const char suffix[] = ".strata-intent";
	size_t len = strlen(name), tail = sizeof(suffix) - 1;
	char base[64] = "";
	bool intent = len > tail && !strcmp(name + len - tail, suffix);

	snprintf(base, sizeof(base), "%.*s", (int)(intent ? len - tail : len), name);
	if (intent && l->settled)
		return false;
	for (unsigned i = 0; i < l->cat->layers; i++) {
		const struct cat_layer *layer = &l->cat->layer[i];
		char own[STORE_FILE_NAME_BYTES];

		store_file_name(layer->file, own);
		if (!strcmp(base, layer->path ? layer->path : own))
			return true;
	}
	return false;
}

static bool look_at_name(void *arg, const char *name)
{
	struct listing *l = arg;

	if (strcmp(name, STORE_CATALOGUE) != 0 && strcmp(name, CATALOGUE_COPY) != 0 &&
	    strcmp(name, STORE_LOCK) != 0 && !is_layer(l, name))
		snprintf(l->stray, sizeof(l->stray), "%s", name);
	return true;
}

static enum err check_names(struct file_ns *ns, const char *dir, bool settled, struct err_why *why)
{
	struct listing l = {.settled = settled};
	struct catalogue *cat;
	enum err e = catalogue_read(ns, dir, STORE_CATALOGUE, &cat, why);

	if (e)
		return e;
	l.cat = cat;
	e = file_ns_list(ns, dir, look_at_name, &l, why);
	if (!e && *l.stray)
		e = err_set(why, ERR_CORRUPT, "%s/%s is left behind", dir, l.stray);
	cat_free(cat);
	return e;
}

/* With `full`, what a fold that goes on will mend by itself may still be there. */
static enum err check_findings(struct file_ns *ns, const char *dir, bool full,
			       enum snap_finding_kind worst, struct err_why *why)
{
	struct snap_report report;
	enum err e = snap_check(ns, dir, full, NULL, &report, why);

	if (e)
		return e;
	for (size_t i = 0; i < report.count && !e; i++)
		if (report.finding[i].kind > worst)
			e = err_set(why, ERR_CORRUPT, "check found: %s", report.finding[i].what);
	snap_report_free(&report);
	return e;
}

static bool leads_to(const struct vhd_info *info, const char *wanted)
{
	for (unsigned i = 0; i < VHD_LOCATORS; i++)
		if (!strcmp(info->locator[i].code, "W2ru") && info->locator[i].path &&
		    !strcmp(info->locator[i].path, wanted))
			return true;
	return false;
}

static enum err check_link(struct file_ns *ns, const char *path, const char *parent,
			   struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = ns};
	struct vhd_info info;
	char *wanted = locator_relative_path(path, parent);
	enum err e = vhd_inspect(path, &opts, &info, why);

	if (!wanted)
		abort();
	if (!e) {
		if (!leads_to(&info, wanted))
			e = err_set(why, ERR_CORRUPT, "%s has no locator that says %s", path,
				    wanted);
		vhd_info_free(&info);
	}
	free(wanted);
	return e;
}

/*
 * Any program that knows VHDs finds the files below one by what its header says. Those outside the
 * folder say what they said before.
 */
static enum err check_links(struct file_ns *ns, const char *dir, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = catalogue_read(ns, dir, STORE_CATALOGUE, &cat, why);

	if (e)
		return e;
	for (unsigned i = 0; i < cat->layers && !e; i++) {
		const struct cat_layer *layer = &cat->layer[i];
		const struct cat_layer *parent = cat_layer(cat, layer->parent);
		bool outside = layer->path && *layer->path == '/';
		char *path = store_layer_path(dir, layer);
		char *below = parent ? store_layer_path(dir, parent) : NULL;

		if (layer->flags & CAT_RELINK)
			e = err_set(why, ERR_CORRUPT, "%s is still to be relinked", path);
		else if (parent && !outside)
			e = check_link(ns, path, below, why);
		free(path);
		free(below);
	}
	cat_free(cat);
	return e;
}

enum err srun_check_dir(struct file_ns *ns, const char *dir, bool settled, struct err_why *why)
{
	enum err e = check_findings(ns, dir, false, SNAP_NOTE, why);

	if (!e)
		e = check_findings(ns, dir, true, settled ? SNAP_NOTE : SNAP_REPAIRABLE, why);
	if (!e && settled)
		e = check_links(ns, dir, why);
	return e ? e : check_names(ns, dir, settled, why);
}

enum err srun_fold_all(struct store *store, struct err_why *why)
{
	struct snap_fold_result result;
	struct snap_tree tree;
	enum err e = snap_fold(store, NULL, &result, why);

	if (!e)
		e = snap_tree(store, SNAP_TREE_SIZES, &tree, why);
	if (e)
		return e;
	if (result.more || tree.debt.layers != tree.debt.shared || tree.debt.garbage)
		e = err_set(why, ERR_CORRUPT, "a fold to the end leaves %u layers, %u garbage",
			    tree.debt.layers - tree.debt.shared, tree.debt.garbage);
	snap_tree_free(&tree);
	return e;
}

/* ---- using the VM on ---- */

struct use {
	struct store *store;
	struct snap_view *writer;
	struct rng rng;
	uint8_t *expected[SRUN_DISKS];
};

static enum err write_on(struct use *use, struct err_why *why)
{
	struct snap_view_opts opts = {.writable = true};
	enum err e =
	    use->writer ? ERR_OK : snap_view_open(use->store, NULL, &opts, &use->writer, why);

	for (unsigned d = 0; !e && d < use->writer->disk_count; d++) {
		uint64_t off = rng_below(&use->rng, SRUN_BYTES / DISK_SECTOR - 8) * DISK_SECTOR;

		rng_fill(&use->rng, use->expected[d] + off, 8 * DISK_SECTOR);
		e = disk_write(use->writer->disk[d], exercise_queue(), use->expected[d] + off, off,
			       8 * DISK_SECTOR, why);
	}
	return e;
}

static enum err compare(struct use *use, bool keep, struct err_why *why)
{
	static uint8_t buf[SRUN_BYTES];
	struct snap_view *view;
	enum err e = snap_view_open(use->store, NULL, NULL, &view, why);

	if (e)
		return e;
	for (unsigned d = 0; d < view->disk_count && !e; d++) {
		e = disk_read(view->disk[d], exercise_queue(), keep ? use->expected[d] : buf, 0,
			      SRUN_BYTES, why);
		if (!e && !keep && memcmp(buf, use->expected[d], SRUN_BYTES) != 0)
			e = err_set(why, ERR_CORRUPT, "disk %u is not what was written", d);
	}
	snap_view_close(view, NULL);
	return e;
}

static enum err delete_all(struct use *use, struct err_why *why)
{
	struct snap_tree tree;
	enum err e = snap_tree(use->store, 0, &tree, why);

	if (e)
		return e;
	for (unsigned i = 0; i < tree.count && !e; i++) {
		unsigned deleted;

		e = snap_delete(use->store, &tree.node[i].id, false, &deleted, why);
	}
	snap_tree_free(&tree);
	return e;
}

static enum err use_store(struct use *use, struct err_why *why)
{
	struct snap_take_opts opts = {0};
	struct guid id;
	enum err e = compare(use, true, why);

	if (!e)
		e = snap_take(use->store, &opts, &id, why);
	if (!e)
		e = write_on(use, why);
	if (!e)
		e = snap_take(use->store, &opts, &id, why);
	if (!e)
		e = write_on(use, why);
	enum err closed = snap_view_close(use->writer, e ? NULL : why);
	e = e ? e : closed;
	if (!e)
		e = delete_all(use, why);
	if (!e)
		e = srun_fold_all(use->store, why);
	return e ? e : compare(use, false, why);
}

static enum err use_on(const struct store_run *run, struct file_ns *ns, struct err_why *why)
{
	struct use use = {.rng = rng_seed(run->seed ^ run->judged)};
	enum err e = snap_open(ns, SRUN_DIR, 0, &use.store, why);

	for (unsigned d = 0; d < SRUN_DISKS; d++) {
		use.expected[d] = malloc(SRUN_BYTES);
		if (!use.expected[d])
			abort();
	}
	if (!e)
		e = use_store(&use, why);
	snap_close(use.store);
	for (unsigned d = 0; d < SRUN_DISKS; d++)
		free(use.expected[d]);
	if (!e)
		e = srun_check_dir(ns, SRUN_DIR, true, why);
	if (e)
		err_context(why, "used on");
	return e;
}

/* ---- recovery and judgement ---- */

static bool may_be_absent(const struct store_run *run, uint64_t mark, const struct srun_shape **out)
{
	for (unsigned i = 0; i < run->shapes; i++) {
		if (is_candidate(run, i, mark) && !run->shape[i].exists) {
			*out = &run->shape[i];
			return true;
		}
	}
	return false;
}

/* The first who comes may only want to read, and has to find it all without mending anything. */
static enum err look_first(struct store_run *run, struct file_ns *ns, uint64_t mark,
			   struct err_why *why)
{
	struct store *store;
	unsigned idx;
	enum err e = snap_open(ns, SRUN_DIR, SNAP_READONLY, &store, why);

	if (e)
		return e;
	e = srun_match(run, store, mark, &idx, why);
	if (e)
		err_context(why, "read only");
	snap_close(store);
	return e;
}

static enum err recover(struct store_run *run, struct file_ns *ns, uint64_t mark,
			struct err_why *why)
{
	struct snap_fold_result result;
	struct store *store;
	enum err e = look_first(run, ns, mark, why);

	if (!e)
		e = snap_open(ns, SRUN_DIR, 0, &store, why);
	if (e)
		return e;
	if (run->config->fold && !run->calm)
		e = snap_fold(store, NULL, &result, why);
	snap_close(store);
	return e;
}

enum err srun_recover(void *opaque, struct mem_ns *mem, uint64_t mark, struct err_why *why)
{
	struct store_run *run = opaque;
	struct names_ns *names = srun_names(run, mem_ns_base(mem));
	const struct srun_shape *absent;
	enum err e = recover(run, names_ns_base(names), SRUN_MARK(mark), why);

	names_ns_free(names);
	return e == ERR_NOENT && may_be_absent(run, SRUN_MARK(mark), &absent) ? ERR_OK : e;
}

/* The first writer mends what a cut has left of the leaves (P3). */
static enum err mend_leaves(struct store *store, struct err_why *why)
{
	struct snap_view_opts opts = {.writable = true};
	struct snap_view *view;
	enum err e = snap_view_open(store, NULL, &opts, &view, why);

	return e ? e : snap_view_close(view, why);
}

/*
 * Once as it is, once with all debt folded: what was copied half is copied to its end. In every
 * other state the fold comes before anybody writes, who would call it off.
 */
static enum err judge_store(struct store_run *run, struct file_ns *ns, struct store *store,
			    uint64_t mark, struct err_why *why)
{
	const struct srun_shape *shape;
	uint64_t time[SRUN_DISKS];
	bool acknowledged, folded = run->judged % 2;
	unsigned idx;
	enum err e = srun_match(run, store, mark, &idx, why);

	if (!e && folded)
		e = srun_fold_all(store, why);
	if (!e)
		e = mend_leaves(store, why);
	if (e)
		return e;
	shape = &run->shape[idx];
	acknowledged = mark >= shape->done;
	e = srun_check_dir(ns, SRUN_DIR, folded || (shape->no_debt && acknowledged), why);
	if (!e && run->config->judge)
		e = run->config->judge(run, ns, shape, acknowledged, why);
	if (!e)
		e = srun_fold_all(store, why);
	if (e)
		return e;
	time_of(run, idx, mark, time);
	e = srun_check_shape(store, &run->shape[idx], time, why);
	if (!e)
		e = srun_check_dir(ns, SRUN_DIR, true, why);
	if (e)
		err_context(why, "folded to the end");
	return e;
}

static enum err judge(struct store_run *run, struct file_ns *ns, uint64_t mark, struct err_why *why)
{
	const struct srun_shape *absent;
	struct err_why here = {0};
	struct store *store;
	enum err e;

	e = snap_open(ns, SRUN_DIR, 0, &store, &here);
	if (e == ERR_NOENT && may_be_absent(run, mark, &absent))
		return run->config->judge(run, ns, absent, mark >= absent->done, why);
	if (e) {
		*why = here;
		return e;
	}
	bool used_on = ++run->judged % USED_ON_EVERY == 0;
	if (!used_on)
		e = judge_store(run, ns, store, mark, why);
	snap_close(store);
	return used_on ? use_on(run, ns, why) : e;
}

enum err srun_verify(void *opaque, struct mem_ns *mem, uint64_t mark, struct err_why *why)
{
	struct store_run *run = opaque;
	struct names_ns *names = srun_names(run, mem_ns_base(mem));
	enum err e = judge(run, names_ns_base(names), SRUN_MARK(mark), why);

	/* What was copied in is nobody's business any more, whatever is done with the VM. */
	if (!e)
		e = srun_check_outside(run, names_ns_base(names), run->config->copy, why);
	names_ns_free(names);
	return e;
}
