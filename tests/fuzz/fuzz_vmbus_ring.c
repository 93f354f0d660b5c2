/* SPDX-License-Identifier: MIT */
/*
 * Rings of a few pages whose words and bytes the input changes between our accesses. What is read
 * lies inside the buffer, agrees with its own descriptor, and is read from where the last one
 * ended; what is written lies inside the ring.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/ring.h"
#include "tests/lib/fuzz_image.h"
#include "util/bytes.h"

#define PAGES 3u
#define SIZE  ((PAGES - 1) * GUEST_PAGE)
#define CAP   1024u
#define STEPS 300u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Alignas(8) uint8_t memory[2 * PAGES][GUEST_PAGE];

static void must(bool good)
{
	if (!good)
		abort();
}

static uint32_t small(struct fuzz_input *input)
{
	uint8_t b = fuzz_u8(input);

	/* Most often something that could be right. */
	return b < 0xE0 ? (uint32_t)b * 8 : fuzz_u32(input);
}

/* A word of a header, or the length and offset of a packet where the next one would be. */
static void change(struct fuzz_input *input, const struct ring *in)
{
	static const uint8_t word[] = {0, 4, 8, 12, 64};
	uint8_t what = fuzz_u8(input);
	uint8_t *ring = memory[what & 0x80 ? PAGES : 0];

	if (what & 0x40) {
		uint32_t at = (in->index + what % 8 * 2) % SIZE;
		uint8_t *p = &memory[1 + at / GUEST_PAGE][at % GUEST_PAGE];

		put_le16(p,
			 (uint16_t)(fuzz_u8(input) < 0xF0 ? fuzz_u8(input) % 40 : fuzz_u32(input)));
	} else {
		put_le32(ring + word[what % 5], small(input));
	}
}

static void read_one(struct ring *ring)
{
	uint32_t before = ring->index, len;
	uint8_t *buf = malloc(CAP); /* exactly: the sanitizer guards its end */
	struct packet packet;
	enum ring_result result = ring_read(ring, buf, CAP, &packet);

	if (result == RING_OK) {
		len = 16 + packet.head_bytes + packet.payload_bytes;
		must(len <= CAP && len == get_le16(buf + 4) * 8u);
		must(packet.head == buf + 16 && packet.payload + packet.payload_bytes == buf + len);
		must(ring->index == (before + len + 8) % SIZE);
	} else {
		must(ring->index == before);
	}
	must((result == RING_BROKEN) == ring->broken && ring->broken == (ring->fault != NULL));
	free(buf);
}

static void write_one(struct ring *ring, struct fuzz_input *input)
{
	static const uint8_t payload[CAP];
	uint32_t before = ring->index, len = small(input) % CAP;
	bool signal;
	enum ring_result result = ring_write(ring, PACKET_COMPLETION, 0, 1, payload, len, &signal);

	must(ring->index < SIZE && ring->index % 8 == 0);
	if (result == RING_OK) {
		must(ring->index == (before + 24 + round_up(len, 8)) % SIZE);
		must(get_le32(memory[PAGES]) == ring->index);
	} else {
		must(ring->index == before && !signal);
	}
}

static void step(struct ring *in, struct ring *out, struct fuzz_input *input)
{
	switch (fuzz_u8(input) % 8) {
	case 0:
		ring_publish_read(in);
		break;
	case 1:
		ring_mask(in, fuzz_u8(input) & 1);
		must(ring_readable(in) || !in->broken);
		break;
	case 2:
	case 3:
		read_one(in);
		break;
	case 4:
		write_one(out, input);
		break;
	default:
		change(input, in);
	}
	must(in->index < SIZE && in->published < SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t *page[2 * PAGES];
	struct ring in, out;

	memset(memory, 0, sizeof(memory));
	for (unsigned i = 0; i < 2 * PAGES; i++)
		page[i] = memory[i];
	if (fuzz_u8(&input) & 1) {
		put_le32(memory[0] + 4, small(&input));
		put_le32(memory[PAGES], small(&input));
	}
	if (ring_init_in(&in, page, PAGES) || ring_init_out(&out, page + PAGES, PAGES))
		return 0;
	for (unsigned i = 0; i < STEPS && input.len; i++)
		step(&in, &out, &input);
	return 0;
}
