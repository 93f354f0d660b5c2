/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_BRING_H
#define STRATA_SNAPSHOT_BRING_H

/* Disks that are brought to a VM: their files become layers of its catalogue. */

#include "snapshot/store.h"

struct bring_opts {
	bool copy; /* into the store, else they stay where they are */
	struct progress *progress;
};

/*
 * The VHD `disk`, with the chain below it, becomes the disk in slot `d` of `cat`; the store is in
 * `dir`. On an error `cat` is not to be used any more.
 */
enum err bring_disk(struct file_ns *ns, const char *dir, struct catalogue *cat, unsigned d,
		    const char *disk, const struct bring_opts *opts, struct err_why *why);

/* A disk that stays where it is belongs to one VM: ERR_LOCKED when it is another one beside `dir`.
 */
enum err bring_check_owner(struct file_ns *ns, const char *dir, const char *path,
			   struct err_why *why);

/* ERR_EXIST when the file of `path` is a layer of `cat` already. */
enum err bring_check_new(struct file_ns *ns, const struct catalogue *cat, const char *path,
			 struct err_why *why);

#endif
