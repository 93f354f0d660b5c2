/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "hv/ring.h"
#include "tests/lib/random.h"
#include "util/bytes.h"

#define PAGES 3u /* a header and two pages of data */
#define SIZE  ((PAGES - 1) * GUEST_PAGE)

enum { WRITE_INDEX = 0, READ_INDEX = 4, INTERRUPT_MASK = 8, PENDING_SEND = 12, FEATURES = 64 };

static uint8_t *page[PAGES];
static struct ring ring;
static uint8_t buf[2 * SIZE];

static void setup(void)
{
	for (unsigned i = 0; i < PAGES; i++) {
		page[i] = aligned_alloc(GUEST_PAGE, GUEST_PAGE);
		memset(page[i], 0, GUEST_PAGE);
	}
}

static void teardown(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		free(page[i]);
}

TestSuite(hv_ring, .init = setup, .fini = teardown, .timeout = 60);

static uint32_t word(unsigned at)
{
	return get_le32(page[0] + at);
}

static void set_word(unsigned at, uint32_t value)
{
	put_le32(page[0] + at, value);
}

static uint8_t *at(uint32_t index)
{
	index %= SIZE;
	return page[1 + index / GUEST_PAGE] + index % GUEST_PAGE;
}

/* The guest writes a packet at its index, wherever pages end. */
static void guest_puts(unsigned head_len, unsigned len, uint16_t flags, uint64_t transaction)
{
	uint32_t start = word(WRITE_INDEX), offset = 16 + head_len, total = offset + len;
	uint8_t desc[16];

	put_le16(desc, PACKET_INBAND);
	put_le16(desc + 2, (uint16_t)(offset / 8));
	put_le16(desc + 4, (uint16_t)(total / 8));
	put_le16(desc + 6, flags);
	put_le64(desc + 8, transaction);
	for (uint32_t i = 0; i < total; i++)
		*at(start + i) = i < 16 ? desc[i] : (uint8_t)(i * 7 + transaction);
	set_word(WRITE_INDEX, (start + total + 8) % SIZE);
}

static void expect_packet(unsigned head_len, unsigned len, uint16_t flags, uint64_t transaction)
{
	struct packet packet;

	cr_assert_eq(ring_read(&ring, buf, sizeof(buf), &packet), RING_OK, "%s", ring.fault);
	cr_assert_eq(packet.type, PACKET_INBAND);
	cr_assert_eq(packet.flags, flags);
	cr_assert_eq(packet.transaction, transaction);
	cr_assert_eq(packet.head_bytes, head_len);
	cr_assert_eq(packet.payload_bytes, len);
	for (uint32_t i = 0; i < head_len; i++)
		cr_assert_eq(packet.head[i], (uint8_t)((i + 16) * 7 + transaction));
	for (uint32_t i = 0; i < len; i++)
		cr_assert_eq(packet.payload[i], (uint8_t)((i + 16 + head_len) * 7 + transaction));
}

Test(hv_ring, takes_over_the_index_in_the_header)
{
	static const struct {
		uint32_t index;
		bool good;
	} c[] = {{0, true},  {8, true},  {SIZE - 8, true},    {SIZE, false},     {SIZE + 8, false},
		 {4, false}, {7, false}, {UINT32_MAX, false}, {1u << 31, false}, {-8u, false}};

	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		enum ring_result want = c[i].good ? RING_OK : RING_BROKEN;

		set_word(READ_INDEX, c[i].index);
		set_word(WRITE_INDEX, 0);
		cr_expect_eq(ring_init_in(&ring, page, PAGES), want, "in %u", c[i].index);
		cr_expect_eq(ring.broken, !c[i].good);
		set_word(READ_INDEX, 0);
		set_word(WRITE_INDEX, c[i].index);
		cr_expect_eq(ring_init_out(&ring, page, PAGES), want, "out %u", c[i].index);
	}
	set_word(WRITE_INDEX, 0);
	cr_expect_eq(ring_init_in(&ring, page, 0), RING_BROKEN);
	cr_expect_eq(ring_init_in(&ring, page, 1), RING_BROKEN);
	cr_expect_eq(ring_init_in(&ring, page, 1u << 20), RING_BROKEN);
	cr_expect_eq(ring_init_out(&ring, page, 1), RING_BROKEN);
	cr_expect_eq(ring_init_in(&ring, page, 2), RING_OK);
}

