/* SPDX-License-Identifier: MIT */

/* The words for what a survey found. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/survey.h"
#include "util/text.h"

struct words {
	struct snap_report *report;
	bool failed;
};

static void __attribute__((format(printf, 4, 5)))
add(struct words *w, enum snap_finding_kind kind, const char *action, const char *fmt, ...)
{
	struct snap_finding *grown =
	    realloc(w->report->finding, (w->report->count + 1) * sizeof(*grown));
	va_list args;

	if (!grown) {
		w->failed = true;
		return;
	}
	w->report->finding = grown;
	struct snap_finding *finding = &grown[w->report->count++];
	*finding = (struct snap_finding){.kind = kind};
	va_start(args, fmt);
	vsnprintf(finding->what, sizeof(finding->what), fmt, args);
	va_end(args);
	snprintf(finding->action, sizeof(finding->action), "%s", action);
}

/* ---- the catalogue ---- */

static void tell_catalogue(struct words *w, const struct survey *s)
{
	char action[200];

	if (!s->cat_why.code)
		return;
	if (!s->cat) {
		add(w, SNAP_LOST, "",
		    "%.150s; its second copy cannot be read either. The layers are plain VHDs",
		    s->cat_why.text);
		return;
	}
	snprintf(action, sizeof(action), "put the second copy (%u snapshots) in its place%s",
		 s->cat->nodes,
		 s->has_newer ? ", with the newer disks on top and what was current as a snapshot "
				"\"recovered\""
			      : "");
	add(w, SNAP_REPAIRABLE, action, "%.200s", s->cat_why.text);
}

/* ---- layers ---- */

/* "snapshot "x"", "the current state", "a deleted snapshot". */
static void name_owner(const struct catalogue *cat, uint64_t layer, char *out, size_t room)
{
	char shown[80];

	for (unsigned d = 0; d < cat->disks; d++) {
		if (cat->leaf[d] == layer) {
			snprintf(out, room, "the current state");
			return;
		}
	}
	for (unsigned i = 0; i < cat->nodes; i++) {
		for (unsigned d = 0; d < cat->disks; d++) {
			if (cat->node[i].layer[d] != layer)
				continue;
			snprintf(out, room, "snapshot \"%s\"",
				 text_escape(cat->node[i].name, shown, sizeof(shown)));
			return;
		}
	}
	snprintf(out, room, "a deleted snapshot");
}

static enum snap_finding_kind kind_of(enum layer_state state)
{
	if (state == LAYER_UNFINISHED)
		return SNAP_NOTE;
	return state == LAYER_DAMAGED || state == LAYER_GONE ? SNAP_LOST : SNAP_REPAIRABLE;
}

static const char *action_for(enum layer_state state)
{
	switch (state) {
	case LAYER_TOUCHED:
		return "take it as it is now";
	case LAYER_UNLINKED:
		return "rewrite its header";
	case LAYER_MENDABLE:
		return "repair it, as vhdtool check --repair does";
	default:
		return "";
	}
}

static void tell_layer(struct words *w, const struct survey *s, unsigned i)
{
	const struct layer_survey *layer = &s->layer[i];
	char owner[120], why[160];
	char *path = store_layer_path(s->dir, &s->cat->layer[i]);

	if (layer->state != LAYER_FINE) {
		const char *slash = path ? strrchr(path, '/') : NULL;

		name_owner(s->cat, s->cat->layer[i].number, owner, sizeof(owner));
		add(w, kind_of(layer->state), action_for(layer->state),
		    "layer %.40s of %.90s: %s%.110s", slash ? slash + 1 : "?", owner,
		    layer->state == LAYER_UNFINISHED ? "the next fold mends it: " : "",
		    text_escape(layer->why, why, sizeof(why)));
	}
	free(path);
}

static void tell_dead(struct words *w, const struct survey *s)
{
	const struct cat_node *node = cat_node(s->cat, s->back_to);
	bool hopeless = s->leaf_is_dead && !node;
	char action[200] = "", name[80];

	if (s->dead_nodes && !hopeless)
		snprintf(action, sizeof(action), "take them out of the tree; their files stay");
	if (s->dead_nodes)
		add(w, SNAP_LOST, action, "%u of %u snapshots need layers that are gone",
		    s->dead_nodes, s->cat->nodes);
	if (!s->leaf_is_dead)
		return;
	if (!hopeless)
		snprintf(action, sizeof(action), "go back to snapshot \"%s\"; the files stay",
			 text_escape(node->name, name, sizeof(name)));
	add(w, SNAP_LOST, action, "the current state needs a layer that is gone%s",
	    hopeless ? "; nothing can be done until it is back" : "");
}

bool survey_report(const struct survey *s, struct snap_report *report)
{
	struct words w = {.report = report};

	tell_catalogue(&w, s);
	if (s->cat) {
		report->nodes = s->cat->nodes;
		report->layers = s->cat->layers;
		for (unsigned i = 0; i < s->cat->layers; i++)
			tell_layer(&w, s, i);
		tell_dead(&w, s);
		if (s->strays)
			add(&w, SNAP_NOTE, "",
			    "%u layer files are not in the catalogue: left behind by a crash or a "
			    "repair",
			    s->strays);
	}
	return !w.failed;
}

/* ---- the public face ---- */

#define RETRIES 8u

/* Whether the catalogue is still the one that was looked at: others go on meanwhile. */
static bool is_same(const struct survey *s)
{
	struct guid vm;
	uint64_t generation;

	if (!s->cat || s->from_copy)
		return true;
	return !catalogue_peek(s->ns, s->dir, &vm, &generation, NULL) &&
	       guid_equal(&vm, &s->cat->vm) && generation == s->cat->generation;
}

enum err snap_check(struct file_ns *ns, const char *dir, bool full, struct progress *progress,
		    struct snap_report *out, struct err_why *why)
{
	struct survey survey;
	bool same = false;
	enum err e = ERR_OK;

	*out = (struct snap_report){0};
	ns = ns ? ns : &file_ns_posix;
	for (unsigned i = 0; i < RETRIES && !e && !same; i++) {
		e = survey_make(ns, dir, full, progress, &survey, why);
		same = !e && is_same(&survey);
		if (!e && !same)
			survey_free(&survey);
	}
	if (e == ERR_NOENT)
		return err_set(why, e, "%s: there is no such VM", dir);
	if (!e && !same)
		e = err_set(why, ERR_LOCKED, "%s changes all the time", dir);
	if (e)
		return e;
	if (!survey_report(&survey, out)) {
		snap_report_free(out);
		e = err_set(why, ERR_NOMEM, "out of memory");
	}
	survey_free(&survey);
	return e;
}

enum err snap_report_result(const struct snap_report *report)
{
	enum err worst = ERR_OK;

	for (size_t i = 0; i < report->count; i++) {
		if (report->finding[i].kind == SNAP_LOST)
			return ERR_CORRUPT;
		if (report->finding[i].kind == SNAP_REPAIRABLE)
			worst = ERR_REPAIRABLE;
	}
	return worst;
}

void snap_report_free(struct snap_report *report)
{
	free(report->finding);
	*report = (struct snap_report){0};
}
