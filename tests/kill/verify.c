/* SPDX-License-Identifier: MIT */
#include "tests/kill/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/kill/actor.h"
#include "tests/kill/content.h"
#include "vhd/intent.h"

struct verify {
	struct actor actor; /* nobody else is there: it may say it is any */
	struct log *log;
	const struct verify_opts *opts;
	struct snap_tree tree;
	bool went_back; /* a revert that was cut short has happened, as far as the tree tells */
	unsigned layers;
	bool folded; /* to the end */
};

/* ---- the store as files ---- */

/* ERR_LOCKED for a moment after a kill: the kernel is still letting go of what was open. */
static enum err check_store(struct verify *v, struct snap_report *report, struct err_why *why)
{
	unsigned tries = 0;
	enum err e;

	do
		e = snap_check(NULL, v->actor.dir, true, NULL, report, why);
	while (actor_waits(v->log, e, &tries));
	return e;
}

/* Nothing may be lost; what opening a disk for writing mends is there until somebody did that. */
static bool no_findings(struct verify *v, bool mended, const char *when)
{
	struct snap_report report;
	struct err_why why = {0};
	bool ok = true;

	if (check_store(v, &report, &why))
		return log_fail(v->log, "check %s: %s", when, why.text);
	for (size_t i = 0; i < report.count; i++)
		if (report.finding[i].kind == SNAP_LOST ||
		    (mended && report.finding[i].kind == SNAP_REPAIRABLE))
			ok = log_fail(v->log, "check %s found: %s", when, report.finding[i].what);
	v->layers = report.layers;
	snap_report_free(&report);
	return ok;
}

struct listing {
	const char *dir;
	unsigned layers, records;
	char other[64]; /* what has no business there */
};

/* Beside which a record of a change is. */
static bool has_layer(const struct listing *listing, const char *record)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%.16s", listing->dir, record);
	return !access(path, F_OK);
}

static bool list_one(void *arg, const char *name)
{
	static const char *const known[] = {"catalogue", "catalogue.copy", "lock", ".", ".."};
	struct listing *listing = arg;
	size_t digits = strspn(name, "0123456789abcdef");

	for (unsigned i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(name, known[i]))
			return true;
	if (digits == 12 && !strcmp(name + digits, ".vhd"))
		listing->layers++;
	else if (digits == 12 && !strcmp(name + digits, ".vhd" INTENT_SUFFIX) &&
		 has_layer(listing, name))
		listing->records++;
	else
		snprintf(listing->other, sizeof(listing->other), "%.60s", name);
	return true;
}

/* What the catalogue does not name was removed when the store was opened. */
static bool nothing_is_left(struct verify *v)
{
	unsigned expected = v->layers - v->opts->disks_outside + v->tree.debt.garbage;
	struct listing listing = {.dir = v->actor.dir};
	struct err_why why = {0};

	if (file_ns_list(&file_ns_posix, v->actor.dir, list_one, &listing, &why))
		return log_fail(v->log, "%s", why.text);
	if (listing.other[0])
		return log_fail(v->log, "the folder holds \"%s\"", listing.other);
	/* a fold that was cut off is finished by the next one */
	if (listing.records && v->folded)
		return log_fail(v->log, "%u records of changes are left", listing.records);
	return listing.layers == expected ||
	       log_fail(v->log, "the folder holds %u layers, the catalogue names %u",
			listing.layers, expected);
}

/* ---- the tree ---- */

static const struct snap_node *find(const struct verify *v, const struct slot *slot)
{
	for (unsigned i = 0; i < v->tree.count; i++) {
		const struct snap_node *node = &v->tree.node[i];

		if (slot->state == SLOT_TAKING ? !strcmp(node->name, slot->name)
					       : guid_equal(&node->id, &slot->id))
			return node;
	}
	return NULL;
}

