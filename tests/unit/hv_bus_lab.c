/* SPDX-License-Identifier: MIT */
#include "tests/unit/hv_bus_lab.h"

#include <poll.h>
#include <string.h>

static enum err echo_open(void *device, struct channel *channel, struct err_why *why)
{
	struct echo *echo = device;

	if (echo->refuse)
		return err_set(why, ERR_REFUSED, "not now");
	if (channel != echo->channel || !channel_is_open(channel))
		return err_set(why, ERR_USAGE, "another channel, or one that is not open");
	echo->opened++;
	return ERR_OK;
}

static void echo_close(void *device, struct channel *channel)
{
	struct echo *echo = device;

	(void)channel;
	echo->closed++;
}

static void echo_gone(void *device, struct channel *channel)
{
	struct echo *echo = device;

	(void)channel;
	echo->gone++;
	echo->channel = NULL;
}

const struct channel_ops echo_ops = {
    .open = echo_open,
    .close = echo_close,
    .gone = echo_gone,
};

struct guid echo_instance(unsigned number)
{
	return (struct guid){{1, 2, 3, 4, (uint8_t)number}};
}

enum err echo_offer(struct guest_bus *g, struct echo *echo, unsigned number, unsigned sub_index)
{
	const struct channel_offer offer = {
	    .type = {{0xEC, 0x40}},
	    .instance = echo_instance(number),
	    .sub_index = (uint16_t)sub_index,
	    .pipe = number % 2,
	    .ops = &echo_ops,
	    .device = echo,
	};

	*echo = (struct echo){0};
	return vmbus_offer(g->bus, &offer, &echo->channel, NULL);
}

static bool has_signal(const struct channel *channel)
{
	struct pollfd p = {.fd = channel_fd(channel), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static enum ring_result serve_one(struct echo *echo)
{
	uint8_t buf[16384];
	struct packet packet;
	enum ring_result result = channel_read(echo->channel, buf, sizeof(buf), &packet);

	if (result != RING_OK)
		return result;
	echo->served++;
	if (!(packet.flags & PACKET_WANTS_COMPLETION))
		return RING_OK;
	return channel_write(echo->channel, PACKET_COMPLETION, 0, packet.transaction,
			     packet.payload, packet.payload_bytes);
}

void echo_serve(struct echo *echo)
{
	enum ring_result result;

	/* A signal that was forgotten must be found out: nothing is done without one. */
	if (!echo->channel || !channel_is_open(echo->channel) || !has_signal(echo->channel))
		return;
	channel_wake(echo->channel);
	do {
		while ((result = serve_one(echo)) == RING_OK)
			;
	} while (result == RING_EMPTY && channel_rest(echo->channel));
	echo->result = result;
}

bool echo_works(struct echo *echo, struct guest_channel *ch)
{
	static uint64_t transaction = 1000;
	struct guest_packet packet;
	char text[100];

	transaction++;
	memset(text, (int)transaction, sizeof(text));
	if (!guest_send(ch, PACKET_INBAND, PACKET_WANTS_COMPLETION, transaction, NULL, 0, text,
			sizeof(text)))
		return false;
	echo_serve(echo);
	return guest_receive(ch, &packet, 0) && packet.type == PACKET_COMPLETION &&
	       packet.transaction == transaction && packet.len == 104 &&
	       !memcmp(packet.b, text, sizeof(text));
}