Test(hv_ring, packets_are_read_wherever_they_wrap)
{
	for (uint32_t start = 0; start < SIZE; start += 8) {
		set_word(READ_INDEX, start);
		set_word(WRITE_INDEX, start);
		cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
		guest_puts(16, 64, 1, start);
		guest_puts(0, 0, 0, start + 1);
		expect_packet(16, 64, 1, start);
		expect_packet(0, 0, 0, start + 1);
		cr_assert_eq(ring_read(&ring, buf, sizeof(buf), &(struct packet){0}), RING_EMPTY);
		cr_assert_eq(word(READ_INDEX), start, "given back too early");
		ring_publish_read(&ring);
		cr_assert_eq(word(READ_INDEX), word(WRITE_INDEX));
	}
}

Test(hv_ring, all_lengths_are_read)
{
	cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
	for (unsigned len = 0; len + 48 < SIZE; len += 8) {
		unsigned head_len = len % 3 * 8;

		guest_puts(head_len, len, 0, len);
		expect_packet(head_len, len, 0, len);
	}
}

/* Random packets go through a ring that is never empty for long, and come out the same. */
Test(hv_ring, a_long_way)
{
	struct rng rng = rng_seed(7);
	uint32_t written = 0, seen = 0;
	uint16_t lens[4096];

	cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
	while (seen < ARRAY_LEN(lens)) {
		unsigned len = 8 * (unsigned)rng_below(&rng, 100);
		uint32_t used = (word(WRITE_INDEX) - word(READ_INDEX) + SIZE) % SIZE;

		if (written < ARRAY_LEN(lens) && SIZE - used > 24 + len && rng_percent(&rng, 60)) {
			lens[written] = (uint16_t)len;
			guest_puts(0, len, 0, written++);
		} else if (seen < written) {
			expect_packet(0, lens[seen], 0, seen);
			seen++;
			if (rng_percent(&rng, 30) || ring_should_publish(&ring))
				ring_publish_read(&ring);
		}
	}
}

/* ---- what the guest must be told ---- */

Test(hv_ring, the_guest_that_waits_for_room_is_signalled_once)
{
	cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
	guest_puts(0, 4000, 0, 1); /* 4024 bytes, twice: 144 are left */
	guest_puts(0, 4000, 0, 2);
	set_word(PENDING_SEND, 200);
	expect_packet(0, 4000, 0, 1);
	cr_assert(ring_publish_read(&ring), "from 144 free bytes to 4168");
	cr_assert_not(ring_publish_read(&ring), "nothing new");
	expect_packet(0, 4000, 0, 2);
	cr_assert_not(ring_publish_read(&ring), "there was room before");
}

Test(hv_ring, exactly_the_wanted_room_is_too_little)
{
	cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
	guest_puts(0, 4000, 0, 1);
	guest_puts(0, 4000, 0, 2);
	set_word(PENDING_SEND, 144 + 4024);
	expect_packet(0, 4000, 0, 1);
	cr_assert_not(ring_publish_read(&ring));
	expect_packet(0, 4000, 0, 2);
	cr_assert(ring_publish_read(&ring));
}

Test(hv_ring, nobody_waits_nobody_is_signalled)
{
	cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
	guest_puts(0, 8000, 0, 1);
	expect_packet(0, 8000, 0, 1);
	cr_assert(ring_should_publish(&ring));
	cr_assert_not(ring_publish_read(&ring));
	cr_assert_not(ring_should_publish(&ring));
}

Test(hv_ring, the_mask_and_the_second_look)
{
	cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
	ring_mask(&ring, true);
	cr_assert_eq(word(INTERRUPT_MASK), 1);
	ring_mask(&ring, false);
	cr_assert_eq(word(INTERRUPT_MASK), 0);
	cr_assert_not(ring_readable(&ring));
	guest_puts(0, 8, 0, 1);
	cr_assert(ring_readable(&ring));
	expect_packet(0, 8, 0, 1);
	cr_assert_not(ring_readable(&ring));
}

