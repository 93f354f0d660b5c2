/* SPDX-License-Identifier: MIT */

/* As hv_storvsp.c: while requests are in flight, and with more than one channel. */

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/hv_storage_lab.h"

static void start(void)
{
	slab_start(0);
}

TestSuite(hv_storvsp_flight, .init = start, .fini = slab_stop, .timeout = 120);

/* ---- in flight ---- */

struct other {
	pthread_t thread;
	atomic_bool done;
};

static void *detach_unit(void *arg)
{
	struct other *other = arg;

	cr_assert_eq(storvsp_detach(slab.adapter, 0, NULL), ERR_OK);
	atomic_store(&other->done, true);
	return NULL;
}

Test(hv_storvsp_flight, detaching_waits_for_io_in_flight)
{
	struct guest_scsi what = guest_scsi_rw(true, 0, 8, slab.buffer);
	struct other other = {0};
	struct vstor_result result;

	gate_shut(slab.disk);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(guest_scsi_send(&slab.ch, i + 1, &what));
	slab_await_gate(3);
	pthread_create(&other.thread, NULL, detach_unit, &other);
	/* What comes now fails, what is in flight is waited for. */
	do
		result = guest_scsi(&slab.ch, &(struct guest_scsi){.cdb = {0}});
	while (result.srb_status == SRB_SUCCESS);
	cr_assert_eq(result.srb_status, SRB_INVALID_LUN);
	cr_assert_not(atomic_load(&other.done));
	gate_open(slab.disk);
	pthread_join(other.thread, NULL);
	for (unsigned i = 0; i < 3; i++) {
		result = guest_scsi_wait(&slab.ch, NULL);
		cr_assert(guest_scsi_good(&result, 4096));
	}
}

static void *close_channel(void *arg)
{
	struct other *other = arg;

	guest_close(&slab.ch);
	atomic_store(&other->done, true);
	return NULL;
}

/* G6 */
Test(hv_storvsp_flight, closing_waits_for_io_in_flight)
{
	struct guest_scsi what = guest_scsi_rw(false, 0, 8, slab.buffer);
	struct other other = {0};

	gate_shut(slab.disk);
	for (unsigned i = 0; i < 8; i++)
		cr_assert(guest_scsi_send(&slab.ch, i + 1, &what));
	slab_await_gate(8);
	pthread_create(&other.thread, NULL, close_channel, &other);
	usleep(50000);
	cr_assert_not(atomic_load(&other.done));
	gate_open(slab.disk);
	pthread_join(other.thread, NULL);

	/* and it may be opened again, from the beginning */
	guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
	cr_assert(guest_read(&slab.ch, 0, 8, slab.buffer));
}

Test(hv_storvsp_flight, a_reset_completes_after_what_is_in_flight)
{
	struct guest_scsi what = guest_scsi_rw(false, 0, 8, slab.buffer);
	uint8_t packet[VSTOR_BYTES];
	struct guest_packet got;

	gate_shut(slab.disk);
	for (unsigned i = 0; i < 5; i++)
		cr_assert(guest_scsi_send(&slab.ch, i + 1, &what));
	slab_await_gate(5);
	vstor_notice(packet, VSTOR_RESET_BUS);
	for (unsigned i = 0; i < 2; i++)
		cr_assert(guest_send(&slab.ch, PACKET_INBAND, 1, 77 + i, NULL, 0, packet, 64));
	cr_assert_not(guest_receive(&slab.ch, &got, 50));
	gate_open(slab.disk);
	for (unsigned i = 0; i < 7; i++) {
		cr_assert(guest_receive(&slab.ch, &got, GUEST_PATIENCE_MS));
		if (i >= 5)
			cr_assert_eq(got.transaction, 77 + i - 5);
		else
			cr_assert_leq(got.transaction, 5);
	}
	cr_assert(guest_read(&slab.ch, 0, 8, slab.buffer));
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_RESET_BUS, 0), 0, "with nothing in flight");
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_RESET_LUN, 0), 0);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_RESET_ADAPTER, 0), 0);
}

/* Back-pressure: the ring is not read any further, and nothing is lost. */
Test(hv_storvsp_flight, more_than_the_pool_holds_waits_in_the_ring)
{
	struct guest_scsi what = guest_scsi_rw(false, 0, 1, slab.buffer);
	unsigned sent = 0;

	gate_shut(slab.disk);
	while (guest_scsi_send(&slab.ch, sent + 1, &what))
		sent++;
	cr_assert_gt(sent, STORVSP_MAX_PENDING);
	slab_await_gate(STORVSP_MAX_PENDING);
	usleep(20000);
	cr_assert_eq(gate_waiting(slab.disk), STORVSP_MAX_PENDING);
	gate_open(slab.disk);
	for (unsigned i = 0; i < sent; i++) {
		struct vstor_result result = guest_scsi_wait(&slab.ch, NULL);

		cr_assert(guest_scsi_good(&result, 512));
	}
}

/* A guest that does not read its completions: they wait for it, all of them. */
Test(hv_storvsp_flight, completions_wait_for_room)
{
	struct guest_scsi what = guest_scsi_rw(false, 0, 1, slab.buffer);
	struct guest_channel small;
	unsigned sent = 0;

	guest_close(&slab.ch);
	cr_assert_eq(guest_open(&slab.g, guest_offer_of(&slab.g, &slab.instance, 0), 2, 0, &small),
		     0);
	guest_storage_handshake(&small);
	for (unsigned last = 0; sent < 200 && last < 200; last++) {
		if (guest_scsi_send(&small, sent + 1, &what)) {
			last = 0;
			sent++;
		} else {
			usleep(1000); /* until it reads no more, as it cannot answer */
		}
	}
	cr_assert_gt(sent, 4096 / 88, "more than the ring of answers holds");
	for (unsigned i = 0; i < sent; i++) {
		struct vstor_result result = guest_scsi_wait(&small, NULL);

		cr_assert(guest_scsi_good(&result, 512));
	}
	guest_close(&small);
}

