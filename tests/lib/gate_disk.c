/* SPDX-License-Identifier: MIT */
#include "tests/lib/gate_disk.h"

#include <pthread.h>
#include <stdlib.h>

#include "util/bytes.h"

struct gate {
	struct disk base;
	struct disk *below;
	pthread_mutex_t lock; /* guards the rest */
	bool shut;
	enum err failure;
	struct held *first;
	unsigned count;
};

struct held {
	struct held *next;
	struct gate *gate;
	struct disk_req *above;
	struct disk_req below;
	struct queue_work work;
};

static void below_done(struct disk_req *req)
{
	struct held *held = container_of(req, struct held, below);
	struct disk_req *above = held->above;

	above->result = req->result;
	free(held);
	disk_done(above);
}

static void go_on(struct held *held)
{
	struct disk_req *above = held->above;

	held->below = (struct disk_req){
	    .op = above->op,
	    .flags = above->flags,
	    .off_bytes = above->off_bytes,
	    .len_bytes = above->len_bytes,
	    .iov = above->iov,
	    .iov_count = above->iov_count,
	    .done = below_done,
	    .why = above->why,
	};
	disk_submit(held->gate->below, above->queue, &held->below);
}

static void run(struct queue_work *work)
{
	go_on(container_of(work, struct held, work));
}

static void gate_submit(struct disk *disk, struct queue *queue, struct disk_req *req)
{
	struct gate *gate = container_of(disk, struct gate, base);
	struct held *held = calloc(1, sizeof(*held));
	bool shut;

	(void)queue;
	*held = (struct held){.gate = gate, .above = req, .work.run = run};
	pthread_mutex_lock(&gate->lock);
	req->result = gate->failure;
	shut = gate->shut;
	if (shut && !gate->failure) {
		held->next = gate->first;
		gate->first = held;
		gate->count++;
	}
	pthread_mutex_unlock(&gate->lock);
	if (req->result) {
		free(held);
		disk_done_later(req);
	} else if (!shut) {
		go_on(held);
	}
}

static enum err gate_map(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
			 struct disk_extent *out, struct err_why *why)
{
	return disk_map(container_of(disk, struct gate, base)->below, off_bytes, len_bytes, out,
			why);
}

static void gate_info(struct disk *disk, struct disk_info *out)
{
	disk_get_info(container_of(disk, struct gate, base)->below, out);
}

static enum err gate_close(struct disk *disk, struct err_why *why)
{
	struct gate *gate = container_of(disk, struct gate, base);
	enum err err = disk_close(gate->below, why);

	pthread_mutex_destroy(&gate->lock);
	free(gate);
	return err;
}

static const struct disk_ops gate_ops = {
    .name = "gate",
    .submit = gate_submit,
    .map = gate_map,
    .info = gate_info,
    .close = gate_close,
};

struct disk *gate_disk_new(struct disk *below)
{
	struct gate *gate = calloc(1, sizeof(*gate));

	gate->base.ops = &gate_ops;
	gate->below = below;
	pthread_mutex_init(&gate->lock, NULL);
	return &gate->base;
}

void gate_shut(struct disk *disk)
{
	struct gate *gate = container_of(disk, struct gate, base);

	pthread_mutex_lock(&gate->lock);
	gate->shut = true;
	pthread_mutex_unlock(&gate->lock);
}

void gate_open(struct disk *disk)
{
	struct gate *gate = container_of(disk, struct gate, base);
	struct held *held, *next;

	pthread_mutex_lock(&gate->lock);
	gate->shut = false;
	held = gate->first;
	gate->first = NULL;
	gate->count = 0;
	pthread_mutex_unlock(&gate->lock);
	for (; held; held = next) {
		next = held->next;
		queue_post(held->above->queue, &held->work);
	}
}

unsigned gate_waiting(struct disk *disk)
{
	struct gate *gate = container_of(disk, struct gate, base);
	unsigned count;

	pthread_mutex_lock(&gate->lock);
	count = gate->count;
	pthread_mutex_unlock(&gate->lock);
	return count;
}

void gate_fail(struct disk *disk, enum err err)
{
	struct gate *gate = container_of(disk, struct gate, base);

	pthread_mutex_lock(&gate->lock);
	gate->failure = err;
	pthread_mutex_unlock(&gate->lock);
}
