/* SPDX-License-Identifier: MIT */

/* As hv_hostile_storage.c: buffers that are none, states, rings, and races. */

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/random.h"
#include "tests/unit/hv_hostile_storage.h"

TestSuite(hv_hostile_buffers, .init = hostile_start, .fini = slab_stop, .timeout = 240);

/* ---- buffers ---- */

/* Instead of page numbers: of the buffer, of the last page of RAM, and behind that. */
#define BUF              UINT64_C(0xB0F0000000000000)
#define LAST             UINT64_C(0xB0F1000000000000)
#define BEYOND           UINT64_C(0xB0F2000000000000)
#define R(bytes, offset) ((uint64_t)(offset) << 32 | (bytes))

/* READ and then WRITE of 8 blocks with a buffer that is named like this; words of 8 bytes. */
static const struct {
	const char *name;
	unsigned len; /* of the ranges, from the reserved word on */
	uint64_t word[8];
	struct end end;
} buffers[] = {
    {"one that is right", 24, {R(0, 1), R(4096, 0), BUF}, {MOVED(4096)}},
    {"rubbish in the reserved word", 24, {R(UINT32_MAX, 1), R(4096, 0), BUF}, {MOVED(4096)}},
    {"rubbish behind it",
     48,
     {R(0, 1), R(4096, 0), BUF, UINT64_MAX, UINT64_MAX, UINT64_MAX},
     {MOVED(4096)}},
    {"no ranges at all", 0, {0}, {INVALID}},
    {"no ranges, it says", 24, {R(0, 0), R(4096, 0), BUF}, {INVALID}},
    {"a count and nothing else", 8, {R(0, 1)}, {INVALID}},
    {"two ranges, one there", 16 + 8, {R(0, 2), R(512, 0), BUF}, {INVALID}},
    {"2^32-1 ranges", 24, {R(0, UINT32_MAX), R(512, 0), BUF}, {INVALID}},
    {"a range without pages", 16, {R(0, 1), R(4096, 0)}, {INVALID}},
    {"a range with too few pages", 24, {R(0, 1), R(4096, 1), BUF}, {INVALID}},
    {"a range of no bytes", 24, {R(0, 1), R(0, 0), BUF}, {INVALID}},
    {"a range of 2^32-1 bytes", 24, {R(0, 1), R(UINT32_MAX, 0), BUF}, {INVALID}},
    {"a range of 2^32-1 bytes at the end of a page",
     24,
     {R(0, 1), R(UINT32_MAX, 4095), BUF},
     {INVALID}},
    {"offset 4096", 24, {R(0, 1), R(4096, 4096), BUF}, {INVALID}},
    {"offset 2^32-1", 24, {R(0, 1), R(4096, UINT32_MAX), BUF}, {INVALID}},
    {"the first page behind RAM", 24, {R(0, 1), R(4096, 0), BEYOND}, {INVALID}},
    {"out of RAM", 32, {R(0, 1), R(4096, 2048), LAST, BEYOND}, {INVALID}},
    {"the second page nowhere", 32, {R(0, 1), R(4096, 512), BUF, UINT64_MAX}, {INVALID}},
    {"the hole below 4 GiB", 24, {R(0, 1), R(4096, 0), 0xC0000}, {INVALID}},
    {"the local APIC", 24, {R(0, 1), R(4096, 0), 0xFEE00}, {INVALID}},
    {"4 GiB", 24, {R(0, 1), R(4096, 0), 0x100000}, {INVALID}},
    {"1 TiB", 24, {R(0, 1), R(4096, 0), UINT64_C(1) << 28}, {INVALID}},
    {"the last page of all", 24, {R(0, 1), R(4096, 0), (UINT64_C(1) << 52) - 1}, {INVALID}},
    {"an address that wraps to 0", 24, {R(0, 1), R(4096, 0), UINT64_C(1) << 52}, {INVALID}},
    {"an address that wraps into RAM",
     24,
     {R(0, 1), R(4096, 0), (UINT64_C(1) << 52) + 64},
     {INVALID}},
    {"page number 2^63", 24, {R(0, 1), R(4096, 0), UINT64_C(1) << 63}, {INVALID}},
    {"page number 2^64-1", 24, {R(0, 1), R(4096, 0), UINT64_MAX}, {INVALID}},
    {"the same page twice", 40, {R(0, 2), R(2048, 0), BUF, R(2048, 0), BUF}, {MOVED(4096)}},
    {"a second range that is empty", 40, {R(0, 2), R(2048, 0), BUF, R(0, 0), BUF}, {INVALID}},
    {"a second range that is nowhere",
     40,
     {R(0, 2), R(2048, 0), BUF, R(2048, 0), BEYOND},
     {INVALID}},
    {"a second range nobody needs",
     40,
     {R(0, 2), R(4096, 0), BUF, R(0, 0), UINT64_MAX},
     {MOVED(4096)}},
    {"pages nobody needs", 32, {R(0, 1), R(8192, 0), BUF, UINT64_MAX}, {MOVED(4096)}},
};

