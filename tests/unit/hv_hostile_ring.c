/* SPDX-License-Identifier: MIT */
/*
 * One hostile word at a time in the rings of an open channel (G2). The device must see a broken
 * ring or nothing odd at all; the other channels work on, and so does this one once it has been
 * closed and opened again.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/lib/random.h"
#include "tests/unit/hv_bus_lab.h"
#include "util/bytes.h"

#define MAX        0xFFFFFFFFu
#define RING_PAGES 8u
#define SIZE       ((RING_PAGES - 1) * 4096u)

enum { WRITE_INDEX = 0, READ_INDEX = 4, INTERRUPT_MASK = 8, PENDING_SEND = 12, FEATURES = 64 };

static struct guest_bus g;
static struct echo victim, other;
static struct guest_channel ch, other_ch;

static void setup(void)
{
	guest_init(&g, &(struct guest_opts){.vp_count = 2});
	cr_assert_eq(echo_offer(&g, &victim, 0, 0), ERR_OK);
	cr_assert_eq(echo_offer(&g, &other, 1, 0), ERR_OK);
	guest_connect(&g);
	cr_assert_eq(guest_open(&g, &g.offer[0], RING_PAGES, 0, &ch), 0);
	cr_assert_eq(guest_open(&g, &g.offer[1], RING_PAGES, 1, &other_ch), 0);
}

static void teardown(void)
{
	guest_fini(&g);
}

TestSuite(hv_hostile_ring, .init = setup, .fini = teardown, .timeout = 120);

/* Without noise, and where it was: memory is not given back. */
static void reopen(void)
{
	uint64_t next_page = g.next_page;

	guest_close(&ch);
	memset(guest_at(&g, ch.gpa, 2 * RING_PAGES * 4096ull), 0, 2 * RING_PAGES * 4096ull);
	g.next_page = ch.gpa / 4096;
	cr_assert_eq(guest_open(&g, &g.offer[0], RING_PAGES, 0, &ch), 0);
	g.next_page = next_page;
}

static void expect_healthy(const char *name)
{
	cr_expect(echo_works(&other, &other_ch), "%s: the other channel", name);
	reopen();
	cr_expect(echo_works(&victim, &ch), "%s: opened again", name);
	cr_expect(!channel_fault(victim.channel), "%s", name);
	reopen();
}

/* ---- packets to the host ---- */

static const struct {
	const char *name;
	uint32_t start;         /* where the ring's indices were */
	uint32_t write;         /* the guest's index, from `start` */
	uint16_t offset8, len8; /* of the descriptor at `start` */
	enum ring_result result;
} packets[] = {
    /* indices */
    {"the index is the size", 0, SIZE, 2, 2, RING_BROKEN},
    {"the index is behind the size", 0, SIZE + 8, 2, 2, RING_BROKEN},
    {"the index is far behind", 0, 1u << 20, 2, 2, RING_BROKEN},
    {"the index is negative", 0, 0x80000000, 2, 2, RING_BROKEN},
    {"the index is -8", 0, MAX - 7, 2, 2, RING_BROKEN},
    {"the index is -1", 0, MAX, 2, 2, RING_BROKEN},
    {"the index is odd", 0, 25, 2, 2, RING_BROKEN},
    {"the index is a multiple of 4", 0, 28, 2, 2, RING_BROKEN},
    {"the index is a multiple of 2", 0, 26, 2, 2, RING_BROKEN},
    {"8 bytes", 0, 8, 2, 2, RING_BROKEN},
    {"16 bytes", 0, 16, 2, 2, RING_BROKEN},
    {"8 bytes at the end", SIZE - 8, 8, 2, 2, RING_BROKEN},
    {"16 bytes around the end", SIZE - 8, 16, 2, 2, RING_BROKEN},
    {"the index went back", 4096, SIZE - 8, 0, 0, RING_BROKEN},
    {"an empty packet", 0, 24, 2, 2, RING_EMPTY},
    {"an empty packet around the end", SIZE - 8, 24, 2, 2, RING_EMPTY},
    {"an empty packet at a page's end", 4096 - 8, 24, 2, 2, RING_EMPTY},
    /* lengths */
    {"length 0", 0, 24, 2, 0, RING_BROKEN},
    {"length 8", 0, 24, 2, 1, RING_BROKEN},
    {"length 0, offset 0", 0, 24, 0, 0, RING_BROKEN},
    {"no room for the trailer", 0, 24, 2, 3, RING_BROKEN},
    {"as long as the rest of the ring", 0, 24, 2, SIZE / 8, RING_BROKEN},
    {"one unit too long", 0, 1024, 2, 1024 / 8, RING_BROKEN},
    {"just as long as it may be", 0, 1024, 2, 1024 / 8 - 1, RING_EMPTY},
    {"the longest", 0, 24, 2, 0xFFFF, RING_BROKEN},
    {"the longest in a full ring", 0, SIZE - 8, 2, 0xFFFF, RING_BROKEN},
    {"length with the highest bit", 0, 1024, 2, 0x8002, RING_BROKEN},
    {"longer than the device takes", 0, SIZE - 8, 2, 16384 / 8 + 1, RING_BROKEN},
    {"as long as the device takes", 0, 16384 + 8, 2, 16384 / 8, RING_EMPTY},
    /* offsets */
    {"offset 0", 0, 104, 0, 12, RING_BROKEN},
    {"offset 8", 0, 104, 1, 12, RING_BROKEN},
    {"the payload is empty", 0, 104, 12, 12, RING_EMPTY},
    {"the payload begins behind the packet", 0, 104, 13, 12, RING_BROKEN},
    {"the payload begins behind the trailer", 0, 104, 14, 12, RING_BROKEN},
    {"the payload begins at 0xFFFF", 0, 104, 0xFFFF, 12, RING_BROKEN},
    {"offset with the highest bit", 0, 104, 0x8002, 12, RING_BROKEN},
    {"offset 8 around the end", SIZE - 16, 104, 1, 12, RING_BROKEN},
    {"the last offset that is good", 0, 104, 11, 12, RING_EMPTY},
};

