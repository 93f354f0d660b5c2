/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/hv_bus_lab.h"
#include "util/bytes.h"

static struct guest_bus g;
static struct echo echo, sub[3];
static struct guest_channel ch;

static void offer_one(uint32_t version)
{
	guest_init(&g, &(struct guest_opts){.vp_count = 4, .version = version});
	cr_assert_eq(echo_offer(&g, &echo, 0, 0), ERR_OK);
	guest_connect(&g);
	cr_assert_eq(guest_open(&g, &g.offer[0], 4, 1, &ch), 0);
}

static void setup(void)
{
	offer_one(0);
}

static void teardown(void)
{
	guest_fini(&g);
}

TestSuite(hv_channel, .init = setup, .fini = teardown, .timeout = 60);

Test(hv_channel, opens_and_works)
{
	cr_assert_eq(echo.opened, 1);
	cr_assert(channel_is_open(echo.channel));
	cr_assert_eq(channel_sub_index(echo.channel), 0);
	cr_assert_eq(channel_vp(echo.channel), 1);
	cr_assert(!channel_fault(echo.channel));
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(echo_works(&echo, &ch), "round %u", i);
}

/* What the guest wrote before it opened the channel came with no signal. */
Test(hv_channel, an_open_counts_as_a_signal)
{
	guest_close(&ch);
	cr_assert_eq(guest_open(&g, &g.offer[0], 4, 1, &ch), 0);
	put_le32(ch.out.header + 8, 1); /* masked: no signal */
	cr_assert(guest_send(&ch, PACKET_INBAND, 0, 1, NULL, 0, "x", 1));
	echo.served = 0;
	echo_serve(&echo);
	cr_assert_eq(echo.served, 1);
}

Test(hv_channel, closes_and_opens_again)
{
	for (unsigned i = 1; i < 20; i++) {
		guest_close(&ch);
		cr_assert_eq(echo.closed, i);
		cr_assert_not(channel_is_open(echo.channel));
		cr_assert_eq(vmbus_signal(g.bus, ch.connection, 0), HV_INVALID_CONNECTION);
		cr_assert_eq(guest_open(&g, &g.offer[0], 2 + i % 3, i % 4, &ch), 0);
		cr_assert_eq(vmbus_signal(g.bus, ch.connection, 0), HV_SUCCESS);
		cr_assert(echo_works(&echo, &ch));
	}
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
}

Test(hv_channel, a_device_may_refuse)
{
	guest_close(&ch);
	echo.refuse = true;
	cr_assert_neq(guest_open(&g, &g.offer[0], 4, 1, &ch), 0);
	cr_assert_not(channel_is_open(echo.channel));
	guest_gpadl_drop(&g, ch.relid, ch.gpadl);
	cr_assert_eq(echo.closed, 1, "what was not opened is not closed");
	echo.refuse = false;
	cr_assert_eq(guest_open(&g, &g.offer[0], 4, 1, &ch), 0);
	cr_assert(echo_works(&echo, &ch));
}

/* Packets go in and out in bursts: signals, masks and requests for room all have to be right. */
Test(hv_channel, many_packets_through_small_rings)
{
	struct guest_packet packet;
	uint64_t sent = 0, received = 0;
	uint8_t payload[200];
	unsigned stuck = 0;

	guest_close(&ch);
	cr_assert_eq(guest_open(&g, &g.offer[0], 2, 3, &ch), 0);
	while (received < 20000 && stuck < 3) {
		uint64_t before = received;

		do {
			memset(payload, (int)sent, sizeof(payload));
		} while (
		    sent < 20000 &&
		    guest_send(&ch, PACKET_INBAND, 1, sent + 1, NULL, 0, payload, 8 + sent % 190) &&
		    ++sent);
		echo_serve(&echo);
		cr_assert_neq(echo.result, RING_BROKEN);
		while (guest_receive(&ch, &packet, 0)) {
			cr_assert_eq(packet.transaction, ++received);
			cr_assert_eq(packet.b[0], (uint8_t)(packet.transaction - 1));
		}
		stuck = received == before ? stuck + 1 : 0;
	}
	cr_assert_eq(received, 20000, "stuck at %llu of %llu", (unsigned long long)received,
		     (unsigned long long)sent);
}

/* A guest that does not read makes the ring full; when it reads, the channel is told. */
Test(hv_channel, a_full_ring_kicks_the_channel_when_there_is_room)
{
	struct guest_packet packet;
	unsigned written = 0, taken;

	channel_wake(echo.channel);
	while (channel_write(echo.channel, PACKET_INBAND, 0, written, "x", 1) == RING_OK)
		written++;
	echo.served = 0;
	cr_assert(guest_send(&ch, PACKET_INBAND, 0, 1, NULL, 0, "x", 1)); /* masked: no signal */
	echo_serve(&echo);
	cr_assert_eq(echo.served, 0, "nobody has signalled");
	cr_assert(guest_receive(&ch, &packet, 0));
	echo_serve(&echo);
	cr_assert_eq(echo.served, 1, "reading has");
	cr_assert_eq(channel_write(echo.channel, PACKET_INBAND, 0, written++, "x", 1), RING_OK);
	for (taken = 1; guest_receive(&ch, &packet, 0); taken++)
		cr_assert_eq(packet.transaction, taken);
	cr_assert_eq(taken, written);
}