static uint64_t page_number(uint64_t word)
{
	uint64_t last = memory_size(slab.g.memory) / GUEST_PAGE - 1;

	switch (word & UINT64_C(0xFFFF000000000000)) {
	case BUF:
		return slab.buffer / GUEST_PAGE;
	case LAST:
		return last;
	case BEYOND:
		return last + 1;
	default:
		return word;
	}
}

static void try_buffer(unsigned i, bool write)
{
	struct guest_scsi what = guest_scsi_rw(write, 0, 8, 0);
	struct vstor_srb srb = {.cdb_len = 16,
				.data_in = write ? VSTOR_DATA_OUT : VSTOR_DATA_IN,
				.transfer_bytes = what.len};
	uint8_t packet[VSTOR_BYTES], head[64];

	memcpy(srb.cdb, what.cdb, 16);
	vstor_put_srb(packet, &srb);
	for (unsigned w = 0; w < 8; w++)
		put_le64(head + 8 * w, page_number(buffers[i].word[w]));
	cr_assert(guest_send(&slab.ch, PACKET_GPA_DIRECT, OK_FLAG, 4000 + i, head, buffers[i].len,
			     packet, sizeof(packet)));
	hostile_ends(buffers[i].name, 4000 + i, &buffers[i].end);
	hostile_serves(buffers[i].name);
}

Test(hv_hostile_buffers, buffers)
{
	for (unsigned i = 0; i < ARRAY_LEN(buffers); i++) {
		try_buffer(i, false);
		try_buffer(i, true);
	}
}

Test(hv_hostile_buffers, a_buffer_of_too_many_pieces)
{
	enum { PIECES = VSTOR_BYTES + 8 };
	struct guest_scsi what = guest_scsi_rw(false, 0, PIECES, 0);
	struct vstor_srb srb = {
	    .cdb_len = 16, .data_in = VSTOR_DATA_IN, .transfer_bytes = what.len};
	uint8_t packet[VSTOR_BYTES], head[8 + 16 * PIECES] = {0};

	memcpy(srb.cdb, what.cdb, 16);
	vstor_put_srb(packet, &srb);
	put_le32(head + 4, PIECES);
	for (unsigned i = 0; i < PIECES; i++) {
		put_le64(head + 8 + 16 * i, R(512, 0));
		put_le64(head + 16 + 16 * i, slab.buffer / GUEST_PAGE + 2 * i % 100);
	}
	cr_assert(
	    guest_send(&slab.ch, PACKET_GPA_DIRECT, OK_FLAG, 1, head, sizeof(head), packet, 64));
	hostile_ends("pieces", 1, &(struct end){INVALID});
	hostile_serves("pieces");
}

/* ---- states ---- */

#define W VSTOR_INVALID_STATE
#define N VSTOR_NOT_SUPPORTED
#define I VSTOR_INVALID_PARAMETER
#define M VSTOR_REVISION_MISMATCH

