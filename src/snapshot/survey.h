/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_SURVEY_H
#define STRATA_SNAPSHOT_SURVEY_H

/*
 * What is wrong with a store, found without changing anything: check reports it, repair acts on it.
 */

#include "snapshot/store.h"

enum layer_state {
	LAYER_FINE,
	LAYER_TOUCHED,  /* length or time of change are not what they were; its headers are right */
	LAYER_UNLINKED, /* its header names another parent */
	LAYER_UNFINISHED, /* as a fold that was interrupted left it: going on mends it */
	LAYER_MENDABLE,   /* vhd_repair can mend it */
	LAYER_DAMAGED,    /* its structures are damaged beyond that */
	LAYER_GONE,       /* missing, unreadable, or another disk */
};

struct layer_survey {
	enum layer_state state;
	bool dead; /* it or one below it is gone */
	char why[160];
};

struct survey {
	struct file_ns *ns;
	const char *dir;
	struct catalogue *cat;      /* NULL: cannot be read */
	struct err_why cat_why;     /* why not */
	bool from_copy;             /* `cat` is the second copy */
	struct layer_survey *layer; /* one for each of cat's */
	unsigned dead_nodes;
	bool leaf_is_dead;
	uint64_t back_to; /* with leaf_is_dead: the node current can go back to; 0: none */
	uint64_t newer[SNAP_MAX_DISKS]; /* with from_copy: leaves the copy does not know */
	bool has_newer;
	unsigned strays; /* layer files the catalogue does not name */
};

/* ERR_OK whatever was found; other errors when it was not possible to look. */
enum err survey_make(struct file_ns *ns, const char *dir, bool full, struct progress *progress,
		     struct survey *out, struct err_why *why);
void survey_free(struct survey *survey);

/* The findings of a survey. False: out of memory. */
bool survey_report(const struct survey *survey, struct snap_report *report);

#endif
