/* SPDX-License-Identifier: MIT */
/*
 * Guests that answer nonsense, through the real bus. Whatever it is, it is dropped and counted and
 * the channel stays open: where the request was not touched, the right answer still counts.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "hv/ic_heartbeat.h"
#include "tests/unit/hv_ic_lab.h"
#include "util/bytes.h"

/* What becomes of the request and of the component. */
enum fate {
	FINE,    /* an answer like another */
	IGNORED, /* as if it had not come, but for the count */
	OVER,    /* the request is over, and its answer was bad */
	REFUSED, /* no versions: the component is silent until it is opened again */
};

enum phase { CHOICE, BEAT };

struct patch {
	unsigned offset, bytes; /* in the payload */
	uint64_t value;
};

struct row {
	const char *name;
	enum phase phase;
	enum fate fate;
	struct patch patch[3];
	size_t len;            /* of the payload; 0: as it came */
	enum packet_type type; /* 0: PACKET_INBAND */
};

static const struct row rows[] = {
    {"a choice as it should be", CHOICE, FINE, {{0}}, 0, 0},
    {"the older versions", CHOICE, FINE, {{36, 2, 1}, {40, 2, 1}}, 0, 0},
    {"no payload", CHOICE, IGNORED, {{0}}, SIZE_MAX, 0},
    {"a payload of 8 bytes", CHOICE, IGNORED, {{0}}, 8, 0},
    {"a payload that ends in the header", CHOICE, IGNORED, {{0}}, 24, 0},
    {"a payload that ends in the versions", CHOICE, IGNORED, {{0}}, 40, 0},
    {"pipe type 0", CHOICE, IGNORED, {{0, 4, 0}}, 0, 0},
    {"pipe type 2", CHOICE, IGNORED, {{0, 4, 2}}, 0, 0},
    {"pipe size 0", CHOICE, IGNORED, {{4, 4, 0}}, 0, 0},
    {"pipe size below the header", CHOICE, IGNORED, {{4, 4, 19}}, 0, 0},
    {"pipe size below the body", CHOICE, IGNORED, {{4, 4, 35}}, 0, 0},
    {"pipe size beyond the packet", CHOICE, IGNORED, {{4, 4, 4096}}, 0, 0},
    {"pipe size of 4 GiB", CHOICE, IGNORED, {{4, 4, UINT32_MAX}}, 0, 0},
    {"pipe size that wraps", CHOICE, IGNORED, {{4, 4, UINT32_MAX - 7}}, 0, 0},
    {"body beyond the packet", CHOICE, IGNORED, {{18, 2, 0xFFFF}}, 0, 0},
    {"a request instead of an answer", CHOICE, IGNORED, {{25, 1, 3}}, 0, 0},
    {"no flags", CHOICE, IGNORED, {{25, 1, 0}}, 0, 0},
    {"all flags", CHOICE, FINE, {{25, 1, 0xFF}}, 0, 0},
    {"another transaction", CHOICE, IGNORED, {{24, 1, 99}}, 0, 0},
    {"a beat before there are versions", CHOICE, IGNORED, {{12, 2, 1}}, 0, 0},
    {"a type that is none", CHOICE, IGNORED, {{12, 2, 0xFFFF}}, 0, 0},
    {"a completion", CHOICE, IGNORED, {{0}}, 0, PACKET_COMPLETION},
    {"a GPA_DIRECT packet", CHOICE, IGNORED, {{0}}, 0, PACKET_GPA_DIRECT},
    {"no framework", CHOICE, REFUSED, {{28, 2, 0}}, 0, 0},
    {"no message version", CHOICE, REFUSED, {{30, 2, 0}}, 0, 0},
    {"two frameworks", CHOICE, REFUSED, {{28, 2, 2}}, 0, 0},
    {"65535 of each", CHOICE, REFUSED, {{28, 4, UINT32_MAX}}, 0, 0},
    {"a framework that was not offered", CHOICE, REFUSED, {{36, 2, 2}}, 0, 0},
    {"a message version that was not offered", CHOICE, REFUSED, {{40, 2, 4}}, 0, 0},
    {"a minor version that was not offered", CHOICE, REFUSED, {{42, 2, 1}}, 0, 0},
    {"a choice and an error", CHOICE, REFUSED, {{20, 4, 0x80004005u}}, 0, 0},
    {"a choice without a body", CHOICE, REFUSED, {{18, 2, 0}}, 0, 0},
    {"a choice whose body ends early", CHOICE, REFUSED, {{18, 2, 15}}, 0, 0},
    {"a beat as it should be", BEAT, FINE, {{0}}, 0, 0},
    {"a beat with other versions", BEAT, FINE, {{8, 4, UINT32_MAX}, {14, 4, UINT32_MAX}}, 0, 0},
    {"a beat with garbage behind the number", BEAT, FINE, {{36, 8, UINT64_MAX}}, 0, 0},
    {"no payload for a beat", BEAT, IGNORED, {{0}}, SIZE_MAX, 0},
    {"a beat's payload that ends in the number", BEAT, IGNORED, {{0}}, 32, 0},
    {"a beat of another type", BEAT, IGNORED, {{12, 2, 3}}, 0, 0},
    {"a second choice", BEAT, IGNORED, {{12, 2, 0}}, 0, 0},
    {"the transaction of the choice", BEAT, IGNORED, {{24, 1, 1}}, 0, 0},
    {"a beat as a request", BEAT, IGNORED, {{25, 1, 3}}, 0, 0},
    {"a beat as a completion", BEAT, IGNORED, {{0}}, 0, PACKET_COMPLETION},
    {"a beat in transfer pages", BEAT, IGNORED, {{0}}, 0, PACKET_XFER_PAGES},
    {"the number of the request", BEAT, OVER, {{28, 8, 1}}, 0, 0},
    {"a number of all ones", BEAT, OVER, {{28, 8, UINT64_MAX}}, 0, 0},
    {"a beat with an error", BEAT, OVER, {{20, 4, 1}}, 0, 0},
    {"a beat without a body", BEAT, OVER, {{18, 2, 0}}, 0, 0},
    {"a beat whose body ends early", BEAT, OVER, {{18, 2, 7}}, 0, 0},
};