/* All of a subtree or nothing of it, but for what others deleted. */
static bool check_subtree(struct verify *v)
{
	const struct actor_log *vm = &v->log->actor[ACTOR_VM];
	unsigned mine = 1u << ACTOR_VM, there = 0, gone = 0;

	if (vm->op != OP_SUBTREE || (v->log->slot[vm->root].deleting & ~mine) ||
	    v->log->slot[vm->root].state != SLOT_THERE)
		return true;
	for (unsigned i = 0; i < SLOTS; i++) {
		const struct slot *slot = &v->log->slot[i];

		if (slot->state != SLOT_THERE || slot->deleting != mine)
			continue;
		there += find(v, slot) != NULL;
		gone += find(v, slot) == NULL;
	}
	return !there || !gone ||
	       log_fail(v->log, "%u nodes of a subtree are gone, %u are there", gone, there);
}

static bool settle_slot(struct verify *v, struct slot *slot)
{
	const struct snap_node *node = find(v, slot);

	if (slot->state == SLOT_THERE && !node && !slot->deleting)
		return log_fail(v->log, "%s is gone", slot->name);
	if (slot->state == SLOT_GONE && node)
		return log_fail(v->log, "%s was deleted and is there", slot->name);
	if (slot->state == SLOT_TAKING && node) {
		slot->id = node->id;
		if (!slot->has_high)
			table_submitted(log_table(v->log), slot->bounds.high);
		v->log->adopted++;
	}
	slot->state = slot->state != SLOT_FREE && node ? SLOT_THERE : SLOT_FREE;
	slot->deleting = 0;
	memset(slot->users, 0, sizeof(slot->users));
	return true;
}

static bool settle_slots(struct verify *v)
{
	unsigned there = 0;

	if (!check_subtree(v))
		return false;
	if (v->log->reverting && v->log->keep >= 0)
		v->went_back = find(v, &v->log->slot[v->log->keep]);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (!settle_slot(v, &v->log->slot[i]))
			return false;
		there += v->log->slot[i].state == SLOT_THERE;
	}
	for (unsigned i = 0; i < v->tree.count; i++)
		if (slot_of_id(v->log, &v->tree.node[i].id) < 0)
			return log_fail(v->log, "nobody made \"%s\", or it was deleted",
					v->tree.node[i].name);
	return there == v->tree.count ||
	       log_fail(v->log, "there are %u nodes, %u are known", v->tree.count, there);
}

static bool check_base(struct verify *v)
{
	int now = v->tree.current_idx, base = -1;

	if (now >= 0)
		base = slot_of_id(v->log, &v->tree.node[now].id);
	if (v->log->base >= 0 && v->log->base != base)
		return log_fail(v->log, "current does not stand on %s",
				v->log->slot[v->log->base].name);
	v->log->base = base;
	return true;
}

/* ---- what is read ---- */

static bool check_node(struct verify *v, int idx)
{
	struct slot *slot = &v->log->slot[idx];
	struct snap_view *view;
	struct err_why why = {0};

	if (actor_view(v->log, v->actor.store, &slot->id, NULL, &view, &why))
		return log_fail(v->log, "%s cannot be opened: %s", slot->name, why.text);
	bool ok = actor_check_node(&v->actor, view, idx);
	return (!snap_view_close(view, &why) && ok) ||
	       log_fail(v->log, "closing %s: %s", slot->name, why.text);
}

static bool check_nodes(struct verify *v)
{
	for (int i = 0; i < (int)SLOTS; i++)
		if (v->log->slot[i].state == SLOT_THERE && !check_node(v, i))
			return false;
	return true;
}

/* Current, or after a revert that was cut short what it would have become. */
static bool current_fits(struct verify *v, struct bounds *bounds, struct err_why *why)
{
	const struct log *log = v->log;
	const struct bounds *target = &log->slot[log->target].bounds;
	bool either = log->reverting && log->keep < 0;

	if (log->reverting && v->went_back)
		return content_fits(v->actor.tags, target->low, target->high, why);
	table_submitted(log_table(v->log), bounds->high);
	for (uint32_t p = 0; p < PLACES; p++)
		bounds->low[p] = log_table(v->log)->durable[p];
	return content_fits(v->actor.tags, bounds->low, bounds->high, why) ||
	       (either && content_fits(v->actor.tags, target->low, target->high, NULL));
}

