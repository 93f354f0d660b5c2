/* SPDX-License-Identifier: MIT */
/*
 * A guest posts a sequence of messages, made of numbers that often fit together and of raw bytes.
 * Devices are offered and taken back in between. Afterwards a new kernel must find all devices.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fuzz_image.h"
#include "tests/lib/guest_bus.h"
#include "util/bytes.h"

#define DEVICES 3u
#define STEPS   200u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct device {
	struct channel *channel;
	bool open;
};

static struct guest_bus g;
static struct device device[DEVICES], sub;

static void must(bool good)
{
	if (!good)
		abort();
}

static enum err fuzz_open(void *arg, struct channel *channel, struct err_why *why)
{
	struct device *d = arg;

	(void)why;
	must(!d->open && channel == d->channel);
	d->open = true;
	return ERR_OK;
}

static void fuzz_close(void *arg, struct channel *channel)
{
	struct device *d = arg;

	must(d->open && channel == d->channel);
	d->open = false;
}

static void fuzz_gone(void *arg, struct channel *channel)
{
	struct device *d = arg;

	must(!d->open && channel == d->channel);
	d->channel = NULL;
}

static void offer(struct device *d, unsigned number, unsigned sub_index)
{
	static const struct channel_ops ops = {fuzz_open, fuzz_close, fuzz_gone};
	const struct channel_offer o = {
	    .instance = {{1, (uint8_t)number}},
	    .sub_index = (uint16_t)sub_index,
	    .ops = &ops,
	    .device = d,
	};

	if (!d->channel && vmbus_offer(g.bus, &o, &d->channel, NULL))
		d->channel = NULL;
}

/* Small numbers meet each other; large ones find what is not checked. */
static uint32_t number(struct fuzz_input *input)
{
	uint8_t b = fuzz_u8(input);

	if (b < 0xF0)
		return b % 24;
	if (b < 0xF8)
		return 1u << (fuzz_u8(input) % 32);
	return (uint32_t)fuzz_u8(input) << 24 | (uint32_t)fuzz_u8(input) << 16 |
	       (uint32_t)fuzz_u8(input) << 8 | fuzz_u8(input);
}

static void post_gpadl(struct fuzz_input *input)
{
	uint32_t pages = number(input), bytes = pages * 8 + 8;
	uint8_t b[SYNIC_MESSAGE_MAX] = {MSG_GPADL_HEADER};
	unsigned n = pages < 26 ? pages : 26;

	put_le32(b + 8, number(input));
	put_le32(b + 12, number(input));
	put_le16(b + 16, (uint16_t)bytes);
	put_le16(b + 18, 1);
	put_le32(b + 20, pages * GUEST_PAGE);
	for (unsigned i = 0; i < n; i++)
		put_le64(b + 28 + 8 * (size_t)i, 20 + i);
	vmbus_post(g.bus, 1, 1, b, 28 + 8 * (size_t)n);
}

static void post_numbers(struct fuzz_input *input)
{
	uint8_t b[SYNIC_MESSAGE_MAX] = {(uint8_t)(fuzz_u8(input) % 26)};
	unsigned words = 1 + fuzz_u8(input) % 8;

	for (unsigned i = 0; i < words; i++)
		put_le32(b + 8 + 4 * (size_t)i, number(input));
	vmbus_post(g.bus, 1, 1, b,
		   b[0] == MSG_OPEN      ? 148
		   : b[0] == MSG_CONTACT ? 40
					 : 8 + 4 * words);
}

static void post_bytes(struct fuzz_input *input)
{
	uint8_t b[SYNIC_MESSAGE_MAX];
	unsigned len = fuzz_u8(input) % (sizeof(b) + 1);

	for (unsigned i = 0; i < len; i++)
		b[i] = fuzz_u8(input);
	vmbus_post(g.bus, fuzz_u8(input) % 6, fuzz_u8(input) % 3, b, len);
}

static void step(struct fuzz_input *input)
{
	struct guest_message message;
	struct device *d = &device[fuzz_u8(input) % DEVICES];

	switch (fuzz_u8(input) % 12) {
	case 0:
		offer(d, (unsigned)(d - device), 0);
		break;
	case 1:
		if (d->channel)
			vmbus_rescind(d->channel);
		break;
	case 2:
		offer(&sub, 0, 1);
		break;
	case 3:
		post_bytes(input);
		break;
	case 4:
		guest_post_words(&g, MSG_REQUEST_OFFERS, NULL, 0);
		break;
	case 5:
	case 6:
		post_gpadl(input);
		break;
	case 7:
		vmbus_signal(g.bus, number(input), 0);
		vmbus_signal(g.bus, 0x2000 + number(input), 0);
		break;
	case 8:
		guest_message(&g, &message);
		break;
	default:
		post_numbers(input);
	}
	vmbus_run(g.bus);
}

static void check_new_kernel(void)
{
	guest_drain(&g); /* what the old one has not read */
	guest_connect(&g);
	for (unsigned i = 0; i < DEVICES; i++)
		offer(&device[i], i, 0);
	guest_drain(&g);
	must(g.offer_count == DEVICES);
	for (unsigned i = 0; i < DEVICES; i++) {
		struct guest_channel ch;

		must(guest_open(&g, &g.offer[i], 2, 0, &ch) == 0);
		must(device[g.offer[i].instance.b[1]].open);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};

	guest_init(&g, &(struct guest_opts){.memory_bytes = 16 << 20, .vp_count = 2});
	memset(device, 0, sizeof(device));
	memset(&sub, 0, sizeof(sub));
	for (unsigned i = 0; i < DEVICES; i++)
		offer(&device[i], i, 0);
	g.keep_rescinded = true;
	guest_connect(&g);
	for (unsigned i = 0; i < STEPS && input.len; i++) {
		if (g.offer_count > GUEST_MAX_OFFERS / 2)
			g.offer_count = 0;
		step(&input);
	}
	check_new_kernel();
	guest_fini(&g);
	return 0;
}
