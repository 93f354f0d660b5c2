/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_MAKE_H
#define STRATA_SNAPSHOT_MAKE_H

/* The making of stores: for create, import and export. */

#include "snapshot/store.h"

/* Whether there is a catalogue in `dir`. */
bool make_is_store(struct file_ns *ns, const char *dir);

/*
 * A new folder `dir`, with `parents` those above it too; one that is there must be empty, else
 * ERR_EXIST.
 */
enum err make_folder(struct file_ns *ns, const char *dir, bool parents, struct err_why *why);
/* From then on, durably, it is no store: its files may go. */
enum err make_disown(struct file_ns *ns, const char *dir, struct err_why *why);
/* Layers with names of their own, as exports have, beside the catalogue. Those elsewhere stay. */
enum err make_remove_named(struct file_ns *ns, const char *dir, const struct catalogue *cat,
			   struct err_why *why);
/* Remove it again, with all that is ours in it. */
void make_undo(struct file_ns *ns, const char *dir);
/* Whether that is the name of a store's file, or of what is left of one; the catalogue apart. */
bool make_is_ours(const char *name);
/* Remove the files that are a store's, but for its catalogue; *foreign: there are others. */
enum err make_clear(struct file_ns *ns, const char *dir, bool *foreign, struct err_why *why);

enum err make_catalogue(unsigned disks, const struct snap_config *config, struct catalogue **out,
			struct err_why *why);
/* A record for the file at `path`, sealed as it is now; *number is the layer's. */
enum err make_layer(struct file_ns *ns, struct catalogue *cat, const char *path, uint64_t parent,
		    uint64_t *number, struct err_why *why);
/*
 * Headers of layers in the folder say what the catalogue says of parents, and identities are those
 * of the files as they are then. Derives.
 */
enum err make_relink(struct file_ns *ns, const char *dir, struct catalogue *cat,
		     struct err_why *why);
/* All files are there: the folder becomes a store. Durable on return. */
enum err make_finish(struct file_ns *ns, const char *dir, const struct catalogue *cat,
		     struct err_why *why);

#endif
