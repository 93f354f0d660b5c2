/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/hv_bus_lab.h"
#include "util/bytes.h"

static struct guest_bus g;

static void setup(void)
{
	guest_init(&g, &(struct guest_opts){.vp_count = 4});
}

static void teardown(void)
{
	guest_fini(&g);
}

TestSuite(hv_vmbus, .init = setup, .fini = teardown, .timeout = 60);

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* ---- the connection ---- */

Test(hv_vmbus, versions)
{
	static const struct {
		unsigned major, minor;
		bool good;
	} v[] = {{5, 3, true},  {5, 2, true},   {5, 1, true},           {5, 0, true},
		 {4, 1, true},  {4, 0, true},   {3, 0, true},           {2, 4, false},
		 {1, 1, false}, {0, 13, false}, {5, 4, false},          {6, 0, false},
		 {4, 2, false}, {3, 1, false},  {0xFFFF, 0xFFFF, false}};

	guest_connect(&g);
	for (unsigned i = 0; i < ARRAY_LEN(v); i++) {
		uint32_t version = VMBUS_VERSION(v[i].major, v[i].minor);

		cr_expect_eq(guest_contact(&g, version), v[i].good, "%u.%u", v[i].major,
			     v[i].minor);
		cr_expect_eq(vmbus_version(g.bus), v[i].good ? version : 0);
	}
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
}

Test(hv_vmbus, the_answer_to_a_contact)
{
	uint8_t b[40] = {MSG_CONTACT};
	struct guest_message answer;

	guest_connect(&g);
	put_le32(b + 8, VMBUS_VERSION(5, 3));
	put_le32(b + 12, 2);
	b[16] = 2;
	cr_assert_eq(vmbus_post(g.bus, 4, 1, b, sizeof(b)), HV_SUCCESS);
	cr_assert(guest_message_of(&g, MSG_VERSION, &answer));
	cr_assert_eq(answer.vp, 2, "messages go where the guest wants them");
	cr_assert_eq(answer.len, 16);
	cr_assert_eq(answer.b[8], 1);
	cr_assert_eq(answer.b[9], 0);
	cr_assert_eq(get_le32(answer.b + 12), 1);
}

Test(hv_vmbus, an_older_host_does_not_know_connection_four)
{
	guest_connect(&g);
	vmbus_cap_version(g.bus, VMBUS_VERSION(4, 1));
	cr_assert_not(guest_contact(&g, VMBUS_VERSION(5, 3)));
	cr_assert(guest_contact(&g, VMBUS_VERSION(4, 1)));
	vmbus_cap_version(g.bus, VMBUS_VERSION(5, 1));
	cr_assert_not(guest_contact(&g, VMBUS_VERSION(5, 3)));
	cr_assert(guest_contact(&g, VMBUS_VERSION(5, 1)));
}

Test(hv_vmbus, a_post_wakes_the_bus_and_nothing_else_does)
{
	cr_assert_not(readable(vmbus_fd(g.bus)));
	cr_assert_eq(vmbus_post(g.bus, 1, 1, "????????", 8), HV_SUCCESS);
	cr_assert(readable(vmbus_fd(g.bus)));
	vmbus_run(g.bus);
	cr_assert_not(readable(vmbus_fd(g.bus)));
}

/* G7: what does not fit is the guest's to try again, and one run does not take all of it. */
Test(hv_vmbus, the_queue_of_posts_is_bounded)
{
	unsigned n = 0, runs = 0;

	while (vmbus_post(g.bus, 1, 1, "????????", 8) == HV_SUCCESS)
		n++;
	cr_assert_eq(n, VMBUS_POST_QUEUE);
	cr_assert_eq(vmbus_post(g.bus, 1, 1, "????????", 8), HV_INSUFFICIENT_BUFFERS);
	for (; readable(vmbus_fd(g.bus)); runs++)
		vmbus_run(g.bus);
	cr_assert_gt(runs, 1);
	cr_assert_eq(vmbus_faults(g.bus, NULL), n);
	cr_assert_eq(vmbus_post(g.bus, 1, 1, "????????", 8), HV_SUCCESS);
}

