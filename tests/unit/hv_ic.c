/* SPDX-License-Identifier: MIT */
/* Integration components and a guest that answers as Linux does, or later, or not at all. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "hv/ic_heartbeat.h"
#include "hv/ic_kvp.h"
#include "hv/ic_shutdown.h"
#include "hv/ic_timesync.h"
#include "tests/unit/hv_ic_lab.h"
#include "util/bytes.h"

#define BODY      28
#define NO_MORE   0x80070103u
#define E_FAIL_HV 0x80004005u

/* ---- negotiation ---- */

Test(hv_ic, four_components_are_offered_as_message_pipes)
{
	static const struct ic_component *const part[] = {&ic_heartbeat, &ic_shutdown, &ic_timesync,
							  &ic_kvp};
	struct ic_lab *lab = ic_lab_new();

	cr_expect_eq(lab->g.offer_count, 4);
	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		const struct guest_offer *o = guest_offer_of(&lab->g, &part[i]->instance, 0);

		cr_assert_not_null(o);
		cr_expect(guid_equal(&o->type, &part[i]->type));
		cr_expect_eq(o->flags & 0x10, 0x10);
		cr_expect_eq(get_le32(o->user), 4);
	}
	ic_lab_free(lab);
}

Test(hv_ic, agree_on_what_the_guest_chooses)
{
	struct ic_heartbeat state = {0};
	struct ic_lab *lab = ic_lab_new_one(&ic_heartbeat, &state);
	struct ic_guest guest;

	ic_guest_open(lab, &ic_heartbeat, IC_LAB_RING_PAGES, &guest);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(get_le16(guest.p.b + 12), IC_NEGOTIATE);
	cr_expect_eq(lab->one.state, IC_NEGOTIATING);
	ic_guest_agree(&guest, 1, 0);
	ic_lab_run(lab, 0);
	cr_expect_eq(lab->one.state, IC_READY);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(get_le16(guest.p.b + 8), 3, "the framework agreed on");
	cr_expect_eq(get_le16(guest.p.b + 12), IC_HEARTBEAT);
	cr_expect_eq(get_le16(guest.p.b + 14), 1, "the version agreed on");
	cr_expect_eq(lab->one.dropped, 0);
	ic_lab_free(lab);
}

Test(hv_ic, a_guest_may_take_its_time_to_agree)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_open(lab, &ic_kvp, IC_LAB_RING_PAGES, &guest);
	cr_assert(ic_guest_request(&guest));
	ic_lab_run(lab, 3600000);
	cr_expect(!guest_receive(&guest.channel, &(struct guest_packet){0}, 0),
		  "it is not asked again");
	cr_expect(!integration_kvp_refresh(lab->all));
	ic_guest_agree(&guest, 4, 0);
	ic_lab_run(lab, 0);
	cr_expect(integration_kvp_refresh(lab->all));
	ic_lab_free(lab);
}

Test(hv_ic, opened_again_they_negotiate_again)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_heartbeat, &guest);
	cr_assert(ic_guest_request(&guest));
	ic_guest_reply(&guest); /* not the right number, but that is another test */
	guest_close(&guest.channel);
	ic_lab_run(lab, 1000);
	ic_guest_up(lab, &ic_heartbeat, &guest);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(get_le16(guest.p.b + 12), IC_HEARTBEAT);
	ic_lab_free(lab);
}

Test(hv_ic, without_a_common_version_nothing_is_asked)
{
	struct ic_shutdown state = {0};
	struct ic_lab *lab = ic_lab_new_one(&ic_shutdown, &state);
	struct ic_guest guest;

	shutdown_ask(&state, false);
	ic_guest_open(lab, &ic_shutdown, IC_LAB_RING_PAGES, &guest);
	cr_assert(ic_guest_request(&guest));
	put_le32(guest.p.b + BODY, 0);
	ic_guest_reply(&guest);
	ic_lab_run(lab, 60000);
	cr_expect_eq(lab->one.state, IC_REFUSED);
	cr_expect_eq(lab->one.dropped, 0, "an honest answer");
	cr_expect_eq(state.state, SHUTDOWN_NO_GUEST);
	cr_expect(!ic_guest_request(&guest));
	ic_lab_free(lab);
}

