/* SPDX-License-Identifier: MIT */

/* Bus resets: nothing is cancelled, what is at the disks is waited for. One after the other. */

#include "hv/storvsp_private.h"
#include "util/bytes.h"

static void reset_over(struct queue_work *work)
{
	struct vsp_request *req = container_of(work, struct vsp_request, work);

	vstor_answer(req->packet, VSTOR_OK);
	vsp_complete(req);
}

static bool is_empty(const struct storvsp *adapter, unsigned phase)
{
	for (const struct vsp_channel *ch = adapter->channels; ch; ch = ch->next)
		if (atomic_load(&ch->outstanding[phase]))
			return false;
	return true;
}

static void begin_phase(struct storvsp *adapter)
{
	atomic_store(&adapter->resetting, true);
	atomic_fetch_xor(&adapter->phase, 1);
}

void vsp_reset_check(struct storvsp *adapter)
{
	pthread_mutex_lock(&adapter->lock);
	while (adapter->resets && is_empty(adapter, atomic_load(&adapter->phase) ^ 1)) {
		struct vsp_request *req = adapter->resets;

		adapter->resets = req->next;
		if (adapter->resets)
			begin_phase(adapter);
		else
			atomic_store(&adapter->resetting, false);
		/* Its channel cannot go away before this has run: the request is busy. */
		req->work.run = reset_over;
		queue_post(req->ch->queue, &req->work);
	}
	pthread_mutex_unlock(&adapter->lock);
}

void vsp_reset_begin(struct storvsp *adapter, struct vsp_request *req)
{
	struct vsp_request **last = &adapter->resets;

	pthread_mutex_lock(&adapter->lock);
	req->next = NULL;
	if (!adapter->resets)
		begin_phase(adapter);
	while (*last)
		last = &(*last)->next;
	*last = req;
	pthread_mutex_unlock(&adapter->lock);
	vsp_reset_check(adapter);
}