struct scene {
	struct ic_heartbeat state;
	struct ic_lab *lab;
	struct ic_guest guest;
};

/* Up to a request whose right answer is in the guest's buffer. */
static void set_up(struct scene *s, enum phase phase)
{
	s->state = (struct ic_heartbeat){0};
	s->lab = ic_lab_new_one(&ic_heartbeat, &s->state);
	if (phase == CHOICE)
		ic_guest_open(s->lab, &ic_heartbeat, IC_LAB_RING_PAGES, &s->guest);
	else
		ic_guest_up(s->lab, &ic_heartbeat, &s->guest);
	cr_assert(ic_guest_request(&s->guest));
	s->guest.p.b[25] = IC_TRANSACTION | IC_RESPONSE;
	if (phase == CHOICE) {
		put_le16(s->guest.p.b + 18, 16);
		put_le32(s->guest.p.b + 28, 0x00010001);
		put_le32(s->guest.p.b + 36, 3);
		put_le32(s->guest.p.b + 40, 3);
	} else {
		put_le64(s->guest.p.b + 28, get_le64(s->guest.p.b + 28) + 1);
	}
}

static void answer(struct scene *s, const struct row *row)
{
	uint8_t b[sizeof(s->guest.p.b)], head[8] = {0};
	size_t len = s->guest.p.len;
	enum packet_type type = row->type ? row->type : PACKET_INBAND;

	memcpy(b, s->guest.p.b, sizeof(b));
	for (size_t i = 0; i < ARRAY_LEN(row->patch); i++)
		for (unsigned k = 0; k < row->patch[i].bytes; k++)
			b[row->patch[i].offset + k] = (uint8_t)(row->patch[i].value >> 8 * k);
	if (row->len)
		len = row->len == SIZE_MAX ? 0 : row->len;
	/* Packets of the other types have a count of ranges in front of their payload. */
	cr_assert(guest_send(&s->guest.channel, type, 0, s->guest.p.transaction, head,
			     type == PACKET_INBAND || type == PACKET_COMPLETION ? 0 : sizeof(head),
			     b, len));
	ic_lab_run(s->lab, 0);
}

static void expect_good(const struct scene *s, const struct row *row)
{
	cr_expect_eq(s->lab->one.state, IC_READY, "%s", row->name);
	if (row->phase == BEAT)
		cr_expect_eq(s->state.state, HEARTBEAT_OK, "%s", row->name);
}

static void judge(struct scene *s, const struct row *row)
{
	static const struct row right = {.name = "the right answer"};
	const struct ic *ic = &s->lab->one;

	cr_expect(channel_is_open(ic->channel), "%s", row->name);
	cr_expect(!ic->broken, "%s", row->name);
	cr_expect_eq(ic->dropped, row->fate != FINE, "%s: %llu dropped", row->name,
		     (unsigned long long)ic->dropped);
	switch (row->fate) {
	case FINE:
		expect_good(s, row);
		break;
	case IGNORED:
		cr_expect(ic->in_flight, "%s", row->name);
		cr_expect_neq(s->state.state, HEARTBEAT_OK, "%s", row->name);
		answer(s, &right);
		expect_good(s, row);
		break;
	case OVER:
		cr_expect(!ic->in_flight, "%s", row->name);
		cr_expect_eq(s->state.state, HEARTBEAT_NONE, "%s", row->name);
		ic_lab_run(s->lab, 2000);
		cr_expect(ic->in_flight, "%s: there is a next one", row->name);
		break;
	case REFUSED:
		cr_expect_eq(ic->state, IC_REFUSED, "%s", row->name);
		ic_lab_run(s->lab, 10000);
		cr_expect(!ic_guest_request(&s->guest), "%s", row->name);
		break;
	}
}

