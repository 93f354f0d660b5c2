/* SPDX-License-Identifier: MIT */
#include "hv/vmbus_private.h"

static void send_created(struct vmbus *bus, uint32_t relid, uint32_t gpadl, bool good)
{
	uint8_t out[MESSAGE_MAX];

	vmbus_send(bus, out,
		   message_put_gpadl_created(out, relid, gpadl,
					     good ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL));
}

void vmbus_gpadl_header(struct vmbus *bus, const struct message_gpadl_header *header)
{
	const struct channel *channel = channel_of(bus, header->relid);
	enum gpadl_result result = GPADL_BAD;
	const char *fault = "an address list for a channel that is not offered";

	if (channel && channel->state != CHANNEL_RESCINDED)
		result = gpadl_begin(&bus->gpadls, header, &fault);
	/* A channel that was just rescinded is nobody's fault; the guest waits for an answer. */
	if (result == GPADL_BAD && !(channel && channel->state == CHANNEL_RESCINDED))
		vmbus_fault(bus, fault);
	if (result != GPADL_MORE)
		send_created(bus, header->relid, header->gpadl, result == GPADL_DONE);
}

void vmbus_gpadl_body(struct vmbus *bus, const struct message_gpadl_body *body)
{
	uint32_t relid;
	const char *fault;
	enum gpadl_result result = gpadl_extend(&bus->gpadls, body, &relid, &fault);

	if (result == GPADL_BAD || result == GPADL_UNKNOWN)
		vmbus_fault(bus, fault);
	/* Without a list nobody waits: its header was answered. */
	if (result == GPADL_DONE || result == GPADL_BAD)
		send_created(bus, relid, body->gpadl, result == GPADL_DONE);
}

/* Guests wait for the answer for ever; a list that is not there is torn down already. */
void vmbus_gpadl_teardown(struct vmbus *bus, const struct message_gpadl_teardown *teardown)
{
	struct gpadl *gpadl = gpadl_find(&bus->gpadls, teardown->gpadl);
	uint8_t out[MESSAGE_MAX];

	if (gpadl && gpadl->relid != teardown->relid) {
		vmbus_fault(bus, "the teardown of another channel's address list");
		return;
	}
	if (gpadl && gpadl->channel_open) {
		/* G3, G4: the answer comes after the last access, so the channel goes first. */
		vmbus_fault(bus, "the teardown of an open channel's rings");
		channel_close(channel_of(bus, gpadl->relid));
	}
	if (gpadl)
		gpadl_free(&bus->gpadls, gpadl);
	vmbus_send(bus, out, message_put_number(out, MESSAGE_GPADL_TORNDOWN, teardown->gpadl));
}