/* The channel is opened with its indices at `start`, then a descriptor and an index appear. */
static void open_at(uint32_t start)
{
	uint8_t b[148] = {MSG_OPEN};
	struct guest_message answer;

	guest_post_words(&g, MSG_CLOSE, &ch.relid, 1);
	put_le32(ch.out.header + WRITE_INDEX, start);
	put_le32(ch.out.header + READ_INDEX, start);
	put_le32(b + 8, ch.relid);
	put_le32(b + 16, ch.gpadl);
	put_le32(b + 24, RING_PAGES);
	guest_post(&g, b, sizeof(b));
	cr_assert(guest_message_of(&g, MSG_OPEN_RESULT, &answer));
	cr_assert_eq(get_le32(answer.b + 16), 0);
}

static uint8_t *ring_byte(const struct guest_ring *ring, uint32_t at)
{
	return ring->data + at % SIZE;
}

Test(hv_hostile_ring, packets_to_the_host)
{
	for (unsigned i = 0; i < ARRAY_LEN(packets); i++) {
		uint32_t start = packets[i].start, write = packets[i].write;
		bool wraps = start && write < SIZE;

		open_at(start);
		put_le16(ring_byte(&ch.out, start + 2), packets[i].offset8);
		put_le16(ring_byte(&ch.out, start + 4), packets[i].len8);
		put_le32(ch.out.header + WRITE_INDEX,
			 wraps ? (start + write) % SIZE : start + write);
		victim.served = 0;
		guest_kick(&ch);
		echo_serve(&victim);
		cr_expect_eq(victim.result, packets[i].result, "%s: %d (%s)", packets[i].name,
			     victim.result, channel_fault(victim.channel));
		cr_expect_eq(channel_fault(victim.channel) != NULL,
			     packets[i].result == RING_BROKEN, "%s", packets[i].name);
		cr_expect_eq(victim.served, packets[i].result == RING_EMPTY ? 1 : 0, "%s: served",
			     packets[i].name);
		expect_healthy(packets[i].name);
	}
}

/* ---- other words ---- */

static const struct {
	const char *name;
	bool in; /* the ring to the guest */
	unsigned word;
	uint32_t value;
	bool breaks;
} words[] = {
    {"our read index is overwritten", false, READ_INDEX, SIZE, false},
    {"our read index is odd", false, READ_INDEX, 7, false},
    {"our read index is -1", false, READ_INDEX, MAX, false},
    {"our mask is overwritten", false, INTERRUPT_MASK, MAX, false},
    {"room for -1 bytes is wanted", false, PENDING_SEND, MAX, false},
    {"room for the whole ring is wanted", false, PENDING_SEND, SIZE, false},
    {"room for one byte is wanted", false, PENDING_SEND, 1, false},
    {"unknown features", false, FEATURES, MAX, false},
    {"no features", false, FEATURES, 0, false},
    {"our write index is overwritten", true, WRITE_INDEX, SIZE, false},
    {"our write index is odd", true, WRITE_INDEX, 7, false},
    {"our write index is -1", true, WRITE_INDEX, MAX, false},
    {"our request is overwritten", true, PENDING_SEND, MAX, false},
    {"the guest's mask is -1", true, INTERRUPT_MASK, MAX, false},
    {"the guest has read the size", true, READ_INDEX, SIZE, true},
    {"the guest has read behind the size", true, READ_INDEX, SIZE + 8, true},
    {"the guest has read -1", true, READ_INDEX, MAX, true},
    {"the guest has read -8", true, READ_INDEX, MAX - 7, true},
    {"the guest has read an odd index", true, READ_INDEX, 9, true},
    {"the guest has read a multiple of 4", true, READ_INDEX, 12, true},
    {"the guest has read 2 GiB", true, READ_INDEX, 0x80000000, true},
};

