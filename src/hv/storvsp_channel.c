/* SPDX-License-Identifier: MIT */

/*
 * The thread of an open channel. It reads packets until there are none, starts what they ask for,
 * and sleeps once for the guest's signals and the disk's completions together; whatever completes
 * is written to the guest's ring at once, or kept until there is room.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "hv/storvsp_private.h"
#include "util/bytes.h"

/* Packets that are read before completions get their turn (G7). */
#define BATCH 64u
/* A guest that makes room in its ring says so; should it not, we look again. */
#define RETRY_NS 10000000

/* ---- completions ---- */

static void release(struct vsp_request *req)
{
	req->next = req->ch->free;
	req->ch->free = req;
}

static void give_up(struct vsp_channel *ch, const char *why)
{
	atomic_store(&ch->adapter->fault, why);
	if (!ch->deaf)
		atomic_fetch_add(&ch->adapter->faults, 1);
	ch->deaf = true;
}

static void ring_broke(struct vsp_channel *ch)
{
	ch->mute = true;
	give_up(ch, channel_fault(ch->channel));
}

/* The guest has been told that it may have sub-channels: now offer them, on the bus's thread. */
static void hand_over(struct vsp_channel *ch, unsigned sub_channels)
{
	uint64_t one = 1;

	atomic_store(&ch->adapter->wanted, sub_channels);
	while (write(ch->adapter->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* False: no room. */
static bool deliver(struct vsp_request *req)
{
	struct vsp_channel *ch = req->ch;
	enum ring_result result;

	if (ch->mute) {
		release(req);
		return true;
	}
	result = channel_write_quietly(ch->channel, PACKET_COMPLETION, 0, req->transaction,
				       req->packet, VSTOR_BYTES, &ch->interrupt);
	if (result == RING_FULL)
		return false;
	if (result == RING_BROKEN)
		ring_broke(ch);
	else if (req->sub_channels)
		hand_over(ch, req->sub_channels);
	release(req);
	return true;
}

/* One interrupt for all that was completed together. */
static void interrupt(struct vsp_channel *ch)
{
	if (ch->interrupt)
		channel_interrupt(ch->channel);
	ch->interrupt = false;
}

static void retry_later(struct vsp_channel *ch)
{
	struct itimerspec when = {.it_value.tv_nsec = RETRY_NS};

	timerfd_settime(ch->timer_fd, 0, &when, NULL);
}

static void deliver_waiting(struct vsp_channel *ch)
{
	while (ch->waiting) {
		struct vsp_request *req = ch->waiting, *next = req->next;

		if (!deliver(req))
			return;
		ch->waiting = next;
	}
	ch->waiting_tail = &ch->waiting;
}

void vsp_complete(struct vsp_request *req)
{
	struct vsp_channel *ch = req->ch;

	ch->busy--;
	if (!ch->waiting && deliver(req))
		return;
	if (!ch->waiting)
		retry_later(ch);
	req->next = NULL;
	*ch->waiting_tail = req;
	ch->waiting_tail = &req->next;
}

/* ---- requests ---- */

static void answer(struct vsp_request *req, enum vstor_status status)
{
	vstor_answer(req->packet, status);
	vsp_complete(req);
}

static void query_properties(struct vsp_request *req)
{
	unsigned subs = req->ch->adapter->opts.max_sub_channels;
	struct vstor_properties what = {
	    .max_channels = (uint16_t)subs,
	    .flags = subs ? VSTOR_MULTI_CHANNEL : 0,
	    .max_transfer_bytes = STORVSP_MAX_TRANSFER,
	};

	req->ch->state = VSP_PROPERTIES_KNOWN;
	vstor_answer_properties(req->packet, &what);
	vsp_complete(req);
}

static void query_version(struct vsp_request *req)
{
	uint16_t version = vstor_version(req->packet);
	bool known = version == VSTOR_VERSION_6_2 || version == VSTOR_VERSION_6_0;

	if (known)
		req->ch->state = VSP_VERSION_KNOWN;
	answer(req, known ? VSTOR_OK : VSTOR_REVISION_MISMATCH);
}

static void create_sub_channels(struct vsp_request *req)
{
	struct storvsp *adapter = req->ch->adapter;
	unsigned wanted = vstor_sub_channels(req->packet);

	if (wanted > adapter->opts.max_sub_channels) {
		answer(req, VSTOR_INVALID_PARAMETER);
	} else if (atomic_exchange(&adapter->subs, true)) {
		answer(req, VSTOR_INVALID_STATE); /* once is enough (G4) */
	} else {
		req->sub_channels = wanted;
		answer(req, VSTOR_OK);
	}
}

/* A step of the handshake, which only makes sense in one state. */
static bool in_state(struct vsp_request *req, enum vsp_state state)
{
	if (req->ch->primary && req->ch->state == state)
		return true;
	answer(req, VSTOR_INVALID_STATE);
	return false;
}

static void advance(struct vsp_request *req, enum vsp_state from, enum vsp_state to)
{
	if (!in_state(req, from))
		return;
	req->ch->state = to;
	answer(req, VSTOR_OK);
}

static void start_operation(struct vsp_request *req, const struct packet *packet)
{
	switch (vstor_header(req->packet).operation) {
	case VSTOR_BEGIN_INITIALIZATION:
		advance(req, VSP_NEW, VSP_BEGUN);
		break;
	case VSTOR_QUERY_PROTOCOL_VERSION:
		if (in_state(req, VSP_BEGUN))
			query_version(req);
		break;
	case VSTOR_QUERY_PROPERTIES:
		if (in_state(req, VSP_VERSION_KNOWN))
			query_properties(req);
		break;
	case VSTOR_END_INITIALIZATION:
		advance(req, VSP_PROPERTIES_KNOWN, VSP_READY);
		break;
	case VSTOR_CREATE_SUB_CHANNELS:
		if (in_state(req, VSP_READY))
			create_sub_channels(req);
		break;
	case VSTOR_EXECUTE_SRB:
		if (req->ch->state == VSP_READY)
			vsp_srb_start(req, packet);
		else
			answer(req, VSTOR_INVALID_STATE);
		break;
	case VSTOR_RESET_LUN:
	case VSTOR_RESET_ADAPTER:
	case VSTOR_RESET_BUS:
		if (req->ch->state == VSP_READY)
			vsp_reset_begin(req->ch->adapter, req);
		else
			answer(req, VSTOR_INVALID_STATE);
		break;
	default:
		answer(req, VSTOR_NOT_SUPPORTED);
		break;
	}
}

/* ---- packets ---- */

static void start(struct vsp_channel *ch, const struct packet *packet)
{
	struct vsp_request *req = ch->free;

	if (packet->type != PACKET_INBAND && packet->type != PACKET_GPA_DIRECT) {
		give_up(ch, "a packet of a type that storage does not use");
		return;
	}
	if (!(packet->flags & PACKET_WANTS_COMPLETION)) {
		give_up(ch, "a request that does not want to be completed");
		return;
	}
	ch->free = req->next;
	ch->busy++;
	req->transaction = packet->transaction;
	req->sub_channels = 0;
	if (vstor_take(packet->payload, packet->payload_bytes, req->packet)) {
		start_operation(req, packet);
	} else {
		vstor_notice(req->packet, VSTOR_COMPLETE_IO);
		answer(req, VSTOR_INVALID_PARAMETER);
	}
}

/* With all requests in use the ring is left alone. */
static bool may_read(const struct vsp_channel *ch)
{
	return ch->free && !ch->deaf;
}

/*
 * Read packets and start what they ask for. True when the ring is empty; false when the batch is
 * full, or there is no request for another one.
 */
static bool read_packets(struct vsp_channel *ch)
{
	for (unsigned i = 0; i < BATCH && may_read(ch); i++) {
		struct packet packet;
		enum ring_result result =
		    channel_read(ch->channel, ch->packet, sizeof(ch->packet), &packet);

		if (result == RING_EMPTY)
			return true;
		if (result == RING_OK)
			start(ch, &packet);
		else
			ring_broke(ch);
	}
	return false;
}

/* False: packets are not to be read now; whoever forbids it is told when we have stopped. */
static bool begin_reading(struct vsp_channel *ch)
{
	atomic_store(&ch->reading, true);
	if (!atomic_load(&ch->adapter->held))
		return true;
	atomic_store(&ch->reading, false);
	vsp_tell_idle(ch->adapter);
	return false;
}

static void end_reading(struct vsp_channel *ch)
{
	atomic_store(&ch->reading, false);
	if (atomic_load(&ch->adapter->held))
		vsp_tell_idle(ch->adapter);
}

static void announce_units(struct vsp_channel *ch)
{
	uint8_t packet[VSTOR_BYTES];

	/* A guest that is still starting will look by itself. */
	if (!atomic_exchange(&ch->announce, false) || ch->state != VSP_READY || ch->mute)
		return;
	vstor_notice(packet, VSTOR_ENUMERATE_BUS);
	switch (channel_write(ch->channel, PACKET_INBAND, 0, 0, packet, VSTOR_BYTES)) {
	case RING_FULL:
		atomic_store(&ch->announce, true);
		retry_later(ch);
		break;
	case RING_BROKEN:
		ring_broke(ch);
		break;
	default:
		break;
	}
}

/*
 * One turn. When no more can be read, the next completion wakes us, or the guest making room for
 * one.
 */
static void turn(struct vsp_channel *ch)
{
	bool empty;

	deliver_waiting(ch);
	if (ch->waiting)
		retry_later(ch);
	announce_units(ch);
	interrupt(ch);
	if (!begin_reading(ch)) {
		queue_wait(ch->queue);
		return;
	}
	empty = read_packets(ch);
	end_reading(ch);
	interrupt(ch);
	if (may_read(ch) && (!empty || channel_rest(ch->channel)))
		queue_poll(ch->queue);
	else
		queue_wait(ch->queue);
}

/* ---- the thread ---- */

static void kicked(struct queue_work *work)
{
	channel_wake(container_of(work, struct vsp_channel, kicked)->channel);
}

static void timer_ran(struct queue_work *work)
{
	struct vsp_channel *ch = container_of(work, struct vsp_channel, timer_ran);
	uint64_t count;

	while (read(ch->timer_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

static enum err start_queue(struct vsp_channel *ch, struct err_why *why)
{
	enum err err = queue_create(STORVSP_MAX_PENDING, &ch->queue, why);

	if (err != ERR_OK)
		return err;
	ch->kicked.run = kicked;
	ch->timer_ran.run = timer_ran;
	err = queue_watch(ch->queue, channel_fd(ch->channel), &ch->kicked, why);
	if (err == ERR_OK)
		err = queue_watch(ch->queue, ch->timer_fd, &ch->timer_ran, why);
	if (err != ERR_OK)
		queue_destroy(ch->queue);
	return err;
}

static void *channel_main(void *arg)
{
	struct vsp_channel *ch = arg;

	pthread_setname_np(pthread_self(), "storvsp");
	ch->start_err = start_queue(ch, &ch->start_why);
	sem_post(&ch->started);
	if (ch->start_err != ERR_OK)
		return NULL;
	while (!atomic_load(&ch->stop))
		turn(ch);
	/* G6: whatever refers to the guest's memory comes back first. */
	while (ch->busy) {
		queue_wait(ch->queue);
		interrupt(ch);
	}
	queue_unwatch(ch->queue, &ch->kicked);
	queue_unwatch(ch->queue, &ch->timer_ran);
	queue_destroy(ch->queue);
	return NULL;
}

/* Signals are for other threads. */
static int start_thread(struct vsp_channel *ch)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&ch->thread, NULL, channel_main, ch);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

void vsp_channel_free(struct vsp_channel *ch)
{
	if (ch->timer_fd >= 0)
		close(ch->timer_fd);
	sem_destroy(&ch->started);
	free(ch->pool);
	free(ch);
}

static enum err run_thread(struct vsp_channel *ch, struct err_why *why)
{
	int rc;

	ch->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (ch->timer_fd < 0)
		return err_sys(why, errno, "cannot create a timer for a storage channel");
	rc = start_thread(ch);
	if (rc)
		return err_sys(why, rc, "cannot start a thread for a storage channel");
	while (sem_wait(&ch->started) < 0)
		;
	if (ch->start_err == ERR_OK)
		return ERR_OK;
	pthread_join(ch->thread, NULL);
	if (why)
		*why = ch->start_why;
	return ch->start_err;
}

enum err vsp_channel_open(struct storvsp *adapter, struct channel *channel,
			  struct vsp_channel **out, struct err_why *why)
{
	struct vsp_channel *ch = calloc(1, sizeof(*ch));
	enum err err;

	if (!ch || !(ch->pool = calloc(STORVSP_MAX_PENDING, sizeof(*ch->pool)))) {
		free(ch);
		return err_set(why, ERR_NOMEM, "no memory for a storage channel");
	}
	ch->adapter = adapter;
	ch->channel = channel;
	ch->primary = !channel_sub_index(channel);
	ch->state = ch->primary ? VSP_NEW : VSP_READY;
	ch->waiting_tail = &ch->waiting;
	sem_init(&ch->started, 0, 0);
	for (unsigned i = 0; i < STORVSP_MAX_PENDING; i++) {
		ch->pool[i].ch = ch;
		release(&ch->pool[i]);
	}
	err = run_thread(ch, why);
	if (err != ERR_OK) {
		vsp_channel_free(ch);
		return err;
	}
	*out = ch;
	return ERR_OK;
}

void vsp_channel_stop(struct vsp_channel *ch)
{
	atomic_store(&ch->stop, true);
	channel_kick(ch->channel);
	pthread_join(ch->thread, NULL);
}
