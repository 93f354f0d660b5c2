/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/vmbus_private.h"
#include "util/bytes.h"

static void set_state(struct channel *channel, enum channel_state state)
{
	__atomic_store_n(&channel->state, state, __ATOMIC_RELEASE);
}

static bool same_device(const struct channel_offer *a, const struct channel_offer *b)
{
	return guid_equal(&a->type, &b->type) && guid_equal(&a->instance, &b->instance);
}

/* The channel of this name that is, or is not, rescinded. */
static struct channel *find(struct vmbus *bus, const struct channel_offer *offer,
			    unsigned sub_index, bool rescinded)
{
	for (unsigned i = 1; i < RELIDS; i++) {
		struct channel *channel = bus->channel[i];

		if (channel && same_device(&channel->offer, offer) &&
		    channel->offer.sub_index == sub_index &&
		    (channel->state == CHANNEL_RESCINDED) == rescinded)
			return channel;
	}
	return NULL;
}

struct channel *channel_of(struct vmbus *bus, uint32_t relid)
{
	struct channel *channel = relid < RELIDS ? bus->channel[relid] : NULL;

	return channel && channel->state != CHANNEL_WAITING ? channel : NULL;
}

/* ---- offering ---- */

static void send_offer(struct channel *channel)
{
	const struct message_offer offer = {
	    .type = channel->offer.type,
	    .instance = channel->offer.instance,
	    .pipe = channel->offer.pipe,
	    .sub_index = channel->offer.sub_index,
	    .relid = channel->relid,
	    .connection = channel->connection,
	};
	uint8_t out[MESSAGE_MAX];

	set_state(channel, CHANNEL_OFFERED);
	vmbus_send(channel->bus, out, message_put_offer(out, &offer));
}

void channel_offer_waiting(struct vmbus *bus)
{
	if (!bus->offers_requested)
		return;
	for (unsigned i = 1; i < RELIDS; i++) {
		struct channel *channel = bus->channel[i];

		/* Two of the same name at once confuse the guest. */
		if (channel && channel->state == CHANNEL_WAITING &&
		    !find(bus, &channel->offer, channel->offer.sub_index, true))
			send_offer(channel);
	}
}

static enum err check_offer(struct vmbus *bus, const struct channel_offer *offer,
			    struct err_why *why)
{
	const struct channel *primary;

	if (find(bus, offer, offer->sub_index, false))
		return err_set(why, ERR_EXIST, "channel %u of this device is offered already",
			       offer->sub_index);
	if (bus->channel_count >= VMBUS_MAX_CHANNELS)
		return err_set(why, ERR_REFUSED, "there are %u channels: no more are possible",
			       VMBUS_MAX_CHANNELS);
	if (!offer->sub_index)
		return ERR_OK;
	primary = find(bus, offer, 0, false);
	if (!primary || primary->state != CHANNEL_OPEN)
		return err_set(why, ERR_REFUSED, "sub-channel %u: the primary is not open",
			       offer->sub_index);
	return ERR_OK;
}

/* The longest unused: what the guest still says about an old channel must not reach a new one. */
static uint32_t new_relid(struct vmbus *bus)
{
	do {
		bus->last_relid = bus->last_relid % (RELIDS - 1) + 1;
	} while (bus->channel[bus->last_relid]);
	return bus->last_relid;
}

enum err vmbus_offer(struct vmbus *bus, const struct channel_offer *offer, struct channel **out,
		     struct err_why *why)
{
	enum err err = check_offer(bus, offer, why);
	struct channel *channel;

	if (err)
		return err;
	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return err_set(why, ERR_NOMEM, "no memory for a channel");
	channel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (channel->fd < 0) {
		int e = errno;

		free(channel);
		return err_sys(why, e, "a channel's event descriptor");
	}
	pthread_mutex_init(&channel->vp_lock, NULL);
	channel->bus = bus;
	channel->offer = *offer;
	channel->relid = new_relid(bus);
	channel->connection = CONNECTION_CHANNELS | channel->relid;
	bus->channel[channel->relid] = channel;
	bus->channel_count++;
	*out = channel;
	channel_offer_waiting(bus);
	return ERR_OK;
}

/* ---- opening and closing ---- */

