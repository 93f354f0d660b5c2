/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>

#include "tests/unit/hv_bus_victim.h"

TestSuite(hv_hostile_bus, .timeout = 120);

/* ---- what is no message ---- */

static const struct hostile no_messages[] = {
    {"nothing", 0, {0}, .also = FAULT},
    {"one byte", 1, {MSG_UNLOAD}, .also = FAULT},
    {"a type alone", 4, {MSG_UNLOAD}, .also = FAULT},
    {"seven bytes", 7, {MSG_UNLOAD}, .also = FAULT},
    {"type 0", 8, {0}, .also = FAULT},
    {"an offer", 196, {MSG_OFFER, 0, 1, 2, 3, 4}, .also = FAULT},
    {"a rescind", 12, {MSG_RESCIND, 0, OPEN}, .also = FAULT},
    {"the end of offers", 8, {MSG_ALL_OFFERS}, .also = FAULT},
    {"the result of an open", 20, {MSG_OPEN_RESULT, 0, OPEN}, .also = FAULT},
    {"a list that is created", 20, {MSG_GPADL_CREATED, 0, OPEN, RINGS}, .also = FAULT},
    {"a list that is torn down", 12, {MSG_GPADL_TORNDOWN, 0, RINGS}, .also = FAULT},
    {"a version response", 16, {MSG_VERSION, 0, 1}, .also = FAULT},
    {"an unload response", 8, {MSG_UNLOADED}, .also = FAULT},
    {"reserved channel open", 40, {18, 0, OPEN}, .also = FAULT},
    {"reserved channel close", 12, {19, 0, OPEN}, .also = FAULT},
    {"reserved channel message", 240, {20, 0, OPEN}, .also = FAULT},
    {"a socket connects", 56, {21, 0, OPEN}, .also = FAULT},
    {"a socket is connected", 56, {23, 0, OPEN}, .also = FAULT},
    {"a modify response", 16, {MSG_MODIFIED, 0, OPEN}, .also = FAULT},
    {"the first unknown type", 240, {25}, .also = FAULT},
    {"type 26", 240, {26}, .also = FAULT},
    {"type 255", 240, {255}, .also = FAULT},
    {"type 256 + OPEN", 148, {0x100 + MSG_OPEN}, .also = FAULT},
    {"type 65536 + CLOSE", 12, {0x10000 + MSG_CLOSE, 0, OPEN}, .also = FAULT},
    {"a type with its highest bit", 12, {0x80000000 + MSG_CLOSE, 0, OPEN}, .also = FAULT},
    {"type -1", 240, {MAX}, .also = FAULT},
};

static const struct hostile cut_short[] = {
    {"open 147", 147, {MSG_OPEN, 0, OFFERED, 1, COMPLETE, 0, 2}, .also = FAULT},
    {"open 28", 28, {MSG_OPEN, 0, OFFERED, 1, COMPLETE, 0, 2}, .also = FAULT},
    {"open 8", 8, {MSG_OPEN}, .also = FAULT},
    {"close 11", 11, {MSG_CLOSE, 0, OPEN}, .also = FAULT},
    {"close 8", 8, {MSG_CLOSE, 0, OPEN}, .also = FAULT},
    {"header 27", 27, {MSG_GPADL_HEADER, 0, 1, FRESH, 1 << 16 | 16, PAGE}, .also = FAULT},
    {"header 20", 20, {MSG_GPADL_HEADER, 0, 1, FRESH, 1 << 16 | 16}, .also = FAULT},
    {"header 8", 8, {MSG_GPADL_HEADER}, .also = FAULT},
    {"body 15", 15, {MSG_GPADL_BODY, 0, 0, PARTIAL}, .also = FAULT},
    {"body 8", 8, {MSG_GPADL_BODY}, .also = FAULT},
    {"teardown 15", 15, {MSG_GPADL_TEARDOWN, 0, OPEN, RINGS}, .also = FAULT},
    {"teardown 8", 8, {MSG_GPADL_TEARDOWN}, .also = FAULT},
    {"released 11", 11, {MSG_RELID_RELEASED, 0, OPEN}, .also = FAULT},
    {"released 8", 8, {MSG_RELID_RELEASED}, .also = FAULT},
    {"contact 39", 39, {MSG_CONTACT, 0, 0x50003, 0, 2}, .also = FAULT},
    {"contact 16", 16, {MSG_CONTACT, 0, 0x50003, 0}, .also = FAULT},
    {"contact 8", 8, {MSG_CONTACT}, .also = FAULT},
    {"modify 15", 15, {MSG_MODIFY, 0, OPEN, 1}, .also = FAULT},
    {"modify 8", 8, {MSG_MODIFY}, .also = FAULT},
};