/* ---- heartbeat ---- */

static void beat(struct ic_guest *guest)
{
	cr_assert(ic_guest_request(guest));
	put_le64(guest->p.b + BODY, get_le64(guest->p.b + BODY) + 1);
	ic_guest_reply(guest);
	ic_lab_run(guest->lab, 0);
}

Test(hv_ic, a_heart_beats_every_two_seconds)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;
	uint64_t last = 0;

	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_NONE);
	ic_guest_up(lab, &ic_heartbeat, &guest);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_NONE);
	for (unsigned i = 0; i < 10; i++) {
		beat(&guest);
		cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
		cr_expect_gt(get_le64(guest.p.b + BODY), last, "the numbers rise");
		last = get_le64(guest.p.b + BODY);
		ic_lab_run(lab, 1000);
		cr_expect(!guest_receive(&guest.channel, &guest.p, 0), "not yet");
		ic_lab_run(lab, 1000);
	}
	ic_lab_free(lab);
}

Test(hv_ic, three_missing_beats_are_a_loss_and_one_is_a_return)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_heartbeat, &guest);
	beat(&guest);
	ic_lab_run(lab, 2000);
	ic_lab_run(lab, 5000);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
	ic_lab_run(lab, 1000);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_LOST);
	beat(&guest);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
	guest_close(&guest.channel);
	ic_lab_run(lab, 0);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_LOST, "the driver is gone");
	ic_guest_up(lab, &ic_heartbeat, &guest);
	beat(&guest);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK, "and back");
	integration_reset(lab->all);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_NONE);
	ic_lab_free(lab);
}

/* A day without an answer; then the guest reads all there is, and answers all of it. */
Test(hv_ic, a_guest_that_stands_still_comes_back)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;
	unsigned waiting = 0;

	ic_guest_up(lab, &ic_heartbeat, &guest);
	beat(&guest);
	ic_lab_run(lab, 86400000);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_LOST);
	while (ic_guest_request(&guest)) {
		put_le64(guest.p.b + BODY, get_le64(guest.p.b + BODY) + 1);
		ic_guest_reply(&guest);
		ic_lab_run(lab, 0);
		waiting++;
	}
	cr_expect_gt(waiting, 100, "as many as the ring holds");
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
	ic_lab_run(lab, 2000);
	beat(&guest);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
	ic_lab_free(lab);
}

Test(hv_ic, a_pause_is_not_a_loss)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_heartbeat, &guest);
	beat(&guest);
	ic_lab_run(lab, 2000);
	lab->now_ns += 3600000000000ull;
	integration_sync_time(lab->all);
	ic_lab_run(lab, 0);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
	ic_lab_run(lab, 6000);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_LOST, "but this is");
	ic_lab_free(lab);
}

Test(hv_ic, three_wrong_answers_are_a_loss)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_heartbeat, &guest);
	beat(&guest);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
		ic_lab_run(lab, 2000);
		cr_assert(ic_guest_request(&guest));
		ic_guest_reply(&guest); /* the number it was sent, not the next one */
		ic_lab_run(lab, 0);
	}
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_LOST);
	ic_lab_free(lab);
}

Test(hv_ic, wrong_answers_count_only_in_a_row)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_heartbeat, &guest);
	for (unsigned i = 0; i < 9; i++) {
		if (i % 3 == 0) {
			beat(&guest);
		} else {
			cr_assert(ic_guest_request(&guest));
			ic_guest_reply(&guest);
		}
		ic_lab_run(lab, 2000);
		cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK);
	}
	ic_lab_free(lab);
}