/* ---- more channels ---- */

static void start_with_subs(void)
{
	slab_start(4);
}

TestSuite(hv_storvsp_sub, .init = start_with_subs, .fini = slab_stop, .timeout = 120);

Test(hv_storvsp_sub, are_offered_when_asked_for)
{
	struct pollfd pfd = {.fd = storvsp_fd(slab.adapter), .events = POLLIN};

	cr_assert_null(guest_offer_of(&slab.g, &slab.instance, 1));
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_CREATE_SUB_CHANNELS, 5),
		     VSTOR_INVALID_PARAMETER);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_CREATE_SUB_CHANNELS, 3), 0);
	cr_assert_eq(poll(&pfd, 1, 20000), 1);
	cr_assert_null(guest_offer_of(&slab.g, &slab.instance, 1), "on the bus's thread alone");
	storvsp_run(slab.adapter);
	for (unsigned i = 1; i <= 3; i++)
		cr_assert_not_null(guest_offer_of(&slab.g, &slab.instance, i));
	cr_assert_null(guest_offer_of(&slab.g, &slab.instance, 4));
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_CREATE_SUB_CHANNELS, 1), VSTOR_INVALID_STATE);
	cr_assert_eq(poll(&pfd, 1, 0), 0);
}

Test(hv_storvsp_sub, each_does_io)
{
	struct guest_channel sub[3];

	cr_assert(slab_ask_subs(3));
	for (unsigned i = 0; i < 3; i++)
		guest_storage_open(&slab.g, &slab.instance, i + 1, &sub[i]);
	for (unsigned i = 0; i < 3; i++) {
		slab_fill(i * 4096, 4096, i);
		cr_assert(guest_write(&sub[i], i * 8, 8, slab.buffer + i * 4096));
	}
	cr_assert(guest_read(&slab.ch, 0, 24, slab.buffer + 65536));
	for (unsigned i = 0; i < 3; i++)
		cr_assert(slab_holds(65536 + i * 4096, 4096, i));
	cr_assert_eq(guest_storage_do(&sub[0], VSTOR_BEGIN_INITIALIZATION, 0), VSTOR_INVALID_STATE);
	cr_assert_eq(guest_storage_do(&sub[0], VSTOR_CREATE_SUB_CHANNELS, 1), VSTOR_INVALID_STATE);
	cr_assert_eq(slab_stats(0).write_ops, 3);
	guest_close(&sub[1]);
	cr_assert(guest_read(&sub[2], 0, 8, slab.buffer));
}

Test(hv_storvsp_sub, a_reset_waits_for_all_channels)
{
	struct guest_scsi what = guest_scsi_rw(false, 0, 8, slab.buffer);
	uint8_t packet[VSTOR_BYTES];
	struct guest_channel sub;
	struct guest_packet got;
	struct vstor_result result;

	cr_assert(slab_ask_subs(1));
	guest_storage_open(&slab.g, &slab.instance, 1, &sub);
	gate_shut(slab.disk);
	cr_assert(guest_scsi_send(&sub, 5, &what));
	slab_await_gate(1);
	vstor_notice(packet, VSTOR_RESET_BUS);
	cr_assert(guest_send(&slab.ch, PACKET_INBAND, 1, 77, NULL, 0, packet, 64));
	cr_assert_not(guest_receive(&slab.ch, &got, 50));
	gate_open(slab.disk);
	cr_assert(guest_receive(&slab.ch, &got, GUEST_PATIENCE_MS));
	cr_assert_eq(got.transaction, 77);
	result = guest_scsi_wait(&sub, NULL);
	cr_assert(guest_scsi_good(&result, 4096));
}

Test(hv_storvsp_sub, come_anew_with_the_primary)
{
	struct guest_channel sub;

	for (unsigned i = 0; i < 3; i++) {
		cr_assert(slab_ask_subs(2));
		guest_storage_open(&slab.g, &slab.instance, 2, &sub);
		cr_assert(guest_read(&sub, 0, 8, slab.buffer));
		guest_close(&sub);
		guest_close(&slab.ch);
		guest_drain(&slab.g);
		cr_assert_null(guest_offer_of(&slab.g, &slab.instance, 1));
		guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
	}
	/* asked for, but the primary is closed before the bus's thread has offered them */
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_CREATE_SUB_CHANNELS, 2), 0);
	guest_close(&slab.ch);
	storvsp_run(slab.adapter);
	cr_assert_null(guest_offer_of(&slab.g, &slab.instance, 1));
	guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
	storvsp_run(slab.adapter);
	cr_assert_null(guest_offer_of(&slab.g, &slab.instance, 1));
}

Test(hv_storvsp_sub, a_guest_that_unloads_with_io_in_flight)
{
	struct guest_scsi what = guest_scsi_rw(true, 0, 8, slab.buffer);
	struct guest_channel sub;

	cr_assert(slab_ask_subs(1));
	guest_storage_open(&slab.g, &slab.instance, 1, &sub);
	for (unsigned i = 0; i < 50; i++) {
		guest_scsi_send(&sub, i, &what);
		guest_scsi_send(&slab.ch, i, &what);
	}
	guest_unload(&slab.g);
	guest_connect(&slab.g);
	guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
	cr_assert(guest_read(&slab.ch, 0, 8, slab.buffer));
	/* and one that is destroyed with some in flight, by the end of the test */
	for (unsigned i = 0; i < 50; i++)
		guest_scsi_send(&slab.ch, i, &what);
}