/*
 * Each operation, 0 to 14, in each state; the number at offset 12 is 0xFFFF, which is no version
 * and too many channels. SRBs have the status of the packet alone.
 */
static const struct {
	const char *name;
	unsigned steps; /* of the handshake, before */
	uint32_t status[15];
} states[] = {
    {"new", 0, {N, N, N, W, W, W, W, 0, W, W, W, N, N, W, N}},
    {"begun", 1, {N, N, N, W, W, W, W, W, W, M, W, N, N, W, N}},
    {"version known", 2, {N, N, N, W, W, W, W, W, W, W, 0, N, N, W, N}},
    {"properties known", 3, {N, N, N, W, W, W, W, W, 0, W, W, N, N, W, N}},
    {"ready", 4, {N, N, N, 0, 0, 0, 0, W, W, W, W, N, N, I, N}},
};

static const struct {
	enum vstor_operation operation;
	uint16_t number;
} steps[] = {{VSTOR_BEGIN_INITIALIZATION, 0},
	     {VSTOR_QUERY_PROTOCOL_VERSION, VSTOR_VERSION_6_2},
	     {VSTOR_QUERY_PROPERTIES, 0},
	     {VSTOR_END_INITIALIZATION, 0}};

static void open_up_to(unsigned count)
{
	guest_close(&slab.ch);
	cr_assert_eq(
	    guest_open(&slab.g, guest_offer_of(&slab.g, &slab.instance, 0), 4, 0, &slab.ch), 0);
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(guest_storage_do(&slab.ch, steps[i].operation, steps[i].number), 0);
}

Test(hv_hostile_buffers, operations_in_every_state)
{
	for (unsigned s = 0; s < ARRAY_LEN(states); s++) {
		for (unsigned op = 0; op < 15; op++) {
			uint32_t status;

			open_up_to(states[s].steps);
			status = guest_storage_do(&slab.ch, op, 0xFFFF);
			cr_assert_eq(status, states[s].status[op], "%s: operation %u: %#x",
				     states[s].name, op, status);
		}
	}
	open_up_to(4);
	hostile_serves("states");
}

Test(hv_hostile_buffers, sub_channels_take_no_handshake)
{
	static const uint32_t expected[15] = {N, N, N, 0, 0, 0, 0, W, W, W, W, N, N, W, N};
	struct guest_channel sub;

	cr_assert(slab_ask_subs(2));
	guest_storage_open(&slab.g, &slab.instance, 2, &sub);
	for (unsigned op = 0; op < 15; op++)
		cr_assert_eq(guest_storage_do(&sub, op, 1), expected[op], "operation %u", op);
	hostile_serves("sub-channels");
}

Test(hv_hostile_buffers, requests_pile_up_in_every_state)
{
	uint8_t packet[VSTOR_BYTES];

	for (unsigned s = 0; s < ARRAY_LEN(states); s++) {
		unsigned sent = 0;

		open_up_to(states[s].steps);
		vstor_notice(packet, VSTOR_RESET_BUS);
		while (guest_send(&slab.ch, PACKET_INBAND, OK_FLAG, sent, NULL, 0, packet, 64) &&
		       sent < 2000)
			sent++;
		for (unsigned i = 0; i < sent; i++)
			cr_assert(guest_receive(&slab.ch, &hostile_got, GUEST_PATIENCE_MS),
				  "%s: %u of %u", states[s].name, i, sent);
		cr_assert_not(guest_receive(&slab.ch, &hostile_got, 0), "%s", states[s].name);
	}
	open_up_to(4);
	hostile_serves("piles");
}

/* ---- rings ---- */

static const struct {
	const char *name;
	bool in;       /* of the ring from the host */
	unsigned word; /* of its header */
	uint32_t value;
} indices[] = {
    {"write index beyond the ring", false, 0, 0x80000000},
    {"write index at the end", false, 0, (GUEST_STORAGE_RING - 1) * GUEST_PAGE},
    {"write index unaligned", false, 0, 4},
    {"write index behind half a packet", false, 0, 8},
    {"read index of the host's ring beyond it", true, 4, 0xFFFFFFF8},
    {"read index of the host's ring unaligned", true, 4, 1},
};