Test(hv_vmbus, devices_are_offered_to_who_asks)
{
	struct echo echo[3];

	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(echo_offer(&g, &echo[i], i, 0), ERR_OK);
	guest_connect(&g);
	cr_assert_eq(g.offer_count, 3);
	for (unsigned i = 0; i < 3; i++) {
		struct guid instance = echo_instance(i);
		const struct guest_offer *offer = guest_offer_of(&g, &instance, 0);

		cr_assert(offer);
		cr_assert_eq(offer->type.b[0], 0xEC);
		cr_assert_eq(offer->flags, i == 1 ? 0x10 : 0);
		cr_assert_eq(offer->user[0], i == 1 ? 4 : 0);
		cr_assert_geq(offer->relid, 1);
		cr_assert_lt(offer->relid, 2048);
		cr_assert_geq(offer->connection, 5);
		cr_assert_leq(offer->connection, 0xFFFFFF);
	}
	cr_assert_neq(g.offer[0].relid, g.offer[1].relid);
	cr_assert_neq(g.offer[0].connection, g.offer[1].connection);
}

Test(hv_vmbus, a_late_device_is_offered_at_once)
{
	struct echo echo;
	struct guid instance = echo_instance(9);

	guest_connect(&g);
	cr_assert_eq(g.offer_count, 0);
	cr_assert_eq(echo_offer(&g, &echo, 9, 0), ERR_OK);
	cr_assert(guest_offer_of(&g, &instance, 0));
}

Test(hv_vmbus, before_the_guest_asks_nothing_is_offered)
{
	struct echo echo;

	guest_connect(&g);
	cr_assert(guest_contact(&g, VMBUS_VERSION(5, 3)));
	cr_assert_eq(echo_offer(&g, &echo, 9, 0), ERR_OK);
	cr_assert_eq(guest_drain(&g), 0);
}

Test(hv_vmbus, what_cannot_be_offered)
{
	struct echo echo[2], many[VMBUS_MAX_CHANNELS + 1];
	struct err_why why = {0};
	unsigned n = 0;

	cr_assert_eq(echo_offer(&g, &echo[0], 0, 0), ERR_OK);
	cr_assert_eq(echo_offer(&g, &echo[1], 0, 0), ERR_EXIST);
	cr_assert_eq(echo_offer(&g, &echo[1], 0, 1), ERR_REFUSED, "the primary is not open");
	cr_assert_eq(echo_offer(&g, &echo[1], 1, 1), ERR_REFUSED, "there is no primary");
	for (; n <= VMBUS_MAX_CHANNELS; n++) {
		struct channel_offer offer = {
		    .type = {{1, (uint8_t)n, (uint8_t)(n >> 8)}},
		    .ops = &echo_ops,
		    .device = &many[n],
		};

		many[n] = (struct echo){0};
		if (vmbus_offer(g.bus, &offer, &many[n].channel, &why))
			break;
	}
	cr_assert_eq(n, VMBUS_MAX_CHANNELS - 1);
	cr_assert_eq(why.code, ERR_REFUSED);
	guest_connect(&g);
	cr_assert_eq(g.offer_count, VMBUS_MAX_CHANNELS);
}

/* ---- the end of a connection ---- */

static void open_two(struct echo *a, struct echo *b, struct guest_channel *ch)
{
	struct guid instance = echo_instance(0);

	cr_assert_eq(echo_offer(&g, a, 0, 0), ERR_OK);
	cr_assert_eq(echo_offer(&g, b, 1, 0), ERR_OK);
	guest_connect(&g);
	cr_assert_eq(guest_open(&g, guest_offer_of(&g, &instance, 0), 4, 1, ch), 0);
	cr_assert(echo_works(a, ch));
}

static void open_again(struct echo *a)
{
	struct guid instance = echo_instance(0);
	struct guest_channel ch;

	guest_connect(&g);
	cr_assert_eq(g.offer_count, 2, "both are offered again");
	cr_assert_eq(guest_open(&g, guest_offer_of(&g, &instance, 0), 4, 0, &ch), 0);
	cr_assert(echo_works(a, &ch));
	cr_assert_eq(a->gone, 0);
}

Test(hv_vmbus, a_contact_is_a_new_beginning)
{
	struct echo a, b;
	struct guest_channel ch;
	uint32_t gpadl;

	open_two(&a, &b, &ch);
	gpadl = ch.gpadl;
	cr_assert(guest_contact(&g, VMBUS_VERSION(5, 2)));
	cr_assert_eq(a.closed, 1);
	cr_assert_not(channel_is_open(a.channel));
	g.next_gpadl = gpadl; /* handles begin anew, too */
	open_again(&a);
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
}

