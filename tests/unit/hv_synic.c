/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hv/memory.h"
#include "hv/synic.h"
#include "util/bytes.h"

#define MESSAGES 0x10000ull
#define EVENTS   0x11000ull
#define ENABLED  1ull
#define VPS      3

static struct memory *memory;
static struct synic *synic;

static void setup(void)
{
	cr_assert_eq(memory_create(MEMORY_MIN, &memory, NULL), ERR_OK);
	cr_assert_eq(synic_create(memory, VPS, &synic, NULL), ERR_OK);
	synic_set_pages(synic, 1, MESSAGES | ENABLED, EVENTS | ENABLED);
}

static void teardown(void)
{
	synic_destroy(synic);
	memory_destroy(memory);
}

TestSuite(hv_synic, .init = setup, .fini = teardown, .timeout = 60);

static uint8_t *slot(void)
{
	return memory_at(memory, MESSAGES + 2 * 256, 256, MEMORY_WRITE);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* How many interrupts there were since the last call. */
static uint64_t interrupts(unsigned vp)
{
	uint64_t count = 0;

	if (read(synic_interrupt_fd(synic, vp), &count, sizeof(count)) < 0)
		return 0;
	return count;
}

static void end_of_message(void)
{
	uint64_t one = 1;

	cr_assert_eq(write(synic_message_end_fd(synic, 1), &one, 8), 8);
}

/* What a guest does; false when there is no message. */
static bool take(void *payload, bool tell)
{
	uint8_t *p = slot();

	if (!__atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE))
		return false;
	memcpy(payload, p + 16, p[4]);
	__atomic_exchange_n((uint32_t *)p, 0, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(p + 5, __ATOMIC_SEQ_CST) && tell)
		end_of_message();
	return true;
}

Test(hv_synic, a_message_fills_the_slot)
{
	uint8_t payload[SYNIC_MESSAGE_MAX];

	memset(slot(), 0xFF, 256);
	memset(slot(), 0, 4);
	memset(payload, 0x5A, sizeof(payload));
	cr_assert(synic_post(synic, 1, payload, sizeof(payload)));
	cr_assert_eq(get_le32(slot()), 1);
	cr_assert_eq(slot()[4], 240);
	cr_assert_eq(slot()[5], 0, "a flag was left over");
	cr_assert_eq(get_le64(slot() + 8), 0);
	cr_assert_arr_eq(slot() + 16, payload, sizeof(payload));
	cr_assert_eq(interrupts(1), 1);
	cr_assert_eq(interrupts(0), 0);
	cr_assert_not(readable(synic_fd(synic), 0));
}

Test(hv_synic, a_busy_slot_is_not_touched_but_for_the_pending_flag)
{
	uint8_t got[240];

	cr_assert(synic_post(synic, 1, "one", 4));
	cr_assert(synic_post(synic, 1, "two", 4));
	cr_assert_str_eq((char *)slot() + 16, "one");
	cr_assert_eq(slot()[5], 1);
	cr_assert_eq(interrupts(1), 1);
	cr_assert(take(got, true));
	cr_assert(readable(synic_fd(synic), 0));
	synic_run(synic);
	cr_assert_eq(interrupts(1), 1);
	cr_assert(take(got, true));
	cr_assert_str_eq((char *)got, "two");
	cr_assert_not(take(got, true));
}

Test(hv_synic, an_end_that_does_not_free_the_slot_is_no_end)
{
	uint8_t got[240];

	synic_post(synic, 1, "one", 4);
	synic_post(synic, 1, "two", 4);
	end_of_message();
	synic_run(synic);
	cr_assert_str_eq((char *)slot() + 16, "one");
	take(got, true);
	synic_run(synic);
	cr_assert_str_eq((char *)slot() + 16, "two");
}

Test(hv_synic, a_message_says_that_more_are_waiting)
{
	uint8_t got[240];

	synic_post(synic, 1, "1", 2);
	synic_post(synic, 1, "2", 2);
	synic_post(synic, 1, "3", 2);
	take(got, true);
	synic_run(synic);
	cr_assert_eq(slot()[5], 1);
	take(got, true);
	synic_run(synic);
	cr_assert_eq(slot()[5], 0);
}

Test(hv_synic, the_timer_helps_where_no_end_is_told)
{
	uint8_t got[240];

	synic_post(synic, 1, "one", 4);
	synic_post(synic, 1, "two", 4);
	take(got, false);
	cr_assert(readable(synic_fd(synic), 10000));
	synic_run(synic);
	cr_assert(take(got, false));
	cr_assert_str_eq((char *)got, "two");
	/* Nothing waits any more: it must not come again. */
	synic_run(synic);
	cr_assert_not(readable(synic_fd(synic), 20));
}

Test(hv_synic, ends_wake_nobody_while_nothing_waits)
{
	synic_post(synic, 1, "one", 4);
	end_of_message();
	cr_assert_not(readable(synic_fd(synic), 0));
}

Test(hv_synic, messages_wait_for_the_page)
{
	uint8_t got[240];

	cr_assert(synic_post(synic, 2, "early", 6));
	cr_assert_eq(interrupts(2), 0);
	synic_set_pages(synic, 1, 0, 0);
	synic_set_pages(synic, 2, MESSAGES | ENABLED, 0);
	cr_assert_eq(interrupts(2), 1);
	cr_assert(take(got, false));
	cr_assert_str_eq((char *)got, "early");
}

