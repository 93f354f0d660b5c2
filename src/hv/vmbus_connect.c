/* SPDX-License-Identifier: MIT */
#include "hv/vmbus_private.h"
#include "util/bytes.h"

#define FIRST_WITH_SINT VMBUS_VERSION(5, 0)

static bool speaks(struct vmbus *bus, uint32_t version)
{
	static const uint32_t known[] = {
	    VMBUS_VERSION(3, 0), VMBUS_VERSION(4, 0), VMBUS_VERSION(4, 1), VMBUS_VERSION(5, 0),
	    VMBUS_VERSION(5, 1), VMBUS_VERSION(5, 2), VMBUS_VERSION(5, 3),
	};

	if (version > __atomic_load_n(&bus->version_cap, __ATOMIC_RELAXED))
		return false;
	for (unsigned i = 0; i < ARRAY_LEN(known); i++)
		if (known[i] == version)
			return true;
	return false;
}

/* Nothing of an old connection outlives it, least of all what was on its way to the guest. */
static void disconnect(struct vmbus *bus)
{
	bus->version = 0;
	bus->offers_requested = false;
	channel_forget_all(bus);
	gpadl_free_all(&bus->gpadls);
	synic_reset(bus->synic, false);
}

static const char *refusal(struct vmbus *bus, const struct message_contact *contact)
{
	if (contact->vp >= bus->vp_count)
		return "a contact wants its messages at a processor that is not there";
	if (contact->version >= FIRST_WITH_SINT && contact->sint != SYNIC_SINT)
		return "a contact wants its messages at another interrupt";
	return NULL;
}

void vmbus_contact(struct vmbus *bus, const struct message_contact *contact)
{
	const char *fault = refusal(bus, contact);
	uint8_t out[MESSAGE_MAX];
	bool supported;

	disconnect(bus);
	/* Guests wait for an answer for ever: the best place for one, if theirs does not exist. */
	bus->vp = contact->vp < bus->vp_count ? contact->vp : 0;
	if (fault)
		vmbus_fault(bus, fault);
	supported = !fault && speaks(bus, contact->version);
	if (supported)
		bus->version = contact->version;
	vmbus_send(
	    bus, out,
	    message_put_version(out, supported,
				contact->version >= FIRST_WITH_SINT ? CONNECTION_MESSAGES : 0));
}

void vmbus_request_offers(struct vmbus *bus)
{
	uint8_t out[MESSAGE_MAX];

	if (bus->offers_requested) {
		vmbus_fault(bus, "offers are requested twice");
		return;
	}
	bus->offers_requested = true;
	channel_offer_waiting(bus);
	vmbus_send(bus, out, message_put_plain(out, MESSAGE_ALL_OFFERS));
}

/* Answered without a connection, too: a kernel that crashes does not know whether it has one. */
void vmbus_unload(struct vmbus *bus)
{
	uint8_t out[MESSAGE_MAX];

	disconnect(bus);
	vmbus_send(bus, out, message_put_plain(out, MESSAGE_UNLOAD_RESPONSE));
}

void vmbus_reset(struct vmbus *bus)
{
	vmbus_drop_posts(bus);
	disconnect(bus);
	bus->vp = 0;
}
