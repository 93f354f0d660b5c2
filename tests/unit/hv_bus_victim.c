/* SPDX-License-Identifier: MIT */
#include "tests/unit/hv_bus_victim.h"

#include <criterion/criterion.h>

struct victim victim;
static struct echo rescinded, waiting;

static void make_partial(void)
{
	uint8_t b[28 + 26 * 8] = {MSG_GPADL_HEADER};

	put_le32(b + 8, OFFERED);
	put_le32(b + 12, PARTIAL);
	put_le16(b + 16, 8 + 27 * 8);
	put_le16(b + 18, 1);
	put_le32(b + 20, 27 * PAGE);
	for (unsigned i = 0; i < 26; i++)
		put_le64(b + 28 + 8 * (size_t)i, 100 + i);
	guest_post(&victim.g, b, sizeof(b));
}

void victim_setup(void)
{
	static const uint64_t pfn[] = {200, 201, 202, 203};
	struct guest_bus *g = &victim.g;
	uint32_t gpadl;

	guest_init(g, &(struct guest_opts){.vp_count = 4});
	g->keep_rescinded = true;
	cr_assert_eq(echo_offer(g, &victim.offered, OFFERED, 0), ERR_OK);
	cr_assert_eq(echo_offer(g, &victim.opened, OPEN, 0), ERR_OK);
	cr_assert_eq(echo_offer(g, &rescinded, RESCINDED, 0), ERR_OK);
	guest_connect(g);
	g->next_gpadl = COMPLETE;
	cr_assert_eq(guest_gpadl_new(g, OFFERED, pfn, 4, &gpadl), 0);
	make_partial();
	g->next_gpadl = RINGS;
	cr_assert_eq(guest_open(g, &g->offer[1], 4, 1, &victim.ch), 0);
	vmbus_rescind(rescinded.channel);
	cr_assert_eq(echo_offer(g, &waiting, RESCINDED, 0), ERR_OK);
	guest_drain(g);
	cr_assert_eq(g->offer_count, 3);
	cr_assert_eq(vmbus_faults(g->bus, NULL), 0);
}

void victim_new_kernel(const char *name)
{
	static const unsigned device[] = {OFFERED, OPEN, RESCINDED};
	struct echo *echo[] = {&victim.offered, &victim.opened, &waiting};
	struct guest_bus *g = &victim.g;

	guest_connect(g);
	cr_expect_eq(g->offer_count, 3, "%s: %u offers", name, g->offer_count);
	for (unsigned i = 0; i < 3; i++) {
		struct guid instance = echo_instance(device[i]);
		const struct guest_offer *offer = guest_offer_of(g, &instance, 0);

		cr_assert(offer, "%s", name);
		cr_expect_eq(guest_open(g, offer, 4, 0, &victim.ch), 0, "%s", name);
		cr_expect(echo_works(echo[i], &victim.ch), "%s", name);
	}
}

static void check_answer(const struct hostile *h)
{
	struct guest_message answer;
	unsigned n = 0;

	while (guest_message(&victim.g, &answer)) {
		cr_expect_eq(answer.type, h->answer, "%s: answer %u", h->name, answer.type);
		if (answer.type == MSG_VERSION)
			cr_expect_eq(answer.b[8], h->status, "%s: supported", h->name);
		else if (answer.type != MSG_OFFER && h->answer)
			cr_expect_eq(get_le32(answer.b + answer.len - 4), h->status,
				     "%s: status %#x", h->name,
				     get_le32(answer.b + answer.len - 4));
		n++;
	}
	cr_expect_eq(n, h->answer ? 1 : 0, "%s: %u answers", h->name, n);
}

void victim_try(const struct hostile *h)
{
	uint8_t b[SYNIC_MESSAGE_MAX] = {0};
	const char *fault = NULL;
	bool closed = h->also & (CLOSES | DISCONNECTS);

	victim_setup();
	for (unsigned i = 0; i < ARRAY_LEN(h->word); i++)
		put_le32(b + 4 * (size_t)i, h->word[i]);
	guest_post(&victim.g, b, h->len);
	guest_run(&victim.g);
	check_answer(h);
	cr_expect_eq(vmbus_faults(victim.g.bus, &fault), h->also & FAULT ? 1 : 0, "%s: fault %s",
		     h->name, fault ? fault : "none");
	cr_expect_eq(victim.opened.closed, closed, "%s: closed %u", h->name, victim.opened.closed);
	if (!closed)
		cr_expect(echo_works(&victim.opened, &victim.ch), "%s: the open channel is dead",
			  h->name);
	victim_new_kernel(h->name);
	guest_fini(&victim.g);
}
