/* SPDX-License-Identifier: MIT */
#include "block/file_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/mem_ns.h"
#include "util/bytes.h"

static struct mem_ns *ns_of(struct file_ns *base)
{
	return container_of(base, struct mem_ns, base);
}

/* ---- names and files ---- */

bool mem_path(const char *in, char out[PATH_MAX])
{
	size_t used = 0;

	while (*in) {
		bool at_start = used == 0 || out[used - 1] == '/';

		if (at_start && in[0] == '.' && (in[1] == '/' || in[1] == '\0')) {
			in += in[1] ? 2 : 1;
			/* "./x" is relative, but ".//x" is too. */
			while (used == 0 && *in == '/')
				in++;
		} else if (*in == '/' && used > 0 && at_start) {
			in++;
		} else {
			if (used == PATH_MAX - 1)
				return false;
			out[used++] = *in++;
		}
	}
	out[used] = '\0';
	return true;
}

static struct mem_inode **bucket(struct mem_ns *ns, const char *path)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * 16777619u;
	return &ns->name[hash % MEM_NAMES];
}

struct mem_inode *mem_find(struct mem_ns *ns, const char *path)
{
	struct mem_inode *inode = *bucket(ns, path);

	while (inode && strcmp(inode->path, path) != 0)
		inode = inode->next_name;
	return inode;
}

void mem_set_path(struct mem_ns *ns, struct mem_inode *inode, char *path)
{
	struct mem_inode **at;

	if (inode->path) {
		at = bucket(ns, inode->path);
		while (*at && *at != inode)
			at = &(*at)->next_name;
		*at = inode->next_name;
	}
	free(inode->path);
	inode->path = path;
	if (path) {
		at = bucket(ns, path);
		inode->next_name = *at;
		*at = inode;
	}
}

void mem_inode_settle(struct mem_ns *ns, struct mem_inode *inode)
{
	if (inode->path || inode->handles)
		return;
	ns->inode[inode->id] = NULL;
	pages_release(&inode->pages);
	free(inode);
}

void mem_inode_unname(struct mem_ns *ns, struct mem_inode *inode)
{
	mem_set_path(ns, inode, NULL);
	mem_inode_settle(ns, inode);
}

bool mem_inode_name(struct mem_ns *ns, struct mem_inode *inode, const char *path)
{
	struct mem_inode *other = mem_find(ns, path);
	char *name = strdup(path);

	if (!name)
		return false;
	if (other && other != inode)
		mem_inode_unname(ns, other);
	mem_set_path(ns, inode, name);
	return true;
}

static bool make_room(struct mem_ns *ns, uint32_t id)
{
	struct mem_inode **inode;

	if (id < ns->inode_count)
		return true;
	inode = realloc(ns->inode, (id + 1) * sizeof(struct mem_inode *));
	if (!inode)
		return false;
	memset(inode + ns->inode_count, 0, (id + 1 - ns->inode_count) * sizeof(struct mem_inode *));
	ns->inode = inode;
	ns->inode_count = id + 1;
	return true;
}

struct mem_inode *mem_inode_new(struct mem_ns *ns, uint32_t id, const char *path)
{
	struct mem_inode *inode = calloc(1, sizeof(*inode));

	if (!inode || !make_room(ns, id) || !mem_inode_name(ns, inode, path)) {
		free(inode);
		return NULL;
	}
	inode->id = id;
	ns->inode[id] = inode;
	return inode;
}

/* ---- the contract ---- */

static enum err no_memory(struct err_why *why, const char *path)
{
	return err_set(why, ERR_NOMEM, "%s: %s", path, err_name(ERR_NOMEM));
}

/* An event about names; its own copies of them. */
static bool name_event(struct mem_ns *ns, enum mem_event_kind kind, const char *path,
		       const char *path2, struct mem_event *out)
{
	uint64_t now = ns->log.clock++;

	*out = (struct mem_event){.kind = kind,
				  .path = strdup(path),
				  .path2 = path2 ? strdup(path2) : NULL,
				  .begun = now,
				  .ended = now};
	if (out->path && (out->path2 || !path2) && mem_log_reserve(&ns->log, 1))
		return true;
	mem_event_release(out);
	return false;
}

static enum err create(struct mem_ns *ns, const char *name, struct mem_inode **out,
		       struct err_why *why)
{
	struct mem_event event;

	if (!name_event(ns, MEM_CREATE, name, NULL, &event))
		return no_memory(why, name);
	*out = mem_inode_new(ns, ns->inode_count, name);
	if (!*out) {
		mem_event_release(&event);
		return no_memory(why, name);
	}
	event.file_id = (*out)->id;
	mem_log_add(&ns->log, event);
	return ERR_OK;
}

static enum err find_or_create(struct mem_ns *ns, const char *name, unsigned flags,
			       struct mem_inode **out, struct err_why *why)
{
	*out = mem_find(ns, name);
	if (*out && flags & FILE_OPEN_CREATE)
		return err_sys(why, EEXIST, "%s", name);
	if (flags & FILE_OPEN_CREATE)
		return create(ns, name, out, why);
	return *out ? ERR_OK : err_sys(why, ENOENT, "%s", name);
}

static enum err check_name(const char *path, char out[PATH_MAX], struct err_why *why)
{
	return mem_path(path, out) ? ERR_OK : err_sys(why, ENAMETOOLONG, "%s", path);
}

static enum err open_locked(struct mem_ns *ns, const char *path, const char *name, unsigned flags,
			    struct file **out, struct err_why *why)
{
	/* First what can fail without a trace: a refused open must not leave a new file. */
	struct file *file = mem_file_new(ns, path, flags & FILE_OPEN_RDWR);
	struct mem_inode *inode;
	enum err err;

