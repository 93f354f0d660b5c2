/* SPDX-License-Identifier: MIT */
#include "tests/unit/hv_ic_lab.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>

#include "util/bytes.h"

static bool reference_time(void *arg, uint64_t *out)
{
	const struct ic_lab *lab = arg;

	*out = lab->reference;
	return lab->has_reference;
}

static struct ic_lab *new_lab(void)
{
	struct ic_lab *lab = calloc(1, sizeof(*lab));

	cr_assert_not_null(lab);
	guest_init(&lab->g, &(struct guest_opts){0});
	lab->now_ns = 1000000000;
	lab->has_reference = true;
	return lab;
}

struct ic_lab *ic_lab_new(void)
{
	struct ic_lab *lab = new_lab();
	const struct integration_opts opts = {reference_time, lab};

	cr_assert_eq(integration_create(lab->g.bus, &opts, &lab->all, NULL), ERR_OK);
	guest_connect(&lab->g);
	return lab;
}

struct ic_lab *ic_lab_new_one(const struct ic_component *component, void *self)
{
	struct ic_lab *lab = new_lab();

	cr_assert_eq(ic_create(&lab->one, lab->g.bus, component, self, NULL), ERR_OK);
	guest_connect(&lab->g);
	return lab;
}

void ic_lab_free(struct ic_lab *lab)
{
	integration_destroy(lab->all);
	ic_destroy(&lab->one);
	guest_fini(&lab->g);
	free(lab);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void run_host(struct ic_lab *lab)
{
	if (lab->all)
		integration_run(lab->all, lab->now_ns);
	else
		ic_run(&lab->one, lab->now_ns);
}

static bool host_is_called(struct ic_lab *lab)
{
	guest_run(&lab->g);
	return readable(lab->all ? integration_fd(lab->all) : channel_fd(lab->one.channel));
}

void ic_lab_run(struct ic_lab *lab, uint64_t ms)
{
	do {
		uint64_t step = ms < 1000 ? ms : 1000;

		ms -= step;
		lab->now_ns += step * 1000000;
		guest_run(&lab->g);
		run_host(lab);
		for (unsigned i = 0; host_is_called(lab); i++) {
			cr_assert_lt(i, 1000, "the descriptor never falls silent");
			run_host(lab);
		}
	} while (ms);
}

void ic_guest_open(struct ic_lab *lab, const struct ic_component *component, unsigned ring_pages,
		   struct ic_guest *out)
{
	const struct guest_offer *offer = guest_offer_of(&lab->g, &component->instance, 0);

	cr_assert_not_null(offer);
	out->lab = lab;
	cr_assert_eq(guest_open(&lab->g, offer, ring_pages, 0, &out->channel), 0);
	ic_lab_run(lab, 0);
}

bool ic_guest_request(struct ic_guest *guest)
{
	if (!guest_receive(&guest->channel, &guest->p, 0))
		return false;
	cr_expect_eq(guest->p.type, PACKET_INBAND);
	cr_expect_eq(get_le32(guest->p.b), 1, "data of a pipe");
	cr_expect_eq(guest->p.b[25], IC_TRANSACTION | IC_REQUEST);
	cr_expect_leq(get_le32(guest->p.b + 4) + 8, guest->p.len);
	cr_expect_eq(get_le16(guest->p.b + 18) + 20u, get_le32(guest->p.b + 4));
	return true;
}

void ic_guest_reply(struct ic_guest *guest)
{
	guest->p.b[25] = IC_TRANSACTION | IC_RESPONSE;
	cr_assert(guest_send(&guest->channel, PACKET_INBAND, 0, guest->p.transaction, NULL, 0,
			     guest->p.b, guest->p.len));
}

void ic_guest_agree(struct ic_guest *guest, uint16_t major, uint16_t minor)
{
	uint8_t *b = guest->p.b;

	put_le16(b + 18, 16);
	put_le16(b + 28, 1);
	put_le16(b + 30, 1);
	put_le16(b + 36, 3);
	put_le16(b + 38, 0);
	put_le16(b + 40, major);
	put_le16(b + 42, minor);
	ic_guest_reply(guest);
}

void ic_guest_up(struct ic_lab *lab, const struct ic_component *component, struct ic_guest *out)
{
	struct ic_version newest = component->versions[component->version_count - 1];

	ic_guest_open(lab, component, IC_LAB_RING_PAGES, out);
	cr_assert(ic_guest_request(out));
	cr_assert_eq(get_le16(out->p.b + 12), IC_NEGOTIATE);
	ic_guest_agree(out, newest.major, newest.minor);
	ic_lab_run(lab, 0);
}
