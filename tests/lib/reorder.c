/* SPDX-License-Identifier: MIT */
#include "tests/lib/reorder.h"

#include <stdlib.h>
#include <string.h>

#include "block/queue.h"
#include "tests/lib/random.h"
#include "util/bytes.h"

#define SLOW_PERCENT 15

struct reorder_ns {
	struct file_ns base;
	struct file_ns *below;
	struct rng rng;
	struct queue *queue;
	struct queue_work work;
	bool work_posted;
	struct held {
		struct file_req *first;
		unsigned count;
	} quick, slow; /* slow ones go only when there is nothing else to do */
};

struct reorder_file {
	struct file base;
	struct file *below;
	struct reorder_ns *ns;
};

static struct file *below(struct file *file)
{
	return container_of(file, struct reorder_file, base)->below;
}

static void post_work(struct reorder_ns *ns)
{
	ns->work_posted = true;
	queue_post(ns->queue, &ns->work);
}

static struct file_req *take_any(struct held *held, struct rng *rng)
{
	struct file_req **link = &held->first;
	struct file_req *req;

	for (uint64_t skip = rng_below(rng, held->count); skip; skip--)
		link = &(*link)->next;
	req = *link;
	*link = req->next;
	held->count--;
	return req;
}

static void release_one(struct queue_work *work)
{
	struct reorder_ns *ns = container_of(work, struct reorder_ns, work);
	struct file_req *req = take_any(ns->quick.count ? &ns->quick : &ns->slow, &ns->rng);

	ns->work_posted = false;
	file_submit(below(req->file), ns->queue, req);
	if (ns->quick.count + ns->slow.count && !ns->work_posted)
		post_work(ns);
}

static void hold(struct file *file, struct queue *queue, struct file_req *req)
{
	struct reorder_ns *ns = container_of(file, struct reorder_file, base)->ns;
	struct held *held = rng_percent(&ns->rng, SLOW_PERCENT) ? &ns->slow : &ns->quick;

	ns->queue = queue;
	req->next = held->first;
	held->first = req;
	held->count++;
	if (!ns->work_posted)
		post_work(ns);
}

static enum err run_now(struct file *file, struct file_req *req)
{
	return below(file)->ops->run(below(file), req);
}

static enum err file_facts(struct file *file, struct file_info *out, struct err_why *why)
{
	return file_get_info(below(file), out, why);
}

static enum err map_below(struct file *file, uint64_t off_bytes, bool *is_data, uint64_t *end_bytes,
			  struct err_why *why)
{
	struct file *inner = below(file);

	if (inner->ops->map_data)
		return inner->ops->map_data(inner, off_bytes, is_data, end_bytes, why);
	*is_data = true;
	*end_bytes = UINT64_MAX;
	return ERR_OK;
}

static enum err lock_below(struct file *file, int mode, struct err_why *why)
{
	return file_lock(below(file), (enum file_lock)mode, why);
}

static enum err close_below(struct file *file, struct err_why *why)
{
	enum err err = file_close(below(file), why);

	free(container_of(file, struct reorder_file, base));
	return err;
}

static const struct file_ops reorder_ops = {
    .name = "reorder",
    .run = run_now,
    .submit = hold,
    .info = file_facts,
    .lock = lock_below,
    .map_data = map_below,
    .close = close_below,
};

static enum err open_file(struct file_ns *ns, const char *path, unsigned flags, struct file **out,
			  struct err_why *why)
{
	struct reorder_ns *reorder = container_of(ns, struct reorder_ns, base);
	struct reorder_file *file;
	struct file *inner;
	enum err err = file_ns_open(reorder->below, path, flags, &inner, why);

	if (err)
		return err;
	file = malloc(sizeof(*file));
	if (!file)
		abort();
	*file = (struct reorder_file){
	    .base = {.ops = &reorder_ops, .path = inner->path}, .below = inner, .ns = reorder};
	*out = &file->base;
	return ERR_OK;
}

static enum err unlink_name(struct file_ns *ns, const char *path, struct err_why *why)
{
	return file_ns_unlink(container_of(ns, struct reorder_ns, base)->below, path, why);
}

static enum err rename_name(struct file_ns *ns, const char *from, const char *to,
			    struct err_why *why)
{
	return file_ns_rename(container_of(ns, struct reorder_ns, base)->below, from, to, why);
}

static enum err sync_names(struct file_ns *ns, const char *path, struct err_why *why)
{
	return file_ns_sync_dir(container_of(ns, struct reorder_ns, base)->below, path, why);
}

static enum err list_names(struct file_ns *ns, const char *dir,
			   bool (*each)(void *arg, const char *name), void *arg,
			   struct err_why *why)
{
	return file_ns_list(container_of(ns, struct reorder_ns, base)->below, dir, each, arg, why);
}

static const struct file_ns_ops reorder_ns_ops = {
    .open = open_file,
    .unlink = unlink_name,
    .rename = rename_name,
    .sync_dir = sync_names,
    .list = list_names,
};

struct reorder_ns *reorder_ns_new(struct file_ns *below_ns, uint64_t seed)
{
	struct reorder_ns *ns = calloc(1, sizeof(*ns));

	if (!ns)
		abort();
	ns->base.ops = &reorder_ns_ops;
	ns->below = below_ns;
	ns->rng = rng_seed(seed);
	ns->work.run = release_one;
	return ns;
}

void reorder_ns_free(struct reorder_ns *ns)
{
	free(ns);
}

struct file_ns *reorder_ns_base(struct reorder_ns *ns)
{
	return &ns->base;
}