	if (!file)
		return no_memory(why, path);
	err = find_or_create(ns, name, flags, &inode, why);
	if (err) {
		mem_file_free(file);
		return err;
	}
	mem_file_attach(file, inode);
	*out = file;
	return ERR_OK;
}

static enum err mem_open(struct file_ns *base, const char *path, unsigned flags, struct file **out,
			 struct err_why *why)
{
	struct mem_ns *ns = ns_of(base);
	char name[PATH_MAX];
	enum err err = check_name(path, name, why);

	if (err)
		return err;
	pthread_mutex_lock(&ns->lock);
	err = open_locked(ns, path, name, flags, out, why);
	pthread_mutex_unlock(&ns->lock);
	return err;
}

static enum err unlink_locked(struct mem_ns *ns, const char *name, struct err_why *why)
{
	struct mem_inode *inode = mem_find(ns, name);
	struct mem_event event;

	if (!inode)
		return err_sys(why, ENOENT, "%s", name);
	if (!name_event(ns, MEM_UNLINK, name, NULL, &event))
		return no_memory(why, name);
	event.file_id = inode->id;
	mem_log_add(&ns->log, event);
	mem_inode_unname(ns, inode);
	return ERR_OK;
}

static enum err mem_unlink(struct file_ns *base, const char *path, struct err_why *why)
{
	struct mem_ns *ns = ns_of(base);
	char name[PATH_MAX];
	enum err err = check_name(path, name, why);

	if (err)
		return err;
	pthread_mutex_lock(&ns->lock);
	err = unlink_locked(ns, name, why);
	pthread_mutex_unlock(&ns->lock);
	return err;
}

static enum err rename_locked(struct mem_ns *ns, const char *from, const char *to,
			      struct err_why *why)
{
	struct mem_inode *inode = mem_find(ns, from);
	struct mem_event event;

	if (!inode)
		return err_sys(why, ENOENT, "%s", from);
	if (!name_event(ns, MEM_RENAME, from, to, &event))
		return no_memory(why, from);
	if (!mem_inode_name(ns, inode, to)) {
		mem_event_release(&event);
		return no_memory(why, from);
	}
	event.file_id = inode->id;
	mem_log_add(&ns->log, event);
	return ERR_OK;
}

static enum err mem_rename(struct file_ns *base, const char *from, const char *to,
			   struct err_why *why)
{
	struct mem_ns *ns = ns_of(base);
	char from_name[PATH_MAX], to_name[PATH_MAX];
	enum err err = check_name(from, from_name, why);

	if (!err)
		err = check_name(to, to_name, why);
	if (err)
		return err;
	pthread_mutex_lock(&ns->lock);
	err = rename_locked(ns, from_name, to_name, why);
	pthread_mutex_unlock(&ns->lock);
	return err;
}

static enum err mem_sync_dir(struct file_ns *base, const char *path, struct err_why *why)
{
	struct mem_ns *ns = ns_of(base);
	struct mem_event event;
	char name[PATH_MAX];
	enum err err = check_name(path, name, why);

	if (err)
		return err;
	pthread_mutex_lock(&ns->lock);
	if (name_event(ns, MEM_SYNC_DIR, name, NULL, &event))
		mem_log_add(&ns->log, event);
	else
		err = no_memory(why, name);
	pthread_mutex_unlock(&ns->lock);
	return err;
}

/* The part of `path` below the folder `dir`, NULL when it is elsewhere or deeper. */
static const char *name_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (strncmp(path, dir, len) != 0)
		return NULL;
	path += len;
	if (len > 0 && dir[len - 1] != '/' && *path++ != '/')
		return NULL;
	return strchr(path, '/') ? NULL : path;
}

/* Copies of the names, so that `each` may open and unlink files. */
static bool collect(struct mem_ns *ns, const char *dir, char **names, uint32_t *count)
{
	for (uint32_t i = 0; i < ns->inode_count; i++) {
		const char *path = ns->inode[i] ? ns->inode[i]->path : NULL;
		const char *name = path ? name_within(path, dir) : NULL;

		if (!name)
			continue;
		names[*count] = strdup(name);
		if (!names[*count])
			return false;
		++*count;
	}
	return true;
}

static enum err mem_list(struct file_ns *base, const char *dir,
			 bool (*each)(void *arg, const char *name), void *arg, struct err_why *why)
{
	struct mem_ns *ns = ns_of(base);
	char **names, dir_name[PATH_MAX];
	enum err err = check_name(dir, dir_name, why);
	uint32_t count = 0;
	bool go_on = true;

	if (err)
		return err;
	pthread_mutex_lock(&ns->lock);
	names = calloc((size_t)ns->inode_count + 1, sizeof(*names));
	if (!names || !collect(ns, dir_name, names, &count))
		err = no_memory(why, dir);
	pthread_mutex_unlock(&ns->lock);

	for (uint32_t i = 0; i < count; i++) {
		go_on = go_on && !err && each(arg, names[i]);
		free(names[i]);
	}
	free(names);
	return err;
}

static const struct file_ns_ops ns_ops = {
    .open = mem_open,
    .unlink = mem_unlink,
    .rename = mem_rename,
    .sync_dir = mem_sync_dir,
    .list = mem_list,
};

struct mem_ns *mem_ns_new(void)
{
	struct mem_ns *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return NULL;
	ns->base.ops = &ns_ops;
	pthread_mutex_init(&ns->lock, NULL);
	return ns;
}

struct file_ns *mem_ns_base(struct mem_ns *ns)
{
	return &ns->base;
}
