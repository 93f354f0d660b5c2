/* SPDX-License-Identifier: MIT */
#include "snapshot/bring.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot/make.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- disks ---- */

/* The chain of a disk that is brought along, base first; its parents are where it says. */
static enum err chain_paths(struct file_ns *ns, const char *path, struct vhd_info **info,
			    unsigned *count, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = ns};
	struct disk *disk;
	enum err e = vhd_open(path, &opts, &disk, why); /* so that nothing is missing or in use */

	if (!e)
		e = disk_close(disk, why);
	return e ? e : vhd_inspect_chain(path, &opts, info, count, why);
}

static void free_infos(struct vhd_info *info, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		vhd_info_free(&info[i]);
	free(info);
}

/* As a file of the store, or where it is. */
static enum err bring_layer(struct file_ns *ns, const char *dir, struct catalogue *cat,
			    const char *path, const struct bring_opts *opts, uint64_t *number,
			    struct err_why *why)
{
	uint64_t parent = *number;
	char *inside = store_file_path(dir, cat->next_number);
	char *real = opts->copy || ns != &file_ns_posix ? strdup(path) : realpath(path, NULL);
	enum err e = inside && real ? ERR_OK : no_memory(why);

	if (!e && opts->copy)
		e = file_ns_copy(ns, path, inside, opts->progress, why);
	if (!e)
		e = make_layer(ns, cat, opts->copy ? inside : real, parent, number, why);
	if (!e && !opts->copy) {
		cat->layer[cat->layers - 1].flags = CAT_FOREIGN;
		cat->layer[cat->layers - 1].path = real;
		real = NULL;
	}
	free(real);
	free(inside);
	return e;
}

enum err bring_disk(struct file_ns *ns, const char *dir, struct catalogue *cat, unsigned d,
		    const char *disk, const struct bring_opts *opts, struct err_why *why)
{
	struct vhd_info *info;
	unsigned count;
	uint64_t number = 0;
	enum err e = chain_paths(ns, disk, &info, &count, why);

	if (e)
		return e;
	for (unsigned i = count; i-- > 0 && !e;)
		e = bring_layer(ns, dir, cat, info[i].path, opts, &number, why);
	free_infos(info, count);
	if (e)
		return e;
	cat->leaf[d] = number;
	struct cat_layer *leaf = cat_layer(cat, number);
	leaf->flags = 0; /* this one is the VM's own */
	leaf->sealed_bytes = 0;
	leaf->sealed_mtime_ns = 0;
	return ERR_OK;
}

/* ---- disks of other VMs ---- */

struct neighbours {
	struct file_ns *ns;
	const char *home, *self;
	const char *path;
	struct file_info info; /* of the disk */
	char user[SNAP_NAME_MAX + 1];
};

static bool uses(struct file_ns *ns, const struct catalogue *cat, const struct file_info *file)
{
	for (unsigned i = 0; i < cat->layers; i++) {
		struct file_info info;
		const char *path = cat->layer[i].path;

		if (path && *path == '/' && !file_ns_info(ns, path, &info, NULL) &&
		    info.dev == file->dev && info.ino == file->ino)
			return true;
	}
	return false;
}

static bool ask_neighbour(void *arg, const char *name)
{
	struct neighbours *n = arg;
	struct catalogue *cat;
	char *dir = store_name_path(n->home, name);

	if (dir && strcmp(name, n->self) != 0 &&
	    !catalogue_read(n->ns, dir, STORE_CATALOGUE, &cat, NULL)) {
		if (uses(n->ns, cat, &n->info))
			strncpy(n->user, name, SNAP_NAME_MAX);
		cat_free(cat);
	}
	free(dir);
	return !*n->user;
}

enum err bring_check_owner(struct file_ns *ns, const char *dir, const char *path,
			   struct err_why *why)
{
	const char *slash = strrchr(dir, '/');
	struct neighbours n = {.ns = ns, .path = path};
	char *home = slash && slash != dir ? strndup(dir, (size_t)(slash - dir)) : strdup("/");
	char *real = ns == &file_ns_posix ? realpath(path, NULL) : strdup(path);
	enum err e = ERR_OK;

	n.home = home;
	n.self = slash ? slash + 1 : dir;
	if (!home)
		e = no_memory(why);
	else if (!real || file_ns_info(ns, real, &n.info, NULL))
		e = err_set(why, ERR_NOENT, "%s: there is no such disk", path);
	else
		e = file_ns_list(ns, home, ask_neighbour, &n, why);
	if (e == ERR_NOENT && real) /* the first VM there */
		e = ERR_OK;
	if (!e && *n.user)
		e = err_set(why, ERR_LOCKED, "%s is a disk of the VM \"%s\"", path, n.user);
	free(real);
	free(home);
	return e;
}

enum err bring_check_new(struct file_ns *ns, const struct catalogue *cat, const char *path,
			 struct err_why *why)
{
	char *real = ns == &file_ns_posix ? realpath(path, NULL) : strdup(path);
	struct file_info info;
	enum err e = ERR_OK;

	if (!real || file_ns_info(ns, real, &info, NULL))
		e = err_set(why, ERR_NOENT, "%s: there is no such disk", path);
	else if (uses(ns, cat, &info))
		e = err_set(why, ERR_EXIST,
			    "%s is a disk of this VM, or one of its snapshots builds on it", path);
	free(real);
	return e;
}