Test(hv_hostile_ring, words_of_the_headers)
{
	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		struct guest_ring *ring = words[i].in ? &ch.in : &ch.out;

		for (unsigned n = 0; n < 3; n++) {
			uint32_t index = ch.out.index;

			cr_assert(guest_send(&ch, PACKET_INBAND, 1, n + 1, NULL, 0, "x", 1) ||
				  words[i].word == READ_INDEX);
			put_le32(ring->header + words[i].word, words[i].value);
			if (ch.out.index != index)
				guest_kick(&ch);
			echo_serve(&victim);
		}
		cr_expect_eq(victim.result, words[i].breaks ? RING_BROKEN : RING_EMPTY, "%s: %s",
			     words[i].name, channel_fault(victim.channel));
		expect_healthy(words[i].name);
	}
}

/* ---- headers that are wrong from the beginning ---- */

static const struct {
	const char *name;
	bool in;
	unsigned word;
	uint32_t value;
} beginnings[] = {
    {"our read index is the size", false, READ_INDEX, SIZE},
    {"our read index is odd", false, READ_INDEX, 1},
    {"our read index is a multiple of 4", false, READ_INDEX, 4},
    {"our read index is -1", false, READ_INDEX, MAX},
    {"our read index is -8", false, READ_INDEX, MAX - 7},
    {"our write index is the size", true, WRITE_INDEX, SIZE},
    {"our write index is odd", true, WRITE_INDEX, 1},
    {"our write index is a multiple of 4", true, WRITE_INDEX, 4},
    {"our write index is -1", true, WRITE_INDEX, MAX},
    {"our write index is -8", true, WRITE_INDEX, MAX - 7},
};

Test(hv_hostile_ring, indices_to_begin_with)
{
	for (unsigned i = 0; i < ARRAY_LEN(beginnings); i++) {
		uint8_t b[148] = {MSG_OPEN};
		struct guest_message answer;

		guest_post_words(&g, MSG_CLOSE, &ch.relid, 1);
		put_le32((beginnings[i].in ? ch.in.header : ch.out.header) + beginnings[i].word,
			 beginnings[i].value);
		put_le32(b + 8, ch.relid);
		put_le32(b + 16, ch.gpadl);
		put_le32(b + 24, RING_PAGES);
		guest_post(&g, b, sizeof(b));
		cr_assert(guest_message_of(&g, MSG_OPEN_RESULT, &answer));
		cr_expect_neq(get_le32(answer.b + 16), 0, "%s", beginnings[i].name);
		expect_healthy(beginnings[i].name);
	}
}

/* ---- all at once ---- */

/* Every page of both rings is the same page: header, data and all. */
Test(hv_hostile_ring, one_page_for_everything)
{
	struct rng rng = rng_seed(3);
	uint64_t pfn[8], gpa = guest_alloc(&g, 1);
	uint8_t b[148] = {MSG_OPEN}, *page = guest_at(&g, gpa, 4096);
	struct guest_message answer;
	uint32_t gpadl;

	for (unsigned i = 0; i < 8; i++)
		pfn[i] = gpa / 4096;
	guest_post_words(&g, MSG_CLOSE, &ch.relid, 1);
	cr_assert_eq(guest_gpadl_new(&g, ch.relid, pfn, 8, &gpadl), 0);
	put_le32(b + 8, ch.relid);
	put_le32(b + 16, gpadl);
	put_le32(b + 24, 4);
	for (unsigned i = 0; i < 5000; i++) {
		rng_fill(&rng, page, 64);
		put_le32(page, (uint32_t)rng_below(&rng, 64) * 8);
		put_le32(page + 4, (uint32_t)rng_below(&rng, 64) * 8);
		guest_post(&g, b, sizeof(b));
		cr_assert(guest_message_of(&g, MSG_OPEN_RESULT, &answer));
		cr_assert_eq(get_le32(answer.b + 16), 0);
		echo_serve(&victim);
		guest_post_words(&g, MSG_CLOSE, &ch.relid, 1);
	}
	guest_gpadl_drop(&g, ch.relid, gpadl);
	cr_assert(echo_works(&other, &other_ch));
}

/* Anything in the header and the first packets; what comes out is a result, never a crash. */
Test(hv_hostile_ring, noise)
{
	struct rng rng = rng_seed(11);
	unsigned broken = 0;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned words_changed = 1 + (unsigned)rng_below(&rng, 4);

		guest_send(&ch, PACKET_INBAND, 1, 1, NULL, 0, "abc", 3);
		while (words_changed--) {
			struct guest_ring *ring = rng_percent(&rng, 50) ? &ch.in : &ch.out;
			uint8_t *at = rng_percent(&rng, 60) ? ring->header + 4 * rng_below(&rng, 5)
							    : ring->data + 2 * rng_below(&rng, 64);

			put_le16(at, (uint16_t)(rng_next(&rng) >> rng_below(&rng, 64)));
		}
		ch.out.index = get_le32(ch.out.header) % SIZE / 8 * 8;
		guest_kick(&ch);
		echo_serve(&victim);
		if (victim.result != RING_BROKEN)
			continue;
		broken++;
		reopen();
	}
	cr_assert_gt(broken, 100);
	expect_healthy("noise");
}
