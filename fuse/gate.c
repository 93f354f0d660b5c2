/* SPDX-License-Identifier: MIT */
#include "fuse/gate.h"

#include <stddef.h>

void gate_init(struct gate *gate)
{
	pthread_mutex_init(&gate->lock, NULL);
	gate->shared = 0;
	gate->exclusive = false;
	gate->first = NULL;
	gate->last = &gate->first;
}

void gate_destroy(struct gate *gate)
{
	pthread_mutex_destroy(&gate->lock);
}

static bool admit(struct gate *gate, enum gate_mode mode)
{
	if (gate->exclusive || (mode == GATE_EXCLUSIVE && gate->shared))
		return false;
	if (mode == GATE_EXCLUSIVE)
		gate->exclusive = true;
	else
		gate->shared++;
	return true;
}

bool gate_enter(struct gate *gate, struct gate_waiter *waiter)
{
	bool entered;

	pthread_mutex_lock(&gate->lock);
	entered = !gate->first && admit(gate, waiter->mode);
	if (!entered) {
		waiter->next = NULL;
		*gate->last = waiter;
		gate->last = &waiter->next;
	}
	pthread_mutex_unlock(&gate->lock);
	return entered;
}

void gate_leave(struct gate *gate, enum gate_mode mode)
{
	struct gate_waiter *waiter;

	pthread_mutex_lock(&gate->lock);
	if (mode == GATE_EXCLUSIVE)
		gate->exclusive = false;
	else
		gate->shared--;
	while ((waiter = gate->first) && admit(gate, waiter->mode)) {
		gate->first = waiter->next;
		if (!gate->first)
			gate->last = &gate->first;
		queue_post(waiter->queue, &waiter->work);
	}
	pthread_mutex_unlock(&gate->lock);
}