/* The rings' pages, if the message names some that are fit for it; else NULL with *fault set. */
static struct gpadl *rings_of(struct channel *channel, const struct message_open *message,
			      const char **fault)
{
	struct gpadl *gpadl = gpadl_find(&channel->bus->gpadls, message->gpadl);
	uint32_t down = message->downstream_page;

	if (!gpadl || !gpadl_is_complete(gpadl) || gpadl->relid != channel->relid)
		*fault = "a channel is opened with an address list that is not its own";
	else if (gpadl->byte_offset || gpadl->byte_count % GUEST_PAGE)
		*fault = "a channel is opened with rings that are not whole pages";
	else if (down < 2 || down >= gpadl->pages || gpadl->pages - down < 2)
		*fault = "a channel is opened with a ring that has no room for data";
	else
		return gpadl;
	return NULL;
}

static enum err wire(struct channel *channel)
{
	const struct vmbus_wiring *wiring = &channel->bus->wiring;

	if (wiring->assign)
		return wiring->assign(wiring->arg, channel->connection, channel->fd, NULL);
	return ERR_OK;
}

static void unwire(struct channel *channel)
{
	const struct vmbus_wiring *wiring = &channel->bus->wiring;

	if (wiring->release)
		wiring->release(wiring->arg, channel->connection, channel->fd);
}

static void forget_rings(struct channel *channel)
{
	if (channel->gpadl)
		channel->gpadl->channel_open = false;
	channel->gpadl = NULL;
}