/* ---- shutdown ---- */

static void answer_status(struct ic_guest *guest, uint32_t status)
{
	put_le32(guest->p.b + 20, status);
	ic_guest_reply(guest);
	ic_lab_run(guest->lab, 0);
}

Test(hv_ic, shutdown_is_asked_and_answered)
{
	static const struct {
		bool reboot;
		uint32_t status;
		enum shutdown_state end;
	} row[] = {
	    {false, 0, SHUTDOWN_ACCEPTED},
	    {true, 0, SHUTDOWN_ACCEPTED},
	    {false, E_FAIL_HV, SHUTDOWN_REFUSED},
	    {true, 1, SHUTDOWN_REFUSED},
	};
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_NONE);
	ic_guest_up(lab, &ic_shutdown, &guest);
	cr_expect(!ic_guest_request(&guest), "unasked, nothing");
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		integration_shutdown(lab->all, row[i].reboot);
		cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_ASKED);
		ic_lab_run(lab, 0);
		cr_assert(ic_guest_request(&guest));
		cr_expect_geq(guest.p.len, 2088);
		cr_expect_eq(get_le16(guest.p.b + 12), IC_SHUTDOWN);
		cr_expect_eq(get_le32(guest.p.b + 36), row[i].reboot ? 2 : 0);
		answer_status(&guest, row[i].status);
		cr_expect_eq(integration_shutdown_state(lab->all), row[i].end);
	}
	ic_lab_free(lab);
}

Test(hv_ic, what_was_asked_early_is_sent_when_a_driver_comes)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	integration_shutdown(lab->all, false);
	ic_lab_run(lab, 5000);
	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_NO_GUEST);
	ic_guest_up(lab, &ic_shutdown, &guest);
	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_ASKED);
	cr_assert(ic_guest_request(&guest));
	guest_close(&guest.channel);
	ic_lab_run(lab, 0);
	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_NO_GUEST);
	ic_guest_up(lab, &ic_shutdown, &guest);
	cr_assert(ic_guest_request(&guest), "the next driver is asked, too");
	answer_status(&guest, 0);
	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_ACCEPTED);
	ic_lab_free(lab);
}

Test(hv_ic, asked_twice_the_last_word_counts)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_shutdown, &guest);
	integration_shutdown(lab->all, false);
	ic_lab_run(lab, 0);
	integration_shutdown(lab->all, false);
	integration_shutdown(lab->all, true);
	ic_lab_run(lab, 0);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(get_le32(guest.p.b + 36), 0);
	answer_status(&guest, E_FAIL_HV);
	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_ASKED);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(get_le32(guest.p.b + 36), 2);
	answer_status(&guest, 0);
	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_ACCEPTED);
	cr_expect(!ic_guest_request(&guest));
	ic_lab_free(lab);
}

Test(hv_ic, a_reset_forgets_what_was_asked)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_shutdown, &guest);
	integration_shutdown(lab->all, false);
	ic_lab_run(lab, 0);
	vmbus_reset(lab->g.bus);
	integration_reset(lab->all);
	cr_expect_eq(integration_shutdown_state(lab->all), SHUTDOWN_NONE);
	guest_connect(&lab->g);
	ic_guest_up(lab, &ic_shutdown, &guest);
	cr_expect(!ic_guest_request(&guest), "the new guest is not asked");
	ic_lab_free(lab);
}

/* ---- time ---- */

static uint64_t host_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return timesync_host_time(now.tv_sec, now.tv_nsec);
}