Test(hv_channel, the_processor_that_is_interrupted)
{
	static const uint32_t vp[] = {0, 3, 2, 1};
	uint64_t count;

	for (unsigned i = 0; i < ARRAY_LEN(vp); i++) {
		const uint32_t word[] = {ch.relid, vp[i]};
		struct guest_message answer;

		guest_post_words(&g, MSG_MODIFY, word, 2);
		cr_assert(guest_message_of(&g, MSG_MODIFIED, &answer));
		cr_assert_eq(get_le32(answer.b + 8), ch.relid);
		cr_assert_eq(get_le32(answer.b + 12), 0);
		cr_assert_eq(channel_vp(echo.channel), vp[i]);
		ch.vp = vp[i];
		cr_assert(echo_works(&echo, &ch));
		cr_assert(guest_flag(&ch));
		cr_assert_eq(read(synic_interrupt_fd(g.synic, vp[i]), &count, 8), 8);
	}
}

Test(hv_channel, modify_is_answered_from_5_3_on)
{
	static const uint32_t version[] = {VMBUS_VERSION(4, 1), VMBUS_VERSION(5, 0),
					   VMBUS_VERSION(5, 2), VMBUS_VERSION(4, 0)};

	guest_fini(&g);
	for (unsigned i = 0; i < ARRAY_LEN(version); i++) {
		uint32_t word[2] = {0, 2};

		offer_one(version[i]);
		word[0] = ch.relid;
		guest_post_words(&g, MSG_MODIFY, word, 2);
		cr_assert_eq(guest_drain(&g), 0);
		cr_assert_eq(channel_vp(echo.channel), version[i] > VMBUS_VERSION(4, 0) ? 2 : 1);
		if (i + 1 < ARRAY_LEN(version))
			guest_fini(&g);
	}
}

/* ---- taking back ---- */

Test(hv_channel, a_rescinded_channel_is_gone_when_it_is_released)
{
	uint32_t relid = ch.relid;

	g.keep_rescinded = true;
	vmbus_rescind(echo.channel);
	cr_assert_eq(echo.closed, 1);
	guest_drain(&g);
	cr_assert(guest_offer_relid(&g, relid)->rescinded);
	cr_assert_eq(echo.gone, 0);
	/* The guest closes, perhaps tears down, and lets go. */
	guest_close(&ch);
	cr_assert_eq(echo.closed, 1);
	cr_assert_eq(echo.gone, 0);
	guest_release(&g, relid);
	guest_run(&g);
	cr_assert_eq(echo.gone, 1);
	guest_release(&g, relid);
	guest_run(&g);
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
}

Test(hv_channel, what_was_never_offered_is_gone_at_once)
{
	struct echo other;

	vmbus_reset(g.bus);
	cr_assert_eq(echo_offer(&g, &other, 5, 0), ERR_OK);
	vmbus_rescind(other.channel);
	cr_assert_eq(other.gone, 1);
	guest_connect(&g);
	cr_assert_eq(g.offer_count, 1);
}

Test(hv_channel, an_open_that_crosses_a_rescind_is_not_answered)
{
	struct guest_message message;
	uint8_t b[148] = {MSG_OPEN};

	guest_close(&ch);
	g.keep_rescinded = true;
	vmbus_rescind(echo.channel);
	put_le32(b + 8, ch.relid);
	guest_post(&g, b, sizeof(b));
	cr_assert(guest_message(&g, &message));
	cr_assert_eq(message.type, MSG_RESCIND);
	cr_assert_not(guest_message(&g, &message));
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
}

/* Two of one name at once confuse the guest. */
Test(hv_channel, the_same_device_comes_back_after_the_release)
{
	uint32_t relid = ch.relid;
	struct echo again;

	g.keep_rescinded = true;
	vmbus_retire(echo.channel);
	cr_assert_eq(echo_offer(&g, &again, 0, 0), ERR_OK);
	guest_drain(&g);
	cr_assert_eq(g.offer_count, 1, "not before the old one is released");
	guest_release(&g, relid);
	guest_drain(&g);
	cr_assert_eq(g.offer_count, 2);
	cr_assert_neq(g.offer[1].relid, relid);
	cr_assert_eq(echo.gone, 0, "a retired device is not told");
	cr_assert_eq(guest_open(&g, &g.offer[1], 4, 0, &ch), 0);
	cr_assert(echo_works(&again, &ch));
}

Test(hv_channel, numbers_are_not_used_again_soon)
{
	uint8_t seen[2048] = {0};

	for (unsigned i = 0; i < 2000; i++) {
		struct echo other;
		const struct guest_offer *offer;

		g.offer_count = 1;
		cr_assert_eq(echo_offer(&g, &other, 7, 0), ERR_OK);
		guest_drain(&g);
		offer = &g.offer[1];
		cr_assert_not(seen[offer->relid]++, "%u", offer->relid);
		cr_assert_neq(offer->relid, g.offer[0].relid);
		vmbus_rescind(other.channel);
		guest_drain(&g);
		guest_run(&g);
		cr_assert_eq(other.gone, 1);
	}
}