/* NULL: it is open; else why not. */
static const char *open_channel(struct channel *channel, const struct message_open *message)
{
	const char *fault = NULL;
	uint64_t count;

	if (channel->state == CHANNEL_OPEN)
		return "a channel is opened twice";
	if (message->vp >= channel->bus->vp_count)
		return "a channel wants to interrupt a processor that is not there";
	channel->gpadl = rings_of(channel, message, &fault);
	if (!channel->gpadl)
		return fault;
	if (ring_init_in(&channel->in, channel->gpadl->page, message->downstream_page) ||
	    ring_init_out(&channel->out, channel->gpadl->page + message->downstream_page,
			  channel->gpadl->pages - message->downstream_page)) {
		forget_rings(channel);
		return "a channel is opened with indices outside its rings";
	}
	channel->gpadl->channel_open = true;
	__atomic_store_n(&channel->vp, message->vp, __ATOMIC_RELAXED);
	/* Left over from the last time. */
	while (read(channel->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	if (wire(channel)) {
		forget_rings(channel);
		return "the system has no way for a channel's signals";
	}
	set_state(channel, CHANNEL_OPEN);
	if (channel->offer.ops->open(channel->offer.device, channel, NULL)) {
		set_state(channel, CHANNEL_OFFERED);
		unwire(channel);
		forget_rings(channel);
		return "the device refuses to open its channel";
	}
	vmbus_set_signal(channel->bus, channel->relid, channel->fd);
	/* The guest may have written before it opened: look at once. */
	channel_kick(channel);
	return NULL;
}

void vmbus_open(struct vmbus *bus, const struct message_open *message)
{
	struct channel *channel = channel_of(bus, message->relid);
	uint8_t out[MESSAGE_MAX];
	const char *fault;

	if (!channel) {
		vmbus_fault(bus, "a channel is opened that is not offered");
		return;
	}
	/* The messages have crossed; the guest copes with the lost answer. */
	if (channel->state == CHANNEL_RESCINDED)
		return;
	fault = open_channel(channel, message);
	if (fault)
		vmbus_fault(bus, fault);
	vmbus_send(bus, out,
		   message_put_open_result(out, message->relid, message->open_id,
					   fault ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS));
}

/* The channel alone; its device has let go of the rings when this returns (G6). */
static void close_one(struct channel *channel)
{
	if (channel->state != CHANNEL_OPEN)
		return;
	unwire(channel);
	vmbus_set_signal(channel->bus, channel->relid, -1);
	set_state(channel, CHANNEL_OFFERED);
	channel->offer.ops->close(channel->offer.device, channel);
	forget_rings(channel);
}

void vmbus_close(struct vmbus *bus, uint32_t relid)
{
	struct channel *channel = channel_of(bus, relid);

	if (!channel || channel->state == CHANNEL_OFFERED)
		vmbus_fault(bus, "a channel is closed that is not open");
	else
		channel_close(channel);
}

void vmbus_modify(struct vmbus *bus, const struct message_modify *message)
{
	struct channel *channel = channel_of(bus, message->relid);
	bool good = channel && channel->state == CHANNEL_OPEN && message->vp < bus->vp_count &&
		    bus->version >= VMBUS_VERSION(4, 1);
	uint8_t out[MESSAGE_MAX];

	if (good) {
		/* Whoever interrupts the old processor has the lock: done before the answer. */
		pthread_mutex_lock(&channel->vp_lock);
		__atomic_store_n(&channel->vp, message->vp, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&channel->vp_lock);
	} else if (!channel || channel->state != CHANNEL_RESCINDED) {
		vmbus_fault(bus, "a channel is moved that is not open, or to no processor");
	}
	if (bus->version >= VMBUS_VERSION(5, 3))
		vmbus_send(bus, out,
			   message_put_modify_response(
			       out, message->relid, good ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL));
}

/* ---- taking back ---- */

static void free_channel(struct channel *channel)
{
	struct vmbus *bus = channel->bus;

	gpadl_free_channel(&bus->gpadls, channel->relid);
	bus->channel[channel->relid] = NULL;
	bus->channel_count--;
	if (!channel->retired && channel->offer.ops->gone)
		channel->offer.ops->gone(channel->offer.device, channel);
	close(channel->fd);
	pthread_mutex_destroy(&channel->vp_lock);
	free(channel);
}

static void rescind_one(struct channel *channel)
{
	uint8_t out[MESSAGE_MAX];

	close_one(channel);
	if (channel->state == CHANNEL_WAITING) {
		free_channel(channel);
	} else if (channel->state == CHANNEL_OFFERED) {
		set_state(channel, CHANNEL_RESCINDED);
		vmbus_send(channel->bus, out,
			   message_put_number(out, MESSAGE_RESCIND, channel->relid));
	}
}

static bool is_sub_of(const struct channel *channel, const struct channel *primary)
{
	return channel && channel != primary && channel->offer.sub_index &&
	       !primary->offer.sub_index && same_device(&channel->offer, &primary->offer);
}

static void rescind_subs(struct channel *primary)
{
	struct vmbus *bus = primary->bus;

	for (unsigned i = 1; i < RELIDS; i++)
		if (is_sub_of(bus->channel[i], primary)) {
			bus->channel[i]->retired |= primary->retired;
			rescind_one(bus->channel[i]);
		}
}

/* Guests close sub-channels with their primary, but offered again they must be new ones. */
void channel_close(struct channel *channel)
{
	if (channel->state != CHANNEL_OPEN)
		return;
	rescind_subs(channel);
	close_one(channel);
}

void vmbus_rescind(struct channel *channel)
{
	rescind_subs(channel);
	rescind_one(channel);
}

void vmbus_retire(struct channel *channel)
{
	channel->retired = true;
	vmbus_rescind(channel);
}

void vmbus_released(struct vmbus *bus, uint32_t relid)
{
	struct channel *channel = channel_of(bus, relid);

	/* After an unload it comes for each channel there was. */
	if (!channel)
		return;
	if (channel->state != CHANNEL_RESCINDED) {
		vmbus_fault(bus, "a channel is released that is not rescinded");
		channel_close(channel); /* G4 */
		return;
	}
	free_channel(channel);
	channel_offer_waiting(bus);
}

void channel_forget_all(struct vmbus *bus)
{
	/* Sub-channels first: a device ends with its primary. */
	for (unsigned i = 1; i < RELIDS; i++)
		if (bus->channel[i] && bus->channel[i]->offer.sub_index) {
			close_one(bus->channel[i]);
			free_channel(bus->channel[i]);
		}
	for (unsigned i = 1; i < RELIDS; i++) {
		struct channel *channel = bus->channel[i];

		if (!channel)
			continue;
		close_one(channel);
		if (channel->state == CHANNEL_RESCINDED)
			free_channel(channel);
		else
			set_state(channel, CHANNEL_WAITING);
	}
}

void channel_free_all(struct vmbus *bus)
{
	channel_forget_all(bus);
	for (unsigned i = 1; i < RELIDS; i++)
		if (bus->channel[i])
			free_channel(bus->channel[i]);
}
