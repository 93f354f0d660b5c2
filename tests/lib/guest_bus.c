/* SPDX-License-Identifier: MIT */
#include "tests/lib/guest_bus.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/bytes.h"

#define SLOT(g, vp) ((g)->synic_page + (vp)*2ull * GUEST_PAGE + SYNIC_SINT * 256)

#define HEADER_PFNS 26u
#define BODY_PFNS   28u

static void fail(const char *what)
{
	fprintf(stderr, "guest: %s\n", what);
	abort();
}

static void must(bool good, const char *what)
{
	if (!good)
		fail(what);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void guest_init(struct guest_bus *g, const struct guest_opts *opts)
{
	struct err_why why = {0};

	*g = (struct guest_bus){
	    .vp_count = opts->vp_count ? opts->vp_count : 1,
	    .version = opts->version ? opts->version : VMBUS_VERSION(5, 3),
	    .next_page = 16,
	    .next_gpadl = 0xE1E10,
	};
	must(g->vp_count <= GUEST_MAX_VPS, "too many processors");
	if (memory_create(opts->memory_bytes ? opts->memory_bytes : 64ull << 20, &g->memory,
			  &why) ||
	    synic_create(g->memory, g->vp_count, &g->synic, &why) ||
	    vmbus_create(g->memory, g->synic, g->vp_count, opts->wiring, &g->bus, &why))
		fail(why.text);
	g->synic_page = guest_alloc(g, 2 * g->vp_count);
}

void guest_fini(struct guest_bus *g)
{
	vmbus_destroy(g->bus);
	synic_destroy(g->synic);
	memory_destroy(g->memory);
}

/* ---- memory ---- */

uint64_t guest_alloc(struct guest_bus *g, unsigned pages)
{
	struct memory_part part[2];
	uint64_t gpa = g->next_page * GUEST_PAGE;

	memory_parts(g->memory, part);
	must(gpa + (uint64_t)pages * GUEST_PAGE <= part[0].size_bytes, "out of memory");
	g->next_page += pages;
	return gpa;
}

void *guest_at(struct guest_bus *g, uint64_t gpa, uint64_t len)
{
	void *p = memory_at(g->memory, gpa, len, MEMORY_WRITE);

	must(p != NULL, "no RAM there");
	return p;
}

/* ---- messages ---- */

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

void guest_run(struct guest_bus *g)
{
	/* Bounded: a slot that stays busy is looked at again and again. */
	for (unsigned i = 0; i < 10000; i++) {
		if (readable(vmbus_fd(g->bus)))
			vmbus_run(g->bus);
		else if (readable(synic_fd(g->synic)))
			synic_run(g->synic);
		else
			return;
	}
}

static enum hv_status post_to(struct guest_bus *g, uint32_t connection, const void *message,
			      size_t len)
{
	enum hv_status status;

	while ((status = vmbus_post(g->bus, connection, 1, message, len)) ==
	       HV_INSUFFICIENT_BUFFERS)
		vmbus_run(g->bus);
	return status;
}

void guest_post(struct guest_bus *g, const void *message, size_t len)
{
	must(post_to(g, 1, message, len) == HV_SUCCESS, "a post fails");
}

void guest_post_words(struct guest_bus *g, uint32_t type, const uint32_t *word, unsigned count)
{
	uint8_t b[SYNIC_MESSAGE_MAX] = {0};

	put_le32(b, type);
	for (unsigned i = 0; i < count; i++)
		put_le32(b + 8 + 4 * (size_t)i, word[i]);
	guest_post(g, b, 8 + 4 * (size_t)count);
}

static void note_offer(struct guest_bus *g, const uint8_t *b)
{
	struct guest_offer *offer = &g->offer[g->offer_count++];

	must(g->offer_count <= GUEST_MAX_OFFERS, "too many offers");
	*offer = (struct guest_offer){
	    .flags = get_le16(b + 56),
	    .sub_index = get_le16(b + 180),
	    .relid = get_le32(b + 184),
	    .connection = get_le32(b + 192),
	};
	memcpy(offer->type.b, b + 8, 16);
	memcpy(offer->instance.b, b + 24, 16);
	memcpy(offer->user, b + 60, sizeof(offer->user));
}

static void note_rescind(struct guest_bus *g, uint32_t relid)
{
	for (unsigned i = 0; i < g->offer_count; i++)
		if (g->offer[i].relid == relid)
			g->offer[i].rescinded = true;
	if (!g->keep_rescinded)
		guest_release(g, relid);
}

static void note(struct guest_bus *g, const struct guest_message *message)
{
	if (message->type == MSG_OFFER)
		note_offer(g, message->b);
	else if (message->type == MSG_RESCIND)
		note_rescind(g, get_le32(message->b + 8));
}

/* As Linux does: copy, free the slot, and only then see whether the host waits for it. */
static bool take_slot(struct guest_bus *g, unsigned vp, struct guest_message *out)
{
	uint8_t *slot = guest_at(g, SLOT(g, vp), 256);
	uint32_t *type = (uint32_t *)slot;
	uint64_t one = 1;

	if (!__atomic_load_n(type, __ATOMIC_ACQUIRE))
		return false;
	*out = (struct guest_message){.vp = vp, .len = slot[4]};
	must(*type == 1 && out->len >= 8 && out->len <= SYNIC_MESSAGE_MAX, "an odd message");
	memcpy(out->b, slot + 16, out->len);
	out->type = get_le32(out->b);
	__atomic_exchange_n(type, 0, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(slot + 5, __ATOMIC_SEQ_CST) & 1) {
		g->slot_waits++;
		must(write(synic_message_end_fd(g->synic, vp), &one, 8) == 8, "no end of message");
	}
	return true;
}

bool guest_message(struct guest_bus *g, struct guest_message *out)
{
	guest_run(g);
	for (unsigned vp = 0; vp < g->vp_count; vp++)
		if (take_slot(g, vp, out)) {
			g->messages++;
			note(g, out);
			return true;
		}
	return false;
}

bool guest_message_of(struct guest_bus *g, uint32_t type, struct guest_message *out)
{
	while (guest_message(g, out))
		if (out->type == type)
			return true;
	return false;
}

void guest_sleep(struct guest_bus *g, unsigned ms)
{
	struct pollfd p[GUEST_MAX_VPS + 2];
	unsigned n = 0;
	uint64_t count;

	p[n++] = (struct pollfd){.fd = vmbus_fd(g->bus), .events = POLLIN};
	p[n++] = (struct pollfd){.fd = synic_fd(g->synic), .events = POLLIN};
	for (unsigned vp = 0; vp < g->vp_count; vp++)
		p[n++] = (struct pollfd){.fd = synic_interrupt_fd(g->synic, vp), .events = POLLIN};
	if (poll(p, n, (int)ms) <= 0)
		return;
	for (unsigned i = 2; i < n; i++)
		if (p[i].revents & POLLIN)
			must(read(p[i].fd, &count, sizeof(count)) == 8, "no interrupt");
}

bool guest_await(struct guest_bus *g, uint32_t type, struct guest_message *out, unsigned timeout_ms)
{
	uint64_t now = now_ms(), end = now + timeout_ms;

	while (!guest_message_of(g, type, out)) {
		now = now_ms();
		if (now >= end)
			return false;
		guest_sleep(g, (unsigned)(end - now));
	}
	return true;
}

unsigned guest_drain(struct guest_bus *g)
{
	struct guest_message message;
	unsigned n = 0;

	while (guest_message(g, &message))
		n++;
	return n;
}

/* ---- the connection ---- */

bool guest_contact(struct guest_bus *g, uint32_t version)
{
	uint8_t b[40] = {0};
	struct guest_message answer;
	bool modern = version >= VMBUS_VERSION(5, 0);
	enum hv_status status;

	put_le32(b, MSG_CONTACT);
	put_le32(b + 8, version);
	put_le32(b + 12, g->message_vp);
	if (modern)
		b[16] = SYNIC_SINT;
	else
		put_le64(b + 16, guest_alloc(g, 1)); /* the interrupt page */
	put_le64(b + 24, guest_alloc(g, 1));
	put_le64(b + 32, guest_alloc(g, 1));
	g->offer_count = 0;
	status = post_to(g, modern ? 4 : 1, b, sizeof(b));
	if (status == HV_INVALID_CONNECTION)
		return false;
	must(status == HV_SUCCESS, "a contact cannot be posted");
	must(guest_message_of(g, MSG_VERSION, &answer), "a contact is not answered");
	must(answer.vp == g->message_vp && answer.len >= 16, "a contact is answered elsewhere");
	return answer.b[8];
}

void guest_connect(struct guest_bus *g)
{
	struct guest_message all;

	for (unsigned vp = 0; vp < g->vp_count; vp++)
		synic_set_pages(g->synic, vp, (g->synic_page + vp * 2ull * GUEST_PAGE) | 1,
				(g->synic_page + (vp * 2ull + 1) * GUEST_PAGE) | 1);
	must(guest_contact(g, g->version), "the version is refused");
	guest_post_words(g, MSG_REQUEST_OFFERS, NULL, 0);
	must(guest_message_of(g, MSG_ALL_OFFERS, &all), "the offers have no end");
}

void guest_unload(struct guest_bus *g)
{
	struct guest_message answer;

	guest_post_words(g, MSG_UNLOAD, NULL, 0);
	must(guest_message_of(g, MSG_UNLOADED, &answer), "an unload is not answered");
	for (unsigned i = 0; i < g->offer_count; i++)
		guest_release(g, g->offer[i].relid);
	g->offer_count = 0;
	guest_run(g);
}

const struct guest_offer *guest_offer_of(struct guest_bus *g, const struct guid *instance,
					 unsigned sub_index)
{
	guest_drain(g);
	for (unsigned i = 0; i < g->offer_count; i++) {
		const struct guest_offer *offer = &g->offer[i];

		if (!offer->rescinded && offer->sub_index == sub_index &&
		    (!instance || guid_equal(instance, &offer->instance)))
			return offer;
	}
	return NULL;
}

const struct guest_offer *guest_offer_relid(struct guest_bus *g, uint32_t relid)
{
	for (unsigned i = g->offer_count; i--;)
		if (g->offer[i].relid == relid)
			return &g->offer[i];
	return NULL;
}

void guest_release(struct guest_bus *g, uint32_t relid)
{
	guest_post_words(g, MSG_RELID_RELEASED, &relid, 1);
}

/* ---- address lists ---- */

static unsigned put_pfns(uint8_t *p, const uint64_t *pfn, unsigned count, unsigned most)
{
	if (count > most)
		count = most;
	for (unsigned i = 0; i < count; i++)
		put_le64(p + 8 * (size_t)i, pfn[i]);
	return count;
}

uint32_t guest_gpadl_new(struct guest_bus *g, uint32_t relid, const uint64_t *pfn, unsigned count,
			 uint32_t *gpadl)
{
	uint8_t b[SYNIC_MESSAGE_MAX] = {0};
	struct guest_message answer;
	unsigned n;

	*gpadl = g->next_gpadl++;
	put_le32(b, MSG_GPADL_HEADER);
	put_le32(b + 8, relid);
	put_le32(b + 12, *gpadl);
	put_le16(b + 16, (uint16_t)(8 + 8 * count));
	put_le16(b + 18, 1);
	put_le32(b + 20, count * GUEST_PAGE);
	n = put_pfns(b + 28, pfn, count, HEADER_PFNS);
	guest_post(g, b, 28 + 8 * (size_t)n);
	for (pfn += n, count -= n; count; pfn += n, count -= n) {
		memset(b, 0, sizeof(b));
		put_le32(b, MSG_GPADL_BODY);
		put_le32(b + 12, *gpadl);
		n = put_pfns(b + 16, pfn, count, BODY_PFNS);
		guest_post(g, b, 16 + 8 * (size_t)n);
	}
	must(guest_message_of(g, MSG_GPADL_CREATED, &answer), "a GPADL is not answered");
	must(get_le32(answer.b + 12) == *gpadl, "another GPADL is answered");
	return get_le32(answer.b + 16);
}

void guest_gpadl_drop(struct guest_bus *g, uint32_t relid, uint32_t gpadl)
{
	const uint32_t word[] = {relid, gpadl};
	struct guest_message answer;

	guest_post_words(g, MSG_GPADL_TEARDOWN, word, 2);
	must(guest_message_of(g, MSG_GPADL_TORNDOWN, &answer), "a teardown is not answered");
	must(get_le32(answer.b + 8) == gpadl, "another teardown is answered");
}