Test(hv_vmbus, even_a_refused_contact_ends_the_old_connection)
{
	struct echo a, b;
	struct guest_channel ch;

	open_two(&a, &b, &ch);
	cr_assert_not(guest_contact(&g, VMBUS_VERSION(2, 4)));
	cr_assert_eq(a.closed, 1);
	open_again(&a);
}

Test(hv_vmbus, what_was_on_its_way_to_the_old_kernel_is_dropped)
{
	struct echo a, b;
	struct guest_message message;
	uint8_t request[8] = {MSG_REQUEST_OFFERS}, contact[40] = {MSG_CONTACT};

	cr_assert_eq(echo_offer(&g, &a, 0, 0), ERR_OK);
	cr_assert_eq(echo_offer(&g, &b, 1, 0), ERR_OK);
	guest_connect(&g);
	cr_assert(guest_contact(&g, VMBUS_VERSION(5, 3)));
	put_le32(contact + 8, VMBUS_VERSION(5, 3));
	contact[16] = 2;
	guest_post(&g, request, sizeof(request));
	guest_post(&g, contact, sizeof(contact));
	guest_run(&g);
	cr_assert(guest_message(&g, &message));
	cr_assert_eq(message.type, MSG_OFFER, "it was in the slot already");
	cr_assert(guest_message(&g, &message));
	cr_assert_eq(message.type, MSG_VERSION);
	cr_assert_not(guest_message(&g, &message));
}

Test(hv_vmbus, unload)
{
	struct echo a, b;
	struct guest_channel ch;

	open_two(&a, &b, &ch);
	guest_unload(&g); /* and RELID_RELEASED for each */
	cr_assert_eq(a.closed, 1);
	cr_assert_eq(vmbus_version(g.bus), 0);
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
	guest_unload(&g); /* a crash kernel that does not know */
	open_again(&a);
}

Test(hv_vmbus, reset)
{
	struct echo a, b;
	struct guest_channel ch;

	open_two(&a, &b, &ch);
	guest_post_words(&g, MSG_CLOSE, &ch.relid, 1);
	vmbus_reset(g.bus);
	cr_assert_eq(a.closed, 1);
	cr_assert_eq(vmbus_version(g.bus), 0);
	guest_run(&g);
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0, "the old guest's posts are handled");
	open_again(&a);
}

Test(hv_vmbus, destroying_the_bus_closes_and_frees)
{
	static struct echo a, b;
	struct guest_channel ch;

	open_two(&a, &b, &ch);
	vmbus_destroy(g.bus);
	g.bus = NULL;
	cr_assert_eq(a.closed, 1);
	cr_assert_eq(a.gone, 1);
	cr_assert_eq(b.closed, 0);
	cr_assert_eq(b.gone, 1);
}

/* ---- messages arrive ---- */

Test(hv_vmbus, everything_arrives_at_a_guest_that_is_slow)
{
	struct echo echo[100];

	for (unsigned i = 0; i < ARRAY_LEN(echo); i++)
		cr_assert_eq(echo_offer(&g, &echo[i], i, 0), ERR_OK);
	guest_connect(&g);
	cr_assert_eq(g.offer_count, ARRAY_LEN(echo));
	cr_assert_gt(g.slot_waits, 50, "the slot was always busy");
	for (unsigned i = 1; i < g.offer_count; i++)
		cr_assert_gt(g.offer[i].relid, g.offer[i - 1].relid, "the order");
}

/* ---- address lists ---- */

Test(hv_vmbus, address_lists_of_all_lengths)
{
	static const unsigned pages[] = {1, 2, 25, 26, 27, 53, 54, 55, 64, 82, 83, 256, 4096, 8190};
	uint64_t *pfn = calloc(8190, sizeof(*pfn));
	struct echo echo;

	cr_assert_eq(echo_offer(&g, &echo, 0, 0), ERR_OK);
	guest_connect(&g);
	for (unsigned i = 0; i < 8190; i++)
		pfn[i] = 100 + i * 7 % 10000; /* scattered */
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
		uint32_t gpadl;

		cr_expect_eq(guest_gpadl_new(&g, g.offer[0].relid, pfn, pages[i], &gpadl), 0,
			     "%u pages", pages[i]);
		guest_gpadl_drop(&g, g.offer[0].relid, gpadl);
	}
	cr_assert_eq(vmbus_faults(g.bus, NULL), 0);
	free(pfn);
}

