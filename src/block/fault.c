/* SPDX-License-Identifier: MIT */
#include "block/fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "block/queue.h"
#include "util/bytes.h"

#define SECTOR 512u

struct fault_ns {
	struct file_ns base;
	struct file_ns *below;
	struct fault_rule rule;
	bool has_rule;
	atomic_uint_fast64_t matches;
	atomic_bool fired;
};

struct fault_file {
	struct file base;
	struct file *below;
	struct fault_ns *ns;
};

static struct fault_ns *ns_of(struct file_ns *base)
{
	return container_of(base, struct fault_ns, base);
}

static struct fault_file *fault_of(struct file *file)
{
	return container_of(file, struct fault_file, base);
}

/* ---- requests ---- */

/* Count `req` and say whether it is to fail. */
static bool fails(struct fault_ns *ns, const struct file_req *req)
{
	const struct fault_rule *rule = &ns->rule;
	uint64_t n;

	if (ns->has_rule && ((rule->op != FAULT_ANY && rule->op != (int)req->op) ||
			     (rule->event != FAULT_ANY && rule->event != (int)req->event)))
		return false;
	n = atomic_fetch_add(&ns->matches, 1) + 1;
	if (!ns->has_rule || n < rule->nth || (n > rule->nth && !rule->sticky))
		return false;
	atomic_store(&ns->fired, true);
	return true;
}

/* Let the first half land, in whole sectors as the file contract has it. */
static void write_half(struct file *below, const struct file_req *req)
{
	uint64_t off = req->off_bytes;
	uint64_t end = round_down(off + req->len_bytes / 2, SECTOR);

	for (unsigned i = 0; i < req->iov_count && off < end; i++) {
		uint64_t n = min_u64(req->iov[i].iov_len, end - off);

		file_write(below, req->event, req->iov[i].iov_base, off, n, NULL);
		off += n;
	}
}

static void fail(struct fault_file *file, struct file_req *req)
{
	const struct fault_rule *rule = &file->ns->rule;

	if (rule->partial && req->op == FILE_WRITE)
		write_half(file->below, req);
	req->sys_errno = rule->sys_errno;
	req->result = err_from_errno(rule->sys_errno);
}

static enum err fault_run(struct file *base, struct file_req *req)
{
	struct fault_file *file = fault_of(base);

	if (fails(file->ns, req)) {
		fail(file, req);
		return req->result;
	}
	req->file = file->below;
	return file->below->ops->run(file->below, req);
}

static void fault_submit(struct file *base, struct queue *queue, struct file_req *req)
{
	struct fault_file *file = fault_of(base);

	if (fails(file->ns, req)) {
		fail(file, req);
		queue_complete(queue, req);
	} else {
		file_submit(file->below, queue, req);
	}
}

/* ---- the rest of a file: passed on ---- */

static enum err fault_info(struct file *base, struct file_info *out, struct err_why *why)
{
	return file_get_info(fault_of(base)->below, out, why);
}

static enum err fault_lock(struct file *base, int mode, struct err_why *why)
{
	return file_lock(fault_of(base)->below, (enum file_lock)mode, why);
}

static enum err fault_map_data(struct file *base, uint64_t off_bytes, bool *is_data,
			       uint64_t *end_bytes, struct err_why *why)
{
	struct file *below = fault_of(base)->below;

	if (below->ops->map_data)
		return below->ops->map_data(below, off_bytes, is_data, end_bytes, why);
	*is_data = true;
	*end_bytes = UINT64_MAX;
	return ERR_OK;
}

static enum err fault_close(struct file *base, struct err_why *why)
{
	struct fault_file *file = fault_of(base);
	enum err err = file_close(file->below, why);

	free(file);
	return err;
}

static const struct file_ops file_ops = {
    .name = "fault",
    .run = fault_run,
    .submit = fault_submit,
    .info = fault_info,
    .lock = fault_lock,
    .map_data = fault_map_data,
    .close = fault_close,
};

/* ---- names: passed on ---- */

static enum err fault_open(struct file_ns *base, const char *path, unsigned flags,
			   struct file **out, struct err_why *why)
{
	struct fault_ns *ns = ns_of(base);
	struct fault_file *file = calloc(1, sizeof(*file));
	enum err err;

	if (!file)
		return err_set(why, ERR_NOMEM, "%s: %s", path, err_name(ERR_NOMEM));
	err = file_ns_open(ns->below, path, flags, &file->below, why);
	if (err) {
		free(file);
		return err;
	}
	file->base = (struct file){.ops = &file_ops, .path = file->below->path};
	file->ns = ns;
	*out = &file->base;
	return ERR_OK;
}

static enum err fault_unlink(struct file_ns *base, const char *path, struct err_why *why)
{
	return file_ns_unlink(ns_of(base)->below, path, why);
}

static enum err fault_rename(struct file_ns *base, const char *from, const char *to,
			     struct err_why *why)
{
	return file_ns_rename(ns_of(base)->below, from, to, why);
}

static enum err fault_sync_dir(struct file_ns *base, const char *path, struct err_why *why)
{
	return file_ns_sync_dir(ns_of(base)->below, path, why);
}

static enum err fault_list(struct file_ns *base, const char *dir,
			   bool (*each)(void *arg, const char *name), void *arg,
			   struct err_why *why)
{
	return file_ns_list(ns_of(base)->below, dir, each, arg, why);
}

static const struct file_ns_ops ns_ops = {
    .open = fault_open,
    .unlink = fault_unlink,
    .rename = fault_rename,
    .sync_dir = fault_sync_dir,
    .list = fault_list,
};

/* ---- the filter ---- */

struct fault_ns *fault_ns_new(struct file_ns *below)
{
	struct fault_ns *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return NULL;
	ns->base.ops = &ns_ops;
	ns->below = below;
	return ns;
}

void fault_ns_free(struct fault_ns *ns)
{
	free(ns);
}

struct file_ns *fault_ns_base(struct fault_ns *ns)
{
	return &ns->base;
}

void fault_ns_set(struct fault_ns *ns, const struct fault_rule *rule)
{
	ns->has_rule = rule != NULL;
	ns->rule = rule ? *rule : (struct fault_rule){0};
	atomic_store(&ns->matches, 0);
	atomic_store(&ns->fired, false);
}

uint64_t fault_ns_matches(const struct fault_ns *ns)
{
	return atomic_load(&ns->matches);
}

bool fault_ns_fired(const struct fault_ns *ns)
{
	return atomic_load(&ns->fired);
}