Test(hv_ic_hostile, answers_that_make_no_sense)
{
	static struct scene s;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		set_up(&s, rows[i].phase);
		answer(&s, &rows[i]);
		judge(&s, &rows[i]);
		ic_lab_free(s.lab);
	}
}

/* The same rows, and after each the channel is closed and opened: nothing sticks to a component. */
Test(hv_ic_hostile, a_new_opening_is_a_new_beginning)
{
	static struct scene s;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		set_up(&s, rows[i].phase);
		answer(&s, &rows[i]);
		guest_close(&s.guest.channel);
		ic_lab_run(s.lab, 0);
		cr_expect_eq(s.lab->one.state, IC_CLOSED);
		ic_guest_up(s.lab, &ic_heartbeat, &s.guest);
		cr_expect_eq(s.lab->one.state, IC_READY, "%s", rows[i].name);
		ic_lab_free(s.lab);
	}
}

Test(hv_ic_hostile, an_answer_nobody_waits_for)
{
	static struct scene s;
	static const struct row right = {.name = "the right answer"};

	set_up(&s, BEAT);
	answer(&s, &right);
	answer(&s, &right);
	cr_expect_eq(s.lab->one.dropped, 1);
	cr_expect_eq(s.state.state, HEARTBEAT_OK);
	ic_lab_free(s.lab);
}

/* G7: a flood is read in portions, and between them everybody else has a turn. */
Test(hv_ic_hostile, a_flood_is_read_in_portions)
{
	static struct scene s;
	unsigned sent = 0, runs = 0;
	uint64_t before = 0;

	set_up(&s, BEAT);
	while (guest_send(&s.guest.channel, PACKET_INBAND, 0, 0, NULL, 0, "nonsense", 8))
		sent++;
	cr_assert_gt(sent, 10 * IC_PACKETS_PER_RUN);
	while (s.lab->one.dropped < sent) {
		ic_run(&s.lab->one, s.lab->now_ns);
		cr_expect_leq(s.lab->one.dropped - before, IC_PACKETS_PER_RUN);
		before = s.lab->one.dropped;
		cr_assert_leq(++runs, sent);
	}
	cr_expect_eq(runs, div_round_up(sent, IC_PACKETS_PER_RUN));
	ic_lab_free(s.lab);
}

Test(hv_ic_hostile, a_flood_is_read_to_its_end_without_another_signal)
{
	static struct scene s;
	unsigned sent = 0;

	set_up(&s, BEAT);
	while (guest_send(&s.guest.channel, PACKET_INBAND, 0, 0, NULL, 0, "nonsense", 8))
		sent++;
	ic_lab_run(s.lab, 0);
	cr_expect_eq(s.lab->one.dropped, sent);
	ic_lab_free(s.lab);
}

static void expect_broken_until_opened(struct scene *s)
{
	ic_lab_run(s->lab, 30000);
	cr_expect(s->lab->one.broken);
	cr_expect(channel_is_open(s->lab->one.channel));
	guest_close(&s->guest.channel);
	ic_lab_run(s->lab, 0);
	ic_guest_up(s->lab, &ic_heartbeat, &s->guest);
	cr_expect_eq(s->lab->one.state, IC_READY);
}

/* G2: what breaks a ring, in either direction. */
Test(hv_ic_hostile, a_broken_ring_is_left_alone_until_the_channel_is_opened_again)
{
	static const uint32_t index[] = {UINT32_MAX, 0x80000000u, 3 * GUEST_PAGE, 4, 1};
	static struct scene s;

	for (size_t i = 0; i < ARRAY_LEN(index); i++) {
		set_up(&s, BEAT);
		put_le32(s.guest.channel.out.header, index[i]);
		guest_kick(&s.guest.channel);
		expect_broken_until_opened(&s);
		ic_lab_free(s.lab);
	}
	for (size_t i = 0; i < ARRAY_LEN(index); i++) {
		static const struct row right = {.name = "the right answer"};

		set_up(&s, BEAT);
		answer(&s, &right);
		put_le32(s.guest.channel.in.header + 4, index[i]);
		expect_broken_until_opened(&s);
		ic_lab_free(s.lab);
	}
}

Test(hv_ic_hostile, a_packet_beyond_any_message_breaks_the_ring)
{
	static uint8_t huge[IC_READ_MAX + 64];
	static struct scene s;

	set_up(&s, BEAT);
	cr_assert(guest_send(&s.guest.channel, PACKET_INBAND, 0, 0, NULL, 0, huge, sizeof(huge)));
	expect_broken_until_opened(&s);
	ic_lab_free(s.lab);
}
