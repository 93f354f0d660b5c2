/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <unistd.h>

#include "hv/vmbus_private.h"

int channel_fd(const struct channel *channel)
{
	return channel->fd;
}

void channel_kick(struct channel *channel)
{
	uint64_t one = 1;

	while (write(channel->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

bool channel_is_open(const struct channel *channel)
{
	return __atomic_load_n(&channel->state, __ATOMIC_ACQUIRE) == CHANNEL_OPEN;
}

unsigned channel_sub_index(const struct channel *channel)
{
	return channel->offer.sub_index;
}

unsigned channel_vp(const struct channel *channel)
{
	return __atomic_load_n(&channel->vp, __ATOMIC_RELAXED);
}

/* The lock makes MODIFYCHANNEL wait until the old processor is not used any more. */
static void interrupt_guest(struct channel *channel)
{
	pthread_mutex_lock(&channel->vp_lock);
	synic_signal(channel->bus->synic, channel->vp, channel->relid);
	pthread_mutex_unlock(&channel->vp_lock);
}

static void give_back(struct channel *channel)
{
	if (ring_publish_read(&channel->in))
		interrupt_guest(channel);
}

enum ring_result channel_read(struct channel *channel, void *buf, size_t cap, struct packet *out)
{
	enum ring_result result = ring_read(&channel->in, buf, cap, out);

	if (result == RING_OK && ring_should_publish(&channel->in))
		give_back(channel);
	return result;
}

bool channel_rest(struct channel *channel)
{
	give_back(channel);
	ring_mask(&channel->in, false);
	if (!ring_readable(&channel->in))
		return false;
	ring_mask(&channel->in, true);
	return true;
}

void channel_wake(struct channel *channel)
{
	uint64_t count;

	while (read(channel->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	ring_mask(&channel->in, true);
}

enum ring_result channel_write_quietly(struct channel *channel, enum packet_type type,
				       uint16_t flags, uint64_t transaction, const void *payload,
				       size_t len, bool *interrupt)
{
	enum ring_result result;
	bool signal;

	result = ring_write(&channel->out, type, flags, transaction, payload, len, &signal);
	*interrupt |= signal;
	return result;
}

void channel_interrupt(struct channel *channel)
{
	interrupt_guest(channel);
}

enum ring_result channel_write(struct channel *channel, enum packet_type type, uint16_t flags,
			       uint64_t transaction, const void *payload, size_t len)
{
	enum ring_result result;
	bool interrupt = false;

	result = channel_write_quietly(channel, type, flags, transaction, payload, len, &interrupt);
	if (interrupt)
		interrupt_guest(channel);
	return result;
}

const char *channel_fault(const struct channel *channel)
{
	return channel->in.fault ? channel->in.fault : channel->out.fault;
}
