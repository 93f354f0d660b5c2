/* SPDX-License-Identifier: MIT */
#include "hv/ring.h"

#include <string.h>

#include "util/bytes.h"

/* The header: words of the guest's and ours, each with one writer. */
#define RING_WRITE_INDEX    0u
#define RING_READ_INDEX     4u
#define RING_INTERRUPT_MASK 8u
#define RING_PENDING_SEND   12u
#define RING_FEATURES       64u

#define FEATURE_PENDING_SEND 1u /* the producer says what room it waits for */

#define DESCRIPTOR_BYTES 16u
#define TRAILER_BYTES    8u
/* Lengths are told in units of 8, in 16 bits. */
#define MAX_PACKET_BYTES (0xFFFFu * 8u)

/*
 * Both sides store one word and then look at another of the other side's; so that one of the two
 * sees what the other did, all these accesses are in one order (a store is a full barrier).
 */
static uint32_t load(const struct ring *ring, unsigned word)
{
	return __atomic_load_n((const uint32_t *)(ring->page[0] + word), __ATOMIC_SEQ_CST);
}

static void store(const struct ring *ring, unsigned word, uint32_t value)
{
	__atomic_store_n((uint32_t *)(ring->page[0] + word), value, __ATOMIC_SEQ_CST);
}

static enum ring_result break_ring(struct ring *ring, const char *fault)
{
	ring->broken = true;
	ring->fault = fault;
	return RING_BROKEN;
}

static bool is_index(const struct ring *ring, uint32_t index)
{
	return index < ring->size && index % 8 == 0;
}

/* Bytes from index `from` up to index `to`, both checked. */
static uint32_t distance(const struct ring *ring, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : ring->size - from + to;
}

static uint32_t advance(const struct ring *ring, uint32_t index, uint32_t bytes)
{
	index += bytes;
	return index < ring->size ? index : index - ring->size;
}

/* ---- bytes across pages and the end of the ring ---- */

/* The longest piece at `index` that lies in one page. A page ends where the ring ends. */
static uint8_t *piece_at(const struct ring *ring, uint32_t index, size_t len, size_t *piece)
{
	uint32_t in_page = index % GUEST_PAGE;

	*piece = min_u64(len, GUEST_PAGE - in_page);
	return ring->page[1 + index / GUEST_PAGE] + in_page;
}

static void copy_out(const struct ring *ring, uint32_t index, void *to, size_t len)
{
	uint8_t *p = to;

	while (len) {
		size_t piece;
		const uint8_t *from = piece_at(ring, index, len, &piece);

		memcpy(p, from, piece);
		p += piece;
		len -= piece;
		index = advance(ring, index, (uint32_t)piece);
	}
	/* The copy is what is judged: the compiler must not look at the ring again (G1). */
	__asm__ volatile("" ::: "memory");
}

/* Copies to the ring and returns the index behind it. */
static uint32_t copy_in(const struct ring *ring, uint32_t index, const void *from, size_t len)
{
	const uint8_t *p = from;

	while (len) {
		size_t piece;
		uint8_t *to = piece_at(ring, index, len, &piece);

		memcpy(to, p, piece);
		p += piece;
		len -= piece;
		index = advance(ring, index, (uint32_t)piece);
	}
	return index;
}

static enum ring_result init(struct ring *ring, uint8_t *const *page, uint32_t pages, unsigned word)
{
	*ring = (struct ring){.page = page};
	if (pages < 2 || pages > UINT32_MAX / GUEST_PAGE)
		return break_ring(ring, "a ring has no room for data, or too much");
	ring->size = (pages - 1) * GUEST_PAGE;
	ring->index = load(ring, word);
	if (!is_index(ring, ring->index))
		return break_ring(ring, "the index to begin with is outside the ring or unaligned");
	ring->published = ring->index;
	return RING_OK;
}

/* ---- guest to host ---- */

enum ring_result ring_init_in(struct ring *ring, uint8_t *const *page, uint32_t pages)
{
	return init(ring, page, pages, RING_READ_INDEX);
}

/* What a packet is made of, from its copy. Offsets are those of the descriptor, checked. */
static void describe(const uint8_t *packet, uint32_t offset, uint32_t len, struct packet *out)
{
	*out = (struct packet){
	    .type = get_le16(packet),
	    .flags = get_le16(packet + 6),
	    .transaction = get_le64(packet + 8),
	    .head = packet + DESCRIPTOR_BYTES,
	    .head_bytes = offset - DESCRIPTOR_BYTES,
	    .payload = packet + offset,
	    .payload_bytes = len - offset,
	};
}

enum ring_result ring_read(struct ring *ring, void *buf, size_t cap, struct packet *out)
{
	uint32_t write_index, used, offset, len;
	uint8_t head[DESCRIPTOR_BYTES];