Test(hv_hostile_buffers, broken_rings)
{
	for (unsigned i = 0; i < ARRAY_LEN(indices); i++) {
		uint8_t packet[VSTOR_BYTES];
		uint32_t *word;

		guest_close(&slab.ch);
		guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
		word = (uint32_t *)((indices[i].in ? slab.ch.in : slab.ch.out).header +
				    indices[i].word);
		if (indices[i].in) {
			__atomic_store_n(word, indices[i].value, __ATOMIC_SEQ_CST);
			vstor_notice(packet, VSTOR_ENUMERATE_BUS);
			guest_send(&slab.ch, PACKET_INBAND, OK_FLAG, 1, NULL, 0, packet, 64);
		} else {
			uint32_t value = indices[i].value;

			/* the others are wrong wherever the ring stands */
			if (value == 8)
				value = (slab.ch.out.index + 8) % slab.ch.out.size;
			__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
		}
		guest_kick(&slab.ch);
		hostile_stops(indices[i].name);
		hostile_serves(indices[i].name);
	}
}

/* ---- races ---- */

struct racer {
	pthread_t thread;
	atomic_bool stop;
	uint8_t *ring, *params;
	size_t ring_len, params_len;
};

/* Rewrites words of both areas, sometimes to what was there: so that some get through. */
static void *race(void *arg)
{
	struct racer *racer = arg;
	struct rng rng = rng_seed(99);

	while (!atomic_load(&racer->stop)) {
		bool params = rng_percent(&rng, 50);
		size_t len = params ? racer->params_len : racer->ring_len;
		uint32_t *word = (uint32_t *)((params ? racer->params : racer->ring) +
					      rng_below(&rng, len / 4) * 4);
		uint32_t before = __atomic_load_n(word, __ATOMIC_RELAXED);

		__atomic_store_n(word, (uint32_t)rng_next(&rng) >> rng_below(&rng, 32),
				 __ATOMIC_RELAXED);
		for (volatile unsigned i = 0; i < 50; i++)
			;
		if (rng_percent(&rng, 90))
			__atomic_store_n(word, before, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void send_at_random(struct rng *rng)
{
	struct guest_scsi what = guest_scsi_rw(rng_percent(rng, 50), rng_below(rng, 1000) * 8, 16,
					       slab.buffer + rng_below(rng, 16) * 512);

	if (rng_percent(rng, 30)) {
		what = (struct guest_scsi){
		    .cdb = {0x42, [8] = 40}, .data = VSTOR_DATA_OUT, .gpa = slab.buffer, .len = 40};
		memset(slab_at(0), 0, 40);
		put_be16(slab_at(2), 32);
		put_be32(slab_at(16), 64);
		put_be32(slab_at(32), 64);
	}
	guest_scsi_send(&slab.ch, 1, &what);
}

/* G1, T6: the host judges copies, so whatever is rewritten meanwhile was judged or refused. */
Test(hv_hostile_buffers, rings_and_buffers_that_change_while_they_are_read)
{
	struct rng rng = rng_seed(7);

	for (unsigned round = 0; round < 60; round++) {
		struct racer racer = {
		    .ring = slab.ch.out.data,
		    .ring_len = slab.ch.out.size,
		    .params = slab_at(0),
		    .params_len = 64,
		};

		pthread_create(&racer.thread, NULL, race, &racer);
		for (unsigned i = 0; i < 300; i++) {
			send_at_random(&rng);
			while (guest_receive(&slab.ch, &hostile_got, 0))
				;
		}
		atomic_store(&racer.stop, true);
		pthread_join(racer.thread, NULL);
		guest_close(&slab.ch);
		guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
	}
	cr_assert(guest_flush(&slab.ch));
}
