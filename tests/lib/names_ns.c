/* SPDX-License-Identifier: MIT */
#include "tests/lib/names_ns.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "util/bytes.h"

#define PIECE (64u << 10)

/* The time of a file, as long as nobody changes it. */
struct known {
	int64_t time; /* 0: to be found out */
	unsigned writers;
};

struct names_ns {
	struct file_ns base;
	struct file_ns *below;
	struct names_rule rule;
	uint64_t matches;
	bool fired;
	bool times, alone;
	struct known *known; /* by inode */
	size_t knowns;
	void (*renaming)(void *arg, const char *from, const char *to);
	void *arg;
};

static struct names_ns *ns_of(struct file_ns *base)
{
	return container_of(base, struct names_ns, base);
}

/* Count a call, and say whether it is to fail. */
static enum err pass(struct names_ns *ns, enum name_call call, const char *path,
		     struct err_why *why)
{
	const struct names_rule *rule = &ns->rule;

	if (!(rule->calls & (unsigned)call))
		return ERR_OK;
	ns->matches++;
	if (ns->matches < rule->nth || (ns->matches > rule->nth && !rule->sticky))
		return ERR_OK;
	ns->fired = true;
	return err_sys(why, rule->sys_errno, "%s", path);
}

/* ---- times ---- */

static enum err hash_piece(struct file *file, uint64_t off, uint64_t len, uint64_t *hash,
			   struct err_why *why)
{
	static uint8_t buf[PIECE];
	enum err e = file_read(file, EV_DATA, buf, off, len, why);

	if (!e && !bytes_are_zero(buf, len))
		*hash = XXH3_64bits_withSeed(buf, (size_t)len, *hash ^ off);
	return e;
}

static enum err hash_content(struct file *file, uint64_t size_bytes, uint64_t *hash,
			     struct err_why *why)
{
	enum err e = ERR_OK;

	*hash = size_bytes;
	for (uint64_t off = 0, end; off < size_bytes && !e; off = end) {
		bool is_data = true;

		end = UINT64_MAX;
		if (file->ops->map_data)
			e = file->ops->map_data(file, off, &is_data, &end, why);
		end = min_u64(end, size_bytes);
		if (!e && is_data) {
			end = min_u64(end, round_down(off, PIECE) + PIECE);
			e = hash_piece(file, off, end - off, hash, why);
		}
	}
	return e;
}

/* An open file that tells when it was changed; all else is passed on. */
struct timed_file {
	struct file base;
	struct file *below;
	struct names_ns *ns;
	size_t ino;
	bool writes;
};

static struct timed_file *timed_of(struct file *file)
{
	return container_of(file, struct timed_file, base);
}

static struct file *below(struct file *file)
{
	return timed_of(file)->below;
}

/* What is submitted may land at any time until the file is closed. */
static void note_change(struct file *file, const struct file_req *req)
{
	struct timed_file *timed = timed_of(file);

	if (req->op == FILE_READ || req->op == FILE_SYNC || timed->writes)
		return;
	timed->writes = true;
	timed->ns->known[timed->ino].writers++;
	timed->ns->known[timed->ino].time = 0;
}

static enum err timed_run(struct file *file, struct file_req *req)
{
	note_change(file, req);
	req->file = below(file);
	return req->file->ops->run(req->file, req);
}

static void timed_submit(struct file *file, struct queue *queue, struct file_req *req)
{
	note_change(file, req);
	file_submit(below(file), queue, req);
}

static enum err timed_info(struct file *file, struct file_info *out, struct err_why *why)
{
	struct timed_file *timed = timed_of(file);
	struct known *known = &timed->ns->known[timed->ino];
	uint64_t hash;
	enum err e = file_get_info(timed->below, out, why);

	if (!e && !known->time) {
		e = hash_content(timed->below, out->size_bytes, &hash, why);
		out->mtime_ns = (int64_t)(hash >> 1 | 1);
		if (!e && timed->ns->alone && !known->writers)
			known->time = out->mtime_ns;
	} else if (!e) {
		out->mtime_ns = known->time;
	}
	return e;
}

static enum err timed_lock(struct file *file, int mode, struct err_why *why)
{
	return file_lock(below(file), (enum file_lock)mode, why);
}

static enum err timed_map_data(struct file *file, uint64_t off_bytes, bool *is_data,
			       uint64_t *end_bytes, struct err_why *why)
{
	const struct file_ops *ops = below(file)->ops;

	if (ops->map_data)
		return ops->map_data(below(file), off_bytes, is_data, end_bytes, why);
	*is_data = true;
	*end_bytes = UINT64_MAX;
	return ERR_OK;
}

static enum err timed_close(struct file *file, struct err_why *why)
{
	struct timed_file *timed = timed_of(file);
	enum err e = file_close(timed->below, why);

	timed->ns->known[timed->ino].writers -= timed->writes;
	free(timed);
	return e;
}