Test(hv_synic, pages_outside_ram_count_as_disabled)
{
	static const uint64_t page[] = {
	    MEMORY_MIN | ENABLED, 0xFEE00000 | ENABLED,       MEMORY_HIGH | ENABLED,
	    UINT64_MAX,           MESSAGES /* not enabled */, 0xFFFFFFFFFFFFF000ull | ENABLED,
	};

	for (unsigned i = 0; i < ARRAY_LEN(page); i++) {
		synic_set_pages(synic, 1, page[i], page[i]);
		cr_assert(synic_post(synic, 1, "lost", 5));
		synic_signal(synic, 1, 5);
		cr_assert_eq(interrupts(1), 0, "page %u", i);
		synic_reset(synic, false);
	}
	cr_assert(bytes_are_zero(slot(), 256));
	synic_set_pages(synic, VPS, MESSAGES | ENABLED, EVENTS | ENABLED);
}

Test(hv_synic, what_cannot_be_posted)
{
	uint8_t payload[256] = {0};

	cr_assert_not(synic_post(synic, VPS, payload, 8));
	cr_assert_not(synic_post(synic, UINT32_MAX, payload, 8));
	cr_assert_not(synic_post(synic, 1, payload, 241));
	cr_assert_eq(interrupts(1), 0);
	cr_assert_eq(synic_interrupt_fd(synic, VPS), -1);
	cr_assert_eq(synic_message_end_fd(synic, VPS), -1);
}

/* G7: a guest that takes nothing costs a bounded queue, and the order stays. */
Test(hv_synic, the_queue_is_bounded_and_in_order)
{
	uint32_t got, n = 0;

	while (synic_post(synic, 1, &n, sizeof(n)))
		n++;
	cr_assert_eq(n, SYNIC_QUEUE_MESSAGES + 1, "%u", n); /* one is in the slot */
	for (uint32_t i = 0; i < n; i++) {
		cr_assert(take(&got, true));
		cr_assert_eq(got, i);
		synic_run(synic);
	}
	cr_assert_not(take(&got, true));
}

Test(hv_synic, a_reset_forgets_what_waits)
{
	uint8_t got[240];

	synic_post(synic, 1, "one", 4);
	synic_post(synic, 1, "two", 4);
	synic_reset(synic, false);
	take(got, true);
	synic_run(synic);
	cr_assert_not(take(got, true));
	synic_post(synic, 1, "three", 6);
	cr_assert(take(got, true));
	synic_reset(synic, true);
	synic_post(synic, 1, "four", 5);
	synic_signal(synic, 1, 3);
	cr_assert_not(take(got, true));
	cr_assert(bytes_are_zero(memory_at(memory, EVENTS, 4096, MEMORY_READ), 4096));
}

Test(hv_synic, an_event_interrupts_once_until_it_is_taken)
{
	static const unsigned flag[] = {0, 1, 31, 32, 63, 64, 1000, 2047};
	uint8_t *block = memory_at(memory, EVENTS + 2 * 256, 256, MEMORY_WRITE);

	for (unsigned i = 0; i < ARRAY_LEN(flag); i++) {
		uint8_t *byte = &block[flag[i] / 8], bit = (uint8_t)(1 << flag[i] % 8);

		synic_signal(synic, 1, flag[i]);
		cr_assert(*byte & bit, "flag %u", flag[i]);
		cr_assert_eq(interrupts(1), 1);
		synic_signal(synic, 1, flag[i]);
		cr_assert_eq(interrupts(1), 0);
		*byte &= (uint8_t)~bit;
		synic_signal(synic, 1, flag[i]);
		cr_assert_eq(interrupts(1), 1);
		*byte &= (uint8_t)~bit;
	}
	synic_signal(synic, 1, SYNIC_EVENT_FLAGS);
	synic_signal(synic, 1, UINT32_MAX);
	synic_signal(synic, VPS, 5);
	synic_signal(synic, 0, 5); /* no page */
	cr_assert(bytes_are_zero(memory_at(memory, EVENTS, 4096, MEMORY_READ), 4096));
	cr_assert_eq(interrupts(1), 0);
}

#define MANY 20000u

static void *post_many(void *arg)
{
	for (uint32_t i = 0; i < MANY; i++)
		while (!synic_post(synic, 1, &i, sizeof(i)))
			sched_yield();
	return arg;
}

/* The guest tells the end of a message only when it is asked to, as Linux does. */
static void *take_many(void *arg)
{
	uint32_t *wrong = arg, got;

	for (uint32_t i = 0; i < MANY; i++) {
		while (!take(&got, true))
			sched_yield();
		*wrong += got != i;
	}
	return NULL;
}

Test(hv_synic, nothing_is_lost_between_threads)
{
	pthread_t poster, guest;
	uint32_t wrong = 0;

	pthread_create(&poster, NULL, post_many, NULL);
	pthread_create(&guest, NULL, take_many, &wrong);
	while (pthread_tryjoin_np(guest, NULL)) {
		if (readable(synic_fd(synic), 1))
			synic_run(synic);
	}
	pthread_join(poster, NULL);
	cr_assert_eq(wrong, 0);
}