Test(hv_hostile_bus, what_is_no_message)
{
	TRY_ALL(no_messages);
}

Test(hv_hostile_bus, messages_that_are_cut_short)
{
	TRY_ALL(cut_short);
}

/* ---- channels ---- */

#define OPEN_OF(relid, list, vp, down)                 \
	148,                                           \
	{                                              \
		MSG_OPEN, 0, relid, 77, list, vp, down \
	}
#define REFUSED .answer = MSG_OPEN_RESULT, .status = BAD, .also = FAULT

static const struct hostile opens[] = {
    {"channel 0", OPEN_OF(0, COMPLETE, 0, 2), .also = FAULT},
    {"a channel that never was", OPEN_OF(5, COMPLETE, 0, 2), .also = FAULT},
    {"the last number", OPEN_OF(2047, COMPLETE, 0, 2), .also = FAULT},
    {"one more than the last", OPEN_OF(2048, COMPLETE, 0, 2), .also = FAULT},
    {"channel -1", OPEN_OF(MAX, COMPLETE, 0, 2), .also = FAULT},
    {"a channel it was not offered", OPEN_OF(WAITING, COMPLETE, 0, 2), .also = FAULT},
    {"a rescinded channel", OPEN_OF(RESCINDED, COMPLETE, 0, 2), SILENT},
    {"an open channel", OPEN_OF(OPEN, RINGS, 0, 4), REFUSED},
    {"an open channel, other rings", OPEN_OF(OPEN, COMPLETE, 0, 2), REFUSED},
    {"no such list", OPEN_OF(OFFERED, FRESH, 0, 2), REFUSED},
    {"list 0", OPEN_OF(OFFERED, 0, 0, 2), REFUSED},
    {"list -1", OPEN_OF(OFFERED, MAX, 0, 2), REFUSED},
    {"another channel's rings", OPEN_OF(OFFERED, RINGS, 0, 4), REFUSED},
    {"a list that is not complete", OPEN_OF(OFFERED, PARTIAL, 0, 2), REFUSED},
    {"one processor too far", OPEN_OF(OFFERED, COMPLETE, 4, 2), REFUSED},
    {"processor -1", OPEN_OF(OFFERED, COMPLETE, MAX, 2), REFUSED},
    {"no ring to the host", OPEN_OF(OFFERED, COMPLETE, 0, 0), REFUSED},
    {"a ring to the host without data", OPEN_OF(OFFERED, COMPLETE, 0, 1), REFUSED},
    {"a ring to the guest without data", OPEN_OF(OFFERED, COMPLETE, 0, 3), REFUSED},
    {"no ring to the guest", OPEN_OF(OFFERED, COMPLETE, 0, 4), REFUSED},
    {"rings behind the list", OPEN_OF(OFFERED, COMPLETE, 0, 5), REFUSED},
    {"rings at the end of 32 bits", OPEN_OF(OFFERED, COMPLETE, 0, MAX), REFUSED},
    {"rings at -2", OPEN_OF(OFFERED, COMPLETE, 0, MAX - 1), REFUSED},
    {"rings at 2 GiB", OPEN_OF(OFFERED, COMPLETE, 0, 0x80000002), REFUSED},
};

static const struct hostile closes[] = {
    {"close channel 0", 12, {MSG_CLOSE, 0, 0}, .also = FAULT},
    {"close what never was", 12, {MSG_CLOSE, 0, 5}, .also = FAULT},
    {"close 2047", 12, {MSG_CLOSE, 0, 2047}, .also = FAULT},
    {"close 2048", 12, {MSG_CLOSE, 0, 2048}, .also = FAULT},
    {"close -1", 12, {MSG_CLOSE, 0, MAX}, .also = FAULT},
    {"close what is not open", 12, {MSG_CLOSE, 0, OFFERED}, .also = FAULT},
    {"close what was not offered", 12, {MSG_CLOSE, 0, WAITING}, .also = FAULT},
    {"close what is rescinded", 12, {MSG_CLOSE, 0, RESCINDED}, SILENT},
    {"close, rounded up", 240, {MSG_CLOSE, MAX, OPEN, MAX, MAX}, .also = CLOSES},
    {"release channel 0", 12, {MSG_RELID_RELEASED, 0, 0}, SILENT},
    {"release what never was", 12, {MSG_RELID_RELEASED, 0, 5}, SILENT},
    {"release 2048", 12, {MSG_RELID_RELEASED, 0, 2048}, SILENT},
    {"release -1", 12, {MSG_RELID_RELEASED, 0, MAX}, SILENT},
    {"release what was not offered", 12, {MSG_RELID_RELEASED, 0, WAITING}, SILENT},
    {"release what is offered", 12, {MSG_RELID_RELEASED, 0, OFFERED}, .also = FAULT},
    {"release what is open", 12, {MSG_RELID_RELEASED, 0, OPEN}, .also = FAULT | CLOSES},
    {"release what is rescinded", 12, {MSG_RELID_RELEASED, 0, RESCINDED}, .answer = MSG_OFFER},
};