/* ---- host to guest ---- */

static enum ring_result put(const void *payload, size_t len, bool *signal)
{
	return ring_write(&ring, PACKET_COMPLETION, 1, 0x1122334455667788, payload, len, signal);
}

Test(hv_ring, packets_are_written_wherever_they_wrap)
{
	uint8_t payload[61];
	bool signal;

	memset(payload, 0x77, sizeof(payload));
	for (uint32_t start = 0; start < SIZE; start += 8) {
		memset(page[1], 0xEE, GUEST_PAGE);
		memset(page[2], 0xEE, GUEST_PAGE);
		set_word(READ_INDEX, start);
		set_word(WRITE_INDEX, start);
		cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
		cr_assert_eq(put(payload, sizeof(payload), &signal), RING_OK);
		cr_assert(signal);
		cr_assert_eq(word(WRITE_INDEX), (start + 16 + 64 + 8) % SIZE);
		for (unsigned i = 0; i < 88; i++)
			buf[i] = *at(start + i);
		cr_assert_eq(get_le16(buf), PACKET_COMPLETION);
		cr_assert_eq(get_le16(buf + 2), 2);
		cr_assert_eq(get_le16(buf + 4), 10);
		cr_assert_eq(get_le16(buf + 6), 1);
		cr_assert_eq(get_le64(buf + 8), 0x1122334455667788);
		cr_assert_arr_eq(buf + 16, payload, sizeof(payload));
		cr_assert(bytes_are_zero(buf + 77, 3), "padding");
		cr_assert_eq(get_le64(buf + 80), (uint64_t)start << 32, "trailer");
		cr_assert_eq(*at(start + 88), 0xEE);
		cr_assert_eq(*at(start + SIZE - 1), 0xEE);
	}
}

Test(hv_ring, the_host_says_that_it_tells_what_it_waits_for)
{
	cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
	cr_assert_eq(word(FEATURES), 1);
}

Test(hv_ring, only_the_first_packet_is_signalled)
{
	bool signal;

	cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
	cr_assert_eq(put("1", 2, &signal), RING_OK);
	cr_assert(signal);
	cr_assert_eq(put("2", 2, &signal), RING_OK);
	cr_assert_not(signal, "the guest has not read the first");
	set_word(READ_INDEX, word(WRITE_INDEX));
	cr_assert_eq(put("3", 2, &signal), RING_OK);
	cr_assert(signal);
	set_word(READ_INDEX, word(WRITE_INDEX));
	set_word(INTERRUPT_MASK, 1);
	cr_assert_eq(put("4", 2, &signal), RING_OK);
	cr_assert_not(signal, "masked");
}

Test(hv_ring, it_never_becomes_quite_full)
{
	bool signal;
	unsigned n = 0;
	enum ring_result result;

	cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
	while ((result = put(buf, 8, &signal)) == RING_OK) /* 32 bytes, 256 times */
		n++;
	cr_assert_eq(result, RING_FULL);
	cr_assert_eq(n, SIZE / 32 - 1);
	cr_assert_neq(word(WRITE_INDEX), word(READ_INDEX));
	cr_assert_eq(word(PENDING_SEND), 32, "the request for room");
	set_word(READ_INDEX, 32);
	cr_assert_eq(put(buf, 8, &signal), RING_OK);
	cr_assert_eq(word(PENDING_SEND), 0);
}

Test(hv_ring, what_can_never_fit_breaks_the_ring)
{
	bool signal;

	cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
	cr_assert_eq(put(buf, SIZE - 32, &signal), RING_OK);
	cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
	cr_assert_eq(put(buf, SIZE - 24, &signal), RING_BROKEN);
	cr_assert_eq(put(buf, 8, &signal), RING_BROKEN, "for good");
	cr_assert(ring.fault);
	cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
	cr_assert_eq(put(buf, 1u << 20, &signal), RING_BROKEN);
}