/* ---- sub-channels ---- */

static void offer_subs(struct guest_channel *out)
{
	struct guid instance = echo_instance(0);

	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(echo_offer(&g, &sub[i], 0, i + 1), ERR_OK);
	for (unsigned i = 0; i < 3; i++) {
		const struct guest_offer *offer = guest_offer_of(&g, &instance, i + 1);

		cr_assert(offer);
		cr_assert_eq(guest_open(&g, offer, 4, i, &out[i]), 0);
		cr_assert(echo_works(&sub[i], &out[i]));
		cr_assert_eq(channel_sub_index(sub[i].channel), i + 1);
	}
}

/* As Linux does: it closes all of them, and releases only what the host takes back. */
Test(hv_channel, sub_channels_are_taken_back_when_the_primary_closes)
{
	struct guest_channel s[3];
	uint32_t relid;

	for (unsigned round = 1; round <= 3; round++) {
		offer_subs(s);
		relid = s[0].relid;
		for (unsigned i = 0; i < 3; i++)
			guest_close(&s[i]);
		cr_assert_eq(sub[0].gone, 0);
		guest_close(&ch);
		guest_drain(&g);
		guest_run(&g);
		for (unsigned i = 0; i < 3; i++) {
			cr_assert_eq(sub[i].closed, 1);
			cr_assert_eq(sub[i].gone, 1);
		}
		cr_assert_eq(echo.closed, round);
		cr_assert_eq(guest_open(&g, &g.offer[0], 4, 0, &ch), 0);
		cr_assert_neq(relid, ch.relid);
	}
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
}

Test(hv_channel, open_sub_channels_are_closed_with_the_primary)
{
	struct guest_channel s[3];

	offer_subs(s);
	g.keep_rescinded = true;
	guest_post_words(&g, MSG_CLOSE, &ch.relid, 1);
	guest_drain(&g);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(sub[i].closed, 1);
		cr_assert_eq(sub[i].gone, 0);
		guest_release(&g, s[i].relid);
	}
	guest_run(&g);
	cr_assert_eq(sub[2].gone, 1);
}

Test(hv_channel, a_retired_primary_takes_its_sub_channels_along)
{
	struct guest_channel s[3];

	offer_subs(s);
	vmbus_retire(echo.channel);
	guest_drain(&g);
	guest_run(&g);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(sub[i].closed, 1);
		cr_assert_eq(sub[i].gone, 0);
	}
	cr_assert_eq(echo.closed, 1);
	for (unsigned i = 0; i < g.offer_count; i++)
		cr_assert(g.offer[i].rescinded);
}

Test(hv_channel, a_new_connection_has_no_sub_channels)
{
	struct guest_channel s[3];

	offer_subs(s);
	guest_connect(&g);
	cr_assert_eq(g.offer_count, 1);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(sub[i].closed, 1);
		cr_assert_eq(sub[i].gone, 1);
	}
}

/* ---- signals in the kernel ---- */

struct wires {
	unsigned assigned, released;
	uint32_t connection;
	bool fail;
};

static enum err assign(void *arg, uint32_t connection, int fd, struct err_why *why)
{
	struct wires *wires = arg;

	if (wires->fail || fd < 0)
		return err_set(why, ERR_IO, "no");
	wires->assigned++;
	wires->connection = connection;
	return ERR_OK;
}

static void release(void *arg, uint32_t connection, int fd)
{
	struct wires *wires = arg;

	(void)fd;
	cr_assert_eq(connection, wires->connection);
	wires->released++;
}

Test(hv_channel, signals_are_wired_while_it_is_open)
{
	struct wires wires = {0};
	const struct vmbus_wiring wiring = {&wires, assign, release};

	guest_fini(&g);
	guest_init(&g, &(struct guest_opts){.wiring = &wiring});
	cr_assert_eq(echo_offer(&g, &echo, 0, 0), ERR_OK);
	guest_connect(&g);
	cr_assert_eq(wires.assigned, 0);
	cr_assert_eq(guest_open(&g, &g.offer[0], 4, 0, &ch), 0);
	cr_assert_eq(wires.assigned, 1);
	cr_assert_eq(wires.connection, ch.connection);
	guest_close(&ch);
	cr_assert_eq(wires.released, 1);
	echo.refuse = true;
	cr_assert_neq(guest_open(&g, &g.offer[0], 4, 0, &ch), 0);
	cr_assert_eq(wires.released, 2);
	echo.refuse = false;
	wires.fail = true;
	cr_assert_neq(guest_open(&g, &g.offer[0], 4, 0, &ch), 0);
	cr_assert_eq(wires.released, 2);
	cr_assert_eq(echo.opened, 1);
	wires.fail = false;
	cr_assert_eq(guest_open(&g, &g.offer[0], 4, 0, &ch), 0);
	vmbus_reset(g.bus);
	cr_assert_eq(wires.released, wires.assigned);
}