	if (ring->broken)
		return RING_BROKEN;
	write_index = load(ring, RING_WRITE_INDEX);
	if (!is_index(ring, write_index))
		return break_ring(ring, "the write index is outside the ring or unaligned");
	used = distance(ring, ring->index, write_index);
	if (!used)
		return RING_EMPTY;
	if (used < DESCRIPTOR_BYTES + TRAILER_BYTES)
		return break_ring(ring, "the write index leaves no room for a packet");
	copy_out(ring, ring->index, head, sizeof(head));
	offset = get_le16(head + 2) * 8u;
	len = get_le16(head + 4) * 8u;
	if (len < DESCRIPTOR_BYTES || len > used - TRAILER_BYTES)
		return break_ring(ring, "a packet is shorter than its descriptor or not all there");
	if (offset < DESCRIPTOR_BYTES || offset > len)
		return break_ring(ring, "a packet's payload begins outside the packet");
	if (len > cap)
		return break_ring(ring, "a packet is longer than the device takes");
	memcpy(buf, head, sizeof(head));
	copy_out(ring, advance(ring, ring->index, sizeof(head)), (uint8_t *)buf + sizeof(head),
		 len - sizeof(head));
	describe(buf, offset, len, out);
	ring->index = advance(ring, ring->index, len + TRAILER_BYTES);
	return RING_OK;
}

bool ring_publish_read(struct ring *ring)
{
	uint32_t before = ring->published, wanted, write_index, free_bytes, given;

	if (ring->broken || ring->index == before)
		return false;
	store(ring, RING_READ_INDEX, ring->index);
	ring->published = ring->index;
	/* The guest states what it waits for, then looks at our index. */
	wanted = load(ring, RING_PENDING_SEND);
	if (!wanted)
		return false;
	write_index = load(ring, RING_WRITE_INDEX);
	if (!is_index(ring, write_index)) {
		break_ring(ring, "the write index is outside the ring or unaligned");
		return false;
	}
	free_bytes = ring->size - distance(ring, ring->index, write_index);
	given = distance(ring, before, ring->index);
	return free_bytes > wanted && (given >= free_bytes || free_bytes - given <= wanted);
}

bool ring_should_publish(const struct ring *ring)
{
	return distance(ring, ring->published, ring->index) >= ring->size / 8;
}

void ring_mask(struct ring *ring, bool masked)
{
	if (ring->broken)
		return;
	store(ring, RING_INTERRUPT_MASK, masked);
}

bool ring_readable(struct ring *ring)
{
	return ring->broken || load(ring, RING_WRITE_INDEX) != ring->index;
}

/* ---- host to guest ---- */

enum ring_result ring_init_out(struct ring *ring, uint8_t *const *page, uint32_t pages)
{
	enum ring_result result = init(ring, page, pages, RING_WRITE_INDEX);

	if (result == RING_OK)
		store(ring, RING_FEATURES, FEATURE_PENDING_SEND);
	return result;
}

/* Room for `needed` bytes, and one more: a full ring would look like an empty one. */
static enum ring_result room_for(struct ring *ring, uint32_t needed)
{
	uint32_t read_index = load(ring, RING_READ_INDEX);

	if (!is_index(ring, read_index))
		return break_ring(ring, "the read index is outside the ring or unaligned");
	return ring->size - distance(ring, read_index, ring->index) > needed ? RING_OK : RING_FULL;
}

static enum ring_result make_room(struct ring *ring, uint32_t needed)
{
	enum ring_result result = room_for(ring, needed);

	if (result == RING_FULL) {
		store(ring, RING_PENDING_SEND, needed);
		ring->waiting = true;
		/* The guest frees, then reads what we wait for: look once more after saying so. */
		result = room_for(ring, needed);
	}
	if (result == RING_OK && ring->waiting) {
		store(ring, RING_PENDING_SEND, 0);
		ring->waiting = false;
	}
	return result;
}

static void put_packet(struct ring *ring, const uint8_t head[DESCRIPTOR_BYTES], const void *payload,
		       size_t len)
{
	static const uint8_t zero[8];
	uint8_t trailer[TRAILER_BYTES];
	uint32_t start = ring->index;

	put_le64(trailer, (uint64_t)start << 32);
	ring->index = copy_in(ring, ring->index, head, DESCRIPTOR_BYTES);
	ring->index = copy_in(ring, ring->index, payload, len);
	ring->index = copy_in(ring, ring->index, zero, round_up(len, 8) - len);
	ring->index = copy_in(ring, ring->index, trailer, sizeof(trailer));
}

enum ring_result ring_write(struct ring *ring, enum packet_type type, uint16_t flags,
			    uint64_t transaction, const void *payload, size_t len, bool *signal)
{
	uint8_t head[DESCRIPTOR_BYTES];
	uint32_t bytes, before = ring->index;
	enum ring_result result;

	*signal = false;
	if (ring->broken)
		return RING_BROKEN;
	if (len > MAX_PACKET_BYTES - DESCRIPTOR_BYTES)
		return break_ring(ring, "a packet of ours is too long for any ring");
	bytes = DESCRIPTOR_BYTES + (uint32_t)round_up(len, 8);
	if (bytes + TRAILER_BYTES >= ring->size)
		return break_ring(ring, "the ring can never hold a packet of ours");
	result = make_room(ring, bytes + TRAILER_BYTES);
	if (result != RING_OK)
		return result;
	put_le16(head, (uint16_t)type);
	put_le16(head + 2, DESCRIPTOR_BYTES / 8);
	put_le16(head + 4, (uint16_t)(bytes / 8));
	put_le16(head + 6, flags);
	put_le64(head + 8, transaction);
	put_packet(ring, head, payload, len);
	store(ring, RING_WRITE_INDEX, ring->index);
	ring->published = ring->index;
	/* The guest unmasks or moves its index, then looks at ours. */
	*signal = load(ring, RING_INTERRUPT_MASK) == 0 && load(ring, RING_READ_INDEX) == before;
	return RING_OK;
}