/* Several are built at the same time; bodies name nothing but the handle. */
Test(hv_vmbus, address_lists_may_be_built_side_by_side)
{
	uint8_t header[2][240] = {{0}}, body[24] = {0};
	struct guest_message answer;
	struct echo echo[2];

	cr_assert_eq(echo_offer(&g, &echo[0], 0, 0), ERR_OK);
	cr_assert_eq(echo_offer(&g, &echo[1], 1, 0), ERR_OK);
	guest_connect(&g);
	for (unsigned i = 0; i < 2; i++) {
		put_le32(header[i], MSG_GPADL_HEADER);
		put_le32(header[i] + 8, g.offer[i].relid);
		put_le32(header[i] + 12, 100 + i);
		put_le16(header[i] + 16, 8 + 27 * 8);
		put_le16(header[i] + 18, 1);
		put_le32(header[i] + 20, 27 * GUEST_PAGE);
		for (unsigned n = 0; n < 26; n++)
			put_le64(header[i] + 28 + 8 * n, 100 + n);
		guest_post(&g, header[i], 28 + 26 * 8);
	}
	cr_assert_not(guest_message(&g, &answer), "both lack a page");
	put_le32(body, MSG_GPADL_BODY);
	put_le64(body + 16, 500);
	for (unsigned i = 2; i--;) {
		put_le32(body + 12, 100 + i);
		guest_post(&g, body, sizeof(body));
		cr_assert(guest_message_of(&g, MSG_GPADL_CREATED, &answer));
		cr_assert_eq(get_le32(answer.b + 8), g.offer[i].relid);
		cr_assert_eq(get_le32(answer.b + 12), 100 + i);
		cr_assert_eq(get_le32(answer.b + 16), 0);
	}
}

/* ---- deferred work ---- */

struct counted {
	struct vmbus_work work;
	unsigned runs, again;
};

static void count_run(struct vmbus_work *work)
{
	struct counted *counted = container_of(work, struct counted, work);

	counted->runs++;
	if (counted->again) {
		counted->again--;
		vmbus_defer(g.bus, work);
	}
}

Test(hv_vmbus, work_is_deferred_to_the_bus)
{
	struct counted c[3] = {
	    {.work.run = count_run}, {.work.run = count_run}, {.work.run = count_run, .again = 2}};

	for (unsigned i = 0; i < 3; i++) {
		vmbus_defer(g.bus, &c[i].work);
		vmbus_defer(g.bus, &c[i].work);
	}
	vmbus_cancel(g.bus, &c[1].work);
	vmbus_cancel(g.bus, &c[1].work);
	cr_assert(readable(vmbus_fd(g.bus)));
	vmbus_run(g.bus);
	cr_assert_eq(c[0].runs, 1);
	cr_assert_eq(c[1].runs, 0);
	cr_assert_eq(c[2].runs, 1, "again means the next run");
	guest_run(&g);
	cr_assert_eq(c[2].runs, 3);
	vmbus_defer(g.bus, &c[0].work);
	vmbus_defer(g.bus, &c[1].work);
	vmbus_cancel(g.bus, &c[1].work); /* the last of the list */
	vmbus_defer(g.bus, &c[2].work);
	guest_run(&g);
	cr_assert_eq(c[0].runs, 2);
	cr_assert_eq(c[1].runs, 0);
	cr_assert_eq(c[2].runs, 4);
}

static void *post_and_signal(void *arg)
{
	uint8_t b[12] = {MSG_CLOSE};
	uint32_t *connection = arg;

	for (unsigned i = 0; i < 20000; i++) {
		put_le32(b + 8, i);
		vmbus_post(g.bus, 1, 1, b, sizeof(b));
		vmbus_signal(g.bus, *connection, 0);
	}
	return NULL;
}

/* Virtual processors post and signal while the bus closes and opens. */
Test(hv_vmbus, posts_and_signals_come_from_any_thread)
{
	struct echo a, b;
	struct guest_channel ch;
	pthread_t thread[2];
	uint32_t connection;

	open_two(&a, &b, &ch);
	connection = ch.connection;
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, post_and_signal, &connection);
	for (unsigned i = 0; i < 200; i++) {
		vmbus_reset(g.bus);
		g.next_page = 64;
		guest_connect(&g);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	vmbus_reset(g.bus);
	open_again(&a);
}
