/* SPDX-License-Identifier: MIT */
/* The guest's side of channels and rings; see guest_bus.h. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/guest_bus.h"
#include "util/bytes.h"

/* Words of a ring's header. */
enum { WRITE_INDEX = 0, READ_INDEX = 4, INTERRUPT_MASK = 8, PENDING_SEND = 12, FEATURES = 64 };

static uint32_t load(const struct guest_ring *ring, unsigned word)
{
	return __atomic_load_n((uint32_t *)(ring->header + word), __ATOMIC_SEQ_CST);
}

static void store(const struct guest_ring *ring, unsigned word, uint32_t value)
{
	__atomic_store_n((uint32_t *)(ring->header + word), value, __ATOMIC_SEQ_CST);
}

static uint32_t put_bytes(const struct guest_ring *ring, uint32_t at, const void *from, size_t len)
{
	size_t first = min_u64(len, ring->size - at);

	if (len) {
		memcpy(ring->data + at, from, first);
		memcpy(ring->data, (const uint8_t *)from + first, len - first);
	}
	return (uint32_t)((at + len) % ring->size);
}

static void get_bytes(const struct guest_ring *ring, uint32_t at, void *to, size_t len)
{
	size_t first = min_u64(len, ring->size - at);

	memcpy(to, ring->data + at, first);
	memcpy((uint8_t *)to + first, ring->data, len - first);
}

/* ---- opening and closing ---- */

static struct guest_ring ring_at(struct guest_bus *g, uint64_t gpa, unsigned pages)
{
	uint8_t *header = guest_at(g, gpa, (uint64_t)pages * GUEST_PAGE);
	struct guest_ring ring = {header, header + GUEST_PAGE, (pages - 1) * GUEST_PAGE, 0};

	memset(header, 0, GUEST_PAGE);
	store(&ring, FEATURES, 1);
	return ring;
}

uint32_t guest_open(struct guest_bus *g, const struct guest_offer *offer, unsigned ring_pages,
		    unsigned vp, struct guest_channel *out)
{
	unsigned pages = 2 * ring_pages;
	uint64_t *pfn = calloc(pages, sizeof(*pfn));
	struct guest_message answer;
	uint8_t b[148] = {0};
	uint32_t status;

	*out = (struct guest_channel){
	    .g = g,
	    .relid = offer->relid,
	    .connection = offer->connection,
	    .vp = vp,
	    .gpa = guest_alloc(g, pages),
	    .ring_pages = ring_pages,
	};
	for (unsigned i = 0; i < pages; i++)
		pfn[i] = out->gpa / GUEST_PAGE + i;
	status = guest_gpadl_new(g, out->relid, pfn, pages, &out->gpadl);
	free(pfn);
	if (status)
		return status;
	out->out = ring_at(g, out->gpa, ring_pages);
	out->in = ring_at(g, out->gpa + (uint64_t)ring_pages * GUEST_PAGE, ring_pages);
	put_le32(b, MSG_OPEN);
	put_le32(b + 8, out->relid);
	put_le32(b + 12, out->relid);
	put_le32(b + 16, out->gpadl);
	put_le32(b + 20, vp);
	put_le32(b + 24, ring_pages);
	guest_post(g, b, sizeof(b));
	if (!guest_message_of(g, MSG_OPEN_RESULT, &answer) || get_le32(answer.b + 8) != out->relid)
		abort();
	return get_le32(answer.b + 16);
}

void guest_close(struct guest_channel *ch)
{
	guest_post_words(ch->g, MSG_CLOSE, &ch->relid, 1);
	guest_gpadl_drop(ch->g, ch->relid, ch->gpadl);
}

/* ---- sending ---- */

void guest_kick(struct guest_channel *ch)
{
	vmbus_signal(ch->g->bus, ch->connection, 0);
}

