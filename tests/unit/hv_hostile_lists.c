/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/hv_bus_victim.h"

TestSuite(hv_hostile_lists, .timeout = 120);

/* ---- address lists ---- */

/* A header for one range of one page number, whatever else it says. */
#define LIST(relid, list, bytes, ranges, count, off, pfn_low, pfn_high)                           \
	36,                                                                                       \
	{                                                                                         \
		MSG_GPADL_HEADER, 0, relid, list, (uint32_t)(ranges) << 16 | (bytes), count, off, \
		    pfn_low, pfn_high                                                             \
	}
#define NOT_MADE        .answer = MSG_GPADL_CREATED, .status = BAD, .also = FAULT
#define WITH(low, high) LIST(OFFERED, FRESH, 16, 1, PAGE, 0, low, high)

static const struct hostile headers[] = {
    {"of channel 0", LIST(0, FRESH, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"of no channel", LIST(5, FRESH, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"of channel 2048", LIST(2048, FRESH, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"of channel -1", LIST(MAX, FRESH, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"of what was not offered", LIST(WAITING, FRESH, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"of a rescinded channel", LIST(RESCINDED, FRESH, 16, 1, PAGE, 0, 9, 0),
     .answer = MSG_GPADL_CREATED, .status = BAD},
    {"a handle in use", LIST(OFFERED, COMPLETE, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"the handle of a list being built", LIST(OFFERED, PARTIAL, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"the handle of open rings", LIST(OPEN, RINGS, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"another channel's handle", LIST(OPEN, COMPLETE, 16, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"no range", LIST(OFFERED, FRESH, 16, 0, PAGE, 0, 9, 0), NOT_MADE},
    {"two ranges", LIST(OFFERED, FRESH, 16, 2, PAGE, 0, 9, 0), NOT_MADE},
    {"65535 ranges", LIST(OFFERED, FRESH, 16, 0xFFFF, PAGE, 0, 9, 0), NOT_MADE},
    {"an empty range", LIST(OFFERED, FRESH, 16, 1, 0, 0, 9, 0), NOT_MADE},
    {"an empty range with an offset", LIST(OFFERED, FRESH, 16, 1, 0, 100, 9, 0), NOT_MADE},
    {"an offset of a page", LIST(OFFERED, FRESH, 16, 1, PAGE, PAGE, 9, 0), NOT_MADE},
    {"an offset of a page, and a page for it", LIST(OFFERED, FRESH, 24, 1, PAGE, PAGE, 9, 0),
     NOT_MADE},
    {"an offset of -1", LIST(OFFERED, FRESH, 16, 1, PAGE, MAX, 9, 0), NOT_MADE},
    {"an offset and a length that overflow", LIST(OFFERED, FRESH, 16, 1, MAX, 1, 9, 0), NOT_MADE},
    {"a length of 4 GiB", LIST(OFFERED, FRESH, 16, 1, MAX, 0, 9, 0), NOT_MADE},
    {"4 GiB, and the most that can be said", LIST(OFFERED, FRESH, 0xFFFF, 1, MAX, 0, 9, 0),
     NOT_MADE},
    {"no bytes of ranges", LIST(OFFERED, FRESH, 0, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"less than a range", LIST(OFFERED, FRESH, 7, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"a range without pages", LIST(OFFERED, FRESH, 8, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"half a page number", LIST(OFFERED, FRESH, 12, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"a byte less", LIST(OFFERED, FRESH, 15, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"a byte more", LIST(OFFERED, FRESH, 17, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"a page more than the range", LIST(OFFERED, FRESH, 24, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"a page less than the range", LIST(OFFERED, FRESH, 16, 1, PAGE + 1, 0, 9, 0), NOT_MADE},
    {"a page less, by the offset", LIST(OFFERED, FRESH, 16, 1, PAGE, 1, 9, 0), NOT_MADE},
    {"65535 bytes of ranges for a page", LIST(OFFERED, FRESH, 0xFFFF, 1, PAGE, 0, 9, 0), NOT_MADE},
    {"the first page behind RAM", WITH(PAGES, 0), NOT_MADE},
    {"the hole", WITH(0xC0000, 0), NOT_MADE},
    {"the I/O APIC", WITH(0xFEC00, 0), NOT_MADE},
    {"the local APIC", WITH(0xFEE00, 0), NOT_MADE},
    {"where high RAM would be", WITH(0x100000, 0), NOT_MADE},
    {"a terabyte", WITH(1u << 28, 0), NOT_MADE},
    {"an address that overflows to 0", WITH(0, 1u << 20), NOT_MADE},
    {"an address that overflows into RAM", WITH(16, 1u << 20), NOT_MADE},
    {"an address that overflows twice", WITH(16, 1u << 31), NOT_MADE},
    {"page -1", WITH(MAX, MAX), NOT_MADE},
    {"the last page of RAM", WITH(PAGES - 1, 0), .answer = MSG_GPADL_CREATED},
    {"page 0", WITH(0, 0), .answer = MSG_GPADL_CREATED},
    {"another list of an open channel", LIST(OPEN, FRESH, 16, 1, PAGE, 0, 9, 0),
     .answer = MSG_GPADL_CREATED},
    {"more bytes than are declared",
     240,
     {MSG_GPADL_HEADER, 0, OFFERED, FRESH, 1 << 16 | 16, PAGE, 0, 9, 0, MAX, MAX},
     .answer = MSG_GPADL_CREATED},
};

#define BODY(len, list, ...)                            \
	len,                                            \
	{                                               \
		MSG_GPADL_BODY, 0, 0, list, __VA_ARGS__ \
	}

static const struct hostile bodies[] = {
    {"of no list", BODY(24, FRESH, 9, 0), .also = FAULT},
    {"of list 0", BODY(24, 0, 9, 0), .also = FAULT},
    {"of list -1", BODY(24, MAX, 9, 0), .also = FAULT},
    {"of a complete list", BODY(24, COMPLETE, 9, 0), .also = FAULT},
    {"of open rings", BODY(24, RINGS, 9, 0), .also = FAULT},
    {"empty", BODY(16, PARTIAL, 0), SILENT},
    {"half a page number", BODY(20, PARTIAL, 9), SILENT},
    {"the page that is lacking", BODY(24, PARTIAL, 9, 0), .answer = MSG_GPADL_CREATED},
    {"rounded up", BODY(28, PARTIAL, 9, 0, MAX), .answer = MSG_GPADL_CREATED},
    {"a number out of order", 24, {MSG_GPADL_BODY, 0, 99, PARTIAL, 9}, .answer = MSG_GPADL_CREATED},
    {"one page too many", BODY(32, PARTIAL, 9, 0, 10, 0), NOT_MADE},
    {"28 pages for one", BODY(240, PARTIAL, 9, 0), NOT_MADE},
    {"a page behind RAM", BODY(24, PARTIAL, PAGES, 0), NOT_MADE},
    {"a page in the hole", BODY(24, PARTIAL, 0xFEE00, 0), NOT_MADE},
    {"a page that overflows", BODY(24, PARTIAL, 16, 1u << 20), NOT_MADE},
};

#define DOWN(relid, list)                          \
	16,                                        \
	{                                          \
		MSG_GPADL_TEARDOWN, 0, relid, list \
	}
#define TORN(list) .answer = MSG_GPADL_TORNDOWN, .status = list

static const struct hostile teardowns[] = {
    {"no such list", DOWN(OFFERED, FRESH), TORN(FRESH)},
    {"no such list, no such channel", DOWN(MAX, MAX), TORN(MAX)},
    {"of a rescinded channel", DOWN(RESCINDED, FRESH), TORN(FRESH)},
    {"a complete list", DOWN(OFFERED, COMPLETE), TORN(COMPLETE)},
    {"a list that is being built", DOWN(OFFERED, PARTIAL), TORN(PARTIAL)},
    {"another channel's list", DOWN(OPEN, COMPLETE), .also = FAULT},
    {"another channel's open rings", DOWN(OFFERED, RINGS), .also = FAULT},
    {"no channel's open rings", DOWN(MAX, RINGS), .also = FAULT},
    {"open rings", DOWN(OPEN, RINGS), TORN(RINGS), .also = FAULT | CLOSES},
};

Test(hv_hostile_lists, lists)
{
	TRY_ALL(headers);
}

Test(hv_hostile_lists, bodies_of_lists)
{
	TRY_ALL(bodies);
}

Test(hv_hostile_lists, tearing_down)
{
	TRY_ALL(teardowns);
}

/* ---- floods ---- */

/* G3: lists and pages are capped, and come back with the teardown. */
Test(hv_hostile_lists, as_many_lists_as_there_may_be)
{
	static const uint64_t pfn = 9;
	unsigned n = 0;
	uint32_t gpadl;

	victim_setup();
	while (guest_gpadl_new(&victim.g, OFFERED, &pfn, 1, &gpadl) == 0)
		n++;
	cr_assert_eq(n, VMBUS_MAX_GPADLS - 3);
	guest_gpadl_drop(&victim.g, OFFERED, COMPLETE);
	cr_assert_eq(guest_gpadl_new(&victim.g, OFFERED, &pfn, 1, &gpadl), 0);
	cr_assert_neq(guest_gpadl_new(&victim.g, OFFERED, &pfn, 1, &gpadl), 0);
	victim_new_kernel("many lists");
	guest_fini(&victim.g);
}

Test(hv_hostile_lists, as_many_pages_as_there_may_be)
{
	uint8_t b[28] = {MSG_GPADL_HEADER};
	struct guest_message answer;
	unsigned n = 0;

	victim_setup();
	put_le32(b + 8, OFFERED);
	put_le16(b + 16, 8 + 8 * 8190);
	put_le16(b + 18, 1);
	put_le32(b + 20, 8190 * PAGE);
	/* Announced is counted: nothing but headers comes. */
	do {
		put_le32(b + 12, 0x1000 + n++);
		guest_post(&victim.g, b, sizeof(b));
	} while (n < 100 && !guest_message_of(&victim.g, MSG_GPADL_CREATED, &answer));
	cr_assert_eq(n, VMBUS_MAX_GPADL_PAGES / 8190 + 1);
	cr_assert_eq(get_le32(answer.b + 16), BAD);
	victim_new_kernel("many pages");
	guest_fini(&victim.g);
}

/* G7: a guest that reads no answers costs the queue, and after that only itself. */
Test(hv_hostile_lists, answers_nobody_takes)
{
	const uint32_t word[] = {OFFERED, FRESH};
	const char *fault;

	victim_setup();
	for (unsigned i = 0; i < 2 * SYNIC_QUEUE_MESSAGES; i++)
		guest_post_words(&victim.g, MSG_GPADL_TEARDOWN, word, 2);
	guest_run(&victim.g);
	cr_assert_gt(vmbus_faults(victim.g.bus, &fault), SYNIC_QUEUE_MESSAGES / 2);
	cr_assert(strstr(fault, "does not take"));
	cr_assert(echo_works(&victim.opened, &victim.ch));
	victim_new_kernel("no answers");
	guest_fini(&victim.g);
}

/* Sub-channels that are never released do not pile up. */
Test(hv_hostile_lists, sub_channels_that_are_never_released)
{
	struct echo sub[100];

	victim_setup();
	for (unsigned i = 0; i < ARRAY_LEN(sub); i++) {
		cr_assert_eq(echo_offer(&victim.g, &sub[i], OPEN, 1), ERR_OK, "round %u", i);
		guest_close(&victim.ch);
		guest_drain(&victim.g);
		cr_assert_eq(sub[i].gone, i ? 1 : 0, "round %u", i);
		cr_assert_eq(guest_open(&victim.g, &victim.g.offer[1], 4, 0, &victim.ch), 0);
	}
	victim_new_kernel("sub-channels");
	guest_fini(&victim.g);
}