/* What it reads as is what is expected from now on. */
static bool check_current(struct verify *v)
{
	struct bounds *bounds = malloc(sizeof(*bounds));
	struct snap_view *view;
	struct err_why why = {0};

	if (!bounds)
		abort();
	bool ok = !actor_view(v->log, v->actor.store, NULL, NULL, &view, &why);
	if (ok) {
		ok = content_of_view(view, v->actor.queue, v->actor.tags, &why) &&
		     current_fits(v, bounds, &why);
		content_bounds(v->actor.tags, bounds);
		table_set(log_table(v->log), bounds);
		snap_view_close(view, NULL);
	}
	free(bounds);
	if (v->log->reverts % 2)
		v->log->reverts++;
	v->log->reverting = false;
	return ok || log_fail(v->log, "current: %s", why.text);
}

static bool mend(struct verify *v)
{
	struct snap_view_opts opts = {.writable = true};
	struct snap_view *view;
	struct err_why why = {0};

	if (actor_view(v->log, v->actor.store, NULL, &opts, &view, &why) ||
	    snap_view_close(view, &why))
		return log_fail(v->log, "current, to write: %s", why.text);
	return true;
}

/* ---- all of it ---- */

static bool look(struct verify *v)
{
	struct err_why why = {0};

	if (snap_tree(v->actor.store, SNAP_TREE_SIZES, &v->tree, &why))
		return log_fail(v->log, "tree: %s", why.text);
	bool ok = settle_slots(v) && check_base(v) && check_current(v) && check_nodes(v) &&
		  (!v->opts->mend || mend(v)) &&
		  no_findings(v, v->opts->mend, "when it was open again") && nothing_is_left(v);
	snap_tree_free(&v->tree);
	return ok;
}

/* What a killed process had locked is busy for a moment. */
static enum err fold_to_end(struct verify *v, struct snap_fold_result *result, struct err_why *why)
{
	unsigned tries = 0;
	enum err e;

	do
		e = snap_fold(v->actor.store, NULL, result, why);
	while (actor_waits(v->log, !e && result->busy ? ERR_LOCKED : e, &tries));
	return e;
}

static bool fold_all(struct verify *v)
{
	struct snap_fold_result result;
	struct err_why why = {0};
	struct snap_tree tree;

	if (fold_to_end(v, &result, &why))
		return log_fail(v->log, "fold to the end: %s", why.text);
	if (result.more || result.busy)
		return log_fail(v->log, "a fold to the end left something: %u layers are busy",
				result.busy);
	if (snap_tree(v->actor.store, 0, &tree, &why))
		return log_fail(v->log, "tree: %s", why.text);
	unsigned left = tree.debt.layers - tree.debt.shared, garbage = tree.debt.garbage;
	snap_tree_free(&tree);
	v->folded = true;
	return (!left && !garbage) ||
	       log_fail(v->log, "after a fold to the end %u layers are debt, %u garbage", left,
			garbage);
}

void verify_run(struct log *log, const char *dir, const struct verify_opts *opts)
{
	struct verify v = {.log = log, .opts = opts};
	struct err_why why = {0};

	actor_init(&v.actor, ACTOR_OTHER, log, dir, 1);
	bool ok = actor_start(&v.actor) && no_findings(&v, false, "after the kill");
	if (ok && actor_open(log, dir, &v.actor.store, &why))
		ok = log_fail(log, "the store cannot be opened: %s", why.text);
	ok = ok && look(&v);
	if (ok && opts->fold)
		ok = fold_all(&v) && look(&v);
	snap_close(v.actor.store);
	actor_stop(&v.actor);
	actor_free(&v.actor);
	exit(ok ? 0 : 1);
}
