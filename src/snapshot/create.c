/* SPDX-License-Identifier: MIT */

/*
 * A new store. A folder is a VM when it has a catalogue, which is written last: a crash leaves a
 * folder with files that snap_remove takes away.
 */

#include "snapshot/bring.h"
#include "snapshot/make.h"

static enum err fill(struct file_ns *ns, const char *dir, const struct snap_create_opts *opts,
		     struct err_why *why)
{
	const struct bring_opts bring = {opts->copy, opts->progress};
	struct catalogue *cat;
	enum err e = make_catalogue(opts->disk_count, &opts->config, &cat, why);

	if (e)
		return e;
	for (unsigned d = 0; d < opts->disk_count && !e; d++)
		e = bring_disk(ns, dir, cat, d, opts->disks[d], &bring, why);
	if (!e)
		e = make_relink(ns, dir, cat, why);
	if (!e)
		e = make_finish(ns, dir, cat, why);
	cat_free(cat);
	return e;
}

enum err snap_create(const char *dir, const struct snap_create_opts *opts, struct err_why *why)
{
	struct file_ns *ns = opts->ns ? opts->ns : &file_ns_posix;
	enum err e = config_check(&opts->config, why);

	if (!e && opts->disk_count > SNAP_MAX_DISKS)
		e = err_set(why, ERR_USAGE, "a VM has at most %u disks", SNAP_MAX_DISKS);
	for (unsigned d = 0; d < opts->disk_count && !e; d++)
		e = opts->copy ? ERR_OK : bring_check_owner(ns, dir, opts->disks[d], why);
	if (!e)
		e = make_folder(ns, dir, true, why);
	if (e)
		return e;
	e = fill(ns, dir, opts, why);
	if (e)
		make_undo(ns, dir);
	return e;
}