#define NOT_MOVED .answer = MSG_MODIFIED, .status = BAD, .also = FAULT

static const struct hostile moves[] = {
    {"move channel 0", 16, {MSG_MODIFY, 0, 0, 0}, NOT_MOVED},
    {"move what never was", 16, {MSG_MODIFY, 0, 5, 0}, NOT_MOVED},
    {"move 2048", 16, {MSG_MODIFY, 0, 2048, 0}, NOT_MOVED},
    {"move -1", 16, {MSG_MODIFY, 0, MAX, 0}, NOT_MOVED},
    {"move what is not open", 16, {MSG_MODIFY, 0, OFFERED, 0}, NOT_MOVED},
    {"move what was not offered", 16, {MSG_MODIFY, 0, WAITING, 0}, NOT_MOVED},
    {"move what is rescinded",
     16,
     {MSG_MODIFY, 0, RESCINDED, 0},
     .answer = MSG_MODIFIED,
     .status = BAD},
    {"move to no processor", 16, {MSG_MODIFY, 0, OPEN, 4}, NOT_MOVED},
    {"move to processor -1", 16, {MSG_MODIFY, 0, OPEN, MAX}, NOT_MOVED},
};

Test(hv_hostile_bus, opening)
{
	TRY_ALL(opens);
}

Test(hv_hostile_bus, closing_and_releasing)
{
	TRY_ALL(closes);
}

Test(hv_hostile_bus, moving)
{
	TRY_ALL(moves);
}

/* ---- the connection ---- */

#define CONTACT(version, vp, sint)                \
	40,                                       \
	{                                         \
		MSG_CONTACT, 0, version, vp, sint \
	}
#define NOT_SPOKEN       .answer = MSG_VERSION, .status = 0, .also = DISCONNECTS
#define NOT_SPOKEN_FAULT .answer = MSG_VERSION, .status = 0, .also = DISCONNECTS | FAULT

static const struct hostile contacts[] = {
    {"5.3", CONTACT(0x50003, 0, 2), .answer = MSG_VERSION, .status = 1, .also = DISCONNECTS},
    {"version 0", CONTACT(0, 0, 2), NOT_SPOKEN},
    {"version -1", CONTACT(MAX, 0, 2), NOT_SPOKEN},
    {"version 2.4", CONTACT(0x20004, 0, 0), NOT_SPOKEN},
    {"version 5.4", CONTACT(0x50004, 0, 2), NOT_SPOKEN},
    {"processor 4", CONTACT(0x50003, 4, 2), NOT_SPOKEN_FAULT},
    {"processor -1", CONTACT(0x50003, MAX, 2), NOT_SPOKEN_FAULT},
    {"processor -1 of an old kernel", CONTACT(0x40000, MAX, 0), NOT_SPOKEN_FAULT},
    {"interrupt 0", CONTACT(0x50003, 0, 0), NOT_SPOKEN_FAULT},
    {"interrupt 16", CONTACT(0x50003, 0, 16), NOT_SPOKEN_FAULT},
    {"interrupt 255", CONTACT(0x50003, 0, 255), NOT_SPOKEN_FAULT},
    {"offers again", 8, {MSG_REQUEST_OFFERS}, .also = FAULT},
    {"unload, rounded up", 240, {MSG_UNLOAD}, MSG_UNLOADED, .also = DISCONNECTS},
};

Test(hv_hostile_bus, contacts)
{
	struct hostile h = {0};

	for (unsigned i = 0; i < ARRAY_LEN(contacts); i++) {
		h = contacts[i];
		if (h.answer == MSG_UNLOADED)
			h.status = 0; /* its last word is padding */
		victim_try(&h);
	}
}