static const struct file_ops timed_ops = {
    .name = "timed",
    .run = timed_run,
    .submit = timed_submit,
    .info = timed_info,
    .lock = timed_lock,
    .map_data = timed_map_data,
    .close = timed_close,
};

static void make_room(struct names_ns *ns, size_t ino)
{
	if (ino < ns->knowns)
		return;
	ns->known = reallocarray(ns->known, ino + 1, sizeof(*ns->known));
	if (!ns->known)
		abort();
	memset(ns->known + ns->knowns, 0, (ino + 1 - ns->knowns) * sizeof(*ns->known));
	ns->knowns = ino + 1;
}

static struct file *with_time(struct names_ns *ns, struct file *file)
{
	struct timed_file *timed = malloc(sizeof(*timed));
	struct file_info info;

	if (!timed || file_get_info(file, &info, NULL))
		abort();
	make_room(ns, info.ino);
	*timed = (struct timed_file){.base = {.ops = &timed_ops, .path = file->path},
				     .below = file,
				     .ns = ns,
				     .ino = info.ino};
	return &timed->base;
}

/* ---- names ---- */

static enum err names_open(struct file_ns *base, const char *path, unsigned flags,
			   struct file **out, struct err_why *why)
{
	enum name_call call = flags & FILE_OPEN_CREATE ? NAME_CREATE : NAME_OPEN;
	enum err e = pass(ns_of(base), call, path, why);

	if (!e)
		e = file_ns_open(ns_of(base)->below, path, flags, out, why);
	if (!e && ns_of(base)->times)
		*out = with_time(ns_of(base), *out);
	return e;
}

static enum err names_unlink(struct file_ns *base, const char *path, struct err_why *why)
{
	enum err e = pass(ns_of(base), NAME_UNLINK, path, why);

	return e ? e : file_ns_unlink(ns_of(base)->below, path, why);
}

static enum err names_rename(struct file_ns *base, const char *from, const char *to,
			     struct err_why *why)
{
	const struct names_ns *ns = ns_of(base);
	enum err e = pass(ns_of(base), NAME_RENAME, from, why);

	if (!e && ns->renaming)
		ns->renaming(ns->arg, from, to);
	return e ? e : file_ns_rename(ns_of(base)->below, from, to, why);
}

static enum err names_sync_dir(struct file_ns *base, const char *path, struct err_why *why)
{
	enum err e = pass(ns_of(base), NAME_SYNC_DIR, path, why);

	return e ? e : file_ns_sync_dir(ns_of(base)->below, path, why);
}

static enum err names_list(struct file_ns *base, const char *dir,
			   bool (*each)(void *arg, const char *name), void *arg,
			   struct err_why *why)
{
	enum err e = pass(ns_of(base), NAME_LIST, dir, why);

	return e ? e : file_ns_list(ns_of(base)->below, dir, each, arg, why);
}

static enum err names_info(struct file_ns *base, const char *path, struct file_info *out,
			   struct err_why *why)
{
	struct file *file;
	enum err e = pass(ns_of(base), NAME_INFO, path, why);

	if (!e)
		e = file_ns_open(ns_of(base)->below, path, FILE_OPEN_NOFOLLOW, &file, why);
	if (e)
		return e;
	if (ns_of(base)->times)
		file = with_time(ns_of(base), file);
	e = file_get_info(file, out, why);
	file_close(file, NULL);
	if (!e && !out->usage_bytes)
		out->usage_bytes = out->size_bytes;
	return e;
}

static const struct file_ns_ops names_ops = {
    .open = names_open,
    .unlink = names_unlink,
    .rename = names_rename,
    .sync_dir = names_sync_dir,
    .list = names_list,
    .info = names_info,
};

struct names_ns *names_ns_new(struct file_ns *below)
{
	struct names_ns *ns = calloc(1, sizeof(*ns));

	if (!ns)
		abort();
	ns->base.ops = &names_ops;
	ns->below = below;
	return ns;
}

void names_ns_free(struct names_ns *ns)
{
	if (ns)
		free(ns->known);
	free(ns);
}

struct file_ns *names_ns_base(struct names_ns *ns)
{
	return &ns->base;
}

void names_ns_tell_times(struct names_ns *ns)
{
	ns->times = true;
}

void names_ns_alone(struct names_ns *ns)
{
	ns->alone = true;
}

void names_ns_watch(struct names_ns *ns,
		    void (*renaming)(void *arg, const char *from, const char *to), void *arg)
{
	ns->renaming = renaming;
	ns->arg = arg;
}

void names_ns_set(struct names_ns *ns, const struct names_rule *rule)
{
	ns->rule = rule ? *rule : (struct names_rule){0};
	ns->matches = 0;
	ns->fired = false;
}

bool names_ns_fired(const struct names_ns *ns)
{
	return ns->fired;
}