bool guest_send(struct guest_channel *ch, enum packet_type type, uint16_t flags,
		uint64_t transaction, const void *head, size_t head_len, const void *payload,
		size_t len)
{
	struct guest_ring *ring = &ch->out;
	uint32_t offset = 16 + (uint32_t)round_up(head_len, 8);
	uint32_t total = offset + (uint32_t)round_up(len, 8);
	uint32_t before = ring->index, at = before, used;
	uint8_t desc[16], trailer[8], zero[8] = {0};

	used = (before - load(ring, READ_INDEX) + ring->size) % ring->size;
	if (ring->size - used <= total + 8)
		return false;
	put_le16(desc, (uint16_t)type);
	put_le16(desc + 2, (uint16_t)(offset / 8));
	put_le16(desc + 4, (uint16_t)(total / 8));
	put_le16(desc + 6, flags);
	put_le64(desc + 8, transaction);
	put_le64(trailer, (uint64_t)before << 32);
	at = put_bytes(ring, at, desc, sizeof(desc));
	at = put_bytes(ring, at, head, head_len);
	at = put_bytes(ring, at, zero, offset - 16 - head_len);
	at = put_bytes(ring, at, payload, len);
	at = put_bytes(ring, at, zero, total - offset - len);
	ring->index = put_bytes(ring, at, trailer, sizeof(trailer));
	store(ring, WRITE_INDEX, ring->index);
	if (!load(ring, INTERRUPT_MASK) && load(ring, READ_INDEX) == before)
		guest_kick(ch);
	return true;
}

bool guest_send_direct(struct guest_channel *ch, uint64_t transaction, uint64_t gpa,
		       uint32_t range_len, const void *payload, size_t len)
{
	uint32_t offset = gpa % GUEST_PAGE;
	unsigned pages = (unsigned)div_round_up((uint64_t)offset + range_len, GUEST_PAGE);
	uint8_t *head = calloc(1, 16 + 8 * (size_t)pages);
	bool sent;

	put_le32(head + 4, 1);
	put_le32(head + 8, range_len);
	put_le32(head + 12, offset);
	for (unsigned i = 0; i < pages; i++)
		put_le64(head + 16 + 8 * (size_t)i, gpa / GUEST_PAGE + i);
	sent = guest_send(ch, PACKET_GPA_DIRECT, PACKET_WANTS_COMPLETION, transaction, head,
			  16 + 8 * (size_t)pages, payload, len);
	free(head);
	return sent;
}

/* ---- receiving ---- */

bool guest_flag(struct guest_channel *ch)
{
	uint64_t page = ch->g->synic_page + (ch->vp * 2ull + 1) * GUEST_PAGE;
	uint32_t *word = guest_at(ch->g, page + SYNIC_SINT * 256 + ch->relid / 32 * 4ull, 4);
	uint32_t bit = 1u << ch->relid % 32;

	return __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST) & bit;
}

/* Give the space back; signal when the host waits for what it has now got. */
static void give_back(struct guest_channel *ch, uint32_t bytes)
{
	struct guest_ring *ring = &ch->in;
	uint32_t wanted, free_bytes;

	ring->index = (ring->index + bytes) % ring->size;
	store(ring, READ_INDEX, ring->index);
	wanted = load(ring, PENDING_SEND);
	free_bytes = ring->size - (load(ring, WRITE_INDEX) - ring->index + ring->size) % ring->size;
	if (wanted && free_bytes > wanted && free_bytes - bytes <= wanted)
		guest_kick(ch);
}

static bool take_packet(struct guest_channel *ch, struct guest_packet *out)
{
	struct guest_ring *ring = &ch->in;
	uint32_t used, offset, total;
	uint8_t desc[16];

	used = (load(ring, WRITE_INDEX) - ring->index + ring->size) % ring->size;
	if (!used)
		return false;
	get_bytes(ring, ring->index, desc, sizeof(desc));
	offset = get_le16(desc + 2) * 8u;
	total = get_le16(desc + 4) * 8u;
	if (used < 24 || total + 8 > used || offset < 16 || offset > total)
		abort(); /* the host's packets are whole */
	out->type = get_le16(desc);
	out->flags = get_le16(desc + 6);
	out->transaction = get_le64(desc + 8);
	out->len = total - offset;
	get_bytes(ring, (ring->index + offset) % ring->size, out->b,
		  min_u64(out->len, sizeof(out->b)));
	give_back(ch, total + 8);
	return true;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool guest_receive(struct guest_channel *ch, struct guest_packet *out, unsigned timeout_ms)
{
	uint64_t end = now_ms() + timeout_ms;

	for (;;) {
		uint64_t now;

		guest_run(ch->g);
		if (take_packet(ch, out))
			return true;
		if (guest_flag(ch))
			continue;
		now = now_ms();
		if (now >= end)
			return false;
		guest_sleep(ch->g, (unsigned)(end - now));
	}
}