/* Nothing but a contact, an unload and releases means anything without a connection. */
Test(hv_hostile_bus, messages_without_a_connection)
{
	static const struct hostile h[] = {
	    {"offers", 8, {MSG_REQUEST_OFFERS}, SILENT},
	    {"open", OPEN_OF(OFFERED, COMPLETE, 0, 2), SILENT},
	    {"close", 12, {MSG_CLOSE, 0, OPEN}, SILENT},
	    {"header", 36, {MSG_GPADL_HEADER, 0, OFFERED, FRESH, 1 << 16 | 16, PAGE, 0, 9}, SILENT},
	    {"body", 24, {MSG_GPADL_BODY, 0, 0, PARTIAL, 9}, SILENT},
	    {"teardown", 16, {MSG_GPADL_TEARDOWN, 0, OFFERED, COMPLETE}, SILENT},
	    {"modify", 16, {MSG_MODIFY, 0, OPEN, 1}, SILENT},
	};

	for (unsigned i = 0; i < ARRAY_LEN(h); i++) {
		uint8_t b[240] = {0};

		victim_setup();
		guest_unload(&victim.g);
		for (unsigned n = 0; n < ARRAY_LEN(h[i].word); n++)
			put_le32(b + 4 * (size_t)n, h[i].word[n]);
		guest_post(&victim.g, b, h[i].len);
		cr_expect_eq(guest_drain(&victim.g), 0, "%s", h[i].name);
		cr_expect_eq(vmbus_faults(victim.g.bus, NULL), 1, "%s", h[i].name);
		victim_new_kernel(h[i].name);
		guest_fini(&victim.g);
	}
}

/* ---- hypercalls ---- */

static const struct {
	const char *name;
	uint32_t connection, type, len;
	enum hv_status status;
} posts[] = {
    {"connection 0", 0, 1, 8, HV_INVALID_CONNECTION},
    {"connection 2", 2, 1, 8, HV_INVALID_CONNECTION},
    {"connection 3", 3, 1, 8, HV_INVALID_CONNECTION},
    {"connection 5", 5, 1, 8, HV_INVALID_CONNECTION},
    {"a channel's connection", 0x2002, 1, 8, HV_INVALID_CONNECTION},
    {"connection -1", MAX, 1, 8, HV_INVALID_CONNECTION},
    {"type 0", 1, 0, 8, HV_INVALID_PARAMETER},
    {"type 2", 1, 2, 8, HV_INVALID_PARAMETER},
    {"a timer's type", 1, 0x80000010, 8, HV_INVALID_PARAMETER},
    {"type -1", 4, MAX, 8, HV_INVALID_PARAMETER},
    {"241 bytes", 1, 1, 241, HV_INVALID_PARAMETER},
    {"-1 bytes", 1, 1, MAX, HV_INVALID_PARAMETER},
    {"nothing at all", 1, 1, 0, HV_SUCCESS},
    {"all that fits", 4, 1, 240, HV_SUCCESS},
};

static const struct {
	const char *name;
	uint32_t connection, flag;
	enum hv_status status;
} signals[] = {
    {"an open channel", 0x2000 + OPEN, 0, HV_SUCCESS},
    {"flag 1", 0x2000 + OPEN, 1, HV_INVALID_PARAMETER},
    {"flag -1", 0x2000 + OPEN, MAX, HV_INVALID_PARAMETER},
    {"a channel that is not open", 0x2000 + OFFERED, 0, HV_INVALID_CONNECTION},
    {"a rescinded channel", 0x2000 + RESCINDED, 0, HV_INVALID_CONNECTION},
    {"a channel not offered", 0x2000 + WAITING, 0, HV_INVALID_CONNECTION},
    {"no channel", 0x2000 + 5, 0, HV_INVALID_CONNECTION},
    {"channel 0", 0x2000, 0, HV_INVALID_CONNECTION},
    {"channel 2047", 0x2000 + 2047, 0, HV_INVALID_CONNECTION},
    {"channel 2048", 0x2000 + 2048, 0, HV_INVALID_CONNECTION},
    {"below all", 0x1FFF, 0, HV_INVALID_CONNECTION},
    {"a bare number", OPEN, 0, HV_INVALID_CONNECTION},
    {"messages", 1, 0, HV_INVALID_CONNECTION},
    {"connection -1", MAX, 0, HV_INVALID_CONNECTION},
};

Test(hv_hostile_bus, hypercalls)
{
	uint8_t b[256] = {0};

	victim_setup();
	for (unsigned i = 0; i < ARRAY_LEN(posts); i++)
		cr_expect_eq(
		    vmbus_post(victim.g.bus, posts[i].connection, posts[i].type, b, posts[i].len),
		    posts[i].status, "%s", posts[i].name);
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
		cr_expect_eq(vmbus_signal(victim.g.bus, signals[i].connection, signals[i].flag),
			     signals[i].status, "%s", signals[i].name);
	guest_run(&victim.g);
	cr_assert(echo_works(&victim.opened, &victim.ch));
	victim_new_kernel("hypercalls");
	guest_fini(&victim.g);
}
