/* SPDX-License-Identifier: MIT */
/*
 * T6: while the host looks at shared words, another thread rewrites them between a good value and a
 * bad one. Whatever is handed out must agree with itself and stay inside the buffer it was given.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/memory.h"
#include "hv/ring.h"
#include "hv/synic.h"
#include "util/bytes.h"

#define PAGES   5u
#define SIZE    ((PAGES - 1) * GUEST_PAGE)
#define CAP     256u
#define GUARD   0xA7
#define RUNTIME 700 /* ms */

TestSuite(hv_racer, .timeout = 60);

struct word {
	void *at;
	unsigned bytes; /* 1, 2 or 4 */
	uint32_t value[2];
};

struct racer {
	atomic_bool stop;
	const struct word *word;
	unsigned count;
	pthread_t thread;
};

static void set(const struct word *word, uint32_t value)
{
	if (word->bytes == 4)
		__atomic_store_n((uint32_t *)word->at, value, __ATOMIC_RELAXED);
	else if (word->bytes == 2)
		__atomic_store_n((uint16_t *)word->at, (uint16_t)value, __ATOMIC_RELAXED);
	else
		__atomic_store_n((uint8_t *)word->at, (uint8_t)value, __ATOMIC_RELAXED);
}

static void *race(void *arg)
{
	struct racer *racer = arg;

	for (uint32_t i = 0; !atomic_load_explicit(&racer->stop, memory_order_relaxed); i++)
		for (unsigned n = 0; n < racer->count; n++)
			set(&racer->word[n], racer->word[n].value[(i >> n % 3) % 2]);
	return NULL;
}

static void start(struct racer *racer, const struct word *word, unsigned count)
{
	*racer = (struct racer){.word = word, .count = count};
	cr_assert_eq(pthread_create(&racer->thread, NULL, race, racer), 0);
}

static void stop(struct racer *racer)
{
	atomic_store(&racer->stop, true);
	pthread_join(racer->thread, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* On a busy machine the other thread may not have had its turn yet: then for longer. */
static bool goes_on(uint64_t begin_ms, unsigned ms, uint64_t good, uint64_t bad)
{
	uint64_t passed = now_ms() - begin_ms;

	return passed < ms || (!(good && bad) && passed < 20000);
}

static uint8_t *pages(uint8_t *page[PAGES])
{
	uint8_t *all = aligned_alloc(GUEST_PAGE, (size_t)PAGES * GUEST_PAGE);

	memset(all, 0, (size_t)PAGES * GUEST_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		page[i] = all + (size_t)i * GUEST_PAGE;
	return all;
}

static void check_packet(const uint8_t *buf, const struct packet *packet)
{
	uint32_t len = 16 + packet->head_bytes + packet->payload_bytes;

	cr_assert_leq(len, CAP);
	cr_assert_eq(len, get_le16(buf + 4) * 8u, "it was judged by another length");
	cr_assert_eq(packet->head_bytes + 16, get_le16(buf + 2) * 8u, "or by another offset");
	cr_assert_eq(packet->head, buf + 16);
	cr_assert_eq(packet->payload, buf + 16 + packet->head_bytes);
	for (unsigned i = 0; i < 64; i++)
		cr_assert_eq(buf[CAP + i], GUARD, "written behind the buffer");
}

/* One word changes while the others are good; for `ms` milliseconds. */
static void race_descriptor(uint8_t *page[PAGES], const struct word *word, unsigned ms)
{
	uint8_t buf[CAP + 64];
	uint64_t good = 0, broken = 0, begin = now_ms();
	struct racer racer;

	put_le32(page[0], 512);
	put_le16(page[1] + 2, 4);
	put_le16(page[1] + 4, CAP / 8);
	memset(buf, GUARD, sizeof(buf));
	start(&racer, word, 1);
	while (goes_on(begin, ms, good, broken))
		for (unsigned i = 0; i < 1000; i++) {
			struct packet packet;
			struct ring ring;

			cr_assert_eq(ring_init_in(&ring, page, PAGES), RING_OK);
			if (ring_read(&ring, buf, CAP, &packet) != RING_OK) {
				broken++;
				continue;
			}
			check_packet(buf, &packet);
			cr_assert_eq(ring.index, get_le16(buf + 4) * 8u + 8);
			good++;
		}
	stop(&racer);
	cr_assert(good && broken, "no race: %llu, %llu", (unsigned long long)good,
		  (unsigned long long)broken);
}

Test(hv_racer, a_descriptor_that_changes)
{
	uint8_t *page[PAGES], *all = pages(page);
	const struct word words[] = {
	    {page[0], 4, {512, SIZE + 8}},       /* write index */
	    {page[1] + 4, 2, {CAP / 8, 0xFFFF}}, /* length */
	    {page[1] + 2, 2, {4, 0x8000}},       /* offset */
	};

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		race_descriptor(page, &words[i], RUNTIME / 2);
	free(all);
}

/* The ring to the guest: its read index jumps, our write index is overwritten. */
Test(hv_racer, indices_that_change)
{
	uint8_t *page[PAGES], *all = pages(page);
	const struct word words[] = {
	    {all + 4, 4, {0, 0xFFFFFFF8}}, /* read index */
	    {all, 4, {8, 0xFFFFFFFF}},     /* write index: ours, but who knows */
	    {all + 8, 4, {0, 1}},
	    {all + 12, 4, {0, 0xFFFFFFFF}},
	};
	uint64_t good = 0, broken = 0, begin = now_ms();
	struct racer racer;
	struct ring ring;

	cr_assert_eq(ring_init_out(&ring, page, PAGES), RING_OK);
	start(&racer, words, ARRAY_LEN(words));
	while (goes_on(begin, RUNTIME, good, broken)) {
		enum ring_result result;
		bool signal;

		result = ring_write(&ring, PACKET_COMPLETION, 0, 1, all, 100, &signal);
		cr_assert_lt(ring.index, SIZE);
		cr_assert_eq(ring.index % 8, 0);
		good += result != RING_BROKEN;
		if (result != RING_BROKEN)
			continue;
		broken++;
		ring.broken = false; /* once more, from where it is */
	}
	stop(&racer);
	cr_assert(good && broken, "no race: %llu, %llu", (unsigned long long)good,
		  (unsigned long long)broken);
	free(all);
}

/* A message slot that is never what it was: no message may be lost on our side of it. */
Test(hv_racer, a_slot_that_changes)
{
	struct memory *memory;
	struct synic *synic;
	uint8_t *slot, text[240] = {0};
	struct word words[] = {{NULL, 4, {0, 1}}, {NULL, 1, {0, 0xFF}}, {NULL, 1, {0, 0xFF}}};
	uint64_t posts = 0, refused = 0, begin = now_ms();
	struct racer racer;

	cr_assert_eq(memory_create(MEMORY_MIN, &memory, NULL), ERR_OK);
	cr_assert_eq(synic_create(memory, 1, &synic, NULL), ERR_OK);
	synic_set_pages(synic, 0, 0x1001, 0x2001);
	slot = memory_at(memory, 0x1000 + SYNIC_SINT * 256, 256, MEMORY_WRITE);
	words[0].at = slot;
	words[1].at = slot + 4;
	words[2].at = slot + 5;
	start(&racer, words, ARRAY_LEN(words));
	for (; goes_on(begin, RUNTIME, posts > 100, posts > refused); posts++) {
		refused += !synic_post(synic, 0, text, sizeof(text));
		synic_run(synic);
	}
	stop(&racer);
	cr_assert_gt(posts, 100);
	cr_assert_lt(refused, posts);
	synic_destroy(synic);
	memory_destroy(memory);
}