Test(hv_ic, time_is_set_once_and_sampled_then)
{
	struct ic_lab *lab = ic_lab_new();
	uint64_t before = host_time();
	struct ic_guest guest;

	lab->reference = 0x123456789Aull;
	ic_guest_up(lab, &ic_timesync, &guest);
	cr_assert(ic_guest_request(&guest));
	cr_expect_geq(get_le64(guest.p.b + 28), before);
	cr_expect_leq(get_le64(guest.p.b + 28), host_time());
	cr_expect_eq(get_le64(guest.p.b + 36), 0x123456789Aull);
	cr_expect_eq(guest.p.b[44], TIMESYNC_SYNC);
	ic_guest_reply(&guest);
	ic_lab_run(lab, 4000);
	cr_expect(!ic_guest_request(&guest));
	ic_lab_run(lab, 1000);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(guest.p.b[44], TIMESYNC_SAMPLE);
	ic_guest_reply(&guest);
	integration_sync_time(lab->all);
	ic_lab_run(lab, 0);
	cr_assert(ic_guest_request(&guest), "at once");
	cr_expect_eq(guest.p.b[44], TIMESYNC_SYNC);
	ic_lab_free(lab);
}

Test(hv_ic, time_waits_for_the_reference_counter)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	lab->has_reference = false;
	ic_guest_up(lab, &ic_timesync, &guest);
	ic_lab_run(lab, 10000);
	cr_expect(!ic_guest_request(&guest));
	lab->has_reference = true;
	ic_lab_run(lab, 1000);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(guest.p.b[44], TIMESYNC_SYNC, "setting the clock was not forgotten");
	ic_lab_free(lab);
}

Test(hv_ic, older_guests_get_the_older_layout)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	lab->has_reference = false; /* not needed then */
	ic_guest_open(lab, &ic_timesync, IC_LAB_RING_PAGES, &guest);
	cr_assert(ic_guest_request(&guest));
	ic_guest_agree(&guest, 3, 0);
	ic_lab_run(lab, 0);
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(get_le16(guest.p.b + 14), 3);
	cr_expect_eq(get_le16(guest.p.b + 18), 25);
	cr_expect_eq(guest.p.b[52], TIMESYNC_SYNC);
	ic_lab_free(lab);
}

/* ---- rings and life ---- */

Test(hv_ic, a_full_ring_delays_and_loses_nothing)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_open(lab, &ic_kvp, 2, &guest); /* room for one request */
	cr_assert(ic_guest_request(&guest));
	ic_guest_agree(&guest, 4, 0);
	ic_lab_run(lab, 0);
	cr_assert(integration_kvp_refresh(lab->all));
	ic_lab_run(lab, 61000);
	cr_expect(!integration_kvp_ready(lab->all));
	cr_assert(integration_kvp_refresh(lab->all), "the first request was given up");
	ic_lab_run(lab, 1000);
	cr_assert(ic_guest_request(&guest));
	answer_status(&guest, NO_MORE);
	cr_expect(!integration_kvp_ready(lab->all), "an answer to what was given up");
	cr_assert(ic_guest_request(&guest), "the one there was no room for");
	answer_status(&guest, NO_MORE);
	cr_expect(integration_kvp_ready(lab->all));
	ic_lab_free(lab);
}

Test(hv_ic, a_second_set_on_the_same_bus_is_refused)
{
	struct ic_lab *lab = ic_lab_new();
	const struct integration_opts opts = {0};
	struct integration *other;
	struct ic_guest guest;

	cr_expect_eq(integration_create(lab->g.bus, &opts, &other, NULL), ERR_EXIST);
	ic_guest_up(lab, &ic_heartbeat, &guest);
	beat(&guest);
	cr_expect_eq(integration_heartbeat(lab->all), HEARTBEAT_OK, "the first one goes on");
	ic_lab_free(lab);
}

Test(hv_ic, destroyed_they_take_their_channels_back)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_heartbeat, &guest);
	integration_destroy(lab->all);
	lab->all = NULL;
	guest_drain(&lab->g);
	cr_expect_eq(lab->g.offer_count, 4);
	for (unsigned i = 0; i < 4; i++)
		cr_expect(lab->g.offer[i].rescinded);
	ic_lab_free(lab);
	integration_destroy(NULL);
}
